//! The report for a terminal.

use std::{collections::BTreeSet, fmt::Write as _};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::report::{Edge, Report};
use crate::model::{Encryption, Timestamp};

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
    if report.flows() == 0 {
        line(&mut text, "There is no flow to report on.");
        seen(&mut text, report);
        return text;
    }
    verdicts(&mut text, report, style);
    edges(&mut text, report, style);
    seen(&mut text, report);
    text
}

fn heading(text: &mut String, report: &Report) {
    let captures = match report.captures.as_slice() {
        [one] if one == "-" => "standard input".to_owned(),
        // A file may be called anything; the terminal must not obey it.
        [one] => one.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        many => format!("{} captures", many.len()),
    };
    let packets = report.counters.get("frames").copied().unwrap_or(0);
    let span = match (report.ts_first, report.ts_last) {
        (Some(first), Some(last)) => {
            format!(", {} to {}", short(&first.to_string()), short(&last.to_string()))
        }
        _ => String::new(),
    };
    let flows = match (report.flows(), report.filtered) {
        (flows, 0) => format!("{flows} flows"),
        (flows, others) => format!("{flows} of {} flows pass the filter", flows + others),
    };
    line(text, &format!("{captures}: {packets} packets, {flows}{span}"));
    line(text, "");
}

fn verdicts(text: &mut String, report: &Report, style: Style) {
    let mut table = plain(style);
    table.set_header(header(["verdict", "flows", "share", "bytes", ""], style));
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
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    line(text, &table.to_string());
    line(text, "");
}

fn edges(text: &mut String, report: &Report, style: Style) {
    if report.edges_len() == 0 {
        line(text, "No flow was proven to be in cleartext.");
        return;
    }
    line(text, "Who talks in cleartext, worst first:");
    let shown = &report.worst_edges(style.edges_max);
    let scoped = report.is_scoped();
    let fits = |layout: &&Layout| {
        let table = edge_table(shown, layout, scoped, Style { color: false, ..style });
        table.lines().all(|row| row.trim_end().chars().count() <= usize::from(style.width))
    };
    let layout = LAYOUTS.iter().find(fits).unwrap_or(&NARROW);
    line(text, &edge_table(shown, layout, scoped, style).to_string());
    let rest = report.edges_len() - shown.len();
    if rest > 0 {
        line(text, &format!("and {rest} more (--edges-max, or --format csv for all)"));
    }
}

fn edge_table(edges: &[Edge], layout: &Layout, scoped: bool, style: Style) -> Table {
    let columns = || layout.columns.iter().filter(|fields| scoped || **fields != [Field::Scope]);
    let stack = |fields: &[Field], text: &dyn Fn(Field) -> String| {
        fields.iter().map(|field| text(*field)).collect::<Vec<_>>().join("\n")
    };
    let mut table = plain(style);
    // Addresses and words are never broken: the layout fits, or the terminal wraps it.
    table.set_content_arrangement(ContentArrangement::Disabled);
    let names: Vec<String> =
        columns().map(|f| stack(f, &|field| field.name().to_owned())).collect();
    table.set_header(header(names.iter().map(String::as_str), style));
    for edge in edges {
        table.add_row(columns().map(|fields| {
            let cell = Cell::new(stack(fields, &|field| field.of(edge, layout)));
            match fields.first() {
                Some(Field::Protocol) if edge.outcome == "established" => {
                    paint(cell, Some(Color::Red), style)
                }
                Some(Field::Flows | Field::Bytes) => cell.set_alignment(CellAlignment::Right),
                _ => cell,
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// What is told of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Scope,
    Protocol,
    Client,
    Server,
    Flows,
    Bytes,
    Outcome,
    Why,
    Credentials,
    First,
    Last,
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::Protocol => "protocol",
            Self::Client => "client",
            Self::Server => "server",
            Self::Flows => "flows",
            Self::Bytes => "bytes",
            Self::Outcome => "outcome",
            Self::Why => "why",
            Self::Credentials => "credentials",
            Self::First => "first seen",
            Self::Last => "last seen",
        }
    }

    fn of(self, edge: &Edge, layout: &Layout) -> String {
        let time = |time: Timestamp| {
            let text = short(&time.to_string());
            if layout.years { text } else { without_year(&text) }
        };
        match self {
            Self::Scope => edge.scope.to_string(),
            Self::Protocol => edge.protocol.unwrap_or("-").to_owned(),
            Self::Client => edge.client.to_string(),
            Self::Server => std::net::SocketAddr::new(edge.server, edge.port).to_string(),
            Self::Flows => edge.flows.to_string(),
            Self::Bytes => bytes(edge.bytes),
            Self::Outcome => edge.outcome.to_owned(),
            Self::Why => edge.plaintext_reason.unwrap_or("-").to_owned(),
            Self::Credentials if edge.credentials.is_empty() => "-".to_owned(),
            Self::Credentials => {
                edge.credentials.iter().copied().collect::<Vec<_>>().join(layout.between)
            }
            Self::First => time(edge.first_seen),
            Self::Last => time(edge.last_seen),
        }
    }
}

/// Which fields stand below one another in each column.
struct Layout {
    columns: &'static [&'static [Field]],
    /// Between credential kinds.
    between: &'static str,
    /// Whether times have their year.
    years: bool,
}

/// Widest first; the first that fits is taken.
static LAYOUTS: [Layout; 3] = [WIDE, Layout { between: "\n", ..WIDE }, MEDIUM];

const WIDE: Layout = Layout {
    columns: &[
        &[Field::Scope],
        &[Field::Protocol],
        &[Field::Client],
        &[Field::Server],
        &[Field::Flows],
        &[Field::Bytes],
        &[Field::Outcome],
        &[Field::Why],
        &[Field::Credentials],
        &[Field::First],
        &[Field::Last],
    ],
    between: " ",
    years: true,
};

const MEDIUM: Layout = Layout {
    columns: &[
        &[Field::Scope],
        &[Field::Protocol],
        &[Field::Client],
        &[Field::Server],
        &[Field::Flows],
        &[Field::Bytes],
        &[Field::Outcome, Field::Why],
        &[Field::Credentials],
        &[Field::First, Field::Last],
    ],
    between: "\n",
    years: false,
};

static NARROW: Layout = Layout {
    columns: &[
        &[Field::Scope],
        &[Field::Protocol],
        &[Field::Client, Field::Server],
        &[Field::Flows, Field::Bytes],
        &[Field::Outcome, Field::Why, Field::Credentials],
        &[Field::First, Field::Last],
    ],
    between: "\n",
    years: false,
};

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
        let speak = if n == 1 { "flow speaks" } else { "flows speak" };
        line(text, &format!("{n} {speak} another protocol than is usual on the port."));
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

fn header<'n>(names: impl IntoIterator<Item = &'n str>, style: Style) -> Vec<Cell> {
    names
        .into_iter()
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

/// `2026-11-23T14:00:49Z` as `11-23 14:00:49`: the heading has the year.
fn without_year(time: &str) -> String {
    let text = time.split_once('-').map_or(time, |(_, rest)| rest);
    text.trim_end_matches('Z').replace('T', " ")
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
