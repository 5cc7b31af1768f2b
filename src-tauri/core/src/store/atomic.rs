//! Reading and replacing one file of a store: the old content or the new one, never a part of
//! it, whatever happens in between.
//!
//! Nothing here decides what is written or whether it may be; see [`super::AgentStore`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::durable::{self, Temporary, directory_of, is_temporary, sync_directory_of};
use crate::error::{Error, ErrorCode, Result};
use crate::store::json;

/// Replaces the content of `path` (or creates it), mode 0600, durably: when this returns, the
/// bytes survive a power cut. The modification time is never carried over, because OpenClaw
/// recognises a change by it.
///
/// A symbolic link is followed once, to a regular file of this user in a directory that only
/// this user can write.
///
/// # Errors
///
/// `store.write_failed`, `store.not_a_file`, `store.symlink`, `store.unreadable` (the file
/// belongs to somebody else): nothing was changed and no temporary file is left.
/// `store.unconfirmed`: the new content is in place but may not survive a power cut.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic_if(path, bytes, || Ok(()))
}

/// Like [`write_atomic`]; `still_right` is asked at the last moment, the new content being safe
/// on disk but not yet in place. Its error is returned and nothing is changed.
pub(super) fn write_atomic_if(
    path: &Path,
    bytes: &[u8],
    still_right: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let target = resolve_target(path)?;
    let failed = |error: io::Error| write_failed(path, &error);
    let temporary = Temporary::beside(&target, bytes).map_err(failed)?;
    still_right()?;
    temporary.put_in_place().map_err(failed)?;
    sync_directory_of(&target).map_err(|error| {
        Error::new(
            ErrorCode::StoreUnconfirmed,
            say!(
                "{path} was written but could not be made durable: {error}",
                path = path.display(),
                error
            ),
        )
    })
}

/// Whether a write would be led to a place that is refused.
///
/// # Errors
///
/// As [`write_atomic`].
pub(super) fn check_target(path: &Path) -> Result<()> {
    resolve_target(path).map(drop)
}

/// Gives an existing file mode 0600, as every save of OpenClaw does. Other systems than Unix
/// have no such mode.
///
/// # Errors
///
/// As [`write_atomic`].
pub fn repair_mode(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let target = resolve_target(path)?;
        let failed = |error: io::Error| write_failed(path, &error);
        let mode = fs::metadata(&target).map_err(failed)?.permissions().mode();
        if mode & 0o7777 != 0o600 {
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        }
    }
    #[cfg(not(unix))]
    resolve_target(path)?;
    Ok(())
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
///
/// `store.write_failed`.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    durable::remove(path).map_err(|error| write_failed(path, &error))
}

/// The temporary files beside `path`: of a write that is under way, or left by a crash. Only who
/// has the exclusive right to write `path` can tell.
///
/// # Errors
///
/// Those that a write would meet.
pub(super) fn temporary_files(path: &Path) -> Result<Vec<PathBuf>> {
    let target = resolve_target(path)?;
    let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(directory_of(&target)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(write_failed(path, &error)),
    };
    let is_one = |entry: &fs::DirEntry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|other| is_temporary(other, name))
    };
    Ok(entries
        .flatten()
        .filter(is_one)
        .map(|entry| entry.path())
        .collect())
}

/// The bytes of a file, `None` when there is none. A fifo or a device is never waited for.
///
/// # Errors
///
/// `store.not_a_file`, `store.unreadable`, `store.too_large`, `store.symlink` for a link that
/// leads nowhere or in a circle.
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match open_without_waiting(path) {
        Ok(file) => file,
        Err(error) => return no_file(path, &error),
    };
    let unreadable = |error: io::Error| unreadable(path, &error.to_string());
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(not_a_file(path));
    }
    let limit = json::SIZE_LIMIT as u64;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0));
    // One byte more than allowed is enough to know.
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() >= json::SIZE_LIMIT {
        return Err(about(path, json::too_large()));
    }
    Ok(Some(bytes))
}

/// Who else could get at a store, if anybody could. It is written all the same: neither a new file
/// nor its rename can be led elsewhere, and a login that could not be stored would be lost.
///
/// # Errors
///
/// `store.exposed`. A file that cannot be looked at is not this function's business.
pub(crate) fn check_exposure(path: &Path) -> Result<()> {
    let exposed = |why: &str| {
        Err(Error::new(
            ErrorCode::StoreExposed,
            format!("{}: {why}", path.display()),
        ))
    };
    if owner::everybody_can_write(directory_of(path)) {
        return exposed(&say!("everybody can write its directory"));
    }
    if owner::has_other_names(path) {
        return exposed(&say!(
            "the file has another name (a hard link), which keeps the old tokens when it is saved"
        ));
    }
    Ok(())
}

/// `error` with the file that it is about at the front of its message.
pub(super) fn about(path: &Path, error: Error) -> Error {
    let message = format!("{}: {}", path.display(), error.message());
    Error::new(error.code(), message).with_hint(error.hint())
}

fn no_file(path: &Path, error: &io::Error) -> Result<Option<Vec<u8>>> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Err(unreadable(path, &error.to_string())),
        _ if is_link => Err(symlink(say!(
            "the link {link} leads nowhere",
            link = path.display()
        ))),
        io::ErrorKind::NotFound => Ok(None),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Err(not_a_file(path)),
        _ if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) => Err(not_a_file(path)),
        _ => Err(unreadable(path, &error.to_string())),
    }
}

#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // The bits are small positive numbers on every Unix.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    File::open(path)
}

/// Where the bytes of `path` have to go.
fn resolve_target(path: &Path) -> Result<PathBuf> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            owner::check_directory(path, directory_of(path))?;
            return Ok(path.to_owned());
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(not_a_file(path)),
        Err(error) => return Err(write_failed(path, &error)),
    };
    if metadata.is_symlink() {
        return resolve_link(path);
    }
    if !metadata.is_file() {
        return Err(not_a_file(path));
    }
    if !owner::is_this_user(&metadata) {
        return Err(unreadable(path, &say!("it belongs to another user")));
    }
    Ok(path.to_owned())
}

fn resolve_link(path: &Path) -> Result<PathBuf> {
    let nowhere = |_| symlink(say!("the link {link} leads nowhere", link = path.display()));
    let target = directory_of(path).join(fs::read_link(path).map_err(nowhere)?);
    let directory = directory_of(&target).canonicalize().map_err(nowhere)?;
    let Some(name) = target.file_name() else {
        return Err(symlink(say!(
            "the link {link} does not lead to a file",
            link = path.display()
        )));
    };
    let target = directory.join(name);
    let file = fs::symlink_metadata(&target).map_err(nowhere)?;
    if file.is_symlink() {
        return Err(symlink(say!(
            "the link {link} leads to another link",
            link = path.display()
        )));
    }
    if !file.is_file() {
        return Err(symlink(say!(
            "the link {link} does not lead to a file",
            link = path.display()
        )));
    }
    let directory = fs::metadata(&directory).map_err(nowhere)?;
    if !owner::is_this_user(&file) || !owner::is_this_user(&directory) {
        return Err(symlink(say!(
            "the link {link} leads to something of another user",
            link = path.display()
        )));
    }
    if owner::others_can_write(&directory) {
        return Err(symlink(say!(
            "the link {link} leads to a directory that others can write",
            link = path.display()
        )));
    }
    Ok(target)
}

#[cfg(unix)]
mod owner {
    use std::fs::{self, Metadata};
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use crate::error::Result;

    /// A new file in a directory of somebody else would belong to us, and OpenClaw, running as
    /// the other, could not read it (`sudo kalit`, a container's volume).
    pub(super) fn check_directory(path: &Path, directory: &Path) -> Result<()> {
        match fs::metadata(directory) {
            Ok(metadata) if is_this_user(&metadata) => Ok(()),
            Ok(_) => Err(super::unreadable(
                path,
                &say!("its directory belongs to another user"),
            )),
            Err(error) => Err(super::write_failed(path, &error)),
        }
    }

    pub(super) fn is_this_user(metadata: &Metadata) -> bool {
        metadata.uid() == rustix::process::geteuid().as_raw()
    }

    pub(super) fn others_can_write(metadata: &Metadata) -> bool {
        metadata.mode() & 0o022 != 0
    }

    /// A group is left out: OpenClaw makes its directories with the person's umask.
    pub(super) fn everybody_can_write(directory: &Path) -> bool {
        fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o002 != 0)
    }

    pub(super) fn has_other_names(file: &Path) -> bool {
        fs::metadata(file).is_ok_and(|metadata| metadata.nlink() > 1)
    }
}

/// Windows: ownership and rights are the business of the profile directory's access list.
#[cfg(not(unix))]
mod owner {
    use std::fs::Metadata;
    use std::path::Path;

    use crate::error::Result;

    pub(super) fn check_directory(_: &Path, _: &Path) -> Result<()> {
        Ok(())
    }

    pub(super) fn is_this_user(_: &Metadata) -> bool {
        true
    }

    pub(super) fn others_can_write(_: &Metadata) -> bool {
        false
    }

    pub(super) fn everybody_can_write(_: &Path) -> bool {
        false
    }

    pub(super) fn has_other_names(_: &Path) -> bool {
        false
    }
}

fn write_failed(path: &Path, error: &io::Error) -> Error {
    Error::new(
        ErrorCode::StoreWriteFailed,
        say!("cannot write {path}: {error}", path = path.display(), error),
    )
}

fn not_a_file(path: &Path) -> Error {
    Error::new(
        ErrorCode::StoreNotAFile,
        say!("{path} is not a regular file", path = path.display()),
    )
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorCode::StoreUnreadable,
        say!("cannot use {path}: {why}", path = path.display(), why),
    )
}

fn symlink(message: String) -> Error {
    Error::new(ErrorCode::StoreSymlink, message)
}

#[cfg(all(test, unix))]
mod tests;
