//! Whether process ids in lock files mean anything here. A program outside of our container, in
//! another one, in a Flatpak or on the other side of WSL shares the directory but not the process
//! ids: its live locks look dead, and ours look dead to it. Then nothing may be locked, until the person says
//! that process ids can be trusted.

use std::collections::VecDeque;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::payload::Payload;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};

/// A dead owner's lock younger than this is strange: programs rarely die while holding one.
const YOUNG_MS: i64 = 30_000;
/// Two strange locks within this time are no accident.
const TOGETHER_MS: i64 = 60_000;
/// How long it is kept in mind that another container seems to use a directory.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The pid namespace that all others lie in has this number on every Linux.
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Shared by everything in one process that locks; clones are the same trust.
#[derive(Clone, Debug)]
pub struct PidTrust(Arc<Inner>);

/// The files that tell of a sandbox: the real ones by default.
#[derive(Clone, Debug)]
pub struct SandboxMarks {
    /// Exists inside a Flatpak.
    pub flatpak_info: PathBuf,
    /// The kernel's release; names Microsoft inside WSL.
    pub kernel_release: PathBuf,
    /// Links to the namespace of this process's ids.
    pub pid_namespace: PathBuf,
}

#[derive(Debug)]
struct Inner {
    trusted_by_setting: AtomicBool,
    in_flatpak: bool,
    in_wsl: bool,
    /// Every process of this machine has a number here, those in containers too.
    sees_all: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When which young locks of dead owners were found.
    recent: VecDeque<(Timestamp, PathBuf, Payload)>,
    /// When two came together last.
    foreign: Option<Instant>,
}

impl Default for SandboxMarks {
    fn default() -> Self {
        Self {
            flatpak_info: PathBuf::from("/.flatpak-info"),
            kernel_release: PathBuf::from("/proc/sys/kernel/osrelease"),
            pid_namespace: PathBuf::from("/proc/self/ns/pid"),
        }
    }
}

impl PidTrust {
    /// Looks at the marks once. `trusted_by_setting` is `trustPids` of Kalit's settings.
    pub fn detect(marks: &SandboxMarks, trusted_by_setting: bool) -> Self {
        let release = fs::read_to_string(&marks.kernel_release).unwrap_or_default();
        let namespace = fs::read_link(&marks.pid_namespace);
        Self(Arc::new(Inner {
            trusted_by_setting: AtomicBool::new(trusted_by_setting),
            in_flatpak: marks.flatpak_info.exists(),
            in_wsl: release.to_lowercase().contains("microsoft"),
            sees_all: !cfg!(target_os = "linux")
                || namespace.is_ok_and(|found| found == Path::new(FIRST_NAMESPACE)),
            seen: Mutex::default(),
        }))
    }

    /// Follows a change of the setting.
    pub fn set_trusted(&self, trusted: bool) {
        self.0.trusted_by_setting.store(trusted, Ordering::SeqCst);
    }

    /// Fails with `lock.pids_untrusted` when nothing may be locked in this directory, which must
    /// be canonical.
    pub fn check(&self, dir: &Path) -> Result<()> {
        if self.0.trusted_by_setting.load(Ordering::SeqCst) {
            return Ok(());
        }
        let reason = if self.0.in_flatpak {
            say!("Kalit runs inside a Flatpak and cannot see which programs hold OpenClaw's locks")
        } else if self.0.in_wsl && is_windows_drive(dir) {
            say!(
                "the directory lies on a Windows drive, and the programs there cannot be seen from inside WSL"
            )
        } else if self.seen().foreign.is_some_and(|at| self.is_remembered(at)) {
            say!(
                "two locks within a minute belonged to processes that do not exist here, so another container seems to use this directory"
            )
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorCode::PidsUntrusted, reason))
    }

    /// Takes note of a lock whose owner is dead; one lock counts once. Where every process of this
    /// machine can be seen, so does all that one process left: only what it made after it was found
    /// dead proves that it lives elsewhere. [`PidTrust::check`] tells whether the lock may still be
    /// broken.
    pub(super) fn saw_dead_owner(&self, path: &Path, lock: &Payload, created_at: Timestamp, now: Timestamp) {
        if now.millis_since(created_at).abs() >= YOUNG_MS {
            return;
        }
        let mut seen = self.seen();
        seen.recent
            .retain(|(at, _, _)| now.millis_since(*at) <= TOGETHER_MS);
        let is_known = seen.recent.iter().any(|(at, other_path, other)| {
            let one_crash = self.0.sees_all && other.has_owner_of(lock) && created_at <= *at;
            one_crash || (other_path == path && other == lock)
        });
        if !is_known {
            if !seen.recent.is_empty() {
                seen.foreign = Some(Instant::now());
            }
            seen.recent.push_back((now, path.to_owned(), *lock));
        }
    }

    /// Where every process of this machine can be seen two crashes look the same, so this ends; in a
    /// container it lasts as long as the process.
    fn is_remembered(&self, at: Instant) -> bool {
        !self.0.sees_all || at.elapsed() < REMEMBERED
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/mnt/<letter>/…`, where WSL mounts the Windows drives.
fn is_windows_drive(dir: &Path) -> bool {
    let mut parts = dir.components().skip(1);
    let mnt = parts.next() == Some(Component::Normal("mnt".as_ref()));
    mnt && parts.next().is_some_and(
        |drive| matches!(drive.as_os_str().as_encoded_bytes(), [letter] if letter.is_ascii_alphabetic()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn trust_with(flatpak: bool, kernel: &str, setting: bool) -> PidTrust {
        trust_in("pid:[4026532301]", flatpak, kernel, setting)
    }

    #[cfg_attr(
        not(unix),
        expect(unused_variables, reason = "a link cannot be made everywhere")
    )]
    fn trust_in(namespace: &str, flatpak: bool, kernel: &str, setting: bool) -> PidTrust {
        let dir = tempfile::tempdir().unwrap();
        let marks = SandboxMarks {
            flatpak_info: dir.path().join(".flatpak-info"),
            kernel_release: dir.path().join("osrelease"),
            pid_namespace: dir.path().join("pid"),
        };
        if flatpak {
            fs::write(&marks.flatpak_info, "[Application]\n").unwrap();
        }
        fs::write(&marks.kernel_release, kernel).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(namespace, &marks.pid_namespace).unwrap();
        PidTrust::detect(&marks, setting)
    }

    fn refusal(trust: &PidTrust, dir: &str) -> Option<ErrorCode> {
        trust.check(Path::new(dir)).err().map(|error| error.code())
    }

    const WSL: &str = "5.15.153.1-microsoft-standard-WSL2\n";
    const PLAIN: &str = "6.1.0-18-amd64\n";
    const UNTRUSTED: Option<ErrorCode> = Some(ErrorCode::PidsUntrusted);

    #[test]
    fn a_flatpak_locks_nothing_unless_the_setting_says_so() {
        assert_eq!(refusal(&trust_with(true, PLAIN, false), "/home/u"), UNTRUSTED);
        assert_eq!(refusal(&trust_with(true, PLAIN, true), "/home/u"), None);
    }

    #[test]
    fn wsl_locks_nothing_on_a_windows_drive() {
        let wsl = trust_with(false, WSL, false);
        assert_eq!(
            refusal(&wsl, "/mnt/c/Users/u/.openclaw/agents/main/agent"),
            UNTRUSTED
        );
        assert_eq!(refusal(&wsl, "/mnt/D"), UNTRUSTED);
        for elsewhere in [
            "/home/u/.openclaw",
            "/mnt/data/.openclaw",
            "/srv/mnt/c/x",
            "/mnt",
            "/",
        ] {
            assert_eq!(refusal(&wsl, elsewhere), None, "{elsewhere}");
        }
        assert_eq!(refusal(&trust_with(false, PLAIN, false), "/mnt/c/x"), None);
        wsl.set_trusted(true);
        assert_eq!(refusal(&wsl, "/mnt/c/x"), None);
    }

    const LOCK: &str = "/agent/auth-profiles.json.lock";

    fn lock_of(pid: u32) -> Payload {
        Payload::parse(&Payload::encode(pid, NOW, Some(7)))
    }

    #[test]
    fn two_young_locks_of_dead_owners_within_a_minute_end_the_trust() {
        let trust = trust_with(false, PLAIN, false);
        trust.saw_dead_owner(Path::new(LOCK), &lock_of(1), NOW.plus_millis(-29_999), NOW);
        trust.saw_dead_owner(Path::new(LOCK), &lock_of(1), NOW.plus_millis(-29_999), NOW);
        assert_eq!(refusal(&trust, "/home/u"), None, "one lock counts once");
        let later = NOW.plus_millis(60_000);
        trust
            .clone()
            .saw_dead_owner(Path::new(LOCK), &lock_of(2), later, later);
        assert_eq!(refusal(&trust, "/home/u"), UNTRUSTED);
        trust.set_trusted(true);
        assert_eq!(refusal(&trust, "/home/u"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn all_that_one_crash_left_counts_once_where_every_process_is_seen() {
        let of = |namespace: &str| {
            let trust = trust_in(namespace, false, PLAIN, false);
            let mut refusals = Vec::new();
            for (name, age) in [("/refresh.lock", 40), ("/store.lock", 30)] {
                let seen_at = NOW.plus_millis(100 - age);
                trust.saw_dead_owner(Path::new(name), &lock_of(1), NOW.plus_millis(-age), seen_at);
                refusals.push(refusal(&trust, "/home/u"));
            }
            // Made after its owner was found dead.
            let later = NOW.plus_millis(5000);
            trust.saw_dead_owner(Path::new("/store.lock"), &lock_of(1), later, later);
            refusals.push(refusal(&trust, "/home/u"));
            refusals
        };
        assert_eq!(of(FIRST_NAMESPACE), [None, None, UNTRUSTED]);
        assert_eq!(of("pid:[4026532301]"), [None, UNTRUSTED, UNTRUSTED]);
    }

    #[test]
    fn crashes_far_apart_and_old_locks_do_not_end_it() {
        let trust = trust_with(false, PLAIN, false);
        trust.saw_dead_owner(Path::new(LOCK), &lock_of(1), NOW, NOW);
        let later = NOW.plus_millis(60_001);
        trust.saw_dead_owner(Path::new(LOCK), &lock_of(2), later, later);
        trust.saw_dead_owner(Path::new(LOCK), &lock_of(3), later.plus_millis(-30_000), later);
        trust.saw_dead_owner(Path::new(LOCK), &lock_of(4), later.plus_millis(3_600_000), later);
        assert_eq!(refusal(&trust, "/home/u"), None);
    }
}
