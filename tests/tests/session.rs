//! The desktop part of the test bed (Linux): a session comes up with exactly the parts asked for,
//! its tray, notifications, keyring, browser and web views can be read and pressed, and it goes
//! away with its handle.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use kalit_journeys::browser::Browser;
use kalit_journeys::desktop::{DesktopSession, Part, colours, ensure_not_blank};
use kalit_journeys::http::{Answer, Reply, Server};
use kalit_journeys::notifications::{self, NotificationMonitor, Signal};
use kalit_journeys::process::run;
use kalit_journeys::tray;
use kalit_journeys::wait::until_some;
use kalit_journeys::webview::WebView;

mod tray_item;

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_notifications_button_is_pressed_for_real() {
    let session = DesktopSession::start(&Part::ALL).await.unwrap();
    let monitor = NotificationMonitor::start(&session).await.unwrap();
    for (actions, press) in [
        ("['relogin', 'Sign in again', 'default', '']", "relogin"),
        ("['relogin', 'Sign in again', 'later', 'Not now']", "relogin"),
        ("['relogin', 'Sign in again', 'later', 'Not now']", "later"),
    ] {
        let title = format!("Signed out: press {press} of {actions}");
        notify(&session, &title, actions);
        let seen = monitor
            .notification("the notification", SOON, |seen| seen.title == title)
            .await
            .unwrap();
        assert_eq!(seen.body, "OpenAI rejected the refresh token.");
        notifications::press(&session, &seen, press).await.unwrap();
        assert_eq!(
            monitor.action_invoked(seen.id.unwrap(), SOON).await.unwrap(),
            press
        );
        // the window goes with it, so that the next one is the newest
        until_some("the notification to be closed", SOON, || {
            let closed =
                |signal: &Signal| matches!(signal, Signal::Closed { id, .. } if Some(*id) == seen.id);
            monitor.signals().iter().any(closed).then_some(())
        })
        .await
        .unwrap();
    }
    assert_eq!(monitor.notifications().len(), 3);
}

#[tokio::test]
async fn a_tray_item_is_listed_read_and_clicked() {
    let session = DesktopSession::start(&[Part::Panel]).await.unwrap();
    let bus = session.bus().await.unwrap();
    let shown = tray_item::show(&session).await.unwrap();
    let item = tray::registered(&bus, Some(std::process::id()), SOON)
        .await
        .unwrap();

    assert_eq!(item.text("Title").await.unwrap(), "Test item");
    assert_eq!(
        item.tooltip().await.unwrap(),
        ("All accounts fine".to_owned(), "2 accounts".to_owned())
    );
    let menu = item.menu_with("Sign in", SOON).await.unwrap();
    assert_eq!(
        menu.to_string(),
        "All accounts fine (disabled)\n---\nOpenAI\n  [x] ada_l\n  [ ] grace\nSign in…\n"
    );
    assert_eq!(menu.at(&["OpenAI", "grace"]).unwrap().checked, Some(false));

    item.click(&["OpenAI", "grace"]).await.unwrap();
    item.click(&["Sign in"]).await.unwrap();
    let refused = item.click(&["All accounts fine"]).await.unwrap_err();
    assert!(refused.to_string().contains("cannot be clicked"), "{refused}");
    item.activate().await.unwrap();
    assert_eq!(shown.events(), ["clicked 4", "clicked 5", "activate"]);
    let picture = session.dir().join("tray.png");
    session.screenshot(&picture).unwrap();
    ensure_not_blank(&picture).unwrap();
}

#[tokio::test]
async fn absent_parts_are_absent_and_a_late_panel_can_come() {
    let mut session = DesktopSession::start(&[]).await.unwrap();
    let bus = session.bus().await.unwrap();
    let names = zbus::fdo::DBusProxy::new(&bus).await.unwrap();
    let activatable = names.list_activatable_names().await.unwrap();
    for name in [
        "org.freedesktop.Notifications",
        "org.freedesktop.secrets",
        "org.kde.StatusNotifierWatcher",
    ] {
        assert!(
            !names.name_has_owner(name.try_into().unwrap()).await.unwrap(),
            "{name}"
        );
        assert!(
            !activatable.iter().any(|found| found.as_str() == name),
            "{name} can be activated"
        );
    }
    assert!(tray::items(&bus).await.is_err());
    let before = session.dir().join("before.png");
    session.screenshot(&before).unwrap();
    assert!(colours(&before).unwrap() <= 2, "nothing is on the screen");
    assert!(ensure_not_blank(&before).is_err());

    session.start_panel().await.unwrap();
    assert!(tray::items(&bus).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_keyring_keeps_a_secret_without_asking() {
    let session = DesktopSession::start(&[Part::Keyring]).await.unwrap();
    let store = "printf fake-secret | secret-tool store --label=test service kalit-test && secret-tool lookup service kalit-test";
    let printed = run(session.command("sh").args(["-c", store])).unwrap();
    assert_eq!(printed, "fake-secret");
}

#[tokio::test]
async fn an_opened_url_is_written_down_and_the_browser_shows_it_on_the_screen() {
    let session = DesktopSession::start(&[Part::Panel]).await.unwrap();
    let page = "<body style='background:linear-gradient(red,blue)'><button id='allow'>Allow</button></body>";
    let server = Server::plain(0, move |_| {
        std::future::ready(Answer::Reply(Reply::html(200, page)))
    })
    .await
    .unwrap();
    let url = format!("http://127.0.0.1:{}/authorize?state=a%20b", server.port());
    run(session.command("xdg-open").arg(&url)).unwrap();
    assert_eq!(session.opened_url(0, SOON).await.unwrap(), url);

    let browser = Browser::in_session(&session).await.unwrap();
    browser.open(&url).await.unwrap();
    assert_eq!(browser.text().await.unwrap(), "Allow");
    let picture = session.dir().join("browser.png");
    session.screenshot(&picture).unwrap();
    assert!(colours(&picture).unwrap() > 100, "the page is on the screen");
    browser.close().await.unwrap();
}

#[tokio::test]
async fn a_web_view_is_driven_by_webkits_own_driver() {
    let session = DesktopSession::start(&[]).await.unwrap();
    let page =
        "<body><button id='add' onclick='this.textContent=\"added\"'>Add account</button><input></body>";
    let server = Server::plain(0, move |_| {
        std::future::ready(Answer::Reply(Reply::html(200, page)))
    })
    .await
    .unwrap();
    // WebKit's own little browser stands in for a window of ours
    let program = run(session
        .command("sh")
        .args(["-c", "ls /usr/lib/*/webkit2gtk-4.1/MiniBrowser"]))
    .unwrap();
    let view = WebView::open(&session, Path::new(program.trim()), &["--automation"], &[])
        .await
        .unwrap();
    view.client()
        .goto(&format!("http://127.0.0.1:{}/", server.port()))
        .await
        .unwrap();
    view.shows("Add account", SOON).await.unwrap();
    view.press("#add").await.unwrap();
    view.shows("added", SOON).await.unwrap();
    view.fill("input", "typed").await.unwrap();
    let picture = session.dir().join("view.png");
    view.screenshot(&picture).await.unwrap();
    ensure_not_blank(&picture).unwrap();
    view.close().await.unwrap();
}

#[tokio::test]
async fn a_session_ends_with_its_handle_also_while_a_panic_unwinds() {
    let panicked = tokio::spawn(async {
        let session = DesktopSession::start(&Part::ALL).await.unwrap();
        let group = session.id();
        assert!(alive(group).len() > 5, "{:?}", alive(group));
        let dir = session.dir().to_owned();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = session;
            panic!("a test fails");
        }));
        assert!(result.is_err());
        (group, dir)
    });
    let (group, dir) = panicked.await.unwrap();
    assert!(!dir.exists(), "its directory is gone");
    until_some("every process of it to end", SOON, || {
        alive(group).is_empty().then_some(())
    })
    .await
    .unwrap();
}

/// Names of the processes of a group that have not ended.
fn alive(group: u32) -> Vec<String> {
    let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // "pid (name) state parent group …"
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let ended = fields.next() == Some("Z");
        let of_group = fields.nth(1).and_then(|id| id.parse().ok()) == Some(group);
        (of_group && !ended).then(|| name.to_owned())
    });
    stats.collect()
}

fn notify(session: &DesktopSession, title: &str, actions: &str) {
    let mut call = session.command("gdbus");
    call.args(["call", "--session", "-d", "org.freedesktop.Notifications"])
        .args([
            "-o",
            "/org/freedesktop/Notifications",
            "-m",
            "org.freedesktop.Notifications.Notify",
            "--",
        ])
        .args([
            "Kalit",
            "0",
            "dialog-warning",
            title,
            "OpenAI rejected the refresh token.",
            actions,
        ])
        .args(["@a{sv} {}", "int32 -1"]);
    run(&mut call).unwrap();
}
