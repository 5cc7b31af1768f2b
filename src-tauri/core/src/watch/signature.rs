//! What can be seen of files and directories without opening them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::WatchedDir;

/// What can be seen of a file without opening it; `None` when there is none.
pub(super) type Signatures = BTreeMap<PathBuf, Option<Signature>>;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signature {
    identity: Identity,
    length: u64,
    /// Since the Unix epoch.
    modified: Option<Duration>,
}

pub(super) fn signatures(dirs: &[WatchedDir]) -> Signatures {
    let mut all = BTreeMap::new();
    for dir in dirs {
        if dir.names.is_empty() {
            // A directory's own time changes with its entries.
            all.insert(dir.path.clone(), signature(&dir.path));
        }
        for name in &dir.names {
            let path = dir.path.join(name);
            let signature = signature(&path);
            all.insert(path, signature);
        }
    }
    all
}

fn signature(path: &Path) -> Option<Signature> {
    let metadata = fs::metadata(path).ok()?;
    Some(Signature {
        identity: identity(&metadata),
        length: metadata.len(),
        modified: metadata
            .modified()
            .ok()
            .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()),
    })
}

/// Tells two files of the same name apart.
pub(super) type Identity = (u64, u64);

pub(super) fn directory_identity(path: &Path) -> Option<Identity> {
    // The empty ancestor of a relative path.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    fs::metadata(path)
        .ok()
        .filter(Metadata::is_dir)
        .map(|metadata| identity(&metadata))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> Identity {
    let created = metadata
        .created()
        .ok()
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .unwrap_or_default();
    (created.as_secs(), u64::from(created.subsec_nanos()))
}

/// Where a link leads, as directory and name; `None` for what is not a link.
pub(super) fn link_target(path: &Path) -> Option<(PathBuf, OsString)> {
    fs::symlink_metadata(path)
        .ok()
        .filter(|metadata| metadata.file_type().is_symlink())?;
    let target = path.canonicalize().ok()?;
    let name: &OsStr = target.file_name()?;
    Some((target.parent()?.to_owned(), name.to_owned()))
}
