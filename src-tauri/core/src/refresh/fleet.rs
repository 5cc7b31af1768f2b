//! All OpenClaw installations of this machine, read once for one decision.

use std::path::Path;

use crate::environment::Environment;
use crate::error::Result;
use crate::install::{Era, Installation};
use crate::radar;
use crate::secret::Fingerprint;
use crate::settings::Settings;

use super::holders::{self, Holders};

/// The installations and the fingerprints outside them, at one moment.
#[derive(Debug)]
pub struct Fleet {
    /// The json-era installations, the current one first.
    pub installations: Vec<Installation>,
    external: Vec<radar::Holder>,
}

impl Fleet {
    /// Reads the current installation (an error there is an error) and, as far as they can be
    /// read, the others on this machine, all of them afresh.
    pub fn read(environment: &Environment, settings: &Settings, explicit: Option<&Path>) -> Result<Self> {
        let current = Installation::open(environment, settings, explicit)?;
        let mut external = radar::read_external(environment);
        let mut installations = Vec::new();
        for dir in current.other_state_dirs() {
            let Ok(other) = Installation::open(environment, settings, Some(dir)) else { continue };
            match other.era() {
                Era::Json | Era::Empty => installations.push(other),
                Era::Sqlite { .. } | Era::Mixed { .. } => {
                    external.extend(radar::read_sqlite_installation(other.state_dir(), &other.agent_dirs()));
                    installations.push(other);
                }
            }
        }
        installations.insert(0, current);
        Ok(Self { installations, external })
    }

    /// Who holds a generation, here and in other programs.
    pub fn holders(&self, generation: Fingerprint) -> Holders {
        holders::find(&self.installations, &self.external, generation)
    }

    /// The installation that a holder belongs to.
    pub fn installation(&self, state_dir: &Path) -> Option<&Installation> {
        self.installations.iter().find(|installation| installation.state_dir() == state_dir)
    }
}
