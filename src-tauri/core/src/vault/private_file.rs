//! Durable writing of Kalit's own files: mode 0600 from the first byte, a temporary file in the
//! same directory, fsync, rename, fsync of the directory. Never used for OpenClaw's files, which
//! are written under their locks by [`crate::store`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::TEMP_SUFFIX;
use crate::error::{Error, ErrorCode, Result};

/// Makes a directory and its missing parents, each 0700.
pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(dir).map_err(|error| failed("make", dir, error))
}

/// Replaces `path` by `bytes`. When this returns the bytes survive a power failure; when it fails
/// the old content stands.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_dir(dir)?;
    let temp = temp_name(path);
    let written = (|| {
        let mut file = create_new(&temp)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        rename(&temp, path)?;
        sync_dir(dir)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&temp);
        failed("write", path, error)
    })
}

/// Makes an empty file unless there is one.
pub(crate) fn create_empty(path: &Path) -> Result<()> {
    match create_new(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("make", path, error)),
    }
}

/// Removes a file durably; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| failed("remove", path, error))
}

/// Reads a file of at most `limit` bytes into memory that is wiped; `None` when there is none.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let unreadable = |error: io::Error| {
        Error::new(
            ErrorCode::VaultUnreadable,
            format!("cannot read {}", path.display()),
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
            format!("{} is larger than Kalit writes it", path.display()),
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
    fs4::FileExt::lock(&file).map_err(|error| failed("lock", &path, error))?;
    Ok(DirLock(file))
}

/// Takes the turn if it is free.
pub(crate) fn try_lock_dir(dir: &Path) -> Result<Option<DirLock>> {
    let (path, file) = open_lock(dir)?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(Some(DirLock(file))),
        Err(fs4::TryLockError::WouldBlock) => Ok(None),
        Err(fs4::TryLockError::Error(error)) => Err(failed("lock", &path, error)),
    }
}

fn open_lock(dir: &Path) -> Result<(PathBuf, File)> {
    create_dir(dir)?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    private(&mut options);
    match options.open(&path) {
        Ok(file) => Ok((path, file)),
        Err(error) => Err(failed("open", &path, error)),
    }
}

/// A write failure as people see it.
pub(crate) fn failed(verb: &str, path: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorCode::VaultFailed,
        format!("cannot {verb} {}", path.display()),
    )
    .with_source(error)
}

fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    options.open(path)
}

/// Readable and writable by the owner only.
pub(crate) fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = options;
}

fn temp_name(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.{:016x}{TEMP_SUFFIX}", rand::random::<u64>()))
}

#[cfg(not(windows))]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// A virus scanner or a reader may hold the target open for a moment.
#[cfg(windows)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut attempt = 0;
    loop {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && attempt < 10 => {
                attempt += 1;
                std::thread::sleep(std::time::Duration::from_millis(10 * attempt));
            }
            done => return done,
        }
    }
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
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
