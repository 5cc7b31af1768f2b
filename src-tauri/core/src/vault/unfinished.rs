//! A restore that has begun: made before the first database is written and removed after the last,
//! so that a crash in between is seen and the same restore finished. Digests and ids only.

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
    /// The one of an installation, if any. A record that cannot be read is none: the fences on disk
    /// are the truth.
    pub fn load(installation_dir: &Path) -> Option<Self> {
        let bytes = private_file::read(&path_in(installation_dir), LIMIT).ok()??;
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
        let bytes = serde_json::to_vec(&wire)
            .map_err(|error| Error::new(ErrorCode::Internal, "a record has no JSON").with_source(error))?;
        private_file::write(&path_in(installation_dir), &bytes)
    }

    /// It is finished.
    ///
    /// # Errors
    /// `vault.failed`.
    pub fn remove(installation_dir: &Path) -> Result<()> {
        private_file::remove(&path_in(installation_dir))
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

fn path_in(installation_dir: &Path) -> PathBuf {
    installation_dir.join("restore.json")
}
