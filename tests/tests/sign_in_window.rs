//! Signing in through the real window where it does not go smoothly (Linux): the port is taken and the
//! address is pasted, another person signs in, it is given up; and the first start's one question.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_journeys::authserver::{self, AuthorizationServer};
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::http::{fetch, free_port, post_form_for_location};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, read_json, release};
use kalit_journeys::token_endpoint::{Login, access_token};
use kalit_journeys::wait::until_some;
use kalit_journeys::webview::WebView;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const TEN_DAYS: Duration = Duration::from_secs(10 * 86_400);
const ADA: &str = "openai:ada@example.com";

struct Bed {
    session: DesktopSession,
    server: AuthorizationServer,
    home: TestHome,
    kalit: Kalit,
    ports: [u16; 2],
}

impl Bed {
    /// Beside OpenClaw 2026.6.1, with a login of ada's that ends in ten days, if she is there.
    async fn new(with_ada: bool) -> Result<Self> {
        let options = authserver::Options {
            ttl: TEN_DAYS,
            ..authserver::Options::default()
        };
        let server = AuthorizationServer::start(options).await?;
        let (home, release) = (TestHome::new()?, release(Version::V2026_6_1).await?);
        let ports = [free_port()?, free_port()?];
        let kalit = Kalit::new(&home, &release, &authserver::manifest(&server.url(), &ports))?;
        fs::create_dir_all(home.agent_dir("main"))?;
        if with_ada {
            let login = Login {
                account_id: "acct-demo-ada".to_owned(),
                user_id: "user-demo-ada".to_owned(),
                ..Login::named("ada", "test-refresh-ada")
            };
            let ends = std::time::SystemTime::now() + TEN_DAYS;
            let ends = ends.duration_since(std::time::UNIX_EPOCH)?.as_millis();
            let profile = json!({
                "type": "oauth", "provider": "openai", "access": access_token(&login, TEN_DAYS, 1),
                "refresh": login.refresh, "expires": u64::try_from(ends)?, "email": login.email,
                "accountId": login.account_id,
            });
            home.write_profiles("main", &json!({"version": 1, "profiles": {ADA: profile}}))?;
        }
        Ok(Self {
            session: DesktopSession::start(&[]).await?,
            server,
            home,
            kalit,
            ports,
        })
    }

    async fn window(&self, route: &str) -> Result<WebView> {
        WebView::of(&self.session, &self.kalit, route, None).await
    }

    /// Where the browser is sent after `account` consents on the page with this address.
    async fn consents(&self, url: &str, account: &str) -> Result<String> {
        let (_, page) = fetch(url).await?;
        let after = page.split("name=\"request\" value=\"").nth(1);
        let request = after.and_then(|text| text.split('"').next());
        let request = request.context("no consent form")?;
        let form = format!("request={request}&account={account}&decision=allow");
        post_form_for_location(&format!("{}/oauth/decision", self.server.url()), form).await
    }

    fn profiles(&self) -> Value {
        read_json(&self.home.profiles_path("main")).map_or(Value::Null, |store| store["profiles"].clone())
    }

    async fn until_stored(&self, id: &str) -> Result<()> {
        until_some(&format!("{id} in the file"), SOON, || {
            self.profiles().get(id).map(|_| ())
        })
        .await
    }
}

#[tokio::test]
async fn with_its_ports_taken_the_address_is_pasted() -> Result<()> {
    let bed = Bed::new(false).await?;
    let taken: Vec<TcpListener> = bed
        .ports
        .iter()
        .map(|port| TcpListener::bind(("127.0.0.1", *port)))
        .collect::<Result<_, _>>()?;
    let window = bed.window("sign-in/openai?agent=main").await?;
    let shown = window.shows("Paste the address here", SOON).await?;
    ensure!(shown.contains(&bed.ports[0].to_string()), "{shown}");
    window.picture("sign-in-ports-taken").await?;
    let url = bed.session.opened_url(0, SOON).await?;

    // the page before the last one is no answer
    window
        .fill("#paste-address", &format!("{}/oauth/authorize", bed.server.url()))
        .await?;
    window.press("form.paste .btn.main").await?;
    let wrong = "document.getElementById('paste-address').getAttribute('aria-invalid')";
    until_some_in(&window, wrong, "true").await?;
    ensure!(bed.profiles().get(ADA).is_none(), "{}", bed.profiles());

    let address = bed.consents(&url, "ada@example.com").await?;
    window.fill("#paste-address", &address).await?;
    window.press("form.paste .btn.main").await?;
    bed.until_stored(ADA).await?;
    let board = window.shows("ada@example.com", SOON).await?;
    let code = address.split("code=").nth(1).context("no code")?;
    let code = code.split('&').next().unwrap_or_default();
    ensure!(!board.contains(code), "the code is on the screen");
    drop(taken);
    window.close().await
}

#[tokio::test]
async fn another_person_is_not_stored_over_the_account() -> Result<()> {
    let bed = Bed::new(true).await?;
    let before = fs::read(bed.home.profiles_path("main"))?;
    let again = format!("sign-in/openai?agent=main&profile={ADA}");
    let window = bed.window(&again).await?;
    window.shows("Waiting for you in the browser", SOON).await?;

    // it is opened as often as it is asked for, with the same address
    let url = bed.session.opened_url(0, SOON).await?;
    press(&window, "[data-action=open-again]").await?;
    ensure!(
        bed.session.opened_url(1, SOON).await? == url,
        "it was opened with another address"
    );
    press(&window, "[data-action=copy-link]").await?;
    window.shows("Copied", SOON).await?;

    let address = bed.consents(&url, "grace@example.com").await?;
    fetch(&address).await?;
    window.shows("Another person signed in", SOON).await?;
    window.picture("sign-in-another-person").await?;
    ensure!(
        fs::read(bed.home.profiles_path("main"))? == before,
        "something was stored"
    );

    // asked again, the right one signs in
    press(&window, "[data-slot=outcome] .btn.main").await?;
    let url = until_some("another address", SOON, || {
        bed.session.opened_urls().into_iter().find(|other| *other != url)
    })
    .await?;
    let address = bed.consents(&url, "ada@example.com").await?;
    fetch(&address).await?;
    let stored = until_some("ada's new login in the file", SOON, || {
        let stored = bed.profiles().get(ADA)?.get("refresh")?.clone();
        (stored != "test-refresh-ada").then_some(())
    })
    .await;
    let shown = window.text().await?;
    stored.with_context(|| format!("the window shows:\n{shown}"))?;
    ensure!(
        bed.profiles().as_object().is_some_and(|all| all.len() == 1),
        "{}",
        bed.profiles()
    );
    window.close().await
}

#[tokio::test]
async fn a_sign_in_that_is_given_up_leaves_nothing() -> Result<()> {
    let bed = Bed::new(true).await?;
    let before = fs::read(bed.home.profiles_path("main"))?;
    let window = bed.window("sign-in/openai?agent=main").await?;
    window.shows("Waiting for you in the browser", SOON).await?;
    let url = bed.session.opened_url(0, SOON).await?;
    let address = bed.consents(&url, "grace@example.com").await?;
    window
        .client()
        .active_element()
        .await?
        .send_keys("\u{e00c}")
        .await?;
    window.shows("Add account", SOON).await?;
    // nobody listens any more, and the answer that comes too late changes nothing
    until_some("the port to be free", SOON, || {
        TcpListener::bind(("127.0.0.1", bed.ports[0])).ok().map(drop)
    })
    .await?;
    ensure!(fetch(&address).await.is_err(), "somebody took the answer");
    ensure!(
        fs::read(bed.home.profiles_path("main"))? == before,
        "something was stored"
    );
    window.close().await
}

#[tokio::test]
async fn the_first_start_asks_once_whether_kalit_renews() -> Result<()> {
    let bed = Bed::new(true).await?;
    let window = bed.window("board").await?;
    window.press("[data-action=first-watch]").await?;
    let settings = bed.home.path().join("kalit/config/settings.json");
    until_some("the choice in the settings", SOON, || {
        (read_json(&settings).ok()?["watchOnly"] == true).then_some(())
    })
    .await?;
    until_some_in(
        &window,
        "String(document.querySelector('[data-action=first-watch]') === null)",
        "true",
    )
    .await?;
    window.close().await?;
    let window = bed.window("board").await?;
    let board = window.shows("ada@example.com", SOON).await?;
    ensure!(board.contains("Renewal is paused"), "{board}");
    ensure!(!board.contains("Only watch"), "{board}");
    window.close().await
}

/// Presses what stands on a step: the steps are drawn anew while the sign-in goes on.
async fn press(window: &WebView, css: &str) -> Result<()> {
    kalit_journeys::wait::until(&format!("{css} to be pressed"), SOON, || async {
        window.press(css).await.ok()
    })
    .await
}

/// Waits until an expression of the page's has this value.
async fn until_some_in(window: &WebView, expression: &str, value: &str) -> Result<()> {
    let script = format!("return {expression}");
    kalit_journeys::wait::until(&format!("{expression} to be {value}"), SOON, || async {
        let found = window.client().execute(&script, Vec::new()).await.ok()?;
        (found == value).then_some(())
    })
    .await
}
