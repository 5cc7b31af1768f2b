//! Where OpenClaw keeps its files: state directories, the OAuth directory, agent directories.
//! Only looks; creates nothing. Rules as of OpenClaw 2026.2.17, 2026.4.29 and 2026.6.1.

use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::gateway_unit::{self, GatewayUnit};
use super::version::Version;
use crate::environment::Environment;
use crate::settings::Settings;
use crate::vault;

/// Variables that move single parts of an installation. They belong to the state directory that
/// the same environment names and to no other one.
const PART_VARIABLES: [&str; 4] = [
    "OPENCLAW_CONFIG_PATH",
    "OPENCLAW_AGENT_DIR",
    "PI_CODING_AGENT_DIR",
    "OPENCLAW_OAUTH_DIR",
];

/// Release in which `CLAWDBOT_STATE_DIR`, `.moldbot` and `.moltbot` are known to be gone.
const LEGACY_NAMES_GONE: Version = Version::new(2026, 4, 29);

/// A state directory that exists or would be used, and who says so.
#[derive(Clone)]
pub struct StateDir {
    /// Absolute, as OpenClaw would print it; symlinks are not resolved.
    pub path: PathBuf,
    /// Who names it.
    pub source: StateDirSource,
    /// The environment OpenClaw has when it uses this directory.
    pub(crate) environment: Environment,
}

/// Who names a state directory, first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDirSource {
    /// `--state-dir`.
    Explicit,
    /// `stateDir` of Kalit's settings.
    Setting,
    /// `OPENCLAW_STATE_DIR` (2026.2.17 also `CLAWDBOT_STATE_DIR`).
    Environment,
    /// An installed gateway service: systemd user unit or launchd agent.
    GatewayUnit,
    /// `~/.openclaw`, or a legacy name that exists.
    Default,
    /// `~/.openclaw-<name>` of `openclaw --profile <name>`.
    Profile,
}

impl StateDir {
    /// The path with symlinks resolved as far as it exists.
    pub fn canonical(&self) -> PathBuf {
        canonical(&self.path)
    }

    /// First 16 hexadecimal digits of SHA-256 of the canonical path: names Kalit's own directory
    /// for this installation.
    pub fn installation_id(&self) -> String {
        vault::installation_id(&self.canonical())
    }

    /// `OPENCLAW_OAUTH_DIR`, else `<state>/credentials`: the directory of legacy `oauth.json`.
    pub fn oauth_dir(&self) -> PathBuf {
        self.environment
            .var("OPENCLAW_OAUTH_DIR")
            .map_or_else(|| self.path.join("credentials"), |dir| self.user_path(dir))
    }

    /// `<state>/agent`: the one agent directory of the oldest releases.
    pub fn legacy_agent_dir(&self) -> PathBuf {
        self.path.join("agent")
    }

    /// A path from a variable or from the config: `~` expanded, made absolute against the working
    /// directory, as OpenClaw's `resolveUserPath` does.
    pub(crate) fn user_path(&self, text: &str) -> PathBuf {
        user_path(text, &self.environment)
    }
}

impl fmt::Debug for StateDir {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({:?})", self.path.display(), self.source)
    }
}

/// All state directories of this machine and user; the first is the current one. `installed` is
/// the newest OpenClaw program found: releases from 2026.4.29 on ignore the oldest names.
pub(super) fn state_dirs(
    environment: &Environment,
    settings: &Settings,
    explicit: Option<&Path>,
    installed: Option<Version>,
) -> Vec<StateDir> {
    let old_names = installed.is_none_or(|version| version < LEGACY_NAMES_GONE);
    let units = gateway_unit::installed(environment);
    let bare = without_parts(environment);
    let mut found = Found {
        dirs: Vec::new(),
        units: &units,
    };

    if let Some(path) = explicit {
        let path = user_path(&path.to_string_lossy(), environment);
        found.push(path, StateDirSource::Explicit, environment.clone());
    } else if let Some(path) = &settings.state_dir {
        let path = user_path(&path.to_string_lossy(), environment);
        found.push(path, StateDirSource::Setting, environment.clone());
    }
    let named = environment
        .var("OPENCLAW_STATE_DIR")
        .or_else(|| environment.var("CLAWDBOT_STATE_DIR").filter(|_| old_names));
    if let Some(named) = named {
        let path = user_path(named, environment);
        let environment = if found.dirs.is_empty() { environment } else { &bare };
        found.push(path, StateDirSource::Environment, environment.clone());
    }
    for unit in &units {
        found.push(
            unit.state_dir(&bare, old_names),
            StateDirSource::GatewayUnit,
            unit.environment(&bare),
        );
    }
    let default = default_state_dir(environment, old_names);
    let own = if found.dirs.is_empty() { environment } else { &bare };
    if found.dirs.is_empty() || default.is_dir() {
        found.push(default, StateDirSource::Default, own.clone());
    }
    for profile in profile_dirs(&openclaw_home(environment)) {
        found.push(profile, StateDirSource::Profile, bare.clone());
    }
    found.dirs
}

struct Found<'a> {
    dirs: Vec<StateDir>,
    units: &'a [GatewayUnit],
}

impl Found<'_> {
    fn push(&mut self, path: PathBuf, source: StateDirSource, environment: Environment) {
        let place = canonical(&path);
        if self.dirs.iter().any(|known| known.canonical() == place) {
            return;
        }
        let environment = self.with_gateway_parts(&place, environment);
        self.dirs.push(StateDir {
            path,
            source,
            environment,
        });
    }

    /// The gateway is who uses the store: what its unit says about single parts counts where
    /// Kalit's own environment is silent.
    fn with_gateway_parts(&self, place: &Path, mut environment: Environment) -> Environment {
        let unit = self
            .units
            .iter()
            .find(|unit| canonical(&unit.state_dir(&environment, true)) == place);
        for name in PART_VARIABLES {
            if environment.var(name).is_none()
                && let Some(value) = unit.and_then(|unit| unit.var(name))
            {
                environment = environment.with_var(name, value);
            }
        }
        environment
    }
}

/// `<home>` of OpenClaw: `OPENCLAW_HOME` (may begin with `~`), else the environment's home.
pub(super) fn openclaw_home(environment: &Environment) -> PathBuf {
    let home = environment.home();
    let Some(own) = environment
        .var("OPENCLAW_HOME")
        .filter(|own| !matches!(*own, "undefined" | "null"))
    else {
        return environment.working_dir().join(home);
    };
    absolute(&expand_tilde(own, &home), environment)
}

/// `<home>/.openclaw` if it exists, else the first legacy directory that does, else `.openclaw`.
pub(super) fn default_state_dir(environment: &Environment, old_names: bool) -> PathBuf {
    let home = openclaw_home(environment);
    let legacy: &[&str] = if old_names {
        &[".clawdbot", ".moldbot", ".moltbot"]
    } else {
        &[".clawdbot"]
    };
    let current = home.join(".openclaw");
    if current.exists() {
        return current;
    }
    legacy
        .iter()
        .map(|name| home.join(name))
        .find(|dir| dir.exists())
        .unwrap_or(current)
}

/// `~` expanded with OpenClaw's home, then absolute against the working directory, `.` and `..`
/// folded as Node's `path.resolve` does.
pub(crate) fn user_path(text: &str, environment: &Environment) -> PathBuf {
    let expanded = expand_tilde(text.trim(), &openclaw_home(environment));
    absolute(&expanded, environment)
}

/// Folds `.` and `..` without looking at the disk, as Node's `path.normalize`.
pub(super) fn normalize(path: &Path) -> PathBuf {
    let mut folded = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                folded.pop();
            }
            other => folded.push(other),
        }
    }
    folded
}

/// Symlinks resolved as far as the path exists, the rest appended: the same before and after the
/// directory is created.
pub(crate) fn canonical(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(real) = fs::canonicalize(existing) {
            return rest.iter().rev().fold(real, |path, name| path.join(name));
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

fn expand_tilde(text: &str, home: &Path) -> PathBuf {
    match text.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with(['/', '\\']) => home.join(rest.trim_start_matches(['/', '\\'])),
        _ => PathBuf::from(text),
    }
}

fn absolute(path: &Path, environment: &Environment) -> PathBuf {
    normalize(&environment.working_dir().join(path))
}

fn without_parts(environment: &Environment) -> Environment {
    PART_VARIABLES.iter().fold(environment.clone(), |bare, name| {
        // An empty variable counts as not set.
        if bare.var(name).is_some() {
            bare.with_var(name, "")
        } else {
            bare
        }
    })
}

/// `~/.openclaw-<name>` that hold something of OpenClaw's; its key directory
/// `.openclaw-auth-profile-secrets` is none of them.
fn profile_dirs(home: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home) else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let profile = name.to_str()?.strip_prefix(".openclaw-")?;
            let legal = !profile.is_empty()
                && profile
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            (legal && profile != "auth-profile-secrets").then(|| home.join(&name))
        })
        .filter(|dir| {
            ["openclaw.json", "agents", "credentials", "state", "agent"]
                .iter()
                .any(|part| dir.join(part).exists())
        })
        .collect();
    dirs.sort();
    dirs
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn environment(home: &Path) -> Environment {
        Environment::new([], home, home)
    }

    fn dirs(environment: &Environment, explicit: Option<&Path>) -> Vec<(PathBuf, StateDirSource)> {
        state_dirs(environment, &Settings::default(), explicit, None)
            .into_iter()
            .map(|dir| (dir.path, dir.source))
            .collect()
    }

    #[test]
    fn explicit_setting_environment_and_default_come_in_this_order() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        fs::create_dir(home.join(".openclaw")).unwrap();
        let environment = environment(home).with_var("OPENCLAW_STATE_DIR", "  ~/by env/../state  ");
        assert_eq!(
            dirs(&environment, Some(Path::new("relative"))),
            [
                (home.join("relative"), StateDirSource::Explicit),
                (home.join("state"), StateDirSource::Environment),
                (home.join(".openclaw"), StateDirSource::Default),
            ]
        );
        let settings = Settings {
            state_dir: Some("~/set".into()),
            ..Settings::default()
        };
        let all = state_dirs(&environment, &settings, None, None);
        assert_eq!(all[0].path, home.join("set"));
        assert_eq!(all[0].source, StateDirSource::Setting);
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn clawdbot_state_dir_counts_only_for_old_or_unknown_releases() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let environment = environment(home).with_var("CLAWDBOT_STATE_DIR", "/srv/claw");
        assert_eq!(
            dirs(&environment, None)[0],
            ("/srv/claw".into(), StateDirSource::Environment)
        );
        let modern = state_dirs(
            &environment,
            &Settings::default(),
            None,
            Some(Version::new(2026, 6, 1)),
        );
        assert_eq!(modern[0].path, home.join(".openclaw"));
        let both = environment.with_var("OPENCLAW_STATE_DIR", "/srv/open");
        assert_eq!(dirs(&both, None)[0].0, PathBuf::from("/srv/open"));
    }

    #[test]
    fn legacy_directories_are_used_only_while_the_current_one_is_missing() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        assert_eq!(
            default_state_dir(&environment(home), true),
            home.join(".openclaw")
        );
        fs::create_dir(home.join(".moltbot")).unwrap();
        assert_eq!(default_state_dir(&environment(home), true), home.join(".moltbot"));
        assert_eq!(
            default_state_dir(&environment(home), false),
            home.join(".openclaw")
        );
        fs::create_dir(home.join(".clawdbot")).unwrap();
        assert_eq!(
            default_state_dir(&environment(home), false),
            home.join(".clawdbot")
        );
        fs::create_dir(home.join(".openclaw")).unwrap();
        assert_eq!(
            default_state_dir(&environment(home), true),
            home.join(".openclaw")
        );
    }

    #[test]
    fn openclaw_home_moves_the_default_and_tildes() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let environment = environment(home)
            .with_var("OPENCLAW_HOME", "~/other")
            .with_var("OPENCLAW_STATE_DIR", "~/s");
        assert_eq!(openclaw_home(&environment), home.join("other"));
        assert_eq!(dirs(&environment, None)[0].0, home.join("other/s"));
        let undefined = environment.with_var("OPENCLAW_HOME", "undefined");
        assert_eq!(openclaw_home(&undefined), home);
    }

    #[test]
    fn profile_directories_are_listed_and_the_key_directory_is_not() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        for dir in [
            ".openclaw-work/agents",
            ".openclaw-dev/state",
            ".openclaw-auth-profile-secrets/agents",
            ".openclaw-a b/agents",
            ".openclaw-empty",
        ] {
            fs::create_dir_all(home.join(dir)).unwrap();
        }
        assert_eq!(
            dirs(&environment(home), None),
            [
                (home.join(".openclaw"), StateDirSource::Default),
                (home.join(".openclaw-dev"), StateDirSource::Profile),
                (home.join(".openclaw-work"), StateDirSource::Profile),
            ]
        );
    }

    #[test]
    fn the_gateways_state_directory_comes_before_the_default() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        fs::create_dir(home.join(".openclaw")).unwrap();
        let units = home.join(".config/systemd/user");
        fs::create_dir_all(&units).unwrap();
        fs::write(
            units.join("openclaw-gateway-work.service"),
            "[Service]\nEnvironment=\"OPENCLAW_STATE_DIR=%h/.openclaw-work\" OPENCLAW_AGENT_DIR=/srv/agent\n",
        )
        .unwrap();
        let environment = environment(home).with_var("OPENCLAW_AGENT_DIR", "/elsewhere");
        let all = state_dirs(&environment, &Settings::default(), None, None);
        assert_eq!(all[0].path, home.join(".openclaw-work"));
        assert_eq!(all[0].source, StateDirSource::GatewayUnit);
        assert_eq!(all[0].environment.var("OPENCLAW_AGENT_DIR"), Some("/srv/agent"));
        assert_eq!(all[1].path, home.join(".openclaw"));
        assert_eq!(all[1].environment.var("OPENCLAW_AGENT_DIR"), None);

        let named = environment.with_var("OPENCLAW_STATE_DIR", "/x");
        let all = state_dirs(&named, &Settings::default(), None, None);
        assert_eq!(all[0].environment.var("OPENCLAW_AGENT_DIR"), Some("/elsewhere"));
        assert_eq!(all[1].environment.var("OPENCLAW_AGENT_DIR"), Some("/srv/agent"));
    }

    #[cfg(unix)]
    #[test]
    fn one_directory_under_two_names_is_one_installation() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        fs::create_dir_all(home.join("real/agents")).unwrap();
        std::os::unix::fs::symlink(home.join("real"), home.join(".openclaw")).unwrap();
        let environment =
            environment(home).with_var("OPENCLAW_STATE_DIR", &home.join("real").to_string_lossy());
        let all = state_dirs(&environment, &Settings::default(), None, None);
        assert_eq!(all.len(), 1);
        let by_link = StateDir {
            path: home.join(".openclaw"),
            ..all[0].clone()
        };
        assert_eq!(by_link.installation_id(), all[0].installation_id());
    }

    #[test]
    fn the_installation_id_is_the_documented_digest_and_survives_creation() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let before = state_dirs(&environment(&home), &Settings::default(), None, None);
        let id = before[0].installation_id();
        let digest = Sha256::digest(home.join(".openclaw").to_string_lossy().as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id, hex[..16]);
        fs::create_dir(home.join(".openclaw")).unwrap();
        assert_eq!(before[0].installation_id(), id);
    }

    #[test]
    fn the_oauth_directory_follows_its_variable() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let all = state_dirs(&environment(home), &Settings::default(), None, None);
        assert_eq!(all[0].oauth_dir(), home.join(".openclaw/credentials"));
        let moved = environment(home).with_var("OPENCLAW_OAUTH_DIR", "~/creds");
        let all = state_dirs(&moved, &Settings::default(), None, None);
        assert_eq!(all[0].oauth_dir(), home.join("creds"));
        assert_eq!(all[0].legacy_agent_dir(), home.join(".openclaw/agent"));
    }
}
