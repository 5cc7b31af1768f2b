//! Journeys through the desktop (Linux): accounts are switched, signed in and told of through a
//! real panel, a real window and a real notification daemon, and what came of it is read from the
//! files and by OpenClaw. Pictures of every stage are kept in `target/journeys/`.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fantoccini::Locator;
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::authserver::{self, AuthorizationServer, fingerprint};
use kalit_journeys::browser::Browser;
use kalit_journeys::desktop::{DesktopSession, Part, colours, ensure_not_blank};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::directories;
use kalit_journeys::notifications::{self, Notification, NotificationMonitor};
use kalit_journeys::openclaw::{self, TestHome, Version, read_json};
use kalit_journeys::process::{Process, binary, build_dir, run};
use kalit_journeys::token_endpoint::{Login, access_token};
use kalit_journeys::tray::{self, MenuItem, TrayItem};
use kalit_journeys::wait::until_some;
use kalit_journeys::webview::WebView;
use serde_json::{Map, Value, json};

const SOON: Duration = Duration::from_secs(30);
const TEN_DAYS: Duration = Duration::from_secs(10 * 86_400);
const GROUP: &str = "ChatGPT (main)";
const SIGN_IN_AGAIN: &str = "Sign in again";
const ADA: &str = "openai:ada@example.com";

#[tokio::test]
async fn accounts_are_switched_by_the_trays_menu_and_by_the_window() {
    let session = DesktopSession::start(&[Part::Panel]).await.unwrap();
    let server = server().await;
    let place = Place::with_accounts(&server, &["hedy", "mary"]).unwrap();
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = switched(&session, &place, &item, &kalit).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn switched(session: &DesktopSession, place: &Place, item: &TrayItem, kalit: &Process) -> Result<()> {
    let menu = item.menu_with("mary@example.com", SOON).await?;
    ensure!(marks(&menu) == (Some(true), Some(false)), "{menu}");
    click_account(item, &menu, "mary@example.com").await?;
    place.order_is(["mary", "hedy"]).await?;
    let moved = until_marks(item, (Some(false), Some(true))).await?;
    picture(session, "1-switched-in-the-tray")?;

    let release = openclaw::release(Version::V2026_6_1).await?;
    let asked = ["models", "auth", "order", "get", "--provider", "openai", "--json"];
    let told = release.run(&place.home, &asked, None).await?.json()?;
    let expected = json!(["openai:mary@example.com", "openai:hedy@example.com"]);
    ensure!(
        told["order"] == expected,
        "OpenClaw says {told}; the menu is\n{moved}"
    );

    let window = place.window(session, "board").await?;
    let board = window.shows("mary@example.com", SOON).await?;
    ensure!(board.contains("hedy@example.com"), "{board}");
    window
        .press("li.acct[data-profile='openai:hedy@example.com'] [data-action='use']")
        .await?;
    place.order_is(["hedy", "mary"]).await?;
    window.shows("main now uses hedy@example.com", SOON).await?;
    window
        .screenshot(&target("2-switched-in-the-window.png")?)
        .await?;
    window.close().await?;
    until_marks(item, (Some(true), Some(false))).await?;

    // a second start shows the window of the first, and ends
    let mut second = session.launch(&mut place.command(session)?, "second")?;
    let status = second.end(SOON).await?;
    ensure!(status.success(), "the second start ended with {status}");
    shown(session, "3-second-start").await?;
    let opened = until_some("the window's process", SOON, || child_of(kalit.id())).await?;
    session
        .close_window(|| child_of(kalit.id()) != Some(opened))
        .await?;
    ensure!(
        item.pid().await? == kalit.id(),
        "the tray is gone with its window"
    );
    Ok(())
}

#[tokio::test]
async fn a_login_is_made_in_the_window_and_told_once_when_it_is_lost() {
    let session = DesktopSession::start(&Part::ALL).await.unwrap();
    let server = server().await;
    let place = Place::with_accounts(&server, &[]).unwrap();
    let monitor = NotificationMonitor::start(&session).await.unwrap();
    let browser = Browser::in_session(&session).await.unwrap();
    let (mut kalit, item) = place.tray(&session).await.unwrap();

    let outcome = signed_in(&session, &server, &place, &browser).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
    let outcome = lost(&session, &server, &item, &monitor, &browser).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());

    item.click(&["Quit"]).await.unwrap();
    assert!(kalit.end(SOON).await.unwrap().success());
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = told_before(&session, &place, &item, &monitor).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn signed_in(
    session: &DesktopSession,
    server: &AuthorizationServer,
    place: &Place,
    browser: &Browser,
) -> Result<()> {
    let window = place.window(session, "add").await?;
    let url = begin_sign_in(session, &window).await?;
    ensure!(url.starts_with(&format!("{}/oauth/authorize?", server.url())));
    browser.allow(&url, "ada@example.com").await?;
    place.holds(&issued_after(server, 0).await?).await?;
    window.shows("ada@example.com", SOON).await?;
    window.screenshot(&target("4-signed-in.png")?).await?;
    window.close().await
}

async fn lost(
    session: &DesktopSession,
    server: &AuthorizationServer,
    item: &TrayItem,
    monitor: &NotificationMonitor,
    browser: &Browser,
) -> Result<()> {
    item.menu_with("ada@example.com", SOON).await?;
    ensure!(server.revoke("ada@example.com") == 1, "nothing to revoke");
    item.click(&["Renew all now"]).await?;
    let has_button = |seen: &Notification| seen.actions.iter().any(|(_, label)| label == SIGN_IN_AGAIN);
    let seen = monitor
        .notification("a notification with a way back", SOON, has_button)
        .await?;
    let menu = item.menu_with("signed out, sign in again", SOON).await?;
    ensure!(!menu.contains("· next"), "{menu}");
    notifications::window(session, SOON).await?;
    picture(session, "5-told")?;
    let told = monitor.notifications();
    ensure!(
        told.iter().filter(|seen| has_button(seen)).count() == 1,
        "{told:?}"
    );
    ensure!(!seen.title.contains('@') && !seen.body.contains('@'), "{seen:?}");

    let (opened, asked) = (session.opened_urls().len(), server.entries().len());
    let action = seen.actions.iter().find(|(_, label)| label == SIGN_IN_AGAIN);
    notifications::press(session, &seen, &action.context("its button")?.0).await?;
    let url = session.opened_url(opened, SOON).await?;
    browser.consent_page(&url, "ada@example.com").await?;
    let authorize = server
        .entries()
        .into_iter()
        .skip(asked)
        .find(|entry| entry.is("authorize"));
    ensure!(
        authorize.is_some_and(|entry| entry.status == 200),
        "no authorize request"
    );
    picture(session, "6-signing-in-again")
}

/// After a restart the loss is still shown and not told again; and a place asked for right after
/// the window was opened is reached.
async fn told_before(
    session: &DesktopSession,
    place: &Place,
    item: &TrayItem,
    monitor: &NotificationMonitor,
) -> Result<()> {
    let told = monitor.notifications().len();
    item.menu_with("signed out, sign in again", SOON).await?;
    // a change that is shown later than the first snapshot was told
    let mut store = read_json(&place.home.profiles_path("main"))?;
    store["profiles"]["openai:spare"] =
        json!({"type": "api_key", "provider": "openai", "key": "sk-test-fake"});
    place.home.write_profiles("main", &store)?;
    item.menu_with("spare", SOON).await?;
    ensure!(
        monitor.notifications().len() == told,
        "{:?}",
        monitor.notifications()
    );

    let opened = session.opened_urls().len();
    item.click(&["Open Kalit"]).await?;
    item.click(&[GROUP, "Add ChatGPT account"]).await?;
    session.opened_url(opened, SOON).await?;
    picture(session, "7-reached-at-once")
}

#[tokio::test]
async fn what_is_under_way_is_finished_after_the_window_is_closed_and_after_quit() {
    let session = DesktopSession::start(&[Part::Panel, Part::Notifications])
        .await
        .unwrap();
    let server = server().await;
    let place = Place::with_accounts(&server, &[]).unwrap();
    let browser = Browser::in_session(&session).await.unwrap();
    let monitor = NotificationMonitor::start(&session).await.unwrap();
    let outcome = closed_during_the_exchange(&session, &server, &place, &browser, &monitor).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    let (mut kalit, item) = place.tray(&session).await.unwrap();
    let outcome = quit_during_a_renewal(&server, &place, &item, &mut kalit).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn closed_during_the_exchange(
    session: &DesktopSession,
    server: &AuthorizationServer,
    place: &Place,
    browser: &Browser,
    monitor: &NotificationMonitor,
) -> Result<()> {
    let window = place.window(session, "add").await?;
    let url = begin_sign_in(session, &window).await?;
    server.hold_answers();
    browser.allow(&url, "ada@example.com").await?;
    let issued = issued_after(server, 0).await?;
    let process = session.window_process().context("no window")?;
    session
        .close_window(|| session.window_process().is_none())
        .await?;
    stays(Duration::from_secs(1), || ended(process)).await?;
    ensure!(place.profile(ADA).is_none(), "stored before the answer came");

    server.let_answers_go();
    place.holds(&issued).await?;
    // The window is gone: a notification says how it ended, without an address.
    let said = monitor
        .notification("how the sign-in ended", SOON, |said| said.title == "Signed in")
        .await?;
    ensure!(said.body == "The account is ready in main.", "{said:?}");
    until_some("the window's process to end", SOON, || {
        ended(process).then_some(())
    })
    .await
}

async fn quit_during_a_renewal(
    server: &AuthorizationServer,
    place: &Place,
    item: &TrayItem,
    kalit: &mut Process,
) -> Result<()> {
    item.menu_with("ada@example.com", SOON).await?;
    let before = place.profile(ADA).context("no login")?;
    let asked = server.entries().len();
    server.hold_answers();
    item.click(&["Renew all now"]).await?;
    let issued = issued_after(server, asked).await?;
    item.click(&["Quit"]).await?;
    stays(Duration::from_secs(1), || kalit.ended().is_some()).await?;
    ensure!(
        place.profile(ADA).as_ref() == Some(&before),
        "stored before the answer came"
    );

    server.let_answers_go();
    let status = kalit.end(SOON).await?;
    ensure!(status.success(), "{status}");
    place.holds(&issued).await?;
    let sent = server.entries().iter().filter(|entry| entry.is_refresh()).count();
    ensure!(sent == 1, "{sent} requests");
    let lock = place.home.agent_dir("main").join("auth-profiles.json.lock");
    ensure!(!lock.exists(), "a lock is left");
    Ok(())
}

#[tokio::test]
async fn without_a_tray_host_the_window_opens_and_ends_kalit() {
    let session = DesktopSession::start(&[]).await.unwrap();
    let server = server().await;
    let place = Place::with_accounts(&server, &["hedy", "mary"]).unwrap();
    let mut kalit = session
        .launch(&mut place.command(&session).unwrap(), "kalit-desktop")
        .unwrap();
    shown(&session, "8-without-a-tray-host").await.unwrap();
    session.close_window(|| kalit.ended().is_some()).await.unwrap();
    let status = kalit.end(SOON).await.unwrap();
    assert!(status.success(), "{status}\n{}", kalit.output());
}

#[tokio::test]
async fn a_late_panel_shows_the_icon_and_a_second_start_the_window() {
    let mut session = DesktopSession::start(&[]).await.unwrap();
    let server = server().await;
    let place = Place::with_accounts(&server, &["hedy", "mary"]).unwrap();
    let launch = |session: &DesktopSession, name| session.launch(&mut place.command(session)?, name);
    let mut kalit = launch(&session, "kalit-desktop").unwrap();
    shown(&session, "9-before-the-panel").await.unwrap();
    session.start_panel().await.unwrap();
    let bus = session.bus().await.unwrap();
    let item = tray::registered(&bus, Some(kalit.id()), SOON).await.unwrap();
    item.menu_with("hedy@example.com", SOON).await.unwrap();

    // With an icon the window may be closed: Kalit goes on, and is one however often it is started.
    session
        .close_window(|| child_of(kalit.id()).is_none())
        .await
        .unwrap();
    assert!(kalit.ended().is_none(), "{}", kalit.output());
    let mut second = launch(&session, "second").unwrap();
    let status = second.end(SOON).await.unwrap();
    assert!(status.success(), "{status}\n{}", second.output());
    shown(&session, "10-second-start").await.unwrap();
    assert!(child_of(kalit.id()).is_some(), "the first one's window");
    item.click(&["Quit"]).await.unwrap();
    let status = kalit.end(SOON).await.unwrap();
    assert!(status.success(), "{status}\n{}", kalit.output());
}

/// An installation of OpenClaw 2026.6.1 with Kalit's own directories beside it.
struct Place {
    home: TestHome,
}

impl Place {
    /// ChatGPT logins of these names, in this order, that need no renewal for days.
    fn with_accounts(server: &AuthorizationServer, names: &[&str]) -> Result<Self> {
        let home = TestHome::new()?;
        home.write_config(&json!({"meta": {"lastTouchedVersion": "2026.6.1"}}))?;
        fs::create_dir_all(home.agent_dir("main"))?;
        let expires = SystemClock.now().plus(TEN_DAYS).as_millis();
        let mut profiles = Map::new();
        for name in names {
            let login = Login::named(name, &format!("test-refresh-{name}"));
            let profile = json!({
                "type": "oauth", "provider": "openai", "access": access_token(&login, TEN_DAYS, 1),
                "refresh": login.refresh, "expires": expires, "email": login.email,
                "accountId": login.account_id,
            });
            profiles.insert(id(name), profile);
        }
        if !names.is_empty() {
            home.write_profiles("main", &json!({"version": 1, "profiles": profiles}))?;
            let order: Vec<String> = names.iter().map(|name| id(name)).collect();
            home.write_state("main", &json!({"version": 1, "order": {"openai": order}}))?;
        }
        let manifest = authserver::manifest(&server.url(), &[free_port()?, free_port()?]);
        openclaw::write_json(&home.path().join("kalit/providers/openai.json"), &manifest)?;
        Ok(Self { home })
    }

    fn env(&self) -> Vec<(String, String)> {
        directories(&self.home)
    }

    fn command(&self, session: &DesktopSession) -> Result<Command> {
        let mut command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
        command.envs(self.env());
        Ok(command)
    }

    /// Kalit in the session's tray.
    async fn tray(&self, session: &DesktopSession) -> Result<(Process, TrayItem)> {
        let kalit = session.launch(&mut self.command(session)?, "kalit-desktop")?;
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

    /// Waits until ada's login in the file is the generation with this fingerprint.
    async fn holds(&self, issued: &str) -> Result<()> {
        until_some("the login in the file", SOON, || {
            let refresh = self.profile(ADA)?.get("refresh")?.as_str()?.to_owned();
            (fingerprint(&refresh) == issued).then_some(())
        })
        .await
    }

    /// Waits until the file holds this order.
    async fn order_is(&self, names: [&str; 2]) -> Result<()> {
        let wanted = json!(names.map(id));
        until_some(&format!("the order {wanted} in the file"), SOON, || {
            let state = read_json(&self.home.state_path("main")).ok()?;
            (state["order"]["openai"] == wanted).then_some(())
        })
        .await
    }
}

async fn server() -> AuthorizationServer {
    let options = authserver::Options {
        ttl: TEN_DAYS,
        ..authserver::Options::default()
    };
    AuthorizationServer::start(options).await.unwrap()
}

/// Presses "sign in" for ChatGPT and returns the address that the browser is to open.
async fn begin_sign_in(session: &DesktopSession, window: &WebView) -> Result<String> {
    let sign_in = "//*[contains(@class,'choice')][contains(.,'ChatGPT')]//a[contains(@class,'main')]";
    let choice = window.client().wait().at_most(SOON);
    choice.for_element(Locator::XPath(sign_in)).await?.click().await?;
    session.opened_url(0, SOON).await
}

/// The fingerprint of the refresh token in the server's first answer after that many requests.
async fn issued_after(server: &AuthorizationServer, asked: usize) -> Result<String> {
    until_some("a token request", SOON, || {
        let mut later = server.entries().into_iter().skip(asked);
        let answered = later.find(|entry| entry.is("token"));
        answered.map(|entry| entry.text("issued").to_owned())
    })
    .await
}

/// Fails when `ended` says so within this time.
async fn stays(time: Duration, mut ended: impl FnMut() -> bool) -> Result<()> {
    let watched = until_some("an early end", time, || ended().then_some(()));
    ensure!(watched.await.is_err(), "ended while a request was open");
    Ok(())
}

fn id(name: &str) -> String {
    format!("openai:{name}@example.com")
}

/// Whether hedy and mary are marked.
fn marks(menu: &MenuItem) -> (Option<bool>, Option<bool>) {
    let mark = |name: &str| menu.find(name).and_then(|line| line.checked);
    (mark("hedy@"), mark("mary@"))
}

async fn until_marks(item: &TrayItem, wanted: (Option<bool>, Option<bool>)) -> Result<MenuItem> {
    kalit_journeys::wait::until("the mark to move", SOON, || async {
        let menu = item.menu().await.ok()?;
        (marks(&menu) == wanted).then_some(menu)
    })
    .await
}

async fn click_account(item: &TrayItem, menu: &MenuItem, name: &str) -> Result<()> {
    let line = menu.find(name).with_context(|| format!("no {name} in\n{menu}"))?;
    item.click(&[GROUP, &line.label]).await
}

/// A picture of a window, cut out of the screen's: asked for the window alone, `import` may wait
/// for ever, with the X server grabbed, when the window has only just come.
fn picture_of(session: &DesktopSession, window: &str, path: &Path) -> Result<()> {
    let mut ask = session.command("xdotool");
    let told = run(ask.args(["getwindowgeometry", "--shell", window]))?;
    let number = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.with_context(|| format!("no {name} in {told}"))
    };
    let (width, height) = (number("WIDTH=")?, number("HEIGHT=")?);
    let place = format!("{width}x{height}+{}+{}", number("X=")?, number("Y=")?);
    let mut import = session.command("import");
    import.args(["-window", "root", "-crop", &place, "+repage"]);
    run(import.arg(path))?;
    Ok(())
}

/// Waits until Kalit's window is on the screen and shows something; keeps a picture of it.
async fn shown(session: &DesktopSession, name: &str) -> Result<()> {
    let path = target(&format!("{name}.png"))?;
    until_some("Kalit's window", SOON, || {
        let mut search = session.command("xdotool");
        search.args(["search", "--onlyvisible", "--name", "^Kalit$"]);
        let id = run(&mut search).ok()?.lines().next()?.to_owned();
        picture_of(session, &id, &path).ok()?;
        // without the accounts there are fewer
        (colours(&path).ok()? > 300).then_some(())
    })
    .await
}

/// Whether a process is gone, or waits only for its parent to notice.
fn ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
    })
}

/// The window that `parent` started.
fn child_of(parent: u32) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // "pid (name) state parent …"
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let alive = fields.next() != Some("Z");
        let ours = fields.next()?.parse() == Ok(parent) && name.starts_with("kalit-window");
        (alive && ours).then_some(pid)
    })
}

/// Keeps a picture of the whole screen.
fn picture(session: &DesktopSession, name: &str) -> Result<()> {
    let path = target(&format!("{name}.png"))?;
    session.screenshot(&path)?;
    ensure_not_blank(&path)
}

/// A file of `target/journeys/`.
fn target(name: &str) -> Result<PathBuf> {
    let dir = build_dir()?.with_file_name("journeys");
    fs::create_dir_all(&dir)?;
    Ok(dir.join(name))
}
