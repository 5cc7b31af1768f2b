//! Recognises how an installation stores credentials. Only recognises: the database of the
//! sqlite era is opened for reading, never created, and left as it was found, without the side
//! files that SQLite itself leaves behind after reading.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, MAIN_DB, OpenFlags, OptionalExtension};
use serde_json::Value;

use super::evidence::Evidence;
use super::version::Version;

/// The first release whose credentials lie in SQLite.
pub(super) const FIRST_SQLITE: Version = Version::new(2026, 6, 5);
/// Databases up to this size are looked at in memory.
const MAX_IN_MEMORY: u64 = 64 * 1024 * 1024;
const MAX_STORE_BYTES: u64 = 16 * 1024 * 1024;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How OpenClaw stores credentials here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Era {
    /// auth-profiles.json (2026.2.17 to 2026.6.1): Kalit reads and writes.
    Json,
    /// SQLite (2026.6.5 and later): OpenClaw manages, Kalit only looks.
    Sqlite {
        /// What says so, for people.
        why: String,
    },
    /// Both lie side by side: nothing is written.
    Mixed {
        /// What says so, for people.
        why: String,
    },
    /// No OpenClaw and no store was found.
    Empty,
}

/// Traces of the sqlite era in an installation's databases.
#[derive(Clone, Debug, Default)]
pub(super) struct Markers {
    pub found: Vec<Marker>,
}

/// One database that belongs to the sqlite era, or tells a version.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    pub what: String,
    pub path: PathBuf,
    /// `schema_meta.app_version`.
    pub version: Option<Version>,
    /// Credentials of the sqlite era; the shared database alone exists in 2026.6.1 too.
    pub sqlite_era: bool,
}

impl Markers {
    /// Looks into `<agentDir>/openclaw-agent.sqlite` of every directory and into
    /// `<state>/state/openclaw.sqlite`.
    pub fn look(state_dir: &Path, agent_dirs: &[PathBuf]) -> Self {
        let agents = agent_dirs.iter().filter_map(|dir| {
            look_into(
                &dir.join("openclaw-agent.sqlite"),
                "the agent's database",
                |tables| tables.credentials || tables.schema_meta,
            )
        });
        let shared = state_dir.join("state").join("openclaw.sqlite");
        // `config_machine_state` with `auth.sharedStore` and `authProfiles.store` came with
        // 2026.8; its mere table says that such a release has managed this directory.
        let shared = look_into(&shared, "the shared database", |tables| tables.machine_state);
        Self {
            found: agents.chain(shared).collect(),
        }
    }

    fn sqlite_era(&self) -> Option<&Marker> {
        self.found.iter().find(|marker| marker.sqlite_era)
    }
}

/// Decides the era from what was found; `store_dirs` are all directories that may hold a store.
pub(super) fn decide(evidence: &Evidence, markers: &Markers, store_dirs: &[PathBuf]) -> Era {
    let release = evidence.newest.filter(|newest| *newest >= FIRST_SQLITE);
    let why = match (markers.sqlite_era(), release, evidence.newest) {
        (Some(marker), None, Some(newest)) => Some(format!(
            "{} is in use, though the newest OpenClaw found is {newest}: {}",
            marker.what,
            marker.path.display()
        )),
        (Some(marker), ..) => Some(format!("{} is in use: {}", marker.what, marker.path.display())),
        (None, Some(newest), _) => Some(format!("OpenClaw {newest} was found")),
        (None, None, _) => None,
    };
    let mut stores = store_dirs.iter().map(|dir| dir.join("auth-profiles.json"));
    match why {
        Some(why) => match stores.find(|store| holds_profiles(store)) {
            Some(store) => Era::Mixed {
                why: format!("{why}; {} still holds accounts", store.display()),
            },
            None => Era::Sqlite { why },
        },
        None if evidence.newest.is_some() || stores.any(|store| exists(&store)) => Era::Json,
        None => Era::Empty,
    }
}

/// Whether anything stands at this name, a broken link included.
pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether a JSON store holds something that must not be lost or overlooked. A store without
/// profiles is as good as none; one that does not parse counts.
fn holds_profiles(store: &Path) -> bool {
    let Ok(metadata) = fs::metadata(store) else {
        return exists(store);
    };
    if !metadata.is_file() || metadata.len() > MAX_STORE_BYTES {
        return true;
    }
    let Ok(bytes) = fs::read(store) else { return true };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return false;
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(document) => match document.get("profiles") {
            None => false,
            Some(Value::Object(profiles)) => !profiles.is_empty(),
            Some(_) => true,
        },
        Err(_) => true,
    }
}

struct Tables {
    credentials: bool,
    schema_meta: bool,
    machine_state: bool,
    version: Option<Version>,
}

fn look_into(path: &Path, what: &str, is_sqlite_era: impl Fn(&Tables) -> bool) -> Option<Marker> {
    if !exists(path) {
        return None;
    }
    let marker = |what: String, version, sqlite_era| Marker {
        what,
        path: path.to_owned(),
        version,
        sqlite_era,
    };
    match tables(path) {
        Ok(tables) => {
            let sqlite_era = is_sqlite_era(&tables);
            (sqlite_era || tables.version.is_some())
                .then(|| marker(what.to_owned(), tables.version, sqlite_era))
        }
        // What cannot be looked into is taken for the newer era: nothing is written then.
        Err(error) => Some(marker(format!("{what} ({error})"), None, true)),
    }
}

fn tables(path: &Path) -> Result<Tables, Unreadable> {
    let connection = open(path)?;
    let has = |name: &str| {
        connection
            .query_row(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
                [name],
                |_| Ok(()),
            )
            .optional()
            .map(|row| row.is_some())
    };
    let schema_meta = has("schema_meta")?;
    let version: Option<Option<String>> = if schema_meta {
        // An unknown shape of the table only means that it tells no version.
        connection
            .query_row("SELECT max(app_version) FROM schema_meta", [], |row| row.get(0))
            .optional()
            .unwrap_or_default()
    } else {
        None
    };
    Ok(Tables {
        credentials: has("auth_profile_store")?,
        machine_state: has("config_machine_state")?,
        schema_meta,
        version: version.flatten().and_then(|text| Version::parse(&text)),
    })
}

/// A connection that only reads. While the write-ahead log is empty the database file is whole
/// and is looked at in memory: a read-only connection to a database in WAL mode leaves `-shm`
/// and `-wal` behind in OpenClaw's directory (SQLite 3.40, observed). Otherwise `mode=ro`.
fn open(path: &Path) -> Result<Connection, Unreadable> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(Unreadable::NotAFile);
    }
    if metadata.len() <= MAX_IN_MEMORY && wal_is_empty(path) {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_IN_MEMORY).read_to_end(&mut bytes)?;
        let again = fs::metadata(path)?;
        let steady = again.len() == bytes.len() as u64
            && again.modified().ok() == metadata.modified().ok()
            && wal_is_empty(path);
        if steady {
            return in_memory(bytes);
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn in_memory(mut bytes: Vec<u8>) -> Result<Connection, Unreadable> {
    let mut connection = Connection::open_in_memory()?;
    if bytes.is_empty() {
        return Ok(connection);
    }
    // Bytes 18 and 19 of the header ask for a log file, which memory has not (sqlite.org,
    // "Database File Format", 1.3.3).
    if let Some(versions) = bytes.get_mut(18..20) {
        versions.fill(1);
    }
    connection.deserialize_read_exact(MAIN_DB, bytes.as_slice(), bytes.len(), true)?;
    Ok(connection)
}

fn wal_is_empty(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    match fs::metadata(wal) {
        Ok(metadata) => metadata.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

enum Unreadable {
    Io(io::Error),
    Sqlite(rusqlite::Error),
    NotAFile,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "{}", error.kind()),
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(code) => write!(formatter, "{code:?}"),
                None => formatter.write_str("not readable"),
            },
            Self::NotAFile => formatter.write_str("not a file"),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rusqlite::Error> for Unreadable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

#[cfg(test)]
mod tests;
