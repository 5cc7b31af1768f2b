//! Which locks this process holds, so that its own threads queue for one instead of polling, and
//! so that a lock file with this process's id which nobody here holds is known to be a leftover.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static HELD: Mutex<BTreeMap<PathBuf, Vec<u8>>> = Mutex::new(BTreeMap::new());
static FREED: Condvar = Condvar::new();

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
        held.insert(path.to_owned(), Vec::new());
        Some(Self(path.to_owned()))
    }

    /// Remembers what is about to stand in the lock file.
    pub fn record(&self, bytes: &[u8]) {
        held().insert(self.0.clone(), bytes.to_vec());
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        held().remove(&self.0);
        FREED.notify_all();
    }
}

/// Whether a lock with this content is held by this process, under whatever path: the same
/// directory can be mounted twice.
pub(super) fn holds(bytes: &[u8]) -> bool {
    held().values().any(|held| held == bytes)
}

fn held() -> MutexGuard<'static, BTreeMap<PathBuf, Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_at_a_time_and_the_next_is_woken() {
        let path = Path::new("registry-test/one.lock");
        let first = Claim::take(path, Duration::ZERO).unwrap();
        first.record(b"one");
        assert!(holds(b"one"));
        assert!(Claim::take(path, Duration::ZERO).is_none());
        assert!(Claim::take(path, Duration::from_millis(5)).is_none());
        let second = std::thread::spawn(|| Claim::take(path, Duration::from_secs(60)).is_some());
        drop(first);
        assert!(second.join().unwrap());
        assert!(!holds(b"one"));
    }
}
