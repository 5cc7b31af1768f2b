//! All OpenClaw installations of this machine, read once for one decision.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::Result;
use crate::ids::AgentId;
use crate::install::{Era, Installation};
use crate::radar;
use crate::secret::Fingerprint;
use crate::settings::Settings;
use crate::store::agent_store::{AgentStore, StoreContent};

use super::holders::{self, Holders};

/// The installations, their json-era stores and the fingerprints elsewhere, at one moment. Read
/// without locks: a hint until it is read again under them.
#[derive(Debug)]
pub struct Fleet {
    /// The current one first.
    pub installations: Vec<Installation>,
    pub stores: Vec<FleetStore>,
    pub(super) external: Vec<radar::Holder>,
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
        let current = Installation::open(environment, settings, explicit)?;
        let others: Vec<Installation> = current
            .other_state_dirs()
            .iter()
            .filter_map(|dir| Installation::open(environment, settings, Some(dir)).ok())
            .collect();
        let mut external = radar::read_external(environment);
        let mut stores: Vec<FleetStore> = Vec::new();
        let installations: Vec<Installation> = std::iter::once(current).chain(others).collect();
        for installation in &installations {
            match installation.era() {
                Era::Json | Era::Empty => {
                    for agent in installation.agents() {
                        if stores.iter().any(|store| store.agent_dir == agent.agent_dir) {
                            continue;
                        }
                        stores.push(FleetStore {
                            state_dir: installation.state_dir().to_path_buf(),
                            agent: agent.id.clone(),
                            agent_dir: agent.agent_dir.clone(),
                            content: AgentStore::new(&agent.agent_dir).read(),
                        });
                    }
                }
                Era::Sqlite { .. } | Era::Mixed { .. } => {
                    let dirs: Vec<PathBuf> =
                        installation.agents().iter().map(|agent| agent.agent_dir.clone()).collect();
                    external.extend(radar::read_sqlite_installation(installation.state_dir(), &dirs));
                }
            }
        }
        Ok(Self { installations, stores, external })
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
        self.installations.iter().find(|installation| installation.state_dir() == state_dir)
    }

    /// The store of an agent of the current installation.
    pub fn store_of(&self, agent_dir: &Path) -> Option<&FleetStore> {
        self.stores.iter().find(|store| store.agent_dir == agent_dir)
    }
}
