//! Kalit's window, driven by WebKit's own WebDriver (Linux). The driver starts the program itself;
//! the session begins when the program shows its web view.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::desktop::{DesktopSession, ensure_not_blank};
use crate::http::free_port;
use crate::kalit::Kalit;
use crate::process::{Process, binary, build_dir};
use crate::wait::until;

const START: Duration = Duration::from_secs(60);

/// A window under WebDriver.
#[derive(Debug)]
pub struct WebView {
    client: Client,
    _driver: Process,
}

impl WebView {
    /// Starts `program` with `arguments` (such as `--window accounts`) and these additional
    /// variables inside the session, and waits for its web view.
    pub async fn open(
        session: &DesktopSession,
        program: &Path,
        arguments: &[&str],
        env: &[(String, String)],
    ) -> Result<Self> {
        let options = json!({"binary": program, "args": arguments});
        let (client, driver) = drive(session, "webkit-webdriver", env, Some(options))
            .await
            .context("the window's WebDriver session")?;
        Ok(Self {
            client,
            _driver: driver,
        })
    }

    /// The window of this Kalit, where OpenClaw finds its programs and the session's, in a theme of
    /// GTK's if one is named.
    pub async fn of(
        session: &DesktopSession,
        kalit: &Kalit,
        route: &str,
        theme: Option<&str>,
    ) -> Result<Self> {
        let mut vars = kalit.variables().clone();
        let programs = session.env().get("PATH").context("the session has no PATH")?;
        // Its browser stands before the system's.
        let browsers = programs.split(':').next().unwrap_or_default();
        vars.entry("PATH".to_owned())
            .and_modify(|own| *own = format!("{browsers}:{own}:{programs}"))
            .or_insert_with(|| programs.clone());
        vars.extend(theme.map(|theme| ("GTK_THEME".to_owned(), theme.to_owned())));
        let vars: Vec<(String, String)> = vars.into_iter().collect();
        let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
        Self::open(session, &program, &[route], &vars).await
    }

    /// Goes to a place, such as `#/snapshots`.
    pub async fn go(&self, place: &str) -> Result<()> {
        let script = format!("location.hash = '{place}'");
        self.client.execute(&script, Vec::new()).await?;
        Ok(())
    }

    /// The WebDriver client, for what has no method here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until the window's visible text contains `text` and returns all of it.
    pub async fn shows(&self, text: &str, limit: Duration) -> Result<String> {
        let shown = until(&format!("{text:?} in the window"), limit, || async {
            let all = self.text().await.ok()?;
            all.contains(text).then_some(all)
        })
        .await;
        match shown {
            Ok(all) => Ok(all),
            Err(error) => Err(error.context(format!("the window shows:\n{}", self.text().await?))),
        }
    }

    /// The window's visible text.
    pub async fn text(&self) -> Result<String> {
        Ok(self.client.find(Locator::Css("body")).await?.text().await?)
    }

    /// Presses what `css` finds.
    pub async fn press(&self, css: &str) -> Result<()> {
        let found = self
            .client
            .wait()
            .at_most(Duration::from_secs(15))
            .for_element(Locator::Css(css))
            .await;
        found
            .with_context(|| format!("{css} in the window"))?
            .click()
            .await?;
        Ok(())
    }

    /// Types into what `css` finds.
    pub async fn fill(&self, css: &str, text: &str) -> Result<()> {
        let found = self
            .client
            .wait()
            .at_most(Duration::from_secs(15))
            .for_element(Locator::Css(css))
            .await;
        found
            .with_context(|| format!("{css} in the window"))?
            .send_keys(text)
            .await?;
        Ok(())
    }

    /// Chooses an entry of a list by its value.
    pub async fn choose(&self, css: &str, value: &str) -> Result<()> {
        let list = self.client.find(Locator::Css(css)).await?;
        let script = "arguments[0].value = arguments[1];
            arguments[0].dispatchEvent(new Event('change', { bubbles: true }))";
        let arguments = vec![serde_json::to_value(&list)?, value.into()];
        self.client.execute(script, arguments).await?;
        Ok(())
    }

    /// A picture of the web view as PNG, taken when what is in the page now was painted. The first one
    /// may come before anything was, so it is taken until it shows something.
    pub async fn screenshot(&self, path: &Path) -> Result<()> {
        let painted = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))";
        self.client.execute_async(painted, Vec::new()).await?;
        until("the web view to be painted", Duration::from_secs(10), || async {
            std::fs::write(path, self.client.screenshot().await.ok()?).ok()?;
            ensure_not_blank(path).ok()
        })
        .await
    }

    /// Keeps such a picture in `target/journeys`.
    pub async fn picture(&self, name: &str) -> Result<()> {
        let dir = build_dir()?.with_file_name("journeys");
        std::fs::create_dir_all(&dir)?;
        self.screenshot(&dir.join(format!("{name}.png"))).await
    }

    /// Ends the session and the program.
    pub async fn close(self) -> Result<()> {
        Ok(self.client.close().await?)
    }
}

/// Starts WebKitWebDriver inside the session, with these additional variables, and a WebDriver
/// session that starts what `options` (`webkitgtk:browserOptions`) names, else MiniBrowser.
pub(crate) async fn drive(
    session: &DesktopSession,
    log: &str,
    env: &[(String, String)],
    options: Option<Value>,
) -> Result<(Client, Process)> {
    let port = free_port()?;
    let mut driver = session.command("WebKitWebDriver");
    driver
        .arg(format!("--port={port}"))
        .envs(env.iter().map(|(name, value)| (name, value)))
        // what makes wry hand its web view to the driver
        .env("TAURI_WEBVIEW_AUTOMATION", "true");
    let driver = session.launch(&mut driver, log)?;
    until("WebKitWebDriver to listen", START, || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await?;
    let capabilities: Capabilities = options
        .map(|options| ("webkitgtk:browserOptions".to_owned(), options))
        .into_iter()
        .collect();
    let mut builder = ClientBuilder::new(HttpConnector::new());
    let url = format!("http://127.0.0.1:{port}");
    let begun = builder.capabilities(capabilities).connect(&url);
    match tokio::time::timeout(START, begun).await {
        Ok(client) => Ok((client?, driver)),
        Err(_) => bail!(
            "no web view within {START:?}; the driver printed:\n{}",
            driver.output()
        ),
    }
}
