//! The file that holds the crypto inventory of a running sensor.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use tracing::{error, info};

use super::whole_file;
use crate::{
    config::Config,
    ingest::error::shown,
    model::record::Record,
    output::{Inventory, inventory},
};

/// An inventory and its file, replaced whole each time, so that a reader never sees half of it.
pub(super) struct InventoryFile {
    inventory: Inventory,
    path: PathBuf,
    form: Form,
    expiring_days: i64,
    interval_s: u64,
    /// Seconds since it was written.
    age_s: u64,
    failing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Csv,
    Cbom,
    Text,
}

impl InventoryFile {
    /// The file that is asked for, written once to see that it can be.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(path) = config.crypto_inventory.path.clone() else { return Ok(None) };
        let file = Self {
            inventory: Inventory::default(),
            form: form(&path),
            expiring_days: i64::from(config.crypto_inventory.expiring_days),
            interval_s: config.records.interval_s,
            age_s: 0,
            failing: false,
            path,
        };
        let place = shown(&file.path);
        file.try_write().with_context(|| format!("--inventory: {place} cannot be written"))?;
        Ok(Some(file))
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.inventory.add(record);
    }

    /// A second has passed.
    pub(super) fn tick(&mut self) {
        self.age_s += 1;
        if self.age_s >= self.interval_s {
            self.write();
        }
    }

    /// Writes it anew; says once that it fails, and tries again an interval later.
    pub(super) fn write(&mut self) {
        self.age_s = 0;
        let place = shown(&self.path);
        match self.try_write() {
            Ok(()) if self.failing => {
                self.failing = false;
                info!("The inventory can be written to {place} again.");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                error!(%error, "The inventory cannot be written to {place}: the file is as it was.");
            }
            _ => {}
        }
    }

    fn try_write(&self) -> io::Result<()> {
        let bytes = match self.form {
            Form::Json => self.inventory.json(self.expiring_days)?.into_bytes(),
            Form::Cbom => self.inventory.cbom()?.into_bytes(),
            Form::Csv => self.inventory.csv()?,
            Form::Text => {
                let style = inventory::Style {
                    bold: false,
                    lines_max: usize::MAX,
                    expiring_days: self.expiring_days,
                };
                self.inventory.table(style).into_bytes()
            }
        };
        whole_file::replace(&self.path, 0o666, &bytes)
    }
}

fn form(path: &Path) -> Form {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    match name.rsplit('.').next() {
        _ if name.ends_with(".cdx.json") => Form::Cbom,
        Some("csv") => Form::Csv,
        Some("txt") => Form::Text,
        _ => Form::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_form() {
        for (name, expected) in [
            ("/var/lib/tls.json", Form::Json),
            ("tls.cdx.json", Form::Cbom),
            ("TLS.CSV", Form::Csv),
            ("tls.txt", Form::Text),
            ("tls", Form::Json),
        ] {
            assert_eq!(form(Path::new(name)), expected, "{name}");
        }
    }
}
