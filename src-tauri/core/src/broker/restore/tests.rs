use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::observer::Observer;
use super::super::sqlite_tests::{Bed, HOUR, NOW, account, fenced, login, put, put_profiles, put_shared};
use super::*;
use crate::oauth::testing::FakeServer;
use crate::secret::Secret;
use crate::view::{AccountState, LostSignal};

const ME: &str = "openai:me";

fn me() -> ProfileId {
    ProfileId::parse(ME).unwrap()
}

fn main_agent() -> AgentId {
    AgentId::main()
}

/// A failed fence by another attempt.
fn fenced_again() -> Value {
    let text = fenced(ME, "me", "failed:").to_string();
    let claim = ("0123456789abcdef".repeat(2), "fedcba9876543210".repeat(2));
    serde_json::from_str(&text.replace(&claim.0, &claim.1)).unwrap()
}

fn shared_text(connection: &Connection) -> String {
    connection
        .query_row(
            "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'",
            [],
            |row| row.get(0),
        )
        .unwrap()
}

fn agent_text(connection: &Connection) -> String {
    connection
        .query_row("SELECT store_json FROM auth_profile_store", [], |row| row.get(0))
        .unwrap()
}

/// Main's login in the shared store and a copy of it in another agent's, sealed by an engine's
/// look, beside what must stay as it is.
struct Burnt {
    bed: Bed,
    shared: Connection,
    work: Connection,
    observer: Observer,
    before: (String, String),
}

impl Burnt {
    fn others() -> Value {
        json!({"type": "token", "provider": "anthropic", "token": "sk-ant-fake", "x": 1.50, "ü": ["\u{1}", "\n/"]})
    }

    fn new() -> Self {
        let bed = Bed::new("2026.9.6");
        let (shared, work) = (bed.shared(), bed.agent("work"));
        let mut burnt = Self {
            bed,
            shared,
            work,
            observer: Observer::default(),
            before: (String::new(), String::new()),
        };
        burnt.put(&login("me", NOW - HOUR), &login("me", NOW - HOUR));
        burnt.look();
        burnt.before = (shared_text(&burnt.shared), agent_text(&burnt.work));
        let fence = fenced(ME, "me", "failed:");
        burnt.put(&fence, &fence);
        burnt
    }

    fn put(&self, shared: &Value, work: &Value) {
        put_shared(
            &self.shared,
            json!({"a:1": Self::others(), ME: shared, "z:1": Self::others()}),
        );
        put_profiles(&self.work, json!({ME: work, "b:1": Self::others()}));
    }

    fn look(&mut self) {
        self.bed.look(&mut self.observer);
    }

    fn inner(&self) -> &Inner {
        &self.bed.broker.inner
    }

    fn plan(&self) -> Result<Plan> {
        let fleet = self.inner().fleet().unwrap();
        self.inner().plan_restore(&fleet, &main_agent(), &me())
    }

    fn key(&self) -> SealKey {
        let data_dir = self.inner().environment.data_dir();
        SealKey::from_file(&data_dir).unwrap().unwrap()
    }

    fn put_back(&self) -> Result<Restored> {
        let done = self.inner().put_back(&main_agent(), &me(), &self.key());
        done.map(|(_, done)| done)
    }

    fn now(&self) -> (String, String) {
        (shared_text(&self.shared), agent_text(&self.work))
    }

    fn own_dir(&self) -> PathBuf {
        self.inner().own_dir().unwrap()
    }

    fn databases(&self) -> [PathBuf; 2] {
        [
            self.bed.agent_dir("work").join("openclaw-agent.sqlite"),
            self.bed.state_dir().join("state/openclaw.sqlite"),
        ]
    }
}

#[test]
fn a_dropped_login_is_put_back_everywhere_and_nothing_else_changes() {
    let mut burnt = Burnt::new();
    let mut events = burnt.bed.broker.subscribe();
    burnt.look();
    let snapshot = burnt.bed.broker.snapshot();
    let view = account(&snapshot, "main", ME).restore.clone().unwrap();
    assert!(view.offered, "{view:?}");
    assert_eq!(view.sealed_at, Some(Timestamp::from_millis(NOW)));
    let [work, shared] = burnt.databases();
    for database in [&work, &shared] {
        fs::set_permissions(database, fs::Permissions::from_mode(0o640)).unwrap();
    }

    burnt.bed.clock.advance_millis(1_000);
    let done = burnt.put_back().unwrap();
    let stores = [work.display().to_string(), shared.display().to_string()];
    assert_eq!((done.stores, done.resumed), (stores.to_vec(), false));
    assert_eq!(burnt.now(), burnt.before);
    for database in [&work, &shared] {
        let mode = fs::metadata(database).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
    let backups = fs::read_dir(burnt.own_dir().join("backups")).unwrap();
    let names = backups.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".sqlite.age")).count(), 2);
    assert_eq!(UnfinishedRestore::load_all(&burnt.own_dir()), []);

    burnt.look();
    let told: Vec<_> = burnt.bed.events(&mut events);
    let dropped = (EventKind::Dropped, ME.to_owned());
    assert_eq!(
        told,
        [dropped.clone(), dropped, (EventKind::Restored, ME.to_owned())]
    );
    let snapshot = burnt.bed.broker.snapshot();
    assert_eq!(account(&snapshot, "main", ME).state, AccountState::Expired);
    assert_eq!(burnt.put_back().unwrap_err().code(), ErrorCode::RestoreNotNeeded);
}

#[test]
fn the_saved_image_holds_the_database_before_the_change() {
    let burnt = Burnt::new();
    burnt.put_back().unwrap();
    let dir = burnt.own_dir().join("backups");
    let name = format!("{NOW:014}-2.sqlite.age");
    let image = burnt.key().unseal(&fs::read(dir.join(name)).unwrap()).unwrap();
    let saved = burnt.own_dir().join("saved.sqlite");
    fs::write(&saved, &*image).unwrap();
    let saved = Connection::open(saved).unwrap();
    assert!(shared_text(&saved).contains(":failed:refresh:"));
}

#[test]
fn a_generation_is_put_back_once() {
    let burnt = Burnt::new();
    burnt.put_back().unwrap();
    burnt.put(&fenced_again(), &fenced_again());
    assert_eq!(burnt.plan().unwrap_err().code(), ErrorCode::RestoreSpent);
    let snapshot = burnt.bed.broker.snapshot();
    let view = account(&snapshot, "main", ME);
    assert!(!view.restore.as_ref().unwrap().offered);
    assert_eq!(view.lost.as_ref().unwrap().signal, LostSignal::Dropped);
    assert_eq!(
        view.sentence,
        "OpenClaw could not renew this login and dropped its token. \
         It cannot be put back: it was put back once and refused again. Sign in again."
    );
    let before = burnt.now();
    assert_eq!(burnt.put_back().unwrap_err().code(), ErrorCode::RestoreSpent);
    assert_eq!(burnt.now(), before);
}

#[test]
fn what_is_not_proven_is_refused_with_the_reason_and_nothing_is_written() {
    type Change = fn(&Burnt);
    let cases: [(&str, Change, ErrorCode); 7] = [
        (
            "Kalit holds no copy of it",
            |burnt| {
                let fence = fenced(ME, "other", "failed:");
                burnt.put(&fence, &fence);
            },
            ErrorCode::RestoreUnproven,
        ),
        (
            "the copy that Kalit holds has another access token",
            |burnt| {
                let other = fenced(ME, "other", "failed:");
                let mut fence = fenced(ME, "me", "failed:");
                fence["access"] = other["access"].clone();
                burnt.put(&fence, &fence);
            },
            ErrorCode::RestoreUnproven,
        ),
        (
            "two agents have dropped it with different access tokens",
            |burnt| {
                let other = fenced(ME, "other", "failed:");
                let mut fence = fenced(ME, "me", "failed:");
                let good = fence.clone();
                fence["access"] = other["access"].clone();
                burnt.put(&good, &fence);
            },
            ErrorCode::RestoreUnproven,
        ),
        (
            "OpenClaw has begun to renew openai:me and has not ended it",
            |burnt| burnt.put(&fenced(ME, "me", ""), &fenced(ME, "me", "")),
            ErrorCode::RestorePending,
        ),
        (
            "OpenClaw has begun to renew openai:me and has not ended it",
            |burnt| burnt.put(&fenced(ME, "me", "failed:"), &fenced(ME, "me", "")),
            ErrorCode::RestorePending,
        ),
        (
            "agent work",
            |burnt| put(&burnt.work, "auth_profile_store", "primary", &json!("cut")),
            ErrorCode::StoreWrongShape,
        ),
        (
            "openai:me was not dropped by OpenClaw",
            |burnt| burnt.put(&login("me", NOW), &login("me", NOW)),
            ErrorCode::RestoreNotNeeded,
        ),
    ];
    for (reason, change, code) in cases {
        let burnt = Burnt::new();
        change(&burnt);
        let before = burnt.now();
        let error = burnt.put_back().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        if code != ErrorCode::StoreWrongShape {
            assert_eq!(error.message(), reason);
        }
        assert_eq!(burnt.now(), before);
        assert_eq!(UnfinishedRestore::load_all(&burnt.own_dir()), []);
    }
}

#[test]
fn only_the_very_schemas_of_2026_9_6_are_written() {
    for (agents, shared) in [(22, 18), (24, 18), (23, 17), (23, 19)] {
        let burnt = Burnt::new();
        burnt.work.pragma_update(None, "user_version", agents).unwrap();
        burnt.shared.pragma_update(None, "user_version", shared).unwrap();
        let error = burnt.plan().unwrap_err();
        assert_eq!(
            error.code(),
            ErrorCode::StoreSchemaUnsupported,
            "{agents} {shared}"
        );
        let snapshot = burnt.bed.broker.snapshot();
        assert!(!account(&snapshot, "main", ME).restore.as_ref().unwrap().offered);
    }
}

#[test]
fn a_lock_of_a_running_renewal_is_waited_for() {
    let burnt = Burnt::new();
    let locks = burnt.bed.state_dir().join("locks/oauth-refresh");
    fs::create_dir_all(&locks).unwrap();
    let name = format!("sha256-{:x}.lock", Sha256::digest(b"openai\0openai:me"));
    let lock = json!({"pid": std::os::unix::process::parent_id(), "createdAt": "2026-11-23T10:00:00.000Z"});
    fs::write(locks.join(name), lock.to_string()).unwrap();
    assert_eq!(burnt.plan().unwrap_err().code(), ErrorCode::RestorePending);
}

#[test]
fn a_cell_that_changed_after_it_was_read_is_left_alone() {
    let burnt = Burnt::new();
    let plan = burnt.plan().unwrap();
    let fleet = burnt.inner().fleet().unwrap();
    let sealed = burnt.inner().sealed_logins(&fleet).unwrap();
    let login = sealed.logins.open_login(&plan.digest, &burnt.key()).unwrap();
    let changes: Vec<_> = plan
        .fenced
        .iter()
        .map(|place| prepared(place, &plan, &login).unwrap())
        .collect();
    burnt.put(&json!({"type": "oauth"}), &fenced_again());
    let before = burnt.now();
    for change in changes {
        let error = change.carry_out(Timestamp::from_millis(NOW)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::StoreChanged);
    }
    assert_eq!(burnt.now(), before);
    assert_eq!(
        burnt
            .work
            .query_row("PRAGMA integrity_check", [], |row| row.get(0)),
        Ok("ok".to_owned())
    );
}

#[test]
fn an_interrupted_restore_is_finished() {
    let burnt = Burnt::new();
    let plan = burnt.plan().unwrap();
    // Broken off between the other agent's own copy and the shared store.
    burnt.put(&fenced(ME, "me", "failed:"), &login("me", NOW - HOUR));
    burnt
        .inner()
        .marks
        .record_restored(plan.digest.refresh, plan.sealed_at)
        .unwrap();
    assert_eq!(burnt.plan().unwrap_err().code(), ErrorCode::RestoreSpent);
    let unfinished = UnfinishedRestore {
        agent: main_agent(),
        profile_id: me(),
        digest: plan.digest,
        claim: plan.claim.clone(),
        at: plan.sealed_at,
    };
    unfinished.store(&burnt.own_dir()).unwrap();
    let snapshot = burnt.bed.broker.snapshot();
    let view = account(&snapshot, "main", ME).restore.clone().unwrap();
    assert_eq!(
        (view.offered, view.text.as_str()),
        (true, "Putting it back was interrupted: Restore finishes it.")
    );
    let done = burnt.put_back().unwrap();
    let [work, shared] = burnt.databases().map(|path| path.display().to_string());
    assert_eq!((done.stores, done.resumed), (vec![shared, work], true));
    assert_eq!(burnt.now(), burnt.before);
    assert_eq!(UnfinishedRestore::load_all(&burnt.own_dir()), []);

    // The same, but OpenClaw has tried and dropped it anew: that is a second time.
    burnt.put(&fenced_again(), &login("me", NOW - HOUR));
    unfinished.store(&burnt.own_dir()).unwrap();
    assert_eq!(burnt.plan().unwrap_err().code(), ErrorCode::RestoreSpent);
}

#[tokio::test]
async fn an_engine_finishes_an_interrupted_restore_while_the_token_host_answers() {
    let burnt = Burnt::new();
    let plan = burnt.plan().unwrap();
    burnt.put(&fenced(ME, "me", "failed:"), &login("me", NOW - HOUR));
    let unfinished = UnfinishedRestore {
        agent: main_agent(),
        profile_id: me(),
        digest: plan.digest,
        claim: plan.claim,
        at: plan.sealed_at,
    };
    unfinished.store(&burnt.own_dir()).unwrap();
    let broker = burnt.bed.broker.clone();

    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    burnt.bed.lead_to(&format!("http://{closed}/oauth/token"));
    let before = burnt.now();
    broker.finish_restore().await;
    assert_eq!(burnt.now(), before, "without the host it waits");
    assert_eq!(
        UnfinishedRestore::load_all(&burnt.own_dir()),
        std::slice::from_ref(&unfinished)
    );

    let server = FakeServer::start(Vec::new()).await;
    burnt.bed.lead_to(&server.token_url());
    broker.finish_restore().await;
    assert_eq!(burnt.now(), burnt.before);
    assert_eq!(UnfinishedRestore::load_all(&burnt.own_dir()), []);

    // Somebody signed in anew: there is nothing to finish.
    burnt.put(&login("new", NOW + HOUR), &login("me", NOW - HOUR));
    unfinished.store(&burnt.own_dir()).unwrap();
    let before = burnt.now();
    broker.finish_restore().await;
    assert_eq!(burnt.now(), before);
    assert_eq!(UnfinishedRestore::load_all(&burnt.own_dir()), []);
    assert_eq!(server.requests().len(), 0, "nothing of the account was sent");
}

#[test]
fn a_generation_that_is_known_to_be_spent_is_not_put_back() {
    let burnt = Burnt::new();
    let (old, new) = (Secret::new("REF-me"), Secret::new("REF-later"));
    let (old, new) = (old.fingerprint(), new.fingerprint());
    burnt
        .inner()
        .generations()
        .record_rotation(old, new, Timestamp::from_millis(NOW - HOUR), None)
        .unwrap();
    let before = burnt.now();
    assert_eq!(burnt.put_back().unwrap_err().code(), ErrorCode::RestoreSpent);
    assert_eq!(burnt.now(), before);
    assert_eq!(UnfinishedRestore::load_all(&burnt.own_dir()), []);
}

#[test]
fn without_the_key_or_with_another_one_nothing_is_written() {
    let burnt = Burnt::new();
    let before = burnt.now();
    let other = tempfile::tempdir().unwrap();
    Sealer::open(other.path()).unwrap();
    let key = SealKey::from_file(other.path()).unwrap().unwrap();
    let error = burnt.inner().put_back(&main_agent(), &me(), &key).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VaultUnreadable);
    assert_eq!(burnt.now(), before);
}

#[test]
fn a_login_of_the_json_era_is_sealed_and_can_be_put_back_after_the_upgrade() {
    let bed = Bed::new("2026.6.1");
    let path = bed.agent_dir("main").join("auth-profiles.json");
    // Under the names of 2026.5.28, which the doctor changes and may renew at once.
    let mut old = login("me", NOW + HOUR);
    old["provider"] = json!("openai-codex");
    let store = json!({"version": 1, "profiles": {"openai-codex:me": old}});
    fs::write(&path, store.to_string()).unwrap();
    let mut observer = Observer::default();
    bed.look(&mut observer);
    fs::remove_file(&path).unwrap();
    bed.configure("2026.9.6", json!({}));
    let shared = bed.shared();
    put_shared(&shared, json!({ME: fenced(ME, "me", "failed:")}));
    bed.look(&mut observer);
    let snapshot = bed.broker.snapshot();
    let view = account(&snapshot, "main", ME).restore.clone().unwrap();
    assert!(view.offered, "{view:?}");
    let inner = &bed.broker.inner;
    let data_dir = inner.environment.data_dir();
    let key = SealKey::from_file(&data_dir).unwrap().unwrap();
    inner.put_back(&main_agent(), &me(), &key).unwrap();
    let stored: Value = serde_json::from_str(&shared_text(&shared)).unwrap();
    assert_eq!(stored["profiles"][ME], login("me", NOW + HOUR));
}

#[test]
fn a_half_migrated_installation_is_sealed_as_well() {
    let bed = Bed::new("2026.9.6");
    put_shared(&bed.shared(), json!({ME: login("me", NOW + HOUR)}));
    let store = json!({"version": 1, "profiles": {"openai:json": login("json", NOW + HOUR)}});
    fs::write(
        bed.agent_dir("main").join("auth-profiles.json"),
        store.to_string(),
    )
    .unwrap();
    let inner = &bed.broker.inner;
    let fleet = inner.fleet().unwrap();
    assert!(matches!(fleet.current().era, Era::Mixed { .. }));
    inner.ensure_sealed(&fleet).unwrap();
    let logins = fs::read_dir(inner.own_dir().unwrap().join("logins")).unwrap();
    assert_eq!(logins.count(), 2);
}

#[test]
fn everything_is_sealed_before_a_risk_or_it_is_told() {
    let bed = Bed::new("2026.9.6");
    let (shared, work) = (bed.shared(), bed.agent("work"));
    put_shared(&shared, json!({ME: login("me", NOW + HOUR)}));
    put_profiles(&work, json!({ME: login("w", NOW + HOUR)}));
    let inner = &bed.broker.inner;
    inner.ensure_sealed(&inner.fleet().unwrap()).unwrap();
    let logins = inner.own_dir().unwrap().join("logins");
    assert_eq!(fs::read_dir(&logins).unwrap().count(), 2);
    // A copy that was deleted is made again.
    fs::remove_dir_all(&logins).unwrap();
    inner.ensure_sealed(&inner.fleet().unwrap()).unwrap();
    assert_eq!(fs::read_dir(&logins).unwrap().count(), 2);
    put(&work, "auth_profile_store", "primary", &json!("cut"));
    let error = inner.ensure_sealed(&inner.fleet().unwrap()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VaultUnsealed);
}
