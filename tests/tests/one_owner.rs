//! Main as the one owner of a login that 2026.2.17 copied into every agent: the real releases
//! resolve it in each agent without a copy, and it can be undone.

use std::time::Instant;

use anyhow::{Context, Result};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{Release, TestHome, Version, read_json, release};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use serde_json::{Value, json};

const PROFILE: &str = "openai-codex:ada@example.com";
const AGENTS: [&str; 2] = ["play", "work"];

#[tokio::test]
async fn agents_of_2026_2_17_resolve_mains_login_without_a_copy_and_it_can_be_undone() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_2_17).await?;
    let home = copied().await?;
    let kalit = kalit_for(&home, &release).await?;

    let asked = kalit.run(&["one-owner", PROFILE, "--json"]).await?;
    assert_eq!(asked.error_code()?, "confirmation.needed", "{asked:?}");
    assert!(
        AGENTS
            .iter()
            .all(|agent| held(&home, agent).is_ok_and(|held| held))
    );

    let done = kalit.run(&["one-owner", PROFILE, "--yes", "--json"]).await?;
    assert_eq!(done.code, 0, "{done:?}");
    let done = done.json()?;
    for agent in AGENTS {
        assert!(!held(&home, agent)?, "{agent} has a copy");
    }
    assert!(held(&home, "main")?);
    for copy in done["copies"].as_array().context("no copies")? {
        assert_eq!(
            (&copy["usesNow"], &copy["usesThen"], &copy["resolves"]),
            (&json!(PROFILE), &json!(PROFILE), &json!(true)),
            "{copy}"
        );
    }
    for agent in AGENTS {
        assert!(resolves(&release, &home, agent).await?, "{agent}");
        assert!(!held(&home, agent)?, "looking at it copies nothing");
        assert_eq!(kalit.account(agent, PROFILE).await?["inherited"], true);
    }
    let again = kalit.run(&["one-owner", PROFILE, "--yes", "--json"]).await?;
    assert_eq!(again.error_code()?, "owner.not_needed");

    let snapshot = done["snapshot"].as_str().context("no snapshot")?;
    let undone = kalit
        .run(&["snapshots", "restore", snapshot, "--yes", "--json"])
        .await?;
    assert_eq!(undone.code, 0, "{undone:?}");
    for agent in AGENTS {
        assert!(held(&home, agent)?, "{agent} has its copy again");
        assert!(resolves(&release, &home, agent).await?, "{agent}");
    }
    println!("one owner: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn what_2026_2_17_left_is_taken_out_under_2026_4_29_which_reads_through() -> Result<()> {
    let release = release(Version::V2026_4_29).await?;
    let home = copied().await?;
    let kalit = kalit_for(&home, &release).await?;
    let done = kalit.run(&["one-owner", PROFILE, "--yes", "--json"]).await?;
    assert_eq!(done.code, 0, "{done:?}");
    for agent in AGENTS {
        assert!(!held(&home, agent)?, "{agent} has a copy");
        assert!(resolves(&release, &home, agent).await?, "{agent}");
    }
    Ok(())
}

/// Main's login, and the copies that the real 2026.2.17 made of it. Nothing is due.
async fn copied() -> Result<TestHome> {
    let copying = release(Version::V2026_2_17).await?;
    let home = TestHome::new()?;
    let agents = ["main", "play", "work"].map(|id| json!({"id": id}));
    home.write_config(&json!({"agents": {"list": agents}}))?;
    let store = json!({"version": 1, "profiles": {PROFILE: {
        "type": "oauth", "provider": "openai-codex", "access": "test-access", "refresh": "test-refresh-0",
        "expires": SystemClock.now().as_millis() + 9 * 86_400_000, "accountId": "acct-ada", "email": "ada@example.com",
    }}});
    home.write_profiles("main", &store)?;
    for agent in AGENTS {
        assert!(resolves(&copying, &home, agent).await?);
        assert!(held(&home, agent)?, "{agent} has a copy");
    }
    Ok(home)
}

async fn kalit_for(home: &TestHome, release: &Release) -> Result<Kalit> {
    let login = Login::named("ada", "test-refresh-0");
    let endpoint = TokenEndpoint::start(login, std::time::Duration::from_secs(3600)).await?;
    Kalit::new(home, release, &endpoint.manifest(&[1455]))
}

/// Whether OpenClaw's own `models status` has the account for an agent.
async fn resolves(release: &Release, home: &TestHome, agent: &str) -> Result<bool> {
    let args = ["models", "status", "--json", "--agent", agent];
    let status = release.run(home, &args, None).await?;
    // 2026.2.17 says first that it copied main's store.
    let json = status.stdout.find('{').map_or("", |at| &status.stdout[at..]);
    let json: Value = serde_json::from_str(json).with_context(|| format!("{status:?}"))?;
    let profiles = json["auth"]["oauth"]["profiles"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(profiles.iter().any(|profile| profile["profileId"] == PROFILE))
}

fn held(home: &TestHome, agent: &str) -> Result<bool> {
    let store = read_json(&home.profiles_path(agent))?;
    Ok(store["profiles"][PROFILE]["refresh"] == "test-refresh-0")
}
