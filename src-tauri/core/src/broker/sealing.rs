//! A sealed copy of the stores whenever credentials changed, and one of each OAuth generation, in
//! either era. Engines seal at each look, before anything else is done with what it found; a
//! process that only shows (`kalit status`) writes nothing, so what only such a process saw has no
//! copy.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use serde_json::Value;
use zeroize::Zeroizing;

use super::Inner;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AgentId, ProfileId};
use crate::install::Era;
use crate::refresh::{Fleet, FleetStore};
use crate::secret::{Fingerprint, Secret};
use crate::store::agent_store::PROFILES_FILE;
use crate::store::credential::Credential;
use crate::store::{Document, Revision, StoreContent, atomic, json, sqlite};
use crate::vault::logins::Login;
use crate::vault::snapshots::Content;
use crate::vault::{GenerationDigest, SealedLogins, Sealer, Snapshots, installation_dir};

/// How many logins one look of an engine seals at most: each is synced to the disk, and a first
/// look at thousands must not keep the others waiting.
const MOST_AT_ONCE: usize = 250;

/// What OpenClaw up to 2026.5.28 calls the provider [`OPENAI`].
const OLD_OPENAI: &str = "openai-codex";
const OPENAI: &str = "openai";

/// What a file that does not parse is called in a snapshot, after its own name.
pub(super) const BROKEN: &str = ".broken";
/// What the accounts of a database are called in a snapshot, after the database's name.
pub(super) const CELL: &str = ".profiles.json";

/// Whether a call may stop with logins still to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// At most a few hundred; the next look goes on.
    Some,
    /// All of them.
    Whole,
}

/// What a process knows of the sealed logins of the installation it looked at last.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    pub(super) logins: SealedLogins,
    /// The stores all of whose logins have a copy.
    revisions: HashMap<PathBuf, Revision>,
}

impl Inner {
    /// Seals what is on disk now. A failure must not stop what the person asked for: it is told by
    /// `doctor`.
    pub(super) fn seal(&self, reason: &str) {
        if let Ok(fleet) = self.fleet() {
            let _ = self.seal_fleet(&fleet, reason);
            let _ = self.seal_logins(&fleet, Pace::Whole);
        }
    }

    /// Seals what is on disk now and confirms from disk that every OAuth generation of the current
    /// installation has a sealed copy: to be done before OpenClaw is asked for anything that may
    /// make it renew a login, which it drops when that fails (2026.9.6).
    ///
    /// # Errors
    /// `vault.unsealed` naming what has no copy, or a store that cannot be read; those of sealing.
    pub(super) fn ensure_sealed(&self, fleet: &Fleet) -> Result<()> {
        self.seal_fleet(fleet, "before-risk")?;
        self.seal_logins(fleet, Pace::Whole)?;
        if let Some(store) = fleet.to_be_sealed().find(|store| store.content.is_err()) {
            let store = store.agent_dir.display();
            let what = say!(
                "the logins in {store} cannot be read, so none of them is sealed",
                store
            );
            return Err(Error::new(ErrorCode::VaultUnsealed, what));
        }
        let sealed = self.sealed_logins(fleet)?;
        let mut logins = readable(fleet).flat_map(|(_, content)| forms(content));
        let lacking = logins
            .find(|(id, _, raw)| digest_of(id, raw).is_some_and(|digest| !sealed.logins.is_on_disk(&digest)));
        match lacking {
            None => Ok(()),
            Some((id, ..)) => {
                let what = say!("there is no sealed copy of {id}", id);
                Err(Error::new(ErrorCode::VaultUnsealed, what))
            }
        }
    }

    /// Seals each OAuth generation of the current installation that has no copy yet. A store that
    /// is as it was at the last call costs a comparison. Answers whether everything is sealed now.
    ///
    /// # Errors
    /// `vault.failed`, `vault.unreadable`.
    pub(super) fn seal_logins(&self, fleet: &Fleet, pace: Pace) -> Result<bool> {
        if matches!(fleet.current().era, Era::Empty) {
            return Ok(true);
        }
        let mut sealed = self.sealed_logins(fleet)?;
        let done = self.seal_missing(&mut sealed, fleet, pace);
        sealed.logins.settle();
        done
    }

    fn seal_missing(&self, sealed: &mut Sealed, fleet: &Fleet, pace: Pace) -> Result<bool> {
        let mut sealer = None;
        let mut written = 0;
        for (place, content) in readable(fleet) {
            if sealed.revisions.get(&place) == Some(&content.revision) {
                continue;
            }
            for (id, provider, raw) in forms(content) {
                let Some(digest) = digest_of(&id, &raw) else {
                    continue;
                };
                let login = Login {
                    id: &id,
                    provider: &provider,
                    digest,
                    credential: &raw,
                };
                if sealed.logins.holds(&login) {
                    continue;
                }
                if pace == Pace::Some && written == MOST_AT_ONCE {
                    return Ok(false);
                }
                let sealer = match &mut sealer {
                    Some(sealer) => sealer,
                    none => none.insert(Sealer::open(&self.environment.data_dir())?),
                };
                sealed.logins.seal(sealer, self.now(), &login)?;
                sealed.logins.drop_old(&id, &provider, || in_use(fleet, &id))?;
                written += 1;
            }
            sealed.revisions.insert(place, content.revision);
        }
        Ok(true)
    }

    /// The sealed logins of the current installation, listed again if the directory changed.
    ///
    /// # Errors
    /// `vault.unreadable`.
    pub(super) fn sealed_logins(&self, fleet: &Fleet) -> Result<MutexGuard<'_, Sealed>> {
        let state_dir = fleet.current().state_dir.canonical();
        let own = installation_dir(&self.environment.data_dir(), &state_dir);
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if !sealed.logins.are_of(&own) {
            *sealed = Sealed {
                logins: SealedLogins::open(&own),
                ..Sealed::default()
            };
        }
        if sealed.logins.look()? {
            sealed.revisions.clear();
        }
        Ok(sealed)
    }

    /// Seals the stores of the current installation, unless the newest copy holds the same
    /// credentials.
    pub(super) fn seal_fleet(&self, fleet: &Fleet, reason: &str) -> Result<()> {
        self.seal_all(fleet, &broken(fleet), reason)
    }

    /// [`Inner::seal_fleet`] with the files that do not parse, as they were read.
    ///
    /// # Errors
    /// `store.changed` when a store is not what the fleet was read from; those of the vault.
    pub(super) fn seal_all(&self, fleet: &Fleet, broken: &[Broken], reason: &str) -> Result<()> {
        let installation = fleet.current();
        if matches!(installation.era, Era::Empty) {
            return Ok(());
        }
        let state_dir = installation.state_dir.canonical();
        let mut files = Vec::new();
        let mut generations = Vec::new();
        let mut agents = BTreeSet::new();
        let mut profiles = 0;
        let mut digest = Zeroizing::new(String::new());
        for file in broken {
            let text = String::from_utf8_lossy(&file.bytes).into_owned();
            digest.push_str(&format!(
                "{}\n{}\n",
                file.agent_dir.display(),
                Secret::new(text).fingerprint()
            ));
            if let Some(document) = Document::recovered(&file.bytes) {
                let held = document.profiles();
                generations.extend(held.filter_map(|(_, credential)| credential.generation()));
                profiles += document.profiles().count();
                agents.insert(file.agent.clone());
            }
            let path = file.agent_dir.join(format!("{PROFILES_FILE}{BROKEN}"));
            files.push((name_in(&state_dir, &path), file.bytes.clone()));
        }
        for store in fleet.to_be_sealed() {
            let Ok(content) = &store.content else { continue };
            for (id, credential) in content.document.profiles() {
                profiles += 1;
                agents.insert(store.agent.clone());
                let generation = credential.generation();
                generations.extend(generation);
                digest.push_str(&format!(
                    "{}\n{id}\n{}\n{}\n",
                    store.agent_dir.display(),
                    generation
                        .map(|generation| generation.to_string())
                        .unwrap_or_default(),
                    access_of(&credential)
                        .map(|access| access.to_string())
                        .unwrap_or_default(),
                ));
            }
            if fleet.is_managed(store) {
                files.extend(cell(fleet, store, content, &state_dir));
                continue;
            }
            let (revision, bytes) = installation.store(&store.agent_dir).bytes();
            if revision != content.revision {
                let path = store.agent_dir.display();
                let changed = say!("the store in {path} changed while it was looked at", path);
                return Err(Error::new(ErrorCode::StoreChanged, changed));
            }
            let named = bytes.into_iter();
            files.extend(named.map(|(path, bytes)| (name_in(&state_dir, &path), bytes)));
        }
        if generations.is_empty() && broken.is_empty() {
            return Ok(());
        }
        generations.sort();
        generations.dedup();
        let agents: Vec<AgentId> = agents.into_iter().collect();
        let data_dir = self.environment.data_dir();
        Snapshots::open(&installation_dir(&data_dir, &state_dir)).seal(
            &Sealer::open(&data_dir)?,
            self.generations(),
            &Content {
                at: self.now(),
                reason,
                credentials: Secret::new(digest.as_str()).fingerprint(),
                generations: &generations,
                agents: &agents,
                profiles,
                files: &files,
            },
        )?;
        Ok(())
    }
}

/// An `auth-profiles.json` that does not parse.
pub(super) struct Broken {
    pub(super) agent_dir: PathBuf,
    pub(super) agent: AgentId,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// The files of the current installation that do not parse, read now.
pub(super) fn broken(fleet: &Fleet) -> Vec<Broken> {
    let stores = fleet.own().filter(|store| !fleet.is_managed(store));
    let read = stores.filter_map(|store| {
        let error = store.content.as_ref().err()?;
        if !is_replaceable(error) {
            return None;
        }
        let path = fleet.current().store(&store.agent_dir).profiles_path();
        Some(Broken {
            agent_dir: store.agent_dir.clone(),
            agent: store.agent.clone(),
            bytes: Zeroizing::new(atomic::read_file(&path).ok()??),
        })
    });
    read.collect()
}

/// Whether the file is there with bytes of this user's that make no store.
pub(super) fn is_replaceable(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::StoreUnparsable | ErrorCode::StoreWrongShape
    )
}

/// How a snapshot names a file.
fn name_in(state_dir: &Path, path: &Path) -> String {
    path.strip_prefix(state_dir).unwrap_or(path).display().to_string()
}

/// The stores of the current installation that can be read, by their places. OpenClaw's doctor may
/// renew at once what it imports from those not moved yet, and drops what it cannot renew
/// (2026.9.6, observed).
fn readable(fleet: &Fleet) -> impl Iterator<Item = (PathBuf, &StoreContent)> {
    let own = fleet.own().map(|store| (store.agent_dir.clone(), store));
    let unmoved = fleet.unmoved.iter();
    let unmoved = unmoved.map(|store| (store.agent_dir.join("auth-profiles.json"), store));
    own.chain(unmoved)
        .filter_map(|(place, store)| Some((place, store.content.as_ref().ok()?)))
}

/// Each OAuth login of a store with its provider and its text, under the id that it has and under
/// the one that the doctor of 2026.6 and later gives it when it imports or renames it.
fn forms(content: &StoreContent) -> impl Iterator<Item = (ProfileId, String, Zeroizing<String>)> {
    let logins = content.document.profiles().filter_map(|(id, credential)| {
        credential.as_oauth()?.refresh.as_ref()?;
        let provider = credential.common()?.provider_text.clone();
        Some((content.document.raw(&id)?, id, provider))
    });
    logins.flat_map(|(raw, id, provider)| {
        let renamed = id
            .as_str()
            .strip_prefix(OLD_OPENAI)
            .filter(|rest| provider == OLD_OPENAI && (rest.is_empty() || rest.starts_with(':')));
        let renamed = renamed.and_then(|rest| {
            let id = ProfileId::parse(&format!("{OPENAI}{rest}"))?;
            let mut entry = json::parse(raw.as_bytes()).ok()?;
            entry["provider"] = Value::from(OPENAI);
            Some((id, OPENAI.to_owned(), Zeroizing::new(entry.to_string())))
        });
        [Some((id.clone(), provider, raw)), renamed].into_iter().flatten()
    })
}

/// The generations of a profile that a store holds, under this name or one that OpenClaw's doctor
/// turns into it, or has dropped; `None` when a store cannot be read.
fn in_use(fleet: &Fleet, id: &ProfileId) -> Option<BTreeSet<GenerationDigest>> {
    let mut used = BTreeSet::new();
    for store in fleet.to_be_sealed() {
        let content = store.content.as_ref().ok()?;
        let held = forms(content).filter(|(form, ..)| form == id);
        used.extend(held.filter_map(|(form, _, raw)| digest_of(&form, &raw)));
        let credential = content.document.credential(id);
        let fence = credential.as_ref().and_then(Credential::fence);
        used.extend(fence.map(GenerationDigest::of_fence));
    }
    Some(used)
}

/// The digest of a login by the text of its credential.
fn digest_of(id: &ProfileId, raw: &str) -> Option<GenerationDigest> {
    let value = json::parse(raw.as_bytes()).ok()?;
    GenerationDigest::of(id, &Credential::read(&value))
}

/// The accounts of a store of the sqlite era, as a file named after the database. Logins that
/// OpenClaw has set aside are left out: a fence is no token, and an earlier copy holds what it
/// stands for.
fn cell(
    fleet: &Fleet,
    store: &FleetStore,
    content: &StoreContent,
    state_dir: &Path,
) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let mut document = content.document.clone();
    let fenced = content.document.profiles();
    for (id, _) in fenced.filter(|(_, credential)| credential.fence().is_some()) {
        document.remove(&id).ok()?;
    }
    let database = if fleet.is_shared_database(store) {
        sqlite::shared_database(&store.state_dir)
    } else {
        sqlite::agent_database(&store.agent_dir)
    };
    let bytes = document.to_bytes().ok()?;
    let name = format!("{}{CELL}", name_in(state_dir, &database));
    Some((name, Zeroizing::new(bytes)))
}

fn access_of(credential: &Credential) -> Option<Fingerprint> {
    credential.as_oauth()?.access.as_ref().map(Secret::fingerprint)
}
