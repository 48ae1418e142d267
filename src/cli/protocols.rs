//! `cleartap protocols`: the registry as a table.
#![allow(clippy::disallowed_methods, reason = "edge: reads the captures it counts")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
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
    /// Count the captures in this folder that prove each protocol
    #[arg(long, value_name = "FOLDER")]
    captures: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Table for people
    Table,
    /// JSON array
    Json,
    /// Markdown table, as in deploy/protocols.md
    Markdown,
}

const COLUMNS: [&str; 10] = [
    "name",
    "protocol",
    "transports",
    "usual ports",
    "proven by",
    "joined late",
    "upgrades to TLS",
    "credentials",
    "captures",
    "specification",
];

pub(super) fn protocols(args: &ProtocolsArgs) -> anyhow::Result<u8> {
    let proofs = Proofs::read(args.captures.as_deref())?;
    let infos = DETECTORS.iter().map(|d| d.info());
    let text = match args.format {
        Format::Table => {
            let rows: Vec<Row> = infos.map(|info| row(info, &proofs)).collect();
            let table = table(&rows);
            let width = Table::new().width().unwrap_or(u16::MAX);
            let fits = table.lines().all(|line| line.chars().count() <= usize::from(width));
            if fits { table } else { blocks(&rows) }
        }
        Format::Markdown => render(&proofs),
        Format::Json => {
            let list: Vec<_> = infos.map(|info| json(info, &proofs)).collect();
            serde_json::to_string_pretty(&list)? + "\n"
        }
    };
    print(&text)?;
    Ok(EXIT_OK)
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(COLUMNS.map(str::to_uppercase));
    table.add_rows(rows);
    table.trim_fmt() + "\n"
}

/// For narrow terminals: one line per fact.
fn blocks(rows: &[Row]) -> String {
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

/// The table of deploy/protocols.md; a test keeps the two equal.
pub fn markdown(captures: &Path) -> anyhow::Result<String> {
    Ok(render(&Proofs::read(Some(captures))?))
}

/// The list of the README; a test keeps the two equal.
pub fn names() -> String {
    let mut names: Vec<&str> = DETECTORS.iter().map(|d| d.info().name).collect();
    names.sort_unstable();
    format!("{} protocols: `{}`.", names.len(), names.join("`, `"))
}

/// The descriptions of captures, for counting which protocol each proves.
struct Proofs(Option<Vec<String>>);

impl Proofs {
    fn read(folder: Option<&Path>) -> anyhow::Result<Self> {
        let Some(folder) = folder else { return Ok(Self(None)) };
        let mut texts = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let context = || format!("--captures: {} cannot be read", folder.display());
            for entry in fs::read_dir(&folder).with_context(context)? {
                let path = entry.with_context(context)?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "toml") {
                    texts.push(fs::read_to_string(&path).with_context(context)?);
                }
            }
        }
        Ok(Self(Some(texts)))
    }

    /// How many captures hold a flow of this protocol.
    fn of(&self, name: &str) -> Option<usize> {
        let keys = ["app", "encryption", "upgrade"];
        let proves = |line: &str| {
            let Some((key, value)) = line.split_once(" = ") else { return false };
            let value = value.trim_matches('"');
            // A preamble's upgrades begin with its name: proxy-v1.
            let named = value == name || key == "upgrade" && value.starts_with(&format!("{name}-"));
            keys.contains(&key) && named
        };
        let texts = self.0.as_ref()?;
        Some(texts.iter().filter(|text| text.lines().any(proves)).count())
    }
}

type Row = [String; COLUMNS.len()];

fn render(proofs: &Proofs) -> String {
    let mut text = format!("| {} |\n|{}\n", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len()));
    for info in DETECTORS.iter().map(|d| d.info()) {
        text.extend(["| ", &row(info, proofs).join(" | "), " |\n"]);
    }
    text
}

fn row(info: &Info, proofs: &Proofs) -> Row {
    let ports: Vec<String> = info.ports.iter().map(u16::to_string).collect();
    let transports: Vec<&str> = info.transports.iter().map(|t| t.name()).collect();
    let captures = proofs.of(info.name).filter(|count| *count > 0);
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let credentials: Vec<&str> = info.credentials.names().collect();
    [
        info.name.to_owned(),
        info.title.to_owned(),
        transports.join(", "),
        dash(ports.join(", ")),
        directions(info.directions).to_owned(),
        if info.midstream { "yes" } else { "no" }.to_owned(),
        dash(info.upgrades.join(", ")),
        dash(credentials.join(", ")),
        dash(captures.map(|count| count.to_string()).unwrap_or_default()),
        info.spec.to_owned(),
    ]
}

fn json(info: &Info, proofs: &Proofs) -> serde_json::Value {
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
        "captures": proofs.of(info.name),
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
