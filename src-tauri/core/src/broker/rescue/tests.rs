use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tokio::sync::broadcast;

use super::*;
use crate::broker::Broker;
use crate::event::Event;
use crate::ids::{AgentId, ProviderId};
use crate::secret::Secret;
use crate::store::StoreLock;
use crate::testbed::{ANN, Machine, NOW, access_token, answer, login};
use crate::vault::journal::Received;
use crate::vault::{Journal, Snapshots, installation_dir};

const SOON: Duration = Duration::from_secs(20);

/// A home in which Kalit stopped between the journal and the store.
struct Crashed {
    machine: Machine,
    main: PathBuf,
    broker: Broker,
}

impl Crashed {
    fn new() -> Self {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", 60_000));
        let broker = machine.broker();
        Self {
            machine,
            main,
            broker,
        }
    }

    fn own_dir(&self) -> PathBuf {
        let state_dir = self.machine.path(".openclaw").canonicalize().unwrap();
        installation_dir(&self.machine.path("kalit/data"), &state_dir)
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.own_dir())
    }

    fn waiting(&self) -> usize {
        self.journal().entries().unwrap().entries.len()
    }

    /// Ann's sign-in as it is journalled: an access token for an hour, the refresh token `REF-new`.
    fn journal_sign_in(&self, agent: &str) {
        let asked = AskedSignIn {
            provider: ProviderId::parse("openai").unwrap(),
            agent: AgentId::normalize(agent),
            profile_id: None,
            token_url: "https://auth.openai.com/oauth/token".to_owned(),
        };
        let received = Received {
            access_token: Secret::new(access_token(1, 3_600_000)),
            refresh_token: Some(Secret::new("REF-new")),
            id_token: None,
            expires_in: Some(3600),
        };
        let installation = self.machine.path(".openclaw").display().to_string();
        self.journal()
            .record_sign_in(&installation, asked, received, NOW)
            .unwrap();
    }

    fn sealed(&self) -> Vec<String> {
        let list = Snapshots::open(&self.own_dir()).list().unwrap();
        list.snapshots.into_iter().map(|entry| entry.reason).collect()
    }

    fn refresh_token(&self) -> serde_json::Value {
        self.machine.read_store(&self.main)["profiles"][ANN]["refresh"].clone()
    }
}

async fn event(events: &mut broadcast::Receiver<Event>, kind: EventKind) -> Event {
    loop {
        let event = tokio::time::timeout(SOON, events.recv()).await.unwrap().unwrap();
        if event.kind == kind {
            return event;
        }
    }
}

#[tokio::test]
async fn the_next_engine_stores_a_sign_in_whose_process_stopped_before_the_store() {
    let crashed = Crashed::new();
    let copy = crashed.machine.agent_dir(".openclaw", "work");
    crashed.machine.write_store(&copy, &login("REF0", 60_000));
    crashed.journal_sign_in("main");
    assert_eq!(crashed.refresh_token(), "REF0");

    let mut events = crashed.broker.subscribe();
    let engine = crashed.broker.engine().await.unwrap();
    let told = event(&mut events, EventKind::SignedIn).await;
    assert_eq!(told.profile_id.map(|id| id.to_string()), Some(ANN.to_owned()));
    event(&mut events, EventKind::Started).await;
    engine.stop().await;
    for dir in [&crashed.main, &copy] {
        let store = crashed.machine.read_store(dir);
        assert_eq!(store["profiles"].as_object().unwrap().len(), 1);
        let profile = &store["profiles"][ANN];
        assert_eq!(
            (&profile["refresh"], &profile["access"], &profile["expires"]),
            (
                &json!("REF-new"),
                &json!(access_token(1, 3_600_000)),
                &json!(NOW.plus_millis(3_600_000))
            )
        );
    }
    assert_eq!(crashed.waiting(), 0);
    let generations = crashed.broker.inner.generations();
    let family = generations
        .family_of(Secret::new("REF-new").fingerprint())
        .unwrap();
    assert_eq!(
        generations.sign_in_of(family).unwrap().unwrap().token_url,
        "https://auth.openai.com/oauth/token"
    );
}

#[test]
fn a_sign_in_that_finds_no_place_is_sealed_and_told() {
    type Obstacle = fn(&Crashed);
    let cases: [(&str, &str, Obstacle); 3] = [
        ("gone", "agent.unknown", |_| {}),
        ("main", "era.mixed", |crashed| {
            let database = crashed.main.join("openclaw-agent.sqlite");
            rusqlite::Connection::open(database)
                .unwrap()
                .execute_batch("CREATE TABLE auth_profile_store (store_key, store_json, updated_at)")
                .unwrap();
        }),
        ("main", "store.unparsable", |crashed| {
            fs::write(crashed.main.join("auth-profiles.json"), "{").unwrap();
        }),
    ];
    for (agent, cause, obstacle) in cases {
        let crashed = Crashed::new();
        crashed.journal_sign_in(agent);
        obstacle(&crashed);
        let before = fs::read(crashed.main.join("auth-profiles.json")).unwrap();
        let mut events = crashed.broker.subscribe();
        crashed.broker.inner.rescue_sign_ins().unwrap();
        let told = events.try_recv().unwrap();
        assert_eq!(
            (told.kind, told.cause.as_deref()),
            (EventKind::SignInSealed, Some(cause))
        );
        assert_eq!(crashed.sealed(), ["sign-in-not-stored"], "{cause}");
        assert_eq!(crashed.waiting(), 0);
        assert_eq!(fs::read(crashed.main.join("auth-profiles.json")).unwrap(), before);
    }
}

#[test]
fn a_sign_in_that_was_stored_before_the_crash_or_renewed_since_is_not_stored_again() {
    let renewed: fn(&Crashed) = |crashed| {
        let of = |name: &str| Secret::new(name).fingerprint();
        crashed
            .broker
            .inner
            .generations()
            .record_rotation(of("REF-new"), of("REF-newer"), NOW, None)
            .unwrap();
        let renewed = login("REF-newer", 7_200_000);
        crashed.machine.write_store(&crashed.main, &renewed);
    };
    let stored: fn(&Crashed) = |crashed| {
        let stored = login("REF-new", 3_600_000);
        crashed.machine.write_store(&crashed.main, &stored);
    };
    for state in [stored, renewed] {
        let crashed = Crashed::new();
        crashed.journal_sign_in("main");
        state(&crashed);
        let before = fs::read(crashed.main.join("auth-profiles.json")).unwrap();
        crashed.broker.inner.rescue_sign_ins().unwrap();
        assert_eq!(fs::read(crashed.main.join("auth-profiles.json")).unwrap(), before);
        assert_eq!((crashed.waiting(), crashed.sealed().len()), (0, 0));
    }
}

#[test]
fn a_later_login_on_disk_stays_and_the_interrupted_one_is_sealed() {
    let crashed = Crashed::new();
    crashed.journal_sign_in("main");
    crashed
        .machine
        .write_store(&crashed.main, &login("REF-outside", 7_200_000));
    crashed.broker.inner.rescue_sign_ins().unwrap();
    assert_eq!(crashed.refresh_token(), "REF-outside");
    assert_eq!(crashed.sealed(), ["sign-in-not-stored"]);
    assert_eq!(crashed.waiting(), 0);
}

#[test]
fn what_is_busy_is_left_for_the_next_look() {
    let crashed = Crashed::new();
    crashed.journal_sign_in("main");
    let turn = crashed.journal().turn().unwrap();
    crashed.broker.inner.rescue_sign_ins().unwrap();
    assert_eq!((crashed.waiting(), crashed.refresh_token()), (1, json!("REF0")));
    drop(turn);
    let lock = StoreLock::for_test(&crashed.main);
    crashed.broker.inner.rescue_sign_ins().unwrap();
    assert_eq!((crashed.waiting(), crashed.refresh_token()), (1, json!("REF0")));
    drop(lock);
    crashed.broker.inner.rescue_sign_ins().unwrap();
    assert_eq!(
        (crashed.waiting(), crashed.refresh_token()),
        (0, json!("REF-new"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_in_the_journal_before_the_store_is_touched() {
    let crashed = Crashed::new();
    let _server = crashed.machine.serve(vec![answer(1, "REF-new")]).await;
    let lock = StoreLock::for_test(&crashed.main);
    let session = crashed
        .broker
        .login(LoginRequest {
            provider: ProviderId::parse("openai").unwrap(),
            agent: AgentId::main(),
            profile_id: None,
            use_now: false,
        })
        .await
        .unwrap();
    let handle = session.handle();
    let waiting = tokio::spawn(session.wait());
    handle
        .paste(&Secret::new("code-of-this-sign-in-0123456789"))
        .unwrap();
    crate::oauth::testing::until("the journal entry", || crashed.waiting() == 1).await;
    assert_eq!(crashed.refresh_token(), "REF0");
    // Another process looks at the journal meanwhile and leaves it alone.
    let other = crashed.machine.broker();
    crate::oauth::testing::until("the turn", || crashed.journal().try_turn().unwrap().is_none()).await;
    other.inner.rescue_sign_ins().unwrap();
    assert_eq!((crashed.waiting(), crashed.refresh_token()), (1, json!("REF0")));
    drop(lock);
    let signed_in = tokio::time::timeout(SOON, waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((signed_in.profile_id.as_str(), signed_in.replaced), (ANN, true));
    assert_eq!(
        (crashed.waiting(), crashed.refresh_token()),
        (0, json!("REF-new"))
    );
}
