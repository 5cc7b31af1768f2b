//! A whole session of the desktop: tray, panel, notification daemon and window. Recorded are all
//! traffic of the session bus, what passes between the page and its program, and what is printed;
//! searched are these, every file and the memory of the processes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::authserver::{self, AuthorizationServer};
use kalit_journeys::canary::{Searched, Searcher, canary, canary_token, secrets_of};
use kalit_journeys::desktop::{DesktopSession, Part};
use kalit_journeys::http::{fetch, free_port, post_form_for_location};
use kalit_journeys::openclaw::{TestHome, read_json, write_json};
use kalit_journeys::process::{Process, binary, run};
use kalit_journeys::proof::times;
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::wait::until_some;
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

use super::LOUD;
use super::dumps::is_private;
use super::looking::{
    BusRecord, Proof, SOON, clipboard, closed, copy_all, execute, go, is_window, may_look, record_ipc,
};
use super::verbs::MOVE_KEY;

const TEN_DAYS: i64 = 10 * 86_400;

#[tokio::test]
async fn a_session_of_the_desktop_tells_no_token_and_its_window_holds_none() -> Result<()> {
    if !may_look("canaries-desktop")? {
        return Ok(());
    }
    let session = DesktopSession::start(&Part::ALL).await?;
    let server = AuthorizationServer::start(authserver::Options::default()).await?;
    let place = Place::new(&server)?;
    let bus = BusRecord::start(&session).await?;
    let (mut tray, item) = place.tray(&session).await?;
    let mut proof = Proof::new("canaries-desktop");
    for _ in 0..times(1, 10) {
        place.begin()?;
        let outcome = looked_at(&session, &server, &place, &item, &mut proof).await;
        outcome.with_context(|| tray.output())?;
    }
    // The control: the tray holds the newest login by design.
    let holds = place.searcher()?.process(tray.id())?;
    holds.ensure_some("the tray", "ada@example.com/refresh")?;
    ensure!(is_private(tray.id())?, "the tray may leave a core");
    let searcher = place.searcher()?;
    let told = move_key(&session, &place)?;
    proof.note(
        "what moving the key printed",
        searcher.bytes("kalit", told.as_bytes()),
    );
    item.click(&["Quit"]).await?;
    ensure!(tray.end(SOON).await?.success(), "{}", tray.output());

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
    proof
        .look(&place.searcher()?, place.home.path(), "the board")
        .await?;

    window
        .press("li.acct[data-profile='openai:mary@example.com'] [data-action='use']")
        .await?;
    window.shows("main now uses mary@example.com", SOON).await?;
    proof
        .look(&place.searcher()?, place.home.path(), "a switch")
        .await?;

    sign_in(session, server, &window).await?;
    let first = place.refresh_of("ada").context("no login of ada's")?;
    proof
        .look(&place.searcher()?, place.home.path(), "a sign-in")
        .await?;
    // Hedy's and mary's logins are refused, ada's is renewed.
    item.click(&["Renew all now"]).await?;
    until_some("a new generation", SOON, || {
        place.refresh_of("ada").filter(|refresh| *refresh != first)
    })
    .await?;
    place.changed()?;
    window.shows("ada@example.com", SOON).await?;
    window.shows("Signed out", SOON).await?;
    proof
        .look(&place.searcher()?, place.home.path(), "a renewal")
        .await?;

    let pasted = canary("sk-pasted");
    go(&window, "#/paste/mistral?agent=main&kind=api-key").await?;
    window.fill("#secret", &pasted).await?;
    proof.note(
        "clipboard and selection",
        copied(session, &window, &pasted).await?,
    );
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
    let others = |name: &str| !is_window(name);
    proof.processes("other processes after pasting", session, &only_pasted, others)?;
    proof
        .page(&window, &place.searcher()?, &pasted, "mary@example.com")
        .await?;
    window.close().await?;
    closed(place.home.path()).await?;
    proof.processes(
        "all processes after the window was closed",
        session,
        &only_pasted,
        |_| true,
    )?;
    Ok(())
}

/// Whoever copies the field of a secret gets nothing; what is on the clipboard is searched for it.
async fn copied(session: &DesktopSession, window: &WebView, pasted: &str) -> Result<Searched> {
    let control = canary("copied");
    let field = format!(
        "const field = document.createElement('input'); field.id = 'control'; field.value = '{control}';
        document.body.append(field); return ''"
    );
    execute(window, &field).await?;
    copy_all(session, window, "#control").await?;
    let searcher = Searcher::new([
        ("control".to_owned(), control),
        ("pasted".to_owned(), pasted.to_owned()),
    ])?;
    let found = until_some("the control on the clipboard", SOON, || {
        let searched = searcher.bytes("clipboard", clipboard(session).ok()?.as_bytes());
        (searched.hits() > 0).then_some(searched)
    });
    found.await?.ensure_some("the clipboard", "control")?;
    execute(window, "document.querySelector('#control').remove(); return ''").await?;
    copy_all(session, window, "#secret").await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let only_pasted = Searcher::new([("pasted".to_owned(), pasted.to_owned())])?;
    // The one before it stays.
    let all = clipboard(session)?;
    Ok(only_pasted.bytes("clipboard", all.as_bytes()))
}

/// The key of the sealed copies goes into the session's keyring, past the record of its bus.
fn move_key(session: &DesktopSession, place: &Place) -> Result<String> {
    ensure!(place.seal_key().exists(), "no key to move");
    let mut kalit = session.command(binary("KALIT_BIN", "kalit")?);
    kalit.args(MOVE_KEY).envs(place.env());
    let told = run(&mut kalit)?;
    ensure!(!place.seal_key().exists(), "the key is where it was: {told}");
    Ok(told)
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
        let manifest = authserver::manifest(&server.url(), &[free_port()?, free_port()?]);
        write_json(&home.path().join("kalit/providers/openai.json"), &manifest)?;
        let place = Self {
            home,
            secrets: RefCell::default(),
        };
        place.begin()?;
        Ok(place)
    }

    /// The store before a window's life: logins of hedy and mary that nobody has used, and no other.
    fn begin(&self) -> Result<()> {
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
        self.home
            .write_profiles("main", &json!({"version": 1, "profiles": profiles}))?;
        self.home.write_state(
            "main",
            &json!({"version": 1, "order": {"openai": [id("hedy"), id("mary")]}}),
        )?;
        self.changed()
    }

    /// Learns the secrets that stand in the store now, and the key of the sealed copies.
    fn changed(&self) -> Result<()> {
        let store = read_json(&self.home.profiles_path("main"))?;
        self.secrets.borrow_mut().extend(secrets_of(&store));
        if let Ok(key) = fs::read_to_string(self.seal_key()) {
            let key = ("the seal's key".to_owned(), key.trim().to_owned());
            self.secrets.borrow_mut().insert(key);
        }
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

    fn profile(&self, id: &str) -> Option<Value> {
        let store = read_json(&self.home.profiles_path("main")).ok()?;
        store.get("profiles")?.get(id).cloned()
    }

    fn refresh_of(&self, name: &str) -> Option<String> {
        Some(self.profile(&id(name))?.get("refresh")?.as_str()?.to_owned())
    }

    fn seal_key(&self) -> PathBuf {
        self.home.path().join("kalit/data/key/seal.key")
    }

    /// The store itself.
    fn may_hold(&self, path: &Path) -> bool {
        path == self.home.profiles_path("main")
    }
}

fn id(name: &str) -> String {
    format!("openai:{name}@example.com")
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
