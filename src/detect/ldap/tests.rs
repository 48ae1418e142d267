use super::*;
use crate::detect::check::{hear, hear_from, matches, probe_side};

const C: Side = Side::Client;
const S: Side = Side::Server;

/// A tag, a length in short or long form, and contents.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = body.len();
    let mut out = vec![tag];
    if length < 128 {
        out.push(u8::try_from(length).unwrap());
    } else {
        out.push(0x82);
        out.extend(u16::try_from(length).unwrap().to_be_bytes());
    }
    [out, body].concat()
}

/// As Microsoft writes lengths: always four bytes.
fn padded(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[tag, 0x84][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), &body].concat()
}

fn message(id: u8, op: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&[2, 1, id], op])
}

fn text(text: &[u8]) -> Vec<u8> {
    tlv(4, &[text])
}

fn simple(id: u8, password: &[u8]) -> Vec<u8> {
    message(id, &tlv(0x60, &[&[2, 1, 3], &text(b"cn=a,dc=x"), &tlv(0x80, &[password])]))
}

fn sasl(id: u8, mechanism: &[u8], credentials: &[u8]) -> Vec<u8> {
    let choice = tlv(0xa3, &[&text(mechanism), &text(credentials)]);
    message(id, &tlv(0x60, &[&[2, 1, 3], &text(b""), &choice]))
}

fn result(id: u8, op: u8, code: u8) -> Vec<u8> {
    message(id, &tlv(op, &[&[0x0a, 1, code], &text(b""), &text(b"")]))
}

fn search_op(base: &[u8]) -> Vec<u8> {
    let limits = b"\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00";
    tlv(0x63, &[&text(base), limits, &tlv(0x87, &[b"objectClass"]), &tlv(0x30, &[])])
}

fn search(id: u8, base: &[u8]) -> Vec<u8> {
    message(id, &search_op(base))
}

fn entry(id: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let attribute = tlv(0x30, &[&text(b"supportedExtension"), &tlv(0x31, &[&text(value)])]);
    message(id, &tlv(0x64, &[&text(name), &tlv(0x30, &[&attribute])]))
}

fn start_tls(id: u8) -> Vec<u8> {
    message(id, &tlv(0x77, &[&tlv(0x80, &[START_TLS])]))
}

const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
const SERVER_HELLO: &[u8] = b"\x16\x03\x03\x00\x5a\x02\x00\x00\x56\x03\x03";

#[test]
fn whole_messages_prove_the_side_that_sends_them() {
    let long = padded(0x30, &[&[2, 1, 5], &padded(0x63, &[&search_op(b"dc=x")[2..]])]);
    let controls = tlv(0xa0, &[&tlv(0x30, &[&text(b"1.2.840.113556.1.4.319")])]);
    let controlled = tlv(0x30, &[&[2, 1, 1], &search_op(b"dc=x"), &controls]);
    let cases: [(&str, Side, Vec<u8>); 15] = [
        ("simple bind", C, simple(1, b"secret")),
        ("anonymous bind", C, simple(1, b"")),
        ("SASL bind", C, sasl(1, b"GSS-SPNEGO", &[0x60; 300])),
        ("search", C, search(2, b"dc=example")),
        ("search with controls", C, controlled),
        ("four-byte lengths", C, long),
        ("StartTLS", C, start_tls(1)),
        ("unbind", C, message(9, &[0x42, 0])),
        ("delete", C, message(3, &tlv(0x4a, &[b"cn=a,dc=x"]))),
        ("bind response", S, result(1, 0x61, 49)),
        ("entry", S, entry(2, b"dc=x", b"1.2.3")),
        ("search done", S, result(2, 0x65, 32)),
        ("extended response", S, result(0, 0x78, 2)),
        (
            "NTLM challenge",
            S,
            message(1, &tlv(0x61, &[&[0x0a, 1, 0], &text(b"NTLMSSP\0\x02\x01"), &text(b"")])),
        ),
        ("add response", S, result(7, 0x69, 0)),
    ];
    for (what, side, bytes) in cases {
        assert!(matches(probe_side(&Ldap, side, &bytes)), "{what}");
        assert!(!matches(probe_side(&Ldap, side.other(), &bytes)), "{what} from the other side");
    }
}

#[test]
fn look_alikes_and_flaws_are_not_ldap() {
    let mut longer = simple(1, b"secret");
    longer[1] += 1;
    let mut inner = simple(1, b"secret");
    inner[6] += 1;
    let cases: [(&str, Vec<u8>); 12] = [
        ("a byte too long", longer),
        ("operation longer than the message", inner),
        ("SNMP", b"\x30\x26\x02\x01\x01\x04\x06public\xa0\x19\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x0e".to_vec()),
        ("SNMPv3", b"\x30\x3e\x02\x01\x03\x30\x11\x02\x04\x5f\xb1\x5b\x4d\x02\x03\x00\xff\xe3".to_vec()),
        ("private key", b"\x30\x82\x04\xa4\x02\x01\x00\x02\x82\x01\x01\x00\xc0".to_vec()),
        ("bind with version 4", message(1, &tlv(0x60, &[&[2, 1, 4], &text(b"x"), &tlv(0x80, &[])]))),
        ("negative number", tlv(0x30, &[&[2, 1, 0xff], &search_op(b"x")])),
        ("binary name", message(1, &tlv(0x60, &[&[2, 1, 3], &text(b"\x01\x02"), &tlv(0x80, &[])]))),
        ("indefinite length", b"\x30\x80\x02\x01\x01\x60".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec()),
        ("decimal digits", b"0123456789".to_vec()),
    ];
    for (what, bytes) in cases {
        assert_eq!(probe_side(&Ldap, C, &bytes), Probe::No, "{what}");
        assert!(!matches(probe_side(&Ldap, S, &bytes)), "{what}");
    }
}

#[test]
fn a_password_in_a_simple_bind_is_a_credential() {
    let heard = hear(&Ldap, &[(C, &simple(1, b"secret")), (S, &result(1, 0x61, 0))]);
    assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);
    assert_eq!(heard.reason, Some(PlaintextReason::ClientNeverAsked));
    assert_eq!((heard.fits, heard.refused), ([true, true], false));

    let heard = hear(&Ldap, &[(C, &simple(1, b"wrong")), (S, &result(1, 0x61, 49))]);
    assert!(heard.refused && heard.credentials == Credentials::PASSWORD_CLEARTEXT);

    // First to find the name, then to prove it.
    let heard = hear(
        &Ldap,
        &[
            (C, &simple(1, b"")),
            (S, &result(1, 0x61, 0)),
            (C, &search(2, b"dc=x")),
            (S, &[entry(2, b"cn=a,dc=x", b"x"), result(2, 0x65, 0)].concat()),
            (C, &simple(3, b"secret")),
            (S, &result(3, 0x61, 0)),
        ],
    );
    assert_eq!(heard.credentials, Credentials::PASSWORD_CLEARTEXT);

    for (mechanism, kind) in [
        (&b"PLAIN"[..], Credentials::SASL_PLAIN),
        (b"CRAM-MD5", Credentials::PASSWORD_HASH_CHALLENGE),
        (b"EXTERNAL", Credentials::NONE),
    ] {
        let heard = hear(&Ldap, &[(C, &sasl(1, mechanism, b"\0a\0b")), (S, &result(1, 0x61, 0))]);
        assert_eq!(heard.credentials, kind);
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    }
}

#[test]
fn start_tls_leads_to_tls_only_if_granted() {
    let asked = start_tls(1);
    let granted = result(1, 0x78, 0);
    let heard = hear(&Ldap, &[(C, &asked), (S, &granted), (C, CLIENT_HELLO)]);
    assert_eq!(heard.layer, Some((Some(UPGRADE), Some(asked.len()), Some(granted.len()))));
    assert_eq!(heard.encryption, None);

    let asked_first = [&search(1, b"")[..], &start_tls(2)].concat();
    let told = [entry(1, b"", START_TLS), result(1, 0x65, 0), result(2, 0x78, 0)].concat();
    let heard = hear(&Ldap, &[(C, &asked_first), (S, &told)]);
    assert_eq!(heard.layer, Some((Some(UPGRADE), Some(asked_first.len()), Some(told.len()))));

    let denied = result(1, 0x78, 2);
    let bound = simple(2, b"secret");
    let heard = hear(&Ldap, &[(C, &asked), (S, &denied), (C, &bound), (S, &result(2, 0x61, 0))]);
    assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
    let heard = hear(&Ldap, &[(C, &asked), (S, &denied)]);
    assert!(heard.refused && heard.encryption.is_none());

    let offer = [entry(1, b"", START_TLS), result(1, 0x65, 0)].concat();
    let heard = hear(&Ldap, &[(C, &search(1, b"")), (S, &offer), (C, &bound)]);
    assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));

    let heard = hear(&Ldap, &[(C, &asked), (C, CLIENT_HELLO)]);
    assert_eq!(heard.layer, Some((Some(UPGRADE), Some(asked.len()), None)), "client alone");
    let heard = hear(&Ldap, &[(S, &granted), (S, SERVER_HELLO)]);
    assert_eq!(heard.layer, Some((Some(UPGRADE), None, Some(granted.len()))), "server alone");
}

#[test]
fn a_security_layer_is_sealed_or_only_signed() {
    let bound = [(C, sasl(1, b"GSS-SPNEGO", b"\x60\x10")), (S, result(1, 0x61, 0))];
    let framed =
        |token: &[u8]| [&u32::try_from(token.len()).unwrap().to_be_bytes()[..], token].concat();
    let sealed_ntlm =
        [&b"\x01\0\0\0\x9a\x11\x42\x10\x8f\x01\x02\x03\0\0\0\0"[..], &[0x5a; 60]].concat();
    let mut signed_ntlm = sealed_ntlm[..16].to_vec();
    signed_ntlm.extend(search(2, b"dc=x"));
    let cases: [(&str, Vec<u8>, Encryption); 5] = [
        (
            "Kerberos, sealed",
            framed(b"\x05\x04\x02\xff\0\0\0\x1c\0\0\0\0\0\0\0\x01xxxx"),
            Encryption::OtherEncrypted,
        ),
        (
            "Kerberos, signed",
            framed(b"\x05\x04\x00\xff\0\x0c\0\x00\0\0\0\0\0\0\0\x01xxxx"),
            Encryption::Plaintext,
        ),
        ("NTLM, sealed", framed(&sealed_ntlm), Encryption::OtherEncrypted),
        ("NTLM, signed", framed(&signed_ntlm), Encryption::Plaintext),
        ("no layer", search(2, b"dc=x"), Encryption::Plaintext),
    ];
    for (what, next, encryption) in cases {
        let [(c, bind), (s, response)] = &bound;
        let heard = hear(&Ldap, &[(*c, bind), (*s, response), (C, &next)]);
        assert_eq!(heard.encryption, Some(encryption), "{what}");
    }
    let ntlm = sasl(2, b"GSS-SPNEGO", b"\xa1\x20NTLMSSP\0\x03\0\0\0");
    let heard = hear(&Ldap, &[(C, &ntlm), (S, &result(2, 0x61, 49))]);
    assert_eq!(heard.credentials, Credentials::PASSWORD_HASH_CHALLENGE);
    assert!(heard.refused && heard.encryption == Some(Encryption::Plaintext));
}

#[test]
fn a_late_view_needs_a_whole_message_with_contents() {
    let late =
        |side, bytes: &[u8]| hear_from(&Ldap, &[(side, bytes)], Start::Unknown).matched.is_some();
    assert!(late(C, &search(77, b"dc=x")));
    assert!(late(S, &entry(77, b"dc=x", b"v")));
    assert!(!late(C, &search(77, b"dc=x")[..30]));
    assert!(!late(C, &message(9, &[0x42, 0])));
    assert!(!late(C, &search(77, b"dc=x")[2..]));
    let heard = hear_from(&Ldap, &[(C, &search(77, b"dc=x"))], Start::Unknown);
    assert_eq!((heard.encryption, heard.reason), (Some(Encryption::Plaintext), None));
}

#[test]
fn connectionless_ldap_fills_its_datagrams() {
    let datagram =
        |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let asked = datagram(&search(1, b""));
    let told = datagram(&[entry(1, b"", b"x"), result(1, 0x65, 0)].concat());
    let longer = datagram(&[&search(1, b"")[..], b"x"].concat());
    let cut = datagram(&search(1, b"")[..20]);
    let probe = |client: &[u8], server: &[u8]| {
        let said = |bytes| Said { bytes, start: Start::Known };
        Ldap.probe(&View::new(Transport::Udp, said(client), said(server)))
    };
    assert!(matches(probe(&asked, &[])));
    assert!(matches(probe(&[], &told)));
    assert_eq!(probe(&longer, &[]), Probe::No);
    assert_eq!(probe(&cut, &[]), Probe::No);
    assert_eq!(probe(&told, &[]), Probe::No);
    assert_eq!(probe(&[], &[]), Probe::More);

    let mut state = FollowState::default();
    let said = |bytes| Said { bytes, start: Start::Known };
    let first = Ldap.follow(&mut state, C, said(&asked));
    let second = Ldap.follow(&mut state, S, said(&told));
    assert_eq!((first.consumed, second.consumed), (asked.len(), told.len()));
    assert_eq!(second.next, Next::Done);
}

#[test]
fn random_bytes_never_match() {
    let mut seed = 0x1da9_u64;
    let mut bytes = [0_u8; 64];
    for _ in 0..300_000 {
        for byte in &mut bytes {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 56) as u8;
        }
        bytes[0] = 0x30;
        for side in [C, S] {
            let said = Said { bytes: &bytes, start: Start::Known };
            assert!(!matches!(see(side, said), Ok(Some(_))), "{bytes:02x?}");
        }
    }
}
