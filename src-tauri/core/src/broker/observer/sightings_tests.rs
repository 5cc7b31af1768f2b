use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::broker::Broker;
use crate::event::{Event, EventKind};
use crate::secret::Secret;
use crate::testbed::{ANN, Machine, login};
use crate::view::radar::{FindingKind, Severity};
use crate::view::{AccountState, AccountView, Snapshot};

const SOON: Duration = Duration::from_secs(20);

fn write_codex(machine: &Machine, refresh: &str, account: &str) {
    let file = json!({"auth_mode": "chatgpt", "tokens": {"refresh_token": refresh, "account_id": account}});
    fs::create_dir_all(machine.path(".codex")).unwrap();
    let temporary = machine.path(".codex/.auth-1");
    fs::write(&temporary, file.to_string()).unwrap();
    fs::rename(temporary, machine.path(".codex/auth.json")).unwrap();
}

fn account(snapshot: &Snapshot) -> AccountView {
    snapshot.agents[0].providers[0].accounts[0].clone()
}

/// Runs an engine until an event of this kind has been told.
async fn event(broker: &Broker, kind: EventKind, act: impl FnOnce()) -> Event {
    let mut events = broker.subscribe();
    let engine = broker.engine().await.unwrap();
    let started = engine.changes();
    act();
    let event = tokio::time::timeout(SOON, async {
        loop {
            let event = events.recv().await.unwrap();
            if event.kind == kind {
                return event;
            }
        }
    });
    let event = event.await.unwrap();
    drop(started);
    engine.stop().await;
    event
}

#[tokio::test]
async fn a_program_that_renews_the_login_it_shares_is_told_and_its_spent_copy_never_sent() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", 3_600_000));
    let server = machine.serve(Vec::new()).await;
    let broker = machine.broker();

    // The file appears, its directory with it: seen while it is watched.
    let seen = Instant::now();
    let shared = event(&broker, EventKind::Shared, || {
        write_codex(&machine, "REF0", "acct-ann")
    })
    .await;
    assert!(seen.elapsed() < SOON);
    assert_eq!(shared.cause.as_deref(), Some("codex-cli"));
    assert_eq!(shared.profile_id.as_ref().map(|id| id.as_str()), Some(ANN));
    assert_eq!(account(&broker.snapshot()).shared_with, ["Codex CLI"]);
    let radar = broker.radar(false).await.unwrap();
    assert_eq!(radar.findings[0].kind, FindingKind::Shared);

    // While no Kalit runs Codex renews: the next one notices.
    write_codex(&machine, "REF1", "acct-ann");
    let renewed = event(&broker, EventKind::RenewedElsewhere, || {}).await;
    assert_eq!(renewed.cause.as_deref(), Some("codex-cli"));
    assert_eq!(
        renewed.generation,
        Some(Secret::new("REF0").fingerprint().short())
    );
    let spent = account(&broker.snapshot());
    assert_eq!(
        (spent.state, &spent.shared_with[..]),
        (AccountState::Shared, &["Codex CLI".to_owned()][..])
    );
    assert!(
        spent
            .sentence
            .starts_with("Codex CLI has newer tokens of this login"),
        "{}",
        spent.sentence
    );
    let radar = broker.radar(false).await.unwrap();
    assert_eq!(
        (radar.findings[0].kind, radar.findings[0].severity),
        (FindingKind::Older, Severity::Clash)
    );

    // And once more: the chain is followed.
    machine.clock.advance_millis(120_000);
    write_codex(&machine, "REF2", "acct-ann");
    let engine = broker.engine().await.unwrap();
    tokio::time::timeout(SOON, async {
        while !broker
            .inner
            .generations()
            .leads_to(
                Secret::new("REF0").fingerprint(),
                Secret::new("REF2").fingerprint(),
            )
            .unwrap()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    engine.stop().await;
    assert_eq!(account(&broker.snapshot()).shared_with, ["Codex CLI"]);
    machine.clock.advance_millis(3_600_000);
    let outcomes = broker.refresh(crate::broker::RefreshTarget::All).await;
    assert!(outcomes[0].error.is_some(), "{outcomes:?}");
    assert_eq!(server.requests().len(), 0, "a spent generation is never sent");

    // A login of its own ends it.
    machine.write_store(&main, &login("REF9", 7_200_000));
    let engine = broker.engine().await.unwrap();
    let own = engine.changes().borrow().clone();
    assert_eq!(account(&own).shared_with, [] as [&str; 0]);
    engine.stop().await;
}

#[tokio::test]
async fn what_became_of_a_shared_login_is_told_as_it_is() {
    for (account, cause) in [
        (Some("acct-bob"), "codex-cli:other-account"),
        (None, "codex-cli:gone"),
    ] {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", 3_600_000));
        write_codex(&machine, "REF0", "acct-ann");
        let broker = Arc::new(machine.broker());
        event(&broker, EventKind::Shared, || {}).await;
        // A file that cannot be read says nothing.
        fs::write(machine.path(".codex/auth.json"), "{").unwrap();
        let engine = broker.engine().await.unwrap();
        engine.stop().await;
        assert_eq!(broker.inner.marks.sightings().unwrap().len(), 1);

        let told = event(&broker, EventKind::RenewedElsewhere, || match account {
            Some(account) => write_codex(&machine, "REF7", account),
            None => fs::remove_file(machine.path(".codex/auth.json")).unwrap(),
        })
        .await;
        assert_eq!(told.cause.as_deref(), Some(cause));
        let known = broker
            .inner
            .generations()
            .is_superseded(Secret::new("REF0").fingerprint());
        assert!(!known.unwrap(), "nothing is known to have been renewed");
        assert!(broker.inner.marks.sightings().unwrap().is_empty());
    }
}
