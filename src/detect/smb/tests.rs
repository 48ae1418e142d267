use super::*;
use crate::detect::{
    check::{Heard, hear, hear_from, probe_side},
    exchange::bench::{OPENINGS, random_proves_nothing},
};

const C: Side = Side::Client;
const S: Side = Side::Server;
const NAME: &[u8] = b"\x20FDEBENECEBCACACACACACACACACACACA\x00";

/// Behind the header of the session service.
fn framed(message: &[&[u8]]) -> Vec<u8> {
    let message = message.concat();
    let [_, length @ ..] = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &message].concat()
}

fn smb2(side: Side, command: u8, status: u32, body: &[u8]) -> Vec<u8> {
    let from = u8::from(side == S);
    let head =
        [&b"\xfeSMB\x40\0\0\0"[..], &status.to_le_bytes(), &[command, 0, 1, 0, from, 0, 0, 0]];
    framed(&[&head.concat(), &[0; 44], body])
}

fn smb1(side: Side, command: u8, body: &[u8]) -> Vec<u8> {
    let flags = if side == S { 0x98 } else { 0x18 };
    framed(&[b"\xffSMB", &[command, 0, 0, 0, 0, flags], &[0; 22], body])
}

fn sealed() -> Vec<u8> {
    framed(&[b"\xfdSMB", &[7; 32], &[16, 0, 0, 0, 0, 0, 1, 0], &[1; 8], &[0x5a; 16]])
}

fn session_request() -> Vec<u8> {
    [&b"\x81\0\0\x44"[..], NAME, NAME].concat()
}

/// A negotiation's response with this dialect and these capabilities.
fn negotiated(dialect: u16, capabilities: u8) -> Vec<u8> {
    let [low, high] = dialect.to_le_bytes();
    let body = [&[65, 0, 1, 0, low, high, 0, 0][..], &[0; 16], &[capabilities, 0, 0, 0], &[0; 40]];
    smb2(S, 0, 0, &body.concat())
}

fn ntlm(response: u8) -> Vec<u8> {
    let blob =
        [&b"NTLMSSP\0\x03\0\0\0\x18\0\x18\0\0\0\0\0"[..], &[response, 0, 0, 0, 0, 0]].concat();
    smb2(C, 1, 0, &blob)
}

fn heard(lines: &[(Side, Vec<u8>)]) -> Heard {
    let lines: Vec<(Side, &[u8])> = lines.iter().map(|(s, b)| (*s, b.as_slice())).collect();
    hear(&Smb, &lines)
}

#[test]
fn headers_prove_the_side_that_sends_them() {
    let cases: [(&str, Side, Vec<u8>, bool); 7] = [
        ("SMB 1 negotiation", C, smb1(C, 0x72, b"\0\0\0"), false),
        ("its answer", S, smb1(S, 0x72, b"\0\0\0"), false),
        ("SMB 2 negotiation", C, smb2(C, 0, 0, &[36, 0]), false),
        ("its answer", S, negotiated(0x0302, 0), false),
        ("session request", C, session_request(), false),
        ("session taken", S, b"\x82\0\0\0".to_vec(), false),
        ("transform", C, sealed(), true),
    ];
    for (what, side, bytes, either) in cases {
        assert!(matches!(probe_side(&Smb, side, &bytes), Probe::Match(_)), "{what}");
        let other = matches!(probe_side(&Smb, side.other(), &bytes), Probe::Match(_));
        assert_eq!(other, either, "{what} from the other side");
    }
    for (at, byte) in [(0, 1), (3, 8), (4, 0xfb), (5, b'm'), (8, 65), (16, 0x20)] {
        let mut bad = smb2(C, 0, 0, &[36, 0]);
        bad[at] = byte;
        assert_eq!(probe_side(&Smb, C, &bad), Probe::No, "byte {at}");
    }
    for bytes in OPENINGS {
        assert_eq!(probe_side(&Smb, C, bytes), Probe::No);
    }
    random_proves_nothing(&Smb);
}

#[test]
fn data_in_clear_decides_and_sealing_may_come_later() {
    let opening = |dialect, capabilities| {
        [(C, smb2(C, 0, 0, &[36, 0])), (S, negotiated(dialect, capabilities))].to_vec()
    };
    let create = [(C, smb2(C, 5, 0, &[57, 0])), (S, smb2(S, 5, 0, &[89, 0]))];
    let old = heard(&[opening(0x0210, 0), create.to_vec()].concat());
    assert_eq!(old.encryption, Some(Encryption::Plaintext));
    assert_eq!((old.fits, old.reason), ([true, true], Some(PlaintextReason::ServerRefused)));
    let able = heard(&[opening(0x0302, 0x40), create.to_vec()].concat());
    assert_eq!(able.reason, Some(PlaintextReason::ClientDeclined));
    let tree = [(C, smb2(C, 3, 0, &[9, 0])), (S, smb2(S, 3, 0, &[16, 0]))];
    let open = heard(&[opening(0x0311, 0), tree.to_vec()].concat());
    assert_eq!(open.encryption, None);
    let seals = [(C, sealed()), (S, sealed())];
    let closed = heard(&[opening(0x0311, 0), tree.to_vec(), seals.to_vec()].concat());
    assert_eq!(closed.encryption, Some(Encryption::OtherEncrypted));
    let later = heard(&[create.to_vec(), seals.to_vec()].concat());
    assert_eq!(later.encryption, Some(Encryption::OtherEncrypted));
}

#[test]
fn logins() {
    let more = smb2(S, 1, MORE_PROCESSING_REQUIRED, &[9, 0]);
    let login = |blob: Vec<u8>, status| {
        let lines = [(C, smb2(C, 1, 0, &[25, 0])), (S, more.clone()), (C, blob)];
        heard(&[lines.to_vec(), vec![(S, smb2(S, 1, status, &[9, 0]))]].concat())
    };
    assert_eq!(login(ntlm(24), 0).credentials, Credentials::PASSWORD_HASH_CHALLENGE);
    assert_eq!(login(ntlm(0), 0).credentials, Credentials::NONE, "anonymous");
    assert!(login(ntlm(24), 0xc000_006d).refused && !login(ntlm(24), 0).refused);
    let ticket = smb2(C, 1, 0, b"\x60\x82\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01\x00\x6e");
    assert_eq!(login(ticket, 0).credentials, Credentials::PASSWORD_HASH_CHALLENGE, "Kerberos");
    let setup = |length: u8| {
        let body = [&[13][..], &[0; 14], &[length, 0, 0, 0], &[0; 32]].concat();
        heard(&[(C, smb1(C, 0x73, &body))]).credentials
    };
    assert_eq!(setup(24), Credentials::PASSWORD_HASH_CHALLENGE);
    assert_eq!(setup(8), Credentials::PASSWORD_CLEARTEXT);
    assert_eq!(setup(1), Credentials::NONE);
}

#[test]
fn a_session_of_netbios_comes_first() {
    let taken = (S, b"\x82\0\0\0".to_vec());
    let read = [(C, smb1(C, 0x2e, b"\0\0\0")), (S, smb1(S, 0x2e, b"\0\0\0"))];
    let session = heard(&[&[(C, session_request()), taken][..], &read].concat());
    assert_eq!(session.encryption, Some(Encryption::Plaintext));
    assert_eq!(session.reason, Some(PlaintextReason::NoInBandUpgrade));
    let refused = heard(&[(C, session_request()), (S, b"\x83\0\0\x01\x82".to_vec())]);
    assert!(refused.refused && refused.mismatch == [false, false]);
    let other = heard(&[(C, session_request()), (S, b"HTTP/1.1 400".to_vec())]);
    assert_eq!(other.mismatch, [false, true]);
}

#[test]
fn a_late_view_is_known_by_its_message() {
    let late = |bytes: &[u8]| hear_from(&Smb, &[(C, bytes)], Start::Unknown);
    assert_eq!(late(&sealed()).encryption, Some(Encryption::OtherEncrypted));
    assert_eq!(late(&smb2(C, 8, 0, &[49, 0])).encryption, Some(Encryption::Plaintext));
    assert!(late(&session_request()).matched.is_none());
}
