//! What unrecognised bytes look like: readable text, or the reason given with `unknown`.

use crate::{
    bytes,
    detect::{Said, Start},
    model::UnknownReason,
};

/// Fewer bytes than this prove nothing.
const SHORT_BYTES: usize = 8;
/// Sample size from which randomness can be judged.
const SAMPLE_BYTES_MIN: usize = 128;

/// The reason for bytes nobody recognised; `datagrams`: two-byte lengths stand between them.
pub(super) fn reason(a: &[u8], b: &[u8], datagrams: bool) -> UnknownReason {
    let framing = if datagrams { 2 } else { 0 };
    let total = a.len().saturating_sub(framing) + b.len().saturating_sub(framing);
    match total {
        0 => UnknownReason::NoPayload,
        1..SHORT_BYTES => UnknownReason::TooShort,
        _ if looks_random(a) || looks_random(b) => UnknownReason::HighEntropy,
        _ => UnknownReason::Binary,
    }
}

/// What one side's unrecognised bytes look like, added up as they pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Texture {
    bytes: usize,
    /// Bytes that no text has.
    odd: usize,
    /// It speaks of TLS: what comes next may be encrypted.
    speaks_of_tls: bool,
    random: bool,
}

impl Texture {
    /// Adds bytes; `datagrams`: two-byte lengths stand between them.
    pub(super) fn add(&mut self, bytes: &[u8], datagrams: bool) {
        if datagrams {
            let said = Said { bytes, start: Start::Known };
            said.datagrams().for_each(|datagram| self.add(datagram, false));
            return;
        }
        self.bytes += bytes.len();
        if self.random || looks_random(bytes) {
            // It will not be called text, so nothing else needs to be known.
            self.random = true;
            self.odd += bytes.len();
            return;
        }
        self.odd += odd(bytes);
        self.speaks_of_tls |= announces_tls(bytes);
    }

    /// Evidently text, and enough of it: random bytes pass less than once in 2^30 such sides.
    pub(super) const fn is_text(self) -> bool {
        self.bytes >= TEXT_BYTES_MIN
            && self.odd * TEXT_ODD_SHARE < self.bytes
            && !self.speaks_of_tls
    }

    /// Text so far, though it may be too little to say so.
    pub(super) const fn may_be_text(self) -> bool {
        self.odd * TEXT_ODD_SHARE <= self.bytes && self.bytes < TEXT_BYTES_ENOUGH
    }

    /// Looks encrypted or compressed, or announces it.
    pub(super) const fn is_closed(self) -> bool {
        self.random || self.speaks_of_tls
    }

    /// Bytes looked at.
    pub(super) const fn bytes(self) -> usize {
        self.bytes
    }
}

/// Bytes that no text has.
fn odd(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.iter().filter(|byte| !is_readable(char::from(**byte))).count();
    }
    let odd = |text: &str| text.chars().filter(|c| !is_readable(*c)).count();
    bytes.utf8_chunks().map(|chunk| odd(chunk.valid()) + chunk.invalid().len()).sum()
}

/// Whether it names TLS, or ways to seal what follows, or a piece of a certificate passes by. Two bytes tell nearly everywhere
/// that nothing of the kind begins there.
fn announces_tls(bytes: &[u8]) -> bool {
    bytes.windows(2).enumerate().any(|(at, pair)| match pair {
        [b't' | b'T', b'l' | b'L'] | [b's' | b'S', b's' | b'S'] => names_tls(bytes, at),
        [b'd', b'i']
        | [b'c', b'h' | b'u']
        | [b'a', b'e']
        | [b'e', b'c']
        | [b'h' | b'u', b'm']
        | [b'3', b'd'] => names_cipher(bytes.get(at..).unwrap_or_default()),
        [OBJECT, 0x03] | [DNS_NAME, _] => holds_certificate(bytes.get(at..).unwrap_or_default()),
        _ => false,
    })
}

/// Whether a word begins here with TLS or SSL, or with STARTTLS: in the middle of one the letters come about by themselves, as
/// in base64.
fn names_tls(bytes: &[u8], at: usize) -> bool {
    let (before, rest) = bytes.split_at_checked(at).unwrap_or_default();
    let Some(word) = rest.first_chunk::<3>() else { return false };
    let start = before.len().checked_sub(START.len()).and_then(|at| before.get(at..));
    TLS_NAMES.iter().any(|name| word.eq_ignore_ascii_case(name))
        && (!before.last().is_some_and(u8::is_ascii_alphanumeric)
            || start.is_some_and(|word| word.eq_ignore_ascii_case(START)))
}

/// Whether a way to seal what follows is named here, as the proposals of SSH do in clear.
fn names_cipher(rest: &[u8]) -> bool {
    CIPHER_NAMES.iter().any(|name| rest.starts_with(name))
}

/// Whether a piece of an X.509 certificate begins here: in a stream joined late a handshake's long list of names is readable.
/// Object identifiers of names and extensions (RFC 5280 appendix A), or one DNS name behind another.
fn holds_certificate(bytes: &[u8]) -> bool {
    let [DNS_NAME, length, rest @ ..] = bytes else {
        return bytes.starts_with(X500_NAME) || bytes.starts_with(X509_EXTENSION);
    };
    let (name, next) = rest.split_at_checked(usize::from(*length)).unwrap_or_default();
    name.len() >= DNS_NAME_BYTES_MIN
        && name.iter().all(u8::is_ascii_graphic)
        && next.first() == Some(&DNS_NAME)
}

const CIPHER_NAMES: [&[u8]; 10] = [
    b"diffie-hellman-",
    b"ecdh-sha2-",
    b"curve25519-",
    b"aes128-",
    b"aes256-",
    b"3des-cbc",
    b"chacha20-poly1305",
    b"hmac-sha",
    b"hmac-md5",
    b"umac-",
];
const OBJECT: u8 = 0x06;
const X500_NAME: &[u8] = b"\x06\x03\x55\x04";
const X509_EXTENSION: &[u8] = b"\x06\x03\x55\x1d";
/// `GeneralName`, `[2]`: a DNS name.
const DNS_NAME: u8 = 0x82;
const DNS_NAME_BYTES_MIN: usize = 4;
const TLS_NAMES: [&[u8]; 2] = [b"tls", b"ssl"];
const START: &[u8] = b"start";

/// A character of text: it prints, or is white space.
fn is_readable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || !c.is_control()
}

/// Text shorter than this proves nothing.
const TEXT_BYTES_MIN: usize = 32;
/// Text longer than this needs no more of it.
const TEXT_BYTES_ENOUGH: usize = 1024;
/// One byte in so many may be none of text.
const TEXT_ODD_SHARE: usize = 10;

/// Readable: no control characters but line ends and tabs (bytes above ASCII may be UTF-8).
pub(super) fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes::is_text(bytes)
}

/// Chi-square against uniform bytes: random samples of n bytes give about 255, text and structured binary far more.
fn looks_random(sample: &[u8]) -> bool {
    if sample.len() < SAMPLE_BYTES_MIN {
        return false;
    }
    let mut counts = [0_u32; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let n = sample.len() as u64;
    let squares: u64 = counts.iter().map(|c| u64::from(*c) * u64::from(*c)).sum();
    // chi2 = 256/n * sum(c^2) - n; the 99.9 % point for 255 degrees of freedom is about 330.
    256 * squares < n * (n + 340)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Texture {
        let mut texture = Texture::default();
        texture.add(bytes, false);
        texture
    }

    #[test]
    fn text_is_told_by_its_bytes_and_needs_enough_of_them() {
        let log = b"2026-11-24 03:47:41 job 17 done in 35 ms, 3 rows written\n";
        assert!(of(log).is_text());
        assert!(!of(&log[..31]).is_text(), "too little");
        assert!(of(&log[..31]).may_be_text());
        assert!(
            of("Grüße aus dem Süden: der Auftrag siebzehn ist erledigt, wie immer".as_bytes())
                .is_text()
        );
        let packed: Vec<u8> = log.chunks(4).flat_map(|word| [&[0, 4], word].concat()).collect();
        assert!(!of(&packed).is_text(), "words framed by lengths");
        assert!(!of(&[0x80; 100]).is_text() && !of(&[0; 100]).is_text());
        let announced =
            b"READY: send UPGRADE to go on in TLS, or anything else to stay as you are\r\n";
        assert!(!of(announced).is_text() && of(announced).is_closed());
    }

    #[test]
    fn a_proposal_to_encrypt_is_no_text() {
        for list in [
            "aes192-cbc,aes256-cbc,aes192-ctr,rijndael@example.com,none,none,none",
            "none,hmac-sha2-256,none,none,none,none,none",
        ] {
            assert!(of(list.as_bytes()).is_closed() && !of(list.as_bytes()).is_text());
        }
    }

    #[test]
    fn each_name_of_a_cipher_is_found_wherever_it_stands() {
        for name in CIPHER_NAMES {
            let list = [b"x,", name, b"y"].concat();
            assert!(announces_tls(&list) && announces_tls(name), "{}", name.escape_ascii());
            assert!(!announces_tls(&name[1..]) && !announces_tls(&name[..name.len() - 1]));
        }
    }

    #[test]
    fn a_certificate_that_passes_by_is_no_text() {
        let names =
            b"www.one.example.com\x82\x13www.two.example.com\x82\x15www.three.example.com\x82";
        assert!(of(names).is_closed() && !of(names).is_text());
        let name =
            b"0\x13\x06\x03\x55\x04\x0a\x0c\x0cA Long Name of an Organisation Ltd, Unit 7, Berlin";
        assert!(of(name).is_closed());
        let text =
            "Stra\u{df}e \u{2082}: two lines of quite ordinary text, with nothing else to them";
        assert!(!of(text.as_bytes()).is_closed() && of(text.as_bytes()).is_text());
    }

    #[test]
    fn tls_is_spoken_of_where_a_word_begins_with_it() {
        for words in ["TLSv1.2", "say STARTTLS now", "use_ssl=on", "the old SSLRequest", "ssl"] {
            assert!(announces_tls(words.as_bytes()), "{words}");
        }
        for words in ["9neB35ysslEg+Iq", "hassle", "battlship", "startled", "t l s", "tl"] {
            assert!(!announces_tls(words.as_bytes()), "{words}");
        }
    }

    #[test]
    fn the_lengths_between_datagrams_are_not_looked_at() {
        let mut datagrams = Vec::new();
        for line in ["alpha is the first of all the words", "beta is the second, as ever"] {
            datagrams.extend_from_slice(&u16::try_from(line.len()).expect("short").to_be_bytes());
            datagrams.extend_from_slice(line.as_bytes());
        }
        let mut texture = Texture::default();
        texture.add(&datagrams, true);
        assert!(texture.is_text() && texture.bytes() == datagrams.len() - 4);
    }

    #[test]
    fn reasons() {
        assert_eq!(reason(b"", b"", false), UnknownReason::NoPayload);
        assert_eq!(reason(b"abc", b"", false), UnknownReason::TooShort);
        assert_eq!(reason(&[7; 300], b"", false), UnknownReason::Binary);
        let mut x = 1_u32;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .take(1024)
        .collect();
        assert_eq!(reason(&random, b"", false), UnknownReason::HighEntropy);
    }
}
