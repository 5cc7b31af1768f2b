//! The numbers of the README: Kalit beside real OpenClaw, and against its own limits. Started by
//! `cargo xtask bench`, which builds both programs for release and passes them by `KALIT_BIN` and
//! `KALIT_DESKTOP_BIN`.

#[cfg(target_os = "linux")]
mod desktop;
#[cfg(target_os = "linux")]
mod process_table;
mod store;
mod table;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kalit_journeys::openclaw::{self, Version};
use kalit_journeys::process::binary;

use store::Store;
use table::{Limit, Table};

#[derive(Parser)]
pub struct Flags {
    /// Leave the comparison with OpenClaw out
    #[arg(long)]
    no_openclaw: bool,
    /// How long "idle" lasts, in seconds
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Leave the desktop out
    #[arg(long)]
    no_desktop: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let flags = Flags::parse();
    let mut table = Table::default();
    command_line(&flags, &mut table).await?;
    #[cfg(target_os = "linux")]
    if !flags.no_desktop {
        desktop::measure(&flags, &mut table).await?;
    }
    println!("{table}");
    ensure!(table.is_within_limits(), "a limit is exceeded");
    Ok(())
}

/// The same question to both programs, on the same store.
async fn command_line(flags: &Flags, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::create(dir.path())?;
    let kalit = binary("KALIT_BIN", "kalit")?;
    let own = median(30, || timed(store.command(&kalit).args(["status", "--json"])))?;
    table.add(
        "`kalit status --json`",
        millis(own),
        Limit::None,
        "median of 30, no daemon, no cache",
    );
    if flags.no_openclaw {
        return Ok(());
    }
    let release = openclaw::release(Version::V2026_6_1).await?;
    let script = release.package_dir.join("openclaw.mjs");
    let peer = median(5, || {
        timed(
            store
                .command(&release.node)
                .arg(&script)
                .args(["models", "status", "--json"]),
        )
    })?;
    let ratio = peer.as_secs_f64() / own.as_secs_f64();
    table.add(
        "`openclaw models status --json`",
        millis(peer),
        Limit::None,
        "OpenClaw 2026.6.1, the same store, median of 5",
    );
    table.add(
        "times as fast",
        format!("{ratio:.0}"),
        Limit::AtLeast(ratio, 200.0),
        "",
    );
    Ok(())
}

/// Wall time of a command that must succeed.
fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    let wall = start.elapsed();
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(wall)
}

/// The middle of `runs` measurements; one more before them warms the file system's cache.
pub fn median(runs: usize, mut measure: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    measure()?;
    let mut times = (0..runs).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    Ok(middle(&mut times))
}

pub fn middle(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
