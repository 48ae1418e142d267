//! The words of alerts, for people.

use std::fmt::Write as _;

use super::{Alert, Brief, Digest};
use crate::{
    findings::EventKind,
    model::{PlaintextReason, finding::EVERY_CLIENT},
    policy::{Relation, Severity, Topic},
};

/// Most characters of a subject: what SNS takes.
const SUBJECT_CHARS_MAX: usize = 100;

/// Clients, or lines of a digest, that the text names; the fields hold more.
const TEXT_LINES_MAX: usize = 20;

/// Most bytes of the short form: Slack cuts longer ones.
const SHORT_BYTES_MAX: usize = 3500;

/// A line of ASCII: how bad, what, who, where.
pub(super) fn subject(alert: &Alert, group: &[Brief]) -> String {
    let head = head(alert, group);
    let mut line = format!("{head}{}: {} -> {}", what(alert), clients(alert, group), server(alert));
    let _infallible = write!(line, " ({})", alert.scope);
    ascii(&line)
}

/// The whole of it.
pub(super) fn text(alert: &Alert, group: &[Brief]) -> String {
    let mut out = String::new();
    opening(&mut out, alert, group);
    facts(&mut out, alert);
    if group.len() > 1 {
        line(&mut out, "");
        line(&mut out, &format!("{} in this message:", count(group.len() as u64, "finding")));
        lines(&mut out, group);
    }
    if !is_end(alert.event) {
        remedy(&mut out, alert);
        controls(&mut out, alert);
    }
    closing(&mut out, alert);
    out
}

/// A few lines in Slack's markup.
pub(super) fn short(alert: &Alert, group: &[Brief]) -> String {
    let mut out = format!(
        "*{}{}*: {} -> {} (scope {})\n",
        escaped(&head(alert, group)),
        escaped(&what(alert)),
        escaped(&clients(alert, group)),
        escaped(&server(alert)),
        escaped(&alert.scope)
    );
    if is_end(alert.event) {
        let _infallible = writeln!(out, "{}", escaped(&ending(alert)));
    } else {
        let _infallible = writeln!(out, "{}", escaped(&alert.why));
        if let Some(reason) = &alert.plaintext_reason {
            let _infallible = writeln!(out, "Why in clear: {}", escaped(&reason_in_words(reason)));
        }
        if !alert.credentials.is_empty() {
            let kinds = alert.credentials.join(", ");
            let _infallible = writeln!(out, "Credentials seen in clear: {}", escaped(&kinds));
        }
        let remedy = &alert.remedy;
        let _infallible = writeln!(out, "*Server*: {}", escaped(&remedy.server));
        let _infallible = writeln!(out, "*Client*: {}", escaped(&remedy.client));
        let _infallible = writeln!(out, "*What breaks*: {}", escaped(&remedy.breaks));
        let _infallible = writeln!(out, "<{}|vendor's page>", escaped(&remedy.vendor_page));
    }
    let _infallible = write!(out, "finding `{}`", alert.id);
    cut(&out, SHORT_BYTES_MAX)
}

/// Subject of a digest.
pub(super) fn digest_subject(digest: &Digest) -> String {
    let worst = digest.by_severity.last_key_value();
    let worst = worst.map(|(severity, n)| format!(", {n} {}", severity.name())).unwrap_or_default();
    ascii(&format!("[DIGEST] cleartap: {}{worst}", count(digest.alerts, "alert")))
}

/// Text of a digest.
pub(super) fn digest_text(digest: &Digest) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{} between {} and {}.",
            count(digest.alerts, "alert"),
            clock(&digest.from),
            clock(&digest.to)
        ),
    );
    if digest.over_limit > 0 {
        let over = count(digest.over_limit, "alert");
        line(&mut out, &format!("{over} of them stand here because a limit was reached."));
    }
    line(&mut out, "");
    let severities = digest.by_severity.iter().rev().map(|(s, n)| format!("{} {n}", s.name()));
    line(&mut out, &format!("By severity: {}.", severities.collect::<Vec<_>>().join(", ")));
    let events = digest.by_event.iter().map(|(event, n)| format!("{} {n}", event_in_words(*event)));
    line(&mut out, &format!("By event: {}.", events.collect::<Vec<_>>().join(", ")));
    let rules = digest.by_rule.iter().map(|(rule, n)| format!("{rule} {n}"));
    line(&mut out, &format!("By rule: {}.", rules.collect::<Vec<_>>().join(", ")));
    if digest.with_credentials > 0 {
        line(&mut out, &format!("With credentials seen in clear: {}.", digest.with_credentials));
    }
    line(&mut out, "");
    line(&mut out, "The worst:");
    lines_of(&mut out, &digest.lines, digest.alerts);
    line(&mut out, "");
    line(&mut out, "All of them: cleartap findings list");
    out
}

/// A digest in a few lines.
pub(super) fn digest_short(digest: &Digest) -> String {
    let mut out = format!("*{}*\n", escaped(&digest_subject(digest)));
    for brief in digest.lines.iter().take(5) {
        let _infallible = writeln!(out, "• {}", escaped(&brief_line(brief)));
    }
    let _infallible = write!(out, "`cleartap findings list` shows them all");
    cut(&out, SHORT_BYTES_MAX)
}

fn head(alert: &Alert, group: &[Brief]) -> String {
    let worst = group.iter().map(|brief| brief.severity).max().unwrap_or(alert.severity);
    match alert.event {
        EventKind::Resolved => "[RESOLVED] ".to_owned(),
        EventKind::Excepted => "[EXCEPTED] ".to_owned(),
        EventKind::Regressed => format!("[{}] back again: ", capitals(worst)),
        EventKind::Worsened => format!("[{}] got worse: ", capitals(worst)),
        EventKind::ExceptionExpired => format!("[{}] exception over: ", capitals(worst)),
        EventKind::Opened => format!("[{}] ", capitals(worst)),
    }
}

fn capitals(severity: Severity) -> String {
    severity.name().to_ascii_uppercase()
}

fn what(alert: &Alert) -> String {
    let protocol = clean(&alert.protocol);
    match alert.topic {
        Topic::Cleartext if alert.credentials.is_empty() => format!("{protocol} in clear"),
        Topic::Cleartext => format!("{protocol} in clear, with credentials"),
        Topic::Tls => format!("weak encryption of {protocol}"),
        Topic::Certificate => format!("certificate of {protocol}"),
        Topic::Service => format!("unexpected service {protocol}"),
    }
}

fn clients(alert: &Alert, group: &[Brief]) -> String {
    let mut names: Vec<&str> = group.iter().map(|brief| brief.client.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 | 1 => client(alert.client_shown()),
        n => format!("{n} clients"),
    }
}

fn client(name: &str) -> String {
    if name == EVERY_CLIENT { "every client".to_owned() } else { clean(name) }
}

fn server(alert: &Alert) -> String {
    at_port(alert.server_shown(), alert.port)
}

fn at_port(server: &str, port: u16) -> String {
    let server = clean(server);
    if server.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{server}]:{port}")
    } else {
        format!("{server}:{port}")
    }
}

fn opening(out: &mut String, alert: &Alert, group: &[Brief]) {
    let who = clients(alert, group);
    let to = server(alert);
    let scope = clean(&alert.scope);
    let protocol = clean(&alert.protocol);
    let talks = if who.ends_with("clients") { "talk" } else { "talks" };
    line(
        out,
        &match alert.topic {
            Topic::Cleartext => {
                format!("{who} {talks} to {to} in clear, in {protocol} (scope {scope}).")
            }
            Topic::Tls => format!("{who} {talks} to {to} with weak encryption (scope {scope})."),
            Topic::Certificate => {
                format!("The certificate of {to} needs attention (scope {scope}).")
            }
            Topic::Service => {
                format!(
                    "{to} speaks {protocol}, which is not what its port is for (scope {scope})."
                )
            }
        },
    );
    for (name, address) in [
        (alert.client_shown(), &alert.client_address),
        (alert.server_shown(), &alert.server_address),
    ] {
        if name != address && !address.is_empty() && name != EVERY_CLIENT {
            line(out, &format!("{} was last seen as {}.", clean(name), clean(address)));
        }
    }
    ends(out, alert);
    line(
        out,
        &format!(
            "{} at {}; severity {}, rule {}.",
            event_sentence(alert.event),
            clock(&alert.at),
            alert.severity.name(),
            clean(&alert.rule)
        ),
    );
}

/// What else is known of the ends.
fn ends(out: &mut String, alert: &Alert) {
    let names = &alert.names;
    if let (Some(name), Some(source)) = (&names.server_name, &names.server_name_source)
        && source != "inventory"
    {
        let how = match source.as_str() {
            "dns" => "a name service answers with this address",
            "sni" => "asked for in TLS",
            _ => "asked for in requests",
        };
        line(out, &format!("Clients call the server {} ({how}).", clean(name)));
    }
    for (end, owner) in [("client", &names.client_owner), ("server", &names.server_owner)] {
        if let Some(owner) = owner {
            line(out, &format!("Owner of the {end}: {}.", clean(owner)));
        }
    }
}

fn facts(out: &mut String, alert: &Alert) {
    line(out, "");
    if is_end(alert.event) {
        line(out, &ending(alert));
    } else {
        line(out, &format!("Why it matters: {}", clean(&alert.why)));
        if let Some(reason) = &alert.plaintext_reason {
            line(out, &format!("Why in clear: {}", reason_in_words(reason)));
        }
        if !alert.credentials.is_empty() {
            let kinds = clean(&alert.credentials.join(", "));
            line(
                out,
                &format!(
                    "Credentials seen in clear: {kinds}. Change them once the traffic is sealed."
                ),
            );
        }
        if let Some(exception) = &alert.exception {
            let expires = alert.exception_expires.as_deref().unwrap_or("an unknown day");
            line(
                out,
                &format!("Exception {} held it back until {}.", clean(exception), clean(expires)),
            );
        }
    }
    let mut seen = format!(
        "Seen: since {}, last {}; {}, {} bytes",
        clock(&alert.first_seen),
        clock(&alert.last_seen),
        count(alert.flows, "flow"),
        alert.bytes
    );
    if alert.regressions > 0 {
        let _infallible =
            write!(seen, "; came back {}", count(u64::from(alert.regressions), "time"));
    }
    line(out, &format!("{seen}."));
}

fn ending(alert: &Alert) -> String {
    if alert.event == EventKind::Excepted {
        let exception = alert.exception.as_deref().unwrap_or("without an id");
        let expires = alert.exception_expires.as_deref().unwrap_or("an unknown day");
        return format!("Exception {} accepts it until {}.", clean(exception), clean(expires));
    }
    format!(
        "No such flow since {}: it counts as resolved. Silence is no proof: it comes back if a flow is seen.",
        clock(&alert.last_seen)
    )
}

fn remedy(out: &mut String, alert: &Alert) {
    let remedy = &alert.remedy;
    line(out, "");
    line(out, &format!("What to change ({}):", remedy.title));
    line(out, &format!("  Server: {}", remedy.server));
    line(out, &format!("  Client: {}", remedy.client));
    line(out, &format!("  What breaks: {}", remedy.breaks));
    line(out, &format!("  Vendor: {}", remedy.vendor_page));
}

fn controls(out: &mut String, alert: &Alert) {
    if alert.controls.is_empty() {
        return;
    }
    line(out, "");
    line(out, "Requirements it bears on (whether one applies is for the assessor to scope):");
    for control in &alert.controls {
        let relation = match control.relation {
            Relation::Weakens => "weakens",
            Relation::Supports => "supports",
        };
        let mut text = format!("  {relation} {} {}", control.framework, control.id);
        if let Some(caveat) = &control.caveat {
            let _infallible = write!(text, " ({caveat})");
        }
        line(out, &text);
    }
}

fn closing(out: &mut String, alert: &Alert) {
    line(out, "");
    for evidence in alert.evidence.iter().take(3) {
        line(
            out,
            &format!(
                "Evidence: {} ({}, offset {}, {} bytes, {})",
                clean(&evidence.rule),
                clean(&evidence.direction),
                evidence.offset,
                evidence.length,
                clean(&evidence.constant)
            ),
        );
    }
    line(out, &format!("Finding: {} (cleartap findings show {})", alert.id, alert.id));
}

fn lines(out: &mut String, group: &[Brief]) {
    lines_of(out, group, group.len() as u64);
}

/// The first of them; `all` is how many there are.
fn lines_of(out: &mut String, list: &[Brief], all: u64) {
    for brief in list.iter().take(TEXT_LINES_MAX) {
        line(out, &format!("  {}", brief_line(brief)));
    }
    let more = all.saturating_sub(list.len().min(TEXT_LINES_MAX) as u64);
    if more > 0 {
        line(out, &format!("  and {more} more"));
    }
}

fn brief_line(brief: &Brief) -> String {
    let credentials = if brief.credentials { ", with credentials" } else { "" };
    format!(
        "{} {}: {} -> {} {} ({}, {}{credentials}) {}",
        brief.severity.name(),
        event_in_words(brief.event),
        client(&brief.client),
        at_port(&brief.server, brief.port),
        clean(&brief.protocol),
        clean(&brief.scope),
        clean(&brief.rule),
        brief.id
    )
}

const fn is_end(event: EventKind) -> bool {
    matches!(event, EventKind::Resolved | EventKind::Excepted)
}

const fn event_in_words(event: EventKind) -> &'static str {
    match event {
        EventKind::Opened => "opened",
        EventKind::Regressed => "came back",
        EventKind::Worsened => "got worse",
        EventKind::Resolved => "resolved",
        EventKind::Excepted => "excepted",
        EventKind::ExceptionExpired => "exception over",
    }
}

const fn event_sentence(event: EventKind) -> &'static str {
    match event {
        EventKind::Opened => "Opened",
        EventKind::Regressed => "Came back",
        EventKind::Worsened => "Got worse",
        EventKind::Resolved => "Resolved",
        EventKind::Excepted => "Excepted",
        EventKind::ExceptionExpired => "Its exception was over",
    }
}

/// A record's word, explained.
fn reason_in_words(reason: &str) -> String {
    let known = PlaintextReason::ALL.iter().find(|known| known.name() == reason);
    let Some(known) = known else { return clean(reason) };
    match known {
        PlaintextReason::ServerRefused => "the server refuses TLS or does not offer it",
        PlaintextReason::ClientDeclined => "the server offers TLS, the client does not take it",
        PlaintextReason::ClientNeverAsked => {
            "the client never asked for TLS; whether the server could is not visible"
        }
        PlaintextReason::NoInBandUpgrade => {
            "the protocol has no upgrade in band: it needs a TLS port, or TLS around it"
        }
        PlaintextReason::NullCipher => "TLS was agreed on with a cipher that encrypts nothing",
    }
    .to_owned()
}

/// `2026-11-23 13:30:00 UTC` of an RFC 3339 time.
fn clock(time: &str) -> String {
    time.get(..19).map_or_else(|| clean(time), |time| format!("{} UTC", time.replace('T', " ")))
}

fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Names from an inventory or a configuration must not break lines or terminals.
fn clean(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().map(|c| if is_odd(c) { ' ' } else { c }).take(256).collect()
}

/// A line of printable ASCII that SNS takes as subject.
fn ascii(line: &str) -> String {
    let printable = |c: char| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' };
    let text: String = line.chars().map(printable).collect();
    if text.len() <= SUBJECT_CHARS_MAX {
        return text;
    }
    cut(&text, SUBJECT_CHARS_MAX - 3) + "..."
}

/// The first bytes of it, whole characters.
fn cut(text: &str, bytes_max: usize) -> String {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default().to_owned()
}

/// Slack's three characters, by its rules.
fn escaped(text: &str) -> String {
    clean_lines(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn clean_lines(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
