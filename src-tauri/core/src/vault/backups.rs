//! Sealed images of OpenClaw's databases, taken before Kalit changes them: what to go back to by
//! hand if that should ever be necessary. Each opens with the key of the sealed copies (age) and
//! is a SQLite database then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::private_file::{self, DirLock};
use super::seal::Sealer;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};

/// How many changes can be gone back.
const NEWEST: usize = 3;
const EXTENSION: &str = ".sqlite.age";

/// The images of one installation.
#[derive(Clone, Debug)]
pub struct Backups {
    dir: PathBuf,
}

impl Backups {
    /// `installation_dir` is [`super::installation_dir`].
    pub fn open(installation_dir: &Path) -> Self {
        Self {
            dir: installation_dir.join("backups"),
        }
    }

    /// Waits until no other Kalit process changes a database of this installation.
    ///
    /// # Errors
    /// `vault.failed`.
    pub(crate) fn take_turn(&self) -> Result<DirLock> {
        private_file::lock_dir(&self.dir)
    }

    /// Seals an image; durable on return. `at` is the same for all images of one change, `name`
    /// tells them apart: lower-case letters, digits, `-` and `_`.
    ///
    /// # Errors
    /// `vault.failed`.
    pub fn add(&self, sealer: &Sealer, at: Timestamp, name: &str, image: &[u8]) -> Result<()> {
        let file = format!("{:014}-{name}{EXTENSION}", at.as_millis().max(0));
        private_file::write(&self.dir.join(file), &sealer.seal(image)?)
    }

    /// Drops all but those of the newest three changes.
    ///
    /// # Errors
    /// `vault.failed`, `vault.unreadable`.
    pub fn drop_old(&self) -> Result<()> {
        let unlistable = |error: io::Error| {
            let what = say!("cannot list {path}", path = self.dir.display());
            Error::new(ErrorCode::VaultUnreadable, what).with_source(error)
        };
        let mut files = Vec::new();
        for item in fs::read_dir(&self.dir).map_err(unlistable)? {
            let name = item.map_err(unlistable)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(EXTENSION)) else {
                continue;
            };
            if let Some((at, _)) = name.split_once('-') {
                files.push((at.to_owned(), self.dir.join(name)));
            }
        }
        let mut times: Vec<String> = files.iter().map(|(at, _)| at.clone()).collect();
        times.sort();
        times.dedup();
        let kept = times.split_off(times.len().saturating_sub(NEWEST));
        let old = files.iter().filter(|(at, _)| !kept.contains(at));
        old.map(|(_, path)| path)
            .try_for_each(|path| private_file::remove(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::SealKey;

    #[test]
    fn the_images_of_the_newest_three_changes_stay_and_open_with_the_key() {
        let data = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(data.path()).unwrap();
        let backups = Backups::open(data.path());
        for at in 1..=4 {
            for name in ["main", "shared"] {
                let at = Timestamp::from_millis(at);
                backups.add(&sealer, at, name, b"SQLite format 3").unwrap();
            }
        }
        backups.drop_old().unwrap();
        let mut names: Vec<_> = fs::read_dir(data.path().join("backups"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 6);
        assert_eq!(names[0], "00000000000002-main.sqlite.age");
        let sealed = fs::read(data.path().join("backups").join(&names[0])).unwrap();
        let key = SealKey::from_file(data.path()).unwrap().unwrap();
        assert_eq!(key.unseal(&sealed).unwrap().as_slice(), b"SQLite format 3");
    }
}
