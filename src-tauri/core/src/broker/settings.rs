//! Kalit's settings as a command line and the window show and change them: those of the file, and
//! whether Kalit starts at login, which the system knows.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::Broker;
use crate::autostart;
use crate::error::{Error, ErrorCode, Result};
use crate::install::{paths, program};
use crate::routing::TimeZone;
use crate::settings::{Key, Settings, flag, invalid, muted_until, settings_path};
use crate::view::SCHEMA;

/// A setting by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    InFile(Key),
    /// `launchAtLogin`.
    LaunchAtLogin,
}

impl Setting {
    /// All of them, in the order in which they are shown.
    pub fn all() -> impl Iterator<Item = Self> {
        Key::ALL
            .into_iter()
            .map(Self::InFile)
            .chain([Self::LaunchAtLogin])
    }

    /// The setting with this name.
    ///
    /// # Errors
    /// `settings.unknown`, with the names that there are.
    pub fn parse(name: &str) -> Result<Self> {
        Self::all().find(|setting| setting.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::all().map(Self::name).collect();
            Error::new(
                ErrorCode::SettingsUnknown,
                say!("there is no setting {name}", name = format_args!("{name:?}")),
            )
            .with_hint(say!("Allowed: {names}.", names = names.join(", ")))
        })
    }

    /// Its name: for those of the file the key there.
    pub fn name(self) -> &'static str {
        match self {
            Self::InFile(key) => key.name(),
            Self::LaunchAtLogin => "launchAtLogin",
        }
    }
}

/// All settings, and what follows from them now.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SettingsView {
    pub schema: u32,
    pub kalit_version: &'static str,
    /// Where they lie.
    pub file: String,
    pub settings: Vec<SettingView>,
    /// The state directory in use.
    pub state_dir: String,
    /// The OpenClaw program in use, if one was found.
    pub openclaw: Option<String>,
    pub openclaw_version: Option<String>,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SettingView {
    pub key: &'static str,
    /// Null: nothing is chosen, or the setting does not exist on this system.
    pub value: Value,
    pub default: Value,
}

/// For how long notifications about trouble are muted from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mute {
    Hour,
    /// To the morning of the next day.
    Tomorrow,
    Off,
}

impl Broker {
    /// Mutes notifications, for all Kalit's processes.
    ///
    /// # Errors
    /// `settings.unparsable`, `lock.busy`, `vault.failed`.
    pub fn mute(&self, mute: Mute) -> Result<()> {
        let text = match mute {
            Mute::Hour => "1h",
            Mute::Tomorrow => "tomorrow",
            Mute::Off => "off",
        };
        let until = muted_until(text, self.inner.now(), &TimeZone::system()).flatten();
        Settings::update(&self.inner.environment, |settings| settings.muted_until = until).map(|_| ())
    }

    /// All settings. Reads the disk.
    ///
    /// # Errors
    /// `settings.unparsable`; `state_dir.missing`.
    pub fn settings(&self) -> Result<SettingsView> {
        let environment = &self.inner.environment;
        let settings = self.inner.settings()?;
        let installation = self.inner.installation()?;
        let program = installation.program.as_ref();
        Ok(SettingsView {
            schema: SCHEMA,
            kalit_version: env!("CARGO_PKG_VERSION"),
            file: settings_path(environment).display().to_string(),
            settings: Setting::all().map(|one| self.view(one, &settings)).collect(),
            state_dir: installation.state_dir.path.display().to_string(),
            openclaw: program.map(|program| program.launcher.display().to_string()),
            openclaw_version: program.and_then(|program| Some(program.version?.to_string())),
        })
    }

    /// Changes one setting, for all Kalit's processes; null stands for its default. `tray` is the
    /// program that is to start at login. Reads and writes the disk.
    ///
    /// # Errors
    /// `settings.invalid`, and then nothing was written; `settings.unparsable`, `lock.busy`,
    /// `vault.failed`, `autostart.unavailable`.
    pub fn set_setting(&self, setting: Setting, value: &Value, tray: &Path) -> Result<SettingView> {
        let environment = &self.inner.environment;
        let settings = match setting {
            Setting::InFile(key) => Settings::try_update(environment, |settings| {
                settings.set(key, value)?;
                self.check(key, settings)
            })?,
            Setting::LaunchAtLogin => {
                let on = match value {
                    Value::Null => false,
                    Value::Bool(on) => *on,
                    _ => return Err(invalid(setting.name(), value, flag())),
                };
                autostart::set(environment, on, tray)?;
                self.inner.settings()?
            }
        };
        Ok(self.view(setting, &settings))
    }

    /// Refuses a path at which there is nothing: with it Kalit would seem to find no OpenClaw.
    fn check(&self, key: Key, settings: &Settings) -> Result<()> {
        let environment = &self.inner.environment;
        let refused = |path: &PathBuf, allowed: String| {
            let value = Value::from(path.to_string_lossy().into_owned());
            Err(invalid(key.name(), &value, allowed))
        };
        match (key, &settings.state_dir, &settings.openclaw_binary) {
            (Key::StateDir, Some(dir), _)
                if !paths::user_path(&dir.to_string_lossy(), environment).is_dir() =>
            {
                refused(dir, say!("Allowed: a directory that exists."))
            }
            (Key::OpenclawBinary, _, Some(binary)) if program::named(environment, binary).is_none() => {
                refused(
                    binary,
                    say!("Allowed: a program that exists, in a directory that not everybody can write."),
                )
            }
            _ => Ok(()),
        }
    }

    fn view(&self, setting: Setting, settings: &Settings) -> SettingView {
        let (value, default) = match setting {
            Setting::InFile(key) => (settings.value(key), Settings::default().value(key)),
            Setting::LaunchAtLogin => {
                let on = autostart::is_on(&self.inner.environment);
                (Value::Bool(on), Value::Bool(false))
            }
        };
        SettingView {
            key: setting.name(),
            value,
            default,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::testbed::{Machine, NOW};

    fn set(machine: &Machine, name: &str, value: Value) -> Result<SettingView> {
        let setting = Setting::parse(name)?;
        machine
            .broker()
            .set_setting(setting, &value, Path::new("/nowhere"))
    }

    #[test]
    fn a_wrong_name_tells_the_right_ones() {
        let error = Setting::parse("statedir").unwrap_err();
        assert_eq!(error.code(), ErrorCode::SettingsUnknown);
        assert!(
            error.hint().contains("stateDir, openclawBinary"),
            "{}",
            error.hint()
        );
        for setting in Setting::all() {
            assert_eq!(Setting::parse(setting.name()).unwrap(), setting);
        }
    }

    #[test]
    fn a_path_at_which_there_is_nothing_is_refused_and_the_file_stays() {
        let machine = Machine::new();
        set(&machine, "watchOnly", json!(true)).unwrap();
        let file = settings_path(&machine.environment());
        let before = fs::read(&file).unwrap();
        let nowhere = machine.path("nowhere").display().to_string();
        for name in ["stateDir", "openclawBinary"] {
            let error = set(&machine, name, json!(nowhere)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::SettingsInvalid, "{name}");
        }
        assert_eq!(fs::read(&file).unwrap(), before);
        let dir = machine.path("another");
        fs::create_dir(&dir).unwrap();
        set(&machine, "stateDir", json!(dir)).unwrap();
        let view = machine.broker().settings().unwrap();
        assert_eq!(view.state_dir, dir.display().to_string());
        assert_eq!(view.file, file.display().to_string());
    }

    #[test]
    fn notifications_are_muted_until_their_time_comes() {
        let machine = Machine::new();
        let broker = machine.broker();
        assert!(broker.wants_notifications());
        let until = NOW.plus_millis(3_600_000);
        set(&machine, "mutedUntil", json!(until.as_millis())).unwrap();
        assert_eq!(broker.snapshot().muted_until, Some(until));
        assert!(!broker.wants_notifications());
        machine.clock.advance_millis(3_600_000);
        assert!(broker.wants_notifications());
        set(&machine, "notifications", json!(false)).unwrap();
        set(&machine, "mutedUntil", Value::Null).unwrap();
        assert!(!broker.wants_notifications());
    }

    #[test]
    fn starting_at_login_needs_the_tray() {
        let machine = Machine::new();
        let error = set(&machine, "launchAtLogin", json!(true)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AutostartUnavailable);
        let error = set(&machine, "launchAtLogin", json!("yes")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::SettingsInvalid);
    }
}
