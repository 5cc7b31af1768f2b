//! Counts in a file under the store lock, again and again, until it is killed:
//! `lock-contender <agent dir>`. Prints a line after every count that is safe on disk.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kalit_core::clock::SystemClock;
use kalit_core::store::lock::{LockContext, PidTrust, Released, STORE_LOCK_LIMIT, SandboxMarks, StoreLock};

fn main() -> anyhow::Result<()> {
    let agent_dir = PathBuf::from(std::env::args_os().nth(1).context("no agent directory")?);
    // Contenders are killed on purpose, which would otherwise look like another container.
    let trust = PidTrust::detect(&SandboxMarks::default(), true);
    let ctx = LockContext::new(Arc::new(SystemClock), trust);
    let counter = agent_dir.join("counter");
    let temporary = agent_dir.join(format!("counter.{}", std::process::id()));
    loop {
        let lock = StoreLock::acquire(&agent_dir, &ctx, STORE_LOCK_LIMIT)?;
        let count: u64 = fs::read_to_string(&counter)?.trim().parse()?;
        fs::write(&temporary, (count + 1).to_string())?;
        fs::rename(&temporary, &counter)?;
        writeln!(std::io::stdout(), "{}", count + 1)?;
        anyhow::ensure!(lock.release() == Released::Clean, "the lock was stolen");
        std::thread::sleep(Duration::from_micros(500));
    }
}
