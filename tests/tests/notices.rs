//! What the tray tells of and takes back (Linux), through a real notification daemon: losses of several
//! agents in one message, logins that end and that others use, and nothing while the machine wakes or is
//! offline, which the window says.
#![cfg(target_os = "linux")]

use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::authserver;
use kalit_journeys::desktop::{DesktopSession, Part};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::directories;
use kalit_journeys::notifications::{self, Notification, NotificationMonitor};
use kalit_journeys::openclaw::{TestHome, write_json};
use kalit_journeys::process::{Process, binary, build_dir};
use kalit_journeys::steps::preloaded;
use kalit_journeys::token_endpoint::{Login, Mode, TokenEndpoint, access_token};
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::wait::{until, until_some};
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const RENEW: &str = "Renew all now";
const OFFLINE: &str = "No provider can be reached";
const UNREADABLE: &str = "The accounts of main cannot be read";

#[tokio::test]
async fn a_loss_of_several_agents_is_one_message_and_goes_when_it_is_solved() {
    let stage = Stage::new(10 * 24 * 60 * MINUTE).await.unwrap();
    stage.act(async |item| signed_out(&stage, item).await).await;
}

async fn signed_out(stage: &Stage, item: &TrayItem) -> Result<()> {
    item.menu_with("ada@example.com", SOON).await?;
    stage.server.revoke("acct-ada");
    item.click(&[RENEW]).await?;
    let told = stage.told("ChatGPT is signed out").await?;
    ensure!(told.body.ends_with("Agents: main, work."), "{told:?}");
    ensure!(told.buttons() == ["Sign in again", "Details"], "{told:?}");
    ensure!(told.urgency == Some(1), "{told:?}");

    let login = Login::named("ada", "test-refresh-signed-in-again");
    stage.server.add_login(login.clone());
    stage.write_stores(&login)?;
    stage.monitor.withdrawn(&told, SOON).await?;
    ensure!(
        stage.monitor.notifications().len() == 1,
        "{:?}",
        stage.monitor.notifications()
    );
    Ok(())
}

#[tokio::test]
async fn a_login_that_ends_is_told_and_renewed_by_the_notifications_button() {
    let stage = Stage::new(5 * MINUTE).await.unwrap();
    stage.act(async |item| ending(&stage, item).await).await;
}

async fn ending(stage: &Stage, item: &TrayItem) -> Result<()> {
    item.menu_with("ada@example.com", SOON).await?;
    stage.server.set_mode(Mode::Unavailable);
    item.click(&[RENEW]).await?;
    item.menu_with("Not renewed", SOON).await?;
    ensure!(stage.monitor.notifications().is_empty(), "once may be chance");
    item.click(&[RENEW]).await?;
    let told = stage.told("ChatGPT ends in ").await?;
    ensure!(told.buttons() == ["Renew now", "Details"], "{told:?}");
    stage.session.screenshot(&picture("notice-ending")?)?;

    stage.server.set_mode(Mode::Ok);
    notifications::press(&stage.session, &told, "check").await?;
    until_some("the renewal", SOON, || {
        (stage.server.rotations() == 1).then_some(())
    })
    .await?;
    item.menu_with("9 d ", SOON).await?;
    ensure!(
        stage.monitor.notifications().len() == 1,
        "{:?}",
        stage.monitor.notifications()
    );
    Ok(())
}

#[tokio::test]
async fn a_login_that_another_program_holds_is_told_once_and_quietly() {
    let stage = Stage::new(10 * 24 * 60 * MINUTE).await.unwrap();
    let codex = json!({"auth_mode": "chatgpt", "tokens": {"access_token": "fake", "refresh_token": "test-refresh-ada"}});
    write_json(&stage.home.path().join("codex/auth.json"), &codex).unwrap();
    stage.act(async |item| shared(&stage, item).await).await;
    stage.act(async |item| told_no_more(&stage, item).await).await;
}

async fn shared(stage: &Stage, item: &TrayItem) -> Result<()> {
    let told = stage.told("ChatGPT is also used by Codex CLI").await?;
    ensure!(told.urgency == Some(0), "{told:?}");
    ensure!(told.buttons() == ["Sign in separately", "Details"], "{told:?}");
    ensure!(told.body.ends_with("Agents: main, work."), "{told:?}");
    item.menu_with("also used by Codex CLI", SOON).await?;

    let window = stage.window("board").await?;
    window.shows("ada@example.com", SOON).await?;
    notifications::press(&stage.session, &told, "details").await?;
    window.shows("Why this account is used", SOON).await?;
    window.close().await
}

/// Not after a restart either, nor because something else changed.
async fn told_no_more(stage: &Stage, item: &TrayItem) -> Result<()> {
    item.menu_with("also used by Codex CLI", SOON).await?;
    pause(item, true).await?;
    ensure!(
        stage.monitor.notifications().len() == 1,
        "{:?}",
        stage.monitor.notifications()
    );
    Ok(())
}

#[tokio::test]
async fn nothing_is_told_while_the_machine_is_offline_or_wakes() {
    let stage = Stage::new(10 * 24 * 60 * MINUTE).await.unwrap();
    stage.act(async |item| held(&stage, item).await).await;
}

async fn held(stage: &Stage, item: &TrayItem) -> Result<()> {
    let store = stage.home.profiles_path("main");
    let whole = fs::read(&store)?;
    item.menu_with("ada@example.com", SOON).await?;
    stage.lead_to(&format!("http://127.0.0.1:{}", free_port()?))?;
    item.click(&[RENEW]).await?;
    item.menu_with("Not renewed", SOON).await?;
    // What the tray found out stands in a window of another process.
    let window = stage.window("board").await?;
    window.shows(OFFLINE, SOON).await?;
    window.screenshot(&picture("window-offline")?).await?;
    fs::write(&store, "{")?;
    item.menu_with("cannot be read", SOON).await?;
    // Shown only after the snapshot before was told.
    pause(item, true).await?;
    ensure!(
        stage.monitor.notifications().is_empty(),
        "{:?}",
        stage.monitor.notifications()
    );

    fs::write(&store, &whole)?;
    pause(item, false).await?;
    stage.lead_to(&stage.server.url())?;
    item.click(&[RENEW]).await?;
    stage.server.arrived(1, SOON).await?;
    item.menu_with("Renewed", SOON).await?;
    until("the window to be online", SOON, || async {
        let text = window.text().await.ok()?;
        (text.contains("in order") && !text.contains(OFFLINE)).then_some(())
    })
    .await?;
    window.close().await?;
    let whole = fs::read(&store)?;
    fs::write(&store, "{")?;
    let told = stage.told(UNREADABLE).await?;
    fs::write(&store, &whole)?;
    stage.monitor.withdrawn(&told, SOON).await?;

    // Asleep for an hour.
    stage.clocks_ahead(60 * MINUTE, Duration::ZERO)?;
    fs::write(&store, "{")?;
    item.menu_with("cannot be read", SOON).await?;
    pause(item, true).await?;
    ensure!(
        stage.monitor.notifications().len() == 1,
        "{:?}",
        stage.monitor.notifications()
    );
    // Two minutes later.
    let later = Duration::from_secs(121);
    stage.clocks_ahead(60 * MINUTE + later, later)?;
    pause(item, false).await?;
    let again = |seen: &Notification| seen.title == UNREADABLE && seen.id != told.id;
    let told = stage
        .monitor
        .notification("what was held back", SOON, again)
        .await?;
    ensure!(stage.monitor.notifications().len() == 2, "{told:?}");
    Ok(())
}

/// Two agents with one login of ada's, a provider, a desktop with notifications, and Kalit's directories.
struct Stage {
    session: DesktopSession,
    monitor: NotificationMonitor,
    server: TokenEndpoint,
    home: TestHome,
    lifetime: Duration,
}

impl Stage {
    async fn new(lifetime: Duration) -> Result<Self> {
        let login = Login::named("ada", "test-refresh-ada");
        let session = DesktopSession::start(&[Part::Panel, Part::Notifications]).await?;
        let stage = Self {
            monitor: NotificationMonitor::start(&session).await?,
            session,
            server: TokenEndpoint::start(login.clone(), 10 * 24 * 60 * MINUTE).await?,
            home: TestHome::new()?,
            lifetime,
        };
        stage.home.write_config(&json!({
            "meta": {"lastTouchedVersion": "2026.6.1"},
            "agents": {"list": [{"id": "main"}, {"id": "work"}]},
        }))?;
        for agent in ["main", "work"] {
            fs::create_dir_all(stage.home.agent_dir(agent))?;
        }
        stage.write_stores(&login)?;
        stage.lead_to(&stage.server.url())?;
        fs::write(stage.clocks(), [0; 16])?;
        Ok(stage)
    }

    fn write_stores(&self, login: &Login) -> Result<()> {
        let profile: Value = json!({
            "type": "oauth", "provider": "openai", "access": access_token(login, self.lifetime, 1),
            "refresh": login.refresh, "expires": SystemClock.now().plus(self.lifetime).as_millis(),
            "email": login.email, "accountId": login.account_id,
        });
        for agent in ["main", "work"] {
            let store = json!({"version": 1, "profiles": {"openai:ada@example.com": profile}});
            self.home.write_profiles(agent, &store)?;
        }
        Ok(())
    }

    fn lead_to(&self, url: &str) -> Result<()> {
        let manifest = authserver::manifest(url, &[free_port()?, free_port()?]);
        write_json(&self.home.path().join("kalit/providers/openai.json"), &manifest)
    }

    fn clocks(&self) -> PathBuf {
        self.home.path().join("clocks")
    }

    /// How far the wall clock, and the clock that stops in sleep, are ahead.
    fn clocks_ahead(&self, wall: Duration, awake: Duration) -> Result<()> {
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX).to_ne_bytes();
        let file = File::options().write(true).open(self.clocks())?;
        Ok(file.write_all_at(&[millis(wall), millis(awake)].concat(), 0)?)
    }

    fn env(&self) -> Vec<(String, String)> {
        let mut vars = directories(&self.home);
        let codex = self.home.path().join("codex").display().to_string();
        vars.push(("CODEX_HOME".to_owned(), codex));
        vars
    }

    async fn tray(&self) -> Result<(Process, TrayItem)> {
        let mut command: Command = self
            .session
            .command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
        command
            .envs(self.env())
            .env("LD_PRELOAD", preloaded("clocks")?)
            .env("CLOCKS_FILE", self.clocks());
        let kalit = self.session.launch(&mut command, "kalit-desktop")?;
        let item = tray::registered(&self.session.bus().await?, Some(kalit.id()), SOON).await;
        let item = item.with_context(|| kalit.output())?;
        Ok((kalit, item))
    }

    /// What happens while a tray runs.
    async fn act(&self, acts: impl AsyncFnOnce(&TrayItem) -> Result<()>) {
        let (mut kalit, item) = self.tray().await.unwrap();
        let outcome = acts(&item).await;
        assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
        item.click(&["Quit"]).await.unwrap();
        assert!(kalit.end(SOON).await.unwrap().success());
    }

    async fn window(&self, route: &str) -> Result<WebView> {
        let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
        WebView::open(&self.session, &program, &[route], &self.env()).await
    }

    /// Waits for a notification whose title begins so.
    async fn told(&self, title: &str) -> Result<Notification> {
        let wanted = |seen: &Notification| seen.title.starts_with(title);
        let told = self.monitor.notification(title, SOON, wanted).await?;
        ensure!(!told.title.contains('@') && !told.body.contains('@'), "{told:?}");
        notifications::window(&self.session, SOON).await?;
        Ok(told)
    }
}

/// Where a picture is kept.
fn picture(name: &str) -> Result<PathBuf> {
    let dir = build_dir()?.with_file_name("journeys");
    fs::create_dir_all(&dir)?;
    Ok(dir.join(format!("{name}.png")))
}

async fn pause(item: &TrayItem, wanted: bool) -> Result<()> {
    item.click(&["Pause renewal"]).await?;
    until(&format!("renewal to be paused: {wanted}"), SOON, || async {
        let menu = item.menu().await.ok()?;
        (menu.find("Pause renewal")?.checked == Some(wanted)).then_some(())
    })
    .await
}
