//! Finds the installed `openclaw` programs and reads their versions from the package.json above
//! them. Never starts anything: Node needs 0.15 s only to begin.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::gateway_unit::GatewayUnit;
use super::paths;
use super::version::Version;
use crate::environment::{Environment, is_out_of_strangers_reach};
use crate::settings::Settings;

/// Names under which the package was ever published.
const PACKAGE_NAMES: [&str; 3] = ["openclaw", "clawdbot", "moltbot"];
/// How far above a resolved file its package.json may lie (`dist/cli/x.js`).
const MAX_LEVELS: usize = 4;
/// Shims of npm (Windows) and pnpm are short scripts.
const MAX_SHIM_BYTES: u64 = 64 * 1024;
const MAX_PACKAGE_BYTES: u64 = 1024 * 1024;

/// An installed OpenClaw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Who led to it: `setting`, `PATH`, `gateway unit`, or the name of a package manager.
    pub what: &'static str,
    /// What would be started, as found; for a bare package its own launcher script.
    pub launcher: PathBuf,
    /// The package directory, once it is found.
    pub package: Option<PathBuf>,
    /// The package's version, once it is found.
    pub version: Option<Version>,
}

/// All programs, in the order in which they would be used; one package is listed once.
pub(super) fn installed(environment: &Environment, settings: &Settings) -> Vec<Program> {
    let mut found = Vec::new();
    if let Some(binary) = &settings.openclaw_binary {
        push(&mut found, named(environment, binary));
    }
    for dir in environment.program_dirs() {
        for name in launcher_names() {
            push(&mut found, launcher("PATH", dir.join(name)));
        }
        // Windows: <prefix>\openclaw.cmd beside <prefix>\node_modules.
        if let Some(prefix) = dir.parent() {
            push(&mut found, package("PATH", &prefix.join("lib/node_modules")));
        }
    }
    for (what, modules) in module_dirs(environment) {
        push(&mut found, package(what, &modules));
    }
    found
}

/// The program that a person names, if it is one.
pub(crate) fn named(environment: &Environment, path: &Path) -> Option<Program> {
    launcher("setting", paths::user_path(&path.to_string_lossy(), environment))
}

/// The program that a gateway service starts.
pub(super) fn of_unit(unit: &GatewayUnit) -> Option<Program> {
    unit.command
        .iter()
        .map(Path::new)
        .filter(|path| path.is_absolute())
        .find_map(|path| launcher("gateway unit", path.to_owned()).filter(|found| found.package.is_some()))
}

fn push(found: &mut Vec<Program>, program: Option<Program>) {
    let Some(program) = program else { return };
    let known = found.iter().any(|other: &Program| {
        other.launcher == program.launcher || (other.package.is_some() && other.package == program.package)
    });
    if !known {
        found.push(program);
    }
}

fn launcher_names() -> &'static [&'static str] {
    if cfg!(windows) {
        &["openclaw.cmd", "openclaw.exe", "openclaw.ps1"]
    } else {
        &["openclaw"]
    }
}

/// A program that everybody could have planted is none.
fn launcher(what: &'static str, path: PathBuf) -> Option<Program> {
    let real = fs::canonicalize(&path).ok()?;
    if !real.is_file() || !is_out_of_strangers_reach(real.parent()?) {
        return None;
    }
    let package = package_above(&real).or_else(|| package_of_shim(&real));
    let (package, version) = package.map_or((None, None), |(dir, version)| (Some(dir), version));
    Some(Program {
        what,
        launcher: path,
        package,
        version,
    })
}

/// The package in a `node_modules` directory.
fn package(what: &'static str, modules: &Path) -> Option<Program> {
    let dir = fs::canonicalize(modules.join("openclaw")).ok()?;
    if !is_out_of_strangers_reach(&dir) {
        return None;
    }
    let version = read_package(&dir)?;
    Some(Program {
        what,
        launcher: dir.join("openclaw.mjs"),
        package: Some(dir),
        version,
    })
}

fn package_above(file: &Path) -> Option<(PathBuf, Option<Version>)> {
    file.ancestors()
        .skip(1)
        .take(MAX_LEVELS)
        .find_map(|dir| Some((dir.to_owned(), read_package(dir)?)))
}

/// Version of the package in `dir`; `None` when no OpenClaw package lies there.
fn read_package(dir: &Path) -> Option<Option<Version>> {
    let text = read(&dir.join("package.json"), MAX_PACKAGE_BYTES)?;
    let package: Package = serde_json::from_str(&text).ok()?;
    PACKAGE_NAMES
        .contains(&package.name.as_str())
        .then(|| Version::parse(&package.version))
}

/// The two fields of a package.json that tell something; 2026.6.1's is 107 kB long.
#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    version: String,
}

/// npm's `.cmd` and pnpm's shell scripts name the package relative to themselves
/// (`"$basedir/global/5/node_modules/openclaw/openclaw.mjs"`).
fn package_of_shim(file: &Path) -> Option<(PathBuf, Option<Version>)> {
    let text = read(file, MAX_SHIM_BYTES)?;
    let dir = file.parent()?;
    text.split(['"', '\'', '\n', ' ', '=']).find_map(|word| {
        let word = word.trim().replace('\\', "/");
        let (before, _) = word.split_once("node_modules/openclaw/")?;
        let before = ["$basedir/", "${basedir}/", "%~dp0/", "%~dp0", "%dp0%/"]
            .iter()
            .find_map(|prefix| before.strip_prefix(prefix))
            .unwrap_or(before);
        let package = dir.join(before).join("node_modules/openclaw");
        let package = fs::canonicalize(package).ok()?;
        let version = read_package(&package)?;
        Some((package, version))
    })
}

fn read(path: &Path, limit: u64) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > limit {
        return None;
    }
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(limit)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// Where package managers keep global packages, also those whose `bin` is not on `PATH` of a
/// program that was started from a desktop.
fn module_dirs(environment: &Environment) -> Vec<(&'static str, PathBuf)> {
    let home = environment.home();
    let var = |name: &str, default: PathBuf| {
        environment
            .var(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
            .unwrap_or(default)
    };
    let mut dirs: Vec<(&'static str, PathBuf)> = Vec::new();
    for prefix in npm_prefixes(environment) {
        dirs.push(("npm", prefix.join("lib/node_modules")));
        dirs.push(("npm", prefix.join("node_modules")));
    }
    // OpenClaw's own installer without root.
    dirs.push(("installer", home.join(".openclaw/lib/node_modules")));
    let pnpm = if cfg!(target_os = "macos") {
        home.join("Library/pnpm")
    } else {
        home.join(".local/share/pnpm")
    };
    for version in children(&var("PNPM_HOME", pnpm).join("global")) {
        dirs.push(("pnpm", version.join("node_modules")));
    }
    for node in children(&var("NVM_DIR", home.join(".nvm")).join("versions/node")) {
        dirs.push(("nvm", node.join("lib/node_modules")));
    }
    for node in children(&home.join(".local/share/fnm/node-versions")) {
        dirs.push(("fnm", node.join("installation/lib/node_modules")));
    }
    for node in children(&home.join(".asdf/installs/nodejs")) {
        dirs.push(("asdf", node.join("lib/node_modules")));
    }
    for node in children(&home.join(".local/share/mise/installs/node")) {
        dirs.push(("mise", node.join("lib/node_modules")));
    }
    let volta = var("VOLTA_HOME", home.join(".volta"));
    dirs.push((
        "volta",
        volta.join("tools/image/packages/openclaw/lib/node_modules"),
    ));
    dirs.push((
        "bun",
        var("BUN_INSTALL", home.join(".bun")).join("install/global/node_modules"),
    ));
    dirs.push(("yarn", home.join(".config/yarn/global/node_modules")));
    // A program started by launchd has no Homebrew on its PATH.
    if cfg!(target_os = "macos") {
        dirs.push(("Homebrew", "/opt/homebrew/lib/node_modules".into()));
        dirs.push(("Homebrew", "/usr/local/lib/node_modules".into()));
    }
    dirs
}

fn npm_prefixes(environment: &Environment) -> Vec<PathBuf> {
    let home = environment.home();
    let named = ["NPM_CONFIG_PREFIX", "npm_config_prefix"]
        .iter()
        .filter_map(|name| environment.var(name))
        .map(PathBuf::from);
    let npmrc = read(&home.join(".npmrc"), MAX_SHIM_BYTES).unwrap_or_default();
    let written = npmrc.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (key.trim() == "prefix").then(|| {
            let value = value.replace("${HOME}", &home.to_string_lossy());
            paths::user_path(&value, environment)
        })
    });
    let mut prefixes: Vec<PathBuf> = named.chain(written).filter(|dir| dir.is_absolute()).collect();
    prefixes.push(home.join(".npm-global"));
    prefixes.push(home.join(".local"));
    prefixes.extend(environment.var("APPDATA").map(|dir| Path::new(dir).join("npm")));
    prefixes
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut children: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .take(64)
        .collect();
    children.sort();
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(modules: &Path, version: &str) -> PathBuf {
        let dir = modules.join("openclaw");
        fs::create_dir_all(dir.join("dist")).unwrap();
        fs::write(
            dir.join("package.json"),
            format!(r#"{{"name":"openclaw","version":"{version}"}}"#),
        )
        .unwrap();
        fs::write(dir.join("openclaw.mjs"), "#!/usr/bin/env node\n").unwrap();
        fs::canonicalize(dir).unwrap()
    }

    fn environment(home: &Path) -> Environment {
        Environment::new([], home, home)
    }

    fn versions(environment: &Environment) -> Vec<(&'static str, String)> {
        installed(environment, &Settings::default())
            .into_iter()
            .map(|found| {
                (
                    found.what,
                    found.version.map(|v| v.to_string()).unwrap_or_default(),
                )
            })
            .collect()
    }

    #[cfg(unix)]
    #[test]
    fn the_package_above_a_link_on_path_tells_the_version() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let package = plant(&home.join("prefix/lib/node_modules"), "2026.6.1");
        fs::create_dir_all(home.join("prefix/bin")).unwrap();
        let link = home.join("prefix/bin/openclaw");
        std::os::unix::fs::symlink("../lib/node_modules/openclaw/openclaw.mjs", &link).unwrap();
        let environment = environment(home).with_var("PATH", &link.parent().unwrap().to_string_lossy());
        assert_eq!(
            installed(&environment, &Settings::default()),
            [Program {
                what: "PATH",
                launcher: link,
                package: Some(package),
                version: Some(Version::new(2026, 6, 1)),
            }]
        );
    }

    #[test]
    fn a_program_in_the_working_directory_or_a_relative_path_entry_is_ignored() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let work = home.join("work");
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("openclaw"), "#!/bin/sh\n").unwrap();
        fs::write(
            work.join("package.json"),
            r#"{"name":"openclaw","version":"2020.1.1"}"#,
        )
        .unwrap();
        let climbing = format!(".::work:{}/x/../work:..", home.display());
        let environment = Environment::new([("PATH".to_owned(), climbing)], home, &work);
        assert_eq!(versions(&environment), []);
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_everybody_could_have_planted_is_ignored() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let open = home.join("open");
        let package = plant(&open.join("lib/node_modules"), "2026.6.1");
        fs::create_dir(home.join("bin")).unwrap();
        let link = home.join("bin/openclaw");
        std::os::unix::fs::symlink(package.join("openclaw.mjs"), &link).unwrap();
        let environment = environment(home)
            .with_var("PATH", &home.join("bin").to_string_lossy())
            .with_var("NPM_CONFIG_PREFIX", &open.to_string_lossy());
        let settings = Settings {
            openclaw_binary: Some(link),
            ..Settings::default()
        };
        assert_eq!(installed(&environment, &settings).len(), 1, "the package");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(installed(&environment, &settings), []);
    }

    #[test]
    fn package_managers_directories_are_found_without_path() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        plant(
            &home.join(".nvm/versions/node/v24.16.0/lib/node_modules"),
            "2026.2.17",
        );
        plant(
            &home.join(".nvm/versions/node/v22.1.0/lib/node_modules"),
            "2026.4.29",
        );
        plant(
            &home.join(".volta/tools/image/packages/openclaw/lib/node_modules"),
            "2026.6.1",
        );
        plant(&home.join("npmrc/lib/node_modules"), "2026.7.1");
        plant(&home.join("pnpm/global/5/node_modules"), "2026.8.2");
        plant(&home.join(".bun/install/global/node_modules"), "soon");
        fs::write(home.join(".npmrc"), "prefix = ${HOME}/npmrc\n//r/:_authToken=x\n").unwrap();
        let environment = environment(home).with_var("PNPM_HOME", &home.join("pnpm").to_string_lossy());
        let text = |items: &[(&'static str, &str)]| -> Vec<_> {
            items
                .iter()
                .map(|(what, version)| (*what, (*version).to_owned()))
                .collect()
        };
        assert_eq!(
            versions(&environment),
            text(&[
                ("npm", "2026.7.1"),
                ("pnpm", "2026.8.2"),
                ("nvm", "2026.4.29"),
                ("nvm", "2026.2.17"),
                ("volta", "2026.6.1"),
                ("bun", ""),
            ])
        );
    }

    #[test]
    fn shims_of_pnpm_and_of_npm_on_windows_lead_to_the_package() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        plant(&home.join("shims/global/5/node_modules"), "2026.6.1");
        let shim = home.join("shims/openclaw");
        for text in [
            "#!/bin/sh\nbasedir=$(dirname \"$0\")\nexec node  \"$basedir/global/5/node_modules/openclaw/openclaw.mjs\" \"$@\"\n",
            "@ECHO off\r\n\"%_prog%\"  \"%dp0%\\global\\5\\node_modules\\openclaw\\openclaw.mjs\" %*\r\n",
        ] {
            fs::write(&shim, text).unwrap();
            let settings = Settings {
                openclaw_binary: Some(shim.clone()),
                ..Settings::default()
            };
            let found = installed(&environment(home), &settings);
            assert_eq!(found[0].version, Some(Version::new(2026, 6, 1)), "{text}");
            assert_eq!((found[0].what, &found[0].launcher), ("setting", &shim));
        }
    }

    #[test]
    fn a_foreign_or_broken_package_json_is_no_openclaw() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let bin = home.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("openclaw"), "").unwrap();
        let environment = environment(home).with_var("PATH", &bin.to_string_lossy());
        for text in [
            "",
            "{",
            "[]",
            "{\"name\":\"other\",\"version\":\"2026.6.1\"}",
            "{\"name\":1}",
        ] {
            fs::write(bin.join("package.json"), text).unwrap();
            let found = installed(&environment, &Settings::default());
            assert_eq!(
                found.len(),
                1,
                "a program without a known package stays a program"
            );
            assert_eq!(
                (found[0].package.clone(), found[0].version),
                (None, None),
                "{text}"
            );
        }
    }
}
