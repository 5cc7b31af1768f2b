//! `cargo xtask demo`: builds what the story needs and lets it tell itself
//! (`tests/examples/demo`).

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cargo::{build_binaries, cargo};
use crate::setup::{self, Needs};

#[derive(Args)]
pub struct Flags {
    /// Tell the story in a private desktop even if there is a display
    #[arg(long)]
    headless: bool,
    /// Break one thing on purpose, `revoke` or `tray`: the demo must then fail
    #[arg(long)]
    sabotage: Option<String>,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    setup::ensure(Needs::Everything)?;
    let binaries = build_binaries()?;
    let mut story = cargo(&[
        "run",
        "--quiet",
        "--package",
        "kalit-journeys",
        "--example",
        "demo",
        "--",
    ]);
    story.envs(binaries);
    if flags.headless {
        story.arg("--headless");
    }
    if let Some(sabotage) = &flags.sabotage {
        story.args(["--sabotage", sabotage]);
    }
    let status = story.status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
