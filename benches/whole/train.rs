//! Feeds a sensor what sensors meet, so that a profile of itself can shape its release build (`.ci/guided.sh`): the
//! conversations that we ship, the four kinds of traffic, and mirrored packets received while they come.

use std::{
    fs::File,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cleartap::{
    ingest::{CaptureFile, Input, Source},
    wire,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Ethernet, IPv4 and UDP come before what a mirror target's socket receives.
const OUTER: usize = 14 + 20 + 8;
/// Datagrams between two pauses of a millisecond: slow enough for a build that counts as it goes.
const BURST: usize = 20;

/// Analyses what is shipped and these captures, with and without records, then receives the first of them.
pub fn train(binary: &str, captures: &[PathBuf]) {
    let shipped = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/captures"));
    for input in captures.iter().chain([&shipped]) {
        for more in [&[][..], &["--flows", "/dev/null"]] {
            let mut command = quiet(binary);
            let ended = command.arg("analyze").arg(input).args(more).status();
            assert!(ended.is_ok_and(|ended| ended.success()), "{command:?}");
        }
    }
    let Some(mix) = captures.first() else { return };
    let port_of = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let port = port_of(&UdpSocket::bind("127.0.0.1:0").unwrap());
    receive(binary, mix, port, &["--listen", &format!("127.0.0.1:{port}")]);
    // Nobody takes what is sent past an interface's sensor: the port would refuse it, which costs the sender.
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = port_of(&sink);
    receive(binary, mix, port, &["--interface", "lo", "--bpf", &format!("udp port {port}")]);
}

fn quiet(binary: &str) -> Command {
    let mut command = Command::new(binary);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs the sensor with this way in, sends its port the mirrored packets of a capture, and ends it as its operator would.
fn receive(binary: &str, capture: &Path, port: u16, way_in: &[&str]) {
    let mut command = quiet(binary);
    command.arg("run").args(way_in).args(["--records", "/dev/null", "--findings", "none"]);
    let mut sensor = command.spawn().unwrap_or_else(|e| panic!("{binary}: {e}"));
    if !is_up(&mut sensor, port) {
        let way_in = way_in.join(" ");
        return println!("not trained: run {way_in} (no live features, or no right to capture)");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut source =
        CaptureFile::from_reader("capture", File::open(capture).unwrap(), wire::link_supported)
            .unwrap();
    let mut sent = 0;
    while let Input::Frame(frame) = source.next().unwrap() {
        // A full buffer is no matter.
        let _sent = socket.send_to(&frame.bytes[OUTER..], ("127.0.0.1", port));
        sent += 1;
        if sent % BURST == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    kill(Pid::from_raw(i32::try_from(sensor.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = sensor.wait().unwrap();
    assert!(ended.success(), "{command:?}: {ended}");
}

/// Whether the sensor runs and its port is open, within ten seconds: to a port that is not, the second datagram is refused.
fn is_up(sensor: &mut Child, port: u16) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(300));
        if sensor.try_wait().unwrap().is_some() {
            return false;
        }
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.connect(("127.0.0.1", port)).unwrap();
        if probe.send(&[]).and_then(|_| probe.send(&[])).is_ok() {
            return true;
        }
    }
    let _gone = sensor.kill();
    false
}
