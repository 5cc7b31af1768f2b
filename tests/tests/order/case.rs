//! The cases of `cases/order.json`, as files for OpenClaw and as input for Kalit's resolution.

use std::collections::BTreeMap;

use anyhow::Result;
use kalit_core::clock::Timestamp;
use kalit_core::ids::{ProfileId, ProviderId};
use kalit_core::routing::{
    Candidate, ConfigMode, ConfigProfile, Expiry, Input, RuleSet, SecretPresence, TimeZone, Usage, order_key,
    resolve,
};
use kalit_core::view::CredentialKind;
use kalit_journeys::openclaw::{TestHome, Version};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The moment at which every case is resolved, by both sides.
pub const NOW: i64 = 1_790_000_000_000;

/// What a rule switched off in Kalit's resolution would do.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Windows in which a profile rests.
    Cooldowns,
    /// `mode` of the config's profiles.
    Modes,
    /// The config's profiles and order.
    Config,
}

/// One store, as the case file describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// Releases to which the case applies; without it, all.
    #[serde(default)]
    releases: Vec<String>,
    /// Also ask the release's command line.
    #[serde(default)]
    pub cli: bool,
    #[serde(default = "codex")]
    pub provider: String,
    #[serde(default = "main_agent")]
    pub agent: String,
    pub preferred: Option<String>,
    #[serde(default)]
    pub config: Map<String, Value>,
    stores: BTreeMap<String, StoreCase>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreCase {
    /// Without it the file does not exist.
    profiles: Option<Map<String, Value>>,
    /// More of auth-profiles.json, whatever the release.
    #[serde(default)]
    inline: Map<String, Value>,
    state: Option<Map<String, Value>>,
}

fn codex() -> String {
    "$codex".to_owned()
}

fn main_agent() -> String {
    "main".to_owned()
}

/// The cases of a release, with its provider and times in place.
pub fn cases(version: Version) -> Result<Vec<Case>> {
    let codex = if version >= Version::V2026_6_1 {
        "openai"
    } else {
        "openai-codex"
    };
    let text = include_str!("../../cases/order.json");
    let upper = text.replace("$CODEX", &codex.to_uppercase());
    let mut cases: Vec<Value> = serde_json::from_str(&upper.replace("$codex", codex))?;
    cases.iter_mut().try_for_each(put_times)?;
    let mut cases: Vec<Case> = serde_json::from_value(Value::Array(cases))?;
    for case in &mut cases {
        if case.provider == "$codex" {
            case.provider = codex.to_owned();
        }
        for store in case.stores.values_mut() {
            for (id, profile) in store.profiles.iter_mut().flatten() {
                if *profile == "oauth" {
                    *profile = json!({
                        "type": "oauth",
                        "provider": case.provider,
                        "access": format!("access-fake-{id}"),
                        "refresh": format!("refresh-fake-{id}"),
                        "expires": NOW + 3_600_000,
                        "email": format!("{id}@example.com"),
                    });
                }
            }
        }
    }
    cases
        .retain(|case| case.releases.is_empty() || case.releases.iter().any(|name| name == version.as_str()));
    Ok(cases)
}

/// `now+3m` becomes epoch milliseconds.
fn put_times(value: &mut Value) -> Result<()> {
    match value {
        Value::Object(fields) => fields.values_mut().try_for_each(put_times),
        Value::Array(items) => items.iter_mut().try_for_each(put_times),
        Value::String(text) => {
            let Some(offset) = text.strip_prefix("now") else {
                return Ok(());
            };
            let (number, unit) = offset.split_at(offset.len() - 1);
            let unit = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => anyhow::bail!("no time: {text}"),
            };
            *value = json!(NOW + number.parse::<i64>()? * unit);
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

impl Case {
    /// auth-profiles.json and auth-state.json of each agent, as the release has them.
    pub fn files(&self, version: Version) -> BTreeMap<&str, (Value, Option<Value>)> {
        let mut files = BTreeMap::new();
        for (agent, store) in &self.stores {
            let Some(profiles) = &store.profiles else {
                continue;
            };
            let mut document = Map::new();
            document.insert("version".to_owned(), json!(1));
            document.insert("profiles".to_owned(), json!(profiles));
            document.extend(store.inline.clone());
            let mut state = store.state.clone();
            if version == Version::V2026_2_17 {
                document.extend(state.take().unwrap_or_default());
            }
            let state = state.map(|mut state| {
                state.insert("version".to_owned(), json!(1));
                Value::Object(state)
            });
            files.insert(agent.as_str(), (Value::Object(document), state));
        }
        files
    }

    /// What the databases of the sqlite era hold, main's first; none for older releases.
    pub fn cells(&self, version: Version) -> Option<Vec<Value>> {
        let cell = |(profiles, state): &(Value, Option<Value>)| {
            let mut cell = profiles.clone();
            for (key, value) in state.iter().filter_map(Value::as_object).flatten() {
                cell[key] = value.clone();
            }
            cell
        };
        let files = self.files(version);
        let main = files
            .get("main")
            .map_or_else(|| json!({"version": 1, "profiles": {}}), cell);
        let own = files.get(self.agent.as_str()).filter(|_| self.agent != "main");
        (version > Version::V2026_6_1).then(|| [main].into_iter().chain(own.map(cell)).collect())
    }

    pub fn write(&self, home: &TestHome, version: Version) -> Result<()> {
        for (agent, (profiles, state)) in self.files(version) {
            home.write_profiles(agent, &profiles)?;
            if let Some(state) = state {
                home.write_state(agent, &state)?;
            }
        }
        Ok(())
    }

    /// Kalit's answer.
    pub fn resolve(&self, version: Version, without: Option<Rule>) -> Vec<ProfileId> {
        let rules = rules(version);
        let files = self.files(version);
        let view = |agent: &str| {
            files
                .get(agent)
                .map(|(profiles, state)| View::read(rules, profiles, state.as_ref()))
        };
        let mut view = match (view("main"), view(&self.agent)) {
            (Some(main), Some(own)) if self.agent != "main" && rules >= RuleSet::V7_1 => own.before(main),
            (Some(main), Some(own)) if self.agent != "main" => main.with(own),
            (Some(main), _) => main,
            (None, own) => own.unwrap_or_default(),
        };
        let provider = ProviderId::parse(&self.provider).unwrap();
        let auth = self.config.get("auth").cloned().unwrap_or_default();
        let config_orders = orders(&auth["order"]);
        let mut config_profiles: Vec<ConfigProfile> = auth["profiles"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(id, entry)| ConfigProfile {
                id: ProfileId::parse(id).unwrap(),
                provider_text: entry["provider"].as_str().unwrap_or_default().to_owned(),
                mode: ConfigMode::parse(entry["mode"].as_str().unwrap_or_default()),
            })
            .collect();
        let mut config_order = order_of(rules, &provider, &config_orders);
        match without {
            None => {}
            Some(Rule::Cooldowns) => {
                for usage in view.usage.values_mut() {
                    *usage = Usage {
                        last_used: usage.last_used,
                        ..Usage::default()
                    };
                }
            }
            Some(Rule::Modes) => {
                for entry in &mut config_profiles {
                    let kind = view
                        .profiles
                        .iter()
                        .find(|profile| profile.id == entry.id)
                        .map(|profile| profile.kind);
                    entry.mode = match kind {
                        Some(CredentialKind::Oauth) => ConfigMode::Oauth,
                        Some(CredentialKind::Token) => ConfigMode::Token,
                        Some(CredentialKind::ApiKey) => ConfigMode::ApiKey,
                        Some(CredentialKind::Unknown) | None => entry.mode,
                    };
                }
            }
            Some(Rule::Config) => {
                config_profiles.clear();
                config_order = None;
            }
        }
        let providers = self.config.get("models").cloned().unwrap_or_default();
        let resolution = resolve(&Input {
            rules,
            provider: &provider,
            provider_name: "ChatGPT",
            profiles: &view.profiles,
            stored_order: order_of(rules, &provider, &view.orders),
            config_order,
            config_profiles: &config_profiles,
            usage: &view.usage,
            aws_sdk: providers["providers"][&self.provider]["auth"] == "aws-sdk",
            preferred: self.preferred.as_deref().and_then(ProfileId::parse).as_ref(),
            fallback_models: &[],
            now: Timestamp::from_millis(NOW),
            time_zone: &TimeZone::UTC,
        });
        resolution.candidates
    }
}

fn rules(version: Version) -> RuleSet {
    match version {
        Version::V2026_2_17 => RuleSet::V2_17,
        Version::V2026_4_29 => RuleSet::V4_29,
        Version::V2026_6_1 => RuleSet::V6_1,
        Version::V2026_6_11 | Version::V2026_7_1 => RuleSet::V7_1,
        Version::V2026_9_6 => RuleSet::V9_6,
    }
}

/// The order objects of a store or config, in file order.
type OrderEntries = Vec<(String, Vec<ProfileId>)>;

fn order_of<'a>(rules: RuleSet, provider: &ProviderId, orders: &'a OrderEntries) -> Option<&'a [ProfileId]> {
    let key = order_key(rules, provider, orders.iter().map(|(key, _)| key.as_str()))?;
    orders
        .iter()
        .find(|(other, _)| other == key)
        .map(|(_, ids)| ids.as_slice())
}

fn orders(value: &Value) -> OrderEntries {
    let entries = value.as_object().into_iter().flatten();
    entries
        .map(|(key, ids)| {
            let ids = ids.as_array().into_iter().flatten().filter_map(Value::as_str);
            (
                key.clone(),
                ids.filter_map(|id| ProfileId::parse(id.trim())).collect(),
            )
        })
        .collect()
}

/// What an agent sees of its store.
#[derive(Default)]
struct View {
    profiles: Vec<Candidate>,
    orders: OrderEntries,
    usage: BTreeMap<ProfileId, Usage>,
}

impl View {
    fn read(rules: RuleSet, profiles: &Value, state: Option<&Value>) -> Self {
        let mut view = Self::default();
        for (id, entry) in profiles["profiles"].as_object().into_iter().flatten() {
            let kind = match entry["type"].as_str() {
                Some("oauth") => CredentialKind::Oauth,
                Some("token") => CredentialKind::Token,
                Some("api_key") => CredentialKind::ApiKey,
                _ => CredentialKind::Unknown,
            };
            view.profiles.push(Candidate {
                id: ProfileId::parse(id).unwrap(),
                provider_text: entry["provider"].as_str().unwrap_or_default().to_owned(),
                kind,
                secret: secret(kind, entry),
                expires: match entry.get("expires") {
                    None => Expiry::None,
                    Some(value) => value
                        .as_i64()
                        .map_or(Expiry::Invalid, |at| Expiry::At(Timestamp::from_millis(at))),
                },
                inherited: false,
            });
        }
        for document in [Some(profiles), state].into_iter().flatten() {
            let mut layer = Self {
                orders: orders(&document["order"]),
                ..Self::default()
            };
            layer.orders.retain(|(_, ids)| !ids.is_empty());
            if rules >= RuleSet::V6_1 {
                for (key, _) in &mut layer.orders {
                    *key = key.trim().to_lowercase();
                }
            }
            for (id, usage) in document["usageStats"].as_object().into_iter().flatten() {
                let at = |field: &str| usage[field].as_i64().map(Timestamp::from_millis);
                layer.usage.insert(
                    ProfileId::parse(id).unwrap(),
                    Usage {
                        last_used: at("lastUsed"),
                        cooldown_until: at("cooldownUntil"),
                        disabled_until: at("disabledUntil"),
                        blocked_until: at("blockedUntil"),
                        ..Usage::default()
                    },
                );
            }
            view = view.with(layer);
        }
        view
    }

    /// Over an inherited view, as from 2026.6.5 on: first, also in the inherited orders.
    fn before(mut self, inherited: Self) -> Self {
        let own: Vec<Candidate> = self.profiles.clone();
        for profile in inherited.profiles {
            if own.iter().all(|known| known.id != profile.id) {
                self.profiles.push(profile);
            }
        }
        for (key, ids) in inherited.orders {
            if self.orders.iter().all(|(known, _)| *known != key) {
                let first = own.iter().filter(|profile| profile.provider_text == key);
                let mut all: Vec<ProfileId> = first.map(|profile| profile.id.clone()).collect();
                all.extend(
                    ids.into_iter()
                        .filter(|id| own.iter().all(|profile| profile.id != *id)),
                );
                self.orders.push((key, all));
            }
        }
        for (id, usage) in inherited.usage {
            self.usage.entry(id).or_insert(usage);
        }
        self
    }

    /// Laid over by another view: values win, places stay.
    fn with(mut self, over: Self) -> Self {
        for profile in over.profiles {
            match self.profiles.iter_mut().find(|other| other.id == profile.id) {
                Some(other) => *other = profile,
                None => self.profiles.push(profile),
            }
        }
        for (key, ids) in over.orders {
            match self.orders.iter_mut().find(|(other, _)| *other == key) {
                Some((_, other)) => *other = ids,
                None => self.orders.push((key, ids)),
            }
        }
        self.usage.extend(over.usage);
        self
    }
}

fn secret(kind: CredentialKind, entry: &Value) -> SecretPresence {
    let inline = |field: &str| entry[field].as_str().is_some_and(|text| !text.trim().is_empty());
    let reference = |field: &str| matches!(entry[field]["source"].as_str(), Some("env" | "file" | "exec"));
    let (is_inline, is_reference) = match kind {
        CredentialKind::ApiKey => (inline("key"), reference("key") || reference("keyRef")),
        CredentialKind::Token => (inline("token"), reference("token") || reference("tokenRef")),
        CredentialKind::Oauth => (inline("access") || inline("refresh"), false),
        CredentialKind::Unknown => (false, false),
    };
    match (is_inline, is_reference) {
        (true, _) => SecretPresence::Inline,
        (false, true) => SecretPresence::Reference,
        (false, false) if entry.get("oauthRef").is_some() => SecretPresence::SideFile,
        (false, false) => SecretPresence::None,
    }
}
