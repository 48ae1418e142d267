//! Why a source cannot go on. Each message is one line that names the place and the way out.

use std::{fmt, io, net::SocketAddr, path::Path};

use super::link::LinkType;
use crate::model::Name;

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The UDP address is taken.
    #[error(
        "UDP {address} is already in use: stop the receiver (`ss -ulnp`) or the vxlan device \
         (`ip link show type vxlan`) that holds it, or listen on another address"
    )]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The kernel does not take the program that tells shards apart.
    #[error("the kernel cannot steer {what} by the inner flow: {cause}")]
    Steering {
        /// What was to be steered.
        what: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// libpcap does not understand the filter.
    #[error("the filter `{filter}` is not valid: {cause} (see `man pcap-filter`)")]
    BadFilter {
        /// As given.
        filter: String,
        /// libpcap's message.
        cause: String,
    },
    /// The UDP address cannot be listened on.
    #[error("cannot listen on UDP {address}: {cause}; give an address of this machine")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's message.
        cause: io::Error,
    },
    /// libpcap gave up.
    #[error("capturing on {interface} failed: {cause}")]
    Capture {
        /// Interface name.
        interface: String,
        /// libpcap's message.
        cause: String,
    },
    /// A record that cannot be right; nothing after it can be trusted.
    #[error("{file}: corrupt at {at}: {cause}; everything before it was read")]
    Corrupt {
        /// File name as given.
        file: String,
        /// Where the record begins.
        at: At,
        /// What is wrong with it.
        cause: String,
    },
    /// The file ends inside a record.
    #[error(
        "{file}: cut at {at}: the last record needs {need} bytes, {have} are there; \
         everything before it was read"
    )]
    Cut {
        /// File name as given.
        file: String,
        /// Where the record begins.
        at: At,
        /// Bytes the record needs, as far as known.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The compressed data is damaged or ends early.
    #[error(
        "{file}: the {format} data cannot be unpacked after {at}: {cause}; \
         everything before it was read"
    )]
    Decompress {
        /// File name as given.
        file: String,
        /// `gzip` or `zstd`.
        format: &'static str,
        /// How far it went.
        at: At,
        /// The unpacker's message.
        cause: io::Error,
    },
    /// A folder without captures.
    #[error(
        "{folder}: no capture file in this folder; give a folder that holds pcap or pcapng files"
    )]
    NoCaptures {
        /// Folder name as given.
        folder: String,
    },
    /// The system does not let us.
    #[error(
        "{what} is not permitted: run as root or give the capability with \
         `sudo setcap {capability}+ep $(which cleartap)`"
    )]
    NoPermission {
        /// What was tried.
        what: String,
        /// The Linux capability that allows it.
        capability: &'static str,
    },
    /// There is no such interface.
    #[error("there is no interface {interface}; there are: {existing}")]
    NoSuchInterface {
        /// As given.
        interface: String,
        /// Those that exist, comma-separated.
        existing: String,
    },
    /// Neither pcap nor pcapng.
    #[error(
        "{file}: this is {found}, not a capture; \
         give a pcap or pcapng file (gzip and zstd are fine)"
    )]
    NotACapture {
        /// File name as given.
        file: String,
        /// What it looks like.
        found: &'static str,
    },
    /// A file or folder cannot be opened.
    #[error("{file}: cannot be opened: {cause}")]
    Open {
        /// File name as given.
        file: String,
        /// The system's message.
        cause: io::Error,
    },
    /// Reading failed half-way.
    #[error("{file}: reading failed after {at}: {cause}; everything before it was read")]
    Read {
        /// File name as given.
        file: String,
        /// How far it went.
        at: At,
        /// The system's message.
        cause: io::Error,
    },
    /// Receiving failed.
    #[error("receiving on UDP {address} failed: {cause}")]
    Receive {
        /// The address listened on.
        address: SocketAddr,
        /// The system's message.
        cause: io::Error,
    },
    /// Interfaces of a pcapng file that could not be decoded; the others were.
    #[error(
        "{file}: packets of some interfaces cannot be decoded: {interfaces}; the others were read"
    )]
    UnsupportedInterfaces {
        /// File name as given.
        file: String,
        /// Which and how much.
        interfaces: Interfaces,
    },
    /// The link type of the whole capture cannot be decoded.
    #[error(
        "{place}: link type {link} cannot be decoded; capture on Ethernet, Linux cooked or raw IP"
    )]
    UnsupportedLink {
        /// File name or interface.
        place: String,
        /// Number and name.
        link: LinkType,
    },
}

impl SourceError {
    /// Whether opening the source again later may work without anyone changing the arguments.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::AddressInUse { .. } | Self::Capture { .. } | Self::Receive { .. })
    }
}

/// A byte offset in a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// From the start of the (unpacked) capture.
    pub offset: u64,
    /// Whether the file is compressed, so that the offset is not one in the file.
    pub unpacked: bool,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.unpacked { " of the uncompressed data" } else { "" };
        write!(f, "byte {}{of}", self.offset)
    }
}

/// Interfaces whose packets were passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// The first of them, at most [`Interfaces::LISTED_MAX`].
    pub listed: Vec<SkippedInterface>,
    /// How many more there are.
    pub more: u64,
}

/// An interface whose packets were passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedInterface {
    /// Number within its section, from 0.
    pub number: usize,
    /// Its name, if the file says.
    pub name: Option<Name>,
    /// Its link type.
    pub link: LinkType,
    /// Packets passed over.
    pub packets: u64,
}

impl Interfaces {
    /// Most interfaces that a message lists.
    pub const LISTED_MAX: usize = 8;

    /// Adds one.
    pub fn add(&mut self, interface: SkippedInterface) {
        if self.listed.len() < Self::LISTED_MAX {
            self.listed.push(interface);
        } else {
            self.more += 1;
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, skipped) in self.listed.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}interface {}", skipped.number)?;
            if let Some(name) = &skipped.name {
                write!(f, " ({name})")?;
            }
            write!(f, " has link type {}, {} packets skipped", skipped.link, skipped.packets)?;
        }
        if self.more > 0 {
            write!(f, ", and {} more interfaces", self.more)?;
        }
        Ok(())
    }
}

/// A path as messages show it: control characters escaped, so that a message stays one line.
pub(crate) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_place_and_the_way_out() {
        let at = At { offset: 24, unpacked: true };
        let file = || "a.pcap.gz".to_owned();
        let mut interfaces = Interfaces::default();
        for number in 0..10 {
            interfaces.add(SkippedInterface {
                number,
                name: (number == 0).then(|| Name::from_wire(b"wlan0")),
                link: LinkType(105),
                packets: 3,
            });
        }
        for (error, parts) in [
            (
                SourceError::Cut { file: file(), at, need: 76, have: 20 },
                vec!["a.pcap.gz: cut at byte 24 of the uncompressed data", "needs 76", "20 are"],
            ),
            (
                SourceError::UnsupportedLink { place: file(), link: LinkType(127) },
                vec!["link type 127 (IEEE 802.11 with radiotap header)"],
            ),
            (
                SourceError::UnsupportedInterfaces { file: file(), interfaces },
                vec![
                    "interface 0 (wlan0) has link type 105 (IEEE 802.11), 3 packets skipped, ",
                    "interface 7 has",
                    "and 2 more interfaces",
                ],
            ),
            (
                SourceError::NoPermission { what: "it".into(), capability: "cap_net_raw" },
                vec!["sudo setcap cap_net_raw+ep $(which cleartap)"],
            ),
        ] {
            let text = error.to_string();
            assert!(!text.contains('\n'), "{text}");
            for part in parts {
                assert!(text.contains(part), "{part:?} is not in {text:?}");
            }
        }
    }

    #[test]
    fn a_path_cannot_break_the_line() {
        assert_eq!(shown(Path::new("a\nb\u{1b}.pcap")), "a\\nb\\u{1b}.pcap");
    }
}
