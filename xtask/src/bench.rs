//! `cargo xtask bench`: builds both programs for release and measures them
//! (`tests/examples/bench`).

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cargo::{cargo, run as finish, target_dir};
use crate::setup::{self, Needs};

#[derive(Args)]
pub struct Flags {
    /// Arguments for the measuring program; `-- --help` lists them
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    setup::ensure(Needs::Everything)?;
    finish(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "kalit",
        "--bins",
    ]))?;
    let program = |name: &str| target_dir().join("release").join(name);
    let status = cargo(&[
        "run",
        "--quiet",
        "--package",
        "kalit-journeys",
        "--example",
        "bench",
        "--",
    ])
    .env("KALIT_BIN", program("kalit"))
    .env("KALIT_DESKTOP_BIN", program("kalit-desktop"))
    .env("KALIT_WINDOW_BIN", program("kalit-window"))
    .args(&flags.arguments)
    .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
