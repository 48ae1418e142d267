//! KNXnet/IP: header of six bytes, version 1.0. <https://www.knx.org/>
//!
//! The secure wrapper seals what stands in it.
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, TCP_UDP, demand, info, magic};
use crate::{bytes::Cursor, detect::Info, model::Encryption};

pub(super) struct Knxnet;

impl Grammar for Knxnet {
    const INFO: &'static Info = &INFO;

    fn message(&self, place: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, &[6, 0x10])?);
        let (service, length) = (c.u16_be()?, usize::from(c.u16_be()?));
        let known = matches!(service, 0x0201..=0x020c | 0x0310..=0x0313 | 0x0420 | 0x0421 | 0x0530..=0x0533 | 0x0740..=0x0743 | 0x0950..=0x0955);
        demand!(
            known && (8..=1024).contains(&length) && (!place.datagram || length == bytes.len())
        );
        let message = Message::new(length, 42, "knxnet.frame", "06 10");
        Ok(Some(if service == 0x0950 {
            message.with(Some(Encryption::OtherEncrypted))
        } else {
            message
        }))
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info("knxnet", "KNXnet/IP", "https://www.knx.org/", &[3671], TCP_UDP, Directions::Either)
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, S, denies, proves_tcp, proves_udp};
    use super::*;
    use crate::model::Transport;

    const SEARCH: &[u8] = b"\x06\x10\x02\x01\0\x0e\x08\x01\x0a\0\0\x01\x0e\x57";

    #[test]
    fn frames() {
        proves_udp(
            &Knxnet,
            &[("search", C, SEARCH), ("state", S, b"\x06\x10\x02\x08\0\x08\x01\0")],
        );
        proves_tcp(&Knxnet, &[("search", C, SEARCH)]);
        let mut service = SEARCH.to_vec();
        service[3] = 0x0f;
        denies(
            &Knxnet,
            Transport::Udp,
            &[("service", &service), ("RMCP", b"\x06\0\xff\x06\0\0\x11\xbe")],
        );
    }
}
