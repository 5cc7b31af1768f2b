//! What tests of several modules share: a home of its own with OpenClaw's stores, a provider on
//! loopback, and a clock that stands still. Never the real home.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::broker::{Broker, Options};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::environment::Environment;
use crate::oauth::testing::{FakeServer, Reply, jwt};
use crate::refresh::Fleet;
use crate::settings::Settings;

/// When the tests take place.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_763_900_000_000);
pub(crate) const ANN: &str = "openai:ann@example.com";

pub(crate) struct Machine {
    home: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::new(NOW)),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn environment(&self) -> Environment {
        let home = self.home.path();
        let text = |name: &str| self.path(name).to_string_lossy().into_owned();
        Environment::new([], home, home)
            .with_var("HOME", &home.to_string_lossy())
            .with_var("KALIT_CONFIG_DIR", &text("kalit/config"))
            .with_var("KALIT_DATA_DIR", &text("kalit/data"))
            .with_var("KALIT_PROVIDERS_DIR", &text("kalit/providers"))
            .with_var("KALIT_TEST_PROVIDERS", "1")
    }

    pub(crate) fn broker(&self) -> Broker {
        self.broker_in(self.environment())
    }

    pub(crate) fn broker_in(&self, environment: Environment) -> Broker {
        let clock: Arc<dyn Clock> = self.clock.clone();
        Broker::open(Options {
            environment,
            clock,
            state_dir: None,
            program: "kalit",
        })
        .unwrap()
    }

    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::read(&self.environment(), &Settings::default(), None).unwrap()
    }

    /// `<state>/agents/<agent>/agent` of a state directory in this home.
    pub(crate) fn agent_dir(&self, state: &str, agent: &str) -> PathBuf {
        self.path(state).join("agents").join(agent).join("agent")
    }

    /// A store whose only profile is [`ANN`].
    pub(crate) fn write_store(&self, agent_dir: &Path, login: &Value) {
        fs::create_dir_all(agent_dir).unwrap();
        let store = json!({"version": 1, "profiles": {ANN: login}});
        fs::write(agent_dir.join("auth-profiles.json"), store.to_string()).unwrap();
    }

    pub(crate) fn read_store(&self, agent_dir: &Path) -> Value {
        let text = fs::read_to_string(agent_dir.join("auth-profiles.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// A token endpoint that OpenAI's manifest leads to.
    pub(crate) async fn serve(&self, replies: Vec<Reply>) -> FakeServer {
        let server = FakeServer::start(replies).await;
        self.lead_to(&server.token_url());
        server
    }

    /// Lets OpenAI's manifest lead to a token endpoint.
    pub(crate) fn lead_to(&self, token_url: &str) {
        let manifest = json!({
            "manifest": 1, "id": "openai", "overrides": "openai",
            "authorizeUrl": token_url.replace("/token", "/authorize"), "tokenUrl": token_url,
            "revokeUrl": token_url.replace("/token", "/revoke"),
        });
        fs::create_dir_all(self.path("kalit/providers")).unwrap();
        fs::write(self.path("kalit/providers/openai.json"), manifest.to_string()).unwrap();
    }

    /// Names of the files in a directory, sorted.
    pub(crate) fn names(&self, dir: &Path) -> Vec<String> {
        let listing = fs::read_dir(dir).into_iter().flatten();
        let mut names: Vec<String> = listing
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Ann's access token that ends `lifetime_ms` after [`NOW`]; `number` tells one from another.
pub(crate) fn access_token(number: u32, lifetime_ms: i64) -> String {
    let end = NOW.plus_millis(lifetime_ms).as_millis() / 1000;
    jwt(&json!({
        "exp": end,
        "iat": end - 3600,
        "jti": number,
        "https://api.openai.com/auth": {"chatgpt_account_id": "acct-ann", "chatgpt_user_id": "user-ann"},
        "https://api.openai.com/profile": {"email": "ann@example.com"},
    }))
}

/// Ann's login as OpenClaw stores it.
pub(crate) fn login(refresh: &str, lifetime_ms: i64) -> Value {
    json!({
        "type": "oauth", "provider": "openai", "access": access_token(0, lifetime_ms), "refresh": refresh,
        "expires": NOW.plus_millis(lifetime_ms), "accountId": "acct-ann", "email": "ann@example.com",
    })
}

/// A token endpoint's answer for Ann.
pub(crate) fn answer(number: u32, refresh: &str) -> Reply {
    let access = access_token(number, 3_600_000);
    Reply::json(
        200,
        &json!({"access_token": access, "refresh_token": refresh, "expires_in": 3600, "token_type": "Bearer"}),
    )
}
