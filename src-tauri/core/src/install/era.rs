//! Recognises how an installation stores credentials. Only recognises: the databases of the
//! sqlite era are looked into by [`sqlite::open`], which leaves them as they were found.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use rusqlite::OptionalExtension;
use serde_json::Value;

use super::evidence::Evidence;
use super::version::Version;
use crate::error::Result;
use crate::store::sqlite;

/// The first release whose credentials lie in SQLite.
pub(super) const FIRST_SQLITE: Version = Version::new(2026, 6, 5);
/// How many agents' databases are opened while the shared one is looked into.
const PREPARED: usize = 2;
const MAX_STORE_BYTES: u64 = 16 * 1024 * 1024;

/// How OpenClaw stores credentials here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Era {
    /// auth-profiles.json (2026.2.17 to 2026.6.1): Kalit reads and writes.
    Json,
    /// SQLite (2026.6.5 and later): Kalit reads, OpenClaw writes.
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
    /// Looks into `<agentDir>/openclaw-agent.sqlite` of the directories, up to the first that
    /// tells both era and release, and into `<state>/state/openclaw.sqlite`.
    pub fn look(state_dir: &Path, agent_dirs: &[PathBuf]) -> Self {
        // `config_machine_state` with `auth.sharedStore` and `authProfiles.store` came with
        // 2026.8; its mere table says that such a release has managed this directory.
        let shared = sqlite::shared_database(state_dir);
        let of_shared = || {
            look_into(&shared, say!("the shared database"), |tables| {
                tables.machine_state
            })
        };
        // Its schema is the largest of all and takes the longest to parse.
        let (mut found, of_shared) = thread::scope(|scope| {
            let beside = thread::Builder::new().spawn_scoped(scope, of_shared);
            let found = look_into_agents(agent_dirs);
            let of_shared = match beside {
                Ok(beside) => beside
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => of_shared(),
            };
            (found, of_shared)
        });
        found.extend(of_shared);
        Self { found }
    }

    fn sqlite_era(&self) -> Option<&Marker> {
        self.found.iter().find(|marker| marker.sqlite_era)
    }
}

/// Decides the era from what was found; `store_dirs` are all directories that may hold a store.
pub(super) fn decide(evidence: &Evidence, markers: &Markers, store_dirs: &[PathBuf]) -> Era {
    let release = evidence.newest.filter(|newest| *newest >= FIRST_SQLITE);
    let why = match (markers.sqlite_era(), release, evidence.newest) {
        (Some(marker), None, Some(newest)) => Some(say!(
            "{what} is in use, though the newest OpenClaw found is {newest}: {path}",
            what = marker.what,
            newest,
            path = marker.path.display()
        )),
        (Some(marker), ..) => Some(say!(
            "{what} is in use: {path}",
            what = marker.what,
            path = marker.path.display()
        )),
        (None, Some(newest), _) => Some(say!("OpenClaw {newest} was found", newest)),
        (None, None, _) => None,
    };
    let mut stores = store_dirs.iter().map(|dir| dir.join("auth-profiles.json"));
    match why {
        Some(why) => match stores.find(|store| holds_profiles(store)) {
            Some(store) => Era::Mixed {
                why: say!(
                    "{why}; {store} still holds accounts",
                    why,
                    store = store.display()
                ),
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

fn look_into_agents(agent_dirs: &[PathBuf]) -> Vec<Marker> {
    let mut found = Vec::new();
    let mut dirs = agent_dirs.iter();
    for dir in dirs.by_ref() {
        let marker = look_into(
            &sqlite::agent_database(dir),
            say!("the agent's database"),
            |tables| tables.credentials || tables.schema_meta,
        );
        found.extend(marker);
        if found
            .last()
            .is_some_and(|marker| marker.sqlite_era && marker.version.is_some())
        {
            break;
        }
    }
    // The shared database takes longer than these: they are read next.
    dirs.take(PREPARED)
        .for_each(|dir| sqlite::prepare(&sqlite::agent_database(dir)));
    found
}

struct Tables {
    credentials: bool,
    schema_meta: bool,
    machine_state: bool,
    version: Option<Version>,
}

fn look_into(path: &Path, what: String, is_sqlite_era: impl Fn(&Tables) -> bool) -> Option<Marker> {
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
            (sqlite_era || tables.version.is_some()).then(|| marker(what, tables.version, sqlite_era))
        }
        // What cannot be looked into is taken for the newer era: nothing is written then.
        Err(error) => Some(marker(format!("{what} ({})", error.code().as_str()), None, true)),
    }
}

fn tables(path: &Path) -> Result<Tables> {
    let connection = sqlite::open(path)?;
    let failed = |error| sqlite::failed(path, &error);
    let has = |name: &str| {
        connection
            .query_row(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
                [name],
                |_| Ok(()),
            )
            .optional()
            .map(|row| row.is_some())
            .map_err(failed)
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

#[cfg(test)]
mod tests;
