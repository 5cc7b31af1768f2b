//! All OpenClaw installations of this machine, read once for one decision.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::AgentId;
use crate::install::{self, Era, Installation};
use crate::radar;
use crate::secret::Fingerprint;
use crate::settings::Settings;
use crate::store::agent_store::StoreContent;

use super::holders::{self, Holders};

/// The installations, their json-era stores and the fingerprints elsewhere, at one moment. Read
/// without locks: a hint until it is read again under them.
#[derive(Debug)]
pub struct Fleet {
    /// The current one first.
    pub installations: Vec<Installation>,
    pub stores: Vec<FleetStore>,
    pub(super) external: radar::Found,
}

/// One agent's store.
#[derive(Debug)]
pub struct FleetStore {
    pub state_dir: PathBuf,
    pub agent: AgentId,
    pub agent_dir: PathBuf,
    pub content: Result<StoreContent>,
}

impl Fleet {
    /// Reads the current installation (an error there is an error) and, as far as they can be
    /// read, the others on this machine, all of them afresh.
    pub fn read(environment: &Environment, settings: &Settings, explicit: Option<&Path>) -> Result<Self> {
        let dirs = install::state_dirs(environment, settings, explicit);
        let mut installations: Vec<Installation> = Vec::new();
        for dir in &dirs {
            let known = installations
                .iter()
                .any(|known| known.state_dir.canonical() == dir.canonical());
            if installations.is_empty() || (!known && dir.path.is_dir()) {
                installations.push(Installation::open_dir(environment, settings, dir));
            }
        }
        if installations.is_empty() {
            return Err(Error::new(
                ErrorCode::StateDirMissing,
                "no OpenClaw state directory is known",
            ));
        }
        let mut external = radar::read_external(environment);
        let mut stores: Vec<FleetStore> = Vec::new();
        for installation in &installations {
            let dirs = installation.store_dirs();
            match installation.era {
                Era::Json | Era::Empty => {
                    for agent_dir in dirs {
                        if stores.iter().any(|store| store.agent_dir == agent_dir) {
                            continue;
                        }
                        let agent = installation
                            .agents
                            .iter()
                            .find(|agent| agent.agent_dir == agent_dir);
                        stores.push(FleetStore {
                            state_dir: installation.state_dir.path.clone(),
                            agent: agent.map_or_else(AgentId::main, |agent| agent.id.clone()),
                            content: installation.store(&agent_dir).read(),
                            agent_dir,
                        });
                    }
                }
                Era::Sqlite { .. } | Era::Mixed { .. } => {
                    external.append(radar::read_sqlite(&installation.state_dir.path, &dirs));
                }
            }
        }
        Ok(Self {
            installations,
            stores,
            external,
        })
    }

    /// The installation that is shown and changed.
    pub fn current(&self) -> &Installation {
        // invariant: `read` puts the current installation first.
        &self.installations[0]
    }

    /// Who holds a generation, here and in other programs.
    pub fn holders(&self, generation: Fingerprint) -> Holders {
        holders::find(self, generation)
    }

    /// The installation that a holder belongs to.
    pub fn installation(&self, state_dir: &Path) -> Option<&Installation> {
        self.installations
            .iter()
            .find(|installation| installation.state_dir.path == state_dir)
    }

    /// The store of an agent of the current installation.
    pub fn store_of(&self, agent_dir: &Path) -> Option<&FleetStore> {
        self.stores.iter().find(|store| store.agent_dir == agent_dir)
    }
}
