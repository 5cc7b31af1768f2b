//! The board, the observer and the sealed copies over databases of the sqlite era.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::observer::Observer;
use super::*;
use crate::clock::ManualClock;
use crate::secret::Secret;
use crate::store::{FenceDigest, FencedToken};
use crate::view::{AccountState, AccountView, AgentView, AuthStatus, EraView, LostSignal, OrderSource};

pub(super) const NOW: i64 = 1_790_000_000_000;
pub(super) const HOUR: i64 = 3_600_000;

const AGENT: &str = "PRAGMA user_version = 23;
    CREATE TABLE auth_profile_store(store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
    CREATE TABLE auth_profile_state(state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;";
const SHARED: &str = "PRAGMA user_version = 18;
    CREATE TABLE config_machine_state(state_key TEXT NOT NULL PRIMARY KEY, value_json TEXT NOT NULL, updated_at_ms INTEGER NOT NULL) STRICT;
    INSERT INTO config_machine_state VALUES('auth.sharedStore', '{\"location\":\"state-db\"}', 1);";

pub(super) struct Bed {
    dir: tempfile::TempDir,
    pub(super) clock: Arc<ManualClock>,
    pub(super) broker: Broker,
}

impl Bed {
    /// An installation that `release` has configured, without any store.
    pub(super) fn new(release: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
        let vars = [("HOME".to_owned(), home.display().to_string())];
        let broker = Broker::open(Options {
            environment: Environment::new(vars, home, home)
                .with_var("KALIT_DATA_DIR", "data")
                .with_var(
                    "KALIT_PROVIDERS_DIR",
                    &home.join("providers").display().to_string(),
                )
                .with_var("KALIT_TEST_PROVIDERS", "1"),
            clock: clock.clone(),
            state_dir: None,
            program: "kalit",
        })
        .unwrap();
        let bed = Self { dir, clock, broker };
        fs::create_dir_all(bed.state_dir().join("state")).unwrap();
        bed.configure(release, json!({}));
        bed
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.dir.path().join(".openclaw")
    }

    pub(super) fn configure(&self, release: &str, auth: Value) {
        let config = json!({"meta": {"lastTouchedVersion": release}, "auth": auth});
        fs::write(self.state_dir().join("openclaw.json"), config.to_string()).unwrap();
    }

    /// Lets OpenAI's manifest lead to a token endpoint.
    #[cfg(unix)]
    pub(super) fn lead_to(&self, token_url: &str) {
        let manifest = json!({
            "manifest": 1, "id": "openai", "overrides": "openai",
            "authorizeUrl": token_url.replace("/token", "/authorize"), "tokenUrl": token_url,
        });
        let dir = self.dir.path().join("providers");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("openai.json"), manifest.to_string()).unwrap();
    }

    pub(super) fn agent_dir(&self, agent: &str) -> PathBuf {
        let dir = self.state_dir().join("agents").join(agent).join("agent");
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub(super) fn agent(&self, agent: &str) -> Connection {
        database(&self.agent_dir(agent).join("openclaw-agent.sqlite"), AGENT)
    }

    pub(super) fn shared(&self) -> Connection {
        database(&self.state_dir().join("state/openclaw.sqlite"), SHARED)
    }

    /// One look of an engine.
    pub(super) fn look(&self, observer: &mut Observer) {
        let fleet = self.broker.inner.fleet().unwrap();
        observer.observe(&self.broker.inner, &fleet, true);
    }

    /// Looks until nothing more is waited for.
    pub(super) fn settle(&self, observer: &mut Observer) {
        for _ in 0..4 {
            self.look(observer);
            self.clock.advance_millis(6_000);
        }
    }

    pub(super) fn events(&self, receiver: &mut broadcast::Receiver<Event>) -> Vec<(EventKind, String)> {
        let mut events = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            let id = event.profile_id.map_or_else(String::new, |id| id.to_string());
            events.push((event.kind, id));
        }
        events
    }
}

fn database(path: &Path, schema: &str) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch(schema).unwrap();
    connection
}

pub(super) fn put(connection: &Connection, table: &str, key: &str, value: &Value) {
    connection
        .execute(
            &format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2, 1700)"),
            [key, &value.to_string()],
        )
        .unwrap();
}

pub(super) fn put_profiles(connection: &Connection, profiles: Value) {
    let store = json!({"version": 1, "profiles": profiles});
    put(connection, "auth_profile_store", "primary", &store);
}

fn put_state(connection: &Connection, mut state: Value) {
    state["version"] = json!(1);
    put(connection, "auth_profile_state", "primary", &state);
}

pub(super) fn put_shared(connection: &Connection, profiles: Value) {
    let store = json!({"version": 1, "profiles": profiles});
    put(connection, "config_machine_state", "authProfiles.store", &store);
}

pub(super) fn login(name: &str, expires: i64) -> Value {
    json!({"type": "oauth", "provider": "openai", "access": format!("ACC-{name}"),
        "refresh": format!("REF-{name}"), "expires": expires, "email": format!("{name}@example.com")})
}

pub(super) fn fenced(id: &str, name: &str, kind: &str) -> Value {
    let id = ProfileId::parse(id).unwrap();
    let digest = |token, text: String| FenceDigest::of(&id, "openai", token, &Secret::new(text));
    let (access, refresh) = (
        digest(FencedToken::Access, format!("ACC-{name}")),
        digest(FencedToken::Refresh, format!("REF-{name}")),
    );
    let claim = "0123456789abcdef".repeat(2);
    json!({"type": "oauth", "provider": "openai", "email": format!("{name}@example.com"), "expires": 1,
        "access": format!("openclaw-oauth-refresh-fence:v1:{claim}:{kind}access:{access}"),
        "refresh": format!("openclaw-oauth-refresh-fence:v1:{claim}:{kind}refresh:{refresh}")})
}

pub(super) fn agent<'a>(snapshot: &'a Snapshot, id: &str) -> &'a AgentView {
    let mut agents = snapshot.agents.iter();
    agents.find(|agent| agent.id.as_str() == id).unwrap()
}

pub(super) fn account<'a>(snapshot: &'a Snapshot, agent_id: &str, id: &str) -> &'a AccountView {
    let providers = agent(snapshot, agent_id).providers.iter();
    let mut accounts = providers.flat_map(|provider| &provider.accounts);
    accounts
        .find(|account| account.profile_id.as_str() == id)
        .unwrap()
}

fn ids(ids: &[ProfileId]) -> Vec<&str> {
    ids.iter().map(ProfileId::as_str).collect()
}

#[test]
fn shared_and_own_rows_are_merged_as_2026_9_6_merges_them() {
    let bed = Bed::new("2026.9.6");
    let (shared, main, work) = (bed.shared(), bed.agent("main"), bed.agent("work"));
    put_shared(
        &shared,
        json!({"openai:a": login("a", NOW + 2 * HOUR), "openai:b": login("b", NOW + 48 * HOUR)}),
    );
    put(
        &shared,
        "config_machine_state",
        "authProfiles.state",
        &json!({"version": 1, "order": {"openai": ["openai:b", "openai:a"]},
            "usageStats": {"openai:b": {"cooldownUntil": NOW + HOUR, "cooldownReason": "rate_limit"}}}),
    );
    put_profiles(&main, json!({}));
    put_state(&main, json!({"order": {"openai": ["openai:a", "openai:b"]}}));
    put_profiles(&work, json!({"openai:w": login("w", NOW + HOUR)}));

    let snapshot = bed.broker.snapshot();
    assert_eq!(snapshot.installation.era, EraView::Sqlite);
    assert_eq!(snapshot.needs_you, 0);
    let provider = &agent(&snapshot, "main").providers[0];
    // Main's own order, with the shared cooldown.
    assert_eq!(ids(&provider.candidates), ["openai:a", "openai:b"]);
    assert_eq!(provider.order_source, OrderSource::Stored);
    assert!(account(&snapshot, "main", "openai:a").in_use);
    assert!(!account(&snapshot, "main", "openai:a").inherited);
    assert!(account(&snapshot, "main", "openai:b").cooldown.is_some());
    // The other agent's own login stands before the inherited order.
    let provider = &agent(&snapshot, "work").providers[0];
    assert_eq!(ids(&provider.candidates), ["openai:w", "openai:a", "openai:b"]);
    assert!(account(&snapshot, "work", "openai:a").inherited);
    let own = account(&snapshot, "work", "openai:w");
    assert_eq!(
        (own.state, own.status, own.due_at),
        (AccountState::Healthy, AuthStatus::Expiring, None)
    );
    assert_eq!(
        own.renewal.as_deref(),
        Some("OpenClaw renews it on use, from 5 minutes before it expires.")
    );
    assert_eq!(
        agent(&snapshot, "work").store_path,
        bed.agent_dir("work")
            .join("openclaw-agent.sqlite")
            .display()
            .to_string()
    );
}

#[test]
fn before_the_shared_store_main_is_what_others_inherit() {
    let bed = Bed::new("2026.7.1");
    let (main, work) = (bed.agent("main"), bed.agent("work"));
    put_profiles(&main, json!({"openai:a": login("a", NOW + HOUR)}));
    put_state(&main, json!({"lastGood": {"openai": "openai:a"}}));
    put_profiles(&work, json!({}));
    let snapshot = bed.broker.snapshot();
    assert!(!account(&snapshot, "main", "openai:a").inherited);
    assert!(account(&snapshot, "work", "openai:a").inherited);
}

#[test]
fn an_order_in_the_config_counts_and_a_stored_one_beats_it() {
    let bed = Bed::new("2026.9.6");
    let main = bed.agent("main");
    put_profiles(
        &main,
        json!({"openai:a": login("a", NOW + HOUR), "openai:b": login("b", NOW + HOUR)}),
    );
    bed.configure("2026.9.6", json!({"order": {"openai": ["openai:b"]}}));
    let provider = |snapshot: &Snapshot| agent(snapshot, "main").providers[0].clone();
    let by_config = provider(&bed.broker.snapshot());
    assert_eq!(ids(&by_config.candidates), ["openai:b"]);
    assert_eq!(by_config.order_source, OrderSource::Config);
    put_state(&main, json!({"order": {"openai": ["openai:a"]}}));
    let by_store = provider(&bed.broker.snapshot());
    assert_eq!(ids(&by_store.candidates), ["openai:a"]);
    assert_eq!(by_store.order_source, OrderSource::Stored);
}

#[test]
fn of_logins_without_an_order_2026_9_6_tries_the_expired_last() {
    for (release, expected) in [
        ("2026.7.1", ["openai:a", "openai:b"]),
        ("2026.9.6", ["openai:b", "openai:a"]),
    ] {
        let bed = Bed::new(release);
        let main = bed.agent("main");
        put_profiles(
            &main,
            json!({"openai:a": login("a", NOW - HOUR), "openai:b": login("b", NOW + HOUR)}),
        );
        put_state(
            &main,
            json!({"usageStats": {"openai:b": {"lastUsed": NOW - HOUR}}}),
        );
        let snapshot = bed.broker.snapshot();
        assert_eq!(
            ids(&agent(&snapshot, "main").providers[0].candidates),
            expected,
            "{release}"
        );
        let idle = account(&snapshot, "main", "openai:a");
        assert_eq!((idle.state, idle.lost.as_ref()), (AccountState::Expired, None));
        assert_eq!(
            idle.sentence,
            "It has expired: OpenClaw renews it when it is next used."
        );
    }
}

#[test]
fn a_pending_fence_is_a_renewal_and_a_failed_one_a_loss() {
    let bed = Bed::new("2026.9.6");
    let main = bed.agent("main");
    let mut observer = Observer::default();
    let mut events = bed.broker.subscribe();
    put_profiles(&main, json!({"openai:me": login("me", NOW + HOUR)}));
    bed.look(&mut observer);

    put_profiles(&main, json!({"openai:me": fenced("openai:me", "me", "")}));
    bed.look(&mut observer);
    let snapshot = bed.broker.snapshot();
    let pending = account(&snapshot, "main", "openai:me");
    assert_eq!(
        (pending.state, pending.status),
        (AccountState::Renewing, AuthStatus::Expired)
    );
    assert_eq!(pending.sentence, "OpenClaw is refreshing it.");
    assert_eq!((&pending.generation, pending.expires_at), (&None, None));
    assert_eq!(snapshot.needs_you, 0);
    assert_eq!(bed.events(&mut events), []);

    put_profiles(&main, json!({"openai:me": fenced("openai:me", "me", "failed:")}));
    bed.look(&mut observer);
    let snapshot = bed.broker.snapshot();
    let failed = account(&snapshot, "main", "openai:me");
    let lost = failed.lost.as_ref().unwrap();
    assert_eq!(
        (failed.state, lost.signal),
        (AccountState::Dropped, LostSignal::Dropped)
    );
    assert_eq!(lost.at, Timestamp::from_millis(1700));
    assert_eq!(
        failed.sentence,
        "OpenClaw could not renew this login and dropped its token. \
         Kalit holds a copy of the dropped login: Restore puts it back."
    );
    assert_eq!(snapshot.needs_you, 1);
    let id = ProfileId::parse("openai:me").unwrap();
    let digest = FenceDigest::of(&id, "openai", FencedToken::Refresh, &Secret::new("REF-me"));
    assert_eq!(lost.generation, Some(digest.short()));
    assert_eq!(
        bed.events(&mut events),
        [(EventKind::Dropped, "openai:me".to_owned())]
    );

    // The same generation comes back, then it is renewed: compared with what stood there before.
    put_profiles(&main, json!({"openai:me": login("me", NOW + HOUR)}));
    bed.look(&mut observer);
    assert_eq!(bed.events(&mut events), []);
    put_profiles(&main, json!({"openai:me": fenced("openai:me", "me", "")}));
    bed.look(&mut observer);
    let mut renewed = login("me", NOW + 2 * HOUR);
    renewed["refresh"] = json!("REF-next");
    put_profiles(&main, json!({"openai:me": renewed}));
    bed.look(&mut observer);
    let told = bed.events(&mut events);
    assert!(
        matches!(told[..], [(EventKind::Adopted | EventKind::Changed, _)]),
        "{told:?}"
    );
}

#[test]
fn every_generation_is_sealed_and_a_fence_never() {
    let bed = Bed::new("2026.9.6");
    let (shared, work) = (bed.shared(), bed.agent("work"));
    put_shared(&shared, json!({"openai:me": login("me", NOW + HOUR)}));
    put_profiles(&work, json!({"openai:w": login("w", NOW + HOUR)}));
    let mut observer = Observer::default();
    bed.look(&mut observer);
    put_shared(
        &shared,
        json!({"openai:me": fenced("openai:me", "me", "failed:")}),
    );
    bed.look(&mut observer);

    let installation = bed.broker.inner.installation().unwrap();
    let own = crate::vault::installation_dir(
        &bed.broker.inner.environment.data_dir(),
        &installation.state_dir.canonical(),
    );
    let sealed = crate::vault::Snapshots::open(&own).list().unwrap().snapshots;
    let mut expected = [
        Secret::new("REF-me").fingerprint(),
        Secret::new("REF-w").fingerprint(),
    ];
    expected.sort();
    let generations: Vec<_> = sealed
        .iter()
        .rev()
        .map(|entry| entry.generations.clone())
        .collect();
    assert_eq!(
        generations,
        [expected.to_vec(), vec![Secret::new("REF-w").fingerprint()]]
    );
}

#[test]
fn what_cannot_be_read_is_told_and_the_last_good_view_stays() {
    let bed = Bed::new("2026.9.6");
    let main = bed.agent("main");
    put_profiles(&main, json!({"openai:me": login("me", NOW + HOUR)}));
    assert!(agent(&bed.broker.snapshot(), "main").store_error.is_none());
    put(&main, "auth_profile_store", "primary", &json!("cut"));
    let snapshot = bed.broker.snapshot();
    let view = agent(&snapshot, "main");
    assert_eq!(view.store_error.as_ref().unwrap().code, "store.wrong_shape");
    assert_eq!(
        account(&snapshot, "main", "openai:me").state,
        AccountState::Healthy
    );
    assert_eq!(snapshot.needs_you, 1);
}

#[test]
fn an_unreadable_shared_database_is_every_agents_trouble() {
    let bed = Bed::new("2026.9.6");
    bed.agent("work");
    fs::write(
        bed.state_dir().join("state/openclaw.sqlite"),
        "garbage ".repeat(600),
    )
    .unwrap();
    let snapshot = bed.broker.snapshot();
    for id in ["main", "work"] {
        let error = agent(&snapshot, id).store_error.as_ref().unwrap();
        assert_eq!(error.code, "store.corrupt");
    }
}

#[test]
fn an_untested_schema_is_shown_and_named() {
    let bed = Bed::new("2026.9.6");
    let main = bed.agent("main");
    put_profiles(&main, json!({"openai:me": login("me", NOW + HOUR)}));
    main.pragma_update(None, "user_version", 99).unwrap();
    let snapshot = bed.broker.snapshot();
    assert_eq!(
        account(&snapshot, "main", "openai:me").state,
        AccountState::Healthy
    );
    let codes = |notices: &[Notice]| {
        notices
            .iter()
            .map(|notice| notice.code.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(codes(&snapshot.notices), ["era.sqlite", "store.schema_untested"]);
    assert_eq!(
        codes(&bed.broker.inner.diagnose().0.notices),
        ["store.schema_untested"]
    );
}

#[test]
fn an_upgrade_under_a_running_observer_loses_nobody() {
    let bed = Bed::new("2026.6.1");
    let mut old = login("me", NOW + 30 * HOUR);
    old["provider"] = json!("openai-codex");
    let json_store = bed.agent_dir("main").join("auth-profiles.json");
    let copy = bed.agent_dir("work").join("auth-profiles.json");
    let store = json!({"version": 1, "profiles": {"openai-codex:me@example.com": old,
        "anthropic:key": {"type": "api_key", "provider": "anthropic", "key": "sk-fake"}}});
    fs::write(&json_store, store.to_string()).unwrap();
    fs::write(
        &copy,
        json!({"version": 1, "profiles": {"openai-codex:me@example.com": old}}).to_string(),
    )
    .unwrap();
    let mut observer = Observer::default();
    bed.settle(&mut observer);
    assert_eq!(bed.broker.snapshot().installation.era, EraView::Json);
    let mut events = bed.broker.subscribe();

    // The upgrade: both lie side by side until doctor has moved them, and renewed on the way.
    bed.configure("2026.9.6", json!({}));
    bed.settle(&mut observer);
    assert_eq!(bed.broker.snapshot().installation.era, EraView::Mixed);
    assert_eq!(bed.events(&mut events), []);
    let shared = bed.shared();
    let mut renewed = login("me", NOW + 300 * HOUR);
    renewed["refresh"] = json!("REF-next");
    put_shared(
        &shared,
        json!({"openai:me@example.com": renewed,
            "anthropic:key": {"type": "api_key", "provider": "anthropic", "key": "sk-fake"}}),
    );
    for store in [&json_store, &copy] {
        fs::rename(store, store.with_extension("json.migrated-2026")).unwrap();
    }
    bed.settle(&mut observer);
    let snapshot = bed.broker.snapshot();
    assert_eq!(snapshot.installation.era, EraView::Sqlite);
    assert_eq!(bed.events(&mut events), []);
    assert_eq!(snapshot.needs_you, 0);
    assert_eq!(
        account(&snapshot, "work", "openai:me@example.com").state,
        AccountState::Healthy
    );
    assert!(!json_store.exists() && !copy.exists());

    // What then goes from the database is gone.
    put_shared(&shared, json!({"openai:me@example.com": renewed}));
    bed.settle(&mut observer);
    assert_eq!(
        bed.events(&mut events),
        [(EventKind::Vanished, "anthropic:key".to_owned())]
    );
    assert_eq!(bed.broker.snapshot().needs_you, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_through_the_log_is_in_the_snapshot_within_half_a_second() {
    let bed = Bed::new("2026.9.6");
    let (shared, main) = (bed.shared(), bed.agent("main"));
    put_shared(&shared, json!({}));
    put_profiles(&main, json!({}));
    let engine = bed.broker.engine().await.unwrap();
    let mut changes = engine.changes();
    let mut seen = async |id: &str, since: Instant| {
        loop {
            let there = {
                let snapshot = changes.borrow_and_update();
                let providers = agent(&snapshot, "main").providers.iter();
                let mut accounts = providers.flat_map(|provider| &provider.accounts);
                accounts.any(|account| account.profile_id.as_str() == id)
            };
            if there {
                return since.elapsed();
            }
            let left = Duration::from_secs(5).saturating_sub(since.elapsed());
            tokio::time::timeout(left, changes.changed())
                .await
                .expect(id)
                .unwrap();
        }
    };
    for (id, in_shared) in [
        ("openai:first", false),
        ("openai:second", true),
        ("openai:third", false),
    ] {
        let since = Instant::now();
        if in_shared {
            put_shared(&shared, json!({id: login("x", NOW + HOUR)}));
        } else {
            put_profiles(&main, json!({id: login("x", NOW + HOUR)}));
        }
        let took = seen(id, since).await;
        assert!(took < Duration::from_millis(500), "{id} after {took:?}");
    }
    engine.stop().await;
}

#[test]
fn a_thousand_agents_with_twenty_profiles_each_make_one_board() {
    let bed = Bed::new("2026.9.6");
    let shared = bed.shared();
    let profiles = |agent: &str| -> Value {
        let profiles = (0..20).map(|n| {
            (
                format!("openai:{agent}-{n}"),
                login(&format!("{agent}-{n}"), NOW + HOUR),
            )
        });
        Value::Object(profiles.collect())
    };
    put_shared(&shared, profiles("shared"));
    for n in 0..1_000 {
        let path = bed
            .agent_dir(&format!("agent{n:04}"))
            .join("openclaw-agent.sqlite");
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA synchronous = OFF").unwrap();
        connection.execute_batch(AGENT).unwrap();
        put_profiles(&connection, profiles(&format!("a{n}")));
    }
    let started = Instant::now();
    let snapshot = bed.broker.snapshot();
    println!("1,001 agents: {:.2} s", started.elapsed().as_secs_f32());
    assert_eq!(snapshot.agents.len(), 1_001);
    let accounts = snapshot.agents.iter().flat_map(|agent| &agent.providers);
    assert_eq!(
        accounts.map(|provider| provider.accounts.len()).sum::<usize>(),
        1_000 * 40 + 20
    );
    assert_eq!(snapshot.needs_you, 0);
}
