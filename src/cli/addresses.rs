//! `cleartap addresses`: who has which address, as the inventory tells it.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::{EXIT_INPUT, EXIT_OK, args::EngineArgs, print};
use crate::{
    config::Config,
    inventory::{Inventory, Realm, Tenure},
};

/// Arguments of `addresses`.
#[derive(Debug, Args)]
pub(super) struct AddressesArgs {
    /// Only these addresses (repeat); default: all
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// Also who had an address before
    #[arg(long)]
    history: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One JSON object per line
    Jsonl,
}

pub(super) fn addresses(args: &AddressesArgs) -> anyhow::Result<u8> {
    let config = args.engine.load(Vec::new())?.config;
    anyhow::ensure!(
        config.inventory.is_used(),
        "no inventory is configured: give inventory.file, or [[inventory.ec2]] to ask the EC2 API"
    );
    let inventory = inventory(&config)?;
    let wanted = |address: &IpAddr| {
        args.addresses.is_empty() || args.addresses.iter().any(|one| one.to_canonical() == *address)
    };
    let list: Vec<(IpAddr, &Tenure)> = inventory
        .iter()
        .filter(|(address, tenure)| wanted(address) && (args.history || tenure.until.is_none()))
        .collect();
    let text = match args.format {
        Format::Table => table(&list),
        Format::Jsonl => list.iter().map(|(address, tenure)| line(*address, tenure)).collect(),
    };
    print(&text)?;
    Ok(if list.is_empty() { EXIT_INPUT } else { EXIT_OK })
}

#[cfg(feature = "live")]
fn inventory(config: &Config) -> anyhow::Result<Inventory> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A sensor may be keeping the state.
    let keeper = runtime.block_on(super::naming::keeper::Keeper::open(config, false))?;
    keeper.into_inventory()
}

#[cfg(not(feature = "live"))]
fn inventory(config: &Config) -> anyhow::Result<Inventory> {
    super::naming::offline(config)
}

fn table(list: &[(IpAddr, &Tenure)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["ADDRESS", "NAME", "KIND", "GROUP", "OWNER", "WHERE", "FROM", "UNTIL"]);
    for (address, tenure) in list {
        let resource = &tenure.resource;
        let some = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
        table.add_row([
            address.to_string(),
            resource.name.to_string(),
            resource.kind.to_string(),
            some(&resource.group),
            some(&resource.owner),
            place(&tenure.realm).to_owned(),
            if tenure.from.0 == 0 { "-".to_owned() } else { tenure.from.to_string() },
            tenure.until.map_or_else(|| "-".to_owned(), |until| until.to_string()),
        ]);
    }
    format!("{} addresses\n\n{}\n", list.len(), table.trim_fmt())
}

fn place(realm: &Realm) -> &str {
    match realm {
        Realm::Anywhere => "anywhere",
        Realm::Scope(of) | Realm::Vpc(of) => of,
    }
}

fn line(address: IpAddr, tenure: &Tenure) -> String {
    let value = json!({
        "address": address, "where": place(&tenure.realm), "from": tenure.from, "until": tenure.until,
        "resource": tenure.resource,
    });
    format!("{value}\n")
}
