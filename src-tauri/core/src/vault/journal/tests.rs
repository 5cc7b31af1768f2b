use super::*;

fn generation(name: &str) -> Fingerprint {
    Secret::new(name).fingerprint()
}

fn holder(agent_dir: &str) -> EntryHolder {
    EntryHolder {
        agent_dir: PathBuf::from(agent_dir),
        provider: ProviderId::parse("openai-codex").unwrap(),
        profile_id: ProfileId::parse("openai-codex:me@example.com").unwrap(),
    }
}

fn received(number: u32) -> Received {
    Received {
        access_token: Secret::new(format!("ACC{number}")),
        refresh_token: Some(Secret::new(format!("REF{number}"))),
        id_token: None,
        expires_in: Some(3600),
    }
}

fn record(journal: &Journal, sent: &str, number: u32, at: i64) -> Entry {
    let family = Family::begun_by(generation("REF0"));
    let room = journal.reserve(family, generation(sent)).unwrap();
    let (entry, written) = journal.record(
        room,
        "/home/ann/.openclaw",
        vec![holder("/home/ann/.openclaw/agents/main/agent")],
        received(number),
        Timestamp::from_millis(at),
    );
    written.unwrap();
    entry
}

#[test]
fn an_entry_is_on_disk_as_documented_and_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    assert_eq!(journal.entries().unwrap().entries.len(), 0);
    assert!(!journal.dir().exists());
    let entry = record(&journal, "REF0", 1, 1_700_000_000_123);

    let text = fs::read_to_string(entry.path()).unwrap();
    assert_eq!(
        text,
        format!(
            "{{\"version\":1,\"installation\":\"/home/ann/.openclaw\",\"holders\":[{{\"agentDir\":\
             \"/home/ann/.openclaw/agents/main/agent\",\"provider\":\"openai-codex\",\"profileId\":\
             \"openai-codex:me@example.com\"}}],\"sent\":\"{}\",\"received\":{{\"access_token\":\"ACC1\",\
             \"refresh_token\":\"REF1\",\"expires_in\":3600}},\"at\":1700000000123}}\n",
            generation("REF0")
        )
    );
    let found = Journal::open(dir.path()).entries().unwrap();
    assert_eq!(found.unreadable, []);
    let [loaded] = &found.entries[..] else {
        panic!("{found:?}")
    };
    assert_eq!(loaded.installation, entry.installation);
    assert_eq!(loaded.question, entry.question);
    assert_eq!(loaded.at, entry.at);
    assert_eq!(loaded.received.access_token.expose(), "ACC1");
    assert_eq!(loaded.received.refresh_token.as_ref().unwrap().expose(), "REF1");
    assert!(loaded.received.id_token.is_none());
    assert_eq!(loaded.received.expires_in, Some(3600));
    let debug = format!("{loaded:?}");
    assert!(!debug.contains("ACC1") && !debug.contains("REF1"), "{debug}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(entry.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_sign_in_is_on_disk_as_documented_and_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    let asked = AskedSignIn {
        provider: ProviderId::parse("openai").unwrap(),
        agent: AgentId::main(),
        profile_id: None,
        token_url: "https://auth.openai.com/oauth/token".to_owned(),
    };
    let at = Timestamp::from_millis(1_700_000_000_123);
    let entry = journal
        .record_sign_in("/home/ann/.openclaw", asked.clone(), received(1), at)
        .unwrap();
    let name = format!("sign-in-{}.json", generation("REF1").short());
    assert_eq!(entry.path(), journal.dir().join(name));
    assert_eq!(
        fs::read_to_string(entry.path()).unwrap(),
        "{\"version\":1,\"installation\":\"/home/ann/.openclaw\",\"holders\":[],\"signIn\":{\"provider\":\
         \"openai\",\"agent\":\"main\",\"tokenUrl\":\"https://auth.openai.com/oauth/token\"},\"received\":\
         {\"access_token\":\"ACC1\",\"refresh_token\":\"REF1\",\"expires_in\":3600},\"at\":1700000000123}\n"
    );
    let chosen = AskedSignIn {
        profile_id: ProfileId::parse("openai:work"),
        ..asked.clone()
    };
    journal
        .record_sign_in(
            "/home/ann/.openclaw",
            chosen.clone(),
            received(2),
            at.plus_millis(1),
        )
        .unwrap();
    let found = journal.entries().unwrap();
    let asked_for: Vec<_> = found.entries.iter().map(|entry| entry.question.clone()).collect();
    assert_eq!(asked_for, [Question::SignIn(asked), Question::SignIn(chosen)]);
    journal.discharge(entry).unwrap();
    assert_eq!(journal.entries().unwrap().entries.len(), 1);
}

#[test]
fn a_turn_is_taken_by_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    let turn = journal.turn().unwrap();
    assert!(journal.try_turn().unwrap().is_none());
    drop(turn);
    assert!(journal.try_turn().unwrap().is_some());
}

#[test]
fn discharging_removes_exactly_that_entry() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    let second = record(&journal, "REF1", 2, 20);
    let first = record(&journal, "REF0", 1, 10);
    let order: Vec<_> = journal.entries().unwrap().entries.iter().map(|e| e.at).collect();
    assert_eq!(order, [first.at, second.at]);
    journal.discharge(first.clone()).unwrap();
    journal.discharge(first).unwrap();
    let left = journal.entries().unwrap().entries;
    let left: Vec<_> = left.into_iter().map(|entry| entry.question).collect();
    assert_eq!(left, [second.question]);
}

#[test]
fn a_second_answer_to_the_same_generation_is_not_discharged_with_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    let first = record(&journal, "REF0", 1, 10);
    let second = record(&journal, "REF0", 2, 70);
    journal.discharge(first).unwrap();
    let left = journal.entries().unwrap().entries;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].received.access_token.expose(), "ACC2");
    journal.discharge(second).unwrap();
    assert_eq!(journal.entries().unwrap().entries.len(), 0);
}

#[test]
fn unreadable_entries_are_reported_without_content_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    let good = record(&journal, "REF0", 1, 10);
    let put = |name: &str, text: &str| {
        let path = journal.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let truncated = put("a.json", "{\"version\":1,\"received\":{\"access_token\":\"ACC9");
    let empty = put("b.json", "");
    let wrong = put(
        "c.json",
        "{\"version\":1,\"installation\":\"/s\",\"holders\":\"ACC9\"}",
    );
    let later = put(
        "d.json",
        &fs::read_to_string(good.path())
            .unwrap()
            .replace("\"version\":1", "\"version\":2"),
    );
    let text = fs::read_to_string(good.path()).unwrap();
    let neither = put("e.json", &text.replace("\"sent\"", "\"sentence\""));
    put(".x.json.0123.kalit.tmp", "{");
    put("notes.txt", "mine");
    let found = journal.entries().unwrap();
    assert_eq!(found.entries.len(), 1);
    let paths: Vec<_> = found.unreadable.iter().map(|u| u.path.clone()).collect();
    assert_eq!(paths, [truncated, empty, wrong, later, neither]);
    assert_eq!(found.unreadable[3].reason, "a journal entry of version 2");
    assert!(!format!("{found:?}").contains("ACC9"));
    assert!(paths.iter().all(|path| path.exists()));
}

#[test]
fn an_answer_that_cannot_be_kept_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in the way");
    fs::write(&file, "x").unwrap();
    let family = Family::begun_by(generation("REF0"));
    let refused = Journal::open(&file).reserve(family, generation("REF0"));
    assert_eq!(
        refused.err().map(|error| error.code()),
        Some(ErrorCode::VaultFailed)
    );

    let journal = Journal::open(dir.path());
    let room = journal.reserve(family, generation("REF0")).unwrap();
    fs::remove_dir_all(journal.dir()).unwrap();
    fs::write(journal.dir(), "in the way").unwrap();
    let at = Timestamp::from_millis(0);
    let (entry, written) = journal.record(room, "/s", vec![], received(1), at);
    let error = written.unwrap_err();
    assert_eq!(error.code(), ErrorCode::VaultFailed);
    assert!(!format!("{error:?}").contains("ACC1"));
    fs::remove_file(journal.dir()).unwrap();
    entry.write().unwrap();
    assert_eq!(journal.entries().unwrap().entries.len(), 1);
}

#[test]
fn room_is_taken_before_the_answer_and_given_back_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    let lengths = || -> Vec<u64> {
        let files = fs::read_dir(journal.dir()).unwrap().flatten();
        files.map(|file| file.metadata().unwrap().len()).collect()
    };
    let family = Family::begun_by(generation("REF0"));
    let room = journal.reserve(family, generation("REF0")).unwrap();
    assert_eq!(lengths(), [ROOM as u64]);
    assert_eq!(journal.entries().unwrap().entries.len(), 0);
    drop(room);
    assert!(lengths().is_empty());
    record(&journal, "REF0", 1, 1);
    let text = fs::read(journal.entries().unwrap().entries[0].path()).unwrap();
    assert_eq!(lengths(), [text.len() as u64]);
}

#[test]
fn an_answer_whose_room_is_gone_is_kept_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path());
    let room = journal
        .reserve(Family::begun_by(generation("REF0")), generation("REF0"))
        .unwrap();
    for file in fs::read_dir(journal.dir()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let at = Timestamp::from_millis(0);
    journal.record(room, "/s", vec![], received(1), at).1.unwrap();
    assert_eq!(journal.entries().unwrap().entries.len(), 1);
}

#[test]
fn leftover_temporary_files_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("agent");
    fs::create_dir(&agent).unwrap();
    let left = agent.join(".auth-profiles.json.17.kalit.tmp");
    fs::write(&left, "{}").unwrap();
    fs::write(agent.join("auth-profiles.json"), "{}").unwrap();
    fs::write(agent.join("auth-profiles.json.uuid.tmp"), "{}").unwrap();
    let found = leftover_temp_files(&[agent.clone(), dir.path().join("missing"), agent]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, left);
    assert!(found[0].modified.unwrap() > Timestamp::from_millis(1_600_000_000_000));
}
