//! Who holds a lock right now, for showing. Looks only: nothing is decided or removed here.

use std::fs;
use std::path::{Path, PathBuf};

use super::owner::{self, Owner};
use super::payload::Payload;
use super::sidecar;
use super::{refresh_lock_dir, refresh_lock_name, store_lock_path};
use crate::clock::Timestamp;
use crate::ids::ProfileId;
use crate::view::LockView;

/// A lock file and the program behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    pub path: PathBuf,
    /// `None` when the lock names no process or cannot be read.
    pub pid: Option<u32>,
    /// The program's name, such as "openclaw"; known on Linux only.
    pub program: Option<String>,
    /// `createdAt` of the lock, else when its file was last written.
    pub since: Option<Timestamp>,
    /// False only if the owner is certainly gone.
    pub alive: bool,
}

/// Who holds the store lock of an agent directory; `None` when it is free.
pub fn inspect_store_lock(agent_dir: &Path) -> Option<LockHolder> {
    inspect(&store_lock_path(&fs::canonicalize(agent_dir).ok()?))
}

/// Who renews this login right now; `None` when nobody does.
pub fn inspect_refresh_lock(state_dir: &Path, provider: &str, profile_id: &ProfileId) -> Option<LockHolder> {
    let dir = fs::canonicalize(refresh_lock_dir(state_dir)).ok()?;
    inspect(&dir.join(refresh_lock_name(provider, profile_id)))
        .or_else(|| inspect(&dir.join(later_refresh_lock_name(provider, profile_id))))
}

/// The name from OpenClaw 2026.6.6 on, which Kalit never takes (`oauthLockPathDigest` of
/// 2026.9.6): two 64-bit FNV-like digests of the JSON array of provider and id.
fn later_refresh_lock_name(provider: &str, profile_id: &ProfileId) -> String {
    const PRIME: u64 = 1_099_511_628_211;
    let text = serde_json::json!([provider, profile_id.as_str()]).to_string();
    let (mut left, mut right) = (14_695_981_039_346_656_037_u64, 11_160_318_154_034_397_263_u64);
    for byte in text.bytes() {
        let octet = u64::from(byte);
        left = (left ^ octet).wrapping_mul(PRIME);
        right = (right ^ octet.wrapping_add(11_400_714_819_323_198_485)).wrapping_mul(PRIME);
    }
    format!("lock-{left:016x}{right:016x}.lock")
}

pub(super) fn inspect(path: &Path) -> Option<LockHolder> {
    let mut holder = LockHolder {
        path: path.to_owned(),
        pid: None,
        program: None,
        since: None,
        alive: true,
    };
    let Ok(seen) = sidecar::read(path) else {
        return Some(holder);
    };
    let seen = seen?;
    let payload = Payload::parse(&seen.bytes);
    holder.pid = payload.pid;
    holder.since = Some(payload.created_at.unwrap_or(seen.modified));
    holder.alive = payload.owner(&seen) != Some(Owner::Gone);
    if holder.alive {
        holder.program = payload
            .pid
            .and_then(|pid| owner::program_of(pid, payload.starttime));
    }
    Some(holder)
}

impl LockHolder {
    /// "… is held by openclaw (pid 4312) for 12 s, since …": lower case, without a full stop.
    pub fn sentence(&self, now: Timestamp) -> String {
        let path = self.path.display();
        let who = match (&self.program, self.pid) {
            (Some(program), Some(pid)) => say!("{program} (pid {pid})", program, pid),
            (None, Some(pid)) if self.alive => say!("pid {pid}", pid),
            (_, Some(pid)) => say!("pid {pid}, which no longer runs,", pid),
            (_, None) => say!("a program that has not named itself"),
        };
        match self.since {
            Some(since) => {
                let seconds = now.millis_since(since).max(0) / 1000;
                say!(
                    "{path} is held by {who} for {seconds} s, since {since}",
                    path,
                    who,
                    seconds,
                    since
                )
            }
            None => say!("{path} is held by {who}", path, who),
        }
    }
}

impl From<LockHolder> for LockView {
    fn from(holder: LockHolder) -> Self {
        Self {
            path: holder.path.display().to_string(),
            pid: holder.pid,
            program: holder.program,
            since: holder.since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_name_is_openclaws() {
        // Computed by 2026.9.6's own function.
        for (id, expected) in [
            (
                "openai:me@example.com",
                "lock-98b549f98aa9ad78cf535d85c44baf72.lock",
            ),
            ("é", "lock-a55d12be705d621fa884b18a639ac3f0.lock"),
        ] {
            let id = ProfileId::parse(id).unwrap();
            assert_eq!(later_refresh_lock_name("openai", &id), expected);
        }
    }
}
