//! What happened to each account and why, and which generation followed which: one SQLite file
//! under Kalit's data directory to which every Kalit process appends. It holds fingerprints and
//! words, never a secret. It is not the truth about any store: only OpenClaw's files are.
//!
//! All functions block on the disk: async callers use `spawn_blocking`.

mod generations;
mod marks;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};

pub use generations::{Family, Generation, Generations, Refusal, SignIn};
pub use marks::{Gone, Mark, Marks};

use crate::error::{Error, ErrorCode, Result};
use crate::event::Event;

const FILE: &str = "history.sqlite";
/// Raised whenever [`SCHEMA`] changes; a newer one is left alone.
const SCHEMA_VERSION: i64 = 1;
const BUSY: Duration = Duration::from_secs(5);
/// How many events are kept.
const NEWEST_EVENTS: i64 = 20_000;

const SCHEMA: &str = "
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    installation TEXT NOT NULL,
    at INTEGER NOT NULL,
    event TEXT NOT NULL
) STRICT;
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

/// The events of all installations of this user.
#[derive(Debug)]
pub struct History {
    database: Database,
}

impl History {
    /// `data_dir` is [`crate::environment::Environment::data_dir`]. Nothing is made on disk
    /// before the first event.
    pub fn open(data_dir: &Path) -> Result<Self> {
        Ok(Self {
            database: Database::open(data_dir)?,
        })
    }

    /// Adds an event; the newest 20 000 are kept.
    pub fn append(&self, event: &Event) -> Result<()> {
        let text = serde_json::to_string(event).map_err(|error| {
            Error::new(ErrorCode::Internal, say!("an event has no JSON")).with_source(error)
        })?;
        self.database.write(|transaction| {
            transaction.execute(
                "INSERT INTO event (installation, at, event) VALUES (?1, ?2, ?3)",
                params![event.installation, event.at.as_millis(), text],
            )?;
            let newest = transaction.last_insert_rowid();
            transaction.execute("DELETE FROM event WHERE id <= ?1", [newest - NEWEST_EVENTS])?;
            Ok(())
        })
    }

    /// The newest events of an installation (of all of them without one), newest first, at most
    /// `limit`. Rows of a later version of Kalit that this one cannot read are left out.
    pub fn newest(&self, installation: Option<&str>, limit: u32) -> Result<Vec<Event>> {
        self.database.read(Vec::new(), |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT event FROM event WHERE ?1 IS NULL OR installation = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![installation, limit], |row| row.get::<_, String>(0))?;
            let mut events = Vec::new();
            for row in rows {
                events.extend(serde_json::from_str(&row?).ok());
            }
            Ok(events)
        })
    }
}

/// The SQLite file, opened when it exists and made by the first write, so that a mere look leaves
/// no trace.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
}

impl Database {
    fn open(data_dir: &Path) -> Result<Self> {
        let database = Self {
            path: data_dir.join(FILE),
            connection: Mutex::new(None),
        };
        database.read((), |_| Ok(()))?;
        Ok(database)
    }

    /// Runs a query; `absent` is the answer while there is no file.
    fn read<T>(&self, absent: T, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut slot = self.slot();
        if slot.is_none() && self.path.exists() {
            *slot = Some(self.connect()?);
        }
        match &*slot {
            Some(connection) => query(connection).map_err(|error| self.unreadable(error)),
            None => Ok(absent),
        }
    }

    /// Runs a transaction that no other process's can interleave with; durable on return.
    fn write<T>(&self, change: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut slot = self.slot();
        let connection = match &mut *slot {
            Some(connection) => connection,
            empty => empty.insert(self.connect()?),
        };
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.unwritable(error))?;
        let value = change(&transaction).map_err(|error| self.unwritable(error))?;
        transaction.commit().map_err(|error| self.unwritable(error))?;
        Ok(value)
    }

    fn connect(&self) -> Result<Connection> {
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
        Ok(connection)
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
                transaction.execute_batch(SCHEMA)?;
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
    fn slot(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::EventKind;
    use crate::ids::{AgentId, ProfileId};

    fn event(at: i64, installation: &str) -> Event {
        Event {
            schema: 1,
            kind: EventKind::Refreshed,
            at: Timestamp::from_millis(at),
            installation: installation.to_owned(),
            agent: Some(AgentId::main()),
            profile_id: ProfileId::parse("openai:me@example.com"),
            generation: Some("0123456789abcdef".to_owned()),
            snapshot: None,
            cause: None,
            text: "Renewed until tomorrow.".to_owned(),
        }
    }

    #[test]
    fn events_come_back_newest_first_and_by_installation() {
        let data = tempfile::tempdir().unwrap();
        let history = History::open(data.path()).unwrap();
        for (at, installation) in [(1, "/a"), (2, "/b"), (3, "/a")] {
            history.append(&event(at, installation)).unwrap();
        }
        assert_eq!(
            history.newest(Some("/a"), 10).unwrap(),
            [event(3, "/a"), event(1, "/a")]
        );
        assert_eq!(
            History::open(data.path()).unwrap().newest(None, 2).unwrap(),
            [event(3, "/a"), event(2, "/b")]
        );
    }

    #[test]
    fn looking_at_an_empty_history_leaves_no_trace() {
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("kalit");
        assert_eq!(History::open(&dir).unwrap().newest(None, 5).unwrap(), []);
        assert!(!dir.exists());
    }

    #[test]
    fn an_open_reader_sees_a_history_that_began_later() {
        let data = tempfile::tempdir().unwrap();
        let reader = History::open(data.path()).unwrap();
        assert_eq!(reader.newest(None, 5).unwrap(), []);
        History::open(data.path())
            .unwrap()
            .append(&event(1, "/a"))
            .unwrap();
        assert_eq!(reader.newest(None, 5).unwrap(), [event(1, "/a")]);
    }

    #[test]
    fn the_oldest_events_make_room() {
        let data = tempfile::tempdir().unwrap();
        let history = History::open(data.path()).unwrap();
        history.append(&event(1, "/a")).unwrap();
        history
            .database
            .write(|transaction| {
                transaction.execute(
                    "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                     INSERT INTO event (installation, at, event) SELECT '/a', i, '{}' FROM n",
                    [NEWEST_EVENTS],
                )
            })
            .unwrap();
        let oldest = || {
            history
                .database
                .read((0, 0), |connection| {
                    connection.query_row("SELECT min(at), count(*) FROM event", [], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                })
                .unwrap()
        };
        assert_eq!(oldest(), (1, NEWEST_EVENTS));
        history.append(&event(NEWEST_EVENTS + 1, "/a")).unwrap();
        assert_eq!(oldest(), (2, NEWEST_EVENTS));
    }

    #[test]
    fn events_of_a_later_version_are_left_out() {
        let data = tempfile::tempdir().unwrap();
        let history = History::open(data.path()).unwrap();
        history.append(&event(1, "/a")).unwrap();
        history
            .database
            .write(|transaction| {
                transaction.execute(
                    "INSERT INTO event (installation, at, event) VALUES ('/a', 2, '{\"type\":\"new-kind\"}')",
                    [],
                )
            })
            .unwrap();
        assert_eq!(history.newest(None, 5).unwrap(), [event(1, "/a")]);
    }

    #[test]
    fn many_processes_append_at_once_from_the_first_moment() {
        let data = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let data = data.path();
                scope.spawn(move || {
                    let history = History::open(data).unwrap();
                    for at in 0..10 {
                        history.append(&event(writer * 100 + at, "/a")).unwrap();
                    }
                });
            }
        });
        let history = History::open(data.path()).unwrap();
        assert_eq!(history.newest(None, 1000).unwrap().len(), 80);
        let mode: String = history
            .database
            .read(String::new(), |connection| {
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0))
            })
            .unwrap();
        assert_eq!(mode, "wal");
    }

    #[cfg(unix)]
    #[test]
    fn the_history_and_its_side_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        let dir = data.path().join("kalit");
        let history = History::open(&dir).unwrap();
        history.append(&event(1, "/a")).unwrap();
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            names.push(entry.file_name());
        }
        names.sort();
        assert_eq!(
            names,
            ["history.sqlite", "history.sqlite-shm", "history.sqlite-wal"]
        );
        assert_eq!(
            std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn a_broken_or_later_history_is_reported_and_kept() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        std::fs::write(
            &path,
            "not a database, but long enough to be looked at".repeat(40),
        )
        .unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = History::open(data.path()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::VaultUnreadable);
        assert_eq!(std::fs::read(&path).unwrap(), before);

        std::fs::remove_file(&path).unwrap();
        let history = History::open(data.path()).unwrap();
        history.append(&event(1, "/a")).unwrap();
        history
            .database
            .write(|transaction| transaction.pragma_update(None, "user_version", 99))
            .unwrap();
        drop(history);
        let error = History::open(data.path()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::VaultUnreadable);
        assert!(
            error
                .message()
                .ends_with("was written by a later version of Kalit")
        );
    }
}
