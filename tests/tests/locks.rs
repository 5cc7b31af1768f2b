//! Kalit and OpenClaw's own locked writers at work on one store: nothing is lost and no lock stays,
//! and whoever is killed in the middle does not block the other.

use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_core::ErrorCode;
use kalit_core::clock::SystemClock;
use kalit_core::store::lock::{LockContext, PidTrust, Released, STORE_LOCK_LIMIT, SandboxMarks, StoreLock};
use kalit_journeys::openclaw::{self, Release, Version};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const OURS: &str = "demo:kalit";
const THEIRS: &str = "demo:openclaw";
const WRITES: u32 = 200;
/// When a race is given up.
const DEADLINE: Duration = Duration::from_secs(180);
/// How many writes one side may be ahead of the other.
const LEAD: u32 = 5;

#[tokio::test]
async fn two_hundred_writes_each_lose_nothing_with_2026_2_17() -> Result<()> {
    nothing_is_lost(Version::V2026_2_17).await
}

#[tokio::test]
async fn two_hundred_writes_each_lose_nothing_with_2026_6_1() -> Result<()> {
    nothing_is_lost(Version::V2026_6_1).await
}

async fn nothing_is_lost(version: Version) -> Result<()> {
    let scene = Scene::new(&openclaw::release(version).await?)?;
    let mut writers = scene
        .node(
            "lock-writers.mjs",
            &[THEIRS, &WRITES.to_string(), OURS, &LEAD.to_string()],
        )
        .await?;
    assert_eq!(writers.answer().await?, json!({"ready": true}));

    writers.say("go").await?;
    let agent_dir = scene.agent_dir.clone();
    let ours = tokio::task::spawn_blocking(move || write_all(&agent_dir)).await??;
    let theirs = writers.answer().await?;
    assert!(writers.end().await?.success());

    println!(
        "{version:?}: Kalit {WRITES} writes in {} ms ({} after waiting, {} after a stolen lock); \
         OpenClaw {} in {} ms; {} changes of hand",
        ours.took.as_millis(),
        ours.waited,
        ours.stolen,
        theirs["written"],
        theirs["millis"],
        ours.changes_of_hand
    );
    assert_eq!(
        (theirs["written"].as_u64(), theirs["refused"].as_u64()),
        (Some(200), Some(0))
    );
    let document = scene.document()?;
    assert_eq!(
        (count(&document, OURS), count(&document, THEIRS)),
        (WRITES, WRITES)
    );
    assert_eq!(error_count(&scene, &document)?, WRITES);
    assert_eq!(scene.strays()?, Vec::<PathBuf>::new());
    assert!(
        ours.changes_of_hand >= WRITES / (2 * LEAD),
        "the two hardly met: {} changes of hand",
        ours.changes_of_hand
    );
    Ok(())
}

#[tokio::test]
async fn the_lockless_writer_of_2026_2_17_loses_what_was_written_meanwhile() -> Result<()> {
    let scene = Scene::new(&openclaw::release(Version::V2026_2_17).await?)?;
    let mut writer = scene
        .node("lockless-writer.mjs", &["demo:pasted", "demo"])
        .await?;
    writer.say("FAKE-TOKEN").await?;
    assert_eq!(writer.answer().await?, json!({"loaded": true}));
    write_confirmed(&scene.agent_dir, 1, &context(), &mut Turns::default())?;
    assert_eq!(count(&scene.document()?, OURS), 1);

    writer.say("go on").await?;
    assert_eq!(writer.answer().await?, json!({"saved": true}));
    assert!(writer.end().await?.success());
    let document = scene.document()?;
    assert_eq!(
        document["profiles"]["demo:pasted"],
        json!({"type": "token", "provider": "demo", "token": "FAKE-TOKEN"})
    );
    assert_eq!(count(&document, OURS), 0, "our count is gone");
    Ok(())
}

/// Three Kalits compete for one lock while one after the other is killed (SIGKILL) in the middle.
#[test]
fn killed_at_any_moment_a_holder_blocks_nobody_and_no_count_is_lost() -> Result<()> {
    const KILLS: u64 = 40;
    let dir = tempfile::tempdir()?;
    let lock_file = dir.path().join("auth-profiles.json.lock");
    fs::write(dir.path().join("counter"), "0")?;
    let mut contenders = Vec::new();
    let (mut told, mut left_behind) = (0, 0);
    for _ in 0..KILLS {
        while contenders.len() < 3 {
            contenders.push(Contender::start(dir.path())?);
        }
        let inside = wait_for_a_holder(&lock_file, &contenders)?;
        let victim = contenders.swap_remove(inside);
        let pid = victim.child.id();
        told += victim.kill()?;
        if let Ok(bytes) = fs::read(&lock_file) {
            let payload: Value = serde_json::from_slice(&bytes).context("a lock file in pieces")?;
            left_behind += u64::from(payload["pid"] == pid);
        }
    }
    let counter = dir.path().join("counter");
    let started = Instant::now();
    while fs::read_to_string(&counter)?.parse::<u64>()? < 400 {
        ensure!(started.elapsed() < DEADLINE, "the survivors do not count");
        std::thread::yield_now();
    }
    for contender in contenders {
        told += contender.kill()?;
    }
    let lock = StoreLock::try_acquire(dir.path(), &context())?;
    let counted: u64 = fs::read_to_string(counter)?.parse()?;
    assert_eq!(lock.release(), Released::Clean);
    assert!(!lock_file.exists());
    println!("{KILLS} kills, {left_behind} with the lock held, {counted} counts, {told} told");
    let untold = counted.checked_sub(told).context("a count was lost")?;
    assert!(untold <= KILLS + 3, "{untold} counts were not told");
    assert!(left_behind > 0, "nobody was killed with the lock held");
    Ok(())
}

/// Which of the contenders the lock names at this moment.
fn wait_for_a_holder(lock_file: &Path, contenders: &[Contender]) -> Result<usize> {
    let started = Instant::now();
    loop {
        if let Ok(payload) = read(lock_file) {
            let holder = contenders
                .iter()
                .position(|contender| payload["pid"] == contender.child.id());
            if let Some(holder) = holder {
                return Ok(holder);
            }
        }
        ensure!(started.elapsed() < DEADLINE, "nobody takes the lock");
    }
}

/// A process that counts under the lock.
struct Contender {
    child: std::process::Child,
    output: std::process::ChildStdout,
}

impl Contender {
    fn start(agent_dir: &Path) -> Result<Self> {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_lock-contender"))
            .arg(agent_dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("no stdout")?;
        Ok(Self { child, output })
    }

    /// Kills it and returns how many counts it told of.
    fn kill(mut self) -> Result<u64> {
        self.child.kill()?;
        self.child.wait()?;
        let lines = std::io::BufReader::new(self.output).lines();
        Ok(u64::try_from(lines.map_while(std::io::Result::ok).count())?)
    }
}

/// What writing in turns with the other program came to.
#[derive(Default)]
struct Turns {
    took: Duration,
    /// How often the other program's count had moved since our last write.
    changes_of_hand: u32,
    /// How often the lock was not free at once.
    waited: u32,
    /// How often 2026.2.17 took our lock over.
    stolen: u32,
}

fn write_all(agent_dir: &Path) -> Result<Turns> {
    let ctx = context();
    let path = agent_dir.join("auth-profiles.json");
    let started = Instant::now();
    let mut turns = Turns::default();
    let mut theirs = 0;
    for number in 1..=WRITES {
        // Without the lock the file is a hint, and 2026.2.17 shows half-written ones.
        while read(&path).is_ok_and(|document| number > count(&document, THEIRS) + LEAD) {
            ensure!(started.elapsed() < DEADLINE, "OpenClaw stopped writing");
            std::thread::sleep(Duration::from_millis(2));
        }
        let seen = write_confirmed(agent_dir, number, &ctx, &mut turns)?;
        turns.changes_of_hand += u32::from(seen != theirs);
        theirs = seen;
        std::thread::sleep(Duration::from_millis(u64::from(number % 8)));
    }
    turns.took = started.elapsed();
    Ok(turns)
}

/// Counts our profile up to `number` and returns the other's count. After a stolen lock the write
/// is looked for under a new one, and done again if it was lost.
fn write_confirmed(agent_dir: &Path, number: u32, ctx: &LockContext, turns: &mut Turns) -> Result<u32> {
    let path = agent_dir.join("auth-profiles.json");
    loop {
        let lock = match StoreLock::try_acquire(agent_dir, ctx) {
            Err(error) if error.code() == ErrorCode::LockBusy => {
                turns.waited += 1;
                StoreLock::acquire(agent_dir, ctx, STORE_LOCK_LIMIT)?
            }
            free => free?,
        };
        let mut document = read(&path)?;
        let theirs = count(&document, THEIRS);
        let done = count(&document, OURS);
        ensure!(
            done == number || done + 1 == number,
            "our count fell to {done} before write {number}"
        );
        if done + 1 == number {
            document["profiles"][OURS]["metadata"]["count"] = Value::from(number.to_string());
            if !replace(&path, &document, &lock)? {
                turns.stolen += 1;
                continue;
            }
        }
        match lock.release() {
            Released::Clean => return Ok(theirs),
            Released::Stolen => turns.stolen += 1,
        }
    }
}

/// Atomic, and only while the lock is ours.
fn replace(path: &Path, document: &Value, lock: &StoreLock) -> Result<bool> {
    let temporary = path.with_extension("json.kalit.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(serde_json::to_string_pretty(document)?.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    if !lock.verify() {
        fs::remove_file(&temporary)?;
        return Ok(false);
    }
    fs::rename(&temporary, path)?;
    Ok(true)
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn context() -> LockContext {
    let trust = PidTrust::detect(&SandboxMarks::default(), false);
    LockContext::new(Arc::new(SystemClock), trust)
}

fn count(document: &Value, profile: &str) -> u32 {
    let text = document["profiles"][profile]["metadata"]["count"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// OpenClaw's second count, kept where the release keeps usage statistics.
fn error_count(scene: &Scene, document: &Value) -> Result<u32> {
    let state = scene.agent_dir.join("auth-state.json");
    let state = match state.exists() {
        true => read(&state)?,
        false => document.clone(),
    };
    let count = state["usageStats"][THEIRS]["errorCount"].as_u64();
    Ok(u32::try_from(count.context("no usage statistics")?)?)
}

/// A throw-away home and state directory with two accounts, and the release at work on it.
struct Scene {
    home: TempDir,
    agent_dir: PathBuf,
    release: Release,
}

impl Scene {
    fn new(release: &Release) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let agent_dir = home.path().join("state/agents/main/agent");
        fs::create_dir_all(&agent_dir)?;
        let account = json!({"type": "api_key", "provider": "demo", "key": "FAKE"});
        let store = json!({"version": 1, "profiles": {OURS: account.clone(), THEIRS: account}});
        fs::write(
            agent_dir.join("auth-profiles.json"),
            serde_json::to_vec_pretty(&store)?,
        )?;
        Ok(Self {
            home,
            agent_dir,
            release: release.clone(),
        })
    }

    fn document(&self) -> Result<Value> {
        read(&self.agent_dir.join("auth-profiles.json"))
    }

    /// Everything in the agent directory that is no store: locks and temporary files.
    fn strays(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.agent_dir)?;
        let paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        Ok(paths
            .into_iter()
            .filter(|path| path.extension().is_none_or(|extension| extension != "json"))
            .collect())
    }

    /// Runs a file of `harness/` in the release's Node, knowing only this scene.
    async fn node(&self, script: &str, arguments: &[&str]) -> Result<Node> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness").join(script);
        let mut child = Command::new(&self.release.node)
            .arg(script)
            .arg(&self.release.package_dir)
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("OPENCLAW_STATE_DIR", self.home.path().join("state"))
            .env("OPENCLAW_NO_RESPAWN", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no stdout")?;
        Ok(Node {
            input: child.stdin.take().context("no stdin")?,
            output: BufReader::new(output).lines(),
            child,
        })
    }
}

/// A Node process that is spoken with line by line.
struct Node {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Node {
    async fn say(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    /// The next line that is JSON; OpenClaw's own log lines are passed over.
    async fn answer(&mut self) -> Result<Value> {
        let next = async {
            while let Some(line) = self.output.next_line().await? {
                if let Ok(value) = serde_json::from_str(&line) {
                    return Ok(value);
                }
            }
            anyhow::bail!("the Node process ended without an answer")
        };
        tokio::time::timeout(DEADLINE, next).await?
    }

    async fn end(mut self) -> Result<ExitStatus> {
        drop(self.input);
        Ok(self.child.wait().await?)
    }
}
