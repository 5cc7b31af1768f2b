//! What a crash would tell: no core dump is written, and nobody but root looks into the memory.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_journeys::process::{Process, binary};
use kalit_journeys::proof::Figures;
use kalit_journeys::wait::until_some;
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(20);
/// Whoever is not root anywhere.
const NOBODY: u32 = 65_534;

/// Whether a process has said that it wants no core dump.
pub fn is_private(pid: u32) -> Result<bool> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let soft = core.and_then(|line| line.split_whitespace().nth(4));
    Ok(soft == Some("0"))
}

#[tokio::test]
async fn a_crash_leaves_no_core_and_another_program_cannot_read_the_memory() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    let (mut cores, mut readers) = (0, 0);
    for signal in [Signal::ABORT, Signal::SEGV] {
        let mut sleep = Command::new("/bin/sh");
        sleep.args(["-c", "ulimit -c unlimited; echo ready; exec sleep 600"]);
        let control = crashed(&mut sleep, dir.path(), "ready", signal).await?;
        ensure!(!control.limited, "the control allows no core");
        let mut kalit = Command::new("/bin/sh");
        let program = binary("KALIT_BIN", "kalit")?;
        kalit
            .args(["-c", "ulimit -c unlimited; exec \"$0\" watch --json"])
            .arg(&program);
        let outcome = crashed(&mut kalit, dir.path(), "started", signal).await?;
        ensure!(outcome.limited, "kalit allows itself a core");
        ensure!(!outcome.dumped, "kalit left a core after {signal:?}");
        cores += usize::from(control.dumped);
        if !rustix::process::geteuid().is_root() {
            continue;
        }
        readers += 1;
        ensure!(
            control.readable,
            "the control's environment cannot be read by its owner"
        );
        ensure!(
            !outcome.readable,
            "another program of the same person reads kalit's memory"
        );
    }
    let mut figures = Figures::new("canaries-dumps");
    figures
        .row(
            "crashes of which another program left a core and kalit none",
            cores,
        )
        .row(
            "other programs of the same person that were refused a look",
            readers,
        );
    if cores == 0 {
        figures.row("cores: not checked", "this machine writes none at all");
    }
    if readers == 0 {
        figures.row("looks: not checked", "only root can be somebody else's program");
    }
    figures.tell()
}

struct Crashed {
    limited: bool,
    /// Another process of the same person could look into it.
    readable: bool,
    dumped: bool,
}

/// Starts a program, as somebody who is not root where that can be, and ends it by `signal`.
async fn crashed(command: &mut Command, dir: &Path, says: &'static str, signal: Signal) -> Result<Crashed> {
    let home = tempfile::tempdir_in(dir)?;
    std::fs::create_dir_all(home.path().join(".openclaw"))?;
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        for path in [home.path().to_owned(), home.path().join(".openclaw")] {
            chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        command.uid(NOBODY).gid(NOBODY);
    }
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home.path())
        .current_dir(home.path());
    // Its own: what an earlier one said must not be taken for its word.
    let (_, log) = tempfile::NamedTempFile::new_in(dir)?.keep()?;
    let mut process = Process::start(command, &log)?;
    process
        .line(says, SOON, |line| line.contains(says).then_some(()))
        .await?;
    // The shell has become the program by now, or will at once.
    let name = format!("/proc/{}/comm", process.id());
    until_some("the program", SOON, || {
        let name = std::fs::read_to_string(&name).ok()?;
        (name.trim() != "sh").then_some(())
    })
    .await?;
    let mut look = Command::new("/usr/bin/head");
    look.args(["-c", "1"])
        .arg(format!("/proc/{}/environ", process.id()));
    if is_root {
        look.uid(NOBODY).gid(NOBODY);
    }
    let readable = look.output()?.status.success();
    let limited = is_private(process.id())?;
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let pid = pid.context("no process")?;
    // Rust's handler for overflows lets the first SIGSEGV pass that is no fault.
    let status = until_some("the crash", SOON, || {
        let _ = kill_process(pid, signal);
        process.ended()
    })
    .await?;
    ensure!(status.signal() == Some(signal.as_raw()), "ended with {status}");
    Ok(Crashed {
        limited,
        readable,
        dumped: status.core_dumped(),
    })
}
