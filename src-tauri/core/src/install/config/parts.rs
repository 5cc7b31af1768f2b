//! Takes a parsed openclaw.json apart. Nothing fails here: what has a wrong type is left out and
//! noted, by its place and never by its content.

use std::path::Path;

use serde_json::{Map, Value};

use super::{AgentEntry, AuthConfig, Binding, Config, ConfigMode, ConfigProfile, Cooldowns, ModelSelection};
use crate::ErrorCode;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Finding, Version};

/// The typed parts of `value`; `path` names the file in `notices`.
pub(in crate::install) fn config(value: &Value, path: &Path, notices: &mut Vec<Finding>) -> Config {
    Parts { path, notices }.config(value)
}

struct Parts<'a> {
    path: &'a Path,
    notices: &'a mut Vec<Finding>,
}

impl Parts<'_> {
    fn config(&mut self, value: &Value) -> Config {
        let Some(root) = self.object(Some(value), &say!("the file")) else {
            return Config::default();
        };
        let agents = self.object(root.get("agents"), "agents");
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
            gateway_port: root
                .get("gateway")
                .and_then(|gateway| gateway.get("port")?.as_u64())
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port > 0),
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
                _ => self.wrong(&at, &say!("an entry with provider and mode")),
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
                self.wrong(at, &say!("a model"));
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
                self.wrong(at, &say!("an object"));
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
                self.wrong(at, &say!("a list"));
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
                self.wrong(at, &say!("a string"));
                None
            }
        }
    }

    fn texts(&mut self, value: Option<&Value>, at: &str) -> Option<Vec<String>> {
        let Some(Value::Array(items)) = value else {
            self.wrong(at, &say!("a list of strings"));
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
                self.wrong(at, &say!("a number"));
                None
            }
        }
    }

    fn wrong(&mut self, at: &str, wanted: &str) {
        let message = say!(
            "{path}: {at} is not {wanted}",
            path = self.path.display(),
            at,
            wanted
        );
        self.notices
            .push(Finding::new(ErrorCode::ConfigWrongShape, message));
    }
}
