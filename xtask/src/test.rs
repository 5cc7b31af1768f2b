//! `cargo xtask test`: every test of the workspace in parts, each with its wall time. It ends with
//! one plain line, `N passed, N failed`.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::cargo::{build_binaries, cargo, workspace};
use crate::setup::{self, Needs};

#[derive(Args)]
pub struct Flags {
    /// The Rust part alone
    #[arg(long)]
    quick: bool,
    /// Only parts whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    setup::ensure(if flags.quick {
        Needs::Build
    } else {
        Needs::Everything
    })?;
    let chosen = |name: &str| {
        flags
            .only
            .as_ref()
            .is_none_or(|text| name.contains(text.as_str()))
    };
    let mut results = Vec::new();
    let rust = [
        "test",
        "--package",
        "kalit-core",
        "--package",
        "kalit",
        "--package",
        "kalit-sqlite-memory",
        "--package",
        "kalit-model",
        "--package",
        "xtask",
    ];
    if chosen("rust") {
        results.push(part("rust", &mut cargo(&rust))?);
    }
    if !flags.quick {
        let parts: Vec<_> = real_parts()?
            .into_iter()
            .filter(|(name, _)| chosen(name))
            .collect();
        let start = Instant::now();
        let binaries = build_binaries()?;
        // All at once: one after the other they would leave a processor idle. What does not compile
        // fails its part.
        let targets = parts.iter().flat_map(|(_, target)| target);
        cargo(&["test", "--no-run", "--package", "kalit-journeys"])
            .args(targets)
            .status()?;
        let wall = start.elapsed();
        results.push(Part {
            name: "build for the journeys".to_owned(),
            wall,
            tests: Tests::default(),
        });
        for (name, target) in parts {
            let mut command = cargo(&["test", "--package", "kalit-journeys"]);
            command.args(target).envs(binaries.clone());
            results.push(part(&name, &mut command)?);
        }
    }
    println!();
    for part in &results {
        println!("{part}");
    }
    let tests = results
        .iter()
        .fold(Tests::default(), |sum, part| sum.and(part.tests));
    println!("\n{} passed, {} failed", tests.passed, tests.failed);
    Ok(if tests.failed == 0 && tests.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The harness's own unit tests, then each file of `tests/tests`.
fn real_parts() -> Result<Vec<(String, Vec<String>)>> {
    let dir = workspace().join("tests/tests");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .with_context(|| dir.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    let names = files
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let mut parts = vec![("harness".to_owned(), vec!["--lib".to_owned()])];
    parts.extend(names.map(|name| (name.clone(), vec!["--test".to_owned(), name])));
    Ok(parts)
}

struct Part {
    name: String,
    wall: Duration,
    tests: Tests,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tests {
    passed: usize,
    failed: usize,
}

/// Runs one part, passing its output on and reading the results from it.
fn part(name: &str, command: &mut Command) -> Result<Part> {
    println!("\n== {name}");
    let start = Instant::now();
    let mut child = command.arg("--no-fail-fast").stdout(Stdio::piped()).spawn()?;
    let mut tests = Tests::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            tests = tests.and(Tests::of_line(&line).unwrap_or_default());
        }
    }
    let status = child.wait()?;
    if !status.success() && tests.failed == 0 {
        // it did not compile, or died without a result
        println!("{name} ended with {status}");
        tests.failed = 1;
    }
    Ok(Part {
        name: name.to_owned(),
        wall: start.elapsed(),
        tests,
    })
}

impl Tests {
    /// From cargo's `test result: ok. 5 passed; 0 failed; …`.
    fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let part = counts.split(';').find(|part| part.trim().ends_with(what))?;
            part.trim().split(' ').next()?.parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
        })
    }

    fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tests { passed, failed } = self.tests;
        let name = &self.name;
        write!(
            formatter,
            "{name:<28}{:>8.1} s{passed:>6} ok{failed:>5} failed",
            self.wall.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_from_cargos_lines() {
        let ok =
            "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 6 filtered out; finished in 1.21s";
        assert_eq!(Tests::of_line(ok), Some(Tests { passed: 7, failed: 0 }));
        let failed = "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Tests::of_line(failed), Some(Tests { passed: 4, failed: 2 }));
        assert_eq!(Tests::of_line("test a_result ... ok"), None);
    }
}
