//! Live sources say what `analyze` says of the same packets, and stop cleanly.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{
    capture::{Owned, frames, records, root},
    cli::{cleartap, stderr},
    process,
};

/// Notes a test that cannot run here. Under CI that is a failure.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test} was skipped under CI: {why}");
    // Past the runner's capture, which hides what passing tests print.
    let _told = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

const CAPTURES: [&str; 4] = [
    "captures/postgresql/ssl-refused-then-plain.pcap",
    "captures/postgresql/prefer-ssl-on.pcap",
    "captures/postgresql/byte-by-byte-plain.pcap",
    "captures/postgresql/ipv6-tls.pcap",
];

/// A sensor, running until it has been told to stop.
struct Sensor {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    folder: tempfile::TempDir,
}

impl Sensor {
    /// Starts and waits for the log line that says it listens.
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records.jsonl");
        let mut child = process::spawn(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .arg("run")
                .env("CLEARTAP_FINDINGS__PATH", "none")
                .args(arguments)
                .args(["--interval", "1", "--records", records.to_str().unwrap()])
                .stderr(Stdio::piped()),
        );
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Listening") && !line.contains("Capturing") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the sensor did not start");
        }
        Self { child, log, folder }
    }

    /// SIGTERM; returns the last record of each flow.
    fn stop(mut self) -> Vec<Value> {
        std::thread::sleep(Duration::from_millis(1500));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        let rest: Vec<String> = self.log.lines().map(Result::unwrap).collect();
        assert!(status.success(), "{status}: {}", rest.join("\n"));
        assert!(rest.iter().any(|l| l.contains("Stopped")), "{}", rest.join("\n"));
        let text = std::fs::read_to_string(self.folder.path().join("records.jsonl")).unwrap();
        text.lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap())
            .filter(|r| r["event"] == "end")
            .collect()
    }
}

/// What must be equal, whenever and wherever the packets were copied.
fn essence(record: &Value) -> String {
    [
        "transport",
        "src_ip",
        "src_port",
        "dst_ip",
        "dst_port",
        "encryption",
        "outcome",
        "app",
        "upgrade",
        "plaintext_reason",
        "credentials",
        "confidence",
        "tls",
        "evidence",
        "packets_c2s",
        "packets_s2c",
        "bytes_c2s",
        "bytes_s2c",
        "counts",
    ]
    .map(|key| format!("{key}={}", record[key]))
    .join(" ")
}

fn essences(records: &[Value]) -> BTreeSet<String> {
    records.iter().map(essence).collect()
}

/// The mirror datagram in an outer Ethernet / IPv4 / UDP frame.
pub fn datagram(frame: &Owned) -> &[u8] {
    assert_eq!(frame.bytes[12..14], [8, 0]);
    let header = usize::from(frame.bytes[14] & 15) * 4;
    &frame.bytes[14 + header + 8..]
}

#[test]
fn the_mirror_socket_agrees_with_analyze() {
    for capture in CAPTURES {
        let whole = frames(&root().join(capture));
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let sensor = Sensor::start(&["--listen", &address]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for frame in &whole {
            socket.send_to(datagram(frame), &address).unwrap();
        }
        assert_eq!(essences(&sensor.stop()), essences(&records(&whole)), "{capture}");
    }
}

#[test]
fn a_running_sensor_keeps_the_inventory_that_analyze_prints() {
    let capture = "captures/postgresql/prefer-ssl-on.pcap";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tls.json");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let sensor = Sensor::start(&["--listen", &address, "--inventory", file.to_str().unwrap()]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for frame in &frames(&root().join(capture)) {
        socket.send_to(datagram(frame), &address).unwrap();
    }
    sensor.stop();
    let printed = cleartap(&["analyze", capture, "--inventory", "--format", "json"]);
    let servers = |text: &[u8]| {
        let mut whole: Value = serde_json::from_slice(text).unwrap();
        for server in whole["servers"].as_array_mut().unwrap() {
            // A live sensor's packets have the time at which they came.
            for key in ["first_seen", "last_seen"] {
                server[key] = Value::Null;
            }
        }
        whole["servers"].take()
    };
    let kept = servers(&std::fs::read(file).unwrap());
    assert_eq!(kept.as_array().unwrap().len(), 1);
    assert_eq!(kept, servers(&printed.stdout));
}

#[test]
fn an_interface_agrees_with_analyze() {
    if !is_root() {
        return skip("an_interface_agrees_with_analyze", "needs root for a veth pair");
    }
    let _pair = Veth::new();
    for capture in CAPTURES {
        let whole = frames(&root().join(capture));
        let sensor = Sensor::start(&["--interface", "ctap1", "--bpf", "udp port 4789"]);
        let mut out = pcap::Capture::from_device("ctap0").unwrap().open().unwrap();
        for frame in &whole {
            out.sendpacket(frame.bytes.as_slice()).unwrap();
        }
        assert_eq!(essences(&sensor.stop()), essences(&records(&whole)), "{capture}");
    }
}

/// A veth pair that goes with the test.
struct Veth;

impl Veth {
    fn new() -> Self {
        ip(&["link", "del", "ctap0"]);
        let made = ip(&[
            "link", "add", "ctap0", "mtu", "9001", "type", "veth", "peer", "name", "ctap1", "mtu",
            "9001",
        ]);
        assert!(made, "a veth pair cannot be made");
        for end in ["ctap0", "ctap1"] {
            // No address of its own: nothing but our packets crosses it.
            let quiet = format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6");
            if Path::new(&quiet).exists() {
                std::fs::write(quiet, "1").unwrap();
            }
            assert!(ip(&["link", "set", end, "up"]));
        }
        Self
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        ip(&["link", "del", "ctap0"]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    let output = process::output(Command::new("ip").args(arguments));
    output.status.success()
}

#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let output = cleartap(arguments);
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let line = error.lines().last().unwrap_or_default();
    for word in words {
        assert!(line.contains(word), "`{word}` is missing in: {error}");
    }
}

#[test]
fn a_port_in_use_is_explained() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&["run", "--listen", &address], &[&address, "in use"]);
}

#[test]
fn an_unknown_interface_is_explained() {
    refused(&["run", "--interface", "nowhere0"], &["nowhere0"]);
}

#[test]
fn a_bad_filter_is_explained() {
    if !is_root() {
        return skip("a_bad_filter_is_explained", "needs root to open an interface");
    }
    refused(&["run", "--interface", "lo", "--bpf", "udp prot 4789"], &["filter", "udp prot 4789"]);
}

#[test]
fn a_missing_permission_is_explained() {
    if !is_root() {
        return skip("a_missing_permission_is_explained", "needs root to become nobody");
    }
    let folder = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    let copy = folder.path().join("cleartap");
    std::fs::copy(env!("CARGO_BIN_EXE_cleartap"), &copy).unwrap();
    let output = process::output(
        Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"])
            .arg(&copy)
            .args(["run", "--interface", "lo"]),
    );
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("CAP_NET_RAW") || error.contains("cap_net_raw"), "{error}");
}

/// A sensor whose standard output is a pipe, with traffic; its log from the line that says it listens.
fn piped(datagrams: usize) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = process::spawn(
        Command::new(env!("CARGO_BIN_EXE_cleartap"))
            .args(["run", "--listen", "127.0.0.1:0", "--interval", "1", "--findings", "none"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(!line.contains('\u{1b}'), "colours are for terminals: {line}");
    let (_, address) = line.split_once("address=").unwrap();
    let address = address.split_whitespace().next().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let list = frames(&root().join(CAPTURES[0]));
    let first = datagram(&list[0]);
    for flow in 0..datagrams {
        // Another inner source port each time: another flow. VXLAN 8, Ethernet 14, IPv4 20 bytes come before it.
        let mut bytes = first.to_vec();
        bytes[42..44].copy_from_slice(&u16::try_from(flow + 1024).unwrap().to_be_bytes());
        socket.send_to(&bytes, address).unwrap();
        if flow % 64 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    (child, log)
}

fn terminate(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
}

#[test]
fn a_reader_that_is_gone_stops_the_sensor() {
    let (mut child, log) = piped(1);
    drop(child.stdout.take());
    let rest: Vec<String> = log.lines().map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", rest.join("\n"));
    assert!(rest.iter().any(|line| line.contains("reader of standard output is gone")));
}

#[test]
fn a_reader_that_stalls_does_not_keep_the_sensor_from_stopping() {
    let (mut child, log) = piped(2000);
    std::thread::sleep(Duration::from_millis(1500));
    terminate(&child);
    let mut lines = log.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("Stopping")));
    terminate(&child);
    assert!(lines.any(|line| line.contains("Stopped at once")), "the second signal is obeyed");
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_torn_line_costs_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    for (before, after) in [("{\"schema\":1,\"ts", "\n"), ("{}\n", ""), ("", "")] {
        std::fs::write(&path, before).unwrap();
        let mut child = process::spawn(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .args(["run", "--listen", "127.0.0.1:0", "--records", path.to_str().unwrap()])
                .env("CLEARTAP_FINDINGS__PATH", "none")
                .stderr(Stdio::piped()),
        );
        let mut log = BufReader::new(child.stderr.take().unwrap());
        log.read_line(&mut String::new()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        terminate(&child);
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{before}{after}"));
    }
}

#[test]
fn a_new_configuration_is_taken_while_running_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "[limits]\nudp_idle_s = 60\n").unwrap();
    let mut sensor =
        Sensor::start(&["--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let mut until = |word: &str| {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert!(sensor.log.read_line(&mut line).unwrap() > 0, "the log never says {word}");
        }
        line
    };
    // The file is looked at every second.
    std::fs::write(&file, "[limits]\nudp_idle_s = 61\nflows_max = 5000\n").unwrap();
    assert!(until("start").contains("limits.flows_max"));
    assert!(until("in effect").contains("limits.udp_idle_s"));
    std::fs::write(&file, "[limits]\nudp_idle = 62\n").unwrap();
    assert!(until("unknown key").contains("c.toml:2:1: limits.udp_idle"));
    until("nothing is changed");
    // SIGHUP reads it again, changed or not.
    let pid = nix::unistd::Pid::from_raw(i32::try_from(sensor.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    until("nothing is changed");
    assert!(until("config_rejected=2").contains("config_reloads=1"));
    sensor.stop();
}
