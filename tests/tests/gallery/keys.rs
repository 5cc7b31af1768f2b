//! The keys of the window, as `docs/keyboard.md` lists them.

use super::*;

const CONTROL: &str = "\u{e009}";
const ALT: &str = "\u{e00a}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const DELETE: &str = "\u{e017}";
const LEFT: &str = "\u{e012}";
const DOWN: &str = "\u{e015}";

#[tokio::test]
async fn everything_on_the_board_has_a_key() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let browser = Browser::in_theme(&session, "Adwaita").await?;
    let client = browser.client();
    let states = states();
    let board = states.iter().find(|state| state.name == "dialogue-remove");
    let board = board.context("no board whose account can be removed")?;
    let server = serve(&Language::english(), Arc::new(Mutex::new(board.json()))).await?;
    let url = format!("http://127.0.0.1:{}/index.html#/board", server.port());
    browser.open(&url).await?;
    let first = client
        .wait()
        .at_most(SOON)
        .for_element(Locator::Css(".acct .name a"))
        .await?;
    let is = async |script: &str| -> Result<bool> {
        let script = format!("return Boolean({script})");
        Ok(client.execute(&script, Vec::new()).await? == Value::Bool(true))
    };
    let press = async |keys: &str| -> Result<()> {
        client
            .active_element()
            .await?
            .send_keys(keys)
            .await
            .map_err(Into::into)
    };
    let at_last = async |what: &str, script: &str| {
        until(what, SOON, || async { is(script).await.ok()?.then_some(()) }).await
    };
    let focus_first = "document.querySelector('.acct .name a').focus()";
    client.execute(focus_first, Vec::new()).await?;

    press(DOWN).await?;
    ensure!(
        is("document.activeElement === document.querySelectorAll('.acct .name a')[1]").await?,
        "the focus is not at the second name"
    );
    // what the second row offers is used, and nothing else
    press(&format!("{CONTROL}{ENTER}")).await?;
    at_last("the switch", "window.kalitUnanswered.includes('activate')").await?;

    client.execute(focus_first, Vec::new()).await?;
    press(DELETE).await?;
    at_last("the question", "document.getElementById('dialog').open").await?;
    press(ESCAPE).await?;
    at_last("the end of it", "!document.getElementById('dialog').open").await?;
    ensure!(
        is("location.hash === '#/board'").await?,
        "Esc left the board as well"
    );

    for (keys, place) in [("n", "#/add"), (",", "#/settings")] {
        press(&format!("{CONTROL}{keys}")).await?;
        at_last(place, &format!("location.hash.startsWith('{place}')")).await?;
    }
    press(&format!("{ALT}{LEFT}")).await?;
    at_last("the page before", "location.hash.startsWith('#/add')").await?;
    press(ESCAPE).await?;
    at_last("the board", "location.hash === '#/board'").await?;
    drop(first);
    browser.close().await
}
