use std::fs;

use super::*;
use crate::ids::{ProfileId, ProviderId};
use crate::secret::Secret;
use crate::store::FenceKind;

/// 2026.7.1's agent database as far as credentials go (observed).
const AGENT_7_1: &str = "PRAGMA user_version = 1;
    CREATE TABLE schema_meta(meta_key TEXT NOT NULL PRIMARY KEY, role TEXT NOT NULL, schema_version INTEGER NOT NULL,
      agent_id TEXT, app_version TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
    INSERT INTO schema_meta VALUES('primary','agent',1,'main','2026.7.1',1,1);
    CREATE TABLE auth_profile_store(store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL);
    CREATE TABLE auth_profile_state(state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL);";
/// 2026.9.6's.
const AGENT_9_6: &str = "PRAGMA user_version = 23;
    CREATE TABLE auth_profile_store(store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
    CREATE TABLE auth_profile_state(state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;";
/// 2026.9.6's shared database.
const SHARED_9_6: &str = "PRAGMA user_version = 18;
    CREATE TABLE config_machine_state(state_key TEXT NOT NULL PRIMARY KEY, value_json TEXT NOT NULL, updated_at_ms INTEGER NOT NULL) STRICT;";
const STORE: &str = r#"{"version":1,"profiles":{"openai:me":{"type":"oauth","provider":"openai","access":"ACC0","refresh":"REF0","expires":1790000000000,"email":"me@example.com"},"anthropic:key":{"type":"api_key","provider":"anthropic","key":"sk-fake"}}}"#;
const STATE: &str = r#"{"version":1,"order":{"openai":["openai:me"]},"lastGood":{"openai":"openai:me"},"usageStats":{"openai:me":{"lastUsed":5}}}"#;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("state")).unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A database in WAL mode, as OpenClaw makes them, with its writer still there.
    fn database(&self, path: &Path, schema: &str) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch(schema).unwrap();
        connection
    }

    fn agent(&self, schema: &str) -> Connection {
        self.database(&agent_database(self.path()), schema)
    }

    fn shared(&self, schema: &str) -> Connection {
        self.database(&shared_database(self.path()), schema)
    }

    fn names(&self) -> Vec<String> {
        let listing = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = listing
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn put_store(connection: &Connection, json: &str) {
    connection
        .execute(
            "INSERT OR REPLACE INTO auth_profile_store VALUES ('primary', ?1, 1700)",
            [json],
        )
        .unwrap();
}

fn put_state(connection: &Connection, json: &str) {
    connection
        .execute(
            "INSERT OR REPLACE INTO auth_profile_state VALUES ('primary', ?1, 1700)",
            [json],
        )
        .unwrap();
}

fn put_shared(connection: &Connection, key: &str, json: &str) {
    connection
        .execute(
            "INSERT OR REPLACE INTO config_machine_state VALUES (?1, ?2, 1800)",
            [key, json],
        )
        .unwrap();
}

fn id(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn ids(read: &Read) -> Vec<String> {
    let profiles = read.content.document.profiles();
    profiles.map(|(id, _)| id.to_string()).collect()
}

fn code<T: std::fmt::Debug>(read: Result<T>) -> ErrorCode {
    read.unwrap_err().code()
}

#[test]
fn a_store_is_read_with_its_state_in_both_schemas() {
    for schema in [AGENT_7_1, AGENT_9_6] {
        let place = Place::new();
        let writer = place.agent(schema);
        put_store(&writer, STORE);
        put_state(&writer, STATE);
        // Nothing was checkpointed: the rows stand in the log only.
        let read = read_agent(place.path()).unwrap();
        assert_eq!(ids(&read), ["openai:me", "anthropic:key"]);
        let openai = ProviderId::parse("openai").unwrap();
        assert_eq!(read.content.state.order[&openai], [id("openai:me")]);
        assert_eq!(
            read.content.state.usage_stats[&id("openai:me")].last_used,
            Some(Timestamp::from_millis(5))
        );
        let credential = read.content.document.credential(&id("openai:me")).unwrap();
        assert_eq!(credential.generation(), Some(Secret::new("REF0").fingerprint()));
        assert_eq!(read.content.written_at, Some(Timestamp::from_millis(1700)));
        assert!(read.content.exists && read.content.state_error.is_none());
        assert_eq!(read.untested_schema, None);
    }
}

#[test]
fn reading_leaves_no_file_behind_and_sees_the_next_commit() {
    let place = Place::new();
    let writer = place.agent(AGENT_9_6);
    put_store(&writer, STORE);
    let first = read_agent(place.path()).unwrap().content.revision;
    put_store(&writer, &STORE.replace("REF0", "REF1"));
    let second = read_agent(place.path()).unwrap().content;
    assert_ne!(first, second.revision);
    let credential = second.document.credential(&id("openai:me")).unwrap();
    assert_eq!(credential.generation(), Some(Secret::new("REF1").fingerprint()));
    // The last connection empties and removes the log.
    drop(writer);
    assert_eq!(place.names(), ["openclaw-agent.sqlite", "state"]);
    let third = read_agent(place.path()).unwrap().content;
    assert_eq!(third.revision, second.revision);
    assert_eq!(place.names(), ["openclaw-agent.sqlite", "state"]);
}

#[test]
fn a_missing_database_is_a_store_that_does_not_exist_and_is_not_made() {
    let place = Place::new();
    let read = read_agent(place.path()).unwrap();
    assert!(!read.content.exists && ids(&read).is_empty());
    let shared = read_shared(place.path()).unwrap();
    assert_eq!(shared.location, SharedLocation::LegacyMain);
    assert!(!shared.store.content.exists);
    assert_eq!(place.names(), ["state"]);
}

#[test]
fn the_owner_row_decides_where_the_shared_store_lies() {
    let place = Place::new();
    let writer = place.shared(SHARED_9_6);
    put_shared(&writer, "authProfiles.store", STORE);
    put_shared(&writer, "authProfiles.state", STATE);
    let location = || read_shared(place.path()).unwrap().location;
    assert_eq!(location(), SharedLocation::LegacyMain);
    put_shared(&writer, "auth.sharedStore", r#"{"location":"legacy-main"}"#);
    assert_eq!(location(), SharedLocation::LegacyMain);
    put_shared(&writer, "auth.sharedStore", r#"{"location":"state-db"}"#);
    let shared = read_shared(place.path()).unwrap();
    assert_eq!(shared.location, SharedLocation::StateDatabase);
    assert_eq!(ids(&shared.store), ["openai:me", "anthropic:key"]);
    assert_eq!(shared.store.content.state.order.len(), 1);
    for wrong in [
        r#"{"location":"cloud"}"#,
        r#"{"location":"state-db","x":1}"#,
        r#""state-db""#,
    ] {
        put_shared(&writer, "auth.sharedStore", wrong);
        assert_eq!(
            code(read_shared(place.path())),
            ErrorCode::StoreWrongShape,
            "{wrong}"
        );
    }
}

#[test]
fn the_look_alike_tables_of_2026_7_1_are_no_shared_store() {
    let place = Place::new();
    place.shared(
        "PRAGMA user_version = 1; CREATE TABLE auth_profile_stores(x); CREATE TABLE auth_profile_state(x);",
    );
    let shared = read_shared(place.path()).unwrap();
    assert_eq!(shared.location, SharedLocation::LegacyMain);
    assert!(!shared.store.content.exists);
}

#[test]
fn a_cell_that_cannot_be_read_is_told_and_not_taken_for_empty() {
    let place = Place::new();
    let writer = place.agent(AGENT_9_6);
    for (json, expected) in [
        (
            r#"{"version":1,"profiles":{"openai:me":{"type":"#,
            ErrorCode::StoreUnparsable,
        ),
        ("", ErrorCode::StoreUnparsable),
        ("[]", ErrorCode::StoreWrongShape),
        (r#"{"profiles":[]}"#, ErrorCode::StoreWrongShape),
    ] {
        put_store(&writer, json);
        let error = read_agent(place.path()).unwrap_err();
        assert_eq!(error.code(), expected, "{json}");
        assert!(
            error.message().contains("row primary of auth_profile_store"),
            "{error}"
        );
    }
    put_store(&writer, STORE);
    put_state(&writer, "{");
    let read = read_agent(place.path()).unwrap();
    assert_eq!(ids(&read).len(), 2);
    let error = read.content.state_error.unwrap();
    assert_eq!(error.code(), ErrorCode::StoreUnparsable);
    assert!(
        error.message().contains("row primary of auth_profile_state"),
        "{error}"
    );
}

#[test]
fn a_cell_that_is_not_text_is_told() {
    let place = Place::new();
    let writer = place.agent(AGENT_7_1);
    writer
        .execute(
            "INSERT INTO auth_profile_store VALUES ('primary', x'00ff', 1)",
            [],
        )
        .unwrap();
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreWrongShape);
}

#[test]
fn what_is_no_database_and_what_is_damaged_is_told() {
    let place = Place::new();
    let path = agent_database(place.path());
    fs::write(&path, "garbage ".repeat(600)).unwrap();
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreCorrupt);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreNotAFile);
    fs::remove_dir(&path).unwrap();

    put_store(&place.agent(AGENT_7_1), STORE);
    let mut bytes = fs::read(&path).unwrap();
    let after_header = bytes.len().min(100);
    bytes[after_header..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreCorrupt);
}

#[test]
fn a_database_locked_by_another_connection_is_busy_and_not_empty() {
    let place = Place::new();
    let path = agent_database(place.path());
    let writer = place.agent(AGENT_9_6);
    put_store(&writer, STORE);
    drop(writer);
    // Exclusive mode keeps even readers out, as during a recovery or a last checkpoint.
    let writer = Connection::open(&path).unwrap();
    writer.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    writer
        .execute("UPDATE auth_profile_store SET updated_at = 2", [])
        .unwrap();
    writer.execute_batch("COMMIT").unwrap();
    let error = read_agent(place.path()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreBusy, "{error}");
    drop(writer);
    assert_eq!(ids(&read_agent(place.path()).unwrap()).len(), 2);
}

#[test]
fn within_one_look_a_database_is_read_again_only_when_it_changed() {
    let place = Place::new();
    let writer = place.agent(AGENT_9_6);
    put_store(&writer, STORE);
    drop(writer);
    let look = OneLook::begin();
    for _ in 0..2 {
        assert_eq!(ids(&read_agent(place.path()).unwrap()).len(), 2);
    }
    // In the log, and then in the file.
    let writer = Connection::open(agent_database(place.path())).unwrap();
    put_store(&writer, r#"{"version":1,"profiles":{}}"#);
    assert_eq!(ids(&read_agent(place.path()).unwrap()).len(), 0);
    drop(writer);
    assert_eq!(ids(&read_agent(place.path()).unwrap()).len(), 0);
    drop(look);
}

#[test]
fn a_writing_transaction_of_another_connection_keeps_nobody_from_reading() {
    let place = Place::new();
    let writer = place.agent(AGENT_9_6);
    put_store(&writer, STORE);
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    put_store(&writer, r#"{"version":1,"profiles":{}}"#);
    assert_eq!(ids(&read_agent(place.path()).unwrap()).len(), 2);
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(ids(&read_agent(place.path()).unwrap()).len(), 0);
}

#[test]
fn a_newer_schema_is_read_while_its_rows_are_the_known_ones() {
    let place = Place::new();
    let writer = place.agent(AGENT_9_6);
    put_store(&writer, STORE);
    writer.pragma_update(None, "user_version", 24).unwrap();
    let read = read_agent(place.path()).unwrap();
    assert_eq!((ids(&read).len(), read.untested_schema), (2, Some(24)));
    put_store(&writer, r#"{"version":2,"accounts":{}}"#);
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreSchemaUnsupported);
    put_store(&writer, r#"{"version":2,"profiles":{"a:b":{"kind":"sealed"}}}"#);
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreSchemaUnsupported);
    writer
        .execute_batch("DROP TABLE auth_profile_store; CREATE TABLE auth_profile_store(id, blob)")
        .unwrap();
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreSchemaUnsupported);
    writer.execute_batch("DROP TABLE auth_profile_store").unwrap();
    assert_eq!(code(read_agent(place.path())), ErrorCode::StoreSchemaUnsupported);

    let shared = place.shared("PRAGMA user_version = 19; CREATE TABLE moved(x);");
    assert_eq!(code(read_shared(place.path())), ErrorCode::StoreSchemaUnsupported);
    drop(shared);
}

#[test]
fn a_fence_is_a_state_and_no_token() {
    let place = Place::new();
    let writer = place.agent(AGENT_9_6);
    let (claim, digest) = ("0123456789abcdef".repeat(2), "ab".repeat(32));
    let fence = |kind: &str| {
        format!(
            r#"{{"version":1,"profiles":{{"openai:me":{{"type":"oauth","provider":"openai","email":"me@example.com",
            "access":"openclaw-oauth-refresh-fence:v1:{claim}:{kind}access:{digest}",
            "refresh":"openclaw-oauth-refresh-fence:v1:{claim}:{kind}refresh:{digest}","expires":1}}}}}}"#
        )
    };
    for (kind, expected) in [("", FenceKind::Pending), ("failed:", FenceKind::Failed)] {
        put_store(&writer, &fence(kind));
        let read = read_agent(place.path()).unwrap();
        let credential = read.content.document.credential(&id("openai:me")).unwrap();
        let found = credential.fence().unwrap();
        assert_eq!((found.kind, &found.claim), (expected, &claim));
        assert_eq!(found.refresh.to_string(), digest);
        assert_eq!(credential.generation(), None);
        assert!(!credential.has_secret());
        let oauth = credential.as_oauth().unwrap();
        assert!(oauth.access.is_none() && oauth.refresh.is_none());
    }
    // Of another version: no state that Kalit knows, and still no token.
    put_store(&writer, &fence("").replace(":v1:", ":v2:"));
    let read = read_agent(place.path()).unwrap();
    let credential = read.content.document.credential(&id("openai:me")).unwrap();
    assert_eq!((credential.fence(), credential.generation()), (None, None));
    assert!(!credential.has_secret());
}
