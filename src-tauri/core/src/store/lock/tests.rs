//! Every row of the lock tables of 2026.2.17 and 2026.6.1, from Kalit's side.

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use tempfile::TempDir;

use super::*;
use crate::clock::ManualClock;
use crate::view::LockView;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// A deadline that no healthy run comes near.
const PLENTY: Duration = Duration::from_secs(30);

/// An agent directory, a clock that stands still and a trusting context.
struct Scene {
    dir: TempDir,
    clock: Arc<ManualClock>,
    ctx: LockContext,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let trust = LockContext::for_test().trust;
        let ctx = LockContext::new(clock.clone(), trust);
        Self { dir, clock, ctx }
    }

    fn lock_file(&self) -> PathBuf {
        store_lock_path(&self.dir.path().canonicalize().unwrap())
    }

    fn put(&self, bytes: impl AsRef<[u8]>) {
        self.put_with_age(bytes, 0);
    }

    /// A lock file last written this many milliseconds ago, by the scene's clock.
    fn put_with_age(&self, bytes: impl AsRef<[u8]>, age_ms: i64) {
        fs::write(self.lock_file(), bytes).unwrap();
        let modified = u64::try_from(NOW.plus_millis(-age_ms).as_millis()).unwrap();
        fs::File::options()
            .write(true)
            .open(self.lock_file())
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_millis(modified))
            .unwrap();
    }

    fn content(&self) -> Option<Vec<u8>> {
        fs::read(self.lock_file()).ok()
    }

    fn try_acquire(&self) -> Result<StoreLock> {
        StoreLock::try_acquire(self.dir.path(), &self.ctx)
    }

    /// The lock is refused as busy and the file in the way is untouched.
    fn refused(&self) -> String {
        let before = self.content();
        let error = self.try_acquire().unwrap_err();
        assert_eq!(error.code(), ErrorCode::LockBusy, "{error}");
        assert_eq!(self.content(), before);
        error.message().to_owned()
    }

    /// The lock is had at once, whole and ours, and is gone after release.
    fn granted(&self) {
        let lock = self.try_acquire().unwrap();
        assert_eq!(
            Payload::parse(&self.content().unwrap()),
            Payload {
                pid: Some(std::process::id()),
                created_at: Some(self.clock.now()),
                starttime: owner::own_starttime(),
            }
        );
        assert!(lock.verify());
        assert_eq!(lock.release(), Released::Clean);
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 0);
    }
}

/// Another program that lives until the end of the test.
struct Neighbour(Child);

impl Neighbour {
    fn new() -> Self {
        let child = Command::new("sleep")
            .arg("600")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its lock as 2026.2.17 writes it: no start time, no newline at the end.
    fn lock_of_2026_2_17(&self, age_ms: i64) -> Vec<u8> {
        without_newline(Payload::encode(self.pid(), NOW.plus_millis(-age_ms), None))
    }

    /// Ends it but leaves it a zombie.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        let started = Instant::now();
        while owner::look_up(self.pid(), None) == Owner::Lives {
            assert!(started.elapsed() < PLENTY, "the killed child still runs");
            thread::yield_now();
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    assert_eq!(bytes.pop(), Some(b'\n'));
    bytes
}

fn pid_of_nobody() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn a_free_lock_is_taken_and_given_back() {
    let scene = Scene::new();
    scene.granted();
    scene.granted();
}

#[test]
fn the_payload_is_the_one_openclaw_reads() {
    let scene = Scene::new();
    let lock = scene.try_acquire().unwrap();
    let starttime =
        owner::own_starttime().map_or(String::new(), |ticks| format!(",\n  \"starttime\": {ticks}"));
    assert_eq!(
        String::from_utf8(scene.content().unwrap()).unwrap(),
        format!(
            "{{\n  \"pid\": {},\n  \"createdAt\": \"2023-11-14T22:13:20.000Z\"{starttime}\n}}\n",
            std::process::id()
        )
    );
    drop(lock);
    assert_eq!(scene.content(), None);
}

#[test]
fn the_time_held_is_counted_by_the_wall_clock() {
    let scene = Scene::new();
    let lock = scene.try_acquire().unwrap();
    assert_eq!(
        lock.held_for(NOW.plus_millis(4_999)),
        Duration::from_millis(4_999)
    );
    assert_eq!(lock.held_for(NOW.plus_millis(-1)), Duration::ZERO);
    assert_eq!(lock.agent_dir(), scene.dir.path().canonicalize().unwrap());
    assert_eq!(lock.path(), scene.lock_file());
}

#[test]
fn a_living_owner_keeps_its_lock_however_old() {
    let scene = Scene::new();
    let neighbour = Neighbour::new();
    for age in [0, 31_000, 120_000, 181_000, 86_400_000] {
        scene.put_with_age(neighbour.lock_of_2026_2_17(age), age);
        scene.refused();
    }
    // The init process may not be signalled by an ordinary user: it lives all the same.
    scene.put(Payload::encode(1, NOW, None));
    scene.refused();
}

#[test]
fn a_waiting_writer_gives_up_at_its_limit_and_not_before() {
    let scene = Scene::new();
    let neighbour = Neighbour::new();
    scene.put(neighbour.lock_of_2026_2_17(0));
    let limit = Duration::from_millis(350);
    let started = Instant::now();
    let error = StoreLock::acquire(scene.dir.path(), &scene.ctx, limit).unwrap_err();
    assert_eq!(error.code(), ErrorCode::LockBusy);
    assert!(started.elapsed() >= limit);
    assert!(started.elapsed() < PLENTY);
    assert_eq!(scene.content(), Some(neighbour.lock_of_2026_2_17(0)));
}

#[test]
fn a_waiting_writer_gets_the_lock_when_the_owner_lets_go() {
    let scene = Scene::new();
    let neighbour = Neighbour::new();
    scene.put(neighbour.lock_of_2026_2_17(0));
    thread::scope(|threads| {
        let waiting = threads.spawn(|| StoreLock::acquire(scene.dir.path(), &scene.ctx, PLENTY));
        fs::remove_file(scene.lock_file()).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap().release(), Released::Clean);
    });
}

#[test]
fn a_dead_owner_loses_its_lock_at_once() {
    let scene = Scene::new();
    scene.put(without_newline(Payload::encode(pid_of_nobody(), NOW, None)));
    scene.granted();
    scene.clock.advance_millis(61_000);
    scene.put(Payload::encode(
        pid_of_nobody(),
        NOW.plus_millis(-86_400_000),
        Some(1),
    ));
    scene.granted();
}

#[cfg(target_os = "linux")]
#[test]
fn a_zombie_is_dead() {
    let scene = Scene::new();
    let mut neighbour = Neighbour::new();
    scene.put(neighbour.lock_of_2026_2_17(0));
    scene.refused();
    neighbour.kill();
    scene.granted();
}

#[cfg(target_os = "linux")]
#[test]
fn a_reused_process_id_is_told_by_its_start_time() {
    let scene = Scene::new();
    let neighbour = Neighbour::new();
    scene.put(Payload::encode(neighbour.pid(), NOW, Some(1)));
    scene.granted();
}

#[test]
fn a_lock_without_an_owner_is_broken_after_three_minutes() {
    let created = "{\n  \"createdAt\": \"2020-01-01T00:00:00.000Z\"\n}\n";
    for bytes in ["", "{\n  \"pid\": 43", "null", created, "{\"pid\":\"x\"}"] {
        let scene = Scene::new();
        for age in [-3_600_000, 0, 31_000, 180_000] {
            scene.put_with_age(bytes, age);
            scene.refused();
        }
        scene.put_with_age(bytes, 180_001);
        scene.granted();
    }
}

#[test]
fn a_leftover_with_this_process_id_is_broken() {
    let scene = Scene::new();
    let before = NOW.plus_millis(-31_000);
    scene.put(without_newline(Payload::encode(std::process::id(), before, None)));
    scene.granted();
    scene.put(Payload::encode(
        std::process::id(),
        before,
        owner::own_starttime(),
    ));
    scene.granted();
}

#[test]
fn something_else_in_the_lock_place_is_an_error_and_stays() {
    let scene = Scene::new();
    fs::create_dir(scene.lock_file()).unwrap();
    assert_eq!(scene.try_acquire().unwrap_err().code(), ErrorCode::LockFailed);
    assert!(scene.lock_file().is_dir());
}

#[test]
fn a_place_where_no_directory_can_be_is_an_error() {
    let scene = Scene::new();
    let file = scene.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = StoreLock::try_acquire(&file.join("agent"), &scene.ctx).unwrap_err();
    assert_eq!(error.code(), ErrorCode::LockFailed);
}

#[test]
fn a_lock_stolen_while_held_is_reported_and_left_alone() {
    let scene = Scene::new();
    let neighbour = Neighbour::new();
    let theirs = neighbour.lock_of_2026_2_17(0);
    let lock = scene.try_acquire().unwrap();
    fs::remove_file(scene.lock_file()).unwrap();
    assert!(!lock.verify());
    scene.put(&theirs);
    assert!(!lock.verify());
    assert_eq!(lock.release(), Released::Stolen);
    assert_eq!(scene.content(), Some(theirs.clone()));

    fs::remove_file(scene.lock_file()).unwrap();
    let lock = scene.try_acquire().unwrap();
    fs::remove_file(scene.lock_file()).unwrap();
    scene.put(&theirs);
    drop(lock);
    assert_eq!(scene.content(), Some(theirs));

    fs::remove_file(scene.lock_file()).unwrap();
    let lock = scene.try_acquire().unwrap();
    fs::remove_file(scene.lock_file()).unwrap();
    assert_eq!(lock.release(), Released::Stolen);
    assert_eq!(scene.content(), None);
}

#[test]
fn the_same_bytes_in_another_file_are_not_our_lock() {
    let scene = Scene::new();
    let lock = scene.try_acquire().unwrap();
    let bytes = scene.content().unwrap();
    fs::rename(scene.lock_file(), scene.dir.path().join("kept")).unwrap();
    scene.put(&bytes);
    assert_eq!(lock.release(), Released::Stolen);
    assert_eq!(scene.content(), Some(bytes));
}

#[test]
fn the_lock_belongs_to_the_directory_not_to_the_way_there() {
    let scene = Scene::new();
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("agent");
    std::os::unix::fs::symlink(scene.dir.path(), &link).unwrap();
    let lock = StoreLock::try_acquire(&link, &scene.ctx).unwrap();
    assert_eq!(lock.path(), scene.lock_file());
    scene.refused();
}

#[test]
fn a_missing_directory_is_made_for_the_user_alone() {
    let scene = Scene::new();
    let agent = scene.dir.path().join("agents/work/agent");
    let lock = StoreLock::try_acquire(&agent, &scene.ctx).unwrap();
    assert_eq!(agent.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(lock.release(), Released::Clean);
}

#[test]
fn a_second_thread_waits_like_any_other_program() {
    let scene = Scene::new();
    let first = scene.try_acquire().unwrap();
    let message = scene.refused();
    assert!(
        message.contains(&format!("(pid {})", std::process::id())),
        "{message}"
    );
    thread::scope(|threads| {
        let second = threads.spawn(|| StoreLock::acquire(scene.dir.path(), &scene.ctx, PLENTY));
        assert_eq!(first.release(), Released::Clean);
        assert_eq!(second.join().unwrap().unwrap().release(), Released::Clean);
    });
}

#[test]
fn threads_never_hold_it_together() {
    let scene = Scene::new();
    let (inside, turns) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..50 {
                    let lock = StoreLock::acquire(scene.dir.path(), &scene.ctx, PLENTY).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    turns.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                    assert_eq!(lock.release(), Released::Clean);
                }
            });
        }
    });
    assert_eq!(turns.load(Ordering::SeqCst), 200);
    assert_eq!(fs::read_dir(scene.dir.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_refusal_says_who_holds_the_lock_and_since_when() {
    let scene = Scene::new();
    let mut neighbour = Neighbour::new();
    let pid = neighbour.pid();
    let path = scene.lock_file().display().to_string();
    let started = Instant::now();
    while owner::program_of(pid, None).as_deref() != Some("sleep") {
        assert!(started.elapsed() < PLENTY, "the child does not run");
        thread::yield_now();
    }
    scene.put(neighbour.lock_of_2026_2_17(12_345));
    assert_eq!(
        scene.refused(),
        format!("{path} is held by sleep (pid {pid}) for 12 s, since 2023-11-14T22:13:07.655Z")
    );
    let holder = inspect_store_lock(scene.dir.path()).unwrap();
    assert_eq!(
        holder,
        LockHolder {
            path: scene.lock_file(),
            pid: Some(pid),
            program: Some("sleep".to_owned()),
            since: Some(NOW.plus_millis(-12_345)),
            alive: true,
        }
    );
    assert_eq!(
        LockView::from(holder),
        LockView {
            path: path.clone(),
            pid: Some(pid),
            program: Some("sleep".to_owned()),
            since: Some(NOW.plus_millis(-12_345)),
        }
    );

    neighbour.kill();
    let holder = inspect_store_lock(scene.dir.path()).unwrap();
    assert_eq!((holder.alive, holder.program.as_deref()), (false, None));
    assert_eq!(
        holder.sentence(NOW),
        format!(
            "{path} is held by pid {pid}, which no longer runs, for 12 s, since 2023-11-14T22:13:07.655Z"
        )
    );

    scene.put_with_age("", 3_000);
    assert_eq!(
        scene.refused(),
        format!(
            "{path} is held by a program that has not named itself for 3 s, since 2023-11-14T22:13:17.000Z"
        )
    );
    fs::remove_file(scene.lock_file()).unwrap();
    assert_eq!(inspect_store_lock(scene.dir.path()), None);
    assert_eq!(inspect_store_lock(&scene.dir.path().join("missing")), None);
}

#[test]
fn two_young_locks_of_dead_owners_mean_that_nothing_is_written() {
    let scene = Scene::new();
    scene.put(Payload::encode(pid_of_nobody(), NOW, Some(1)));
    scene.granted();
    scene.clock.advance_millis(59_000);
    let second = Payload::encode(pid_of_nobody(), scene.clock.now(), Some(1));
    scene.put(&second);
    for _ in 0..2 {
        let error = StoreLock::acquire(scene.dir.path(), &scene.ctx, PLENTY).unwrap_err();
        assert_eq!(error.code(), ErrorCode::PidsUntrusted);
        assert_eq!(scene.content(), Some(second.clone()), "the second is not broken");
    }
    fs::remove_file(scene.lock_file()).unwrap();
    assert_eq!(scene.try_acquire().unwrap_err().code(), ErrorCode::PidsUntrusted);
    assert_eq!(
        RefreshLock::try_acquire(
            scene.dir.path(),
            "x",
            &ProfileId::parse("x:1").unwrap(),
            &scene.ctx
        )
        .unwrap_err()
        .code(),
        ErrorCode::PidsUntrusted
    );
    scene.ctx.trust().set_trusted(true);
    scene.try_acquire().unwrap();
}

#[test]
fn the_same_bytes_in_two_places_are_two_locks() {
    let scene = Scene::new();
    let bytes = Payload::encode(pid_of_nobody(), NOW, Some(1));
    scene.put(&bytes);
    scene.granted();
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("auth-profiles.json.lock"), &bytes).unwrap();
    let error = StoreLock::try_acquire(other.path(), &scene.ctx).unwrap_err();
    assert_eq!(error.code(), ErrorCode::PidsUntrusted);
}

#[test]
fn a_refresh_lock_has_the_name_that_openclaw_gives_it() {
    let scene = Scene::new();
    let id = ProfileId::parse("openai-codex:default").unwrap();
    let lock = RefreshLock::try_acquire(scene.dir.path(), "openai-codex", &id, &scene.ctx).unwrap();
    assert_eq!(
        lock.path(),
        scene.dir.path().canonicalize().unwrap().join(
            "locks/oauth-refresh/sha256-cee1bbaed8073aace8170859a25616882c288ceeaa1119df363bf01cc0cdab65.lock"
        )
    );
    assert!(lock.verify());
    assert_eq!(lock.held_for(NOW.plus_millis(40_000)), Duration::from_secs(40));

    let busy = RefreshLock::try_acquire(scene.dir.path(), "openai-codex", &id, &scene.ctx).unwrap_err();
    assert_eq!(busy.code(), ErrorCode::LockBusy);
    let other = ProfileId::parse("openai-codex:other").unwrap();
    let other = RefreshLock::try_acquire(scene.dir.path(), "openai-codex", &other, &scene.ctx).unwrap();
    let holder = inspect_refresh_lock(scene.dir.path(), "openai-codex", &id).unwrap();
    assert_eq!(
        (holder.path.as_path(), holder.pid, holder.since, holder.alive),
        (lock.path(), Some(std::process::id()), Some(NOW), true)
    );
    assert_eq!(other.release(), Released::Clean);
    assert_eq!(lock.release(), Released::Clean);
    assert_eq!(inspect_refresh_lock(scene.dir.path(), "openai-codex", &id), None);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        for made in ["locks", "locks/oauth-refresh"] {
            let mode = scene
                .dir
                .path()
                .join(made)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700, "{made}");
        }
    }
}

#[test]
fn a_refresh_lock_follows_the_same_rules() {
    let scene = Scene::new();
    let id = ProfileId::parse("openai:me@example.com").unwrap();
    let take = || RefreshLock::try_acquire(scene.dir.path(), "openai", &id, &scene.ctx);
    let path = take().unwrap().path().to_owned();
    let neighbour = Neighbour::new();
    fs::write(&path, neighbour.lock_of_2026_2_17(600_000)).unwrap();
    assert_eq!(take().unwrap_err().code(), ErrorCode::LockBusy);
    fs::write(
        &path,
        Payload::encode(pid_of_nobody(), NOW.plus_millis(-600_000), Some(1)),
    )
    .unwrap();
    assert_eq!(take().unwrap().release(), Released::Clean);
    let stolen = take().unwrap();
    fs::write(&path, neighbour.lock_of_2026_2_17(0)).unwrap();
    assert_eq!(stolen.release(), Released::Stolen);
    assert_eq!(fs::read(&path).unwrap(), neighbour.lock_of_2026_2_17(0));
}

#[test]
fn the_guard_for_other_tests_locks_for_real() {
    let scene = Scene::new();
    let lock = StoreLock::for_test(scene.dir.path());
    assert!(lock.verify());
    scene.refused();
}

#[test]
fn the_pauses_are_those_of_openclaw() {
    let millis = |jitter| {
        (0..12)
            .map(|waits| delay(waits, jitter).as_millis())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        millis(0.0),
        [
            100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000, 10_000, 10_000
        ]
    );
    assert_eq!(
        millis(0.5),
        [
            150, 300, 600, 1_200, 2_400, 4_800, 9_600, 10_000, 10_000, 10_000, 10_000, 10_000
        ]
    );
    assert_eq!(delay(u32::MAX, 0.99), Duration::from_secs(10));
}
