//! A Kalit that renews one login again and again: `kalit-refresher <profile id> <pause>`, in the
//! environment of a Kalit, with pauses of up to that many milliseconds.
//!
//! Prints `{"ready":true}`, begins at the first line of its standard input and stops at the
//! second, then prints `{"renewals":[{"began","ended","result","error"},…]}`, times in epoch
//! milliseconds. With `--without-locks` it renews as no Kalit does: what is on disk is sent and
//! the answer is written, nothing is locked.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use kalit_core::broker::{Broker, Options, RefreshTarget};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::environment::Environment;
use kalit_core::ids::{AgentId, ProfileId};
use kalit_journeys::http::post_form;
use kalit_journeys::openclaw::{read_json, write_json};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (profile, pause) = match &arguments[..] {
        [profile, pause, ..] => (profile.as_str(), pause.parse()?),
        _ => anyhow::bail!("no profile id and pause"),
    };
    let renewer = match arguments.get(2).map(String::as_str) {
        Some("--without-locks") => Renewer::Lockless(profile.to_owned()),
        _ => Renewer::kalit(profile)?,
    };
    say(&json!({"ready": true}))?;
    let stopped = lines()?;
    let mut renewals = Vec::new();
    while !stopped.load(Ordering::SeqCst) {
        let began = SystemClock.now();
        let (result, error) = renewer.renew().await?;
        renewals.push(json!({"began": began, "ended": SystemClock.now(), "result": result, "error": error}));
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..=pause))).await;
    }
    say(&json!({"renewals": renewals}))
}

enum Renewer {
    Kalit(Box<Broker>, RefreshTarget),
    Lockless(String),
}

impl Renewer {
    fn kalit(profile: &str) -> Result<Self> {
        let home = PathBuf::from(std::env::var_os("HOME").context("no home")?);
        let broker = Broker::open(Options {
            environment: Environment::new(std::env::vars(), &home, &home),
            clock: Arc::new(SystemClock),
            state_dir: None,
            program: "kalit",
        })?;
        let profile = ProfileId::parse(profile).context("no profile id")?;
        let target = RefreshTarget::Profile(AgentId::main(), profile);
        Ok(Self::Kalit(Box::new(broker), target))
    }

    /// One renewal: how it ended, and the code of its error.
    async fn renew(&self) -> Result<(Value, Value)> {
        match self {
            Self::Kalit(broker, target) => {
                let outcomes = broker.refresh(target.clone()).await;
                let outcome = serde_json::to_value(outcomes.first().context("no outcome")?)?;
                Ok((outcome["result"].clone(), outcome["error"]["code"].clone()))
            }
            Self::Lockless(profile) => {
                let refreshed = without_locks(profile).await?;
                Ok((json!(if refreshed { "refreshed" } else { "failed" }), Value::Null))
            }
        }
    }
}

/// Whether the endpoint rotated.
async fn without_locks(profile: &str) -> Result<bool> {
    let place = |name| std::env::var_os(name).map(PathBuf::from).context(name);
    let store = place("OPENCLAW_STATE_DIR")?.join("agents/main/agent/auth-profiles.json");
    let manifest = read_json(&place("KALIT_PROVIDERS_DIR")?.join("openai.json"))?;
    let sent = read_json(&store)?["profiles"][profile]["refresh"].clone();
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "refresh_token")
        .append_pair("refresh_token", sent.as_str().context("no refresh token")?)
        .finish();
    let (status, body) = post_form(manifest["tokenUrl"].as_str().context("no token URL")?, form).await?;
    if status != 200 {
        return Ok(false);
    }
    let answer: Value = serde_json::from_str(&body)?;
    let mut document = read_json(&store)?;
    document["profiles"][profile]["access"] = answer["access_token"].clone();
    document["profiles"][profile]["refresh"] = answer["refresh_token"].clone();
    let draft = store.with_extension("draft");
    write_json(&draft, &document)?;
    std::fs::rename(draft, store)?;
    Ok(true)
}

/// Waits for the first line; what is returned becomes true at the second.
fn lines() -> Result<Arc<AtomicBool>> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stopped);
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_line(&mut line);
        flag.store(true, Ordering::SeqCst);
    });
    Ok(stopped)
}

fn say(message: &Value) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{message}")?)
}
