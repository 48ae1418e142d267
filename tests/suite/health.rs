//! A running sensor says how it is: over HTTP, to `cleartap status`, to systemd, and while it drains.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    build::{At, Talk},
    capture::{Owned, frames, root},
    emulator::free_port,
    live::datagram,
    process,
};

/// A sensor with its health served.
struct Sensor {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    mirror: String,
    health: String,
}

impl Sensor {
    fn start(environment: &[(&str, &str)]) -> Self {
        let health = format!("127.0.0.1:{}", free_port());
        let mut child = process::spawn(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .args([
                    "run",
                    "--listen",
                    "127.0.0.1:0",
                    "--records",
                    "/dev/null",
                    "--findings",
                    "none",
                ])
                .env("CLEARTAP_HEALTH__LISTEN", &health)
                .envs(environment.iter().copied())
                .stderr(Stdio::piped()),
        );
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut mirror = String::new();
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "the sensor did not start");
            if let Some((_, address)) =
                line.split_once("address=").filter(|_| line.contains("Listening"))
            {
                address.split_whitespace().next().unwrap().clone_into(&mut mirror);
            }
            if line.contains("/healthz") {
                break;
            }
        }
        Self { child, log, mirror, health }
    }

    /// Status code and body of a page.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.health).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (code, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn wait_for(&self, path: &str, code: u16) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.get(path).0 != code {
            assert!(Instant::now() < end, "{path} never said {code}: {:?}", self.get(path));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn mirror(&self, capture: &str) {
        self.send(&frames(&root().join(capture)));
    }

    fn send(&self, frames: &[Owned]) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for frame in frames {
            socket.send_to(datagram(frame), &self.mirror).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1500));
    }

    fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    fn end(mut self) -> String {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        rest
    }

    fn status(&self, more: &[&str]) -> (Option<i32>, String) {
        let url = format!("http://{}", self.health);
        let output = process::output(
            Command::new(env!("CARGO_BIN_EXE_cleartap")).args(["status", "--url", &url]).args(more),
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
    }
}

#[test]
fn a_sensor_is_well_shows_what_it_sees_and_drains_before_it_stops() {
    let sensor = Sensor::start(&[("CLEARTAP_HEALTH__DRAIN_S", "3")]);
    sensor.wait_for("/healthz", 200);
    assert_eq!(sensor.get("/readyz").0, 200);
    assert!(sensor.get("/metrics").1.contains("cleartap_build_info"));
    sensor.mirror("captures/redis/cli-resp2.pcap");
    let (code, screen) = sensor.status(&[]);
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        screen.starts_with("sensor     running, up ") && screen.contains("records (json_lines)"),
        "{screen}"
    );
    let (_, body) = sensor.get("/status");
    let status: Value = serde_json::from_str(&body).unwrap();
    assert!(status["capture"]["packets"].as_u64().unwrap() > 5, "{body}");
    assert_eq!(status["findings"], Value::Null);
    assert_eq!(sensor.status(&["--check"]).0, Some(0));

    sensor.terminate();
    sensor.wait_for("/healthz", 503);
    assert_eq!(sensor.get("/readyz").0, 503);
    let (code, told) = sensor.status(&["--check"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("told to stop"), "{told}");
    // Copies are still taken.
    let before = status["capture"]["packets"].as_u64().unwrap();
    sensor.mirror("captures/redis/cli-resp2.pcap");
    let after: Value = serde_json::from_str(&sensor.get("/status").1).unwrap();
    assert!(after["capture"]["packets"].as_u64().unwrap() > before);
    let log = sensor.end();
    assert!(log.contains("Draining") && log.contains("Stopped."), "{log}");
}

#[test]
fn a_sensor_that_is_not_there_is_told() {
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let output = process::output(
        Command::new(env!("CARGO_BIN_EXE_cleartap")).args(["status", "--check", "--url", &url]),
    );
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("no sensor answers there"), "{told}");
}

#[test]
fn systemd_is_told_that_it_is_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let path = path.to_str().unwrap();
    let sensor = Sensor::start(&[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "600000")]);
    let mut told = Vec::new();
    let mut hear = |word: &str| {
        let mut message = [0; 512];
        loop {
            let length =
                socket.recv(&mut message).unwrap_or_else(|e| panic!("{word}: {e} {told:?}"));
            told.push(String::from_utf8_lossy(&message[..length]).into_owned());
            if told.last().unwrap().lines().any(|line| line.starts_with(word)) {
                return told.last().unwrap().clone();
            }
        }
    };
    hear("READY=1");
    let alive = hear("WATCHDOG=1");
    assert!(alive.contains("STATUS=0 packets/s"), "{alive}");
    hear("WATCHDOG=1");
    sensor.terminate();
    hear("STOPPING=1");
    sensor.end();
}

#[test]
fn the_canary_between_two_hosts_is_seen_and_alarms_nobody() {
    let sensor = Sensor::start(&[
        ("CLEARTAP_CANARY__EXPECTED", "true"),
        ("CLEARTAP_RECORDS__INTERVAL_S", "1"),
    ]);
    sensor.wait_for("/healthz", 200);
    let age = || -> u64 {
        let status: Value = serde_json::from_str(&sensor.get("/status").1).unwrap();
        status["canary_age_s"].as_u64().unwrap()
    };
    std::thread::sleep(Duration::from_secs(3));
    let before = age();
    assert!(before >= 2, "{before}");
    let talk = Talk::new(([10, 0, 0, 1], 40_000), ([10, 0, 0, 2], 7780), [1000, 5000])
        .handshake()
        .client(b"GET /cleartap-canary HTTP/1.1\r\nHost: b\r\nUser-Agent: cleartap-canary/1\r\nConnection: close\r\n\r\n")
        .server(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\ncleartap canary\n")
        .close();
    sensor.send(&talk.copies(At { source: [10, 0, 0, 1], vni: 1 }));
    // Its record comes with the next ones.
    let deadline = Instant::now() + Duration::from_secs(20);
    while age() >= before {
        assert!(Instant::now() < deadline, "seen: {}", age());
        std::thread::sleep(Duration::from_millis(100));
    }
    sensor.terminate();
    sensor.end();
}
