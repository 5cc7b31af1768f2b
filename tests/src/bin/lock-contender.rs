//! Counts in a file under the store lock, again and again, until it is killed:
//! `lock-contender <agent dir>`. Prints a line after every count that is safe on disk.
//!
//! `lock-contender hold <agent dir>` takes the lock once, prints its process id, waits for the end
//! of its standard input and prints how the release went. `lock-contender try <agent dir>…` tries
//! one lock after the other, and prints `taken` or the code of the error for each.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kalit_core::clock::SystemClock;
use kalit_core::store::lock::{LockContext, PidTrust, Released, STORE_LOCK_LIMIT, SandboxMarks, StoreLock};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let ctx = LockContext::new(
        Arc::new(SystemClock),
        PidTrust::detect(&SandboxMarks::default(), false),
    );
    match &arguments[..] {
        [verb, agent_dir] if verb.as_os_str() == "hold" => hold(agent_dir, &ctx),
        [verb, agent_dirs @ ..] if verb.as_os_str() == "try" => try_each(agent_dirs, &ctx),
        [agent_dir] => count(agent_dir),
        _ => anyhow::bail!("no agent directory"),
    }
}

fn hold(agent_dir: &Path, ctx: &LockContext) -> anyhow::Result<()> {
    let lock = StoreLock::try_acquire(agent_dir, ctx)?;
    writeln!(std::io::stdout(), "{}", std::process::id())?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(writeln!(std::io::stdout(), "{:?}", lock.release())?)
}

fn try_each(agent_dirs: &[PathBuf], ctx: &LockContext) -> anyhow::Result<()> {
    let mut taken = Vec::new();
    for agent_dir in agent_dirs {
        let told = match StoreLock::try_acquire(agent_dir, ctx) {
            Ok(lock) => {
                taken.push(lock);
                "taken"
            }
            Err(error) => error.code().as_str(),
        };
        writeln!(std::io::stdout(), "{told}")?;
    }
    Ok(())
}

fn count(agent_dir: &Path) -> anyhow::Result<()> {
    // Contenders are killed on purpose, which would otherwise look like another container.
    let trust = PidTrust::detect(&SandboxMarks::default(), true);
    let ctx = LockContext::new(Arc::new(SystemClock), trust);
    let counter = agent_dir.join("counter");
    let temporary = agent_dir.join(format!("counter.{}", std::process::id()));
    loop {
        let lock = StoreLock::acquire(agent_dir, &ctx, STORE_LOCK_LIMIT)?;
        let count: u64 = fs::read_to_string(&counter)?.trim().parse()?;
        fs::write(&temporary, (count + 1).to_string())?;
        fs::rename(&temporary, &counter)?;
        writeln!(std::io::stdout(), "{}", count + 1)?;
        anyhow::ensure!(lock.release() == Released::Clean, "the lock was stolen");
        std::thread::sleep(Duration::from_micros(500));
    }
}
