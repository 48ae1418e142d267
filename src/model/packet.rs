//! A captured frame, and what `wire` makes of it.

use std::{fmt, net::IpAddr};

use super::{
    flow::{Endpoint, Transport, Vantage},
    time::Timestamp,
};

/// Captured bytes as a source hands them over.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// When it was captured.
    pub time: Timestamp,
    /// What the first byte is.
    pub link: Link,
    /// Length on the wire; more than `bytes.len()` when the capture cut it.
    pub wire_len: u32,
    /// The captured bytes.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Frame<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("time", &self.time)
            .field("link", &self.link)
            .field("wire_len", &self.wire_len)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A link-layer header, by its pcap `LINKTYPE_` value (<https://www.tcpdump.org/linktypes.html>).
    Type(u32),
    /// The UDP payload of a mirror datagram (a VXLAN header), received by a socket from this outer source.
    Mirror {
        /// Outer source address.
        source: IpAddr,
    },
    /// The UDP payload of a GENEVE datagram (Gateway Load Balancer), received by a socket from this outer source.
    MirrorGeneve {
        /// Outer source address.
        source: IpAddr,
    },
}

/// One decoded transport segment or datagram: the innermost one.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    /// When it was captured.
    pub time: Timestamp,
    /// Where the copy was taken; `None` without VXLAN or GENEVE around it.
    pub vantage: Option<Vantage>,
    /// GENEVE endpoint id (AWS option class 0x0108, type 1), 0 if none.
    pub endpoint_id: u64,
    /// Transport protocol.
    pub transport: Transport,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
    /// TCP header fields.
    pub tcp: Option<TcpHeader>,
    /// Payload bytes that were captured.
    pub payload: &'a [u8],
    /// Payload length according to the headers; more than `payload.len()` when the copy was cut.
    pub payload_len: u32,
    /// Length of the innermost IP packet according to its header.
    pub ip_len: u32,
}

impl fmt::Debug for Segment<'_> {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("time", &self.time)
            .field("vantage", &self.vantage)
            .field("transport", &self.transport)
            .field("src", &self.src)
            .field("dst", &self.dst)
            .field("tcp", &self.tcp)
            .field("payload", &self.payload.len())
            .field("payload_len", &self.payload_len)
            .finish_non_exhaustive()
    }
}

/// The TCP header fields the flow table needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpHeader {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flag bits as on the wire: FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
}

impl TcpHeader {
    /// FIN bit.
    pub const FIN: u8 = 1;
    /// SYN bit.
    pub const SYN: u8 = 2;
    /// RST bit.
    pub const RST: u8 = 4;
    /// ACK bit.
    pub const ACK: u8 = 16;

    /// Whether `bit` is set.
    pub const fn has(self, bit: u8) -> bool {
        self.flags & bit != 0
    }

    /// Whether it begins or ends a connection.
    pub const fn is_control(self) -> bool {
        self.has(Self::SYN | Self::FIN | Self::RST)
    }
}
