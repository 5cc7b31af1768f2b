//! The window as the tray sees it: a process that the tray starts, talks to over its standard
//! input, and whose end it notices. The tray itself never loads a web view, so the window's memory
//! is given back when it closes, and a crash in it cannot stop a renewal.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use kalit_shell::process;
use kalit_shell::route::{QUIT, Route};
use tokio::sync::watch;

/// A window that fails within this time has not been seen.
const AT_ONCE: Duration = Duration::from_secs(5);

/// At most one window process of this tray. Clones share it.
#[derive(Clone)]
pub struct WindowProcess {
    state_dir: Option<PathBuf>,
    /// The running window: its process and what it reads.
    running: Arc<Mutex<Option<(u32, ChildStdin)>>>,
    open: watch::Sender<bool>,
}

impl WindowProcess {
    /// Nothing is started yet.
    pub fn new(state_dir: Option<PathBuf>) -> Self {
        Self {
            state_dir,
            running: Arc::default(),
            open: watch::Sender::new(false),
        }
    }

    /// Shows `route`, in the open window if there is one.
    pub fn show(&self, route: &Route) -> anyhow::Result<()> {
        let mut running = self.running();
        if let Some((_, input)) = running.as_mut()
            && writeln!(input, "{route}").is_ok()
        {
            return Ok(());
        }
        let child = self.start(route, &mut running)?;
        self.open.send_replace(true);
        let (window, route) = (self.clone(), route.clone());
        std::thread::Builder::new()
            .name("window".to_owned())
            .spawn(move || window.follow(child, &route))?;
        Ok(())
    }

    fn start(&self, route: &Route, running: &mut Option<(u32, ChildStdin)>) -> anyhow::Result<Child> {
        let program = process::beside("kalit-window")?;
        let mut command = Command::new(&program);
        command
            .args([&route.to_string(), "--attached"])
            .stdin(Stdio::piped());
        if let Some(dir) = &self.state_dir {
            command.arg("--state-dir").arg(dir);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        *running = child.stdin.take().map(|input| (child.id(), input));
        Ok(child)
    }

    /// Asks the window to close and waits until it has: a sign-in whose code has arrived is
    /// finished first.
    pub async fn close(&self) {
        let mut open = self.open.subscribe();
        if let Some((_, input)) = self.running().as_mut() {
            // A window that no longer reads is about to end.
            let _ = writeln!(input, "{QUIT}");
        }
        let _ = open.wait_for(|open| !open).await;
    }

    /// Whether a window is open; changes can be awaited.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Waits for the end of the process. One that fails as soon as it is started is started once
    /// more: it may have met another window that was just about to end.
    fn follow(&self, mut child: Child, route: &Route) {
        let started = Instant::now();
        let failed = child.wait().is_ok_and(|status| !status.success());
        let mut running = self.running();
        if failed
            && started.elapsed() < AT_ONCE
            && running.as_ref().is_some_and(|(pid, _)| *pid == child.id())
            && let Ok(again) = self.start(route, &mut running)
        {
            drop(running);
            child = again;
            let _ = child.wait();
            running = self.running();
        }
        // A window that was started meanwhile is another one.
        if running.take_if(|(pid, _)| *pid == child.id()).is_some() {
            self.open.send_replace(false);
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<(u32, ChildStdin)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
