//! What Kalit keeps for itself so that no login is ever lost: the rescue journal, the sealed
//! snapshots, and the key they are sealed with. Everything lies under Kalit's data directory,
//! readable by its owner only; nothing here ever touches a file of OpenClaw.
//!
//! All functions block on the disk (the keychain ones aside): async callers use
//! `spawn_blocking`.

pub mod backups;
pub mod journal;
pub mod keychain;
pub mod logins;
pub mod seal;
pub mod snapshots;
pub mod unfinished;

mod private_file;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::durable;

pub use backups::Backups;
pub use journal::{Journal, leftover_temp_files};
pub use logins::{GenerationDigest, SealedLogins};
pub use seal::{KeyLocation, SealKey, Sealer};
pub use snapshots::{Snapshots, open_snapshot};
pub use unfinished::UnfinishedRestore;

pub(crate) use private_file::{
    create_dir as create_private_dir, create_empty as create_private_file, failed as write_failed, lock_dir,
};

/// Names an installation in file names: the first 16 hexadecimal digits of SHA-256 of its
/// canonical state directory.
pub fn installation_id(canonical_state_dir: &Path) -> String {
    short_digest(canonical_state_dir.as_os_str().as_encoded_bytes())
}

/// Where Kalit keeps what belongs to one installation; `data_dir` is
/// [`crate::environment::Environment::data_dir`].
pub fn installation_dir(data_dir: &Path, canonical_state_dir: &Path) -> PathBuf {
    data_dir
        .join("installations")
        .join(installation_id(canonical_state_dir))
}

/// Removes the temporary files that a crash left in Kalit's own directories. What cannot be removed
/// now stays until the next start.
pub(crate) fn remove_abandoned(data_dir: &Path) {
    let within = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = within(data_dir.join("installations"))
        .flat_map(|installation| within(installation.path()))
        .map(|entry| entry.path())
        .chain([data_dir.join("key")]);
    for dir in dirs.filter(|dir| dir.is_dir()) {
        let _ = durable::remove_abandoned(&dir);
    }
}

/// The first 16 hexadecimal digits of SHA-256.
pub(crate) fn short_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_named_by_its_state_directory() {
        assert_eq!(installation_id(Path::new("/home/ann/.openclaw")), {
            let hex = format!("{:x}", Sha256::digest(b"/home/ann/.openclaw"));
            hex[..16].to_owned()
        });
        assert_eq!(
            installation_dir(Path::new("/data/kalit"), Path::new("/s")),
            Path::new("/data/kalit/installations").join(installation_id(Path::new("/s")))
        );
    }
}
