//! Link types: pcap `LINKTYPE_` numbers and their names (<https://www.tcpdump.org/linktypes.html>).

use std::fmt;

/// A link type that prints as `105 (IEEE 802.11)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkType(pub u32);

impl LinkType {
    /// From the number in a file or from libpcap. Some writers store libpcap's own `DLT_RAW` (12, on OpenBSD 14) where
    /// `LINKTYPE_RAW` belongs; neither number means anything else.
    pub const fn from_dlt(number: u32) -> Self {
        match number {
            12 | 14 => Self(RAW),
            other => Self(other),
        }
    }

    /// The registered name, for those likely to turn up.
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{} ({name})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

const RAW: u32 = 101;

const NAMES: &[(u32, &str)] = &[
    (0, "BSD loopback"),
    (1, "Ethernet"),
    (6, "Token Ring"),
    (8, "SLIP"),
    (9, "PPP"),
    (10, "FDDI"),
    (50, "PPP in HDLC-like framing"),
    (51, "PPPoE"),
    (100, "LLC/SNAP ATM"),
    (RAW, "raw IP"),
    (104, "Cisco HDLC"),
    (105, "IEEE 802.11"),
    (107, "Frame Relay"),
    (108, "OpenBSD loopback"),
    (113, "Linux cooked v1"),
    (117, "OpenBSD pflog"),
    (119, "IEEE 802.11 with Prism header"),
    (122, "IP over Fibre Channel"),
    (127, "IEEE 802.11 with radiotap header"),
    (147, "user 0"),
    (163, "IEEE 802.11 with AVS header"),
    (187, "Bluetooth HCI"),
    (189, "USB, Linux"),
    (192, "PPI"),
    (195, "IEEE 802.15.4"),
    (201, "Bluetooth HCI with direction"),
    (220, "USB, Linux, padded"),
    (228, "raw IPv4"),
    (229, "raw IPv6"),
    (230, "IEEE 802.15.4 without FCS"),
    (231, "D-Bus"),
    (239, "Linux NFLOG"),
    (249, "USBPcap"),
    (252, "Wireshark upper PDU"),
    (253, "Linux netlink"),
    (254, "Bluetooth monitor"),
    (258, "Apple PKTAP"),
    (272, "nRF sniffer"),
    (276, "Linux cooked v2"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_number_and_name() {
        for (number, text) in
            [(105, "105 (IEEE 802.11)"), (4711, "4711"), (12, "101 (raw IP)"), (14, "101 (raw IP)")]
        {
            assert_eq!(LinkType::from_dlt(number).to_string(), text);
        }
    }
}
