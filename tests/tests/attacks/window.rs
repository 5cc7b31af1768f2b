//! A foreign page and the window's commands: the window never shows one, and what is foreign inside
//! of its own page is not answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use fantoccini::Locator;
use fantoccini::wd::TimeoutConfiguration;
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::http::{Answer, Reply, Server, fetch};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, release};
use kalit_journeys::process::binary;
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

use super::tally::refused;

/// Asks for the accounts and answers with what came.
const ASK: &str = "const tell = arguments[arguments.length - 1];
    try { window.__TAURI_INTERNALS__.invoke('snapshot').then(() => tell('answered'), why => tell('refused: ' + why)); }
    catch (error) { tell('none: ' + error); }";

/// Who asks, and what came of asking in the frame, through its parent and past Tauri's script.
const ASK_IN_A_FRAME: &str = "const tell = arguments[arguments.length - 1];
    const past = () => fetch('ipc://localhost/snapshot', { method: 'POST', body: '{}', headers: {
        'Content-Type': 'application/json', 'Tauri-Callback': '1', 'Tauri-Error': '2', 'Tauri-Invoke-Key': 'guess' } });
    const ways = [async () => self.__TAURI_INTERNALS__.invoke('snapshot'),
        async () => parent.__TAURI_INTERNALS__.invoke('snapshot'),
        async () => { if (!(await past()).ok) throw 'refused'; }];
    Promise.all(ways.map(way => way().then(() => 'answered', why => 'not: ' + why)))
        .then(ends => tell([self.origin, ...ends]));";

#[tokio::test]
async fn a_foreign_page_reaches_no_command() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let shown = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&shown);
    let rogue = Server::plain(0, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Answer::Reply(Reply::html(200, "<h1>rogue</h1>")) }
    })
    .await?;
    let url = format!("http://127.0.0.1:{}/", rogue.port());
    let home = TestHome::new()?;
    let kalit = Kalit::new(&home, &release(Version::V2026_6_1).await?, &json!({}))?;
    let vars: Vec<(String, String)> = kalit.variables().clone().into_iter().collect();
    let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
    let window = WebView::open(&session, &program, &["board"], &vars).await?;
    let client = window.client();
    // The window's own page is answered: the check can fail.
    ensure!(client.execute_async(ASK, Vec::new()).await? == "answered");
    let own = client.current_url().await?;

    let attempts = [
        "window.location.href = arguments[0]",
        "window.location.replace(arguments[0])",
        "window.open(arguments[0])",
        "window.open(arguments[0], '_self')",
        "const a = document.createElement('a'); a.href = arguments[0]; document.body.append(a); a.click()",
        "const f = document.createElement('form'); f.action = arguments[0]; document.body.append(f); f.submit()",
        "const f = document.createElement('iframe'); f.src = arguments[0]; document.body.append(f)",
        "const i = new Image(); i.src = arguments[0]",
        "fetch(arguments[0]).catch(() => {})",
        "const s = document.createElement('script'); s.src = arguments[0]; document.body.append(s)",
        "new WebSocket(arguments[0].replace('http', 'ws'))",
    ];
    for attempt in attempts {
        // What throws is refused as well.
        let _ = client.execute(attempt, vec![Value::from(url.clone())]).await;
    }
    // Told to the web view itself, as no page can.
    client.update_timeouts(short()).await?;
    let _ = client.goto(&url).await;
    // Answered after all of them: the page is still there, and is Kalit's.
    ensure!(client.execute_async(ASK, Vec::new()).await? == "answered");
    ensure!(client.current_url().await?.host_str() == own.host_str());
    ensure!(
        shown.load(Ordering::SeqCst) == 0,
        "the foreign page was asked for"
    );
    // Who asks without the window is answered: the check can fail.
    fetch(&url).await?;
    ensure!(shown.load(Ordering::SeqCst) == 1);

    // A frame that is cut off from the page is foreign to it, whatever was to be shown in it.
    let mut asked = 0;
    for content in [
        "srcdoc = 'foreign'",
        "src = 'data:text/html,foreign'",
        "src = 'about:blank'",
    ] {
        let add = format!(
            "const f = document.createElement('iframe'); f.sandbox = 'allow-scripts'; f.{content}; document.body.append(f)"
        );
        client.execute(&add, Vec::new()).await?;
        let frame = client.find(Locator::Css("iframe[sandbox]:last-of-type")).await?;
        frame.enter_frame().await?;
        let told = client.execute_async(ASK_IN_A_FRAME, Vec::new()).await?;
        client.enter_parent_frame().await?;
        let Some([origin, ends @ ..]) = told.as_array().map(Vec::as_slice) else {
            bail!("{content}: {told}")
        };
        ensure!(
            origin == "null" && ends.iter().all(|end| end != "answered"),
            "{content}: {told}"
        );
        asked += ends.len();
    }
    ensure!(client.execute_async(ASK, Vec::new()).await? == "answered");
    window.close().await?;
    refused("ways to a foreign page in the window", attempts.len() + 1)?;
    refused("commands asked for by foreign frames", asked)
}

fn short() -> TimeoutConfiguration {
    let limit = Some(Duration::from_secs(5));
    TimeoutConfiguration::new(limit, limit, limit)
}
