//! Lost logins: OpenClaw's own refresh is refused while Kalit watches, and a revoked login.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kalit_core::broker::{RefreshResult, RefreshTarget};
use kalit_core::clock::{Clock, ManualClock, SystemClock};
use kalit_core::ids::{AgentId, ProfileId};
use kalit_journeys::kalit::{Kalit, account, expired_login};
use kalit_journeys::openclaw::{TestHome, Version, finish, read_json, release, write_json};
use kalit_journeys::token_endpoint::{Door, Login, Mode, TokenEndpoint};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};

const PROFILE: &str = "openai:ada@example.com";
/// From the change of the file to the event and the status.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_refusal_of_2026_6_1s_own_refresh_is_told_within_two_seconds() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_6_1).await?;
    let (home, endpoint, kalit) = scene(&release).await?;
    home.write_state("main", &json!({"version": 1, "lastGood": {"openai": PROFILE}}))?;
    // Kalit only watches: else it would renew the expired login before OpenClaw does.
    let settings = home.path().join("kalit/config/settings.json");
    let mut watch_only = read_json(&settings)?;
    watch_only["watchOnly"] = json!(true);
    write_json(&settings, &watch_only)?;
    let mut watching = kalit.watch().await?;
    assert_eq!(kalit.account("main", PROFILE).await?["state"], "expired");

    endpoint.set_mode(Mode::Reused);
    let mut command = release.command(&home, &release.package_dir.join("openclaw.mjs"));
    command
        .args(["status", "--usage", "--json"])
        .envs(endpoint.node_env());
    let openclaw = tokio::spawn(finish(command, None));
    until_some("the mark of the refusal", Duration::from_secs(120), || {
        let state = read_json(&home.state_path("main"));
        state
            .map_or(true, |state| state["lastGood"]["openai"].is_null())
            .then_some(())
    })
    .await?;
    let changed = Instant::now();
    let event = watching
        .event("openclaw-refused", Duration::from_secs(10))
        .await?;
    let told = changed.elapsed();
    let account = kalit.account("main", PROFILE).await?;
    let shown = changed.elapsed();
    assert_eq!(
        (&event["profileId"], &event["agent"]),
        (&json!(PROFILE), &json!("main"))
    );
    assert_eq!(event["cause"], "last_good_removed");
    assert_eq!(account["state"], "refused");
    assert_eq!(account["lost"]["signal"], "openclaw-refused");
    assert!(
        told < SOON && shown < SOON,
        "event after {told:?}, status after {shown:?}"
    );
    openclaw.await??;
    let doors: Vec<Door> = endpoint
        .token_requests()
        .iter()
        .map(|request| request.door)
        .collect();
    assert!(
        doors.iter().all(|door| *door == Door::Tls),
        "Kalit sent nothing: {doors:?}"
    );

    // Check now: Kalit's own request decides.
    let checked = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (checked.code, checked.error_code()?),
        (69, "refresh.signed_out".to_owned()),
        "{checked:?}"
    );
    let account = kalit.account("main", PROFILE).await?;
    assert_eq!(
        (&account["state"], &account["lost"]["cause"]),
        (&json!("signed-out"), &json!("refresh_token_reused"))
    );
    assert_eq!(endpoint.token_requests().len(), doors.len() + 1);
    println!(
        "refused: {:.1} s, told after {:.1} s",
        started.elapsed().as_secs_f32(),
        told.as_secs_f32()
    );
    Ok(())
}

#[tokio::test]
async fn a_check_that_succeeds_takes_the_suspicion_back() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_6_1).await?;
    let (home, endpoint, kalit) = scene(&release).await?;
    // As 2026.6.1 leaves a refused session in an agent run.
    let now = SystemClock.now().as_millis();
    let stats = json!({PROFILE: {
        "lastFailureAt": now - 1000, "errorCount": 1, "failureCounts": {"session_expired": 1},
        "cooldownUntil": now + 30_000, "cooldownReason": "session_expired",
    }});
    home.write_state("main", &json!({"version": 1, "usageStats": stats}))?;
    assert_eq!(kalit.account("main", PROFILE).await?["state"], "refused");
    let checked = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (checked.code, checked.result()?),
        (0, "refreshed".to_owned()),
        "{checked:?}"
    );
    let account = kalit.account("main", PROFILE).await?;
    assert_eq!(
        (&account["lost"], &account["state"]),
        (&Value::Null, &json!("cooling-down"))
    );
    assert_eq!(endpoint.token_requests().len(), 1);
    println!("suspicion: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_revoked_login_is_signed_out_once_and_never_sent_again() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_6_1).await?;
    let (home, endpoint, kalit) = scene(&release).await?;
    let before = std::fs::read(home.profiles_path("main"))?;
    endpoint.revoke("acct-ada");

    let mut watching = kalit.watch().await?;
    let event = watching.event("signed-out", Duration::from_secs(20)).await?;
    assert_eq!(
        (&event["profileId"], &event["cause"]),
        (&json!(PROFILE), &json!("refresh_token_invalidated"))
    );
    let account = kalit.account("main", PROFILE).await?;
    assert_eq!(
        (&account["state"], &account["lost"]["cause"]),
        (&json!("signed-out"), &json!("refresh_token_invalidated"))
    );
    let sentence = account["sentence"].as_str().context("no sentence")?;
    assert!(sentence.ends_with("Sign in again."), "{sentence}");
    let why = kalit.run(&["why", PROFILE, "--json"]).await?.json()?;
    assert_eq!(
        (&why["cause"], &why["confidence"], &why["signedOut"]),
        (&json!("ended-by-provider"), &json!("likely"), &json!(true)),
        "{why}"
    );
    assert_eq!(why["sentence"], account["lost"]["text"]);
    let checked = kalit.run(&["status", "--check", "--json"]).await?;
    assert_eq!(checked.code, 1);
    drop(watching);

    let mut restarted = kalit.watch().await?;
    let again = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_eq!(
        (again.code, again.error_code()?),
        (69, "refresh.signed_out".to_owned()),
        "{again:?}"
    );
    // Another login of the agent shows that the engine looked, and looked past the dead one.
    let grace = Login::named("grace", "test-refresh-grace");
    let mut store = read_json(&home.profiles_path("main"))?;
    store["profiles"]["openai:grace@example.com"] = expired_login(&grace, "openai");
    endpoint.add_login(grace);
    home.write_profiles("main", &store)?;
    let renewed = restarted.event("refreshed", Duration::from_secs(20)).await?;
    assert_eq!(renewed["profileId"], "openai:grace@example.com");
    assert!(
        !restarted.kinds().contains(&"signed-out".to_owned()),
        "{:?}",
        restarted.kinds()
    );

    let sent = endpoint.token_requests();
    let sent: Vec<_> = sent
        .iter()
        .filter_map(|request| request.refresh_token())
        .collect();
    assert_eq!(sent, ["test-refresh-0", "test-refresh-grace"]);
    let kept: Value = serde_json::from_slice(&before)?;
    let after = read_json(&home.profiles_path("main"))?;
    assert_eq!(
        after["profiles"][PROFILE], kept["profiles"][PROFILE],
        "the credential is kept"
    );
    println!("revoked: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_refusal_without_a_code_is_told_after_the_fourth_attempt() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_6_1).await?;
    let (_home, endpoint, kalit) = scene(&release).await?;
    endpoint.set_mode(Mode::Unexplained);
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let broker = kalit.broker(clock.clone())?;
    let profile = ProfileId::parse(PROFILE).context("no profile id")?;
    let mut states = Vec::new();
    for minutes in [0, 1, 5, 15] {
        clock.advance_millis(minutes * 60_000);
        let target = RefreshTarget::Profile(AgentId::main(), profile.clone());
        let outcomes = broker.refresh(target).await;
        assert_eq!(outcomes[0].result, RefreshResult::Failed, "{outcomes:?}");
        let snapshot = serde_json::to_value(broker.snapshot())?;
        let account = account(&snapshot, "main", PROFILE)?;
        states.push((account["state"].clone(), account["lost"]["signal"].clone()));
    }
    let uncertain = (json!("expired"), Value::Null);
    let told = (json!("suspected"), json!("suspected"));
    assert_eq!(states, [uncertain.clone(), uncertain.clone(), uncertain, told]);

    endpoint.set_mode(Mode::Ok);
    let outcomes = broker
        .refresh(RefreshTarget::Profile(AgentId::main(), profile))
        .await;
    assert_eq!(outcomes[0].result, RefreshResult::Refreshed, "{outcomes:?}");
    let snapshot = serde_json::to_value(broker.snapshot())?;
    assert_eq!(account(&snapshot, "main", PROFILE)?["lost"], Value::Null);
    println!("suspected: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

async fn scene(release: &kalit_journeys::openclaw::Release) -> Result<(TestHome, TokenEndpoint, Kalit)> {
    let home = TestHome::new()?;
    let login = Login::named("ada", "test-refresh-0");
    home.write_profiles(
        "main",
        &json!({"version": 1, "profiles": {PROFILE: expired_login(&login, "openai")}}),
    )?;
    let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
    let kalit = Kalit::new(&home, release, &endpoint.manifest(&[1455]))?;
    Ok((home, endpoint, kalit))
}
