//! The credential stores of OpenClaw 2026.6.5 and later: JSON documents in cells of two kinds of
//! database, `<agentDir>/openclaw-agent.sqlite` and `<state>/state/openclaw.sqlite`. Read only, but
//! for [`restore`]: nothing here creates, migrates or compacts a database of OpenClaw's.
//!
//! A cell that cannot be read is told and never taken for an empty one. One read transaction
//! covers both cells of a store; the connection is closed at once.
//!
//! Facts: tables and rows observed with 2026.6.11, 2026.7.1 and 2026.9.6; the owner row as
//! 2026.9.6 parses it (`parseSharedAuthStoreOwnership`).

mod connection;
pub(crate) mod restore;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
use zeroize::Zeroizing;

pub(crate) use connection::{OneLook, failed, is_at_hand, open, prepare};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::store::agent_store::SQLITE_FILE;
use crate::store::{Document, StoreContent, json};

crate::keeps_secret!(Read, SharedRead);
crate::keeps_raw_secret!(Cell);

/// The newest schema (`user_version`) of an agent's database that was looked at: 2026.9.6.
pub const NEWEST_AGENT_SCHEMA: i64 = 23;
/// The newest schema of the shared database that was looked at: 2026.9.6.
pub const NEWEST_SHARED_SCHEMA: i64 = 18;

/// One store of the sqlite era, as one transaction found it.
#[derive(Debug)]
pub struct Read {
    pub content: StoreContent,
    /// The database's schema, when it is newer than any that was looked at and its rows still
    /// have the known shape.
    pub untested_schema: Option<i64>,
    /// The database's schema; `None` when there is no database.
    pub schema: Option<i64>,
}

/// The shared database.
#[derive(Debug)]
pub struct SharedRead {
    pub location: SharedLocation,
    /// Its own store; only [`SharedLocation::StateDatabase`] makes it count.
    pub store: Read,
}

/// Where the store lies that all agents inherit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedLocation {
    /// In main's agent database: up to 2026.7.1, and later until the store is moved.
    LegacyMain,
    /// In the shared database.
    StateDatabase,
}

/// `<agentDir>/openclaw-agent.sqlite`.
pub fn agent_database(agent_dir: &Path) -> PathBuf {
    agent_dir.join(SQLITE_FILE)
}

/// `<state>/state/openclaw.sqlite`.
pub fn shared_database(state_dir: &Path) -> PathBuf {
    shared_dir(state_dir).join("openclaw.sqlite")
}

/// The directory of the shared database, by which its store is named.
pub fn shared_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("state")
}

/// Reads an agent's own store; an absent database is an empty store that does not exist. Blocks,
/// up to five seconds while the database is locked.
///
/// # Errors
/// `store.busy`, `store.corrupt`, `store.unreadable`, `store.not_a_file`; for a cell
/// `store.unparsable`, `store.wrong_shape`, `store.too_large`; `store.schema_unsupported` for a
/// newer schema without the known rows.
pub fn read_agent(agent_dir: &Path) -> Result<Read> {
    let path = agent_database(agent_dir);
    if is_absent(&path) {
        return Ok(Read::nothing());
    }
    let mut connection = open(&path)?;
    Look::begin(&path, &mut connection, NEWEST_AGENT_SCHEMA)?.store(&AGENT)
}

/// Reads the shared store and who owns it; an absent database, table or row means the main agent.
/// Blocks as [`read_agent`] does.
///
/// # Errors
/// As [`read_agent`]; `store.wrong_shape` for an owner that OpenClaw itself does not accept.
pub fn read_shared(state_dir: &Path) -> Result<SharedRead> {
    let path = shared_database(state_dir);
    let nothing = || SharedRead {
        location: SharedLocation::LegacyMain,
        store: Read::nothing(),
    };
    if is_absent(&path) {
        return Ok(nothing());
    }
    let mut connection = open(&path)?;
    let look = Look::begin(&path, &mut connection, NEWEST_SHARED_SCHEMA)?;
    // 2026.7.1 and earlier keep other things here; only the table of 2026.8 and later counts.
    if !look.has_table(SHARED.store.table)? && look.schema <= NEWEST_SHARED_SCHEMA {
        return Ok(nothing());
    }
    let location = match look.cell(&SHARED_OWNER)? {
        Some(cell) => owner(cell.text.as_bytes()).map_err(|error| look.about(&SHARED_OWNER, error))?,
        None => SharedLocation::LegacyMain,
    };
    Ok(SharedRead {
        location,
        store: look.store(&SHARED)?,
    })
}

/// Where the two documents of a store stand.
struct Cells {
    store: CellPlace,
    state: CellPlace,
}

/// One row of a table.
struct CellPlace {
    table: &'static str,
    key: &'static str,
    query: &'static str,
}

const AGENT: Cells = Cells {
    store: CellPlace {
        table: "auth_profile_store",
        key: "primary",
        query: "SELECT store_json, updated_at FROM auth_profile_store WHERE store_key = ?1",
    },
    state: CellPlace {
        table: "auth_profile_state",
        key: "primary",
        query: "SELECT state_json, updated_at FROM auth_profile_state WHERE state_key = ?1",
    },
};

const SHARED: Cells = Cells {
    store: shared_cell("authProfiles.store"),
    state: shared_cell("authProfiles.state"),
};

const SHARED_OWNER: CellPlace = shared_cell("auth.sharedStore");

const fn shared_cell(key: &'static str) -> CellPlace {
    CellPlace {
        table: "config_machine_state",
        key,
        query: "SELECT value_json, updated_at_ms FROM config_machine_state WHERE state_key = ?1",
    }
}

/// The text of a cell, full of tokens.
struct Cell {
    text: Zeroizing<String>,
    updated: Option<Timestamp>,
}

/// One read transaction.
struct Look<'c> {
    path: &'c Path,
    transaction: rusqlite::Transaction<'c>,
    schema: i64,
    newest_known: i64,
}

impl<'c> Look<'c> {
    fn begin(path: &'c Path, connection: &'c mut Connection, newest_known: i64) -> Result<Self> {
        let told = |error| failed(path, &error);
        let transaction = connection.transaction().map_err(told)?;
        let schema = transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(told)?;
        Ok(Self {
            path,
            transaction,
            schema,
            newest_known,
        })
    }

    fn store(&self, cells: &Cells) -> Result<Read> {
        let is_newer = self.schema > self.newest_known;
        if is_newer && !self.has_table(cells.store.table)? {
            return Err(self.unsupported(cells.store.table));
        }
        let (store, state) = (self.cell(&cells.store)?, self.cell(&cells.state)?);
        let content = StoreContent::of_cells(
            store.as_ref().map(|cell| cell.text.as_bytes()),
            state.as_ref().map(|cell| cell.text.as_bytes()),
            store.as_ref().and_then(|cell| cell.updated),
        )
        .map_err(|error| self.about(&cells.store, error))?;
        let content = StoreContent {
            state_error: content.state_error.map(|error| self.about(&cells.state, error)),
            ..content
        };
        if is_newer && !has_known_shape(&content) {
            return Err(self.unsupported(cells.store.table));
        }
        Ok(Read {
            content,
            untested_schema: is_newer.then_some(self.schema),
            schema: Some(self.schema),
        })
    }

    /// The row, or nothing: without its table there is none either.
    fn cell(&self, place: &CellPlace) -> Result<Option<Cell>> {
        if !self.has_table(place.table)? {
            return Ok(None);
        }
        let mut statement = match self.transaction.prepare(place.query) {
            Ok(statement) => statement,
            // A table of this name with other columns.
            Err(rusqlite::Error::SqlInputError { .. }) => return Err(self.unsupported(place.table)),
            Err(error) => return Err(failed(self.path, &error)),
        };
        let row = statement.query_row([place.key], |row| {
            let text = match row.get_ref(0)? {
                ValueRef::Text(bytes) if bytes.len() >= json::SIZE_LIMIT => Err(ErrorCode::StoreTooLarge),
                ValueRef::Text(bytes) => std::str::from_utf8(bytes)
                    .map(|text| Zeroizing::new(text.to_owned()))
                    .map_err(|_| ErrorCode::StoreUnparsable),
                _ => Err(ErrorCode::StoreWrongShape),
            };
            let updated = match row.get_ref(1)? {
                ValueRef::Integer(millis) => Some(Timestamp::from_millis(millis)),
                _ => None,
            };
            Ok((text, updated))
        });
        let row = row.optional().map_err(|error| failed(self.path, &error))?;
        row.map(|(text, updated)| match text {
            Ok(text) => Ok(Cell { text, updated }),
            Err(code) => Err(self.about(
                place,
                Error::new(code, say!("it is not the text of a JSON document")),
            )),
        })
        .transpose()
    }

    fn has_table(&self, name: &str) -> Result<bool> {
        self.transaction
            .query_row(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
                [name],
                |_| Ok(()),
            )
            .optional()
            .map(|row| row.is_some())
            .map_err(|error| failed(self.path, &error))
    }

    fn about(&self, place: &CellPlace, error: Error) -> Error {
        let path = self.path.display();
        let (table, key) = (place.table, place.key);
        Error::new(
            error.code(),
            say!(
                "{path}, row {key} of {table}: {why}",
                path,
                key,
                table,
                why = error.message()
            ),
        )
    }

    fn unsupported(&self, table: &str) -> Error {
        Error::new(
            ErrorCode::StoreSchemaUnsupported,
            say!(
                "{path}: schema {schema} keeps {table} in another form than Kalit knows",
                path = self.path.display(),
                schema = self.schema,
                table
            ),
        )
    }
}

impl Read {
    /// The store of a database that is not there.
    fn nothing() -> Self {
        Self {
            content: StoreContent::nothing(),
            untested_schema: None,
            schema: None,
        }
    }
}

/// The owner of the shared store, exactly as OpenClaw accepts it: one key, one of two words.
pub(super) fn owner(cell: &[u8]) -> Result<SharedLocation> {
    let value = json::parse(cell)?;
    let owner = value.as_object().filter(|owner| owner.len() == 1);
    let word = owner.and_then(|owner| owner.get("location")?.as_str());
    match word {
        Some("legacy-main") => Ok(SharedLocation::LegacyMain),
        Some("state-db") => Ok(SharedLocation::StateDatabase),
        _ => Err(Error::new(
            ErrorCode::StoreWrongShape,
            say!("it names no owner of the shared store that OpenClaw knows"),
        )),
    }
}

/// Whether a document of an unknown schema is still the one that Kalit knows: `profiles` with
/// entries that have a type and a provider.
pub(super) fn has_known_shape(content: &StoreContent) -> bool {
    let known = |document: &Document| {
        document.has_profiles()
            && document
                .profiles()
                .all(|(_, credential)| credential.common().is_some())
    };
    !content.exists || known(&content.document)
}

fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| {
        matches!(
            error.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        )
    })
}
