//! Answers that take long or never come: how long locks are held meanwhile, what is told, and what
//! is sent afterwards. Minutes pass on a paused clock, except where another program waits as well.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kalit_core::broker::{Broker, RefreshOutcome, RefreshResult, RefreshTarget};
use kalit_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use kalit_core::ids::AgentId;
use kalit_journeys::dialogue::Dialogue;
use kalit_journeys::kalit::{Ran, account};
use kalit_journeys::openclaw::{Version, read_json, write_json};
use kalit_journeys::renewal::{BUSY, Scene};
use kalit_journeys::token_endpoint::{Door, Mode};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

mod passing;

/// Longer than a store lock may be held around a request.
const LONG: Duration = Duration::from_secs(26);
const STORE_LOCK: Duration = Duration::from_secs(20);
/// What a busy machine may add to a limit. 2026.2.17 steals a store lock after 30 s.
const LATE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_store_lock_of_2026_2_17_is_let_go_after_twenty_seconds_while_the_wait_goes_on() -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(Version::V2026_2_17).await?;
    let path = scene.home.profiles_path("main");
    let mut store = read_json(&path)?;
    for id in ["demo:kalit", "demo:openclaw"] {
        store["profiles"][id] = json!({"type": "api_key", "provider": "demo", "key": "FAKE"});
    }
    scene.home.write_profiles("main", &store)?;
    // OpenClaw's own locked writer stands ready.
    let mut writer = scene.node("lock-writers.mjs");
    writer
        .arg(&scene.release.package_dir)
        .args(["demo:openclaw", "1", "demo:kalit", "5"]);
    let mut writer = Dialogue::start(writer)?;
    assert_eq!(writer.answer().await?, json!({"ready": true}));

    scene.endpoint.set_delay(LONG);
    let kalit = scene
        .kalit
        .command(&["refresh", &scene.profile, "--json"])?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pid = kalit.id().context("no process id")?;
    scene.endpoint.arrived(1, BUSY).await?;
    let lock = scene.home.agent_dir("main").join("auth-profiles.json.lock");
    let payload = read_json(&lock)?;
    assert_eq!(payload["pid"], pid, "{payload}");
    let created = payload["createdAt"].as_str().and_then(Timestamp::from_iso8601);
    let created = created.with_context(|| format!("no createdAt: {payload}"))?;
    let held = || Duration::from_millis(SystemClock.now().millis_since(created).unsigned_abs());
    until_some("the store lock to be let go", STORE_LOCK + LATE, || {
        let Ok(payload) = read_json(&lock) else {
            return (!lock.exists()).then_some(());
        };
        assert_eq!(payload["pid"], pid, "another holder: {payload}");
        None
    })
    .await?;
    let released = held();
    assert!(
        (STORE_LOCK - Duration::from_millis(1500)..STORE_LOCK + LATE).contains(&released),
        "held for {released:?}"
    );

    // The request is still open, and another writer has its turn.
    writer.say("go").await?;
    let written = writer.answer().await?;
    assert_eq!(
        (written["written"].as_u64(), written["refused"].as_u64()),
        (Some(1), Some(0)),
        "{written}"
    );
    assert!(writer.end().await?.success());
    let outcome = scene.endpoint.token_requests()[0].outcome;
    assert_eq!(outcome, "arrived", "the answer came too early for this test");
    let between = read_json(&path)?;
    assert_eq!(between["profiles"][&scene.profile]["refresh"], "test-refresh-0");
    assert_eq!(between["profiles"]["demo:openclaw"]["metadata"]["count"], "1");
    assert!(!lock.exists());

    let ran = Ran::from(tokio::time::timeout(BUSY, kalit.wait_with_output()).await??);
    assert_eq!((ran.code, ran.result()?), (0, "refreshed".to_owned()), "{ran:?}");
    assert_eq!(scene.doors(), [Door::Plain], "one request");
    scene.settled()?;
    let after = read_json(&path)?;
    assert_eq!(
        after["profiles"]["demo:openclaw"],
        between["profiles"]["demo:openclaw"]
    );
    assert_eq!(after["usageStats"], between["usageStats"]);
    assert_eq!(after["usageStats"]["demo:openclaw"]["errorCount"], 1);
    println!(
        "slow answer: {:.1} s, lock held for {:.1} s",
        started.elapsed().as_secs_f32(),
        released.as_secs_f32()
    );
    Ok(())
}

#[tokio::test]
async fn an_answer_that_never_comes_is_unknown_after_two_minutes_and_asked_for_once_more() -> Result<()> {
    for version in [Version::V2026_2_17, Version::V2026_6_1] {
        let silent = Silent::new(version).await?;
        let before = read_json(&silent.scene.home.profiles_path("main"))?;
        silent.scene.endpoint.once(Mode::Hang);
        let waiting = silent.refresh();
        silent.scene.endpoint.arrived(1, BUSY).await?;
        silent.pass(Duration::from_secs(119)).await;
        assert!(!waiting.is_finished(), "given up within 119 s");
        let error = silent
            .outcome_within(waiting, Duration::from_secs(2))
            .await?
            .error;
        assert_eq!(error.context("no error")?.code, "refresh.unknown");
        let state = silent.account()?;
        assert_eq!(
            (&state["state"], &state["lost"]),
            (&json!("unknown"), &Value::Null)
        );
        let sentence = state["sentence"].as_str().context("no sentence")?;
        assert!(sentence.contains("its answer never came"), "{sentence}");
        assert_eq!(read_json(&silent.scene.home.profiles_path("main"))?, before);
        // Another process says the same.
        let shown = silent.scene.kalit.account("main", &silent.scene.profile).await?;
        assert_eq!(shown["state"], "unknown");

        silent.clock.advance_millis(59_000);
        let early = silent.refresh().await??;
        assert_eq!(early.error.context("no error")?.code, "refresh.unknown");
        assert_eq!(silent.scene.doors().len(), 1, "nothing is sent within a minute");
        silent.clock.advance_millis(2_000);
        let retried = silent.refresh().await??;
        assert_eq!(retried.result, RefreshResult::Refreshed, "{retried:?}");
        assert_eq!(silent.scene.doors().len(), 2);
        assert_eq!(silent.account()?["state"], "healthy");
        silent.scene.settled()?;
    }
    Ok(())
}

#[tokio::test]
async fn after_two_requests_without_an_answer_nothing_is_sent_any_more() -> Result<()> {
    let silent = Silent::new(Version::V2026_6_1).await?;
    silent.scene.endpoint.set_mode(Mode::Hang);
    for (sent, hint) in [(1, "tries once more after a minute"), (2, "sign in again")] {
        let waiting = silent.refresh();
        silent.scene.endpoint.arrived(sent, BUSY).await?;
        let outcome = silent.outcome_within(waiting, Duration::from_secs(121)).await?;
        let error = outcome.error.context("no error")?;
        assert_eq!(error.code, "refresh.unknown");
        assert!(error.hint.contains(hint), "{error:?}");
        silent.clock.advance_millis(61_000);
    }
    let state = silent.account()?;
    let sentence = state["sentence"].as_str().context("no sentence")?;
    assert_eq!(state["state"], "unknown");
    assert!(sentence.contains("sent twice and no answer came"), "{state}");

    silent.clock.advance_millis(86_400_000);
    let again = silent.refresh().await??;
    let error = again.error.context("no error")?;
    assert_eq!(error.code, "refresh.unknown");
    assert!(error.hint.contains("sign in again"), "{error:?}");
    assert_eq!(silent.scene.doors().len(), 2, "never again");
    // By now it counts as lost, and "Renew it now" would be no help.
    let state = silent.account()?;
    let sentence = state["sentence"].as_str().context("no sentence")?;
    assert_eq!(state["state"], "not-renewed");
    assert!(sentence.contains("sent twice and no answer came"), "{state}");
    Ok(())
}

#[tokio::test]
async fn a_connection_that_never_becomes_secure_is_given_up_after_ten_seconds_and_leaves_no_doubt()
-> Result<()> {
    let silent = Silent::new(Version::V2026_6_1).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    let manifest = silent.scene.home.path().join("kalit/providers/openai.json");
    let reachable = read_json(&manifest)?;
    let mut mute = reachable.clone();
    mute["tokenUrl"] = json!(format!("https://127.0.0.1:{port}/oauth/token"));
    write_json(&manifest, &mute)?;

    let waiting = silent.refresh();
    let (_connection, _) = listener.accept().await?;
    silent.pass(Duration::from_secs(9)).await;
    assert!(!waiting.is_finished(), "given up within 9 s");
    let outcome = silent.outcome_within(waiting, Duration::from_secs(2)).await?;
    let error = outcome.error.context("no error")?;
    assert_eq!(
        (error.code.as_str(), outcome.exit_code),
        ("network.unreachable", 69),
        "{error:?}"
    );
    // The request never left: the login is what it was, and the next renewal need not wait.
    assert_eq!(silent.account()?["state"], "expired");
    write_json(&manifest, &reachable)?;
    let next = silent.refresh().await??;
    assert_eq!(next.result, RefreshResult::Refreshed, "{next:?}");
    assert_eq!(silent.scene.doors(), [Door::Plain]);
    silent.scene.settled()
}

/// A scene with Kalit in this process, where minutes can pass at once.
struct Silent {
    scene: Scene,
    broker: Broker,
    clock: Arc<ManualClock>,
}

impl Silent {
    async fn new(version: Version) -> Result<Self> {
        let scene = Scene::new(version).await?;
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let broker = scene.kalit.broker(clock.clone())?;
        Ok(Self { scene, broker, clock })
    }

    /// One renewal, running beside the test.
    fn refresh(&self) -> JoinHandle<Result<RefreshOutcome>> {
        let (broker, profile) = (self.broker.clone(), self.scene.profile_id());
        tokio::spawn(async move {
            let target = RefreshTarget::Profile(AgentId::main(), profile?);
            let mut outcomes = broker.refresh(target).await;
            outcomes.pop().context("no outcome")
        })
    }

    async fn pass(&self, time: Duration) {
        passing::pass(&self.clock, time).await;
    }

    async fn outcome_within(
        &self,
        waiting: JoinHandle<Result<RefreshOutcome>>,
        time: Duration,
    ) -> Result<RefreshOutcome> {
        self.pass(time).await;
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .with_context(|| format!("not given up after {time:?}"))??
    }

    fn account(&self) -> Result<Value> {
        let snapshot = serde_json::to_value(self.broker.snapshot())?;
        account(&snapshot, "main", &self.scene.profile)
    }
}
