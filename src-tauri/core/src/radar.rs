//! Who else holds a refresh token: other programs' credential files, installations of the sqlite
//! era, and leftovers. Everything is opened for reading only, and every token becomes a
//! fingerprint while it is parsed: nothing here returns or keeps a secret. OpenClaw's own JSON
//! stores are not read here but by [`crate::store`].
//!
//! All functions block on the disk: async callers use `spawn_blocking`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use crate::environment::Environment;
use crate::secret::{Fingerprint, Secret};

/// Larger files are not read: no credential file comes near this.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;
/// Some writers truncate in place (OpenClaw 2026.2.17, older Codex): a half-written file is read
/// once more after this time.
const HALF_WRITTEN: Duration = Duration::from_millis(50);
const SQLITE_BUSY: Duration = Duration::from_secs(5);
/// What OpenClaw 2026.9.6 puts in place of a token while it refreshes: a digest, not a token.
const FENCE: &str = "openclaw-oauth-refresh-fence:";
/// The keys under which a refresh token stands: Codex, Gemini, Qwen and MiniMax; Claude; OpenClaw.
const REFRESH_KEYS: [&str; 3] = ["refresh_token", "refreshToken", "refresh"];
const SQLITE_OPENCLAW: &str = "OpenClaw 2026.6.5 or later";

/// A place outside OpenClaw's JSON stores with a copy of a generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// For people, such as "Codex CLI".
    pub program: &'static str,
    pub path: PathBuf,
    pub kind: HolderKind,
    pub generation: Fingerprint,
}

/// What a place means for a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HolderKind {
    /// A program that renews the login on its own: the generation is shared.
    OtherProgram,
    /// OpenClaw's database, which Kalit cannot write: the generation is shared.
    SqliteInstallation,
    /// A cache, backup or archive that nobody renews: reported, no obstacle.
    Leftover,
}

/// A place that exists but could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    pub program: &'static str,
    pub path: PathBuf,
    pub kind: HolderKind,
    /// Lower case, without a full stop, without content.
    pub reason: String,
}

/// What was found. Both lists are in the order in which the places were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub holders: Vec<Holder>,
    pub unreadable: Vec<Unreadable>,
}

impl Found {
    /// Adds what another look found.
    pub fn append(&mut self, mut other: Found) {
        self.holders.append(&mut other.holders);
        self.unreadable.append(&mut other.unreadable);
    }

    /// The places that hold this generation and make a refresh by Kalit unsafe.
    pub fn obstacles(&self, generation: Fingerprint) -> impl Iterator<Item = &Holder> {
        self.holders
            .iter()
            .filter(move |holder| holder.generation == generation && holder.kind != HolderKind::Leftover)
    }
}

/// Looks at the credential files of the programs that OpenClaw's users sign in with. A program
/// that keeps its login in the keychain cannot be seen.
pub fn read_external(environment: &Environment) -> Found {
    let home = environment.home();
    let own_dir = |variable: &str, default: &str| match environment.var(variable) {
        Some(dir) => environment.working_dir().join(dir),
        None => home.join(default),
    };
    let mut found = Found::default();
    for (program, path) in [
        ("Codex CLI", own_dir("CODEX_HOME", ".codex").join("auth.json")),
        (
            "Claude Code",
            own_dir("CLAUDE_CONFIG_DIR", ".claude").join(".credentials.json"),
        ),
        ("Gemini CLI", home.join(".gemini/oauth_creds.json")),
        ("Qwen CLI", home.join(".qwen/oauth_creds.json")),
        ("MiniMax CLI", home.join(".minimax/oauth_creds.json")),
    ] {
        found.read_json(program, &path, HolderKind::OtherProgram);
    }
    found
}

/// Looks into the databases of an installation of the sqlite era (OpenClaw 2026.6.5 and later):
/// `<agentDir>/openclaw-agent.sqlite` and `<state>/state/openclaw.sqlite`.
pub fn read_sqlite(state_dir: &Path, agent_dirs: &[PathBuf]) -> Found {
    let mut found = Found::default();
    found.read_database(&state_dir.join("state/openclaw.sqlite"), &SHARED);
    for dir in agent_dirs {
        found.read_database(&dir.join("openclaw-agent.sqlite"), &PER_AGENT);
    }
    found
}

/// Looks at the files in which OpenClaw leaves old copies: 2026.2.17's cache `auth.json`, the
/// legacy `oauth.json`, backups and archives. `oauth_dir` is `OPENCLAW_OAUTH_DIR`, else
/// `<state>/credentials`.
pub fn leftovers(state_dir: &Path, oauth_dir: &Path, agent_dirs: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let legacy_agent = state_dir.join("agent");
    let mut dirs: Vec<&Path> = vec![oauth_dir, &legacy_agent];
    dirs.extend(agent_dirs.iter().map(PathBuf::as_path));
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs {
        let Ok(listing) = fs::read_dir(dir) else {
            continue;
        };
        let mut names: Vec<_> = listing
            .filter_map(|item| item.ok().map(|item| item.file_name()))
            .filter(|name| is_leftover(&name.to_string_lossy()))
            .collect();
        names.sort();
        for name in names {
            found.read_json("OpenClaw leftover", &dir.join(name), HolderKind::Leftover);
        }
    }
    found
}

fn is_leftover(name: &str) -> bool {
    let copy = ["auth-profiles.json.", "auth.json.", "oauth.json."]
        .iter()
        .any(|start| name.starts_with(start));
    let passing = name.ends_with(".lock") || name.ends_with(crate::vault::TEMP_SUFFIX);
    matches!(name, "auth.json" | "oauth.json") || (copy && !passing)
}

impl Found {
    fn read_json(&mut self, program: &'static str, path: &Path, kind: HolderKind) {
        let generations = match generations_in_file(path) {
            Err(Reading::HalfWritten) => {
                std::thread::sleep(HALF_WRITTEN);
                generations_in_file(path)
            }
            done => done,
        };
        match generations {
            Ok(generations) => self.add(program, path, kind, generations),
            Err(reading) => self.unreadable.push(Unreadable {
                program,
                path: path.to_owned(),
                kind,
                reason: reading.to_string(),
            }),
        }
    }

    fn read_database(&mut self, path: &Path, table: &Table) {
        let kind = HolderKind::SqliteInstallation;
        match generations_in_database(path, table) {
            Ok(generations) => self.add(SQLITE_OPENCLAW, path, kind, generations),
            Err(reason) => self.unreadable.push(Unreadable {
                program: SQLITE_OPENCLAW,
                path: path.to_owned(),
                kind,
                reason,
            }),
        }
    }

    fn add(
        &mut self,
        program: &'static str,
        path: &Path,
        kind: HolderKind,
        mut generations: Vec<Fingerprint>,
    ) {
        generations.sort_unstable();
        generations.dedup();
        self.holders
            .extend(generations.into_iter().map(|generation| Holder {
                program,
                path: path.to_owned(),
                kind,
                generation,
            }));
    }
}

/// Why a file says nothing.
enum Reading {
    HalfWritten,
    TooLarge,
    NotAFile,
    Io(io::ErrorKind),
}

impl fmt::Display for Reading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reading::HalfWritten => formatter.write_str("not JSON"),
            Reading::TooLarge => formatter.write_str("too large for a credential file"),
            Reading::NotAFile => formatter.write_str("not a file"),
            Reading::Io(kind) => write!(formatter, "{kind}"),
        }
    }
}

/// No file, no generations.
fn generations_in_file(path: &Path) -> Result<Vec<Fingerprint>, Reading> {
    let failed = |error: io::Error| Reading::Io(error.kind());
    // Looked at before opening: to open a named pipe would wait for a writer.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.is_file() {
        return Err(Reading::NotAFile);
    }
    if metadata.len() > SIZE_LIMIT {
        return Err(Reading::TooLarge);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(metadata.len()).unwrap_or(0) + 1,
    ));
    match File::open(path) {
        Ok(file) => file.take(SIZE_LIMIT).read_to_end(&mut bytes).map_err(failed)?,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    generations_in_json(&bytes).ok_or(Reading::HalfWritten)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// One place in a database where credentials stand.
struct Table {
    name: &'static str,
    query: &'static str,
    /// Schemas above this one may keep credentials elsewhere (2026.9.6: 18 and 23).
    newest_known: i64,
}

const SHARED: Table = Table {
    name: "config_machine_state",
    query: "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'",
    newest_known: 18,
};

const PER_AGENT: Table = Table {
    name: "auth_profile_store",
    query: "SELECT store_json FROM auth_profile_store",
    newest_known: 23,
};

/// Never opened as immutable: the newest tokens may stand in the write-ahead log.
fn generations_in_database(path: &Path, table: &Table) -> Result<Vec<Fingerprint>, String> {
    match fs::metadata(path) {
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
    connection.busy_timeout(SQLITE_BUSY).map_err(failed)?;
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

/// The fingerprints of all refresh tokens anywhere in a JSON document; `None` when it is not JSON.
/// Programs move their tokens about between releases, so the key counts and not the place.
fn generations_in_json(bytes: &[u8]) -> Option<Vec<Fingerprint>> {
    let mut found = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Walk {
        under_refresh_key: false,
        found: &mut found,
    }
    .deserialize(&mut deserializer)
    .ok()?;
    deserializer.end().ok()?;
    Some(found)
}

/// Walks a document without building it, so that no copy of a token is left in memory.
struct Walk<'a> {
    under_refresh_key: bool,
    found: &'a mut Vec<Fingerprint>,
}

impl Walk<'_> {
    fn deeper(&mut self, under_refresh_key: bool) -> Walk<'_> {
        Walk {
            under_refresh_key,
            found: self.found,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.under_refresh_key && !text.is_empty() && !text.starts_with(FENCE) {
            self.found.push(Secret::new(text).fingerprint());
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper(false))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let refresh = REFRESH_KEYS.contains(&key.as_str());
            entries.next_value_seed(self.deeper(refresh))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(name: &str) -> Fingerprint {
        Secret::new(name).fingerprint()
    }

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn environment(home: &Path) -> Environment {
        Environment::new(
            [("HOME".to_owned(), home.to_string_lossy().into_owned())],
            home,
            home,
        )
    }

    fn names(found: &Found) -> Vec<(&str, &Path, Fingerprint)> {
        found
            .holders
            .iter()
            .map(|holder| (holder.program, holder.path.as_path(), holder.generation))
            .collect()
    }

    // Shapes: codex-cli 0.169.0, Claude Code 2.1, Gemini, Qwen and MiniMax CLIs.
    const CODEX: &str = r#"{"auth_mode":"chatgpt","OPENAI_API_KEY":null,"tokens":{"id_token":"ID",
        "access_token":"ACC","refresh_token":"REF-codex","oauth_provenance":{"issuer":"x","client_id":"y"},
        "login_owner_id":"o","account_id":"a"},"last_refresh":"2026-11-20T10:00:00.000000001Z"}"#;
    const CLAUDE: &str = r#"{"claudeAiOauth":{"accessToken":"ACC","refreshToken":"REF-claude",
        "expiresAt":1763900000000,"scopes":["user:inference"]}}"#;

    #[test]
    fn other_programs_are_named_with_the_generation_they_hold() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        put(&at(".codex/auth.json"), CODEX);
        put(&at(".claude/.credentials.json"), CLAUDE);
        let creds = |name: &str| {
            format!(r#"{{"access_token":"A","refresh_token":"REF-{name}","expiry_date":1763900000000.5}}"#)
        };
        put(&at(".gemini/oauth_creds.json"), &creds("gemini"));
        put(&at(".qwen/oauth_creds.json"), &creds("qwen"));
        put(&at(".minimax/oauth_creds.json"), &creds("minimax"));
        let found = read_external(&environment(home.path()));
        assert_eq!(
            names(&found),
            [
                (
                    "Codex CLI",
                    at(".codex/auth.json").as_path(),
                    generation("REF-codex")
                ),
                (
                    "Claude Code",
                    at(".claude/.credentials.json").as_path(),
                    generation("REF-claude")
                ),
                (
                    "Gemini CLI",
                    at(".gemini/oauth_creds.json").as_path(),
                    generation("REF-gemini")
                ),
                (
                    "Qwen CLI",
                    at(".qwen/oauth_creds.json").as_path(),
                    generation("REF-qwen")
                ),
                (
                    "MiniMax CLI",
                    at(".minimax/oauth_creds.json").as_path(),
                    generation("REF-minimax")
                ),
            ]
        );
        assert_eq!(found.unreadable, []);
        assert_eq!(found.obstacles(generation("REF-codex")).count(), 1);
        assert_eq!(found.obstacles(generation("REF-other")).count(), 0);
    }

    #[test]
    fn a_machine_without_other_programs_has_no_holders() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read_external(&environment(home.path())), Found::default());
    }

    #[test]
    fn the_variables_of_the_programs_are_followed() {
        let home = tempfile::tempdir().unwrap();
        put(&home.path().join("elsewhere/auth.json"), CODEX);
        put(&home.path().join("cc/.credentials.json"), CLAUDE);
        let found = read_external(
            &environment(home.path())
                .with_var("CODEX_HOME", "elsewhere")
                .with_var("CLAUDE_CONFIG_DIR", &home.path().join("cc").to_string_lossy()),
        );
        assert_eq!(
            found
                .holders
                .iter()
                .map(|holder| holder.generation)
                .collect::<Vec<_>>(),
            [generation("REF-codex"), generation("REF-claude")]
        );
    }

    #[test]
    fn a_login_with_an_api_key_or_without_a_refresh_token_holds_nothing() {
        for text in [
            r#"{"OPENAI_API_KEY":"sk-x","tokens":null}"#,
            r#"{"tokens":{"refresh_token":""}}"#,
            r#"{"tokens":{"refresh_token":null}}"#,
            r#"{"tokens":{"refresh_token":["REF"]}}"#,
            "{}",
            "[]",
            "null",
        ] {
            assert_eq!(generations_in_json(text.as_bytes()), Some(vec![]), "{text}");
        }
    }

    #[test]
    fn tokens_are_found_wherever_they_stand_and_however_they_are_spelled() {
        assert_eq!(
            generations_in_json(
                br#"{"a":[{"refreshToken":"R1"},1,-2.5e3,true,null],"b":{"refresh":"R\u0032"},"refresh_token":"R3"}"#
            ),
            Some(vec![generation("R1"), generation("R2"), generation("R3")])
        );
    }

    #[test]
    fn a_fence_is_not_a_token() {
        let fence = format!(
            "{FENCE}v1:00000000000000000000000000000000:refresh:{}",
            "0".repeat(64)
        );
        let text = format!(r#"{{"profiles":{{"openai:default":{{"refresh":"{fence}"}}}}}}"#);
        assert_eq!(generations_in_json(text.as_bytes()), Some(vec![]));
    }

    #[test]
    fn files_that_say_nothing_are_reported_without_content() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".codex/auth.json");
        for (text, reason) in [
            ("", "not JSON"),
            (r#"{"tokens":{"refresh_token":"REF-secret"#, "not JSON"),
            (r#"{"refresh_token":"REF-secret"} trailing"#, "not JSON"),
            ("\u{feff}{}", "not JSON"),
        ] {
            put(&path, text);
            let found = read_external(&environment(home.path()));
            assert_eq!(found.holders, []);
            assert_eq!(
                found.unreadable,
                [Unreadable {
                    program: "Codex CLI",
                    path: path.clone(),
                    kind: HolderKind::OtherProgram,
                    reason: reason.to_owned(),
                }]
            );
        }
        fs::write(&path, "[".repeat(100_000)).unwrap();
        assert_eq!(
            read_external(&environment(home.path())).unreadable[0].reason,
            "not JSON"
        );
        File::create(&path).unwrap().set_len(SIZE_LIMIT + 1).unwrap();
        assert_eq!(
            read_external(&environment(home.path())).unreadable[0].reason,
            "too large for a credential file"
        );
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(
            read_external(&environment(home.path())).unreadable[0].reason,
            "not a file"
        );
    }

    #[test]
    fn a_half_written_file_is_read_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(".codex/auth.json");
        put(&path, &CODEX[..40]);
        let finish = std::thread::spawn({
            let path = path.clone();
            move || {
                std::thread::sleep(HALF_WRITTEN / 5);
                fs::write(path, CODEX).unwrap();
            }
        });
        let found = read_external(&environment(home.path()));
        finish.join().unwrap();
        assert_eq!(found.holders[0].generation, generation("REF-codex"));
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
        let found = read_sqlite(state.path(), &[agent, state.path().join("agents/none/agent")]);
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
        assert_eq!(read_sqlite(state.path(), &[]), Found::default());
    }

    #[test]
    fn databases_that_cannot_be_understood_are_reported() {
        let state = tempfile::tempdir().unwrap();
        let agent = state.path().join("agent");
        fs::create_dir_all(&agent).unwrap();
        let path = agent.join("openclaw-agent.sqlite");
        let reason = || {
            let found = read_sqlite(state.path(), std::slice::from_ref(&agent));
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

    #[test]
    fn leftovers_are_found_by_name_and_are_no_obstacle() {
        let state = tempfile::tempdir().unwrap();
        let agent = state.path().join("agents/main/agent");
        let oauth = state.path().join("credentials");
        let profile = |name: &str| format!(r#"{{"p":{{"type":"oauth","refresh":"REF-{name}"}}}}"#);
        let expected = [
            ("agent/auth.json", "legacy"),
            ("agents/main/agent/auth-profiles.json.bak", "bak"),
            (
                "agents/main/agent/auth-profiles.json.migrated-2026-11-01T00:00:00.000Z-uuid",
                "migrated",
            ),
            (
                "agents/main/agent/auth-profiles.json.openai-provider-unification.1.bak",
                "unified",
            ),
            ("agents/main/agent/auth.json", "cache"),
            ("credentials/oauth.json", "oauth"),
        ];
        for (path, name) in expected {
            put(&state.path().join(path), &profile(name));
        }
        for other in [
            "agents/main/agent/auth-profiles.json",
            "agents/main/agent/auth-state.json",
            "agents/main/agent/auth-profiles.json.lock",
            "agents/main/agent/.auth-profiles.json.1.kalit.tmp",
            "agents/main/agent/models.json.bak",
            "credentials/whatsapp.json",
        ] {
            put(&state.path().join(other), &profile("other"));
        }
        let found = leftovers(state.path(), &oauth, &[agent.clone(), agent.clone()]);
        let paths: Vec<_> = expected
            .iter()
            .map(|(path, name)| (state.path().join(path), generation(&format!("REF-{name}"))))
            .collect();
        let mut got: Vec<_> = found
            .holders
            .iter()
            .map(|holder| (holder.path.clone(), holder.generation))
            .collect();
        got.sort();
        assert_eq!(got, paths);
        assert_eq!(found.obstacles(generation("REF-cache")).count(), 0);

        put(&agent.join("auth.json"), "{}");
        put(&agent.join("auth-profiles.json.bak"), "broken");
        let found = leftovers(state.path(), &oauth, &[agent]);
        assert_eq!(found.holders.len(), 4);
        assert_eq!(found.unreadable.len(), 1);
        assert_eq!(found.unreadable[0].kind, HolderKind::Leftover);
    }
}
