//! SSH identification strings and key exchange proposals. <https://www.rfc-editor.org/rfc/rfc4253#section-4.2>
//!
//! The server may say other lines first; the client may not. After the identification the stream is binary, so a flow
//! joined later is told by its proposal (section 7.1) or not at all.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Start, Step, View,
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Encryption, Mark, Side, Transport},
};

pub(super) struct Ssh;

impl Detector for Ssh {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Tcp {
            return Probe::No;
        }
        if !view.client.bytes.is_empty() {
            return identification(Side::Client, view.client);
        }
        match identification(Side::Server, view.server) {
            // The class is what the client speaks, and it has not spoken.
            Probe::No => Probe::More,
            answer => answer,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let [client, server] = &mut state.phase;
        let (mine, other) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        if *mine == IDENTIFIED {
            return Step::read(said.bytes.len(), Facts::NONE);
        }
        match identification(side, said) {
            Probe::More => Step::WAIT,
            Probe::No if said.start == Start::Unknown => Step::DONE,
            Probe::No => Step { consumed: 0, facts: Facts::MISMATCH, next: Next::Done },
            Probe::Match(_) => {
                *mine = IDENTIFIED;
                let accepted = *other == IDENTIFIED;
                let next = if *other == IDENTIFIED { Next::Done } else { Next::Continue };
                Step { consumed: said.bytes.len(), facts: Facts { accepted, ..Facts::FITS }, next }
            }
        }
    }
}

/// Looks for the identification string of one side, behind the lines a server may say before it.
fn identification(side: Side, said: Said<'_>) -> Probe {
    if said.start == Start::Unknown {
        match proposal(said.bytes) {
            Ok(true) => {
                let (rule, constant) = ("ssh.proposal", "SSH_MSG_KEXINIT");
                let mark = Mark { rule, side, offset: 0, length: PROPOSAL_BYTES, constant };
                return Match::encrypted(Encryption::Ssh, mark);
            }
            Ok(false) => {}
            Err(Short) => return Probe::More,
        }
    }
    let mut cursor = Cursor::new(said.bytes);
    while cursor.at() < PREAMBLE_BYTES_MAX {
        let at = cursor.at();
        match version(cursor.rest(), said.start) {
            Some(Probe::Match(found)) => {
                let offset = u32::try_from(at).unwrap_or(u32::MAX);
                let mark = Mark { side, offset, ..found.mark };
                return Match::encrypted(Encryption::Ssh, mark);
            }
            Some(answer) => return answer,
            None if side == Side::Client || said.start == Start::Unknown => return Probe::No,
            None => {}
        }
        let rest = cursor.rest();
        match cursor.line() {
            Ok(line) if printable(line) && !is_greeting(line) => {}
            Err(_) if printable(rest) => return Probe::More,
            _ => return Probe::No,
        }
    }
    Probe::No
}

/// Whether a packet in clear begins here that proposes keys: its first list names a key exchange method that is assigned
/// (RFC 4253 sections 6 and 7.1).
fn proposal(bytes: &[u8]) -> Result<bool, Short> {
    let mut cursor = Cursor::new(bytes);
    if cursor.peek()? != 0 {
        return Ok(false);
    }
    let length = cursor.u32_be()?;
    let [padding, message] = cursor.array()?;
    if length > PACKET_BYTES_MAX || padding < PADDING_BYTES_MIN || message != KEXINIT {
        return Ok(false);
    }
    cursor.skip(COOKIE_BYTES)?;
    if cursor.u32_be()? >= length {
        return Ok(false);
    }
    let names: [u8; METHOD_BYTES] = cursor.array()?;
    Ok(METHODS.iter().any(|method| names.starts_with(method)))
}

/// Whether `line` begins as `SSH-protoversion-`; `None`: it is some other line.
fn version(line: &[u8], start: Start) -> Option<Probe> {
    for (prefix, constant) in VERSIONS {
        let known = line.len().min(prefix.len());
        if line.get(..known) != prefix.get(..known) {
            continue;
        }
        let text = line.get(..line.len().min(IDENTIFICATION_BYTES_MAX)).unwrap_or(line);
        let end = text.iter().position(|b| *b == b'\n');
        if known < prefix.len() {
            return Some(Probe::More);
        }
        // A late view proves itself by the whole line.
        match (start, end) {
            (Start::Unknown, None) if line.len() >= IDENTIFICATION_BYTES_MAX => continue,
            (Start::Unknown, None) => return Some(Probe::More),
            (Start::Unknown, Some(end)) if !printable(text.get(..end).unwrap_or(text)) => continue,
            _ => {}
        }
        let length = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
        let rule = "ssh.identification";
        let mark = Mark { rule, side: Side::Client, offset: 0, length, constant };
        return Some(Match::encrypted(Encryption::Ssh, mark));
    }
    None
}

/// Text as a terminal shows it; UTF-8 is allowed (RFC 4253 section 4.2).
fn printable(line: &[u8]) -> bool {
    line.iter().all(|b| matches!(b, b'\t' | b'\r' | 0x20..=0x7e | 0x80..))
}

/// The first line of another protocol, in whose text an identification string may well occur.
fn is_greeting(line: &[u8]) -> bool {
    let code = matches!(line, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..]);
    code || GREETINGS.iter().any(|greeting| line.starts_with(greeting))
}

const KEXINIT: u8 = 20;
const COOKIE_BYTES: usize = 16;
const METHOD_BYTES: usize = 15;
/// Header, message number, cookie, length of the list and the beginning of its first name.
const PROPOSAL_BYTES: u32 = 41;
const PADDING_BYTES_MIN: u8 = 4;
const PACKET_BYTES_MAX: u32 = 35_000;
/// How the names of key exchange methods begin (IANA).
const METHODS: [&[u8]; 6] =
    [b"diffie-hellman-", b"ecdh-sha2-", b"curve25519-", b"curve448-", b"sntrup761x", b"mlkem768x"];
const IDENTIFIED: u8 = 1;
const PREAMBLE_BYTES_MAX: usize = 2048;
const IDENTIFICATION_BYTES_MAX: usize = 255;
const VERSIONS: [(&[u8], &str); 3] =
    [(b"SSH-2.0-", "SSH-2.0-"), (b"SSH-1.99-", "SSH-1.99-"), (b"SSH-1.5-", "SSH-1.5-")];
const GREETINGS: [&[u8]; 6] = [b"HTTP/", b"+OK", b"* OK", b"RFB ", b"@RSYNCD", b"INFO {"];

static INFO: Info = Info {
    name: "ssh",
    title: "Secure Shell",
    spec: "https://www.rfc-editor.org/rfc/rfc4253",
    ports: &[22],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn matches(probe: Probe) -> bool {
        matches!(probe, Probe::Match(found) if found.encryption == Some(Encryption::Ssh))
    }

    #[test]
    fn an_identification_string_proves_ssh_from_either_side() {
        let cases: [(&[u8], bool, bool); 16] = [
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", true, true),
            (b"SSH-1.99-Cisco-1.25\n", true, true),
            (b"SSH-1.5-OldServer\n", true, true),
            (b"SSH-2.0-", true, true),
            (b"Welcome.\r\nBe good.\r\nSSH-2.0-x\r\n", false, true),
            (b"\xc3\xa4 line in UTF-8\nSSH-2.0-x\r\n", false, true),
            (b"SSH-2.0", false, false),
            (b"SSH-3.0-x\r\n", false, false),
            (b"ssh-2.0-x\r\n", false, false),
            (b"\x00\r\nSSH-2.0-x\r\n", false, false),
            (b"GET / HTTP/1.1\r\n", false, false),
            (b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n", false, false),
            (b"220 ftp ready\r\nSSH-2.0-x\r\n", false, false),
            (b"220-ftp\r\n220 ready\r\nSSH-2.0-x\r\n", false, false),
            (b"+OK POP3\r\nSSH-2.0-x\r\n", false, false),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", false, false),
        ];
        for (bytes, from_client, from_server) in cases {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(matches(probe_side(&Ssh, C, bytes)), from_client, "client {text}");
            assert_eq!(matches(probe_side(&Ssh, S, bytes)), from_server, "server {text}");
        }
    }

    #[test]
    fn lines_before_the_identification_are_bounded() {
        let mut lines = b"noise\r\n".repeat(290);
        lines.extend_from_slice(b"SSH-2.0-x\r\n");
        assert!(matches(probe_side(&Ssh, S, &lines)));
        let mut lines = b"noise\r\n".repeat(300);
        lines.extend_from_slice(b"SSH-2.0-x\r\n");
        assert!(!matches(probe_side(&Ssh, S, &lines)));
    }

    #[test]
    fn two_identifications_are_an_ssh_session() {
        let heard = hear(
            &Ssh,
            &[
                (S, b"SSH-2.0-OpenSSH_9.2\r\n"),
                (C, b"SSH-2.0-Go\r\n"),
                (S, b"\x00\x00\x04\x14\x06\x14"),
                (C, b"\x00\x00\x02\x14\x06\x14"),
            ],
        );
        assert_eq!(heard.encryption, Some(Encryption::Ssh));
        assert_eq!((heard.fits, heard.mismatch), ([true, true], [false, false]));
    }

    #[test]
    fn another_protocol_on_one_side_is_a_mismatch() {
        let heard = hear(&Ssh, &[(C, b"SSH-2.0-x\r\n"), (S, b"HTTP/1.1 400 Bad Request\r\n")]);
        assert_eq!((heard.fits, heard.mismatch), ([true, false], [false, true]));
        let heard = hear(&Ssh, &[(S, b"SSH-2.0-x\r\n"), (C, b"GET / HTTP/1.1\r\n\r\n")]);
        assert_eq!((heard.fits, heard.mismatch), ([false, true], [true, false]));
        let heard = hear(&Ssh, &[(C, b"GET / HTTP/1.1\r\n\r\n"), (S, b"SSH-2.0-x\r\n")]);
        assert_eq!(heard.matched, None, "the class is what the client speaks");
    }

    #[test]
    fn a_late_view_needs_the_whole_line_at_its_start() {
        let late = |bytes| hear_from(&Ssh, &[(C, bytes)], Start::Unknown).matched.is_some();
        assert!(late(b"SSH-2.0-OpenSSH_9.2p1\r\n"));
        assert!(!late(b"SSH-2.0-OpenSSH"));
        assert!(!late(b"SSH-2.0-\x00\x01\x02\r\n"));
        assert!(!late(b"words\r\nSSH-2.0-x\r\n"));
        assert!(!late(b"\x8f\x02\xaa\x10\x55\x00\x01\x02"));
    }

    #[test]
    fn a_late_view_is_told_by_its_proposal() {
        let late = |bytes: &[u8]| hear_from(&Ssh, &[(C, bytes)], Start::Unknown).matched.is_some();
        let good = b"\x00\x00\x04\x0c\x06\x14aaaabbbbccccdddd\x00\x00\x00\x20ecdh-sha2-nistp256,ecdh-sha2-abc,x";
        assert!(late(good) && late(&good[..41]) && !late(&good[..40]));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            bytes
        };
        for (what, bytes) in [
            ("another message", with(5, 21)),
            ("padding of 3", with(4, 3)),
            ("a packet too long", with(1, 1)),
            ("no such method", with(26, b'x')),
            ("a list longer than its packet", with(24, 9)),
        ] {
            assert!(!late(&bytes), "{what}");
        }
        assert!(!matches(probe_side(&Ssh, C, good)), "at the start stands the identification");
    }

    #[test]
    fn random_bytes_never_match() {
        let mut seed = 0x5eed_u64;
        for _ in 0..100_000 {
            let mut bytes = [0; 48];
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 56) as u8;
            }
            for side in [C, S] {
                let said = Said { bytes: &bytes, start: Start::Known };
                assert!(!matches(identification(side, said)), "{bytes:02x?}");
            }
        }
    }
}
