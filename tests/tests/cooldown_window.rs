//! An account that rests, cleared in the window (Linux): on the board and in its own sheet. Pictures
//! are kept in `target/journeys/`.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use fantoccini::Locator;
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, read_json, release};
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const ONE: &str = "anthropic:one";
const TWO: &str = "anthropic:two";

#[tokio::test]
async fn an_account_that_rests_is_cleared_on_the_board_and_in_its_own_sheet() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let home = TestHome::new()?;
    let kalit = Kalit::new(&home, &release(Version::V2026_6_1).await?, &Value::Null)?;
    let token =
        |id: &str| json!({"type": "token", "provider": "anthropic", "token": format!("fake-token-{id}")});
    let profiles = json!({"version": 1, "profiles": {ONE: token(ONE), TWO: token(TWO)}});
    home.write_profiles("main", &profiles)?;
    // An agent that only reads them.
    fs::create_dir_all(home.agent_dir("work"))?;
    let later = SystemClock.now().as_millis() + 3_600_000;
    let usage = json!({
        ONE: {"lastUsed": 5, "errorCount": 1, "cooldownUntil": later, "cooldownReason": "rate_limit"},
        TWO: {"lastUsed": 6, "errorCount": 1, "disabledUntil": later, "disabledReason": "billing"},
    });
    home.write_state(
        "main",
        &json!({"version": 1, "order": {"anthropic": [ONE, TWO]}, "usageStats": usage}),
    )?;

    let window = WebView::of(&session, &kalit, "board", None).await?;
    // High enough for a message below the accounts.
    window.client().set_window_size(760, 780).await?;
    let board = window.shows("No credit", SOON).await?;
    ensure!(
        board.contains("Resting") && board.contains("Read from main."),
        "{board}"
    );
    let offered = |agent: &str| format!("li.acct[data-agent='{agent}'] [data-action='clear-cooldown']");
    let (own, read) = (offered("main"), offered("work"));
    let client = window.client();
    ensure!(client.find_all(Locator::Css(&own)).await?.len() == 2, "{board}");
    ensure!(client.find_all(Locator::Css(&read)).await?.is_empty(), "{board}");
    window.picture("cooldown-1-board").await?;
    window
        .press(&format!(
            "li.acct[data-agent='main'][data-profile='{ONE}'] [data-action='clear-cooldown']"
        ))
        .await?;
    window.shows("OpenClaw may use one again.", SOON).await?;
    let mut expected = usage;
    expected[ONE] = json!({"lastUsed": 5, "errorCount": 0});
    assert_eq!(read_json(&home.state_path("main"))?["usageStats"], expected);
    ensure!(
        client.find_all(Locator::Css(&own)).await?.len() == 1,
        "one went on resting"
    );

    window
        .press(&format!(
            "li.acct[data-agent='main'][data-profile='{TWO}'] [data-slot='name']"
        ))
        .await?;
    window.shows("OpenClaw leaves it alone until", SOON).await?;
    window.picture("cooldown-2-account").await?;
    window.press(".verbs [data-action='clear-cooldown']").await?;
    window.shows("OpenClaw may use two again.", SOON).await?;
    expected[TWO] = json!({"lastUsed": 6, "errorCount": 0});
    assert_eq!(read_json(&home.state_path("main"))?["usageStats"], expected);
    window.close().await
}
