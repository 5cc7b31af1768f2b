//! Which locks this process holds, so that its own threads queue for one instead of polling, and
//! so that a lock file with this process's id which nobody here holds is known to be a leftover.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sidecar::Sidecar;

static HELD: Mutex<BTreeMap<PathBuf, Holding>> = Mutex::new(BTreeMap::new());
static FREED: Condvar = Condvar::new();

#[derive(Default)]
struct Holding {
    /// What stands in the lock file, or is about to.
    bytes: Vec<u8>,
    /// The file, once it is made. Two locks taken within a millisecond have the same bytes.
    file: Option<Sidecar>,
}

/// The right of one thread of this process to have the lock file at a path. Given back on drop.
#[derive(Debug)]
pub(super) struct Claim(PathBuf);

impl Claim {
    /// Waits for the other threads up to `limit`; `None` when the time is over.
    pub fn take(path: &Path, limit: Duration) -> Option<Self> {
        let started = Instant::now();
        let mut held = held();
        while held.contains_key(path) {
            let left = limit
                .checked_sub(started.elapsed())
                .filter(|left| !left.is_zero())?;
            held = FREED
                .wait_timeout(held, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        held.insert(path.to_owned(), Holding::default());
        Some(Self(path.to_owned()))
    }

    /// Remembers what is about to stand in the lock file.
    pub fn record(&self, bytes: &[u8]) {
        let holding = Holding {
            bytes: bytes.to_vec(),
            file: None,
        };
        held().insert(self.0.clone(), holding);
    }

    /// Remembers the file that was made.
    pub fn made(&self, file: &Sidecar) {
        if let Some(holding) = held().get_mut(&self.0) {
            holding.file = Some(file.clone());
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        held().remove(&self.0);
        FREED.notify_all();
    }
}

/// Whether this process holds the lock that was seen, under whatever path: the same directory can be
/// mounted twice.
pub(super) fn holds(seen: &Sidecar) -> bool {
    held().values().any(|held| {
        let same_file = held.file.as_ref().is_none_or(|file| file.is_same_file(seen));
        held.bytes == seen.bytes && same_file
    })
}

fn held() -> MutexGuard<'static, BTreeMap<PathBuf, Holding>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::sidecar;
    use super::*;

    #[test]
    fn one_thread_at_a_time_and_the_next_is_woken() {
        let path = Path::new("registry-test/one.lock");
        let first = Claim::take(path, Duration::ZERO).unwrap();
        assert!(Claim::take(path, Duration::ZERO).is_none());
        assert!(Claim::take(path, Duration::from_millis(5)).is_none());
        let second = std::thread::spawn(|| Claim::take(path, Duration::from_secs(60)).is_some());
        drop(first);
        assert!(second.join().unwrap());
    }

    #[test]
    fn a_leftover_with_the_content_of_a_held_lock_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            sidecar::create(&dir.path().join(name), b"two at once")
                .unwrap()
                .unwrap()
        };
        let (held, left) = (made("held.lock"), made("left.lock"));
        let claim = Claim::take(&dir.path().join("held.lock"), Duration::ZERO).unwrap();
        claim.record(b"two at once");
        assert!(holds(&held) && holds(&left), "it may be either");
        claim.made(&held);
        assert!(holds(&held) && !holds(&left));
        drop(claim);
        assert!(!holds(&held));
    }
}
