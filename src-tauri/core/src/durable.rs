//! Replacing a file by new content, private and durable: mode 0600 from the first byte, a
//! temporary file in the same directory, fsync, rename, fsync of the directory. A reader sees the
//! old content or the new one, never a part of it.
//!
//! Nothing here decides whether a file may be written, or follows a link: callers name the file
//! that is meant. OpenClaw's files are written by [`crate::store`] only, under their locks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use fs4::{FileExt, TryLockError};

/// How every temporary file of Kalit ends, in its own directories and in OpenClaw's. The whole
/// name is `<name>.<32 hex>.kalit.tmp`.
pub(crate) const TEMPORARY_SUFFIX: &str = ".kalit.tmp";

/// Replaces `path` by `bytes`, or creates it. When this returns the bytes survive a power cut;
/// when it fails no temporary file is left.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Temporary::beside(path, bytes)?.put_in_place()?;
    sync_directory_of(path)
}

/// Removes a file durably; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a directory and its missing parents, each 0700.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Files made with these options are readable and writable by the owner only.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Opens a file by which Kalit's own processes take turns, and makes it if there is none.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    private(OpenOptions::new().write(true).create(true).truncate(false)).open(path)
}

/// Takes the turn if it is free: whether it was. It lasts as long as the file is open; the system
/// frees it when the process ends.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match FileExt::try_lock(file) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The new content of a file, safe on disk but not yet in place; removed unless it gets there.
pub(crate) struct Temporary {
    target: PathBuf,
    pub(crate) path: PathBuf,
    in_place: bool,
    /// Locked as long as it is open: nobody takes it for what a crash left.
    file: File,
}

impl Temporary {
    /// Writes the content beside `target`.
    pub(crate) fn beside(target: &Path, bytes: &[u8]) -> io::Result<Self> {
        let (path, file) = create_beside(target)?;
        let mut temporary = Self {
            target: target.to_owned(),
            path,
            in_place: false,
            file,
        };
        let file = &mut temporary.file;
        #[cfg(unix)]
        {
            // A umask may have taken the owner's own bits away.
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(temporary)
    }

    /// Writes other content over what it holds, into room that is its own already, and makes that the
    /// target, durably.
    pub(crate) fn fill(mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(bytes)?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync_all()?;
        let target = self.target.clone();
        self.put_in_place()?;
        sync_directory_of(&target)
    }

    /// Makes it the target. Lasting only after [`sync_directory_of`].
    pub(crate) fn put_in_place(mut self) -> io::Result<()> {
        rename(&self.path, &self.target)?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.in_place {
            // Nobody can be told from here; what stays is removed at a later start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A new file with a name of its own, locked.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    loop {
        let mut name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{:032x}{TEMPORARY_SUFFIX}", rand::random::<u128>()));
        let path = target.with_file_name(name);
        let file = private(OpenOptions::new().write(true).create_new(true)).open(&path)?;
        match try_lock(&file) {
            // Who removes what a crash left was faster than the lock.
            Ok(locked) if !locked || !path.exists() => {}
            // A file system without such locks: nothing is removed there either.
            Ok(_) | Err(_) => return Ok((path, file)),
        }
    }
}

/// Removes the temporary files in `dir` that nobody is writing any more.
pub(crate) fn remove_abandoned(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if !path
            .as_os_str()
            .as_encoded_bytes()
            .ends_with(TEMPORARY_SUFFIX.as_bytes())
        {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        if matches!(try_lock(&file), Ok(true)) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Whether `name` is that of a temporary file beside a file named `of`.
pub(crate) fn is_temporary(name: &str, of: &str) -> bool {
    let random = name
        .strip_prefix(of)
        .and_then(|rest| rest.strip_prefix('.')?.strip_suffix(TEMPORARY_SUFFIX));
    random.is_some_and(|random| random.len() == 32 && random.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The directory that a path lies in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes a rename beside `path` durable. File systems that cannot sync a directory say so with
/// `EINVAL`; they have nothing better to offer.
#[cfg(unix)]
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    match fs::File::open(directory_of(path))?.sync_all() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(not(unix))]
pub(crate) fn sync_directory_of(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(windows))]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// A scanner or an indexer may have the target open for a moment: wait for it, 1 s in all.
#[cfg(windows)]
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    use std::time::Duration;
    let mut pause = Duration::from_millis(10);
    for _ in 0..7 {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            result => return result,
        }
    }
    fs::rename(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_any_more_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("entry.json");
        let living = Temporary::beside(&target, b"new").unwrap();
        let dead = dir.path().join("entry.json.0123.kalit.tmp");
        fs::write(&dead, b"half").unwrap();
        fs::write(dir.path().join("other.tmp"), b"").unwrap();
        remove_abandoned(dir.path()).unwrap();
        assert!(!dead.exists());
        living.put_in_place().unwrap();
        remove_abandoned(dir.path()).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
