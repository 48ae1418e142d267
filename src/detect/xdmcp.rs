//! XDMCP. <https://www.x.org/releases/current/doc/libXdmcp/xdmcp.html>
//!
//! Version, opcode and length, and a body of the form that the opcode has.
use super::{
    Detector, Directions, FollowState, Info, Next, Probe, Said, Step, View,
    exchange::{Told, first_datagram, follow_datagrams, probe_datagram},
};
use crate::{
    bytes::{Cursor, Short},
    model::{Credentials, Side, Transport},
};

pub(super) struct Xdmcp;

impl Detector for Xdmcp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self, view: &View<'_>) -> Probe {
        probe_datagram(view, read)
    }

    fn follow(&self, state: &mut FollowState, side: Side, said: Said<'_>) -> Step {
        let step = follow_datagrams(state, side, said, read);
        // The cookie comes when both have spoken.
        let opcode = first_datagram(said).and_then(|datagram| datagram.get(2..4));
        let asks = matches!(opcode, Some([0, 1..=5 | 7]));
        let [.., messages] = state.words;
        let waits = asks && !step.facts.mismatch && messages < ASKED_MAX;
        Step { next: if waits { Next::Continue } else { step.next }, ..step }
    }
}

fn read(side: Side, datagram: &[u8]) -> Result<Option<Told>, Short> {
    let mut c = Cursor::new(datagram);
    let (version, opcode, length) = (c.u16_be()?, c.u16_be()?, usize::from(c.u16_be()?));
    if version != 1 || length != c.left() {
        return Ok(None);
    }
    let known = FORMS.iter().find(|form| form.opcode == opcode && form.sender == side);
    let Some(form) = known else { return Ok(None) };
    let mut cookie = false;
    for field in form.fields {
        let last = match field {
            Fixed(bytes) => c.take(*bytes)?,
            Array8 => array8(&mut c)?,
            Arrays => {
                for _ in 0..c.u8()? {
                    array8(&mut c)?;
                }
                &[]
            }
            Array16 => {
                let count = usize::from(c.u8()?);
                c.take(count.saturating_mul(2))?
            }
        };
        cookie |= opcode == ACCEPT && last == COOKIE;
    }
    let told = Told::clear("xdmcp.message", form.constant, datagram.len());
    let refusing = matches!(opcode, UNWILLING | DECLINE | REFUSE | FAILED);
    let told = if cookie { told.with(Credentials::SESSION_SECRET) } else { told };
    Ok(c.is_empty().then(|| told.refusing(refusing)))
}

fn array8<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], Short> {
    let length = usize::from(c.u16_be()?);
    c.take(length)
}

/// What a body is made of.
enum Field {
    Fixed(usize),
    Array8,
    Arrays,
    Array16,
}

struct Form {
    opcode: u16,
    sender: Side,
    constant: &'static str,
    fields: &'static [Field],
}

const fn form(opcode: u16, sender: Side, constant: &'static str, fields: &'static [Field]) -> Form {
    Form { opcode, sender, constant, fields }
}

/// So many queries and answers may come before a session is granted.
const ASKED_MAX: u32 = 16;
const ACCEPT: u16 = 8;
const UNWILLING: u16 = 6;
const DECLINE: u16 = 9;
const REFUSE: u16 = 11;
const FAILED: u16 = 12;
const COOKIE: &[u8] = b"MIT-MAGIC-COOKIE-1";

use Field::{Array8, Array16, Arrays, Fixed};

static FORMS: [Form; 13] = [
    form(1, Side::Client, "BroadcastQuery", &[Arrays]),
    form(2, Side::Client, "Query", &[Arrays]),
    form(3, Side::Client, "IndirectQuery", &[Arrays]),
    form(4, Side::Client, "ForwardQuery", &[Array8, Array8, Arrays]),
    form(5, Side::Server, "Willing", &[Array8, Array8, Array8]),
    form(UNWILLING, Side::Server, "Unwilling", &[Array8, Array8]),
    form(7, Side::Client, "Request", &[Fixed(2), Array16, Arrays, Array8, Array8, Arrays, Array8]),
    form(ACCEPT, Side::Server, "Accept", &[Fixed(4), Array8, Array8, Array8, Array8]),
    form(DECLINE, Side::Server, "Decline", &[Array8, Array8, Array8]),
    form(10, Side::Client, "Manage", &[Fixed(4), Fixed(2), Array8]),
    form(REFUSE, Side::Server, "Refuse", &[Fixed(4)]),
    form(FAILED, Side::Server, "Failed", &[Fixed(4), Array8]),
    form(13, Side::Client, "KeepAlive", &[Fixed(2), Fixed(4)]),
];

static INFO: Info = Info {
    name: "xdmcp",
    title: "X Display Manager Control Protocol",
    spec: "https://www.x.org/releases/current/doc/libXdmcp/xdmcp.html",
    ports: &[177],
    transports: &[Transport::Udp],
    directions: Directions::Either,
    midstream: true,
    upgrades: &[],
    credentials: Credentials::SESSION_SECRET,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::exchange::bench::{hear_datagrams, proves, proves_nothing_else};

    const C: Side = Side::Client;
    const S: Side = Side::Server;

    const QUERY: &[u8] = b"\x00\x01\x00\x02\x00\x01\x00";
    const ACCEPTED: &[u8] =
        b"\x00\x01\x00\x08\x00\x26\0\0\0\x01\0\0\0\0\x00\x12MIT-MAGIC-COOKIE-1\x00\x08secretly";

    #[test]
    fn a_body_of_its_form_proves_the_side_that_sends_it() {
        let cases: [(Side, &[u8]); 4] = [
            (C, QUERY),
            (C, b"\x00\x01\x00\x0d\x00\x06\x00\x00\x00\x00\x00\x05"),
            (S, b"\x00\x01\x00\x05\x00\x0f\x00\x00\x00\x04host\x00\x05ready"),
            (S, ACCEPTED),
        ];
        for (side, bytes) in cases {
            assert!(proves(&Xdmcp, side, bytes), "{bytes:02x?}");
            assert!(!proves(&Xdmcp, side.other(), bytes), "{bytes:02x?} from the other side");
            assert!(!proves(&Xdmcp, side, &bytes[..bytes.len() - 1]), "{bytes:02x?} cut");
        }
        let willing = b"\x00\x01\x00\x05\x00\x0f\x00\x00\x00\x04host\x00\x05ready";
        let request = b"\x00\x01\x00\x07\x00\x0f\0\x01\x01\0\0\x01\0\x04\x0a\0\0\x01\0\0\0";
        let heard =
            hear_datagrams(&Xdmcp, &[(C, QUERY), (S, willing), (C, request), (S, ACCEPTED)]);
        assert_eq!(heard.credentials, Credentials::SESSION_SECRET, "after a query");
        let heard = hear_datagrams(&Xdmcp, &[(C, QUERY), (S, ACCEPTED)]);
        assert_eq!((heard.fits, heard.credentials), ([true, true], Credentials::SESSION_SECRET));
    }

    #[test]
    fn other_datagrams_and_random_bytes_prove_nothing() {
        proves_nothing_else(&Xdmcp);
    }
}
