//! Tells that something changed in the few files that matter, wherever the change came from. It
//! never reads them and never says what changed: the subscriber reads the files again. The
//! operating system's events are used where there are any; a slow poll finds what they miss
//! (network file systems, a link that points elsewhere), and a quick poll replaces them.

mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::mpsc as thread_channel;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use self::signature::{Identity, Signatures, directory_identity, link_target, signatures};
use crate::error::{Error, ErrorCode, Result};

/// Quiet for this long, a burst of changes is told as one.
const QUIET: Duration = Duration::from_millis(80);
/// A burst that does not end is told after this time.
const LONGEST_BURST: Duration = Duration::from_millis(240);
const SLOW_POLL: Duration = Duration::from_secs(5);
/// Without events of the operating system a change must still be seen within half a second.
const QUICK_POLL: Duration = Duration::from_millis(300);
/// Directories can come and go while they are being watched; after so many attempts the next poll
/// goes on.
const ARMING_PASSES: usize = 8;

/// A directory, which need not exist yet, and what in it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedDir {
    path: PathBuf,
    /// Empty: every entry matters.
    names: Vec<OsString>,
}

impl WatchedDir {
    /// Only the entries with these names.
    pub fn only<N: Into<OsString>>(path: impl Into<PathBuf>, names: impl IntoIterator<Item = N>) -> Self {
        Self {
            path: path.into(),
            names: names.into_iter().map(Into::into).collect(),
        }
    }

    /// Every entry that appears or vanishes, for directories of lock files.
    pub fn all(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            names: Vec::new(),
        }
    }

    /// What matters in an agent's directory, in either era.
    pub fn agent(agent_dir: impl Into<PathBuf>) -> Self {
        Self::only(
            agent_dir,
            [
                "auth-profiles.json",
                "auth-profiles.json.lock",
                "auth-state.json",
                "openclaw-agent.sqlite",
                "openclaw-agent.sqlite-wal",
            ],
        )
    }
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    messages: thread_channel::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts watching. Every change after this call arrives at the receiver as one unit or
    /// together with others as one; so read the files after this call, not before.
    pub fn start(dirs: Vec<WatchedDir>) -> Result<(Self, mpsc::Receiver<()>)> {
        Self::start_with(dirs, system_watcher)
    }

    fn start_with(
        dirs: Vec<WatchedDir>,
        system: impl FnOnce(thread_channel::Sender<Message>) -> Option<RecommendedWatcher>,
    ) -> Result<(Self, mpsc::Receiver<()>)> {
        let (messages, inbox) = thread_channel::channel();
        // One place: a change that was not yet fetched stands for all later ones.
        let (subscriber, receiver) = mpsc::channel(1);
        let watch = Watch {
            seen: signatures(&dirs),
            dirs,
            armed: BTreeMap::new(),
            names: BTreeSet::new(),
            whole_dirs: BTreeSet::new(),
            system: system(messages.clone()),
            inbox,
            subscriber,
        };
        let thread = thread::Builder::new()
            .name("kalit-watch".to_owned())
            .spawn(move || watch.run())
            .map_err(|error| {
                Error::new(
                    ErrorCode::Internal,
                    say!("cannot start the thread that watches files"),
                )
                .with_source(error)
            })?;
        let watcher = Self {
            messages,
            thread: Some(thread),
        };
        Ok((watcher, receiver))
    }

    /// Watches these directories from now on. As at the start: read the files after this call.
    pub fn set_paths(&self, dirs: Vec<WatchedDir>) {
        let seen = signatures(&dirs);
        // Fails only when the thread has ended because nobody receives any more.
        let _ = self.messages.send(Message::Watch(dirs, seen));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

enum Message {
    Changed(Vec<PathBuf>),
    /// These vanished or went elsewhere, or something else came in their place.
    Moved(Vec<PathBuf>),
    /// Events were lost.
    Rescan,
    Watch(Vec<WatchedDir>, Signatures),
    Stop,
}

fn system_watcher(messages: thread_channel::Sender<Message>) -> Option<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let message = match event {
            Ok(event) if event.need_rescan() => Message::Rescan,
            // Reading is no change, and Kalit's own reading must not wake Kalit.
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event)
                if matches!(
                    event.kind,
                    EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
                ) =>
            {
                Message::Moved(event.paths)
            }
            Ok(event) => Message::Changed(event.paths),
            Err(_) => Message::Rescan,
        };
        let _ = messages.send(message);
    })
    .ok()
}

/// The thread's own state.
struct Watch {
    dirs: Vec<WatchedDir>,
    seen: Signatures,
    /// The directories for which the system was asked to tell events.
    armed: BTreeMap<PathBuf, Armed>,
    /// File names whose events matter, in any armed directory.
    names: BTreeSet<OsString>,
    /// Directories whose entries all matter.
    whole_dirs: BTreeSet<PathBuf>,
    system: Option<RecommendedWatcher>,
    inbox: thread_channel::Receiver<Message>,
    subscriber: mpsc::Sender<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Armed {
    identity: Identity,
    /// Whether the system accepted.
    told: bool,
}

/// When a burst of events began and was last heard of.
struct Burst {
    first: Instant,
    last: Instant,
}

impl Watch {
    fn run(mut self) {
        self.arm();
        self.tell_if_different();
        let mut burst: Option<Burst> = None;
        let mut next_poll = Instant::now() + self.poll_interval();
        while !self.subscriber.is_closed() {
            let until = burst
                .as_ref()
                .map_or(next_poll, |burst| burst.end().min(next_poll));
            let mut heard = false;
            match self
                .inbox
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(Message::Changed(paths)) => heard = paths.iter().any(|path| self.matters(path)),
                Ok(Message::Moved(paths)) => {
                    heard = paths.iter().any(|path| self.matters(path));
                    self.disarm(&paths);
                }
                Ok(Message::Rescan) => heard = true,
                Ok(Message::Watch(dirs, seen)) => {
                    self.dirs = dirs;
                    self.seen = seen;
                    self.arm();
                    self.tell_if_different();
                    next_poll = Instant::now() + self.poll_interval();
                }
                Ok(Message::Stop) | Err(thread_channel::RecvTimeoutError::Disconnected) => return,
                Err(thread_channel::RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if heard {
                self.arm();
                let first = burst.as_ref().map_or(now, |burst| burst.first);
                burst = Some(Burst { first, last: now });
            }
            if burst.as_ref().is_some_and(|burst| burst.end() <= now) {
                burst = None;
                // Told in any case: two writes within one tick of the file system's clock look
                // alike from outside.
                self.seen = signatures(&self.dirs);
                self.tell();
            }
            if next_poll <= now {
                self.arm();
                self.tell_if_different();
                next_poll = now + self.poll_interval();
            }
        }
    }

    /// Asks the system for the events of every directory, or of its nearest ancestor while it
    /// does not exist. A directory that was replaced is another one and is asked for again.
    fn arm(&mut self) {
        for _ in 0..ARMING_PASSES {
            let wanted = self.wanted();
            let unchanged = wanted.len() == self.armed.len()
                && wanted.iter().all(|(path, identity)| {
                    self.armed
                        .get(path)
                        .is_some_and(|armed| armed.identity == *identity)
                });
            if unchanged {
                return;
            }
            let Some(system) = &mut self.system else {
                self.armed = wanted
                    .into_iter()
                    .map(|(path, identity)| {
                        (
                            path,
                            Armed {
                                identity,
                                told: false,
                            },
                        )
                    })
                    .collect();
                return;
            };
            self.armed.retain(|path, armed| {
                let keep = wanted.get(path) == Some(&armed.identity);
                if !keep {
                    // Fails when the system forgot the directory as it vanished.
                    let _ = system.unwatch(path);
                }
                keep
            });
            for (path, identity) in wanted {
                self.armed.entry(path).or_insert_with_key(|path| Armed {
                    identity,
                    told: system.watch(path, RecursiveMode::NonRecursive).is_ok(),
                });
            }
        }
    }

    /// A directory that vanished takes its events along, and the one in its place may even have
    /// the same identity.
    fn disarm(&mut self, paths: &[PathBuf]) {
        for path in paths {
            if self.armed.remove(path).is_some()
                && let Some(system) = &mut self.system
            {
                let _ = system.unwatch(path);
            }
        }
    }

    /// The directories to ask for; notes the names and directories that matter.
    fn wanted(&mut self) -> BTreeMap<PathBuf, Identity> {
        self.names.clear();
        self.whole_dirs.clear();
        let mut wanted = BTreeMap::new();
        for dir in &self.dirs {
            self.names.extend(dir.names.iter().cloned());
            if dir.names.is_empty() {
                self.whole_dirs.insert(dir.path.clone());
                self.whole_dirs.extend(dir.path.canonicalize().ok());
            }
            let nearest = dir
                .path
                .ancestors()
                .find_map(|path| directory_identity(path).map(|identity| (path, identity)));
            let Some((nearest, identity)) = nearest else {
                continue;
            };
            if let Some(missing) = dir
                .path
                .strip_prefix(nearest)
                .ok()
                .and_then(|rest| rest.iter().next())
            {
                self.names.insert(missing.to_owned());
            }
            wanted.insert(nearest.to_owned(), identity);
            for name in &dir.names {
                let Some((target_dir, target_name)) = link_target(&dir.path.join(name)) else {
                    continue;
                };
                if let Some(identity) = directory_identity(&target_dir) {
                    wanted.insert(target_dir, identity);
                    self.names.insert(target_name);
                }
            }
        }
        wanted
    }

    fn matters(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| self.names.contains(name))
            || self.armed.contains_key(path)
            || path
                .parent()
                .is_some_and(|parent| self.whole_dirs.contains(parent))
    }

    fn tell_if_different(&mut self) {
        let now = signatures(&self.dirs);
        if now != self.seen {
            self.seen = now;
            self.tell();
        }
    }

    fn tell(&self) {
        // Full: the subscriber has not yet fetched the last one, which stands for this one too.
        let _ = self.subscriber.try_send(());
    }

    fn poll_interval(&self) -> Duration {
        if self.armed.values().all(|armed| armed.told) && self.system.is_some() {
            SLOW_POLL
        } else {
            QUICK_POLL
        }
    }
}

impl Burst {
    fn end(&self) -> Instant {
        (self.last + QUIET).min(self.first + LONGEST_BURST)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    struct Bench {
        dir: tempfile::TempDir,
        watcher: Watcher,
        changes: mpsc::Receiver<()>,
    }

    impl Bench {
        fn new(prepare: impl FnOnce(&Path)) -> Self {
            Self::with(system_watcher, prepare)
        }

        fn with(
            system: impl FnOnce(thread_channel::Sender<Message>) -> Option<RecommendedWatcher>,
            prepare: impl FnOnce(&Path),
        ) -> Self {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let (watcher, changes) =
                Watcher::start_with(vec![WatchedDir::agent(dir.path().join("agent"))], system).unwrap();
            Self {
                dir,
                watcher,
                changes,
            }
        }

        fn store(&self) -> PathBuf {
            self.dir.path().join("agent/auth-profiles.json")
        }

        async fn sees(&mut self, what: &str) {
            let started = Instant::now();
            match tokio::time::timeout(LIMIT, self.changes.recv()).await {
                Ok(Some(())) => {}
                other => panic!("{what}: {other:?} after {:?}", started.elapsed()),
            }
        }

        /// Lets a burst end, so that the next change is a change of its own.
        async fn settle(&mut self) {
            while let Ok(Some(())) = tokio::time::timeout(LONGEST_BURST + QUIET, self.changes.recv()).await {}
        }

        async fn stays_quiet(&mut self, what: &str) {
            let heard = tokio::time::timeout(LIMIT, self.changes.recv()).await;
            assert!(heard.is_err(), "{what} was told");
        }
    }

    fn with_store(dir: &Path) {
        fs::create_dir(dir.join("agent")).unwrap();
        fs::write(dir.join("agent/auth-profiles.json"), "{}\n").unwrap();
    }

    fn replace(path: &Path, text: &str) {
        let temp = path.with_extension("json.0.tmp");
        fs::write(&temp, text).unwrap();
        fs::rename(&temp, path).unwrap();
    }

    fn rewrite_in_place(path: &Path, text: &str) {
        fs::File::create(path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    async fn sees_every_way_of_writing(mut bench: Bench) {
        let store = bench.store();
        for round in 0..3 {
            replace(&store, &format!("{{\"replaced\":{round}}}\n"));
            bench.sees("a replaced file").await;
            bench.settle().await;
            rewrite_in_place(&store, &format!("{{\"rewritten\":{round}}}\n"));
            bench.sees("a file written in place").await;
            bench.settle().await;
        }
        fs::remove_file(&store).unwrap();
        bench.sees("a removed file").await;
        bench.settle().await;
        fs::write(store.with_file_name("auth-profiles.json.lock"), "{}").unwrap();
        bench.sees("a lock").await;
    }

    #[tokio::test]
    async fn every_way_of_writing_is_seen_within_half_a_second() {
        sees_every_way_of_writing(Bench::new(with_store)).await;
    }

    #[tokio::test]
    async fn every_way_of_writing_is_seen_without_events_of_the_system() {
        sees_every_way_of_writing(Bench::with(|_| None, with_store)).await;
    }

    #[tokio::test]
    async fn a_directory_that_comes_later_is_watched() {
        let mut bench = Bench::new(|_| {});
        bench.watcher.set_paths(vec![WatchedDir::agent(
            bench.dir.path().join("state/agents/main/agent"),
        )]);
        let agent = bench.dir.path().join("state/agents/main/agent");
        fs::create_dir_all(&agent).unwrap();
        fs::write(agent.join("auth-profiles.json"), "{}").unwrap();
        bench.sees("the first store").await;
        bench.settle().await;
        replace(&agent.join("auth-profiles.json"), "{\"x\":1}");
        bench.sees("the second write").await;
        bench.settle().await;
        // And step by step.
        let work = bench.dir.path().join("state/agents/work/agent");
        bench.watcher.set_paths(vec![WatchedDir::agent(&work)]);
        fs::create_dir(work.parent().unwrap()).unwrap();
        bench.settle().await;
        fs::create_dir(&work).unwrap();
        bench.settle().await;
        fs::write(work.join("auth-state.json"), "{}").unwrap();
        bench.sees("a file in a directory made step by step").await;
    }

    #[tokio::test]
    async fn a_replaced_directory_is_watched_again() {
        let mut bench = Bench::new(with_store);
        let agent = bench.dir.path().join("agent");
        fs::rename(&agent, bench.dir.path().join("agent.old")).unwrap();
        bench.sees("the directory went away").await;
        bench.settle().await;
        with_store(bench.dir.path());
        bench.sees("the directory came back").await;
        bench.settle().await;
        replace(&bench.store(), "{\"x\":2}");
        bench.sees("a write in the new directory").await;
        bench.settle().await;
        fs::remove_dir_all(&agent).unwrap();
        with_store(bench.dir.path());
        bench.sees("the directory was removed and made at once").await;
        bench.settle().await;
        rewrite_in_place(&bench.store(), "{\"x\":3}");
        bench.sees("a write in the third directory").await;
    }

    #[tokio::test]
    async fn only_the_files_that_matter_wake() {
        let mut bench = Bench::new(with_store);
        let agent = bench.dir.path().join("agent");
        fs::write(agent.join("models.json"), "{}").unwrap();
        fs::create_dir(agent.join("sessions")).unwrap();
        fs::write(bench.dir.path().join("gateway.log"), "x").unwrap();
        fs::read(bench.store()).unwrap();
        fs::read_dir(&agent).unwrap().count();
        bench.stays_quiet("a file that does not matter").await;
        replace(&bench.store(), "{\"x\":1}");
        bench.sees("the store").await;
    }

    #[tokio::test]
    async fn a_burst_is_told_as_one_and_an_endless_one_is_told() {
        let mut bench = Bench::new(with_store);
        bench.settle().await;
        let started = Instant::now();
        for number in 0..100 {
            replace(&bench.store(), &format!("{{\"x\":{number}}}"));
        }
        let mut told = 0;
        let mut last = started;
        while let Ok(Some(())) = tokio::time::timeout(LIMIT, bench.changes.recv()).await {
            told += 1;
            last = Instant::now();
        }
        // Once at its end, and once whenever it lasted that long on a busy machine.
        let most = 1 + (last - started).as_millis() / LONGEST_BURST.as_millis();
        assert!(
            (1..=most).contains(&told),
            "told {told} times, at most {most} expected"
        );

        let store = bench.store();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let writer = thread::spawn({
            let stop = std::sync::Arc::clone(&stop);
            move || {
                let mut number = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    number += 1;
                    rewrite_in_place(&store, &format!("{{\"x\":{number}}}"));
                    thread::sleep(QUIET / 8);
                }
            }
        });
        for _ in 0..3 {
            bench.sees("an endless burst").await;
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        writer.join().unwrap();
    }

    #[tokio::test]
    async fn a_directory_of_locks_wakes_for_every_entry() {
        let mut bench = Bench::new(|_| {});
        let locks = bench.dir.path().join("locks/oauth-refresh");
        bench.watcher.set_paths(vec![WatchedDir::all(&locks)]);
        fs::create_dir_all(&locks).unwrap();
        bench.settle().await;
        fs::write(locks.join("sha256-00.lock"), "{}").unwrap();
        bench.sees("a refresh lock").await;
        bench.settle().await;
        fs::remove_file(locks.join("sha256-00.lock")).unwrap();
        bench.sees("a released refresh lock").await;
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_store_behind_a_link_is_seen() {
        let mut bench = Bench::new(|dir| {
            fs::create_dir(dir.join("agent")).unwrap();
            fs::create_dir(dir.join("dotfiles")).unwrap();
            fs::write(dir.join("dotfiles/store.json"), "{}").unwrap();
            std::os::unix::fs::symlink("../dotfiles/store.json", dir.join("agent/auth-profiles.json"))
                .unwrap();
        });
        replace(&bench.dir.path().join("dotfiles/store.json"), "{\"x\":1}");
        bench.sees("the file behind the link").await;
    }

    #[tokio::test]
    async fn a_change_before_the_system_was_asked_is_not_missed() {
        for _ in 0..20 {
            let mut bench = Bench::new(with_store);
            replace(&bench.store(), "{\"x\":1}");
            bench.sees("a change right after the start").await;
        }
    }

    #[tokio::test]
    async fn the_thread_ends_with_its_watcher_or_its_subscriber() {
        let bench = Bench::new(with_store);
        let Bench {
            watcher,
            mut changes,
            dir: _dir,
        } = bench;
        drop(watcher);
        assert_eq!(changes.recv().await, None);

        let bench = Bench::with(|_| None, with_store);
        let Bench { watcher, changes, .. } = bench;
        drop(changes);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !watcher.thread.as_ref().unwrap().is_finished() {
            assert!(Instant::now() < deadline, "the thread goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
