//! A restore that has begun: made before the first database is written and removed after the last,
//! so that a crash in between is seen and the same restore finished. Digests and ids only.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::logins::GenerationDigest;
use super::private_file;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AgentId, ProfileId};
use crate::store::FenceDigest;

const VERSION: u32 = 1;
const LIMIT: u64 = 64 * 1024;

/// Which login was being put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedRestore {
    pub agent: AgentId,
    pub profile_id: ProfileId,
    pub digest: GenerationDigest,
    /// Of the fence that stood there: OpenClaw's later attempts carry others.
    pub claim: String,
    pub at: Timestamp,
}

impl UnfinishedRestore {
    /// Those of an installation, the oldest first. A record that cannot be read is none: the fences
    /// on disk are the truth.
    pub fn load_all(installation_dir: &Path) -> Vec<Self> {
        let listing = fs::read_dir(dir_in(installation_dir)).into_iter().flatten();
        let mut all: Vec<Self> = listing
            .filter_map(|item| Self::load(&item.ok()?.path()))
            .collect();
        all.sort_by_key(|one| one.at);
        all
    }

    fn load(path: &Path) -> Option<Self> {
        if path.extension()? != "json" {
            return None;
        }
        let bytes = private_file::read(path, LIMIT).ok()??;
        let wire: Wire = serde_json::from_slice(&bytes).ok()?;
        if wire.version != VERSION {
            return None;
        }
        Some(Self {
            agent: AgentId::normalize(&wire.agent),
            profile_id: ProfileId::parse(&wire.profile_id)?,
            digest: GenerationDigest {
                refresh: FenceDigest::parse(&wire.refresh)?,
                access: FenceDigest::parse(&wire.access)?,
            },
            claim: wire.claim,
            at: wire.at,
        })
    }

    /// Durable on return.
    ///
    /// # Errors
    /// `vault.failed`.
    pub fn store(&self, installation_dir: &Path) -> Result<()> {
        let wire = Wire {
            version: VERSION,
            agent: self.agent.to_string(),
            profile_id: self.profile_id.to_string(),
            refresh: self.digest.refresh.to_string(),
            access: self.digest.access.to_string(),
            claim: self.claim.clone(),
            at: self.at,
        };
        let bytes = serde_json::to_vec(&wire).map_err(|error| {
            Error::new(ErrorCode::Internal, say!("a record has no JSON")).with_source(error)
        })?;
        private_file::write(&self.path_in(installation_dir), &bytes)
    }

    /// It is finished.
    ///
    /// # Errors
    /// `vault.failed`.
    pub fn remove(&self, installation_dir: &Path) -> Result<()> {
        private_file::remove(&self.path_in(installation_dir))
    }

    /// One file for each generation: restores of several logins may be unfinished.
    fn path_in(&self, installation_dir: &Path) -> PathBuf {
        dir_in(installation_dir).join(format!("{}.json", self.digest.refresh))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    version: u32,
    agent: String,
    profile_id: String,
    refresh: String,
    access: String,
    claim: String,
    at: Timestamp,
}

fn dir_in(installation_dir: &Path) -> PathBuf {
    installation_dir.join("restores")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::FencedToken;

    fn begun(name: &str, at: i64) -> UnfinishedRestore {
        let id = ProfileId::parse(&format!("openai:{name}")).unwrap();
        let digest = |token| FenceDigest::of(&id, "openai", token, &crate::secret::Secret::new(name));
        UnfinishedRestore {
            agent: AgentId::main(),
            digest: GenerationDigest {
                refresh: digest(FencedToken::Refresh),
                access: digest(FencedToken::Access),
            },
            profile_id: id,
            claim: "0123456789abcdef".repeat(2),
            at: Timestamp::from_millis(at),
        }
    }

    #[test]
    fn each_restore_that_broke_off_keeps_its_own_record() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(UnfinishedRestore::load_all(dir.path()), []);
        let (first, second) = (begun("ann", 1), begun("bea", 2));
        second.store(dir.path()).unwrap();
        first.store(dir.path()).unwrap();
        fs::write(dir.path().join("restores/torn.json"), "{").unwrap();
        assert_eq!(
            UnfinishedRestore::load_all(dir.path()),
            [first.clone(), second.clone()]
        );
        first.remove(dir.path()).unwrap();
        assert_eq!(UnfinishedRestore::load_all(dir.path()), [second]);
    }
}
