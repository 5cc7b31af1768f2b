//! Kalit's own settings: `<config>/kalit/settings.json`, strict JSON that a person may edit too.
//! Keys that this version does not know stay as they are, defaults are not written, and a file
//! that does not parse is never overwritten.

mod key;
mod mute;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::durable;
use crate::environment::Environment;
use crate::{Error, ErrorCode, Result};

pub use key::Key;
pub(crate) use key::{flag, invalid};
pub use mute::muted_until;

/// Larger files are not settings.
const MAX_BYTES: u64 = 1024 * 1024;
/// How long an update waits for another Kalit process that is updating.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What a person chose. Everything has a default; a missing file is all defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `stateDir`: OpenClaw's state directory, before the environment's. `~` is the home.
    pub state_dir: Option<PathBuf>,
    /// `openclawBinary`: the `openclaw` program, before the one on `PATH`.
    pub openclaw_binary: Option<PathBuf>,
    /// `proxy`: for token endpoints and for OpenClaw's commands, before the environment's.
    pub proxy: Option<String>,
    /// `trustPids`: process ids in OpenClaw's locks mean this machine's processes, although
    /// something looked like another container.
    pub trust_pids: bool,
    /// `watchOnly`: never renew anything.
    pub watch_only: bool,
    /// `notifications`: show desktop notifications (default: yes).
    pub notifications: bool,
    /// `showNames`: account names may appear in tray, window and notifications (default: yes).
    pub show_names: bool,
    /// `language`: of tray, window and notifications, a code such as `uz`; the system's if not chosen.
    pub language: Option<String>,
    /// `mutedUntil`: no notification about trouble before this time.
    pub muted_until: Option<Timestamp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: None,
            openclaw_binary: None,
            proxy: None,
            trust_pids: false,
            watch_only: false,
            notifications: true,
            show_names: true,
            language: None,
            muted_until: None,
        }
    }
}

impl Settings {
    /// Reads the settings; a missing file gives the defaults.
    ///
    /// # Errors
    /// `settings.unparsable` for anything that is not a settings file of version 1.
    pub fn load(environment: &Environment) -> Result<Self> {
        Ok(Self::read(&settings_path(environment))?.0)
    }

    /// Reads, changes and durably writes the settings, one Kalit process at a time.
    ///
    /// # Errors
    /// `settings.unparsable` leaves the file as it is; `lock.busy` when another Kalit keeps the
    /// settings locked; `vault.failed` when the directory cannot be written.
    pub fn update(environment: &Environment, change: impl FnOnce(&mut Settings)) -> Result<Self> {
        Self::try_update(environment, |settings| {
            change(settings);
            Ok(())
        })
    }

    /// As [`Settings::update`]; a change that is refused leaves the file as it is.
    ///
    /// # Errors
    /// Those of [`Settings::update`] and of `change`.
    pub fn try_update(
        environment: &Environment,
        change: impl FnOnce(&mut Settings) -> Result<()>,
    ) -> Result<Self> {
        let path = settings_path(environment);
        let dir = environment.config_dir();
        durable::create_dir(&dir).map_err(|error| unwritable(&path, error))?;
        let _lock = lock(&dir.join("settings.lock"))?;
        let (mut settings, document) = Self::read(&path)?;
        change(&mut settings)?;
        let mut text = serde_json::to_string_pretty(&settings.to_document(document))
            .map_err(|error| unwritable(&path, io::Error::other(error)))?;
        text.push('\n');
        // A file that is kept elsewhere by a link (a dotfiles repository) stays a link.
        let target = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        durable::replace(&target, text.as_bytes()).map_err(|error| unwritable(&path, error))?;
        Ok(settings)
    }

    /// The settings and the file's own keys, in its order.
    fn read(path: &Path) -> Result<(Self, Map<String, Value>)> {
        match read_bounded(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Self::default(), Map::new())),
            Err(error) => Err(unparsable(
                path,
                &say!("it cannot be read ({kind})", kind = error.kind()),
            )),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<(Self, Map<String, Value>)> {
        let document = match serde_json::from_str(text) {
            Ok(Value::Object(document)) => document,
            Ok(_) => return Err(unparsable(path, &say!("it is not a JSON object"))),
            Err(error) => {
                return Err(unparsable(
                    path,
                    &say!(
                        "line {line}, column {column}",
                        line = error.line(),
                        column = error.column()
                    ),
                ));
            }
        };
        match document.get("version") {
            None => {}
            Some(version) if version.as_u64() == Some(1) => {}
            Some(_) => return Err(unparsable(path, &say!("its version is not 1"))),
        }
        let defaults = Self::default();
        let text_of = |key: &str| match document.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(PathBuf::from(text.trim()))),
            Some(_) => Err(unparsable(path, &say!("{place} is not a string", place = key))),
        };
        let word = |key: &str| match document.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(word)) => Ok(Some(word.clone())),
            Some(_) => Err(unparsable(path, &say!("{place} is not a string", place = key))),
        };
        let flag = |key: &str, default: bool| match document.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(unparsable(path, &say!("{key} is neither true nor false", key))),
        };
        let time = |key: &str| match document.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) if number.as_i64().is_some() => {
                Ok(number.as_i64().map(Timestamp::from_millis))
            }
            Some(_) => Err(unparsable(path, &say!("{key} is no time in milliseconds", key))),
        };
        let settings = Self {
            state_dir: text_of("stateDir")?,
            openclaw_binary: text_of("openclawBinary")?,
            proxy: word("proxy")?,
            trust_pids: flag("trustPids", defaults.trust_pids)?,
            watch_only: flag("watchOnly", defaults.watch_only)?,
            notifications: flag("notifications", defaults.notifications)?,
            show_names: flag("showNames", defaults.show_names)?,
            language: word("language")?,
            muted_until: time("mutedUntil")?,
        };
        Ok((settings, document))
    }

    fn to_document(&self, existing: Map<String, Value>) -> Map<String, Value> {
        let defaults = Self::default();
        let path = |path: &Option<PathBuf>| {
            path.as_ref()
                .map(|path| Value::from(path.to_string_lossy().into_owned()))
        };
        let flag = |value: bool, default: bool| (value != default).then_some(Value::Bool(value));
        let fields = [
            ("stateDir", path(&self.state_dir)),
            ("openclawBinary", path(&self.openclaw_binary)),
            ("proxy", self.proxy.clone().map(Value::from)),
            ("trustPids", flag(self.trust_pids, defaults.trust_pids)),
            ("watchOnly", flag(self.watch_only, defaults.watch_only)),
            ("notifications", flag(self.notifications, defaults.notifications)),
            ("showNames", flag(self.show_names, defaults.show_names)),
            ("language", self.language.clone().map(Value::from)),
            (
                "mutedUntil",
                self.muted_until.map(|until| Value::from(until.as_millis())),
            ),
        ];
        let mut document = Map::new();
        document.insert("version".to_owned(), Value::from(1));
        document.extend(existing);
        for (key, value) in fields {
            match value {
                Some(value) => {
                    document.insert(key.to_owned(), value);
                }
                None => {
                    document.shift_remove(key);
                }
            }
        }
        document
    }
}

/// The environment with the proxy that the settings name in place of its own. `NO_PROXY` stays.
pub(crate) fn through_proxy(environment: &Environment) -> Environment {
    let chosen = Settings::load(environment)
        .ok()
        .and_then(|settings| settings.proxy);
    let variables = ["http_proxy", "https_proxy", "all_proxy"];
    chosen
        .into_iter()
        .fold(environment.clone(), |environment, proxy| {
            variables.into_iter().fold(environment, |environment, name| {
                environment
                    .with_var(name, &proxy)
                    .with_var(&name.to_ascii_uppercase(), &proxy)
            })
        })
}

/// Where the settings lie.
pub fn settings_path(environment: &Environment) -> PathBuf {
    environment.config_dir().join("settings.json")
}

fn unparsable(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorCode::SettingsUnparsable,
        say!(
            "Kalit's settings {path} cannot be used: {why}",
            path = path.display(),
            why
        ),
    )
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorCode::VaultFailed,
        say!("Kalit's settings {path} cannot be written", path = path.display()),
    )
    .with_hint(say!(
        "Check free space and permissions of Kalit's configuration directory."
    ))
    .with_source(error)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large"));
    }
    Ok(text)
}

/// Released when the file is dropped.
fn lock(path: &Path) -> Result<File> {
    let failed = |error: io::Error| unwritable(path, error);
    let file = durable::open_lock(path).map_err(failed)?;
    let start = Instant::now();
    while !durable::try_lock(&file).map_err(failed)? {
        if start.elapsed() >= LOCK_WAIT {
            return Err(Error::new(
                ErrorCode::LockBusy,
                say!("another Kalit is changing the settings"),
            ));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(dir: &Path) -> Environment {
        Environment::new([], dir, dir).with_var("KALIT_CONFIG_DIR", &dir.join("kalit").to_string_lossy())
    }

    fn write(environment: &Environment, text: &str) {
        fs::create_dir_all(environment.config_dir()).unwrap();
        fs::write(settings_path(environment), text).unwrap();
    }

    #[test]
    fn a_missing_file_is_all_defaults_and_reading_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        assert_eq!(Settings::load(&environment).unwrap(), Settings::default());
        assert!(!environment.config_dir().exists());
    }

    #[test]
    fn defaults_are_not_written_and_unknown_keys_are_kept_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        write(
            &environment,
            r#"{"version":1,"later":{"a":[1.50,null]},"trustPids":true,"other":7}"#,
        );
        let updated = Settings::update(&environment, |settings| {
            settings.trust_pids = false;
            settings.watch_only = true;
            settings.state_dir = Some("~/oc".into());
        })
        .unwrap();
        assert_eq!(
            fs::read_to_string(settings_path(&environment)).unwrap(),
            "{\n  \"version\": 1,\n  \"later\": {\n    \"a\": [\n      1.50,\n      null\n    ]\n  },\n  \
             \"other\": 7,\n  \"stateDir\": \"~/oc\",\n  \"watchOnly\": true\n}\n"
        );
        assert_eq!(Settings::load(&environment).unwrap(), updated);
        assert!(updated.watch_only && updated.notifications && updated.show_names && !updated.trust_pids);
    }

    #[test]
    fn going_back_to_the_defaults_leaves_only_the_version() {
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        Settings::update(&environment, |settings| settings.notifications = false).unwrap();
        Settings::update(&environment, |settings| settings.notifications = true).unwrap();
        assert_eq!(
            fs::read_to_string(settings_path(&environment)).unwrap(),
            "{\n  \"version\": 1\n}\n"
        );
    }

    #[test]
    fn a_bad_file_is_reported_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        for bad in [
            "",
            "{",
            "[]",
            "{\"version\":2}",
            "{\"trustPids\":\"yes\"}",
            "{\"stateDir\":1}",
            "{\"mutedUntil\":1.5}",
            "{} //",
            "{,}",
        ] {
            write(&environment, bad);
            let loaded = Settings::load(&environment).unwrap_err();
            assert_eq!(loaded.code(), ErrorCode::SettingsUnparsable, "{bad}");
            let updated = Settings::update(&environment, |settings| settings.watch_only = true).unwrap_err();
            assert_eq!(updated.code(), ErrorCode::SettingsUnparsable, "{bad}");
            assert_eq!(fs::read_to_string(settings_path(&environment)).unwrap(), bad);
        }
        fs::remove_file(settings_path(&environment)).unwrap();
        fs::create_dir(settings_path(&environment)).unwrap();
        let code = Settings::load(&environment).unwrap_err().code();
        assert_eq!(code, ErrorCode::SettingsUnparsable);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_private_and_a_link_stays_a_link() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        fs::create_dir_all(environment.config_dir()).unwrap();
        let real = dir.path().join("dotfiles.json");
        fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, settings_path(&environment)).unwrap();
        Settings::update(&environment, |settings| settings.show_names = false).unwrap();
        assert!(
            settings_path(&environment)
                .symlink_metadata()
                .unwrap()
                .is_symlink()
        );
        assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!Settings::load(&environment).unwrap().show_names);
        let left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension() == Some("tmp".as_ref()))
            .collect();
        assert!(left.is_empty());
    }

    #[test]
    fn concurrent_updates_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        let changes: [fn(&mut Settings); 4] = [
            |settings| settings.trust_pids = true,
            |settings| settings.watch_only = true,
            |settings| settings.notifications = false,
            |settings| settings.show_names = false,
        ];
        std::thread::scope(|scope| {
            for change in changes {
                let environment = &environment;
                scope.spawn(move || Settings::update(environment, change).unwrap());
            }
        });
        let settings = Settings::load(&environment).unwrap();
        assert_eq!(
            (
                settings.trust_pids,
                settings.watch_only,
                settings.notifications,
                settings.show_names
            ),
            (true, true, false, false)
        );
    }
}
