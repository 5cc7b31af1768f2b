//! Renewals that meet: Kalit and OpenClaw, two Kalits, a lost answer, a crash, a busy lock.
//! Every journey counts the requests at the token endpoint.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kalit_core::broker::{RefreshResult, RefreshTarget};
use kalit_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use kalit_core::ids::AgentId;
use kalit_core::store::lock::StoreLock;
use kalit_journeys::kalit::account;
use kalit_journeys::openclaw::{Version, finish, read_json};
use kalit_journeys::renewal::{BUSY, IN_FLIGHT, Scene, locks};
use kalit_journeys::token_endpoint::{Door, Mode};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};

#[tokio::test]
async fn kalit_and_2026_2_17_want_the_same_token_at_once() -> Result<()> {
    both_orders(Version::V2026_2_17).await
}

#[tokio::test]
async fn kalit_and_2026_4_29_want_the_same_token_at_once() -> Result<()> {
    both_orders(Version::V2026_4_29).await
}

#[tokio::test]
async fn kalit_and_2026_6_1_want_the_same_token_at_once() -> Result<()> {
    both_orders(Version::V2026_6_1).await
}

async fn both_orders(version: Version) -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(version).await?;
    scene.endpoint.set_delay(IN_FLIGHT);

    // OpenClaw's command is first; its request is on its way when Kalit begins.
    let mut command = scene.node("openclaw.mjs");
    command.args(["status", "--usage", "--json"]);
    let openclaw = tokio::spawn(finish(command, None));
    scene.endpoint.arrived(1, BUSY).await?;
    let ran = scene.kalit.run(&["refresh", &scene.profile, "--json"]).await?;
    assert_eq!((ran.code, ran.result()?), (0, "adopted".to_owned()), "{ran:?}");
    let openclaw = openclaw.await??;
    assert!(openclaw.status.success(), "{openclaw:?}");
    assert_eq!(scene.doors(), [Door::Tls], "one request, OpenClaw's");
    scene.settled()?;
    if version == Version::V2026_4_29 {
        // Its command renews and then asks for no usage.
        scene.openclaw_uses_the_answer().await?;
    } else {
        let used = scene.endpoint.requests();
        let used = used
            .iter()
            .any(|request| request.outcome == "current access token");
        assert!(used, "OpenClaw used the answer");
    }

    // Kalit is first; OpenClaw's resolver asks for the token while the request is on its way.
    scene.expire()?;
    let mut resolver = scene.resolver().await?;
    let kalit = scene.refresh_beside();
    scene.endpoint.arrived(2, BUSY).await?;
    resolver.say("go").await?;
    let resolved = resolver.answer().await?;
    let ran = kalit.await??;
    assert_eq!((ran.code, ran.result()?), (0, "refreshed".to_owned()), "{ran:?}");
    assert_eq!(
        scene.doors(),
        [Door::Tls, Door::Plain],
        "one more request, Kalit's"
    );
    let access = scene.endpoint.current_access("acct-ada");
    assert_eq!(
        resolved,
        json!({"resolved": [access]}),
        "OpenClaw uses Kalit's answer"
    );
    scene.settled()?;
    println!(
        "{} and Kalit: {:.1} s",
        version.as_str(),
        started.elapsed().as_secs_f32()
    );
    Ok(())
}

#[tokio::test]
async fn two_kalits_send_one_request() -> Result<()> {
    let started = Instant::now();
    for version in [Version::V2026_2_17, Version::V2026_6_1] {
        let scene = Scene::new(version).await?;
        scene.endpoint.set_delay(IN_FLIGHT);
        let first = scene.refresh_beside();
        scene.endpoint.arrived(1, BUSY).await?;
        let second = scene.kalit.run(&["refresh", &scene.profile, "--json"]).await?;
        assert_eq!(
            (second.code, second.result()?),
            (0, "adopted".to_owned()),
            "{second:?}"
        );
        assert_eq!(first.await??.result()?, "refreshed");
        assert_eq!(scene.doors(), [Door::Plain], "{}", version.as_str());
        scene.settled()?;
    }
    println!("two Kalits: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_is_told_as_it_is_and_asked_for_once_more() -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(Version::V2026_2_17).await?;
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let broker = scene.kalit.broker(clock.clone())?;
    let target = RefreshTarget::Profile(AgentId::main(), scene.profile_id()?);
    let state =
        || -> Result<Value> { account(&serde_json::to_value(broker.snapshot())?, "main", &scene.profile) };
    let code = async || {
        let outcomes = broker.refresh(target.clone()).await;
        let error = outcomes.first().and_then(|outcome| outcome.error.clone());
        error.map(|error| (error.code, error.message)).unwrap_or_default()
    };
    let before = std::fs::read(scene.home.profiles_path("main"))?;

    scene.endpoint.once(Mode::DropAfter);
    assert_eq!(code().await.0, "refresh.unknown");
    assert_eq!(state()?["state"], "unknown");
    clock.advance_millis(59_000);
    assert_eq!(code().await.0, "refresh.unknown");
    assert_eq!(scene.doors().len(), 1, "nothing is sent within a minute");

    clock.advance_millis(2_000);
    let (refused, message) = code().await;
    assert_eq!(refused, "refresh.signed_out");
    assert!(
        message.contains("answer to the last renewal was lost"),
        "{message}"
    );
    assert_eq!((scene.doors().len(), scene.endpoint.reuses()), (2, 1));
    let lost = state()?;
    assert_eq!(
        (&lost["state"], &lost["lost"]["signal"]),
        (&json!("signed-out"), &json!("signed-out"))
    );
    let told = lost["sentence"].as_str().context("no sentence")?;
    assert!(told.contains("answer to the last renewal was lost"), "{told}");
    assert!(
        !told.contains("another program") && !told.contains("elsewhere"),
        "{told}"
    );

    clock.advance_millis(86_400_000);
    assert_eq!(code().await.0, "refresh.signed_out");
    let restarted = scene.kalit.broker(clock)?;
    let again = restarted.refresh(target.clone()).await;
    assert_eq!(
        again[0].error.as_ref().map(|error| error.code.as_str()),
        Some("refresh.signed_out")
    );
    assert_eq!(scene.doors().len(), 2, "never again");
    assert_eq!(
        std::fs::read(scene.home.profiles_path("main"))?,
        before,
        "the store is as it was"
    );
    println!("lost answer: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn what_a_crash_kept_from_the_store_is_merged_and_not_asked_for_again() -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(Version::V2026_6_1).await?;
    scene.crash_before_the_merge(1).await?;
    let ran = scene.kalit.run(&["refresh", &scene.profile, "--json"]).await?;
    assert_eq!((ran.code, ran.result()?), (0, "adopted".to_owned()), "{ran:?}");
    assert_eq!(scene.doors().len(), 1);
    scene.settled()?;

    scene.expire()?;
    scene.crash_before_the_merge(2).await?;
    let watching = scene.kalit.watch().await?;
    until_some("the merge", Duration::from_secs(10), || scene.settled().ok()).await?;
    assert_eq!(scene.doors().len(), 2, "{:?}", watching.events());
    println!("crash: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_busy_lock_is_told_with_its_holder_and_nothing_is_sent() -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(Version::V2026_2_17).await?;
    let lock = StoreLock::try_acquire(&scene.home.agent_dir("main"), &locks())?;
    let ran = scene.kalit.run(&["refresh", &scene.profile, "--json"]).await?;
    drop(lock);
    assert_eq!(
        (ran.code, ran.error_code()?),
        (75, "lock.busy".to_owned()),
        "{ran:?}"
    );
    let told = ran.json()?["outcomes"][0]["error"]["message"].to_string();
    assert!(told.contains(&std::process::id().to_string()), "{told}");
    assert_eq!(scene.doors().len(), 0);
    println!("busy: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn under_a_lock_of_forty_seconds_nothing_is_sent_it_is_taken_anew() -> Result<()> {
    let scene = Scene::new(Version::V2026_6_1).await?;
    let locks = scene.home.state_dir().join("locks/oauth-refresh");
    taken_anew(&scene, locks).await?;
    // 2026.2.17 knows store locks alone.
    let scene = Scene::new(Version::V2026_2_17).await?;
    let locks = scene.home.agent_dir("main");
    taken_anew(&scene, locks).await
}

async fn taken_anew(scene: &Scene, locks: PathBuf) -> Result<()> {
    scene.endpoint.set_delay(IN_FLIGHT);
    // As if the machine had slept between the lock and the request.
    let clock = Arc::new(Sleepy {
        locks,
        slept: OnceLock::new(),
    });
    let broker = scene.kalit.broker(clock.clone())?;
    let target = RefreshTarget::Profile(AgentId::main(), scene.profile_id()?);
    let renewal = tokio::spawn(async move { broker.refresh(target).await });
    scene.endpoint.arrived(1, BUSY).await?;
    let lock = clock.lock_file().context("the request went out without a lock")?;
    let created = read_json(&lock)?["createdAt"]
        .as_str()
        .and_then(Timestamp::from_iso8601);
    let age = clock.now().millis_since(created.context("no createdAt")?);
    assert!((0..20_000).contains(&age), "sent under a lock of {age} ms");
    assert!(clock.slept.get().is_some(), "the first lock was never seen");
    let outcomes = renewal.await?;
    assert_eq!(outcomes[0].result, RefreshResult::Refreshed, "{outcomes:?}");
    assert_eq!(scene.doors(), [Door::Plain]);
    scene.settled()
}

/// Jumps forty-one seconds ahead as soon as there is a refresh lock.
#[derive(Debug)]
struct Sleepy {
    locks: PathBuf,
    slept: OnceLock<()>,
}

impl Sleepy {
    fn lock_file(&self) -> Option<PathBuf> {
        let mut files = std::fs::read_dir(&self.locks)
            .ok()?
            .flatten()
            .map(|entry| entry.path());
        files.find(|path| path.extension().is_some_and(|end| end == "lock"))
    }
}

impl Clock for Sleepy {
    fn now(&self) -> Timestamp {
        if self.lock_file().is_some() {
            self.slept.get_or_init(|| ());
        }
        let jump = if self.slept.get().is_some() { 41_000 } else { 0 };
        SystemClock.now().plus_millis(jump)
    }
}
