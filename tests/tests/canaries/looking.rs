//! Looking over a session of the desktop: its processes, its bus, and what passes between the page and
//! its program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use kalit_journeys::canary::{Searched, Searcher, canary};
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::process::{Process, run};
use kalit_journeys::proof::Figures;
use kalit_journeys::wait::{until, until_some};
use kalit_journeys::webview::WebView;

use super::dumps::is_private;

pub const SOON: Duration = Duration::from_secs(30);
/// The processes of a window, by the first 15 characters of their names, as Linux keeps them.
const WINDOW: [&str; 3] = ["kalit-window", "WebKitNetworkPr", "WebKitWebProces"];
/// How often a process is looked at again that may be reading, and after how long.
const READING: usize = 5;
const A_LITTLE: Duration = Duration::from_secs(2);
const TRAY: &str = "kalit-desktop";
/// It types for the test, and so holds what is pasted.
const DRIVER: &str = "WebKitWebDriver";

/// Whether this test can look into the memory of Kalit's programs. If not, its figures say so.
pub fn may_look(name: &'static str) -> Result<bool> {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let mut figures = Figures::new(name);
        figures.row("not run", "the memory of Kalit's programs is root's alone");
        figures.tell()?;
    }
    Ok(is_root)
}

/// What was searched for which secrets, with every hit.
pub struct Proof {
    name: &'static str,
    searched: BTreeMap<&'static str, Searched>,
    looks: usize,
    /// Looks that met a reading of the store under way.
    again: usize,
}

impl Proof {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            searched: BTreeMap::new(),
            looks: 0,
            again: 0,
        }
    }

    pub fn note(&mut self, what: &'static str, searched: Searched) {
        self.searched.entry(what).or_default().add(searched);
    }

    /// The stores' secrets in the memory of the window's processes, each of which is there. A process
    /// that reads the store at this moment is looked at again a little later: what stays is a hit.
    pub async fn look(&mut self, searcher: &Searcher, home: &Path, after: &str) -> Result<()> {
        let mut open = processes(home);
        open.retain(|(_, name)| is_window(name));
        let names: BTreeSet<&str> = open.iter().map(|(_, name)| name.as_str()).collect();
        for wanted in WINDOW {
            ensure!(names.contains(wanted), "no {wanted} after {after}: {open:?}");
        }
        for (pid, name) in open {
            let mut searched = searcher.process(pid)?;
            for _ in 0..READING {
                if searched.hits() == 0 {
                    break;
                }
                println!("{name} after {after}: {searched}");
                self.again += 1;
                tokio::time::sleep(A_LITTLE).await;
                let bytes = searched.bytes;
                searched = searcher.process(pid)?;
                searched.bytes += bytes;
            }
            if name == WINDOW[0] {
                ensure!(is_private(pid)?, "the window may leave a core");
            }
            self.note("memory of the window's processes", searched);
            self.looks += 1;
        }
        Ok(())
    }

    /// The memory of those processes of the session that `wanted` names. The tray's is among them.
    pub fn processes(
        &mut self,
        what: &'static str,
        session: &DesktopSession,
        searcher: &Searcher,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut names = BTreeSet::new();
        for (pid, name) in processes(session.dir()) {
            // What ends meanwhile holds nothing any more.
            if wanted(&name)
                && name != DRIVER
                && let Ok(searched) = searcher.process(pid)
            {
                if searched.hits() > 0 {
                    println!("{name}, {what}: {searched}");
                }
                self.note(what, searched);
                names.insert(name);
            }
        }
        ensure!(names.contains(TRAY), "{what}: no {TRAY} among {names:?}");
        Ok(())
    }

    /// What the page asked and was told since [`record_ipc`], and the page itself. What a person typed
    /// into it (`typed`) is in what it asked, and there only; the answers name an account.
    pub async fn page(
        &mut self,
        window: &WebView,
        searcher: &Searcher,
        typed: &str,
        account: &str,
    ) -> Result<()> {
        let asked = execute(window, "return JSON.stringify(window.kalitPassed)").await?;
        let told = execute(window, "return JSON.stringify(window.kalitAnswers)").await?;
        let page = execute(window, "return document.documentElement.outerHTML").await?;
        let only_typed = Searcher::new([("typed".to_owned(), typed.to_owned())])?;
        only_typed
            .bytes("", asked.as_bytes())
            .ensure_some("what the page sent", "typed")?;
        ensure!(told.contains(account), "no answers were recorded: {told}");
        let asked = asked.replace(typed, "");
        for (what, text) in [
            ("IPC requests", &asked),
            ("IPC answers and events", &told),
            ("the page", &page),
        ] {
            self.note(what, searcher.bytes(what, text.as_bytes()));
            only_typed.bytes(what, text.as_bytes()).ensure_none(what)?;
        }
        Ok(())
    }

    /// The figures; fails with every hit.
    pub fn tell(self) -> Result<()> {
        let mut figures = Figures::new(self.name);
        figures
            .row("processes of the window searched", self.looks)
            .row("of them again, because they were reading", self.again);
        for (what, searched) in &self.searched {
            figures.row(
                *what,
                format!("{} hits in {} bytes", searched.hits(), searched.bytes),
            );
        }
        figures.tell()?;
        for (what, searched) in &self.searched {
            searched.ensure_none(what)?;
        }
        Ok(())
    }
}

pub fn is_window(name: &str) -> bool {
    name == WINDOW[0] || (name.starts_with("WebKit") && name != DRIVER)
}

/// Waits until the window's processes have ended.
pub async fn closed(home: &Path) -> Result<()> {
    until_some("the window's processes to end", SOON, || {
        let open = processes(home);
        (!open.iter().any(|(_, name)| is_window(name))).then_some(())
    })
    .await
}

/// Every process with `dir` in its environment: all that was started in a session or a home.
fn processes(dir: &Path) -> Vec<(u32, String)> {
    let wanted = dir.display().to_string();
    let found = fs::read_dir("/proc").into_iter().flatten().flatten();
    found
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            let belongs = String::from_utf8_lossy(&environment).contains(&wanted);
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            belongs.then(|| (pid, name.trim().to_owned()))
        })
        .collect()
}

/// All messages of the session bus, as they pass.
pub struct BusRecord {
    monitor: Process,
}

impl BusRecord {
    pub async fn start(session: &DesktopSession) -> Result<Self> {
        let mut monitor = session.command("dbus-monitor");
        monitor.args(["--session", "--pcap"]);
        let monitor = session.launch(&mut monitor, "dbus.pcap")?;
        let record = Self { monitor };
        record.ensure_it_records(session).await?;
        Ok(record)
    }

    /// The control: a message that holds a canary is found in the record.
    pub async fn ensure_it_records(&self, session: &DesktopSession) -> Result<()> {
        let control = canary("bus");
        let searcher = Searcher::new([("control".to_owned(), control.clone())])?;
        let bus = session.bus().await?;
        until("the record of a message", SOON, || async {
            bus.emit_signal(None::<&str>, "/control", "uz.kalit.Control", "Said", &control)
                .await
                .ok()?;
            let record = self.monitor.output();
            (searcher.bytes("", record.as_bytes()).hits() > 0).then_some(())
        })
        .await
    }
}

/// From now on the page keeps what it asks its program, what comes back and every event.
pub async fn record_ipc(window: &WebView) -> Result<()> {
    let script = "window.kalitPassed = []; window.kalitAnswers = [];
        const ask = window.fetch;
        window.fetch = async (address, options) => {
            window.kalitPassed.push(String(address), String(options?.body));
            const answer = await ask(address, options);
            answer.clone().text().then(text => window.kalitAnswers.push(text));
            return answer;
        };
        for (const name of ['view', 'sign-in', 'login-step', 'route'])
            window.__TAURI__.event.listen(name, event => window.kalitAnswers.push(JSON.stringify(event)));
        return 'listening';";
    ensure!(execute(window, script).await? == "listening");
    Ok(())
}

pub async fn execute(window: &WebView, script: &str) -> Result<String> {
    let answer = window.client().execute(script, Vec::new()).await?;
    Ok(answer.as_str().unwrap_or_default().to_owned())
}

pub async fn go(window: &WebView, place: &str) -> Result<()> {
    execute(window, &format!("location.hash = '{place}'; return ''")).await?;
    Ok(())
}

/// What the session's clipboard and its selection hold.
pub fn clipboard(session: &DesktopSession) -> Result<String> {
    let mut all = String::new();
    for selection in ["clipboard", "primary"] {
        let mut xclip = session.command("timeout");
        xclip.args(["10", "xclip", "-o", "-selection", selection]);
        // It fails where nobody has selected anything.
        all.push_str(&String::from_utf8_lossy(&xclip.output()?.stdout));
        all.push('\n');
    }
    Ok(all)
}

/// Selects and copies all in a field, by the keyboard.
pub async fn copy_all(session: &DesktopSession, window: &WebView, css: &str) -> Result<()> {
    let focus = format!("document.querySelector('{css}').focus(); return document.activeElement.id");
    ensure!(execute(window, &focus).await? == css.trim_start_matches('#'));
    let mut keys = session.command("xdotool");
    run(keys.args(["key", "ctrl+a", "ctrl+c"])).map(drop)
}
