//! What is installed: state directories, agents, configuration, which OpenClaw, which era.
//! Everything is read from disk, nothing in OpenClaw's directories is written, no program is
//! started.

pub mod agents;
pub mod config;
mod document;
pub mod era;
pub mod evidence;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod gateway_unit;
pub mod paths;
pub mod program;
pub mod rules;
pub mod sessions;
mod version;

use std::fmt;
use std::path::{Path, PathBuf};

pub use agents::Agent;
pub use config::Config;
pub use era::Era;
pub use evidence::{Evidence, EvidenceSource, Version};
pub(crate) use paths::canonical;
pub use paths::{StateDir, StateDirSource};
pub use program::Program;
pub use rules::{RuleSet, Rules};

use crate::environment::Environment;
use crate::ids::AgentId;
use crate::settings::Settings;
use crate::store::{AgentStore, OrderFile};
use crate::view::Notice;
use crate::{Error, ErrorCode, Result};

/// One state directory with the OpenClaw that uses it, as read at one moment. Cheap to read
/// again: no process is started.
#[derive(Clone)]
pub struct Installation {
    /// The state directory.
    pub state_dir: StateDir,
    /// Configured, found and implied agents; `main` is always among them.
    pub agents: Vec<Agent>,
    /// The configuration; defaults when it is missing or unusable.
    pub config: Config,
    /// The file that was read, or would be.
    pub config_path: PathBuf,
    /// Why the configuration could not be used, if so.
    pub config_failure: Option<Finding>,
    /// Parts of the configuration that were left out.
    pub notices: Vec<Finding>,
    /// Which OpenClaw.
    pub evidence: Evidence,
    /// How credentials are stored.
    pub era: Era,
    /// The `openclaw` that would be started, if one was found.
    pub program: Option<Program>,
    /// As they were when it was read.
    store_dirs: Vec<PathBuf>,
    environment: Environment,
    settings: Settings,
}

/// Something wrong that does not stop everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stable code.
    pub code: ErrorCode,
    /// What is wrong: lower case, no full stop, nothing secret.
    pub message: String,
}

/// The installations of all state directories of this user that exist; the current one is first,
/// whether it exists or not.
pub fn installations(
    environment: &Environment,
    settings: &Settings,
    explicit: Option<&Path>,
) -> Vec<Installation> {
    let programs = program::installed(environment, settings);
    let dirs = paths::state_dirs(environment, settings, explicit, newest_of(&programs));
    let dirs = dirs.iter().enumerate();
    dirs.filter(|(position, dir)| *position == 0 || dir.path.is_dir())
        .map(|(_, dir)| Installation::read(environment, settings, dir, programs.clone()))
        .collect()
}

impl Installation {
    /// Reads the current installation: `explicit` (`--state-dir`), else the setting, the
    /// environment, an installed gateway service, the default. An unusable configuration is no
    /// error: see [`Installation::config_failure`].
    ///
    /// # Errors
    /// `state_dir.missing` when not even a home directory is known.
    pub fn open(environment: &Environment, settings: &Settings, explicit: Option<&Path>) -> Result<Self> {
        let programs = program::installed(environment, settings);
        let dirs = paths::state_dirs(environment, settings, explicit, newest_of(&programs));
        let current = dirs.into_iter().next().ok_or_else(|| {
            Error::new(
                ErrorCode::StateDirMissing,
                say!("no OpenClaw state directory is known"),
            )
        })?;
        Ok(Self::read(environment, settings, &current, programs))
    }

    /// Reads the installation of a state directory.
    fn open_dir(environment: &Environment, settings: &Settings, state_dir: &StateDir) -> Self {
        let programs = program::installed(environment, settings);
        Self::read(environment, settings, state_dir, programs)
    }

    fn read(
        environment: &Environment,
        settings: &Settings,
        state_dir: &StateDir,
        mut programs: Vec<Program>,
    ) -> Self {
        let place = state_dir.canonical();
        let of_gateway = gateway_unit::installed(environment)
            .into_iter()
            .filter(|unit| paths::canonical(&unit.state_dir(environment, true)) == place)
            .filter_map(|unit| program::of_unit(&unit));
        for program in of_gateway {
            if programs.iter().all(|known| known.package != program.package) {
                programs.push(program);
            }
        }
        let installed = newest_of(&programs);
        let read = Config::read(state_dir, installed);
        // Agents decide where databases lie, databases may tell the version that decides about
        // agents: the directories are the same but for main's, of which both are looked into.
        let known = installed.max(read.config.last_touched_version);
        let agents = agents::agents(state_dir, &read.config, known);
        let store_dirs = agents::store_dirs(state_dir, &agents, known);
        let markers = era::Markers::look(&state_dir.path, &store_dirs);
        let evidence = Evidence::gather(&programs, &read, &markers);
        let era = era::decide(&evidence, &markers, &store_dirs);
        let store_dirs = if evidence.newest == known {
            store_dirs
        } else {
            agents::store_dirs(state_dir, &agents, evidence.newest)
        };
        Self {
            store_dirs,
            state_dir: state_dir.clone(),
            agents,
            era,
            program: programs.into_iter().next(),
            config: read.config,
            config_path: read.path,
            config_failure: read.failure,
            notices: read.notices,
            evidence,
            environment: environment.clone(),
            settings: settings.clone(),
        }
    }

    /// Reads everything again.
    #[must_use]
    pub fn reload(&self) -> Self {
        Self::open_dir(&self.environment, &self.settings, &self.state_dir)
    }

    /// Names Kalit's own directory for this installation: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        self.state_dir.installation_id()
    }

    /// An agent by its id.
    ///
    /// # Errors
    /// `agent.unknown`.
    pub fn agent(&self, id: &AgentId) -> Result<&Agent> {
        self.agents.iter().find(|agent| agent.id == *id).ok_or_else(|| {
            Error::new(
                ErrorCode::AgentUnknown,
                say!(
                    "there is no agent {id} in {path}",
                    id,
                    path = self.state_dir.path.display()
                ),
            )
        })
    }

    /// The agent that OpenClaw uses when none is named.
    pub fn default_agent(&self) -> AgentId {
        agents::default_agent(&self.config)
    }

    /// The directory whose store other agents copy (up to 2026.4.21) or read through to. Usually
    /// main's; a configured `agentDir` of main does not move it.
    pub fn inherited_store_dir(&self) -> PathBuf {
        agents::inherited_dir(&self.state_dir, self.evidence.newest)
    }

    /// Every directory of this installation that may hold a store: where holders of a generation
    /// are looked for.
    pub fn store_dirs(&self) -> Vec<PathBuf> {
        self.store_dirs.clone()
    }

    /// The store of one of its directories, with what is known about the order file.
    pub fn store(&self, agent_dir: &Path) -> AgentStore {
        AgentStore::new(agent_dir).with_order_file(match self.rules().auth_state_file {
            Some(true) => OrderFile::State,
            Some(false) | None => OrderFile::Profiles,
        })
    }

    /// How the releases in use behave.
    pub fn rules(&self) -> Rules {
        Rules::of(&self.evidence)
    }

    /// The models tried when nothing of an agent's own one is usable.
    pub fn fallback_models(&self, agent: &AgentId) -> &[String] {
        self.config.fallbacks(agent, self.evidence.newest)
    }

    /// The environment this process was started with.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// To be asked before every write: looks at the disk again, since the person may have
    /// upgraded OpenClaw in the meantime.
    ///
    /// # Errors
    /// `era.sqlite`, `era.mixed`; `state_dir.missing` when neither OpenClaw nor the directory is
    /// there.
    pub fn ensure_json_era(&self) -> Result<()> {
        let now = self.reload();
        let dir = now.state_dir.path.display();
        match &now.era {
            Era::Json => Ok(()),
            Era::Empty if now.state_dir.path.is_dir() => Ok(()),
            Era::Empty => Err(Error::new(
                ErrorCode::StateDirMissing,
                say!("{dir} does not exist and no OpenClaw was found", dir),
            )),
            Era::Sqlite { why } => Err(Error::new(
                ErrorCode::EraSqlite,
                say!("{dir} is managed by OpenClaw 2026.6.5 or later: {why}", dir, why),
            )),
            Era::Mixed { .. } => Err(now.mixed()),
        }
    }

    /// `era.mixed`: what a half-migrated installation refuses with.
    pub(crate) fn mixed(&self) -> Error {
        let dir = self.state_dir.path.display();
        let why = match &self.era {
            Era::Mixed { why } => why.clone(),
            Era::Json | Era::Sqlite { .. } | Era::Empty => say!("it was a moment ago"),
        };
        Error::new(
            ErrorCode::EraMixed,
            say!("{dir} holds JSON and SQLite stores: {why}", dir, why),
        )
    }
}

impl fmt::Debug for Installation {
    /// Without the environment, which holds other programs' secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Installation")
            .field("state_dir", &self.state_dir)
            .field("era", &self.era)
            .field("newest", &self.evidence.newest)
            .field("agents", &self.agents)
            .finish_non_exhaustive()
    }
}

impl Finding {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// As a failure.
    pub fn to_error(&self) -> Error {
        Error::new(self.code, &self.message)
    }

    /// As a notice of the view.
    pub fn to_notice(&self) -> Notice {
        Notice::new(self.code, &self.message)
    }
}

fn newest_of(programs: &[Program]) -> Option<Version> {
    programs.iter().filter_map(|program| program.version).max()
}

#[cfg(test)]
mod tests;
