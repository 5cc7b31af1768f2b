//! A clock that jumps by a day, forward and back, while Kalit waits for a lock and while its
//! request is under way.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use kalit_core::broker::{Broker, RefreshOutcome, RefreshResult, RefreshTarget};
use kalit_core::clock::{Clock, ManualClock, SystemClock};
use kalit_core::ids::AgentId;
use kalit_journeys::kalit::account;
use kalit_journeys::openclaw::Version;
use kalit_journeys::renewal::{BUSY, Scene};
use kalit_journeys::token_endpoint::Door;
use kalit_journeys::wait::until_some;
use serde_json::json;
use tokio::process::Command;
use tokio::task::JoinHandle;

const DAY: i64 = 86_400_000;
/// How long a lock is watched that must not be broken.
const WATCHED: Duration = Duration::from_secs(1);
/// How long an answer is kept back.
const UNDER_WAY: Duration = Duration::from_millis(800);

#[tokio::test]
async fn a_clock_that_jumps_breaks_no_living_lock_and_ends_no_login() -> Result<()> {
    for version in [Version::V2026_2_17, Version::V2026_6_1] {
        for jump in [DAY, -DAY] {
            jumps(version, jump)
                .await
                .with_context(|| format!("{version:?}, {jump}"))?;
        }
    }
    Ok(())
}

async fn jumps(version: Version, jump: i64) -> Result<()> {
    let scene = Scene::new(version).await?;
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let broker = scene.kalit.broker(clock.clone())?;

    // Another program, which lives, holds the store.
    let mut neighbour = Command::new("sleep")
        .arg("600")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let lock = scene.home.agent_dir("main").join("auth-profiles.json.lock");
    let payload = json!({"pid": neighbour.id(), "createdAt": SystemClock.now().to_string()}).to_string();
    std::fs::write(&lock, &payload)?;
    let waiting = renewal(&broker, &scene)?;
    clock.advance_millis(jump);
    let broken = until_some("the lock to be broken", WATCHED, || {
        (std::fs::read_to_string(&lock).ok().as_ref() != Some(&payload)).then_some(())
    });
    assert!(broken.await.is_err(), "a living lock was broken");
    assert_eq!(scene.doors().len(), 0, "sent beside a living lock");
    std::fs::remove_file(&lock)?;
    neighbour.kill().await?;
    refreshed(waiting).await?;
    scene.settled()?;

    // The request is under way, in 2026.2.17 under the store lock.
    scene.endpoint.set_delay(UNDER_WAY);
    let sent = renewal(&broker, &scene)?;
    scene.endpoint.arrived(2, BUSY).await?;
    clock.advance_millis(jump);
    refreshed(sent).await?;
    scene.settled()?;

    // And back to the right time.
    clock.advance_millis(-2 * jump);
    let seen = account(&serde_json::to_value(broker.snapshot())?, "main", &scene.profile)?;
    // What was stored two days ago, by the clock, has ended, by the clock: more is not said.
    let expected = if jump > 0 { "healthy" } else { "not-renewed" };
    assert_eq!(seen["state"], expected, "{seen}");
    refreshed(renewal(&broker, &scene)?).await?;
    scene.settled()?;
    let seen = account(&serde_json::to_value(broker.snapshot())?, "main", &scene.profile)?;
    assert_eq!(seen["state"], "healthy", "{seen}");
    assert_eq!(scene.doors(), [Door::Plain; 3]);
    Ok(())
}

fn renewal(broker: &Broker, scene: &Scene) -> Result<JoinHandle<Vec<RefreshOutcome>>> {
    let (broker, target) = (
        broker.clone(),
        RefreshTarget::Profile(AgentId::main(), scene.profile_id()?),
    );
    Ok(tokio::spawn(async move { broker.refresh(target).await }))
}

async fn refreshed(renewal: JoinHandle<Vec<RefreshOutcome>>) -> Result<()> {
    let outcomes = tokio::time::timeout(BUSY, renewal).await??;
    anyhow::ensure!(outcomes[0].result == RefreshResult::Refreshed, "{outcomes:?}");
    Ok(())
}
