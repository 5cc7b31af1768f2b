//! The private key of the seals in the system's keychain. Only ever called because a person asked
//! for it: an unlocked keychain answers at once, a locked one prompts, an absent one may hang. So
//! every call runs on a thread of its own and is given up after five seconds. An item is never
//! deleted and added again: that would lose its access rules, and the key if adding fails.

use std::path::Path;
use std::time::Duration;

use keyring::Entry;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::seal::{self, KeyLocation, SealKey};
use super::short_digest;
use crate::error::{Error, ErrorCode, Result};

const SERVICE: &str = "kalit";
const LIMIT: Duration = Duration::from_secs(5);

/// Moves the private key from its file into the keychain: stored, read back, compared, and only
/// then is the file removed. Whatever fails, the file stays. Moving twice is success.
pub async fn move_key_to_keychain(data_dir: &Path) -> Result<KeyLocation> {
    move_with(data_dir, LIMIT, Entry::new).await
}

/// The private key, from its file or else from the keychain: for opening something that a person
/// wants opened.
pub async fn read_key(data_dir: &Path) -> Result<SealKey> {
    read_with(data_dir, LIMIT, Entry::new).await
}

/// Another program's item, because a person asked for it; `None` where there is none.
///
/// # Errors
/// `keychain.unavailable`.
pub(crate) async fn read_foreign(service: String, account: String) -> Result<Option<Vec<u8>>> {
    within(LIMIT, move || {
        match Entry::new(&service, &account)?.get_secret() {
            Err(keyring::Error::NoEntry) => Ok(None),
            read => read.map(Some),
        }
    })
    .await
}

async fn move_with(
    data_dir: &Path,
    limit: Duration,
    open: impl FnOnce(&str, &str) -> keyring::Result<Entry> + Send + 'static,
) -> Result<KeyLocation> {
    let Some(key) = SealKey::from_file(data_dir)? else {
        return match seal::key_location(data_dir) {
            KeyLocation::Keychain => Ok(KeyLocation::Keychain),
            KeyLocation::File | KeyLocation::Missing => {
                Err(
                    Error::new(ErrorCode::VaultUnreadable, say!("there is no key to move")).with_hint(say!(
                        "The key is made when Kalit first seals a copy of your accounts."
                    )),
                )
            }
        };
    };
    let account = account(&key.public_key());
    let text = key.to_text();
    let user = account.clone();
    within(limit, move || {
        let entry = open(SERVICE, &user)?;
        // A move that was given up may have succeeded later.
        if !matches!(entry.get_secret().map(Zeroizing::new), Ok(stored) if *stored == *text) {
            entry.set_secret(&text)?;
        }
        let stored = Zeroizing::new(entry.get_secret()?);
        Ok(*stored == *text)
    })
    .await?
    .then_some(())
    .ok_or_else(|| unavailable(&say!("the keychain did not keep the key as it was given")))?;
    seal::forget_file(data_dir, &account)?;
    Ok(KeyLocation::Keychain)
}

async fn read_with(
    data_dir: &Path,
    limit: Duration,
    open: impl FnOnce(&str, &str) -> keyring::Result<Entry> + Send + 'static,
) -> Result<SealKey> {
    if let Some(key) = SealKey::from_file(data_dir)? {
        return Ok(key);
    }
    let Some(public) = seal::stored_public_key(data_dir)? else {
        return Err(Error::new(
            ErrorCode::VaultUnreadable,
            say!("nothing was sealed yet"),
        ));
    };
    let user = account(&public);
    let stored = within(limit, move || {
        open(SERVICE, &user)?.get_secret().map(Zeroizing::new)
    })
    .await?;
    SealKey::parse(&stored)
        .filter(|key| key.public_key() == public)
        .ok_or_else(|| unavailable(&say!("the keychain holds another key under this name")))
}

/// One item per key, so that two data directories of one person never overwrite each other's.
fn account(public_key: &str) -> String {
    format!("seal-{}", short_digest(public_key.as_bytes()))
}

/// Runs on a thread of its own instead of the runtime's blocking pool: that pool is waited for at
/// exit, and a keychain that never answers would keep the process from ending.
async fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> keyring::Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = oneshot::channel();
    std::thread::Builder::new()
        .name("kalit-keychain".to_owned())
        .spawn(move || {
            let _ = send.send(call());
        })
        .map_err(|error| unavailable(&say!("cannot start a thread")).with_source(error))?;
    match tokio::time::timeout(limit, receive).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(unavailable(&describe(&error))),
        Ok(Err(_)) => Err(unavailable(&say!("the keychain call failed"))),
        Err(_) => Err(unavailable(&say!(
            "the keychain did not answer within five seconds"
        ))),
    }
}

/// Never the error's own text: some variants carry what the store returned.
fn describe(error: &keyring::Error) -> String {
    match error {
        keyring::Error::NoEntry => say!("the keychain does not hold the key"),
        keyring::Error::NoStorageAccess(_) => say!("the keychain is locked or refused access"),
        keyring::Error::NoDefaultStore | keyring::Error::NotSupportedByStore(_) => {
            say!("there is no keychain on this system")
        }
        keyring::Error::TooLong(..) => say!("the keychain does not take a key of this length"),
        _ => say!("the keychain failed"),
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorCode::KeychainUnavailable, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyring_core::api::CredentialStoreApi;
    use keyring_core::mock;

    use super::*;
    use crate::vault::Sealer;

    type Open = Box<dyn FnOnce(&str, &str) -> keyring::Result<Entry> + Send>;

    fn through(store: &Arc<mock::Store>) -> Open {
        let store = Arc::clone(store);
        Box::new(move |service, user| {
            Ok(Entry {
                inner: store.build(service, user, None)?,
            })
        })
    }

    #[tokio::test]
    async fn the_key_moves_and_is_found_in_the_keychain() {
        let data = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(data.path()).unwrap();
        let sealed = sealer.seal(b"REF0").unwrap();
        let store = mock::Store::new().unwrap();

        let key = read_with(data.path(), LIMIT, through(&store)).await.unwrap();
        assert_eq!(key.public_key(), sealer.public_key());

        assert_eq!(
            move_with(data.path(), LIMIT, through(&store)).await.unwrap(),
            KeyLocation::Keychain
        );
        assert_eq!(seal::key_location(data.path()), KeyLocation::Keychain);
        assert!(!data.path().join("key/seal.key").exists());
        assert_eq!(
            Sealer::open(data.path()).unwrap().public_key(),
            sealer.public_key()
        );

        let key = read_with(data.path(), LIMIT, through(&store)).await.unwrap();
        assert_eq!(key.unseal(&sealed).unwrap().as_slice(), b"REF0");
        assert_eq!(
            move_with(data.path(), LIMIT, through(&store)).await.unwrap(),
            KeyLocation::Keychain
        );
    }

    #[tokio::test]
    async fn a_keychain_that_fails_leaves_the_file() {
        let data = tempfile::tempdir().unwrap();
        Sealer::open(data.path()).unwrap();
        let refuse: Open = Box::new(|_, _| Err(keyring::Error::NoDefaultStore));
        let error = move_with(data.path(), LIMIT, refuse).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::KeychainUnavailable);
        assert_eq!(error.message(), "there is no keychain on this system");
        assert_eq!(seal::key_location(data.path()), KeyLocation::File);

        let hang: Open = Box::new(|_, _| {
            std::thread::park();
            Err(keyring::Error::NoEntry)
        });
        let error = move_with(data.path(), Duration::from_millis(20), hang)
            .await
            .unwrap_err();
        assert_eq!(error.message(), "the keychain did not answer within five seconds");
        assert_eq!(seal::key_location(data.path()), KeyLocation::File);
    }

    #[tokio::test]
    async fn nothing_sealed_means_nothing_to_move_or_read() {
        let data = tempfile::tempdir().unwrap();
        let store = mock::Store::new().unwrap();
        let error = move_with(data.path(), LIMIT, through(&store)).await.unwrap_err();
        assert_eq!(error.message(), "there is no key to move");
        let error = read_with(data.path(), LIMIT, through(&store)).await.unwrap_err();
        assert_eq!(error.message(), "nothing was sealed yet");
        Sealer::open(data.path()).unwrap();
        std::fs::remove_file(data.path().join("key/seal.key")).unwrap();
        let error = read_with(data.path(), LIMIT, through(&store)).await.unwrap_err();
        assert_eq!(error.message(), "the keychain does not hold the key");
    }

    #[tokio::test]
    async fn another_key_under_the_same_name_is_not_used() {
        let data = tempfile::tempdir().unwrap();
        let public = Sealer::open(data.path()).unwrap().public_key();
        let foreign = tempfile::tempdir().unwrap();
        Sealer::open(foreign.path()).unwrap();
        let store = mock::Store::new().unwrap();
        let text = SealKey::from_file(foreign.path()).unwrap().unwrap().to_text();
        store
            .build(SERVICE, &account(&public), None)
            .unwrap()
            .set_secret(&text)
            .unwrap();
        std::fs::remove_file(data.path().join("key/seal.key")).unwrap();
        let error = read_with(data.path(), LIMIT, through(&store)).await.unwrap_err();
        assert_eq!(error.message(), "the keychain holds another key under this name");
    }
}
