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
            say!("cannot list {path}", path = self.dir.display()),
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
            Error::new(ErrorCode::Internal, say!("a journal entry has no JSON")).with_source(error)
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
            say!(
                "not a journal entry at line {line} column {column}",
                line = error.line(),
                column = error.column()
            )
        })?;
        if wire.version != VERSION {
            return Err(say!(
                "a journal entry of version {version}",
                version = wire.version
            ));
        }
        let question = match (wire.sent, wire.sign_in) {
            (Some(sent), None) => Question::Refresh {
                sent,
                holders: wire.holders,
            },
            (None, Some(asked)) => Question::SignIn(asked),
            (Some(_), Some(_)) | (None, None) => {
                return Err(say!("neither an answer to a refresh nor to a sign-in"));
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
mod tests;
