//! The sessions of an agent and which of them pin a profile (`/model …@<profile>`): from
//! sessions.json (2026.2.17 to 2026.7.1) and from the table `session_nodes` of the agent's database
//! (2026.9.6, observed). Only read: a running gateway keeps its sessions in memory and would
//! overwrite a change.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Installation;
use super::{Era, paths};
use crate::clock::Timestamp;
use crate::ids::{AgentId, ProfileId};
use crate::store::sqlite;

/// Larger session stores are not searched.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// So many are listed, the newest.
const MAX_LISTED: usize = 500;
/// So many pins are looked for.
const MAX_PINS: usize = 1000;
/// Larger entries are no session's.
const MAX_ENTRY: usize = 1024 * 1024;
/// The table of the sessions.
const TABLE: &[u8] = b"session_nodes";
/// Beyond this size a database is asked without a look for the table's name in it.
const MAX_SEARCHED: u64 = 4 * 1024 * 1024;

/// A session as its store describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Session key, such as `agent:main:main`.
    pub key: String,
    /// `label`, else `displayName`.
    pub label: Option<String>,
    /// `authProfileOverride`.
    pub profile_id: Option<ProfileId>,
    /// `authProfileOverrideSource`: `user` or `auto`.
    pub source: Option<String>,
    /// `providerOverride`, else `modelProvider`.
    pub provider: Option<String>,
    /// `modelOverride`, else `model`.
    pub model: Option<String>,
    /// Whether the model is the session's own choice: `modelOverride` is set.
    pub own_model: bool,
    /// `updatedAt`.
    pub updated_at: Option<Timestamp>,
}

/// A session that uses one profile whatever the order says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Session key, such as `agent:main:main`.
    pub session: String,
    /// `authProfileOverride`.
    pub profile_id: ProfileId,
    /// `user` (a person chose it) or `auto` (rotates by itself).
    pub source: Option<String>,
    /// `providerOverride`.
    pub provider: Option<String>,
    /// `modelOverride`.
    pub model: Option<String>,
}

/// The file that keeps an agent's sessions: `session.store` of the configuration with
/// `{agentId}` filled in, else `<state>/agents/<id>/sessions/sessions.json`.
pub fn session_store_path(installation: &Installation, agent: &AgentId) -> PathBuf {
    match &installation.config.session_store {
        Some(template) => {
            let path = template.replace("{agentId}", agent.as_str());
            paths::user_path(&path, &installation.state_dir.environment)
        }
        None => installation
            .state_dir
            .path
            .join("agents")
            .join(agent.as_str())
            .join("sessions/sessions.json"),
    }
}

/// The sessions of an agent, the newest first, at most 500 of them. Anything unreadable has none.
pub fn sessions(installation: &Installation, agent: &AgentId) -> Vec<Session> {
    let mut sessions: Vec<Session> = file_entries(installation, agent, &[])
        .iter()
        .chain(&database_entries(installation, agent, Which::Newest))
        .map(|(key, entry)| Session::read(key, entry))
        .collect();
    sessions.sort_by(|one, other| (other.updated_at, &one.key).cmp(&(one.updated_at, &other.key)));
    sessions.truncate(MAX_LISTED);
    sessions
}

/// The pinned sessions of an agent, by session key. Anything unreadable has no pins.
pub fn pins(installation: &Installation, agent: &AgentId) -> Vec<Pin> {
    // Most stores hold no pin: this saves taking them apart.
    let mut pins: Vec<Pin> = file_entries(installation, agent, b"authProfileOverride")
        .iter()
        .chain(&database_entries(installation, agent, Which::Pinned))
        .filter_map(|(key, entry)| Pin::read(key, entry))
        .collect();
    pins.sort_by(|one, other| one.session.cmp(&other.session));
    pins
}

/// The entries of sessions.json, if `word` stands in it. 2026.9.6 moved them into the database.
fn file_entries(installation: &Installation, agent: &AgentId, word: &[u8]) -> Vec<(String, Value)> {
    let path = session_store_path(installation, agent);
    let small = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= MAX_BYTES);
    let Some(bytes) = small.then(|| fs::read(&path).ok()).flatten() else {
        return Vec::new();
    };
    if !word.is_empty() && !contains(&bytes, word) {
        return Vec::new();
    }
    let Ok(Value::Object(sessions)) = serde_json::from_slice(&bytes) else {
        return Vec::new();
    };
    let default = installation.default_agent();
    let of_agent = |key: &str| owner(key).unwrap_or_else(|| default.clone()) == *agent;
    sessions.into_iter().filter(|(key, _)| of_agent(key)).collect()
}

/// Which rows of a database are wanted.
#[derive(Clone, Copy)]
enum Which {
    Newest,
    Pinned,
}

/// The rows of an agent's database.
fn database_entries(installation: &Installation, agent: &AgentId, which: Which) -> Vec<(String, Value)> {
    let in_database = matches!(installation.era, Era::Sqlite { .. } | Era::Mixed { .. });
    let agent = installation.agents.iter().find(|known| known.id == *agent);
    let Some(agent) = agent.filter(|_| in_database) else {
        return Vec::new();
    };
    let path = sqlite::agent_database(&agent.agent_dir);
    if !sqlite::is_at_hand(&path) && !may_hold_sessions(&path) {
        return Vec::new();
    }
    read_rows(&path, which).unwrap_or_default()
}

fn read_rows(path: &Path, which: Which) -> Option<Vec<(String, Value)>> {
    let connection = sqlite::open(path).ok()?;
    let (query, limit) = match which {
        Which::Newest => (
            "SELECT session_key, entry_json FROM session_nodes ORDER BY updated_at DESC LIMIT ?1",
            MAX_LISTED,
        ),
        Which::Pinned => (
            "SELECT session_key, entry_json FROM session_nodes
             WHERE instr(entry_json, 'authProfileOverride') > 0 LIMIT ?1",
            MAX_PINS,
        ),
    };
    let mut statement = connection.prepare(query).ok()?;
    let text = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let rows = statement.query_map([limit], text).ok()?;
    let entries = rows
        .filter_map(Result::ok)
        .filter(|(_, json)| json.len() <= MAX_ENTRY)
        .filter_map(|(key, json)| Some((key, serde_json::from_str(&json).ok()?)));
    Some(entries.collect())
}

/// Whether the database or its log names the table. Most agents have no sessions, and this costs
/// less than a connection.
fn may_hold_sessions(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let names_it = |path: &Path| match fs::metadata(path) {
        Ok(file) if file.len() > MAX_SEARCHED => true,
        Ok(_) => fs::read(path).is_ok_and(|bytes| contains(&bytes, TABLE)),
        Err(_) => false,
    };
    names_it(path) || names_it(Path::new(&log))
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

impl Session {
    fn read(key: &str, entry: &Value) -> Self {
        let own_model = text(entry, "modelOverride");
        Self {
            key: key.to_owned(),
            label: text(entry, "label").or_else(|| text(entry, "displayName")),
            profile_id: text(entry, "authProfileOverride").and_then(|id| ProfileId::parse(&id)),
            source: text(entry, "authProfileOverrideSource"),
            provider: text(entry, "providerOverride").or_else(|| text(entry, "modelProvider")),
            own_model: own_model.is_some(),
            model: own_model.or_else(|| text(entry, "model")),
            updated_at: entry
                .get("updatedAt")
                .and_then(Value::as_i64)
                .map(Timestamp::from_millis),
        }
    }
}

impl Pin {
    fn read(key: &str, entry: &Value) -> Option<Self> {
        Some(Self {
            session: key.to_owned(),
            profile_id: ProfileId::parse(&text(entry, "authProfileOverride")?)?,
            source: text(entry, "authProfileOverrideSource"),
            provider: text(entry, "providerOverride"),
            model: text(entry, "modelOverride"),
        })
    }
}

fn text(entry: &Value, name: &str) -> Option<String> {
    let text = entry.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The agent in `agent:<id>:…`; several agents may share one file.
fn owner(session: &str) -> Option<AgentId> {
    let mut parts = session.split(':');
    (parts.next()? == "agent").then(|| parts.next().map(AgentId::normalize))?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::environment::Environment;
    use crate::settings::Settings;

    fn installation(home: &Path, config: &str) -> Installation {
        let state = home.join(".openclaw");
        fs::create_dir_all(&state).unwrap();
        fs::write(state.join("openclaw.json"), config).unwrap();
        let environment = Environment::new([], home, home);
        Installation::open(&environment, &Settings::default(), None).unwrap()
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn pins_are_read_and_everything_else_is_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let installation = installation(home.path(), "{}");
        let main = AgentId::main();
        let path = session_store_path(&installation, &main);
        assert_eq!(
            path,
            home.path().join(".openclaw/agents/main/sessions/sessions.json")
        );
        write(
            &path,
            r#"{"agent:main:main":{"sessionId":"1","authProfileOverride":" anthropic:home ","authProfileOverrideSource":"user",
                "providerOverride":"anthropic","modelOverride":"claude","authProfileOverrideCompactionCount":3},
               "agent:main:a":{"authProfileOverride":"openai:x","authProfileOverrideSource":5},
               "agent:work:main":{"authProfileOverride":"openai:other"},
               "main":{"authProfileOverride":"openai:old-key"},
               "agent:main:empty":{"authProfileOverride":"  "},
               "agent:main:odd":{"authProfileOverride":{}},"agent:main:null":null,"agent:main:n":7}"#,
        );
        let pin = |session: &str, profile: &str| Pin {
            session: session.to_owned(),
            profile_id: ProfileId::parse(profile).unwrap(),
            source: None,
            provider: None,
            model: None,
        };
        assert_eq!(
            pins(&installation, &main),
            [
                pin("agent:main:a", "openai:x"),
                Pin {
                    source: Some("user".to_owned()),
                    provider: Some("anthropic".to_owned()),
                    model: Some("claude".to_owned()),
                    ..pin("agent:main:main", "anthropic:home")
                },
                pin("main", "openai:old-key"),
            ]
        );
    }

    #[test]
    fn session_store_moves_the_file_and_may_be_shared() {
        let home = tempfile::tempdir().unwrap();
        let own = installation(home.path(), "{session:{store:'~/s/{agentId}/x.json'}}");
        let work = AgentId::normalize("work");
        assert_eq!(session_store_path(&own, &work), home.path().join("s/work/x.json"));
        let shared = installation(home.path(), "{session:{store:'~/s/all.json'}}");
        write(
            &home.path().join("s/all.json"),
            r#"{"agent:work:main":{"authProfileOverride":"a:b"},"agent:main:main":{"authProfileOverride":"c:d"}}"#,
        );
        let sessions = |agent: &AgentId| -> Vec<String> {
            pins(&shared, agent).into_iter().map(|pin| pin.session).collect()
        };
        assert_eq!(sessions(&work), ["agent:work:main"]);
        assert_eq!(sessions(&AgentId::main()), ["agent:main:main"]);
    }

    /// Rows as 2026.9.6 writes them, in the table's first columns.
    #[test]
    fn sessions_of_the_database_are_listed_and_their_pins_found() {
        let home = tempfile::tempdir().unwrap();
        let installation = installation(home.path(), "{meta:{lastTouchedVersion:'2026.9.6'}}");
        let main = AgentId::main();
        let dir = home.path().join(".openclaw/agents/main/agent");
        fs::create_dir_all(&dir).unwrap();
        let database = rusqlite::Connection::open(dir.join("openclaw-agent.sqlite")).unwrap();
        database
            .execute_batch(
                "CREATE TABLE auth_profile_store(store_key TEXT, store_json TEXT, updated_at INTEGER);
                 CREATE TABLE session_nodes(session_key TEXT NOT NULL PRIMARY KEY, entry_json TEXT NOT NULL,
                    updated_at INTEGER NOT NULL);
                 INSERT INTO session_nodes VALUES
                    ('agent:main:main', '{\"updatedAt\":5,\"providerOverride\":\"anthropic\",
                      \"modelOverride\":\"claude\",\"authProfileOverride\":\"anthropic:two\",
                      \"authProfileOverrideSource\":\"user\"}', 5),
                    ('agent:main:b', '{\"updatedAt\":7,\"label\":\"B\",\"modelProvider\":\"openai\",\"model\":\"gpt\"}', 7),
                    ('agent:main:odd', 'not json', 9);",
            )
            .unwrap();
        drop(database);
        let installation = installation.reload();
        let listed = sessions(&installation, &main);
        let keys: Vec<_> = listed.iter().map(|session| session.key.as_str()).collect();
        assert_eq!(keys, ["agent:main:b", "agent:main:main"]);
        assert_eq!(
            listed[0],
            Session {
                key: "agent:main:b".to_owned(),
                label: Some("B".to_owned()),
                profile_id: None,
                source: None,
                provider: Some("openai".to_owned()),
                model: Some("gpt".to_owned()),
                own_model: false,
                updated_at: Some(Timestamp::from_millis(7)),
            }
        );
        let pins = pins(&installation, &main);
        assert_eq!(pins.len(), 1, "{pins:?}");
        assert_eq!(pins[0].session, "agent:main:main");
        assert_eq!(pins[0].profile_id.as_str(), "anthropic:two");
        let left: Vec<_> = fs::read_dir(&dir).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn garbage_has_no_pins() {
        let home = tempfile::tempdir().unwrap();
        let installation = installation(home.path(), "{}");
        let main = AgentId::main();
        let path = session_store_path(&installation, &main);
        assert_eq!(pins(&installation, &main), []);
        for text in [
            "",
            "{",
            "[]",
            "null",
            "\"authProfileOverride\"",
            "{\"a\":{\"authProfileOverride\":",
            "\u{0}\u{1}",
        ] {
            write(&path, text);
            assert_eq!(pins(&installation, &main), [], "{text:?}");
        }
        let deep = format!("{{\"authProfileOverride\":{}", "[".repeat(200_000));
        write(&path, &deep);
        assert_eq!(pins(&installation, &main), []);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(pins(&installation, &main), []);
    }
}
