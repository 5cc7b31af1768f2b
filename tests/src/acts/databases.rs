//! Databases of 2026.9.6 as a failed renewal leaves them, made by hand.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::ids::ProfileId;
use kalit_core::secret::Secret;
use kalit_core::store::{Credential, FenceDigest, FencedToken};
use kalit_core::vault::logins::Login as SealedLogin;
use kalit_core::vault::{GenerationDigest, SealedLogins, Sealer, installation_dir};
use serde_json::{Value, json};

use super::Stage;
use crate::kalit::expired_login;

impl Stage {
    /// Databases of 2026.9.6's shape with a failed fence of a sealed login, which is returned.
    pub(super) fn prepare_databases(&self, seed: usize) -> Result<Value> {
        const AGENT: &str = "PRAGMA journal_mode = WAL; PRAGMA user_version = 23;
            CREATE TABLE auth_profile_store(store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
            CREATE TABLE auth_profile_state(state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;";
        const SHARED: &str = "PRAGMA journal_mode = WAL; PRAGMA user_version = 18;
            CREATE TABLE config_machine_state(state_key TEXT NOT NULL PRIMARY KEY, value_json TEXT NOT NULL, updated_at_ms INTEGER NOT NULL) STRICT;
            INSERT INTO config_machine_state VALUES('auth.sharedStore', '{\"location\":\"state-db\"}', 1);";
        let entries: Value = self.act.agents().iter().map(|id| (*id, json!({}))).collect();
        self.home.write_config(&json!({
            "meta": {"lastTouchedVersion": self.version.as_str()},
            "agents": {"ownership": "explicit", "entries": entries},
        }))?;
        let lost = self.lost_login(seed);
        let credential = Credential::read(&lost);
        let id = ProfileId::parse(&self.profile).context("no profile id")?;
        let digest = GenerationDigest::of(&id, &credential).context("no generation")?;
        let data = self.data_dir();
        let state = fs::canonicalize(self.home.state_dir())?;
        SealedLogins::open(&installation_dir(&data, &state)).seal(
            &Sealer::open(&data)?,
            SystemClock.now(),
            &SealedLogin {
                id: &id,
                provider: "openai",
                digest,
                credential: &lost.to_string(),
            },
        )?;
        let fence = self.fence(&id, &credential)?;
        let other = json!({"type": "token", "provider": "anthropic", "token": "test-token", "x": 1.50});
        let store = json!({"version": 1, "profiles": {"a:1": other, &self.profile: fence, "z:1": other}});
        for path in self.databases() {
            fs::create_dir_all(path.parent().context("no directory")?)?;
            let shared = path.ends_with("openclaw.sqlite");
            let connection = rusqlite::Connection::open(&path)?;
            connection.execute_batch(if shared { SHARED } else { AGENT })?;
            let insert = if shared {
                "INSERT INTO config_machine_state VALUES ('authProfiles.store', ?1, 1700)"
            } else {
                "INSERT INTO auth_profile_store VALUES ('primary', ?1, 1700)"
            };
            connection.execute(insert, [store.to_string()])?;
            for suffix in ["", "-wal", "-shm"] {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                if Path::new(&name).exists() {
                    fs::set_permissions(&name, fs::Permissions::from_mode(0o600))?;
                }
            }
        }
        Ok(lost)
    }

    fn lost_login(&self, seed: usize) -> Value {
        let mut login = expired_login(&self.login, "openai");
        login["idToken"] = json!("i".repeat([0, 900, 20_000][seed % 3]));
        login
    }

    fn fence(&self, id: &ProfileId, credential: &Credential) -> Result<Value> {
        let oauth = credential.as_oauth().context("no login")?;
        let claim = "0123456789abcdef".repeat(2);
        let of = |token, name: &str, secret: &Option<Secret>| -> Result<String> {
            let digest = FenceDigest::of(id, "openai", token, secret.as_ref().context("no token")?);
            Ok(format!(
                "openclaw-oauth-refresh-fence:v1:{claim}:failed:{name}:{digest}"
            ))
        };
        Ok(json!({
            "type": "oauth", "provider": "openai", "email": self.login.email, "expires": 1,
            "access": of(FencedToken::Access, "access", &oauth.access)?,
            "refresh": of(FencedToken::Refresh, "refresh", &oauth.refresh)?,
        }))
    }
}
