//! Metadata names read off the wire: the only wire text that may leave the sensor, allow-listed field by field.

use std::fmt::{self, Write as _};

/// Longest name kept, in bytes of output.
pub const NAME_BYTES_MAX: usize = 256;

/// A length-capped, printable copy of a metadata name (SNI, ALPN, certificate field).
///
/// Bytes outside printable ASCII become `\xNN`, so that a record line can never carry control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Copies `bytes`, escaped and cut to [`NAME_BYTES_MAX`].
    pub fn from_wire(bytes: &[u8]) -> Self {
        let mut text = String::new();
        for byte in bytes {
            if text.len() + 4 > NAME_BYTES_MAX {
                break;
            }
            match byte {
                b'\\' => text.push_str("\\\\"),
                0x20..=0x7e => text.push(char::from(*byte)),
                _ => {
                    // Writing to a String cannot fail.
                    let _ok = write!(text, "\\x{byte:02x}");
                }
            }
        }
        Self(text.into())
    }

    /// Takes text that was escaped by its own grammar (RFC 4514), cut to [`NAME_BYTES_MAX`]; what is not printable ASCII
    /// all the same becomes `?`.
    pub fn from_escaped(mut text: String) -> Self {
        if !text.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
            text = text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
        }
        text.truncate(NAME_BYTES_MAX);
        Self(text.into())
    }

    /// The escaped text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_length_is_capped() {
        assert_eq!(Name::from_wire(b"db.example\r\n\xff").as_str(), "db.example\\x0d\\x0a\\xff");
        assert!(Name::from_wire(&[b'a'; 5000]).as_str().len() <= NAME_BYTES_MAX);
    }
}
