//! A move from JSON to SQLite that OpenClaw has not finished: what lies in its way, what to run,
//! and what could be lost by it. Told, never done: `openclaw doctor --fix` also renews logins.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Inner, MigrationView};
use crate::clock::Timestamp;
use crate::ids::{ProfileId, ProviderId};
use crate::install::{Era, Installation};
use crate::openclaw::quoted;
use crate::refresh::Fleet;
use crate::store::atomic;
use crate::store::credential::Credential;

/// OpenClaw's doctor renews logins that end within this time (2026.9.6, observed).
const RENEWED_BY_DOCTOR_MS: i64 = 86_400_000;

/// A file of the json era in an installation that keeps its accounts in SQLite.
struct Leftover {
    path: PathBuf,
    holds: Holds,
}

enum Holds {
    Nothing,
    /// A store with accounts.
    Accounts(Vec<(ProfileId, Credential)>),
    /// Entries of a form that came before auth-profiles.json.
    Older(usize),
    Unparsable,
}

impl Inner {
    /// What keeps the current installation half-migrated, if anything does, and the providers whose
    /// logins OpenClaw's doctor would renew. Blocks.
    pub(super) fn migration(&self, fleet: &Fleet) -> Option<(MigrationView, BTreeSet<ProviderId>)> {
        let installation = fleet.current();
        if !matches!(installation.era, Era::Sqlite { .. } | Era::Mixed { .. }) {
            return None;
        }
        let leftovers = leftovers(installation);
        if leftovers.is_empty() {
            return None;
        }
        let now = self.now();
        let mut warnings = Vec::new();
        let ending = ending(fleet, &leftovers, now);
        if !ending.is_empty() {
            warnings.push(format!(
                "OpenClaw's doctor renews logins that end within 24 hours, and drops what it cannot renew: {}. \
                 Run it only while this machine is online.",
                names(ending.keys())
            ));
        }
        if leftovers
            .iter()
            .any(|file| matches!(file.holds, Holds::Unparsable))
        {
            warnings.push(
                "OpenClaw's doctor sets a file that does not parse aside without importing it: repair it first."
                    .to_owned(),
            );
        }
        let sealed = self.ensure_sealed(fleet);
        if let Err(error) = &sealed {
            warnings.push(format!(
                "Not all logins are in a sealed copy: {}. {}",
                error.message(),
                error.hint()
            ));
        }
        let view = MigrationView {
            blocks: installation.rules().leftovers_block,
            files: leftovers.iter().map(|file| file.text(fleet)).collect(),
            sealed: sealed.is_ok(),
            warnings,
            command: command(installation),
        };
        Some((view, ending.into_values().flatten().collect()))
    }
}

fn names<'a>(ids: impl Iterator<Item = &'a ProfileId>) -> String {
    ids.map(ProfileId::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether a file of the json era keeps OpenClaw 2026.8 and later from starting; cheap.
pub(super) fn blocked_by(installation: &Installation) -> Option<PathBuf> {
    let blocks = installation.rules().leftovers_block
        && matches!(installation.era, Era::Sqlite { .. } | Era::Mixed { .. });
    blocks.then(|| places(installation).find(|path| path.symlink_metadata().is_ok()))?
}

/// Where files of the json era lie.
fn places(installation: &Installation) -> impl Iterator<Item = PathBuf> {
    let oauth = installation.state_dir.oauth_dir().join("oauth.json");
    installation
        .store_dirs()
        .into_iter()
        .flat_map(|dir| [dir.join("auth-profiles.json"), dir.join("auth.json")])
        .chain([oauth])
}

fn leftovers(installation: &Installation) -> Vec<Leftover> {
    let there = places(installation).filter(|path| path.symlink_metadata().is_ok());
    there
        .map(|path| Leftover {
            holds: holds(installation, &path),
            path,
        })
        .collect()
}

fn holds(installation: &Installation, path: &Path) -> Holds {
    if path.file_name().is_some_and(|name| name == "auth-profiles.json") {
        let dir = path.parent().unwrap_or(path);
        return match installation.store(dir).read() {
            Ok(content) => {
                let accounts: Vec<_> = content.document.profiles().collect();
                if accounts.is_empty() {
                    Holds::Nothing
                } else {
                    Holds::Accounts(accounts)
                }
            }
            Err(_) if is_blank(path) => Holds::Nothing,
            Err(_) => Holds::Unparsable,
        };
    }
    match entries(path) {
        Some(0) => Holds::Nothing,
        Some(many) => Holds::Older(many),
        None => Holds::Unparsable,
    }
}

fn is_blank(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)
}

/// How many entries the object in a file has.
fn entries(path: &Path) -> Option<usize> {
    let bytes = zeroize::Zeroizing::new(atomic::read_file(path).ok()??);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Some(0);
    }
    match serde_json::from_slice(&bytes).ok()? {
        Value::Object(object) => Some(object.len()),
        _ => None,
    }
}

impl Leftover {
    fn text(&self, fleet: &Fleet) -> String {
        let path = self.path.display();
        match &self.holds {
            Holds::Nothing => format!("{path} holds nothing and is in the way all the same"),
            Holds::Unparsable => format!("{path} does not parse"),
            Holds::Older(1) => format!("{path} holds a login of an older form"),
            Holds::Older(many) => format!("{path} holds {many} logins of an older form"),
            Holds::Accounts(accounts) => {
                let known = |id: &ProfileId| {
                    let mut stores = fleet.own().filter_map(|store| store.content.as_ref().ok());
                    stores.any(|content| content.document.contains(id))
                };
                let (old, new): (Vec<_>, Vec<_>) = accounts.iter().partition(|(id, _)| known(id));
                let names = |some: Vec<&(ProfileId, Credential)>| names(some.into_iter().map(|(id, _)| id));
                let mut parts = Vec::new();
                if !new.is_empty() {
                    parts.push(format!("to be imported: {}", names(new)));
                }
                if !old.is_empty() {
                    parts.push(format!(
                        "already in the database, whose entries win: {}",
                        names(old)
                    ));
                }
                format!("{path} holds accounts, {}", parts.join("; "))
            }
        }
    }
}

/// OAuth logins that OpenClaw's doctor would renew, with their providers.
fn ending(fleet: &Fleet, leftovers: &[Leftover], now: Timestamp) -> BTreeMap<ProfileId, Option<ProviderId>> {
    let stored = fleet.own().filter_map(|store| store.content.as_ref().ok());
    let stored = stored.flat_map(|content| content.document.profiles());
    let left = leftovers.iter().flat_map(|file| match &file.holds {
        Holds::Accounts(accounts) => accounts.clone(),
        Holds::Nothing | Holds::Older(_) | Holds::Unparsable => Vec::new(),
    });
    let ends = |credential: &Credential| {
        let refreshable = credential.as_oauth().is_some() && credential.generation().is_some();
        refreshable
            && credential
                .expiry()
                .at()
                .is_some_and(|at| at.millis_since(now) < RENEWED_BY_DOCTOR_MS)
    };
    stored
        .chain(left)
        .filter(|(_, credential)| ends(credential))
        .map(|(id, credential)| (id, credential.provider().cloned()))
        .collect()
}

fn command(installation: &Installation) -> String {
    format!(
        "OPENCLAW_STATE_DIR={} openclaw doctor --fix",
        quoted(&installation.state_dir.path.to_string_lossy())
    )
}
