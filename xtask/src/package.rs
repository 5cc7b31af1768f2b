//! `cargo xtask package`: builds the three programs and makes this system's packages of them with Tauri's
//! bundler. `docs/packages.md` says what they hold.

#[cfg(target_os = "linux")]
mod clean_root;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod notices;

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::cargo::{cargo, run as finish, target_dir, workspace};
use crate::setup::{self, Needs};

const MEGABYTE: u64 = 1_000_000;

/// The programs of a package. `cargo xtask bench` holds their sizes against limits.
const PROGRAMS: [&str; 3] = ["kalit", "kalit-desktop", "kalit-window"];

/// What is made where nothing else is asked for.
const BUNDLES: &str = if cfg!(target_os = "macos") {
    "dmg"
} else if cfg!(windows) {
    "nsis"
} else {
    "deb,rpm"
};

#[derive(Args)]
pub struct Flags {
    /// Package the debug programs: soon done, for checks of what packages hold
    #[arg(long)]
    debug: bool,
    /// Which, as Tauri's bundler names them: deb, rpm, appimage, dmg, nsis. An AppImage's tools come over the
    /// network
    #[arg(long, value_name = "NAMES", default_value = BUNDLES)]
    bundles: String,
    /// Install the .deb in a clean Debian, start Kalit there, and remove it (Linux, root)
    #[arg(long)]
    prove: bool,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    setup::ensure(Needs::Build)?;
    let profile = if flags.debug { "debug" } else { "release" };
    let mut build = cargo(&["build", "--package", "kalit", "--bins"]);
    if !flags.debug {
        build.arg("--release");
    }
    finish(&mut build)?;
    let stage = target_dir().join("packages");
    let dir = stage.join(profile);
    let bundles = dir.join("bundle");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    lay(&stage)?;
    let mut sizes = Vec::new();
    for name in PROGRAMS {
        let file = format!("{name}{EXE_SUFFIX}");
        stripped(&target_dir().join(profile).join(&file), &dir.join(&file))?;
        sizes.push((name, fs::metadata(dir.join(&file))?.len()));
    }
    #[cfg(target_os = "linux")]
    let config = Some(linux::config(&dir, flags.debug)?);
    #[cfg(not(target_os = "linux"))]
    let config: Option<PathBuf> = None;
    bundle(flags, &stage, config.as_deref())?;

    for (name, size) in sizes {
        println!("{name}: {}", megabytes(size));
    }
    for package in packages(&bundles)? {
        println!(
            "{}: {}",
            package.display(),
            megabytes(fs::metadata(&package)?.len())
        );
    }
    if flags.prove {
        #[cfg(target_os = "linux")]
        clean_root::prove(&packages(&bundles)?)?;
        #[cfg(not(target_os = "linux"))]
        bail!("--prove needs Linux");
    }
    Ok(ExitCode::SUCCESS)
}

/// A copy without symbols; a release has none anyway, and other systems keep them apart.
fn stripped(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    if cfg!(target_os = "linux") {
        finish(Command::new("strip").arg(to))?;
    }
    Ok(())
}

/// Lays a project for the bundler. Of the real one it would rewrite the Cargo.toml, take a program named as the
/// package (`kalit`) for the main one, and ask for a library for the tray, which Linux does not need.
fn lay(stage: &Path) -> Result<()> {
    let mut manifest = format!(
        "[workspace]\n[package]\nname = \"kalit-desktop\"\nversion = {:?}\n[dependencies]\ntauri = \"2\"\n",
        env!("CARGO_PKG_VERSION")
    );
    for name in PROGRAMS {
        manifest += &format!("[[bin]]\nname = {name:?}\npath = \"{name}.rs\"\n");
    }
    fs::write(stage.join("Cargo.toml"), manifest)?;
    for file in ["tauri.conf.json", "LICENSE"] {
        fs::copy(workspace().join(file), stage.join(file))?;
    }
    for dir in ["icons", "src-tauri/package"] {
        fs::create_dir_all(stage.join(dir))?;
        for file in fs::read_dir(workspace().join(dir))? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::copy(file.path(), stage.join(dir).join(file.file_name()))?;
            }
        }
    }
    Ok(())
}

fn bundle(flags: &Flags, stage: &Path, config: Option<&Path>) -> Result<()> {
    let mut tauri = Command::new("node");
    tauri
        .arg(bundler()?)
        .args([
            "bundle",
            "--ci",
            "--no-binary-patching",
            "--bundles",
            &flags.bundles,
        ])
        .env("CARGO_TARGET_DIR", stage)
        .current_dir(stage);
    if flags.debug {
        tauri.arg("--debug");
    }
    if let Some(config) = config {
        tauri.arg("--config").arg(config);
    }
    finish(&mut tauri)
}

/// Installs Tauri's command line, pinned in `tests/npm`, once below `target/npm`; its script for Node.
fn bundler() -> Result<PathBuf> {
    let source = workspace().join("tests/npm/tauri-cli");
    let dir = target_dir().join("npm/tauri-cli");
    let script = dir.join("node_modules/@tauri-apps/cli/tauri.js");
    let lock = fs::read(source.join("package-lock.json"))?;
    let installed = dir.join("installed-lock.json");
    if script.is_file() && fs::read(&installed).is_ok_and(|old| old == lock) {
        return Ok(script);
    }
    fs::create_dir_all(&dir)?;
    for file in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(source.join(file), dir.join(file))?;
    }
    let mut npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    // Not `ci`: the lock has the digests of Linux's programs alone. The version is pinned for all.
    finish(npm.args(["install", "--no-save"]).current_dir(&dir))?;
    fs::write(installed, lock)?;
    Ok(script)
}

/// The finished packages below the bundler's directory, sorted.
fn packages(bundles: &Path) -> Result<Vec<PathBuf>> {
    const KINDS: [&str; 5] = ["deb", "rpm", "AppImage", "dmg", "exe"];
    let mut found = Vec::new();
    for kind in fs::read_dir(bundles)? {
        for file in fs::read_dir(kind?.path())? {
            let path = file?.path();
            if path.is_dir() {
                // What was packed lies in the packages.
                fs::remove_dir_all(&path)?;
                continue;
            }
            let kind = path.extension().and_then(|kind| kind.to_str());
            if kind.is_some_and(|kind| KINDS.contains(&kind)) {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        bail!("the bundler has made no package");
    }
    found.sort();
    Ok(found)
}

fn megabytes(bytes: u64) -> String {
    let tenths = (bytes * 100).div_ceil(MEGABYTE);
    format!("{}.{:02} MB", tenths / 100, tenths % 100)
}
