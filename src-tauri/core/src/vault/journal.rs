//! The rescue journal: the answer of a token endpoint, to a refresh or to a sign-in, durable before
//! anything else is done with it. A provider that rotated forgets the old token at once, so an
//! answer that is lost is a login that is lost. An entry stands until every store that needs it has
//! the answer; the next start finishes what a crash interrupted. Plain JSON, 0600: the protection
//! the store itself has.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::private_file::{self, DirLock};
use crate::clock::Timestamp;
use crate::durable::{TEMPORARY_SUFFIX, Temporary};
use crate::error::{Error, ErrorCode, Result};
use crate::history::Family;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::oauth::TokenAnswer;
use crate::secret::{Fingerprint, Secret};

crate::keeps_secret!(Entry, Received, Entries);

const VERSION: u32 = 1;
const ENTRY_LIMIT: u64 = 4 * 1024 * 1024;
/// What is reserved for an answer: several times the largest that were seen.
const ROOM: usize = 64 * 1024;

/// The journal of one installation.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

/// An answer that is not yet in every store that needs it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The canonical state directory.
    pub installation: String,
    pub question: Question,
    pub received: Received,
    /// When the answer came.
    pub at: Timestamp,
    path: PathBuf,
}

/// Room on disk for the answer to a refresh, taken before anything is sent: a disk that is full by
/// then must not lose the answer. Given back when it is dropped.
pub struct Room {
    sent: Fingerprint,
    path: PathBuf,
    temporary: Temporary,
}

/// What the answer is an answer to: it decides where the tokens belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A refresh: the tokens replace a generation.
    Refresh {
        /// The generation that was sent.
        sent: Fingerprint,
        /// In the order in which the stores are to be written.
        holders: Vec<EntryHolder>,
    },
    /// A sign-in: the profile is chosen when the tokens are stored.
    SignIn(AskedSignIn),
}

/// What a person asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedSignIn {
    /// By the id of its manifest.
    pub provider: ProviderId,
    pub agent: AgentId,
    /// The id that the person chose, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<ProfileId>,
    /// The endpoint that issued the tokens: they may only ever be sent there again.
    pub token_url: String,
}

/// One profile in one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryHolder {
    pub agent_dir: PathBuf,
    pub provider: ProviderId,
    pub profile_id: ProfileId,
}

/// The fields of the token answer as they came.
#[derive(Clone, Debug)]
pub struct Received {
    pub access_token: Secret,
    /// Absent when the provider keeps the old one.
    pub refresh_token: Option<Secret>,
    pub id_token: Option<Secret>,
    /// Seconds.
    pub expires_in: Option<i64>,
}

/// What the journal holds.
#[derive(Debug, Default)]
pub struct Entries {
    /// Oldest first, the order in which they are merged.
    pub entries: Vec<Entry>,
    /// Files that cannot be read as entries. They may hold the only copy of a token: reported,
    /// never deleted.
    pub unreadable: Vec<Unreadable>,
}

/// A journal file that this version of Kalit cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub path: PathBuf,
    /// What is wrong: lower case, without a full stop, without content.
    pub reason: String,
}

/// A temporary file that a crash left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftoverTemp {
    pub path: PathBuf,
    /// A young one may belong to a process that is writing right now.
    pub modified: Option<Timestamp>,
}

impl Journal {
    /// `installation_dir` is [`super::installation_dir`]. Nothing is made on disk before the first
    /// entry.
    pub fn open(installation_dir: &Path) -> Self {
        Self {
            dir: installation_dir.join("journal"),
        }
    }

    /// Takes room for the answer to a refresh of `sent`. There is one file for each family and
    /// generation sent, so an earlier answer that still waits is never overwritten.
    pub fn reserve(&self, family: Family, sent: Fingerprint) -> Result<Room> {
        let path = self.dir.join(format!("{}-{}.json", family.short(), sent.short()));
        Ok(Room {
            sent,
            temporary: private_file::reserve(&path, ROOM)?,
            path,
        })
    }

    /// Writes the answer to a refresh. The entry, and whether it survives a power failure now; one
    /// that could not be written is the only copy ([`Entry::write`]).
    pub fn record(
        &self,
        room: Room,
        installation: &str,
        holders: Vec<EntryHolder>,
        received: Received,
        at: Timestamp,
    ) -> (Entry, Result<()>) {
        let entry = Entry {
            installation: installation.to_owned(),
            question: Question::Refresh {
                sent: room.sent,
                holders,
            },
            received,
            at,
            path: room.path,
        };
        let written = entry.to_json().and_then(|bytes| {
            let filled = room.temporary.fill(&bytes);
            // Room that fails must not keep the answer from another try.
            filled.or_else(|_| private_file::write(&entry.path, &bytes))
        });
        (entry, written)
    }

    /// Writes the answer to a sign-in's exchange; when this returns it survives a power failure.
    pub fn record_sign_in(
        &self,
        installation: &str,
        asked: AskedSignIn,
        received: Received,
        at: Timestamp,
    ) -> Result<Entry> {
        let name = format!("sign-in-{}.json", received.generation().short());
        let entry = Entry {
            installation: installation.to_owned(),
            question: Question::SignIn(asked),
            received,
            at,
            path: self.dir.join(name),
        };
        entry.write()?;
        Ok(entry)
    }

    /// The turn at storing sign-ins, waited for. Held while a sign-in is stored, so that nobody
    /// else takes its entry for one that a crash left.
    pub(crate) fn turn(&self) -> Result<DirLock> {
        private_file::lock_dir(&self.dir)
    }

    /// The same without waiting; `None` while a sign-in is being stored.
    pub(crate) fn try_turn(&self) -> Result<Option<DirLock>> {
        private_file::try_lock_dir(&self.dir)
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> Result<Entries> {
        let listing = match fs::read_dir(&self.dir) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::default()),
            Err(error) => return Err(self.unlistable(error)),
        };
        let mut found = Entries::default();
        for item in listing {
            let path = item.map_err(|error| self.unlistable(error))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match Entry::load(&path) {
                Ok(Some(entry)) => found.entries.push(entry),
                Ok(None) => {}
                Err(reason) => found.unreadable.push(Unreadable { path, reason }),
            }
        }
        found
            .entries
            .sort_by(|a, b| (a.at, &a.path).cmp(&(b.at, &b.path)));
        found.unreadable.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Removes an entry whose answer is in every holder. An entry that another answer has replaced
    /// meanwhile stands.
    pub fn discharge(&self, entry: Entry) -> Result<()> {
        match Entry::load(&entry.path) {
            Ok(Some(stored)) if stored.same_answer(&entry) => private_file::remove(&entry.path),
            Ok(_) => Ok(()),
            Err(reason) => Err(Error::new(
                ErrorCode::VaultUnreadable,
                format!("{}: {reason}", entry.path.display()),
            )),
        }
    }

    /// Whether the answer to a refresh of `sent` waits for its stores. Only looks for the file.
    pub fn holds_answer_to(&self, family: Family, sent: Fingerprint) -> bool {
        self.path_of(family, sent).exists()
    }

    /// Where the entries lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path_of(&self, family: Family, sent: Fingerprint) -> PathBuf {
        self.dir.join(format!("{}-{}.json", family.short(), sent.short()))
    }

    fn unlistable(&self, error: io::Error) -> Error {
        Error::new(
            ErrorCode::VaultUnreadable,
            format!("cannot list {}", self.dir.display()),
        )
        .with_source(error)
    }
}

impl Received {
    /// The generation that came; that of the access token when no refresh token did.
    pub fn generation(&self) -> Fingerprint {
        self.refresh_token
            .as_ref()
            .unwrap_or(&self.access_token)
            .fingerprint()
    }
}

impl From<&TokenAnswer> for Received {
    fn from(answer: &TokenAnswer) -> Self {
        Self {
            access_token: answer.access.clone(),
            refresh_token: answer.refresh.clone(),
            id_token: answer.id_token.clone(),
            expires_in: answer.expires_in,
        }
    }
}

impl From<&Received> for TokenAnswer {
    fn from(received: &Received) -> Self {
        Self {
            access: received.access_token.clone(),
            refresh: received.refresh_token.clone(),
            id_token: received.id_token.clone(),
            expires_in: received.expires_in,
            token_type: None,
            skew_ms: None,
        }
    }
}

impl Entry {
    /// The file of this entry.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes it again; when this returns it survives a power failure.
    pub fn write(&self) -> Result<()> {
        private_file::write(&self.path, &self.to_json()?)
    }

    fn same_answer(&self, other: &Entry) -> bool {
        self.at == other.at
            && self.received.access_token.fingerprint() == other.received.access_token.fingerprint()
    }

    fn to_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        let received = &self.received;
        let (holders, sent, sign_in) = match &self.question {
            Question::Refresh { sent, holders } => (holders.as_slice(), Some(*sent), None),
            Question::SignIn(asked) => (&[][..], None, Some(asked)),
        };
        let wire = WireOut {
            version: VERSION,
            installation: &self.installation,
            holders,
            sent,
            sign_in,
            received: WireReceivedOut {
                access_token: received.access_token.expose(),
                refresh_token: received.refresh_token.as_ref().map(Secret::expose),
                id_token: received.id_token.as_ref().map(Secret::expose),
                expires_in: received.expires_in,
            },
            at: self.at,
        };
        let mut measure = Length(0);
        let failed = |error: serde_json::Error| {
            Error::new(ErrorCode::Internal, "a journal entry has no JSON").with_source(error)
        };
        serde_json::to_writer(&mut measure, &wire).map_err(failed)?;
        // One allocation, so that no half-grown buffer with a token stays behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(measure.0 + 1));
        serde_json::to_writer(&mut *bytes, &wire).map_err(failed)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn load(path: &Path) -> Result<Option<Self>, String> {
        let bytes = match private_file::read(path, ENTRY_LIMIT) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => return Err(error.message().to_owned()),
        };
        // serde's messages can quote what they found: only the place is told.
        let wire: WireIn = serde_json::from_slice(&bytes).map_err(|error| {
            format!(
                "not a journal entry at line {} column {}",
                error.line(),
                error.column()
            )
        })?;
        if wire.version != VERSION {
            return Err(format!("a journal entry of version {}", wire.version));
        }
        let question = match (wire.sent, wire.sign_in) {
            (Some(sent), None) => Question::Refresh {
                sent,
                holders: wire.holders,
            },
            (None, Some(asked)) => Question::SignIn(asked),
            (Some(_), Some(_)) | (None, None) => {
                return Err("neither an answer to a refresh nor to a sign-in".to_owned());
            }
        };
        Ok(Some(Self {
            installation: wire.installation,
            question,
            received: Received {
                access_token: Secret::new(wire.received.access_token),
                refresh_token: wire.received.refresh_token.map(Secret::new),
                id_token: wire.received.id_token.map(Secret::new),
                expires_in: wire.received.expires_in,
            },
            at: wire.at,
            path: path.to_owned(),
        }))
    }
}

/// The temporary files of Kalit that lie in these directories, its own and those of stores: of
/// writes under way, or left by a crash.
pub fn leftover_temp_files(dirs: &[PathBuf]) -> Vec<LeftoverTemp> {
    let mut found: Vec<LeftoverTemp> = dirs
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .filter_map(|item| item.ok())
        .filter(|item| item.file_name().to_string_lossy().ends_with(TEMPORARY_SUFFIX))
        .map(|item| LeftoverTemp {
            modified: item
                .metadata()
                .ok()
                .and_then(|metadata| metadata.modified().ok())
                .and_then(|modified| modified.duration_since(std::time::UNIX_EPOCH).ok())
                .map(|since| Timestamp::from_millis(0).plus(since)),
            path: item.path(),
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup();
    found
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireOut<'a> {
    version: u32,
    installation: &'a str,
    holders: &'a [EntryHolder],
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign_in: Option<&'a AskedSignIn>,
    received: WireReceivedOut<'a>,
    at: Timestamp,
}

#[derive(Serialize)]
struct WireReceivedOut<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIn {
    version: u32,
    installation: String,
    holders: Vec<EntryHolder>,
    sent: Option<Fingerprint>,
    sign_in: Option<AskedSignIn>,
    received: WireReceivedIn,
    at: Timestamp,
}

#[derive(Deserialize)]
struct WireReceivedIn {
    access_token: String,
    refresh_token: Option<String>,
    id_token: Option<String>,
    expires_in: Option<i64>,
}

/// Counts what would be written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.reason)
    }
}

#[cfg(test)]
mod tests {
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
}
