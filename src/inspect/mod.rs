//! Facts read once per flow, after a detector matched. May allocate, within the bounds each reader states.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::as_conversions))]

pub mod dns;
pub mod dtls;
pub mod esp;
pub mod http;
mod pieces;
pub mod quic;
mod tds;
pub mod tls;
pub mod x509;

use crate::{
    detect::Start,
    model::{
        Encryption, Outcome, Side,
        tls::{CertificateCut, TlsFacts},
    },
};

use dtls::DtlsReader;
use quic::QuicReader;
pub use tds::TdsReader;
use tls::TlsReader;

/// Reader of the handshake of one encrypted layer.
#[derive(Debug)]
pub enum Reader {
    /// TLS records.
    Tls(TlsReader),
    /// DTLS records.
    Dtls(DtlsReader),
    /// QUIC packets.
    Quic(QuicReader),
    /// TLS records inside TDS packets.
    Tds(TdsReader),
}

impl Reader {
    /// The reader for a layer of this class whose sides (client, server) begin as told; `None` if it has no handshake
    /// to read.
    pub fn new(encryption: Encryption, starts: [Start; 2]) -> Option<Self> {
        let [client, server] = starts;
        match encryption {
            Encryption::Tls => Some(Self::Tls(TlsReader::new(client, server))),
            Encryption::Dtls => Some(Self::Dtls(DtlsReader::default())),
            Encryption::Quic => Some(Self::Quic(QuicReader::default())),
            _ => None,
        }
    }

    /// Takes the next bytes of `side`; returns how many were consumed.
    pub fn feed(&mut self, side: Side, bytes: &[u8]) -> usize {
        match self {
            Self::Tls(reader) => reader.feed(side, bytes),
            Self::Dtls(reader) => reader.feed(side, bytes),
            Self::Quic(reader) => reader.feed(side, bytes),
            Self::Tds(reader) => reader.feed(side, bytes),
        }
    }

    /// Bytes of `side` were lost after those fed so far.
    pub fn gap(&mut self, side: Side) {
        match self {
            Self::Tls(reader) => reader.gap(side),
            Self::Dtls(_) | Self::Quic(_) => {}
            Self::Tds(reader) => reader.gap(side),
        }
    }

    /// No more will be read, for this reason: certificates that are not complete stay unread.
    pub fn give_up(&mut self, reason: CertificateCut) {
        match self {
            Self::Tls(reader) => reader.give_up(reason),
            Self::Dtls(reader) => reader.give_up(reason),
            Self::Quic(_) => {}
            Self::Tds(reader) => reader.give_up(reason),
        }
    }

    /// Memory held, in bytes.
    pub fn memory(&self) -> usize {
        let buffered = match self {
            Self::Tls(reader) => reader.buffered(),
            Self::Dtls(reader) => reader.buffered(),
            Self::Quic(reader) => reader.buffered(),
            Self::Tds(reader) => reader.tls().buffered(),
        };
        buffered.saturating_add(size_of::<Self>())
    }

    /// Whether `side` spoke this layer's protocol.
    pub fn spoke(&self, side: Side) -> bool {
        match self {
            Self::Tls(reader) => reader.spoke(side),
            Self::Dtls(reader) => reader.spoke(side),
            Self::Quic(reader) => reader.spoke(side),
            Self::Tds(reader) => reader.tls().spoke(side),
        }
    }

    /// Whether the first bytes of `side` are another protocol.
    pub fn mismatch(&self, side: Side) -> bool {
        match self {
            Self::Tls(reader) => reader.mismatch(side),
            Self::Dtls(_) | Self::Quic(_) => false,
            Self::Tds(reader) => reader.tls().mismatch(side),
        }
    }

    /// Whether nothing more can be learnt.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Tls(reader) => reader.is_done(),
            Self::Dtls(reader) => reader.is_done(),
            Self::Quic(reader) => reader.is_done(),
            Self::Tds(reader) => reader.is_done(),
        }
    }

    /// Whether both sides have reached protection, although more may be learnt.
    pub fn is_taken(&self) -> bool {
        match self {
            Self::Tls(reader) => reader.is_taken(),
            Self::Quic(reader) => reader.is_taken(),
            Self::Dtls(_) | Self::Tds(_) => false,
        }
    }

    /// What became of the handshake, if the flow ended now.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Tls(reader) => reader.outcome(),
            Self::Dtls(reader) => reader.outcome(),
            Self::Quic(reader) => reader.outcome(),
            Self::Tds(reader) => reader.tls().outcome(),
        }
    }

    /// Whether anyone can read the data: no encryption was negotiated.
    pub fn null_cipher(&self) -> bool {
        match self {
            Self::Tls(reader) => reader.null_cipher(),
            Self::Dtls(reader) => reader.null_cipher(),
            Self::Quic(_) => false,
            Self::Tds(reader) => reader.tls().null_cipher(),
        }
    }

    /// Whether the session's data is sealed, or only a part of it; `None` while that is open.
    pub const fn sealed(&self) -> Option<bool> {
        match self {
            Self::Tls(_) | Self::Dtls(_) | Self::Quic(_) => Some(true),
            Self::Tds(reader) => reader.sealed(),
        }
    }

    /// The facts so far.
    pub fn finish(&self) -> TlsFacts {
        match self {
            Self::Tls(reader) => reader.finish(),
            Self::Dtls(reader) => reader.finish(),
            Self::Quic(reader) => reader.finish(),
            Self::Tds(reader) => reader.tls().finish(),
        }
    }
}
