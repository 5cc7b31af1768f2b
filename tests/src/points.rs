//! Acts of [`crate::acts`] at many points, each with something done to it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::acts::{Act, Performed, Stage};
use crate::aftermath::Outcome;
use crate::steps::{Plan, Step, Steps};
use crate::token_endpoint::{Login, TokenEndpoint};

/// From the start after an interruption to a state without fault, on a busy machine.
pub const SOON: Duration = Duration::from_secs(90);
/// Points tried beside each other.
const WORKERS: usize = 4;

/// What is done to one run of an act.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub act: Act,
    pub seed: usize,
    pub plan: Plan,
}

/// What became of the points.
#[derive(Debug)]
pub struct Tried<T> {
    pub points: Vec<(Point, T)>,
    /// Points after which something was lost, broken, left or blocked.
    pub faults: Vec<String>,
    /// Spent tokens that came back to a server.
    pub reuses: usize,
}

/// A server at which nobody is signed in.
pub async fn endpoint() -> Result<TokenEndpoint> {
    TokenEndpoint::start(
        Login::named("nobody", "test-refresh-nobody"),
        Duration::from_secs(3600),
    )
    .await
}

/// The whole act, with its steps.
pub async fn uninterrupted(steps: &Steps, act: Act, seed: usize) -> Result<Performed> {
    let endpoint = endpoint().await?;
    let stage = Stage::new(act, seed, "whole", &endpoint)?;
    let done = stage.perform(steps, Plan::Count).await?;
    ensure!(done.ran.code == 0, "{act:?}: {done:?}");
    stage.is_whole(&endpoint)?;
    ensure!(stage.recovers(&endpoint, SOON).await? == Outcome::New, "{act:?}");
    Ok(done)
}

/// The number of the first such step.
pub fn number_of(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Result<usize> {
    let found = steps.iter().find(|step| wanted(step));
    Ok(found.context("no such step")?.number)
}

/// Tries every point on a stage of its own; an error of `at` is a fault.
pub async fn at_all<T, F, Trial>(points: &[Point], at: F) -> Result<Tried<T>>
where
    T: Send + 'static,
    F: Fn(Point, Stage, Arc<TokenEndpoint>) -> Trial + Clone + Send + 'static,
    Trial: Future<Output = Result<T>> + Send,
{
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let mine: Vec<Point> = points.iter().skip(worker).step_by(WORKERS).copied().collect();
        let at = at.clone();
        workers.spawn(async move {
            let endpoint = Arc::new(endpoint().await?);
            let (mut points, mut faults) = (Vec::new(), Vec::new());
            for (number, point) in mine.into_iter().enumerate() {
                let name = format!("w{worker}n{number}");
                let tried = match Stage::new(point.act, point.seed, &name, &endpoint) {
                    Ok(stage) => at(point, stage, endpoint.clone()).await,
                    Err(error) => Err(error),
                };
                match tried {
                    Ok(became) => points.push((point, became)),
                    Err(error) => faults.push(format!("{point:?}: {error:#}")),
                }
                if number % 100 == 99 {
                    println!("worker {worker}: {} points, {} faults", number + 1, faults.len());
                }
            }
            let reuses = endpoint.reuses();
            Ok::<_, anyhow::Error>(Tried {
                points,
                faults,
                reuses,
            })
        });
    }
    let mut all = Tried {
        points: Vec::new(),
        faults: Vec::new(),
        reuses: 0,
    };
    while let Some(done) = workers.join_next().await {
        let done = done??;
        all.points.extend(done.points);
        all.faults.extend(done.faults);
        all.reuses += done.reuses;
    }
    Ok(all)
}
