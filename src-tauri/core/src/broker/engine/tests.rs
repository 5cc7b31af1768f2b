use std::fs;

use serde_json::json;

use super::*;
use crate::clock::Clock;
use crate::ids::{AgentId, ProfileId};
use crate::oauth::testing::{Reply, until};
use crate::store::StoreLock;
use crate::testbed::{ANN, Machine, answer, login};

const SOON: Duration = Duration::from_secs(20);

/// Waits for a snapshot.
async fn snapshot(engine: &Engine, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let changes = engine.changes();
    let started = Instant::now();
    loop {
        let newest = changes.borrow().clone();
        if wanted(&newest) {
            return newest;
        }
        assert!(started.elapsed() < SOON, "{newest:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_keeps_every_login_from_being_renewed_is_told_once_and_tried_again() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", 60_000));
    let server = machine.serve(vec![answer(1, "REF1")]).await;
    let broker = machine.broker();
    let history = machine.path("kalit/data/history.sqlite");
    fs::create_dir_all(history.parent().unwrap()).unwrap();
    fs::write(&history, "garbage ".repeat(200)).unwrap();

    let mut events = broker.subscribe();
    let engine = broker.engine().await.unwrap();
    let stuck = snapshot(&engine, |snapshot| !snapshot.notices.is_empty()).await;
    let told = format!("no login is renewed: cannot read {}", history.display());
    assert_eq!(
        (stuck.notices[0].code.as_str(), &stuck.notices[0].message),
        ("vault.unreadable", &told)
    );
    assert_eq!(stuck.worst, Worst::Notice);
    // A second look finds the same.
    fs::create_dir_all(machine.path("kalit/config")).unwrap();
    fs::write(
        machine.path("kalit/config/settings.json"),
        r#"{"showNames":false}"#,
    )
    .unwrap();
    machine.clock.advance_millis(1);
    let second = |snapshot: &Snapshot| snapshot.at > stuck.at;
    snapshot(&engine, second).await;

    fs::remove_file(&history).unwrap();
    fs::write(machine.path("kalit/config/settings.json"), "{}").unwrap();
    let well = snapshot(&engine, |snapshot| snapshot.notices.is_empty()).await;
    assert_eq!(well.worst, Worst::Healthy);
    let mut failures = Vec::new();
    loop {
        let event = tokio::time::timeout(SOON, events.recv()).await.unwrap().unwrap();
        match event.kind {
            EventKind::RefreshFailed => failures.push((event.cause.unwrap_or_default(), event.text)),
            EventKind::Refreshed => break,
            _ => {}
        }
    }
    assert_eq!(failures, [("vault.unreadable".to_owned(), told)]);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(machine.read_store(&main)["profiles"][ANN]["refresh"], "REF1");
    engine.stop().await;
}

#[tokio::test]
async fn a_window_sees_what_an_engine_of_another_process_noticed() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", 3_600_000));
    let (engine, window) = (machine.broker(), machine.broker());
    // The record exists: the engine has noticed things before.
    engine.notified("before");
    let watch = window.watch().await.unwrap();
    let mut changes = watch.changes();
    changes.borrow_and_update();
    let id = crate::ids::ProfileId::parse("google:gone").unwrap();
    engine
        .inner
        .marks
        .record_vanished(&main, &id, "google", None, machine.clock.now())
        .unwrap();
    tokio::time::timeout(Duration::from_secs(4), changes.changed())
        .await
        .unwrap()
        .unwrap();
    let shown = changes.borrow().agents[0].providers.len();
    assert_eq!(shown, 2);
}

#[tokio::test]
async fn a_window_learns_that_the_engine_of_another_process_is_offline() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", 60_000));
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    machine.lead_to(&format!("http://{closed}/token"));
    let long_ago = machine.clock.now();
    machine.clock.advance_millis(60_000);
    let (broker, window) = (machine.broker(), machine.broker());
    // An engine that is gone left this.
    let installation = machine.path(".openclaw").canonicalize().unwrap();
    broker
        .inner
        .marks
        .record_offline(&installation, long_ago)
        .unwrap();
    assert_eq!(window.snapshot().offline_since, Some(long_ago));
    let engine = broker.engine().await.unwrap();
    let began = machine.clock.now();
    let seen = async |wanted| {
        until("what the window shows", || {
            window.snapshot().offline_since == wanted
        })
        .await;
    };
    seen(Some(began)).await;

    // The login is gone: nothing waits for a network any more.
    machine.write_store(
        &main,
        &json!({"type": "api_key", "provider": "openai", "key": "KEY0"}),
    );
    seen(None).await;
    engine.stop().await;
}

#[tokio::test]
async fn an_order_that_another_program_stored_is_in_the_history() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    fs::create_dir_all(&main).unwrap();
    let store = |names: &[&str]| {
        let key = |name: &&str| {
            let key = json!({"type": "api_key", "provider": "openai", "key": name});
            ((*name).to_owned(), key)
        };
        let profiles: serde_json::Map<_, _> = names.iter().map(key).collect();
        let text = json!({"version": 1, "profiles": profiles}).to_string();
        fs::write(main.join("auth-profiles.json"), text).unwrap();
    };
    let order = |ids: &[&str]| {
        let text = json!({"version": 1, "order": {"openai": ids}}).to_string();
        fs::write(main.join("auth-state.json"), text).unwrap();
    };
    let [one, two, three] = ["openai:one", "openai:two", "openai:three"];
    store(&[one, two]);
    order(&[one, two]);
    let (engine, person) = (machine.broker(), machine.broker());
    let mut observer = Observer::default();
    let mut told = || {
        engine.inner.tick(&mut observer, Ok(true));
        let installation = machine.path(".openclaw").canonicalize().unwrap();
        let about = crate::history::About {
            installation: &installation.display().to_string(),
            ..Default::default()
        };
        let events = engine.inner.history.newest(about, 9, |_| true).unwrap();
        let told = |event: Event| {
            let ids: Vec<_> = event.order.iter().flatten().map(ToString::to_string).collect();
            format!(
                "{} {} {}",
                event.kind.as_str(),
                event.cause.unwrap_or_default(),
                ids.join(" ")
            )
        };
        events.into_iter().rev().map(told).collect::<Vec<_>>()
    };
    assert!(told().is_empty(), "what stood there at first");
    let id = ProfileId::parse(two).unwrap();
    person.activate(&AgentId::main(), &id).await.unwrap();
    let switched = "switched kalit openai:two openai:one";
    assert_eq!(told(), [switched]);
    order(&[one, two]);
    let outside = "order-changed outside openai:one openai:two";
    assert_eq!(told(), [switched, outside]);

    // An account that comes in front, or that goes, leaves the others in their order.
    store(&[one, two, three]);
    order(&[three, one, two]);
    let added = "added outside ";
    assert_eq!(told(), [switched, outside, added]);
    store(&[one, three]);
    order(&[three, one]);
    assert_eq!(told(), [switched, outside, added]);
    fs::write(main.join("auth-state.json"), r#"{"version":1}"#).unwrap();
    assert_eq!(told(), [switched, outside, added, "order-changed outside "]);
}

#[tokio::test]
async fn the_start_removes_what_interrupted_writes_left_in_agent_directories() {
    let machine = Machine::new();
    let [main, work, later] = ["main", "work", "later"].map(|agent| machine.agent_dir(".openclaw", agent));
    let random = "0123456789abcdef0123456789abcdef";
    for dir in [&main, &work, &later] {
        machine.write_store(dir, &login("REF0", 3_600_000));
        for name in ["auth-profiles.json", "auth-state.json"] {
            fs::write(dir.join(format!("{name}.{random}.kalit.tmp")), "secret").unwrap();
        }
    }
    // OpenClaw's own temporary file is not Kalit's to remove.
    fs::write(main.join("auth-profiles.json.8c0f9a52.tmp"), "").unwrap();
    // A living Kalit writes this store.
    let lock = StoreLock::for_test(&work);
    let engine = machine.broker().engine().await.unwrap();
    let kept = ["auth-profiles.json", "auth-profiles.json.8c0f9a52.tmp"];
    until("the removal", || machine.names(&main) == kept).await;
    until("the other removal", || {
        machine.names(&later) == ["auth-profiles.json"]
    })
    .await;
    engine.stop().await;
    assert_eq!(
        machine.names(&work),
        [
            "auth-profiles.json".to_owned(),
            format!("auth-profiles.json.{random}.kalit.tmp"),
            "auth-profiles.json.lock".to_owned(),
            format!("auth-state.json.{random}.kalit.tmp"),
        ]
    );
    drop(lock);
    machine.broker().engine().await.unwrap().stop().await;
    assert_eq!(machine.names(&work), ["auth-profiles.json"]);
}

#[test]
fn what_is_being_renewed_is_not_replaced_by_what_this_process_saw_last() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    let stored = || machine.read_store(&main)["profiles"][ANN]["refresh"].clone();
    let [zero, one, two, three] =
        ["REF0", "REF1", "REF2", "REF3"].map(|token| crate::secret::Secret::new(token).fingerprint());
    let broker = machine.broker();
    let inner = &broker.inner;
    let now = machine.clock.now();
    let record = |old, new| inner.generations().record_rotation(old, new, now, None).unwrap();
    let mut observer = Observer::default();
    let mut look = |token| {
        machine.write_store(&main, &login(token, 60_000));
        inner.tick(&mut observer, Ok(true));
        stored()
    };
    record(zero, one);
    assert_eq!(look("REF1"), "REF1");
    // A store that goes back to what led to it is mended.
    assert_eq!(look("REF0"), "REF1");
    // This process misses the next one. Another Kalit, which missed this one, is about to place its
    // successor.
    record(zero, two);
    record(two, three);
    assert_eq!(look("REF2"), "REF2");
}

#[tokio::test]
async fn what_cannot_be_renewed_is_known_and_so_is_that_the_network_is_gone() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", 60_000));
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    machine.lead_to(&format!("http://{closed}/token"));
    let broker = machine.broker();
    let began = machine.clock.now();
    let known = async || {
        broker.refresh(crate::broker::RefreshTarget::All).await;
        let snapshot = broker.snapshot();
        let account = &snapshot.agents[0].providers[0].accounts[0];
        (account.renewal_fails, snapshot.offline_since)
    };
    assert_eq!(known().await, (false, Some(began)), "once may be chance");
    machine.clock.advance_millis(1_000);
    assert_eq!(known().await, (true, Some(began)));

    // Whoever answers shows that there is a network.
    let server = machine
        .serve(vec![Reply::json(503, &json!({})), answer(1, "REF1")])
        .await;
    assert_eq!(known().await, (true, None));
    assert_eq!(known().await, (false, None));
    assert_eq!(server.requests().len(), 2);
}
