//! OpenClaw's own sign-in in a pseudo-terminal, started by Kalit: real releases up to OpenAI's
//! authorize address, back by a pasted address or by the browser, against a local token endpoint.
//! What is stored is read back by the release itself. On Linux: processes are looked up in /proc.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kalit_core::broker::LoginRoute;
use kalit_core::clock::SystemClock;
use kalit_journeys::http::fetch;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{Release, TestHome, Version, release};
use kalit_journeys::process::{Process, signal};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint, authorization_code};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use url::Url;

/// OpenClaw takes seconds to begin, on a busy machine many.
const BUSY: Duration = Duration::from_secs(120);
const PASTE: &str = "Paste the authorization code (or full redirect URL):";
/// OpenClaw listens on port 1455 alone.
static PORT: Mutex<()> = Mutex::const_new(());

/// A release in a home of its own, with OpenAI's hosts led to an endpoint.
struct Scene {
    home: TestHome,
    release: Release,
    endpoint: TokenEndpoint,
    kalit: Kalit,
}

impl Scene {
    async fn new(version: Version) -> Result<Self> {
        let (home, release) = (TestHome::new()?, release(version).await?);
        // Another model would make 2026.9.6 install a plugin.
        let model = json!({"model": {"primary": "anthropic/claude-opus-4-6"}});
        home.write_config(&json!({"agents": {"defaults": model}}))?;
        let login = Login::named("ada", "test-refresh-0");
        let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
        endpoint.lead(&home)?;
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
        Ok(Self {
            home,
            release,
            endpoint,
            kalit,
        })
    }

    /// The profiles as the release lists them: id to type.
    async fn listed(&self) -> Result<BTreeMap<String, String>> {
        let args = ["models", "auth", "--agent", "main", "list", "--json"];
        let listed = self.release.run(&self.home, &args, None).await?.json()?;
        let profiles = listed["profiles"].as_array().context("no profiles")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(profiles
            .iter()
            .map(|profile| (text(&profile["id"]), text(&profile["type"])))
            .collect())
    }

    /// What `kalit list --json` says of main: the ids.
    async fn ids(&self) -> Result<Vec<String>> {
        let listed = self.kalit.run(&["list", "--json"]).await?.json()?;
        let profiles = listed["profiles"].as_array().cloned().unwrap_or_default();
        let ids = profiles.iter().filter_map(|profile| profile["id"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }
}

/// The address that Kalit shows, with the question that follows it.
async fn authorize(kalit: &mut Process) -> Result<Url> {
    let shown = |line: &str| {
        line.starts_with("https://auth.openai.com/")
            .then(|| Url::parse(line).ok())?
    };
    let url = kalit.line("the address", BUSY, shown).await?;
    kalit
        .line("the paste box", BUSY, |line| (line == PASTE).then_some(()))
        .await?;
    Ok(url)
}

fn parameters(url: &Url) -> BTreeMap<String, String> {
    url.query_pairs().into_owned().collect()
}

/// Where the browser ends after consent.
fn last_page(url: &Url, state: Option<&str>) -> Result<Url> {
    let asked = parameters(url);
    let mut last = Url::parse(&asked["redirect_uri"])?;
    last.query_pairs_mut()
        .append_pair("code", &authorization_code("acct-ada"))
        .append_pair("state", state.unwrap_or(&asked["state"]));
    Ok(last)
}

fn ended_well(output: &str, profile_id: &str) -> Result<()> {
    ensure!(output.contains(&format!("Signed in as {profile_id}")), "{output}");
    for secret in ["test-code-", "test-refresh-", "eyJ", "/auth/callback?"] {
        ensure!(!output.contains(secret), "{secret} in {output}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_pastes_the_last_address_to_2026_9_6() -> Result<()> {
    let _port = PORT.lock().await;
    let scene = Scene::new(Version::V2026_9_6).await?;
    let mut kalit = scene
        .kalit
        .start(&["login", "openai", "--agent", "main", "--no-browser"])?;
    let mut stdin = kalit.take_stdin().context("no stdin")?;
    let url = authorize(&mut kalit).await?;
    let asked = parameters(&url);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "app_EMoamEEZ73f0CkXaXp7hrann"),
        ("redirect_uri", "http://localhost:1455/auth/callback"),
        ("code_challenge_method", "S256"),
        ("originator", "openclaw"),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }

    writeln!(stdin, "{}", last_page(&url, None)?)?;
    let status = kalit.end(BUSY).await?;
    ensure!(status.success(), "{status}: {}", kalit.output());
    ended_well(&kalit.output(), "openai:ada@example.com")?;
    let requests = scene.endpoint.token_requests();
    let [request] = &requests[..] else {
        panic!("{requests:?}")
    };
    let field = |name: &str| {
        let found = request.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    };
    assert_eq!(field("grant_type"), "authorization_code");
    assert_eq!(field("code"), "test-code-acct-ada");
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
    assert_eq!(challenge, asked["code_challenge"]);

    // What this release can sign in to, by its plugins' manifests; Kalit's own way ends here.
    let broker = scene.kalit.broker(Arc::new(SystemClock))?;
    let logins = broker.openclaw_logins();
    let openai = logins.iter().find(|login| login.provider.as_str() == "openai");
    let openai = openai.context("no openai")?;
    assert_eq!(
        (&openai.methods[..], openai.device_code),
        (&["oauth".to_owned(), "device-code".to_owned()][..], true)
    );
    ensure!(
        logins
            .iter()
            .any(|login| login.provider.as_str() == "github-copilot"),
        "{logins:?}"
    );
    ensure!(
        logins.iter().all(|login| login.provider.as_str() != "nvidia"),
        "{logins:?}"
    );
    assert_eq!(broker.login_route(&openai.provider), LoginRoute::OpenClaw);

    // The release sees the account, and so does Kalit.
    let listed = scene.listed().await?;
    assert_eq!(
        listed.get("openai:ada@example.com").map(String::as_str),
        Some("oauth")
    );
    let account = scene.kalit.account("main", "openai:ada@example.com").await?;
    assert_eq!(
        (&account["state"], &account["email"]),
        (&json!("healthy"), &json!("ada@example.com"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_comes_back_to_2026_7_1_by_itself() -> Result<()> {
    let _port = PORT.lock().await;
    let scene = Scene::new(Version::V2026_7_1).await?;
    let mut kalit = scene
        .kalit
        .start(&["login", "openai", "--no-browser", "--json"])?;
    let url = authorize(&mut kalit).await?;
    let back = last_page(&url, None)?
        .to_string()
        .replace("localhost", "127.0.0.1");
    assert_eq!(fetch(&back).await?.0, 200);
    let status = kalit.end(BUSY).await?;
    let output = kalit.output();
    ensure!(status.success(), "{status}: {output}");
    for part in [
        "\"profileId\": \"openai:ada@example.com\"",
        "\"plan\": \"pro\"",
        "\"replaced\": false",
    ] {
        ensure!(output.contains(part), "{part} is not in {output}");
    }
    assert_eq!(scene.ids().await?, ["openai:ada@example.com"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_sign_in_is_refused_and_told() -> Result<()> {
    let _port = PORT.lock().await;
    let scene = Scene::new(Version::V2026_9_6).await?;
    let mut kalit = scene.kalit.start(&["login", "openai", "--no-browser"])?;
    let mut stdin = kalit.take_stdin().context("no stdin")?;
    let url = authorize(&mut kalit).await?;
    writeln!(stdin, "{}", last_page(&url, Some("of-another-one"))?)?;
    let status = kalit.end(BUSY).await?;
    let output = kalit.output();
    assert_eq!(status.code(), Some(69), "{output}");
    ensure!(output.contains("[login.exchange_failed]"), "{output}");
    ensure!(output.contains("State mismatch"), "{output}");
    ensure!(!output.contains("of-another-one"), "{output}");
    assert_eq!(scene.endpoint.token_requests().len(), 0);
    assert_eq!(scene.ids().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_pasted_to_2026_9_6_and_a_cancelled_sign_in_changes_nothing() -> Result<()> {
    let scene = Scene::new(Version::V2026_9_6).await?;
    let token = format!("sk-ant-oat01-{}", "obvious-fake-".repeat(8));
    let args = ["login", "anthropic", "--method", "setup-token", "--agent", "main"];
    let mut kalit = scene.kalit.start(&args)?;
    let mut stdin = kalit.take_stdin().context("no stdin")?;
    let question = |line: &str| (line == "Paste Anthropic setup-token").then_some(());
    kalit.line("the question", BUSY, question).await?;
    writeln!(stdin, "sk-ant-oat01-short")?;
    kalit
        .line("the refusal", BUSY, |line| {
            line.contains("too short").then_some(())
        })
        .await?;
    until_some("the question again", BUSY, || {
        (kalit.output().matches("Paste Anthropic setup-token").count() == 2).then_some(())
    })
    .await?;
    writeln!(stdin, "{token}")?;
    let status = kalit.end(BUSY).await?;
    let output = kalit.output();
    ensure!(status.success(), "{status}: {output}");
    ensure!(output.contains("Signed in as anthropic:default"), "{output}");
    ensure!(
        !output.contains("obvious-fake") && !output.contains("sk-ant"),
        "{output}"
    );
    let listed = scene.listed().await?;
    assert_eq!(listed.get("anthropic:default").map(String::as_str), Some("token"));

    let before = credentials(&scene.home)?;
    ensure!(before.contains(&token), "not in the shared store: {before}");
    let mut kalit = scene.kalit.start(&args)?;
    kalit.line("the question", BUSY, question).await?;
    ensure!(!openclaws(scene.home.path())?.is_empty(), "no OpenClaw runs");
    signal(kalit.id(), rustix::process::Signal::INT)?;
    let status = kalit.end(BUSY).await?;
    assert_eq!(status.code(), Some(69), "{}", kalit.output());
    ensure!(kalit.output().contains("[login.cancelled]"), "{}", kalit.output());
    assert_eq!(openclaws(scene.home.path())?, Vec::<String>::new());
    assert_eq!(credentials(&scene.home)?, before);
    Ok(())
}

/// The shared store of 2026.9.6 as it is written.
fn credentials(home: &TestHome) -> Result<String> {
    let path = home.state_dir().join("state/openclaw.sqlite");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(path, flags)?;
    let sql = "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'";
    Ok(database.query_row(sql, [], |row| row.get(0))?)
}

/// The processes of Node in a home.
fn openclaws(home: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let dir = entry?.path();
        // What ended meanwhile has no files any more.
        let environment = std::fs::read(dir.join("environ")).unwrap_or_default();
        let command = std::fs::read(dir.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let home = format!("HOME={}", home.display());
        let in_home = environment
            .split(|byte| *byte == 0)
            .any(|it| it == home.as_bytes());
        if in_home && command.contains("openclaw") {
            found.push(command);
        }
    }
    Ok(found)
}
