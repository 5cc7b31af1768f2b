//! Sealing: anyone may lock, only the key opens. The public key is a file, so sealing never
//! prompts and never touches the keychain; the private key is asked for only when a person wants
//! something opened. Format: age v1 with one X25519 recipient (age-encryption.org/v1).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use zeroize::Zeroizing;

use super::private_file;
use crate::error::{Error, ErrorCode, Result};

crate::keeps_secret!(SealKey);

const PUBLIC_FILE: &str = "seal.pub";
const PRIVATE_FILE: &str = "seal.key";
/// Says that the private key went into the keychain; written before the file is removed.
const MOVED_FILE: &str = "seal.moved";
const KEY_FILE_LIMIT: u64 = 4096;

/// Seals with the public key under `<data>/kalit/key/`.
#[derive(Clone)]
pub struct Sealer {
    recipient: Recipient,
}

/// Where the private key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyLocation {
    /// In the 0600 file beside the public key.
    File,
    /// A person moved it into the system's keychain.
    Keychain,
    /// Nothing was sealed yet, or the key is gone: then older seals cannot be opened.
    Missing,
}

/// The private key. Lives only while something is opened or moved.
pub struct SealKey(Identity);

impl Sealer {
    /// Loads the public key; at the very first time makes the pair. A public key whose private
    /// key is gone keeps sealing: the person may have put the key away, and `doctor` reports it.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let public = key_path(data_dir, PUBLIC_FILE);
        if let Some(recipient) = read_public(&public)? {
            return Ok(Self { recipient });
        }
        let _turn = private_file::lock_dir(&key_dir(data_dir))?;
        if let Some(recipient) = read_public(&public)? {
            return Ok(Self { recipient });
        }
        let key = match SealKey::from_file(data_dir)? {
            Some(key) => key,
            None => {
                let key = SealKey(Identity::generate());
                private_file::write(&key_path(data_dir, PRIVATE_FILE), &key.to_text())?;
                key
            }
        };
        let recipient = key.0.to_public();
        private_file::write(&public, format!("{recipient}\n").as_bytes())?;
        Ok(Self { recipient })
    }

    /// Encrypts. Needs no private key.
    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        age::encrypt(&self.recipient, plain)
            .map_err(|error| Error::new(ErrorCode::VaultFailed, say!("cannot seal")).with_source(error))
    }

    /// The public key as age writes it (`age1…`).
    pub fn public_key(&self) -> String {
        self.recipient.to_string()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealer({})", self.recipient)
    }
}

impl SealKey {
    /// The key in its file; `None` when there is no file.
    pub fn from_file(data_dir: &Path) -> Result<Option<Self>> {
        let path = key_path(data_dir, PRIVATE_FILE);
        private_file::read(&path, KEY_FILE_LIMIT)?
            .map(|bytes| {
                Self::parse(&bytes).ok_or_else(|| {
                    Error::new(
                        ErrorCode::VaultUnreadable,
                        say!("{path} holds no key", path = path.display()),
                    )
                })
            })
            .transpose()
    }

    /// Parses `AGE-SECRET-KEY-1…`, surrounding white space allowed.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        Identity::from_str(text.trim()).ok().map(Self)
    }

    /// The key as a line of text.
    pub(super) fn to_text(&self) -> Zeroizing<Vec<u8>> {
        let text = self.0.to_string();
        let mut line = Zeroizing::new(Vec::with_capacity(text.expose_secret().len() + 1));
        line.extend_from_slice(text.expose_secret().as_bytes());
        line.push(b'\n');
        line
    }

    /// Decrypts what [`Sealer::seal`] made for this key.
    pub fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        age::decrypt(&self.0, sealed)
            .map(Zeroizing::new)
            .map_err(|error| {
                Error::new(
                    ErrorCode::VaultUnreadable,
                    say!("the sealed copy was made for another key or is damaged"),
                )
                .with_source(error)
            })
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> String {
        self.0.to_public().to_string()
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealKey(…)")
    }
}

/// Where the private key is, without reading it and without touching the keychain.
pub fn key_location(data_dir: &Path) -> KeyLocation {
    let there = |name| key_path(data_dir, name).symlink_metadata().is_ok();
    if there(PRIVATE_FILE) {
        KeyLocation::File
    } else if there(MOVED_FILE) {
        KeyLocation::Keychain
    } else {
        KeyLocation::Missing
    }
}

/// The key went into the keychain and was read back from there: its file may go.
pub(super) fn forget_file(data_dir: &Path, account: &str) -> Result<()> {
    private_file::write(&key_path(data_dir, MOVED_FILE), format!("{account}\n").as_bytes())?;
    private_file::remove(&key_path(data_dir, PRIVATE_FILE))
}

/// The stored public key; `None` before the first sealing.
pub(super) fn stored_public_key(data_dir: &Path) -> Result<Option<String>> {
    Ok(read_public(&key_path(data_dir, PUBLIC_FILE))?.map(|recipient| recipient.to_string()))
}

fn read_public(path: &Path) -> Result<Option<Recipient>> {
    let Some(bytes) = private_file::read(path, KEY_FILE_LIMIT)? else {
        return Ok(None);
    };
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| Recipient::from_str(text.trim()).ok())
        .map(Some)
        .ok_or_else(|| {
            Error::new(
                ErrorCode::VaultUnreadable,
                say!("{path} holds no public key", path = path.display()),
            )
            .with_hint(say!(
                "Move the file away: Kalit writes it anew from the key beside it."
            ))
        })
}

fn key_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("key")
}

fn key_path(data_dir: &Path, name: &str) -> PathBuf {
    key_dir(data_dir).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_is_made_at_the_first_sealing_and_kept() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(key_location(data.path()), KeyLocation::Missing);
        let sealer = Sealer::open(data.path()).unwrap();
        assert_eq!(key_location(data.path()), KeyLocation::File);
        let again = Sealer::open(data.path()).unwrap();
        assert_eq!(sealer.public_key(), again.public_key());

        let key = SealKey::from_file(data.path()).unwrap().unwrap();
        assert_eq!(key.public_key(), sealer.public_key());
        let sealed = again.seal(b"REF0").unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"REF0"));
        assert_eq!(key.unseal(&sealed).unwrap().as_slice(), b"REF0");
        assert_eq!(format!("{key:?}"), "SealKey(…)");
    }

    #[cfg(unix)]
    #[test]
    fn the_private_key_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let data = tempfile::tempdir().unwrap();
        Sealer::open(data.path()).unwrap();
        for (name, expected) in [("key", 0o700), ("key/seal.key", 0o600), ("key/seal.pub", 0o600)] {
            let mode = std::fs::metadata(data.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, expected, "{name}");
        }
    }

    #[test]
    fn sealing_goes_on_without_the_private_key() {
        let data = tempfile::tempdir().unwrap();
        let public = Sealer::open(data.path()).unwrap().public_key();
        std::fs::remove_file(data.path().join("key/seal.key")).unwrap();
        let sealer = Sealer::open(data.path()).unwrap();
        assert_eq!(sealer.public_key(), public);
        sealer.seal(b"x").unwrap();
        assert_eq!(key_location(data.path()), KeyLocation::Missing);
    }

    #[test]
    fn a_lost_public_key_is_derived_from_the_private_one() {
        let data = tempfile::tempdir().unwrap();
        let public = Sealer::open(data.path()).unwrap().public_key();
        std::fs::remove_file(data.path().join("key/seal.pub")).unwrap();
        assert_eq!(Sealer::open(data.path()).unwrap().public_key(), public);
    }

    #[test]
    fn many_first_sealers_agree_on_one_pair() {
        let data = tempfile::tempdir().unwrap();
        let keys: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Sealer::open(data.path()).unwrap().public_key()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn damaged_keys_and_seals_are_reported_and_left_alone() {
        let data = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(data.path()).unwrap();
        let key = SealKey::from_file(data.path()).unwrap().unwrap();
        let mut sealed = sealer.seal(b"REF0").unwrap();
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        for bytes in [&sealed[..], b"", b"age-encryption.org/v1\n", &[0xff; 64]] {
            assert_eq!(key.unseal(bytes).unwrap_err().code(), ErrorCode::VaultUnreadable);
        }
        let other = SealKey(Identity::generate());
        let sealed = sealer.seal(b"REF0").unwrap();
        assert_eq!(
            other.unseal(&sealed).unwrap_err().code(),
            ErrorCode::VaultUnreadable
        );

        let public = data.path().join("key/seal.pub");
        std::fs::write(&public, "ssh-ed25519 AAAA").unwrap();
        assert_eq!(
            Sealer::open(data.path()).unwrap_err().code(),
            ErrorCode::VaultUnreadable
        );
        assert_eq!(std::fs::read(&public).unwrap(), b"ssh-ed25519 AAAA");
        std::fs::write(data.path().join("key/seal.key"), "nothing").unwrap();
        assert_eq!(
            SealKey::from_file(data.path()).unwrap_err().code(),
            ErrorCode::VaultUnreadable
        );
    }
}
