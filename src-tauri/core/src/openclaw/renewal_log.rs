//! What OpenClaw's own log says about the last renewal of a login that failed. The fence itself
//! does not tell why; the log may, and only a word or a number of it is ever repeated.
//!
//! Facts: the log is `/tmp/openclaw/openclaw[-<profile>]-<date>.log`, in another temporary
//! directory `openclaw-<uid>/…`, one JSON record a line (2026.9.6, `log-file-path.ts`); a gateway
//! logs "OAuth profile … could not be resolved (…)" with the texts of local renewals.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::temporary_dir;
use crate::clock::Timestamp;
use crate::environment::Environment;
use crate::ids::ProfileId;

/// The end of a log that is looked at.
const TAIL: u64 = 512 * 1024;
/// The newest logs that are looked at.
const MOST_LOGS: usize = 4;

/// Why a renewal failed, as far as the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "kebab-case"))]
pub(crate) enum Why {
    /// The request did not leave this machine.
    NotSent,
    /// The provider answered with this status, and perhaps a code of its own.
    Answered { status: u16, code: Option<String> },
    /// Something that is no token answer came back.
    NoTokens,
    /// No answer came in time.
    TimedOut,
    /// The connection failed: before the request or after it.
    ConnectionFailed,
}

impl Why {
    /// One sentence, and what follows for the login.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::NotSent => say!(
                "OpenClaw's log says that the request did not leave this machine (no network or name not found): the login is probably unspent."
            ),
            Self::Answered { status, code: None } if *status >= 500 => say!(
                "OpenClaw's log says that the provider was out of order (HTTP {status}): the login is probably unspent.",
                status
            ),
            Self::Answered { status, code } => {
                let code = code.as_ref().map(|code| format!(", {code}")).unwrap_or_default();
                let answer = format!("HTTP {status}{code}");
                say!(
                    "OpenClaw's log says that the provider refused the login ({answer}): it will most likely refuse it again.",
                    answer
                )
            }
            Self::NoTokens => say!(
                "OpenClaw's log says that something else than tokens came back, such as a web page: the login is probably unspent."
            ),
            Self::TimedOut => {
                say!("OpenClaw's log says that no answer came in time: the login may be spent.")
            }
            Self::ConnectionFailed => say!(
                "OpenClaw's log says that the connection failed: if that was after the request was sent, the login may be spent."
            ),
        }
    }

    /// From OpenClaw's texts (2026.9.6): `(HTTP 400; code=invalid_grant)`, `refresh error: fetch
    /// failed`, `response is not valid JSON`.
    fn of(text: &str) -> Option<Self> {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if let Some((_, rest)) = text.split_once("(HTTP ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let (inside, _) = rest.split_once(')')?;
            let code = inside.split("code=").nth(1).map(|code| {
                let word = code
                    .chars()
                    .take_while(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
                word.take(40).collect::<String>()
            });
            return Some(Self::Answered {
                status: digits.parse().ok()?,
                code: code.filter(|code| !code.is_empty()),
            });
        }
        if has(&[
            "ENOTFOUND",
            "EAI_AGAIN",
            "ECONNREFUSED",
            "ENETUNREACH",
            "getaddrinfo",
            "private/internal",
        ]) {
            Some(Self::NotSent)
        } else if has(&["not valid JSON", "Unexpected token"]) {
            Some(Self::NoTokens)
        } else if has(&["timed out", "timeout", "ETIMEDOUT", "aborted"]) {
            Some(Self::TimedOut)
        } else if has(&["fetch failed", "ECONNRESET", "socket hang up", "terminated"]) {
            Some(Self::ConnectionFailed)
        } else {
            None
        }
    }
}

/// The newest failure of this login between two moments that the logs name, and when it was. Logs
/// that cannot be read, or that are another user's, say nothing.
pub(crate) fn last_failure(
    environment: &Environment,
    id: &ProfileId,
    since: Timestamp,
    until: Timestamp,
) -> Option<(Timestamp, Why)> {
    let logs = newest_logs(environment).into_iter();
    let found = logs.filter_map(|log| last_in(&tail(&log)?, id, since, until));
    found.max_by_key(|(at, _)| *at)
}

/// The same of one log's text.
pub(super) fn last_in(
    text: &str,
    id: &ProfileId,
    since: Timestamp,
    until: Timestamp,
) -> Option<(Timestamp, Why)> {
    text.lines()
        .rev()
        .filter(|line| names(line, id))
        .filter_map(|line| Some((time_of(line)?, Why::of(line)?)))
        .find(|(at, _)| (since..=until).contains(at))
}

/// Whether a line is about a failed renewal of this very login. Inside a record quotation marks are
/// escaped.
fn names(line: &str, id: &ProfileId) -> bool {
    let failed = ["could not be resolved", "token refresh failed", "refresh failed"];
    let id = id.as_str();
    let boundary = |text: &str| text.starts_with(['"', '\\', ' ', ')', ',', ';', ':']) || text.is_empty();
    let named = line
        .match_indices(id)
        .any(|(at, _)| boundary(&line[at + id.len()..]));
    named && failed.iter().any(|word| line.contains(word))
}

fn time_of(line: &str) -> Option<Timestamp> {
    let (_, rest) = line.split_once("\"time\":\"")?;
    let (time, _) = rest.split_once('"')?;
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

/// Whether a file is this user's; elsewhere than on Unix every readable one counts.
fn is_own(metadata: &fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == rustix::process::geteuid().as_raw()
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        true
    }
}

fn newest_logs(environment: &Environment) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if cfg!(unix) {
        dirs.push(PathBuf::from("/tmp/openclaw"));
    }
    if let Ok(listing) = fs::read_dir(temporary_dir(environment)) {
        let own = listing.flatten().filter(|entry| {
            let name = entry.file_name();
            name.to_str()
                .is_some_and(|name| name == "openclaw" || name.starts_with("openclaw-"))
        });
        dirs.extend(own.map(|entry| entry.path()));
    }
    dirs.sort();
    dirs.dedup();
    let mut logs = Vec::new();
    for dir in dirs {
        let Ok(listing) = fs::read_dir(&dir) else { continue };
        for entry in listing.flatten() {
            let name = entry.file_name();
            let is_log = name
                .to_str()
                .is_some_and(|name| name.starts_with("openclaw") && name.ends_with(".log"));
            if let (true, Ok(metadata)) = (is_log, entry.metadata())
                && metadata.is_file()
                && is_own(&metadata)
                && let Ok(modified) = metadata.modified()
            {
                logs.push((modified, entry.path()));
            }
        }
    }
    logs.sort();
    logs.reverse();
    logs.into_iter().take(MOST_LOGS).map(|(_, path)| path).collect()
}

fn tail(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ProfileId {
        ProfileId::parse("openai:me@example.com").unwrap()
    }

    fn line(time: &str, id: &str, why: &str) -> String {
        format!(
            r#"{{"0":"openai: OAuth profile \"{id}\" could not be resolved ({why}); skipped.","time":"{time}"}}"#
        )
    }

    #[test]
    fn the_newest_failure_of_this_login_is_told_without_its_text() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("openclaw-1000");
        fs::create_dir_all(&dir).unwrap();
        let text = [
            line(
                "2026-11-23T10:00:00.000Z",
                "openai:me@example.com",
                "OpenAI Codex token refresh failed (HTTP 503)",
            ),
            line(
                "2026-11-23T11:00:00.000+00:00",
                "openai:me@example.com",
                "Invalid refresh token REF0 (HTTP 400; code=invalid_grant)",
            ),
            line(
                "2026-11-23T12:00:00.000Z",
                "openai:me@example.com.org",
                "fetch failed",
            ),
            "no record".to_owned(),
        ]
        .join("\n");
        fs::write(dir.join("openclaw-2026-11-23.log"), text).unwrap();
        let environment =
            Environment::new([], home.path(), home.path()).with_var("TMPDIR", &home.path().to_string_lossy());
        let at =
            |text: &str| Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        let since = at("2026-11-23T10:30:00Z");
        let (when, why) = last_failure(&environment, &id(), since, since.plus_millis(86_400_000)).unwrap();
        assert_eq!(when, at("2026-11-23T11:00:00Z"));
        let code = Some("invalid_grant".to_owned());
        assert_eq!(why, Why::Answered { status: 400, code });
        assert_eq!(
            why.sentence(),
            "OpenClaw's log says that the provider refused the login (HTTP 400, invalid_grant): it will most likely refuse it again."
        );
        assert_eq!(
            last_failure(
                &environment,
                &id(),
                at("2026-11-23T11:30:00Z"),
                at("2026-11-24T11:30:00Z")
            ),
            None
        );
    }

    #[test]
    fn each_text_of_openclaws_is_classified() {
        let answered = |status, code: Option<&str>| Why::Answered {
            status,
            code: code.map(str::to_owned),
        };
        for (text, why) in [
            (
                "OpenAI Codex token refresh failed (HTTP 503)..",
                Some(answered(503, None)),
            ),
            (
                "failed (HTTP 401; code=refresh_token_reused; type=invalid_request_error)",
                Some(answered(401, Some("refresh_token_reused"))),
            ),
            (
                "OpenAI Codex token refresh error: fetch failed",
                Some(Why::ConnectionFailed),
            ),
            (
                "getaddrinfo ENOTFOUND auth.openai.com: fetch failed",
                Some(Why::NotSent),
            ),
            ("token refresh response is not valid JSON", Some(Why::NoTokens)),
            ("This operation was aborted", Some(Why::TimedOut)),
            ("Agent harness runtime codex is unavailable", None),
        ] {
            assert_eq!(Why::of(text), why, "{text}");
        }
    }
}
