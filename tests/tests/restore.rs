//! Logins that 2026.9.6 drops because a renewal failed, put back by Kalit: then used and renewed by
//! OpenClaw, or refused again and told as such.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::kalit::{Kalit, Watching, expired_login};
use kalit_journeys::openclaw::{Release, TestHome, Version, finish, release, write_json};
use kalit_journeys::token_endpoint::{Login, Mode, TokenEndpoint};
use kalit_journeys::wait::until_some;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

const ADA: &str = "openai:ada@example.com";
const BEA: &str = "openai:bea@example.com";
/// From the fence to the status.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_dropped_login_is_put_back_and_renewed_by_openclaw() -> Result<()> {
    let scene = Scene::new(&["main", "work"]).await?;
    let watching = scene.kalit.watch().await?;
    // Two agents have the same generation: the peer's copy is fenced and put back too.
    let login = expired_login(&Login::named("ada", "test-refresh-0"), "openai");
    scene.put(&scene.work(), ADA, Some(login.clone()))?;
    scene.put(&scene.shared(), ADA, Some(login))?;

    let modes = [
        Burn::By(Mode::Unavailable),
        Burn::By(Mode::DropBefore),
        Burn::By(Mode::Html),
        // OpenClaw waits 30 s for an answer.
        Burn::By(Mode::Hang),
        Burn::PortClosed,
        Burn::NoName,
    ];
    for (number, burn) in modes.into_iter().enumerate() {
        let before = scene.login(&scene.shared(), ADA)?;
        scene.sealed(&before).await?;
        scene.burn(ADA, burn).await?;
        let account = scene.dropped(ADA).await?;
        assert_eq!(account["restore"]["offered"], true, "{burn:?}: {account:#}");
        if number == 0 {
            scene.refused_while_the_token_host_is_away().await?;
        }

        let restored = scene.kalit.run(&["restore", ADA, "--yes", "--json"]).await?;
        assert_eq!(restored.code, 0, "{burn:?}: {restored:?}");
        let stores = if number == 0 {
            vec![scene.work(), scene.shared()]
        } else {
            vec![scene.shared()]
        };
        let restored = restored.json()?;
        assert_eq!(restored["stores"], json!(stores), "{burn:?}");
        // OpenClaw itself was asked and sees it.
        assert_eq!(restored["notes"], json!([]), "{burn:?}");
        assert_eq!(scene.login(&scene.shared(), ADA)?, before, "{burn:?}");
        assert_eq!(scene.kalit.account("main", ADA).await?["state"], "expired");

        // It is sent once, rotated and used.
        let sent = scene.endpoint.token_requests().len();
        scene.usage(&[]).await?;
        let requests = scene.endpoint.token_requests();
        assert_eq!(requests.len(), sent + 1, "{burn:?}");
        assert_eq!(requests[sent].refresh_token(), before["refresh"].as_str());
        let after = scene.login(&scene.shared(), ADA)?;
        assert_eq!(
            after["refresh"].as_str().map(str::to_owned),
            scene.endpoint.current_refresh("acct-ada")
        );
        assert_ne!(after["refresh"], before["refresh"], "{burn:?}");
        let used = scene.endpoint.requests().into_iter().next_back();
        assert_eq!(used.context("no request")?.outcome, "current access token");
        scene.expire(ADA)?;
    }
    assert_eq!(scene.endpoint.reuses(), 0);
    let kinds = watching.kinds();
    let told = |kind: &str| kinds.iter().filter(|told| *told == kind).count();
    // The first time in both stores.
    assert_eq!(told("dropped"), modes.len() + 1, "{kinds:?}");
    assert_eq!(told("vanished"), 0, "{kinds:?}");
    drop(watching);
    // Only here does Kalit write into OpenClaw's databases, and only into those that it names.
    #[cfg(target_os = "linux")]
    {
        let written = scene.kalit.databases_written().await?;
        let paths: BTreeSet<&str> = written
            .own
            .iter()
            .map(|written| written.path.trim_end_matches("-wal"))
            .collect();
        let (work, shared) = (scene.work(), scene.shared());
        let named = [&work, &shared].map(|path| path.to_str().unwrap_or_default());
        assert_eq!(paths, BTreeSet::from(named), "{:?}", written.own);
    }
    Ok(())
}

#[tokio::test]
async fn a_login_that_is_refused_after_it_was_put_back_is_not_offered_again() -> Result<()> {
    let scene = Scene::new(&["main"]).await?;
    let _watching: Watching = scene.kalit.watch().await?;
    scene.endpoint.add_login(Login::named("bea", "test-refresh-b0"));
    let logins = [
        // The answer was lost after the rotation: the provider takes it for misuse.
        (
            ADA,
            Login::named("ada", "test-refresh-0"),
            Mode::DropAfter,
            Mode::Ok,
        ),
        // Signed out elsewhere.
        (
            BEA,
            Login::named("bea", "test-refresh-b0"),
            Mode::Invalidated,
            Mode::Invalidated,
        ),
    ];
    for (id, login, first, second) in logins {
        let login = expired_login(&login, "openai");
        scene.put(&scene.shared(), id, Some(login.clone()))?;
        scene.sealed(&login).await?;
        scene.burn(id, Burn::By(first)).await?;
        assert_eq!(scene.dropped(id).await?["restore"]["offered"], true);
        // Without consent nothing happens.
        let asked = scene.kalit.run(&["restore", id]).await?;
        assert_eq!(asked.code, 64, "{asked:?}");
        assert!(
            asked.stdout.contains("If the provider had already renewed"),
            "{asked:?}"
        );
        let restored = scene.kalit.run(&["restore", id, "--yes"]).await?;
        assert_eq!(restored.code, 0, "{restored:?}");

        scene.burn(id, Burn::By(second)).await?;
        let account = scene.dropped(id).await?;
        assert_eq!(account["restore"]["offered"], false, "{account:#}");
        let sentence = account["sentence"].as_str().unwrap_or_default();
        assert!(sentence.contains("put back once and refused again"), "{sentence}");
        assert!(sentence.ends_with("Sign in again."), "{sentence}");
        let fenced = scene.login(&scene.shared(), id)?;
        let again = scene.kalit.run(&["restore", id, "--yes", "--json"]).await?;
        assert_eq!((again.code, again.error_code()?.as_str()), (69, "restore.spent"));
        assert_eq!(scene.login(&scene.shared(), id)?, fenced);
        // Out of the way of the next one.
        scene.put(&scene.shared(), id, None)?;
    }
    assert_eq!(scene.endpoint.reuses(), 1, "the spent one came back once");
    Ok(())
}

/// How a renewal fails.
#[derive(Clone, Copy, Debug)]
enum Burn {
    By(Mode),
    PortClosed,
    NoName,
}

/// 2026.9.6 with its databases made by its own commands, and Kalit.
struct Scene {
    home: TestHome,
    release: Release,
    endpoint: TokenEndpoint,
    kalit: Kalit,
}

impl Scene {
    async fn new(agents: &[&str]) -> Result<Self> {
        let (home, release) = (TestHome::new()?, release(Version::V2026_9_6).await?);
        let entries: Value = agents.iter().map(|agent| (*agent, json!({}))).collect();
        home.write_config(&json!({"agents": {
            "ownership": "explicit",
            "entries": entries,
            "defaults": {
                // Another model would make 2026.9.6 install a plugin.
                "model": {"primary": "anthropic/claude-opus-4-6"},
                // Whose usage `status --usage` shows, where there are several agents.
                "systemAgent": {"agentId": "main"},
            },
        }}))?;
        for agent in agents {
            let id = format!("anthropic:{agent}");
            let paste = ["paste-token", "--provider", "anthropic", "--profile-id", &id];
            let args = [&["models", "auth", "--agent", agent][..], &paste].concat();
            let token = format!("sk-ant-oat01-{}\n", "fake".repeat(25));
            let output = release.run(&home, &args, Some(token.as_bytes())).await?;
            ensure!(output.status.success(), "{output:?}");
        }
        let login = Login::named("ada", "test-refresh-0");
        let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
        #[cfg(target_os = "linux")]
        let kalit = kalit.traced()?;
        Ok(Self {
            home,
            release,
            endpoint,
            kalit,
        })
    }

    fn shared(&self) -> PathBuf {
        self.home.state_dir().join("state/openclaw.sqlite")
    }

    fn work(&self) -> PathBuf {
        self.home.agent_dir("work").join("openclaw-agent.sqlite")
    }

    /// `openclaw status --usage --json`, which renews what has expired.
    async fn usage(&self, variables: &[(&str, String)]) -> Result<()> {
        let mut command = self
            .release
            .command(&self.home, &self.release.package_dir.join("openclaw.mjs"));
        command
            .args(["status", "--usage", "--json"])
            .envs(self.endpoint.node_env())
            .envs(variables.iter().map(|(name, value)| (*name, value)));
        let output = finish(command, None).await?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    async fn burn(&self, id: &str, burn: Burn) -> Result<()> {
        match burn {
            Burn::By(mode) => {
                self.endpoint.set_mode(mode);
                self.usage(&[]).await?;
                self.endpoint.set_mode(Mode::Ok);
            }
            Burn::PortClosed => self.usage(&[("LOOP_PORT", closed_port()?.to_string())]).await?,
            Burn::NoName => self.usage(&[("LOOP_HOSTS", String::new())]).await?,
        }
        let stored = self.login(&self.shared(), id)?;
        let refresh = stored["refresh"].as_str().unwrap_or_default();
        ensure!(refresh.contains(":failed:refresh:"), "{burn:?} left {stored:#}");
        Ok(())
    }

    /// What Kalit shows of the dropped login, once it has seen it.
    async fn dropped(&self, id: &str) -> Result<Value> {
        let account = self.kalit.account("main", id).await?;
        ensure!(account["state"] == "dropped", "{account:#}");
        Ok(account)
    }

    /// `kalit watch` has made its copy.
    async fn sealed(&self, login: &Value) -> Result<()> {
        let refresh = login["refresh"].as_str().context("no token")?.to_owned();
        let id = ["ada", "bea"].into_iter().find(|name| {
            login["email"]
                .as_str()
                .is_some_and(|email| email.starts_with(name))
        });
        let id = format!("openai:{}@example.com", id.context("whose?")?);
        let text = json!([
            "openclaw.oauth-refresh-generation",
            1,
            id,
            "openai",
            "refresh",
            refresh
        ]);
        let digest = sha256(&text.to_string());
        let content = format!("-{}.age", &sha256(&login.to_string())[..16]);
        let installations = self.home.path().join("kalit/data/installations");
        until_some("the sealed copy", SOON, || {
            let dir = std::fs::read_dir(&installations).ok()?.flatten().next()?.path();
            let mut logins = std::fs::read_dir(dir.join("logins")).ok()?.flatten();
            let of = |entry: &std::fs::DirEntry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.contains(&digest) && name.ends_with(&content)
            };
            logins.any(|entry| of(&entry)).then_some(())
        })
        .await
    }

    async fn refused_while_the_token_host_is_away(&self) -> Result<()> {
        let before = self.login(&self.shared(), ADA)?;
        let dir = self.home.path().join("kalit/elsewhere");
        let url = format!("http://127.0.0.1:{}", closed_port()?);
        let manifest = kalit_journeys::authserver::manifest(&url, &[1455]);
        write_json(&dir.join("openai.json"), &manifest)?;
        let kalit = self
            .kalit
            .clone()
            .with_var("KALIT_PROVIDERS_DIR", dir.to_string_lossy());
        let refused = kalit.run(&["restore", ADA, "--yes", "--json"]).await?;
        assert_eq!(
            (refused.code, refused.error_code()?.as_str()),
            (69, "network.unreachable")
        );
        assert_eq!(self.login(&self.shared(), ADA)?, before);
        Ok(())
    }

    fn login(&self, database: &PathBuf, id: &str) -> Result<Value> {
        let text = read(&Connection::open(database)?)?.context("no accounts")?;
        let store: Value = serde_json::from_str(&text)?;
        Ok(store["profiles"][id].clone())
    }

    /// Compare-and-set of the cell, with this login in it or without.
    fn put(&self, database: &PathBuf, id: &str, login: Option<Value>) -> Result<()> {
        let connection = Connection::open(database)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let old = read(&connection)?.context("no accounts")?;
        let mut store: Value = serde_json::from_str(&old)?;
        let profiles = store["profiles"].as_object_mut().context("no profiles")?;
        match login {
            Some(login) => profiles.insert(id.to_owned(), login),
            None => profiles.remove(id),
        };
        let (table, column, _) = place(&connection)?;
        let changed = connection.execute(
            &format!("UPDATE {table} SET {column} = ?1 WHERE {column} = ?2"),
            params![store.to_string(), old],
        )?;
        ensure!(changed == 1, "the accounts changed meanwhile");
        Ok(())
    }

    /// Lets the access token be over, as time does.
    fn expire(&self, id: &str) -> Result<()> {
        let mut login = self.login(&self.shared(), id)?;
        login["expires"] = json!(SystemClock.now().as_millis() - 60_000);
        self.put(&self.shared(), id, Some(login))
    }
}

/// Table, column and condition of the accounts.
fn place(connection: &Connection) -> Result<(&'static str, &'static str, &'static str)> {
    let shared = connection
        .query_row(
            "SELECT 1 FROM sqlite_master WHERE name = 'config_machine_state'",
            [],
            |_| Ok(()),
        )
        .optional()?;
    Ok(match shared {
        Some(()) => (
            "config_machine_state",
            "value_json",
            "state_key = 'authProfiles.store'",
        ),
        None => ("auth_profile_store", "store_json", "store_key = 'primary'"),
    })
}

fn read(connection: &Connection) -> Result<Option<String>> {
    let (table, column, row) = place(connection)?;
    let query = format!("SELECT {column} FROM {table} WHERE {row}");
    Ok(connection.query_row(&query, [], |row| row.get(0)).optional()?)
}

/// A port where nobody listens.
fn closed_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
