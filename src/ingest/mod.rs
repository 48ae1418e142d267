//! Edge: where frames come from. One [`Source`] each for capture files, an interface and the mirror socket.
//!
//! | file | holds |
//! |---|---|
//! | [discover](mod@discover) | which captures the arguments mean: files, folders, standard input |
//! | [`pcap_file`], `pcapng` | the two formats over `blocks` (large reads) and `compress` (gzip, zstd) |
//! | [`progress`] | bar on a terminal |
//! | `live`, `mirror_socket` | libpcap; the UDP port of a traffic mirror target (feature `live`) |
//! | `steering` | which shard the kernel hands a packet to (feature `live`) |
//! | [`error`], [`link`] | why a source cannot go on; names of link types |
#![forbid(unsafe_code)]

mod blocks;
#[cfg(test)]
mod check;
mod compress;
pub mod discover;
pub mod error;
pub mod link;
#[cfg(feature = "live")]
pub mod live;
#[cfg(feature = "live")]
pub mod mirror_socket;
pub mod pcap_file;
mod pcapng;
pub mod progress;
#[cfg(feature = "live")]
pub mod steering;

pub use discover::{CaptureInput, discover};
pub use error::SourceError;
#[cfg(feature = "live")]
pub use live::{Live, LiveOptions};
#[cfg(feature = "live")]
pub use mirror_socket::{MirrorOptions, MirrorSocket};
pub use pcap_file::CaptureFile;
pub use progress::Progress;

use crate::model::{Frame, Timestamp};

/// A stream of frames. Plain and blocking: one data-plane thread owns it.
pub trait Source {
    /// The next input. Live sources return [`Input::Tick`] at least once a second while nothing arrives.
    ///
    /// After an error the next call may give another one (a cut file that also had unreadable interfaces), then
    /// [`Input::End`] for ever.
    fn next(&mut self) -> Result<Input<'_>, SourceError>;

    /// Packets lost before us, as far as the kernel tells.
    fn drops(&mut self) -> Drops {
        Drops::default()
    }
}

/// What a source yields.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A captured frame.
    Frame(Frame<'a>),
    /// Nothing came, but time went on (live sources only).
    Tick(Timestamp),
    /// No more input.
    End,
}

/// Packets lost before they reached us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Dropped by the kernel for want of buffer.
    pub kernel: u64,
    /// Dropped by the interface or its driver.
    pub interface: u64,
}

impl Drops {
    /// All of them.
    pub const fn total(self) -> u64 {
        self.kernel.saturating_add(self.interface)
    }
}

/// Whether frames of this pcap `LINKTYPE_` can be decoded; handed in, so that no source knows the decoder.
pub type LinkSupported = fn(u32) -> bool;
