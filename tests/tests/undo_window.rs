//! Undo in the window (Linux): a store that cannot be read, a profile that disappeared and the list
//! of snapshots. Pictures of every stage are kept in `target/journeys/`.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, read_json, release};
use kalit_journeys::proof;
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const ONE: &str = "anthropic:one";
const LONG: &str = "anthropic:a.rather.long.name.of.a.person@a.rather.long.name.of.a.company.example.com";

#[tokio::test]
async fn accounts_come_back_from_a_snapshot_in_the_window() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let server =
        TokenEndpoint::start(Login::named("ada", "test-refresh-0"), Duration::from_secs(3600)).await?;
    let home = TestHome::new()?;
    let kalit = Kalit::new(
        &home,
        &release(Version::V2026_6_1).await?,
        &server.manifest(&[free_port()?]),
    )?;
    let window = WebView::of(&session, &kalit, "snapshots", None).await?;
    window.shows("Nothing was sealed yet", SOON).await?;
    window.picture("undo-0-empty").await?;
    window.close().await?;

    home.write_profiles("main", &store(&[ONE, "anthropic:two", LONG]))?;
    home.write_profiles("work", &store(&["google:lab"]))?;
    let before = read_json(&home.profiles_path("main"))?;
    let watching = kalit.watch().await?;
    let window = WebView::of(&session, &kalit, "board", None).await?;
    window.shows("two", SOON).await?;

    fs::write(home.profiles_path("main"), "{\"version\":1,")?;
    let board = window
        .shows("Kalit holds a sealed copy of its accounts", SOON)
        .await?;
    ensure!(board.contains("auth-profiles.json"), "{board}");
    window.picture("undo-1-unreadable").await?;
    window.press(".strip a[href^='#/snapshots/']").await?;
    let asked = window.shows("Put the accounts of", SOON).await?;
    ensure!(
        asked.contains("its bytes are sealed") && asked.contains(LONG),
        "{asked}"
    );
    ensure!(!asked.contains("fake-token"), "a token is on the page: {asked}");
    window.picture("undo-2-preview").await?;
    window.press("[data-action='put-back-snapshot']").await?;
    window.shows("The accounts are back", SOON).await?;
    ensure!(read_json(&home.profiles_path("main"))? == before, "not as it was");
    window.picture("undo-3-back").await?;

    window.press("a[href='#/board']").await?;
    window.shows("two", SOON).await?;
    home.write_profiles("main", &store(&["anthropic:two", LONG]))?;
    window.shows("Disappeared", SOON).await?;
    window.picture("undo-4-disappeared").await?;
    window
        .press(&format!("li.acct[data-profile='{ONE}'] a[href^='#/snapshots/']"))
        .await?;
    window.shows("Put one of", SOON).await?;
    window.picture("undo-5-one").await?;
    window.press("[data-action='put-back-snapshot']").await?;
    window.shows("one is back", SOON).await?;
    let now = read_json(&home.profiles_path("main"))?;
    ensure!(now["profiles"][ONE] == before["profiles"][ONE], "{now}");

    home.write_profiles("main", &store(&[LONG]))?;
    window.press("#index-all a[href='#/snapshots']").await?;
    window.shows("2 missing now", SOON).await?;
    window.picture("undo-6-list").await?;
    window.close().await?;
    if proof::is_long() {
        for theme in ["Adwaita", "Adwaita:dark"] {
            narrow(&session, &kalit, theme).await?;
        }
    }
    drop(watching);
    Ok(())
}

/// The same sheets in the smallest window, light and dark.
async fn narrow(session: &DesktopSession, kalit: &Kalit, theme: &str) -> Result<()> {
    let name = if theme.ends_with("dark") { "dark" } else { "light" };
    let window = WebView::of(session, kalit, "board", Some(theme)).await?;
    window.client().set_window_size(480, 700).await?;
    window.shows("Disappeared", SOON).await?;
    window.picture(&format!("undo-{name}-board")).await?;
    window.press("#index-all a[href='#/snapshots']").await?;
    window.shows("missing now", SOON).await?;
    window.picture(&format!("undo-{name}-list")).await?;
    window
        .press(".session:last-child a[href^='#/snapshots/']")
        .await?;
    window.shows("Put the accounts of", SOON).await?;
    window.picture(&format!("undo-{name}-preview")).await?;
    window.close().await
}

/// A store with a token for each id.
fn store(ids: &[&str]) -> Value {
    let mut profiles = json!({});
    for id in ids {
        let provider = id.split(':').next();
        profiles[id] = json!({"type": "token", "provider": provider, "token": format!("fake-token-{id}")});
    }
    json!({"version": 1, "profiles": profiles})
}
