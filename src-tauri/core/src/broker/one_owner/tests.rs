use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::broker::SnapshotChoice;
use crate::testbed::{ANN, Machine, NOW, login};

const KEY: &str = "openai:key";

/// A release, main's login, and copies of it in work and play.
fn copied_by(release: &str) -> Machine {
    let machine = Machine::new();
    let config = json!({
        "meta": {"lastTouchedVersion": release},
        "agents": {"list": [{"id": "main"}, {"id": "work"}, {"id": "play"}]},
    });
    for agent in ["main", "work", "play"] {
        let store = json!({
            "version": 1,
            "profiles": {ANN: login("REF0", 3_600_000), KEY: {"type": "api_key", "provider": "openai", "key": "sk-own"}},
            "order": {"openai": [ANN, KEY]},
            "usageStats": {ANN: {"lastUsed": NOW}},
        });
        write(&machine.agent_dir(".openclaw", agent), &store);
    }
    fs::write(machine.path(".openclaw/openclaw.json"), config.to_string()).unwrap();
    machine
}

fn write(agent_dir: &Path, store: &Value) {
    fs::create_dir_all(agent_dir).unwrap();
    fs::write(agent_dir.join("auth-profiles.json"), store.to_string()).unwrap();
}

fn ann() -> ProfileId {
    ProfileId::parse(ANN).unwrap()
}

#[tokio::test]
async fn the_copies_are_taken_out_and_a_snapshot_puts_them_back() {
    let machine = copied_by("2026.2.17");
    let broker = machine.broker();
    let main = machine.agent_dir(".openclaw", "main");
    let before = machine.read_store(&main);
    let preview = broker.one_owner_preview(&ann()).unwrap();
    let agents: Vec<_> = preview.copies.iter().map(|copy| copy.agent.as_str()).collect();
    assert_eq!(agents, ["play", "work"]);
    assert_eq!(preview.release.as_deref(), Some("2026.2.17"));
    assert!(
        preview.notes[0].contains("copies main's accounts again"),
        "{preview:?}"
    );

    let mut events = broker.subscribe();
    let done = broker.one_owner(&ann()).await.unwrap();
    for copy in &done.copies {
        assert_eq!(
            (&copy.uses_now, &copy.uses_then),
            (&Some(ann()), &Some(ann())),
            "{copy:?}"
        );
        let store = machine.read_store(&machine.agent_dir(".openclaw", copy.agent.as_str()));
        assert_eq!(
            store["profiles"].as_object().unwrap().keys().collect::<Vec<_>>(),
            [KEY]
        );
        assert_eq!(
            store["order"],
            json!({"openai": [ANN, KEY]}),
            "2026.2.17 merges main's into it"
        );
        let event = events.try_recv().unwrap();
        assert_eq!(
            (event.kind, event.agent.as_ref()),
            (EventKind::Removed, Some(&copy.agent))
        );
        assert_eq!(event.snapshot, done.snapshot);
    }
    assert_eq!(machine.read_store(&main), before);
    let again = broker.one_owner_preview(&ann()).unwrap_err();
    assert_eq!(again.code(), ErrorCode::OwnerNotNeeded);

    let choice = SnapshotChoice {
        id: done.snapshot.unwrap(),
        agent: None,
        profile_id: None,
    };
    broker.restore_snapshot(choice).await.unwrap();
    for agent in ["work", "play"] {
        let store = machine.read_store(&machine.agent_dir(".openclaw", agent));
        assert_eq!(store["profiles"][ANN], before["profiles"][ANN], "{agent}");
    }
}

#[tokio::test]
async fn from_2026_4_29_on_an_order_names_what_lies_there_and_the_preview_says_what_follows() {
    let machine = copied_by("2026.4.29");
    let broker = machine.broker();
    let preview = broker.one_owner_preview(&ann()).unwrap();
    assert!(preview.notes.is_empty(), "{preview:?}");
    let key = ProfileId::parse(KEY).unwrap();
    for copy in &preview.copies {
        assert_eq!(
            (&copy.uses_now, &copy.uses_then),
            (&Some(ann()), &Some(key.clone()))
        );
    }
    let done = broker.one_owner(&ann()).await.unwrap();
    assert_eq!(done.copies, preview.copies, "what was foretold came true");
}

#[tokio::test]
async fn another_login_under_the_same_id_stays() {
    let machine = copied_by("2026.2.17");
    let play = machine.agent_dir(".openclaw", "play");
    machine.write_store(&play, &login("REF-own", 3_600_000));
    let broker = machine.broker();
    let done = broker.one_owner(&ann()).await.unwrap();
    assert_eq!(done.copies.len(), 1);
    assert!(
        done.notes
            .iter()
            .any(|note| note.contains("Agent play has another login")),
        "{done:?}"
    );
    assert_eq!(machine.read_store(&play)["profiles"][ANN]["refresh"], "REF-own");
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_and_what_changed_meanwhile_decides() {
    let machine = copied_by("2026.2.17");
    let work = machine.agent_dir(".openclaw", "work");
    let broker = machine.broker();
    let lock = broker.inner.lock(&work).unwrap();
    let waiting = tokio::spawn({
        let broker = broker.clone();
        async move { broker.one_owner(&ann()).await }
    });
    let locks = machine.path(".openclaw/locks/oauth-refresh");
    while machine.names(&locks).is_empty() {
        tokio::task::yield_now().await;
    }
    machine.write_store(&work, &login("REF1", 3_600_000));
    drop(lock);
    let done = waiting.await.unwrap();
    // Either it saw the change before its last look, or that look refused to write.
    match done {
        Ok(done) => assert!(done.copies.iter().all(|copy| copy.agent.as_str() != "work")),
        Err(error) => assert_eq!(error.code(), ErrorCode::StoreChanged),
    }
    assert_eq!(machine.read_store(&work)["profiles"][ANN]["refresh"], "REF1");
}

#[tokio::test]
async fn what_needs_no_owner_or_is_openclaws_own_is_refused() {
    let machine = copied_by("2026.2.17");
    let broker = machine.broker();
    let code = |id: &str| {
        let id = ProfileId::parse(id).unwrap();
        broker.one_owner_preview(&id).unwrap_err().code()
    };
    assert_eq!(code("openai:nobody"), ErrorCode::ProfileUnknown);
    assert_eq!(code(KEY), ErrorCode::OwnerNotNeeded);
    let database = machine
        .agent_dir(".openclaw", "main")
        .join("openclaw-agent.sqlite");
    rusqlite::Connection::open(database)
        .unwrap()
        .execute_batch("CREATE TABLE auth_profile_store (store_key, store_json, updated_at)")
        .unwrap();
    assert_eq!(code(ANN), ErrorCode::EraMixed);
    assert_eq!(
        broker.one_owner(&ann()).await.unwrap_err().code(),
        ErrorCode::EraMixed
    );
}
