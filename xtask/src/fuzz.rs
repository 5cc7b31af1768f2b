//! `cargo xtask fuzz`: coverage-guided fuzzing of everything that Kalit reads. libFuzzer feeds the
//! functions of `kalit_core::fuzzing`, built with coverage by the stable compiler. It begins with the
//! inputs of `fuzz/corpus`, which the tests of kalit-core replay; an input that fails is kept there.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo::{cargo, run, target_dir, workspace};
use crate::setup::{self, Needs};

/// What cargo-fuzz sets, too: libFuzzer's counters, and the operands of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

#[derive(Args)]
pub struct Flags {
    /// Only these, named as the folders of `fuzz/corpus` [default: all]
    targets: Vec<String>,
    /// How many minutes of CPU time each is fuzzed
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

pub fn run_fuzzer(flags: &Flags) -> Result<ExitCode> {
    let known = targets()?;
    for name in &flags.targets {
        ensure!(known.contains(name), "{name} is not one of {}", known.join(", "));
    }
    let chosen = if flags.targets.is_empty() {
        &known
    } else {
        &flags.targets
    };
    setup::ensure(Needs::Build)?;
    let fuzzer = build()?;
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for name in chosen {
        let dir = target_dir().join("fuzz/runs").join(name);
        let log = dir.join("log");
        fs::create_dir_all(dir.join("corpus"))?;
        let kept = corpora().join(name);
        println!(
            "{name}: {} CPU minutes, the log is {}",
            flags.minutes,
            log.display()
        );
        let out = File::create(&log)?;
        let mut run = Command::new(&fuzzer)
            .env("KALIT_FUZZ_TARGET", name)
            .args([&dir.join("corpus"), &kept])
            .args(["-timeout=1", "-rss_limit_mb=256", "-max_len=16384"])
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/", dir.display()))
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        let (status, used) = finish(&mut run, Duration::from_secs(flags.minutes * 60))?;
        if !status.success() {
            failed.push(format!("{name}: {status}, the input lies in {}", dir.display()));
        }
        rows.push(row(name, used, &fs::read_to_string(&log)?));
    }
    println!(
        "\n| target | CPU time | inputs tried | edges | corpus | slowest | peak memory |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    rows.iter().for_each(|row| println!("{row}"));
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\n{}", failed.join("\n"));
    Ok(ExitCode::FAILURE)
}

/// Lets a fuzzer run until it has used this much CPU time, or ends by itself; how it ended, and the
/// time it used.
fn finish(run: &mut Child, budget: Duration) -> Result<(ExitStatus, Duration)> {
    let begun = Instant::now();
    let mut used = Duration::ZERO;
    let mut told = false;
    loop {
        if let Some(status) = run.try_wait()? {
            return Ok((status, used));
        }
        used = cpu_time(run.id()).unwrap_or_else(|| begun.elapsed()).max(used);
        if used >= budget && !told {
            // libFuzzer ends at this signal with its figures, and with success
            let kill = Command::new("kill")
                .args(["-USR1", &run.id().to_string()])
                .status()?;
            ensure!(kill.success(), "the fuzzer cannot be told to end");
            told = true;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// The CPU time of a process with one working thread, where the system tells it (Linux).
fn cpu_time(pid: u32) -> Option<Duration> {
    let told = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    told.split_whitespace()
        .next()?
        .parse()
        .ok()
        .filter(|&spent| spent > 0)
        .map(Duration::from_nanos)
}

/// Builds the fuzzer. The flags are for its target alone, not for build scripts: those have no
/// libFuzzer.
fn build() -> Result<PathBuf> {
    let host = host()?;
    let dir = target_dir().join("fuzz");
    let arguments = [
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--target",
    ];
    run(cargo(&arguments)
        .arg(&host)
        .arg("--target-dir")
        .arg(&dir)
        .env("RUSTFLAGS", COVERAGE))?;
    let name = format!("kalit-fuzz{}", std::env::consts::EXE_SUFFIX);
    Ok(dir.join(host).join("release").join(name))
}

/// A line of the table from libFuzzer's log: `#123 DONE cov: 7 ft: 9 corp: 5/1Kb …` and `stat::…`.
fn row(target: &str, used: Duration, log: &str) -> String {
    let stat = |name: &str| {
        let line = log
            .lines()
            .rev()
            .find(|line| line.starts_with(&format!("stat::{name}:")));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap_or("?")
    };
    let last = log
        .lines()
        .rev()
        .find(|line| line.contains(" cov: "))
        .unwrap_or_default();
    let after = |word: &str| {
        let mut words = last.split_whitespace().skip_while(|found| *found != word);
        words.nth(1).unwrap_or("?").to_owned()
    };
    format!(
        "| {target} | {} s | {} | {} | {} | {} s | {} MB |",
        used.as_secs(),
        stat("number_of_executed_units"),
        after("cov:"),
        after("corp:"),
        stat("slowest_unit_time_sec"),
        stat("peak_rss_mb"),
    )
}

fn corpora() -> PathBuf {
    workspace().join("fuzz/corpus")
}

fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(corpora()).context("no fuzz/corpus")? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// The compiler's own target.
fn host() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("starting rustc")?;
    let told = String::from_utf8_lossy(&output.stdout);
    match told.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc does not tell its host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_libfuzzers_last_words() {
        let log = "#2 INITED cov: 1 ft: 1 corp: 1/1b exec/s: 0 rss: 30Mb\n\
            #99 DONE   cov: 207 ft: 309 corp: 12/3Kb lim: 4 exec/s: 9 rss: 31Mb\n\
            stat::number_of_executed_units: 99\nstat::slowest_unit_time_sec:     0\nstat::peak_rss_mb: 31\n";
        assert_eq!(
            row("claims", Duration::from_secs(61), log),
            "| claims | 61 s | 99 | 207 | 12/3Kb | 0 s | 31 MB |"
        );
    }
}
