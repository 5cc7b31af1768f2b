//! The history: what Kalit and others do is kept once each, in order, over restarts and for every
//! process; a broken file of it costs nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, read_json, release, write_json};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint, access_token, last_page};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_secs(864_000);

#[tokio::test]
async fn everything_that_happens_to_an_account_is_kept_once_and_in_order() -> Result<()> {
    let scene = Scene::new().await?;
    let (ada, bob) = (&scene.ids[0], &scene.ids[1]);
    assert_eq!(scene.history(&[]).await?["events"], json!([]));
    let mut watch = scene.kalit.watch().await?;

    scene.sign_in().await?;
    // The other process sees it come, and keeps nothing of that.
    watch.event("added", SOON).await?;
    scene.run(&["refresh", ada]).await?;
    scene.run(&["use", bob]).await?;
    // A program without Kalit renews it: later in its claims, and of the same person.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let path = scene.home.profiles_path("main");
    let mut store = read_json(&path)?;
    store["profiles"][ada]["access"] = json!(access_token(&scene.login, LIFETIME, 99));
    store["profiles"][ada]["refresh"] = json!("test-refresh-by-another-program");
    write_json(&path, &store)?;
    watch.event("adopted", SOON).await?;
    scene.run(&["remove", ada, "--yes"]).await?;

    let expected = ["signed-in", "refreshed", "switched", "adopted", "removed"];
    let told = scene.told(&[]).await?;
    assert_eq!(told, expected, "{:#}", scene.history(&[]).await?);
    drop(watch);
    // Another process looks at the same stores: nothing is told again.
    let watch = scene.kalit.watch().await?;
    scene.run(&["status"]).await?;
    assert_eq!(scene.told(&[]).await?, expected);
    drop(watch);

    let all = scene.history(&[]).await?;
    for event in all["events"].as_array().context("no events")? {
        assert_eq!(event["agent"], "main", "{event}");
        let (id, cause) = (&event["profileId"], event["cause"].as_str());
        let switched = event["type"] == "switched";
        assert_eq!(id, if switched { bob } else { ada }, "{event}");
        let outside = event["type"] == "adopted";
        assert_eq!(cause, Some(if outside { "outside" } else { "kalit" }), "{event}");
    }
    ensure!(!all.to_string().contains("test-refresh"), "a token: {all}");
    let sources: Vec<_> = all["events"]
        .as_array()
        .context("no events")?
        .iter()
        .rev()
        .collect();
    let sources: Vec<_> = sources.iter().map(|event| &event["source"]).collect();
    assert_eq!(sources, ["person", "kalit", "person", "unknown", "person"]);
    // One login is one family, whoever renews it.
    let families = |events: &Value| -> Vec<Value> {
        let events = events["events"].as_array().cloned().unwrap_or_default();
        events.iter().map(|event| event["family"].clone()).collect()
    };
    let of_ada = scene
        .history(&["--type", "refreshed", "--type", "adopted"])
        .await?;
    let family = families(&of_ada)[0].as_str().context("no family")?.to_owned();
    assert_eq!(families(&of_ada), [family.as_str(), family.as_str()]);
    assert_eq!(
        scene.told(&["--family", &family]).await?,
        ["signed-in", "refreshed", "adopted", "removed"]
    );
    assert_eq!(scene.told(&["--search", "BOB switched"]).await?, ["switched"]);
    assert_eq!(
        scene.told(&["--since", "1d", "--search", "nobody"]).await?,
        [""; 0]
    );
    let unknown = scene.kalit.run(&["history", "--type", "lost", "--json"]).await?;
    assert_eq!(unknown.code, 64, "{unknown:?}");
    // An export holds the same, the oldest first, and goes over nothing.
    let file = scene.home.path().join("events.jsonl");
    let export = ["history", "--json", "--export", file.to_str().context("a path")?];
    let ran = scene.kalit.run(&export).await?;
    assert_eq!((ran.code, &ran.json()?["count"]), (0, &json!(5)), "{ran:?}");
    let lines = std::fs::read_to_string(&file)?;
    let lines = lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    let mut events = all["events"].as_array().context("no events")?.clone();
    events.reverse();
    assert_eq!(lines, events);
    let again = scene.kalit.run(&export).await?;
    assert_eq!(
        (again.code, again.error_code()?),
        (64, "usage".to_owned()),
        "{again:?}"
    );
    assert_eq!(scene.told(&["--profile", bob]).await?, ["switched"]);
    let newest = scene.history(&["--limit", "2"]).await?;
    assert_eq!(newest["events"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&newest["events"][0]["type"], &newest["hasMore"]),
        (&json!("removed"), &json!(true))
    );

    // Broken: set aside and begun anew.
    let file = scene.home.path().join("kalit/data/events.sqlite");
    let garbage = "this is no database ".repeat(500);
    for side in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(file.with_file_name(format!("events.sqlite{side}")));
    }
    std::fs::write(&file, &garbage)?;
    scene.run(&["use", bob]).await?;
    let begun = scene.history(&[]).await?;
    assert_eq!(begun["events"][0]["type"], "switched", "{begun}");
    let aside = begun["setAside"].as_str().context("nothing was set aside")?;
    assert_eq!(std::fs::read_to_string(aside)?, garbage);
    Ok(())
}

struct Scene {
    home: TestHome,
    kalit: Kalit,
    login: Login,
    ids: [String; 2],
    _endpoint: TokenEndpoint,
}

impl Scene {
    /// Bob's login is there, Ada has none yet.
    async fn new() -> Result<Self> {
        let home = TestHome::new()?;
        let [login, bob] = ["ada", "bob"].map(|name| Login::named(name, &format!("test-refresh-{name}")));
        let endpoint = TokenEndpoint::start(login.clone(), LIFETIME).await?;
        let release = release(Version::V2026_6_1).await?;
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[free_port()?]))?;
        let ids = [&login, &bob].map(|login| format!("openai:{}", login.email));
        let stored = json!({
            "type": "oauth", "provider": "openai", "access": access_token(&bob, LIFETIME, 0),
            "refresh": bob.refresh, "expires": SystemClock.now().as_millis() + 864_000_000,
            "accountId": bob.account_id, "email": bob.email,
        });
        home.write_profiles("main", &json!({"version": 1, "profiles": {&ids[1]: stored}}))?;
        Ok(Self {
            home,
            kalit,
            login,
            ids,
            _endpoint: endpoint,
        })
    }

    async fn run(&self, args: &[&str]) -> Result<()> {
        let ran = self.kalit.run(args).await?;
        ensure!(ran.code == 0, "{args:?}: {ran:?}");
        Ok(())
    }

    /// Ada signs in, and pastes the address of the last page.
    async fn sign_in(&self) -> Result<()> {
        let consent = async |url: &str| last_page(url, &self.login.account_id);
        self.kalit.signs_in(&["login", "openai"], consent).await
    }

    async fn history(&self, more: &[&str]) -> Result<Value> {
        let ran = self.kalit.run(&[&["history", "--json"], more].concat()).await?;
        ensure!(ran.code == 0, "{ran:?}");
        ran.json()
    }

    /// What is told, oldest first.
    async fn told(&self, more: &[&str]) -> Result<Vec<String>> {
        let history = self.history(more).await?;
        let events = history["events"].as_array().context("no events")?;
        let kinds = events.iter().rev().filter_map(|event| event["type"].as_str());
        Ok(kinds.map(str::to_owned).collect())
    }
}
