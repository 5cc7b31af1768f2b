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
    holder.alive = payload.owner(&seen.bytes) != Some(Owner::Gone);
    if holder.alive {
        holder.program = payload.pid.and_then(owner::program_of);
    }
    Some(holder)
}

impl LockHolder {
    /// "… is held by openclaw (pid 4312) for 12 s, since …": lower case, without a full stop.
    pub fn sentence(&self, now: Timestamp) -> String {
        let path = self.path.display();
        let who = match (&self.program, self.pid) {
            (Some(program), Some(pid)) => format!("{program} (pid {pid})"),
            (None, Some(pid)) if self.alive => format!("pid {pid}"),
            (_, Some(pid)) => format!("pid {pid}, which no longer runs,"),
            (_, None) => "a program that has not named itself".to_owned(),
        };
        match self.since {
            Some(since) => {
                let seconds = now.millis_since(since).max(0) / 1000;
                format!("{path} is held by {who} for {seconds} s, since {since}")
            }
            None => format!("{path} is held by {who}"),
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
