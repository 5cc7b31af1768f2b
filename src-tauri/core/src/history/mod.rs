//! What happened to each account and why, and which generation followed which: two SQLite files
//! under Kalit's data directory to which every Kalit process appends. They hold fingerprints and
//! words, never a secret. They are not the truth about any store: only OpenClaw's files are.
//!
//! Events can be done without: a file of them that breaks is set aside and begun anew. The record of
//! generations cannot: without it a dead token might be sent again, so a broken one stops renewal.
//!
//! All functions block on the disk: async callers use `spawn_blocking`.

mod events;
mod generations;
mod marks;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

pub use events::{About, History};
pub use generations::{Family, Generation, Generations, Refusal, SignIn};
pub use marks::{Gone, Mark, Marks, Sighting};

use crate::error::{Error, ErrorCode, Result};

const FILE: &str = "history.sqlite";
/// Raised whenever a schema changes; a newer one is left alone.
const SCHEMA_VERSION: i64 = 1;
const BUSY: Duration = Duration::from_secs(5);
const SCHEMA: &str = "
CREATE TABLE generation (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL UNIQUE,
    family TEXT NOT NULL,
    superseded_by TEXT,
    issued_at INTEGER,
    lifetime_ms INTEGER,
    refused_code TEXT,
    refused_at INTEGER,
    unknown_since INTEGER,
    retried_at INTEGER,
    doubtful INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX generation_family ON generation (family, sequence);
CREATE TABLE family (
    family TEXT PRIMARY KEY,
    last_refresh INTEGER,
    provider TEXT,
    token_url TEXT,
    signed_in_at INTEGER
) STRICT;
CREATE TABLE notified (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE mark (
    generation TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE gone (
    agent_dir TEXT NOT NULL,
    profile_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    provider TEXT NOT NULL,
    generation TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (agent_dir, profile_id)
) STRICT;
";

/// The SQLite file, opened when it exists and made by the first write, so that a mere look leaves
/// no trace.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    schema: &'static str,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// Of the file that was opened; another may stand in its place by now.
    file: Option<(u64, u64)>,
}

impl Database {
    /// The record of generations and marks.
    fn open(data_dir: &Path) -> Result<Self> {
        let database = Self::at(data_dir.join(FILE), SCHEMA);
        database.read((), |_| Ok(()))?;
        Ok(database)
    }

    /// Looks at nothing yet.
    fn at(path: PathBuf, schema: &'static str) -> Self {
        Self {
            path,
            schema,
            open: Mutex::new(None),
        }
    }

    /// Runs a query; `absent` is the answer while there is no file.
    fn read<T>(&self, absent: T, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut slot = self.slot();
        if slot.is_none() && self.path.exists() {
            *slot = Some(self.connect()?);
        }
        match &*slot {
            Some(open) => query(&open.connection).map_err(|error| self.unreadable(error)),
            None => Ok(absent),
        }
    }

    /// Runs a transaction that no other process's can interleave with; durable on return.
    fn write<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut slot = self.slot();
        let open = match &mut *slot {
            Some(open) => open,
            empty => empty.insert(self.connect()?),
        };
        let transaction = open
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.unwritable(error))?;
        let value = change(&transaction).map_err(|error| self.unwritable(error))?;
        transaction.commit().map_err(|error| self.unwritable(error))?;
        Ok(value)
    }

    fn connect(&self) -> Result<Open> {
        if !self.path.exists() {
            self.create()?;
        }
        let mut connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(|error| self.unreadable(error))?;
        connection
            .busy_timeout(BUSY)
            .map_err(|error| self.unreadable(error))?;
        let version = self.version(&connection)?;
        if version > SCHEMA_VERSION {
            return Err(Error::new(
                ErrorCode::VaultUnreadable,
                say!(
                    "{path} was written by a later version of Kalit",
                    path = self.path.display()
                ),
            )
            .with_hint(say!(
                "Update Kalit, or move the file away to start a new history."
            )));
        }
        if version < SCHEMA_VERSION {
            self.migrate(&mut connection)?;
        }
        // A refused or sent generation must be known after a power failure too.
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(|error| self.unreadable(error))?;
        Ok(Open {
            connection,
            file: identity(&self.path),
        })
    }

    fn close(&self) {
        *self.slot() = None;
    }

    /// Lets go of a file that another process has moved away.
    fn reopen_if_replaced(&self) {
        let mut slot = self.slot();
        if slot
            .as_ref()
            .is_some_and(|open| open.file != identity(&self.path))
        {
            *slot = None;
        }
    }

    /// An empty private file first: SQLite gives its side files the mode of the main one.
    fn create(&self) -> Result<()> {
        crate::vault::create_private_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        crate::vault::create_private_file(&self.path)
    }

    fn migrate(&self, connection: &mut Connection) -> Result<()> {
        // Several first processes may come here at once, and a change of the journal mode does
        // not wait for the busy handler: so it comes before the transaction and may fail.
        let _ = connection.pragma_update(None, "journal_mode", "WAL");
        let made = (|| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version < SCHEMA_VERSION {
                transaction.execute_batch(self.schema)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            transaction.commit()
        })();
        made.map_err(|error| self.unwritable(error))
    }

    fn version(&self, connection: &Connection) -> Result<i64> {
        connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .optional()
            .map(Option::unwrap_or_default)
            .map_err(|error| self.unreadable(error))
    }

    /// A panic in a query closure cannot leave a transaction open: it rolls back on drop.
    fn slot(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self, error: rusqlite::Error) -> Error {
        Error::new(
            ErrorCode::VaultUnreadable,
            say!("cannot read {path}", path = self.path.display()),
        )
        .with_source(error)
    }

    fn unwritable(&self, error: rusqlite::Error) -> Error {
        let code = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                ErrorCode::VaultUnreadable
            }
            _ => ErrorCode::VaultFailed,
        };
        Error::new(code, say!("cannot write {path}", path = self.path.display())).with_source(error)
    }
}

/// Which file stands at a path. Elsewhere an open file cannot be moved away.
fn identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

#[cfg(test)]
mod tests;
