use std::fs;
use std::path::Path;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{ProfileId, ProviderId};
use crate::secret::Secret;
use crate::store::credential::{NewCredential, NewSecret, NewTokens, RefreshedFields};

const TWO_LOGINS: &str = r#"{
  "version": 1,
  "profiles": {
    "p:a": {
      "type": "oauth",
      "provider": "p",
      "access": "A0",
      "refresh": "R0",
      "expires": 1
    },
    "p:b": {
      "type": "token",
      "provider": "p",
      "token": "T",
      "unknown": 1.0
    }
  }
}
"#;

/// An agent directory, its store and its lock.
struct Agent {
    store: AgentStore,
    lock: StoreLock,
    /// Last, so that the lock is released while it is still there.
    directory: tempfile::TempDir,
}

impl Agent {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: AgentStore::new(directory.path()),
            lock: StoreLock::for_test(directory.path()),
            directory,
        }
    }

    fn with(profiles: &str) -> Self {
        let agent = Self::new();
        agent.write(PROFILES_FILE, profiles);
        agent
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.directory.path().join(name), content).unwrap();
    }

    fn content(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.path().join(name)).ok()
    }

    /// What lies in the directory, besides the lock.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }

    fn update(&self, edit: impl FnOnce(&mut Document, &mut StateEdit) -> Result<()>) -> Result<Revision> {
        self.store.update(&self.lock, edit).map(|((), revision)| revision)
    }

    fn refresh(&self) -> Result<Revision> {
        self.update(|document, _| document.replace_tokens(&id("p:a"), &tokens(), RefreshedFields::Stored))
    }
}

fn id(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn provider(text: &str) -> ProviderId {
    ProviderId::parse(text).unwrap()
}

fn tokens() -> NewTokens {
    NewTokens {
        access: Secret::new("A1"),
        refresh: Some(Secret::new("R1")),
        expires: Timestamp::from_millis(2),
        id_token: None,
        account_id: None,
        plan: None,
        email: None,
    }
}

fn api_key() -> NewCredential {
    NewCredential {
        provider: provider("p"),
        secret: NewSecret::ApiKey {
            key: Secret::new("K"),
            email: None,
        },
        display_name: None,
    }
}

#[test]
fn a_missing_store_reads_as_empty() {
    let agent = Agent::new();
    for store in [
        agent.store.clone(),
        AgentStore::new(agent.directory.path().join("none")),
    ] {
        let content = store.read().unwrap();
        assert!(!content.exists);
        assert!(content.document.is_same(&Document::empty()));
        assert_eq!(content.state, AuthState::default());
        assert_eq!(content.revision, store.revision());
        assert!(content.state_error.is_none());
    }
}

#[test]
fn a_refresh_changes_the_tokens_and_the_revision() {
    let agent = Agent::with(TWO_LOGINS);
    let before = agent.store.read().unwrap();
    let revision = agent.refresh().unwrap();
    assert_eq!(
        agent.content(PROFILES_FILE).unwrap(),
        TWO_LOGINS
            .replace("A0", "A1")
            .replace("R0", "R1")
            .replace("\"expires\": 1", "\"expires\": 2")
    );
    assert_ne!(revision, before.revision);
    // Kalit recognises its own write by this.
    assert_eq!(agent.store.read().unwrap().revision, revision);
    assert_eq!(agent.store.revision(), revision);
    assert_eq!(agent.names(), [PROFILES_FILE]);
}

#[test]
fn the_first_credential_makes_the_file() {
    let agent = Agent::new();
    agent
        .update(|document, _| document.put(&id("p:k"), &api_key()))
        .unwrap();
    assert_eq!(
        agent.content(PROFILES_FILE).unwrap(),
        "{\n  \"version\": 1,\n  \"profiles\": {\n    \"p:k\": {\n      \"type\": \"api_key\",\n      \
         \"provider\": \"p\",\n      \"key\": \"K\"\n    }\n  }\n}\n"
    );
}

#[test]
fn an_edit_that_changes_nothing_writes_nothing() {
    // Formatted unlike Kalit would: only a write would show.
    let agent = Agent::with(r#"{"profiles":{"p:a":{"type":"odd"}}}"#);
    agent.write(STATE_FILE, r#"{"version":1,"order":{}}"#);
    let before = agent.store.revision();
    let same = agent.update(|document, state| {
        state.clear_order(&provider("p"));
        document.put(&id("x"), &api_key())?;
        document.remove(&id("x"))
    });
    assert_eq!(same.unwrap(), before);
    let empty = Agent::new();
    empty.update(|_, _| Ok(())).unwrap();
    assert!(empty.names().is_empty());
}

#[cfg(unix)]
#[test]
fn an_edit_that_changes_nothing_still_repairs_the_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let agent = Agent::with(TWO_LOGINS);
    let path = agent.store.profiles_path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    agent.update(|_, _| Ok(())).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_failed_edit_writes_nothing() {
    let agent = Agent::with(TWO_LOGINS);
    let error = agent
        .update(|document, state| {
            document.remove(&id("p:a"))?;
            state.set_order(&provider("p"), &[id("p:b")]);
            Err(Error::new(ErrorCode::ProfileExists, "no"))
        })
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProfileExists);
    assert_eq!(agent.content(PROFILES_FILE).unwrap(), TWO_LOGINS);
}

#[test]
fn broken_files_are_reported_and_never_overwritten() {
    let cases: [(&str, ErrorCode); 9] = [
        ("", ErrorCode::StoreUnparsable),
        ("{\"version\":1,\"profiles\":{", ErrorCode::StoreUnparsable),
        ("{\"profiles\":{},}", ErrorCode::StoreUnparsable),
        ("\u{feff}{\"profiles\":{}}", ErrorCode::StoreUnparsable),
        ("[]", ErrorCode::StoreWrongShape),
        ("null", ErrorCode::StoreWrongShape),
        ("{\"profiles\":[]}", ErrorCode::StoreWrongShape),
        (
            "{\"profiles\":{\"p:k\":1,\"p:k\":{}}}",
            ErrorCode::StoreDuplicateKeys,
        ),
        ("{\"profiles\":{},\"x\":\"\\ud800\"}", ErrorCode::StoreUnparsable),
    ];
    for (text, code) in cases {
        let agent = Agent::with(text);
        let edit = |document: &mut Document, _: &mut StateEdit| document.put(&id("p:new"), &api_key());
        let error = agent.update(edit).unwrap_err();
        assert_eq!(error.code(), code, "{text}");
        assert!(error.message().contains(PROFILES_FILE), "{error:?}");
        assert_eq!(agent.content(PROFILES_FILE).unwrap(), text);
        assert_eq!(agent.names(), [PROFILES_FILE]);
        // Those that JavaScript reads as well are shown, and say why they cannot be written.
        match agent.store.read() {
            Ok(content) => assert_eq!(content.document.flaw().unwrap().code(), code),
            Err(error) => assert_eq!(error.code(), code),
        }
    }
}

#[test]
fn a_store_of_sixteen_megabytes_is_refused() {
    let agent = Agent::with(TWO_LOGINS);
    let file = fs::File::options()
        .write(true)
        .open(agent.store.profiles_path())
        .unwrap();
    file.set_len(16_000_000).unwrap();
    assert_eq!(agent.store.read().unwrap_err().code(), ErrorCode::StoreTooLarge);
    assert_eq!(agent.refresh().unwrap_err().code(), ErrorCode::StoreTooLarge);
    assert_eq!(file.metadata().unwrap().len(), 16_000_000);
}

#[test]
fn a_file_that_somebody_is_writing_is_read_when_it_is_whole() {
    let agent = Agent::with("");
    let path = agent.store.profiles_path();
    let content = std::thread::scope(|scope| {
        let reader = scope.spawn(|| agent.store.read());
        // As OpenClaw before 2026.4.9 does it: truncate, then fill.
        for end in [TWO_LOGINS.len() / 2, TWO_LOGINS.len()] {
            fs::write(&path, &TWO_LOGINS[..end]).unwrap();
        }
        reader.join().unwrap()
    });
    assert_eq!(content.unwrap().document.profiles().count(), 2);
}

#[test]
fn a_removed_profile_vanishes_from_both_files() {
    let agent = Agent::with(
        r#"{"profiles":{"p:a":1,"p:b":2},"order":{"p":["p:a"]},"usageStats":{"p:a":{},"p:b":{}}}"#,
    );
    agent.write(
        STATE_FILE,
        r#"{"version":1,"order":{"p":["p:a","p:b"]},"lastGood":{"p":"p:a"},"usageStats":{"p:a":{"lastUsed":1}}}"#,
    );
    agent.update(|document, _| document.remove(&id("p:a"))).unwrap();
    assert_eq!(
        agent.content(PROFILES_FILE).unwrap(),
        "{\n  \"profiles\": {\n    \"p:b\": 2\n  },\n  \"usageStats\": {\n    \"p:b\": {}\n  }\n}\n"
    );
    assert_eq!(
        agent.content(STATE_FILE).unwrap(),
        "{\n  \"version\": 1,\n  \"order\": {\n    \"p\": [\n      \"p:b\"\n    ]\n  }\n}\n"
    );
}

#[test]
fn auth_state_is_deleted_only_when_this_edit_emptied_it() {
    let agent = Agent::with(TWO_LOGINS);
    agent.write(STATE_FILE, r#"{"version":1,"usageStats":{"p:b":{"lastUsed":1}}}"#);
    agent.update(|document, _| document.remove(&id("p:b"))).unwrap();
    assert_eq!(agent.content(STATE_FILE), None);

    let blank = r#"{"version":1}"#;
    agent.write(STATE_FILE, blank);
    agent.refresh().unwrap();
    assert_eq!(agent.content(STATE_FILE).as_deref(), Some(blank));
}

#[test]
fn the_order_file_follows_the_release_and_what_lies_there() {
    let set = |agent: &Agent, store: &AgentStore| {
        store
            .update(&agent.lock, |_, state| {
                state.set_order(&provider("P"), &[id("p:b"), id("p:a")]);
                Ok(())
            })
            .unwrap();
    };
    let order = "\"order\": {\n    \"p\": [\n      \"p:b\",\n      \"p:a\"\n    ]\n  }\n}\n";

    // No release known, no auth-state.json: the old place.
    let agent = Agent::with(TWO_LOGINS);
    assert_eq!(agent.store.order_path(), agent.store.profiles_path());
    set(&agent, &agent.store);
    assert!(agent.content(PROFILES_FILE).unwrap().ends_with(order));
    assert_eq!(agent.names(), [PROFILES_FILE]);

    // A release from 2026.4.9 on is known.
    let agent = Agent::with(TWO_LOGINS);
    let store = agent.store.clone().with_order_file(OrderFile::State);
    assert_eq!(store.order_path(), store.state_path());
    set(&agent, &store);
    assert_eq!(agent.content(PROFILES_FILE).unwrap(), TWO_LOGINS);
    assert_eq!(
        agent.content(STATE_FILE).unwrap(),
        format!("{{\n  \"version\": 1,\n  {order}")
    );

    // It exists: that says enough.
    let agent = Agent::with(TWO_LOGINS);
    agent.write(STATE_FILE, r#"{"version":1}"#);
    assert_eq!(agent.store.order_path(), agent.store.state_path());
    set(&agent, &agent.store);
    assert_eq!(agent.content(PROFILES_FILE).unwrap(), TWO_LOGINS);
    assert_eq!(
        agent.store.read().unwrap().state.order,
        [(provider("p"), vec![id("p:b"), id("p:a")])].into()
    );
}

#[test]
fn a_broken_auth_state_stops_what_concerns_it_and_nothing_else() {
    let agent = Agent::with(TWO_LOGINS);
    let broken = "{\"version\":1,";
    agent.write(STATE_FILE, broken);
    let content = agent.store.read().unwrap();
    assert_eq!(content.state_error.unwrap().code(), ErrorCode::StoreUnparsable);
    assert_eq!(content.document.profiles().count(), 2);

    // A rotated token must get to disk.
    agent.refresh().unwrap();
    let refreshed = agent.content(PROFILES_FILE).unwrap();
    assert!(refreshed.contains("R1"));

    let order = agent.update(|_, state| {
        state.set_order(&provider("p"), &[id("p:a")]);
        Ok(())
    });
    assert_eq!(order.unwrap_err().code(), ErrorCode::StoreUnparsable);
    let removal = agent.update(|document, _| document.remove(&id("p:a")));
    assert_eq!(removal.unwrap_err().code(), ErrorCode::StoreUnparsable);
    assert_eq!(agent.content(PROFILES_FILE).unwrap(), refreshed);
    assert_eq!(agent.content(STATE_FILE).as_deref(), Some(broken));
}

#[test]
fn a_write_without_the_lock_in_the_meantime_is_not_lost() {
    let agent = Agent::with(TWO_LOGINS);
    let theirs = TWO_LOGINS.replace("R0", "R9");
    let error = agent
        .update(|document, _| {
            // OpenClaw 2026.2.17 signs in without taking the lock.
            agent.write(PROFILES_FILE, &theirs);
            document.put(&id("p:k"), &api_key())
        })
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreChanged);
    assert_eq!(agent.content(PROFILES_FILE).unwrap(), theirs);
    assert_eq!(agent.names(), [PROFILES_FILE]);
}

#[test]
fn a_write_that_something_else_replaced_at_once_is_unconfirmed() {
    let agent = Agent::new();
    let path = agent.store.profiles_path();
    let confirm = |write: &Write| write.confirm(&path, &FileBytes::read(&path));
    let content = Write::Content(b"ours".to_vec());
    content.carry_out(&path, &FileBytes::Missing).unwrap();
    confirm(&content).unwrap();
    agent.write(PROFILES_FILE, "theirs");
    assert_eq!(confirm(&content).unwrap_err().code(), ErrorCode::StoreUnconfirmed);
    assert_eq!(
        confirm(&Write::Deletion).unwrap_err().code(),
        ErrorCode::StoreUnconfirmed
    );
    confirm(&Write::Nothing).unwrap();
    Write::Deletion
        .carry_out(&path, &FileBytes::Present(b"theirs".to_vec()))
        .unwrap();
    confirm(&Write::Deletion).unwrap();
    assert_eq!(confirm(&content).unwrap_err().code(), ErrorCode::StoreUnconfirmed);
}

#[test]
fn when_only_the_second_file_fails_the_error_says_so() {
    let agent = Agent::with(TWO_LOGINS);
    agent.write(STATE_FILE, r#"{"version":1,"usageStats":{"p:b":{}}}"#);
    let error = agent
        .update(|document, _| {
            agent.write(STATE_FILE, "{}");
            document.remove(&id("p:b"))
        })
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreChanged);
    assert!(
        error
            .message()
            .starts_with("the accounts were written, but not their order: ")
    );
    assert!(!agent.content(PROFILES_FILE).unwrap().contains("p:b"));
}

#[test]
fn the_lock_of_another_directory_opens_nothing() {
    let agent = Agent::with(TWO_LOGINS);
    let other = Agent::with(TWO_LOGINS);
    for store in [
        &other.store,
        &AgentStore::new(agent.directory.path().join("none")),
    ] {
        let error = store.update(&agent.lock, |_, _| Ok(())).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Internal);
        let error = store.remove_leftovers(&agent.lock).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Internal);
    }
    // Two spellings of one directory are the same directory.
    let roundabout = AgentStore::new(agent.directory.path().join("."));
    roundabout.update(&agent.lock, |_, _| Ok(())).unwrap();
}

#[test]
fn nothing_is_written_beside_the_database_of_a_later_openclaw() {
    let agent = Agent::new();
    agent.write(SQLITE_FILE, "");
    let put = |document: &mut Document, _: &mut StateEdit| document.put(&id("p:k"), &api_key());
    assert_eq!(agent.update(put).unwrap_err().code(), ErrorCode::EraSqlite);
    assert_eq!(agent.names(), [SQLITE_FILE]);

    agent.write(PROFILES_FILE, TWO_LOGINS);
    assert_eq!(agent.refresh().unwrap_err().code(), ErrorCode::EraMixed);
    assert_eq!(agent.content(PROFILES_FILE).unwrap(), TWO_LOGINS);
}

#[test]
fn leftovers_are_removed_under_the_lock() {
    let agent = Agent::with(TWO_LOGINS);
    for name in [PROFILES_FILE, STATE_FILE] {
        agent.write(&format!("{name}.0123456789abcdef0123456789abcdef.kalit.tmp"), "x");
    }
    agent.store.remove_leftovers(&agent.lock).unwrap();
    assert_eq!(agent.names(), [PROFILES_FILE]);
}

#[cfg(unix)]
#[test]
fn a_missing_agent_directory_is_made_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let agent_dir = parent.path().join("agents/work/agent");
    let store = AgentStore::new(&agent_dir);
    store.create_dir().unwrap();
    store.create_dir().unwrap();
    for dir in [agent_dir.as_path(), agent_dir.parent().unwrap()] {
        let mode = fs::metadata(dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    fs::write(parent.path().join("file"), "").unwrap();
    for dir in ["file", "file/agent"] {
        let error = AgentStore::new(parent.path().join(dir)).create_dir().unwrap_err();
        assert_eq!(error.code(), ErrorCode::StoreNotAFile);
    }
}

#[test]
fn revisions_tell_every_state_of_the_files_apart() {
    let agent = Agent::new();
    let profiles = agent.store.profiles_path();
    let mut seen = vec![agent.store.revision()];
    let mut note = |agent: &Agent| {
        let revision = agent.store.revision();
        assert_eq!(revision, agent.store.revision());
        assert!(!seen.contains(&revision));
        seen.push(revision);
    };
    agent.write(PROFILES_FILE, "");
    note(&agent);
    agent.write(PROFILES_FILE, TWO_LOGINS);
    note(&agent);
    agent.write(STATE_FILE, "{}");
    note(&agent);
    agent.write(PROFILES_FILE, "{}");
    agent.write(STATE_FILE, TWO_LOGINS);
    note(&agent);
    fs::remove_file(&profiles).unwrap();
    note(&agent);
    fs::create_dir(&profiles).unwrap();
    note(&agent);
}

#[test]
fn every_kind_of_unusable_store_has_its_code() {
    let agent = Agent::new();
    let path: &Path = &agent.store.profiles_path();
    fs::create_dir(path).unwrap();
    assert_eq!(agent.store.read().unwrap_err().code(), ErrorCode::StoreNotAFile);
    assert_eq!(agent.refresh().unwrap_err().code(), ErrorCode::StoreNotAFile);
    fs::remove_dir(path).unwrap();
    #[cfg(unix)]
    for to in ["nothing", PROFILES_FILE] {
        std::os::unix::fs::symlink(to, path).unwrap();
        assert_eq!(agent.store.read().unwrap_err().code(), ErrorCode::StoreSymlink);
        assert_eq!(agent.refresh().unwrap_err().code(), ErrorCode::StoreSymlink);
        assert!(fs::symlink_metadata(path).unwrap().is_symlink());
        fs::remove_file(path).unwrap();
    }
}
