//! `cleartap remedies`: what turns a finding off.

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};

use super::{EXIT_OK, EXIT_USAGE, complain, print};
use crate::policy::{Remedies, Remedy};

/// Arguments of `remedies`.
#[derive(Debug, Args)]
pub(super) struct RemediesArgs {
    /// Remedy or protocol; without one all are listed
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// JSON array
    Json,
}

pub(super) fn remedies(args: &RemediesArgs) -> anyhow::Result<u8> {
    let remedies = Remedies::built_in().map_err(anyhow::Error::msg)?;
    let wanted: Vec<&Remedy> = match &args.name {
        None => remedies.iter().collect(),
        Some(name) => match remedies.get(name) {
            Some(remedy) => vec![remedy],
            None if crate::policy::class(name).is_some() => {
                let own = remedies.resolve(None, None, Some(name));
                let others = remedies.candidates(name).filter(|other| other.id != own.id);
                std::iter::once(own).chain(others).collect()
            }
            None => {
                let ids: Vec<&str> = remedies.iter().map(|r| r.id.as_str()).collect();
                complain(&format!("`{name}`: expected a protocol or one of {}", ids.join(", ")));
                return Ok(EXIT_USAGE);
            }
        },
    };
    print(&match (args.format, &args.name) {
        (Format::Json, _) => serde_json::to_string_pretty(&wanted)? + "\n",
        (Format::Text, None) => table(&wanted),
        (Format::Text, Some(_)) => wanted.iter().map(|r| whole(r)).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(EXIT_OK)
}

fn table(wanted: &[&Remedy]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["NAME", "FOR", "PROTOCOLS"]);
    for remedy in wanted {
        table.add_row([remedy.id.clone(), remedy.title.clone(), remedy.apps.join(", ")]);
    }
    table.trim_fmt() + "\n"
}

fn whole(remedy: &Remedy) -> String {
    let mut text = format!("{} ({})\n", remedy.title, remedy.id);
    let controls = remedy.fsbp.join(", ");
    for (name, value) in [
        ("server", &remedy.server),
        ("client", &remedy.client),
        ("breaks", &remedy.breaks),
        ("page", &remedy.vendor_page),
        ("AWS FSBP", &controls),
    ] {
        if !value.is_empty() {
            text.extend(["  ", &format!("{name:<9}"), value, "\n"]);
        }
    }
    text
}
