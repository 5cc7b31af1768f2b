//! The story that tells itself: a private desktop, a browser that presses the real buttons, and
//! evidence from the server's log, the store, and the session's bus.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fantoccini::Locator;
use kalit_core::clock::Timestamp;
use kalit_journeys::authserver::{Entry, ServerProcess};
use kalit_journeys::browser::Browser;
use kalit_journeys::codex::Codex;
use kalit_journeys::desktop::{DesktopSession, Part, ensure_not_blank};
use kalit_journeys::http::free_port;
use kalit_journeys::notifications::{self, Notification, NotificationMonitor};
use kalit_journeys::process::{Process, binary};
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::webview::WebView;
use kalit_shell::menu::MenuModel;

use crate::Sabotage;
use crate::installation::{Installation, Stored};
use crate::report::Report;

// What Kalit calls things: the story's only knowledge of its texts.
const SIGN_IN_AGAIN: &str = "Sign in again";
const SIGNED_OUT: &str = "signed out";
const SHARED_LOGINS: &str = "Shared logins";
/// What the window says of signing out in the other program.
const SIGN_OUT_THERE: &str = "codex logout";
const CODEX: &str = "Codex CLI";
/// The window's button that starts a sign-in to OpenAI.
const SIGN_IN_TO_OPENAI: &str =
    "//*[contains(@class,'choice')][contains(.,'ChatGPT')]//a[contains(@class,'main')]";

/// How the window names the provider.
const CHATGPT: &str = "ChatGPT";
const PERSON: &str = "ada@example.com";
const SOON: Duration = Duration::from_secs(30);
/// The access tokens live two minutes.
const LIFETIME: &str = "120";
/// A renewal is due before this has passed.
const RENEWAL: Duration = Duration::from_secs(130);

pub async fn tell(report: &mut Report, sabotage: Option<Sabotage>) -> Result<()> {
    let server = authorization_server(report, sabotage).await?;
    let session = desktop(report, sabotage).await?;
    let mut stage = Stage::open(report, server, session).await?;
    let outcome = stage.play(report).await;
    if outcome.is_err() {
        // what the screen showed when it went wrong
        stage.picture(report, "failed").ok();
        println!("   kalit-desktop printed:\n{}", stage.kalit.output());
    }
    outcome
}

async fn authorization_server(report: &mut Report, sabotage: Option<Sabotage>) -> Result<ServerProcess> {
    report.step("a local authorization server");
    let mut flags = vec!["--ttl", LIFETIME];
    if sabotage == Some(Sabotage::Revoke) {
        flags.extend(["--sabotage", "revoke"]);
    }
    let program = binary("KALIT_AUTHORIZATION_SERVER_BIN", "examples/authorization-server")?;
    let server = ServerProcess::start(&program, report.dir(), &flags).await?;
    report.says("process", "pid", server.id());
    report.says("server", "address", server.url());
    report.says("server", "log", server.log().to_string_lossy());
    Ok(server)
}

async fn desktop(report: &mut Report, sabotage: Option<Sabotage>) -> Result<DesktopSession> {
    report.step("a private desktop");
    let mut parts = Part::ALL.to_vec();
    if sabotage == Some(Sabotage::Tray) {
        parts.retain(|part| *part != Part::Panel);
    }
    let session = DesktopSession::start(&parts).await?;
    report.says("X server", "display", session.env()["DISPLAY"].as_str());
    let bus = zbus::fdo::DBusProxy::new(&session.bus().await?).await?;
    for name in [
        "org.kde.StatusNotifierWatcher",
        "org.freedesktop.Notifications",
        "org.freedesktop.secrets",
    ] {
        let owner = match bus.get_name_owner(name.try_into()?).await {
            Ok(owner) => owner.to_string(),
            Err(_) => "nobody".to_owned(),
        };
        report.says("session bus", name, owner);
    }
    Ok(session)
}

/// Everything on the stage once Kalit's tray is registered.
struct Stage {
    // in this order: the programs end before the desktop does
    browser: Browser,
    kalit: Process,
    item: TrayItem,
    monitor: NotificationMonitor,
    installation: Installation,
    codex: Codex,
    server: ServerProcess,
    session: DesktopSession,
}

impl Stage {
    async fn open(report: &mut Report, server: ServerProcess, session: DesktopSession) -> Result<Self> {
        report.step("Kalit in the tray");
        let installation =
            Installation::create(&session.home(), server.url(), &[free_port()?, free_port()?])?;
        report.says(
            "file system",
            "state directory",
            installation.state_dir().to_string_lossy(),
        );
        ensure!(
            !installation.store_file().exists(),
            "somebody is signed in already"
        );
        report.says("file system", "auth-profiles.json", "does not exist");
        let codex = Codex::new(&session.home(), server.url())?;
        let monitor = NotificationMonitor::start(&session).await?;
        let mut command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
        command.envs(installation.env());
        let kalit = session.launch(&mut command, "kalit-desktop")?;
        report.says("process", "kalit-desktop", kalit.id());
        let bus = session.bus().await?;
        let registered = tray::registered(&bus, Some(kalit.id()), SOON).await;
        let item = registered.with_context(|| format!("kalit-desktop printed:\n{}", kalit.output()))?;
        report.says("session bus", "StatusNotifierItem", item.owner.as_str());
        report.says(
            "dbusmenu",
            "layout",
            item.menu_with(&menu_label("add"), SOON).await?.to_string(),
        );
        let browser = Browser::in_session(&session).await?;
        let stage = Self {
            browser,
            kalit,
            item,
            monitor,
            installation,
            codex,
            server,
            session,
        };
        stage.picture(report, "tray")?;
        Ok(stage)
    }

    async fn play(&mut self, report: &mut Report) -> Result<()> {
        let first = self.sign_in(report).await?;
        let second = self.renewed(report, &first).await?;
        let refused = self.revoked(report, &second).await?;
        let notification = self.notified(report, &refused).await?;
        let third = self.sign_in_again(report, &notification, &second).await?;
        self.shared(report, &third).await?;
        let refused = self.ended_by_codex(report, &third).await?;
        let notification = self.named(report, &refused).await?;
        self.sign_in_again(report, &notification, &third).await?;
        self.parted(report).await?;
        self.quit(report).await
    }

    async fn sign_in(&self, report: &mut Report) -> Result<Stored> {
        report.step("sign in from the tray");
        let kalit = binary("KALIT_WINDOW_BIN", "kalit-window")?;
        let window = WebView::open(&self.session, &kalit, &["board"], &self.installation.env()).await?;
        window.shows(CHATGPT, SOON).await?;
        let before = self.server.last_request();
        let add = menu_label("add");
        self.item.click(&[&add]).await?;
        report.says("dbusmenu", "clicked", add);
        let choice = window
            .client()
            .wait()
            .at_most(SOON)
            .for_element(Locator::XPath(SIGN_IN_TO_OPENAI))
            .await;
        let choice = match choice {
            Ok(choice) => choice,
            Err(error) => {
                let shown = window.text().await?;
                return Err(error).with_context(|| {
                    format!("no sign-in to ChatGPT is offered; the window shows:\n{shown}")
                });
            }
        };
        self.picture(report, "window-sign-in")?;
        choice.click().await?;
        let stored = self.consent(report, 0, before).await?;
        report.says(
            "window",
            "shows",
            first_line_with(&window.shows(PERSON, SOON).await?, PERSON),
        );
        window.screenshot(&report.screenshot("window-signed-in")).await?;
        window.close().await?;
        self.tray_shows(report, PERSON).await?;
        self.picture(report, "signed-in")?;
        Ok(stored)
    }

    /// From the URL that was opened to the new generation in the store.
    async fn consent(&self, report: &mut Report, opened: usize, before: u64) -> Result<Stored> {
        let url = self.session.opened_url(opened, SOON).await?;
        let endpoint = format!("{}/oauth/authorize?", self.server.url());
        ensure!(url.starts_with(&endpoint), "the browser was sent elsewhere");
        report.says(
            "xdg-open",
            "opened",
            format!("{endpoint}… ({} characters)", url.len()),
        );
        self.browser.consent_page(&url, PERSON).await?;
        self.picture(report, "consent")?;
        self.browser.submit("#allow").await?;
        let asked = self
            .server
            .request("the authorize request", before, SOON, |entry| {
                entry.is("authorize")
            })
            .await?;
        report.says("server log", "authorize request", asked.request);
        let issued = self
            .server
            .request("the code to be exchanged", asked.request, SOON, |entry| {
                entry.text("grant") == "authorization_code" && entry.status == 200
            })
            .await?;
        report.says("server log", "token request", issued.request);
        report.says("server log", "signed in as", issued.text("account"));
        let stored = self.installation.holds(issued.text("issued"), SOON).await?;
        self.tell_stored(report, &stored);
        Ok(stored)
    }

    async fn renewed(&self, report: &mut Report, old: &Stored) -> Result<Stored> {
        report.step("renewed before it expires");
        let after = self.server.last_request();
        let entry = self
            .server
            .request("a renewal", after, RENEWAL, |entry| entry.is_refresh())
            .await?;
        report.says("server log", "refresh request", entry.request);
        report.says("server log", "generation sent", entry.text("sent"));
        ensure!(
            entry.text("sent") == old.generation,
            "another generation was sent than the one stored"
        );
        ensure!(
            entry.status == 200,
            "the renewal was refused: {}",
            entry.text("outcome")
        );
        let early = Timestamp::from_millis(old.expires).millis_since(Timestamp::from_millis(entry.at));
        ensure!(early > 0, "the token had expired {} ms before", -early);
        report.says(
            "server log",
            "before expiry",
            format!("{:.0} s", early as f64 / 1000.0),
        );
        let stored = self.installation.holds(entry.text("issued"), SOON).await?;
        ensure!(
            stored.profile_id == old.profile_id,
            "the renewal went to another profile"
        );
        ensure!(
            stored.expires > old.expires && stored.modified > old.modified,
            "the file was not renewed"
        );
        self.tell_stored(report, &stored);
        self.tray_shows(report, PERSON).await?;
        Ok(stored)
    }

    async fn revoked(&self, report: &mut Report, current: &Stored) -> Result<Entry> {
        report.step("revoked on the server's page");
        let before = self.server.last_request();
        self.browser.revoke(self.server.url(), PERSON).await?;
        self.picture(report, "revoked")?;
        let pressed = self
            .server
            .request("the revocation", before, SOON, |entry| entry.is("revoke"))
            .await?;
        report.says("server log", "revoke request", pressed.request);
        self.refused(report, pressed.request, current).await
    }

    /// Kalit's next renewal, which is refused.
    async fn refused(&self, report: &mut Report, after: u64, current: &Stored) -> Result<Entry> {
        let refused = self
            .server
            .request("a refused renewal", after, RENEWAL, |entry| {
                entry.is_refresh() && entry.status == 401
            })
            .await?;
        report.says("server log", "refused request", refused.request);
        report.says("server log", "with", refused.text("outcome"));
        ensure!(
            refused.text("sent") == current.generation,
            "another generation was sent than the one stored"
        );
        Ok(refused)
    }

    /// A copy of the login comes to the real Codex CLI: the clash is told before it happens.
    async fn shared(&self, report: &mut Report, current: &Stored) -> Result<()> {
        report.step("Codex CLI gets a copy of the login");
        let [access, refresh, account] = self.installation.login(&current.profile_id)?;
        self.codex.is_given(&access, &refresh, &account)?;
        report.says("file system", "copied to", self.codex.home().to_string_lossy());
        self.tray_shows(report, CODEX).await?;
        self.tray_shows(report, SHARED_LOGINS).await?;
        let seen = self
            .monitor
            .notification("a notification with the other program", SOON, |seen| {
                seen.title.contains(CODEX)
            })
            .await?;
        report.says("session bus", "title", seen.title.as_str());
        let shown = self.radar(&[])?;
        report.says("kalit radar", "says", first_line_with(&shown, CODEX));
        report.says("kalit radar", "says", first_line_with(&shown, SIGN_OUT_THERE));
        let label = self.tray_line(SHARED_LOGINS).await?;
        self.item.click(&[&label]).await?;
        report.says("dbusmenu", "clicked", label);
        self.picture(report, "shared-logins")
    }

    async fn ended_by_codex(&self, report: &mut Report, current: &Stored) -> Result<Entry> {
        report.step("`codex logout` ends it for both");
        let before = self.server.last_request();
        self.codex.logs_out().await?;
        let ended = self
            .server
            .request("the revocation", before, SOON, |entry| entry.is("revoke"))
            .await?;
        report.says("server log", "revoke request", ended.request);
        ensure!(
            ended.text("sent") == current.generation,
            "Codex CLI ended another login than the one that it shared"
        );
        self.refused(report, ended.request, current).await
    }

    /// The notification says whose doing it was.
    async fn named(&self, report: &mut Report, refused: &Entry) -> Result<Notification> {
        report.step("the cause is named");
        let seen = self
            .notified_of(report, refused, |seen| seen.body.contains(CODEX))
            .await?;
        self.picture(report, "cause-named")?;
        Ok(seen)
    }

    /// With a login of its own nobody is in the other's way.
    async fn parted(&self, report: &mut Report) -> Result<()> {
        report.step("nobody shares a login any more");
        let said = self.radar(&["--check"])?;
        report.says("kalit radar", "says", said.lines().next().unwrap_or_default());
        Ok(())
    }

    /// What `kalit radar` says, if it ends well.
    fn radar(&self, more: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new(binary("KALIT_BIN", "kalit")?);
        command.arg("radar").args(more).envs(self.installation.env());
        let found = command.env("HOME", self.session.home()).output()?;
        let said = String::from_utf8_lossy(&found.stdout).into_owned();
        ensure!(found.status.success(), "kalit radar {more:?}: {said}");
        Ok(said)
    }

    async fn notified(&self, report: &mut Report, refused: &Entry) -> Result<Notification> {
        report.step("the notification");
        let seen = self.notified_of(report, refused, |_| true).await?;
        notifications::window(&self.session, SOON).await?;
        self.picture(report, "notification")?;
        report.says("dbusmenu", "layout", self.item.menu().await?.to_string());
        Ok(seen)
    }

    /// A notification of a lost login, with its button.
    async fn notified_of(
        &self,
        report: &mut Report,
        refused: &Entry,
        wanted: impl Fn(&Notification) -> bool,
    ) -> Result<Notification> {
        let has_button = |seen: &Notification| seen.actions.iter().any(|(_, label)| label == SIGN_IN_AGAIN);
        let is_lost =
            |seen: &Notification| has_button(seen) && wanted(seen) && seen.title.contains(SIGNED_OUT);
        let seen = self
            .monitor
            .notification("a notification with \"Sign in again\"", SOON, is_lost)
            .await?;
        ensure!(refused.text("account") == PERSON, "somebody else was refused");
        report.says("session bus", "Notify from", seen.app.as_str());
        report.says("session bus", "title", seen.title.as_str());
        report.says("session bus", "body", seen.body.as_str());
        let labels: Vec<&str> = seen.actions.iter().map(|(_, label)| label.as_str()).collect();
        report.says("session bus", "buttons", labels);
        Ok(seen)
    }

    async fn sign_in_again(
        &self,
        report: &mut Report,
        notification: &Notification,
        old: &Stored,
    ) -> Result<Stored> {
        report.step("signed in again from the notification");
        let opened = self.session.opened_urls().len();
        let before = self.server.last_request();
        let action = notification
            .actions
            .iter()
            .find(|(_, label)| label == SIGN_IN_AGAIN);
        let (key, _) = action.context("the notification has lost its button")?;
        notifications::press(&self.session, notification, key).await?;
        let id = notification.id.context("the daemon never answered")?;
        let invoked = self.monitor.action_invoked(id, SOON).await?;
        report.says("session bus", "ActionInvoked", invoked);
        let stored = self.consent(report, opened, before).await?;
        ensure!(
            stored.profile_id == old.profile_id,
            "the new login went to profile {}",
            stored.profile_id
        );
        ensure!(
            stored.generation != old.generation,
            "the profile still holds the old generation"
        );
        ensure!(self.installation.stored().len() == 1, "a second profile was made");
        report.says("store", "profiles", 1);
        self.tray_shows(report, PERSON).await?;
        self.picture(report, "signed-in-again")?;
        Ok(stored)
    }

    async fn quit(&mut self, report: &mut Report) -> Result<()> {
        report.step("quit from the tray");
        self.item.click(&[&menu_label("quit")]).await?;
        let status = self.kalit.end(SOON).await?;
        report.says("process", "exit status", status.to_string());
        ensure!(status.success(), "kalit-desktop ended with {status}");
        Ok(())
    }

    fn tell_stored(&self, report: &mut Report, stored: &Stored) {
        report.says("store", "profile", stored.profile_id.as_str());
        report.says("store", "generation", stored.generation.as_str());
        report.says(
            "store",
            "expires",
            Timestamp::from_millis(stored.expires).to_iso8601(),
        );
        let modified = stored
            .modified
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let modified = i64::try_from(modified.as_millis()).unwrap_or_default();
        report.says(
            "store",
            "file changed",
            Timestamp::from_millis(modified).to_iso8601(),
        );
    }

    async fn tray_shows(&self, report: &mut Report, text: &str) -> Result<()> {
        report.says("dbusmenu", "shows", self.tray_line(text).await?);
        Ok(())
    }

    /// The line of the menu with this text, waited for.
    async fn tray_line(&self, text: &str) -> Result<String> {
        let menu = self.item.menu_with(text, SOON).await?;
        Ok(menu.find(text).map(|line| line.label.clone()).unwrap_or_default())
    }

    fn picture(&self, report: &mut Report, name: &str) -> Result<()> {
        // A page is on the screen a moment after it is done.
        std::thread::sleep(Duration::from_secs(2));
        let path = report.screenshot(name);
        self.session.screenshot(&path)?;
        ensure_not_blank(&path)
    }
}

/// How the tray calls one of the lines that it always has.
fn menu_label(id: &str) -> String {
    let menu = MenuModel::without_snapshot("");
    menu.find(id).map(|line| line.label.clone()).unwrap_or_default()
}

fn first_line_with(shown: &str, text: &str) -> String {
    shown
        .lines()
        .find(|line| line.contains(text))
        .unwrap_or_default()
        .to_owned()
}
