//! Kalit's main job on an embedded default: sign in, be renewed, be revoked, sign in again, at a
//! local authorization server and in throw-away directories. Started by `cargo xtask demo`.
//!
//! With a display a person does it; without one the story tells itself in a private desktop.
//! Either way it ends well only if every step truly happened.

#[cfg(target_os = "linux")]
mod headless;
mod installation;
mod interactive;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kalit_journeys::process::workspace;

use report::Report;

#[derive(Parser)]
struct Flags {
    /// Tell the story in a private desktop even if there is a display
    #[arg(long)]
    headless: bool,
    /// Break one thing on purpose: the demo must then fail
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Where report and screenshots go
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// The authorization server ignores revocation
    Revoke,
    /// The desktop has no tray
    Tray,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let has_display = cfg!(not(target_os = "linux"))
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
    let mut report = Report::new(&flags.dir.unwrap_or_else(|| workspace().join("target/demo")))?;
    let outcome = if has_display && !flags.headless {
        interactive::tell(&mut report, flags.sabotage).await
    } else {
        tell_headless(&mut report, flags.sabotage).await
    };
    report.finish(&outcome)?;
    Ok(if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(target_os = "linux")]
async fn tell_headless(report: &mut Report, sabotage: Option<Sabotage>) -> anyhow::Result<()> {
    headless::tell(report, sabotage).await
}

#[cfg(not(target_os = "linux"))]
async fn tell_headless(_report: &mut Report, _sabotage: Option<Sabotage>) -> anyhow::Result<()> {
    anyhow::bail!("the private desktop exists on Linux only: run the demo without --headless")
}
