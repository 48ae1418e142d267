//! The UDP socket of a traffic mirror target: VXLAN datagrams on port 4789 (RFC 7348), no privileges needed.
//!
//! Datagrams are received in batches with the kernel's timestamps (`SO_TIMESTAMPNS`) and its count of what it had to
//! drop (`SO_RXQ_OVFL`).
#![allow(
    clippy::disallowed_methods,
    reason = "edge: the system clock, and sysctl values for a message"
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
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg,
            setsockopt, sockopt,
        },
        time::TimeSpec,
    },
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Drops, Input, Source, SourceError};
use crate::{
    clock::now,
    model::{Frame, Link, Timestamp},
};

/// UDP port of VXLAN (RFC 7348 section 5).
pub const VXLAN_PORT: u16 = 4789;

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
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            receive_buffer_bytes: 64 * 1024 * 1024,
            batch: BATCH_MAX,
            // AWS mirrors at most 8500 bytes of a packet, in networks of at most 9001.
            datagram_bytes: 9216,
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
        let batch = options.batch.clamp(1, BATCH_MAX);
        let datagram_bytes = options.datagram_bytes.clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
        let listeners = listen(&options.listen, options.receive_buffer_bytes)?;
        for listener in &listeners {
            listener.warn_of_small_buffer();
        }
        Ok(Self {
            listeners,
            turn: 0,
            batch,
            datagram_bytes,
            buffer: vec![0; batch * datagram_bytes],
            received: Vec::with_capacity(batch),
            given: 0,
            stop,
            drain_bytes_left: None,
            over: false,
        })
    }

    /// The addresses listened on, with their receive buffers.
    pub fn listening(&self) -> impl Iterator<Item = (SocketAddr, ReceiveBuffer)> {
        self.listeners.iter().map(|listener| (listener.address, listener.buffer))
    }

    /// Fills the buffer; if there is nothing to fill it with, says what to give instead.
    fn refill(&mut self) -> Result<Option<Input<'static>>, SourceError> {
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
        let Datagram { time, source, wire_len, captured } = *datagram;
        let bytes = self.buffer.get(start..start + captured).unwrap_or_default();
        Ok(Input::Frame(Frame { time, link: Link::Mirror { source }, wire_len, bytes }))
    }

    fn drops(&mut self) -> Drops {
        let kernel = self.listeners.iter().map(|listener| listener.drops).sum();
        Drops { kernel, interface: 0 }
    }
}

/// A received datagram; its bytes are in the buffer.
#[derive(Clone, Copy, Debug)]
struct Datagram {
    time: Timestamp,
    source: IpAddr,
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
    buffer: ReceiveBuffer,
    /// The kernel's drop count as last seen; it wraps.
    overflow: u32,
    drops: u64,
}

impl Listener {
    fn open(address: SocketAddr, hears: Hears, buffer_bytes: usize) -> io::Result<Self> {
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
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        let buffer = ReceiveBuffer { asked: buffer_bytes, granted };
        Ok(Self { socket, address, buffer, overflow: 0, drops: 0 })
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
                self.drops += u64::from(overflow.wrapping_sub(self.overflow));
                self.overflow = overflow;
            }
            received.push(Datagram {
                time: time.unwrap_or_else(now),
                source: source(message.address),
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
        return listen_everywhere(VXLAN_PORT, buffer_bytes).map(|listener| vec![listener]);
    }
    let open = |address: &SocketAddr| {
        // Beside an IPv4 listener on the same port an IPv6 one must keep to IPv6.
        let beside = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
        let shared = addresses.iter().any(beside);
        let hears = if shared { Hears::OwnFamily } else { Hears::BothFamilies };
        Listener::open(*address, hears, buffer_bytes).map_err(|cause| refusal(*address, cause))
    };
    addresses.iter().map(open).collect()
}

/// One socket for IPv6 and IPv4, or for IPv4 alone where the machine has no IPv6.
fn listen_everywhere(port: u16, buffer_bytes: usize) -> Result<Listener, SourceError> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    match Listener::open(both, Hears::BothFamilies, buffer_bytes) {
        Ok(listener) => Ok(listener),
        Err(cause) if is_no_ipv6(&cause) => {
            Listener::open(v4, Hears::OwnFamily, buffer_bytes).map_err(|cause| refusal(v4, cause))
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

const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

#[cfg(test)]
mod tests {
    use std::{
        net::UdpSocket,
        time::{Duration, Instant},
    };

    use super::*;

    struct Bench {
        mirror: MirrorSocket,
        stop: Arc<AtomicBool>,
        address: SocketAddr,
    }

    /// A mirror socket on a port of its own, unless this machine does not have such addresses.
    fn bench(listen: &str, adjust: impl Fn(&mut MirrorOptions)) -> Option<Bench> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut options = MirrorOptions::default();
        options.listen.push(listen.parse().unwrap());
        options.receive_buffer_bytes = 256 * 1024;
        adjust(&mut options);
        let mirror = match MirrorSocket::open(&options, Arc::clone(&stop)) {
            Ok(mirror) => mirror,
            Err(SourceError::Bind { .. }) => return None,
            Err(other) => panic!("{other}"),
        };
        let address = mirror.listening().next().unwrap().0;
        Some(Bench { mirror, stop, address })
    }

    fn send(to: SocketAddr, datagrams: &[&[u8]]) {
        let from = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let sender = UdpSocket::bind(from).unwrap();
        for datagram in datagrams {
            sender.send_to(datagram, to).unwrap();
        }
    }

    /// The frames up to the first tick or end: source, length on the wire, bytes.
    fn take(mirror: &mut MirrorSocket) -> Vec<(IpAddr, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Input::Frame(frame) = mirror.next().unwrap() {
            let Link::Mirror { source } = frame.link else { panic!("{:?}", frame.link) };
            let age = now().since(frame.time);
            assert!(age < 60_000_000_000, "{age}");
            frames.push((source, frame.wire_len, frame.bytes.to_vec()));
        }
        frames
    }

    #[test]
    fn gives_datagrams_of_both_families_in_order() {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        for (listen, to, source) in
            [("127.0.0.1:0", v4, v4), ("[::1]:0", v6, v6), ("[::]:0", v6, v6), ("[::]:0", v4, v4)]
        {
            let Some(mut bench) = bench(listen, |options| options.batch = 3) else { continue };
            let to = SocketAddr::new(to, bench.address.port());
            send(to, &[b"one", b"", b"three", b"four", b"five"]);
            let expected = [&b"one"[..], b"", b"three", b"four", b"five"]
                .map(|bytes| (source, u32::try_from(bytes.len()).unwrap(), bytes.to_vec()));
            assert_eq!(take(&mut bench.mirror), expected, "{listen} from {source}");
        }
    }

    #[test]
    fn a_datagram_that_is_too_long_is_cut_and_says_so() {
        let Some(mut bench) = bench("127.0.0.1:0", |options| options.datagram_bytes = 100) else {
            return;
        };
        send(bench.address, &[&[1; 9_000], &[2; 100]]);
        let frames = take(&mut bench.mirror);
        let shapes: Vec<_> = frames.iter().map(|(_, wire, bytes)| (*wire, bytes.clone())).collect();
        assert_eq!(shapes, [(9_000, vec![1; 100]), (100, vec![2; 100])]);
    }

    #[test]
    fn several_sockets_take_turns() {
        let Some(mut bench) = bench("127.0.0.1:0", |options| {
            options.listen.push("127.0.0.1:0".parse().unwrap());
            options.batch = 1;
        }) else {
            return;
        };
        let addresses: Vec<_> = bench.mirror.listening().map(|(address, _)| address).collect();
        send(addresses[0], &[b"a", b"a"]);
        send(addresses[1], &[b"b", b"b"]);
        let texts: Vec<_> = take(&mut bench.mirror).into_iter().map(|frame| frame.2).collect();
        assert!(texts == [b"b", b"a", b"b", b"a"] || texts == [b"a", b"b", b"a", b"b"]);
    }

    #[test]
    fn what_the_kernel_drops_is_counted() {
        let Some(mut bench) = bench("127.0.0.1:0", |options| options.receive_buffer_bytes = 16_384)
        else {
            return;
        };
        // Frames without a drop count come first, between and after those with one.
        let mut given = 0;
        for _ in 0..3 {
            send(bench.address, &[b"x"]);
            given += take(&mut bench.mirror).len();
            send(bench.address, &[&[0; 1_000][..]; 200]);
            given += take(&mut bench.mirror).len();
        }
        send(bench.address, &[b"the count comes with the next datagram"]);
        given += take(&mut bench.mirror).len();
        let dropped = bench.mirror.drops().kernel;
        assert!(dropped > 0);
        assert_eq!(u64::try_from(given).unwrap() + dropped, 604);
    }

    #[test]
    fn the_drop_count_wraps() {
        let Some(mut bench) = bench("127.0.0.1:0", |options| options.receive_buffer_bytes = 16_384)
        else {
            return;
        };
        bench.mirror.listeners[0].overflow = u32::MAX - 9;
        send(bench.address, &[&[0; 1_000][..]; 200]);
        let first = take(&mut bench.mirror).len();
        send(bench.address, &[b"x"]);
        let given = first + take(&mut bench.mirror).len();
        let dropped = usize::try_from(bench.mirror.drops().kernel).unwrap();
        assert_eq!(dropped, 201 - given + 10);
    }

    #[test]
    fn ticks_while_silent_and_stops_when_told() {
        let Some(mut bench) = bench("127.0.0.1:0", |_| {}) else { return };
        let started = Instant::now();
        assert!(matches!(bench.mirror.next(), Ok(Input::Tick(_))));
        assert!(started.elapsed() < Duration::from_secs(1));
        send(bench.address, &[b"held", b"by", b"the kernel"]);
        bench.stop.store(true, Ordering::Relaxed);
        assert_eq!(take(&mut bench.mirror).len(), 3);
        assert!(matches!(bench.mirror.next(), Ok(Input::End)));
        send(bench.address, &[b"too late"]);
        assert!(matches!(bench.mirror.next(), Ok(Input::End)));
    }

    #[test]
    fn says_what_it_listens_on_and_what_is_wrong() {
        let Some(bench) = bench("127.0.0.1:0", |_| {}) else { return };
        let (address, buffer) = bench.mirror.listening().next().unwrap();
        assert_ne!(address.port(), 0);
        assert_eq!(buffer.asked, 256 * 1024);
        assert!(buffer.granted > 0);
        let open = |address: SocketAddr| {
            let options = MirrorOptions { listen: vec![address], ..MirrorOptions::default() };
            MirrorSocket::open(&options, Arc::default()).unwrap_err().to_string()
        };
        let taken = open(address);
        assert!(taken.starts_with(&format!("UDP {address} is already in use: stop")), "{taken}");
        let elsewhere = open("192.0.2.1:4789".parse().unwrap());
        assert!(elsewhere.starts_with("cannot listen on UDP 192.0.2.1:4789: "), "{elsewhere}");
    }

    #[test]
    fn listens_everywhere_and_for_each_family_alone() {
        let listener = listen_everywhere(0, 65_536).unwrap();
        assert!(listener.address.ip().is_unspecified());
        let port = listener.address.port();
        drop(listener);
        let both = [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
        match listen(&both, 65_536) {
            Ok(listeners) => assert_eq!(listeners.len(), 2),
            Err(SourceError::Bind { cause, .. }) => assert!(is_no_ipv6(&cause), "{cause}"),
            Err(other) => panic!("{other}"),
        }
    }
}
