//! Edge: the findings book, an embedded SQLite file that survives restarts and `kill -9`.
//!
//! What changed within a second goes into one transaction, with the events that tell of it: what is committed is never lost,
//! and at most that second is. Write-ahead log, `synchronous = FULL`: a commit also survives the machine; readers never wait.
//! One sensor per book, held by a lock on `PATH.lock`. A file that is no book, or is damaged, is left as it is.
#![allow(clippy::disallowed_methods, reason = "edge: keeps the findings book")]

mod rows;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params, types::Value};

use crate::{
    findings::{BookException, Changes, Clock, Event, Finding, Kept, Snapshot},
    model::{FindingId, Timestamp},
};

/// Told events that the book keeps; older ones go.
pub const EVENTS_KEPT_MAX: u64 = 200_000;

/// `cltp`, at byte 68 of the file.
const APPLICATION_ID: i32 = 0x636c_7470;
/// What brings a book from each version to the next.
const MIGRATIONS: &[&str] = &[include_str!("book/1.sql"), include_str!("book/2.sql")];
/// How long a writer waits for another.
const BUSY: Duration = Duration::from_secs(5);

/// Why a book cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The file system said no.
    #[error("{path} cannot be used: {error}")]
    Io {
        /// Which book.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// Two sensors must not keep one book.
    #[error("{path} is in use by another cleartap: give each its own")]
    InUse {
        /// Which book.
        path: String,
    },
    /// Somebody else's file.
    #[error("{path} is no findings book; it is left as it is: move it away, or name another file")]
    Foreign {
        /// Which file.
        path: String,
    },
    /// Damaged.
    #[error(
        "{path} is damaged ({what}); it is left as it is: restore a copy, or move it away to begin anew"
    )]
    Damaged {
        /// Which book.
        path: String,
        /// What was found.
        what: String,
    },
    /// From a later version of cleartap.
    #[error("{path} has version {found}; this cleartap knows versions up to {known}")]
    Newer {
        /// Which book.
        path: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: usize,
    },
    /// There is none.
    #[error("{path}: there is no findings book; `cleartap run` begins one")]
    Missing {
        /// Which book.
        path: String,
    },
    /// SQLite said no.
    #[error("{path}: {error}")]
    Sql {
        /// Which book.
        path: String,
        /// What it said.
        error: rusqlite::Error,
    },
}

impl BookError {
    /// Whether a later try may succeed: the disk is full, or another process holds the file.
    pub fn retryable(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull, SystemIoFailure};
        let code = match self {
            Self::Sql { error, .. } => error.sqlite_error_code(),
            _ => None,
        };
        matches!(code, Some(DatabaseBusy | DatabaseLocked | DiskFull | SystemIoFailure))
    }
}

/// An open book.
#[derive(Debug)]
pub struct Book {
    connection: Connection,
    path: String,
    /// Held while this process writes.
    lock: Option<File>,
    /// Changes when another process has written.
    version: i64,
}

/// An event that waits to be told, with its number in the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Its number.
    pub number: i64,
    /// The event.
    pub event: Event,
}

impl Book {
    /// Opens the book of a sensor, making it if there is none, with what it holds.
    pub fn open(path: &Path) -> Result<(Self, Snapshot), BookError> {
        let name = path.display().to_string();
        let io = |error| BookError::Io { path: name.clone(), error };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(io)?;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".lock");
        let file = |path: &Path| {
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(path)
        };
        let lock = file(Path::new(&beside)).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BookError::InUse { path: name }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        // SQLite would make it readable by everyone.
        file(path).map_err(io)?;
        let mut book = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        book.lock = Some(lock);
        book.migrate()?;
        let snapshot = book.snapshot()?;
        Ok((book, snapshot))
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Opens a book to look at it.
    pub fn look(path: &Path) -> Result<Self, BookError> {
        Self::existing(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// Opens a book to add exceptions, beside a sensor that may be using it.
    pub fn amend(path: &Path) -> Result<Self, BookError> {
        Self::existing(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    }

    fn existing(path: &Path, flags: OpenFlags) -> Result<Self, BookError> {
        let name = path.display().to_string();
        if !path.exists() {
            return Err(BookError::Missing { path: name });
        }
        let book = Self::connect(path, flags)?;
        match book.number("PRAGMA user_version")? {
            0 => Err(BookError::Foreign { path: name }),
            _ => Ok(book),
        }
    }

    /// Connects, and makes sure that it is a book, whole, and of a version we know. Changes nothing.
    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, BookError> {
        let name = path.display().to_string();
        let mut head = [0; 16];
        let read = File::open(path).and_then(|mut file| file.read(&mut head));
        let read = read.map_err(|error| BookError::Io { path: name.clone(), error })?;
        if read > 0 && head != *b"SQLite format 3\0" {
            return Err(BookError::Foreign { path: name });
        }
        let sql = |error| BookError::Sql { path: name.clone(), error };
        let connection = Connection::open_with_flags(path, flags).map_err(sql)?;
        connection.busy_timeout(BUSY).map_err(sql)?;
        let book = Self { connection, path: name.clone(), lock: None, version: 0 };
        let (application, version) =
            (book.number("PRAGMA application_id")?, book.number("PRAGMA user_version")?);
        let tables = book.number("SELECT count(*) FROM sqlite_schema")?;
        if application != i64::from(APPLICATION_ID) && (tables > 0 || version != 0) {
            return Err(BookError::Foreign { path: name });
        }
        if usize::try_from(version).map_or(true, |version| version > MIGRATIONS.len()) {
            return Err(BookError::Newer { path: name, found: version, known: MIGRATIONS.len() });
        }
        let check: Result<String, _> =
            book.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        match check {
            Ok(word) if word == "ok" => Ok(book),
            Ok(what) => Err(BookError::Damaged { path: name, what }),
            Err(error) => Err(book.wrong(error)),
        }
    }

    fn migrate(&mut self) -> Result<(), BookError> {
        let steps = |connection: &mut Connection| -> rusqlite::Result<()> {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
            let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(n, _)| *n > version) {
                let transaction = connection.transaction()?;
                transaction.execute_batch(migration)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", number)?;
                transaction.commit()?;
            }
            Ok(())
        };
        steps(&mut self.connection).map_err(|error| self.wrong(error))
    }

    /// Keeps what changed, in one transaction.
    pub fn commit(&mut self, changes: &Changes) -> Result<(), BookError> {
        self.write(changes).map_err(|error| self.wrong(error))
    }

    fn write(&mut self, changes: &Changes) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut gone = transaction.prepare_cached("DELETE FROM findings WHERE id = ?1")?;
            for id in &changes.removed {
                gone.execute([id.to_string()])?;
            }
            let mut kept = transaction.prepare_cached(rows::upsert())?;
            let mut alias = transaction.prepare_cached(
                "INSERT OR REPLACE INTO aliases (alias, finding) VALUES (?1, ?2)",
            )?;
            for finding in &changes.changed {
                kept.execute(rusqlite::params_from_iter(rows::values(finding)?))?;
                for id in &finding.finding.aliases {
                    alias.execute(params![id.to_string(), finding.finding.id.to_string()])?;
                }
            }
            let mut event = transaction.prepare_cached(
                "INSERT INTO events (at, kind, finding, severity, event) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for one in &changes.events {
                let (at, id) = (one.at.to_string(), one.finding.id.to_string());
                let severity = one.finding.severity.name();
                event.execute(params![at, one.kind.name(), id, severity, rows::text(one)?])?;
            }
            let mut meta = transaction
                .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?;
            let Clock { now, blind_ns } = changes.clock;
            meta.execute(params!["clock_ns", rows::number(now.0)])?;
            meta.execute(params!["blind_ns", rows::number(blind_ns)])?;
        }
        transaction.commit()
    }

    /// The first events that wait to be told, at most `max`.
    pub fn untold(&self, max: usize) -> Result<Vec<Untold>, BookError> {
        let list = || -> rusqlite::Result<Vec<Untold>> {
            let mut query = self.connection.prepare_cached(
                "SELECT number, event FROM events WHERE told_at IS NULL ORDER BY number LIMIT ?1",
            )?;
            let list =
                query.query_map([rows::number(u64::try_from(max).unwrap_or(u64::MAX))], |row| {
                    let text: String = row.get(1)?;
                    Ok(Untold { number: row.get(0)?, event: rows::of_text(1, &text)? })
                })?;
            list.collect()
        };
        list().map_err(|error| self.wrong(error))
    }

    /// The outputs have taken the events up to `number`.
    pub fn told(&mut self, number: i64, at: Timestamp) -> Result<(), BookError> {
        let mark = |connection: &mut Connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE events SET told_at = ?2 WHERE told_at IS NULL AND number <= ?1",
                params![number, at.to_string()],
            )?;
            transaction.execute(
                "DELETE FROM events WHERE told_at IS NOT NULL AND number <= ?1",
                [number.saturating_sub(rows::number(EVENTS_KEPT_MAX))],
            )?;
            transaction.commit()
        };
        mark(&mut self.connection).map_err(|error| self.wrong(error))
    }

    /// The exceptions, if another process has written since this was last asked.
    pub fn new_exceptions(&mut self) -> Result<Option<Vec<BookException>>, BookError> {
        let version = self.number("PRAGMA data_version")?;
        if version == self.version {
            return Ok(None);
        }
        self.version = version;
        self.exceptions().map(Some)
    }

    /// Every exception.
    pub fn exceptions(&self) -> Result<Vec<BookException>, BookError> {
        let list = || -> rusqlite::Result<Vec<BookException>> {
            let mut query = self.connection.prepare_cached(
                "SELECT finding, owner, reason, ticket, until FROM exceptions ORDER BY finding",
            )?;
            let list = query.query_map([], |row| {
                Ok(BookException {
                    finding: rows::parsed(row, 0)?,
                    owner: row.get(1)?,
                    reason: row.get(2)?,
                    ticket: row.get(3)?,
                    until: rows::parsed(row, 4)?,
                })
            })?;
            list.collect()
        };
        list().map_err(|error| self.wrong(error))
    }

    /// Writes an exception for a finding, in place of an older one.
    pub fn except(&mut self, exception: &BookException, now: Timestamp) -> Result<(), BookError> {
        let BookException { finding, owner, reason, ticket, until } = exception;
        let (finding, until, now) = (finding.to_string(), until.to_string(), now.to_string());
        let done = self.connection.execute(
            "INSERT OR REPLACE INTO exceptions VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![finding, owner, reason, ticket, until, now],
        );
        done.map(|_| ()).map_err(|error| self.wrong(error))
    }

    /// Everything, in the order of ids.
    pub fn snapshot(&self) -> Result<Snapshot, BookError> {
        let all = || -> rusqlite::Result<(Clock, Vec<Kept>)> {
            let meta = |key: &str| {
                let query = "SELECT value FROM meta WHERE key = ?1";
                let value = self.connection.query_row(query, [key], |row| row.get::<_, i64>(0));
                value.optional().map(|value| u64::try_from(value.unwrap_or(0)).unwrap_or(0))
            };
            let clock = Clock { now: Timestamp(meta("clock_ns")?), blind_ns: meta("blind_ns")? };
            let mut query = self.connection.prepare(&rows::select(""))?;
            let kept = query.query_map([], rows::kept)?;
            Ok((clock, kept.collect::<rusqlite::Result<_>>()?))
        };
        let (clock, mut kept) = all().map_err(|error| self.wrong(error))?;
        self.add_aliases(&mut kept)?;
        Ok(Snapshot { clock, kept, exceptions: self.exceptions()? })
    }

    /// The finding of an id, or of an alias.
    pub fn find(&self, id: FindingId) -> Result<Option<Finding>, BookError> {
        let found = || -> rusqlite::Result<Option<Kept>> {
            let own = "SELECT finding FROM aliases WHERE alias = ?1";
            let id = id.to_string();
            let own: Option<String> =
                self.connection.query_row(own, [&id], |row| row.get(0)).optional()?;
            let select = rows::select("WHERE id = ?1");
            let row = self.connection.query_row(&select, [own.unwrap_or(id)], rows::kept);
            row.optional()
        };
        let mut found: Vec<Kept> =
            found().map_err(|error| self.wrong(error))?.into_iter().collect();
        self.add_aliases(&mut found)?;
        Ok(found.pop().map(|kept| kept.finding))
    }

    fn add_aliases(&self, kept: &mut [Kept]) -> Result<(), BookError> {
        let list = || -> rusqlite::Result<Vec<(FindingId, FindingId)>> {
            let mut query = self
                .connection
                .prepare_cached("SELECT finding, alias FROM aliases ORDER BY finding, alias")?;
            let list =
                query.query_map([], |row| Ok((rows::parsed(row, 0)?, rows::parsed(row, 1)?)))?;
            list.collect()
        };
        for (finding, alias) in list().map_err(|error| self.wrong(error))? {
            if let Ok(at) = kept.binary_search_by_key(&finding, |kept| kept.finding.id)
                && let Some(kept) = kept.get_mut(at)
            {
                kept.finding.aliases.push(alias);
            }
        }
        Ok(())
    }

    fn number(&self, query: &str) -> Result<i64, BookError> {
        self.connection.query_row(query, [], |row| row.get(0)).map_err(|error| self.wrong(error))
    }

    fn wrong(&self, error: rusqlite::Error) -> BookError {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let path = self.path.clone();
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => {
                BookError::Damaged { path, what: error.to_string() }
            }
            _ => BookError::Sql { path, error },
        }
    }
}

/// What a column holds.
type Column = Value;

#[cfg(test)]
mod tests;
