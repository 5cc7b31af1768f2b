//! A search of many accounts: what it leaves, what a new view leaves of it, and what comes back.

use super::*;

/// The accounts on the board from top to bottom.
const ROWS: &str = "return [...document.querySelectorAll('.acct')].map(row => row.dataset.profile)";
/// A new view in which the last account that is found, and the one after it, have changed.
const NEW_VIEW: &str = "
    const view = structuredClone(window.kalitState.answers.snapshot.value);
    const accounts = view.snapshot.agents.flatMap(agent => agent.providers).flatMap(provider => provider.accounts);
    const last = accounts.findLastIndex(account => account.profileId.includes('account-7'));
    for (const account of accounts.slice(last, last + 2)) account.plan = 'changed';
    window.kalitTell('view', view);";
const CHANGED: &str = "
    return [...document.querySelectorAll('.acct .plan')].filter(plan => plan.textContent === 'changed').length";
/// Control and A, Backspace.
const EMPTY: &str = "\u{e009}a\u{e000}\u{e003}";

#[tokio::test]
async fn a_search_leaves_what_it_names_and_gives_the_rest_back() -> Result<()> {
    let session = DesktopSession::start(&[]).await?;
    let browser = Browser::in_theme(&session, "Adwaita").await?;
    let client = browser.client();
    let states = states();
    let many = states.iter().find(|state| state.name == "board-many");
    let many = many.context("no board of many accounts")?;
    let server = serve(&Language::english(), Arc::new(Mutex::new(many.json()))).await?;
    browser
        .open(&format!(
            "http://127.0.0.1:{}/index.html{}",
            server.port(),
            many.place
        ))
        .await?;
    let field = client
        .wait()
        .at_most(SOON)
        .for_element(Locator::Css("#search"))
        .await?;
    let rows = async || -> Result<Vec<String>> {
        Ok(serde_json::from_value(client.execute(ROWS, Vec::new()).await?)?)
    };
    let all = rows().await?;
    let found: Vec<String> = all
        .iter()
        .filter(|id| id.contains("account-7"))
        .cloned()
        .collect();
    ensure!(!found.is_empty() && found.len() < all.len(), "{all:?}");

    field.send_keys("Account-7").await?;
    ensure!(rows().await? == found, "found {:?} of {all:?}", rows().await?);
    let said = format!("{} account", found.len());
    until("the number of accounts for those who listen", SOON, || async {
        let polite = client.find(Locator::Css("#polite")).await.ok()?;
        let now = polite.prop("textContent").await.ok()??;
        now.starts_with(&said).then_some(())
    })
    .await?;

    client.execute(NEW_VIEW, Vec::new()).await?;
    let changed = client.execute(CHANGED, Vec::new()).await?;
    ensure!(
        changed == 1,
        "{changed} of the accounts that are found have changed"
    );
    ensure!(rows().await? == found, "a new view shows {:?}", rows().await?);
    let focus = client
        .execute("return document.activeElement.id", Vec::new())
        .await?;
    ensure!(focus == "search", "the focus is at {focus}");

    field.send_keys(EMPTY).await?;
    ensure!(rows().await? == all, "of {all:?} came back {:?}", rows().await?);
    let changed = client.execute(CHANGED, Vec::new()).await?;
    ensure!(changed == 2, "{changed} accounts have changed");

    field.send_keys("Account-7 nobody").await?;
    ensure!(rows().await?.is_empty(), "{:?}", rows().await?);
    ensure!(
        client
            .find_all(Locator::Css(".agent, .provider"))
            .await?
            .is_empty()
    );
    let text = browser.text().await?;
    ensure!(text.contains("“Account-7 nobody”"), "{text}");

    client
        .execute("location.hash = '#/diagnostics'", Vec::new())
        .await?;
    browser.text().await?;
    client.execute("location.hash = '#/board'", Vec::new()).await?;
    let field = client
        .wait()
        .at_most(SOON)
        .for_element(Locator::Css("#search"))
        .await?;
    let words = field.prop("value").await?;
    ensure!(
        words.as_deref() == Some("Account-7 nobody"),
        "the field says {words:?}"
    );
    ensure!(rows().await?.is_empty(), "{:?}", rows().await?);

    field.send_keys(EMPTY).await?;
    ensure!(rows().await? == all, "of {all:?} came back {:?}", rows().await?);
    let text = browser.text().await?;
    ensure!(!text.contains("nobody"), "{text}");
    browser.close().await
}
