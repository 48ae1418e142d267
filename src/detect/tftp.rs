//! TFTP. <https://www.rfc-editor.org/rfc/rfc1350#section-5>, options <https://www.rfc-editor.org/rfc/rfc2347>
//!
//! A request is text and proof by itself. The server answers from another port, so the transfer is a flow of its own:
//! block numbers that follow each other, or that the other side acknowledges.
use super::{
    Detector, Directions, Facts, FollowState, Info, Match, Next, Probe, Said, Step, View,
    exchange::{mark, printable, string},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, PlaintextReason, Side, Transport},
};

use Packet::{Ack, Data, Error, Oack, Request, Silent};

pub(super) struct Tftp;

impl Detector for Tftp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        if view.transport != Transport::Udp {
            return Probe::No;
        }
        let [client, client_next] = packets(view.client);
        let [server, server_next] = packets(view.server);
        match (client, server) {
            (Request, _) => found(Side::Client, "tftp.request", "RRQ or WRQ"),
            (Silent, Oack) => found(Side::Server, "tftp.options", "OACK"),
            (Silent, Error) => found(Side::Server, "tftp.error", "ERROR"),
            (Silent, Data(1)) if server_next == Data(2) => {
                found(Side::Server, "tftp.blocks", "DATA 1, DATA 2")
            }
            (Ack(0 | 1), Silent) if client_next.follows(client) => {
                found(Side::Client, "tftp.blocks", "ACK, ACK")
            }
            (Ack(0 | 1), Error) | (Ack(0), Oack) | (Ack(1), Data(1)) | (Data(1), Ack(0) | Oack) => {
                found(Side::Client, "tftp.blocks", "DATA and ACK")
            }
            (Silent, Silent) => Probe::More,
            (Silent, Data(1) | Ack(0)) if server_next == Silent => Probe::More,
            (Ack(0 | 1) | Data(1), Silent) if client_next == Silent => Probe::More,
            _ => Probe::No,
        }
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let Some(datagram) = said.datagrams().next() else { return Step::WAIT };
        let [client, server] = &mut state.phase;
        let (mine, other) = if side == Side::Client { (client, server) } else { (server, client) };
        let first = *mine == 0;
        *mine = 1;
        let over = *other == 1;
        let facts = match packet(datagram) {
            Packet::Foreign if first => Facts::MISMATCH,
            Packet::Foreign | Silent => Facts::NONE,
            kind => Facts {
                refused: first && kind == Error,
                reason: Some(PlaintextReason::NoInBandUpgrade),
                ..Facts::FITS
            },
        };
        let next = if over || facts.mismatch { Next::Done } else { Next::Continue };
        Step { consumed: datagram.len().saturating_add(2), facts, next }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packet {
    Silent,
    Foreign,
    Request,
    Data(u16),
    Ack(u16),
    Error,
    Oack,
}

impl Packet {
    const fn follows(self, before: Self) -> bool {
        matches!((before, self), (Self::Ack(n), Self::Ack(next)) if next == n.wrapping_add(1))
    }
}

fn found(side: Side, rule: &'static str, constant: &'static str) -> Probe {
    Match::plaintext(mark(rule, side, 2, 4, constant))
}

/// The first two packets of a side.
fn packets(said: Said<'_>) -> [Packet; 2] {
    let mut datagrams = said.datagrams().map(packet);
    [0, 1].map(|_| datagrams.next().unwrap_or(Silent))
}

fn packet(datagram: &[u8]) -> Packet {
    read(datagram).ok().flatten().unwrap_or(Packet::Foreign)
}

fn read(datagram: &[u8]) -> Result<Option<Packet>, Short> {
    let mut c = Cursor::new(datagram);
    Ok(match c.u16_be()? {
        1 | 2 => {
            let file = string(&mut c, TEXT_BYTES_MAX, is_text)?.is_some();
            // A name that a client forgot leaves only its NULs; the mode tells all the same.
            let empty = c.rest().iter().take_while(|byte| **byte == 0).count();
            c.skip(empty)?;
            let mode = string(&mut c, TEXT_BYTES_MAX, printable)?;
            let known = mode.is_some_and(|mode| MODES.iter().any(|m| mode.eq_ignore_ascii_case(m)));
            (file && known && options(&mut c)?).then_some(Request)
        }
        3 => {
            let block = c.u16_be()?;
            (c.left() <= BLOCK_BYTES_MAX).then_some(Data(block))
        }
        4 => {
            let block = c.u16_be()?;
            c.is_empty().then_some(Ack(block))
        }
        5 => {
            let code = c.u16_be()?;
            let text = string(&mut c, TEXT_BYTES_MAX, printable)?;
            let telling = text.is_some_and(|text| text.len() >= 4);
            (code <= ERROR_CODE_MAX && telling && c.is_empty()).then_some(Error)
        }
        6 => {
            let first = c.rest().first_chunk::<4>().copied().unwrap_or_default();
            let known = OPTIONS.iter().any(|name| first.eq_ignore_ascii_case(*name));
            (known && options(&mut c)?).then_some(Oack)
        }
        _ => None,
    })
}

/// Pairs of names and values to the end.
fn options(c: &mut Cursor<'_>) -> Result<bool, Short> {
    while !c.is_empty() {
        let name = string(c, TEXT_BYTES_MAX, printable)?;
        if name.is_none_or(<[u8]>::is_empty) || string(c, TEXT_BYTES_MAX, printable)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Text, perhaps not ASCII.
const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | 0x80.. | b'\t' | b'\r' | b'\n')
}

const MODES: [&[u8]; 3] = [b"octet", b"netascii", b"mail"];
/// How the options' names begin (RFC 2348, 2349, 7440, and others in use).
const OPTIONS: [&[u8; 4]; 6] = [b"blks", b"time", b"tsiz", b"wind", b"mult", b"roll"];
const TEXT_BYTES_MAX: usize = 255;
const BLOCK_BYTES_MAX: usize = 65464;
const ERROR_CODE_MAX: u16 = 8;

static INFO: Info = Info {
    name: "tftp",
    title: "Trivial File Transfer Protocol",
    spec: "https://www.rfc-editor.org/rfc/rfc1350",
    ports: &[69],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: false,
    upgrades: &[],
    credentials: Credentials::NONE,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Start;
    use crate::detect::exchange::bench::{framed, hear_datagrams, proves, proves_nothing_else};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    fn both(client: &[&[u8]], server: &[&[u8]]) -> Probe {
        let bytes = |list: &[&[u8]]| list.iter().flat_map(|d| framed(d)).collect::<Vec<_>>();
        let (client, server) = (bytes(client), bytes(server));
        let said = |bytes| Said { bytes, start: Start::Known };
        Tftp.probe(&View::new(Transport::Udp, said(&client), said(&server)))
    }

    #[test]
    fn a_request_proves_it_by_its_mode() {
        for request in [
            &b"\x00\x01boot.img\0octet\0"[..],
            b"\x00\x02a\0NetASCII\0",
            b"\x00\x01\0octet\0",
            b"\x00\x01boot.img\0octet\0tsize\x000\0blksize\x001468\0",
        ] {
            assert!(proves(&Tftp, C, request));
            assert!(!proves(&Tftp, S, request));
        }
        for bad in [
            &b"\x00\x01boot.img\0binary\0"[..],
            b"\x00\x01boot.img\0octet",
            b"\x00\x03boot.img\0octet\0",
            b"\x00\x01boot.img\0octet\0tsize\0",
        ] {
            assert!(!proves(&Tftp, C, bad), "{bad:?}");
        }
    }

    #[test]
    fn a_transfer_is_known_by_block_numbers_that_fit_each_other() {
        let (data_1, data_2) = (b"\x00\x03\x00\x01block", b"\x00\x03\x00\x02block");
        let ack = |n: u8| [0, 4, 0, n];
        let yes = |probe| matches!(probe, Probe::Match(_));
        assert!(yes(both(&[&ack(1)], &[data_1])));
        assert!(yes(both(&[], &[data_1, data_2])), "the server alone");
        assert!(yes(both(&[&ack(1), &ack(2)], &[])), "the client alone");
        assert!(yes(both(&[data_1], &[&ack(0)])), "written");
        assert!(yes(both(&[&ack(1)], &[b"\x00\x05\x00\x01File not found\0"])), "refused");
        assert!(yes(both(&[], &[b"\x00\x06blksize\x001468\0"])));
        assert!(yes(both(&[], &[b"\x00\x05\x00\x01File not found\0"])));
        assert_eq!(both(&[], &[data_1]), Probe::More);
        assert_eq!(both(&[data_1], &[&ack(1)]), Probe::No, "the roles exchanged");
        assert_eq!(both(&[&ack(7)], &[]), Probe::No);
        assert_eq!(both(&[&ack(1)], &[data_2]), Probe::No);
    }

    #[test]
    fn a_read_and_a_refusal() {
        let heard = hear_datagrams(&Tftp, &[(S, b"\x00\x03\x00\x01x"), (C, b"\x00\x04\x00\x01")]);
        assert_eq!((heard.fits, heard.refused), ([true, true], false));
        assert_eq!(heard.reason, Some(PlaintextReason::NoInBandUpgrade));
        assert!(hear_datagrams(&Tftp, &[(S, b"\x00\x05\x00\x02Access violation\0")]).refused);
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Tftp);
    }
}
