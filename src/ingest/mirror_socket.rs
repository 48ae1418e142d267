//! The UDP socket of a traffic mirror target: VXLAN datagrams on port 4789 (RFC 7348), no privileges needed.
//!
//! Datagrams are received in batches with the kernel's timestamps (`SO_TIMESTAMPNS`) and its count of what it had to
//! drop (`SO_RXQ_OVFL`). A socket on port 6081 takes GENEVE (RFC 8926), as a Gateway Load Balancer sends it.
#![allow(
    clippy::disallowed_methods,
    reason = "edge: the system clock, sysctl values for a message, a nap between batches"
)]

use std::{
    array, fmt, fs,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    getsockopt_impl, libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    setsockopt_impl, sockopt_impl,
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, getsockopt,
            recvmmsg, setsockopt, sockopt,
        },
        time::TimeSpec,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Drops, Input, Source, SourceError,
    steering::{Program, Sees},
};
use crate::{
    clock::now,
    model::{Frame, Link, Timestamp},
    wire::steer,
};

sockopt_impl!(
    /// `SO_BUSY_POLL`, in microseconds.
    BusyPoll, Both, libc::SOL_SOCKET, libc::SO_BUSY_POLL, i32);

sockopt_impl!(
    /// `SO_MEMINFO`: the last number is how many datagrams found no room.
    MemInfo, GetOnly, libc::SOL_SOCKET, libc::SO_MEMINFO, [u32; 9]);

mod proof;

pub use proof::prove_steering;

/// Where and how to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorOptions {
    /// Addresses; none means port 4789 on all, of IPv6 and IPv4 as far as the machine has them.
    pub listen: Vec<SocketAddr>,
    /// Receive buffer of each socket, as many bytes of it as the system allows.
    pub receive_buffer_bytes: usize,
    /// Most datagrams taken by one system call, up to [`BATCH_MAX`].
    pub batch: usize,
    /// Most bytes kept of a datagram; what is cut shows in `wire_len`.
    pub datagram_bytes: usize,
    /// How long the kernel looks at the network card for datagrams before a wait sleeps, in microseconds
    /// (`SO_BUSY_POLL`): less delay for more processor. Zero: not at all.
    pub busy_poll_us: u32,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            receive_buffer_bytes: 64 * 1024 * 1024,
            batch: BATCH_MAX,
            // AWS mirrors at most 8500 bytes of a packet, in networks of at most 9001.
            datagram_bytes: 9216,
            busy_poll_us: 0,
        }
    }
}

/// What a socket's receive buffer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveBuffer {
    /// Bytes asked for.
    pub asked: usize,
    /// Bytes the kernel gave.
    pub granted: usize,
}

/// The mirror socket, or several.
pub struct MirrorSocket {
    listeners: Vec<Listener>,
    /// The listener to ask first: each has its turn.
    turn: usize,
    batch: usize,
    datagram_bytes: usize,
    buffer: Vec<u8>,
    /// Of the datagrams in the buffer.
    received: Vec<Datagram>,
    /// How many of them have been given.
    given: usize,
    /// How long what comes is let gather after a batch that was not full.
    gather: Option<Duration>,
    stop: Arc<AtomicBool>,
    /// Set once told to stop: a flood must not keep us from it.
    drain_bytes_left: Option<usize>,
    over: bool,
}

impl fmt::Debug for MirrorSocket {
    /// Lengths only: wire bytes are never shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorSocket")
            .field("listeners", &self.listeners)
            .field("buffer", &self.buffer.len())
            .field("received", &self.received.len())
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl MirrorSocket {
    /// Opens the sockets. When `stop` is set, what they hold is still given, then [`Input::End`].
    pub fn open(options: &MirrorOptions, stop: Arc<AtomicBool>) -> Result<Self, SourceError> {
        let listeners = listen(&options.listen, options.receive_buffer_bytes)?;
        Ok(Self::of(listeners, options, stop))
    }

    /// Opens the sockets of so many shards, steered by the inner flow with this seed; each has its part of the buffer.
    ///
    /// Datagrams that come while this goes on may be at any of them.
    pub fn open_shards(
        options: &MirrorOptions,
        shards: usize,
        seed: u32,
        stop: &Arc<AtomicBool>,
    ) -> Result<Vec<Self>, SourceError> {
        let buffer_bytes = options.receive_buffer_bytes / shards.max(1);
        // Alone first: with SO_REUSEPORT two sensors would share a port, and each miss what the other gets.
        let alone = listen(&options.listen, buffer_bytes)?;
        let places: Vec<_> = alone.iter().map(|one| (one.address, one.hears)).collect();
        drop(alone);
        let mut of_shards: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
        for (address, hears) in places {
            for listeners in &mut of_shards {
                let listener = Listener::open(address, hears, buffer_bytes, true);
                listeners.push(listener.map_err(|cause| refusal(address, cause))?);
            }
            let view =
                if address.port() == steer::GENEVE_PORT { Sees::Geneve } else { Sees::Vxlan };
            let first = of_shards.first().and_then(|listeners| listeners.last());
            let count = u32::try_from(shards).unwrap_or(u32::MAX);
            if let Some(Listener { socket, .. }) = first {
                let steered = Program::new(view, seed, count).steer_group(socket);
                steered
                    .map_err(|cause| SourceError::Steering { what: address.to_string(), cause })?;
            }
        }
        let source = |listeners| Self::of(listeners, options, Arc::clone(stop));
        Ok(of_shards.into_iter().map(source).collect())
    }

    fn of(listeners: Vec<Listener>, options: &MirrorOptions, stop: Arc<AtomicBool>) -> Self {
        let batch = options.batch.clamp(1, BATCH_MAX);
        let datagram_bytes = options.datagram_bytes.clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
        for listener in &listeners {
            listener.warn_of_small_buffer();
            listener.poll_busily(options.busy_poll_us);
        }
        // A small buffer would not hold what gathers.
        let roomy = |listener: &Listener| listener.buffer.granted >= GATHER_BUFFER_BYTES_MIN;
        let gathers = options.busy_poll_us == 0 && listeners.iter().all(roomy);
        Self {
            listeners,
            turn: 0,
            batch,
            datagram_bytes,
            buffer: vec![0; batch * datagram_bytes],
            received: Vec::with_capacity(batch),
            given: 0,
            gather: gathers.then_some(GATHER),
            stop,
            drain_bytes_left: None,
            over: false,
        }
    }

    /// The addresses listened on, with their receive buffers.
    pub fn listening(&self) -> impl Iterator<Item = (SocketAddr, ReceiveBuffer)> {
        self.listeners.iter().map(|listener| (listener.address, listener.buffer))
    }

    /// Fills the buffer; if there is nothing to fill it with, says what to give instead.
    fn refill(&mut self) -> Result<Option<Input<'static>>, SourceError> {
        let short = (1..self.batch).contains(&self.received.len());
        self.given = 0;
        self.received.clear();
        if self.over {
            return Ok(Some(Input::End));
        }
        if self.drain_bytes_left.is_none() && self.stop.load(Ordering::Relaxed) {
            let held = self.listeners.iter().map(|listener| listener.buffer.granted).sum();
            self.drain_bytes_left = Some(held);
        }
        if let Some(left) = self.drain_bytes_left {
            if left == 0 || !self.receive_any()? {
                self.over = true;
                return Ok(Some(Input::End));
            }
            let bytes: usize = self.received.iter().map(|datagram| datagram.captured.max(1)).sum();
            self.drain_bytes_left = Some(left.saturating_sub(bytes));
            return Ok(None);
        }
        // To be woken by a packet costs more than to read it.
        if let Some(gather) = self.gather.filter(|_| short) {
            std::thread::sleep(gather);
        }
        if self.receive_any()? {
            return Ok(None);
        }
        self.wait();
        if self.receive_any()? {
            return Ok(None);
        }
        Ok(Some(Input::Tick(now())))
    }

    /// Takes a batch from the first listener that has something.
    fn receive_any(&mut self) -> Result<bool, SourceError> {
        for _ in 0..self.listeners.len() {
            self.turn = (self.turn + 1) % self.listeners.len();
            let Some(listener) = self.listeners.get_mut(self.turn) else { break };
            let datagrams = self.buffer.chunks_exact_mut(self.datagram_bytes);
            if let Err(cause) = listener.receive(datagrams, self.batch, &mut self.received) {
                self.over = true;
                let (address, cause) = (listener.address, cause.into());
                return Err(SourceError::Receive { address, cause });
            }
            if !self.received.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wait(&self) {
        let mut handles: Vec<_> = self
            .listeners
            .iter()
            .map(|listener| PollFd::new(listener.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        // Interrupted or not: receiving says what there is.
        let _woken = poll(&mut handles, PollTimeout::from(TICK_MS));
    }
}

impl Source for MirrorSocket {
    fn next(&mut self) -> Result<Input<'_>, SourceError> {
        if self.given >= self.received.len()
            && let Some(instead) = self.refill()?
        {
            return Ok(instead);
        }
        let start = self.given * self.datagram_bytes;
        let Some(datagram) = self.received.get(self.given) else { return Ok(Input::End) };
        self.given += 1;
        let Datagram { time, source, geneve, wire_len, captured } = *datagram;
        let bytes = self.buffer.get(start..start + captured).unwrap_or_default();
        let link = if geneve { Link::MirrorGeneve { source } } else { Link::Mirror { source } };
        Ok(Input::Frame(Frame { time, link, wire_len, bytes }))
    }

    fn drops(&mut self) -> Drops {
        self.listeners.iter_mut().for_each(Listener::look_at_drops);
        let kernel = self.listeners.iter().map(|listener| listener.drops).sum();
        Drops { kernel, interface: 0 }
    }
}

/// A received datagram; its bytes are in the buffer.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    time: Timestamp,
    source: IpAddr,
    geneve: bool,
    wire_len: u32,
    captured: usize,
}

/// Whether an unspecified IPv6 address also takes IPv4 datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hears {
    OwnFamily,
    BothFamilies,
}

/// One socket.
#[derive(Debug)]
struct Listener {
    socket: Socket,
    address: SocketAddr,
    hears: Hears,
    buffer: ReceiveBuffer,
    /// The kernel's drop count as last seen; it wraps.
    overflow: u32,
    drops: u64,
}

impl Listener {
    /// `shared`: others of this program may be at the same address.
    fn open(
        address: SocketAddr,
        hears: Hears,
        buffer_bytes: usize,
        shared: bool,
    ) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(hears == Hears::OwnFamily)?;
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        // Past the system's limit with CAP_NET_ADMIN, else up to it.
        if setsockopt(&socket, sockopt::RcvBufForce, &buffer_bytes).is_err() {
            socket.set_recv_buffer_size(buffer_bytes)?;
        }
        // The kernel answers with twice what it took, the other half being for its own bookkeeping.
        let granted = socket.recv_buffer_size()? / 2;
        socket.set_reuse_port(shared)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        let buffer = ReceiveBuffer { asked: buffer_bytes, granted };
        Ok(Self { socket, address, hears, buffer, overflow: 0, drops: 0 })
    }

    fn warn_of_small_buffer(&self) {
        let ReceiveBuffer { asked, granted } = self.buffer;
        if granted < asked {
            let rmem_max = fs::read_to_string(RMEM_MAX).unwrap_or_default();
            tracing::warn!(
                address = %self.address,
                asked,
                granted,
                rmem_max = rmem_max.trim(),
                "The receive buffer is smaller than asked: raise it with `sysctl -w \
                 net.core.rmem_max={asked}`, or bursts of mirrored packets will be dropped."
            );
        }
    }

    fn poll_busily(&self, busy_poll_us: u32) {
        let time = i32::try_from(busy_poll_us).unwrap_or(i32::MAX);
        if time > 0
            && let Err(error) = setsockopt(&self.socket, BusyPoll, &time)
        {
            tracing::warn!(
                address = %self.address,
                %error,
                "The kernel does not let this socket poll busily (capture.busy_poll_us): it takes CAP_NET_ADMIN."
            );
        }
    }

    /// Asks for the drop count: after the last datagram none comes that would bring it along.
    fn look_at_drops(&mut self) {
        if let Ok([.., drops]) = getsockopt(&self.socket, MemInfo) {
            self.note_drops(drops);
        }
    }

    /// What a datagram brings along may be older than what was asked for.
    const fn note_drops(&mut self, count: u32) {
        let grown = count.wrapping_sub(self.overflow);
        if grown.cast_signed() > 0 {
            self.drops += grown as u64;
            self.overflow = count;
        }
    }

    /// Takes what is there, at most `batch` datagrams, without waiting.
    fn receive<'b>(
        &mut self,
        mut datagrams: impl Iterator<Item = &'b mut [u8]>,
        batch: usize,
        received: &mut Vec<Datagram>,
    ) -> nix::Result<()> {
        let mut room = 0;
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH_MAX] = array::from_fn(|_| {
            let datagram = datagrams.next().unwrap_or_default();
            room = room.max(datagram.len());
            [IoSliceMut::new(datagram)]
        });
        // Made anew for each batch: `recvmmsg` does not give the kernel back the room for control messages that a
        // datagram without a drop count did not use, and the next count would find none.
        let control = nix::cmsg_space!(TimeSpec, u32);
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(batch, Some(control));
        // With MSG_TRUNC the length told is the datagram's even when the buffer was too short.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        let fd = self.socket.as_raw_fd();
        let messages = match recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None) {
            Ok(messages) => messages,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        for message in messages {
            let (time, overflow) = control_messages(&message);
            if let Some(overflow) = overflow {
                self.note_drops(overflow);
            }
            received.push(Datagram {
                time: time.unwrap_or_else(now),
                source: source(message.address),
                geneve: self.address.port() == steer::GENEVE_PORT,
                wire_len: u32::try_from(message.bytes).unwrap_or(u32::MAX),
                captured: message.bytes.min(room),
            });
        }
        Ok(())
    }
}

/// The kernel's timestamp and drop count.
fn control_messages(
    message: &RecvMsg<'_, '_, SockaddrStorage>,
) -> (Option<Timestamp>, Option<u32>) {
    let (mut time, mut overflow) = (None, None);
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::ScmTimestampns(at) => {
                let part = |value: i64| u64::try_from(value).unwrap_or(0);
                time = Some(Timestamp::new(part(at.tv_sec()), part(at.tv_nsec())));
            }
            ControlMessageOwned::RxqOvfl(count) => overflow = Some(count),
            _ => {}
        }
    }
    (time, overflow)
}

/// The sender; an IPv4 sender on an IPv6 socket as IPv4.
fn source(address: Option<SockaddrStorage>) -> IpAddr {
    let Some(address) = address else { return IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    if let Some(v4) = address.as_sockaddr_in() {
        return IpAddr::V4(v4.ip());
    }
    address
        .as_sockaddr_in6()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |v6| IpAddr::V6(v6.ip()).to_canonical())
}

fn listen(addresses: &[SocketAddr], buffer_bytes: usize) -> Result<Vec<Listener>, SourceError> {
    if addresses.is_empty() {
        return listen_everywhere(steer::VXLAN_PORT, buffer_bytes).map(|listener| vec![listener]);
    }
    let open = |address: &SocketAddr| {
        // Beside an IPv4 listener on the same port an IPv6 one must keep to IPv6.
        let beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        let shared = addresses.iter().any(beside);
        let hears = if shared { Hears::OwnFamily } else { Hears::BothFamilies };
        Listener::open(*address, hears, buffer_bytes, false)
            .map_err(|cause| refusal(*address, cause))
    };
    addresses.iter().map(open).collect()
}

/// One socket for IPv6 and IPv4, or for IPv4 alone where the machine has no IPv6.
fn listen_everywhere(port: u16, buffer_bytes: usize) -> Result<Listener, SourceError> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    match Listener::open(both, Hears::BothFamilies, buffer_bytes, false) {
        Ok(listener) => Ok(listener),
        Err(cause) if is_no_ipv6(&cause) => {
            Listener::open(v4, Hears::OwnFamily, buffer_bytes, false)
                .map_err(|cause| refusal(v4, cause))
        }
        Err(cause) => Err(refusal(both, cause)),
    }
}

fn is_no_ipv6(cause: &io::Error) -> bool {
    let errno = cause.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

fn refusal(address: SocketAddr, cause: io::Error) -> SourceError {
    match cause.kind() {
        io::ErrorKind::AddrInUse => SourceError::AddressInUse { address },
        io::ErrorKind::PermissionDenied => {
            let what = format!("listening on UDP {address}");
            SourceError::NoPermission { what, capability: "cap_net_bind_service" }
        }
        _ => SourceError::Bind { address, cause },
    }
}

/// Most datagrams in a batch.
pub const BATCH_MAX: usize = 64;

const DATAGRAM_BYTES_MIN: usize = 64;
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Longest wait: also how long a stop may go unnoticed.
const TICK_MS: u8 = 250;
/// Far shorter than anything that is told; at 100,000 packets a second some fifty packets.
const GATHER: Duration = Duration::from_micros(500);
/// Over a thousand packets of 1,500 bytes, as the kernel counts them.
const GATHER_BUFFER_BYTES_MIN: usize = 4 << 20;

const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

#[cfg(test)]
mod tests;
