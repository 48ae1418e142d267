//! `cleartap protocols`: the registry as a table.

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};

use super::{EXIT_OK, print};
use crate::detect::{DETECTORS, Directions, Info};

/// Arguments of `protocols`.
#[derive(Debug, Args)]
pub(super) struct ProtocolsArgs {
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Table for people
    Table,
    /// JSON array
    Json,
    /// Markdown table, as in the README
    Markdown,
}

const COLUMNS: [&str; 8] = [
    "name",
    "protocol",
    "usual ports",
    "proven by",
    "joined late",
    "upgrades to TLS",
    "credentials",
    "specification",
];

pub(super) fn protocols(args: &ProtocolsArgs) -> anyhow::Result<u8> {
    let infos = DETECTORS.iter().map(|d| d.info());
    let text = match args.format {
        Format::Table => {
            let rows: Vec<[String; 8]> = infos.map(row).collect();
            let table = table(&rows);
            let width = Table::new().width().unwrap_or(u16::MAX);
            let fits = table.lines().all(|line| line.chars().count() <= usize::from(width));
            if fits { table } else { blocks(&rows) }
        }
        Format::Markdown => markdown(),
        Format::Json => {
            let list: Vec<_> = infos.map(json).collect();
            serde_json::to_string_pretty(&list)? + "\n"
        }
    };
    print(&text)?;
    Ok(EXIT_OK)
}

fn table(rows: &[[String; 8]]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(COLUMNS.map(str::to_uppercase));
    table.add_rows(rows);
    table.trim_fmt() + "\n"
}

/// For narrow terminals: one line per fact.
fn blocks(rows: &[[String; 8]]) -> String {
    let mut text = String::new();
    for row in rows {
        for (column, value) in COLUMNS.iter().zip(row) {
            let margin = if *column == "name" { "" } else { "  " };
            let column = format!("{margin}{column:<17}");
            text.extend([&column, value, "\n"]);
        }
    }
    text
}

/// The protocol table of the README; a test keeps the two equal.
pub fn markdown() -> String {
    let mut text = format!("| {} |\n|{}\n", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len()));
    for info in DETECTORS.iter().map(|d| d.info()) {
        text.extend(["| ", &row(info).join(" | "), " |\n"]);
    }
    text
}

fn row(info: &Info) -> [String; 8] {
    let ports: Vec<String> = info.ports.iter().map(u16::to_string).collect();
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let credentials: Vec<&str> = info.credentials.names().collect();
    [
        info.name.to_owned(),
        info.title.to_owned(),
        dash(ports.join(", ")),
        directions(info.directions).to_owned(),
        if info.midstream { "yes" } else { "no" }.to_owned(),
        dash(info.upgrades.join(", ")),
        dash(credentials.join(", ")),
        info.spec.to_owned(),
    ]
}

fn json(info: &Info) -> serde_json::Value {
    serde_json::json!({
        "name": info.name,
        "title": info.title,
        "spec": info.spec,
        "ports": info.ports,
        "transports": info.transports.iter().map(|t| t.name()).collect::<Vec<_>>(),
        "proven_by": directions(info.directions),
        "midstream": info.midstream,
        "upgrades": info.upgrades,
        "credentials": info.credentials.names().collect::<Vec<_>>(),
    })
}

const fn directions(directions: Directions) -> &'static str {
    match directions {
        Directions::Either => "either side",
        Directions::Client => "client",
        Directions::Server => "server",
        Directions::Both => "both sides",
    }
}
