use std::path::Path;
use std::time::SystemTime;

use super::*;
use crate::broker::{RefreshResult, RefreshTarget};
use crate::event::EventKind;
use crate::history::{Generations, SignIn};
use crate::ids::{ProfileId, ProviderId};
use crate::oauth::testing::Reply;
use crate::refresh::rotation::Wanted;
use crate::store::lock::{LockContext, StoreLock};
use crate::testbed::{ANN, Machine, NOW, access_token, answer, login};
use crate::vault::Sealer;
use crate::vault::journal::{EntryHolder, Received};
use crate::vault::logins::Login;
use serde_json::json;

/// Agent work holds `REF0`, which the provider refused.
struct Scene {
    machine: Machine,
    refresher: Refresher,
    main: PathBuf,
    work: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let scene = Self::unrefused();
        let record = scene.record();
        record
            .record_refusal(generation("REF0"), "refresh_token_reused", NOW)
            .unwrap();
        scene
    }

    fn unrefused() -> Self {
        let machine = Machine::new();
        machine.lead_to("http://127.0.0.1:1/token");
        let environment = machine.environment();
        let generations = Generations::open(&environment.data_dir()).unwrap();
        let (clock, locks) = (machine.clock.clone(), LockContext::for_test());
        let scene = Self {
            main: machine.agent_dir(".openclaw", "main"),
            work: machine.agent_dir(".openclaw", "work"),
            refresher: Refresher::new(environment, None, clock, locks, generations),
            machine,
        };
        scene.write(&scene.work, &login("REF0", -1000), 10);
        scene
    }

    /// A login in an agent's store, which was written this many seconds after the tests began.
    fn write(&self, agent_dir: &Path, login: &Value, second: i64) {
        self.machine.write_store(agent_dir, login);
        let file = fs::File::options()
            .write(true)
            .open(agent_dir.join("auth-profiles.json"))
            .unwrap();
        let millis = u64::try_from(NOW.as_millis() + second * 1000).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
            .unwrap();
    }

    fn record(&self) -> &Generations {
        self.refresher.generations()
    }

    fn attempt(&self) -> Attempt {
        Attempt {
            agent: AgentId::normalize("work"),
            agent_dir: self.work.clone(),
            profile_id: ProfileId::parse(ANN).unwrap(),
            seen: generation("REF0"),
            wanted: Wanted::IfDue,
        }
    }

    fn heal(&self) -> Healing {
        self.refresher.heal(&self.attempt(), Sources::All).unwrap()
    }

    fn held_by(&self, agent_dir: &Path) -> Value {
        self.machine.read_store(agent_dir)["profiles"][ANN]["refresh"].clone()
    }

    fn own_dir(&self) -> PathBuf {
        let data_dir = self.machine.environment().data_dir();
        installation_dir(&data_dir, &canonical(&self.machine.path(".openclaw")))
    }

    /// Seals a login as an engine does that sees it at this second.
    fn seal(&self, login: &Value, second: i64) {
        let sealer = Sealer::open(&self.machine.environment().data_dir()).unwrap();
        let id = ProfileId::parse(ANN).unwrap();
        let digest = crate::vault::GenerationDigest::of(&id, &Credential::read(login)).unwrap();
        let text = login.to_string();
        let mut logins = SealedLogins::open(&self.own_dir());
        let login = Login {
            id: &id,
            provider: "openai",
            digest,
            credential: &text,
        };
        logins
            .seal(&sealer, NOW.plus_millis(second * 1000), &login)
            .unwrap();
    }

    fn answer_waits(&self) {
        let record = self.record();
        let journal = Journal::open(&self.own_dir());
        let other = generation("REF-between");
        let room = journal.reserve(record.family_of(other).unwrap(), other).unwrap();
        let holder = EntryHolder {
            agent_dir: self.machine.agent_dir(".openclaw", "gone"),
            provider: ProviderId::parse("openai").unwrap(),
            profile_id: ProfileId::parse(ANN).unwrap(),
        };
        let received = Received {
            access_token: Secret::new(access_token(1, 3_600_000)),
            refresh_token: Some(Secret::new("REF1")),
            id_token: None,
            expires_in: Some(3600),
        };
        let at = NOW.plus_millis(20_000);
        journal.record(room, "", vec![holder], received, at).1.unwrap();
    }
}

fn generation(token: &str) -> Fingerprint {
    Secret::new(token).fingerprint()
}

fn newer() -> Value {
    login("REF1", 3_600_000)
}

fn asks(agent: Option<&str>, token: &str) -> Healing {
    Healing::Asks(Asks::Unproven {
        agent: agent.map(AgentId::normalize),
        generation: generation(token),
    })
}

#[test]
fn a_newer_login_of_the_same_account_in_another_agent_is_written_where_the_refused_one_stands() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    let play = scene.machine.agent_dir(".openclaw", "play");
    scene.write(&play, &login("REF0", -1000), 5);
    let Healing::Healed {
        generation: healed,
        holders,
    } = scene.heal()
    else {
        panic!("nothing was written");
    };
    assert_eq!((healed, holders.len()), (generation("REF1"), 2));
    for agent_dir in [&scene.work, &play, &scene.main] {
        let profile = scene.machine.read_store(agent_dir)["profiles"][ANN].clone();
        assert_eq!(
            (&profile["refresh"], &profile["access"]),
            (&newer()["refresh"], &newer()["access"])
        );
        assert_eq!(scene.machine.names(agent_dir), ["auth-profiles.json"]);
    }
    assert!(
        scene
            .record()
            .leads_to(generation("REF0"), generation("REF1"))
            .unwrap()
    );
    assert_eq!(scene.heal(), Healing::Nothing, "it stands there no more");
}

#[test]
fn an_older_login_is_never_written() {
    let scene = Scene::new();
    scene.write(&scene.main, &login("REF-older", -2000), 20);
    scene
        .record()
        .record_rotation(generation("REF0"), generation("REF-older"), NOW, None)
        .unwrap();
    assert_eq!(scene.heal(), Healing::Nothing);
    assert_eq!(scene.held_by(&scene.work), "REF0");
}

#[test]
fn another_accounts_login_is_none() {
    let scene = Scene::new();
    let mut other = newer();
    let claims = json!({
        "exp": NOW.as_millis() / 1000 + 3600, "iat": NOW.as_millis() / 1000,
        "https://api.openai.com/auth": {"chatgpt_account_id": "acct-ann", "chatgpt_user_id": "user-bob"},
    });
    other["access"] = crate::oauth::testing::jwt(&claims).into();
    scene.write(&scene.main, &other, 20);
    assert_eq!(scene.heal(), Healing::Nothing, "a workspace that two share");
    other["accountId"] = "acct-other".into();
    scene.write(&scene.main, &other, 20);
    assert_eq!(scene.heal(), Healing::Nothing);
}

#[test]
fn without_a_recorded_rotation_or_a_later_file_a_person_is_asked() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 10);
    assert_eq!(scene.heal(), asks(Some("main"), "REF1"));
    assert_eq!(scene.held_by(&scene.work), "REF0");
    assert!(!scene.record().is_superseded(generation("REF0")).unwrap());

    scene
        .record()
        .record_rotation(generation("REF0"), generation("REF1"), NOW, None)
        .unwrap();
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    assert_eq!(scene.held_by(&scene.work), "REF1");
}

#[test]
fn a_sign_in_of_its_own_is_no_successor() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    let sign_in = SignIn {
        provider: ProviderId::parse("openai").unwrap(),
        token_url: "http://127.0.0.1:1/token".to_owned(),
        at: NOW,
    };
    scene
        .record()
        .record_sign_in(generation("REF1"), &sign_in, None)
        .unwrap();
    assert_eq!(scene.heal(), asks(Some("main"), "REF1"));
}

#[test]
fn what_another_program_holds_or_was_sent_without_an_answer_asks() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    scene.record().record_unknown(generation("REF1"), NOW).unwrap();
    assert_eq!(scene.heal(), asks(Some("main"), "REF1"));
    scene.record().clear_unknown(generation("REF1")).unwrap();

    let codex = scene.machine.path(".codex");
    fs::create_dir_all(&codex).unwrap();
    let shared = json!({"tokens": {"access_token": "a", "refresh_token": "REF1"}});
    fs::write(codex.join("auth.json"), shared.to_string()).unwrap();
    assert_eq!(scene.heal(), asks(Some("main"), "REF1"));

    // Codex holds a later one of its own: never taken from there.
    fs::remove_file(scene.main.join("auth-profiles.json")).unwrap();
    assert_eq!(scene.heal(), Healing::Nothing);
    assert_eq!(scene.held_by(&scene.work), "REF0");
}

#[test]
fn of_two_later_logins_the_latest_decides() {
    let scene = Scene::new();
    let play = scene.machine.agent_dir(".openclaw", "play");
    scene.write(&scene.main, &newer(), 20);
    scene.write(&play, &login("REF2", 3_600_000), 20);
    assert!(
        matches!(scene.heal(), Healing::Asks(_)),
        "issued at the same time"
    );

    // The latest is not proven: the other may have been spent for it.
    scene.write(&play, &login("REF2", 3_700_000), 9);
    assert_eq!(scene.heal(), asks(Some("play"), "REF2"));

    scene.write(&play, &login("REF2", 3_700_000), 21);
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    assert_eq!(scene.held_by(&scene.work), "REF2");
}

#[test]
fn what_is_spent_or_refused_is_no_candidate() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    scene
        .record()
        .record_refusal(generation("REF1"), "refresh_token_expired", NOW)
        .unwrap();
    assert_eq!(scene.heal(), Healing::Nothing);
}

#[test]
fn what_took_the_place_of_a_refused_one_and_is_refused_too_stays_signed_out() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    scene
        .record()
        .record_refusal(generation("REF1"), "refresh_token_reused", NOW)
        .unwrap();
    scene.write(&scene.main, &login("REF2", 3_700_000), 1_000_000_000);
    let again = Attempt {
        seen: generation("REF1"),
        ..scene.attempt()
    };
    assert_eq!(
        scene.refresher.heal(&again, Sources::All).unwrap(),
        Healing::Nothing
    );
    assert_eq!(scene.held_by(&scene.work), "REF1");
}

#[test]
fn what_a_person_ended_everywhere_stays_ended() {
    let scene = Scene::unrefused();
    scene
        .record()
        .record_refusal(generation("REF0"), SIGNED_OUT_EVERYWHERE, NOW)
        .unwrap();
    scene.write(&scene.main, &newer(), 20);
    assert_eq!(scene.heal(), Healing::Nothing);
}

#[test]
fn a_login_that_may_be_sent_is_left_alone() {
    let scene = Scene::unrefused();
    scene.write(&scene.main, &newer(), 20);
    assert_eq!(scene.heal(), Healing::Nothing);
}

#[test]
fn a_spent_copy_gives_way_to_what_another_agent_got_for_it() {
    let scene = Scene::unrefused();
    scene.write(&scene.main, &newer(), 5);
    scene
        .record()
        .record_rotation(generation("REF0"), generation("REF1"), NOW, None)
        .unwrap();
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    assert_eq!(scene.held_by(&scene.work), "REF1");
}

#[test]
fn a_crash_between_the_record_and_the_store_is_made_good_by_the_next_look() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 5);
    scene.record().record_healed(generation("REF1"), NOW).unwrap();
    scene
        .record()
        .record_rotation(generation("REF0"), generation("REF1"), NOW, None)
        .unwrap();
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    assert_eq!(scene.held_by(&scene.work), "REF1");
}

#[test]
fn what_was_renewed_while_locks_were_waited_for_is_judged_again() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    let locks = LockContext::for_test();
    let lock = StoreLock::try_acquire(&scene.main, &locks).unwrap();
    let healing = std::thread::scope(|scope| {
        let healing = scope.spawn(|| scene.heal());
        // It has the refresh locks and waits for the store's.
        let waits = scene.machine.path(".openclaw/locks/oauth-refresh");
        let deadline = Instant::now() + Duration::from_secs(20);
        while scene.machine.names(&waits).is_empty() {
            assert!(Instant::now() < deadline, "no lock was taken");
            std::thread::sleep(Duration::from_millis(5));
        }
        scene.write(&scene.main, &login("REF2", 3_700_000), 30);
        drop(lock);
        healing.join().unwrap()
    });
    assert!(matches!(healing, Healing::Healed { .. }), "{healing:?}");
    assert_eq!(scene.held_by(&scene.work), "REF2");
}

#[test]
fn a_login_that_was_signed_in_meanwhile_is_left_alone() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    scene.write(&scene.work, &login("REF-new", 3_600_000), 30);
    assert_eq!(scene.heal(), Healing::Nothing);
    assert_eq!(scene.held_by(&scene.work), "REF-new");
}

#[test]
fn a_sealed_copy_that_is_later_heals_and_one_behind_a_keychain_asks() {
    let scene = Scene::new();
    scene.seal(&login("REF0", -1000), 1);
    scene.seal(&newer(), 5);
    assert_eq!(
        scene.heal(),
        asks(None, "REF1"),
        "sealed before the store was written"
    );
    scene.seal(&login("REF2", 3_700_000), 20);

    let key = scene.machine.environment().data_dir().join("key/seal.key");
    let away = key.with_extension("away");
    fs::rename(&key, &away).unwrap();
    assert_eq!(scene.heal(), Healing::Asks(Asks::Locked));
    fs::rename(&away, &key).unwrap();
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    assert_eq!(scene.held_by(&scene.work), "REF2");
}

#[test]
fn an_answer_that_no_store_took_heals() {
    let scene = Scene::new();
    scene
        .record()
        .record_rotation(generation("REF0"), generation("REF1"), NOW, None)
        .unwrap();
    let tokens = tokens_of(Credential::read(&newer()).as_oauth().unwrap()).unwrap();
    let data_dir = scene.machine.environment().data_dir();
    let state_dir = canonical(&scene.machine.path(".openclaw"));
    merge::seal_tokens(
        &data_dir,
        &state_dir,
        scene.record(),
        &tokens,
        NOW,
        "answer-not-placed",
    )
    .unwrap();
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    assert_eq!(scene.held_by(&scene.work), "REF1");
}

#[test]
fn an_answer_in_the_journal_heals_and_stays_there() {
    let scene = Scene::new();
    scene.answer_waits();
    let only_stores = scene.refresher.heal(&scene.attempt(), Sources::Stores).unwrap();
    assert_eq!(only_stores, Healing::Nothing);
    assert!(matches!(scene.heal(), Healing::Healed { .. }));
    assert_eq!(scene.held_by(&scene.work), "REF1");
    assert_eq!(
        Journal::open(&scene.own_dir()).entries().unwrap().entries.len(),
        1
    );
}

#[test]
fn nothing_is_written_in_the_sqlite_era() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    let before = scene.machine.read_store(&scene.work);
    rusqlite::Connection::open(scene.main.join("openclaw-agent.sqlite"))
        .unwrap()
        .execute_batch("CREATE TABLE auth_profile_store (store_key, store_json, updated_at)")
        .unwrap();
    let healing = scene.refresher.heal(&scene.attempt(), Sources::All).unwrap();
    assert_eq!(healing, Healing::Nothing);
    assert_eq!(scene.machine.read_store(&scene.work), before);
}

#[tokio::test]
async fn a_refusal_is_healed_before_it_is_told_and_the_next_renewal_goes_to_both() {
    let scene = Scene::unrefused();
    scene.write(&scene.main, &newer(), 20);
    let refused = json!({"error": {"message": "used", "code": "refresh_token_reused"}});
    let replies = vec![Reply::json(401, &refused), answer(2, "REF2")];
    let server = scene.machine.serve(replies).await;
    let broker = scene.machine.broker();
    let mut events = broker.subscribe();
    let work = || RefreshTarget::Profile(AgentId::normalize("work"), ProfileId::parse(ANN).unwrap());
    let outcomes = broker.refresh(work()).await;
    assert_eq!(outcomes[0].result, RefreshResult::Healed, "{outcomes:?}");
    assert_eq!(scene.held_by(&scene.work), "REF1");
    let event = events.try_recv().unwrap();
    assert_eq!(
        (event.kind, event.cause.as_deref()),
        (EventKind::Repaired, Some("healed"))
    );
    assert!(events.try_recv().is_err(), "and nobody is told to be signed out");

    let outcomes = broker.refresh(work()).await;
    assert_eq!(outcomes[0].result, RefreshResult::Refreshed, "{outcomes:?}");
    assert_eq!(outcomes[0].holders.len(), 2);
    assert_eq!(server.requests().len(), 2);
    assert_eq!(
        (scene.held_by(&scene.main), scene.held_by(&scene.work)),
        ("REF2".into(), "REF2".into())
    );
}

#[tokio::test]
async fn what_cannot_be_proven_is_told_with_the_signed_out_account() {
    let scene = Scene::unrefused();
    scene.write(&scene.main, &newer(), 5);
    let refused = json!({"error": {"message": "used", "code": "refresh_token_reused"}});
    scene.machine.serve(vec![Reply::json(401, &refused)]).await;
    let broker = scene.machine.broker();
    let work = AgentId::normalize("work");
    let outcomes = broker
        .refresh(RefreshTarget::Profile(
            work.clone(),
            ProfileId::parse(ANN).unwrap(),
        ))
        .await;
    let error = outcomes[0].error.as_ref().unwrap();
    assert_eq!(error.code, "refresh.signed_out");
    assert!(
        error.hint.contains("Agent main has a later login"),
        "{}",
        error.hint
    );
    let snapshot = broker.snapshot();
    let agent = snapshot.agents.iter().find(|agent| agent.id == work).unwrap();
    let account = agent
        .providers
        .iter()
        .flat_map(|provider| &provider.accounts)
        .next()
        .unwrap();
    let restore = account.restore.as_ref().unwrap();
    assert!(
        !restore.offered && restore.text.contains("Agent main"),
        "{restore:?}"
    );
    assert_eq!(scene.held_by(&scene.work), "REF0");
}

#[tokio::test]
async fn an_engine_heals_what_a_crash_left_refused() {
    let scene = Scene::new();
    scene.write(&scene.main, &newer(), 20);
    let broker = scene.machine.broker();
    let mut events = broker.subscribe();
    let engine = broker.engine().await.unwrap();
    let repaired = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.kind == EventKind::Repaired {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(30), repaired)
        .await
        .unwrap();
    assert_eq!(event.cause.as_deref(), Some("healed"));
    assert_eq!(scene.held_by(&scene.work), "REF1");
    engine.stop().await;
}
