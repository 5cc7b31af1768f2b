//! The tray's menu on a real panel (Linux): fifty accounts that change in place, verbs of an account, a
//! window that crashes, and its first close.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::desktop::{DesktopSession, Part, colours};
use kalit_journeys::notifications::NotificationMonitor;
use kalit_journeys::openclaw::{TestHome, read_json};
use kalit_journeys::process::{Process, binary, build_dir, signal};
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::wait::until_some;
use serde_json::{Map, Value, json};

const SOON: Duration = Duration::from_secs(30);
const DAY: i64 = 86_400_000;
const OPEN: &str = "Open Kalit";
const STAYS: &str = "Kalit stays in the tray";

#[tokio::test]
async fn fifty_accounts_change_in_place() {
    let session = DesktopSession::start(&[Part::Panel]).await.unwrap();
    let place = Place::new(5, 10).unwrap();
    place.write_stores(2 * DAY).unwrap();
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = in_place(&session, &place, &item).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn in_place(session: &DesktopSession, place: &Place, item: &TrayItem) -> Result<()> {
    let menu = item.menu_with("a4-9 · 1 d 23 h left", SOON).await?;
    let left = |menu: &tray::MenuItem, words: &str| {
        let labels = menu.labels();
        labels.iter().filter(|label| label.contains(words)).count()
    };
    ensure!(left(&menu, "1 d 23 h left") == 50, "{menu}");
    let agents = menu.at(&["Agents"]).context("no agents")?;
    ensure!(agents.labels().len() == 6, "{menu}");
    let before = item.layout().await?;
    place.write_stores(4 * DAY)?;
    let menu = item.menu_with("a4-9 · 3 d 23 h left", SOON).await?;
    ensure!(left(&menu, "3 d 23 h left") == 50, "{menu}");
    ensure!(item.layout().await? == before, "the lines were built anew");
    picture(session, "tray-fifty")?;

    // The last of the fifty can be clicked.
    item.click(&["Anthropic (a4)", "a4-9"]).await?;
    until_some("the order in the file", SOON, || {
        let state = read_json(&place.home.state_path("a4")).ok()?;
        (state["order"]["anthropic"][0] == "anthropic:a4-9").then_some(())
    })
    .await
}

#[tokio::test]
async fn a_cooldown_is_cleared_and_a_command_copied_from_the_menu() {
    let session = DesktopSession::start(&[Part::Panel]).await.unwrap();
    let place = Place::new(1, 2).unwrap();
    place.write_stores(2 * DAY).unwrap();
    let later = SystemClock.now().as_millis() + DAY / 24;
    let usage = json!({"anthropic:main-1": {"errorCount": 1, "cooldownUntil": later, "cooldownReason": "rate_limit"}});
    let state = json!({"version": 1, "order": {"anthropic": ["anthropic:main-0", "anthropic:main-1"]}, "usageStats": usage});
    place.home.write_state("main", &state).unwrap();
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = verbs(&session, &place, &item).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn verbs(session: &DesktopSession, place: &Place, item: &TrayItem) -> Result<()> {
    let menu = item
        .menu_with("main-1 · resting 59 min (rate limit)", SOON)
        .await?;
    item.click(&["Anthropic (main)", "Clear cooldown: main-1"])
        .await?;
    until_some("the cooldown to be gone", SOON, || {
        let state = read_json(&place.home.state_path("main")).ok()?;
        let usage = &state["usageStats"]["anthropic:main-1"];
        usage["cooldownUntil"].is_null().then_some(())
    })
    .await
    .with_context(|| menu.to_string())?;
    item.menu_with("OpenClaw may use main-1 again", SOON).await?;

    item.click(&["Anthropic (main)", "Copy /model …@anthropic:main-0"])
        .await?;
    let copied = until_some("the command on the clipboard", SOON, || {
        let text = clipboard(session)?;
        text.contains("/model").then_some(text)
    })
    .await;
    let copied = copied?;
    opened(session).await?;
    until_some("the account in the window", SOON, || {
        let path = picture(session, "tray-copied").ok()?;
        // the frame alone has some four hundred
        (colours(&path).ok()? > 700).then_some(())
    })
    .await?;
    ensure!(copied.starts_with("/model anthropic/"), "{copied}");
    ensure!(copied.trim().ends_with("@anthropic:main-0"), "{copied}");
    Ok(())
}

#[tokio::test]
async fn the_tray_survives_its_window_and_says_once_where_it_stays() {
    let session = DesktopSession::start(&[Part::Panel, Part::Notifications])
        .await
        .unwrap();
    let monitor = NotificationMonitor::start(&session).await.unwrap();
    let place = Place::new(1, 1).unwrap();
    place.write_stores(2 * DAY).unwrap();
    let (mut kalit, item) = place.tray(&session).await.unwrap();
    let open = crashed(&session, &item, &monitor).await;
    assert!(kalit.ended().is_none(), "{}", kalit.output());
    let open = open.unwrap_or_else(|error| panic!("{error:?}\n{}", kalit.output()));
    let outcome = closed(&session, &item, &monitor, open).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
    item.click(&["Quit"]).await.unwrap();
    assert!(kalit.end(SOON).await.unwrap().success());

    // Not again after a restart.
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = closed_again(&session, &item, &monitor).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

/// The process of the window that was opened afterwards.
async fn crashed(session: &DesktopSession, item: &TrayItem, monitor: &NotificationMonitor) -> Result<u32> {
    item.menu_with("main-0", SOON).await?;
    // A left click, then the menu's line.
    item.activate().await?;
    let first = opened(session).await?;
    signal(first, rustix::process::Signal::KILL)?;
    gone(first).await?;
    item.menu_with("main-0", SOON).await?;
    item.click(&[OPEN]).await?;
    // The display may still hold the first one's window.
    let second = until_some("another window", SOON, || {
        session.window_process().filter(|process| *process != first)
    });
    let second = second.await?;
    ensure!(
        monitor.notifications().is_empty(),
        "{:?}",
        monitor.notifications()
    );
    Ok(second)
}

async fn closed(
    session: &DesktopSession,
    item: &TrayItem,
    monitor: &NotificationMonitor,
    open: u32,
) -> Result<()> {
    session.close_window(|| has_ended(open)).await?;
    let told = monitor
        .notification(STAYS, SOON, |seen| seen.title == STAYS)
        .await?;
    ensure!(told.body.contains("Quit"), "{told:?}");
    kalit_journeys::notifications::window(session, SOON).await?;
    picture(session, "tray-first-close")?;
    closed_again(session, item, monitor).await
}

async fn closed_again(
    session: &DesktopSession,
    item: &TrayItem,
    monitor: &NotificationMonitor,
) -> Result<()> {
    item.menu_with("main-0", SOON).await?;
    item.click(&[OPEN]).await?;
    let open = opened(session).await?;
    session.close_window(|| has_ended(open)).await?;
    // The window's end was noticed: another one opens.
    item.click(&[OPEN]).await?;
    opened(session).await?;
    ensure!(
        monitor.notifications().len() == 1,
        "{:?}",
        monitor.notifications()
    );
    Ok(())
}

/// Agents of OpenClaw 2026.6.1 with tokens that end, and Kalit's own directories beside them.
struct Place {
    home: TestHome,
    agents: Vec<String>,
    accounts: usize,
}

impl Place {
    fn new(agents: usize, accounts: usize) -> Result<Self> {
        let home = TestHome::new()?;
        let agents: Vec<String> = match agents {
            1 => vec!["main".to_owned()],
            many => (0..many).map(|n| format!("a{n}")).collect(),
        };
        let list: Vec<Value> = agents.iter().map(|id| json!({"id": id})).collect();
        home.write_config(&json!({"meta": {"lastTouchedVersion": "2026.6.1"}, "agents": {"list": list}}))?;
        let place = Self {
            home,
            agents,
            accounts,
        };
        for agent in &place.agents {
            fs::create_dir_all(place.home.agent_dir(agent))?;
        }
        Ok(place)
    }

    /// All tokens end after this time.
    fn write_stores(&self, left_ms: i64) -> Result<()> {
        let expires = SystemClock.now().as_millis() + left_ms - 60_000;
        for agent in &self.agents {
            let profiles: Map<String, Value> = (0..self.accounts)
                .map(|n| {
                    let token = format!("fake-token-{agent}-{n}");
                    let profile =
                        json!({"type": "token", "provider": "anthropic", "token": token, "expires": expires});
                    (format!("anthropic:{agent}-{n}"), profile)
                })
                .collect();
            self.home
                .write_profiles(agent, &json!({"version": 1, "profiles": profiles}))?;
        }
        Ok(())
    }

    async fn tray(&self, session: &DesktopSession) -> Result<(Process, TrayItem)> {
        let own = |name: &str| self.home.path().join("kalit").join(name);
        let mut command: Command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
        command
            .env("OPENCLAW_STATE_DIR", self.home.state_dir())
            .env("KALIT_CONFIG_DIR", own("config"))
            .env("KALIT_DATA_DIR", own("data"))
            .env("KALIT_PROVIDERS_DIR", own("providers"));
        let kalit = session.launch(&mut command, "kalit-desktop")?;
        let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await;
        let item = item.with_context(|| kalit.output())?;
        Ok((kalit, item))
    }
}

/// Waits for Kalit's window; its process.
async fn opened(session: &DesktopSession) -> Result<u32> {
    until_some("Kalit's window", SOON, || session.window_process()).await
}

/// Waits until the tray has noticed the end of its window.
async fn gone(process: u32) -> Result<()> {
    until_some("the window's process to end", SOON, || {
        has_ended(process).then_some(())
    })
    .await
}

fn has_ended(process: u32) -> bool {
    !PathBuf::from(format!("/proc/{process}")).exists()
}

fn clipboard(session: &DesktopSession) -> Option<String> {
    let mut xclip = session.command("timeout");
    xclip.args(["5", "xclip", "-o", "-selection", "clipboard"]);
    String::from_utf8(xclip.output().ok()?.stdout).ok()
}

fn picture(session: &DesktopSession, name: &str) -> Result<PathBuf> {
    let dir = build_dir()?.with_file_name("journeys");
    fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{name}.png"));
    session.screenshot(&path)?;
    Ok(path)
}
