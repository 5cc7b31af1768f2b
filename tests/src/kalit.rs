//! Kalit in a throw-away home: the built command line, or the broker in this process. Both know one
//! OpenClaw release as the installed one and refresh where a manifest says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::broker::{Broker, Options};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::environment::Environment;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::canary::Searcher;
use crate::openclaw::{Release, TestHome, harness, write_json};
use crate::process::{Process, binary, command};
use crate::token_endpoint::{Login, access_token};
#[cfg(target_os = "linux")]
use crate::trace::{Trace, Written};

/// The longest a command may take: it waits a minute for locks, two for an answer.
const COMMAND_LIMIT: Duration = Duration::from_secs(200);

/// Kalit as a person of this home has it.
#[derive(Clone, Debug)]
pub struct Kalit {
    vars: BTreeMap<String, String>,
    home: PathBuf,
    #[cfg(target_os = "linux")]
    trace: Option<Arc<Trace>>,
}

/// Changes of OpenClaw's databases and their logs.
#[cfg(target_os = "linux")]
#[derive(Clone, Debug, Default)]
pub struct DatabasesWritten {
    /// By Kalit itself.
    pub own: Vec<Written>,
    /// By the programs that it started.
    pub others: Vec<Written>,
}

/// Where a desktop program of Kalit's finds OpenClaw in `home`, its own files and the manifests of tests.
pub fn directories(home: &TestHome) -> Vec<(String, String)> {
    let own = |name: &str| home.path().join("kalit").join(name).display().to_string();
    [
        ("OPENCLAW_STATE_DIR", home.state_dir().display().to_string()),
        ("KALIT_CONFIG_DIR", own("config")),
        ("KALIT_DATA_DIR", own("data")),
        ("KALIT_PROVIDERS_DIR", own("providers")),
        ("KALIT_TEST_PROVIDERS", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// How a command ended and what it printed.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Ran {
    /// The one JSON document on stdout.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{self:?}"))
    }

    /// The error code of a `--json` answer, of the command or of its first outcome.
    pub fn error_code(&self) -> Result<String> {
        let answer = self.json()?;
        let code = match &answer["error"] {
            Value::Null => &answer["outcomes"][0]["error"]["code"],
            error => &error["code"],
        };
        Ok(code.as_str().unwrap_or("none").to_owned())
    }

    /// The `result` of the first outcome of `refresh --json`.
    pub fn result(&self) -> Result<String> {
        let answer = self.json()?;
        let result = answer["outcomes"][0]["result"].as_str();
        Ok(result
            .with_context(|| format!("no outcome: {self:?}"))?
            .to_owned())
    }
}

impl Kalit {
    /// Kalit in `home`, beside `release`, with a manifest that overrides its built-in provider.
    pub fn new(home: &TestHome, release: &Release, manifest: &Value) -> Result<Self> {
        let own = home.path().join("kalit");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        write_json(&own.join("providers/openai.json"), manifest)?;
        let vars = [
            ("HOME", text(home.path().to_owned())),
            ("USERPROFILE", text(home.path().to_owned())),
            ("OPENCLAW_STATE_DIR", text(home.state_dir())),
            ("KALIT_CONFIG_DIR", text(own.join("config"))),
            ("KALIT_DATA_DIR", text(own.join("data"))),
            ("KALIT_PROVIDERS_DIR", text(own.join("providers"))),
            ("KALIT_TEST_PROVIDERS", "1".to_owned()),
            ("TMPDIR", text(home.path().join("tmp"))),
            ("PATH", confined_node(home, release)?),
        ];
        let kalit = Self {
            vars: vars.map(|(name, value)| (name.to_owned(), value)).into(),
            home: home.path().to_owned(),
            #[cfg(target_os = "linux")]
            trace: None,
        };
        kalit.finds(release)?;
        Ok(kalit)
    }

    /// From now on this release is the installed one.
    pub fn finds(&self, release: &Release) -> Result<()> {
        let launcher = release.package_dir.join("openclaw.mjs");
        release.share_compiled_code(&self.home);
        write_json(
            &self.home.join("kalit/config/settings.json"),
            &json!({"version": 1, "openclawBinary": launcher}),
        )
    }

    /// The same with one more variable.
    pub fn with_var(mut self, name: &str, value: impl Into<String>) -> Self {
        self.vars.insert(name.to_owned(), value.into());
        self
    }

    /// The variables of every Kalit of this home.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// The same, and from now on everything that it writes is traced.
    #[cfg(target_os = "linux")]
    pub fn traced(mut self) -> Result<Self> {
        self.trace = Some(Arc::new(Trace::new()?));
        Ok(self)
    }

    /// The same, and from now on it is traced with what it starts other programs.
    #[cfg(target_os = "linux")]
    pub fn traced_starts(mut self) -> Result<Self> {
        self.trace = Some(Arc::new(Trace::of_starts()?));
        Ok(self)
    }

    /// The same, and from now on it is traced with what it starts other programs and what all of
    /// them write.
    #[cfg(target_os = "linux")]
    pub fn traced_contents(mut self) -> Result<Self> {
        self.trace = Some(Arc::new(Trace::of_contents()?));
        Ok(self)
    }

    /// What was traced of all that has ended.
    #[cfg(target_os = "linux")]
    pub async fn traces(&self) -> Result<Vec<String>> {
        self.trace.as_ref().context("nothing is traced")?.texts().await
    }

    /// The databases of OpenClaw's that were written under the trace: by Kalit, and by the OpenClaw
    /// that it started.
    #[cfg(target_os = "linux")]
    pub async fn databases_written(&self) -> Result<DatabasesWritten> {
        let trace = self.trace.as_ref().context("nothing is traced")?;
        // `-shm` is an index that readers share, made anew from the log whenever that is needed.
        let concerns = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.starts_with("openclaw") && name.contains(".sqlite") && !name.ends_with("-shm")
        };
        let (own, others) = trace
            .written(concerns)
            .await?
            .into_iter()
            .partition(|written| written.own);
        Ok(DatabasesWritten { own, others })
    }

    /// The program and what stands before its arguments.
    fn program(&self) -> Result<(PathBuf, Vec<OsString>)> {
        let kalit = binary("KALIT_BIN", "kalit")?;
        #[cfg(target_os = "linux")]
        if let Some(trace) = &self.trace {
            return Ok(trace.command(&kalit));
        }
        Ok((kalit, Vec::new()))
    }

    /// `kalit <args>`, to be started; killed when its handle is dropped.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let (program, before) = self.program()?;
        let mut command = Command::new(program);
        command
            .args(before)
            .args(args)
            .env_clear()
            .envs(&self.vars)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// `kalit <args>`. It prints no secret of the home's JSON stores, or this fails.
    pub async fn run(&self, args: &[&str]) -> Result<Ran> {
        let mut command = self.command(args)?;
        self.ended(args, command.output()).await
    }

    /// `kalit <args>` with a line on its standard input, like [`Self::run`].
    pub async fn run_with(&self, args: &[&str], line: &str) -> Result<Ran> {
        let mut command = self.command(args)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        // A program that ends without reading it closes the pipe: its own affair.
        let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
        drop(stdin);
        self.ended(args, child.wait_with_output()).await
    }

    async fn ended(&self, args: &[&str], end: impl Future<Output = io::Result<Output>>) -> Result<Ran> {
        let state_dir = PathBuf::from(&self.vars["OPENCLAW_STATE_DIR"]);
        let before = Searcher::of_stores(&state_dir)?;
        let output = tokio::time::timeout(COMMAND_LIMIT, end)
            .await
            .with_context(|| format!("kalit {args:?} does not end"))??;
        for searcher in [before, Searcher::of_stores(&state_dir)?] {
            for printed in [&output.stdout, &output.stderr] {
                let searched = searcher.bytes("what it printed", printed);
                ensure!(searched.hits() == 0, "kalit {args:?} tells a secret: {searched}");
            }
        }
        Ok(output.into())
    }

    /// A sign-in without a browser: `consent` answers the address of the sign-in with that of the last
    /// page, which is pasted.
    pub async fn signs_in(
        &self,
        args: &[&str],
        consent: impl AsyncFnOnce(&str) -> Result<String>,
    ) -> Result<()> {
        let mut command = self.command(&[args, &["--no-browser"]].concat())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        while let Some(line) = lines.next_line().await? {
            if line.starts_with("http") {
                let last = consent(&line).await?;
                stdin.write_all(format!("{last}\n").as_bytes()).await?;
                break;
            }
        }
        while lines.next_line().await?.is_some() {}
        ensure!(child.wait().await?.success(), "the sign-in failed");
        Ok(())
    }

    /// `kalit <args>` to be spoken with: its stdin is a pipe, its output is read while it runs.
    pub fn start(&self, args: &[&str]) -> Result<Process> {
        let (program, before) = self.program()?;
        let mut command = command(program, &self.vars);
        command
            .args(before)
            .args(args)
            .current_dir(&self.home)
            .stdin(Stdio::piped());
        // It goes with the home.
        let (_, log) = tempfile::NamedTempFile::new_in(&self.home)?.keep()?;
        Process::start(&mut command, &log)
    }

    /// `kalit watch --json`, which has begun to watch when this returns.
    pub async fn watch(&self) -> Result<Watching> {
        let (program, before) = self.program()?;
        let mut command = command(program, &self.vars);
        command
            .args(before)
            .args(["watch", "--json"])
            .current_dir(&self.home);
        let log = tempfile::NamedTempFile::new_in(&self.home)?.into_temp_path();
        let process = Process::start(&mut command, &log)?;
        let mut watching = Watching { process, _log: log };
        watching.event("started", Duration::from_secs(20)).await?;
        Ok(watching)
    }

    /// What every Kalit of this home is started with.
    pub fn environment(&self) -> Environment {
        Environment::new(self.vars.clone(), &self.home, &self.home)
    }

    /// The broker in this process, on a clock of the test's.
    pub fn broker(&self, clock: Arc<dyn Clock>) -> Result<Broker> {
        Ok(Broker::open(Options {
            environment: self.environment(),
            clock,
            state_dir: None,
            program: "kalit",
        })?)
    }

    /// What `status --json` says of one account of an agent.
    pub async fn account(&self, agent: &str, profile_id: &str) -> Result<Value> {
        let status = self.run(&["status", "--json"]).await?.json()?;
        account(&status["kalit"], agent, profile_id)
    }
}

/// A running `kalit watch --json`.
#[derive(Debug)]
pub struct Watching {
    process: Process,
    _log: tempfile::TempPath,
}

impl Watching {
    /// The first event of a type, waited for.
    pub async fn event(&mut self, kind: &str, limit: Duration) -> Result<Value> {
        let what = format!("the event {kind}");
        self.process
            .line(&what, limit, |line| {
                let event: Value = serde_json::from_str(line).ok()?;
                (event["type"] == kind).then_some(event)
            })
            .await
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Value> {
        let output = self.process.output();
        output
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The types of all events so far.
    pub fn kinds(&self) -> Vec<String> {
        let events = self.events();
        let kinds = events.iter().filter_map(|event| event["type"].as_str());
        kinds.map(str::to_owned).collect()
    }
}

/// One account of a snapshot in JSON.
pub fn account(snapshot: &Value, agent: &str, profile_id: &str) -> Result<Value> {
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let agents = all(&snapshot["agents"]);
    let found = agents
        .iter()
        .filter(|view| view["id"] == agent)
        .flat_map(|view| all(&view["providers"]))
        .flat_map(|provider| all(&provider["accounts"]))
        .find(|account| account["profileId"] == profile_id);
    found.with_context(|| format!("agent {agent} shows no {profile_id}: {snapshot:#}"))
}

/// A stored login as OpenClaw writes it: an access token that has ended, and the
/// refresh token with which the login begins.
pub fn expired_login(login: &Login, provider: &str) -> Value {
    let now = SystemClock.now().as_millis();
    json!({
        "type": "oauth",
        "provider": provider,
        "access": access_token(login, Duration::ZERO, 0),
        "refresh": login.refresh,
        "expires": now - 60_000,
        "accountId": login.account_id,
        "email": login.email,
    })
}

/// The `PATH` of a Kalit that starts OpenClaw: its `node` is the release's, confined to loopback as
/// [`Release::command`] confines it, with the variables of [`TestHome::led_to`].
fn confined_node(home: &TestHome, release: &Release) -> Result<String> {
    let bin = home.path().join("bin");
    std::fs::create_dir_all(&bin)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let script = format!(
            "#!/bin/sh\nexport NODE_OPTIONS='--require=\"{}\"'\n[ -f '{loop_}' ] && . '{loop_}'\nexec '{}' \"$@\"\n",
            harness("loop.cjs").display(),
            release.node.display(),
            loop_ = home.loop_variables().display(),
        );
        // A file that this process has open for writing cannot be started.
        let draft = bin.join("draft");
        std::fs::write(&draft, script)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&draft, bin.join("node"))?;
    }
    Ok(format!("{}:/usr/bin:/bin", bin.display()))
}
