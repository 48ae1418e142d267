//! The host that a request of HTTP/1.x is for. RFC 9112 section 3.2, RFC 9110 section 7.2.

use crate::model::Hostname;

/// Bytes of a request that are looked at.
const HEAD_BYTES_MAX: usize = 8192;

/// The name in the Host field of a request that begins `bytes`; none where it is an address, missing, or not there yet.
pub fn host(bytes: &[u8]) -> Option<Hostname> {
    let bytes = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    // Only a line that is whole: a cut name would be another name.
    let mut lines =
        bytes.split_inclusive(|b| *b == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let request = lines.next()?.trim_ascii_end();
    let version = request.rsplit(|b| *b == b' ').next()?;
    if !version.starts_with(b"HTTP/1.") {
        return None;
    }
    for line in lines {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return None;
        }
        let (name, value) = line.split_at_checked(line.iter().position(|b| *b == b':')?)?;
        if name.eq_ignore_ascii_case(b"host") {
            let value = value.get(1..)?.trim_ascii();
            let port = value.iter().rposition(|b| *b == b':').filter(|at| {
                value.get(at.saturating_add(1)..).is_some_and(|p| p.iter().all(u8::is_ascii_digit))
            });
            return Hostname::from_wire(port.map_or(Some(value), |at| value.get(..at))?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_whole_line_is_taken_without_its_port() {
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: Shop.example:8080\r\n\r\n", Some("shop.example")),
            ("GET / HTTP/1.1\nhost:shop\n\n", Some("shop")),
            ("GET / HTTP/1.0\r\nAccept: */*\r\nHost: shop\r\n", Some("shop")),
            ("GET / HTTP/1.1\r\nHost: shop.exam", None),
            ("GET / HTTP/1.1\r\nHost: 10.0.0.9:80\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: user:pass@shop\r\n\r\n", None),
            ("GET / HTTP/1.1\r\n\r\nHost: body\r\n", None),
            ("POST data\r\nHost: shop\r\n\r\n", None),
            ("\r\nHost: shop\r\n", None),
            ("", None),
        ] {
            let host = host(request.as_bytes());
            assert_eq!(host.as_ref().map(Hostname::as_str), expected, "{request:?}");
        }
    }
}
