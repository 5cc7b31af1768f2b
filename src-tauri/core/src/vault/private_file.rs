//! Kalit's own files: written privately and durably, read within limits, used in turns. Never for
//! OpenClaw's files, which are written under their locks by [`crate::store`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::durable::{self, Temporary, directory_of, private};
use crate::error::{Error, ErrorCode, Result};

/// Makes a directory and its missing parents, each 0700.
pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    durable::create_dir(dir).map_err(|error| failed(say!("cannot make {path}", path = dir.display()), error))
}

/// Replaces `path` by `bytes`. When this returns the bytes survive a power failure; when it fails
/// the old content stands.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    create_dir(directory_of(path))?;
    durable::replace(path, bytes)
        .map_err(|error| failed(say!("cannot write {path}", path = path.display()), error))
}

/// Takes `size` bytes on disk for what will be `path`. What stands there cannot be compressed away.
pub(crate) fn reserve(path: &Path, size: usize) -> Result<Temporary> {
    create_dir(directory_of(path))?;
    let mut filler = vec![0; size];
    rand::fill(&mut filler[..]);
    Temporary::beside(path, &filler)
        .map_err(|error| failed(say!("cannot write {path}", path = path.display()), error))
}

/// Makes an empty file unless there is one.
pub(crate) fn create_empty(path: &Path) -> Result<()> {
    match private(OpenOptions::new().write(true).create_new(true)).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(say!("cannot make {path}", path = path.display()), error)),
    }
}

/// Removes a file durably; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    durable::remove(path).map_err(|error| failed(say!("cannot remove {path}", path = path.display()), error))
}

/// Reads a file of at most `limit` bytes into memory that is wiped; `None` when there is none.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let unreadable = |error: io::Error| {
        Error::new(
            ErrorCode::VaultUnreadable,
            say!("cannot read {path}", path = path.display()),
        )
        .with_source(error)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let length = file.metadata().map_err(unreadable)?.len();
    if length > limit {
        return Err(Error::new(
            ErrorCode::VaultUnreadable,
            say!("{path} is larger than Kalit writes it", path = path.display()),
        ));
    }
    // One allocation, so that no copy of a secret stays behind in a buffer that was outgrown.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

/// Held while several Kalit processes must take turns in one directory; released on drop.
#[derive(Debug)]
pub(crate) struct DirLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

/// Waits for the turn.
pub(crate) fn lock_dir(dir: &Path) -> Result<DirLock> {
    let (path, file) = open_lock(dir)?;
    fs4::FileExt::lock(&file)
        .map_err(|error| failed(say!("cannot lock {path}", path = path.display()), error))?;
    Ok(DirLock(file))
}

/// Takes the turn if it is free.
pub(crate) fn try_lock_dir(dir: &Path) -> Result<Option<DirLock>> {
    let (path, file) = open_lock(dir)?;
    let free = durable::try_lock(&file)
        .map_err(|error| failed(say!("cannot lock {path}", path = path.display()), error))?;
    Ok(free.then_some(DirLock(file)))
}

fn open_lock(dir: &Path) -> Result<(PathBuf, File)> {
    create_dir(dir)?;
    let path = dir.join("lock");
    let file = durable::open_lock(&path)
        .map_err(|error| failed(say!("cannot open {path}", path = path.display()), error))?;
    Ok((path, file))
}

/// A write failure as people see it.
pub(crate) fn failed(message: String, error: io::Error) -> Error {
    Error::new(ErrorCode::VaultFailed, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_written_file_is_private_whole_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file.json");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, 16).unwrap().unwrap().as_slice(), b"two");
        let names: Vec<_> = fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file.json"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o600);
            assert_eq!(mode(&dir.path().join("a")), 0o700);
            assert_eq!(mode(&dir.path().join("a/b")), 0o700);
        }
    }

    #[test]
    fn a_failed_write_keeps_the_old_content_and_says_which_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        let error = write(&path, b"x").unwrap_err();
        assert_eq!(error.code(), ErrorCode::VaultFailed);
        assert_eq!(error.message(), format!("cannot write {}", path.display()));
        assert!(path.join("inside").is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn reading_is_bounded_and_a_missing_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(read(&path, 3).unwrap().is_none());
        write(&path, b"four").unwrap();
        assert_eq!(read(&path, 3).unwrap_err().code(), ErrorCode::VaultUnreadable);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
