//! `DNSCrypt` version 2 over UDP and TCP. <https://www.rfc-editor.org/rfc/rfc9843>, <https://dnscrypt.info/protocol/>
//!
//! The resolver's answer begins with `r6fnvWj8` and repeats the client's half of the nonce, which stands behind the
//! client's magic and key in its query. A query alone is random but for its padding.
use super::{
    Detector, Directions, Facts, FollowState, Info, Probe, Said, Step, View,
    datagram::{Datagram, Proof, follow_each, heads, looks_sealed},
};
use crate::model::{Credentials, Encryption, Side, Transport};

pub(super) struct Dnscrypt;

impl Detector for Dnscrypt {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        let query = heads(view.client).next();
        let answer = heads(view.server).next();
        let proof = Proof {
            rule: "dnscrypt.answer",
            constant: "r6fnvWj8",
            encryption: Encryption::OtherEncrypted,
        };
        match (query, answer) {
            (None, Some(answer)) if is_answer(&answer) && answer.is_whole() => {
                answer.matched(Side::Server, proof)
            }
            (None, Some(answer)) if !is_answer(&answer) && view.transport != Transport::Tcp => {
                Probe::No
            }
            (Some(query), _) if !may_be_query(&query) => Probe::No,
            (Some(query), Some(answer)) if query.is_whole() && answer.is_whole() => {
                let asked = query.bytes.get(NONCE_AT..).and_then(|rest| rest.get(..NONCE_BYTES));
                let answered =
                    answer.bytes.get(MAGIC.len()..).and_then(|rest| rest.get(..NONCE_BYTES));
                if is_answer(&answer) && asked == answered {
                    answer.matched(Side::Server, proof)
                } else {
                    Probe::No
                }
            }
            _ => Probe::More,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        follow_each(state, side, said, None, |side, message| match side {
            Side::Client => may_be_query(message).then_some(Facts::FITS),
            Side::Server => is_answer(message).then_some(Facts { accepted: true, ..Facts::FITS }),
        })
    }
}

fn is_answer(message: &Datagram<'_>) -> bool {
    let known = message.bytes.len().min(MAGIC.len());
    let sealed = message.bytes.get(8..32).is_none_or(looks_sealed);
    message.bytes.get(..known) == MAGIC.get(..known)
        && message.declared >= ANSWER_BYTES_MIN
        && sealed
}

/// Magic, public key, half a nonce and a box whose content is padded to multiples of 64 bytes.
fn may_be_query(message: &Datagram<'_>) -> bool {
    let padded = message.declared.checked_sub(QUERY_HEAD_BYTES);
    let sealed = message.bytes.get(..NONCE_AT).is_none_or(looks_sealed);
    padded.is_some_and(|n| n >= PADDED_BYTES_MIN && n.is_multiple_of(64)) && sealed
}

const MAGIC: &[u8] = b"r6fnvWj8";
/// Behind the client's magic and its public key.
const NONCE_AT: usize = 40;
const NONCE_BYTES: usize = 12;
/// Up to the tag of the box.
const QUERY_HEAD_BYTES: usize = 68;
const PADDED_BYTES_MIN: usize = 128;
const ANSWER_BYTES_MIN: usize = 48 + 64;

static INFO: Info = Info {
    name: "dnscrypt",
    title: "DNSCrypt",
    spec: "https://dnscrypt.info/protocol/",
    ports: &[443, 5353],
    transports: &[Transport::Udp, Transport::Tcp],
    directions: Directions::Server,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::{
        check::{hear, probe_side},
        datagram::tests::{never_matches_noise, noise, probe, rule, said},
    };

    fn conversation() -> (Vec<u8>, Vec<u8>) {
        let query = noise(68 + 256);
        let answer = [MAGIC, &query[40..52], &noise(12 + 16 + 128)].concat();
        (query, answer)
    }

    #[test]
    fn an_answer_to_the_query_proves_it() {
        let (query, answer) = conversation();
        assert_eq!(probe(&Dnscrypt, &[&query], &[]), Probe::More);
        assert!(rule(probe(&Dnscrypt, &[&query], &[&answer])).is_some());
        assert!(rule(probe(&Dnscrypt, &[], &[&answer])).is_some());
        let mut other = answer.clone();
        other[9] ^= 1;
        assert_eq!(probe(&Dnscrypt, &[&query], &[&other]), Probe::No, "another nonce");
        assert_eq!(probe(&Dnscrypt, &[&query[1..]], &[&answer]), Probe::No, "not padded");
        let heard =
            hear(&Dnscrypt, &[(Side::Client, &said(&[&query])), (Side::Server, &said(&[&answer]))]);
        assert_eq!(
            (heard.encryption, heard.fits),
            (Some(Encryption::OtherEncrypted), [true, true])
        );
    }

    #[test]
    fn look_alikes_do_not_match() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\0\x01", b"\0\0\0\x08\x04\xd2\x16\x2f"]
        {
            assert_eq!(probe_side(&Dnscrypt, Side::Client, bytes), Probe::No);
        }
        never_matches_noise(&Dnscrypt, b"r");
    }
}
