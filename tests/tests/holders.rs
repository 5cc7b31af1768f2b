//! One login in several places: 2026.2.17 copies main's store, refresh token included, into every
//! agent, and other programs keep credential files of their own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kalit_journeys::kalit::{Kalit, expired_login};
use kalit_journeys::openclaw::{Release, TestHome, Version, finish, read_json, release, write_json};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use serde_json::{Value, json};

const PROFILE: &str = "openai-codex:ada@example.com";
const AGENTS: [&str; 3] = ["main", "work", "play"];

#[tokio::test]
async fn one_request_renews_the_login_in_every_agent_that_2026_2_17_copied_it_to() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_2_17).await?;
    let (home, endpoint) = scene(&release).await?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;

    let main = kalit.account("main", PROFILE).await?;
    assert_eq!(
        (&main["state"], &main["copiesIn"]),
        (&json!("expired"), &json!(["play", "work"]))
    );
    let refreshed = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (refreshed.code, refreshed.result()?),
        (0, "refreshed".to_owned()),
        "{refreshed:?}"
    );
    let outcome = &refreshed.json()?["outcomes"][0];
    assert_eq!(outcome["holders"].as_array().map(Vec::len), Some(3), "{outcome}");

    assert_eq!(endpoint.token_requests().len(), 1);
    let refresh = endpoint.current_refresh("acct-ada").context("no login")?;
    let access = endpoint.current_access("acct-ada").context("nothing issued")?;
    assert_eq!(refresh, "test-refresh-1");
    for agent in AGENTS {
        let profile = &read_json(&home.profiles_path(agent))?["profiles"][PROFILE];
        assert_eq!(
            (&profile["refresh"], &profile["access"]),
            (&json!(refresh), &json!(access)),
            "{agent}"
        );
        assert_eq!(profile["accountId"], "acct-ada");
        assert!(!home.agent_dir(agent).join("auth-profiles.json.lock").exists());
    }

    // OpenClaw's own resolver uses the answer in each agent and asks nothing of the endpoint.
    let mut script = release.command(&home, &kalit_journeys::openclaw::harness("resolve-profile.mjs"));
    script
        .arg(&release.package_dir)
        .arg(PROFILE)
        .envs(endpoint.node_env());
    for agent in AGENTS {
        script.arg(home.agent_dir(agent));
    }
    let resolved = finish(script, Some(b"go\n")).await?;
    let last = resolved.stdout.lines().last().context("no answer")?;
    let last: Value = serde_json::from_str(last).with_context(|| format!("{resolved:?}"))?;
    assert_eq!(
        last,
        json!({"resolved": [access, access, access]}),
        "{}",
        resolved.stderr
    );
    assert_eq!(endpoint.token_requests().len(), 1);
    println!("holders: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_login_that_codex_holds_too_is_never_sent() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_2_17).await?;
    let home = TestHome::new()?;
    let login = Login::named("ada", "test-refresh-0");
    home.write_profiles(
        "main",
        &json!({"version": 1, "profiles": {PROFILE: expired_login(&login, "openai-codex")}}),
    )?;
    let before = std::fs::read(home.profiles_path("main"))?;
    let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
    let codex = home.path().join("codex");
    let shared = json!({"tokens": {"access_token": "test-access", "refresh_token": "test-refresh-0", "account_id": "acct-ada"}});
    write_json(&codex.join("auth.json"), &shared)?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?
        .with_var("CODEX_HOME", codex.to_string_lossy());

    let refused = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (refused.code, refused.error_code()?),
        (77, "refresh.shared".to_owned()),
        "{refused:?}"
    );
    let in_words = kalit.run(&["refresh", PROFILE]).await?;
    assert_eq!(in_words.code, 77);
    assert!(in_words.stderr.contains("Codex CLI"), "{in_words:?}");
    let account = kalit.account("main", PROFILE).await?;
    assert_eq!(
        (&account["state"], &account["sharedWith"]),
        (&json!("shared"), &json!(["Codex CLI"]))
    );
    // The engine leaves it alone as well, and so does everything that is due.
    let due = kalit.run(&["refresh", "--due", "--json"]).await?;
    assert_eq!(due.error_code()?, "refresh.shared", "{due:?}");
    assert_eq!(endpoint.requests().len(), 0);
    assert_eq!(std::fs::read(home.profiles_path("main"))?, before);

    // Codex signs in again on its own: now the login is OpenClaw's alone.
    write_json(
        &codex.join("auth.json"),
        &json!({"tokens": {"refresh_token": "another"}}),
    )?;
    let refreshed = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (refreshed.code, endpoint.token_requests().len()),
        (0, 1),
        "{refreshed:?}"
    );
    println!("shared: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

/// Main with an expired login, and two agents to which the real release copied it.
async fn scene(release: &Release) -> Result<(TestHome, TokenEndpoint)> {
    let home = TestHome::new()?;
    let agents: Vec<Value> = AGENTS.iter().map(|id| json!({"id": id})).collect();
    home.write_config(&json!({"agents": {"list": agents}}))?;
    let login = Login::named("ada", "test-refresh-0");
    let store = json!({"version": 1, "profiles": {PROFILE: expired_login(&login, "openai-codex")}});
    home.write_profiles("main", &store)?;
    for agent in &AGENTS[1..] {
        let listed = release
            .run(&home, &["models", "status", "--json", "--agent", agent], None)
            .await?;
        let copied = read_json(&home.profiles_path(agent)).with_context(|| format!("{listed:?}"))?;
        assert_eq!(
            copied["profiles"][PROFILE]["refresh"], "test-refresh-0",
            "{agent}"
        );
    }
    let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
    Ok((home, endpoint))
}
