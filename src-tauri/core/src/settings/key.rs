//! The settings by the names that they have in the file: which there are, and what each may be. What
//! a person types or picks comes through here, so that nothing wrong is ever written.

use std::path::{Path, PathBuf};

use serde_json::Value;
use url::Url;

use super::Settings;
use crate::clock::Timestamp;
use crate::language;
use crate::{Error, ErrorCode, Result};

/// A setting of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    StateDir,
    OpenclawBinary,
    Proxy,
    TrustPids,
    WatchOnly,
    Notifications,
    ShowNames,
    Language,
    MutedUntil,
}

/// What a setting holds.
enum Held<'a> {
    Path(&'a mut Option<PathBuf>),
    Flag(&'a mut bool),
    Language(&'a mut Option<String>),
    Proxy(&'a mut Option<String>),
    Time(&'a mut Option<Timestamp>),
}

impl Key {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Key; 9] = [
        Key::StateDir,
        Key::OpenclawBinary,
        Key::Proxy,
        Key::TrustPids,
        Key::WatchOnly,
        Key::Notifications,
        Key::ShowNames,
        Key::Language,
        Key::MutedUntil,
    ];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Key::StateDir => "stateDir",
            Key::OpenclawBinary => "openclawBinary",
            Key::Proxy => "proxy",
            Key::TrustPids => "trustPids",
            Key::WatchOnly => "watchOnly",
            Key::Notifications => "notifications",
            Key::ShowNames => "showNames",
            Key::Language => "language",
            Key::MutedUntil => "mutedUntil",
        }
    }

    /// The setting with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }
}

impl Settings {
    /// What a setting is now; null where nothing is chosen.
    pub fn value(&self, key: Key) -> Value {
        match self.clone().held(key) {
            Held::Path(path) => path.as_ref().map_or(Value::Null, |path| {
                Value::from(path.to_string_lossy().into_owned())
            }),
            Held::Flag(flag) => Value::Bool(*flag),
            Held::Language(word) | Held::Proxy(word) => word.clone().map_or(Value::Null, Value::from),
            Held::Time(time) => time.map_or(Value::Null, |at| Value::from(at.as_millis())),
        }
    }

    /// Changes a setting; null stands for its default.
    ///
    /// # Errors
    /// `settings.invalid` for a value of another type, and for a path that depends on where a program
    /// is started.
    pub fn set(&mut self, key: Key, value: &Value) -> Result<()> {
        let default = Self::default().value(key);
        let value = if value.is_null() { &default } else { value };
        match (self.held(key), value) {
            (Held::Path(path), Value::Null) => *path = None,
            (Held::Path(path), Value::String(text)) if is_anchored(text.trim()) => {
                *path = Some(PathBuf::from(text.trim()));
            }
            (Held::Flag(flag), Value::Bool(on)) => *flag = *on,
            (Held::Language(word) | Held::Proxy(word), Value::Null) => *word = None,
            (Held::Proxy(proxy), Value::String(text)) if is_proxy(text.trim()) => {
                *proxy = Some(text.trim().to_owned());
            }
            (Held::Language(code), Value::String(text)) if language::codes().any(|known| known == text) => {
                *code = Some(text.clone());
            }
            (Held::Time(time), Value::Null) => *time = None,
            (Held::Time(time), Value::Number(number)) if number.as_i64().is_some_and(|at| at >= 0) => {
                *time = number.as_i64().map(Timestamp::from_millis);
            }
            (Held::Path(_), _) => return Err(invalid(key.name(), value, any_path())),
            (Held::Flag(_), _) => return Err(invalid(key.name(), value, flag())),
            (Held::Language(_), _) => {
                let codes: Vec<&str> = language::codes().collect();
                let allowed = say!("Allowed: {names}.", names = codes.join(", "));
                return Err(invalid(key.name(), value, allowed));
            }
            (Held::Proxy(_), Value::String(text)) if has_password(text) => {
                let kept_back = Value::from("…");
                return Err(invalid(key.name(), &kept_back, password()));
            }
            (Held::Proxy(_), _) => return Err(invalid(key.name(), value, address())),
            (Held::Time(_), _) => return Err(invalid(key.name(), value, time())),
        }
        Ok(())
    }

    fn held(&mut self, key: Key) -> Held<'_> {
        match key {
            Key::StateDir => Held::Path(&mut self.state_dir),
            Key::OpenclawBinary => Held::Path(&mut self.openclaw_binary),
            Key::Proxy => Held::Proxy(&mut self.proxy),
            Key::TrustPids => Held::Flag(&mut self.trust_pids),
            Key::WatchOnly => Held::Flag(&mut self.watch_only),
            Key::Notifications => Held::Flag(&mut self.notifications),
            Key::ShowNames => Held::Flag(&mut self.show_names),
            Key::Language => Held::Language(&mut self.language),
            Key::MutedUntil => Held::Time(&mut self.muted_until),
        }
    }
}

/// What a flag may be.
pub(crate) fn flag() -> String {
    say!("Allowed: true, false.")
}

fn time() -> String {
    say!(
        "Allowed: a time span such as `1h`, `tomorrow`, `off`, a time such as `22:30` or `2026-11-28 22:30`, or milliseconds since 1970."
    )
}

fn any_path() -> String {
    say!("Allowed: an absolute path, or one that begins with `~/`.")
}

fn address() -> String {
    say!("Allowed: an address such as `http://127.0.0.1:8080` or `socks5h://127.0.0.1:1080`.")
}

fn password() -> String {
    say!("Allowed: an address without a password. One with a password belongs in the variable HTTPS_PROXY.")
}

/// The address of a proxy that a file may hold.
fn is_proxy(text: &str) -> bool {
    let schemes = ["http", "https", "socks5", "socks5h"];
    Url::parse(text).is_ok_and(|url| {
        schemes.contains(&url.scheme())
            && url.has_host()
            && !has_password(text)
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
    })
}

/// Whether something stands before the host, however the rest is spelled.
fn has_password(text: &str) -> bool {
    text.contains('@')
}

/// Whether a path means the same wherever a program is started.
fn is_anchored(text: &str) -> bool {
    text == "~" || text.starts_with("~/") || text.starts_with("~\\") || Path::new(text).is_absolute()
}

/// A value that a setting cannot have; `allowed` is a sentence.
pub(crate) fn invalid(name: &str, value: &Value, allowed: String) -> Error {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let message = say!("{name} cannot be {text}", name, text = format_args!("{text:?}"));
    Error::new(ErrorCode::SettingsInvalid, message).with_hint(allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_setting_is_set_read_and_taken_back_by_its_name() {
        for key in Key::ALL {
            assert_eq!(Key::parse(key.name()), Some(key));
            let mut settings = Settings::default();
            let default = settings.value(key);
            let other = match default {
                Value::Bool(on) => json!(!on),
                _ if key == Key::MutedUntil => json!(1_763_900_000_000_i64),
                _ if key == Key::Language => json!("en"),
                _ if key == Key::Proxy => json!("socks5h://127.0.0.1:1080"),
                _ => json!("~/elsewhere"),
            };
            settings.set(key, &other).unwrap();
            assert_eq!(settings.value(key), other, "{key:?}");
            assert_ne!(settings, Settings::default());
            settings.set(key, &Value::Null).unwrap();
            assert_eq!(settings, Settings::default(), "{key:?}");
        }
        assert_eq!(Key::parse("watchonly"), None);
    }

    #[test]
    fn a_value_of_another_kind_is_refused_and_changes_nothing() {
        let cases = [
            (Key::WatchOnly, json!("yes")),
            (Key::WatchOnly, json!(1)),
            (Key::Language, json!("tlh")),
            (Key::Proxy, json!("127.0.0.1:8080")),
            (Key::Proxy, json!("ftp://127.0.0.1")),
            (Key::Proxy, json!("http://127.0.0.1:8080/path")),
            (Key::Proxy, json!("http://")),
            (Key::Language, json!(["en"])),
            (Key::MutedUntil, json!("tomorrow")),
            (Key::MutedUntil, json!(-1)),
            (Key::MutedUntil, json!(1.5)),
            (Key::StateDir, json!(true)),
            (Key::StateDir, json!("")),
            (Key::StateDir, json!("here/.openclaw")),
            (Key::OpenclawBinary, json!("~other/openclaw")),
        ];
        for (key, value) in cases {
            let mut settings = Settings::default();
            let error = settings.set(key, &value).unwrap_err();
            assert_eq!(error.code(), ErrorCode::SettingsInvalid, "{value}");
            assert!(error.hint().starts_with("Allowed: "), "{}", error.hint());
            assert_eq!(settings, Settings::default(), "{value}");
        }
    }

    #[test]
    fn a_proxys_password_is_refused_and_not_repeated() {
        let mut settings = Settings::default();
        let value = json!("http://ada:test-password@127.0.0.1:8080");
        let error = settings.set(Key::Proxy, &value).unwrap_err();
        assert_eq!(error.code(), ErrorCode::SettingsInvalid);
        assert!(!format!("{} {}", error.message(), error.hint()).contains("test-password"));
        assert!(error.hint().contains("HTTPS_PROXY"));
        assert_eq!(settings, Settings::default());
    }
}
