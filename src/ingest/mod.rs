//! Edge: where frames come from.

use crate::model::{Frame, Timestamp};

/// A stream of frames. Plain and blocking: one data-plane thread owns it.
pub trait Source {
    /// The next input. Live sources return [`Input::Tick`] at least once a second while nothing arrives.
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

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// To be completed.
    #[error("source failed")]
    Failed,
}
