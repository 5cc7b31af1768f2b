//! A sealed copy of the stores whenever credentials changed, in either era.

use std::path::Path;

use zeroize::Zeroizing;

use super::Inner;
use crate::error::{Error, ErrorCode, Result};
use crate::install::Era;
use crate::refresh::{Fleet, FleetStore};
use crate::secret::{Fingerprint, Secret};
use crate::store::credential::Credential;
use crate::store::{StoreContent, sqlite};
use crate::vault::snapshots::Content;
use crate::vault::{Sealer, Snapshots, installation_dir};

impl Inner {
    /// Seals what is on disk now. A failure must not stop what the person asked for: it is told by
    /// `doctor`.
    pub(super) fn seal(&self, reason: &str) {
        if let Ok(fleet) = self.fleet() {
            let _ = self.seal_fleet(&fleet, reason);
        }
    }

    /// Seals what is on disk now and confirms from disk that every generation of the current
    /// installation is in a sealed copy: to be done before OpenClaw is asked for anything that may
    /// make it renew a login, which it drops when that fails (2026.9.6).
    ///
    /// # Errors
    /// `vault.unsealed` naming what has no copy; those of sealing.
    pub(super) fn ensure_sealed(&self, fleet: &Fleet) -> Result<()> {
        self.seal_fleet(fleet, "before-risk")?;
        let state_dir = fleet.current().state_dir.canonical();
        let own = installation_dir(&self.environment.data_dir(), &state_dir);
        let copies = Snapshots::open(&own).list()?.snapshots;
        let stores = fleet.own().filter_map(|store| store.content.as_ref().ok());
        let mut logins = stores.flat_map(|content| content.document.profiles());
        let lacking = logins.find(|(_, credential)| {
            credential
                .generation()
                .is_some_and(|generation| !copies.iter().any(|copy| copy.generations.contains(&generation)))
        });
        match lacking {
            None => Ok(()),
            Some((id, _)) => Err(Error::new(
                ErrorCode::VaultUnsealed,
                format!("there is no sealed copy of {id}"),
            )),
        }
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
        for store in fleet.own() {
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
