//! The window as the tray sees it: a process that the tray starts, talks to over its standard
//! input, and whose end it notices. The tray itself never opens a web view, so the window's memory
//! is given back when it closes, and a crash in it cannot stop a renewal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tauri::{AppHandle, async_runtime};
use tauri_plugin_shell::ShellExt;
use tauri_plugin_shell::process::{CommandChild, CommandEvent};
use tokio::sync::watch;

use crate::arguments::Arguments;
use crate::route::Route;

/// The line on its standard input that asks the window to close.
pub const QUIT: &str = "quit";

/// At most one window process of this tray.
pub struct WindowProcess {
    arguments: Arguments,
    child: Mutex<Option<CommandChild>>,
    open: watch::Sender<bool>,
}

impl WindowProcess {
    /// Nothing is started yet.
    pub fn new(arguments: Arguments) -> Self {
        Self {
            arguments,
            child: Mutex::new(None),
            open: watch::Sender::new(false),
        }
    }

    /// Shows `route`, in the open window if there is one.
    pub fn show(&self, app: &AppHandle, route: &Route) -> anyhow::Result<()> {
        let mut child = self.child();
        if let Some(child) = child.as_mut()
            && child.write(format!("{route}\n").as_bytes()).is_ok()
        {
            return Ok(());
        }
        let program = std::env::current_exe()?;
        let mut command = app
            .shell()
            .command(program)
            .args(["--window", &route.to_string(), "--attached"]);
        if let Some(dir) = &self.arguments.state_dir {
            command = command.arg("--state-dir").arg(dir);
        }
        let (mut events, started) = command.spawn()?;
        let pid = started.pid();
        *child = Some(started);
        self.open.send_replace(true);
        drop(child);
        let app = app.clone();
        async_runtime::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    CommandEvent::Stderr(line) => eprint!("window: {}", String::from_utf8_lossy(&line)),
                    CommandEvent::Terminated(_) => break,
                    _ => {}
                }
            }
            super::shell(&app).window.ended(pid);
        });
        Ok(())
    }

    /// Asks the window to close and waits until it has: a sign-in whose code has arrived is
    /// finished first.
    pub async fn close(&self) {
        let mut open = self.open.subscribe();
        if let Some(child) = self.child().as_mut() {
            // A window that no longer reads is about to end.
            let _ = child.write(format!("{QUIT}\n").as_bytes());
        }
        let _ = open.wait_for(|open| !open).await;
    }

    /// Whether a window is open; changes can be awaited.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    fn ended(&self, pid: u32) {
        let mut child = self.child();
        if child.as_ref().is_some_and(|child| child.pid() == pid) {
            *child = None;
            self.open.send_replace(false);
        }
    }

    fn child(&self) -> MutexGuard<'_, Option<CommandChild>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
