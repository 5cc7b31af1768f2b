use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::broker::observer::Observer;
use crate::clock::Clock as _;
use crate::history::SignIn;
use crate::secret::Secret;
use crate::testbed::{ANN, Machine, login};

const KEY: &str = "google:key";

struct Bed {
    machine: Machine,
    broker: Broker,
    observer: Observer,
    main: PathBuf,
}

impl Bed {
    /// Ann's login and a key in main's store, seen by an engine.
    fn new() -> Self {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        fs::create_dir_all(&main).unwrap();
        let mut bed = Self {
            broker: machine.broker(),
            observer: Observer::default(),
            machine,
            main,
        };
        bed.write(&json!({ANN: login("REF0", 3_600_000), KEY: key("fake-key-0")}));
        bed.look();
        bed
    }

    fn write(&self, profiles: &Value) {
        let store = json!({"version": 1, "profiles": profiles});
        self.write_text(&store.to_string());
    }

    fn write_text(&self, text: &str) {
        fs::write(self.main.join("auth-profiles.json"), text).unwrap();
    }

    fn profiles(&self) -> Value {
        self.machine.read_store(&self.main)["profiles"].clone()
    }

    fn look(&mut self) {
        self.observer
            .observe(&self.broker.inner, &self.machine.fleet(), false);
        self.machine.clock.advance_millis(GONE);
    }

    /// The newest snapshot first.
    fn ids(&self) -> Vec<String> {
        let all = self.broker.snapshots().unwrap();
        all.into_iter().map(|info| info.id).collect()
    }

    fn rotated(&self, old: &str, new: &str) {
        self.broker
            .inner
            .generations()
            .record_rotation(print(old), print(new), self.broker.inner.now(), None)
            .unwrap();
    }

    async fn restore(&self, id: &str, profile: Option<&str>) -> Result<SnapshotRestored> {
        self.broker.restore_snapshot(choice(id, profile)).await
    }
}

/// A second look this much later tells what is gone.
const GONE: i64 = 600;

fn key(secret: &str) -> Value {
    json!({"type": "api_key", "provider": "google", "key": secret, "displayName": "mine"})
}

fn print(secret: &str) -> Fingerprint {
    Secret::new(secret).fingerprint()
}

fn choice(id: &str, profile: Option<&str>) -> SnapshotChoice {
    SnapshotChoice {
        id: id.to_owned(),
        agent: None,
        profile_id: profile.and_then(ProfileId::parse),
    }
}

fn verdicts(preview: &SnapshotPreview) -> Vec<(String, PutBackVerdict)> {
    let profiles = preview.stores.iter().flat_map(|store| &store.profiles);
    profiles
        .map(|profile| (profile.profile_id.to_string(), profile.verdict))
        .collect()
}

#[tokio::test]
async fn what_vanished_is_offered_and_comes_back_beside_what_came_since() {
    let mut bed = Bed::new();
    let before = bed.profiles();
    bed.write(&json!({"google:new": key("fake-key-new")}));
    bed.look();
    bed.look();
    let snapshot = bed.broker.snapshot();
    let accounts = snapshot.agents[0].providers.iter().flat_map(|one| &one.accounts);
    let offers: Vec<_> = accounts.filter_map(|one| one.restore.clone()).collect();
    let list = bed.broker.snapshots().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!((list[0].profiles, list[0].missing), (1, 0));
    assert_eq!((list[1].profiles, list[1].missing), (2, 2));
    assert_eq!(list[1].agents, [AgentId::main()]);
    let ids: Vec<_> = offers
        .iter()
        .map(|offer| offer.snapshot.clone().unwrap())
        .collect();
    assert_eq!(ids, [list[1].id.clone(), list[1].id.clone()]);

    let preview = bed
        .broker
        .snapshot_preview(choice(&list[1].id, None))
        .await
        .unwrap();
    assert!(preview.offered);
    let put_back = |id: &str| (id.to_owned(), PutBackVerdict::PutBack);
    assert_eq!(verdicts(&preview), [put_back(ANN), put_back(KEY)]);
    let done = bed.restore(&list[1].id, None).await.unwrap();
    assert_eq!(done.restored.len(), 2);
    let after = bed.profiles();
    assert_eq!((&after[ANN], &after[KEY]), (&before[ANN], &before[KEY]));
    assert_eq!(after["google:new"], key("fake-key-new"));
    let error = bed.restore(&list[1].id, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RestoreNotNeeded);
}

#[tokio::test]
async fn one_profile_comes_back_alone() {
    let mut bed = Bed::new();
    bed.write(&json!({}));
    bed.look();
    let id = bed.ids().pop().unwrap();
    bed.restore(&id, Some(KEY)).await.unwrap();
    assert_eq!(bed.profiles(), json!({KEY: key("fake-key-0")}));
    let error = bed.restore(&id, Some("google:none")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProfileUnknown);
    let error = bed.restore("nothing", Some(KEY)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::SnapshotUnknown);
}

#[tokio::test]
async fn a_file_that_does_not_parse_is_sealed_then_replaced_and_what_it_still_says_stays() {
    let mut bed = Bed::new();
    let before = bed.profiles();
    let mut newer = before.clone();
    newer[ANN] = login("REF1", 7_200_000);
    let text = json!({"version": 1, "profiles": newer})
        .to_string()
        .replacen("}}}", "},}}", 1);
    bed.write_text(&text);
    bed.look();
    let agent = &bed.broker.snapshot().agents[0];
    let offer = agent.restore.clone().unwrap();
    assert!(agent.unreadable_since.is_some() && offer.offered);
    let id = offer.snapshot.unwrap();
    let alone = bed.restore(&id, Some(ANN)).await.unwrap_err();
    assert_eq!(alone.code(), ErrorCode::StoreUnparsable);
    // From the copy made before: what the broken file still says is newer and stays.
    let oldest = bed.ids().pop().unwrap();
    let preview = bed.broker.snapshot_preview(choice(&oldest, None)).await.unwrap();
    assert!(preview.stores[0].problem.is_some() && !preview.notes.is_empty());
    let garbage = format!("{text} garbage");
    bed.write_text(&garbage);
    bed.look();
    let done = bed.restore(&oldest, None).await.unwrap();
    assert_eq!(done.restored.len(), 2);
    assert_eq!(bed.profiles(), before);

    // The very bytes are kept, and what could be read of the first ones comes back from there.
    let dir = installation_dir(
        &bed.broker.inner.environment.data_dir(),
        &bed.machine.path(".openclaw").canonicalize().unwrap(),
    );
    let snapshots = Snapshots::open(&dir);
    let key = SealKey::from_file(&bed.broker.inner.environment.data_dir())
        .unwrap()
        .unwrap();
    let name = format!("agents/main/agent/{PROFILES_FILE}{BROKEN}");
    let kept: Vec<String> = snapshots
        .list()
        .unwrap()
        .snapshots
        .iter()
        .filter_map(|entry| {
            let opened = open_snapshot(&snapshots.path_of(entry), &key).unwrap();
            let bytes = opened.files.get(&name)?;
            Some(String::from_utf8(bytes.to_vec()).unwrap())
        })
        .collect();
    assert_eq!(kept, [garbage, text]);
    let broken = bed.broker.snapshots().unwrap();
    let broken = broken.iter().find(|info| info.missing == 1).unwrap();
    bed.restore(&broken.id, Some(ANN)).await.unwrap();
    assert_eq!(bed.profiles()[ANN], newer[ANN]);
}

#[tokio::test]
async fn a_recovered_file_keeps_its_numbers_and_its_order() {
    let mut bed = Bed::new();
    let text = r#"{"version":1,"profiles":{"z:1":{"type":"token","provider":"z","token":"fake-z","expires":1795000000000,},"a:1":{"type":"api_key","provider":"a","key":"fake-a"}}, // mine
}"#;
    bed.write_text(text);
    bed.look();
    let oldest = bed.ids().pop().unwrap();
    bed.restore(&oldest, None).await.unwrap();
    let text = fs::read_to_string(bed.main.join("auth-profiles.json")).unwrap();
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(at("\"z:1\"") < at("\"a:1\"") && at("\"a:1\"") < at(ANN), "{text}");
    at("\"expires\": 1795000000000");
}

#[tokio::test]
async fn a_spent_login_does_not_come_back_its_newest_one_does() {
    let mut bed = Bed::new();
    let first = bed.ids().remove(0);
    bed.rotated("REF0", "REF1");
    bed.write(&json!({ANN: login("REF1", 7_200_000), KEY: key("fake-key-0")}));
    bed.look();
    bed.write(&json!({}));
    bed.look();
    let preview = bed.broker.snapshot_preview(choice(&first, None)).await.unwrap();
    assert_eq!(
        verdicts(&preview),
        [
            (ANN.to_owned(), PutBackVerdict::NewestInstead),
            (KEY.to_owned(), PutBackVerdict::PutBack)
        ]
    );
    bed.restore(&first, None).await.unwrap();
    assert_eq!(bed.profiles()[ANN], login("REF1", 7_200_000));

    // Renewed once more, and nobody has the newest one.
    bed.rotated("REF1", "REF2");
    bed.write(&json!({}));
    bed.look();
    let error = bed.restore(&first, Some(ANN)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::SnapshotSuperseded);
    let done = bed.restore(&first, None).await.unwrap();
    assert_eq!(done.restored.len(), 1);
    assert_eq!(bed.profiles(), json!({KEY: key("fake-key-0")}));
}

#[tokio::test]
async fn a_refused_login_does_not_come_back() {
    let mut bed = Bed::new();
    let first = bed.ids().remove(0);
    let generations = bed.broker.inner.generations();
    generations
        .record_refusal(print("REF0"), "invalid_grant", bed.broker.inner.now())
        .unwrap();
    bed.write(&json!({KEY: key("fake-key-0")}));
    bed.look();
    bed.look();
    let error = bed.restore(&first, Some(ANN)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::SnapshotSuperseded);
    let snapshot = bed.broker.snapshot();
    let accounts = snapshot.agents[0].providers.iter().flat_map(|one| &one.accounts);
    assert_eq!(accounts.filter(|one| one.restore.is_some()).count(), 0);
}

#[tokio::test]
async fn what_stands_there_stays_unless_it_is_older_or_named() {
    let mut bed = Bed::new();
    let first = bed.ids().remove(0);
    bed.write(&json!({ANN: login("OTHER", 3_600_000), KEY: key("fake-key-1")}));
    bed.look();
    let error = bed.restore(&first, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RestoreNotNeeded);
    bed.restore(&first, Some(KEY)).await.unwrap();
    assert_eq!(
        bed.profiles(),
        json!({ANN: login("OTHER", 3_600_000), KEY: key("fake-key-0")})
    );
    // The store went back to what was before the snapshot.
    bed.rotated("OLD", "REF0");
    bed.write(&json!({ANN: login("OLD", 1), KEY: key("fake-key-0")}));
    bed.restore(&first, None).await.unwrap();
    assert_eq!(bed.profiles()[ANN], login("REF0", 3_600_000));
}

#[tokio::test]
async fn the_same_login_under_another_name_is_not_doubled() {
    let mut bed = Bed::new();
    let first = bed.ids().remove(0);
    bed.write(&json!({"openai:renamed": login("REF0", 3_600_000), KEY: key("fake-key-0")}));
    bed.look();
    let error = bed.restore(&first, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RestoreNotNeeded);
}

#[tokio::test]
async fn an_order_comes_back_with_its_profiles_and_one_that_is_there_is_added_to() {
    let bed = Bed::new();
    let store = |order: Value, profiles: Value| {
        let text = json!({"version": 1, "profiles": profiles, "order": order});
        bed.write_text(&text.to_string());
    };
    let all = json!({ANN: login("REF1", 1), "google:a": key("fake-a"), "google:b": key("fake-b")});
    store(json!({"google": ["google:b", "google:a"], "openai": [ANN]}), all);
    bed.broker.inner.seal("test");
    let sealed = bed.ids().remove(0);
    store(
        json!({"google": ["google:c"]}),
        json!({"google:c": key("fake-c"), "google:a": key("fake-a")}),
    );
    let preview = bed.broker.snapshot_preview(choice(&sealed, None)).await.unwrap();
    let orders: Vec<_> = preview.stores[0].orders.iter().map(|id| id.as_str()).collect();
    assert_eq!(orders, ["google", "openai"]);
    bed.restore(&sealed, None).await.unwrap();
    assert_eq!(
        bed.machine.read_store(&bed.main)["order"],
        json!({"google": ["google:c", "google:b"], "openai": [ANN]})
    );
}

#[tokio::test]
async fn without_the_key_nothing_is_opened_and_the_list_is_told() {
    let mut bed = Bed::new();
    bed.write(&json!({}));
    bed.look();
    let data_dir = bed.broker.inner.environment.data_dir();
    fs::remove_file(data_dir.join("key/seal.key")).unwrap();
    let list = bed.broker.snapshots().unwrap();
    assert_eq!(list[0].missing, 2);
    let error = bed.restore(&list[0].id, None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::KeychainUnavailable);
    assert_eq!(bed.profiles(), json!({}));
}

#[tokio::test]
async fn tokens_that_found_no_place_come_back_in_their_profile() {
    let mut bed = Bed::new();
    let first = bed.ids().remove(0);
    let inner = &bed.broker.inner;
    let sign_in = SignIn {
        provider: ProviderId::parse("openai").unwrap(),
        token_url: "http://127.0.0.1/token".to_owned(),
        at: inner.now(),
    };
    let generations = inner.generations();
    generations.record_sign_in(print("REF0"), &sign_in, None).unwrap();
    bed.rotated("REF0", "REF1");
    let fleet = bed.machine.fleet();
    let bytes = json!({"access": "ACC1", "refresh": "REF1", "expires": 7, "email": null}).to_string();
    inner
        .vault_of(&fleet)
        .seal(
            &crate::vault::Sealer::open(&inner.environment.data_dir()).unwrap(),
            generations,
            &crate::vault::snapshots::Content {
                at: inner.now(),
                reason: "unplaced",
                credentials: print("REF1"),
                generations: &[print("REF1")],
                agents: &[],
                profiles: 0,
                files: &[(UNPLACED.to_owned(), Zeroizing::new(bytes.into_bytes()))],
            },
        )
        .unwrap();
    bed.write(&json!({}));
    bed.look();
    bed.restore(&first, Some(ANN)).await.unwrap();
    let ann = &bed.profiles()[ANN];
    assert_eq!(
        (&ann["refresh"], &ann["access"], &ann["expires"], &ann["email"]),
        (
            &json!("REF1"),
            &json!("ACC1"),
            &json!(7),
            &json!("ann@example.com")
        )
    );
}

#[tokio::test]
async fn in_the_sqlite_era_a_login_is_left_to_openclaw() {
    use crate::broker::sqlite_tests;
    let bed = sqlite_tests::Bed::new("2026.9.6");
    let shared = bed.shared();
    let end = bed.clock.now().plus_millis(3_600_000).as_millis();
    sqlite_tests::put_shared(
        &shared,
        json!({"openai:me": sqlite_tests::login("me", end), "openai:you": sqlite_tests::login("you", end)}),
    );
    let mut observer = Observer::default();
    bed.look(&mut observer);
    let fence = sqlite_tests::fenced("openai:me", "me", "failed:");
    sqlite_tests::put_shared(&shared, json!({"openai:me": fence}));
    bed.settle(&mut observer);
    let sealed = bed.broker.snapshots().unwrap().pop().unwrap();
    let preview = bed
        .broker
        .snapshot_preview(choice(&sealed.id, None))
        .await
        .unwrap();
    let texts: Vec<_> = preview.stores[0]
        .profiles
        .iter()
        .map(|profile| (profile.verdict, profile.text.as_str()))
        .collect();
    assert_eq!(
        texts,
        [
            (
                PutBackVerdict::Refused,
                "OpenClaw dropped it: `kalit restore openai:me` puts it back"
            ),
            (
                PutBackVerdict::Refused,
                "OpenClaw 2026.6.5 or later stores logins itself: sign in again"
            )
        ]
    );
    for id in [None, Some("openai:me"), Some("openai:you")] {
        let asked = bed.broker.restore_snapshot(choice(&sealed.id, id)).await;
        assert_eq!(asked.unwrap_err().code(), ErrorCode::EraSqlite);
    }
    let snapshot = bed.broker.snapshot();
    let accounts = snapshot.agents[0].providers.iter().flat_map(|one| &one.accounts);
    let vanished = accounts.filter(|one| one.state == crate::view::AccountState::Vanished);
    assert!(vanished.map(|one| &one.restore).eq([&None]));
}

#[test]
fn what_is_sealed_is_what_was_looked_at() {
    let bed = Bed::new();
    let before = bed.ids();
    let profiles = json!({ANN: login("REF1", 3_600_000)});
    bed.write(&profiles);
    let fleet = bed.machine.fleet();
    // 2026.2.17 empties the file before it writes it again.
    bed.write_text("");
    let inner = &bed.broker.inner;
    let error = inner.seal_all(&fleet, &[], "changed-outside").unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreChanged);
    assert_eq!(bed.ids(), before);
    bed.write(&profiles);
    inner
        .seal_all(&bed.machine.fleet(), &[], "changed-outside")
        .unwrap();
    assert_eq!(bed.ids().len(), before.len() + 1);
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let mut bed = Bed::new();
    let before = bed.ids().len();
    let state = bed.main.join("auth-state.json");
    let made = std::process::Command::new("mkfifo").arg(&state).status().unwrap();
    assert!(made.success());
    bed.write(&json!({ANN: login("REF1", 3_600_000)}));
    bed.look();
    assert_eq!(bed.ids().len(), before + 1);
}
