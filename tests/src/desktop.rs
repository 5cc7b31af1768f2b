//! A private headless desktop session for one test (Linux): X server, session bus, window manager
//! and, as asked for, a StatusNotifier host, a notification daemon and an unlocked keyring. It ends
//! with its handle, also while a panic unwinds, and also when the test itself is killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::process::{Process, command, harness, run};
use crate::wait::until_some;

/// How long the parts of a session may take to come up on a busy machine.
const START: Duration = Duration::from_secs(40);

/// The title of Kalit's window, for xdotool.
const WINDOW: &str = "^Kalit$";

/// A part of the session that may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// xfce4-panel with its StatusNotifier host
    Panel,
    /// xfce4-notifyd
    Notifications,
    /// gnome-keyring, unlocked
    Keyring,
}

impl Part {
    /// The whole desktop.
    pub const ALL: [Part; 3] = [Part::Panel, Part::Notifications, Part::Keyring];

    fn name(self) -> &'static str {
        match self {
            Part::Panel => "panel",
            Part::Notifications => "notifications",
            Part::Keyring => "keyring",
        }
    }
}

/// A running session. Its home, configuration and data directories are throw-away.
#[derive(Debug)]
pub struct DesktopSession {
    // in this order: the processes end before their directory goes
    _late: Vec<Process>,
    session: Process,
    env: BTreeMap<String, String>,
    dir: TempDir,
}

impl DesktopSession {
    /// Starts a session with these parts; absent parts cannot be activated over D-Bus either.
    pub async fn start(parts: &[Part]) -> Result<Self> {
        // not below target/: the path of a bus socket is at most 107 bytes long
        let dir = tempfile::Builder::new().prefix("kalit-desktop-").tempdir()?;
        let mut script = Command::new("bash");
        script
            .arg(harness("desktop-session.sh"))
            .arg(dir.path())
            .args(parts.iter().map(|part| part.name()))
            .stdin(Stdio::piped());
        let mut session = Process::start(&mut script, &dir.path().join("session.log"))?;
        let file = dir.path().join("env");
        let up = until_some("the desktop session", START, || {
            if let Ok(text) = std::fs::read_to_string(&file) {
                return Some(Ok(text));
            }
            session.ended().map(Err)
        })
        .await;
        let text = match up {
            Ok(Ok(text)) => text,
            Ok(Err(status)) => bail!("the desktop session ended with {status}: {}", session.output()),
            Err(error) => return Err(error.context(session.output())),
        };
        let env = text
            .split('\0')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            _late: Vec::new(),
            session,
            env,
            dir,
        })
    }

    /// The id of the session's process group.
    pub fn id(&self) -> u32 {
        self.session.id()
    }

    /// The session's variables: all that a program inside it gets.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// A command inside the session.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        command(program, &self.env)
    }

    /// Starts a program inside the session; its output goes to `log/NAME` of the session.
    pub fn launch(&self, command: &mut Command, name: &str) -> Result<Process> {
        Process::start(command, &self.dir.path().join("log").join(name))
    }

    /// The session's directory: `home`, `config`, `data`, `log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The throw-away home directory.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The bus address, for zbus.
    pub fn bus_address(&self) -> Result<&str> {
        self.env
            .get("DBUS_SESSION_BUS_ADDRESS")
            .map(String::as_str)
            .context("the session has no bus address")
    }

    /// A connection to the session's bus.
    pub async fn bus(&self) -> Result<zbus::Connection> {
        Ok(zbus::connection::Builder::address(self.bus_address()?)?
            .method_timeout(Duration::from_secs(10))
            .build()
            .await?)
    }

    /// Starts the StatusNotifier host of a session that came up without it.
    pub async fn start_panel(&mut self) -> Result<()> {
        let mut panel = self.command("xfce4-panel");
        panel.arg("--disable-wm-check");
        let panel = self.launch(&mut panel, "panel")?;
        self._late.push(panel);
        let bus = zbus::fdo::DBusProxy::new(&self.bus().await?).await?;
        crate::wait::until("the StatusNotifier host", START, || async {
            let name = "org.kde.StatusNotifierWatcher".try_into().ok()?;
            bus.name_has_owner(name).await.ok()?.then_some(())
        })
        .await
    }

    /// Every URL that programs of the session opened, oldest first.
    pub fn opened_urls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("opened-urls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until more than `after` URLs have been opened and returns the next one.
    pub async fn opened_url(&self, after: usize, limit: Duration) -> Result<String> {
        until_some("a URL to be opened in the browser", limit, || {
            self.opened_urls().into_iter().nth(after)
        })
        .await
    }

    /// The process of Kalit's visible window.
    pub fn window_process(&self) -> Option<u32> {
        let mut search = self.command("xdotool");
        search.args(["search", "--onlyvisible", "--name", WINDOW, "getwindowpid"]);
        run(&mut search).ok()?.trim().parse().ok()
    }

    /// Closes Kalit's window as a person does. A key that comes before the window is ready is lost: it
    /// is pressed again until `is_closed`.
    pub async fn close_window(&self, mut is_closed: impl FnMut() -> bool) -> Result<()> {
        until_some("Kalit's window to be closed", START, || {
            let mut close = self.command("xdotool");
            close.args(["search", "--onlyvisible", "--name", WINDOW]);
            // a key for the window itself would go past the window manager
            close.args(["windowactivate", "--sync", "key", "--window", "0"]);
            let _ = run(close.args(["--clearmodifiers", "alt+F4"]));
            is_closed().then_some(())
        })
        .await
    }

    /// A picture of the whole screen as PNG.
    pub fn screenshot(&self, path: &Path) -> Result<()> {
        run(self.command("import").args(["-window", "root"]).arg(path)).context("taking a screenshot")?;
        Ok(())
    }

    /// What the session itself and its daemons printed, for a failure's report.
    pub fn log(&self) -> String {
        self.session.output()
    }
}

/// How many colours a picture has: a blank screen has one or two.
pub fn colours(picture: &Path) -> Result<usize> {
    let mut identify = Command::new("identify");
    let text = run(identify.args(["-format", "%k"]).arg(picture))?;
    text.trim()
        .parse()
        .with_context(|| format!("counting colours: {text}"))
}

/// Fails unless the picture shows something.
pub fn ensure_not_blank(picture: &Path) -> Result<()> {
    let colours = colours(picture)?;
    ensure!(colours > 8, "{} has only {colours} colours", picture.display());
    Ok(())
}
