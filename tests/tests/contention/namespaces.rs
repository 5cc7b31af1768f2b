//! Two pid namespaces on one directory, as a container that shares OpenClaw's state makes them. From
//! outside its processes can be seen; from inside nothing outside can.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use kalit_core::ErrorCode;
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::store::lock::{Released, StoreLock, inspect_store_lock};
use kalit_journeys::openclaw::read_json;
use kalit_journeys::renewal::locks;
use serde_json::json;

#[test]
fn a_lock_held_in_a_container_is_not_broken_from_outside_and_falls_with_its_owner() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("auth-profiles.json.lock");
    let ctx = locks();
    let refused = || {
        StoreLock::try_acquire(dir.path(), &ctx)
            .err()
            .map(|error| error.code())
    };

    let mut inside = Inside::hold(dir.path())?;
    let before = std::fs::read(&file)?;
    let payload = read_json(&file)?;
    assert_eq!(payload["pid"], inside.pid);
    let own = read_start(inside.pid);
    assert_ne!(
        payload["starttime"].as_u64(),
        own,
        "the number is another process's here"
    );
    for _ in 0..3 {
        assert_eq!(refused(), Some(ErrorCode::LockBusy));
    }
    let holder = inspect_store_lock(dir.path()).context("no holder")?;
    assert_eq!(
        (holder.alive, holder.program),
        (true, None),
        "no other program is named"
    );
    assert_eq!(std::fs::read(&file)?, before);
    assert_eq!(inside.let_go()?, "Clean");
    assert_eq!(
        StoreLock::try_acquire(dir.path(), &ctx)?.release(),
        Released::Clean
    );

    // 2026.2.17 writes no start time: the number alone must do.
    let mut inside = Inside::hold(dir.path())?;
    let other = tempfile::tempdir()?;
    let nobody = json!({"pid": inside.pid, "createdAt": SystemClock.now().to_string()}).to_string();
    std::fs::write(other.path().join("auth-profiles.json.lock"), nobody)?;
    let refused_there = StoreLock::try_acquire(other.path(), &ctx).err();
    assert_eq!(refused_there.map(|error| error.code()), Some(ErrorCode::LockBusy));

    // Its owner is killed: now the lock is certainly nobody's. Waiting would close its stdin, by
    // which it lets the lock go.
    let stdin = inside.child.stdin.take();
    inside.child.kill()?;
    inside.child.wait()?;
    assert!(file.exists());
    let lock = StoreLock::acquire(dir.path(), &ctx, std::time::Duration::from_secs(10))?;
    drop(stdin);
    assert_eq!(lock.release(), Released::Clean);
    Ok(())
}

#[test]
fn inside_a_container_nothing_is_locked_after_the_second_lock_from_outside() -> Result<()> {
    if !available() {
        return Ok(());
    }
    let [first, second] = [tempfile::tempdir()?, tempfile::tempdir()?];
    let ctx = locks();
    let held = [
        StoreLock::try_acquire(first.path(), &ctx)?,
        StoreLock::try_acquire(second.path(), &ctx)?,
    ];
    let output = in_namespace()
        .args([
            "try".as_ref(),
            first.path(),
            second.path(),
            second.path(),
            first.path(),
        ])
        .output()?;
    let told = String::from_utf8(output.stdout)?;
    let told: Vec<&str> = told.lines().collect();
    let untrusted = "lock.pids_untrusted";
    assert_eq!(told, ["taken", untrusted, untrusted, untrusted]);
    let [first, second] = held;
    assert_eq!(
        (first.release(), second.release()),
        (Released::Stolen, Released::Clean),
        "the first one cannot be told from a dead one, and its owner notices"
    );
    Ok(())
}

/// A process in a pid namespace of its own that holds a lock.
struct Inside {
    child: Child,
    /// As it is numbered in there.
    pid: u32,
}

impl Inside {
    fn hold(dir: &Path) -> Result<Self> {
        let mut child = in_namespace()
            .args(["hold".as_ref(), dir])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().context("no stdout")?;
        // One byte at a time: nothing of the next line is taken.
        BufReader::with_capacity(1, stdout).read_line(&mut line)?;
        let pid = line.trim().parse().with_context(|| format!("it said {line:?}"))?;
        Ok(Self { child, pid })
    }

    fn let_go(&mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let mut told = String::new();
        let stdout = self.child.stdout.as_mut().context("no stdout")?;
        stdout.read_to_string(&mut told)?;
        ensure!(self.child.wait()?.success(), "it failed");
        Ok(told.trim().to_owned())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `lock-contender` in a new pid namespace with its own `/proc`, ended with its parent; its number
/// is one that is not taken outside, where that can be chosen.
fn in_namespace() -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["-rpf", "--mount-proc", "--kill-child", "sh", "-c"])
        .arg("echo 31999 2>/dev/null >/proc/sys/kernel/ns_last_pid; \"$0\" \"$@\"; exit $?")
        .arg(env!("CARGO_BIN_EXE_lock-contender"));
    command
}

fn available() -> bool {
    let tried = Command::new("unshare")
        .args(["-rpf", "--mount-proc", "--kill-child", "true"])
        .output();
    match tried {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            println!("not tested: no pid namespace can be made here ({text})");
            false
        }
        Err(error) => {
            println!("not tested: there is no unshare ({error})");
            false
        }
    }
}

/// When the process of this number began, as this namespace sees it.
fn read_start(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(19)?
        .parse()
        .ok()
}
