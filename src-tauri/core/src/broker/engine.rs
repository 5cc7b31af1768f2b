//! What a long-lived process does by itself: watch the files, renew what is due, notice what
//! others did, and tell. One scheduler for each installation among all Kalit processes; the
//! others only watch.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fs4::{FileExt, TryLockError};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::observer::Observer;
use super::{About, Broker, Inner, blocking, notice_of};
use crate::durable;
use crate::error::{Error, ErrorCode, Result};
use crate::event::{Event, EventKind};
use crate::install::Installation;
use crate::radar::Program;
use crate::refresh::schedule::{self, Item};
use crate::refresh::{Attempt, Fleet, Sources, answers_wait, replay};
use crate::secret::Fingerprint;
use crate::store::{StoreLock, sqlite};
use crate::vault::installation_dir;
use crate::view::{Notice, Snapshot, Worst};
use crate::watch::{WatchedDir, Watcher};

/// Watches and publishes snapshots: the window.
#[derive(Debug)]
pub struct Watch {
    changes: watch::Receiver<Arc<Snapshot>>,
    task: JoinHandle<()>,
}

/// Watches, renews, repairs and tells: tray and `kalit watch`.
#[derive(Debug)]
pub struct Engine {
    changes: watch::Receiver<Arc<Snapshot>>,
    events: broadcast::Sender<Event>,
    stop: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

/// What one look at the disk found.
struct Tick {
    snapshot: Snapshot,
    due: Vec<Attempt>,
    sleep: Duration,
    dirs: Vec<WatchedDir>,
}

/// The shortest pause between two looks that nobody asked for.
const SHORTEST_SLEEP: Duration = Duration::from_millis(200);
/// A busy store keeps its leftovers until the next start.
const TRY_LOCK: Duration = Duration::from_secs(1);
/// The schedule does not try the same login again within this time.
const REST: Duration = Duration::from_secs(20);

impl Broker {
    /// Starts the engine of a long-lived process. If another Kalit renews this installation
    /// already, this one watches, and takes over when the other ends.
    pub async fn engine(&self) -> Result<Engine> {
        let inner = self.inner.clone();
        let dirs = blocking(move || Ok(watched(&inner))).await?;
        let (watcher, woken) = Watcher::start(dirs)?;
        let first = self.look().await?;
        let (publish, changes) = watch::channel(Arc::new(first));
        let (stop, stopped) = mpsc::channel(1);
        let engine = Running {
            broker: self.clone(),
            observer: Observer::default(),
            scheduler: None,
            watcher,
            publish,
            in_flight: HashSet::new(),
            resting: HashMap::new(),
            renewals: JoinSet::new(),
        };
        let task = tokio::spawn(engine.run(woken, stopped));
        Ok(Engine {
            changes,
            events: self.inner.events.clone(),
            stop,
            task,
        })
    }

    /// Watches without renewing anything: OpenClaw's files, and what an engine in another process
    /// records.
    pub async fn watch(&self) -> Result<Watch> {
        let inner = self.inner.clone();
        let dirs = blocking(move || Ok(watched_with_record(&inner))).await?;
        let (watcher, mut woken) = Watcher::start(dirs)?;
        let (publish, changes) = watch::channel(Arc::new(self.look().await?));
        let broker = self.clone();
        let task = tokio::spawn(async move {
            loop {
                let minute = tokio::time::sleep(Duration::from_secs(30));
                tokio::select! {
                    woken = woken.recv() => if woken.is_none() { break },
                    () = minute => {}
                    () = publish.closed() => break,
                }
                let Ok(snapshot) = broker.look().await else {
                    continue;
                };
                let inner = broker.inner.clone();
                if let Ok(dirs) = blocking(move || Ok(watched_with_record(&inner))).await {
                    watcher.set_paths(dirs);
                }
                offer(&publish, snapshot);
            }
        });
        Ok(Watch { changes, task })
    }

    async fn look(&self) -> Result<Snapshot> {
        let inner = self.inner.clone();
        blocking(move || Ok(inner.snapshot())).await
    }
}

impl Watch {
    /// The newest snapshot, and a wake-up for each change.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.changes.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Engine {
    /// The newest snapshot, and a wake-up for each change.
    pub fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.changes.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Ends the engine; a renewal in flight is waited for.
    pub async fn stop(self) {
        let _ = self.stop.send(()).await;
        let _ = self.task.await;
    }
}

struct Running {
    broker: Broker,
    observer: Observer,
    /// Held while this process renews.
    scheduler: Option<File>,
    watcher: Watcher,
    publish: watch::Sender<Arc<Snapshot>>,
    /// Logins whose renewal runs.
    in_flight: HashSet<Fingerprint>,
    /// Logins that were just tried: whatever came of it, not again at once.
    resting: HashMap<Fingerprint, Instant>,
    renewals: JoinSet<Fingerprint>,
}

impl Running {
    async fn run(mut self, mut woken: mpsc::Receiver<()>, mut stopped: mpsc::Receiver<()>) {
        let inner = self.broker.inner.clone();
        let started = inner
            .installation()
            .map(|installation| installation.state_dir.canonical().display().to_string());
        let installation = started.unwrap_or_default();
        // Told after the first look: from then on no change goes by untold.
        let mut sleep = self.tick().await;
        inner.emit(
            EventKind::Started,
            About {
                installation: &installation,
                cause: Some(inner.program),
                ..About::default()
            },
            format!("{} watches {installation}", inner.program),
        );
        // A person consented when it began.
        let broker = self.broker.clone();
        let restore = tokio::spawn(async move { broker.finish_restore().await });
        loop {
            tokio::select! {
                woken = woken.recv() => if woken.is_none() { break },
                () = tokio::time::sleep(sleep) => {}
                Some(ended) = self.renewals.join_next() => {
                    if let Ok(generation) = ended {
                        self.in_flight.remove(&generation);
                        self.resting.insert(generation, Instant::now());
                    }
                }
                _ = stopped.recv() => break,
            }
            sleep = self.tick().await;
        }
        while self.renewals.join_next().await.is_some() {}
        let _ = restore.await;
    }

    /// Looks, publishes, starts what is due; answers with how long to sleep.
    async fn tick(&mut self) -> Duration {
        let inner = self.broker.inner.clone();
        let mut observer = std::mem::take(&mut self.observer);
        let mut scheduler = self.scheduler.take();
        let refresher = inner.refresher.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let mut stuck = None;
            if scheduler.is_none() {
                match take_scheduler(&inner) {
                    Ok(taken) => {
                        scheduler = taken;
                        if scheduler.is_some() {
                            inner.remove_leftovers();
                        }
                    }
                    Err(error) => stuck = Some(error),
                }
            }
            if scheduler.is_some() && answers_wait(&refresher) {
                // A busy store keeps its entry: tried again at the next look.
                let _ = replay(&refresher);
                let _ = inner.rescue_sign_ins();
            }
            let schedules = stuck.map_or(Ok(scheduler.is_some()), Err);
            let tick = inner.tick(&mut observer, schedules);
            (observer, scheduler, tick)
        })
        .await;
        let Ok((observer, scheduler, tick)) = looked else {
            return Duration::from_secs(5);
        };
        (self.observer, self.scheduler) = (observer, scheduler);
        offer(&self.publish, tick.snapshot);
        self.watcher.set_paths(tick.dirs);
        self.resting.retain(|_, since| since.elapsed() < REST);
        let mut sleep = tick.sleep;
        for attempt in tick.due {
            if self.resting.contains_key(&attempt.seen) || self.in_flight.contains(&attempt.seen) {
                sleep = sleep.max(Duration::from_secs(1));
                continue;
            }
            self.in_flight.insert(attempt.seen);
            let (broker, generation) = (self.broker.clone(), attempt.seen);
            self.renewals.spawn(async move {
                broker.renew(attempt).await;
                generation
            });
        }
        sleep.max(SHORTEST_SLEEP)
    }
}

impl Inner {
    /// One look: notice what changed, decide what is due. `schedules`: whether this process renews,
    /// or why no process can.
    fn tick(&self, observer: &mut Observer, schedules: Result<bool>) -> Tick {
        let longest = Duration::from_secs(30);
        let looked = self.settings().and_then(|settings| {
            let fleet = Fleet::read(&self.environment, &settings, self.explicit.as_deref())?;
            Ok((settings, fleet))
        });
        let (settings, fleet) = match looked {
            Ok(looked) => looked,
            Err(_) => {
                return Tick {
                    snapshot: self.snapshot(),
                    due: Vec::new(),
                    sleep: longest,
                    dirs: watched(self),
                };
            }
        };
        let mends = matches!(schedules, Ok(true)) && !settings.watch_only;
        let begins = mends && self.renewing_since().is_none();
        if mends {
            self.renewing_since().get_or_insert(self.now());
        } else {
            *self.renewing_since() = None;
        }
        if matches!(schedules, Ok(true)) {
            // An earlier engine may have left it, or the login went another way.
            self.forget_offline(&fleet);
        }
        let again = observer.observe(self, &fleet, mends);
        // What is sealed is looked at once: from then on each refusal does that.
        let sources = if begins { Sources::All } else { Sources::Stores };
        let healed = mends && self.heal_all(&fleet, sources);
        let fleet = if again.wrote || healed {
            self.fleet().unwrap_or(fleet)
        } else {
            fleet
        };
        let writable = !settings.watch_only && fleet.current().ensure_json_era().is_ok();
        let planned = match schedules {
            Ok(true) if writable => self.plan(&fleet),
            Err(error) if writable => Err(error),
            Ok(_) | Err(_) => Ok((Vec::new(), longest)),
        };
        let mut snapshot = self.board(&fleet, &settings, self.now());
        // An error is tried again at the next look.
        let stuck = planned.as_ref().err().map(|error| Notice {
            message: say!("no login is renewed: {why}", why = error.message()),
            ..notice_of(error)
        });
        observer.tell_stuck(self, &fleet, stuck.as_ref());
        if let Some(notice) = stuck {
            snapshot.notices.insert(0, notice);
            snapshot.worst = match snapshot.worst {
                Worst::Healthy | Worst::Paused => Worst::Notice,
                worse => worse,
            };
        }
        let (due, mut sleep) = planned.unwrap_or((Vec::new(), longest));
        if let Some(soon) = again.look_in {
            sleep = sleep.min(soon);
        }
        Tick {
            snapshot,
            due,
            sleep,
            dirs: watched_by(self, fleet.installations.iter()),
        }
    }

    /// Removes what a crash left of interrupted writes: in Kalit's own directories, and in agent
    /// directories under each store's lock. A store that is busy, or that Kalit may not write, keeps
    /// its files: `doctor` lists them.
    fn remove_leftovers(&self) {
        crate::vault::remove_abandoned(&self.environment.data_dir());
        let Ok(fleet) = self.fleet() else { return };
        for store in &fleet.stores {
            let Some(installation) = fleet.installation(&store.state_dir) else {
                continue;
            };
            let files = installation.store(&store.agent_dir);
            if files.has_temporary_files()
                && installation.ensure_json_era().is_ok()
                && let Ok(lock) = StoreLock::acquire(&store.agent_dir, &self.locks, TRY_LOCK)
            {
                let _ = files.remove_leftovers(&lock);
            }
        }
    }

    /// What is due now, and how long it is until something else is.
    fn plan(&self, fleet: &Fleet) -> Result<(Vec<Attempt>, Duration)> {
        // A shared login is left alone: looking again finds out when that ends.
        let mut all = self.renewables(fleet)?;
        all.retain(|login| !fleet.holders(login.attempt.seen).is_shared());
        let items: Vec<Item> = all.iter().map(|login| login.item.clone()).collect();
        let plan = schedule::plan(&items, self.now());
        let sleep = plan.sleep(self.now());
        let due = plan.due.into_iter();
        Ok((
            due.filter_map(|place| Some(all.get(place)?.wanted())).collect(),
            sleep,
        ))
    }
}

/// Publishes a snapshot unless nothing but the time of looking differs.
fn offer(publish: &watch::Sender<Arc<Snapshot>>, snapshot: Snapshot) {
    publish.send_if_modified(|current| {
        let same = Snapshot {
            at: current.at,
            ..snapshot.clone()
        } == **current;
        *current = Arc::new(snapshot);
        !same
    });
}

fn watched(inner: &Inner) -> Vec<WatchedDir> {
    match inner.fleet() {
        Ok(fleet) => watched_by(inner, fleet.installations.iter()),
        Err(_) => vec![WatchedDir::only(
            inner.environment.config_dir(),
            ["settings.json"],
        )],
    }
}

/// What [`watched`] names, and the record in which an engine notes what it noticed: a profile is
/// called gone a while after the file changed.
fn watched_with_record(inner: &Inner) -> Vec<WatchedDir> {
    let mut dirs = watched(inner);
    dirs.push(WatchedDir::only(
        inner.environment.data_dir(),
        ["history.sqlite", "history.sqlite-wal"],
    ));
    dirs
}

fn watched_by<'a>(inner: &Inner, installations: impl Iterator<Item = &'a Installation>) -> Vec<WatchedDir> {
    let mut dirs = vec![WatchedDir::only(
        inner.environment.config_dir(),
        ["settings.json"],
    )];
    for program in Program::ALL {
        let file = program.file(&inner.environment);
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name()) {
            dirs.push(WatchedDir::only(dir, [name]));
        }
    }
    for installation in installations {
        let state_dir = &installation.state_dir.path;
        dirs.push(WatchedDir::only(state_dir, ["openclaw.json"]));
        dirs.push(WatchedDir::only(
            sqlite::shared_dir(state_dir),
            ["openclaw.sqlite", "openclaw.sqlite-wal"],
        ));
        dirs.push(WatchedDir::all(state_dir.join("locks").join("oauth-refresh")));
        for agent_dir in installation.store_dirs() {
            dirs.push(WatchedDir::agent(agent_dir));
        }
        for agent in &installation.agents {
            let sessions = state_dir.join("agents").join(agent.id.as_str()).join("sessions");
            dirs.push(WatchedDir::only(sessions, ["sessions.json"]));
        }
    }
    dirs
}

/// Whether a process holds the scheduler of this installation.
pub(super) fn attended(data_dir: &Path, installation: &Installation) -> bool {
    File::open(scheduler_file(data_dir, installation))
        .is_ok_and(|file| matches!(FileExt::try_lock_shared(&file), Err(TryLockError::WouldBlock)))
}

fn scheduler_file(data_dir: &Path, installation: &Installation) -> PathBuf {
    installation_dir(data_dir, &installation.state_dir.canonical()).join("scheduler.lock")
}

/// The lock among Kalit's own processes: whoever holds it renews. Freed by the system when the
/// process ends. `None`: another one has it.
fn take_scheduler(inner: &Inner) -> Result<Option<File>> {
    let Ok(installation) = inner.installation() else {
        // The snapshot says so, and nothing can be due.
        return Ok(None);
    };
    let data_dir = inner.environment.data_dir();
    crate::vault::create_private_dir(&installation_dir(&data_dir, &installation.state_dir.canonical()))?;
    let path = scheduler_file(&data_dir, &installation);
    let failed = |error: std::io::Error| {
        Error::new(
            ErrorCode::VaultFailed,
            say!("cannot lock {path}: {error}", path = path.display(), error),
        )
    };
    let file = durable::open_lock(&path).map_err(failed)?;
    Ok(durable::try_lock(&file).map_err(failed)?.then_some(file))
}

#[cfg(test)]
mod tests;
