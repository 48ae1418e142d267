//! MPEG transport stream over UDP. <https://www.itu.int/rec/T-REC-H.222.0>
use super::Directions;
use super::grammar::{Grammar, Message, Place, Read, UDP, demand, info};
use crate::{bytes::Cursor, detect::Info};

pub(super) struct Mpegts;

impl Grammar for Mpegts {
    const INFO: &'static Info = &INFO;

    fn message(&self, _: Place, bytes: &[u8]) -> Read {
        let packets = bytes.len().checked_div(PACKET_BYTES).unwrap_or(0);
        demand!((1..=7).contains(&packets) && bytes.len() == packets.saturating_mul(PACKET_BYTES));
        let mut proof = 0_u32;
        for packet in bytes.chunks_exact(PACKET_BYTES) {
            let mut c = Cursor::new(packet);
            let (sync, pid) = (c.u8()?, c.u16_be()?);
            // No error, and a payload or a field that adapts.
            demand!(sync == 0x47 && pid & 0x8000 == 0 && c.u8()? & 0x30 != 0);
            proof = proof.saturating_add(8);
        }
        Ok(Some(Message::new(bytes.len(), proof, "mpegts.packets", "47 each 188 bytes")))
    }
}

const PACKET_BYTES: usize = 188;

static INFO: Info = Info {
    midstream: true,
    ..info(
        "mpegts",
        "MPEG transport stream",
        "https://www.itu.int/rec/T-REC-H.222.0",
        &[],
        UDP,
        Directions::Client,
    )
};

#[cfg(test)]
mod tests {
    use super::super::grammar::bench::{C, denies, probe_udp, proves_udp};
    use super::*;
    use crate::detect::Probe;
    use crate::model::Transport;

    #[test]
    fn the_sync_byte_recurs() {
        let packet = [&b"\x47\x01\0\x10"[..], &[0x5a; 184]].concat();
        proves_udp(&Mpegts, &[("seven", C, &packet.repeat(7))]);
        assert_eq!(probe_udp(&Mpegts, C, &[&packet]), Probe::More);
        assert!(matches!(probe_udp(&Mpegts, C, &[&packet[..]; 5]), Probe::Match(_)));
        denies(
            &Mpegts,
            Transport::Udp,
            &[("text", &[b'G'; 180]), ("error", &[0x47, 0x80].repeat(94))],
        );
    }
}
