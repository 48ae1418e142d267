//! A host's name read off the wire: one of the few texts that may leave the sensor.

use std::{fmt, net::IpAddr, sync::Arc};

use super::time::Timestamp;

/// Longest name, in bytes (RFC 1035 section 2.3.4).
const HOSTNAME_BYTES_MAX: usize = 253;
/// Longest part between dots.
const LABEL_BYTES_MAX: usize = 63;

/// A name of letters, digits, hyphens, underscores and dots, in lower case, that is no address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

impl fmt::Debug for Hostname {
    /// Its length only: a name comes out where it names the server of a flow, and nowhere else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hostname({} bytes)", self.0.len())
    }
}

impl Hostname {
    /// Takes a name as it stands in a message; none if it is no name. One dot at the end is left out.
    pub fn from_wire(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
        let mut lower = [0; HOSTNAME_BYTES_MAX];
        let lower = lower.get_mut(..bytes.len())?;
        let (mut label, mut named) = (0, false);
        for (byte, low) in bytes.iter().zip(lower.iter_mut()) {
            *low = byte.to_ascii_lowercase();
            match *low {
                b'.' if label > 0 => label = 0,
                b'a'..=b'z' => (label, named) = (label + 1, true),
                b'0'..=b'9' | b'-' | b'_' => label += 1,
                _ => return None,
            }
            if label > LABEL_BYTES_MAX {
                return None;
            }
        }
        // A number of any kind is an address in some notation, and an address in numbers has no letter but `0x` and `:`.
        if label == 0 || !named || lower.starts_with(b"0x") {
            return None;
        }
        Some(Self(std::str::from_utf8(lower).ok()?.into()))
    }

    /// The name, to be kept.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an answer of a name service says: whoever asks for `asked` is sent to `address`, whose own name is `name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name asked for.
    pub asked: Hostname,
    /// The name that the address belongs to: the same, or what the one asked for stands for.
    pub name: Hostname,
    /// The address.
    pub address: IpAddr,
}

/// A client was told an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAddress {
    /// Source domain.
    pub scope: Arc<str>,
    /// Who asked.
    pub client: IpAddr,
    /// When it was answered.
    pub at: Timestamp,
    /// What was answered.
    pub answer: Answer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_pass() {
        for (bytes, expected) in [
            (&b"DB.example.com"[..], Some("db.example.com")),
            (b"db.example.com.", Some("db.example.com")),
            (b"_ldap._tcp.corp", Some("_ldap._tcp.corp")),
            (b"host", Some("host")),
            (b"10.0.0.9", None),
            (b"2130706433", None),
            (b"0x7f000001", None),
            (b"::1", None),
            (b"user@host", None),
            (b"a..b", None),
            (b"a b", None),
            (b"a\r\nb", None),
            (b"", None),
            (b"caf\xc3\xa9", None),
        ] {
            let name = Hostname::from_wire(bytes);
            assert_eq!(name.as_ref().map(Hostname::as_str), expected, "{bytes:?}");
        }
        assert_eq!(Hostname::from_wire(&[b'a'; 64]), None, "a label is too long");
        assert_eq!(Hostname::from_wire("a.".repeat(128).as_bytes()), None, "the name is too long");
    }
}
