//! 2026.2.17 writes without a lock in `models auth paste-token` and `login`: what Kalit wrote
//! between its load and its save is lost. A running Kalit notices and puts it back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kalit_journeys::dialogue::Dialogue;
use kalit_journeys::kalit::{Kalit, expired_login};
use kalit_journeys::openclaw::{TestHome, Version, harness, read_json, release};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};

const PROFILE: &str = "openai-codex:ada@example.com";

#[tokio::test]
async fn a_running_kalit_repairs_what_a_lockless_writer_of_2026_2_17_lost() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_2_17).await?;
    let home = TestHome::new()?;
    let login = Login::named("ada", "test-refresh-0");
    let store = json!({"version": 1, "profiles": {PROFILE: expired_login(&login, "openai-codex")}});
    home.write_profiles("main", &store)?;
    let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;

    // OpenClaw has loaded the store when Kalit renews the expired login by itself.
    let mut writer = release.command(&home, &harness("lockless-writer.mjs"));
    writer.arg(&release.package_dir).args(["demo:pasted", "demo"]);
    writer.arg(home.agent_dir("main"));
    let mut writer = Dialogue::start(writer)?;
    writer.say("FAKE-TOKEN").await?;
    assert_eq!(writer.answer().await?, json!({"loaded": true}));
    let mut watching = kalit.watch().await?;
    let refreshed = watching.event("refreshed", Duration::from_secs(20)).await?;
    assert_eq!(refreshed["profileId"], PROFILE);
    let stored = || read_json(&home.profiles_path("main"));
    assert_eq!(stored()?["profiles"][PROFILE]["refresh"], "test-refresh-1");

    writer.say("go on").await?;
    assert_eq!(writer.answer().await?, json!({"saved": true}));
    let saved = Instant::now();
    assert!(writer.end().await?.success());
    let repaired = watching.event("repaired", Duration::from_secs(10)).await?;
    assert_eq!(
        (&repaired["profileId"], &repaired["cause"]),
        (&json!(PROFILE), &json!("went_back"))
    );
    println!("repaired {:.1} s after the save", saved.elapsed().as_secs_f32());
    let mended: Value = stored()?;
    let profile = &mended["profiles"][PROFILE];
    assert_eq!(profile["refresh"], "test-refresh-1");
    assert_eq!(profile["access"], json!(endpoint.current_access("acct-ada")));
    assert_eq!(profile["accountId"], "acct-ada");
    assert_eq!(
        mended["profiles"]["demo:pasted"],
        json!({"type": "token", "provider": "demo", "token": "FAKE-TOKEN"}),
        "what OpenClaw wrote is kept"
    );

    // Nothing was sent twice, and the login lives: the next renewal is accepted.
    assert_eq!((endpoint.token_requests().len(), endpoint.reuses()), (1, 0));
    let renewed = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (renewed.code, renewed.result()?),
        (0, "refreshed".to_owned()),
        "{renewed:?}"
    );
    assert_eq!((endpoint.token_requests().len(), endpoint.reuses()), (2, 0));
    let lock = home.agent_dir("main").join("auth-profiles.json.lock");
    until_some("the lock to be gone", Duration::from_secs(5), || {
        (!lock.exists()).then_some(())
    })
    .await?;
    println!("lockless: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_kalit_that_did_not_run_meanwhile_reports_it_and_sends_nothing() -> Result<()> {
    let release = release(Version::V2026_2_17).await?;
    let home = TestHome::new()?;
    let login = Login::named("ada", "test-refresh-0");
    let stale = json!({"version": 1, "profiles": {PROFILE: expired_login(&login, "openai-codex")}});
    home.write_profiles("main", &stale)?;
    let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
    let renewed = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(renewed.code, 0, "{renewed:?}");
    home.write_profiles("main", &stale)?;

    let refused = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (refused.code, refused.error_code()?),
        (69, "refresh.superseded".to_owned()),
        "{refused:?}"
    );
    let watching = kalit.watch().await?;
    let account = kalit.account("main", PROFILE).await?;
    let sentence = account["sentence"].as_str().context("no sentence")?;
    assert!(sentence.contains("went back to an older login"), "{sentence}");
    assert_eq!(
        (endpoint.token_requests().len(), endpoint.reuses()),
        (1, 0),
        "{:?}",
        watching.kinds()
    );
    Ok(())
}
