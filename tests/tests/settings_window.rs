//! The settings in the window (Linux): opened from the tray, saved at once, refused beside the control;
//! and a start at login that opens no window. Pictures are kept in `target/journeys/`.
#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fantoccini::Locator;
use kalit_journeys::desktop::{DesktopSession, Part};
use kalit_journeys::notifications::{Notification, NotificationMonitor};
use kalit_journeys::openclaw::{TestHome, read_json};
use kalit_journeys::process::{Process, binary, run};
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::wait::{until, until_some};
use kalit_journeys::webview::WebView;
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const SETTINGS: &str = "Settings…";

#[tokio::test]
async fn settings_are_changed_in_the_window_that_the_tray_opens() {
    let session = DesktopSession::start(&[Part::Panel]).await.unwrap();
    let place = Place::new().unwrap();
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = changed(&session, &place, &item).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn changed(session: &DesktopSession, place: &Place, item: &TrayItem) -> Result<()> {
    item.menu_with("work", SOON).await?;
    let window = place.window(session, "board", &[]).await?;
    window.shows("work", SOON).await?;
    item.click(&[SETTINGS]).await?;
    window.shows("Start when I log in", SOON).await?;
    window.picture("settings-1").await?;

    // Launch at login is the desktop's own entry; here by the keyboard.
    let entry = session.dir().join("config/autostart/kalit.desktop");
    let launch = window.client().find(Locator::Css("#launch")).await?;
    ensure!(!launch.is_selected().await? && !entry.exists());
    launch.send_keys(" ").await?;
    let text = until_some("the entry", SOON, || fs::read_to_string(&entry).ok()).await?;
    let desktop = binary("KALIT_DESKTOP_BIN", "kalit-desktop")?;
    let exec = format!("Exec=\"{}\" --hidden\n", desktop.display());
    ensure!(text.contains(&exec), "{text}");
    announced(&window, "Start when I log in: on").await?;
    selected(&window, "#launch", true).await?;
    launch.send_keys(" ").await?;
    until_some("no entry", SOON, || (!entry.exists()).then_some(())).await?;
    announced(&window, "Start when I log in: off").await?;

    // Watching only is the tray's pause, in both directions.
    window.press("[data-setting=watchOnly] input[value=true]").await?;
    paused(item, true).await?;
    window.shows("Watching only", SOON).await?;
    item.click(&["Pause renewal"]).await?;
    paused(item, false).await?;
    selected(&window, "[data-setting=watchOnly] input[value=false]", true).await?;

    // Another language: the window says everything anew, and so does the tray.
    for (code, title, entry) in [
        ("uz", "Sozlamalar", "Kalitni ochish"),
        ("ru", "Настройки", "Открыть Kalit"),
        ("", "Settings", "Open Kalit"),
    ] {
        window.choose("#language", code).await?;
        window.shows(title, SOON).await?;
        item.menu_with(entry, SOON).await?;
        window.picture(&format!("settings-language-{code}")).await?;
    }
    window.shows("Start when I log in", SOON).await?;

    // What is refused is told beside its control, and nothing of it is written.
    window.fill("#program", "/nowhere/openclaw\u{E007}").await?;
    window.shows("a program that exists", SOON).await?;
    let program = window.client().find(Locator::Css("#program")).await?;
    ensure!(program.attr("aria-invalid").await?.as_deref() == Some("true"));
    window.picture("settings-2-refused").await?;
    let file = place.home.path().join("kalit/config/settings.json");
    ensure!(
        read_json(&file)? == json!({"version": 1}),
        "{}",
        fs::read_to_string(&file)?
    );
    let found = place.home.path().join("bin/openclaw");
    fs::create_dir_all(found.parent().context("no directory")?)?;
    fs::write(&found, "#!/bin/sh\n")?;
    program.clear().await?;
    window
        .fill("#program", &format!("{}\u{E007}", found.display()))
        .await?;
    until_some("the program in the file", SOON, || {
        (read_json(&file).ok()?["openclawBinary"] == json!(found)).then_some(())
    })
    .await?;
    window.shows("OpenClaw of unknown version", SOON).await?;
    ensure!(!window.text().await?.contains("a program that exists"));
    window.close().await?;

    for (name, theme, scale) in [
        ("light", "Adwaita", "1"),
        ("dark", "Adwaita:dark", "1"),
        ("large", "Adwaita", "2"),
    ] {
        let look = [("GTK_THEME", theme), ("GDK_DPI_SCALE", scale)];
        let window = place.window(session, "settings", &look).await?;
        window.shows("Start when I log in", SOON).await?;
        window.client().set_window_size(760, 900).await?;
        window.picture(&format!("settings-{name}")).await?;
        window.client().set_window_size(480, 900).await?;
        window.picture(&format!("settings-{name}-narrow")).await?;
        let wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        ensure!(window.client().execute(wider, Vec::new()).await? == 0, "{name}");
        window.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_held_back_while_muted_is_told_once_afterwards_unless_it_was_solved() {
    let session = DesktopSession::start(&[Part::Panel, Part::Notifications])
        .await
        .unwrap();
    let place = Place::new().unwrap();
    let monitor = NotificationMonitor::start(&session).await.unwrap();
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = muted(&session, &place, &item, &monitor).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn muted(
    session: &DesktopSession,
    place: &Place,
    item: &TrayItem,
    monitor: &NotificationMonitor,
) -> Result<()> {
    item.menu_with("work", SOON).await?;
    let window = place.window(session, "settings", &[]).await?;
    window.press("[data-action=mute][data-until=hour]").await?;
    window.shows("Muted until", SOON).await?;
    window.picture("settings-3-muted").await?;
    // The tray can do it, too.
    item.menu_with("Unmute notifications", SOON).await?;
    item.click(&["Unmute notifications"]).await?;
    item.menu_with("Until tomorrow", SOON).await?;
    item.click(&["Mute notifications", "Until tomorrow"]).await?;
    item.menu_with("Unmute notifications", SOON).await?;
    let store = place.home.profiles_path("main");
    let whole = fs::read(&store)?;
    fs::write(&store, "{")?;
    item.menu_with("cannot be read", SOON).await?;
    fs::write(&store, &whole)?;
    item.menu_with("work", SOON).await?;
    fs::write(&store, "{")?;
    item.menu_with("cannot be read", SOON).await?;
    // Shown only after the snapshot before was told.
    window.press("[data-setting=watchOnly] input[value=true]").await?;
    paused(item, true).await?;
    ensure!(
        monitor.notifications().is_empty(),
        "{:?}",
        monitor.notifications()
    );

    window.press("[data-action=mute][data-until=now]").await?;
    let about = |seen: &Notification| seen.title == "The accounts of main cannot be read";
    monitor.notification("what was held back", SOON, about).await?;
    window
        .press("[data-setting=watchOnly] input[value=false]")
        .await?;
    paused(item, false).await?;
    let told = monitor.notifications();
    ensure!(told.len() == 1, "{told:?}");
    window.close().await
}

#[tokio::test]
async fn names_are_hidden_in_tray_and_list() {
    let session = DesktopSession::start(&[Part::Panel]).await.unwrap();
    let place = Place::new().unwrap();
    let (kalit, item) = place.tray(&session).await.unwrap();
    let outcome = hidden_names(&session, &place, &item).await;
    assert!(outcome.is_ok(), "{outcome:?}\n{}", kalit.output());
}

async fn hidden_names(session: &DesktopSession, place: &Place, item: &TrayItem) -> Result<()> {
    item.menu_with("work", SOON).await?;
    let window = place.window(session, "settings", &[]).await?;
    window.press("#names").await?;
    let menu = item.menu_with("ChatGPT 1", SOON).await?;
    ensure!(!menu.contains("work"), "{menu}");
    window.press("#index-all a[href='#/board']").await?;
    let board = window.shows("ChatGPT 1", SOON).await?;
    ensure!(!board.contains("work"), "{board}");
    window.close().await
}

#[tokio::test]
async fn a_start_at_login_opens_no_window_and_waits_for_the_panel() {
    let mut session = DesktopSession::start(&[]).await.unwrap();
    let place = Place::new().unwrap();
    let hidden =
        |session: &DesktopSession, name| session.launch(place.command(session)?.arg("--hidden"), name);
    let mut kalit = hidden(&session, "kalit-desktop").unwrap();
    let opened = until_some("a window", Duration::from_secs(3), || window_of(&session)).await;
    assert!(opened.is_err(), "a window without being asked for");
    assert!(kalit.ended().is_none(), "{}", kalit.output());

    session.start_panel().await.unwrap();
    let bus = session.bus().await.unwrap();
    let item = tray::registered(&bus, Some(kalit.id()), SOON).await.unwrap();
    item.menu_with("work", SOON).await.unwrap();
    let mut second = hidden(&session, "second").unwrap();
    assert!(second.end(SOON).await.unwrap().success(), "{}", second.output());
    assert!(window_of(&session).is_none(), "a second start opened the window");

    item.click(&[SETTINGS]).await.unwrap();
    until_some("the window", SOON, || window_of(&session))
        .await
        .unwrap();
    item.click(&["Quit"]).await.unwrap();
    assert!(kalit.end(SOON).await.unwrap().success(), "{}", kalit.output());
}

/// An installation of OpenClaw 2026.6.1 with one key, and Kalit's own directories beside it.
struct Place {
    home: TestHome,
}

impl Place {
    fn new() -> Result<Self> {
        let home = TestHome::new()?;
        home.write_config(&json!({"meta": {"lastTouchedVersion": "2026.6.1"}}))?;
        fs::create_dir_all(home.agent_dir("main"))?;
        let key = json!({"type": "api_key", "provider": "openai", "key": "sk-test-fake"});
        home.write_profiles("main", &json!({"version": 1, "profiles": {"openai:work": key}}))?;
        Ok(Self { home })
    }

    fn env(&self) -> Vec<(String, String)> {
        let own = |name: &str| self.home.path().join("kalit").join(name).display().to_string();
        [
            ("OPENCLAW_STATE_DIR", self.home.state_dir().display().to_string()),
            ("KALIT_CONFIG_DIR", own("config")),
            ("KALIT_DATA_DIR", own("data")),
            ("KALIT_PROVIDERS_DIR", own("providers")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn command(&self, session: &DesktopSession) -> Result<Command> {
        let mut command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
        command.envs(self.env());
        Ok(command)
    }

    async fn tray(&self, session: &DesktopSession) -> Result<(Process, TrayItem)> {
        let kalit = session.launch(&mut self.command(session)?, "kalit-desktop")?;
        let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await;
        let item = item.with_context(|| kalit.output())?;
        Ok((kalit, item))
    }

    /// Kalit's window under WebDriver, with these variables of GTK's.
    async fn window(&self, session: &DesktopSession, route: &str, look: &[(&str, &str)]) -> Result<WebView> {
        let mut env = self.env();
        env.extend(
            look.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        WebView::open(
            session,
            &binary("KALIT_WINDOW_BIN", "kalit-window")?,
            &[route],
            &env,
        )
        .await
    }
}

/// Waits until those who listen to the window have heard this.
async fn announced(window: &WebView, words: &str) -> Result<()> {
    until(&format!("{words:?} to be announced"), SOON, || async {
        let live = window.client().find(Locator::Css("#polite")).await.ok()?;
        (live.prop("textContent").await.ok()?? == words).then_some(())
    })
    .await
}

async fn selected(window: &WebView, css: &str, wanted: bool) -> Result<()> {
    until(&format!("{css} to be {wanted}"), SOON, || async {
        let control = window.client().find(Locator::Css(css)).await.ok()?;
        (control.is_selected().await.ok()? == wanted).then_some(())
    })
    .await
}

async fn paused(item: &TrayItem, wanted: bool) -> Result<()> {
    until(&format!("renewal to be paused: {wanted}"), SOON, || async {
        let menu = item.menu().await.ok()?;
        (menu.find("Pause renewal")?.checked == Some(wanted)).then_some(())
    })
    .await
}

fn window_of(session: &DesktopSession) -> Option<String> {
    let mut search = session.command("xdotool");
    search.args(["search", "--onlyvisible", "--name", "^Kalit$"]);
    Some(run(&mut search).ok()?.lines().next()?.to_owned())
}
