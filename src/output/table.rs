//! The report for a terminal.

use std::{collections::BTreeSet, fmt::Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::report::{Edge, Report};
use crate::model::Encryption;

/// How the terminal can show it.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns to use.
    pub width: u16,
    /// Colours and bold type.
    pub color: bool,
    /// Most edges shown; the rest is counted.
    pub edges_max: usize,
}

/// The whole report as text.
pub fn render(report: &Report, style: Style) -> String {
    let mut text = String::new();
    heading(&mut text, report);
    verdicts(&mut text, report, style);
    edges(&mut text, report, style);
    seen(&mut text, report);
    text
}

fn heading(text: &mut String, report: &Report) {
    let captures = match report.captures.as_slice() {
        [one] => one.clone(),
        many => format!("{} captures", many.len()),
    };
    let packets = report.counters.get("frames").copied().unwrap_or(0);
    let span = match (report.ts_first, report.ts_last) {
        (Some(first), Some(last)) => {
            format!(", {} to {}", short(&first.to_string()), short(&last.to_string()))
        }
        _ => String::new(),
    };
    line(text, &format!("{captures}: {packets} packets, {} flows{span}", report.flows()));
    line(text, "");
}

fn verdicts(text: &mut String, report: &Report, style: Style) {
    let mut table = plain(style);
    table.set_header(header(&["verdict", "flows", "share", "bytes", ""], style));
    let all = report.flows().max(1);
    for encryption in Encryption::ALL {
        let name = encryption.name();
        let Some(total) = report.verdicts.get(name) else { continue };
        let tenths = total.flows * 1000 / all;
        let note = match encryption {
            Encryption::Unknown => reasons(report),
            _ => String::new(),
        };
        table.add_row([
            paint(Cell::new(name), Some(color(*encryption)), style),
            right(total.flows.to_string()),
            right(format!("{}.{} %", tenths / 10, tenths % 10)),
            right(bytes(total.bytes)),
            Cell::new(note),
        ]);
    }
    line(text, &table.to_string());
    line(text, "");
}

fn edges(text: &mut String, report: &Report, style: Style) {
    let edges = report.edges();
    if edges.is_empty() {
        line(text, "No flow was proven to be in cleartext.");
        return;
    }
    line(text, "Who talks in cleartext, worst first:");
    let scoped = edges.iter().any(|e| e.scope != "default");
    let mut table = plain(style);
    let mut names =
        vec!["protocol", "client", "server", "flows", "bytes", "outcome", "why", "credentials"];
    names.extend(["first seen", "last seen"]);
    if scoped {
        names.insert(0, "scope");
    }
    table.set_header(header(&names, style));
    for edge in edges.iter().take(style.edges_max) {
        table.add_row(edge_row(edge, scoped, style));
    }
    line(text, &table.to_string());
    if edges.len() > style.edges_max {
        let rest = edges.len() - style.edges_max;
        line(text, &format!("and {rest} more (--edges-max, or --format csv for all)"));
    }
}

fn edge_row(edge: &Edge, scoped: bool, style: Style) -> Vec<Cell> {
    let server = std::net::SocketAddr::new(edge.server, edge.port);
    let credentials: Vec<&str> = edge.credentials.iter().copied().collect();
    let strong = if edge.outcome == "established" { Some(Color::Red) } else { None };
    let mut row = vec![
        paint(Cell::new(edge.protocol.unwrap_or("-")), strong, style),
        Cell::new(edge.client),
        Cell::new(server),
        right(edge.flows.to_string()),
        right(bytes(edge.bytes)),
        Cell::new(edge.outcome),
        Cell::new(edge.plaintext_reason.unwrap_or("-")),
        Cell::new(if credentials.is_empty() { "-".to_owned() } else { credentials.join(" ") }),
        Cell::new(short(&edge.first_seen.to_string())),
        Cell::new(short(&edge.last_seen.to_string())),
    ];
    if scoped {
        row.insert(0, Cell::new(&edge.scope));
    }
    row
}

/// What was not seen or not understood: silence would be a bug.
fn seen(text: &mut String, report: &Report) {
    let quiet: BTreeSet<&str> = QUIET.into_iter().collect();
    let odd: Vec<String> = report
        .counters
        .iter()
        .filter(|(name, _)| !quiet.contains(*name))
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    line(text, "");
    if !odd.is_empty() {
        line(text, &format!("Not in the flows above: {}.", odd.join(", ")));
    }
    if report.unexpected > 0 {
        let n = report.unexpected;
        line(text, &format!("{n} flows speak another protocol than is usual on their port."));
    }
}

/// Counters that say nothing of gaps.
const QUIET: [&str; 9] = [
    "frames",
    "frame_bytes",
    "segments",
    "flows",
    "flows_peak",
    "session_bytes_peak",
    "settled_bytes_peak",
    "port_reuse",
    "duplicates",
];

fn reasons(report: &Report) -> String {
    let list: Vec<String> =
        report.unknown_reasons.iter().map(|(name, count)| format!("{name} {count}")).collect();
    list.join(", ")
}

fn plain(style: Style) -> Table {
    let mut table = Table::new();
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.width);
    table
}

fn header(names: &[&str], style: Style) -> Vec<Cell> {
    names
        .iter()
        .map(|name| {
            let cell = Cell::new(name.to_uppercase());
            if style.color { cell.add_attribute(Attribute::Bold) } else { cell }
        })
        .collect()
}

fn paint(cell: Cell, color: Option<Color>, style: Style) -> Cell {
    match color {
        Some(color) if style.color => cell.fg(color),
        _ => cell,
    }
}

const fn color(encryption: Encryption) -> Color {
    match encryption {
        Encryption::Plaintext | Encryption::Partial => Color::Red,
        Encryption::Unknown => Color::Yellow,
        _ => Color::Green,
    }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Bytes in decimal units, three digits.
pub fn bytes(n: u64) -> String {
    let (mut value, mut tenths) = (n, 0);
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 1000 {
            return match (unit, value) {
                ("B", _) | (_, 100..) => format!("{value} {unit}"),
                _ => format!("{value}.{tenths} {unit}"),
            };
        }
        (value, tenths) = (value / 1000, value % 1000 / 100);
    }
    format!("{value} PB")
}

/// Seconds are enough for people.
fn short(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

fn line(text: &mut String, content: &str) {
    for row in content.lines() {
        // Writing to a String cannot fail.
        let _ok = writeln!(text, "{}", row.trim_end());
    }
    if content.is_empty() {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_three_digits() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1500), "1.5 kB");
        assert_eq!(bytes(15_000_000), "15.0 MB");
        assert_eq!(bytes(150_000_000_000), "150 GB");
    }
}
