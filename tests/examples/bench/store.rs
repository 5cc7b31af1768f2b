//! A store to measure with: OpenClaw 2026.6.1, three agents, twelve invented accounts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::process::command;
use kalit_journeys::token_endpoint::{Login, access_token};
use serde_json::{Map, Value, json};

/// Who is in every agent's store, with an order in force.
pub const NAMES: [&str; 4] = ["ada", "grace", "hedy", "mary"];
const LIFETIME: Duration = Duration::from_secs(10 * 86_400);

/// How many accounts a large store has.
pub struct Many {
    pub agents: usize,
    /// Each agent's.
    pub accounts: usize,
}

pub struct Store {
    home: PathBuf,
    env: BTreeMap<String, String>,
}

impl Store {
    pub fn create(home: &Path) -> Result<Self> {
        let state = home.join(".openclaw");
        let order: Vec<String> = NAMES.iter().map(|name| profile_id(name)).collect();
        for agent in ["main", "work", "home"] {
            let dir = state.join("agents").join(agent).join("agent");
            fs::create_dir_all(&dir)?;
            write(&dir.join("auth-profiles.json"), &accounts(agent, &NAMES))?;
            write(
                &dir.join("auth-state.json"),
                &json!({"version": 1, "order": {"openai": order}}),
            )?;
        }
        let config = json!({
            "meta": {"lastTouchedVersion": "2026.6.1"},
            "agents": {"list": [{"id": "main", "default": true}, {"id": "work"}, {"id": "home"}]},
        });
        write(&state.join("openclaw.json"), &config)?;
        Ok(Self {
            home: home.to_owned(),
            env: variables(home),
        })
    }

    /// Agents with so many accounts each.
    pub fn many(home: &Path, many: Many) -> Result<Self> {
        let agents: Vec<String> = (0..many.agents).map(|number| format!("agent-{number}")).collect();
        let state = home.join(".openclaw");
        for (number, agent) in agents.iter().enumerate() {
            let dir = state.join("agents").join(agent).join("agent");
            fs::create_dir_all(&dir)?;
            let first = number * many.accounts;
            let names = (first..first + many.accounts).map(|number| format!("person-{number}"));
            write(
                &dir.join("auth-profiles.json"),
                &accounts(agent, &names.collect::<Vec<_>>()),
            )?;
        }
        let list: Vec<Value> = agents.iter().map(|id| json!({"id": id})).collect();
        write(
            &state.join("openclaw.json"),
            &json!({"meta": {"lastTouchedVersion": "2026.6.1"}, "agents": {"list": list}}),
        )?;
        Ok(Self {
            home: home.to_owned(),
            env: variables(home),
        })
    }

    /// A command whose home and state directory are this store's.
    pub fn command(&self, program: &Path) -> Command {
        command(program, &self.env)
    }

    /// The variables alone.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// A file of the main agent.
    pub fn file(&self, name: &str) -> PathBuf {
        self.home.join(".openclaw/agents/main/agent").join(name)
    }

    /// The order in force for the main agent, read from the file.
    pub fn order(&self) -> Vec<String> {
        let read = || {
            let state: Value = serde_json::from_slice(&fs::read(self.file("auth-state.json")).ok()?).ok()?;
            serde_json::from_value(state.get("order")?.get("openai")?.clone()).ok()
        };
        read().unwrap_or_default()
    }

    /// All logins of all agents end in so long.
    pub fn expire_in(&self, left: Duration) -> Result<()> {
        let expires = SystemClock.now().plus(left).as_millis();
        for agent in fs::read_dir(self.home.join(".openclaw/agents"))? {
            let file = agent?.path().join("agent/auth-profiles.json");
            let mut store: Value = serde_json::from_slice(&fs::read(&file)?)?;
            for (_, profile) in store["profiles"].as_object_mut().into_iter().flatten() {
                profile["expires"] = json!(expires);
            }
            let aside = file.with_extension("bench.tmp");
            write(&aside, &store)?;
            fs::rename(aside, file)?;
        }
        Ok(())
    }

    /// Adds an API key, in the place of one added before, as another program would: a new file in
    /// the place of the old one. The menu lists ten accounts, so there must not be more.
    pub fn put_key(&self, profile_id: &str) -> Result<()> {
        let file = self.file("auth-profiles.json");
        let mut store: Value = serde_json::from_slice(&fs::read(&file)?)?;
        if let Some(profiles) = store["profiles"].as_object_mut() {
            profiles.retain(|_, profile| profile["type"] != "api_key");
        }
        store["profiles"][profile_id] =
            json!({"type": "api_key", "provider": "openai", "key": "sk-test-fake"});
        let aside = self.file("auth-profiles.json.bench.tmp");
        write(&aside, &store)?;
        Ok(fs::rename(aside, file)?)
    }
}

/// A store of invented logins, whose tokens tell the owner.
pub fn accounts(owner: &str, names: &[impl AsRef<str>]) -> Value {
    let expires = SystemClock.now().plus(LIFETIME).as_millis();
    let profiles = names.iter().map(|name| {
        let name = name.as_ref();
        let login = Login::named(
            &format!("{name}-{owner}"),
            &format!("test-refresh-{name}-{owner}"),
        );
        let profile = json!({
            "type": "oauth", "provider": "openai", "access": access_token(&login, LIFETIME, 1),
            "refresh": login.refresh, "expires": expires, "email": format!("{name}@example.com"),
            "accountId": login.account_id,
        });
        (profile_id(name), profile)
    });
    json!({"version": 1, "profiles": profiles.collect::<Map<_, _>>()})
}

/// The variables of a program in a throw-away home.
pub fn variables(home: &Path) -> BTreeMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), text(home)),
        ("OPENCLAW_STATE_DIR".to_owned(), text(&home.join(".openclaw"))),
        ("NO_COLOR".to_owned(), "1".to_owned()),
        ("OPENCLAW_NO_RESPAWN".to_owned(), "1".to_owned()),
        ("OPENCLAW_DISABLE_AUTO_UPDATE".to_owned(), "1".to_owned()),
    ]);
    if let Ok(path) = std::env::var("PATH") {
        env.insert("PATH".to_owned(), path);
    }
    env
}

pub fn profile_id(name: &str) -> String {
    format!("openai:{name}@example.com")
}

pub fn write(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(value)? + "\n")?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
