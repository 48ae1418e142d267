//! The inventory for a terminal: the answers first, then the servers.

use std::{collections::BTreeMap, fmt::Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{Answers, Inventory, Server, ServerKey, Share};

/// How the terminal can show it.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Bold type.
    pub bold: bool,
    /// Most lines of a list; the rest is counted.
    pub lines_max: usize,
    /// Days ahead that certificates are looked at.
    pub expiring_days: i64,
}

impl Inventory {
    /// The answers and the servers as text.
    pub fn table(&self, style: Style) -> String {
        let answers = self.answers(style.expiring_days);
        let mut text = String::new();
        if answers.servers == 0 {
            line(&mut text, "No TLS, DTLS or QUIC server was seen.");
            return text;
        }
        let as_of = self.now.map(|now| now.to_string()).unwrap_or_default();
        let as_of = as_of.get(..19).unwrap_or(&as_of);
        line(&mut text, &format!("{} TLS servers, as of {as_of}Z", answers.servers));
        old_versions(&mut text, &answers, style);
        expiring(&mut text, &answers, style);
        post_quantum(&mut text, &answers);
        servers(&mut text, self, style);
        if self.flows_not_listed > 0 {
            let count = self.flows_not_listed;
            line(&mut text, &format!("{count} flows of further servers found no room here."));
        }
        text
    }
}

fn old_versions(text: &mut String, answers: &Answers, style: Style) {
    line(text, "");
    line(text, "Which servers still accept less than TLS 1.2 in practice?");
    if answers.below_tls_1_2.is_empty() {
        line(text, "  None of those seen.");
        return;
    }
    let rows = answers.below_tls_1_2.iter().map(|below| {
        let better = match below.though_offered_newer {
            0 => "the clients offered nothing newer".to_owned(),
            flows => format!("though the client offered TLS 1.2 or newer in {flows}"),
        };
        vec![name(&below.server), endpoint(&below.server), counts(&below.versions), better]
    });
    list(text, rows, style);
}

fn expiring(text: &mut String, answers: &Answers, style: Style) {
    line(text, "");
    let days = answers.expiring_days;
    line(text, &format!("Which certificates have expired, or expire within {days} days?"));
    if answers.expiring.is_empty() {
        line(text, "  None of those seen.");
    }
    let rows = answers.expiring.iter().map(|expiring| {
        let left = match expiring.days_left {
            left @ ..0 => format!("expired {} days ago", left.unsigned_abs()),
            left => format!("{left} days left"),
        };
        let subject = expiring.subject.as_ref().map(ToString::to_string).unwrap_or_default();
        vec![
            name(&expiring.server),
            endpoint(&expiring.server),
            expiring.not_after.clone(),
            left,
            subject,
        ]
    });
    list(text, rows, style);
    if answers.certificate_unknown_servers > 0 {
        let hidden = answers.certificate_unknown_servers;
        line(
            text,
            &format!(
                "  Of {hidden} servers no certificate could be seen (TLS 1.3 hides them): they cannot be judged."
            ),
        );
    }
}

fn post_quantum(text: &mut String, answers: &Answers) {
    line(text, "");
    line(text, "How far are we with post-quantum key exchange?");
    line(text, &format!("  used:     {}", share(answers.pq_flows, "established flows")));
    line(text, &format!("  offered:  {}", share(answers.pq_offered_flows, "flows, by the client")));
    line(
        text,
        &format!("  servers:  {}", share(answers.pq_servers, "servers used it at least once")),
    );
}

fn servers(text: &mut String, inventory: &Inventory, style: Style) {
    line(text, "");
    let mut table = plain(style);
    let heads = [
        "server",
        "flows",
        "versions",
        "suites",
        "groups",
        "pq",
        "strength",
        "certificate",
        "clients offer",
    ];
    table.set_header(heads.map(|head| bold(head, style)));
    let all = inventory.worst_first();
    for (key, server) in all.iter().take(style.lines_max) {
        table.add_row([
            Cell::new(format!("{}\n{}", name(key), endpoint(key))),
            Cell::new(server.flows).set_alignment(CellAlignment::Right),
            Cell::new(most(&server.versions)),
            Cell::new(most(&server.ciphers)),
            Cell::new(most(&server.groups)),
            Cell::new(percent(server.pq)),
            Cell::new(most(&server.strength)),
            Cell::new(certificates(server, inventory)),
            Cell::new(most(&server.versions_offered)),
        ]);
    }
    for row in flush(table).lines() {
        line(text, row);
    }
    if all.len() > style.lines_max {
        let rest = all.len() - style.lines_max;
        line(text, &format!("and {rest} more (--edges-max, or another --format for all)"));
    }
}

/// Last day and days left of each certificate.
fn certificates(server: &Server, inventory: &Inventory) -> String {
    let mut rows: Vec<String> = server
        .certificates
        .values()
        .map(|shown| match inventory.days_left(shown) {
            Some(left) => format!("{} ({left} days)", shown.last_day()),
            None => "end not readable".to_owned(),
        })
        .take(VALUES_SHOWN_MAX)
        .collect();
    if server.certificates.len() > rows.len() {
        rows.push(format!("and {} more", server.certificates.len() - rows.len()));
    }
    if rows.is_empty() && server.certificate_unknown > 0 {
        rows.push("not visible".to_owned());
    }
    rows.join("\n")
}

fn name(key: &ServerKey) -> String {
    let name = key.sni.as_ref().map_or("(no name)", |name| name.as_str());
    let mut name: String = name.chars().take(NAME_SHOWN_MAX).collect();
    if key.sni.as_ref().is_some_and(|whole| whole.as_str().len() > name.len()) {
        name.push_str("...");
    }
    if key.scope == "default" { name } else { format!("{}: {name}", key.scope) }
}

fn endpoint(key: &ServerKey) -> String {
    std::net::SocketAddr::new(key.address, key.port).to_string()
}

fn counts<K: std::fmt::Display>(values: &BTreeMap<K, u64>) -> String {
    let all: Vec<String> =
        values.iter().map(|(value, flows)| format!("{value} in {flows}")).collect();
    all.join(", ")
}

/// The values met most, with their flows.
fn most<K: std::fmt::Display>(values: &BTreeMap<K, u64>) -> String {
    let mut all: Vec<(&K, &u64)> = values.iter().collect();
    all.sort_by_key(|(_, flows)| std::cmp::Reverse(**flows));
    let shown = all.iter().take(VALUES_SHOWN_MAX);
    let mut rows: Vec<String> = shown.map(|(value, flows)| format!("{value} {flows}")).collect();
    if all.len() > rows.len() {
        rows.push(format!("and {} more", all.len() - rows.len()));
    }
    rows.join("\n")
}

fn percent(share: Share) -> String {
    match share.yes + share.no {
        0 => String::new(),
        judged => format!("{} %", share.yes * 100 / judged),
    }
}

fn share(share: Share, of: &str) -> String {
    let judged = share.yes + share.no;
    let unknown = match share.unknown {
        0 => String::new(),
        unknown => format!(" ({unknown} cannot be told)"),
    };
    if judged == 0 {
        return format!("cannot be told{unknown}");
    }
    let tenths = share.yes * 1000 / judged;
    format!("{} of {judged} {of}, {}.{} %{unknown}", share.yes, tenths / 10, tenths % 10)
}

/// An indented list without borders, cut to `lines_max`.
fn list(text: &mut String, rows: impl ExactSizeIterator<Item = Vec<String>>, style: Style) {
    let all = rows.len();
    if all == 0 {
        return;
    }
    let mut table = plain(style);
    rows.take(style.lines_max).for_each(|row| {
        table.add_row(row);
    });
    for row in flush(table).lines() {
        line(text, &format!("  {}", row.trim_end()));
    }
    if all > style.lines_max {
        line(text, &format!("  and {} more", all - style.lines_max));
    }
}

/// The table as text, with space behind its columns only.
fn flush(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string()
}

fn plain(style: Style) -> Table {
    let mut table = Table::new();
    if style.bold {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    // Names and addresses are never broken: the terminal wraps them.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn bold(text: &str, style: Style) -> Cell {
    let cell = Cell::new(text);
    if style.bold { cell.add_attribute(Attribute::Bold) } else { cell }
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ok = writeln!(text, "{}", line.trim_end());
}

/// Values of one fact shown in a cell.
const VALUES_SHOWN_MAX: usize = 3;
/// Characters shown of a name; the other forms have all of it.
const NAME_SHOWN_MAX: usize = 48;
