//! A disk that is full, broken, read-only, over quota or slow, at any step by which Kalit writes.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_core::ErrorCode;
use kalit_journeys::acts::{Act, Performed, Stage};
use kalit_journeys::aftermath::Outcome;
use kalit_journeys::points::{Point, SOON, at_all, endpoint, number_of, uninterrupted};
use kalit_journeys::process::binary;
use kalit_journeys::proof::{Figures, is_long};
use kalit_journeys::steps::{Errno, Plan, Step, Steps};
use kalit_journeys::token_endpoint::TokenEndpoint;
use kalit_journeys::trace::STRACE;
use tokio::process::Command;

/// Sealing by an engine alone goes on by itself; renewals seal as well.
const ACTS: [Act; 12] = {
    let [a, b, c, d, e, f, g, h, i, j, k, l, _] = Act::ALL;
    [a, b, c, d, e, f, g, h, i, j, k, l]
};

/// What became of a point.
struct Became {
    /// The code of its error; none where it ended as if nothing had been.
    told: Option<String>,
    outcome: Outcome,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_costs_no_login_and_is_told_with_a_code() -> Result<()> {
    let started = Instant::now();
    let steps = Steps::build()?;
    let mut points = Vec::new();
    for (seed, act) in ACTS.into_iter().enumerate() {
        let done = uninterrupted(&steps, act, seed).await?;
        let writes: Vec<&Step> = done.steps.iter().filter(|step| step.is_write()).collect();
        let kinds = Errno::ALL
            .into_iter()
            .flat_map(|errno| [(errno, false), (errno, true)]);
        for (kind, (errno, goes_on)) in kinds.enumerate() {
            // The long form refuses every step once, in one of the eight ways; the short form a few.
            let (first, stride) = match is_long() {
                true => (kind, 8),
                false => ((kind * 37 + seed * 11) % writes.len(), writes.len()),
            };
            for step in writes.iter().skip(first).step_by(stride) {
                let number = step.number;
                if goes_on && waits_for_a_minute(act, errno, number, &done.steps) {
                    continue;
                }
                let plan = match goes_on {
                    true => Plan::FailFrom(number, errno),
                    false => Plan::Fail(number, errno),
                };
                points.push(Point { act, seed, plan });
            }
        }
    }
    let total = points.len();
    let tried = at_all(&points, move |point, stage, endpoint| {
        at(steps.clone(), point, stage, endpoint)
    })
    .await?;
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    let mut outcomes: BTreeMap<Outcome, usize> = BTreeMap::new();
    for (_, became) in &tried.points {
        *outcomes.entry(became.outcome).or_default() += 1;
        if let Some(code) = &became.told {
            *told.entry(code).or_default() += 1;
        }
    }
    let mut figures = Figures::new("disk");
    figures
        .row("faults", total)
        .row("points with a loss or a lie", tried.faults.len())
        .row(
            "the command succeeded all the same",
            tried.points.len() - told.values().sum::<usize>(),
        );
    for (code, count) in &told {
        figures.row(format!("told as `{code}`"), count);
    }
    for (outcome, count) in &outcomes {
        figures.row(format!("afterwards {outcome:?}"), count);
    }
    figures.row("run time, s", started.elapsed().as_secs()).tell()?;
    ensure!(tried.faults.is_empty(), "{:#?}", tried.faults);
    ensure!(tried.reuses == 0, "{} spent tokens came back", tried.reuses);
    ensure!(!told.is_empty(), "no fault was noticed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_while_the_answer_is_on_its_way_takes_it_all_the_same() -> Result<()> {
    let steps = Steps::build()?;
    for act in ACTS.into_iter().filter(|act| act.renews()) {
        let done = uninterrupted(&steps, act, 0).await?;
        for errno in [Errno::Full, Errno::OverQuota] {
            let endpoint = endpoint().await?;
            let stage = Stage::new(act, 0, "full", &endpoint)?;
            let plan = Plan::FailFrom(sent(&done.steps)?, errno);
            let refused = stage.perform(&steps, plan).await?;
            assert_eq!(stage.journal()?.len(), 1, "{act:?} {refused:?}");
            told(&stage, &refused, &endpoint)?;
            assert_eq!(
                stage.recovers(&endpoint, SOON).await?,
                Outcome::New,
                "{act:?} {errno:?}"
            );
            assert_eq!((endpoint.token_requests().len(), endpoint.reuses()), (1, 0));

            // Without room for the answer nothing is sent.
            let stage = Stage::new(act, 0, "before", &endpoint)?;
            let room = number_of(&done.steps, |step| {
                step.call == "write" && step.path.contains("/journal/")
            })?;
            let refused = stage.perform(&steps, Plan::FailFrom(room, errno)).await?;
            assert_eq!(code_of(&refused)?, "vault.failed", "{refused:?}");
            assert_eq!(endpoint.token_requests().len(), 1, "{act:?} {errno:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_everything_after_the_answer_is_tried_until_it_takes_it() -> Result<()> {
    let steps = Steps::build()?;
    for (act, errno) in [
        (ACTS[0], Errno::Broken),
        (ACTS[2], Errno::ReadOnly),
        (Act::RefreshCopies, Errno::Broken),
    ] {
        let done = uninterrupted(&steps, act, 0).await?;
        let endpoint = endpoint().await?;
        let stage = Stage::new(act, 0, "refused", &endpoint)?;
        let first = sent(&done.steps)?;
        let ran = stage
            .perform(&steps, Plan::FailBetween(first, first + 40, errno))
            .await?;
        assert_eq!(ran.ran.code, 0, "{act:?} {errno:?}: {:?}", ran.ran);
        assert_eq!(stage.recovers(&endpoint, SOON).await?, Outcome::New);
        assert_eq!((endpoint.token_requests().len(), endpoint.reuses()), (1, 0));
    }
    if !is_long() {
        println!("a disk that never takes it again: a minute, in the long form only");
        return Ok(());
    }
    for errno in [Errno::Broken, Errno::ReadOnly] {
        let act = ACTS[2];
        let done = uninterrupted(&steps, act, 0).await?;
        let endpoint = endpoint().await?;
        let stage = Stage::new(act, 0, "refused", &endpoint)?;
        let ran = stage
            .perform(&steps, Plan::FailFrom(sent(&done.steps)?, errno))
            .await?;
        told(&stage, &ran, &endpoint)?;
        assert_eq!(code_of(&ran)?, "vault.failed");
        let said = ran.ran.stdout + &ran.ran.stderr;
        assert!(
            said.contains("neither its store nor Kalit's journal could be written"),
            "{said}"
        );
        assert_eq!(stage.recovers(&endpoint, SOON).await?, Outcome::Unknown);
    }
    Ok(())
}

/// Locks are made by calls that `harness/steps.c` does not see: strace lets them fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_on_which_no_lock_can_be_linked_gets_it_the_plain_way() -> Result<()> {
    let endpoint = endpoint().await?;
    for (seed, errno) in ["ENOSPC", "EIO", "EROFS", "EDQUOT"].into_iter().enumerate() {
        let stage = Stage::new(ACTS[seed % 4], seed, &format!("link{seed}"), &endpoint)?;
        let trace = stage.home.path().with_extension("trace");
        let mut command = Command::new(STRACE);
        command
            .args(["-DD", "-f", "-q", "-e", "trace=linkat", "-e"])
            .arg(format!("inject=linkat:error={errno}"))
            .arg("-o")
            .arg(&trace)
            .arg(binary("KALIT_BIN", "kalit")?)
            .args(stage.arguments())
            .env_clear()
            .envs(stage.kalit.variables());
        let ran = stage.finish(command).await?;
        let injected = std::fs::read_to_string(&trace)?.matches("(INJECTED)").count();
        std::fs::remove_file(&trace)?;
        assert!(injected > 0, "no lock was linked");
        assert_eq!(ran.code, 0, "{errno}: {ran:?}");
        stage.is_whole(&endpoint)?;
        assert_eq!(stage.recovers(&endpoint, SOON).await?, Outcome::New, "{errno}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_only_takes_its_time() -> Result<()> {
    let steps = Steps::build()?;
    let endpoint = endpoint().await?;
    let mut acts = tokio::task::JoinSet::new();
    for (seed, act) in [ACTS[0], ACTS[3], Act::SignIn, Act::Restore(2)]
        .into_iter()
        .enumerate()
    {
        let stage = Stage::new(act, seed, &format!("slow{seed}"), &endpoint)?;
        let steps = steps.clone();
        acts.spawn(async move {
            let plan = Plan::SlowSync(Duration::from_millis(200));
            stage.perform(&steps, plan).await.map(|done| (stage, done))
        });
    }
    while let Some(done) = acts.join_next().await {
        let (stage, done) = done??;
        assert_eq!(done.ran.code, 0, "{:?}: {:?}", stage.act, done.ran);
        let took = done.steps.last().context("no steps")?.at - done.steps[0].at;
        assert!(took > 1_000_000, "{:?} was not slow: {took} µs", stage.act);
        assert_eq!(
            stage.recovers(&endpoint, SOON).await?,
            Outcome::New,
            "{:?}",
            stage.act
        );
    }
    assert_eq!(endpoint.reuses(), 0);
    Ok(())
}

async fn at(steps: Steps, point: Point, stage: Stage, endpoint: Arc<TokenEndpoint>) -> Result<Became> {
    let done = stage.perform(&steps, point.plan).await?;
    stage.is_whole(&endpoint).context("after the fault")?;
    let told = match done.ran.code {
        0 => None,
        _ => Some(told(&stage, &done, &endpoint)?),
    };
    let outcome = stage.recovers(&endpoint, SOON).await?;
    let rotated = endpoint.current_refresh(&stage.login.account_id) != Some(stage.login.refresh.clone());
    // A sign-in that no disk takes is told, and what was stored before is untouched.
    let lost = outcome == Outcome::Unknown && rotated && stage.act.renews();
    ensure!(!lost, "the answer is lost: {:?}", done.ran);
    ensure!(
        told.is_some() || outcome == Outcome::New,
        "success was told: {:?}",
        done.ran
    );
    Ok(Became { told, outcome })
}

/// The code with which a refused command ended: documented, not a panic, without a secret.
fn told(stage: &Stage, done: &Performed, endpoint: &TokenEndpoint) -> Result<String> {
    let said = format!("{}{}", done.ran.stdout, done.ran.stderr);
    let account = &stage.login.account_id;
    let secrets = [
        Some(stage.login.refresh.clone()),
        endpoint.current_refresh(account),
        endpoint.current_access(account),
    ];
    for secret in secrets.iter().flatten() {
        ensure!(!said.contains(secret), "a token was printed: {said}");
    }
    ensure!(!said.contains("panicked"), "{said}");
    code_of(done)
}

fn code_of(done: &Performed) -> Result<String> {
    let said = format!("{}{}", done.ran.stdout, done.ran.stderr);
    let known = ErrorCode::ALL.iter().filter(|code| said.contains(code.as_str()));
    let code = known
        .max_by_key(|code| code.as_str().len())
        .with_context(|| format!("no code: {:?}", done.ran))?;
    ensure!(*code != ErrorCode::Internal, "{:?}", done.ran);
    Ok(code.as_str().to_owned())
}

/// Whether only memory holds the answer from this step on: it is tried for a minute. Which step that
/// is differs by a few from run to run.
fn waits_for_a_minute(act: Act, errno: Errno, number: usize, steps: &[Step]) -> bool {
    let refuses_all = matches!(errno, Errno::Broken | Errno::ReadOnly);
    let kept = steps
        .iter()
        .filter(|step| step.path.contains("/journal/") && matches!(step.call.as_str(), "rename" | "fsync"))
        .map(|step| step.number)
        .nth(2);
    let between = sent(steps).is_ok_and(|sent| sent < number) && kept.is_some_and(|kept| number <= kept + 4);
    act.renews() && refuses_all && between
}

/// The step with which the request leaves.
fn sent(steps: &[Step]) -> Result<usize> {
    number_of(steps, Step::is_network)
}
