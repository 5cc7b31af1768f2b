//! Packages of npm that journeys need besides OpenClaw, pinned in `tests/npm`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{run, workspace};

/// Installs the packages of `tests/npm/<name>` below `target/npm` once and returns their directory.
///
/// # Errors
/// When npm does not install exactly what the lock file names.
pub fn installed(name: &str) -> Result<PathBuf> {
    let source = workspace().join("tests/npm").join(name);
    let lock = std::fs::read(source.join("package-lock.json"))?;
    let parent = workspace().join("target/npm");
    let ready = parent.join(name);
    if std::fs::read(ready.join("installed-lock.json")).is_ok_and(|installed| installed == lock) {
        return Ok(ready);
    }
    std::fs::create_dir_all(&parent)?;
    // built aside and moved into place, so that two tests at once cannot see half of it
    let aside = tempfile::tempdir_in(&parent)?;
    for file in ["package.json", "package-lock.json", ".npmrc"] {
        std::fs::copy(source.join(file), aside.path().join(file))?;
    }
    run(npm().arg("ci").current_dir(aside.path())).with_context(|| format!("installing {name} with npm"))?;
    std::fs::write(aside.path().join("installed-lock.json"), &lock)?;
    place(aside, &ready, &lock)
}

fn place(aside: TempDir, ready: &Path, lock: &[u8]) -> Result<PathBuf> {
    let is_current =
        || std::fs::read(ready.join("installed-lock.json")).is_ok_and(|installed| installed == lock);
    if ready.exists() && !is_current() {
        std::fs::remove_dir_all(ready)?;
    }
    match std::fs::rename(aside.path(), ready) {
        Ok(()) => drop(aside.keep()),
        Err(_) if is_current() => {}
        Err(error) => return Err(error).context("moving the installed packages into place"),
    }
    Ok(ready.to_owned())
}

fn npm() -> Command {
    Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
}
