//! How Kalit opens a database of OpenClaw's: for reading, never as immutable (the newest tokens
//! may stand in the write-ahead log), and so that nothing is left behind where that can be.
//!
//! A read-only connection to a database in WAL mode needs `-shm` and `-wal` beside it and, being
//! read-only, cannot remove them when it closes (SQLite 3.40, observed). So a database whose log
//! is missing or empty is looked at in memory: it is whole then, and a check before and after the
//! copy tells that nobody began to write meanwhile. With content in the log somebody has the
//! database open, or died with it: `mode=ro` finds the files there, reads what the log holds, and
//! only after a crash may leave `-shm` behind. The same goes for databases above
//! [`MAX_IN_MEMORY`], which would cost too much to copy.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, ErrorCode as SqliteCode, MAIN_DB, OpenFlags};

use crate::error::{Error, ErrorCode, Result};

/// Databases up to this size are looked at in memory.
const MAX_IN_MEMORY: u64 = 64 * 1024 * 1024;
/// As long as OpenClaw itself waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A database that is open for reading.
pub(crate) struct Opened {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    /// What the copy in memory is a copy of.
    copy_of: Option<(PathBuf, Stamp)>,
}

/// By which a changed file is told from the one that was copied.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

/// The copies of one look.
#[derive(Default)]
struct Kept {
    copies: HashMap<PathBuf, (Stamp, Connection)>,
    bytes: u64,
}

/// More than this is not kept.
const MAX_KEPT: u64 = 16 * 1024 * 1024;

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Option<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives, a database that is read several times is copied, and its schema parsed, once.
/// Each time the file is compared with what was copied.
pub(crate) struct OneLook {
    begun_here: bool,
}

impl OneLook {
    pub(crate) fn begin() -> Self {
        let mut kept = kept();
        let begun_here = kept.is_none();
        kept.get_or_insert_default();
        Self { begun_here }
    }
}

impl Drop for OneLook {
    fn drop(&mut self) {
        if self.begun_here {
            *kept() = None;
        }
    }
}

/// Copies a database and parses its schema while something else is waited for; without a look there
/// is nobody to keep it.
pub(crate) fn prepare(path: &Path) {
    if kept().is_some()
        && let Ok(opened) = open(path)
    {
        // Whatever it answers: the schema is parsed then.
        let _ = opened.query_row("SELECT 1 FROM sqlite_master", [], |_| Ok(()));
    }
}

/// Whether this look has a copy, so that opening it costs next to nothing.
pub(crate) fn is_at_hand(path: &Path) -> bool {
    kept().as_ref().is_some_and(|kept| kept.copies.contains_key(path))
}

impl Opened {
    fn directly(connection: Connection) -> Self {
        Self {
            connection: Some(connection),
            copy_of: None,
        }
    }

    /// The copy that this look has made already, if it is still one.
    fn kept(path: &Path, stamp: Stamp) -> Option<Self> {
        let (old, connection) = {
            let mut kept = kept();
            let kept = kept.as_mut()?;
            let found = kept.copies.remove(path)?;
            kept.bytes -= found.0.length;
            found
        };
        (old == stamp).then(|| Self {
            connection: Some(connection),
            copy_of: Some((path.to_owned(), stamp)),
        })
    }
}

impl Deref for Opened {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        // invariant: taken in `drop` alone.
        self.connection.as_ref().expect("an open connection")
    }
}

impl DerefMut for Opened {
    fn deref_mut(&mut self) -> &mut Connection {
        // invariant: taken in `drop` alone.
        self.connection.as_mut().expect("an open connection")
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let (Some(connection), Some((path, stamp))) = (self.connection.take(), self.copy_of.take()) else {
            return;
        };
        let mut kept = kept();
        let Some(kept) = kept.as_mut() else { return };
        if kept.bytes + stamp.length <= MAX_KEPT {
            kept.bytes += stamp.length;
            let replaced = kept.copies.insert(path, (stamp, connection));
            kept.bytes -= replaced.map_or(0, |(stamp, _)| stamp.length);
        }
    }
}

/// A connection that only reads, to be closed at once: an open reader keeps OpenClaw from
/// emptying its log. Blocks up to five seconds while another process has the database locked.
///
/// # Errors
/// `store.not_a_file`, `store.unreadable`, `store.busy`, `store.corrupt`.
pub(crate) fn open(path: &Path) -> Result<Opened> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(Error::new(
            ErrorCode::StoreNotAFile,
            say!("{path} is not a file", path = path.display()),
        ));
    }
    let stamp = Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
    };
    if metadata.len() <= MAX_IN_MEMORY && wal_is_empty(path) {
        if let Some(kept) = Opened::kept(path, stamp) {
            return Ok(kept);
        }
        let bytes = read_whole(path).map_err(|error| unreadable(path, &error))?;
        let steady = fs::metadata(path).is_ok_and(|again| {
            again.len() == bytes.len() as u64 && again.modified().ok() == metadata.modified().ok()
        });
        if steady && wal_is_empty(path) {
            return Ok(Opened {
                connection: Some(in_memory(bytes).map_err(|error| failed(path, &error))?),
                copy_of: Some((path.to_owned(), stamp)),
            });
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| failed(path, &error))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(|error| failed(path, &error))?;
    Ok(Opened::directly(connection))
}

/// What SQLite's refusal means. Its own messages can quote SQL but never a value; only the name
/// of the code is told.
pub(crate) fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    let code = match error.sqlite_error_code() {
        Some(SqliteCode::DatabaseBusy | SqliteCode::DatabaseLocked) => ErrorCode::StoreBusy,
        Some(SqliteCode::DatabaseCorrupt | SqliteCode::NotADatabase) => ErrorCode::StoreCorrupt,
        Some(_) | None => ErrorCode::StoreUnreadable,
    };
    let text = match error.sqlite_error_code() {
        Some(SqliteCode::DatabaseBusy | SqliteCode::DatabaseLocked) => {
            say!("another program has locked it")
        }
        Some(code) => say!("SQLite says {code}", code = format_args!("{code:?}")),
        None => say!("it does not answer as a database of OpenClaw does"),
    };
    Error::new(code, format!("{}: {text}", path.display()))
}

fn in_memory(mut bytes: Vec<u8>) -> Result<Connection, rusqlite::Error> {
    let mut connection = Connection::open_in_memory()?;
    if bytes.is_empty() {
        return Ok(connection);
    }
    // Bytes 18 and 19 of the header ask for a log file, which memory has not (sqlite.org,
    // "Database File Format", 1.3.3).
    if let Some(versions) = bytes.get_mut(18..20) {
        versions.fill(1);
    }
    connection.deserialize_read_exact(MAIN_DB, bytes.as_slice(), bytes.len(), true)?;
    Ok(connection)
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_IN_MEMORY).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the database file alone is the whole database.
pub(super) fn wal_is_empty(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    match fs::metadata(wal) {
        Ok(metadata) => metadata.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::new(
        ErrorCode::StoreUnreadable,
        format!("{}: {}", path.display(), error.kind()),
    )
}
