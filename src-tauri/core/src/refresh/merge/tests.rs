use std::fs;

use super::*;
use crate::store::lock::LockContext;
use crate::testbed::{ANN, Machine, NOW, access_token, login};
use crate::vault::journal::Received;

/// A machine whose main store holds `REF0`, to which `REF1` was the answer.
struct Scene {
    machine: Machine,
    refresher: Refresher,
    main: PathBuf,
    own: PathBuf,
    journal: Journal,
}

impl Scene {
    fn new() -> Self {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", -1000));
        machine.lead_to("http://127.0.0.1:1/token");
        let environment = machine.environment();
        let data_dir = environment.data_dir();
        let generations = Generations::open(&data_dir).unwrap();
        let (clock, locks) = (machine.clock.clone(), LockContext::for_test());
        let own = installation_dir(&data_dir, &canonical(&machine.path(".openclaw")));
        Self {
            refresher: Refresher::new(environment, None, clock, locks, generations),
            main,
            journal: Journal::open(&own),
            own,
            machine,
        }
    }

    /// `REF1` is in the journal, for every store that holds `REF0`.
    fn answered(&self) -> (Entry, Result<()>) {
        self.received(Some("REF1"), 3_600_000)
    }

    fn received(&self, refresh: Option<&str>, lasts_ms: i64) -> (Entry, Result<()>) {
        let [sent, ..] = generations();
        let family = self.refresher.generations().family_of(sent).unwrap();
        let room = self.journal.reserve(family, sent).unwrap();
        let holders = self.machine.fleet().holders(sent).stores;
        let state_dir = canonical(&holders[0].state_dir).display().to_string();
        let places = holders.into_iter().map(|holder| EntryHolder {
            agent_dir: holder.agent_dir,
            provider: crate::ids::ProviderId::parse(&holder.provider).unwrap(),
            profile_id: holder.profile_id,
        });
        let received = Received {
            access_token: Secret::new(access_token(1, lasts_ms)),
            refresh_token: refresh.map(Secret::new),
            id_token: None,
            expires_in: Some(3600),
        };
        self.journal
            .record(room, &state_dir, places.collect(), received, NOW)
    }

    /// Another agent with a copy of main's login.
    fn copy(&self) -> PathBuf {
        let work = self.machine.agent_dir(".openclaw", "work");
        self.machine.write_store(&work, &login("REF0", -1000));
        work
    }

    fn stored_in(&self, agent_dir: &Path) -> serde_json::Value {
        self.machine.read_store(agent_dir)["profiles"][ANN]["refresh"].clone()
    }

    fn sealed(&self) -> Vec<String> {
        let sealed = Snapshots::open(&self.own).list().unwrap().snapshots;
        sealed.into_iter().map(|entry| entry.reason).collect()
    }

    fn stored(&self) -> serde_json::Value {
        self.stored_in(&self.main)
    }
}

fn generations() -> [Fingerprint; 3] {
    ["REF0", "REF1", "REF2"].map(|token| Secret::new(token).fingerprint())
}

#[test]
fn an_answer_that_only_memory_holds_is_stored_as_soon_as_the_disk_takes_it() {
    let scene = Scene::new();
    let [sent, ..] = generations();
    let family = scene.refresher.generations().family_of(sent).unwrap();
    let name = format!("{}-{}.json", family.short(), sent.short());
    let in_the_way = scene.journal.dir().join(name);
    fs::create_dir_all(&in_the_way).unwrap();
    let (entry, written) = scene.answered();
    written.unwrap_err();
    scene.refresher.inner().unwritten().push(entry);

    assert!(answers_wait(&scene.refresher));
    let error = replay_answer(scene.refresher.inner(), sent).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VaultFailed, "nothing may be sent");
    assert_eq!(scene.stored(), "REF0");

    fs::remove_dir(&in_the_way).unwrap();
    replay(&scene.refresher).unwrap();
    assert_eq!(scene.stored(), "REF1");
    assert!(!answers_wait(&scene.refresher));
}

#[test]
fn an_answer_is_not_written_over_a_later_one_that_is_being_renewed() {
    let scene = Scene::new();
    scene.answered().1.unwrap();
    // OpenClaw renewed what the entry brings, unseen; Kalit sent that and was killed.
    let [zero, _, two] = generations();
    let record = scene.refresher.generations();
    record.record_rotation(zero, two, NOW, None).unwrap();
    let three = Secret::new("REF3").fingerprint();
    record.record_rotation(two, three, NOW, None).unwrap();
    scene.machine.write_store(&scene.main, &login("REF2", -1000));
    replay(&scene.refresher).unwrap();
    assert_eq!(scene.stored(), "REF2");
    assert_eq!(scene.sealed(), ["answer-not-placed"]);
}

#[test]
fn an_answer_with_a_known_successor_is_sealed_and_not_written() {
    let scene = Scene::new();
    scene.answered().1.unwrap();
    // Another process has renewed what the entry brings.
    let [zero, one, two] = generations();
    let record = scene.refresher.generations();
    record.record_rotation(zero, one, NOW, None).unwrap();
    record.record_rotation(one, two, NOW, None).unwrap();
    replay(&scene.refresher).unwrap();
    assert_eq!(scene.stored(), "REF0");
    assert!(!answers_wait(&scene.refresher));
    assert_eq!(scene.sealed(), ["answer-not-placed"]);
}

#[test]
fn a_store_that_is_gone_keeps_no_other_one_from_its_answer() {
    let scene = Scene::new();
    scene.copy();
    scene.answered().1.unwrap();
    fs::remove_dir_all(scene.machine.path(".openclaw/agents/work")).unwrap();
    replay(&scene.refresher).unwrap();
    assert_eq!(scene.stored(), "REF1");
    assert!(!answers_wait(&scene.refresher));
    assert_eq!(scene.sealed(), ["answer-not-placed"]);
}

#[test]
fn an_answer_for_a_store_that_moved_into_a_database_is_sealed() {
    let scene = Scene::new();
    scene.answered().1.unwrap();
    fs::write(scene.main.join("openclaw-agent.sqlite"), "").unwrap();
    replay(&scene.refresher).unwrap();
    assert!(!answers_wait(&scene.refresher));
    assert_eq!(scene.sealed(), ["answer-not-placed"]);
}

#[test]
fn a_generation_is_not_sent_while_another_store_waits_for_it() {
    let scene = Scene::new();
    let work = scene.copy();
    scene.answered().1.unwrap();
    // The answer reached main; work was busy.
    let [sent, one, _] = generations();
    let record = scene.refresher.generations();
    record.record_rotation(sent, one, NOW, None).unwrap();
    scene.machine.write_store(&scene.main, &login("REF1", 3_600_000));
    let busy = StoreLock::for_test(&work);
    let error = replay_answer(scene.refresher.inner(), one).unwrap_err();
    assert_eq!(error.code(), ErrorCode::LockBusy);
    drop(busy);
    replay_answer(scene.refresher.inner(), one).unwrap();
    assert_eq!(scene.stored_in(&work), "REF1");
    assert!(!answers_wait(&scene.refresher));
}

#[test]
fn an_older_access_token_of_the_same_generation_is_not_written_over_a_newer_one() {
    for (stored_ms, expected) in [(7_200_000, 7_200_000), (60_000, 3_600_000)] {
        let scene = Scene::new();
        scene.machine.write_store(&scene.main, &login("REF0", stored_ms));
        scene.received(None, 3_600_000).1.unwrap();
        replay(&scene.refresher).unwrap();
        let expires = &scene.machine.read_store(&scene.main)["profiles"][ANN]["expires"];
        let left = expires.as_i64().unwrap() - NOW.as_millis();
        // OpenClaw's own margin may be taken off.
        assert!((expected - left).abs() <= 300_000, "{stored_ms}: {left}");
        assert!(!answers_wait(&scene.refresher));
    }
}

#[cfg(unix)]
#[test]
fn a_journal_that_cannot_be_listed_stops_its_own_installation_only() {
    let scene = Scene::new();
    let other = scene.machine.agent_dir(".openclaw-other", "main");
    scene.machine.write_store(&other, &login("REF9", -1000));
    fs::create_dir_all(&scene.own).unwrap();
    fs::write(scene.journal.dir(), "no directory").unwrap();
    let [here, ..] = generations();
    let error = replay_answer(scene.refresher.inner(), here).unwrap_err();
    assert_eq!(error.code(), ErrorCode::VaultUnreadable);
    let elsewhere = Secret::new("REF9").fingerprint();
    replay_answer(scene.refresher.inner(), elsewhere).unwrap();
    replay(&scene.refresher).unwrap_err();
}
