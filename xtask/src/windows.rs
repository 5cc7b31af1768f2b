//! `cargo xtask windows`: type-checks and links the programs for Windows from a Debian. An optional check: it
//! stands on Debian's source of this very compiler, and on what the compiler calls unstable.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::cargo::{run as finish, target_dir, workspace};
use crate::setup::{self, Needs};

#[derive(Args)]
pub struct Flags {
    /// Type-check alone
    #[arg(long)]
    check: bool,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    setup::ensure(Needs::Windows)?;
    let verb = if flags.check { "check" } else { "build" };
    let mut script = Command::new("bash");
    script
        .arg("xtask/src/windows.sh")
        .arg(target_dir().join("windows"))
        .arg(verb)
        .current_dir(workspace());
    finish(&mut script)?;
    Ok(ExitCode::SUCCESS)
}
