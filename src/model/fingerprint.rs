//! Fingerprints of a `ClientHello`: JA3 and JA4. Two clients that offer the same in the same way have the same one.

use std::fmt;

/// JA3 (Salesforce): the MD5 of what is offered, in the order it is offered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ja3(pub [u8; 16]);

/// JA4 (`FoxIO`): a readable part, and hashes of what is offered, sorted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ja4([u8; JA4_BYTES]);

/// What carries the handshake: the first letter of a JA4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TLS over TCP.
    Tcp,
    /// QUIC.
    Quic,
    /// DTLS.
    Dtls,
}

impl Ja4 {
    /// The fingerprint `text` without its first letter; `None` if it has another length or other characters.
    pub fn new(text: &[u8]) -> Option<Self> {
        let clean = text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let mut whole = [b't'; JA4_BYTES];
        let (_, rest) = whole.split_first_mut()?;
        (clean && text.len() == rest.len()).then(|| rest.copy_from_slice(text))?;
        Some(Self(whole))
    }

    /// The same for a handshake that `carrier` carries.
    #[must_use]
    pub const fn over(mut self, carrier: Carrier) -> Self {
        let [first, ..] = &mut self.0;
        *first = match carrier {
            Carrier::Tcp => b't',
            Carrier::Quic => b'q',
            Carrier::Dtls => b'd',
        };
        self
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        // Made of ASCII only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Ja3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Ja3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ja3({self})")
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ja4({self})")
    }
}

const JA4_BYTES: usize = 36;
