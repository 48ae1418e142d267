//! The inventory's files: what users write, and what is kept between runs.
#![allow(clippy::disallowed_methods, reason = "edge: reads the inventory's files")]

#[cfg(feature = "live")]
pub(super) mod keeper;

use std::{fs, net::IpAddr, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    clock::now,
    config::{Config, InventorySection},
    ingest::error::shown,
    inventory::{self, Form, Inventory, Tenure},
    policy::Remedies,
};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Version of the file that keeps the inventory.
const STATE_VERSION: u32 = 1;
/// Source of what a file tells.
const FILE: &str = "file";

/// The inventory between runs.
#[derive(Serialize, Deserialize)]
struct State<T> {
    version: u32,
    owners: T,
}

/// The inventory as far as files tell it, for captures.
pub(super) fn offline(config: &Config) -> anyhow::Result<Inventory> {
    let section = &config.inventory;
    let mut inventory =
        section.state().filter(|path| path.exists()).map_or_else(Inventory::default, restore);
    if let Some(path) = &section.file {
        let remedies = Remedies::built_in().map_err(anyhow::Error::msg)?;
        let services: Vec<&str> = remedies.iter().map(|remedy| remedy.id.as_str()).collect();
        let meta = fs::metadata(path);
        let meta = meta.with_context(|| format!("inventory.file: {}", shown(path)))?;
        let held = file(path, meta.len(), section, &services)?;
        inventory.take(FILE, held, now());
    }
    let vpcs = section.scope_vpcs.iter().map(|(scope, list)| {
        (scope.as_str().into(), list.iter().map(|vpc| vpc.as_str().into()).collect())
    });
    inventory.set_vpcs(vpcs.collect());
    Ok(inventory)
}

fn file(
    path: &Path,
    bytes: u64,
    section: &InventorySection,
    services: &[&str],
) -> anyhow::Result<Vec<inventory::Held>> {
    let name = shown(path);
    anyhow::ensure!(
        bytes <= FILE_BYTES_MAX,
        "inventory.file: {name} has {bytes} bytes: at most {FILE_BYTES_MAX} are read"
    );
    let text = fs::read_to_string(path);
    let text = text.with_context(|| format!("inventory.file: {name} cannot be read"))?;
    let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let form = if is_csv { Form::Csv } else { Form::Json };
    inventory::read(&text, form, &section.tag_keys(), services).map_err(|wrong| {
        let lines: Vec<String> =
            wrong.iter().map(|wrong| format!("inventory.file: {name}: {wrong}")).collect();
        anyhow::Error::msg(lines.join("\ncleartap: "))
    })
}

/// What an earlier run kept; a file that cannot be read is left as it is until it is written anew.
fn restore(path: &Path) -> Inventory {
    let read = || -> Result<Inventory, String> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Inventory::default());
            }
            text => text.map_err(|error| error.to_string())?,
        };
        let state: State<Vec<(IpAddr, Tenure)>> =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if state.version != STATE_VERSION {
            return Err(format!("version {}: this cleartap reads {STATE_VERSION}", state.version));
        }
        Ok(Inventory::restore(state.owners))
    };
    read().unwrap_or_else(|error| {
        warn!("inventory.state: {} cannot be read ({error}): it begins anew.", shown(path));
        Inventory::default()
    })
}
