//! Which sessions pin a profile (`/model …@<profile>`), from sessions.json of the json era. Only
//! read: a running gateway keeps that file in memory and would overwrite a change.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::Installation;
use super::paths;
use crate::ids::{AgentId, ProfileId};

/// Larger session stores are not searched.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

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

/// The pinned sessions of an agent, by session key. Anything unreadable has no pins.
pub fn pins(installation: &Installation, agent: &AgentId) -> Vec<Pin> {
    let path = session_store_path(installation, agent);
    let small = fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() <= MAX_BYTES);
    let Some(bytes) = small.then(|| fs::read(&path).ok()).flatten() else {
        return Vec::new();
    };
    // Most stores hold no pin: this saves taking them apart.
    let word = b"authProfileOverride";
    if !bytes.windows(word.len()).any(|window| window == word) {
        return Vec::new();
    }
    let Ok(Value::Object(sessions)) = serde_json::from_slice(&bytes) else {
        return Vec::new();
    };
    let default = installation.default_agent();
    let mut pins: Vec<Pin> = sessions
        .iter()
        .filter(|(key, _)| owner(key).unwrap_or_else(|| default.clone()) == *agent)
        .filter_map(|(key, entry)| {
            let text = |name: &str| {
                let text = entry.get(name)?.as_str()?.trim();
                (!text.is_empty()).then(|| text.to_owned())
            };
            Some(Pin {
                session: key.clone(),
                profile_id: ProfileId::parse(&text("authProfileOverride")?)?,
                source: text("authProfileOverrideSource"),
                provider: text("providerOverride"),
                model: text("modelOverride"),
            })
        })
        .collect();
    pins.sort_by(|one, other| one.session.cmp(&other.session));
    pins
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
