//! The only writer of OpenClaw's databases: puts one login back over the failed fence that stands
//! in its place, in the one cell that holds it. The database is never created, migrated or
//! compacted, its schema must be exactly one whose rows are known, and the cell is replaced only
//! while it still holds the very text that was read (compare-and-set under `BEGIN IMMEDIATE`).
//!
//! Facts: a burn changes this cell alone, and a running gateway of 2026.9.6 sees the write at its
//! next read (observed).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior, params};
use zeroize::Zeroizing;

use super::{
    AGENT, CellPlace, Look, NEWEST_AGENT_SCHEMA, NEWEST_SHARED_SCHEMA, SHARED, agent_database, failed, open,
    shared_database,
};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::ProfileId;
use crate::store::{Credential, Document};

crate::keeps_raw_secret!(AccountsCell, Change);

/// As long as OpenClaw itself waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A larger database cannot be saved before it is changed.
const LARGEST: u64 = 1024 * 1024 * 1024;

/// A database whose accounts a login may be put back into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// By the agent's directory.
    Agent(PathBuf),
    /// By the state directory.
    Shared(PathBuf),
}

/// The accounts of one database as they were read.
pub(crate) struct AccountsCell {
    place: Place,
    text: Zeroizing<String>,
    document: Document,
}

/// The accounts with one login put back, to be written over what was read.
pub(crate) struct Change {
    place: Place,
    old: Zeroizing<String>,
    new: Zeroizing<String>,
}

impl Place {
    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        match self {
            Self::Agent(agent_dir) => agent_database(agent_dir),
            Self::Shared(state_dir) => shared_database(state_dir),
        }
    }

    /// Whether a login may be put back into a database of this schema.
    pub(crate) fn knows(&self, schema: i64) -> bool {
        schema == self.known_schema()
    }

    /// 2026.9.6 is the first release that drops logins; schemas between 2026.8 and it were never
    /// looked at.
    fn known_schema(&self) -> i64 {
        match self {
            Self::Agent(_) => NEWEST_AGENT_SCHEMA,
            Self::Shared(_) => NEWEST_SHARED_SCHEMA,
        }
    }

    /// Compare-and-set: new text, epoch milliseconds, key, old text.
    fn update(&self) -> &'static str {
        match self {
            Self::Agent(_) => {
                "UPDATE auth_profile_store SET store_json = ?1, updated_at = max(?2, updated_at + 1)
                 WHERE store_key = ?3 AND store_json = ?4"
            }
            Self::Shared(_) => {
                "UPDATE config_machine_state SET value_json = ?1, updated_at_ms = max(?2, updated_at_ms + 1)
                 WHERE state_key = ?3 AND value_json = ?4"
            }
        }
    }

    fn cell(&self) -> &'static CellPlace {
        match self {
            Self::Agent(_) => &AGENT.store,
            Self::Shared(_) => &SHARED.store,
        }
    }

    /// An image of the whole database, what its log holds included, by SQLite's backup API.
    ///
    /// # Errors
    /// `store.busy` and the other refusals of SQLite's; `vault.failed` for a database that is too
    /// large to be saved.
    pub(crate) fn image(&self) -> Result<Zeroizing<Vec<u8>>> {
        let path = self.database();
        let told = |error| failed(&path, &error);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LARGEST) {
            let what = say!(
                "{path} is too large to be saved before it is changed",
                path = path.display()
            );
            return Err(Error::new(ErrorCode::VaultFailed, what));
        }
        let source = open_for_writing(&path)?;
        let mut copy = Connection::open_in_memory().map_err(told)?;
        let page_size: i64 = source
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .map_err(told)?;
        copy.pragma_update(None, "page_size", page_size).map_err(told)?;
        let step = {
            let backup = Backup::new(&source, &mut copy).map_err(told)?;
            backup.step(-1).map_err(told)?
        };
        if !matches!(step, StepResult::Done) {
            let what = say!("{path}: another program has locked it", path = path.display());
            return Err(Error::new(ErrorCode::StoreBusy, what));
        }
        let image = copy.serialize(MAIN_DB).map_err(told)?;
        Ok(Zeroizing::new(image.to_vec()))
    }
}

impl AccountsCell {
    /// Reads the accounts for a change.
    ///
    /// # Errors
    /// Those of reading; `store.schema_unsupported` unless the schema is exactly the known one;
    /// `store.changed` when there are no accounts any more; `restore.unproven` when they are
    /// written in a form that cannot be kept byte for byte.
    pub(crate) fn read(place: &Place) -> Result<Self> {
        let path = place.database();
        let mut connection = open(&path)?;
        let look = Look::begin(&path, &mut connection, place.known_schema())?;
        if !place.knows(look.schema) {
            return Err(look.unsupported(place.cell().table));
        }
        let cell = look.cell(place.cell())?;
        let text = cell.map(|cell| cell.text).ok_or_else(|| changed(&path))?;
        let document = Document::parse(text.as_bytes()).map_err(|error| look.about(place.cell(), error))?;
        if *document.compact()? != *text {
            let what = say!(
                "the accounts in {path} are not written as OpenClaw writes them",
                path = path.display()
            );
            return Err(Error::new(ErrorCode::RestoreUnproven, what));
        }
        Ok(Self {
            place: place.clone(),
            text,
            document,
        })
    }

    /// One login of them.
    pub(crate) fn credential(&self, id: &ProfileId) -> Option<Credential> {
        self.document.credential(id)
    }

    /// Whether the login stands there exactly as `credential`.
    pub(crate) fn holds(&self, id: &ProfileId, credential: &str) -> bool {
        self.document.raw(id).is_some_and(|raw| *raw == *credential)
    }

    /// The same accounts with this login alone replaced by `credential`, a JSON object.
    ///
    /// # Errors
    /// `store.unparsable`, `store.wrong_shape` for another text; `profile.unknown`.
    pub(crate) fn with_login(self, id: &ProfileId, credential: &str) -> Result<Change> {
        let mut document = self.document;
        document.put_stored(id, credential)?;
        Ok(Change {
            place: self.place,
            old: self.text,
            new: document.compact()?,
        })
    }
}

impl Change {
    /// Writes the change if the cell still holds what was read. Durable on return; on an error the
    /// cell is as it was.
    ///
    /// # Errors
    /// `store.changed`, `store.busy`, `store.schema_unsupported`, `store.write_failed`.
    pub(crate) fn carry_out(&self, now: Timestamp) -> Result<()> {
        let path = self.place.database();
        let told = |error: rusqlite::Error| {
            let told = failed(&path, &error);
            match told.code() {
                ErrorCode::StoreUnreadable => Error::new(ErrorCode::StoreWriteFailed, told.message()),
                _ => told,
            }
        };
        let mut connection = open_for_writing(&path)?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(told)?;
        let schema: i64 = transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(told)?;
        if !self.place.knows(schema) {
            let what = say!(
                "{path}: schema {schema} is none that Kalit writes",
                path = path.display(),
                schema
            );
            return Err(Error::new(ErrorCode::StoreSchemaUnsupported, what));
        }
        let (update, key) = (self.place.update(), self.place.cell().key);
        let written = transaction
            .execute(update, params![*self.new, now.as_millis(), key, *self.old])
            .map_err(told)?;
        if written != 1 {
            return Err(changed(&path));
        }
        transaction.commit().map_err(told)
    }
}

/// The existing database; nothing is made where there is none. The commit is synced to the disk.
fn open_for_writing(path: &Path) -> Result<Connection> {
    let told = |error| failed(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(told)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(told)?;
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(told)?;
    // SQLite opens a file that may not be written for reading instead.
    if connection.is_readonly(MAIN_DB).map_err(told)? {
        let what = say!("{path} may not be written", path = path.display());
        return Err(Error::new(ErrorCode::StoreWriteFailed, what));
    }
    Ok(connection)
}

fn changed(path: &Path) -> Error {
    let what = say!("{path} changed in the meantime", path = path.display());
    Error::new(ErrorCode::StoreChanged, what)
}
