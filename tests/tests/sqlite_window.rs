//! The window over an installation of OpenClaw 2026.9.6 (Linux): accounts are switched by the real
//! OpenClaw, a login that it dropped is put back, and a question of its own sign-in is answered.
//! Pictures of every stage are kept in `target/journeys/`.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fantoccini::Locator;
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{Release, TestHome, Version, fail_login, release};
use kalit_journeys::process::binary;
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use kalit_journeys::wait::until_some;
use kalit_journeys::webview::WebView;
use rusqlite::Connection;
use serde_json::{Value, json};
use url::Url;

const SOON: Duration = Duration::from_secs(30);
/// OpenClaw takes up to 14 s for a command, more on a busy machine.
const OPENCLAW: Duration = Duration::from_secs(120);
const DAY: i64 = 86_400_000;
const LAB: &str = "openai:lab";

#[tokio::test]
async fn openclaws_accounts_are_switched_put_back_and_signed_in_from_the_window() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let login = Login::named("lab", "test-refresh-lab");
    let server = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
    let place = Place::new(&server).await?;
    let mut watching = place.kalit.watch().await?;
    let window = place.window(&session, "board").await?;
    switched(&place, &window).await?;
    put_back(&place, &window).await?;
    asked(&session, &place, &window).await?;
    window.close().await?;
    // The loss was told of once, though it was looked at many times.
    watching.event("dropped", SOON).await?;
    let kinds = watching.kinds();
    let told = kinds.iter().filter(|kind| *kind == "dropped").count();
    ensure!(told == 1, "{kinds:?}");
    Ok(())
}

/// OpenClaw is asked to change its order; the row says so for as long as it takes.
async fn switched(place: &Place, window: &WebView) -> Result<()> {
    window.shows("two", SOON).await?;
    // OpenClaw has no command that ends a rest: it is shown, and Clear is not offered.
    place.rest_lab()?;
    window.shows("Resting", SOON).await?;
    let clear = Locator::Css("[data-action='clear-cooldown']");
    ensure!(
        window.client().find_all(clear).await?.is_empty(),
        "Clear is offered"
    );
    place.wake_lab()?;
    window
        .press("li.acct[data-profile='anthropic:two'] [data-action='use']")
        .await?;
    window.shows("Asking OpenClaw…", SOON).await?;
    window.picture("sqlite-1-asking").await?;
    window.shows("main now uses two for Anthropic", OPENCLAW).await?;
    let order = [
        "models",
        "auth",
        "--agent",
        "main",
        "order",
        "get",
        "--provider",
        "anthropic",
        "--json",
    ];
    let told = place.release.run(&place.home, &order, None).await?.json()?;
    ensure!(told["order"][0] == "anthropic:two", "OpenClaw says {told}");
    Ok(())
}

/// A login that OpenClaw dropped comes back after what is known was read.
async fn put_back(place: &Place, window: &WebView) -> Result<()> {
    place.sealed().await?;
    let held = place.lab()?;
    place.drop_lab()?;
    window.shows("Dropped by OpenClaw", SOON).await?;
    window
        .press("li.acct[data-profile='openai:lab'] a[href^='#/restore/']")
        .await?;
    let known = window.shows("Put lab back?", OPENCLAW).await?;
    ensure!(known.contains("What is known"), "{known}");
    ensure!(!known.contains("test-refresh"), "a token is on the page: {known}");
    window.picture("sqlite-2-restore").await?;
    window.press("[data-action='put-back']").await?;
    window.shows("lab is back", OPENCLAW).await?;
    ensure!(place.lab()? == held, "not as it was");
    window.picture("sqlite-3-back").await
}

/// OpenClaw's own sign-in: its page is opened, its question is answered in the window. Nothing of
/// OpenClaw's reaches the provider here, so it fails, and says so.
async fn asked(session: &DesktopSession, place: &Place, window: &WebView) -> Result<()> {
    let before = place.store()?;
    let opened = session.opened_urls().len();
    window.press(".acts a[href='#/board']").await?;
    window.press("a[href^='#/add']").await?;
    window.press("a[href^='#/sign-in/openai']").await?;
    let page = session.opened_url(opened, OPENCLAW).await?;
    let page = Url::parse(&page)?;
    ensure!(page.host_str() == Some("auth.openai.com"), "{page}");
    let state = page.query_pairs().find(|(name, _)| name == "state");
    let (_, state) = state.with_context(|| format!("no state in {page}"))?;
    let answer = format!("http://localhost:1455/auth/callback?code=test-code-of-lab&state={state}");
    window.fill("#answer", &answer).await?;
    window.picture("sqlite-4-asked").await?;
    window.press("form[data-action='answer-text'] .btn.main").await?;
    let told = window.shows("The sign-in did not work", OPENCLAW).await?;
    ensure!(
        !told.contains("test-code-of-lab") && !told.contains(state.as_ref()),
        "what was pasted is on the page: {told}"
    );
    window.picture("sqlite-5-failed").await?;
    ensure!(place.store()? == before, "something was stored");
    Ok(())
}

/// An installation of 2026.9.6 with two tokens and a login, and Kalit beside it.
struct Place {
    home: TestHome,
    release: Release,
    kalit: Kalit,
}

impl Place {
    async fn new(server: &TokenEndpoint) -> Result<Self> {
        let (home, release) = (TestHome::new()?, release(Version::V2026_9_6).await?);
        // Another model would make 2026.9.6 install a plugin.
        home.write_config(&json!({
            "agents": {"ownership": "explicit", "entries": {"main": {}, "work": {}},
                "defaults": {"model": {"primary": "anthropic/claude-opus-4-6"}}},
        }))?;
        for id in ["anthropic:one", "anthropic:two"] {
            let token = format!("sk-ant-oat01-{}\n", id.replace(':', "-").repeat(8));
            let paste = ["paste-token", "--provider", "anthropic", "--profile-id", id];
            let all = [&["models", "auth", "--agent", "main"][..], &paste].concat();
            let ran = release.run(&home, &all, Some(token.as_bytes())).await?;
            ensure!(ran.status.success(), "{ran:?}");
        }
        let kalit = Kalit::new(&home, &release, &server.manifest(&[free_port()?]))?;
        let place = Self { home, release, kalit };
        let expires = SystemClock.now().as_millis() + DAY;
        place.change(|profiles| {
            profiles[LAB] = json!({
                "type": "oauth", "provider": "openai", "access": "test-access-lab",
                "refresh": "test-refresh-lab", "expires": expires, "email": "lab@example.com",
            });
        })?;
        Ok(place)
    }

    /// Kalit's window under WebDriver; OpenClaw started by it is confined as `Kalit` confines it.
    async fn window(&self, session: &DesktopSession, route: &str) -> Result<WebView> {
        let mut vars = self.kalit.variables().clone();
        let path = session.env().get("PATH").context("the session has no PATH")?;
        let own = self.home.path().join("bin");
        vars.insert("PATH".to_owned(), format!("{}:{path}", own.display()));
        let vars: Vec<(String, String)> = vars.into_iter().collect();
        let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
        WebView::open(session, &program, &[route], &vars).await
    }

    fn database(&self) -> Result<Connection> {
        let connection = Connection::open(self.home.state_dir().join("state/openclaw.sqlite"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    }

    /// The shared store.
    fn store(&self) -> Result<Value> {
        let text: String = self.database()?.query_row(
            "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'",
            [],
            |row| row.get(0),
        )?;
        Ok(serde_json::from_str(&text)?)
    }

    fn lab(&self) -> Result<Value> {
        Ok(self.store()?["profiles"][LAB].clone())
    }

    fn change(&self, change: impl FnOnce(&mut Value)) -> Result<()> {
        let mut store = self.store()?;
        change(&mut store["profiles"]);
        let rows = self.database()?.execute(
            "UPDATE config_machine_state SET value_json = ?1, updated_at_ms = ?2
             WHERE state_key = 'authProfiles.store'",
            rusqlite::params![store.to_string(), SystemClock.now().as_millis()],
        )?;
        ensure!(rows == 1, "{rows} rows");
        Ok(())
    }

    /// Notes of lab what 2026.9.6 notes after it was limited; before that it notes nothing here.
    fn rest_lab(&self) -> Result<()> {
        let now = SystemClock.now().as_millis();
        let stats = json!({"lastUsed": now, "errorCount": 1, "lastFailureAt": now,
            "cooldownUntil": now + DAY, "cooldownReason": "rate_limit"});
        let state = json!({"version": 1, "usageStats": {LAB: stats}});
        self.database()?.execute(
            "INSERT INTO config_machine_state(state_key, value_json, updated_at_ms)
             VALUES('authProfiles.state', ?1, ?2)",
            rusqlite::params![state.to_string(), now],
        )?;
        Ok(())
    }

    fn wake_lab(&self) -> Result<()> {
        let rows = self.database()?.execute(
            "DELETE FROM config_machine_state WHERE state_key = 'authProfiles.state'",
            [],
        )?;
        ensure!(rows == 1, "{rows} rows");
        Ok(())
    }

    /// Leaves of lab what 2026.9.6 leaves when it could not renew: a failed fence.
    fn drop_lab(&self) -> Result<()> {
        self.change(|profiles| fail_login(&mut profiles[LAB], LAB))
    }

    /// Waits until Kalit holds a sealed copy of each login.
    async fn sealed(&self) -> Result<()> {
        until_some("a sealed login", SOON, || {
            let installations = fs::read_dir(self.home.path().join("kalit/data/installations")).ok()?;
            installations
                .flatten()
                .filter_map(|entry| fs::read_dir(entry.path().join("logins")).ok())
                .flatten()
                .any(|entry| entry.is_ok())
                .then_some(())
        })
        .await
    }
}
