//! `cargo xtask prove`: the long forms of the proofs whose figures stand in `docs/reliability.md`.
//! `cargo xtask test` runs the short form of each.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;

use crate::cargo::{build_binaries, cargo};
use crate::setup::{self, Needs};

/// The proofs, each a package and one of its test targets.
const PROOFS: [(&str, &str); 10] = [
    ("kalit-model", "protocol"),
    ("kalit-journeys", "crash"),
    ("kalit-journeys", "disk"),
    ("kalit-journeys", "contention"),
    ("kalit-journeys", "network"),
    ("kalit-journeys", "attacks"),
    ("kalit-journeys", "undo"),
    ("kalit-journeys", "undo_window"),
    ("kalit-journeys", "canaries"),
    ("kalit-journeys", "rewrite"),
];

#[derive(Args)]
pub struct Flags {
    /// Only these [default: all]: protocol, crash, disk, contention, network, attacks, undo, undo_window, canaries, rewrite
    names: Vec<String>,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    for name in &flags.names {
        let known = PROOFS.map(|(_, proof)| proof);
        ensure!(known.contains(&name.as_str()), "{name} is not one of {known:?}");
    }
    setup::ensure(Needs::Everything)?;
    let binaries = build_binaries()?;
    let mut failed = Vec::new();
    for (package, name) in PROOFS {
        if !flags.names.is_empty() && !flags.names.iter().any(|chosen| chosen == name) {
            continue;
        }
        let start = Instant::now();
        let status = cargo(&["test", "--package", package, "--test", name, "--"])
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
