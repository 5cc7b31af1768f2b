//! The window beside OpenClaw's databases: what it reads through SQLite leaves nothing in its memory,
//! and what is pasted goes to OpenClaw and nowhere else.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use kalit_journeys::canary::Searcher;
use kalit_journeys::desktop::{DesktopSession, Part};
use kalit_journeys::process::{Process, binary};
use kalit_journeys::token_endpoint::canary_code;
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::webview::WebView;
use url::Url;

use super::databases::{LAB, OPENCLAW, PORT, Place};
use super::dumps::is_private;
use super::looking::{BusRecord, Proof, SOON, closed, go, is_window, may_look, record_ipc};

const NAME: &str = "canaries-sqlite-window";

#[tokio::test]
async fn beside_databases_the_windows_processes_hold_no_token() -> Result<()> {
    if !may_look(NAME)? {
        return Ok(());
    }
    let session = DesktopSession::start(&[Part::Panel, Part::Notifications]).await?;
    let place = Place::new().await?;
    let bus = BusRecord::start(&session).await?;
    let (mut tray, item) = tray(&session, &place).await?;
    let mut proof = Proof::new(NAME);
    let outcome = looked_at(&session, &place, &mut proof).await;
    let code = outcome.with_context(|| tray.output())?;
    // The control: the tray holds the logins that it watches.
    let holds = place.searcher()?.process(tray.id())?;
    holds.ensure_some("the tray", LAB)?;
    ensure!(is_private(tray.id())?, "the tray may leave a core");
    item.click(&["Quit"]).await?;
    ensure!(tray.end(SOON).await?.success(), "{}", tray.output());

    place.also("code", &code);
    let searcher = place.searcher()?;
    bus.ensure_it_records(&session).await?;
    let searched = searcher.tree(session.dir(), |_| false)?;
    proof.note("logs, D-Bus traffic and files of the session", searched);
    let home = searcher.tree(place.home.path(), |path| place.may_hold(path))?;
    proof.note("the home", home);
    place.ensure_found()?;
    proof.tell()
}

/// One window's life. Returns the code that was pasted into it.
async fn looked_at(session: &DesktopSession, place: &Place, proof: &mut Proof) -> Result<String> {
    let window = window(session, place).await?;
    window.shows("two", SOON).await?;
    record_ipc(&window).await?;
    proof
        .look(&place.searcher()?, place.home.path(), "the board")
        .await?;

    place.sealed().await?;
    let held = place.profile(LAB)?;
    place.fail(LAB)?;
    window.shows("Dropped by OpenClaw", SOON).await?;
    window
        .press(&format!("li.acct[data-profile='{LAB}'] a[href^='#/restore/']"))
        .await?;
    window.shows("What is known", OPENCLAW).await?;
    window.press("[data-action='put-back']").await?;
    window.shows("is back", OPENCLAW).await?;
    ensure!(place.profile(LAB)? == held, "not as it was");
    proof
        .look(&place.searcher()?, place.home.path(), "a login was put back")
        .await?;

    let code = signed_in(session, &window).await?;
    proof
        .look(&place.searcher()?, place.home.path(), "OpenClaw's sign-in")
        .await?;

    // It passes through the window's page, and is no secret of the store.
    let only_code = Searcher::new([("code".to_owned(), code.clone())])?;
    let others = |name: &str| !is_window(name);
    proof.processes("other processes after the sign-in", session, &only_code, others)?;

    proof
        .page(&window, &place.searcher()?, &code, "lab@example.com")
        .await?;
    window.close().await?;
    closed(place.home.path()).await?;
    proof.processes(
        "all processes after the window was closed",
        session,
        &only_code,
        |_| true,
    )?;
    Ok(code)
}

/// OpenClaw's own sign-in: its question is answered in the window with the last address, whose code
/// is returned.
async fn signed_in(session: &DesktopSession, window: &WebView) -> Result<String> {
    let _port = PORT.lock().await;
    let opened = session.opened_urls().len();
    go(window, "#/sign-in/openai?agent=main").await?;
    let page = Url::parse(&session.opened_url(opened, OPENCLAW).await?)?;
    let state = page.query_pairs().find(|(name, _)| name == "state");
    let (_, state) = state.with_context(|| format!("no state in {page}"))?;
    let code = canary_code("acct-ada");
    let answer = format!("http://localhost:1455/auth/callback?code={code}&state={state}");
    window.fill("#answer", &answer).await?;
    window.press("form[data-action='answer-text'] .btn.main").await?;
    window.shows("ada@example.com", OPENCLAW).await?;
    go(window, "#/board").await?;
    window.shows("lab@example.com", SOON).await?;
    Ok(code)
}

/// The variables of the place in the session, where programs are found in both.
fn variables(session: &DesktopSession, place: &Place) -> Result<Vec<(String, String)>> {
    let mut vars = place.kalit.variables().clone();
    let path = session.env().get("PATH").context("the session has no PATH")?;
    let own = place.home.path().join("bin");
    vars.insert("PATH".to_owned(), format!("{}:{path}", own.display()));
    Ok(vars.into_iter().collect())
}

async fn tray(session: &DesktopSession, place: &Place) -> Result<(Process, TrayItem)> {
    let mut command: Command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
    let kalit = session.launch(command.envs(variables(session, place)?), "kalit-desktop")?;
    let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await;
    let item = item.with_context(|| kalit.output())?;
    Ok((kalit, item))
}

async fn window(session: &DesktopSession, place: &Place) -> Result<WebView> {
    let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
    WebView::open(session, &program, &["board"], &variables(session, place)?).await
}
