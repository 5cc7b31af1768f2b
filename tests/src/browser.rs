//! The person's browser: Chromium, driven through ChromeDriver, that opens the URL a program asked
//! to open and presses the consent page's real buttons. Inside a `DesktopSession` its window is
//! on that screen; elsewhere it is headless.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

#[cfg(target_os = "linux")]
use crate::desktop::DesktopSession;
use crate::process::{Process, command};

const START: Duration = Duration::from_secs(40);
const PAGE: Duration = Duration::from_secs(20);

/// A browser with a profile of its own.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    // in this order: the driver ends, with the browser, before the profile goes
    _driver: Process,
    _dir: TempDir,
}

impl Browser {
    /// A browser on the session's screen.
    #[cfg(target_os = "linux")]
    pub async fn in_session(session: &DesktopSession) -> Result<Self> {
        Self::start(
            session.env(),
            &["--window-size=700,620", "--window-position=40,60"],
        )
        .await
    }

    /// A browser without a screen.
    pub async fn headless() -> Result<Self> {
        Self::start(
            &std::env::vars().collect(),
            &["--headless=new", "--window-size=900,700"],
        )
        .await
    }

    async fn start(env: &BTreeMap<String, String>, window: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("kalit-browser-").tempdir()?;
        let (driver, url) = driver(env, dir.path()).await?;
        let profile = format!("--user-data-dir={}", dir.path().join("profile").display());
        let mut arguments = vec![
            profile.as_str(),
            // tests may run as root, and must not reach beyond loopback
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-default-apps",
            "--disable-search-engine-choice-screen",
            "--no-default-browser-check",
            "--no-first-run",
            "--no-proxy-server",
            "--password-store=basic",
        ];
        arguments.extend_from_slice(window);
        let options = json!({"args": arguments, "excludeSwitches": ["enable-automation"]});
        let client = connect(&url, [("goog:chromeOptions", options)])
            .await
            .context("starting Chromium")?;
        Ok(Self {
            client,
            _driver: driver,
            _dir: dir,
        })
    }

    /// The WebDriver client, for what has no method here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.client
            .goto(url)
            .await
            .with_context(|| format!("opening {url}"))
    }

    /// Opens a consent page, chooses the account and presses "Allow". Returns once the browser
    /// was sent on, with the text of the page it came to: the callback's answer.
    pub async fn allow(&self, url: &str, account: &str) -> Result<String> {
        self.consent_page(url, account).await?;
        self.submit("#allow").await
    }

    /// Opens a consent page and chooses the account, without an answer yet.
    pub async fn consent_page(&self, url: &str, account: &str) -> Result<()> {
        self.open(url).await?;
        let select = self
            .client
            .wait()
            .at_most(PAGE)
            .for_element(Locator::Css("#account"))
            .await?;
        select
            .select_by_value(account)
            .await
            .with_context(|| format!("choosing {account}"))
    }

    /// Opens a consent page and presses "Deny".
    pub async fn deny(&self, url: &str) -> Result<String> {
        self.open(url).await?;
        self.submit("#deny").await
    }

    /// Presses "Revoke" beside an account on the authorization server's own page.
    pub async fn revoke(&self, server: &str, account: &str) -> Result<()> {
        self.open(server).await?;
        self.submit(&format!("[data-account=\"{account}\"] button"))
            .await?;
        Ok(())
    }

    /// Presses what `css` finds, on the page that is open.
    pub async fn press(&self, css: &str) -> Result<()> {
        let button = self
            .client
            .wait()
            .at_most(PAGE)
            .for_element(Locator::Css(css))
            .await;
        let button = match button {
            Ok(button) => button,
            Err(error) => {
                let page = self.address().await.unwrap_or_default();
                return Err(error).with_context(|| format!("{css} on {page}"));
            }
        };
        Ok(button.click().await?)
    }

    /// The text of the page that is open.
    pub async fn text(&self) -> Result<String> {
        let body = self
            .client
            .wait()
            .at_most(PAGE)
            .for_element(Locator::Css("body"))
            .await?;
        Ok(body.text().await?)
    }

    /// A picture of the page as PNG.
    pub async fn screenshot(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.client.screenshot().await?)?;
        Ok(())
    }

    /// Ends the browser; dropping it does so, too, with less grace.
    pub async fn close(self) -> Result<()> {
        Ok(self.client.close().await?)
    }

    /// Presses a button of the open page's form and returns the text of the page that answers.
    pub async fn submit(&self, css: &str) -> Result<String> {
        self.client
            .execute("window.kalitOldPage = true", Vec::new())
            .await?;
        self.press(css).await?;
        let fresh = "return document.readyState === 'complete' && window.kalitOldPage === undefined";
        crate::wait::until("the next page", PAGE, || async {
            let fresh = self.client.execute(fresh, Vec::new()).await.ok()?;
            (fresh == Value::Bool(true)).then_some(())
        })
        .await?;
        self.painted().await?;
        self.text().await
    }

    /// Waits until what the page says is also on the screen.
    async fn painted(&self) -> Result<()> {
        let next_frame = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))";
        self.client.execute_async(next_frame, Vec::new()).await?;
        Ok(())
    }

    /// Without the query, which may hold a code.
    async fn address(&self) -> Option<String> {
        let mut url = self.client.current_url().await.ok()?;
        url.set_query(None);
        Some(url.into())
    }
}

/// Starts ChromeDriver on a free port.
async fn driver(env: &BTreeMap<String, String>, dir: &Path) -> Result<(Process, String)> {
    let mut chromedriver = command("chromedriver", env);
    chromedriver.arg("--port=0").stdin(Stdio::null());
    let mut driver = Process::start(&mut chromedriver, &dir.join("chromedriver.log"))?;
    let port: u16 = driver
        .line("its port", START, |line| {
            line.rsplit_once("started successfully on port ")?
                .1
                .trim_end_matches('.')
                .parse()
                .ok()
        })
        .await?;
    Ok((driver, format!("http://127.0.0.1:{port}")))
}

/// A WebDriver session over plain HTTP.
pub(crate) async fn connect(
    url: &str,
    capabilities: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<Client> {
    let capabilities: Capabilities = capabilities
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut builder = ClientBuilder::new(HttpConnector::new());
    Ok(builder.capabilities(capabilities).connect(url).await?)
}
