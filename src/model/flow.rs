//! Who talks to whom: keys, sides, vantages.

use std::{
    fmt,
    net::{AddrParseError, IpAddr, SocketAddr},
    str::FromStr,
};

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP (6).
    Tcp,
    /// UDP (17).
    Udp,
    /// IPsec ESP (50); ports are zero.
    Esp,
}

impl Transport {
    /// Lower-case name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Esp => "esp",
        }
    }

    /// IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Esp => 50,
        }
    }
}

/// Address and port of one end. Smaller than a [`SocketAddr`], of which a packet's ends use two parts only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    ip: IpAddr,
    port: u16,
}

impl Endpoint {
    /// The end at `ip` and `port`.
    pub const fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port }
    }

    /// Its address.
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Its port; 0 where the protocol has none.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Endpoint {
    fn from((ip, port): (I, u16)) -> Self {
        Self { ip: ip.into(), port }
    }
}

impl FromStr for Endpoint {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse().map(|address: SocketAddr| Self::new(address.ip(), address.port()))
    }
}

impl fmt::Display for Endpoint {
    /// `10.0.0.1:5432`, `[fd00::1]:5432`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A source domain (VPC or account): addresses are unique only within it. Index into the configured names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeId(pub u16);

/// Which end a byte came from, in terms of the connection's roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The end that opened the connection.
    Client,
    /// The end that accepted it.
    Server,
}

impl Side {
    /// The opposite end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// Direction name in records: what this side sends.
    pub const fn direction(self) -> &'static str {
        match self {
            Self::Client => "c2s",
            Self::Server => "s2c",
        }
    }
}

/// Scope and canonical inner 5-tuple; equal for both directions. `a` is the lower endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Source domain.
    pub scope: ScopeId,
    /// Transport protocol.
    pub transport: Transport,
    /// Lower endpoint (address, then port).
    pub a: Endpoint,
    /// Higher endpoint.
    pub b: Endpoint,
}

impl FlowKey {
    /// The key of a packet from `src` to `dst`, and whether `src` is the lower endpoint `a`.
    pub fn new(scope: ScopeId, transport: Transport, src: Endpoint, dst: Endpoint) -> (Self, bool) {
        let forward = src <= dst;
        let (a, b) = if forward { (src, dst) } else { (dst, src) };
        (Self { scope, transport, a, b }, forward)
    }
}

/// An IP address as an integer: `u32` for IPv4, `u128` for IPv6.
pub trait Address: Copy + Ord {
    /// Whether it is one of IPv4.
    const IS_V4: bool;

    /// The address, widened.
    fn bits(self) -> u128;
}

impl Address for u32 {
    const IS_V4: bool = true;

    fn bits(self) -> u128 {
        self.into()
    }
}

impl Address for u128 {
    const IS_V4: bool = false;

    fn bits(self) -> u128 {
        self
    }
}

/// Where a mirrored copy was taken: outer source address and VNI. `None` for a capture without encapsulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vantage {
    /// Outer source address: the primary address of the mirrored interface.
    pub source: IpAddr,
    /// VXLAN network identifier of the mirror session.
    pub vni: u32,
}

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.source, self.vni)
    }
}

/// How we know which end is the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Roles {
    /// The lower port serves, or else the first sender asks.
    Guess,
    /// One port is a registered service port, the other is not.
    Port,
    /// The protocol's grammar tells client from server.
    Payload,
    /// SYN or SYN/ACK seen.
    Handshake,
}

impl Roles {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guess => "guess",
            Self::Port => "port",
            Self::Payload => "payload",
            Self::Handshake => "handshake",
        }
    }
}

/// Whether the beginning of the connection was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// SYN or SYN/ACK seen, or the first datagram of a UDP flow.
    Start,
    /// The sensor came late.
    Midstream,
}

impl Origin {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Midstream => "midstream",
        }
    }
}

/// How the flow stands when a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Still alive, or the capture ended first.
    Open,
    /// FIN from both sides.
    Closed,
    /// RST.
    Reset,
    /// Idle for longer than the limit.
    Timeout,
    /// Pushed out of a full table.
    Evicted,
}

impl State {
    /// Name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
        }
    }
}
