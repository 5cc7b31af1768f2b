//! One lock file on disk: made whole or not at all, read with what identifies it, removed only
//! while it is still the very file that was read. Knows nothing about who may do so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::clock::Timestamp;

/// No release writes more than about 100 bytes; what lies beyond is not read.
const LONGEST: u64 = 64 * 1024;

/// A lock file as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sidecar {
    pub bytes: Vec<u8>,
    pub modified: Timestamp,
    identity: Identity,
}

/// Device and inode; elsewhere the times of creation and last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

/// Makes the lock file with this content, or returns `None` when one is there already. A file
/// that could not be written whole does not stay: an empty lock blocks 2026.5.12 to 2026.6.1 for
/// ever.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<Option<Sidecar>> {
    #[cfg(target_os = "linux")]
    if let Some(created) = create_whole(path, bytes)? {
        return Ok(created);
    }
    create_exclusively(path, bytes, write_once)
}

/// The lock file that is there now; `None` when there is none. Anything but a regular file is an
/// error, and a link is not followed.
pub(super) fn read(path: &Path) -> io::Result<Option<Sidecar>> {
    match open(path) {
        Ok(file) => read_open(file).map(|(sidecar, _)| Some(sidecar)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the lock file if it is still the one that was seen, and says whether it was. Two
/// Kalits that find the same dead lock agree by an advisory lock on the file itself, so that the
/// slower one does not remove what the faster one has just made.
pub(super) fn remove_if_unchanged(path: &Path, seen: &Sidecar) -> io::Result<bool> {
    let current = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    // A file system without advisory locks still has the check below.
    #[cfg(unix)]
    if matches!(current.try_lock(), Err(fs::TryLockError::WouldBlock)) {
        return Ok(false);
    }
    let (current, _open) = read_open(current)?;
    if current.bytes != seen.bytes || current.identity != seen.identity {
        return Ok(false);
    }
    if fs::symlink_metadata(path)
        .map(|metadata| Identity::of(&metadata))
        .ok()
        != Some(seen.identity)
    {
        return Ok(false);
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A nameless file, written and then linked: whoever looks sees either nothing or the whole
/// payload, and a kill in between leaves nothing. `None` where the file system cannot do it.
#[cfg(target_os = "linux")]
fn create_whole(path: &Path, bytes: &[u8]) -> io::Result<Option<Option<Sidecar>>> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

    let Some(dir) = path.parent() else {
        return Ok(None);
    };
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let Ok(file) = open(dir, flags, Mode::from_raw_mode(0o666)) else {
        return Ok(None);
    };
    let mut file = File::from(file);
    write_once(&mut file, bytes)?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        // Asked of the name: a layered file system may number the nameless file differently.
        Ok(()) => Ok(Some(Some(Sidecar::made(&path.symlink_metadata()?, bytes)))),
        Err(rustix::io::Errno::EXIST) => Ok(Some(None)),
        Err(_) => Ok(None),
    }
}

/// As OpenClaw makes it: exclusive creation, then the payload in one write.
fn create_exclusively(
    path: &Path,
    bytes: &[u8],
    write: impl FnOnce(&mut File, &[u8]) -> io::Result<()>,
) -> io::Result<Option<Sidecar>> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        // A removed file that is still open somewhere keeps its name on Windows.
        Err(error) if cfg!(windows) && error.kind() == ErrorKind::PermissionDenied && path.exists() => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let made = write(&mut file, bytes)
        .and_then(|()| file.metadata())
        .map(|metadata| Sidecar::made(&metadata, bytes));
    if made.is_err() {
        drop(file);
        fs::remove_file(path)?;
    }
    made.map(Some)
}

fn write_once(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    match file.write(bytes)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(ErrorKind::WriteZero.into()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    if !path.symlink_metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    options.open(path)
}

fn read_open(file: File) -> io::Result<(Sidecar, File)> {
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    let mut limited = file.take(LONGEST);
    limited.read_to_end(&mut bytes)?;
    Ok((Sidecar::made(&metadata, &bytes), limited.into_inner()))
}

impl Sidecar {
    fn made(metadata: &fs::Metadata, bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            modified: modified(metadata),
            identity: Identity::of(metadata),
        }
    }

    /// Whether both were read from one file, whatever stood in it.
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Whether the file at `path` is still this one.
    pub fn is_at(&self, path: &Path) -> bool {
        matches!(read(path), Ok(Some(current))
            if current.bytes == self.bytes && current.identity == self.identity)
    }
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    #[cfg(windows)]
    fn of(metadata: &fs::Metadata) -> Self {
        use std::os::windows::fs::MetadataExt;
        Self(metadata.creation_time(), metadata.last_write_time())
    }
}

fn modified(metadata: &fs::Metadata) -> Timestamp {
    let since_epoch = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Timestamp::from_millis(0).plus(since_epoch.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_there_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let ours = create(&path, b"ours").unwrap().unwrap();
        assert_eq!(create(&path, b"theirs").unwrap(), None);
        assert_eq!(create_exclusively(&path, b"theirs", write_once).unwrap(), None);
        assert_eq!(fs::read(&path).unwrap(), b"ours");
        assert_eq!(read(&path).unwrap().as_ref(), Some(&ours));
        assert!(ours.is_at(&path));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_in_its_place_is_neither_followed_nor_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
        assert_eq!(create(&path, b"ours").unwrap(), None);
        assert!(read(&path).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let error =
            create_exclusively(&path, b"ours", |_, _| Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_changed_or_was_replaced_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let first = create(&path, b"same").unwrap().unwrap();
        // Another file with the same bytes; the first stays linked so that its inode is not reused.
        fs::rename(&path, dir.path().join("kept")).unwrap();
        create(&path, b"same").unwrap().unwrap();
        assert!(!first.is_at(&path));
        assert!(!remove_if_unchanged(&path, &first).unwrap());

        let second = read(&path).unwrap().unwrap();
        fs::write(&path, b"other").unwrap();
        assert!(!remove_if_unchanged(&path, &second).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"other");

        let third = read(&path).unwrap().unwrap();
        assert!(remove_if_unchanged(&path, &third).unwrap());
        assert!(!path.exists());
        assert!(!remove_if_unchanged(&path, &third).unwrap());
        assert_eq!(read(&path).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn while_another_process_removes_it_the_file_is_left_to_that_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let seen = create(&path, b"dead").unwrap().unwrap();
        let remover = File::open(&path).unwrap();
        remover.lock().unwrap();
        assert!(!remove_if_unchanged(&path, &seen).unwrap());
        drop(remover);
        assert!(remove_if_unchanged(&path, &seen).unwrap());
    }
}
