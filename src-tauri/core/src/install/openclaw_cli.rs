//! OpenClaw's own command line, for what only OpenClaw may change: adding an agent. No secret is
//! ever an argument, the environment is cleared but for what OpenClaw needs, and what a command
//! claims is read back from disk.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::Installation;
use super::program::{self, Program};
use crate::ids::AgentId;
use crate::{Error, ErrorCode, Result};

/// Commands take 1.5 to 14 s (2026.2.17 to 2026.9.6, observed).
const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_OUTPUT: u64 = 1024 * 1024;

/// Variables that a command gets beside OpenClaw's own.
const PASSED_ON: [&str; 29] = [
    "HOME",
    "USERPROFILE",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SystemRoot",
    "APPDATA",
    "LOCALAPPDATA",
    "PATHEXT",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "NODE_EXTRA_CA_CERTS",
    "NVM_DIR",
    "VOLTA_HOME",
    "PNPM_HOME",
    "OPENCLAW_HOME",
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_AGENT_DIR",
    "OPENCLAW_OAUTH_DIR",
    "OPENCLAW_INCLUDE_ROOTS",
    "OPENCLAW_PROFILE",
    "PI_CODING_AGENT_DIR",
];

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
            format!("there is an agent {id} already"),
        ));
    }
    let Some(program) = &installation.program else {
        return Err(
            Error::new(ErrorCode::OpenClawMissing, "no openclaw program was found").with_hint(format!(
                "Run this where OpenClaw is installed: {}",
                agents_add_by_hand(installation, id, workspace)
            )),
        );
    };
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
    let answer = run(installation, program, &arguments).await?;
    let added = answer
        .get("agentId")
        .and_then(Value::as_str)
        .map(AgentId::normalize)
        .ok_or_else(|| failed("its answer names no agent"))?;
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
        None => Err(failed(
            "it said that the agent was added, but openclaw.json does not name it",
        )),
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

/// Runs a command that prints JSON on its standard output.
async fn run(installation: &Installation, program: &Program, arguments: &[&str]) -> Result<Value> {
    let mut command = command(installation, program, arguments);
    let mut child = command.spawn().map_err(|error| {
        failed(&format!(
            "{} cannot be started ({})",
            program.launcher.display(),
            error.kind()
        ))
        .with_source(error)
    })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finished = tokio::time::timeout(TIMEOUT, async {
        tokio::join!(child.wait(), read_some(stdout), read_some(stderr))
    })
    .await;
    let Ok((status, stdout, stderr)) = finished else {
        // Dropping the child ends it.
        return Err(failed(&format!("no answer within {} s", TIMEOUT.as_secs())));
    };
    let status = status.map_err(|error| failed("its end was not seen").with_source(error))?;
    if !status.success() {
        let code = status
            .code()
            .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        let said = last_line(&stderr).or_else(|| last_line(&stdout));
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        return Err(failed(&format!("it ended with {code}{said}")));
    }
    // 2026.2.17 prints notices before the JSON on standard output.
    let text = String::from_utf8_lossy(&stdout);
    let starts = text
        .match_indices('{')
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || text[..*at].ends_with('\n'));
    starts
        .map(|at| &text[at..])
        .find_map(|json| serde_json::from_str(json.trim_end()).ok())
        .ok_or_else(|| failed("its answer is not JSON"))
}

fn command(installation: &Installation, program: &Program, arguments: &[&str]) -> Command {
    let environment = &installation.state_dir.environment;
    let script = program
        .launcher
        .extension()
        .is_some_and(|extension| extension == "mjs" || extension == "js");
    let mut command = if script {
        Command::new(node(installation))
    } else {
        Command::new(&program.launcher)
    };
    if script {
        command.arg(&program.launcher);
    }
    command
        .args(arguments)
        .env_clear()
        .envs(
            PASSED_ON
                .iter()
                .filter_map(|name| Some((*name, environment.var(name)?))),
        )
        .env("PATH", search_path(installation, program))
        .env("OPENCLAW_STATE_DIR", &installation.state_dir.path)
        .env("OPENCLAW_DISABLE_AUTO_UPDATE", "1")
        .env("NO_COLOR", "1")
        .current_dir(environment.home())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// `PATH` with the launcher's directory in front: a version manager keeps `node` beside it.
fn search_path(installation: &Installation, program: &Program) -> String {
    let mut dirs: Vec<PathBuf> = program
        .launcher
        .parent()
        .map(Path::to_owned)
        .into_iter()
        .collect();
    dirs.extend(program::path_dirs(&installation.environment));
    let separator = if cfg!(windows) { ";" } else { ":" };
    let dirs: Vec<_> = dirs
        .iter()
        .map(|dir| dir.to_string_lossy().into_owned())
        .collect();
    dirs.join(separator)
}

/// The first `node` on `PATH`, found without the working directory.
fn node(installation: &Installation) -> PathBuf {
    let name = if cfg!(windows) { "node.exe" } else { "node" };
    program::path_dirs(&installation.environment)
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// Reads to the end, keeping at most [`MAX_OUTPUT`] bytes.
async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        // What cannot be read is missing in the answer, which is then refused.
        let _ = (&mut stream).take(MAX_OUTPUT).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    kept
}

/// The last line a person can read, not a stack trace's; long words, which may be keys, are left
/// out.
fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let told = |line: &&str| {
        let line = line.trim();
        line.len() > 1 && !line.starts_with("at ") && !line.starts_with("- ")
    };
    let line = text.lines().rev().find(told)?;
    let words: Vec<&str> = line
        .split_whitespace()
        .map(|word| {
            let like_a_key = word.len() > 40 || word.contains("sk-") || word.contains("eyJ");
            if like_a_key { "…" } else { word }
        })
        .collect();
    let plain: String = words
        .join(" ")
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    Some(plain.trim_end_matches('.').to_owned())
}

fn failed(why: &str) -> Error {
    Error::new(ErrorCode::OpenClawFailed, format!("openclaw: {why}"))
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(all(test, unix))]
mod tests;
