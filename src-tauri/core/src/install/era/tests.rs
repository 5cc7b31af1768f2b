use rusqlite::Connection;

use super::*;
use crate::install::evidence::EvidenceSource;

fn evidence(newest: Option<&str>) -> Evidence {
    let version = newest.and_then(Version::parse);
    Evidence {
        sources: vec![EvidenceSource {
            what: "program on PATH".to_owned(),
            path: "/x".into(),
            version,
        }],
        newest: version,
        oldest: version,
    }
}

struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for dir in ["state", "agents/main/agent", "agents/work/agent"] {
            fs::create_dir_all(home.path().join(dir)).unwrap();
        }
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn store_dirs(&self) -> Vec<PathBuf> {
        vec![self.path("agents/main/agent"), self.path("agents/work/agent")]
    }

    fn database(&self, name: &str, sql: &str) -> Connection {
        let connection = Connection::open(self.path(name)).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch(sql).unwrap();
        connection
    }

    fn store(&self, agent: &str, text: &str) {
        fs::write(
            self.path(&format!("agents/{agent}/agent/auth-profiles.json")),
            text,
        )
        .unwrap();
    }

    fn era(&self, newest: Option<&str>) -> Era {
        let dirs = self.store_dirs();
        let markers = Markers::look(self.home.path(), &dirs);
        decide(&evidence(newest), &markers, &dirs)
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut dirs = vec![self.home.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }
}

fn why(era: Era) -> String {
    match era {
        Era::Sqlite { why } | Era::Mixed { why } => why,
        other => panic!("{other:?}"),
    }
}

const STORE: &str =
    r#"{"version":1,"profiles":{"anthropic:a":{"type":"token","provider":"anthropic","token":"x"}}}"#;
/// The tables of 2026.6.1's `state/openclaw.sqlite` that matter (observed): look-alikes and
/// `schema_meta` without a release.
const SHARED_6_1: &str = "CREATE TABLE auth_profile_stores(x); CREATE TABLE auth_profile_state(x);
    CREATE TABLE schema_meta(meta_key TEXT NOT NULL PRIMARY KEY, role TEXT NOT NULL, schema_version INTEGER NOT NULL,
      agent_id TEXT, app_version TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
    INSERT INTO schema_meta VALUES('primary','global',1,NULL,NULL,1,1);";
const SHARED_9_6: &str =
    "CREATE TABLE config_machine_state(state_key TEXT PRIMARY KEY, value_json TEXT, updated_at_ms INTEGER) STRICT;
    INSERT INTO config_machine_state VALUES('auth.sharedStore','{\"location\":\"state-db\"}',1);";
const AGENT_7_1: &str = "CREATE TABLE auth_profile_store(store_key TEXT PRIMARY KEY, store_json TEXT, updated_at INTEGER);
    CREATE TABLE schema_meta(meta_key TEXT PRIMARY KEY, role TEXT, schema_version INTEGER, agent_id TEXT, app_version TEXT);
    INSERT INTO schema_meta VALUES('primary','agent',1,'work','2026.7.1');";

#[test]
fn nothing_at_all_is_empty_and_a_known_release_or_a_store_is_json() {
    let place = Place::new();
    assert_eq!(place.era(None), Era::Empty);
    assert_eq!(place.era(Some("2026.6.1")), Era::Json);
    place.store("work", "");
    assert_eq!(place.era(None), Era::Json);
}

#[test]
fn an_installed_release_from_2026_6_5_on_is_sqlite() {
    let place = Place::new();
    assert_eq!(why(place.era(Some("2026.6.5"))), "OpenClaw 2026.6.5 was found");
    assert_eq!(place.era(Some("2026.6.4")), Era::Json);
}

#[test]
fn the_shared_database_of_2026_6_1_proves_nothing() {
    let place = Place::new();
    drop(place.database("state/openclaw.sqlite", SHARED_6_1));
    place.store("main", STORE);
    assert_eq!(place.era(Some("2026.6.1")), Era::Json);
    assert_eq!(place.era(None), Era::Json);
}

#[test]
fn the_shared_database_of_2026_9_6_is_recognised() {
    let place = Place::new();
    drop(place.database("state/openclaw.sqlite", SHARED_9_6));
    assert!(why(place.era(None)).starts_with("the shared database is in use: "));
}

#[test]
fn an_agents_database_is_recognised_and_tells_its_release() {
    let place = Place::new();
    drop(place.database("agents/work/agent/openclaw-agent.sqlite", AGENT_7_1));
    let markers = Markers::look(place.home.path(), &place.store_dirs());
    assert_eq!(markers.found.len(), 1);
    assert_eq!(markers.found[0].version, Version::parse("2026.7.1"));
    assert!(why(place.era(None)).starts_with("the agent's database is in use: "));
}

#[test]
fn after_a_downgrade_nothing_is_writable() {
    let place = Place::new();
    drop(place.database("agents/main/agent/openclaw-agent.sqlite", AGENT_7_1));
    let why = why(place.era(Some("2026.6.1")));
    assert!(
        why.contains("though the newest OpenClaw found is 2026.6.1"),
        "{why}"
    );
    place.store("main", STORE);
    assert!(matches!(place.era(Some("2026.6.1")), Era::Mixed { .. }));
}

#[test]
fn sqlite_beside_json_accounts_is_mixed() {
    let place = Place::new();
    for (text, mixed) in [
        (STORE, true),
        ("{", true),
        ("{\"profiles\":[]}", true),
        ("{\"version\":1,\"profiles\":{}}", false),
        ("{}", false),
        ("\n", false),
        ("", false),
    ] {
        place.store("work", text);
        let era = place.era(Some("2026.9.6"));
        assert_eq!(matches!(era, Era::Mixed { .. }), mixed, "{text}: {era:?}");
        assert_eq!(matches!(era, Era::Sqlite { .. }), !mixed, "{text}");
    }
}

#[test]
fn looking_leaves_no_side_files_and_creates_nothing() {
    let place = Place::new();
    drop(place.database("agents/main/agent/openclaw-agent.sqlite", AGENT_7_1));
    drop(place.database("state/openclaw.sqlite", SHARED_9_6));
    let before = place.files();
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(matches!(place.era(None), Era::Sqlite { .. }));
    assert_eq!(place.files(), before);
    let empty = Place::new();
    assert_eq!(empty.era(None), Era::Empty);
    assert_eq!(empty.files(), Vec::<PathBuf>::new());
}

#[test]
fn tables_that_still_lie_in_the_log_are_seen() {
    let place = Place::new();
    let writer = place.database("agents/main/agent/openclaw-agent.sqlite", AGENT_7_1);
    let main_file = place.path("agents/main/agent/openclaw-agent.sqlite");
    let log = place.path("agents/main/agent/openclaw-agent.sqlite-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let main_text = fs::read(&main_file).unwrap();
    let word = b"auth_profile_store";
    assert!(!main_text.windows(word.len()).any(|window| window == word));
    assert!(matches!(place.era(None), Era::Sqlite { .. }));
    // The writer goes on undisturbed.
    writer
        .execute("INSERT INTO auth_profile_store VALUES('primary','{}',1)", [])
        .unwrap();
    assert!(matches!(place.era(None), Era::Sqlite { .. }));
}

#[test]
fn a_database_that_cannot_be_read_counts_as_the_newer_era() {
    let garbage = "not a database at all, but long enough to be looked at ".repeat(40);
    for content in ["x", &garbage, "SQLite format 3\0 truncated"] {
        let place = Place::new();
        fs::write(place.path("agents/main/agent/openclaw-agent.sqlite"), content).unwrap();
        assert!(
            matches!(place.era(Some("2026.6.1")), Era::Sqlite { .. }),
            "{content}"
        );
    }
    let place = Place::new();
    fs::create_dir(place.path("state/openclaw.sqlite")).unwrap();
    assert!(matches!(place.era(None), Era::Sqlite { .. }));
}

#[test]
fn an_empty_database_is_no_evidence() {
    let place = Place::new();
    fs::write(place.path("agents/main/agent/openclaw-agent.sqlite"), "").unwrap();
    drop(place.database(
        "agents/work/agent/openclaw-agent.sqlite",
        "CREATE TABLE other(x);",
    ));
    place.store("main", STORE);
    assert_eq!(place.era(Some("2026.6.1")), Era::Json);
}
