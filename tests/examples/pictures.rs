//! The pictures of the documents, of the real programs on a real desktop (Linux): `cargo xtask pictures`
//! builds both programs and puts them into `docs/images`.

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    use anyhow::{Context, Result, ensure};
    use kalit_core::clock::{Clock, SystemClock};
    use kalit_journeys::authserver::{self, AuthorizationServer};
    use kalit_journeys::desktop::{DesktopSession, Part};
    use kalit_journeys::http::free_port;
    use kalit_journeys::kalit::directories;
    use kalit_journeys::notifications::NotificationMonitor;
    use kalit_journeys::openclaw::{TestHome, write_json};
    use kalit_journeys::process::{Process, binary, run, workspace};
    use kalit_journeys::token_endpoint::{Login, access_token};
    use kalit_journeys::tray::{self, TrayItem};
    use kalit_journeys::wait::until_some;
    use kalit_journeys::webview::WebView;
    use serde_json::{Map, Value, json};

    const SOON: Duration = Duration::from_secs(60);
    const HOUR: i64 = 60 * 60 * 1000;
    const DAY: i64 = 24 * HOUR;
    const SIZE: (u32, u32) = (900, 690);

    pub async fn all() -> Result<()> {
        let session = DesktopSession::start(&Part::ALL).await?;
        let place = Place::new().await?;
        let monitor = NotificationMonitor::start(&session).await?;
        let (kalit, item) = place.tray(&session).await?;
        let outcome = place.pictures(&session, &monitor, &item).await;
        outcome.with_context(|| kalit.output())
    }

    /// Two agents, as somebody has them after a few weeks.
    struct Place {
        home: TestHome,
        _server: AuthorizationServer,
    }

    impl Place {
        async fn new() -> Result<Self> {
            let home = TestHome::new()?;
            let server = AuthorizationServer::start(authserver::Options::default()).await?;
            let manifest = authserver::manifest(&server.url(), &[free_port()?, free_port()?]);
            write_json(&home.path().join("kalit/providers/openai.json"), &manifest)?;
            home.write_config(&json!({
                "meta": {"lastTouchedVersion": "2026.6.1"},
                "agents": {"list": [{"id": "main", "default": true}, {"id": "research"}]},
            }))?;
            let now = SystemClock.now().as_millis();
            let main = [
                login("ada", 6 * DAY + 7 * HOUR)?,
                login("hedy", 2 * DAY + 4 * HOUR)?,
                login("mary", 4 * DAY + HOUR)?,
                token("anthropic:max", 211 * DAY),
            ];
            let order = json!({"openai": ["openai:ada@example.com", "openai:hedy@example.com", "openai:mary@example.com"]});
            let usage = json!({"openai:mary@example.com": {"errorCount": 1,
                "cooldownUntil": now + 12 * HOUR / 60, "cooldownReason": "rate_limit"},
                "openai:ada@example.com": {"lastUsed": now - HOUR}});
            for agent in ["main", "research"] {
                fs::create_dir_all(home.agent_dir(agent))?;
            }
            home.write_profiles("main", &store(main))?;
            home.write_state(
                "main",
                &json!({"version": 1, "order": order, "usageStats": usage}),
            )?;
            let research = [
                login("grace", 8 * DAY + 2 * HOUR)?,
                token("anthropic:team", 90 * DAY),
            ];
            home.write_profiles("research", &store(research))?;
            Ok(Self {
                home,
                _server: server,
            })
        }

        fn env(&self) -> Vec<(String, String)> {
            let mut vars = directories(&self.home);
            vars.push(("HOME".to_owned(), self.home.path().display().to_string()));
            vars
        }

        async fn tray(&self, session: &DesktopSession) -> Result<(Process, TrayItem)> {
            let mut command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
            let kalit = session.launch(command.envs(self.env()), "kalit-desktop")?;
            let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await;
            let item = item.with_context(|| kalit.output())?;
            Ok((kalit, item))
        }

        async fn window(&self, session: &DesktopSession, route: &str) -> Result<WebView> {
            let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
            let window = WebView::open(session, &program, &[route], &self.env()).await?;
            let (width, height) = SIZE;
            window.client().set_window_rect(0, 0, width, height).await?;
            Ok(window)
        }

        async fn pictures(
            &self,
            session: &DesktopSession,
            monitor: &NotificationMonitor,
            item: &TrayItem,
        ) -> Result<()> {
            item.menu_with("ada@example.com", SOON).await?;
            menu(session).await?;
            let window = self.window(session, "board").await?;
            window.shows("grace@example.com", SOON).await?;
            // The question of the first start is answered.
            window.press("[data-action=first-keep]").await?;
            until_some_gone(&window, "[data-action=first-keep]").await?;
            shot(&window, "board").await?;
            window.go("#/account/main/openai:ada%40example.com").await?;
            window.shows("Why this account is used", SOON).await?;
            window.client().set_window_rect(0, 0, SIZE.0, 560).await?;
            shot(&window, "account").await?;
            window.go("#/sign-in/openai?agent=main").await?;
            window.shows("Waiting for you in the browser", SOON).await?;
            shot(&window, "sign-in").await?;
            window.close().await?;

            // Sealed by now: what disappears can be put back.
            let path = self.home.profiles_path("main");
            let mut left: Value = serde_json::from_slice(&fs::read(&path)?)?;
            let profiles = left["profiles"].as_object_mut().context("no profiles")?;
            profiles.remove("openai:hedy@example.com");
            self.home.write_profiles("main", &left)?;
            until_some("the notification", SOON, || {
                monitor.notifications().first().map(|_| ())
            })
            .await?;
            notification(session).await
        }
    }

    fn store(profiles: impl IntoIterator<Item = (String, Value)>) -> Value {
        let profiles: Map<String, Value> = profiles.into_iter().collect();
        json!({"version": 1, "profiles": profiles})
    }

    fn login(name: &str, left: i64) -> Result<(String, Value)> {
        let login = Login::named(name, &format!("test-refresh-{name}"));
        let lifetime = Duration::from_millis(u64::try_from(left)?);
        let profile = json!({
            "type": "oauth", "provider": "openai", "access": access_token(&login, lifetime, 1),
            "refresh": login.refresh, "expires": SystemClock.now().as_millis() + left,
            "email": login.email, "accountId": login.account_id,
        });
        Ok((format!("openai:{}", login.email), profile))
    }

    fn token(id: &str, left: i64) -> (String, Value) {
        let profile = json!({
            "type": "token", "provider": "anthropic", "token": format!("fake-{id}"),
            "expires": SystemClock.now().as_millis() + left,
        });
        (id.to_owned(), profile)
    }

    async fn until_some_gone(window: &WebView, css: &str) -> Result<()> {
        let script = format!("return document.querySelector('{css}') === null");
        kalit_journeys::wait::until(&format!("{css} to be gone"), SOON, || async {
            let gone = window.client().execute(&script, Vec::new()).await.ok()?;
            (gone == Value::Bool(true)).then_some(())
        })
        .await
    }

    fn target(name: &str) -> PathBuf {
        workspace().join("docs/images").join(format!("{name}.png"))
    }

    async fn shot(window: &WebView, name: &str) -> Result<()> {
        // Not even what the pointer is over.
        tokio::time::sleep(Duration::from_secs(1)).await;
        window.screenshot(&target(name)).await?;
        small(&target(name))
    }

    /// Few colours are enough, and a picture without a date is the same when nothing has changed.
    fn small(path: &Path) -> Result<()> {
        let mut convert = Command::new("convert");
        convert.arg(path).args(["-strip", "-colors", "96", "-define"]);
        convert.args([
            "png:exclude-chunks=date,time",
            "-define",
            "png:compression-level=9",
        ]);
        run(convert.arg(path))?;
        Ok(())
    }

    /// The menu of the tray with one of its submenus open.
    async fn menu(session: &DesktopSession) -> Result<()> {
        // The panel's last place, at the right of the top, is the icon's.
        press(session, &["mousemove", "1268", "16"])?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        press(session, &["click", "3"])?;
        // Its lines come when it is opened first; only then does the panel know its size.
        for key in ["Down", "Down", "Up", "Right"] {
            press(session, &["key", key])?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        session.screenshot(&target("tray"))?;
        press(
            session,
            &["key", "Escape", "Escape", "Escape", "mousemove", "200", "400"],
        )?;
        crop(&target("tray"), "640x410+640+0")
    }

    async fn notification(session: &DesktopSession) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        session.screenshot(&target("notification"))?;
        crop(&target("notification"), "420x200+860+0")
    }

    fn press(session: &DesktopSession, arguments: &[&str]) -> Result<()> {
        run(session.command("xdotool").args(arguments))?;
        std::thread::sleep(Duration::from_millis(400));
        Ok(())
    }

    fn crop(path: &Path, part: &str) -> Result<()> {
        let mut convert = Command::new("convert");
        run(convert.arg(path).args(["-crop", part, "+repage"]).arg(path))?;
        ensure!(path.is_file());
        small(path)
    }
}

#[cfg(target_os = "linux")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    linux::all().await
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("The pictures are made on Linux.");
}
