//! Adding an agent.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cli::{Cli, failed};
use crate::ids::AgentId;
use crate::install::Installation;
use crate::{Error, ErrorCode, Result};

/// An agent that OpenClaw added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedAgent {
    /// The id OpenClaw gave it.
    pub id: AgentId,
    /// The directory of its store.
    pub agent_dir: PathBuf,
    /// Where it works.
    pub workspace: PathBuf,
    /// The release copies main's accounts, tokens included, into this agent at its first use.
    pub copies_main_store: bool,
}

/// Runs `openclaw agents add <id> --non-interactive --workspace <dir> --json` and reads the
/// configuration back.
///
/// # Errors
/// `openclaw.missing` with what to run by hand; `openclaw.failed`; `usage` when there is such an
/// agent already or the name is reserved.
pub async fn add_agent(installation: &Installation, id: &AgentId, workspace: &Path) -> Result<AddedAgent> {
    let taken = installation
        .agents
        .iter()
        .any(|agent| agent.id == *id && agent.configured);
    if taken || id.is_main() {
        return Err(Error::new(
            ErrorCode::Usage,
            say!("there is an agent {id} already", id),
        ));
    }
    let cli = Cli::of(installation).map_err(|error| {
        error.with_hint(say!(
            "Run this where OpenClaw is installed: {command}",
            command = agents_add_by_hand(installation, id, workspace)
        ))
    })?;
    let workspace = installation.state_dir.user_path(&workspace.to_string_lossy());
    let workspace_text = workspace.to_string_lossy();
    let arguments = [
        "agents",
        "add",
        id.as_str(),
        "--non-interactive",
        "--workspace",
        &workspace_text,
        "--json",
    ];
    let answer = cli.json(&arguments, None).await?;
    let added = answer
        .get("agentId")
        .and_then(Value::as_str)
        .map(AgentId::normalize)
        .ok_or_else(|| failed(&say!("its answer names no agent")))?;
    let now = installation.reload();
    match now
        .agents
        .iter()
        .find(|agent| agent.id == added && agent.configured)
    {
        Some(agent) => Ok(AddedAgent {
            id: added,
            agent_dir: agent.agent_dir.clone(),
            workspace: agent.workspace.clone(),
            copies_main_store: now.rules().copies_main_store,
        }),
        None => Err(failed(&say!(
            "it said that the agent was added, but openclaw.json does not name it"
        ))),
    }
}

/// The command a person can run instead, quoted for a POSIX shell.
pub fn agents_add_by_hand(installation: &Installation, id: &AgentId, workspace: &Path) -> String {
    let state_dir = installation.state_dir.path.to_string_lossy();
    let workspace = installation.state_dir.user_path(&workspace.to_string_lossy());
    format!(
        "OPENCLAW_STATE_DIR={} openclaw agents add {id} --non-interactive --workspace {}",
        quoted(&state_dir),
        quoted(&workspace.to_string_lossy())
    )
}

pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
