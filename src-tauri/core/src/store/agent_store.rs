//! The store of one agent: `auth-profiles.json` and `auth-state.json` in its directory.
//!
//! Architecture invariant: the only way to write is [`AgentStore::update`], which needs the
//! guard of OpenClaw's lock for this very directory and starts from bytes read under it.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::durable;
use crate::error::{Error, ErrorCode, Result};
use crate::store::atomic::{self, about};
use crate::store::document::Document;
use crate::store::lock::StoreLock;
use crate::store::state::{AuthState, StateEdit, StateFile};

crate::keeps_secret!(StoreContent);
crate::keeps_raw_secret!(Files, FileBytes, Write);

/// The credentials of an agent, and before OpenClaw 2026.4.9 its order and usage as well.
pub const PROFILES_FILE: &str = "auth-profiles.json";

/// Order, last good profile and usage, from OpenClaw 2026.4.9 on.
pub const STATE_FILE: &str = "auth-state.json";

/// The credential database of OpenClaw 2026.6.5 and later: where it is, no JSON is written.
pub const SQLITE_FILE: &str = "openclaw-agent.sqlite";

/// How long a file that does not parse may be somebody's write in progress: releases before
/// 2026.4.9 truncate the file and then fill it.
const HALF_WRITTEN: Duration = Duration::from_millis(300);
const HALF_WRITTEN_POLL: Duration = Duration::from_millis(15);

/// One agent's store on disk. Has no memory: every read reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentStore {
    agent_dir: PathBuf,
    order_file: OrderFile,
}

/// Where the order of a provider is kept when `auth-state.json` does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderFile {
    /// `auth-profiles.json`: an older release, or none known.
    Profiles,
    /// `auth-state.json`: a release from 2026.4.9 on is known, which moves the order there.
    State,
}

/// What a store holds.
#[derive(Debug)]
pub struct StoreContent {
    /// `auth-profiles.json`; [`Document::empty`] if there is none.
    pub document: Document,
    /// The merged order, last good profiles and usage of both files.
    pub state: AuthState,
    pub revision: Revision,
    /// Whether there is an `auth-profiles.json`.
    pub exists: bool,
    /// Set when `auth-state.json` exists but cannot be used. OpenClaw then goes by the copies in
    /// `auth-profiles.json` alone, and so does `state`.
    pub state_error: Option<Error>,
    /// When the row was written last (sqlite era only).
    pub written_at: Option<Timestamp>,
}

impl StoreContent {
    /// The store of a place where there is none.
    pub(super) fn nothing() -> Self {
        Self {
            document: Document::empty(),
            state: AuthState::default(),
            revision: Revision::of([&FileBytes::Missing, &FileBytes::Missing]),
            exists: false,
            state_error: None,
            written_at: None,
        }
    }

    /// The same two documents from the cells of a database. A cell that does not parse is no
    /// empty one: the first fails the whole, the second stands in `state_error`.
    pub(crate) fn of_cells(
        store: Option<&[u8]>,
        state: Option<&[u8]>,
        written_at: Option<Timestamp>,
    ) -> Result<Self> {
        let bytes =
            |cell: Option<&[u8]>| cell.map_or(FileBytes::Missing, |bytes| FileBytes::Present(bytes.to_vec()));
        let files = Files {
            profiles: FileRead::of(bytes(store), Document::parse),
            state: FileRead::of(bytes(state), StateFile::parse),
        };
        files.content(written_at)
    }
}

impl AgentStore {
    /// The store in `agent_dir`, which need not exist. No release is known.
    pub fn new(agent_dir: impl Into<PathBuf>) -> Self {
        Self {
            agent_dir: agent_dir.into(),
            order_file: OrderFile::Profiles,
        }
    }

    /// The same store with what is known about its order file.
    #[must_use]
    pub fn with_order_file(self, order_file: OrderFile) -> Self {
        Self { order_file, ..self }
    }

    /// `<agentDir>`.
    pub fn agent_dir(&self) -> &Path {
        &self.agent_dir
    }

    /// `<agentDir>/auth-profiles.json`.
    pub fn profiles_path(&self) -> PathBuf {
        self.agent_dir.join(PROFILES_FILE)
    }

    /// `<agentDir>/auth-state.json`.
    pub fn state_path(&self) -> PathBuf {
        self.agent_dir.join(STATE_FILE)
    }

    /// The file that holds the order: `auth-state.json` if it exists or a release from 2026.4.9
    /// on is known, else `auth-profiles.json`.
    pub fn order_path(&self) -> PathBuf {
        let exists = self.state_path().symlink_metadata().is_ok();
        match self.order_file {
            OrderFile::Profiles if !exists => self.profiles_path(),
            OrderFile::Profiles | OrderFile::State => self.state_path(),
        }
    }

    /// Creates the agent directory, mode 0700, where it is missing: its lock needs it.
    ///
    /// # Errors
    ///
    /// `store.write_failed`, `store.not_a_file`.
    pub fn create_dir(&self) -> Result<()> {
        durable::create_dir(&self.agent_dir).map_err(|error| {
            let code = match error.kind() {
                ErrorKind::AlreadyExists | ErrorKind::NotADirectory => ErrorCode::StoreNotAFile,
                _ => ErrorCode::StoreWriteFailed,
            };
            let dir = self.agent_dir.display();
            Error::new(
                code,
                say!("cannot create the directory {dir}: {error}", dir, error),
            )
        })
    }

    /// Reads both files without the lock: a hint, never the basis of a write. Blocks up to 0.3 s
    /// while a file does not parse, because somebody may be writing it.
    ///
    /// # Errors
    ///
    /// What is wrong with `auth-profiles.json`: `store.unparsable`, `store.wrong_shape`,
    /// `store.too_large`, `store.not_a_file`, `store.unreadable`, `store.symlink`.
    pub fn read(&self) -> Result<StoreContent> {
        self.read_files().content(None)
    }

    /// Whether [`AgentStore::update`] would take a change of a profile, as far as that can be seen
    /// before. Changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`AgentStore::update`].
    pub fn check_writable(&self) -> Result<()> {
        self.check_era()?;
        let path = self.profiles_path();
        match self.read()?.document.flaw() {
            Some(flaw) => Err(about(&path, flaw)),
            None => atomic::check_target(&path),
        }
    }

    /// The revision of the two files as they are this moment, whatever state they are in. Never
    /// waits and never parses: for telling whether there is something new to read.
    pub fn revision(&self) -> Revision {
        Revision::of([
            &FileBytes::read(&self.profiles_path()),
            &FileBytes::read(&self.state_path()),
        ])
    }

    /// The two files as they are this moment, those that can be read, with their revision.
    pub(crate) fn bytes(&self) -> (Revision, Vec<NamedBytes>) {
        let paths = [self.profiles_path(), self.state_path()];
        let files = [FileBytes::read(&paths[0]), FileBytes::read(&paths[1])];
        let revision = Revision::of([&files[0], &files[1]]);
        let there = paths
            .into_iter()
            .zip(files)
            .filter_map(|(path, file)| match file {
                FileBytes::Present(bytes) => Some((path, Zeroizing::new(bytes))),
                FileBytes::Missing | FileBytes::Unusable(_) => None,
            });
        (revision, there.collect())
    }

    /// Changes the store under its lock, from bytes read under it.
    ///
    /// `edit` changes the document, and through [`StateEdit`] the order and cooldowns; a profile that it
    /// removes vanishes from order, last good profiles and usage of both files. If `edit` fails
    /// nothing is written. A file that `edit` left as it was is not written, only its mode is
    /// repaired. `auth-profiles.json` is written first, `auth-state.json` second; the latter is
    /// deleted when the edit left nothing in it, as OpenClaw does. Then both are read back.
    ///
    /// # Errors
    ///
    /// Those of [`AgentStore::read`], and nothing was changed: `store.duplicate_keys`,
    /// `era.sqlite` or `era.mixed` (the database of a later OpenClaw lies in the directory),
    /// `store.changed` (somebody wrote without the lock in the meantime), `store.write_failed`,
    /// `store.symlink`, `order.invalid`. `store.unconfirmed`: written, but something else was
    /// found afterwards.
    pub fn update<T>(
        &self,
        lock: &StoreLock,
        edit: impl FnOnce(&mut Document, &mut StateEdit) -> Result<T>,
    ) -> Result<(T, Revision)> {
        self.change(lock, None, edit)
    }

    /// Like [`AgentStore::update`], for a store whose `auth-profiles.json` does not parse: the edit
    /// begins with what can be recovered of it, and the file is replaced. The one way in which a
    /// file that does not parse is ever overwritten: `sealed` are its bytes, of which the caller
    /// has a sealed copy, and a person has consented.
    ///
    /// # Errors
    ///
    /// Those of [`AgentStore::update`]; `store.changed` when the file has other bytes than `sealed`,
    /// or parses.
    pub fn repair<T>(
        &self,
        lock: &StoreLock,
        sealed: &[u8],
        edit: impl FnOnce(&mut Document, &mut StateEdit) -> Result<T>,
    ) -> Result<(T, Revision)> {
        self.change(lock, Some(sealed), edit)
    }

    /// `broken`: the bytes of an `auth-profiles.json` that does not parse and is to be replaced.
    fn change<T>(
        &self,
        lock: &StoreLock,
        broken: Option<&[u8]>,
        edit: impl FnOnce(&mut Document, &mut StateEdit) -> Result<T>,
    ) -> Result<(T, Revision)> {
        self.check_guard(lock)?;
        self.check_era()?;
        let files = self.read_files();
        let mut state_edit = StateEdit::new(files.merged_state());
        // `None` when what is there cannot stay.
        let document_before = match (broken, files.profiles.content) {
            (None, content) => Some(content?.unwrap_or_else(Document::empty)),
            (Some(broken), Err(_)) if files.profiles.bytes.are(broken) => None,
            (Some(_), Ok(_) | Err(_)) => {
                let path = self.profiles_path();
                let changed = say!("{path} changed while it was looked at", path = path.display());
                return Err(Error::new(ErrorCode::StoreChanged, changed));
            }
        };
        let (state_before, state_error) = match files.state.content {
            Ok(state_file) => (state_file.unwrap_or_else(StateFile::empty), None),
            Err(error) => (StateFile::empty(), Some(error)),
        };
        let recovered = || {
            broken
                .and_then(Document::recovered)
                .unwrap_or_else(Document::empty)
        };
        let mut document = document_before.clone().unwrap_or_else(recovered);
        let mut state_file = state_before.clone();

        let outcome = edit(&mut document, &mut state_edit)?;

        let order_in_state_file = self.order_path() == self.state_path();
        state_edit.apply(&mut document, &mut state_file, order_in_state_file)?;
        let removed = document_before
            .as_ref()
            .map_or_else(Vec::new, |before| before.ids_missing_in(&document));
        for id in &removed {
            state_file.forget(id);
        }
        if let Some(error) = state_error
            && (!removed.is_empty() || state_edit.changes_something())
        {
            return Err(error);
        }

        // Both are formatted before either is written: a refusal must not come halfway.
        let (profiles_path, state_path) = (self.profiles_path(), self.state_path());
        let profiles = match document.to_bytes() {
            _ if document_before
                .as_ref()
                .is_some_and(|before| document.is_same(before)) =>
            {
                Write::Nothing
            }
            Ok(bytes) => Write::Content(bytes),
            Err(error) => return Err(about(&profiles_path, error)),
        };
        let state = match state_file.to_bytes() {
            _ if state_file == state_before => Write::Nothing,
            Ok(_) if state_file.is_blank() => Write::Deletion,
            Ok(bytes) => Write::Content(bytes),
            Err(error) => return Err(about(&state_path, error)),
        };
        // OpenClaw 2026.2.17 steals a lock after 30 s even from the living.
        if !lock.verify() {
            return Err(Error::new(
                ErrorCode::LockBroken,
                say!("the store's lock was taken over"),
            ));
        }
        profiles.carry_out(&profiles_path, &files.profiles.bytes)?;
        state
            .carry_out(&state_path, &files.state.bytes)
            .map_err(|error| profiles.already_done(error))?;
        if matches!(
            (&profiles, &files.profiles.bytes),
            (Write::Nothing, FileBytes::Present(_))
        ) {
            atomic::repair_mode(&profiles_path)?;
        }

        let profiles_now = FileBytes::read(&profiles_path);
        let state_now = FileBytes::read(&state_path);
        profiles.confirm(&profiles_path, &profiles_now)?;
        state.confirm(&state_path, &state_now)?;
        Ok((outcome, Revision::of([&profiles_now, &state_now])))
    }

    /// Whether Kalit's temporary files lie beside the store's: somebody is writing, or a crash
    /// left them. [`AgentStore::remove_leftovers`] tells.
    pub fn has_temporary_files(&self) -> bool {
        self.temporary_files().is_ok_and(|files| !files.is_empty())
    }

    /// Removes temporary files that a crash of Kalit left. Every Kalit that writes here holds the
    /// lock, so whoever has it knows that nobody is writing them.
    ///
    /// # Errors
    ///
    /// `store.write_failed`, and those that a write would meet.
    pub fn remove_leftovers(&self, lock: &StoreLock) -> Result<()> {
        self.check_guard(lock)?;
        self.temporary_files()?
            .iter()
            .try_for_each(|file| atomic::remove_file(file))
    }

    fn temporary_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = atomic::temporary_files(&self.profiles_path())?;
        files.append(&mut atomic::temporary_files(&self.state_path())?);
        Ok(files)
    }

    fn read_files(&self) -> Files {
        let deadline = Instant::now() + HALF_WRITTEN;
        Files {
            profiles: FileRead::settled(&self.profiles_path(), deadline, Document::parse),
            state: FileRead::settled(&self.state_path(), deadline, StateFile::parse),
        }
    }

    fn check_guard(&self, lock: &StoreLock) -> Result<()> {
        let same = match (lock.agent_dir().canonicalize(), self.agent_dir.canonicalize()) {
            (Ok(locked), Ok(own)) => locked == own,
            (Err(_), _) | (_, Err(_)) => false,
        };
        if same {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::Internal,
            say!(
                "the lock of {locked} was used for {path}",
                locked = lock.agent_dir().display(),
                path = self.agent_dir.display()
            ),
        ))
    }

    /// OpenClaw may have been updated while this process runs.
    pub(crate) fn check_era(&self) -> Result<()> {
        let database = self.agent_dir.join(SQLITE_FILE);
        if database.symlink_metadata().is_err() {
            return Ok(());
        }
        let code = if self.profiles_path().symlink_metadata().is_ok() {
            ErrorCode::EraMixed
        } else {
            ErrorCode::EraSqlite
        };
        let found = say!(
            "there is a {file} in {path}",
            file = SQLITE_FILE,
            path = self.agent_dir.display()
        );
        Err(Error::new(code, found))
    }
}

/// A file and what is in it.
pub(crate) type NamedBytes = (PathBuf, Zeroizing<Vec<u8>>);

/// Tells one content of the two files from another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; 32]);

impl Revision {
    fn of(files: [&FileBytes; 2]) -> Self {
        let mut hasher = Sha256::new();
        for file in files {
            match file {
                FileBytes::Missing => hasher.update(b"missing;"),
                FileBytes::Unusable(error) => hasher.update(format!("{};", error.code().as_str())),
                FileBytes::Present(bytes) => {
                    hasher.update(format!("{}:", bytes.len()));
                    hasher.update(bytes);
                }
            }
        }
        Self(hasher.finalize().into())
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(formatter, "Revision({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// Both files as one read found them.
struct Files {
    profiles: FileRead<Document>,
    state: FileRead<StateFile>,
}

impl Files {
    fn revision(&self) -> Revision {
        Revision::of([&self.profiles.bytes, &self.state.bytes])
    }

    fn content(self, written_at: Option<Timestamp>) -> Result<StoreContent> {
        let revision = self.revision();
        let state = self.merged_state();
        let document = self.profiles.content?;
        Ok(StoreContent {
            exists: document.is_some(),
            document: document.unwrap_or_else(Document::empty),
            state,
            revision,
            state_error: self.state.content.err(),
            written_at,
        })
    }

    fn merged_state(&self) -> AuthState {
        let older = self.profiles.content().map(Document::state);
        let newer = self.state.content().map(StateFile::state);
        older.unwrap_or_default().overlaid_by(newer.unwrap_or_default())
    }
}

/// One file: its bytes and what they mean.
struct FileRead<T> {
    bytes: FileBytes,
    /// `None` when there is no file.
    content: Result<Option<T>>,
}

impl<T> FileRead<T> {
    /// Reads until the content parses or `deadline` has passed.
    fn settled(path: &Path, deadline: Instant, parse: fn(&[u8]) -> Result<T>) -> Self {
        loop {
            let read = Self::once(path, parse);
            let may_be_half_written = matches!(
                (&read.bytes, &read.content),
                (FileBytes::Present(_), Err(error)) if error.code() == ErrorCode::StoreUnparsable
            );
            if !may_be_half_written || Instant::now() >= deadline {
                return read;
            }
            std::thread::sleep(HALF_WRITTEN_POLL);
        }
    }

    fn once(path: &Path, parse: fn(&[u8]) -> Result<T>) -> Self {
        Self::of(FileBytes::read(path), |bytes| {
            parse(bytes).map_err(|error| about(path, error))
        })
    }

    fn of(bytes: FileBytes, parse: impl FnOnce(&[u8]) -> Result<T>) -> Self {
        let content = match &bytes {
            FileBytes::Missing => Ok(None),
            FileBytes::Unusable(error) => Err(Error::new(error.code(), error.message())),
            FileBytes::Present(bytes) => parse(bytes).map(Some),
        };
        Self { bytes, content }
    }

    fn content(&self) -> Option<&T> {
        self.content.as_ref().ok()?.as_ref()
    }
}

enum FileBytes {
    Missing,
    Present(Vec<u8>),
    Unusable(Error),
}

impl FileBytes {
    fn read(path: &Path) -> Self {
        match atomic::read_file(path) {
            Ok(Some(bytes)) => Self::Present(bytes),
            Ok(None) => Self::Missing,
            Err(error) => Self::Unusable(error),
        }
    }

    fn are(&self, expected: &[u8]) -> bool {
        match self {
            Self::Present(bytes) => bytes == expected,
            Self::Missing | Self::Unusable(_) => false,
        }
    }

    fn is_same(&self, other: &FileBytes) -> bool {
        match (self, other) {
            (Self::Missing, Self::Missing) => true,
            (Self::Present(bytes), Self::Present(other)) => bytes == other,
            (Self::Missing | Self::Present(_) | Self::Unusable(_), _) => false,
        }
    }
}

/// What an update does to one of the files.
enum Write {
    Nothing,
    Content(Vec<u8>),
    Deletion,
}

impl Write {
    /// `before` is what the edit started from. OpenClaw 2026.2.17 writes without the lock at
    /// times (login, paste-token): such a change must not be lost, so it is looked for at the
    /// last moment.
    fn carry_out(&self, path: &Path, before: &FileBytes) -> Result<()> {
        let unchanged = || {
            if FileBytes::read(path).is_same(before) {
                return Ok(());
            }
            let changed = say!("{path} changed while it was edited", path = path.display());
            Err(Error::new(ErrorCode::StoreChanged, changed))
        };
        match self {
            Self::Nothing => Ok(()),
            Self::Content(bytes) => atomic::write_atomic_if(path, bytes, unchanged),
            Self::Deletion => unchanged().and_then(|()| atomic::remove_file(path)),
        }
    }

    fn confirm(&self, path: &Path, now: &FileBytes) -> Result<()> {
        let confirmed = match (self, now) {
            (Self::Nothing, _) | (Self::Deletion, FileBytes::Missing) => true,
            (Self::Content(written), FileBytes::Present(found)) => written == found,
            (Self::Content(_) | Self::Deletion, _) => false,
        };
        if confirmed {
            return Ok(());
        }
        let other = say!("{path} does not hold what was written", path = path.display());
        Err(Error::new(ErrorCode::StoreUnconfirmed, other))
    }

    /// An error of the second file, the first having been dealt with by `self`.
    fn already_done(&self, error: Error) -> Error {
        match self {
            Self::Nothing => error,
            Self::Content(_) | Self::Deletion => {
                let message = say!("the accounts were written, but not their order: {error}", error);
                Error::new(error.code(), message).with_hint(say!("Run `kalit status`, then try again."))
            }
        }
    }
}

#[cfg(test)]
mod tests;
