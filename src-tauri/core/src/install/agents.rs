//! The agents of an installation: configured ones, those that exist only on disk, and `main`,
//! which owns the inherited credentials whatever the default agent is.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::config::Config;
use super::paths::{self, StateDir};
use super::version::Version;
use crate::ids::AgentId;

/// First release known to inherit from `<state>/agents/main/agent` whatever variables say.
const INHERITED_FIXED: Version = Version::new(2026, 6, 1);
/// 2026.9.6 follows `OPENCLAW_AGENT_DIR` again (`resolveSharedMainAuthAgentDir`).
const INHERITED_MOVABLE: Version = Version::new(2026, 8, 0);

/// An isolated user of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Normalised id.
    pub id: AgentId,
    /// Display name, if configured.
    pub name: Option<String>,
    /// Whether OpenClaw uses it when no agent is named.
    pub is_default: bool,
    /// The directory of its store.
    pub agent_dir: PathBuf,
    /// Whether it stands in openclaw.json; otherwise it was found on disk, or is `main`.
    pub configured: bool,
    /// Where it works.
    pub workspace: PathBuf,
    /// What it answers, as `telegram accountId=work`.
    pub bindings: Vec<String>,
}

/// All agents: configured ones in the file's order, then `main`, then those found on disk by
/// name.
pub(super) fn agents(state_dir: &StateDir, config: &Config, newest: Option<Version>) -> Vec<Agent> {
    let default = default_agent(config);
    let mut ids: Vec<(AgentId, bool)> = config
        .agents
        .iter()
        .map(|entry| (entry.id.clone(), true))
        .collect();
    let found = std::iter::once(AgentId::main()).chain(on_disk(state_dir));
    for id in found {
        if ids.iter().all(|(known, _)| *known != id) {
            ids.push((id, false));
        }
    }
    ids.into_iter()
        .map(|(id, configured)| Agent {
            name: config.agent(&id).and_then(|entry| entry.name.clone()),
            is_default: id == default,
            agent_dir: agent_dir(state_dir, config, &id, newest),
            configured,
            workspace: workspace(state_dir, config, &id, id == default, newest),
            bindings: config
                .bindings
                .iter()
                .filter(|binding| binding.agent == id)
                .map(|binding| binding.description.clone())
                .collect(),
            id,
        })
        .collect()
}

/// The first with `default: true`, else the first, else `main`.
pub(super) fn default_agent(config: &Config) -> AgentId {
    let chosen = config.agents.iter().find(|entry| entry.default);
    chosen
        .or(config.agents.first())
        .map_or_else(AgentId::main, |entry| entry.id.clone())
}

/// The directory whose store other agents copy or read through to: `OPENCLAW_AGENT_DIR` or
/// `PI_CODING_AGENT_DIR`, else `<state>/agents/main/agent`; 2026.6.1 knows only the last
/// (`models status --agent work`, observed with 2026.2.17, 2026.4.29 and 2026.6.1). `agentDir` of
/// the configured `main` does not move it. From 2026.8 on the shared database may take its place.
pub(super) fn inherited_dir(state_dir: &StateDir, newest: Option<Version>) -> PathBuf {
    let fixed = INHERITED_FIXED..INHERITED_MOVABLE;
    moved_main(state_dir, newest)
        .filter(|_| !newest.is_some_and(|version| fixed.contains(&version)))
        .unwrap_or_else(|| usual_dir(state_dir, &AgentId::main()))
}

/// Every directory of this installation that may hold a store, each once: those of the agents,
/// the inherited one, all that lie on disk under whatever name, and the legacy `<state>/agent`.
pub(super) fn store_dirs(state_dir: &StateDir, agents: &[Agent], newest: Option<Version>) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    let on_disk = directories(state_dir).map(|name| state_dir.path.join("agents").join(name).join("agent"));
    let all = agents
        .iter()
        .map(|agent| agent.agent_dir.clone())
        .chain([inherited_dir(state_dir, newest)])
        .chain([usual_dir(state_dir, &AgentId::main())])
        .chain(on_disk)
        .chain([state_dir.legacy_agent_dir()]);
    let mut places = HashSet::new();
    for dir in all {
        if places.insert(paths::canonical(&dir)) {
            dirs.push(dir);
        }
    }
    dirs
}

fn agent_dir(state_dir: &StateDir, config: &Config, id: &AgentId, newest: Option<Version>) -> PathBuf {
    let moved = id.is_main().then(|| moved_main(state_dir, newest)).flatten();
    let configured = || {
        let entry = config.agent(id)?;
        Some(state_dir.user_path(entry.agent_dir.as_deref()?))
    };
    moved
        .or_else(configured)
        .unwrap_or_else(|| usual_dir(state_dir, id))
}

fn moved_main(state_dir: &StateDir, newest: Option<Version>) -> Option<PathBuf> {
    let environment = &state_dir.environment;
    let pi = || {
        environment
            .var("PI_CODING_AGENT_DIR")
            .filter(|_| newest.is_none_or(|version| version < INHERITED_FIXED))
    };
    let dir = environment.var("OPENCLAW_AGENT_DIR").or_else(pi)?;
    Some(state_dir.user_path(dir))
}

fn usual_dir(state_dir: &StateDir, id: &AgentId) -> PathBuf {
    state_dir.path.join("agents").join(id.as_str()).join("agent")
}

/// Agents with a directory of their own. A name that OpenClaw would write otherwise cannot be
/// addressed by it and is no agent.
fn on_disk(state_dir: &StateDir) -> impl Iterator<Item = AgentId> {
    directories(state_dir).filter_map(|name| {
        let id = AgentId::normalize(&name);
        (id.as_str() == name).then_some(id)
    })
}

/// Names in `<state>/agents` that have an `agent` directory, sorted.
fn directories(state_dir: &StateDir) -> impl Iterator<Item = String> {
    let dir = state_dir.path.join("agents");
    let mut names: Vec<String> = fs::read_dir(&dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| dir.join(name).join("agent").is_dir())
        .collect();
    names.sort();
    names.into_iter()
}

/// As `agents list --json` of 2026.2.17 and 2026.6.1 prints it: the defaults' workspace belongs
/// to the default agent; others get a directory inside it (2026.2.17: in the state directory).
fn workspace(
    state_dir: &StateDir,
    config: &Config,
    id: &AgentId,
    is_default: bool,
    newest: Option<Version>,
) -> PathBuf {
    let own = config.agent(id).and_then(|entry| entry.workspace.as_deref());
    if let Some(own) = own {
        return state_dir.user_path(own);
    }
    let shared = config
        .default_workspace
        .as_deref()
        .map(|dir| state_dir.user_path(dir));
    let old = newest.is_some_and(|version| version < Version::new(2026, 4, 29));
    match shared {
        Some(shared) if is_default => shared,
        Some(shared) if !old => shared.join(id.as_str()),
        None if is_default => {
            let profile = state_dir
                .environment
                .var("OPENCLAW_PROFILE")
                .filter(|profile| !profile.eq_ignore_ascii_case("default"));
            let name = profile.map_or_else(
                || "workspace".to_owned(),
                |profile| format!("workspace-{profile}"),
            );
            paths::openclaw_home(&state_dir.environment)
                .join(".openclaw")
                .join(name)
        }
        _ => state_dir.path.join(format!("workspace-{id}")),
    }
}

#[cfg(test)]
mod tests;
