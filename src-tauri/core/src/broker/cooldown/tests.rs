use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::broker::sqlite_tests::{Bed, HOUR, NOW as LATER, login as login_of, put, put_profiles};
use crate::testbed::{ANN, Machine, NOW, login};

const BOB: &str = "openai:bob@example.com";

/// OpenClaw 2026.6.1 with Ann and Bob in main's store, in this order, and an agent "work".
struct Home {
    machine: Machine,
    broker: Broker,
}

impl Home {
    fn new(usage: &Value) -> Self {
        let machine = Machine::new();
        let home = Self {
            broker: machine.broker(),
            machine,
        };
        for agent in ["main", "work"] {
            fs::create_dir_all(home.dir(agent)).unwrap();
        }
        let config = json!({"meta": {"lastTouchedVersion": "2026.6.1"},
            "agents": {"list": [{"id": "main", "default": true}, {"id": "work"}]}});
        fs::write(home.machine.path(".openclaw/openclaw.json"), config.to_string()).unwrap();
        home.write(
            "main",
            &json!({ANN: login("REF-ann", 3_600_000), BOB: login("REF-bob", 3_600_000)}),
        );
        home.write_state(
            "main",
            &json!({"order": {"openai": [ANN, BOB]}, "usageStats": usage}),
        );
        home
    }

    fn dir(&self, agent: &str) -> PathBuf {
        self.machine.agent_dir(".openclaw", agent)
    }

    fn write(&self, agent: &str, profiles: &Value) {
        let store = json!({"version": 1, "profiles": profiles});
        fs::write(self.dir(agent).join("auth-profiles.json"), store.to_string()).unwrap();
    }

    fn write_state(&self, agent: &str, state: &Value) {
        let mut state = state.clone();
        state["version"] = json!(1);
        fs::write(self.dir(agent).join("auth-state.json"), state.to_string()).unwrap();
    }

    /// The bytes of the two agents' files.
    fn bytes(&self) -> Vec<Option<Vec<u8>>> {
        let files = ["main", "work"].into_iter().flat_map(|agent| {
            ["auth-profiles.json", "auth-state.json"].map(|name| self.dir(agent).join(name))
        });
        files.map(|path| fs::read(path).ok()).collect()
    }

    /// Why a cooldown is not cleared; nothing was written.
    async fn refused(&self, agent: &str, id: &str) -> Error {
        let (before, mut events) = (self.bytes(), self.broker.subscribe());
        let agent = AgentId::normalize(agent);
        let error = self
            .broker
            .clear_cooldown(&agent, &profile(id))
            .await
            .unwrap_err();
        assert_eq!(self.bytes(), before);
        assert!(events.try_recv().is_err(), "nothing happened, nothing is told");
        error
    }
}

fn profile(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn resting() -> Value {
    json!({"lastUsed": 5, "errorCount": 2, "failureCounts": {"rate_limit": 2}, "lastFailureAt": 6,
        "cooldownUntil": NOW.plus_millis(60_000), "cooldownReason": "rate_limit", "kept": {"by": [1]}})
}

#[tokio::test]
async fn a_cleared_account_is_used_as_the_order_says() {
    let home = Home::new(&json!({ANN: resting(), BOB: {"lastUsed": 7}}));
    let (before, mut events) = (home.bytes(), home.broker.subscribe());
    let effective = || home.broker.snapshot().agents[0].providers[0].effective.clone();
    assert_eq!(effective(), Some(profile(BOB)));
    let done = home
        .broker
        .clear_cooldown(&AgentId::main(), &profile(ANN))
        .await
        .unwrap();
    assert_eq!(
        (done.agent.as_str(), done.provider.as_str(), &done.profile_id),
        ("main", "openai", &profile(ANN))
    );
    assert_eq!(
        (done.effective, done.reason.code.as_str()),
        (Some(profile(ANN)), "stored-order")
    );
    assert_eq!(effective(), Some(profile(ANN)));
    let state = fs::read_to_string(home.dir("main").join("auth-state.json")).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let expected = json!({"version": 1, "order": {"openai": [ANN, BOB]}, "usageStats": {
        ANN: {"lastUsed": 5, "errorCount": 0, "lastFailureAt": 6, "kept": {"by": [1]}},
        BOB: {"lastUsed": 7},
    }});
    assert_eq!(state, expected);
    assert_eq!(home.bytes()[0], before[0], "auth-profiles.json was written");

    let told = events.try_recv().unwrap();
    assert_eq!(
        (told.kind, told.profile_id.as_ref()),
        (EventKind::CooldownCleared, Some(&profile(ANN)))
    );
    assert_eq!(told.text, "The cooldown of ann@example.com in main was cleared");
    let kept = home
        .broker
        .history(&crate::broker::HistoryRequest {
            limit: 1,
            ..Default::default()
        })
        .unwrap()
        .events;
    assert_eq!(kept, [told]);
    // There is no second time.
    assert_eq!(home.refused("main", ANN).await.code(), ErrorCode::CooldownNone);
}

#[tokio::test]
async fn an_account_that_does_not_rest_is_left_byte_for_byte() {
    let mut ended = resting();
    ended["cooldownUntil"] = json!(NOW);
    let home = Home::new(&json!({ANN: ended}));
    for id in [ANN, BOB] {
        let error = home.refused("main", id).await;
        assert_eq!(
            (error.code(), error.message()),
            (
                ErrorCode::CooldownNone,
                &*format!("{id} does not rest in agent main")
            )
        );
    }
    let error = home.refused("main", "openai:nobody").await;
    assert_eq!(error.code(), ErrorCode::ProfileUnknown);
}

#[tokio::test]
async fn what_stands_in_mains_store_is_not_cleared_through_another_agent() {
    let home = Home::new(&json!({ANN: resting()}));
    let inherited = home.refused("work", ANN).await;
    // A login of its own, and main's note about the one under the same id.
    home.write("work", &json!({ANN: login("REF-work", 3_600_000)}));
    let noted = home.refused("work", ANN).await;
    for error in [inherited, noted] {
        assert_eq!(error.code(), ErrorCode::ProfileInherited, "{error}");
        assert_eq!(error.hint(), "Clear it in main: add --agent main.");
    }
    // With a note of its own it rests by itself.
    home.write_state("work", &json!({"usageStats": {ANN: resting()}}));
    let work = AgentId::normalize("work");
    let done = home.broker.clear_cooldown(&work, &profile(ANN)).await.unwrap();
    assert_eq!(done.effective, Some(profile(ANN)));
    let snapshot = home.broker.snapshot();
    let main = snapshot.agents.iter().find(|agent| agent.id.is_main()).unwrap();
    assert_eq!(
        main.providers[0].effective,
        Some(profile(BOB)),
        "main's still rests"
    );
}

#[tokio::test]
async fn a_state_file_that_cannot_be_kept_is_told_and_left() {
    let home = Home::new(&json!({}));
    let state = home.dir("main").join("auth-state.json");
    for (text, code) in [
        (r#"{"usageStats":{"#.to_owned(), ErrorCode::StoreUnparsable),
        (
            format!(
                r#"{{"usageStats":{{"{ANN}":{}}},"twice":1,"twice":2}}"#,
                resting()
            ),
            ErrorCode::StoreDuplicateKeys,
        ),
    ] {
        fs::write(&state, text).unwrap();
        assert_eq!(home.refused("main", ANN).await.code(), code);
    }
}

#[tokio::test]
async fn in_the_sqlite_era_there_is_no_command_for_it() {
    for release in ["2026.6.11", "2026.7.1", "2026.9.6"] {
        let bed = Bed::new(release);
        let database = bed.agent("main");
        put_profiles(
            &database,
            json!({"openai:a": login_of("a", LATER + HOUR), "openai:b": login_of("b", LATER + HOUR)}),
        );
        let state = json!({"version": 1, "usageStats": {"openai:a": {"disabledUntil": LATER + HOUR}}});
        put(&database, "auth_profile_state", "primary", &state);
        let mut events = bed.broker.subscribe();
        for (id, code) in [
            ("openai:a", ErrorCode::OpenClawUnsupported),
            ("openai:b", ErrorCode::CooldownNone),
            ("openai:c", ErrorCode::ProfileUnknown),
        ] {
            let refused = bed.broker.clear_cooldown(&AgentId::main(), &profile(id)).await;
            let error = refused.unwrap_err();
            assert_eq!(error.code(), code, "{release}: {error}");
        }
        assert!(events.try_recv().is_err(), "nothing happened, nothing is told");
    }
}
