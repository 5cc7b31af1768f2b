//! A storm: many processes that all want to renew one login all the time. Each has a door of its
//! own at the endpoint, so that every request is logged with the process that sent it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::store::lock::{STORE_LOCK_LIMIT, StoreLock};
use kalit_journeys::authserver;
use kalit_journeys::dialogue::Dialogue;
use kalit_journeys::kalit::{Kalit, Ran, expired_login};
use kalit_journeys::openclaw::{Version, read_json, write_json};
use kalit_journeys::proof;
use kalit_journeys::renewal::{Scene, locks};
use kalit_journeys::token_endpoint::{Door, Login};
use kalit_journeys::wait::until;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::verdict::{By, Renewal, Sent, Verdict};

/// How long one rotation may take on average.
const LONGEST_ROTATION: Duration = Duration::from_secs(2);

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Long-lived Kalits.
    pub kalits: usize,
    /// Long-lived OpenClaws.
    pub openclaws: usize,
    /// One more Kalit: the built command line, started again and again.
    pub command_line: bool,
    /// Programs that renew without locks.
    pub lockless: usize,
    /// The longest pause between two renewals of one process, in milliseconds.
    pub pause: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub took: Duration,
    /// How often the login had to be made anew because a spent token had ended it.
    pub made_anew: usize,
    /// What OpenClaw's resolver threw, and how often.
    pub failures: BTreeMap<String, u64>,
    /// How many processes the log names.
    pub pids: usize,
}

/// Lets the crowd renew the login of a scene until the endpoint has rotated so often. `go_on`: a
/// family that ended is replaced, else the first end is the end. The log is kept as `name`.
pub async fn rage(
    name: &str,
    version: Version,
    crowd: Crowd,
    rotations: usize,
    go_on: bool,
) -> Result<Outcome> {
    // No access token is ever good enough: 2026.2.17 renews one that has ended, 2026.6.1 (which
    // takes no lifetime of nothing) one with less than five minutes to go.
    let lifetime = Duration::from_secs(if version == Version::V2026_2_17 { 0 } else { 60 });
    let mut scene = Scene::with_lifetime(version, lifetime).await?;
    let mut participants = Vec::new();
    for number in 0..crowd.kalits + crowd.lockless {
        let extra = (number >= crowd.kalits).then_some("--without-locks");
        participants.push(Participant::kalit(&mut scene, number, crowd.pause, extra).await?);
    }
    for _ in 0..crowd.openclaws {
        participants.push(Participant::openclaw(&mut scene, crowd.pause).await?);
    }
    for participant in &mut participants {
        let ready = participant.dialogue.answer().await?;
        ensure!(ready == json!({"ready": true}), "{ready}");
    }
    let started = Instant::now();
    for participant in &mut participants {
        participant.dialogue.say("go").await?;
    }
    let command_line = match crowd.command_line {
        true => Some(CommandLine::start(&mut scene).await?),
        false => None,
    };

    let limit = Duration::from_secs(60) + LONGEST_ROTATION * u32::try_from(rotations)?;
    let made_anew = until_rotated(&scene, rotations, go_on, limit).await?;
    let took = started.elapsed();

    let mut sides = BTreeMap::new();
    let mut renewals = Vec::new();
    let mut failures = BTreeMap::new();
    for participant in &mut participants {
        participant.dialogue.say("stop").await?;
    }
    for mut participant in participants {
        let told = participant.dialogue.answer().await?;
        let ended = participant.dialogue.end().await?;
        ensure!(ended.success(), "a participant ended with {ended}");
        sides.insert(participant.port, (participant.by, Pids::One(participant.pid)));
        match participant.by {
            By::Kalit => renewals.extend(renewals_of(participant.port, &told)?),
            By::OpenClaw => {
                for (text, times) in told["failures"].as_object().into_iter().flatten() {
                    *failures.entry(text.clone()).or_default() += times.as_u64().unwrap_or_default();
                }
            }
        }
    }
    if let Some(command_line) = command_line {
        let (port, runs) = command_line.end().await?;
        renewals.extend(runs.iter().map(|run| run.renewal.clone()));
        let pids = runs.iter().map(|run| (run.renewal.began, run.pid)).collect();
        sides.insert(port, (By::Kalit, Pids::Several(pids)));
    }
    let log = log_of(&scene, &sides)?;
    keep(name, &log)?;
    let mut pids: Vec<u32> = log.iter().map(|sent| sent.pid).collect();
    pids.sort_unstable();
    pids.dedup();

    let stored = read_json(&scene.home.profiles_path("main"))?["profiles"][&scene.profile].clone();
    let mut verdict = Verdict::of(&log, &renewals);
    verdict.look_at_the_end(
        &stored,
        scene.endpoint.current_refresh("acct-ada").as_deref(),
        scene.endpoint.current_access("acct-ada").as_deref(),
        &scene.left_behind()?,
    );
    Ok(Outcome {
        verdict,
        took,
        made_anew,
        failures,
        pids: pids.len(),
    })
}

/// Waits for the rotations; how often the login was made anew.
async fn until_rotated(scene: &Scene, rotations: usize, go_on: bool, limit: Duration) -> Result<usize> {
    let mut made_anew = 0;
    until(&format!("{rotations} rotations"), limit, || {
        let over = !scene.endpoint.is_live("acct-ada");
        let done = scene.endpoint.rotations() >= rotations || (over && !go_on);
        let again = (over && !done).then(|| {
            made_anew += 1;
            made_anew
        });
        async move {
            if let Some(number) = again
                && let Err(error) = make_anew(scene, number)
            {
                return Some(Err(error));
            }
            done.then_some(Ok(()))
        }
    })
    .await??;
    Ok(made_anew)
}

/// A fresh login in place of the one that a spent token ended, under the store's lock.
fn make_anew(scene: &Scene, number: usize) -> Result<()> {
    let login = Login::named("ada", &format!("test-refresh-anew-{number}"));
    let path = scene.home.profiles_path("main");
    let lock = StoreLock::acquire(&scene.home.agent_dir("main"), &locks(), STORE_LOCK_LIMIT)?;
    let mut store = read_whole(&path)?;
    let provider = store["profiles"][&scene.profile]["provider"].clone();
    let provider = provider.as_str().context("no provider")?;
    store["profiles"][&scene.profile] = expired_login(&login, provider);
    scene.endpoint.add_login(login);
    let draft = path.with_extension("draft");
    write_json(&draft, &store)?;
    std::fs::rename(draft, path)?;
    drop(lock);
    Ok(())
}

/// The store, where 2026.2.17 may be writing in place at this moment although another has the lock.
fn read_whole(path: &Path) -> Result<Value> {
    let mut tries = 50;
    loop {
        match read_json(path) {
            Err(_) if tries > 0 => tries -= 1,
            read => return read,
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A process that renews until it is told to stop.
struct Participant {
    by: By,
    port: u16,
    pid: u32,
    dialogue: Dialogue,
}

impl Participant {
    async fn kalit(scene: &mut Scene, number: usize, pause: u64, extra: Option<&str>) -> Result<Self> {
        let port = scene.endpoint.open(Door::Plain).await?;
        let kalit = with_own_door(scene, &format!("kalit-{number}"), port)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_kalit-refresher"));
        command
            .args([&scene.profile, &pause.to_string()])
            .args(extra)
            .env_clear()
            .envs(kalit.variables());
        Self::start(By::Kalit, port, command)
    }

    async fn openclaw(scene: &mut Scene, pause: u64) -> Result<Self> {
        let port = scene.endpoint.open(Door::Tls).await?;
        let mut command = scene.node("resolve-again.mjs");
        command
            .arg(&scene.release.package_dir)
            .arg(&scene.profile)
            .arg(scene.home.agent_dir("main"))
            .arg(pause.to_string())
            .env("LOOP_PORT", port.to_string());
        Self::start(By::OpenClaw, port, command)
    }

    fn start(by: By, port: u16, command: Command) -> Result<Self> {
        let dialogue = Dialogue::start(command)?;
        let pid = dialogue.id().context("it ended at once")?;
        Ok(Self {
            by,
            port,
            pid,
            dialogue,
        })
    }
}

/// `kalit refresh`, one process after the other.
struct CommandLine {
    port: u16,
    stopped: Arc<AtomicBool>,
    runs: JoinHandle<Result<Vec<Run>>>,
}

struct Run {
    pid: u32,
    renewal: Renewal,
}

impl CommandLine {
    async fn start(scene: &mut Scene) -> Result<Self> {
        let port = scene.endpoint.open(Door::Plain).await?;
        let kalit = with_own_door(scene, "command-line", port)?;
        let profile = scene.profile.clone();
        let stopped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stopped);
        let runs = tokio::spawn(async move {
            let mut runs = Vec::new();
            while !flag.load(Ordering::SeqCst) {
                let began = SystemClock.now().as_millis();
                let mut command = kalit.command(&["refresh", &profile, "--json"])?;
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                let child = command.spawn()?;
                let pid = child.id().context("it ended at once")?;
                let ran = Ran::from(child.wait_with_output().await?);
                let error = ran.error_code()?;
                runs.push(Run {
                    pid,
                    renewal: Renewal {
                        port,
                        began,
                        ended: SystemClock.now().as_millis(),
                        result: ran.result()?,
                        error: (error != "none").then_some(error),
                    },
                });
                tokio::time::sleep(Duration::from_millis(if proof::is_long() { 2000 } else { 200 })).await;
            }
            Ok(runs)
        });
        Ok(Self { port, stopped, runs })
    }

    async fn end(self) -> Result<(u16, Vec<Run>)> {
        self.stopped.store(true, Ordering::SeqCst);
        Ok((self.port, self.runs.await??))
    }
}

/// The scene's Kalit with a manifest that leads to this door.
fn with_own_door(scene: &Scene, name: &str, port: u16) -> Result<Kalit> {
    let providers: PathBuf = scene.home.path().join("doors").join(name);
    let manifest = authserver::manifest(&format!("http://127.0.0.1:{port}"), &[1455]);
    write_json(&providers.join("openai.json"), &manifest)?;
    let providers = providers.to_string_lossy();
    Ok(scene.kalit.clone().with_var("KALIT_PROVIDERS_DIR", providers))
}

/// Which process used a door: always the same one, or one after the other from these times on.
enum Pids {
    One(u32),
    Several(Vec<(i64, u32)>),
}

fn log_of(scene: &Scene, sides: &BTreeMap<u16, (By, Pids)>) -> Result<Vec<Sent>> {
    let requests = scene.endpoint.token_requests().into_iter();
    requests
        .map(|request| {
            let (by, pids) = sides
                .get(&request.port)
                .context("a request through no door of ours")?;
            let pid = match pids {
                Pids::One(pid) => Some(*pid),
                Pids::Several(pids) => pids
                    .iter()
                    .rfind(|(since, _)| *since <= request.at)
                    .map(|(_, pid)| *pid),
            };
            Ok(Sent {
                at: request.at,
                port: request.port,
                pid: pid.context("a request before its process")?,
                by: *by,
                sent: request.refresh_token().unwrap_or_default().to_owned(),
                issued: request.issued.clone(),
                reuse: request.outcome == "reuse",
            })
        })
        .collect()
}

fn renewals_of(port: u16, told: &Value) -> Result<Vec<Renewal>> {
    let renewals = told["renewals"].as_array().context("no renewals")?.iter();
    renewals
        .map(|renewal| {
            let text = |name: &str| renewal[name].as_str().map(str::to_owned);
            let time = |name: &str| renewal[name].as_i64().context("no time");
            Ok(Renewal {
                port,
                began: time("began")?,
                ended: time("ended")?,
                result: text("result").context("no result")?,
                error: text("error"),
            })
        })
        .collect()
}

/// Keeps the log beside the figures: one JSON line for each request. Its tokens are fakes.
fn keep(name: &str, log: &[Sent]) -> Result<()> {
    let path = proof::dir()?.join(format!("{name}.jsonl"));
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for sent in log {
        let line = json!({
            "at": sent.at, "pid": sent.pid, "by": format!("{:?}", sent.by),
            "sent": sent.sent, "issued": sent.issued, "reuse": sent.reuse,
        });
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}
