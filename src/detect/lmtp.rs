//! LMTP: SMTP for local delivery. <https://www.rfc-editor.org/rfc/rfc2033>
//!
//! The grammar is SMTP's; `LHLO`, or the word in the server's greeting, tells it apart.
use super::lines::{self, Dialect, Fit, Means, Names, Place, Proves, Rest, Talk};
use super::smtp::{self, Variant};
use super::{Detector, Directions, FollowState, Info, Probe, Said, Step, View};
use crate::model::{Credentials, Side, Transport};

pub(super) struct Lmtp;

impl Detector for Lmtp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        lines::probe(self, view)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        lines::follow(self, state, side, said)
    }
}

impl Dialect for Lmtp {
    fn names(&self) -> &'static Names {
        &NAMES
    }

    fn fit(&self, place: Place, line: &[u8]) -> Fit {
        match smtp::fit(&VARIANT, place, line) {
            // Only its own words tell it from SMTP.
            Fit::Own("LHLO") => Fit::Own("LHLO"),
            Fit::Own("LMTP") => Fit::Own("LMTP"),
            Fit::Own(_) if place.late => Fit::No,
            Fit::Own(_) | Fit::Weak(_) => Fit::Shared,
            fit => fit,
        }
    }

    fn hear(&self, talk: &mut Talk<'_>, side: Side, line: &[u8]) -> Means {
        smtp::hear(&VARIANT, talk, side, line)
    }
}

static VARIANT: Variant = Variant {
    hello: &[("LHLO", Rest::Argument, Proves::Own, Means::Lists)],
    word: "LMTP",
    other: "SMTP",
};

static NAMES: Names = lines::names!("lmtp", "lmtp-starttls");

static INFO: Info = Info {
    name: "lmtp",
    title: "Local Mail Transfer Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc2033",
    ports: &[24],
    transports: &[Transport::Tcp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &["lmtp-starttls"],
    credentials: Credentials::SASL_PLAIN.with(Credentials::PASSWORD_HASH_CHALLENGE),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, probe_side};
    use crate::model::{Encryption, PlaintextReason};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    #[test]
    fn only_its_own_words_tell_it_from_smtp() {
        let matches = |side, bytes| matches!(probe_side(&Lmtp, side, bytes), Probe::Match(_));
        assert!(matches(C, b"LHLO mx.example.com\r\n"));
        assert!(matches(S, b"220 mail LMTP Dovecot ready\r\n"));
        assert!(!matches(C, b"EHLO mx.example.com\r\n"));
        assert!(!matches(C, b"MAIL FROM:<a@b>\r\n"));
        assert!(!matches(S, b"220 mail ESMTP\r\n250 ok\r\n"));
        assert!(!matches(S, b"220 mail\r\n250-PIPELINING\r\n"));
    }

    #[test]
    fn a_delivery() {
        let heard = hear(
            &Lmtp,
            &[
                (S, b"220 mail LMTP\r\n"),
                (C, b"LHLO x\r\n"),
                (S, b"250-mail\r\n250-STARTTLS\r\n250 PIPELINING\r\n"),
                (C, b"MAIL FROM:<a@b>\r\n"),
                (S, b"250 ok\r\n"),
            ],
        );
        assert_eq!(heard.encryption, Some(Encryption::Plaintext));
        assert_eq!(heard.reason, Some(PlaintextReason::ClientDeclined));
    }
}
