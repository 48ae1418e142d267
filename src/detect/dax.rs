//! Amazon `DynamoDB` Accelerator. <https://github.com/aws/aws-dax-go/blob/master/dax/internal/client/tube.go>
//!
//! The client opens with a CBOR string of its own, layering 0, a session, its headers. What the server says has no mark.
use super::store::{self, Flaw, Read, mark};
use super::{Detector, Directions, Facts, FollowState, Info, Match, Probe, Said, Step, View};
use crate::{
    bytes::Cursor,
    model::{Credentials, PlaintextReason, Side, Transport},
};

pub(super) struct Dax;

impl Detector for Dax {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        store::tcp(view, prove, |_| Err(Flaw::Bad))
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let usual = Some(PlaintextReason::NoInBandUpgrade);
        store::read_on(state, side, said, usual, |state, bytes| {
            let facts = match side {
                Side::Client => prove(said).map(|_| Facts::FITS)?,
                // A response is an array, which begins with the list of errors.
                Side::Server => {
                    store::byte(&mut Cursor::new(bytes), |b| matches!(b, 0x80..=0x9f))?;
                    Facts::FITS
                }
            };
            store::over(state, side);
            Ok(Step::read(bytes.len(), facts))
        })
    }
}

fn prove(said: Said<'_>) -> Read<Match> {
    let mut c = Cursor::new(said.bytes);
    store::expect(&mut c, MAGIC)?;
    Ok(store::plaintext(mark("dax.magic", Side::Client, 0, c.at(), "J7yne5G")))
}

/// A string of seven characters, the number 0.
const MAGIC: &[u8] = b"\x67J7yne5G\x00";

static INFO: Info = Info {
    name: "dax",
    title: "Amazon DynamoDB Accelerator",
    spec: "https://github.com/aws/aws-dax-go/blob/master/dax/internal/client/tube.go",
    ports: &[8111],
    transports: &[Transport::Tcp],
    directions: Directions::Client,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::check::{hear, hear_from, probe_side};
    use crate::detect::{Start, check::Heard};

    const OPENING: &[u8] = b"\x67J7yne5G\x00\xf6\xa1\x69UserAgent\x6cDaxJSClient-\x00";

    #[test]
    fn the_clients_magic_is_the_only_proof() {
        let client = |bytes| matches!(probe_side(&Dax, Side::Client, bytes), Probe::Match(_));
        assert!(client(OPENING) && !client(b"\x67J7yne5H\x00") && !client(b"J7yne5G\x00"));
        assert_eq!(probe_side(&Dax, Side::Server, OPENING), Probe::More);
        let heard = hear_from(&Dax, &[(Side::Client, b"\x01\x1a\x0f\xb0")], Start::Unknown);
        assert_eq!(heard.matched, None);
    }

    #[test]
    fn the_answer_is_an_array() {
        let heard = |answer: &[u8]| -> Heard {
            hear(&Dax, &[(Side::Client, OPENING), (Side::Server, answer)])
        };
        assert_eq!(heard(b"\x80\xf6").fits, [true, true]);
        assert_eq!(heard(b"\x80").reason, Some(PlaintextReason::NoInBandUpgrade));
        assert_eq!(heard(b"\x15\x03\x03\x00\x02").mismatch, [false, true]);
    }
}
