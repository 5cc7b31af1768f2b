//! Stores of the sqlite era to measure with: one whose databases OpenClaw 2026.9.6 made itself, and
//! a large one with the same rows in tables of the same shape.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kalit_journeys::openclaw::Release;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use crate::store::{NAMES, accounts, variables, write};

const AGENT: &str = "PRAGMA journal_mode = WAL; PRAGMA user_version = 23;
    CREATE TABLE schema_meta(meta_key TEXT NOT NULL PRIMARY KEY, app_version TEXT) STRICT;
    INSERT INTO schema_meta VALUES('primary', '2026.9.6');
    CREATE TABLE auth_profile_store(store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
    CREATE TABLE auth_profile_state(state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;";

pub struct Databases {
    home: PathBuf,
    env: BTreeMap<String, String>,
}

impl Databases {
    /// Three agents with four accounts each, beside four that they share.
    pub fn create(home: &Path, release: &Release) -> Result<Self> {
        let agents = ["main", "work", "home"];
        let databases = Self::configured(home, agents.map(str::to_owned))?;
        // OpenClaw's own commands make the databases of main, which is shared, and the others.
        for agent in agents {
            let mut command = databases.command(&release.node);
            command.arg(release.package_dir.join("openclaw.mjs"));
            command.args(["models", "auth", "--agent", agent, "paste-token"]);
            command.args(["--provider", "anthropic", "--profile-id", "anthropic:seed"]);
            command.stdin(std::process::Stdio::piped());
            command
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null());
            let mut child = command.spawn().context("starting OpenClaw")?;
            let token = format!("sk-ant-oat01-{}\n", "seed".repeat(20));
            std::io::Write::write_all(&mut child.stdin.take().context("no stdin")?, token.as_bytes())?;
            ensure!(child.wait()?.success(), "paste-token for {agent} failed");
        }
        databases.put_shared(&accounts("main", &NAMES))?;
        for agent in ["work", "home"] {
            put(&databases.agent(agent), &accounts(agent, &NAMES))?;
        }
        Ok(databases)
    }

    /// Many agents with many accounts each, beside as many that they share.
    pub fn large(home: &Path, agents: usize, accounts_each: usize) -> Result<Self> {
        let names = |owner: &str| -> Vec<String> {
            (0..accounts_each)
                .map(|number| format!("{owner}-{number}"))
                .collect()
        };
        let ids: Vec<String> = (0..agents)
            .map(|number| match number {
                0 => "main".to_owned(),
                number => format!("agent{number}"),
            })
            .collect();
        let databases = Self::configured(home, ids.iter().cloned())?;
        let shared = databases.shared();
        fs::create_dir_all(shared.parent().context("no directory")?)?;
        let connection = Connection::open(&shared)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA user_version = 18;
             CREATE TABLE config_machine_state(state_key TEXT NOT NULL PRIMARY KEY, value_json TEXT NOT NULL, updated_at_ms INTEGER NOT NULL) STRICT;
             INSERT INTO config_machine_state VALUES ('auth.sharedStore', '{\"location\":\"state-db\"}', 1),
                                                     ('authProfiles.store', '{\"version\":1,\"profiles\":{}}', 1);",
        )?;
        drop(connection);
        databases.put_shared(&accounts("shared", &names("shared")))?;
        for id in &ids {
            let path = databases.agent(id);
            fs::create_dir_all(path.parent().context("no directory")?)?;
            Connection::open(&path)?.execute_batch(AGENT)?;
            put(&path, &accounts(id, &names(id)))?;
        }
        Ok(databases)
    }

    fn configured(home: &Path, agents: impl IntoIterator<Item = String>) -> Result<Self> {
        let entries: Map<String, Value> = agents.into_iter().map(|id| (id, json!({}))).collect();
        // Another model would make 2026.9.6 install a plugin.
        let config = json!({
            "meta": {"lastTouchedVersion": "2026.9.6"},
            "agents": {"ownership": "explicit", "entries": entries,
                "defaults": {"model": {"primary": "anthropic/claude-opus-4-6"}}},
        });
        fs::create_dir_all(home.join(".openclaw"))?;
        write(&home.join(".openclaw/openclaw.json"), &config)?;
        Ok(Self {
            home: home.to_owned(),
            env: variables(home),
        })
    }

    /// A command whose home and state directory are these.
    pub fn command(&self, program: &Path) -> Command {
        kalit_journeys::process::command(program, &self.env)
    }

    /// The variables alone.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    fn shared(&self) -> PathBuf {
        self.home.join(".openclaw/state/openclaw.sqlite")
    }

    fn agent(&self, id: &str) -> PathBuf {
        let dir = self.home.join(".openclaw/agents").join(id);
        dir.join("agent/openclaw-agent.sqlite")
    }

    fn put_shared(&self, store: &Value) -> Result<()> {
        let changed = Connection::open(self.shared())?.execute(
            "UPDATE config_machine_state SET value_json = ?1, updated_at_ms = updated_at_ms + 1 WHERE state_key = 'authProfiles.store'",
            [store.to_string()],
        )?;
        ensure!(changed == 1, "the shared database holds no store");
        Ok(())
    }

    /// Adds an API key to what all agents share, in the place of one added before.
    pub fn put_key(&self, profile_id: &str) -> Result<()> {
        let mut store = accounts("main", &NAMES);
        store["profiles"][profile_id] =
            json!({"type": "api_key", "provider": "openai", "key": "sk-test-fake"});
        self.put_shared(&store)
    }
}

fn put(path: &Path, store: &Value) -> Result<()> {
    Connection::open(path)?.execute(
        "INSERT OR REPLACE INTO auth_profile_store VALUES ('primary', ?1, 2)",
        [store.to_string()],
    )?;
    Ok(())
}
