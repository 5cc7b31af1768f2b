//! Programs that are stopped (SIGSTOP) while they hold a lock, as a machine that sleeps stops
//! them: 2026.2.17 takes a lock over that is older than 30 s, whoever holds it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use kalit_core::ErrorCode;
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::environment::Environment;
use kalit_core::history::Generations;
use kalit_core::secret::Secret;
use kalit_core::store::lock::StoreLock;
use kalit_journeys::dialogue::Dialogue;
use kalit_journeys::kalit::Ran;
use kalit_journeys::openclaw::{Version, read_json};
use kalit_journeys::renewal::{BUSY, IN_FLIGHT, Scene, locks};
use kalit_journeys::token_endpoint::Door;
use kalit_journeys::wait::until_some;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Child;

/// How old a lock is made, so that nobody has to wait until it is.
const LONG_AGO: Duration = Duration::from_secs(600);
/// How long a request that must not come is looked out for.
const QUIET: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_kalit_stopped_before_its_request_sends_nothing_that_2026_2_17_renewed_meanwhile() -> Result<()> {
    let scene = Scene::new(Version::V2026_2_17).await?;
    let mut resolver = scene.resolver().await?;
    let kalit = stopped_under_its_lock(&scene).await?;
    let asked = scene.doors().len();
    age_lock(&scene)?;

    resolver.say("go").await?;
    let resolved = resolver.answer().await?;
    let access = scene.endpoint.current_access("acct-ada");
    assert_eq!(resolved, json!({"resolved": [access]}), "the thief renewed");
    assert!(!lock_file(&scene).exists());

    go_on(&kalit)?;
    let ran = Ran::from(tokio::time::timeout(BUSY, kalit.wait_with_output()).await??);
    assert_eq!((ran.code, ran.result()?), (0, "adopted".to_owned()), "{ran:?}");
    assert_eq!(
        scene.doors()[asked..],
        [Door::Tls],
        "OpenClaw's request and no other"
    );
    scene.settled()
}

#[tokio::test]
async fn a_kalit_stopped_with_its_request_under_way_overwrites_nothing_of_the_thief() -> Result<()> {
    let scene = Scene::new(Version::V2026_2_17).await?;
    let path = scene.home.profiles_path("main");
    let mut store = read_json(&path)?;
    for id in ["demo:kalit", "demo:openclaw"] {
        store["profiles"][id] = json!({"type": "api_key", "provider": "demo", "key": "FAKE"});
    }
    scene.home.write_profiles("main", &store)?;
    let mut writer = scene.node("lock-writers.mjs");
    writer
        .arg(&scene.release.package_dir)
        .args(["demo:openclaw", "1", "demo:kalit", "5"]);
    let mut writer = Dialogue::start(writer)?;
    assert_eq!(writer.answer().await?, json!({"ready": true}));

    scene.endpoint.set_delay(IN_FLIGHT);
    let kalit = refresh(&scene)?;
    scene.endpoint.arrived(1, BUSY).await?;
    stop(&kalit).await?;
    assert_eq!(read_json(&lock_file(&scene))?["pid"], pid_of(&kalit)?);
    age_lock(&scene)?;
    writer.say("go").await?;
    let written = writer.answer().await?;
    assert_eq!(
        (written["written"].as_u64(), written["refused"].as_u64()),
        (Some(1), Some(0)),
        "{written}"
    );
    assert!(writer.end().await?.success());
    let between = read_json(&path)?;
    assert_eq!(between["profiles"][&scene.profile]["refresh"], "test-refresh-0");

    go_on(&kalit)?;
    let ran = Ran::from(tokio::time::timeout(BUSY, kalit.wait_with_output()).await??);
    assert_eq!((ran.code, ran.result()?), (0, "refreshed".to_owned()), "{ran:?}");
    assert_eq!(scene.doors(), [Door::Plain], "one request");
    let after = read_json(&path)?;
    assert_eq!(
        after["profiles"]["demo:openclaw"],
        between["profiles"]["demo:openclaw"]
    );
    assert_eq!(after["profiles"]["demo:openclaw"]["metadata"]["count"], "1");
    assert_eq!(after["usageStats"], between["usageStats"]);
    scene.settled()
}

#[tokio::test]
async fn a_stopped_openclaw_keeps_its_lock_and_kalit_adopts_what_it_renews() -> Result<()> {
    for version in [Version::V2026_2_17, Version::V2026_6_1] {
        let scene = Scene::new(version).await?;
        scene.endpoint.set_delay(IN_FLIGHT);
        let mut resolver = scene.resolver().await?;
        resolver.say("go").await?;
        scene.endpoint.arrived(1, BUSY).await?;
        let openclaw = resolver.id().context("the resolver ended")?;
        stop_process(openclaw).await?;
        // 2026.6.1 takes its locks back only as long as their bytes are its own.
        if version == Version::V2026_2_17 {
            age_lock(&scene)?;
        }
        let before = std::fs::read(lock_file(&scene))?;
        let refused = StoreLock::try_acquire(&scene.home.agent_dir("main"), &locks());
        assert_eq!(refused.err().map(|error| error.code()), Some(ErrorCode::LockBusy));

        let kalit = scene.refresh_beside();
        let broken = until_some("the lock to be broken", IN_FLIGHT, || {
            (std::fs::read(lock_file(&scene)).ok().as_ref() != Some(&before)).then_some(())
        });
        assert!(broken.await.is_err(), "{} lost its lock", version.as_str());
        assert_eq!(scene.doors(), [Door::Tls], "Kalit waits");

        signal(openclaw, Signal::CONT)?;
        let access = json!(scene.endpoint.current_access("acct-ada"));
        assert_eq!(resolver.answer().await?, json!({"resolved": [access]}));
        let ran = kalit.await??;
        assert_eq!((ran.code, ran.result()?), (0, "adopted".to_owned()), "{ran:?}");
        assert_eq!(scene.doors(), [Door::Tls], "one request");
        scene.settled()?;
    }
    Ok(())
}

/// 2026.6.1 never takes a lock over that names nobody: one that a crash left empty blocks it for
/// ever, until Kalit clears it away.
#[tokio::test]
async fn an_empty_lock_that_blocks_2026_6_1_is_cleared_away_after_three_minutes() -> Result<()> {
    let scene = Scene::new(Version::V2026_6_1).await?;
    std::fs::write(lock_file(&scene), "")?;
    age(&lock_file(&scene), Duration::from_secs(170))?;
    let refused = StoreLock::try_acquire(&scene.home.agent_dir("main"), &locks());
    assert_eq!(refused.err().map(|error| error.code()), Some(ErrorCode::LockBusy));

    age(&lock_file(&scene), Duration::from_secs(181))?;
    let ran = scene.kalit.run(&["refresh", &scene.profile, "--json"]).await?;
    assert_eq!((ran.code, ran.result()?), (0, "refreshed".to_owned()), "{ran:?}");
    scene.settled()?;
    scene.expire()?;
    let mut resolver = scene.resolver().await?;
    resolver.say("go").await?;
    let resolved = resolver.answer().await?;
    let access = scene.endpoint.current_access("acct-ada");
    assert_eq!(resolved, json!({"resolved": [access]}));
    assert_eq!(scene.doors(), [Door::Plain, Door::Tls]);
    scene.settled()
}

/// A `kalit refresh` that holds the store lock, has not recorded its request, and stands still.
async fn stopped_under_its_lock(scene: &Scene) -> Result<Child> {
    for _ in 0..50 {
        let seen = read_json(&scene.home.profiles_path("main"))?;
        let seen = seen["profiles"][&scene.profile]["refresh"]
            .as_str()
            .map(Secret::new)
            .context("no refresh token")?;
        let asked = scene.doors().len();
        let kalit = refresh(scene)?;
        let pid = pid_of(&kalit)?;
        let path = lock_file(scene);
        // Not one await between the sight of the lock and the signal.
        let caught = tokio::task::spawn_blocking(move || -> Result<()> {
            let started = std::time::Instant::now();
            while !read_json(&path).is_ok_and(|payload| payload["pid"] == pid) {
                ensure!(started.elapsed() < BUSY, "kalit takes no lock");
                std::thread::yield_now();
            }
            signal(pid, Signal::STOP)
        });
        caught.await??;
        until_stopped(pid).await?;
        let quiet = scene.endpoint.arrived(asked + 1, QUIET).await.is_err();
        if quiet && lock_file(scene).exists() && !is_recorded(scene, &seen)? {
            return Ok(kalit);
        }
        // Too late: it may have been about to send.
        go_on(&kalit)?;
        let ran = Ran::from(tokio::time::timeout(BUSY, kalit.wait_with_output()).await??);
        ensure!(ran.result()? == "refreshed", "{ran:?}");
        scene.expire()?;
    }
    anyhow::bail!("kalit is never stopped in time")
}

/// Whether Kalit has recorded a request with this token.
fn is_recorded(scene: &Scene, token: &Secret) -> Result<bool> {
    let home = scene.home.path();
    let environment = Environment::new(scene.kalit.variables().clone(), home, home);
    let known = Generations::open(&environment.data_dir())?.find(token.fingerprint())?;
    Ok(known.is_some_and(|known| known.unknown_since.is_some()))
}

fn refresh(scene: &Scene) -> Result<Child> {
    let mut command = scene.kalit.command(&["refresh", &scene.profile, "--json"])?;
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command.spawn()?)
}

fn pid_of(child: &Child) -> Result<u32> {
    child.id().context("it ended")
}

async fn stop(child: &Child) -> Result<()> {
    stop_process(pid_of(child)?).await
}

fn go_on(child: &Child) -> Result<()> {
    signal(pid_of(child)?, Signal::CONT)
}

async fn stop_process(pid: u32) -> Result<()> {
    signal(pid, Signal::STOP)?;
    until_stopped(pid).await
}

async fn until_stopped(pid: u32) -> Result<()> {
    until_some("the process to stand still", BUSY, || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.starts_with(" T").then_some(())
    })
    .await
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
    Ok(kill_process(pid, signal)?)
}

fn lock_file(scene: &Scene) -> PathBuf {
    scene.home.agent_dir("main").join("auth-profiles.json.lock")
}

/// Lets the store lock look as if it had been taken long ago.
fn age_lock(scene: &Scene) -> Result<()> {
    let path = lock_file(scene);
    let mut payload: Value = read_json(&path)?;
    let long_ago = i64::try_from(LONG_AGO.as_millis())?;
    payload["createdAt"] = json!(SystemClock.now().plus_millis(-long_ago).to_string());
    std::fs::write(&path, serde_json::to_vec_pretty(&payload)?)?;
    age(&path, LONG_AGO)
}

fn age(path: &std::path::Path, age: Duration) -> Result<()> {
    let file = std::fs::File::options().write(true).open(path)?;
    Ok(file.set_modified(SystemTime::now() - age)?)
}
