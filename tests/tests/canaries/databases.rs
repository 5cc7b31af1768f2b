//! An installation of OpenClaw 2026.9.6, whose accounts lie in SQLite, with Kalit beside it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::canary::{Searcher, canary, canary_token, secrets_of};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, fail_login, release};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use kalit_journeys::wait::until_some;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::LOUD;

/// OpenClaw takes up to 14 s for a command, more on a busy machine.
pub const OPENCLAW: Duration = Duration::from_secs(180);
/// OpenClaw's own sign-in listens on port 1455 alone.
pub static PORT: Mutex<()> = Mutex::const_new(());
/// A login that OpenClaw may renew at the endpoint.
pub const LAB: &str = "openai:lab@example.com";
const FENCE: &str = "openclaw-oauth-refresh-fence:";
const DAY: i64 = 86_400;

pub struct Place {
    pub home: TestHome,
    _endpoint: TokenEndpoint,
    pub kalit: Kalit,
    /// Every secret that has stood in the shared store, or was typed.
    secrets: RefCell<BTreeSet<(String, String)>>,
}

impl Place {
    /// Two tokens, stored by OpenClaw, and a login.
    pub async fn new() -> Result<Self> {
        let (home, release) = (TestHome::new()?, release(Version::V2026_9_6).await?);
        // Another model would make 2026.9.6 install a plugin.
        home.write_config(&json!({"agents": {
            "ownership": "explicit", "entries": {"main": {}, "work": {}},
            "defaults": {"model": {"primary": "anthropic/claude-opus-4-6"}, "systemAgent": {"agentId": "main"}},
        }}))?;
        let refresh = canary("refresh");
        let endpoint = TokenEndpoint::start(Login::named("lab", &refresh), Duration::from_secs(3600)).await?;
        endpoint.issue_canaries();
        endpoint.add_login(Login::named("ada", &canary("refresh")));
        endpoint.lead(&home)?;
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
        let kalit = LOUD
            .into_iter()
            .fold(kalit, |kalit, (name, value)| kalit.with_var(name, value));
        let place = Self {
            home,
            _endpoint: endpoint,
            kalit,
            secrets: RefCell::default(),
        };
        let token = place.token();
        let paste = ["models", "auth", "--agent", "main", "paste-token", "--provider"];
        let paste = [&paste[..], &["anthropic", "--profile-id", "anthropic:one"]].concat();
        let ran = release.run(&place.home, &paste, Some(token.as_bytes())).await?;
        ensure!(ran.status.success(), "{ran:?}");
        let now = SystemClock.now().as_millis();
        place.change(|profiles| {
            profiles["anthropic:two"] =
                json!({"type": "token", "provider": "anthropic", "token": place.token()});
            profiles[LAB] = json!({
                "type": "oauth", "provider": "openai", "access": canary_token("lab", now, DAY),
                "refresh": refresh, "idToken": canary_token("lab", now, DAY),
                "expires": now + DAY * 1000, "email": "lab@example.com", "accountId": "acct-lab",
            });
        })?;
        Ok(place)
    }

    /// A new secret that is long enough for one of Anthropic's setup-tokens, looked for from now on.
    pub fn token(&self) -> String {
        let token = canary(&format!("sk-ant-oat01-{}", "x".repeat(60)));
        self.also("setup-token", &token);
        token
    }

    /// Looks for another text, too.
    pub fn also(&self, what: &str, secret: &str) {
        self.secrets
            .borrow_mut()
            .insert((what.to_owned(), secret.to_owned()));
    }

    /// What looks for everything that is or was a secret here.
    pub fn searcher(&self) -> Result<Searcher> {
        self.store()?;
        let key = self.home.path().join("kalit/data/key/seal.key");
        if let Ok(key) = fs::read_to_string(key) {
            self.also("the seal's key", key.trim());
        }
        Searcher::new(self.secrets.borrow().iter().cloned())
    }

    fn database(&self) -> Result<Connection> {
        let connection = Connection::open(self.home.state_dir().join("state/openclaw.sqlite"))?;
        connection.busy_timeout(Duration::from_secs(10))?;
        Ok(connection)
    }

    /// The shared store as it is now; its secrets are learnt.
    pub fn store(&self) -> Result<Value> {
        let text: String = self.database()?.query_row(
            "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'",
            [],
            |row| row.get(0),
        )?;
        let store = serde_json::from_str(&text)?;
        let mut found = secrets_of(&store);
        found.retain(|(_, secret)| !secret.starts_with(FENCE));
        self.secrets.borrow_mut().extend(found);
        Ok(store)
    }

    pub fn profile(&self, id: &str) -> Result<Value> {
        Ok(self.store()?["profiles"][id].clone())
    }

    pub fn change(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut store = self.store()?;
        change(&mut store["profiles"]);
        let rows = self.database()?.execute(
            "UPDATE config_machine_state SET value_json = ?1, updated_at_ms = ?2
             WHERE state_key = 'authProfiles.store'",
            rusqlite::params![store.to_string(), SystemClock.now().as_millis()],
        )?;
        ensure!(rows == 1, "{rows} rows");
        self.store().map(drop)
    }

    /// Leaves of a login what 2026.9.6 leaves when it could not renew: a failed fence.
    pub fn fail(&self, id: &str) -> Result<()> {
        self.change(|profiles| fail_login(&mut profiles[id], id))
    }

    /// Waits until Kalit holds a sealed copy of a login.
    pub async fn sealed(&self) -> Result<()> {
        until_some("a sealed login", OPENCLAW, || {
            let installations = fs::read_dir(self.home.path().join("kalit/data/installations")).ok()?;
            installations
                .flatten()
                .filter_map(|entry| fs::read_dir(entry.path().join("logins")).ok())
                .flatten()
                .any(|entry| entry.is_ok())
                .then_some(())
        })
        .await
    }

    /// OpenClaw's databases, their logs and the copies that 2026.9.6 makes of them for reading, and
    /// the key of the sealed copies.
    pub fn may_hold(&self, path: &Path) -> bool {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let is_database = name.starts_with("openclaw.sqlite") || name.starts_with("openclaw-agent.sqlite");
        let copies = self.home.path().join(".cache/openclaw");
        let is_copy = ["", "-0"].iter().any(|user| {
            let mut copies = copies.clone().into_os_string();
            copies.push(user);
            path.starts_with(copies)
        });
        path == self.home.path().join("kalit/data/key/seal.key")
            || is_copy
            || is_database && path.starts_with(self.home.state_dir())
    }

    /// The control: the same search finds the secrets where they stand.
    pub fn ensure_found(&self) -> Result<()> {
        let all = self.searcher()?.tree(&self.home.state_dir(), |_| false)?;
        all.ensure_some("the databases", "anthropic:one/token")
            .context("the control")
    }
}
