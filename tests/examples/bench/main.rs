//! The numbers of the README: Kalit beside real OpenClaw, and against its own limits. Started by
//! `cargo xtask bench`, which builds both programs for release and passes them by `KALIT_BIN` and
//! `KALIT_DESKTOP_BIN`.

mod databases;
#[cfg(target_os = "linux")]
mod desktop;
#[cfg(target_os = "linux")]
mod process_table;
mod radar;
mod store;
mod table;
#[cfg(target_os = "linux")]
mod window;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use kalit_journeys::openclaw::{self, Release, Version};
use kalit_journeys::process::binary;

use databases::Databases;
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
    sizes(&mut table)?;
    command_line(&flags, &mut table).await?;
    #[cfg(target_os = "linux")]
    if !flags.no_desktop {
        desktop::measure(&flags, &mut table).await?;
    }
    println!("{table}");
    ensure!(table.is_within_limits(), "a limit is exceeded");
    Ok(())
}

/// What a person downloads: the programs as `cargo build --release` leaves them.
fn sizes(table: &mut Table) -> Result<()> {
    for (name, variable, megabytes) in [
        ("kalit", "KALIT_BIN", 5.0),
        ("kalit-desktop", "KALIT_DESKTOP_BIN", 8.0),
    ] {
        let program = binary(variable, name)?;
        let bytes = std::fs::metadata(&program)
            .with_context(|| format!("looking at {}", program.display()))?
            .len();
        let measured = bytes as f64 / 1e6;
        table.add(
            &format!("size of `{name}`"),
            format!("{measured:.2} MB"),
            Limit::AtMost(measured, megabytes),
            &format!("{bytes} bytes, stripped"),
        );
    }
    Ok(())
}

/// The same question to both programs, on the same store, in each era.
async fn command_line(flags: &Flags, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = Store::create(dir.path())?;
    if flags.no_openclaw {
        answers(table, "", &|program| store.command(program), None)?;
    } else {
        let release = openclaw::release(Version::V2026_6_1).await?;
        answers(table, "", &|program| store.command(program), Some(&release))?;
        let release = openclaw::release(Version::V2026_9_6).await?;
        let dir = tempfile::tempdir()?;
        let databases = Databases::create(dir.path(), &release)?;
        answers(
            table,
            ", SQLite",
            &|program| databases.command(program),
            Some(&release),
        )?;
    }
    many_agents(table)?;
    radar::measure(table)
}

/// How long each program takes to tell what it knows of a store.
fn answers(
    table: &mut Table,
    store: &str,
    command: &dyn Fn(&Path) -> Command,
    peer: Option<&Release>,
) -> Result<()> {
    let kalit = binary("KALIT_BIN", "kalit")?;
    let own = median(30, || timed(command(&kalit).args(["status", "--json"])))?;
    table.add(
        &format!("`kalit status --json`{store}"),
        millis(own),
        Limit::None,
        "median of 30, no daemon, no cache",
    );
    let Some(release) = peer else { return Ok(()) };
    let script = release.package_dir.join("openclaw.mjs");
    let peer = median(5, || {
        timed(
            command(&release.node)
                .arg(&script)
                .args(["models", "status", "--json", "--agent", "main"]),
        )
    })?;
    let ratio = peer.as_secs_f64() / own.as_secs_f64();
    let version = release.version.as_str();
    table.add(
        &format!("`openclaw models status --json`{store}"),
        millis(peer),
        Limit::None,
        &format!("OpenClaw {version}, the same store, median of 5"),
    );
    table.add(
        &format!("times as fast{store}"),
        format!("{ratio:.0}"),
        Limit::AtLeast(ratio, 200.0),
        "",
    );
    Ok(())
}

/// A thousand agents with twenty accounts each, and twenty that all of them share.
fn many_agents(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let databases = Databases::large(dir.path(), 1_000, 20)?;
    let kalit = binary("KALIT_BIN", "kalit")?;
    let own = median(5, || timed(databases.command(&kalit).args(["status", "--json"])))?;
    table.add(
        "`kalit status --json`, 1,000 agents × 20 accounts",
        millis(own),
        Limit::None,
        "median of 5; 40,000 rows, because each agent shows what it shares",
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
