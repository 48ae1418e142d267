//! Dropbox LAN sync discovery: JSON in a datagram. <https://help.dropbox.com/sync/lan-sync-overview>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info, magic};
use crate::{
    bytes::{Cursor, holds, is_text},
    detect::Info,
};

pub(super) struct Dropbox;

impl Grammar for Dropbox {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let mut c = Cursor::new(bytes);
        demand!(magic(&mut c, b"{\"host_int\":")? && is_text(bytes));
        let namespaces = holds(bytes, b"\"namespaces\"");
        demand!(namespaces && bytes.ends_with(b"}"));
        Ok(Some(Message::new(bytes.len(), 90, "dropbox.discovery", "host_int, namespaces")))
    }
}

static INFO: Info = Info {
    midstream: true,
    ..info(
        "dropbox",
        "Dropbox LAN sync discovery",
        "https://help.dropbox.com/sync/lan-sync-overview",
        &[17500],
        UDP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, denies, proves_udp};
    use super::*;
    use crate::model::Transport;

    #[test]
    fn an_announcement() {
        let text = b"{\"host_int\": 1, \"version\": [2, 0], \"port\": 17500, \"namespaces\": [1]}";
        proves_udp(&Dropbox, &[("announcement", C, text)]);
        denies(&Dropbox, Transport::Udp, &[("other JSON", b"{\"host_int\": 1, \"port\": 17500}")]);
    }
}
