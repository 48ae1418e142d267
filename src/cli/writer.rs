//! The thread that writes the records of `run`, so that a reader that stalls holds up neither packets nor signals.
#![allow(clippy::disallowed_methods, reason = "edge: opens the record file")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tracing::{error, info};

use super::{
    inventory_file::InventoryFile,
    stage::{RECORDS_AT_ONCE, gather},
};
use crate::{ingest::error::shown, model::record::Record, output::JsonLines};

/// Writes records until there are no more.
pub(super) struct Writer {
    out: JsonLines<Box<dyn Write + Send>>,
    /// Where the crypto inventory is kept.
    inventory: Option<InventoryFile>,
    /// What the log calls the output.
    place: String,
    failing: bool,
    unwritten: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Writer {
    /// Appends to `path`, or writes to standard output. Sets `stop` when nobody reads any more.
    pub(super) fn open(
        path: &Path,
        inventory: Option<InventoryFile>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let standard = path.as_os_str() == "-";
        let out: Box<dyn Write + Send> = if standard {
            Box::new(io::stdout())
        } else {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let file =
                opened.with_context(|| format!("--records: {} cannot be written", shown(path)))?;
            Box::new(file)
        };
        let mut out = JsonLines::new(out);
        if !standard && ends_in_a_torn_line(path) {
            // Else the first record would be lost with what a full disk left there.
            out.end_line();
        }
        Ok(Self {
            out,
            inventory,
            place: if standard { "standard output".to_owned() } else { shown(path) },
            failing: false,
            unwritten: Arc::default(),
            stop: Arc::clone(stop),
        })
    }

    /// How many records are not written, as it goes on.
    pub(super) fn unwritten(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.unwritten)
    }

    /// Writes until the other side of `records` is gone. At most a second passes before a record is handed over.
    pub(super) fn work(mut self, mut records: mpsc::Receiver<Box<Record>>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let mut flush = tokio::time::interval(Duration::from_secs(1));
            flush.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut given = Vec::with_capacity(RECORDS_AT_ONCE);
            loop {
                tokio::select! {
                    count = records.recv_many(&mut given, RECORDS_AT_ONCE) => {
                        if count == 0 {
                            break;
                        }
                        for record in given.drain(..) {
                            self.write(&record);
                        }
                        gather(&records).await;
                    },
                    _ = flush.tick() => {
                        if let Some(inventory) = &mut self.inventory {
                            inventory.tick();
                        }
                        self.flush();
                    }
                }
            }
        });
        self.flush();
        if let Some(inventory) = &mut self.inventory {
            inventory.write();
        }
        Ok(())
    }

    fn write(&mut self, record: &Record) {
        if let Some(inventory) = &mut self.inventory {
            inventory.add(record);
        }
        let result = self.out.write(record);
        self.note(result);
    }

    fn flush(&mut self) {
        let result = self.out.flush();
        if result.is_ok() && self.failing {
            self.failing = false;
            info!(unwritten = self.out.unwritten(), "Records can be written again.");
        }
        self.unwritten.store(self.out.unwritten(), Ordering::Relaxed);
        self.note(result);
    }

    /// Says once that writing fails.
    fn note(&mut self, result: io::Result<()>) {
        let Err(error) = result else { return };
        self.unwritten.store(self.out.unwritten(), Ordering::Relaxed);
        if self.failing {
            return;
        }
        self.failing = true;
        let place = &self.place;
        if error.kind() == ErrorKind::BrokenPipe {
            error!("The reader of {place} is gone: stopping.");
            self.stop.store(true, Ordering::Relaxed);
        } else {
            error!(%error, "Records cannot be written to {place}: they wait, and are lost when too many do.");
        }
    }
}

/// Whether the file's last line has no end. Pipes and devices have no lines to look at.
fn ends_in_a_torn_line(path: &Path) -> bool {
    let last = || {
        if !fs::metadata(path)?.is_file() {
            return Ok(b'\n');
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        let [last] = last;
        Ok::<u8, io::Error>(last)
    };
    // An empty file has no last byte; one we may only append to cannot be looked at.
    last().is_ok_and(|byte| byte != b'\n')
}
