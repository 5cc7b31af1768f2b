//! What the tray does: reads, shows and tells until Quit, and answers clicks. It knows no desktop;
//! that is [`Desktop`]'s part.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kalit_core::broker::{Broker, Engine, RefreshTarget};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::ids::{AgentId, ProfileId};
use kalit_core::view::{EraView, Snapshot};
use kalit_core::{Error, ErrorCode, plural, say};
use kalit_shell::in_flight::InFlight;
use kalit_shell::menu::{self, Action, MenuModel};
use kalit_shell::names::Cover;
use kalit_shell::route::Route;
use kalit_shell::{process, words};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::arguments::Arguments;
use crate::desktop::{Desktop, Happened};
use crate::notifications::Notifications;
use crate::window_process::WindowProcess;

/// How long the first line says what a click has done.
const SAID_FOR: Duration = Duration::from_secs(20);
/// Wall-clock texts are looked at again at least this often: timers stop while a machine sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often a missing tray host, or a broker that does not open, is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What the tray's tasks share.
pub struct Shell {
    arguments: Arguments,
    desktop: Desktop,
    broker: OnceLock<Broker>,
    window: WindowProcess,
    notifications: Notifications,
    in_flight: InFlight,
    /// What the menu says now.
    shown: Mutex<MenuModel>,
    said: Mutex<Option<(String, Instant)>>,
    /// Hides the names of accounts, if they are not to be seen.
    cover: Mutex<Cover>,
    /// The switches that OpenClaw is being asked for.
    asked: Mutex<Vec<(AgentId, ProfileId)>>,
    /// Something was changed from here: the snapshot may be an old one.
    acted: AtomicBool,
    redraw: Notify,
    quit: Notify,
    /// The window was opened in place of a tray icon.
    stood_in: AtomicBool,
}

/// Runs until Quit, then waits for the window and for what is under way.
pub async fn run(arguments: Arguments, desktop: Desktop, events: UnboundedReceiver<Happened>) {
    let reading = MenuModel::without_snapshot(say!("Reading OpenClaw’s accounts…"));
    let shell = Arc::new(Shell {
        window: WindowProcess::new(arguments.state_dir.clone()),
        arguments,
        desktop,
        broker: OnceLock::new(),
        notifications: Notifications::default(),
        in_flight: InFlight::default(),
        shown: Mutex::new(reading.clone()),
        said: Mutex::new(None),
        cover: Mutex::default(),
        asked: Mutex::default(),
        acted: AtomicBool::new(false),
        redraw: Notify::new(),
        quit: Notify::new(),
        stood_in: AtomicBool::new(false),
    });
    shell.draw(reading).await;
    let mut engine = None;
    tokio::select! {
        () = shell.keep(&mut engine) => {}
        () = shell.answer(events) => {}
        () = shell.quit.notified() => {}
        () = process::terminated() => {}
        () = shell.closed_without_tray() => {}
        () = shell.tell_first_close() => {}
    }
    shell.window.close().await;
    shell.notifications.end(&shell.desktop).await;
    shell.in_flight.ended().await;
    if let Some(engine) = engine {
        engine.stop().await;
    }
}

impl Shell {
    /// Keeps an engine running and shows what comes from it; tries again while something is in the
    /// way.
    async fn keep(&self, engine: &mut Option<Engine>) {
        loop {
            match self.start().await {
                Ok(started) => self.show_changes(engine.insert(started)).await,
                Err(error) => {
                    let status = format!("Kalit: {}", error.message());
                    self.draw(MenuModel::without_snapshot(status)).await;
                    self.stand_in();
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Opens the broker and its engine.
    async fn start(&self) -> kalit_core::Result<Engine> {
        let broker = match self.broker.get() {
            Some(broker) => broker,
            None => {
                let state_dir = self.arguments.state_dir.clone();
                let broker = blocking(move || process::broker(state_dir.as_deref())).await??;
                self.broker.get_or_init(|| broker)
            }
        };
        broker.engine().await
    }

    /// Draws every new snapshot, and the same one again when a text in it changes with time. Ends
    /// when the engine does.
    async fn show_changes(&self, engine: &Engine) {
        let Some(broker) = self.broker.get() else { return };
        let mut changes = engine.changes();
        let mut snapshot = changes.borrow_and_update().clone();
        loop {
            let now = SystemClock.now();
            if (self.acted.swap(false, Ordering::SeqCst) || menu::outdated(&snapshot, now))
                && let Ok(newer) = read(broker).await
            {
                snapshot = newer;
            }
            let cover = Cover::of(&snapshot);
            let seen = cover.over(&snapshot);
            *self.cover() = cover;
            let mut model = menu::menu(&seen, now);
            if snapshot.installation.era == EraView::Sqlite {
                for (agent, profile) in self.asked().iter() {
                    model.asking(agent, profile);
                }
            }
            let mut wait = menu::until_change(&snapshot, now)
                .and_then(|millis| u64::try_from(millis).ok())
                .map_or(LOOK_AGAIN, |millis| LOOK_AGAIN.min(Duration::from_millis(millis)));
            if let Some((text, left)) = self.said() {
                model.say(&text);
                wait = wait.min(left);
            }
            self.draw(model).await;
            if let Some(held) = self.notifications.tell(&self.desktop, broker, &seen).await {
                wait = wait.min(held);
            }
            if self.stand_in() {
                wait = wait.min(TRY_AGAIN);
            }
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => snapshot = changes.borrow_and_update().clone(),
                    Err(_) => return,
                },
                () = tokio::time::sleep(wait) => {}
                () = self.redraw.notified() => {}
            }
        }
    }

    async fn draw(&self, model: MenuModel) {
        *self.shown() = model.clone();
        self.desktop.draw(model).await;
    }

    /// Without a tray host the window stands in for the tray; it is opened once, unless Kalit was
    /// started to stay hidden: at login a panel often comes later. Whether there is no tray.
    fn stand_in(&self) -> bool {
        let missing = !self.desktop.has_tray();
        if missing && !self.arguments.hidden && !self.stood_in.swap(true, Ordering::SeqCst) {
            self.open(&Route::Board);
        }
        missing
    }

    /// Without a tray host nothing but the window shows that Kalit runs: it ends with the window.
    async fn closed_without_tray(&self) {
        let mut open = self.window.watch();
        loop {
            if open.wait_for(|open| *open).await.is_err() || open.wait_for(|open| !open).await.is_err() {
                return;
            }
            if !self.desktop.has_tray() {
                return;
            }
        }
    }

    /// Says once that Kalit goes on when its window is closed.
    async fn tell_first_close(&self) {
        loop {
            self.window.closed().await;
            if self.desktop.has_tray()
                && let Some(broker) = self.broker.get()
                && let Some(untold) = self.notifications.first_close(&self.desktop, broker).await
            {
                self.say(untold.to_owned());
            }
        }
    }

    /// Answers what a person does, for as long as the desktop tells.
    async fn answer(self: &Arc<Self>, mut events: UnboundedReceiver<Happened>) {
        while let Some(happened) = events.recv().await {
            match happened {
                Happened::IconClicked | Happened::StartedAgain => self.open(&Route::Board),
                Happened::LineClicked(id) => {
                    let action = self.shown().find(&id).and_then(|item| item.action()).cloned();
                    self.desktop.restore_mark(&id).await;
                    if let Some(action) = action {
                        self.act(action);
                    }
                }
                Happened::ButtonPressed { notification, button } => {
                    if let Some(action) = self.notifications.pressed(notification, &button) {
                        self.act(action);
                    }
                }
                Happened::NotificationClosed(id) => self.notifications.closed(id),
                Happened::TrayChanged => self.redraw.notify_one(),
            }
        }
        std::future::pending().await
    }

    /// Does what a menu item or a notification's button stands for.
    fn act(self: &Arc<Self>, action: Action) {
        match action {
            Action::Open(route) => self.open(&route),
            Action::Quit => self.quit.notify_one(),
            Action::Use { agent, profile } => {
                if self.ask((agent.clone(), profile.clone())) {
                    self.begin(Action::Use { agent, profile });
                }
            }
            Action::Renew { .. }
            | Action::ClearCooldown { .. }
            | Action::RenewAll
            | Action::Pause(_)
            | Action::Mute(_) => {
                self.begin(action);
            }
        }
    }

    /// Starts a change and says what comes of it.
    fn begin(self: &Arc<Self>, action: Action) {
        let shell = Arc::clone(self);
        tokio::spawn(async move {
            let _begun = shell.in_flight.begin().await;
            let Some(broker) = shell.broker.get() else { return };
            let outcome = change(broker, action.clone()).await;
            shell.acted.store(true, Ordering::SeqCst);
            if let Action::Use { agent, profile } = action {
                shell
                    .asked()
                    .retain(|asked| *asked != (agent.clone(), profile.clone()));
            }
            match outcome {
                Ok(Some(text)) => shell.say(text),
                Ok(None) => {}
                Err((title, error)) => {
                    let cover = shell.cover().clone();
                    shell
                        .notifications
                        .fail(&shell.desktop, &title, &error, &cover)
                        .await;
                    shell.say(format!("{title}: {}", error.message()));
                }
            }
        });
    }

    /// Notes that a switch is asked for; the menu says so while OpenClaw takes its seconds. Whether
    /// it was not under way already.
    fn ask(&self, switch: (AgentId, ProfileId)) -> bool {
        let mut asked = self.asked();
        let new = !asked.contains(&switch);
        if new {
            asked.push(switch);
        }
        drop(asked);
        self.redraw.notify_one();
        new
    }

    /// Opens the window at `route`, or says why it cannot.
    fn open(&self, route: &Route) {
        if let Err(error) = self.window.show(route) {
            self.say(say!("The window does not open: {error}", error));
        }
    }

    /// Says what a click has done, in the first line of the menu.
    fn say(&self, text: String) {
        let text = self.cover().text(&text);
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some((text, Instant::now()));
        self.redraw.notify_one();
    }

    /// What was said last, and for how long it is still to be read.
    fn said(&self) -> Option<(String, Duration)> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, at) = said.as_ref()?;
        match SAID_FOR.checked_sub(at.elapsed()) {
            Some(left) => Some((text.clone(), left)),
            None => {
                *said = None;
                None
            }
        }
    }

    fn cover(&self) -> MutexGuard<'_, Cover> {
        self.cover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, Vec<(AgentId, ProfileId)>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, MenuModel> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(broker: &Broker) -> kalit_core::Result<Arc<Snapshot>> {
    let broker = broker.clone();
    blocking(move || Arc::new(broker.snapshot())).await
}

/// Changes something through the broker and says what came of it.
async fn change(broker: &Broker, action: Action) -> Result<Option<String>, (String, Error)> {
    match action {
        Action::Use { agent, profile } => {
            let done = broker
                .activate(&agent, &profile)
                .await
                .map_err(|error| (say!("Not switched"), error))?;
            let used = done
                .effective
                .as_ref()
                .unwrap_or(&profile)
                .account_name()
                .to_owned();
            Ok(Some(say!("{agent} now uses {used}", agent, used)))
        }
        Action::Renew { agent, profile } => renew(broker, RefreshTarget::Profile(agent, profile)).await,
        Action::ClearCooldown { agent, profile } => {
            let cleared = broker.clear_cooldown(&agent, &profile).await;
            cleared.map_err(|error| (say!("Not cleared"), error))?;
            let used = profile.account_name();
            Ok(Some(say!("OpenClaw may use {used} again", used)))
        }
        Action::RenewAll => renew(broker, RefreshTarget::All).await,
        Action::Pause(paused) => set(broker, move |broker| broker.set_paused(paused)).await,
        Action::Mute(mute) => set(broker, move |broker| broker.mute(mute)).await,
        Action::Open(_) | Action::Quit => Ok(None),
    }
}

async fn set(
    broker: &Broker,
    change: impl FnOnce(&Broker) -> Result<(), Error> + Send + 'static,
) -> Result<Option<String>, (String, Error)> {
    let broker = broker.clone();
    let set = blocking(move || change(&broker)).await.and_then(|done| done);
    set.map(|()| None).map_err(|error| (say!("Not changed"), error))
}

async fn renew(broker: &Broker, target: RefreshTarget) -> Result<Option<String>, (String, Error)> {
    let outcomes = broker.refresh(target).await;
    let failed = outcomes
        .iter()
        .filter_map(|outcome| outcome.error.as_ref())
        .collect::<Vec<_>>();
    Ok(Some(match (failed.as_slice(), outcomes.len()) {
        ([], 0) => say!("Nothing to renew"),
        ([], 1) => words::renewed(outcomes[0].result),
        ([], many) => plural!(many, "{n} account is fresh", "{n} accounts are fresh"),
        ([one], 1) => say!("Not renewed: {why}", why = one.message),
        (some, many) => plural!(
            many,
            "{failed} of {n} account was not renewed",
            "{failed} of {n} accounts were not renewed",
            failed = some.len()
        ),
    }))
}

/// Runs what reads the disk off the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> kalit_core::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorCode::Internal, say!("a task ended early")).with_source(error))
}
