//! One run of OpenClaw's command line.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::redaction::redacted;
use crate::install::Installation;
use crate::install::program::Program;
use crate::secret::Secret;
use crate::settings::through_proxy;
use crate::{Error, ErrorCode, Result};

crate::keeps_raw_secret!(Said);

/// Commands take 1.5 to 15 s, on a busy machine several times that (2026.2.17 to 2026.9.6, observed).
pub(super) const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_OUTPUT: u64 = 1024 * 1024;
/// `CREATE_NO_WINDOW` (process creation flags of Windows): the tray has no console to lend.
#[cfg(windows)]
const NO_WINDOW: u32 = 0x0800_0000;

/// Variables that a command gets beside OpenClaw's own.
const PASSED_ON: [&str; 40] = [
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
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "OPENCLAW_HOME",
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_AGENT_DIR",
    "OPENCLAW_GATEWAY_PASSWORD",
    "OPENCLAW_GATEWAY_PORT",
    "OPENCLAW_GATEWAY_TOKEN",
    "OPENCLAW_OAUTH_DIR",
    "OPENCLAW_INCLUDE_ROOTS",
    "OPENCLAW_PROFILE",
    "PI_CODING_AGENT_DIR",
];

/// The OpenClaw of an installation, ready to be asked.
#[derive(Clone, Copy)]
pub(crate) struct Cli<'i> {
    installation: &'i Installation,
    program: &'i Program,
    reach: Reach,
}

/// Whether a command may talk to a running gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// As if a person had typed it.
    Gateway,
    /// The command finds no gateway: 2026.9.6 asks a running one to take up a change at once, and
    /// renews every login that has ended as it does so (observed). Left alone, the gateway sees
    /// the change when it next looks.
    Store,
}

/// A port on which nobody serves.
const NO_GATEWAY: &str = "1";

/// What a command said. May hold parts of secrets (`models status` shows eight characters of each
/// end of a key): never logged, never shown as it is.
pub(crate) struct Said {
    status: ExitStatus,
    stdout: Zeroizing<Vec<u8>>,
    stderr: Zeroizing<Vec<u8>>,
    /// What it was given.
    typed: Vec<Secret>,
}

impl<'i> Cli<'i> {
    /// # Errors
    /// `openclaw.missing`.
    pub fn of(installation: &'i Installation) -> Result<Self> {
        match &installation.program {
            Some(program) => Ok(Self {
                installation,
                program,
                reach: Reach::Gateway,
            }),
            None => Err(Error::new(
                ErrorCode::OpenClawMissing,
                say!("no openclaw program was found"),
            )),
        }
    }

    /// The same with another reach.
    pub fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Runs a command that prints JSON on its standard output and ends well. `input` goes to its
    /// standard input, followed by a line break.
    ///
    /// # Errors
    /// `openclaw.failed`, with what it said where that can be told.
    pub async fn json(&self, arguments: &[&str], input: Option<&Secret>) -> Result<Value> {
        self.run(arguments, input, TIMEOUT).await?.succeeded()?.json()
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// `openclaw.failed` when it cannot be started or does not end within `limit`.
    pub async fn run(&self, arguments: &[&str], input: Option<&Secret>, limit: Duration) -> Result<Said> {
        let mut command = self.command(arguments);
        command
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            failed(&say!(
                "{program} cannot be started ({kind})",
                program = self.program.launcher.display(),
                kind = error.kind()
            ))
            .with_source(error)
        })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut pipe), Some(secret)) = (stdin, input) {
                // A program that does not read its input closes the pipe: its answer tells.
                let _ = pipe.write_all(secret.expose().as_bytes()).await;
                let _ = pipe.write_all(b"\n").await;
            }
        };
        let finished = tokio::time::timeout(limit, async {
            tokio::join!(child.wait(), read_some(stdout), read_some(stderr), feed)
        })
        .await;
        let Ok((status, stdout, stderr, ())) = finished else {
            // Dropping the child ends it.
            return Err(failed(&say!(
                "no answer within {seconds} s",
                seconds = limit.as_secs()
            )));
        };
        let status = status.map_err(|error| failed(&say!("its end was not seen")).with_source(error))?;
        Ok(Said {
            status,
            stdout,
            stderr,
            typed: input.into_iter().cloned().collect(),
        })
    }

    /// The command with its cleared environment; ended when its handle is dropped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let environment = through_proxy(&self.installation.state_dir.environment);
        let launcher = &self.program.launcher;
        let script = launcher
            .extension()
            .is_some_and(|extension| extension == "mjs" || extension == "js");
        let mut command = if script {
            Command::new(node(self.installation))
        } else {
            Command::new(launcher)
        };
        if script {
            command.arg(launcher);
        }
        command
            .args(arguments)
            .env_clear()
            .envs(
                PASSED_ON
                    .iter()
                    .filter_map(|name| Some((*name, environment.var(name)?))),
            )
            // A version manager keeps `node` beside the launcher.
            .env("PATH", environment.program_path(launcher.parent()))
            .env("OPENCLAW_STATE_DIR", &self.installation.state_dir.path)
            .env("OPENCLAW_DISABLE_AUTO_UPDATE", "1")
            // One process, which ends when it is killed.
            .env("OPENCLAW_NO_RESPAWN", "1")
            .env("NO_COLOR", "1")
            .current_dir(environment.home())
            .kill_on_drop(true);
        #[cfg(windows)]
        command.creation_flags(NO_WINDOW);
        match self.reach {
            Reach::Gateway => {}
            Reach::Store => {
                command.env("OPENCLAW_GATEWAY_PORT", NO_GATEWAY);
            }
        }
        command
    }
}

impl Said {
    /// # Errors
    /// `openclaw.failed` with the last line it said, when it ended otherwise than well.
    pub fn succeeded(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        let end = self
            .status
            .code()
            .map_or_else(|| say!("a signal"), |code| say!("exit code {code}", code));
        let said = self
            .complaint()
            .or_else(|| last_line(&self.stderr, &self.typed))
            .or_else(|| last_line(&self.stdout, &self.typed));
        Err(failed(&match said {
            Some(line) => say!("it ended with {end}: {line}", end, line),
            None => say!("it ended with {end}", end),
        }))
    }

    /// `error.message` of an answer in JSON.
    fn complaint(&self) -> Option<String> {
        let answer = self.json().ok()?;
        last_line(
            answer.get("error")?.get("message")?.as_str()?.as_bytes(),
            &self.typed,
        )
    }

    /// The JSON on standard output; 2026.2.17 prints notices before it.
    ///
    /// # Errors
    /// `openclaw.failed` when there is none.
    pub fn json(&self) -> Result<Value> {
        let text = String::from_utf8_lossy(&self.stdout);
        let starts = text
            .match_indices('{')
            .map(|(at, _)| at)
            .filter(|at| *at == 0 || text[..*at].ends_with('\n'));
        starts
            .map(|at| &text[at..])
            .find_map(|json| serde_json::from_str(json.trim_end()).ok())
            .ok_or_else(|| failed(&say!("its answer is not JSON")))
    }
}

/// The first `node` on `PATH`, found without the working directory.
fn node(installation: &Installation) -> PathBuf {
    let name = if cfg!(windows) { "node.exe" } else { "node" };
    let dirs = installation.environment().program_dirs();
    dirs.into_iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// Reads to the end, keeping at most [`MAX_OUTPUT`] bytes.
async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> Zeroizing<Vec<u8>> {
    let mut kept = Zeroizing::new(Vec::new());
    if let Some(mut stream) = stream {
        // What cannot be read is missing in the answer, which is then refused.
        let _ = (&mut stream).take(MAX_OUTPUT).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    kept
}

/// The last line a person can read, not a stack trace's, without what was typed and what looks like
/// a key.
fn last_line(output: &[u8], typed: &[Secret]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let told = |line: &&str| {
        let line = line.trim();
        line.len() > 1 && !line.starts_with("at ") && !line.starts_with("- ")
    };
    let line = text.lines().rev().find(told)?;
    let plain: String = redacted(line, typed).chars().take(200).collect();
    Some(plain.trim_end_matches('.').to_owned())
}

pub(super) fn failed(why: &str) -> Error {
    Error::new(ErrorCode::OpenClawFailed, say!("openclaw: {why}", why))
}
