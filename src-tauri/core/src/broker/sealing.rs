//! A sealed copy of the stores whenever credentials changed, and one of each OAuth generation, in
//! either era. Engines seal at each look, before anything else is done with what it found; a
//! process that only shows (`kalit status`) writes nothing, so what only such a process saw has no
//! copy.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use zeroize::Zeroizing;

use super::Inner;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::ProfileId;
use crate::install::Era;
use crate::refresh::{Fleet, FleetStore};
use crate::secret::{Fingerprint, Secret};
use crate::store::credential::Credential;
use crate::store::{Revision, StoreContent, sqlite};
use crate::vault::logins::Login;
use crate::vault::snapshots::Content;
use crate::vault::{GenerationDigest, SealedLogins, Sealer, Snapshots, installation_dir};

/// How many logins one look of an engine seals at most: each is synced to the disk, and a first
/// look at thousands must not keep the others waiting.
const MOST_AT_ONCE: usize = 250;

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
        let sealed = self.sealed_logins(fleet)?;
        for store in fleet.to_be_sealed() {
            let Ok(content) = &store.content else {
                let store = store.agent_dir.display();
                let what = format!("the logins in {store} cannot be read, so none of them is sealed");
                return Err(Error::new(ErrorCode::VaultUnsealed, what));
            };
            for (id, credential) in content.document.profiles() {
                let lacks = GenerationDigest::of(&id, &credential)
                    .is_some_and(|digest| !sealed.logins.is_on_disk(&digest));
                if lacks {
                    let what = format!("there is no sealed copy of {id}");
                    return Err(Error::new(ErrorCode::VaultUnsealed, what));
                }
            }
        }
        Ok(())
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
        for store in fleet.to_be_sealed() {
            let Ok(content) = &store.content else { continue };
            if sealed.revisions.get(&store.agent_dir) == Some(&content.revision) {
                continue;
            }
            for (id, credential) in content.document.profiles() {
                let Some(digest) = GenerationDigest::of(&id, &credential) else {
                    continue;
                };
                let (Some(common), Some(raw)) = (credential.common(), content.document.raw(&id)) else {
                    continue;
                };
                if sealed.logins.find(&digest).is_some() {
                    continue;
                }
                if pace == Pace::Some && written == MOST_AT_ONCE {
                    return Ok(false);
                }
                let sealer = match &mut sealer {
                    Some(sealer) => sealer,
                    none => none.insert(Sealer::open(&self.environment.data_dir())?),
                };
                let provider = &common.provider_text;
                let login = Login {
                    id: &id,
                    provider,
                    digest,
                    credential: &raw,
                };
                sealed.logins.seal(sealer, self.now(), &login)?;
                sealed.logins.drop_old(&id, provider, || in_use(fleet, &id))?;
                written += 1;
            }
            sealed.revisions.insert(store.agent_dir.clone(), content.revision);
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
        let installation = fleet.current();
        if matches!(installation.era, Era::Empty) {
            return Ok(());
        }
        let state_dir = installation.state_dir.canonical();
        let mut files = Vec::new();
        let mut generations = Vec::new();
        let mut digest = Zeroizing::new(String::new());
        for store in fleet.to_be_sealed() {
            let Ok(content) = &store.content else { continue };
            for (id, credential) in content.document.profiles() {
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
            let agent_store = installation.store(&store.agent_dir);
            for path in [agent_store.profiles_path(), agent_store.state_path()] {
                if let Ok(bytes) = std::fs::read(&path) {
                    let name = path.strip_prefix(&state_dir).unwrap_or(&path);
                    files.push((name.display().to_string(), Zeroizing::new(bytes)));
                }
            }
        }
        if generations.is_empty() {
            return Ok(());
        }
        generations.sort();
        generations.dedup();
        let data_dir = self.environment.data_dir();
        Snapshots::open(&installation_dir(&data_dir, &state_dir)).seal(
            &Sealer::open(&data_dir)?,
            self.generations(),
            &Content {
                at: self.now(),
                reason,
                credentials: Secret::new(digest.as_str()).fingerprint(),
                generations: &generations,
                files: &files,
            },
        )?;
        Ok(())
    }
}

/// The generations of a profile that a store holds or has dropped; `None` when a store cannot be
/// read.
fn in_use(fleet: &Fleet, id: &ProfileId) -> Option<BTreeSet<GenerationDigest>> {
    let mut used = BTreeSet::new();
    for store in fleet.to_be_sealed() {
        let credential = store.content.as_ref().ok()?.document.credential(id);
        used.extend(credential.and_then(|credential| match credential.fence() {
            Some(fence) => Some(GenerationDigest::of_fence(fence)),
            None => GenerationDigest::of(id, &credential),
        }));
    }
    Some(used)
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
    let name = database.strip_prefix(state_dir).unwrap_or(&database);
    let bytes = document.to_bytes().ok()?;
    Some((format!("{}.profiles.json", name.display()), Zeroizing::new(bytes)))
}

fn access_of(credential: &Credential) -> Option<Fingerprint> {
    credential.as_oauth()?.access.as_ref().map(Secret::fingerprint)
}
