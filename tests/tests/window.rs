//! What a person changes on the sheets of the window, beside real OpenClaw 2026.6.1 (Linux): the
//! order of a provider's accounts, a new agent, and diagnostics that can be shown to others.
#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{Release, TestHome, Version, read_json, release};
use kalit_journeys::process::{binary, signal};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use kalit_journeys::wait::until;
use kalit_journeys::webview::WebView;
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
/// OpenClaw's own commands take seconds.
const OPENCLAW: Duration = Duration::from_secs(120);
const IDS: [&str; 3] = ["anthropic:one", "anthropic:two", "anthropic:mary@example.com"];

struct Bed {
    session: DesktopSession,
    home: TestHome,
    release: Release,
    kalit: Kalit,
    _endpoint: TokenEndpoint,
}

impl Bed {
    /// Three tokens of Anthropic's in main, in no order.
    async fn new() -> Result<Self> {
        let login = Login::named("ada", "test-refresh-0");
        let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
        let (home, release) = (TestHome::new()?, release(Version::V2026_6_1).await?);
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[free_port()?]))?;
        let token =
            |id| json!({"type": "token", "provider": "anthropic", "token": format!("fake-token-{id}")});
        let profiles: Value = IDS.map(|id| (id.to_owned(), token(id))).into_iter().collect();
        home.write_profiles("main", &json!({"version": 1, "profiles": profiles}))?;
        Ok(Self {
            session: DesktopSession::start(&[]).await?,
            home,
            release,
            kalit,
            _endpoint: endpoint,
        })
    }

    async fn window(&self, route: &str) -> Result<WebView> {
        WebView::of(&self.session, &self.kalit, route, None).await
    }

    fn order(&self) -> Value {
        read_json(&self.home.state_path("main"))
            .map_or(Value::Null, |state| state["order"]["anthropic"].clone())
    }
}

#[tokio::test]
async fn an_order_is_moved_by_buttons_and_keys_and_is_openclaws() -> Result<()> {
    let bed = Bed::new().await?;
    let window = bed.window("board").await?;
    window.shows("3 accounts, rotating", SOON).await?;
    window.go("#/order/main/anthropic").await?;
    let sheet = window.shows("Order of Anthropic in main", SOON).await?;
    let listed = names(&window).await?;
    ensure!(listed.len() == 3, "{sheet}");

    // The first one to the second place by its button, then to the last by Alt and the arrow.
    let first = listed[0].clone();
    window
        .press(&format!(
            "[data-action=move][data-profile='{first}'][data-by='1']"
        ))
        .await?;
    let moved = names(&window).await?;
    let expected = [&listed[1], &first, &listed[2]].map(String::as_str);
    ensure!(moved == expected, "{moved:?}");
    let key = "document.activeElement.dispatchEvent(
        new KeyboardEvent('keydown', {key: 'ArrowDown', altKey: true, bubbles: true}))";
    window.client().execute(key, Vec::new()).await?;
    let wanted = names(&window).await?;
    let expected = [&listed[1], &listed[2], &first].map(String::as_str);
    ensure!(wanted == expected, "{wanted:?}");
    let told = text_of(&window, "#polite").await?;
    ensure!(told.ends_with("place 3 of 3"), "{told}");
    ensure!(bed.order().is_null(), "stored before it was asked for");

    window.press("[data-action='save-order']").await?;
    window.shows("main uses this order now", SOON).await?;
    ensure!(bed.order() == json!(wanted), "{}", bed.order());
    let asked = [
        "models",
        "auth",
        "order",
        "get",
        "--provider",
        "anthropic",
        "--json",
    ];
    let told = bed.release.run(&bed.home, &asked, None).await?.json()?;
    ensure!(told["order"] == json!(wanted), "OpenClaw says {told}");

    window.go("#/order/main/anthropic").await?;
    window.press("[data-action='clear-order']").await?;
    window.shows("the accounts take turns again", SOON).await?;
    ensure!(bed.order().is_null(), "{}", bed.order());
    window.close().await
}

#[tokio::test]
async fn an_agent_is_added_by_openclaw() -> Result<()> {
    let bed = Bed::new().await?;
    let window = bed.window("board").await?;
    window.shows("3 accounts, rotating", SOON).await?;
    window.press("#index-agents a[href='#/new-agent']").await?;
    window.fill("#agent-id", "main").await?;
    window.press("[data-slot='save']").await?;
    let refused = "return document.querySelector('#agent-id').getAttribute('aria-invalid') === 'true'";
    until("the refusal in the form", OPENCLAW, || async {
        let shown = window.client().execute(refused, Vec::new()).await.ok()?;
        (shown == Value::Bool(true)).then_some(())
    })
    .await?;
    window
        .client()
        .execute("document.querySelector('#agent-id').value = ''", Vec::new())
        .await?;
    window.fill("#agent-id", "field-notes").await?;
    window.press("[data-slot='save']").await?;
    window.shows("The agent field-notes was added", OPENCLAW).await?;
    let listed = bed
        .release
        .run(&bed.home, &["agents", "list", "--json"], None)
        .await?
        .json()?;
    let listed = listed.as_array().context("no list of agents")?;
    ensure!(
        listed.iter().any(|agent| agent["id"] == "field-notes"),
        "{listed:?}"
    );
    window.close().await
}

#[tokio::test]
async fn diagnostics_tell_neither_the_home_nor_an_address() -> Result<()> {
    let bed = Bed::new().await?;
    let window = bed.window("board").await?;
    window.shows("mary@example.com", SOON).await?;
    window.press("#index-own a[href='#/diagnostics']").await?;
    window.shows("Rules in force", SOON).await?;
    let found = text_of(&window, "pre").await?;
    let home = bed.home.path().display().to_string();
    ensure!(found.contains("State directory: ~"), "{found}");
    ensure!(!found.contains(&home), "{found}");
    ensure!(!found.contains("mary@"), "{found}");
    let plain = bed.kalit.run(&["doctor"]).await?;
    ensure!(plain.stdout.contains(&home), "the control: {}", plain.stdout);
    let redacted = bed.kalit.run(&["doctor", "--redacted"]).await?;
    ensure!(
        redacted.code == 0 && !redacted.stdout.contains(&home),
        "{redacted:?}"
    );
    window.press("[data-action='copy-diagnosis']").await?;
    window.shows("on the clipboard", SOON).await?;
    window.close().await
}

/// A window that is started while another one ends is not lost: the test is the one that ends.
#[tokio::test]
async fn a_window_that_meets_the_end_of_another_begins_again() -> Result<()> {
    let bed = Bed::new().await?;
    let bus = bed.session.bus().await?;
    let names = zbus::fdo::DBusProxy::new(&bus).await?;
    let shown = || async {
        let all = names.list_names().await.ok()?;
        all.into_iter()
            .find(|name| name.starts_with("uz.kalit.desktop.window") && name.ends_with(".SingleInstance"))
    };
    let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
    let start = |name| {
        let mut command = bed.session.command(&program);
        command.arg("board").envs(bed.kalit.variables());
        bed.session.launch(&mut command, name)
    };
    let mut before = start("window-before")?;
    let name = until("a window on the bus", SOON, shown).await?;
    signal(before.id(), Signal::TERM)?;
    before.end(SOON).await?;

    let ending = bed.session.bus().await?;
    let mut asked = zbus::MessageStream::from(&ending);
    ending.request_name(name.as_str()).await?;
    let mut window = start("window")?;
    let forwarded = async {
        while let Some(message) = asked.next().await {
            let message = message?;
            let member = message.header().member().map(ToString::to_string);
            if member.as_deref() == Some("ExecuteCallback") {
                return Ok(());
            }
        }
        anyhow::bail!("the bus ended")
    };
    tokio::time::timeout(SOON, forwarded)
        .await
        .context("the window does not pass its route on")??;
    drop(asked);
    ending.close().await?;

    let owner = until("the window itself on the bus", SOON, || async {
        let name = zbus::names::BusName::from(shown().await?);
        names.get_connection_unix_process_id(name).await.ok()
    })
    .await?;
    ensure!(owner == window.id(), "{owner}, {}", window.output());
    window.stop();
    Ok(())
}

/// The profile ids of the rows, from top to bottom.
async fn names(window: &WebView) -> Result<Vec<String>> {
    let script = "return [...document.querySelectorAll('.ordered')].map(row => row.dataset.profile)";
    Ok(serde_json::from_value(
        window.client().execute(script, Vec::new()).await?,
    )?)
}

async fn text_of(window: &WebView, css: &str) -> Result<String> {
    let script = format!("return document.querySelector('{css}').textContent");
    let text = window.client().execute(&script, Vec::new()).await?;
    Ok(text.as_str().unwrap_or_default().to_owned())
}
