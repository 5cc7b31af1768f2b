use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, fs};

use super::preparing::Prepared;
use super::{Attempt, Refresher, Wanted};
use crate::broker::{Broker, Options, RefreshResult, RefreshTarget};
use crate::clock::{Clock, Timestamp};
use crate::history::Generations;
use crate::ids::{AgentId, ProfileId};
use crate::install::canonical;
use crate::oauth::testing::free_port;
use crate::secret::Secret;
use crate::store::lock::{LockContext, Released, StoreLock};
use crate::testbed::{ANN, Machine, NOW, answer, login};

/// A machine of an unknown release, whose store lock is kept during the request.
fn refresher(machine: &Machine) -> Refresher {
    let generations = Generations::open(&machine.environment().data_dir()).unwrap();
    let clock = machine.clock.clone();
    let locks = LockContext::for_test();
    Refresher::new(machine.environment(), None, clock, locks, generations)
}

/// A person asks for a new token of Ann's, who was seen with this one.
fn attempt(agent_dir: &Path, seen: &str) -> Attempt {
    Attempt {
        agent: AgentId::main(),
        agent_dir: agent_dir.to_owned(),
        profile_id: ProfileId::parse(ANN).unwrap(),
        seen: Secret::new(seen).fingerprint(),
        wanted: Wanted::Now,
    }
}

#[tokio::test]
async fn nothing_is_sent_after_a_lock_was_stolen() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", -1000));
    let server = machine.serve(vec![answer(1, "REF1")]).await;
    let refresher = refresher(&machine);
    let seen = Secret::new("REF0").fingerprint();
    let attempt = attempt(&main, "REF0");
    let known = || refresher.generations().find(seen).unwrap().unwrap();
    for retry in [false, true] {
        if retry {
            let long_ago = NOW.plus_millis(-600_000);
            refresher.generations().record_unknown(seen, long_ago).unwrap();
        }
        let Ok(Prepared::Send(ticket)) = refresher.inner().prepare(&attempt) else {
            panic!("nothing to send");
        };
        assert_eq!(ticket.retry, retry);
        let lock = main.join("auth-profiles.json.lock");
        fs::write(&lock, r#"{"pid":1,"createdAt":"2025-11-23T12:00:00.000Z"}"#).unwrap();
        assert!(refresher.send(*ticket, &attempt).await.is_none());
        assert_eq!(server.requests().len(), 0);
        assert!(lock.exists(), "the thief's lock was taken away");
        fs::remove_file(lock).unwrap();
        assert_eq!(known().retried_at, None);
        assert_eq!(known().unknown_since, retry.then_some(NOW));
    }
    assert!(
        machine
            .names(&machine.path(".openclaw/locks/oauth-refresh"))
            .is_empty()
    );
}

/// A clock on which something happens at the n-th look at it under the store lock: before the
/// request is recorded, or between the record and the request.
struct Interrupted<F> {
    lock: PathBuf,
    looks: AtomicUsize,
    nth: usize,
    happening: F,
}

impl<F> fmt::Debug for Interrupted<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Interrupted")
    }
}

impl<F: Fn() + Send + Sync> Clock for Interrupted<F> {
    fn now(&self) -> Timestamp {
        if self.lock.exists() && self.looks.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
            (self.happening)();
        }
        NOW
    }
}

/// A broker by the clock of [`Interrupted`].
fn interrupted(
    machine: &Machine,
    lock: PathBuf,
    nth: usize,
    happening: impl Fn() + Send + Sync + 'static,
) -> Broker {
    let clock = Arc::new(Interrupted {
        lock,
        looks: AtomicUsize::new(0),
        nth,
        happening,
    });
    Broker::open(Options {
        environment: machine.environment(),
        clock,
        state_dir: None,
        program: "kalit",
    })
    .unwrap()
}

#[tokio::test]
async fn nothing_is_sent_under_a_store_lock_that_was_stolen_before_the_request() {
    for nth in [1, 2] {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", -1000));
        let server = machine.serve(vec![answer(2, "REF2")]).await;
        // 2026.2.17 takes the lock over, renews and lets go, while this process stands still.
        let lock = main.join("auth-profiles.json.lock");
        let (stolen, store) = (lock.clone(), main.join("auth-profiles.json"));
        let broker = interrupted(&machine, lock, nth, move || {
            let renewed = fs::read_to_string(&store).unwrap().replace("REF0", "REF1");
            fs::write(&store, renewed).unwrap();
            fs::remove_file(&stolen).unwrap();
        });
        let outcomes = broker.refresh(RefreshTarget::All).await;
        assert_eq!(outcomes[0].result, RefreshResult::Adopted, "{outcomes:?}");
        assert_eq!(server.requests().len(), 0);
        assert_eq!(machine.read_store(&main)["profiles"][ANN]["refresh"], "REF1");
        assert_eq!(machine.names(&main), ["auth-profiles.json"]);
        let generations = Generations::open(&machine.environment().data_dir()).unwrap();
        let known = generations.find(Secret::new("REF0").fingerprint()).unwrap();
        assert!(known.is_none_or(|known| known.unknown_since.is_none()));
    }
}

#[tokio::test]
async fn a_rotation_that_another_kalit_is_about_to_write_is_waited_for() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", -1000));
    let server = machine.serve(vec![answer(2, "REF2")]).await;
    // The other one has the answer in the record, holds the lock and has not written yet.
    let generations = Generations::open(&machine.environment().data_dir()).unwrap();
    let [sent, received] = ["REF0", "REF1"].map(|token| Secret::new(token).fingerprint());
    generations.record_rotation(sent, received, NOW, None).unwrap();
    let lock = StoreLock::for_test(&main);

    let broker = machine.broker();
    let mut renewal = tokio::spawn(async move { broker.refresh(RefreshTarget::All).await });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut renewal).await;
    assert!(early.is_err(), "{early:?}");
    machine.write_store(&main, &login("REF1", -1000));
    assert_eq!(lock.release(), Released::Clean);
    let outcomes = renewal.await.unwrap();
    assert_eq!(outcomes[0].result, RefreshResult::Adopted, "{outcomes:?}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn the_http_client_is_kept_until_a_provider_cannot_be_reached() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", -1000));
    let server = machine.serve(vec![answer(1, "REF1"), answer(2, "REF2")]).await;
    // A client that is made reads this file.
    let certificates = machine.path("ca.pem");
    fs::write(&certificates, "").unwrap();
    let environment = machine.environment().with_var("SSL_CERT_FILE", "ca.pem");
    let broker = machine.broker_in(environment);
    let renew = async || {
        let outcomes = broker.refresh(RefreshTarget::All).await;
        outcomes[0].error.as_ref().map(|error| error.code.clone())
    };
    assert_eq!(renew().await, None);
    fs::remove_file(&certificates).unwrap();
    assert_eq!(renew().await, None);
    assert_eq!(server.requests().len(), 2);

    machine.lead_to(&format!("http://127.0.0.1:{}/token", free_port().await));
    assert_eq!(renew().await.as_deref(), Some("network.unreachable"));
    assert_eq!(renew().await.as_deref(), Some("network.tls"));

    fs::write(&certificates, "").unwrap();
    let server = machine.serve(vec![answer(3, "REF3")]).await;
    assert_eq!(renew().await, None);
    assert_eq!(server.requests().len(), 1);
    assert_eq!(machine.read_store(&main)["profiles"][ANN]["refresh"], "REF3");
}

#[tokio::test]
async fn nothing_is_sent_for_a_store_that_could_not_take_the_answer() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", -1000));
    let store = main.join("auth-profiles.json");
    let good = fs::read_to_string(&store).unwrap();
    let server = machine.serve(vec![answer(1, "REF1")]).await;
    let refused = async || {
        let outcomes = machine.broker().refresh(RefreshTarget::All).await;
        assert_eq!(server.requests().len(), 0, "{outcomes:?}");
        outcomes[0].error.as_ref().map(|error| error.code.clone())
    };
    fs::write(&store, good.replacen('{', r#"{"note":1,"note":2,"#, 1)).unwrap();
    assert_eq!(refused().await.as_deref(), Some("store.duplicate_keys"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let shared = machine.path("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(shared.join("store.json"), &good).unwrap();
        fs::remove_file(&store).unwrap();
        symlink(shared.join("store.json"), &store).unwrap();
        assert_eq!(refused().await.as_deref(), Some("store.symlink"));
        fs::remove_file(&store).unwrap();
    }
    fs::write(&store, good).unwrap();
    let outcomes = machine.broker().refresh(RefreshTarget::All).await;
    assert_eq!(outcomes[0].result, RefreshResult::Refreshed, "{outcomes:?}");
}

#[tokio::test]
async fn nothing_is_sent_but_what_was_seen_and_recorded() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", -1000));
    let server = machine.serve(vec![answer(2, "REFY")]).await;
    // 2026.2.17's sign-in writes without a lock, after everything was read again.
    let store = main.join("auth-profiles.json");
    let broker = interrupted(&machine, main.join("auth-profiles.json.lock"), 1, move || {
        let signed_in = fs::read_to_string(&store).unwrap().replace("REF0", "REFX");
        fs::write(&store, signed_in).unwrap();
    });
    let outcomes = broker.refresh(RefreshTarget::Due).await;
    assert_eq!(machine.read_store(&main)["profiles"][ANN]["refresh"], "REFX");
    assert_eq!(outcomes[0].result, RefreshResult::Adopted, "{outcomes:?}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_keep_the_retry_waiting() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", -1000));
    let server = machine.serve(vec![answer(1, "REF1")]).await;
    let generations = Generations::open(&machine.environment().data_dir()).unwrap();
    let sent = Secret::new("REF0").fingerprint();
    // A request that is on its way is recorded as given up two minutes from now.
    generations
        .record_unanswered(sent, NOW.plus_millis(120_000))
        .unwrap();
    assert_eq!(machine.broker().refresh(RefreshTarget::Due).await, []);
    machine.broker().refresh(RefreshTarget::All).await;
    assert_eq!(server.requests().len(), 0);
    // Recorded while the clock was a day ahead.
    generations
        .record_unanswered(sent, NOW.plus_millis(86_400_000))
        .unwrap();
    let outcomes = machine.broker().refresh(RefreshTarget::Due).await;
    assert_eq!(outcomes[0].result, RefreshResult::Refreshed, "{outcomes:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_keeps_its_generation_from_being_sent() {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", -1000));
    let server = machine.serve(vec![answer(1, "REF1")]).await;
    let refresher = refresher(&machine);
    let sent = Secret::new("REF0").fingerprint();
    refresher
        .generations()
        .record_unknown(sent, NOW.plus_millis(-600_000))
        .unwrap();
    let journal = refresher.inner().journal(&canonical(&machine.path(".openclaw")));
    let family = refresher.generations().family_of(sent).unwrap();
    let entry = journal
        .dir()
        .join(format!("{}-{}.json", family.short(), sent.short()));
    fs::create_dir_all(journal.dir()).unwrap();
    let of_a_later_release = r#"{"version":2,"refresh":"the only copy"}"#;
    fs::write(&entry, of_a_later_release).unwrap();
    let outcomes = machine.broker().refresh(RefreshTarget::All).await;
    let error = outcomes[0].error.as_ref().unwrap();
    assert_eq!(error.code, "vault.unreadable", "{outcomes:?}");
    assert_eq!(server.requests().len(), 0);
    assert_eq!(fs::read_to_string(entry).unwrap(), of_a_later_release);
}
