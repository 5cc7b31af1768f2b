//! What Kalit needs of openclaw.json, read only. Openclaw.json is never edited; parts of a wrong
//! type are left out and named. Read as OpenClaw 2026.2.17 to 2026.6.1 (and `agents.entries` of
//! 2026.9.6) write it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

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
                        format!("{}: the key {key} stands twice", read.path.display()),
                    ));
                }
                let mut value = document.value;
                let missing = substitute_sections(&mut value, state_dir);
                for name in missing {
                    read.notices.push(Finding::new(
                        ErrorCode::ConfigVariable,
                        format!(
                            "{}: ${{{name}}} is not set here, 2026.2.17 then ignores the whole file",
                            read.path.display()
                        ),
                    ));
                }
                let mut parts = Parts {
                    path: &read.path,
                    notices: &mut read.notices,
                };
                read.config = parts.config(&value);
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

/// Takes the configuration apart, noting what has a wrong type.
struct Parts<'a> {
    path: &'a Path,
    notices: &'a mut Vec<Finding>,
}

impl Parts<'_> {
    fn config(&mut self, value: &Value) -> Config {
        let Some(root) = self.object(Some(value), "the file") else {
            return Config::default();
        };
        let agents = self.object(root.get("agents"), "agents");
        let agents = agents.as_deref();
        let defaults = agents.and_then(|agents| self.object(agents.get("defaults"), "agents.defaults"));
        let session = self.object(root.get("session"), "session");
        let meta = self.object(root.get("meta"), "meta");
        let last = meta.and_then(|meta| self.text(meta.get("lastTouchedVersion"), "meta.lastTouchedVersion"));
        Config {
            auth: self.auth(root.get("auth")),
            agents: agents.map(|agents| self.agents(agents)).unwrap_or_default(),
            default_model: defaults
                .and_then(|defaults| self.model(defaults.get("model"), "agents.defaults.model")),
            default_workspace: defaults
                .and_then(|defaults| self.text(defaults.get("workspace"), "agents.defaults.workspace")),
            session_store: session.and_then(|session| self.text(session.get("store"), "session.store")),
            last_touched_version: last.and_then(|text| Version::parse(&text)),
            bindings: self.bindings(root.get("bindings")),
        }
    }

    fn auth(&mut self, value: Option<&Value>) -> AuthConfig {
        let Some(auth) = self.object(value, "auth") else {
            return AuthConfig::default();
        };
        let mut config = AuthConfig::default();
        for (id, entry) in self.entries(auth.get("profiles"), "auth.profiles") {
            let at = format!("auth.profiles.{id}");
            let Some(entry) = self.object(Some(entry), &at) else {
                continue;
            };
            let provider = self.text(entry.get("provider"), &format!("{at}.provider"));
            let mode = self.text(entry.get("mode"), &format!("{at}.mode"));
            let email = self.text(entry.get("email"), &format!("{at}.email"));
            match (
                ProfileId::parse(id),
                provider.as_deref().and_then(ProviderId::parse),
                mode,
            ) {
                (Some(id), Some(provider), Some(mode)) => {
                    let mode = ConfigMode::parse(&mode);
                    config.profiles.push((
                        id,
                        ConfigProfile {
                            provider,
                            mode,
                            email,
                        },
                    ));
                }
                _ => self.wrong(&at, "an entry with provider and mode"),
            }
        }
        for (provider, ids) in self.entries(auth.get("order"), "auth.order") {
            let ids = self.texts(Some(ids), &format!("auth.order.{provider}"));
            if let Some(ids) = ids {
                let ids = ids.iter().filter_map(|id| ProfileId::parse(id)).collect();
                config.order.push((provider.clone(), ids));
            }
        }
        if let Some(cooldowns) = self.object(auth.get("cooldowns"), "auth.cooldowns") {
            config.cooldowns = self.cooldowns(cooldowns);
        }
        config
    }

    fn cooldowns(&mut self, fields: &Map<String, Value>) -> Cooldowns {
        let by_provider = "auth.cooldowns.billingBackoffHoursByProvider";
        let mut number = |key: &str| self.number(fields.get(key), &format!("auth.cooldowns.{key}"));
        Cooldowns {
            billing_backoff_hours: number("billingBackoffHours"),
            billing_max_hours: number("billingMaxHours"),
            failure_window_hours: number("failureWindowHours"),
            auth_permanent_backoff_minutes: number("authPermanentBackoffMinutes"),
            auth_permanent_max_minutes: number("authPermanentMaxMinutes"),
            billing_backoff_hours_by_provider: self
                .entries(fields.get("billingBackoffHoursByProvider"), by_provider)
                .into_iter()
                .filter_map(|(provider, hours)| {
                    let hours = self.number(Some(hours), &format!("{by_provider}.{provider}"))?;
                    Some((provider.clone(), hours))
                })
                .collect(),
        }
    }

    fn agents(&mut self, agents: &Map<String, Value>) -> Vec<AgentEntry> {
        let mut entries: Vec<AgentEntry> = Vec::new();
        let mut push = |entry: Option<AgentEntry>| {
            if let Some(entry) = entry
                && entries.iter().all(|known| known.id != entry.id)
            {
                entries.push(entry);
            }
        };
        for (index, item) in self.items(agents.get("list"), "agents.list").iter().enumerate() {
            push(self.agent(None, item, &format!("agents.list[{index}]")));
        }
        for (id, item) in self.entries(agents.get("entries"), "agents.entries") {
            push(self.agent(Some(id), item, &format!("agents.entries.{id}")));
        }
        entries
    }

    fn agent(&mut self, key: Option<&str>, item: &Value, at: &str) -> Option<AgentEntry> {
        let fields = self.object(Some(item), at)?;
        let own = self.text(fields.get("id"), &format!("{at}.id"));
        let id = key.map(str::to_owned).or(own).unwrap_or_default();
        Some(AgentEntry {
            id: AgentId::normalize(&id),
            name: self.text(fields.get("name"), &format!("{at}.name")),
            default: fields.get("default") == Some(&Value::Bool(true)),
            agent_dir: self.text(fields.get("agentDir"), &format!("{at}.agentDir")),
            workspace: self.text(fields.get("workspace"), &format!("{at}.workspace")),
            model: self.model(fields.get("model"), &format!("{at}.model")),
        })
    }

    fn model(&mut self, value: Option<&Value>, at: &str) -> Option<ModelSelection> {
        match value? {
            Value::Null => None,
            Value::String(primary) => Some(ModelSelection {
                primary: Some(primary.trim().to_owned()).filter(|text| !text.is_empty()),
                fallbacks: None,
            }),
            Value::Object(fields) => Some(ModelSelection {
                primary: self.text(fields.get("primary"), &format!("{at}.primary")),
                fallbacks: fields
                    .get("fallbacks")
                    .and_then(|list| self.texts(Some(list), &format!("{at}.fallbacks"))),
            }),
            _ => {
                self.wrong(at, "a model");
                None
            }
        }
    }

    fn bindings(&mut self, value: Option<&Value>) -> Vec<Binding> {
        let mut bindings = Vec::new();
        for (index, item) in self.items(value, "bindings").iter().enumerate() {
            let at = format!("bindings[{index}]");
            let Some(fields) = self.object(Some(item), &at) else {
                continue;
            };
            let Some(matched) = self.object(fields.get("match"), &format!("{at}.match")) else {
                continue;
            };
            let text = |value: Option<&Value>| match value {
                Some(Value::String(text)) => Some(text.trim().to_owned()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            let mut words = vec![text(matched.get("channel")).unwrap_or_default()];
            if let Some(account) = text(matched.get("accountId")) {
                words.push(format!("accountId={account}"));
            }
            if let Some(peer) = matched.get("peer") {
                let part = |key| text(peer.get(key)).unwrap_or_default();
                words.push(format!("peer={}:{}", part("kind"), part("id")));
            }
            for (key, word) in [("guildId", "guild"), ("teamId", "team")] {
                if let Some(id) = text(matched.get(key)) {
                    words.push(format!("{word}={id}"));
                }
            }
            let agent = self.text(fields.get("agentId"), &format!("{at}.agentId"));
            bindings.push(Binding {
                agent: AgentId::normalize(&agent.unwrap_or_default()),
                description: words.join(" ").trim().to_owned(),
            });
        }
        bindings
    }

    fn object<'v>(&mut self, value: Option<&'v Value>, at: &str) -> Option<&'v Map<String, Value>> {
        match value? {
            Value::Object(fields) => Some(fields),
            Value::Null => None,
            _ => {
                self.wrong(at, "an object");
                None
            }
        }
    }

    fn entries<'v>(&mut self, value: Option<&'v Value>, at: &str) -> Vec<(&'v String, &'v Value)> {
        self.object(value, at)
            .map(|fields| fields.iter().collect())
            .unwrap_or_default()
    }

    fn items<'v>(&mut self, value: Option<&'v Value>, at: &str) -> &'v [Value] {
        match value {
            Some(Value::Array(items)) => items,
            None | Some(Value::Null) => &[],
            Some(_) => {
                self.wrong(at, "a list");
                &[]
            }
        }
    }

    /// A trimmed, non-empty string.
    fn text(&mut self, value: Option<&Value>, at: &str) -> Option<String> {
        match value? {
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Null => None,
            _ => {
                self.wrong(at, "a string");
                None
            }
        }
    }

    fn texts(&mut self, value: Option<&Value>, at: &str) -> Option<Vec<String>> {
        let Some(Value::Array(items)) = value else {
            self.wrong(at, "a list of strings");
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            texts.extend(self.text(Some(item), at));
        }
        Some(texts)
    }

    fn number(&mut self, value: Option<&Value>, at: &str) -> Option<f64> {
        match value? {
            Value::Number(number) => number.as_f64(),
            Value::Null => None,
            _ => {
                self.wrong(at, "a number");
                None
            }
        }
    }

    fn wrong(&mut self, at: &str, wanted: &str) {
        let message = format!("{}: {at} is not {wanted}", self.path.display());
        self.notices
            .push(Finding::new(ErrorCode::ConfigWrongShape, message));
    }
}

#[cfg(test)]
mod tests;
