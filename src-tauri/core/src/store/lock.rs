//! OpenClaw's sidecar locks, as its releases 2026.2.17 to 2026.6.1 take them: the store lock
//! `auth-profiles.json.lock` of an agent directory and the refresh lock of a login. A guard is the
//! only way to a writable store.
//!
//! A lock of a living owner is never broken, however old. It is broken only when its owner is
//! certainly gone, or when it names no owner and has not been touched for three minutes; and only
//! while it is still the same file. Everything here blocks: call it from `spawn_blocking`. Order
//! when several are taken: refresh locks in path order, then store locks in path order; never wait
//! for one while holding another. Hold a store lock 5 s at most and never wait for a person.

mod inspect;
mod owner;
pub(super) mod payload;
mod registry;
mod sidecar;
#[cfg(all(test, unix))]
mod tests;
mod trust;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::ProfileId;

pub use inspect::{LockHolder, inspect_refresh_lock, inspect_store_lock};
use owner::Owner;
pub(crate) use owner::openclaw_lives;
use payload::Payload;
use registry::Claim;
use sidecar::Sidecar;
pub use trust::{PidTrust, SandboxMarks};

/// How long a writer waits for a busy store lock, about as long as OpenClaw does.
pub const STORE_LOCK_LIMIT: Duration = Duration::from_secs(60);

/// A lock that names no owner is broken when it is older than this.
const UNREADABLE_MS: i64 = 180_000;

/// What locking needs to know about the world.
#[derive(Clone, Debug)]
pub struct LockContext {
    clock: Arc<dyn Clock>,
    trust: PidTrust,
}

impl LockContext {
    /// One per process: `trust` remembers what it has seen.
    pub fn new(clock: Arc<dyn Clock>, trust: PidTrust) -> Self {
        Self { clock, trust }
    }

    /// Whether process ids in lock files can be believed.
    pub fn trust(&self) -> &PidTrust {
        &self.trust
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        let nowhere = SandboxMarks {
            flatpak_info: PathBuf::from("/nonexistent/flatpak-info"),
            kernel_release: PathBuf::from("/nonexistent/osrelease"),
            pid_namespace: PathBuf::from("/nonexistent/pid"),
        };
        Self::new(
            Arc::new(crate::clock::SystemClock),
            PidTrust::detect(&nowhere, false),
        )
    }
}

/// What became of a lock while it was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after a stolen lock the write is unconfirmed"]
pub enum Released {
    /// The lock file was ours to the end.
    Clean,
    /// Another program had taken the lock over, as 2026.2.17 does after 30 s, and may have written
    /// at the same time: read again and compare. Its lock was left alone.
    Stolen,
}

/// The guard of an agent's credential files. Dropping it releases it.
#[derive(Debug)]
pub struct StoreLock {
    agent_dir: PathBuf,
    held: Held,
}

impl StoreLock {
    /// Takes the lock if it is free now. `lock.busy` names the holder, `lock.pids_untrusted` means
    /// that nothing may be locked here, `lock.failed` that the lock file cannot be made. A missing
    /// agent directory is made (0700), as OpenClaw does.
    pub fn try_acquire(agent_dir: &Path, ctx: &LockContext) -> Result<Self> {
        Self::acquire(agent_dir, ctx, Duration::ZERO)
    }

    /// Takes the lock, waiting up to `limit` in OpenClaw's rhythm. Errors as for
    /// [`StoreLock::try_acquire`].
    pub fn acquire(agent_dir: &Path, ctx: &LockContext, limit: Duration) -> Result<Self> {
        let agent_dir = private_dir(agent_dir)?;
        let held = Held::acquire(store_lock_path(&agent_dir), &agent_dir, ctx, limit)?;
        Ok(Self { agent_dir, held })
    }

    /// The canonical directory whose files may be written.
    pub fn agent_dir(&self) -> &Path {
        &self.agent_dir
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// How long it has been held, by the wall clock.
    pub fn held_for(&self, now: Timestamp) -> Duration {
        self.held.held_for(now)
    }

    /// Whether the lock file is still ours. Look right before the rename of a write.
    pub fn verify(&self) -> bool {
        self.held.verify()
    }

    /// Gives the lock back and says whether it was ours all the time.
    pub fn release(self) -> Released {
        self.held.release()
    }

    #[cfg(test)]
    pub(crate) fn for_test(agent_dir: impl AsRef<Path>) -> Self {
        Self::try_acquire(agent_dir.as_ref(), &LockContext::for_test()).unwrap()
    }
}

/// The guard of one login's renewal, known to OpenClaw 2026.4.21 and later. Dropping it releases
/// it.
#[derive(Debug)]
pub struct RefreshLock(Held);

impl RefreshLock {
    /// Takes the lock if it is free now. `provider` is the credential's own, as stored. Errors as
    /// for [`StoreLock::try_acquire`]; the directory of the locks is made (0700).
    pub fn try_acquire(
        state_dir: &Path,
        provider: &str,
        profile_id: &ProfileId,
        ctx: &LockContext,
    ) -> Result<Self> {
        Self::acquire(state_dir, provider, profile_id, ctx, Duration::ZERO)
    }

    /// Takes the lock, waiting up to `limit` in OpenClaw's rhythm.
    pub fn acquire(
        state_dir: &Path,
        provider: &str,
        profile_id: &ProfileId,
        ctx: &LockContext,
        limit: Duration,
    ) -> Result<Self> {
        let dir = private_dir(&refresh_lock_dir(state_dir))?;
        let path = dir.join(refresh_lock_name(provider, profile_id));
        Held::acquire(path, &dir, ctx, limit).map(Self)
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How long it has been held, by the wall clock: a request is sent only in the first 40 s.
    pub fn held_for(&self, now: Timestamp) -> Duration {
        self.0.held_for(now)
    }

    /// Whether the lock file is still ours.
    pub fn verify(&self) -> bool {
        self.0.verify()
    }

    /// Gives the lock back and says whether it was ours all the time.
    pub fn release(self) -> Released {
        self.0.release()
    }
}

/// Where the store lock of a canonical agent directory lies.
fn store_lock_path(agent_dir: &Path) -> PathBuf {
    agent_dir.join("auth-profiles.json.lock")
}

fn refresh_lock_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("locks").join("oauth-refresh")
}

/// `sha256-<hex of SHA-256 over provider, NUL, profile id>.lock` (2026.4.21 to 2026.6.5).
fn refresh_lock_name(provider: &str, profile_id: &ProfileId) -> String {
    let mut hasher = Sha256::new();
    hasher.update(provider.as_bytes());
    hasher.update([0]);
    hasher.update(profile_id.as_str().as_bytes());
    format!("sha256-{:x}.lock", hasher.finalize())
}

/// Makes the directory for this user alone if it is missing, and returns its canonical path: the
/// lock belongs to the directory, not to the way that led there.
fn private_dir(dir: &Path) -> Result<PathBuf> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(dir)
        .and_then(|()| fs::canonicalize(dir))
        .map_err(|error| failed(dir, error))
}

/// One lock file that is ours.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    sidecar: Sidecar,
    since: Timestamp,
    released: bool,
    /// Given back after the file is gone, so that a waiting thread finds it gone.
    _claim: Claim,
}

impl Held {
    fn acquire(path: PathBuf, dir: &Path, ctx: &LockContext, limit: Duration) -> Result<Self> {
        let started = Instant::now();
        ctx.trust.check(dir)?;
        let claim = Claim::take(&path, limit).ok_or_else(|| busy(&path, ctx))?;
        let mut waits = 0;
        let mut vanished = 0;
        loop {
            let since = ctx.clock.now();
            let bytes = Payload::encode(std::process::id(), since, owner::own_starttime());
            claim.record(&bytes);
            if let Some(sidecar) = sidecar::create(&path, &bytes).map_err(|error| failed(&path, error))? {
                claim.made(&sidecar);
                return Ok(Self {
                    path,
                    sidecar,
                    since,
                    released: false,
                    _claim: claim,
                });
            }
            match clear(&path, dir, ctx)? {
                // Against a program that takes and frees it all the time, polling beats spinning.
                Obstacle::Cleared if vanished < 8 => vanished += 1,
                Obstacle::Cleared | Obstacle::Stands => {
                    let left = limit
                        .checked_sub(started.elapsed())
                        .filter(|left| !left.is_zero())
                        .ok_or_else(|| busy(&path, ctx))?;
                    thread::sleep(delay(waits, rand::random()).min(left));
                    waits += 1;
                }
            }
        }
    }

    fn held_for(&self, now: Timestamp) -> Duration {
        let millis = now.millis_since(self.since);
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    fn verify(&self) -> bool {
        self.sidecar.is_at(&self.path)
    }

    fn release(mut self) -> Released {
        self.remove()
    }

    /// A lock file that cannot be removed now (a directory that became read-only) is a leftover of
    /// this process from here on: its next acquisition removes it.
    fn remove(&mut self) -> Released {
        self.released = true;
        for pause in [0, 10, 40, 160] {
            thread::sleep(Duration::from_millis(pause));
            match sidecar::remove_if_unchanged(&self.path, &self.sidecar) {
                Ok(true) => return Released::Clean,
                Ok(false) if !self.verify() => return Released::Stolen,
                Ok(false) | Err(_) => {}
            }
        }
        Released::Clean
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.released {
            let _ = self.remove();
        }
    }
}

/// What stood in the way of a lock.
enum Obstacle {
    /// Gone, by our hand or another's: try again at once.
    Cleared,
    /// Held, or not certainly abandoned.
    Stands,
}

/// Looks at the lock file that is in the way, and breaks it if that is allowed.
fn clear(path: &Path, dir: &Path, ctx: &LockContext) -> Result<Obstacle> {
    let seen = match sidecar::read(path) {
        Ok(Some(seen)) => seen,
        Ok(None) => return Ok(Obstacle::Cleared),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(Obstacle::Stands),
        Err(error) => return Err(failed(path, error)),
    };
    let now = ctx.clock.now();
    let payload = Payload::parse(&seen.bytes);
    match payload.owner(&seen) {
        Some(Owner::Lives) => return Ok(Obstacle::Stands),
        Some(Owner::Gone) if payload.is_own_leftover() => {}
        // It let go and ended while we looked: nothing strange.
        Some(Owner::Gone) if !seen.is_at(path) => return Ok(Obstacle::Cleared),
        Some(Owner::Gone) => {
            let created_at = payload.created_at.unwrap_or(seen.modified);
            ctx.trust.saw_dead_owner(path, &payload, created_at, now);
            ctx.trust.check(dir)?;
        }
        None if now.millis_since(seen.modified) <= UNREADABLE_MS => return Ok(Obstacle::Stands),
        None => {}
    }
    match sidecar::remove_if_unchanged(path, &seen) {
        Ok(true) => Ok(Obstacle::Cleared),
        Ok(false) => match sidecar::read(path) {
            Ok(None) => Ok(Obstacle::Cleared),
            _ => Ok(Obstacle::Stands),
        },
        Err(error) => Err(failed(path, error)),
    }
}

impl Payload {
    /// What is known about the owner; `None` when the payload names none. This process's own id
    /// counts only while it really holds the lock that was seen: after a container's restart the
    /// same id may be somebody else's.
    fn owner(&self, seen: &Sidecar) -> Option<Owner> {
        let pid = self.pid?;
        if pid == std::process::id() && !registry::holds(seen) {
            return Some(Owner::Gone);
        }
        Some(owner::look_up(pid, self.starttime))
    }

    /// Whether this very process made it: a lock that could not be removed when it was released.
    fn is_own_leftover(&self) -> bool {
        self.pid == Some(std::process::id())
            && self.starttime.is_some()
            && self.starttime == owner::own_starttime()
    }
}

/// The pause before try `waits + 1`, with `jitter` in `0.0..1.0`: 100 ms doubling to 10 s, times 1
/// to 2, at most 10 s (OpenClaw 2026.2.17 to 2026.6.1).
fn delay(waits: u32, jitter: f64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(10);
    let base = Duration::from_millis(100).saturating_mul(2_u32.saturating_pow(waits));
    base.min(LONGEST).mul_f64(1.0 + jitter).min(LONGEST)
}

fn busy(path: &Path, ctx: &LockContext) -> Error {
    let message = match inspect::inspect(path) {
        Some(holder) => holder.sentence(ctx.clock.now()),
        None => say!(
            "{path} is being taken by other programs all the time",
            path = path.display()
        ),
    };
    Error::new(ErrorCode::LockBusy, message)
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorCode::LockFailed,
        say!("cannot lock with {path}: {error}", path = path.display(), error),
    )
    .with_source(error)
}
