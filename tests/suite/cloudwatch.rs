//! End to end against an emulator of AWS on loopback: from mirrored packets to the message of an alarm.
//!
//! The emulator comes from `PyPI` (`.ci/deps.sh test` installs it below `target/`). It evaluates alarms as data arrives; it
//! does not know `TreatMissingData`, so that rule is applied here to the data it holds.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    capture::{frames, root},
    emulator::{FORM, await_start, free_port, post},
    live::{datagram, skip},
    process,
};

pub(super) fn emulator() -> Option<std::path::PathBuf> {
    let program = root().join("target/aws-emulators/bin/ministack");
    program.exists().then_some(program)
}

/// An emulated account, gone with the test.
pub(super) struct Aws {
    child: Child,
    pub(super) port: u16,
}

impl Aws {
    pub(super) fn start(program: &std::path::Path) -> Self {
        let port = free_port();
        let child = process::spawn(
            Command::new(program)
                .env("GATEWAY_PORT", port.to_string())
                .env("BIND_HOST", "127.0.0.1")
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let aws = Self { child, port };
        await_start(port);
        aws
    }

    /// Calls an action of a service's query API.
    pub(super) fn call(&self, service: &str, form: &str) -> String {
        post(self.port, "/", service, &[], FORM, form)
    }

    /// An alarm on the sum of a metric, with a queue that hears of it.
    pub(super) fn alarm(&self, metric: &str, comparison: &str, threshold: u32) {
        let topic = "arn:aws:sns:us-east-1:000000000000:alarms";
        self.call("sns", "Action=CreateTopic&Name=alarms&Version=2010-03-31");
        self.call("sqs", "Action=CreateQueue&QueueName=heard&Version=2012-11-05");
        self.call(
            "sns",
            &format!(
                "Action=Subscribe&TopicArn={topic}&Protocol=sqs&Version=2010-03-31\
                 &Endpoint=arn:aws:sqs:us-east-1:000000000000:heard"
            ),
        );
        self.call(
            "monitoring",
            &format!(
                "Action=PutMetricAlarm&AlarmName={metric}&Namespace=cleartap&MetricName={metric}&Statistic=Sum\
                 &Period=60&EvaluationPeriods=5&Threshold={threshold}&ComparisonOperator={comparison}\
                 &AlarmActions.member.1={topic}&Version=2010-08-01"
            ),
        );
    }

    pub(super) fn state(&self) -> String {
        between(&self.call("monitoring", "Action=DescribeAlarms&Version=2010-08-01"), "StateValue")
    }

    /// Up to ten messages of the queue.
    pub(super) fn message_batch(&self) -> String {
        let queue = format!("http://127.0.0.1:{}/000000000000/heard", self.port);
        self.call(
            "sqs",
            &format!(
                "Action=ReceiveMessage&QueueUrl={queue}&WaitTimeSeconds=1&MaxNumberOfMessages=10\
                 &VisibilityTimeout=600&Version=2012-11-05"
            ),
        )
    }

    fn message(&self) -> String {
        let queue = format!("http://127.0.0.1:{}/000000000000/heard", self.port);
        self.call(
            "sqs",
            &format!("Action=ReceiveMessage&QueueUrl={queue}&WaitTimeSeconds=2&Version=2012-11-05"),
        )
    }

    /// Sum of a metric without dimensions, and how many values it has.
    fn sum(&self, metric: &str) -> (f64, f64) {
        let answer = self.call(
            "monitoring",
            &format!(
                "Action=GetMetricStatistics&Namespace=cleartap&MetricName={metric}&Period=86400\
                 &StartTime=2020-01-01T00:00:00Z&EndTime=2100-01-01T00:00:00Z\
                 &Statistics.member.1=Sum&Statistics.member.2=SampleCount&Version=2010-08-01"
            ),
        );
        let all = |name: &str| -> f64 {
            let end = format!("</{name}>");
            let begin = format!("<{name}>");
            let parts = answer.split(&begin).skip(1);
            parts.map(|p| p.split(&end).next().unwrap().parse::<f64>().unwrap()).sum()
        };
        (all("Sum"), all("SampleCount"))
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn between(text: &str, tag: &str) -> String {
    let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap_or(("", ""));
    rest.split(&format!("</{tag}>")).next().unwrap_or_default().to_owned()
}

/// A sensor that publishes to `endpoint`.
struct Sensor {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: String,
}

impl Sensor {
    fn start(endpoint: u16, spool: &std::path::Path) -> Self {
        let mut child = process::spawn(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .args(["run", "--listen", "127.0.0.1:0", "--records", "/dev/null", "--cloudwatch"])
                .env("CLEARTAP_FINDINGS__PATH", "none")
                .args(["--cloudwatch-endpoint", &format!("http://127.0.0.1:{endpoint}")])
                .arg("--spool")
                .arg(spool)
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "canary-secret-key")
                .env("AWS_REGION", "us-east-1")
                .env("AWS_EC2_METADATA_DISABLED", "true")
                .stderr(Stdio::piped()),
        );
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let (_, address) = line.split_once("address=").unwrap_or_else(|| panic!("{line}"));
        let address = address.split_whitespace().next().unwrap().to_owned();
        Self { child, log, address }
    }

    fn mirror(&self, captures: &[&str]) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for capture in captures {
            for frame in frames(&root().join(capture)) {
                socket.send_to(datagram(&frame), &self.address).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(1500));
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// SIGTERM; returns the rest of the log.
    fn stop(mut self) -> String {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        assert!(!rest.contains("canary-secret-key"));
        rest
    }
}

const NAME: &str = "cloudwatch";
const PLAIN: [&str; 2] = ["captures/redis/cli-resp2.pcap", "captures/redis/auth-password.pcap"];
const TLS: [&str; 2] =
    ["captures/redis/client-certificate-tls13.pcap", "captures/redis/byte-by-byte-tls.pcap"];

#[test]
fn plaintext_redis_raises_the_alarm_and_the_queue_hears_of_it() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let (aws, folder) = (Aws::start(&program), tempfile::tempdir().unwrap());
    aws.alarm("PlaintextFlows", "GreaterThanThreshold", 0);
    let sensor = Sensor::start(aws.port, folder.path());
    sensor.mirror(&PLAIN);
    let log = sensor.stop();
    assert_eq!(aws.state(), "ALARM", "{log}");
    assert!(aws.message().contains("PlaintextFlows"), "the subscriber is told");
    assert!(aws.sum("CredentialsExposedFlows").0 > 0.0, "AUTH was seen");
    assert!(aws.sum("SensorHeartbeat").0 >= 1.0);
}

#[test]
fn tls_alone_keeps_the_alarm_quiet_with_data_and_a_stopped_sensor_has_none() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let (aws, folder) = (Aws::start(&program), tempfile::tempdir().unwrap());
    aws.alarm("PlaintextFlows", "GreaterThanThreshold", 0);
    let sensor = Sensor::start(aws.port, folder.path());
    sensor.mirror(&TLS);
    let log = sensor.stop();
    assert_eq!(aws.state(), "OK", "{log}");
    let (sum, values) = aws.sum("PlaintextFlows");
    assert!(sum == 0.0 && values >= 1.0, "zeros are data: {sum} {values}");
    assert!(aws.sum("TlsFlows").0 >= 2.0);
    // Missing data breaches (TreatMissingData): one heartbeat a period while it ran, none since.
    let beats = aws.sum("SensorHeartbeat");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(aws.sum("SensorHeartbeat"), beats);
}

/// What the proxy does with requests.
pub(super) const PASS: usize = 0;
pub(super) const CUT: usize = 1;
const THROTTLE: usize = 2;
pub(super) const UNAVAILABLE: usize = 3;
pub(super) const TOO_MANY: usize = 4;
const BROKEN: usize = 5;
/// Passes on, but only after a while.
const SLOW: usize = 6;

/// A proxy in front of the emulator that can fail.
pub(super) struct Proxy {
    pub(super) port: u16,
    pub(super) mode: Arc<AtomicUsize>,
    failed: Arc<AtomicU64>,
}

impl Proxy {
    pub(super) fn start(behind: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, failed) = (Arc::new(AtomicUsize::new(CUT)), Arc::new(AtomicU64::new(0)));
        let (shared_mode, shared_failed) = (Arc::clone(&mode), Arc::clone(&failed));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                let mode = shared_mode.load(Ordering::SeqCst);
                shared_failed.fetch_add(u64::from(mode != PASS), Ordering::SeqCst);
                std::thread::spawn(move || one(client, behind, mode));
            }
        });
        Self { port, mode, failed }
    }

    /// Fails in this manner until it has done so `count` times.
    pub(super) fn fail(&self, mode: usize, count: u64) {
        let before = self.failed.load(Ordering::SeqCst);
        self.mode.store(mode, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.failed.load(Ordering::SeqCst) < before + count && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Serves one connection: one request, one answer.
fn one(mut client: TcpStream, behind: u16, mode: usize) {
    let mut request = Vec::new();
    let mut part = vec![0; 65_536];
    loop {
        let count = client.read(&mut part).unwrap_or(0);
        if count == 0 || mode == CUT {
            return;
        }
        request.extend_from_slice(&part[..count]);
        let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length = head.lines().find_map(|l| l.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |l| l.trim().parse().unwrap());
        if request.len() >= end + 4 + length {
            break;
        }
    }
    let status = match mode {
        THROTTLE => "400 Bad Request",
        UNAVAILABLE => "503 Service Unavailable",
        TOO_MANY => "429 Too Many Requests",
        BROKEN => "500 Internal Server Error",
        _ => {
            if mode == SLOW {
                std::thread::sleep(Duration::from_secs(1));
            }
            let mut server = TcpStream::connect(("127.0.0.1", behind)).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            server.write_all(&request).unwrap();
            // The head and the body of an answer may come apart.
            while let Ok(count) = server.read(&mut part) {
                if count == 0 || client.write_all(&part[..count]).is_err() {
                    break;
                }
                server.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            }
            return;
        }
    };
    let mut body = vec![0xa1, 0x66];
    body.extend_from_slice(b"__type\x6aThrottling");
    let head = format!(
        "HTTP/1.1 {status}\r\nsmithy-protocol: rpc-v2-cbor\r\ncontent-type: application/cbor\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _sent = client.write_all(&[head.as_bytes(), &body].concat());
}

#[test]
fn through_faults_and_a_kill_every_committed_period_arrives() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let (aws, folder) = (Aws::start(&program), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(aws.port);
    // Nothing gets through; the first life commits its period when it stops.
    let sensor = Sensor::start(proxy.port, folder.path());
    sensor.mirror(&PLAIN);
    let log = sensor.stop();
    assert!(log.contains("waits in the spool") || log.contains("wait in the spool"), "{log}");
    // The second life finds it, meets every fault, and is killed in the midst of it.
    let mut sensor = Sensor::start(proxy.port, folder.path());
    for mode in [CUT, THROTTLE, TOO_MANY, BROKEN, UNAVAILABLE] {
        proxy.fail(mode, 1);
    }
    sensor.signal(nix::sys::signal::Signal::SIGKILL);
    sensor.child.wait().unwrap();
    assert!(aws.sum("SensorHeartbeat").1 < 0.5, "nothing has got through so far");
    // The third finds all of it, though each answer takes its time.
    proxy.mode.store(SLOW, Ordering::SeqCst);
    let sensor = Sensor::start(proxy.port, folder.path());
    std::thread::sleep(Duration::from_secs(2));
    let log = sensor.stop();
    assert!(aws.sum("PlaintextFlows").0 > 0.0, "{log}");
    assert!(log.contains("CloudWatch has every data point"), "{log}");
}

#[test]
fn check_asks_who_it_is_and_whether_it_may_write_and_writes_nothing() {
    let Some(program) = emulator() else { return skip(NAME, "ministack is not installed") };
    let aws = Aws::start(&program);
    let check = |port: u16| {
        let endpoint = format!("http://127.0.0.1:{port}");
        process::output(
            Command::new(env!("CARGO_BIN_EXE_cleartap"))
                .args(["check", "--aws", "--changed"])
                .env("CLEARTAP_CLOUDWATCH__ENABLED", "true")
                .env("CLEARTAP_CLOUDWATCH__ENDPOINT", &endpoint)
                .env("AWS_ENDPOINT_URL", &endpoint)
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "canary-secret-key")
                .env("AWS_REGION", "us-east-1")
                .env("AWS_EC2_METADATA_DISABLED", "true"),
        )
    };
    let output = check(aws.port);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("cloudwatch: identity: arn:aws:"), "{text}");
    assert!(text.contains("ok     cloudwatch: cloudwatch:PutMetricData: allowed"), "{text}");
    assert!(output.status.success() && !text.contains("canary-secret-key"));
    assert!(aws.sum("SensorHeartbeat").1 < 0.5);
    let output = check(free_port());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("FAILED cloudwatch: cloudwatch:PutMetricData"), "{text}");
    assert_eq!(output.status.code(), Some(1));
}
