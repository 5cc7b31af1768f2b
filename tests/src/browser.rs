//! The person's browser (Linux): WebKitGTK's own MiniBrowser, driven through WebKitWebDriver, that
//! opens the URL a program asked to open and presses the consent page's real buttons. Debian and
//! Ubuntu both have it beside the library that Kalit's window needs; Ubuntu has Chromium and
//! Firefox only as snaps, which see neither `/tmp` nor a session of their own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fantoccini::{Client, Locator};
use serde_json::Value;

use crate::desktop::DesktopSession;
use crate::process::Process;
use crate::webview;

const PAGE: Duration = Duration::from_secs(20);

/// A browser that keeps nothing once it is closed.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    // in this order: the driver ends, with the browser, before the screen goes
    _driver: Process,
    _screen: Option<DesktopSession>,
}

impl Browser {
    /// A browser on the session's screen.
    pub async fn in_session(session: &DesktopSession) -> Result<Self> {
        let browser = Self::start(session, &[]).await?;
        browser.client.set_window_rect(40, 60, 700, 620).await?;
        Ok(browser)
    }

    /// A browser on the session's screen in a theme of GTK's, such as `Adwaita:dark`.
    pub async fn in_theme(session: &DesktopSession, theme: &str) -> Result<Self> {
        Self::start(session, &[("GTK_THEME".to_owned(), theme.to_owned())]).await
    }

    async fn start(session: &DesktopSession, env: &[(String, String)]) -> Result<Self> {
        let (client, driver) = webview::drive(session, "browser", env, None)
            .await
            .context("starting the browser")?;
        Ok(Self {
            client,
            _driver: driver,
            _screen: None,
        })
    }

    /// A browser on a screen of its own.
    pub async fn on_its_own() -> Result<Self> {
        let screen = DesktopSession::start(&[]).await?;
        let browser = Self::in_session(&screen).await?;
        Ok(Self {
            _screen: Some(screen),
            ..browser
        })
    }

    /// The WebDriver client, for what has no method here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Opens a page and waits until it is on the screen.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.client
            .goto(url)
            .await
            .with_context(|| format!("opening {url}"))?;
        self.painted().await
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
            .with_context(|| format!("choosing {account}"))?;
        self.painted().await
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
