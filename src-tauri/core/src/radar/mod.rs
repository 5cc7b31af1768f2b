//! Who else holds a refresh token: other programs' credential files and leftovers. Everything is
//! opened for reading only, and every token becomes a fingerprint while it is parsed: nothing here
//! returns or keeps a secret. OpenClaw's own stores are not read here but by
//! [`crate::store`].
//!
//! All functions block on the disk: async callers use `spawn_blocking`.

mod json;
pub mod keychain;
pub mod place;
pub mod report;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use self::json::read_logins;
pub use self::place::{Place, Program};
use crate::clock::Timestamp;
use crate::environment::Environment;
use crate::secret::Fingerprint;

/// Larger files are not read: no credential file comes near this.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;
/// Some writers truncate in place (OpenClaw 2026.2.17, older Codex): a half-written file is read
/// once more after this time.
const HALF_WRITTEN: Duration = Duration::from_millis(50);

/// A file outside OpenClaw's stores with a copy of a generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    pub place: Place,
    pub path: PathBuf,
    pub generation: Fingerprint,
    /// The account whose login it is, if the file names exactly one.
    pub account_id: Option<String>,
    /// When the file was written last.
    pub changed_at: Option<Timestamp>,
}

/// A place that exists but could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    pub place: Place,
    pub path: PathBuf,
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
            .filter(move |holder| holder.generation == generation && holder.place != Place::Leftover)
    }
}

/// Looks at the credential files of the programs that OpenClaw's users sign in with. A program
/// that keeps its login in the keychain cannot be seen.
pub fn read_external(environment: &Environment) -> Found {
    let mut found = Found::default();
    for program in Program::ALL {
        found.read_json(Place::Program(program), &program.file(environment));
    }
    found
}

/// Looks into `<agentDir>/auth-profiles.json` of an installation of both eras: Kalit does not write it,
/// and it counts while it has not been moved into a database.
pub fn read_unmoved(agent_dirs: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for dir in agent_dirs {
        let store = dir.join("auth-profiles.json");
        found.read_json(Place::Unmoved, &store);
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
            found.read_json(Place::Leftover, &dir.join(name));
        }
    }
    found
}

fn is_leftover(name: &str) -> bool {
    let copy = ["auth-profiles.json.", "auth.json.", "oauth.json."]
        .iter()
        .any(|start| name.starts_with(start));
    let passing = name.ends_with(".lock") || name.ends_with(crate::durable::TEMPORARY_SUFFIX);
    matches!(name, "auth.json" | "oauth.json") || (copy && !passing)
}

impl Found {
    fn read_json(&mut self, place: Place, path: &Path) {
        let read = match read_file(path) {
            Err(Reading::HalfWritten) => {
                std::thread::sleep(HALF_WRITTEN);
                read_file(path)
            }
            done => done,
        };
        match read {
            Ok(read) => self
                .holders
                .extend(read.logins.generations.into_iter().map(|generation| Holder {
                    place,
                    path: path.to_owned(),
                    generation,
                    account_id: read.logins.account_id.clone(),
                    changed_at: read.changed_at,
                })),
            Err(reading) => self.unreadable.push(Unreadable {
                place,
                path: path.to_owned(),
                reason: reading.to_string(),
            }),
        }
    }
}

/// What a credential file says.
#[derive(Default)]
struct Login {
    logins: json::Logins,
    changed_at: Option<Timestamp>,
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
fn read_file(path: &Path) -> Result<Login, Reading> {
    let failed = |error: io::Error| Reading::Io(error.kind());
    // Looked at before opening: to open a named pipe would wait for a writer.
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_absent(&error) => return Ok(Login::default()),
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
        Err(error) if is_absent(&error) => return Ok(Login::default()),
        Err(error) => return Err(failed(error)),
    };
    let changed_at = metadata.modified().ok().and_then(|at| {
        let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
    });
    Ok(Login {
        logins: read_logins(&bytes).ok_or(Reading::HalfWritten)?,
        changed_at,
    })
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

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
            .map(|holder| (holder.place.name(), holder.path.as_path(), holder.generation))
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
        assert_eq!(found.holders[0].account_id.as_deref(), Some("a"));
        assert!(found.holders.iter().all(|holder| holder.changed_at.is_some()));
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
                    place: Place::Program(Program::Codex),
                    path: path.clone(),
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
            "agents/main/agent/auth-profiles.json.1.kalit.tmp",
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
        assert_eq!(found.unreadable[0].place, Place::Leftover);
    }
}
