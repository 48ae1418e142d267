//! ONC RPC programs other than NFS: portmapper, mount, lock manager. <https://www.rfc-editor.org/rfc/rfc5531>
use super::{
    Detector, Directions, FollowState, Info, Probe, Said, Step, View,
    rpc::{self, Programs},
};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Sunrpc;

impl Detector for Sunrpc {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        rpc::probe(view, Programs::Other)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        rpc::follow(state, side, said)
    }
}

static INFO: Info = Info {
    name: "sunrpc",
    title: "ONC RPC",
    spec: "https://www.rfc-editor.org/rfc/rfc5531",
    ports: &[111],
    transports: &[Transport::Tcp, Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[rpc::UPGRADE],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        detect::{
            Start,
            check::{hear, hear_from, probe_side},
            exchange::bench::{
                OPENINGS, hear_datagrams, proves, proves_nothing_else, random_proves_nothing,
            },
            nfs::Nfs,
        },
        model::{Encryption, PlaintextReason},
    };

    const ID: u32 = 0x5a00_0007;
    const C: Side = Side::Client;
    const S: Side = Side::Server;
    const PORTMAPPER: u32 = 100_000;
    const NFS: u32 = 100_003;

    /// A call with a credential of `flavor`.
    fn call(program: u32, procedure: u32, flavor: u32, credential: &[u32]) -> Vec<u8> {
        let size = u32::try_from(credential.len() * 4).unwrap();
        let head = [ID, 0, 2, program, 3, procedure, flavor, size];
        [&head[..], credential, &[0, 0]].concat().iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    fn reply(words: &[u32]) -> Vec<u8> {
        [&[ID, 1], words].concat().iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    /// Behind its record mark.
    fn marked(message: &[u8]) -> Vec<u8> {
        let word = 1 << 31 | u32::try_from(message.len()).unwrap();
        [&word.to_be_bytes()[..], message].concat()
    }

    const ACCEPTED: &[u32] = &[0, 0, 0, 0, 0, 1];
    const SYS: &[u32] = &[1, 0, 0, 0, 0];
    const STARTTLS: &[u32] = &[0, 0, 8, 0x5354_4152, 0x5454_4c53, 0];

    #[test]
    fn a_call_proves_its_program() {
        let dump = call(PORTMAPPER, 4, 0, &[]);
        assert!(matches!(probe_side(&Sunrpc, C, &marked(&dump)), Probe::Match(_)));
        assert_eq!(probe_side(&Nfs, C, &marked(&dump)), Probe::No);
        let null = marked(&call(NFS, 0, 1, SYS));
        assert!(matches!(probe_side(&Nfs, C, &null), Probe::Match(_)));
        assert_eq!(probe_side(&Sunrpc, C, &null), Probe::No);
        assert!(proves(&Sunrpc, C, &dump), "without a mark");
        for (at, byte) in [(11, 1), (15, 3), (16, 9), (23, 0xff), (31, 9)] {
            let mut bad = marked(&dump);
            bad[at] = byte;
            assert_eq!(probe_side(&Sunrpc, C, &bad), Probe::No, "byte {at}");
        }
        for bytes in OPENINGS {
            assert_eq!(probe_side(&Sunrpc, C, bytes), Probe::No, "{bytes:02x?}");
        }
        random_proves_nothing(&Sunrpc);
        proves_nothing_else(&Sunrpc);
    }

    #[test]
    fn a_reply_alone_is_that_of_some_program() {
        let whole = marked(&reply(ACCEPTED));
        assert!(matches!(probe_side(&Sunrpc, S, &whole), Probe::Match(_)));
        assert!(!matches!(probe_side(&Nfs, S, &whole), Probe::Match(_)));
        assert!(proves(&Sunrpc, S, &reply(&[1, 1, 5])), "an authentication error");
        assert!(!proves(&Sunrpc, S, &reply(&[1, 1, 5, 0])));
        assert!(!proves(&Sunrpc, S, &reply(&[0, 0, 0, 6])));
        let late =
            |bytes: &[u8]| hear_from(&Sunrpc, &[(S, bytes)], Start::Unknown).matched.is_some();
        assert!(late(&[&whole[..], &whole].concat()) && !late(&whole));
        assert!(!late(&[&whole[..], b"\x17\x03\x03"].concat()));
    }

    #[test]
    fn calls_with_data_decide() {
        let krb5 = |kind: u32, service: u32| call(NFS, 1, 6, &[1, kind, 1, service, 0]);
        let heard = |message: Vec<u8>| {
            let null = marked(&call(NFS, 0, 0, &[]));
            let answer = marked(&reply(ACCEPTED));
            hear(&Nfs, &[(C, &null), (S, &answer), (C, &marked(&message)), (S, &answer)])
        };
        assert_eq!(heard(call(NFS, 1, 1, SYS)).encryption, Some(Encryption::Plaintext));
        assert_eq!(heard(krb5(0, 2)).encryption, Some(Encryption::Plaintext), "integrity");
        assert_eq!(heard(krb5(0, 3)).encryption, Some(Encryption::OtherEncrypted), "privacy");
        let init = marked(&krb5(1, 3));
        assert_eq!(hear(&Nfs, &[(C, &init)]).encryption, None, "the context is made in clear");
        let denied = marked(&reply(&[1, 1, 5]));
        assert!(hear(&Nfs, &[(C, &marked(&call(NFS, 1, 1, SYS))), (S, &denied)]).refused);
        let heard =
            hear_datagrams(&Sunrpc, &[(C, &call(PORTMAPPER, 4, 0, &[])), (S, &reply(ACCEPTED))]);
        assert_eq!(
            (heard.fits, heard.reason),
            ([true, true], Some(PlaintextReason::NoInBandUpgrade))
        );
    }

    #[test]
    fn tls_begins_where_the_server_says_so() {
        let asked = marked(&call(NFS, 0, 7, &[]));
        let taken = marked(&reply(STARTTLS));
        let heard = hear(&Nfs, &[(C, &asked), (S, &taken), (C, b"\x16\x03\x01")]);
        assert_eq!(heard.layer, Some((Some("rpc-auth-tls"), Some(44), Some(36))));
        let heard = hear(&Sunrpc, &[(S, &taken), (S, b"\x16\x03\x03")]);
        assert_eq!(heard.layer, Some((Some("rpc-auth-tls"), None, Some(36))), "the server alone");
        let refused = marked(&reply(&[1, 1, 2]));
        let clear = marked(&call(NFS, 1, 1, SYS));
        let heard = hear(&Nfs, &[(C, &asked), (S, &refused), (C, &clear)]);
        assert_eq!(heard.reason, Some(PlaintextReason::ServerRefused));
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
    }
}
