//! `cargo xtask prove`: the long forms of the proofs whose figures stand in `docs/reliability.md`.
//! `cargo xtask test` runs the short form of each.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cargo::{build_binaries, cargo};
use crate::setup::{self, Needs};

/// The proofs: test targets of the journeys.
const PROOFS: [&str; 7] = [
    "crash",
    "disk",
    "contention",
    "network",
    "attacks",
    "canaries",
    "rewrite",
];

#[derive(Args)]
pub struct Flags {
    /// Only these [default: all]: crash, disk, contention, network, attacks, canaries, rewrite
    names: Vec<String>,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    for name in &flags.names {
        ensure!(PROOFS.contains(&name.as_str()), "{name} is not one of {PROOFS:?}");
    }
    setup::ensure(Needs::Everything)?;
    let binaries = build_binaries()?;
    let mut failed = Vec::new();
    for name in PROOFS {
        if !flags.names.is_empty() && !flags.names.iter().any(|chosen| chosen == name) {
            continue;
        }
        let start = Instant::now();
        let status = cargo(&["test", "--package", "kalit-journeys", "--test", name, "--"])
            .args(["--nocapture", "--test-threads=1"])
            .envs(binaries.clone())
            .env("KALIT_PROVE", "long")
            .status()?;
        println!("{name}: {status}, {:.0} s\n", start.elapsed().as_secs_f64());
        if !status.success() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}
