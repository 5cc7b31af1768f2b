//! Kalit killed (SIGKILL) before and after every step by which it changes files or speaks to the
//! network, in everything that it does to stores; then started again.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_journeys::acts::{Act, Stage};
use kalit_journeys::aftermath::{Outcome, is_whole_lock};
use kalit_journeys::openclaw::Version;
use kalit_journeys::points::{Point, SOON, at_all, endpoint, number_of, uninterrupted};
use kalit_journeys::process::binary;
use kalit_journeys::proof::{Figures, is_long, times};
use kalit_journeys::steps::{Plan, Step, Steps, Traced, read_steps, read_trace, strace};
use kalit_journeys::token_endpoint::TokenEndpoint;
use kalit_journeys::trace::STRACE;
use kalit_journeys::wait::until_some;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use tokio::process::Command;

/// How many ways in which the stores may look are tried.
const LAYOUTS: usize = 4;

/// What became of a point.
struct Became {
    /// Else the act was done before the step came.
    killed: bool,
    replayed: bool,
    outcome: Outcome,
    /// Of a renewal whose answer did not come: whether the one retry renewed it, or the server had
    /// rotated and the answer was lost.
    retried: Option<bool>,
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_at_any_step_every_store_is_whole_and_the_newest_generation_is_kept() -> Result<()> {
    let started = Instant::now();
    let steps = Steps::build()?;
    let mut points = Vec::new();
    let mut lengths: BTreeMap<Act, usize> = BTreeMap::new();
    let mut windows = Vec::new();
    for seed in 0..times(1, LAYOUTS) {
        for (place, act) in Act::ALL.into_iter().enumerate() {
            let done = uninterrupted(&steps, act, seed).await?;
            lengths.insert(act, done.steps.len());
            if act.asks_for_tokens() {
                windows.push(window_of(act, &done.steps)?);
            }
            let all: Vec<Plan> = (1..=done.steps.len())
                .flat_map(|number| [Plan::KillBefore(number), Plan::KillAfter(number)])
                .collect();
            // The long form takes every moment once, in one of the layouts; the short form a few.
            let (first, stride) = match is_long() {
                true => (seed, LAYOUTS),
                false => (place, all.len() / 9),
            };
            let plans = all.into_iter().skip(first).step_by(stride);
            points.extend(plans.map(|plan| Point { act, seed, plan }));
        }
    }
    let total = points.len();
    // What a long run has done so far is of everything.
    points.shuffle(&mut StdRng::seed_from_u64(4));

    let tried = at_all(&points, move |point, stage, endpoint| {
        crash_at(steps.clone(), point, stage, endpoint)
    })
    .await?;
    let count = |of: &dyn Fn(&Point, &Became) -> bool| {
        let counted = tried.points.iter().filter(|(point, became)| of(point, became));
        counted.count()
    };
    let killed = count(&|_, became| became.killed);
    let lost = count(&|_, became| became.retried == Some(false));
    let mut figures = Figures::new("crash");
    figures
        .row("crash points", total)
        .row("killed", killed)
        .row("points with a fault", tried.faults.len())
        .row(
            "answers replayed from the journal",
            count(&|_, became| became.replayed),
        )
        .row("answers lost in the window", lost)
        .row(
            "unanswered, renewed by the one retry",
            count(&|_, became| became.retried == Some(true)),
        )
        .row(
            "longest window seen, µs",
            windows.iter().max().copied().unwrap_or_default(),
        )
        .row("run time, s", started.elapsed().as_secs());
    for (act, length) in &lengths {
        let of = |wanted: &dyn Fn(&Became) -> bool| {
            count(&|point: &Point, became: &Became| point.act == *act && wanted(became))
        };
        figures.row(
            format!("{}: steps, points, old, new, lost answers", act.name()),
            format!(
                "{length}, {}, {}, {}, {}",
                of(&|_| true),
                of(&|became| became.outcome == Outcome::Old),
                of(&|became| became.outcome == Outcome::New),
                of(&|became| became.retried == Some(false)),
            ),
        );
    }
    figures.tell()?;
    ensure!(tried.faults.is_empty(), "{:#?}", tried.faults);
    // Nothing came back but what the one retry of a lost answer has to send.
    ensure!(
        tried.reuses == lost,
        "{} reuses, {lost} lost answers",
        tried.reuses
    );
    ensure!(killed * 10 >= total * 9, "too few points were reached");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_taken_away_from_the_journal_is_found_to_be_lost() -> Result<()> {
    let steps = Steps::build()?;
    let act = Act::RefreshCopies;
    let done = uninterrupted(&steps, act, 0).await?;
    let merge = number_of(&done.steps, is_merge)?;
    let endpoint = endpoint().await?;
    let stage = Stage::new(act, 0, "sabotaged", &endpoint)?;
    stage.perform(&steps, Plan::KillBefore(merge)).await?;
    stage.is_whole(&endpoint)?;
    let journal = stage.journal()?;
    assert_eq!(journal.len(), 1, "{journal:?}");
    std::fs::remove_file(&journal[0])?;
    let error = stage
        .recovers(&endpoint, Duration::from_secs(2))
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("lost: "), "{error:#}");
    // So is a lock that names nobody.
    let lock = stage.home.agent_dir("main").join("auth-profiles.json.lock");
    std::fs::write(&lock, "")?;
    assert!(is_whole_lock(&lock).is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_in_the_journal_is_told_and_no_sign_out_is() -> Result<()> {
    let steps = Steps::build()?;
    let act = Act::Refresh(Version::V2026_6_1);
    let done = uninterrupted(&steps, act, 0).await?;
    let merge = number_of(&done.steps, is_merge)?;
    let endpoint = endpoint().await?;
    let stage = Stage::new(act, 0, "waiting", &endpoint)?;
    stage.perform(&steps, Plan::KillBefore(merge)).await?;
    let waiting = async || -> Result<Value> {
        Ok(stage.kalit.run(&["doctor", "--json"]).await?.json()?["journal"].clone())
    };
    let told = waiting().await?.to_string();
    assert!(told.contains("an answer waits for 1 stores"), "{told}");
    let account = stage.kalit.account("main", &stage.profile).await?;
    assert_eq!(account["state"], "expired", "{account:#}");
    let sentence = account["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("wait in Kalit's journal"), "{account:#}");
    let ran = stage.kalit.run(&["refresh", &stage.profile, "--json"]).await?;
    assert_eq!((ran.code, ran.result()?.as_str()), (0, "adopted"), "{ran:?}");
    assert_eq!(waiting().await?, json!([]));
    let account = stage.kalit.account("main", &stage.profile).await?;
    assert_eq!(account["state"], "healthy", "{account:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_one_of_three_holders_has_is_placed_by_the_next_command() -> Result<()> {
    let steps = Steps::build()?;
    let act = Act::RefreshCopies;
    let done = uninterrupted(&steps, act, 0).await?;
    let second = done.steps.iter().filter(|step| is_merge(step)).nth(1);
    let second = second.context("one merge")?.number;
    let endpoint = endpoint().await?;
    let stage = Stage::new(act, 0, "partly", &endpoint)?;
    stage.perform(&steps, Plan::KillBefore(second)).await?;
    let held = stage.generations()?;
    assert_eq!(
        held.iter().filter(|held| **held == stage.login.refresh).count(),
        2
    );
    stage.command_works(&endpoint).await?;
    assert_eq!((endpoint.token_requests().len(), endpoint.reuses()), (1, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_step_goes_unseen_but_those_between_two_that_are_seen() -> Result<()> {
    let steps = Steps::build()?;
    for act in Act::ALL {
        let endpoint = endpoint().await?;
        let stage = Stage::new(act, 0, "traced", &endpoint)?;
        let (log, trace) = (
            stage.home.path().with_extension("steps"),
            stage.home.path().with_extension("trace"),
        );
        let variables = steps.variables(stage.home.path(), &log, Plan::Count);
        let mut command = Command::new(STRACE);
        command
            .args(strace(&trace, &variables))
            .arg(binary("KALIT_BIN", "kalit")?)
            .args(stage.arguments())
            .env_clear()
            .envs(stage.kalit.variables())
            .current_dir(stage.home.path());
        let ran = stage.finish(command).await?;
        assert!(ran.code == 0, "{act:?}: {ran:?}");
        let traced = until_some("the end of the trace", SOON, || {
            let text = std::fs::read_to_string(&trace).ok()?;
            let first = text.split_once(' ')?.0;
            let ended = text
                .lines()
                .rev()
                .any(|line| line.starts_with(first) && line.contains("+++ exited"));
            ended.then(|| read_trace(&trace, stage.home.path()))
        })
        .await??;
        let seen = read_steps(&log)?;
        std::fs::remove_file(&log)?;
        std::fs::remove_file(&trace)?;

        // Kalit's own process only: what it starts is not Kalit.
        let mut unseen = traced.clone();
        for step in &seen {
            let path = step.path.trim_end_matches(" (deleted)");
            match unseen
                .iter()
                .position(|call| call.call == step.call && call.path == path)
            {
                Some(place) => drop(unseen.remove(place)),
                None => panic!("{act:?}: {step:?} is not in the trace"),
            }
        }
        // How often there was nothing to read is chance, and the library looks before it reads.
        unseen.retain(|call| call.call != "recv");
        let is_known = |call: &Traced| {
            call.is_nameless || call.call == "flock" || call.call == "link" && call.path.ends_with(".lock")
        };
        let unknown: Vec<&Traced> = unseen.iter().filter(|call| !is_known(call)).collect();
        assert!(unknown.is_empty(), "{act:?}: {unknown:?}");
        // A killed process leaves the same files after such a call as before the next step.
        let mut last_was_link = false;
        for call in traced
            .iter()
            .filter(|call| !call.is_nameless && call.call != "flock" && call.call != "recv")
        {
            let is_link = call.call == "link";
            assert!(
                !(is_link && last_was_link),
                "{act:?}: two locks without a step between them"
            );
            last_was_link = is_link;
        }
        let locks = traced.iter().filter(|call| call.call == "link").count();
        assert!(
            locks > 0 || matches!(act, Act::Restore(_) | Act::Watch),
            "{act:?} took no lock"
        );
    }
    Ok(())
}

async fn crash_at(steps: Steps, point: Point, stage: Stage, endpoint: Arc<TokenEndpoint>) -> Result<Became> {
    let done = stage.perform(&steps, point.plan).await?;
    stage.is_whole(&endpoint).context("after the crash")?;
    let journal = stage.journal()?;
    if stage.act.renews() && done.steps.len() % 8 == 0 {
        stage.command_works(&endpoint).await?;
    }
    let outcome = stage.recovers(&endpoint, SOON).await?;
    let mut retried = None;
    if outcome == Outcome::Unknown {
        // An answer may be lost only before it is in the journal.
        let undone = usize::from(matches!(point.plan, Plan::KillBefore(_)) && done.ran.code == -1);
        let mut steps_done = done.steps.iter().rev().skip(undone);
        ensure!(
            journal.is_empty() && !steps_done.any(is_journalled),
            "the answer was in the journal: {:?}",
            done.steps.last()
        );
        if point.act.renews() {
            retried = Some(stage.is_retried_once(&endpoint).await?);
        }
    }
    Ok(Became {
        killed: done.ran.code == -1,
        replayed: !journal.is_empty(),
        outcome,
        retried,
    })
}

fn is_journalled(step: &Step) -> bool {
    step.call == "rename" && step.path.contains("/journal/")
}

fn is_merge(step: &Step) -> bool {
    step.call == "rename" && step.path.ends_with("auth-profiles.json")
}

/// Microseconds from the moment at which the answer can be read to its entry in the journal.
fn window_of(act: Act, steps: &[Step]) -> Result<u64> {
    let received = steps
        .iter()
        .find(|step| step.call == "recv")
        .with_context(|| format!("{act:?} received nothing"))?;
    let kept = steps
        .iter()
        .find(|step| is_journalled(step))
        .context("no entry")?;
    Ok(kept.at - received.at)
}
