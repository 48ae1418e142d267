//! `cleartap status`: how a running sensor stands, in one screen. It asks the sensor's `/status`.
#![allow(clippy::disallowed_methods, reason = "edge: asks over HTTP")]

use std::{
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    EXIT_INPUT, EXIT_OK,
    args::{BadConfig, EngineArgs},
    complain, print,
};
use crate::config::load;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Where the sensor serves its health (default: `health.listen` of the configuration)
    #[arg(long, value_name = "http://HOST:PORT")]
    url: Option<String>,
    /// Print what the sensor answers, as JSON
    #[arg(long, conflicts_with = "check")]
    json: bool,
    /// Print nothing; exit code 1 if the sensor is not well (for health checks of containers)
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// How a sensor stands: the body of `/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    /// Version of the sensor.
    pub(super) version: String,
    /// `starting`, `running`, `draining`, `failing`.
    pub(super) state: String,
    /// What is wrong.
    pub(super) problem: Option<String>,
    /// Seconds since the start.
    pub(super) uptime_s: u64,
    /// What comes in.
    pub(super) capture: CaptureStatus,
    /// What it was.
    pub(super) flows: FlowStatus,
    /// Open findings, worst severity first; none if findings are not kept.
    pub(super) findings: Option<Vec<(String, u64)>>,
    /// Seconds since the canary was seen; none if none is expected.
    pub(super) canary_age_s: Option<u64>,
    /// What is mirrored, as the session keeper saw it last.
    pub(super) coverage: Option<Coverage>,
    /// Each output.
    pub(super) outputs: Vec<OutputStatus>,
}

/// What comes in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct CaptureStatus {
    pub(super) packets_per_s: f64,
    pub(super) bits_per_s: f64,
    pub(super) packets: u64,
    pub(super) kernel_drops: u64,
    pub(super) kernel_drops_percent: f64,
    /// Let go on purpose: they would only have moved counters.
    pub(super) shed: u64,
    pub(super) skipped: u64,
    pub(super) not_allowed: u64,
    pub(super) truncated: u64,
    pub(super) duplicates: u64,
}

/// Flows since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FlowStatus {
    pub(super) seen: u64,
    pub(super) plaintext: u64,
    pub(super) tls: u64,
    pub(super) unknown: u64,
    pub(super) evicted: u64,
}

/// What the session keeper's last report says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Coverage {
    /// When, RFC 3339.
    pub(super) at: String,
    pub(super) mirrored: u64,
    pub(super) not_mirrored: u64,
    pub(super) blind: u64,
}

/// How an output stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OutputStatus {
    /// `records`, `cloudwatch`, or the name of a channel.
    pub(super) name: String,
    /// `json_lines`, `cloudwatch`, `sns` ...
    pub(super) kind: String,
    pub(super) delivered: u64,
    pub(super) waiting: u64,
    pub(super) lost: u64,
    pub(super) last_delivery: Option<String>,
    pub(super) last_fault: Option<String>,
}

/// Longest time until the sensor has answered.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

pub(super) fn status(args: &StatusArgs) -> anyhow::Result<u8> {
    let place = match &args.url {
        Some(url) => host(url)?,
        None => configured(&args.engine)?,
    };
    if args.check {
        let (code, body) = get(&place, "/healthz")?;
        if code == 200 {
            return Ok(EXIT_OK);
        }
        complain(body.trim());
        return Ok(EXIT_INPUT);
    }
    let (code, body) = get(&place, "/status")?;
    anyhow::ensure!(code == 200, "{place}: HTTP {code}; is this a sensor of this version?");
    let status: Status = serde_json::from_str(&body)
        .with_context(|| format!("{place}: the answer is not a sensor's status"))?;
    print(&if args.json { body } else { screen(&status) })?;
    Ok(if status.state == "running" { EXIT_OK } else { EXIT_INPUT })
}

/// `HOST:PORT` of a URL.
fn host(url: &str) -> anyhow::Result<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let place = rest.split('/').next().unwrap_or_default();
    let (name, port) = place.rsplit_once(':').unwrap_or(("", ""));
    anyhow::ensure!(
        !name.is_empty() && port.parse::<u16>().is_ok(),
        "--url: `{url}`: expected http://HOST:PORT"
    );
    Ok(place.to_owned())
}

/// Where the configuration says that health is served, as seen from this machine.
fn configured(engine: &EngineArgs) -> anyhow::Result<String> {
    let config = load(&engine.sources(Vec::new())).map_err(BadConfig)?.config;
    let address = config.health.listen.or(config.prometheus.listen).context(
        "neither health.listen nor prometheus.listen is configured: name the sensor with --url, or its file with --config",
    )?;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, address.port()).to_string())
}

/// A GET; status code and body.
fn get(place: &str, path: &str) -> anyhow::Result<(u16, String)> {
    let asked = || format!("{place}: no sensor answers there");
    let address = place.to_socket_addrs().with_context(asked)?.next();
    let address = address.with_context(|| format!("{place}: the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME_MAX).with_context(asked)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.set_write_timeout(Some(ANSWER_TIME_MAX))?;
    // HTTP/1.0: the answer ends with the connection, in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {place}\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(asked)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).with_context(asked)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.with_context(|| format!("{place}: the answer is not HTTP"))?;
    Ok((code, body.to_owned()))
}

/// One screen for people.
fn screen(status: &Status) -> String {
    let mut text = String::new();
    let Status { capture, flows, .. } = status;
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ok = writeln!(text, "{name:<11}{value}");
    };
    let problem = status.problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
    line(
        "sensor",
        format!(
            "{}{problem}, up {}, version {}",
            status.state,
            time(status.uptime_s),
            status.version
        ),
    );
    line(
        "rate",
        format!("{:.0} packets/s, {}bit/s", capture.packets_per_s, short(capture.bits_per_s)),
    );
    line(
        "packets",
        format!(
            "{} read; {} lost in the kernel ({:.2} % of the last minute), {} shed; {} skipped, {} not allowed, {} truncated, {} twice",
            capture.packets,
            capture.kernel_drops,
            capture.kernel_drops_percent,
            capture.shed,
            capture.skipped,
            capture.not_allowed,
            capture.truncated,
            capture.duplicates
        ),
    );
    line(
        "flows",
        format!(
            "{} seen; ended: {} plaintext, {} TLS, {} unknown, {} evicted",
            flows.seen, flows.plaintext, flows.tls, flows.unknown, flows.evicted
        ),
    );
    line("findings", findings(status));
    line(
        "canary",
        status
            .canary_age_s
            .map_or_else(|| "none expected".to_owned(), |age| format!("seen {} ago", time(age))),
    );
    line("coverage", coverage(status));
    for output in &status.outputs {
        let last = output.last_delivery.as_deref().unwrap_or("never");
        let fault =
            output.last_fault.as_ref().map_or(String::new(), |fault| format!("; failing: {fault}"));
        line(
            "output",
            format!(
                "{} ({}): {} delivered, last {last}; {} waiting, {} lost{fault}",
                output.name, output.kind, output.delivered, output.waiting, output.lost
            ),
        );
    }
    text
}

fn coverage(status: &Status) -> String {
    let Some(report) = &status.coverage else {
        return "no report of the session keeper".to_owned();
    };
    let Coverage { at, mirrored, not_mirrored, blind } = report;
    format!("{mirrored} interfaces mirrored, {not_mirrored} not, {blind} blind by design ({at})")
}

fn findings(status: &Status) -> String {
    let Some(open) = &status.findings else { return "not kept".to_owned() };
    let list: Vec<String> = open
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(severity, count)| format!("{count} {severity}"))
        .collect();
    if list.is_empty() { "none open".to_owned() } else { format!("open: {}", list.join(", ")) }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `1234567` as `1.2 M`.
fn short(value: f64) -> String {
    for (limit, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= limit {
            return format!("{:.1} {unit}", value / limit);
        }
    }
    format!("{value:.0} ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_screen_says_it_all() {
        let status = Status {
            version: "0.1.0".to_owned(),
            state: "failing".to_owned(),
            problem: Some("the data plane has not moved for 7 s".to_owned()),
            uptime_s: 7300,
            capture: CaptureStatus {
                packets_per_s: 1234.4,
                bits_per_s: 2.5e9,
                packets: 9,
                ..CaptureStatus::default()
            },
            findings: Some(vec![("critical".to_owned(), 0), ("high".to_owned(), 3)]),
            canary_age_s: Some(61),
            outputs: vec![OutputStatus {
                name: "topic".to_owned(),
                kind: "sns".to_owned(),
                delivered: 4,
                waiting: 2,
                last_fault: Some("HTTP 403".to_owned()),
                ..OutputStatus::default()
            }],
            ..Status::default()
        };
        let text = screen(&status);
        for words in [
            "failing: the data plane has not moved for 7 s, up 2 h",
            "1234 packets/s, 2.5 Gbit/s",
            "open: 3 high",
            "seen 61 s ago",
            "no report of the session keeper",
            "topic (sns): 4 delivered, last never; 2 waiting, 0 lost; failing: HTTP 403",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(text.lines().count() <= 24, "one screen");
    }

    #[test]
    fn a_url_names_host_and_port() {
        for (url, place) in [
            ("http://127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("http://[::1]:8080/healthz", Some("[::1]:8080")),
            ("sensor.internal:8080", Some("sensor.internal:8080")),
            ("http://sensor", None),
            ("https://sensor:8080", None),
        ] {
            assert_eq!(host(url).ok().as_deref(), place, "{url}");
        }
    }
}
