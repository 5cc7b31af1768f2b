//! Kalit killed before and after every step.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use anyhow::Result;
use kalit_journeys::acts::{Act, Stage};
use kalit_journeys::steps::{Plan, Steps};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};

#[tokio::test(flavor = "multi_thread")]
async fn every_act_is_counted() -> Result<()> {
    let steps = Steps::build()?;
    let endpoint = TokenEndpoint::start(Login::named("nobody", "none"), Duration::from_secs(3600)).await?;
    for act in Act::ALL {
        let stage = Stage::new(act, 0, &format!("{act:?}"), &endpoint)?;
        let started = Instant::now();
        let done = stage.perform(&steps, Plan::Count).await?;
        println!("{act:?} {:?} {} steps: {} {} {}", started.elapsed(), done.steps.len(), done.ran.code, done.ran.stdout, done.ran.stderr);
        for step in &done.steps {
            println!("   {} {} {} {}", step.number, step.at, step.call, step.path);
        }
    }
    Ok(())
}
