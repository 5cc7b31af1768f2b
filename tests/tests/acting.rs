//! Changes in the sqlite era: asked of Kalit, made by the real release, read back by it; and the
//! reverse.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_journeys::gateway::{Gateway, call};
use kalit_journeys::kalit::{Kalit, Ran, expired_login};
use kalit_journeys::openclaw::{Release, TestHome, Version, read_json, release};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

const ONE: &str = "anthropic:one";
const TWO: &str = "anthropic:two";
const ADA: &str = "openai:ada@example.com";

#[tokio::test]
async fn what_kalit_changes_2026_6_11_has_stored() -> Result<()> {
    acts(Version::V2026_6_11).await
}

#[tokio::test]
async fn what_kalit_changes_2026_7_1_has_stored() -> Result<()> {
    acts(Version::V2026_7_1).await
}

#[tokio::test]
async fn what_kalit_changes_2026_9_6_has_stored() -> Result<()> {
    acts(Version::V2026_9_6).await
}

async fn acts(version: Version) -> Result<()> {
    let scene = Scene::new(version).await?;
    scene.paste(ONE, &["--expires-in", "365d"]).await?;
    let key = format!("sk-ant-api03-{}", "two-".repeat(24));
    let paste = [
        "paste-api-key",
        "--provider",
        "anthropic",
        "--profile-id",
        TWO,
        "--json",
    ];
    let pasted = scene.kalit.run_with(&paste, &key).await?;
    ensure!(pasted.code == 0, "{pasted:?}");
    ensure!(
        !pasted.stdout.contains(&key) && !pasted.stderr.contains(&key),
        "the key was told"
    );
    let listed = scene.openclaw("main", &["list", "--json"]).await?;
    let profiles = listed["profiles"].as_array().context("no profiles")?;
    let kinds: BTreeMap<_, _> = profiles
        .iter()
        .map(|profile| (profile["id"].as_str(), profile["type"].as_str()))
        .collect();
    assert_eq!(
        kinds,
        BTreeMap::from([(Some(ONE), Some("token")), (Some(TWO), Some("api_key"))])
    );
    ensure!(
        profiles.iter().any(|profile| profile["expiresAt"].is_string()),
        "{listed}"
    );

    // Kalit switches, the release tells; the release clears, Kalit tells.
    scene.kalit(&["use", TWO]).await?;
    assert_eq!(scene.order("main").await?, json!([TWO, ONE]));
    let clear = ["order", "clear", "--provider", "anthropic"];
    scene.openclaw("main", &clear).await?;
    let get = ["order", "get", "--provider", "anthropic", "--json"];
    assert_eq!(scene.kalit(&get).await?.json()?["order"], Value::Null);

    // Only 2026.9.6 keeps an order of what another agent holds; the others say that they do.
    let for_work = [
        "order",
        "set",
        "--provider",
        "anthropic",
        "--agent",
        "work",
        TWO,
        ONE,
        "--json",
    ];
    let ran = scene.kalit.run(&for_work).await?;
    let removed = scene.kalit.run(&["remove", TWO, "--yes", "--json"]).await?;
    if version == Version::V2026_9_6 {
        assert_eq!(ran.json()?["effective"], TWO, "{ran:?}");
        ensure!(removed.code == 0, "{removed:?}");
        let listed = scene.openclaw("main", &["list", "--json"]).await?;
        assert_eq!(listed["profiles"].as_array().map(Vec::len), Some(1), "{listed}");
        // One for all agents takes the place of both.
        let globally = [
            "order",
            "set",
            "--global",
            "--provider",
            "anthropic",
            ONE,
            "--yes",
            "--json",
        ];
        let done = scene.kalit(&globally).await?.json()?;
        assert_eq!(done["preview"]["clears"], json!(["work"]), "{done}");
        let config = read_json(&scene.home.state_dir().join("openclaw.json"))?;
        assert_eq!(config["auth"]["order"], json!({"anthropic": [ONE]}));
        assert_eq!(scene.order("work").await?, Value::Null);
    } else {
        assert_eq!(ran.error_code()?, "profile.inherited", "{ran:?}");
        assert_eq!(removed.error_code()?, "openclaw.unsupported", "{removed:?}");
    }
    scene.only_openclaw_wrote().await
}

/// With a gateway of 2026.9.6: an order by its RPC, a pin and its end; nothing that makes it renew
/// a login it would lose; and that being told of any change makes it renew.
#[tokio::test]
async fn a_running_gateway_takes_orders_and_pins_and_is_kept_from_losing_a_login() -> Result<()> {
    let scene = Scene::new(Version::V2026_9_6).await?;
    for id in [ONE, TWO] {
        scene.paste(id, &[]).await?;
    }
    let mut gateway = Gateway::start(&scene.release, &scene.home, &scene.endpoint.node_env()).await?;

    scene
        .kalit(&["order", "set", "--provider", "anthropic", TWO, ONE])
        .await?;
    assert_eq!(gateway.asked("models.authOrderSet"), 1, "{}", gateway.log());

    let key = "agent:main:main";
    let model = json!({"key": key, "model": "anthropic/claude-opus-4-6"});
    let made = call(&scene.release, &scene.home, "sessions.patch", &model).await?;
    ensure!(made.status.success(), "{made:?}");
    let pinned = scene
        .kalit(&["sessions", "pin", key, ONE, "--json"])
        .await?
        .json()?;
    assert_eq!(pinned["profileId"], ONE, "{pinned}");
    let status = scene.kalit(&["status", "--json"]).await?.json()?;
    assert_eq!(
        status["kalit"]["agents"][0]["pins"][0]["profileId"], ONE,
        "{status:#}"
    );
    let unpinned = scene.kalit(&["sessions", "unpin", key, "--json"]).await?.json()?;
    assert_eq!(unpinned["profileId"], Value::Null, "{unpinned}");
    assert_eq!(unpinned["model"], "claude-opus-4-6", "{unpinned}");

    // A login that has ended, and nobody who could renew it.
    scene.seed_expired()?;
    scene.unreachable()?;
    let before = scene.stored(ADA)?;
    scene
        .kalit(&["order", "clear", "--provider", "anthropic"])
        .await?;
    assert_eq!(
        gateway.asked("models.authOrderSet"),
        1,
        "the gateway was not told"
    );
    let token = format!("sk-ant-oat01-{}", "three-".repeat(16));
    let paste = [
        "paste-token",
        "--provider",
        "anthropic",
        "--profile-id",
        "anthropic:three",
        "--json",
    ];
    let refused = scene.kalit.run_with(&paste, &token).await?;
    assert_eq!(refused.error_code()?, "openclaw.would_renew", "{refused:?}");
    let refused = scene.kalit.run(&["test-logins", "--yes", "--json"]).await?;
    assert_eq!(refused.error_code()?, "gateway.running", "{refused:?}");
    assert_eq!(scene.stored(ADA)?, before);
    assert_eq!(scene.endpoint.token_requests().len(), 0);

    // Being told does make it renew, so all that caution is needed.
    let told = json!({"operation": "update", "agentId": "main"});
    let told = call(&scene.release, &scene.home, "models.authRefresh", &told).await?;
    ensure!(told.status.success(), "{told:?}");
    scene.endpoint.arrived(1, Duration::from_secs(60)).await?;
    gateway.logs("models.authRefresh").await?;
    scene.only_openclaw_wrote().await
}

/// The logins are renewed at the endpoint that the release finds under OpenAI's names.
#[tokio::test]
async fn testing_logins_lets_2026_9_6_renew_what_is_due() -> Result<()> {
    let scene = Scene::new(Version::V2026_9_6).await?;
    scene.paste(ONE, &[]).await?;
    scene.seed_expired()?;
    let kept = scene.home.path().join("kalit/providers/openai.json");
    let manifest = read_json(&kept)?;
    scene.unreachable()?;
    let offline = scene.kalit.run(&["test-logins", "--yes", "--json"]).await?;
    assert_eq!(offline.error_code()?, "network.unreachable", "{offline:?}");
    assert_eq!(scene.endpoint.token_requests().len(), 0);

    kalit_journeys::openclaw::write_json(&kept, &manifest)?;
    let asked = scene.kalit.run(&["test-logins", "--json"]).await?;
    assert_eq!(asked.error_code()?, "confirmation.needed", "{asked:?}");
    let tested = scene.kalit(&["test-logins", "--yes", "--json"]).await?.json()?;
    assert_eq!(tested["logins"][0]["profileId"], ADA, "{tested}");
    assert_eq!(tested["logins"][0]["result"], "renewed", "{tested}");
    assert_eq!(scene.endpoint.token_requests().len(), 1);
    assert_eq!(scene.endpoint.reuses(), 0);
    assert_eq!(
        scene.stored(ADA)?["refresh"],
        json!(scene.endpoint.current_refresh("acct-ada"))
    );
    // There is no other way here to renew, and that is said.
    let refresh = scene.kalit.run(&["refresh", "--json"]).await?;
    let answer = refresh.json()?;
    assert_eq!(answer["error"]["code"], "era.sqlite", "{answer}");
    ensure!(
        answer["error"]["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("kalit test-logins")),
        "{answer}"
    );
    scene.only_openclaw_wrote().await
}

/// A release without accounts, Kalit beside it, and an endpoint for both.
struct Scene {
    home: TestHome,
    release: Release,
    kalit: Kalit,
    endpoint: TokenEndpoint,
}

impl Scene {
    async fn new(version: Version) -> Result<Self> {
        let (home, release) = (TestHome::new()?, release(version).await?);
        let agents = match version {
            Version::V2026_9_6 => json!({"ownership": "explicit", "entries": {"main": {}, "work": {}}}),
            _ => json!({"list": [{"id": "main"}, {"id": "work"}]}),
        };
        let mut config = json!({"agents": agents});
        // Another first model would make 2026.9.6 install a plugin.
        let model = json!({"primary": "anthropic/claude-opus-4-6", "fallbacks": ["xai/grok-4"]});
        config["agents"]["defaults"] = json!({"model": model});
        home.write_config(&config)?;
        let endpoint = TokenEndpoint::start(login(), Duration::from_secs(3600)).await?;
        endpoint.lead(&home)?;
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
        #[cfg(target_os = "linux")]
        let kalit = kalit.traced()?;
        Ok(Self {
            home,
            release,
            kalit,
            endpoint,
        })
    }

    /// The trace of everything above: OpenClaw changed its databases, and Kalit did not.
    async fn only_openclaw_wrote(&self) -> Result<()> {
        #[cfg(target_os = "linux")]
        {
            let written = self.kalit.databases_written().await?;
            assert_eq!(written.own, []);
            ensure!(!written.others.is_empty(), "the trace sees nothing");
        }
        Ok(())
    }

    /// `kalit <args>`, which ends well.
    async fn kalit(&self, args: &[&str]) -> Result<Ran> {
        let ran = self.kalit.run(args).await?;
        ensure!(ran.code == 0, "{args:?}: {ran:?}");
        Ok(ran)
    }

    async fn paste(&self, id: &str, more: &[&str]) -> Result<()> {
        let token = format!("sk-ant-oat01-{}", id.replace(':', "-").repeat(8));
        let paste = ["paste-token", "--provider", "anthropic", "--profile-id", id];
        let ran = self.kalit.run_with(&[&paste, more].concat(), &token).await?;
        ensure!(ran.code == 0, "{ran:?}");
        Ok(())
    }

    /// `openclaw models auth --agent <agent> <args>`; with `--json` its answer.
    async fn openclaw(&self, agent: &str, args: &[&str]) -> Result<Value> {
        let all = [&["models", "auth", "--agent", agent][..], args].concat();
        let output = self.release.run(&self.home, &all, None).await?;
        ensure!(output.status.success(), "{args:?}: {output:?}");
        if args.contains(&"--json") {
            output.json()
        } else {
            Ok(Value::Null)
        }
    }

    /// The stored order, as the release tells it.
    async fn order(&self, agent: &str) -> Result<Value> {
        let get = ["order", "get", "--provider", "anthropic", "--json"];
        Ok(self.openclaw(agent, &get).await?["order"].clone())
    }

    /// Puts an expired login of the endpoint's into the shared store of 2026.9.6.
    fn seed_expired(&self) -> Result<()> {
        let database = self.shared()?;
        let old = self.cell(&database)?;
        let mut store: Value = serde_json::from_str(&old)?;
        store["profiles"][ADA] = expired_login(&login(), "openai");
        let update = "UPDATE config_machine_state SET value_json = ?1, updated_at_ms = updated_at_ms + 1
                      WHERE state_key = 'authProfiles.store' AND value_json = ?2";
        ensure!(
            database.execute(update, params![store.to_string(), old])? == 1,
            "changed meanwhile"
        );
        Ok(())
    }

    /// Lets Kalit find nobody at the provider's token host.
    fn unreachable(&self) -> Result<()> {
        let path = self.home.path().join("kalit/providers/openai.json");
        let mut manifest = read_json(&path)?;
        let closed = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        manifest["tokenUrl"] = json!(format!("http://{closed}/oauth/token"));
        kalit_journeys::openclaw::write_json(&path, &manifest)
    }

    /// A profile of the shared store.
    fn stored(&self, id: &str) -> Result<Value> {
        let store: Value = serde_json::from_str(&self.cell(&self.shared()?)?)?;
        Ok(store["profiles"][id].clone())
    }

    fn shared(&self) -> Result<Connection> {
        let database = Connection::open(self.home.state_dir().join("state/openclaw.sqlite"))?;
        database.busy_timeout(Duration::from_secs(10))?;
        Ok(database)
    }

    fn cell(&self, database: &Connection) -> Result<String> {
        let query = "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'";
        Ok(database.query_row(query, [], |row| row.get(0))?)
    }
}

fn login() -> Login {
    Login::named("ada", "test-refresh-0")
}
