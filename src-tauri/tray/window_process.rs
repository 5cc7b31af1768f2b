//! The window as the tray sees it: a process that the tray starts, talks to over its standard
//! input, and whose end it notices. The tray itself never loads a web view, so the window's memory
//! is given back when it closes, and a crash in it cannot stop a renewal.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use kalit_core::say;
use kalit_shell::process;
use kalit_shell::route::{CLOSED, QUIT, Route, SHOWN};
use tokio::sync::{Notify, watch};

/// At most one window process of this tray. Clones share it.
#[derive(Clone)]
pub struct WindowProcess {
    state_dir: Option<PathBuf>,
    running: Arc<Mutex<Option<Running>>>,
    open: watch::Sender<bool>,
    closed: Arc<Notify>,
}

struct Running {
    pid: u32,
    input: ChildStdin,
    /// What it was asked to show and has not shown yet.
    asked: VecDeque<Route>,
    closing: bool,
}

impl WindowProcess {
    /// Nothing is started yet.
    pub fn new(state_dir: Option<PathBuf>) -> Self {
        Self {
            state_dir,
            running: Arc::default(),
            open: watch::Sender::new(false),
            closed: Arc::default(),
        }
    }

    /// Shows `route`, in the open window if there is one.
    pub fn show(&self, route: &Route) -> anyhow::Result<()> {
        let mut running = self.running();
        if let Some(running) = running.as_mut() {
            // One that ends right now reads nothing any more: its end shows what is left to do.
            let _ = writeln!(running.input, "{route}");
            running.asked.push_back(route.clone());
            return Ok(());
        }
        let child = self.start(route, &mut running)?;
        self.open.send_replace(true);
        let window = self.clone();
        std::thread::Builder::new()
            .name("window".to_owned())
            .spawn(move || window.follow(child))?;
        Ok(())
    }

    /// Asks the window to close and waits until it has: a sign-in whose code has arrived is
    /// finished first.
    pub async fn close(&self) {
        let mut open = self.open.subscribe();
        if let Some(running) = self.running().as_mut() {
            running.closing = true;
            // A window that no longer reads is about to end.
            let _ = writeln!(running.input, "{QUIT}");
        }
        let _ = open.wait_for(|open| !open).await;
    }

    /// Whether a window is open; changes can be awaited.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Waits until a person closes the window; a crash is none.
    pub async fn closed(&self) {
        self.closed.notified().await;
    }

    fn start(&self, route: &Route, running: &mut Option<Running>) -> anyhow::Result<Child> {
        let program = process::beside("kalit-window")?;
        let mut command = Command::new(&program);
        command
            .args([&route.to_string(), "--attached"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(dir) = &self.state_dir {
            command.arg("--state-dir").arg(dir);
        }
        let mut child = command
            .spawn()
            .with_context(|| say!("{program} cannot be started", program = program.display()))?;
        let pid = child.id();
        *running = child.stdin.take().map(|input| Running {
            pid,
            input,
            asked: VecDeque::new(),
            closing: false,
        });
        if let Some(output) = child.stdout.take() {
            let window = self.clone();
            std::thread::Builder::new()
                .name("window-answers".to_owned())
                .spawn(move || window.hear(pid, output))?;
        }
        Ok(child)
    }

    /// Notes what the window says it has shown, and that it was closed.
    fn hear(&self, pid: u32, output: ChildStdout) {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        for line in lines {
            if line == CLOSED {
                self.closed.notify_one();
            } else if line == SHOWN
                && let Some(running) = self.running().as_mut().filter(|running| running.pid == pid)
            {
                running.asked.pop_front();
            }
        }
    }

    /// Waits for the end of the process. It is started again for what it was asked while it ended.
    fn follow(&self, mut child: Child) {
        loop {
            let _ = child.wait();
            let mut running = self.running();
            let left = running.take().filter(|running| !running.closing);
            let asked = left.and_then(|mut running| running.asked.pop_back());
            match asked.map(|route| self.start(&route, &mut running)) {
                Some(Ok(again)) => child = again,
                Some(Err(_)) | None => {
                    self.open.send_replace(false);
                    return;
                }
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
