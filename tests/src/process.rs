//! Child processes that cannot outlive their owner: each leads a process group of its own, and
//! dropping the handle (also while a panic unwinds) ends that group and nothing else.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::wait::until_some;

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A running program whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own; stdout and stderr are appended to `log`.
    /// Stdin stays as the caller set it (nothing by default).
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = Path::new(command.get_program()).file_name().map_or_else(
            || "program".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("the log {} of {name}", log.display()))?;
        command.stdout(out.try_clone()?).stderr(out);
        lead_group(command);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self {
            child,
            name,
            log: log.to_owned(),
        })
    }

    /// The process id, which is also the id of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The writing end of its stdin, if the command was given a pipe.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// The exit status, if it ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the first line printed for which `wanted` answers; fails at once, with the
    /// output, when the program ends before.
    pub async fn line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let name = self.name.clone();
        let found = until_some(&format!("{what} from {name}"), limit, || {
            if let Some(value) = self.output().lines().find_map(&wanted) {
                return Some(Ok(value));
            }
            let status = self.ended()?;
            // what was printed between the last look and the end
            Some(self.output().lines().find_map(&wanted).ok_or(status))
        })
        .await;
        match found {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => bail!("{name} ended with {status} before {what}:\n{}", self.output()),
            Err(error) => Err(error.context(format!("{name} printed:\n{}", self.output()))),
        }
    }

    /// Waits until it ended by itself.
    pub async fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        until_some(&what, limit, || self.ended()).await
    }

    /// Asks the group to end and waits; what does not listen is killed.
    pub fn stop(&mut self) {
        if self.ended().is_none() {
            signal_group(&mut self.child, Signal::Terminate);
            let start = Instant::now();
            while self.ended().is_none() && start.elapsed() < GRACE {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        signal_group(&mut self.child, Signal::Kill);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A command with exactly these variables.
pub fn command(program: impl AsRef<OsStr>, env: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(env).stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns its stdout; a non-zero exit is an error that carries
/// stderr.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("running {name}"))?;
    if !output.status.success() {
        bail!(
            "{name} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The workspace's root directory.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// A file below `tests/harness/`.
pub fn harness(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("harness").join(file)
}

/// The directory that holds the binaries of this build (`target/debug`), found from the running
/// test or example.
pub fn build_dir() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    own.ancestors()
        .find(|dir| dir.ends_with("debug") || dir.ends_with("release"))
        .map(Path::to_owned)
        .with_context(|| format!("{} lies in no build directory", own.display()))
}

/// A binary under test: the variable (set by `cargo xtask`) or the one beside this build.
pub fn binary(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let path = build_dir()?.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !path.exists() {
        bail!(
            "{} is not built: run `cargo xtask test`, or `cargo build` first",
            path.display()
        );
    }
    Ok(path)
}

/// Sends a signal to one process; an error if it is gone.
#[cfg(unix)]
pub fn signal(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

enum Signal {
    Terminate,
    Kill,
}

#[cfg(unix)]
fn lead_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(unix)]
fn signal_group(child: &mut Child, signal: Signal) {
    let Some(group) = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    else {
        return;
    };
    let signal = match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Kill => rustix::process::Signal::KILL,
    };
    let _ = rustix::process::kill_process_group(group, signal);
}

#[cfg(not(unix))]
fn lead_group(_command: &mut Command) {}

#[cfg(not(unix))]
fn signal_group(child: &mut Child, signal: Signal) {
    match signal {
        Signal::Terminate => {}
        Signal::Kill => drop(child.kill()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropping_a_process_ends_its_children_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & echo child $!; wait"]);
        let mut process = Process::start(&mut shell, &dir.path().join("log")).unwrap();
        let child = process
            .line("its child", Duration::from_secs(5), |line| {
                line.strip_prefix("child ")
                    .and_then(|pid| pid.parse::<i32>().ok())
            })
            .await
            .unwrap();
        drop(process);
        let pid = rustix::process::Pid::from_raw(child).unwrap();
        until_some("the grandchild to be gone", Duration::from_secs(5), || {
            rustix::process::test_kill_process(pid).is_err().then_some(())
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn a_program_that_ends_early_tells_what_it_printed() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo out of order; exit 3"]);
        let mut process = Process::start(&mut shell, &dir.path().join("log")).unwrap();
        let error = process
            .line("a port", Duration::from_secs(5), |line| line.parse::<u16>().ok())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("out of order"), "{error}");
    }
}
