//! What Kalit needs of openclaw.json, read only. Openclaw.json is never edited; parts of a wrong
//! type are left out and named. Read as OpenClaw 2026.2.17 to 2026.6.1 (and `agents.entries` of
//! 2026.9.6) write it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::paths::{self, StateDir};
use super::version::Version;
use super::{Finding, document};
use crate::ErrorCode;
use crate::ids::{AgentId, ProfileId, ProviderId};

/// 2026.2.17 knows all of them, later releases the first two.
const FILE_NAMES: [&str; 4] = ["openclaw.json", "clawdbot.json", "moldbot.json", "moltbot.json"];
/// Sections that are used; variables are substituted in these only, so that a key that some
/// channel reads from the environment never enters this process's memory.
const SECTIONS: [&str; 5] = ["auth", "agents", "session", "bindings", "meta"];

/// The configuration's parts that decide about credentials. Missing parts are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Section `auth`.
    pub auth: AuthConfig,
    /// `agents.list[]`, then `agents.entries{}`; each id once, in the file's order.
    pub agents: Vec<AgentEntry>,
    /// `agents.defaults.model`.
    pub default_model: Option<ModelSelection>,
    /// `agents.defaults.workspace`, as written.
    pub default_workspace: Option<String>,
    /// `session.store`, as written: may begin with `~` and contain `{agentId}`.
    pub session_store: Option<String>,
    /// `meta.lastTouchedVersion`: the release that wrote the file last.
    pub last_touched_version: Option<Version>,
    /// Which conversations go to which agent.
    pub bindings: Vec<Binding>,
    /// `gateway.port`; nothing else of that section is looked at.
    pub gateway_port: Option<u16>,
}

/// Section `auth`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthConfig {
    /// `auth.profiles`, in the file's order.
    pub profiles: Vec<(ProfileId, ConfigProfile)>,
    /// `auth.order`, in the file's order. The provider is the text as written: releases differ in
    /// how they normalise it.
    pub order: Vec<(String, Vec<ProfileId>)>,
    /// `auth.cooldowns`.
    pub cooldowns: Cooldowns,
}

impl AuthConfig {
    /// The entry of a profile id.
    pub fn profile(&self, id: &ProfileId) -> Option<&ConfigProfile> {
        self.profiles
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, profile)| profile)
    }
}

/// An entry of `auth.profiles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProfile {
    /// Trimmed and lower-cased.
    pub provider: ProviderId,
    /// Which kind of credential the entry admits.
    pub mode: ConfigMode,
    /// E-mail of the account, if known.
    pub email: Option<String>,
}

/// `mode` of a configured profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigMode {
    /// `oauth`; admits a `token` credential too.
    Oauth,
    /// `token`.
    Token,
    /// `api_key`.
    ApiKey,
    /// `aws-sdk`: no stored credential at all (later releases).
    AwsSdk,
    /// A word this version does not know.
    Unknown(String),
}

/// `auth.cooldowns`; absent values are the release's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cooldowns {
    /// `billingBackoffHours`.
    pub billing_backoff_hours: Option<f64>,
    /// `billingBackoffHoursByProvider`, provider as written.
    pub billing_backoff_hours_by_provider: Vec<(String, f64)>,
    /// `billingMaxHours`.
    pub billing_max_hours: Option<f64>,
    /// `failureWindowHours`.
    pub failure_window_hours: Option<f64>,
    /// `authPermanentBackoffMinutes`.
    pub auth_permanent_backoff_minutes: Option<f64>,
    /// `authPermanentMaxMinutes`.
    pub auth_permanent_max_minutes: Option<f64>,
}

/// An entry of `agents.list[]` or `agents.entries{}`.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentEntry {
    /// Normalised.
    pub id: AgentId,
    /// Display name.
    pub name: Option<String>,
    /// `default: true`.
    pub default: bool,
    /// As written.
    pub agent_dir: Option<String>,
    /// As written.
    pub workspace: Option<String>,
    /// The agent's own model.
    pub model: Option<ModelSelection>,
}

/// A model setting: a plain string or `{primary, fallbacks}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSelection {
    /// `provider/model`, or an alias.
    pub primary: Option<String>,
    /// `None` when the key is absent; an empty list is a decision.
    pub fallbacks: Option<Vec<String>>,
}

/// An entry of `bindings[]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The agent that answers.
    pub agent: AgentId,
    /// What it answers, in the words of `openclaw agents list --bindings`:
    /// `telegram accountId=work`.
    pub description: String,
}

/// A configuration read, and what was wrong with it.
#[derive(Clone, Debug)]
pub(super) struct ConfigRead {
    pub path: PathBuf,
    pub config: Config,
    /// The file exists but could not be used at all.
    pub failure: Option<Finding>,
    /// Parts that were left out.
    pub notices: Vec<Finding>,
}

impl Config {
    /// Reads the configuration of a state directory. `installed` is the newest OpenClaw program
    /// found: 2026.2.17 falls back to the default directory's configuration.
    pub(super) fn read(state_dir: &StateDir, installed: Option<Version>) -> ConfigRead {
        let path = config_path(state_dir, installed);
        let mut read = ConfigRead {
            path,
            config: Config::default(),
            failure: None,
            notices: Vec::new(),
        };
        match document::read(&read.path, &state_dir.environment) {
            Ok(None) => {}
            Ok(Some(document)) => {
                for key in &document.duplicates {
                    read.notices.push(Finding::new(
                        ErrorCode::ConfigDuplicateKeys,
                        say!(
                            "{path}: the key {key} stands twice",
                            path = read.path.display(),
                            key
                        ),
                    ));
                }
                let mut value = document.value;
                let missing = substitute_sections(&mut value, state_dir);
                for name in missing {
                    read.notices.push(Finding::new(
                        ErrorCode::ConfigVariable,
                        say!(
                            "{path}: ${{{name}}} is not set here, 2026.2.17 then ignores the whole file",
                            path = read.path.display(),
                            name
                        ),
                    ));
                }
                read.config = parts::config(&value, &read.path, &mut read.notices);
            }
            Err(failure) => read.failure = Some(failure),
        }
        read
    }

    /// The entry of an agent.
    pub fn agent(&self, id: &AgentId) -> Option<&AgentEntry> {
        self.agents.iter().find(|entry| entry.id == *id)
    }

    /// The models that are tried after an agent's own one fails. From 2026.4.29 on a model set for
    /// the agent without fallbacks means "none"; 2026.2.17 then takes the defaults'. An explicit
    /// empty list means "none" everywhere.
    pub fn fallbacks(&self, agent: &AgentId, version: Option<Version>) -> &[String] {
        let own = self.agent(agent).and_then(|entry| entry.model.as_ref());
        let strict = version.is_none_or(|version| version >= Version::new(2026, 4, 29));
        let defaults = self.default_model.as_ref();
        match own {
            Some(ModelSelection {
                fallbacks: Some(own), ..
            }) => own,
            Some(ModelSelection { primary: Some(_), .. }) if strict => &[],
            _ => defaults
                .and_then(|model| model.fallbacks.as_deref())
                .unwrap_or_default(),
        }
    }

    /// The model an agent begins with.
    pub fn primary_model(&self, agent: &AgentId) -> Option<&str> {
        let own = self.agent(agent).and_then(|entry| entry.model.as_ref());
        own.and_then(|model| model.primary.as_deref()).or_else(|| {
            self.default_model
                .as_ref()
                .and_then(|model| model.primary.as_deref())
        })
    }
}

impl ConfigMode {
    fn parse(text: &str) -> Self {
        match text {
            "oauth" => Self::Oauth,
            "token" => Self::Token,
            "api_key" => Self::ApiKey,
            "aws-sdk" => Self::AwsSdk,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

impl fmt::Display for ConfigMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Oauth => "oauth",
            Self::Token => "token",
            Self::ApiKey => "api_key",
            Self::AwsSdk => "aws-sdk",
            Self::Unknown(word) => word,
        })
    }
}

/// `OPENCLAW_CONFIG_PATH`, else the first existing name in the state directory, else its
/// `openclaw.json`. 2026.2.17 (not 2026.4.29) knows more names and, when the state directory has
/// none of them, reads the configuration of `~/.openclaw`.
fn config_path(state_dir: &StateDir, installed: Option<Version>) -> PathBuf {
    if let Some(path) = state_dir.environment.var("OPENCLAW_CONFIG_PATH") {
        return state_dir.user_path(path);
    }
    let old = installed.is_some_and(|version| version < Version::new(2026, 4, 29));
    let names = if old || installed.is_none() {
        &FILE_NAMES[..]
    } else {
        &FILE_NAMES[..2]
    };
    let existing = |dir: &Path| {
        names
            .iter()
            .map(|name| dir.join(name))
            .find(|path| fs::symlink_metadata(path).is_ok())
    };
    let default = paths::default_state_dir(&state_dir.environment, true);
    existing(&state_dir.path)
        .or_else(|| existing(&default).filter(|_| old))
        .unwrap_or_else(|| state_dir.path.join(FILE_NAMES[0]))
}

/// Substitutes variables in the sections that are used and returns the names without a value:
/// looked up in the environment, then in `<state>/.env`, then in the config's own `env` block.
fn substitute_sections(value: &mut Value, state_dir: &StateDir) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    let Value::Object(root) = value else {
        return missing;
    };
    let own = own_variables(root.get("env"));
    let dotenv = dotenv(&state_dir.path);
    let variables = state_dir.environment.vars();
    let lookup = |name: &str| {
        let set = |value: &&String| !value.is_empty();
        variables
            .get(name)
            .filter(set)
            .or_else(|| dotenv.get(name).filter(set))
            .or_else(|| own.get(name))
            .cloned()
    };
    for section in SECTIONS {
        if let Some(part) = root.get_mut(section) {
            document::substitute(part, &lookup, &mut missing);
        }
    }
    missing
}

/// `env.vars` and the plain strings of `env`; values that refer to variables do not count.
fn own_variables(env: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Object(env)) = env else {
        return BTreeMap::new();
    };
    let vars = env.get("vars").and_then(Value::as_object).into_iter().flatten();
    let plain = env
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "vars" | "shellEnv"));
    vars.chain(plain)
        .filter_map(|(key, value)| Some((key.trim().to_owned(), value.as_str()?)))
        .filter(|(_, value)| !value.trim().is_empty() && !document::has_reference(value))
        .map(|(key, value)| (key, value.to_owned()))
        .collect()
}

/// `<state>/.env`, one `NAME=value` a line.
pub(super) fn dotenv(state_dir: &Path) -> BTreeMap<String, String> {
    const MAX_BYTES: u64 = 1024 * 1024;
    let path = state_dir.join(".env");
    let small = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= MAX_BYTES);
    let bytes = if small {
        fs::read(&path).unwrap_or_default()
    } else {
        Vec::new()
    };
    String::from_utf8_lossy(&bytes)
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let legal = !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            let value = match value.chars().next() {
                Some(quote @ ('"' | '\'' | '`')) => value[1..].split(quote).next(),
                _ => value.split('#').next().map(str::trim),
            };
            legal.then(|| (name.to_owned(), value.unwrap_or_default().to_owned()))
        })
        .collect()
}

pub(super) mod parts;
#[cfg(test)]
mod tests;
