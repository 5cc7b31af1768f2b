//! Kalit killed (SIGKILL) before and after every step by which it changes files or speaks to the
//! network, in everything that it does to stores; then started again.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_journeys::acts::{Act, Performed, Stage};
use kalit_journeys::aftermath::{Outcome, is_whole_lock};
use kalit_journeys::openclaw::Version;
use kalit_journeys::process::binary;
use kalit_journeys::proof::{Figures, is_long, times};
use kalit_journeys::steps::{Plan, Step, Steps, Traced, read_steps, read_trace, strace};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use kalit_journeys::trace::STRACE;
use kalit_journeys::wait::until_some;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use tokio::process::Command;

/// From the start after a crash to a state without fault, on a busy machine.
const SOON: Duration = Duration::from_secs(90);
/// How many ways in which the stores may look are tried.
const LAYOUTS: usize = 4;
/// Points run beside each other.
const WORKERS: usize = 4;

/// One moment at which Kalit is killed.
#[derive(Clone, Copy, Debug)]
struct Point {
    act: Act,
    seed: usize,
    plan: Plan,
}

/// What became of the points of one act.
#[derive(Clone, Debug, Default)]
struct Tally {
    steps: usize,
    killed: usize,
    /// The act was done before the step came.
    finished: usize,
    replayed: usize,
    /// The answer was lost, and the server had rotated.
    lost_answers: usize,
    /// Sent or about to be, and not rotated: the one retry renewed it.
    retried: usize,
    outcomes: BTreeMap<Outcome, usize>,
    /// Points after which something was lost, broken, left or blocked.
    faults: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_at_any_step_every_store_is_whole_and_the_newest_generation_is_kept() -> Result<()> {
    let started = Instant::now();
    let steps = Steps::build()?;
    let mut points = Vec::new();
    let mut tallies: BTreeMap<Act, Tally> = BTreeMap::new();
    let mut windows = Vec::new();
    for seed in 0..times(1, LAYOUTS) {
        for (place, act) in Act::ALL.into_iter().enumerate() {
            let (stage, done) = uninterrupted(&steps, act, seed).await?;
            tallies.entry(act).or_default().steps = done.steps.len();
            if act.asks_for_tokens() {
                windows.push(window_of(&stage, &done.steps)?);
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

    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let mine: Vec<Point> = points.iter().skip(worker).step_by(WORKERS).copied().collect();
        let steps = steps.clone();
        workers.spawn(async move { crash_at_each(&steps, worker, &mine).await });
    }
    while let Some(done) = workers.join_next().await {
        for (act, tally) in done?? {
            tallies.entry(act).or_default().add(&tally);
        }
    }

    let faults: Vec<&String> = tallies.values().flat_map(|tally| &tally.faults).collect();
    let mut figures = Figures::new("crash");
    let sum = |of: fn(&Tally) -> usize| tallies.values().map(of).sum::<usize>();
    figures
        .row("crash points", total)
        .row("killed", sum(|tally| tally.killed))
        .row("points with a fault", faults.len())
        .row("answers replayed from the journal", sum(|tally| tally.replayed))
        .row("answers lost in the window", sum(|tally| tally.lost_answers))
        .row("unanswered, renewed by the one retry", sum(|tally| tally.retried))
        .row(
            "longest window seen, µs",
            windows.iter().max().copied().unwrap_or_default(),
        )
        .row("run time, s", started.elapsed().as_secs());
    for (act, tally) in &tallies {
        let outcome = |outcome| tally.outcomes.get(&outcome).copied().unwrap_or_default();
        let points = tally.killed + tally.finished;
        figures.row(
            format!("{}: steps, points, old, new, lost answers", act.name()),
            format!(
                "{}, {points}, {}, {}, {}",
                tally.steps,
                outcome(Outcome::Old),
                outcome(Outcome::New),
                tally.lost_answers
            ),
        );
    }
    figures.tell()?;
    ensure!(faults.is_empty(), "{faults:#?}");
    ensure!(
        sum(|tally| tally.killed) * 10 >= total * 9,
        "too few points were reached"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_taken_away_from_the_journal_is_found_to_be_lost() -> Result<()> {
    let steps = Steps::build()?;
    let act = Act::RefreshCopies;
    let (_, done) = uninterrupted(&steps, act, 0).await?;
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
    let (_, done) = uninterrupted(&steps, act, 0).await?;
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

async fn endpoint() -> Result<TokenEndpoint> {
    TokenEndpoint::start(
        Login::named("nobody", "test-refresh-nobody"),
        Duration::from_secs(3600),
    )
    .await
}

/// The whole act, with its steps.
async fn uninterrupted(steps: &Steps, act: Act, seed: usize) -> Result<(Stage, Performed)> {
    let endpoint = endpoint().await?;
    let stage = Stage::new(act, seed, "whole", &endpoint)?;
    let done = stage.perform(steps, Plan::Count).await?;
    ensure!(done.ran.code == 0, "{act:?}: {done:?}");
    stage.is_whole(&endpoint)?;
    ensure!(stage.recovers(&endpoint, SOON).await? == Outcome::New, "{act:?}");
    Ok((stage, done))
}

async fn crash_at_each(steps: &Steps, worker: usize, points: &[Point]) -> Result<BTreeMap<Act, Tally>> {
    let endpoint = endpoint().await?;
    let mut tallies: BTreeMap<Act, Tally> = BTreeMap::new();
    for (number, point) in points.iter().enumerate() {
        let name = format!("w{worker}n{number}");
        let tally = tallies.entry(point.act).or_default();
        if let Err(error) = crash_at(steps, point, &name, &endpoint, tally).await {
            tally.faults.push(format!("{point:?}: {error:#}"));
        }
        if number % 100 == 99 {
            let of = |of: fn(&Tally) -> usize| tallies.values().map(of).sum::<usize>();
            println!(
                "worker {worker}: {} killed, {} answers lost, {} faults",
                of(|tally| tally.killed),
                of(|tally| tally.lost_answers),
                of(|tally| tally.faults.len())
            );
        }
    }
    let lost: usize = tallies.values().map(|tally| tally.lost_answers).sum();
    // Nothing came back but what the one retry of a lost answer has to send.
    ensure!(
        endpoint.reuses() == lost,
        "{} reuses, {lost} lost answers",
        endpoint.reuses()
    );
    Ok(tallies)
}

async fn crash_at(
    steps: &Steps,
    point: &Point,
    name: &str,
    endpoint: &TokenEndpoint,
    tally: &mut Tally,
) -> Result<()> {
    let stage = Stage::new(point.act, point.seed, name, endpoint)?;
    let done = stage.perform(steps, point.plan).await?;
    match done.ran.code {
        -1 => tally.killed += 1,
        _ => tally.finished += 1,
    }
    stage.is_whole(endpoint).context("after the crash")?;
    tally.replayed += usize::from(!stage.journal()?.is_empty());
    if stage.act.renews() && done.steps.len() % 8 == 0 {
        stage.command_works().await?;
    }
    let outcome = stage.recovers(endpoint, SOON).await?;
    *tally.outcomes.entry(outcome).or_default() += 1;
    if outcome == Outcome::Unknown {
        in_the_window(&stage, &done.steps)?;
        if !point.act.renews() {
            return Ok(());
        }
        match stage.is_retried_once(endpoint).await? {
            true => tally.retried += 1,
            false => tally.lost_answers += 1,
        }
    }
    Ok(())
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.killed += other.killed;
        self.finished += other.finished;
        self.replayed += other.replayed;
        self.lost_answers += other.lost_answers;
        self.retried += other.retried;
        self.faults.extend(other.faults.iter().cloned());
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(*outcome).or_default() += count;
        }
    }
}

/// An answer may be lost only between the record that it is asked for and its journal entry.
fn in_the_window(stage: &Stage, steps: &[Step]) -> Result<()> {
    let journalled = steps.iter().rev().skip(1).any(is_journalled);
    ensure!(!journalled, "the answer was in the journal: {:?}", steps.last());
    ensure!(stage.journal()?.is_empty());
    Ok(())
}

fn is_journalled(step: &Step) -> bool {
    step.call == "rename" && step.path.contains("/journal/")
}

fn is_merge(step: &Step) -> bool {
    step.call == "rename" && step.path.ends_with("auth-profiles.json")
}

/// Microseconds from the moment at which the answer can be read to its entry in the journal.
fn window_of(stage: &Stage, steps: &[Step]) -> Result<u64> {
    let received = steps
        .iter()
        .find(|step| step.call == "recv")
        .with_context(|| format!("{:?} received nothing", stage.act))?;
    let kept = steps
        .iter()
        .find(|step| is_journalled(step))
        .context("no entry")?;
    Ok(kept.at - received.at)
}

fn number_of(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Result<usize> {
    let found = steps.iter().find(|step| wanted(step));
    Ok(found.context("no such step")?.number)
}
