//! A whole session of the desktop: tray, panel, notification daemon and window. Recorded are all
//! traffic of the session bus, what passes between the page and its program, and what is printed;
//! searched are these, every file and the memory of the processes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::authserver::{self, AuthorizationServer};
use kalit_journeys::canary::{Searched, Searcher, canary, canary_token, secrets_of};
use kalit_journeys::desktop::{DesktopSession, Part};
use kalit_journeys::http::{fetch, free_port, post_form_for_location};
use kalit_journeys::openclaw::{TestHome, read_json, write_json};
use kalit_journeys::process::{Process, binary};
use kalit_journeys::proof::{Figures, times};
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::wait::until_some;
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

use super::LOUD;
use super::dumps::is_private;

const SOON: Duration = Duration::from_secs(30);
const TEN_DAYS: i64 = 10 * 86_400;

#[tokio::test]
async fn a_session_of_the_desktop_tells_no_token_and_its_window_holds_none() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("not run: the memory of Kalit's programs is root's alone");
        return Ok(());
    }
    let session = DesktopSession::start(&[Part::Panel, Part::Notifications]).await?;
    let server = AuthorizationServer::start(authserver::Options::default()).await?;
    let place = Place::new(&server)?;
    let bus = BusRecord::start(&session).await?;
    let (mut tray, item) = place.tray(&session).await?;
    let mut proof = Proof::default();
    for _ in 0..times(1, 10) {
        let outcome = looked_at(&session, &server, &place, &item, &mut proof).await;
        outcome.with_context(|| tray.output())?;
    }
    // The control: the tray holds the newest login by design.
    let holds = place.searcher()?.process(tray.id())?;
    holds.ensure_some("the tray", "ada@example.com/refresh")?;
    ensure!(is_private(tray.id())?, "the tray may leave a core");
    item.click(&["Quit"]).await?;
    ensure!(tray.end(SOON).await?.success(), "{}", tray.output());

    let searcher = place.searcher()?;
    bus.ensure_it_records(&session).await?;
    let searched = searcher.tree(session.dir(), |_| false)?;
    proof.note("logs, D-Bus traffic and files of the session", searched);
    let home = searcher.tree(place.home.path(), |path| place.may_hold(path))?;
    proof.note("the home", home);
    let store = fs::read(place.home.profiles_path("main"))?;
    searcher.bytes("", &store).ensure_some("the store", "/refresh")?;
    proof.tell()
}

/// One window's life.
async fn looked_at(
    session: &DesktopSession,
    server: &AuthorizationServer,
    place: &Place,
    item: &TrayItem,
    proof: &mut Proof,
) -> Result<()> {
    let window = place.window(session, "board").await?;
    window.shows("mary@example.com", SOON).await?;
    record_ipc(&window).await?;
    proof.look(place, "the board")?;

    window
        .press("li.acct[data-profile='openai:mary@example.com'] [data-action='use']")
        .await?;
    window.shows("main now uses mary@example.com", SOON).await?;
    proof.look(place, "a switch")?;

    sign_in(session, server, &window).await?;
    let first = place.refresh_of("ada").context("no login of ada's")?;
    proof.look(place, "a sign-in")?;
    // Hedy's and mary's logins are refused, ada's is renewed.
    item.click(&["Renew now"]).await?;
    until_some("a new generation", SOON, || {
        place.refresh_of("ada").filter(|refresh| *refresh != first)
    })
    .await?;
    place.changed()?;
    window.shows("ada@example.com", SOON).await?;
    window
        .shows("signed out", SOON)
        .await
        .or(window.shows("Signed out", SOON).await)?;
    proof.look(place, "a renewal")?;

    let pasted = canary("sk-pasted");
    go(&window, "#/paste/mistral?agent=main&kind=api-key").await?;
    window.fill("#secret", &pasted).await?;
    window.press("[data-slot='save']").await?;
    until_some("the pasted key in the store", SOON, || {
        place
            .profile("mistral:manual")
            .filter(|profile| profile["key"] == *pasted)
    })
    .await?;
    place.changed()?;
    let field = "const field = document.querySelector('#secret'); return field ? field.value : '';";
    ensure!(
        execute(&window, field).await?.is_empty(),
        "the field was not cleared"
    );
    // It passed through the window's page; nothing else but the store has it.
    let only_pasted = Searcher::new([("pasted".to_owned(), pasted.clone())])?;
    for (pid, name) in processes(session.dir()) {
        if !is_window(&name)
            && name != "WebKitWebDriver"
            && let Ok(searched) = only_pasted.process(pid)
        {
            proof.note("other processes after pasting", searched);
        }
    }
    let passed = execute(&window, "return JSON.stringify(window.kalitPassed)").await?;
    let answers = execute(&window, "return JSON.stringify(window.kalitAnswers)").await?;
    let searcher = place.searcher()?;
    only_pasted
        .bytes("", passed.as_bytes())
        .ensure_some("what the page sent", "pasted")?;
    ensure!(
        answers.contains("mary@example.com"),
        "no answers were recorded: {answers}"
    );
    proof.note(
        "IPC answers and events",
        searcher.bytes("IPC", answers.as_bytes()),
    );
    let without_pasted = passed.replace(&pasted, "");
    proof.note("IPC requests", searcher.bytes("IPC", without_pasted.as_bytes()));
    let page = execute(&window, "return document.documentElement.outerHTML").await?;
    proof.note("the page", searcher.bytes("page", page.as_bytes()));

    let open: Vec<u32> = place.window_processes().into_iter().map(|(pid, _)| pid).collect();
    ensure!(open.len() >= 3, "a window of {} processes", open.len());
    window.close().await?;
    until_some("the window's processes to end", SOON, || {
        place.window_processes().is_empty().then_some(())
    })
    .await?;
    for (pid, name) in processes(session.dir()) {
        // The driver of the test typed it.
        if name != "WebKitWebDriver"
            && let Ok(searched) = only_pasted.process(pid)
        {
            proof.note("all processes after the window was closed", searched);
        }
    }
    Ok(())
}

/// What was searched for which secrets, with every hit.
#[derive(Default)]
struct Proof {
    searched: BTreeMap<&'static str, Searched>,
    looks: usize,
}

impl Proof {
    fn note(&mut self, what: &'static str, searched: Searched) {
        self.searched.entry(what).or_default().add(searched);
    }

    /// The stores' secrets in the memory of the window's processes.
    fn look(&mut self, place: &Place, after: &str) -> Result<()> {
        let searcher = place.searcher()?;
        let open = place.window_processes();
        ensure!(open.len() >= 3, "a window of these processes: {open:?}");
        for (pid, name) in open {
            let searched = searcher.process(pid)?;
            if searched.hits() > 0 {
                println!("{name} after {after}: {searched}");
            }
            if name.starts_with("kalit-window") {
                ensure!(is_private(pid)?, "the window may leave a core");
            }
            self.note("memory of the window's processes", searched);
            self.looks += 1;
        }
        Ok(())
    }

    fn tell(self) -> Result<()> {
        let mut figures = Figures::new("canaries-desktop");
        figures.row("processes of the window searched", self.looks);
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

/// All messages of the session bus, as they pass.
struct BusRecord {
    monitor: Process,
}

impl BusRecord {
    async fn start(session: &DesktopSession) -> Result<Self> {
        let mut monitor = session.command("dbus-monitor");
        monitor.args(["--session", "--pcap"]);
        let monitor = session.launch(&mut monitor, "dbus.pcap")?;
        let record = Self { monitor };
        record.ensure_it_records(session).await?;
        Ok(record)
    }

    /// The control: a message that holds a canary is found in the record.
    async fn ensure_it_records(&self, session: &DesktopSession) -> Result<()> {
        let control = canary("bus");
        let searcher = Searcher::new([("control".to_owned(), control.clone())])?;
        let bus = session.bus().await?;
        kalit_journeys::wait::until("the record of a message", SOON, || async {
            bus.emit_signal(None::<&str>, "/control", "uz.kalit.Control", "Said", &control)
                .await
                .ok()?;
            let record = self.monitor.output();
            (searcher.bytes("", record.as_bytes()).hits() > 0).then_some(())
        })
        .await
    }
}

/// An installation of OpenClaw 2026.6.1 with Kalit's own directories beside it.
struct Place {
    home: TestHome,
    /// Every secret that has stood in the store.
    secrets: RefCell<BTreeSet<(String, String)>>,
}

impl Place {
    fn new(server: &AuthorizationServer) -> Result<Self> {
        let home = TestHome::new()?;
        home.write_config(&json!({"meta": {"lastTouchedVersion": "2026.6.1"}}))?;
        let now = SystemClock.now().as_millis();
        let mut profiles = json!({
            "anthropic:manual": {"type": "token", "provider": "anthropic", "token": canary("sk-ant-oat01")},
            "google:default": {"type": "api_key", "provider": "google", "key": canary("key")},
        });
        for name in ["hedy", "mary"] {
            profiles[id(name)] = json!({
                "type": "oauth", "provider": "openai", "access": canary_token(name, now, TEN_DAYS),
                "refresh": canary("refresh"), "idToken": canary_token(name, now, TEN_DAYS),
                "expires": now + TEN_DAYS * 1000, "email": format!("{name}@example.com"),
                "accountId": format!("acct-{name}"),
            });
        }
        home.write_profiles("main", &json!({"version": 1, "profiles": profiles}))?;
        home.write_state(
            "main",
            &json!({"version": 1, "order": {"openai": [id("hedy"), id("mary")]}}),
        )?;
        let manifest = authserver::manifest(&server.url(), &[free_port()?, free_port()?]);
        write_json(&home.path().join("kalit/providers/openai.json"), &manifest)?;
        let place = Self {
            home,
            secrets: RefCell::default(),
        };
        place.changed()?;
        Ok(place)
    }

    /// Learns the secrets that stand in the store now.
    fn changed(&self) -> Result<()> {
        let store = read_json(&self.home.profiles_path("main"))?;
        self.secrets.borrow_mut().extend(secrets_of(&store));
        Ok(())
    }

    fn searcher(&self) -> Result<Searcher> {
        self.changed()?;
        Searcher::new(self.secrets.borrow().iter().cloned())
    }

    fn env(&self) -> Vec<(String, String)> {
        let own = |name: &str| self.home.path().join("kalit").join(name).display().to_string();
        let places = [
            ("OPENCLAW_STATE_DIR", self.home.state_dir().display().to_string()),
            ("KALIT_CONFIG_DIR", own("config")),
            ("KALIT_DATA_DIR", own("data")),
            ("KALIT_PROVIDERS_DIR", own("providers")),
            ("KALIT_TEST_PROVIDERS", "1".to_owned()),
            ("TMPDIR", self.home.path().join("tmp").display().to_string()),
        ];
        let loud = LOUD.map(|(name, value)| (name, value.to_owned()));
        let all = places.into_iter().chain(loud);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Kalit in the session's tray.
    async fn tray(&self, session: &DesktopSession) -> Result<(Process, TrayItem)> {
        let mut command: Command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
        let kalit = session.launch(command.envs(self.env()), "kalit-desktop")?;
        let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await;
        let item = item.with_context(|| kalit.output())?;
        Ok((kalit, item))
    }

    /// Kalit's window under WebDriver.
    async fn window(&self, session: &DesktopSession, route: &str) -> Result<WebView> {
        let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
        WebView::open(session, &program, &[route], &self.env()).await
    }

    /// The window's program and WebKit's processes.
    fn window_processes(&self) -> Vec<(u32, String)> {
        let mut all = processes(self.home.path());
        all.retain(|(_, name)| is_window(name));
        all
    }

    fn profile(&self, id: &str) -> Option<Value> {
        let store = read_json(&self.home.profiles_path("main")).ok()?;
        store.get("profiles")?.get(id).cloned()
    }

    fn refresh_of(&self, name: &str) -> Option<String> {
        Some(self.profile(&id(name))?.get("refresh")?.as_str()?.to_owned())
    }

    /// The store itself.
    fn may_hold(&self, path: &Path) -> bool {
        path == self.home.profiles_path("main")
    }
}

fn id(name: &str) -> String {
    format!("openai:{name}@example.com")
}

fn is_window(name: &str) -> bool {
    name.starts_with("kalit-window") || (name.starts_with("WebKit") && name != "WebKitWebDriver")
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

/// From now on the page keeps what it asks its program, what comes back and every event.
async fn record_ipc(window: &WebView) -> Result<()> {
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

async fn execute(window: &WebView, script: &str) -> Result<String> {
    let answer = window.client().execute(script, Vec::new()).await?;
    Ok(answer.as_str().unwrap_or_default().to_owned())
}

async fn go(window: &WebView, place: &str) -> Result<()> {
    execute(window, &format!("location.hash = '{place}'; return ''")).await?;
    Ok(())
}

/// Ada signs in, on the page that the window opens.
async fn sign_in(session: &DesktopSession, server: &AuthorizationServer, window: &WebView) -> Result<()> {
    let opened = session.opened_urls().len();
    go(window, "#/sign-in/openai?agent=main").await?;
    let url = session.opened_url(opened, SOON).await?;
    let (_, page) = fetch(&url).await?;
    let request = page
        .split("name=\"request\" value=\"")
        .nth(1)
        .context("no form")?;
    let request = request.split('"').next().unwrap_or_default();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("request", request),
            ("account", "ada@example.com"),
            ("decision", "allow"),
        ])
        .finish();
    let last = post_form_for_location(&format!("{}/oauth/decision", server.url()), form).await?;
    let (status, _) = fetch(&last.replace("localhost", "127.0.0.1")).await?;
    ensure!(status == 200, "the callback answered {status}");
    window.shows("ada@example.com", SOON).await?;
    go(window, "#/board").await
}
