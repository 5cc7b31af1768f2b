//! The tray role: owns the engine that renews, shows it in the menu, tells of lost logins, and
//! starts the window. It never opens a web view itself.

mod apply;
mod icon;
pub mod menu;
pub mod window_process;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use kalit_core::broker::{Broker, Engine, RefreshTarget, Watch};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::view::Snapshot;
use kalit_core::{Error, ErrorCode};
use tauri::tray::{MouseButton, MouseButtonState, TrayIconEvent};
use tauri::{AppHandle, Manager, RunEvent, State, async_runtime};
use tokio::sync::{Notify, watch};

use self::apply::Tray;
use self::menu::{Action, MenuModel};
use self::window_process::WindowProcess;
use crate::arguments::{Arguments, Role};
use crate::in_flight::InFlight;
use crate::notify::Notifications;
use crate::route::Route;
use crate::setup;
use crate::words;

/// How long the first line says what a click has done.
const SAID_FOR: Duration = Duration::from_secs(20);
/// Wall-clock texts are looked at again at least this often: timers stop while a machine sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often a missing tray host, or a broker that does not open, is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What the tray's handlers share.
pub struct Shell {
    broker: OnceLock<Broker>,
    tray: Mutex<Option<Tray>>,
    pub window: WindowProcess,
    pub notifications: Notifications,
    in_flight: InFlight,
    said: Mutex<Option<(String, Instant)>>,
    redraw: Notify,
    quit: Notify,
    /// The window was opened in place of a tray icon.
    stood_in: AtomicBool,
}

/// Runs until Quit.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let context = setup::context("tray", &arguments);
    // managed before anything can call back
    let mut builder = tauri::Builder::default().manage(Shell::new(arguments.clone()));
    if let Some(plugin) = setup::single_instance(&context, second_start) {
        builder = builder.plugin(plugin);
    }
    let app = builder
        .plugin(tauri_plugin_shell::init())
        .plugin(tauri_plugin_notification::init())
        .on_menu_event(|app, event| clicked(app, event.id().as_ref()))
        .on_tray_icon_event(|app, event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                button_state: MouseButtonState::Up,
                ..
            } = event
            {
                open(app, &Route::Board);
            }
        })
        .setup(move |app| {
            let handle = app.handle();
            Notifications::register(handle)?;
            draw(
                handle,
                MenuModel::without_snapshot("Reading OpenClaw’s accounts…"),
            );
            async_runtime::spawn(follow(handle.clone(), arguments));
            Ok(())
        })
        .build(context)?;
    app.run(|_, event| {
        // Without a window the program would end; with a code somebody asked for it.
        if let RunEvent::ExitRequested { code: None, api, .. } = event {
            api.prevent_exit();
        }
    });
    Ok(())
}

impl Shell {
    fn new(arguments: Arguments) -> Self {
        Self {
            broker: OnceLock::new(),
            tray: Mutex::new(None),
            window: WindowProcess::new(arguments),
            notifications: Notifications::default(),
            in_flight: InFlight::default(),
            said: Mutex::new(None),
            redraw: Notify::new(),
            quit: Notify::new(),
            stood_in: AtomicBool::new(false),
        }
    }

    fn tray(&self) -> MutexGuard<'_, Option<Tray>> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a click has done, in the first line of the menu.
    fn say(&self, text: String) {
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
}

/// The tray's shared state.
pub fn shell(app: &AppHandle) -> State<'_, Shell> {
    app.state()
}

/// Opens the window at `route`, or says why it cannot.
pub fn open(app: &AppHandle, route: &Route) {
    if let Err(error) = shell(app).window.show(app, route) {
        shell(app).say(format!("The window does not open: {error}"));
    }
}

/// A second start of the tray shows the window.
fn second_start(app: &AppHandle, arguments: Vec<String>) {
    let role = Arguments::try_parse_from(arguments)
        .ok()
        .and_then(|arguments| arguments.role().ok());
    let route = match role {
        Some(Role::Window(route)) => route,
        Some(Role::Tray) | None => Route::Board,
    };
    open(app, &route);
}

/// Where snapshots come from: the engine, or the watcher alone when another Kalit renews.
enum Source {
    Engine(Engine),
    Watch(Watch),
}

impl Source {
    async fn open(broker: &Broker) -> kalit_core::Result<Self> {
        match broker.engine().await {
            Ok(engine) => Ok(Self::Engine(engine)),
            Err(error) if error.code() == ErrorCode::AlreadyRunning => Ok(Self::Watch(broker.watch().await?)),
            Err(error) => Err(error),
        }
    }

    /// Ends when it is time to see whether this Kalit can renew by now.
    async fn reconsidered(&self) {
        match self {
            Self::Engine(_) => std::future::pending().await,
            Self::Watch(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }

    fn changes(&self) -> watch::Receiver<Arc<Snapshot>> {
        match self {
            Self::Engine(engine) => engine.changes(),
            Self::Watch(watch) => watch.changes(),
        }
    }

    async fn stop(self) {
        match self {
            Self::Engine(engine) => engine.stop().await,
            Self::Watch(_) => {}
        }
    }
}

/// Reads, shows and tells until Quit, then waits for the window and for what is under way.
async fn follow(app: AppHandle, arguments: Arguments) {
    let shell = shell(&app);
    let mut source = None;
    tokio::select! {
        () = keep(&app, &arguments, &mut source) => {}
        () = shell.quit.notified() => {}
        () = setup::terminated() => {}
        () = closed_without_tray(&app) => {}
    }
    shell.window.close().await;
    shell.in_flight.ended().await;
    if let Some(source) = source {
        source.stop().await;
    }
    app.exit(0);
}

/// Keeps a source open and shows what comes from it; tries again while something is in the way.
async fn keep(app: &AppHandle, arguments: &Arguments, source: &mut Option<Source>) {
    loop {
        match start(app, arguments, source.is_none()).await {
            Ok(opened) => show_changes(app, source.insert(opened)).await,
            Err(error) => {
                draw(
                    app,
                    MenuModel::without_snapshot(format!("Kalit: {}", error.message())),
                );
                stand_in(app);
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Opens the broker, draws what it reads, and opens the engine.
async fn start(app: &AppHandle, arguments: &Arguments, first_time: bool) -> kalit_core::Result<Source> {
    let shell = shell(app);
    let broker = match shell.broker.get() {
        Some(broker) => broker.clone(),
        None => {
            let arguments = arguments.clone();
            let broker = blocking(move || setup::broker(&arguments)).await??;
            shell.broker.get_or_init(|| broker).clone()
        }
    };
    let snapshot = read(&broker).await?;
    draw(app, menu::menu(&snapshot, SystemClock.now()));
    let source = Source::open(&broker).await?;
    if first_time && matches!(source, Source::Watch(_)) {
        shell.say("Another Kalit renews this installation".to_owned());
    }
    Ok(source)
}

async fn read(broker: &Broker) -> kalit_core::Result<Arc<Snapshot>> {
    let broker = broker.clone();
    blocking(move || Arc::new(broker.snapshot())).await
}

/// Draws every new snapshot, and the same one again when a text in it changes with time. Ends when
/// the source does, and after a while when another Kalit renews: that one may have ended.
async fn show_changes(app: &AppHandle, source: &Source) {
    let shell = shell(app);
    let Some(broker) = shell.broker.get() else { return };
    let mut changes = source.changes();
    let mut snapshot = changes.borrow_and_update().clone();
    loop {
        let now = SystemClock.now();
        if menu::outdated(&snapshot, now)
            && let Ok(newer) = read(broker).await
        {
            snapshot = newer;
        }
        let mut model = menu::menu(&snapshot, now);
        let mut wait = menu::until_change(&snapshot, now)
            .and_then(|millis| u64::try_from(millis).ok())
            .map_or(LOOK_AGAIN, |millis| LOOK_AGAIN.min(Duration::from_millis(millis)));
        if let Some((text, left)) = shell.said() {
            model.say(&text);
            wait = wait.min(left);
        }
        draw(app, model);
        shell.notifications.tell(app, broker, &snapshot);
        if stand_in(app) {
            wait = wait.min(TRY_AGAIN);
        }
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => snapshot = changes.borrow_and_update().clone(),
                Err(_) => return,
            },
            () = tokio::time::sleep(wait) => {}
            () = shell.redraw.notified() => {}
            () = source.reconsidered() => return,
        }
    }
}

/// Without a tray host the window stands in for the tray; it is opened once. Whether it does.
fn stand_in(app: &AppHandle) -> bool {
    let shell = shell(app);
    let missing = shell.tray().is_none();
    if missing && !shell.stood_in.swap(true, Ordering::SeqCst) {
        open(app, &Route::Board);
    }
    missing
}

/// Without a tray host nothing but the window shows that Kalit runs: it ends with the window.
async fn closed_without_tray(app: &AppHandle) {
    let mut open = shell(app).window.watch();
    loop {
        if open.wait_for(|open| *open).await.is_err() || open.wait_for(|open| !open).await.is_err() {
            return;
        }
        if shell(app).tray().is_none() {
            return;
        }
    }
}

/// Shows `model` on the main thread and waits for it; registers the icon if there is none yet.
fn draw(app: &AppHandle, model: MenuModel) {
    let (sender, drawn) = std::sync::mpsc::channel();
    let handle = app.clone();
    let queued = app.run_on_main_thread(move || {
        let shell = shell(&handle);
        let mut tray = shell.tray();
        let result = match tray.as_mut() {
            Some(tray) => tray.apply(&handle, model),
            None => Tray::new(&handle, model).map(|new| *tray = Some(new)),
        };
        let _ = sender.send(result);
    });
    // An error here is a desktop without a tray host: the window stands in for it.
    let _ = queued.map(|()| drawn.recv());
}

fn clicked(app: &AppHandle, id: &str) {
    let action = match shell(app).tray().as_ref() {
        Some(tray) => {
            let _ = tray.restore_mark(id);
            tray.shown().find(id).and_then(|item| item.action()).cloned()
        }
        None => None,
    };
    if let Some(action) = action {
        act(app, action);
    }
}

/// Does what a menu item or a notification's button stands for.
pub fn act(app: &AppHandle, action: Action) {
    match action {
        Action::Open(route) => open(app, &route),
        Action::Quit => shell(app).quit.notify_one(),
        Action::Use { .. } | Action::Renew { .. } | Action::RenewAll | Action::Pause(_) => {
            let app = app.clone();
            async_runtime::spawn(async move {
                let shell = shell(&app);
                let _begun = shell.in_flight.begin().await;
                let Some(broker) = shell.broker.get() else { return };
                match change(broker, action).await {
                    Ok(Some(text)) => shell.say(text),
                    Ok(None) => {}
                    Err((title, error)) => {
                        shell.notifications.fail(&app, title, &error);
                        shell.say(format!("{title}: {}", error.message()));
                    }
                }
            });
        }
    }
}

/// Changes something through the broker and says what came of it.
async fn change(broker: &Broker, action: Action) -> Result<Option<String>, (&'static str, Error)> {
    match action {
        Action::Use { agent, profile } => {
            let done = broker
                .activate(&agent, &profile)
                .await
                .map_err(|error| ("Not switched", error))?;
            let used = done
                .effective
                .as_ref()
                .unwrap_or(&profile)
                .account_name()
                .to_owned();
            Ok(Some(format!("{agent} now uses {used}")))
        }
        Action::Renew { agent, profile } => renew(broker, RefreshTarget::Profile(agent, profile)).await,
        Action::RenewAll => renew(broker, RefreshTarget::All).await,
        Action::Pause(paused) => {
            let broker = broker.clone();
            let set = blocking(move || broker.set_paused(paused))
                .await
                .and_then(|done| done);
            set.map(|()| None).map_err(|error| ("Not changed", error))
        }
        Action::Open(_) | Action::Quit => Ok(None),
    }
}

async fn renew(broker: &Broker, target: RefreshTarget) -> Result<Option<String>, (&'static str, Error)> {
    let outcomes = broker.refresh(target).await;
    let failed = outcomes
        .iter()
        .filter_map(|outcome| outcome.error.as_ref())
        .collect::<Vec<_>>();
    Ok(Some(match (failed.as_slice(), outcomes.len()) {
        ([], 0) => "Nothing to renew".to_owned(),
        ([], 1) => words::renewed(outcomes[0].result).to_owned(),
        ([], many) => format!("{many} accounts are fresh"),
        ([one], 1) => format!("Not renewed: {}", one.message),
        (some, many) => format!("{} of {many} accounts were not renewed", some.len()),
    }))
}

/// Runs what reads the disk off the asynchronous threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> kalit_core::Result<T> {
    async_runtime::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorCode::Internal, "a task ended early").with_source(error))
}
