//! pcapng: sections, interfaces, packets
//! (<https://ietf-opsawg-wg.github.io/draft-ietf-opsawg-pcap/draft-ietf-opsawg-pcapng.html>).
//!
//! What a packet needs is checked before it is handed over; the rest of its block (options, trailing length) after.

use super::{
    LinkSupported,
    blocks::{Blocks, Fault, Order, RECORD_BYTES_MAX, size},
    error::{Interfaces, SkippedInterface},
    link::LinkType,
    pcap_file::Record,
};
use crate::model::{Name, Timestamp, time::NS_PER_S};

/// Reading state of a pcapng file.
#[derive(Debug)]
pub(super) struct Pcapng {
    link_supported: LinkSupported,
    order: Order,
    interfaces: Vec<Interface>,
    /// Of the last packet: simple packet blocks carry none.
    time: Timestamp,
    block: Option<Block>,
    skipped: Interfaces,
}

impl Pcapng {
    pub(super) const fn new(link_supported: LinkSupported) -> Self {
        Self {
            link_supported,
            order: Order::Little,
            interfaces: Vec::new(),
            time: Timestamp(0),
            block: None,
            skipped: Interfaces { listed: Vec::new(), more: 0 },
        }
    }

    /// The next packet that can be decoded; `None` at the end.
    pub(super) fn next(&mut self, blocks: &mut Blocks) -> Result<Option<Record>, Fault> {
        loop {
            if let Some(block) = self.block.take() {
                block.finish(blocks, self.order)?;
            }
            let at = blocks.offset();
            let Some([kind, total]) = blocks.words::<2>(self.order)? else { return Ok(None) };
            if kind == SECTION_HEADER {
                self.section(blocks, at)?;
                continue;
            }
            let block = Block::new(at, total)?;
            let record = match kind {
                INTERFACE_DESCRIPTION => self.interface(blocks, block)?,
                ENHANCED_PACKET | OLD_PACKET => self.packet(blocks, block, kind)?,
                SIMPLE_PACKET => self.simple_packet(blocks, block)?,
                _ => self.pass(block),
            };
            if record.is_some() {
                return Ok(record);
            }
        }
    }

    /// Interfaces whose packets were passed over, once the file is at its end.
    pub(super) fn take_skipped(&mut self) -> Interfaces {
        self.close_interfaces();
        std::mem::take(&mut self.skipped)
    }

    fn section(&mut self, blocks: &mut Blocks, at: u64) -> Result<(), Fault> {
        // The block type reads the same in both orders; the magic after the length tells which it is.
        let [_, _, magic] = head(blocks, Order::Big, SECTION_BYTES_MIN)?;
        self.order = match magic {
            BYTE_ORDER_MAGIC => Order::Big,
            _ if magic.swap_bytes() == BYTE_ORDER_MAGIC => Order::Little,
            _ => return Err(corrupt(at, "a section begins without the byte-order magic")),
        };
        let [_, total, _, version] = head(blocks, self.order, SECTION_BYTES_MIN)?;
        let block = Block::new(at, total)?;
        let (major, minor) = self.order.halves(version);
        if total < SECTION_BYTES_MIN {
            return Err(corrupt(at, format!("a section header of {total} bytes is too short")));
        }
        if major != 1 {
            return Err(corrupt(at, format!("pcapng version {major}.{minor} is not known")));
        }
        self.close_interfaces();
        self.block = Some(block);
        Ok(())
    }

    fn interface(&mut self, blocks: &mut Blocks, block: Block) -> Result<Option<Record>, Fault> {
        let room = block.room(16)?;
        let [_, _, link, snap_bytes] = head(blocks, self.order, block.total)?;
        if room > RECORD_BYTES_MAX {
            return Err(corrupt(block.at, format!("an interface description of {room} bytes")));
        }
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(corrupt(block.at, format!("more than {INTERFACES_MAX} interfaces")));
        }
        let options = blocks.take(16, size(room), u64::from(block.total))?;
        let link = LinkType::from_dlt(u32::from(self.order.halves(link).0));
        let supported = (self.link_supported)(link.0);
        let mut interface = Interface::new(link, snap_bytes, supported);
        if interface.read_options(blocks.get(options), self.order).is_none() {
            return Err(corrupt(block.at, "an option runs past the end of its block"));
        }
        self.interfaces.push(interface);
        self.block = Some(block.consumed(16 + room));
        Ok(None)
    }

    fn packet(
        &mut self,
        blocks: &mut Blocks,
        block: Block,
        kind: u32,
    ) -> Result<Option<Record>, Fault> {
        let room = block.room(28)?;
        let [_, _, number, high, low, captured, original] = head(blocks, self.order, block.total)?;
        let number = match kind {
            OLD_PACKET => u32::from(self.order.halves(number).0),
            _ => number,
        };
        if captured > room {
            let cause = format!("a packet of {captured} bytes in a block that has room for {room}");
            return Err(corrupt(block.at, cause));
        }
        let described = self.interfaces.len();
        let Some(interface) = self.interfaces.get_mut(size(number)) else {
            return Err(corrupt(block.at, unknown_interface(number, described)));
        };
        if !interface.supported {
            interface.packets_skipped += 1;
            return Ok(self.pass(block));
        }
        self.time = interface.time(u64::from(high) << 32 | u64::from(low));
        let shape = Shape { link: interface.link, head: 28, captured, original };
        self.hand_over(blocks, block, shape)
    }

    fn simple_packet(
        &mut self,
        blocks: &mut Blocks,
        block: Block,
    ) -> Result<Option<Record>, Fault> {
        let room = block.room(12)?;
        let [_, _, original] = head(blocks, self.order, block.total)?;
        let Some(interface) = self.interfaces.first_mut() else {
            return Err(corrupt(block.at, unknown_interface(0, 0)));
        };
        if !interface.supported {
            interface.packets_skipped += 1;
            return Ok(self.pass(block));
        }
        let snapped = match interface.snap_bytes {
            0 => original,
            snap_bytes => original.min(snap_bytes),
        };
        let captured = snapped.min(room);
        let shape = Shape { link: interface.link, head: 12, captured, original };
        self.hand_over(blocks, block, shape)
    }

    fn hand_over(
        &mut self,
        blocks: &mut Blocks,
        block: Block,
        Shape { link, head, captured, original }: Shape,
    ) -> Result<Option<Record>, Fault> {
        if captured > RECORD_BYTES_MAX {
            return Err(Fault::too_long(block.at, captured));
        }
        let range = blocks.take(size(head), size(captured), u64::from(block.total))?;
        self.block = Some(block.consumed(head + captured));
        let wire_len = original.max(captured);
        Ok(Some(Record { time: self.time, link: link.0, wire_len, range }))
    }

    /// Leaves the block for [`Block::finish`].
    fn pass(&mut self, block: Block) -> Option<Record> {
        self.block = Some(block);
        None
    }

    /// Interfaces are numbered anew in each section; those with skipped packets are remembered.
    fn close_interfaces(&mut self) {
        for (number, interface) in self.interfaces.drain(..).enumerate() {
            let Interface { link, packets_skipped: packets, name, .. } = interface;
            if packets > 0 {
                self.skipped.add(SkippedInterface { number, name, link, packets });
            }
        }
    }
}

/// What a packet block says about its packet.
struct Shape {
    link: LinkType,
    head: u32,
    captured: u32,
    original: u32,
}

/// A block whose end has not been reached.
#[derive(Clone, Copy, Debug)]
struct Block {
    at: u64,
    total: u32,
    left: u32,
}

impl Block {
    fn new(at: u64, total: u32) -> Result<Self, Fault> {
        if total < 12 || !total.is_multiple_of(4) {
            return Err(corrupt(at, format!("a block cannot be {total} bytes long")));
        }
        Ok(Self { at, total, left: total })
    }

    /// Bytes between a head of `head` bytes and the trailing length.
    fn room(&self, head: u32) -> Result<u32, Fault> {
        self.total.checked_sub(head + 4).ok_or_else(|| {
            corrupt(self.at, format!("a block of its kind cannot be {} bytes long", self.total))
        })
    }

    const fn consumed(mut self, bytes: u32) -> Self {
        self.left = self.left.saturating_sub(bytes);
        self
    }

    /// Passes over the rest and compares the trailing length.
    fn finish(self, blocks: &mut Blocks, order: Order) -> Result<(), Fault> {
        let need = u64::from(self.total);
        let missing = blocks.skip(u64::from(self.left.saturating_sub(4)))?;
        if missing > 0 {
            let have = need.saturating_sub(missing + 4);
            return Err(Fault::Cut { offset: self.at, need, have });
        }
        let trailer = match blocks.words::<1>(order) {
            Ok(Some([trailer])) => trailer,
            Ok(None) => return Err(Fault::Cut { offset: self.at, need, have: need - 4 }),
            Err(Fault::Cut { have, .. }) => {
                return Err(Fault::Cut { offset: self.at, need, have: need - 4 + have });
            }
            Err(fault) => return Err(fault),
        };
        if trailer != self.total {
            let total = self.total;
            let cause = format!("a block gives its length as {total} first and {trailer} last");
            return Err(corrupt(self.at, cause));
        }
        blocks.take(4, 0, need).map(drop)
    }
}

/// An interface description.
#[derive(Debug)]
struct Interface {
    link: LinkType,
    supported: bool,
    snap_bytes: u32,
    units: Units,
    offset_ns: i128,
    name: Option<Name>,
    packets_skipped: u64,
}

impl Interface {
    const fn new(link: LinkType, snap_bytes: u32, supported: bool) -> Self {
        let units = Units::Multiply(1000);
        Self { link, supported, snap_bytes, units, offset_ns: 0, name: None, packets_skipped: 0 }
    }

    /// `None` when an option runs past the end.
    fn read_options(&mut self, mut bytes: &[u8], order: Order) -> Option<()> {
        while let Some(([a, b, c, d], rest)) = bytes.split_first_chunk::<4>() {
            let (code, length) = (order.u16([*a, *b]), usize::from(order.u16([*c, *d])));
            if code == OPTION_END {
                break;
            }
            let value = rest.get(..length)?;
            match (code, value) {
                (OPTION_NAME, _) if !self.supported => self.name = Some(Name::from_wire(value)),
                (OPTION_TIME_RESOLUTION, [resolution]) => self.units = Units::new(*resolution),
                (OPTION_TIME_OFFSET, _) => {
                    let value = <[u8; 8]>::try_from(value).ok()?;
                    let seconds = match order {
                        Order::Big => i64::from_be_bytes(value),
                        Order::Little => i64::from_le_bytes(value),
                    };
                    self.offset_ns = i128::from(seconds) * i128::from(NS_PER_S);
                }
                _ => {}
            }
            bytes = rest.get(length.next_multiple_of(4)..)?;
        }
        Some(())
    }

    fn time(&self, units: u64) -> Timestamp {
        let ns = i128::from(self.units.ns(units)) + self.offset_ns;
        Timestamp(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

/// What a timestamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Units {
    /// Whole multiples of a nanosecond.
    Multiply(u64),
    /// Decimal fractions of a nanosecond; 0 when there is no telling them apart from none.
    Divide(u64),
    /// Seconds over a power of two.
    Shift(u32),
}

impl Units {
    /// From `if_tsresol`: the high bit tells base 2 from base 10, the rest is the negative exponent.
    fn new(resolution: u8) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        if resolution & 0x80 != 0 {
            return Self::Shift(exponent);
        }
        match exponent.checked_sub(9) {
            None => Self::Multiply(10_u64.pow(9 - exponent)),
            Some(finer) => Self::Divide(10_u64.checked_pow(finer).unwrap_or(0)),
        }
    }

    fn ns(self, units: u64) -> u64 {
        let ns = match self {
            Self::Multiply(by) => return units.saturating_mul(by),
            Self::Divide(by) => return units.checked_div(by).unwrap_or(0),
            Self::Shift(bits) => (u128::from(units) * u128::from(NS_PER_S)) >> bits,
        };
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// The first words of a block, not consumed.
fn head<const N: usize>(blocks: &mut Blocks, order: Order, total: u32) -> Result<[u32; N], Fault> {
    let need = u64::from(total);
    match blocks.words::<N>(order) {
        Ok(Some(words)) => Ok(words),
        Ok(None) => Err(Fault::Cut { offset: blocks.offset(), need, have: 0 }),
        Err(Fault::Cut { offset, have, .. }) => Err(Fault::Cut { offset, need, have }),
        Err(fault) => Err(fault),
    }
}

fn corrupt(offset: u64, cause: impl Into<String>) -> Fault {
    Fault::Corrupt { offset, cause: cause.into() }
}

fn unknown_interface(number: u32, described: usize) -> String {
    format!("a packet of interface {number}, but {described} are described before it")
}

/// Most interfaces in one section.
const INTERFACES_MAX: usize = 65_536;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const SECTION_BYTES_MIN: u32 = 28;

const OPTION_END: u16 = 0;
const OPTION_NAME: u16 = 2;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_TIME_OFFSET: u16 = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{
        SourceError,
        check::{self, Got, block, enhanced, interface, read, section},
    };

    const ORDERS: [Order; 2] = [Order::Big, Order::Little];

    fn got(ns: u64, link: u32, wire_len: u32, bytes: &[u8]) -> Got {
        Got { time: Timestamp(ns), link, wire_len, bytes: bytes.to_vec() }
    }

    /// Everything a file can hold: two sections of different order, three kinds of packet, blocks to pass over.
    fn everything() -> (Vec<u8>, Vec<Got>) {
        let mut file = Vec::new();
        let mut expected = Vec::new();
        for order in ORDERS {
            let word = |value: u32| check::word(order, value);
            let half = |value: u16| check::half(order, value);
            section(&mut file, order);
            interface(&mut file, order, 1, 0, &[]);
            interface(&mut file, order, 101, 4, &[(OPTION_TIME_RESOLUTION, &[9])]);
            block(&mut file, order, 0xbad, &[&word(32473), b"custom! "]);
            enhanced(&mut file, order, 0, 1_000_001, 60, b"abc");
            enhanced(&mut file, order, 1, 5, 2, b"de");
            let old = [half(1), half(0)].concat();
            block(
                &mut file,
                order,
                OLD_PACKET,
                &[&old, &word(0), &word(6), &word(4), &word(9), b"wxyz"],
            );
            block(&mut file, order, SIMPLE_PACKET, &[&word(2), b"fg"]);
            block(&mut file, order, 4, &[b"names of"]);
            expected.extend([
                got(1_000_001_000, 1, 60, b"abc"),
                got(5, 101, 2, b"de"),
                got(6, 101, 9, b"wxyz"),
                got(6, 1, 2, b"fg"),
            ]);
        }
        (file, expected)
    }

    #[test]
    fn every_kind_of_block_in_both_orders() {
        let (file, expected) = everything();
        for block_bytes in [1, 12, 30, 4096] {
            let (frames, errors) = read(&file, block_bytes);
            assert_eq!(frames, expected);
            assert!(errors.is_empty(), "{errors:?}");
        }
    }

    #[test]
    fn each_prefix_gives_its_packets_and_then_says_where_it_was_cut() {
        let (file, expected) = everything();
        let mut clean = 0;
        for end in 4..=file.len() {
            let (frames, errors) = read(&file[..end], 16);
            assert_eq!(frames, expected[..frames.len()]);
            match &errors[..] {
                [] => clean += 1,
                [SourceError::Cut { at, need, have, .. }] => {
                    assert_eq!(at.offset + have, end as u64, "{errors:?}");
                    assert!(need > have, "{errors:?}");
                }
                other => panic!("prefix of {end}: {other:?}"),
            }
        }
        assert_eq!(clean, 18, "a file may end after each of its blocks");
    }

    #[test]
    fn clocks_of_every_resolution() {
        let seconds = 1_700_000_000_u64;
        let ns = seconds * NS_PER_S;
        for (resolution, units, expected) in [
            (0, seconds, ns),
            (3, seconds * 1_000, ns),
            (6, seconds * 1_000_000 + 1, ns + 1_000),
            (9, ns + 1, ns + 1),
            (12, 1_999, 1),
            (127, u64::MAX, 0),
            (0x80, seconds, ns),
            (0x8a, (seconds << 10) + 512, ns + 500_000_000),
            (0xa0, (seconds << 32) + (1 << 31), ns + 500_000_000),
            (0xff, u64::MAX, 0),
            (0, u64::MAX, u64::MAX),
            (0x80, u64::MAX, u64::MAX),
        ] {
            assert_eq!(Units::new(resolution).ns(units), expected, "{resolution}: {units}");
        }
    }

    #[test]
    fn offsets_shift_the_clock_within_its_range() {
        for order in ORDERS {
            for (seconds, expected) in [
                (100_i64, 107 * NS_PER_S),
                (-3, 4 * NS_PER_S),
                (-100, 0),
                (i64::MAX, u64::MAX),
                (i64::MIN, 0),
            ] {
                let offset = match order {
                    Order::Big => seconds.to_be_bytes(),
                    Order::Little => seconds.to_le_bytes(),
                };
                let mut file = Vec::new();
                section(&mut file, order);
                interface(
                    &mut file,
                    order,
                    1,
                    0,
                    &[
                        (OPTION_TIME_OFFSET, &offset),
                        (OPTION_TIME_RESOLUTION, &[0]),
                        (OPTION_END, &[]),
                        (OPTION_TIME_RESOLUTION, &[9]),
                    ],
                );
                enhanced(&mut file, order, 0, 7, 1, b"x");
                assert_eq!(read(&file, 64).0, [got(expected, 1, 1, b"x")]);
            }
        }
    }

    #[test]
    fn an_interface_that_cannot_be_decoded_does_not_stop_the_others() {
        let order = Order::Little;
        let mut file = Vec::new();
        for _ in 0..2 {
            section(&mut file, order);
            interface(&mut file, order, 105, 0, &[(OPTION_NAME, b"wlan0\n")]);
            interface(&mut file, order, 1, 0, &[]);
            interface(&mut file, order, 127, 0, &[]);
            enhanced(&mut file, order, 0, 1, 1, b"a");
            enhanced(&mut file, order, 1, 2, 1, b"b");
            block(&mut file, order, SIMPLE_PACKET, &[&check::word(order, 2), b"cd"]);
        }
        let (frames, errors) = read(&file, 64);
        assert_eq!(frames, [got(2_000, 1, 1, b"b"), got(2_000, 1, 1, b"b")]);
        let [error @ SourceError::UnsupportedInterfaces { interfaces, .. }] = &errors[..] else {
            panic!("{errors:?}");
        };
        assert_eq!(interfaces.listed.len(), 2, "without packets nothing is missing");
        let text = error.to_string();
        let part = "interface 0 (wlan0\\x0a) has link type 105 (IEEE 802.11), 2 packets skipped";
        assert!(text.contains(part), "{text}");

        let (_, errors) = read(&file[..file.len() - 1], 64);
        assert!(matches!(
            errors[..],
            [SourceError::Cut { .. }, SourceError::UnsupportedInterfaces { .. }]
        ));
    }

    #[test]
    fn what_cannot_be_right_is_said() {
        let order = Order::Little;
        let mut start = Vec::new();
        section(&mut start, order);
        interface(&mut start, order, 1, 0, &[]);
        enhanced(&mut start, order, 0, 1, 1, b"a");
        let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
        for (bytes, cause) in [
            (words(&[99, 8, 8]), "a block cannot be 8 bytes long"),
            (words(&[99, 13, 8]), "a block cannot be 13 bytes long"),
            (words(&[99, 12, 16]), "gives its length as 12 first and 16 last"),
            (words(&[ENHANCED_PACKET, 28, 0, 0, 0, 0, 28]), "of its kind cannot be 28 bytes"),
            (words(&[ENHANCED_PACKET, 32, 0, 0, 0, 1, 1, 32]), "a packet of 1 bytes in a block"),
            (words(&[ENHANCED_PACKET, 32, 7, 0, 0, 0, 0, 32]), "of interface 7, but 1 are"),
            (words(&[ENHANCED_PACKET, 0xffff_fffc, 0, 0, 0, 0x4_0001, 1]), "262145 captured"),
            (words(&[SIMPLE_PACKET, 0xffff_fffc, 0x4_0001]), "262145 captured"),
            (words(&[INTERFACE_DESCRIPTION, 0xffff_fffc, 1, 0]), "an interface description of"),
            (words(&[INTERFACE_DESCRIPTION, 24, 1, 0, 0x9_0002, 24]), "an option runs past"),
            (words(&[SECTION_HEADER, 28, 0x4d3c_2b1b, 1, 0, 0, 28]), "byte-order magic"),
            (words(&[SECTION_HEADER, 28, BYTE_ORDER_MAGIC, 2, 0, 0, 28]), "pcapng version 2.0"),
            (words(&[SECTION_HEADER, 24, BYTE_ORDER_MAGIC, 1, 0, 24, 0]), "24 bytes is too short"),
        ] {
            let file = [&start[..], &bytes].concat();
            let (frames, errors) = read(&file, 64);
            assert_eq!(frames.len(), 1, "{cause}");
            let [SourceError::Corrupt { at, .. }] = &errors[..] else { panic!("{errors:?}") };
            assert_eq!(at.offset, start.len() as u64);
            let text = errors[0].to_string();
            assert!(text.contains(cause), "{text}");
        }
    }

    #[test]
    fn interfaces_are_bounded() {
        let mut file = Vec::new();
        section(&mut file, Order::Little);
        for _ in 0..=INTERFACES_MAX {
            interface(&mut file, Order::Little, 1, 0, &[]);
        }
        let (_, errors) = read(&file, 4096);
        assert!(errors[0].to_string().contains("more than 65536 interfaces"));
    }
}
