//! The credential cells of OpenClaw's databases, 2026.6.5 and later. Read only, and never opened
//! as immutable: the newest tokens may stand in the write-ahead log.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::is_absent;
use super::json::generations_in_json;
use crate::secret::Fingerprint;

const BUSY: Duration = Duration::from_secs(5);

/// One place in a database where credentials stand.
pub(super) struct Table {
    name: &'static str,
    query: &'static str,
    /// Schemas above this one may keep credentials elsewhere (2026.9.6: 18 and 23).
    newest_known: i64,
}

/// `<state>/state/openclaw.sqlite`.
pub(super) const SHARED: Table = Table {
    name: "config_machine_state",
    query: "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'",
    newest_known: 18,
};

/// `<agentDir>/openclaw-agent.sqlite`.
pub(super) const PER_AGENT: Table = Table {
    name: "auth_profile_store",
    query: "SELECT store_json FROM auth_profile_store",
    newest_known: 23,
};

/// The generations in the table; none without a file or without the table.
pub(super) fn generations_in_database(path: &Path, table: &Table) -> Result<Vec<Fingerprint>, String> {
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error.kind().to_string()),
    }
    // SQLite's own messages can quote SQL but never a value; only the code's name is told.
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(code) => format!("SQLite says {code:?}"),
        None => "not a database of OpenClaw".to_owned(),
    };
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    let transaction = connection.transaction().map_err(failed)?;
    let there = transaction
        .query_row(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1",
            [table.name],
            |_| Ok(()),
        )
        .optional()
        .map_err(failed)?
        .is_some();
    if !there {
        let version: i64 = transaction
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed)?;
        return if version > table.newest_known {
            Err(format!("schema {version} is newer than Kalit knows"))
        } else {
            Ok(Vec::new())
        };
    }
    let mut statement = transaction.prepare(table.query).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut generations = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let cell = row.get_ref(0).map_err(failed)?;
        let Ok(text) = cell.as_str() else {
            return Err("a store cell is not text".to_owned());
        };
        generations.extend(generations_in_json(text.as_bytes()).ok_or("a store cell is not JSON")?);
    }
    Ok(generations)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::radar::{Found, HolderKind, SQLITE_OPENCLAW, read_unwritable};
    use crate::secret::Secret;

    fn generation(name: &str) -> Fingerprint {
        Secret::new(name).fingerprint()
    }

    fn names(found: &Found) -> Vec<(&str, &Path, Fingerprint)> {
        found
            .holders
            .iter()
            .map(|holder| (holder.program, holder.path.as_path(), holder.generation))
            .collect()
    }

    const STORE: &str = r#"{"version":1,"profiles":{
        "openai:me":{"type":"oauth","provider":"openai","access":"A","refresh":"REF-one","expires":1},
        "openai:two":{"type":"oauth","provider":"openai","access":"A","refresh":"REF-two","expires":1}}}"#;

    #[test]
    fn databases_of_the_sqlite_era_are_read_with_their_write_ahead_log() {
        let state = tempfile::tempdir().unwrap();
        let agent = state.path().join("agents/main/agent");
        fs::create_dir_all(&agent).unwrap();
        fs::create_dir_all(state.path().join("state")).unwrap();
        let agent_path = agent.join("openclaw-agent.sqlite");
        let agent_db = Connection::open(&agent_path).unwrap();
        agent_db.pragma_update(None, "journal_mode", "WAL").unwrap();
        agent_db
            .execute_batch(
                "CREATE TABLE auth_profile_store (store_key TEXT PRIMARY KEY, store_json TEXT NOT NULL,
                 updated_at INTEGER NOT NULL) STRICT; PRAGMA user_version = 23;",
            )
            .unwrap();
        agent_db
            .execute(
                "INSERT INTO auth_profile_store VALUES ('primary', ?1, 1)",
                [STORE],
            )
            .unwrap();
        let shared_path = state.path().join("state/openclaw.sqlite");
        let shared_db = Connection::open(&shared_path).unwrap();
        shared_db
            .execute_batch(
                r#"CREATE TABLE config_machine_state (state_key TEXT PRIMARY KEY, value_json TEXT NOT NULL,
                   updated_at_ms INTEGER NOT NULL) STRICT;
                   INSERT INTO config_machine_state VALUES ('auth.sharedStore', '{"location":"state-db"}', 1);
                   INSERT INTO config_machine_state VALUES
                     ('authProfiles.store', '{"profiles":{"a:b":{"refresh":"REF-shared"}}}', 1);"#,
            )
            .unwrap();
        // The writers are still open: the agent's row stands in the log only.
        let found = read_unwritable(state.path(), &[agent, state.path().join("agents/none/agent")]);
        let mut expected = vec![
            (SQLITE_OPENCLAW, agent_path.as_path(), generation("REF-one")),
            (SQLITE_OPENCLAW, agent_path.as_path(), generation("REF-two")),
        ];
        expected.sort_by_key(|(_, _, generation)| *generation);
        expected.insert(0, (SQLITE_OPENCLAW, &shared_path, generation("REF-shared")));
        assert_eq!(names(&found), expected);
        assert_eq!(found.unreadable, []);
        assert!(
            found
                .holders
                .iter()
                .all(|holder| holder.kind == HolderKind::SqliteInstallation)
        );
    }

    #[test]
    fn a_database_without_credentials_is_no_holder() {
        // OpenClaw 2026.6.1 has the shared file already, for other purposes.
        let state = tempfile::tempdir().unwrap();
        fs::create_dir_all(state.path().join("state")).unwrap();
        Connection::open(state.path().join("state/openclaw.sqlite"))
            .unwrap()
            .execute_batch("CREATE TABLE tasks (id INTEGER) STRICT; PRAGMA user_version = 3;")
            .unwrap();
        assert_eq!(read_unwritable(state.path(), &[]), Found::default());
    }

    #[test]
    fn databases_that_cannot_be_understood_are_reported() {
        let state = tempfile::tempdir().unwrap();
        let agent = state.path().join("agent");
        fs::create_dir_all(&agent).unwrap();
        let path = agent.join("openclaw-agent.sqlite");
        let reason = || {
            let found = read_unwritable(state.path(), std::slice::from_ref(&agent));
            assert_eq!(found.holders, []);
            let [unreadable] = &found.unreadable[..] else {
                panic!("{found:?}")
            };
            assert_eq!(unreadable.kind, HolderKind::SqliteInstallation);
            unreadable.reason.clone()
        };
        fs::write(&path, "garbage ".repeat(200)).unwrap();
        assert_eq!(reason(), "SQLite says NotADatabase");
        fs::remove_file(&path).unwrap();
        let database = Connection::open(&path).unwrap();
        database
            .execute_batch("CREATE TABLE moved (id INTEGER); PRAGMA user_version = 24;")
            .unwrap();
        assert_eq!(reason(), "schema 24 is newer than Kalit knows");
        database
            .execute_batch(
                "CREATE TABLE auth_profile_store (store_json); INSERT INTO auth_profile_store VALUES ('{\"refresh\":\"REF')",
            )
            .unwrap();
        assert_eq!(reason(), "a store cell is not JSON");
        database
            .execute_batch("UPDATE auth_profile_store SET store_json = 7")
            .unwrap();
        assert_eq!(reason(), "a store cell is not text");
    }
}
