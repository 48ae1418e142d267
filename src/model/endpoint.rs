//! Where a sensor for cleartext may send to.

use std::net::IpAddr;

/// Whether what is sent to `endpoint` is encrypted, or does not leave the machine.
pub fn is_safe_endpoint(endpoint: &str) -> bool {
    let lower = endpoint.to_ascii_lowercase();
    if lower.starts_with("https://") {
        return true;
    }
    let Some(rest) = lower.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_may_be_spoken_to_in_clear() {
        for (endpoint, safe) in [
            ("https://monitoring.eu-central-1.amazonaws.com", true),
            ("HTTPS://x", true),
            ("http://127.0.0.1:5999", true),
            ("http://localhost:5999/path", true),
            ("http://[::1]:5999", true),
            ("http://monitoring.eu-central-1.amazonaws.com", false),
            ("http://10.0.0.1", false),
            ("http://127.0.0.1.example.com", false),
            ("http://127.0.0.1@example.com", false),
            ("http://localhost:80@example.com", false),
            ("monitoring.eu-central-1.amazonaws.com", false),
            ("ftp://127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_safe_endpoint(endpoint), safe, "{endpoint}");
        }
    }
}
