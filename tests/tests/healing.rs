//! 2026.2.17 renews a login in one agent, and another one keeps the copy of before: when that is
//! refused, Kalit puts the newer one in its place without a browser.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kalit_journeys::kalit::{Kalit, expired_login};
use kalit_journeys::openclaw::{Release, TestHome, Version, finish, harness, read_json, release};
use kalit_journeys::token_endpoint::{Login, Mode, TokenEndpoint};
use serde_json::{Value, json};

const PROFILE: &str = "openai-codex:ada@example.com";

#[tokio::test]
async fn a_refused_copy_is_healed_from_the_agent_in_which_2026_2_17_renewed_it() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_2_17).await?;
    let (home, endpoint) = renewed_in_main(&release).await?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
    endpoint.once(Mode::Reused);
    let healed = kalit
        .run(&["refresh", PROFILE, "--agent", "work", "--json"])
        .await?;
    assert_eq!(
        (healed.code, healed.result()?),
        (0, "healed".to_owned()),
        "{healed:?}"
    );
    assert_eq!(stored(&home, "work")?, "test-refresh-1");
    let account = kalit.account("work", PROFILE).await?;
    assert_eq!(
        (&account["state"], &account["copiesIn"]),
        (&json!("healthy"), &json!(["main"]))
    );
    let history = kalit.run(&["history", "--json"]).await?.json()?;
    let told: Vec<_> = history["events"]
        .as_array()
        .context("no events")?
        .iter()
        .map(|event| (event["type"].as_str(), event["cause"].as_str()))
        .collect();
    assert!(told.contains(&(Some("repaired"), Some("healed"))), "{told:?}");
    assert!(
        !told.iter().any(|(kind, _)| *kind == Some("signed-out")),
        "{told:?}"
    );

    // OpenClaw uses it there, and from now on both copies are renewed with one request.
    assert_eq!(
        resolved(&release, &home, &endpoint, "work").await?,
        json!({"resolved": [endpoint.current_access("acct-ada")]})
    );
    let asked = endpoint.token_requests().len();
    let renewed = kalit
        .run(&["refresh", PROFILE, "--agent", "work", "--json"])
        .await?;
    assert_eq!(
        (renewed.code, renewed.result()?),
        (0, "refreshed".to_owned()),
        "{renewed:?}"
    );
    assert_eq!(
        (endpoint.token_requests().len(), endpoint.reuses()),
        (asked + 1, 0)
    );
    for agent in ["main", "work"] {
        assert_eq!(stored(&home, agent)?, "test-refresh-2", "{agent}");
    }
    println!("healing: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn where_the_refusal_ended_the_whole_login_one_more_renewal_tells_so() -> Result<()> {
    let release = release(Version::V2026_2_17).await?;
    let (home, endpoint) = renewed_in_main(&release).await?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
    let refresh = ["refresh", PROFILE, "--agent", "work", "--json"];
    let healed = kalit.run(&refresh).await?;
    assert_eq!(
        (healed.code, healed.result()?),
        (0, "healed".to_owned()),
        "{healed:?}"
    );
    assert_eq!(endpoint.reuses(), 1, "the server ends the login for that");
    let asked = endpoint.token_requests().len();
    for _ in 0..2 {
        let refused = kalit.run(&refresh).await?;
        assert_eq!(refused.error_code()?, "refresh.signed_out", "{refused:?}");
        assert_eq!(endpoint.token_requests().len(), asked + 1, "once and never again");
    }
    let account = kalit.account("work", PROFILE).await?;
    assert_eq!(account["state"], "signed-out");
    Ok(())
}

/// Agent work has the copy that 2026.2.17 made of main's login; then the release renewed it in main.
async fn renewed_in_main(release: &Release) -> Result<(TestHome, TokenEndpoint)> {
    let home = TestHome::new()?;
    home.write_config(&json!({"agents": {"list": [{"id": "main"}, {"id": "work"}]}}))?;
    let login = Login::named("ada", "test-refresh-0");
    let store = json!({"version": 1, "profiles": {PROFILE: expired_login(&login, "openai-codex")}});
    home.write_profiles("main", &store)?;
    let status = ["models", "status", "--json", "--agent", "work"];
    release.run(&home, &status, None).await?;
    let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
    let access = resolved(release, &home, &endpoint, "main").await?;
    assert_eq!(access, json!({"resolved": [endpoint.current_access("acct-ada")]}));
    assert_eq!(stored(&home, "main")?, "test-refresh-1");
    assert_eq!(stored(&home, "work")?, "test-refresh-0");
    Ok((home, endpoint))
}

/// What OpenClaw's own resolver answers for an agent.
async fn resolved(
    release: &Release,
    home: &TestHome,
    endpoint: &TokenEndpoint,
    agent: &str,
) -> Result<Value> {
    let mut script = release.command(home, &harness("resolve-profile.mjs"));
    script
        .arg(&release.package_dir)
        .arg(PROFILE)
        .arg(home.agent_dir(agent));
    script.envs(endpoint.node_env());
    let answered = finish(script, Some(b"go\n")).await?;
    let last = answered
        .stdout
        .lines()
        .last()
        .with_context(|| format!("{answered:?}"))?;
    Ok(serde_json::from_str(last)?)
}

fn stored(home: &TestHome, agent: &str) -> Result<Value> {
    Ok(read_json(&home.profiles_path(agent))?["profiles"][PROFILE]["refresh"].clone())
}
