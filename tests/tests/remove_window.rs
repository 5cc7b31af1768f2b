//! An account removed in the window (Linux): its login ended at the provider first, or not.
//! Pictures are kept in `target/journeys/`.
#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fantoccini::Locator;
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, read_json, release};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint, access_token};
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_secs(864_000);

#[tokio::test]
async fn an_account_is_signed_out_everywhere_only_if_a_person_says_so() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let home = TestHome::new()?;
    let logins = ["ada", "bob"].map(|name| Login::named(name, &format!("test-refresh-{name}")));
    let endpoint = TokenEndpoint::start(logins[0].clone(), LIFETIME).await?;
    endpoint.add_login(logins[1].clone());
    let release = release(Version::V2026_6_1).await?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[free_port()?]))?;
    let ids = logins.each_ref().map(|login| format!("openai:{}", login.email));
    let stored = |login: &Login| {
        json!({
            "type": "oauth", "provider": "openai", "access": access_token(login, LIFETIME, 0),
            "refresh": login.refresh, "expires": SystemClock.now().as_millis() + 864_000_000,
            "accountId": login.account_id, "email": login.email,
        })
    };
    let (ada, bob) = (stored(&logins[0]), stored(&logins[1]));
    home.write_profiles(
        "main",
        &json!({"version": 1, "profiles": {&ids[0]: ada, &ids[1]: bob}}),
    )?;
    // Another agent with the same login.
    home.write_profiles("work", &json!({"version": 1, "profiles": {&ids[0]: ada}}))?;

    let window = WebView::of(&session, &kalit, "board", None).await?;
    window.client().set_window_size(760, 780).await?;
    let open = async |id: &str| -> Result<()> {
        let place = format!("location.hash = '#/account/main/{id}'");
        window.client().execute(&place, Vec::new()).await?;
        window.shows("Why this account is used", SOON).await?;
        window.press(".verbs [data-action='remove']").await?;
        window.shows("Sign out everywhere", SOON).await?;
        Ok(())
    };
    window.shows("accounts", SOON).await?;

    // Off unless it is chosen.
    open(&ids[1]).await?;
    window.press("#dialog-go").await?;
    window.shows("was removed from main.", SOON).await?;
    ensure!(
        endpoint.is_live(&logins[1].account_id),
        "the provider was told unasked"
    );

    open(&ids[0]).await?;
    let choice = Locator::Css("#dialog input[value='everywhere']");
    window.client().find(choice).await?.click().await?;
    let dialog = window.shows("agent work", SOON).await?;
    ensure!(dialog.contains("signed out on other computers"), "{dialog}");
    window.picture("remove-1-everywhere").await?;
    window.press("#dialog-go").await?;
    let board = window.shows("The provider has ended its login.", SOON).await?;
    window.picture("remove-2-done").await?;
    ensure!(board.contains("Signed out"), "work's copy says nothing: {board}");
    ensure!(!endpoint.is_live(&logins[0].account_id), "the login lives");
    assert_eq!(read_json(&home.profiles_path("main"))?["profiles"], json!({}));
    let work = &read_json(&home.profiles_path("work"))?["profiles"][&ids[0]];
    assert_ne!(*work, Value::Null, "only main's account was removed");

    window.press("a[href='#/history']").await?;
    let told = window
        .shows(&format!("Signed out everywhere: {}", logins[0].email), SOON)
        .await?;
    let place = |what: &str| told.find(what).with_context(|| format!("no {what}: {told}"));
    let removed = format!("Removed: {}", logins[0].email);
    ensure!(
        place(&removed)? < place("Signed out everywhere")? && told.contains("in the window or the tray"),
        "{told}"
    );
    window.picture("history-1").await?;
    window.close().await
}
