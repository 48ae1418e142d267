//! A network interface, through libpcap.
//!
//! The handle does not block: with `TPACKET_V3` libpcap's own timeout does not end a wait on a silent interface, so we
//! wait with `poll`, whose timeout gives the ticks.
#![allow(clippy::disallowed_methods, reason = "edge: ticks carry the system clock")]

use std::{
    fmt,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use pcap::{Active, Capture, Device, Error, Packet, Precision};

use super::{
    Drops, Input, LinkSupported, Source, SourceError,
    link::LinkType,
    steering::{Program, Sees},
};
use crate::{
    clock::now,
    model::{Frame, Link, Timestamp},
    wire::steer,
};

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveOptions {
    /// Interface name; `any` is all of them.
    pub interface: String,
    /// BPF filter in the language of `pcap-filter(7)`.
    pub filter: Option<String>,
    /// Most bytes kept of a packet.
    pub snap_bytes: u32,
    /// Size of the kernel's ring.
    pub buffer_bytes: u32,
    /// Also packets for other hosts.
    pub promiscuous: bool,
    /// Each packet at once instead of in blocks: less delay, more work.
    pub immediate: bool,
    /// How long the kernel may hold back a block that is not full.
    pub block_ms: u16,
}

impl LiveOptions {
    /// The defaults for an interface.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            filter: None,
            snap_bytes: 256 * 1024,
            buffer_bytes: 64 * 1024 * 1024,
            promiscuous: true,
            immediate: false,
            block_ms: 100,
        }
    }
}

/// A capturing interface.
pub struct Live {
    capture: Capture<Active>,
    interface: String,
    link: LinkType,
    block_ms: u16,
    stop: Arc<AtomicBool>,
    state: State,
    /// Of a fanout: which packets are its own, and since when it is given no others.
    part: Option<(Part, Timestamp)>,
    /// A flood must not keep us from stopping: at most a ring's worth is drained.
    drain_bytes_left: u64,
    drops: Drops,
    /// libpcap's counters as last read; they are 32 bits wide and wrap.
    counted: (u32, u32),
}

/// One of several shards.
#[derive(Clone, Copy, Debug)]
struct Part {
    seed: u32,
    shards: usize,
    shard: usize,
}

impl Part {
    fn has(self, frame: &Frame<'_>) -> bool {
        steer::shard(steer::frame(self.seed, frame), self.shards) == self.shard
    }
}

/// Where the source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There may be packets to take.
    Reading,
    /// There were none; wait first.
    Idle,
    /// Told to stop: what the kernel holds is still read.
    Draining,
    /// The kernel held no more, except perhaps in a block that is not full: it is handed over when its time is up.
    LastWait,
    /// After that wait.
    LastRead,
    /// Stopped or failed.
    Over,
}

impl Live {
    /// Starts capturing. When `stop` is set, what the kernel holds is still given, then [`Input::End`].
    pub fn open(
        options: &LiveOptions,
        link_supported: LinkSupported,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SourceError> {
        let interface = options.interface.clone();
        let mut capture =
            activate(options).map_err(|error| refusal(&interface, &one_line(&error)))?;
        let link = LinkType::from_dlt(u32::try_from(capture.get_datalink().0).unwrap_or(u32::MAX));
        if !link_supported(link.0) {
            return Err(SourceError::UnsupportedLink { place: interface, link });
        }
        if let Some(filter) = &options.filter {
            capture.filter(filter, true).map_err(|error| SourceError::BadFilter {
                filter: filter.clone(),
                cause: one_line(&error),
            })?;
        }
        Ok(Self {
            capture,
            interface,
            link,
            block_ms: options.block_ms,
            stop,
            state: State::Reading,
            part: None,
            drain_bytes_left: u64::from(options.buffer_bytes),
            drops: Drops::default(),
            counted: (0, 0),
        })
    }

    /// Starts capturing for so many shards, each with its part of the buffer: the kernel gives each the flows that are
    /// its own, by a hash with this seed.
    pub fn open_shards(
        options: &LiveOptions,
        link_supported: LinkSupported,
        shards: usize,
        seed: u32,
        stop: &Arc<AtomicBool>,
    ) -> Result<Vec<Self>, SourceError> {
        let parts = u32::try_from(shards.max(1)).unwrap_or(u32::MAX);
        let options =
            LiveOptions { buffer_bytes: (options.buffer_bytes / parts).max(1), ..options.clone() };
        let open = |_| Self::open(&options, link_supported, Arc::clone(stop));
        let mut all = (0..shards).map(open).collect::<Result<Vec<_>, _>>()?;
        let handles: Vec<_> = all.iter().map(|live| live.capture.as_fd()).collect();
        let steered = Program::new(Sees::Ip, seed, parts).steer_fanout(&handles);
        steered.map_err(|cause| {
            let what = format!("{} (packet fanout)", options.interface);
            SourceError::Steering { what, cause }
        })?;
        // Until now all were given everything.
        let time = now();
        for (shard, live) in all.iter_mut().enumerate() {
            live.part = Some((Part { seed, shards, shard }, time));
        }
        Ok(all)
    }

    /// What to give instead of reading, if anything.
    fn before_reading(&mut self) -> Option<Input<'static>> {
        if matches!(self.state, State::Reading | State::Idle) && self.stop.load(Ordering::Relaxed) {
            self.state = State::Draining;
        }
        match self.state {
            State::Reading => {}
            State::Idle => {
                if !self.wait(TICK) {
                    return Some(Input::Tick(now()));
                }
                self.state = State::Reading;
            }
            State::Draining | State::LastRead if self.drain_bytes_left > 0 => {}
            State::LastWait => {
                self.wait(Duration::from_millis(u64::from(self.block_ms) * 2));
                self.state = State::LastRead;
            }
            State::Draining | State::LastRead | State::Over => {
                self.state = State::Over;
                return Some(Input::End);
            }
        }
        None
    }

    /// Waits for packets; says whether there may be any.
    fn wait(&self, most: Duration) -> bool {
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        let mut handles = [PollFd::new(self.capture.as_fd(), PollFlags::POLLIN)];
        match poll(&mut handles, timeout) {
            Ok(ready) => ready > 0,
            Err(Errno::EINTR) => false,
            // Reading will say what is wrong.
            Err(_) => true,
        }
    }
}

impl Source for Live {
    fn next(&mut self) -> Result<Input<'_>, SourceError> {
        if let Some(instead) = self.before_reading() {
            return Ok(instead);
        }
        match self.capture.next_packet() {
            Ok(packet) => {
                if self.state != State::Reading {
                    let bytes = u64::from(packet.header.caplen).max(1);
                    self.drain_bytes_left = self.drain_bytes_left.saturating_sub(bytes);
                }
                let frame = frame(&packet, self.link);
                // Another shard was given it, too.
                let foreign =
                    self.part.is_some_and(|(part, from)| frame.time < from && !part.has(&frame));
                Ok(if foreign { Input::Tick(frame.time) } else { Input::Frame(frame) })
            }
            Err(Error::TimeoutExpired) => {
                self.state = match self.state {
                    State::Reading | State::Idle => State::Idle,
                    State::Draining | State::LastWait => State::LastWait,
                    State::LastRead | State::Over => State::Over,
                };
                Ok(Input::Tick(now()))
            }
            Err(error) => {
                self.state = State::Over;
                let interface = self.interface.clone();
                Err(SourceError::Capture { interface, cause: one_line(&error) })
            }
        }
    }

    fn drops(&mut self) -> Drops {
        if let Ok(stat) = self.capture.stats() {
            let (kernel, interface) = self.counted;
            self.drops.kernel += u64::from(stat.dropped.wrapping_sub(kernel));
            // The interface's own count is the same for every shard.
            if self.part.is_none_or(|(part, _)| part.shard == 0) {
                self.drops.interface += u64::from(stat.if_dropped.wrapping_sub(interface));
            }
            self.counted = (stat.dropped, stat.if_dropped);
        }
        self.drops
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("interface", &self.interface)
            .field("link", &self.link)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn activate(options: &LiveOptions) -> Result<Capture<Active>, Error> {
    let clamped = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    Capture::from_device(options.interface.as_str())?
        .snaplen(clamped(options.snap_bytes.max(1)))
        .buffer_size(clamped(options.buffer_bytes))
        // `any` has no promiscuous mode, and asking for it is a warning that the binding takes for an error.
        .promisc(options.promiscuous && options.interface != ANY)
        .immediate_mode(options.immediate)
        .timeout(i32::from(options.block_ms.max(1)))
        // Packet sockets have it; the devices that do not (USB, D-Bus) have no link type that can be decoded.
        .precision(Precision::Nano)
        .open()?
        .setnonblock()
}

fn frame<'a>(packet: &Packet<'a>, link: LinkType) -> Frame<'a> {
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    Frame {
        // With nanosecond precision the microseconds field holds nanoseconds.
        time: Timestamp::new(part(packet.header.ts.tv_sec), part(packet.header.ts.tv_usec)),
        link: Link::Type(link.0),
        wire_len: packet.header.len.max(packet.header.caplen),
        bytes: packet.data,
    }
}

/// libpcap tells the reasons apart only in words.
fn refusal(interface: &str, cause: &str) -> SourceError {
    let names: Vec<_> =
        Device::list().unwrap_or_default().into_iter().map(|device| device.name).collect();
    if !names.is_empty() && !names.iter().any(|name| name == interface) {
        let network = |name: &&String| !NOT_NETWORK.iter().any(|other| name.starts_with(other));
        let existing: Vec<_> = names.iter().filter(network).map(String::as_str).collect();
        let (interface, existing) = (interface.to_owned(), existing.join(", "));
        return SourceError::NoSuchInterface { interface, existing };
    }
    if NOT_PERMITTED.iter().any(|words| cause.contains(words)) {
        let what = format!("capturing on {interface}");
        return SourceError::NoPermission { what, capability: "cap_net_raw" };
    }
    SourceError::Capture { interface: interface.to_owned(), cause: cause.to_owned() }
}

fn one_line(error: &Error) -> String {
    let text = match error {
        Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Longest wait: also how long a stop may go unnoticed.
const TICK: Duration = Duration::from_millis(250);

const ANY: &str = "any";
const NOT_NETWORK: &[&str] = &["bluetooth", "dbus", "nflog", "nfqueue", "usbmon"];
const NOT_PERMITTED: &[&str] = &["CAP_NET_RAW", "not permitted", "permission", "Permission"];

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Instant};

    use super::*;

    fn open(options: &LiveOptions) -> Result<(Live, Arc<AtomicBool>), SourceError> {
        let stop = Arc::new(AtomicBool::new(false));
        Live::open(options, |link| link == 1, Arc::clone(&stop)).map(|live| (live, stop))
    }

    /// The loopback interface, unless this machine does not let us.
    fn loopback(filter: &str) -> Option<(Live, Arc<AtomicBool>)> {
        let options = LiveOptions { filter: Some(filter.to_owned()), ..LiveOptions::new("lo") };
        match open(&options) {
            Ok(opened) => Some(opened),
            Err(SourceError::NoPermission { .. } | SourceError::NoSuchInterface { .. }) => None,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn gives_filtered_frames_ticks_and_an_end() {
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = here.local_addr().unwrap();
        let filter = format!("udp dst port {}", address.port());
        let Some((mut live, stop)) = loopback(&filter) else { return };
        let begun = now();
        for i in 0..10_u8 {
            here.send_to(&[i; 50], address).unwrap();
        }
        let (mut frames, mut ticks) = (0, 0);
        let started = Instant::now();
        while frames < 10 && started.elapsed() < Duration::from_secs(5) {
            match live.next().unwrap() {
                Input::Frame(frame) => {
                    assert_eq!(frame.link, Link::Type(1));
                    assert_eq!((frame.wire_len, frame.bytes.len()), (92, 92));
                    assert!(frame.time >= begun && frame.time <= now());
                    frames += 1;
                }
                Input::Tick(_) => {}
                Input::End => panic!("not told to stop"),
            }
        }
        assert_eq!(frames, 10);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            ticks += usize::from(matches!(live.next().unwrap(), Input::Tick(_)));
        }
        assert!(ticks >= 2, "{ticks}");
        assert_eq!(live.drops().kernel, 0);

        here.send_to(b"the last", address).unwrap();
        stop.store(true, Ordering::Relaxed);
        let mut drained = 0;
        loop {
            match live.next().unwrap() {
                Input::Frame(_) => drained += 1,
                Input::Tick(_) => {}
                Input::End => break,
            }
        }
        assert_eq!(drained, 1);
        assert!(matches!(live.next(), Ok(Input::End)));
    }

    #[test]
    fn says_what_is_wrong() {
        let nowhere = open(&LiveOptions::new("nowhere0")).unwrap_err().to_string();
        assert!(nowhere.contains("no interface nowhere0; there are: "), "{nowhere}");
        assert!(nowhere.contains("lo"), "{nowhere}");
        let filter = LiveOptions { filter: Some("port http or".into()), ..LiveOptions::new("lo") };
        match open(&filter).unwrap_err() {
            error @ SourceError::BadFilter { .. } => {
                assert!(error.to_string().contains("`port http or` is not valid: "), "{error}");
            }
            SourceError::NoPermission { .. } => {}
            other => panic!("{other}"),
        }
        match open(&LiveOptions::new("any")).unwrap_err() {
            error @ SourceError::UnsupportedLink { .. } => {
                assert!(error.to_string().contains("any: link type 113 (Linux cooked"), "{error}");
            }
            SourceError::NoPermission { .. } => {}
            other => panic!("{other}"),
        }
    }

    #[test]
    fn tells_a_missing_permission_by_libpcaps_words() {
        for cause in [
            "Attempt to create packet socket failed - CAP_NET_RAW may be required",
            "socket: Operation not permitted",
            "You don't have permission to perform this capture on that device",
        ] {
            let text = refusal("lo", cause).to_string();
            assert!(text.starts_with("capturing on lo is not permitted: run as root or"), "{text}");
        }
    }
}
