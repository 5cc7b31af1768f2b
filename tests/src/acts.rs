//! What Kalit does to stores, each thing in a small home of its own that can be made thousands of
//! times: no OpenClaw is started, its release is told by a package without a program.

mod databases;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::vault::installation_dir;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::http::free_port;
use crate::kalit::{Kalit, Ran, expired_login};
use crate::openclaw::{Release, TestHome, Version, write_json};
use crate::process::signal;
use crate::steps::{Plan, Step, Steps, read_steps};
use crate::token_endpoint::{Login, TokenEndpoint, access_token, authorization_code};
use crate::wait::until_some;

/// The longest a command may take on a busy machine.
const COMMAND: Duration = Duration::from_secs(120);

/// One thing that Kalit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A renewal: 2026.2.17 has the store locked meanwhile, 2026.4.29 and 2026.6.1 the login.
    Refresh(Version),
    /// A renewal of a generation that two more agents hold.
    RefreshCopies,
    SignIn,
    Use,
    SetOrder,
    ClearOrder,
    /// Of `credentials/oauth.json`.
    Import,
    /// A removal after the login's end at the provider.
    SignOut,
    /// Of a dropped login, in that many databases.
    Restore(usize),
    /// What an engine seals when it sees a store for the first time.
    Watch,
}

impl Act {
    pub const ALL: [Self; 13] = [
        Self::Refresh(Version::V2026_2_17),
        Self::Refresh(Version::V2026_4_29),
        Self::Refresh(Version::V2026_6_1),
        Self::RefreshCopies,
        Self::SignIn,
        Self::Use,
        Self::SetOrder,
        Self::ClearOrder,
        Self::Import,
        Self::SignOut,
        Self::Restore(1),
        Self::Restore(2),
        Self::Watch,
    ];

    pub fn name(self) -> String {
        match self {
            Self::Refresh(version) => format!("refresh, {}", version.as_str()),
            Self::RefreshCopies => "refresh, three holders".to_owned(),
            Self::SignIn => "sign-in".to_owned(),
            Self::Use => "use".to_owned(),
            Self::SetOrder => "order set".to_owned(),
            Self::ClearOrder => "order clear".to_owned(),
            Self::Import => "import".to_owned(),
            Self::SignOut => "remove everywhere".to_owned(),
            Self::Restore(1) => "restore, one database".to_owned(),
            Self::Restore(count) => format!("restore, {count} databases"),
            Self::Watch => "sealing".to_owned(),
        }
    }

    pub fn version(self, seed: usize) -> Version {
        match self {
            Self::Refresh(version) => version,
            Self::RefreshCopies => Version::V2026_2_17,
            Self::Restore(_) => Version::V2026_9_6,
            Self::SignIn
            | Self::Use
            | Self::SetOrder
            | Self::ClearOrder
            | Self::Import
            | Self::SignOut
            | Self::Watch => [Version::V2026_2_17, Version::V2026_4_29, Version::V2026_6_1][seed % 3],
        }
    }

    /// Whether the server rotates a stored generation.
    pub fn renews(self) -> bool {
        matches!(self, Self::Refresh(_) | Self::RefreshCopies)
    }

    /// Whether the server issues tokens.
    pub fn asks_for_tokens(self) -> bool {
        self.renews() || self == Self::SignIn
    }

    /// Whose stores it concerns.
    pub fn agents(self) -> &'static [&'static str] {
        match self {
            Self::RefreshCopies => &["main", "two", "work"],
            Self::Restore(2) => &["main", "work"],
            _ => &["main"],
        }
    }
}

/// A home in which one act is ready to begin.
#[derive(Debug)]
pub struct Stage {
    pub act: Act,
    pub home: TestHome,
    pub kalit: Kalit,
    pub version: Version,
    /// The profile that the act is about.
    pub profile: String,
    pub login: Login,
    /// The access token of the copy that the act puts into the stores; else the server issues it.
    pub brings: Option<String>,
    /// Every store's file as it was.
    pub before: BTreeMap<PathBuf, Value>,
}

impl Stage {
    /// `seed` varies the stores, `name` tells its login from all others of the endpoint.
    pub fn new(act: Act, seed: usize, name: &str, endpoint: &TokenEndpoint) -> Result<Self> {
        let home = TestHome::in_memory()?;
        let version = act.version(seed);
        let release = Release {
            version,
            node: PathBuf::from("/bin/false"),
            package_dir: home.path().join("lib/openclaw"),
        };
        write_json(
            &release.package_dir.join("package.json"),
            &json!({"name": "openclaw", "version": version.as_str()}),
        )?;
        fs::write(release.package_dir.join("openclaw.mjs"), "")?;
        // The system's many certificates are not needed on loopback, and take longest to read.
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[free_port()?]))?
            .with_var("SSL_CERT_FILE", endpoint.ca_file().to_string_lossy());
        let login = Login::named(name, &format!("test-refresh-{name}"));
        endpoint.add_login(login.clone());
        let mut stage = Self {
            profile: match act {
                Act::Import => format!("{}:default", provider_of(version)),
                _ => format!("{}:{}", provider_of(version), login.email),
            },
            act,
            home,
            kalit,
            version,
            login,
            brings: None,
            before: BTreeMap::new(),
        };
        stage.brings = stage.prepare(seed)?;
        stage.before = stage.stores()?;
        Ok(stage)
    }

    /// Returns what [`Stage::brings`] is.
    fn prepare(&self, seed: usize) -> Result<Option<String>> {
        let access = |login: &Value| login["access"].as_str().map(str::to_owned);
        if let Act::Restore(_) = self.act {
            return Ok(access(&self.prepare_databases(seed)?));
        }
        let agents: Vec<Value> = self.act.agents().iter().map(|id| json!({"id": id})).collect();
        self.home.write_config(
            &json!({"meta": {"lastTouchedVersion": self.version.as_str()}, "agents": {"list": agents}}),
        )?;
        for agent in self.act.agents() {
            self.write_store(agent, seed)?;
        }
        if self.act == Act::Import {
            let mut old = expired_login(&self.login, provider_of(self.version));
            old["expires"] = json!(SystemClock.now().as_millis() + 3_600_000);
            write_json(
                &self.home.state_dir().join("credentials/oauth.json"),
                &json!({provider_of(self.version): old}),
            )?;
            return Ok(access(&old));
        }
        Ok(None)
    }

    /// Other profiles, what Kalit does not know, and how the file is written differ by seed.
    fn write_store(&self, agent: &str, seed: usize) -> Result<()> {
        let provider = provider_of(self.version);
        let mut profiles = json!({
            "anthropic:key": {"type": "api_key", "provider": "anthropic", "key": "test-key", "rate": 1.50},
        });
        let mut target = expired_login(&self.login, provider);
        if !self.act.renews() {
            let lasting = Duration::from_secs(864_000);
            target["access"] = json!(access_token(&self.login, lasting, 0));
            target["expires"] = json!(SystemClock.now().as_millis() + 864_000_000);
        }
        target["idToken"] = json!("i".repeat([0, 700, 9_000][seed % 3]));
        target["unknown"] = json!({"ü": ["\u{1}", "\n/"], "deep": [{"a": null}]});
        if !matches!(self.act, Act::SignIn | Act::Import) {
            profiles[&self.profile] = target;
        }
        for number in 0..seed % 4 {
            profiles[format!("{provider}:other{number}@example.com")] = json!({
                "type": "oauth", "provider": provider, "access": format!("test-access-other{number}-{}", self.login.account_id),
                "refresh": format!("test-refresh-other{number}-{}", self.login.account_id),
                "expires": SystemClock.now().as_millis() + 864_000_000, "accountId": format!("acct-other{number}"),
            });
        }
        // Two accounts, so that there is something to switch.
        profiles[self.second()] =
            json!({"type": "token", "provider": provider, "token": "test-token-second"});
        let mut store = json!({"version": 1, "profiles": profiles, "later": {"kept": [1, 2.50]}});
        let order = json!({provider: [self.second(), self.profile]});
        let state = json!({
            "order": order, "usageStats": {self.second(): {"lastUsed": 5, "errorCount": 0}},
        });
        let has_order = matches!(self.act, Act::Use | Act::SetOrder | Act::ClearOrder) || seed % 2 == 1;
        if has_order {
            if self.version == Version::V2026_2_17 {
                for (name, value) in state.as_object().into_iter().flatten() {
                    store[name] = value.clone();
                }
            } else {
                let mut state = state;
                state["version"] = json!(1);
                self.home.write_state(agent, &state)?;
            }
        }
        let path = self.home.profiles_path(agent);
        write_json(&path, &store)?;
        if seed % 5 == 2 {
            fs::write(&path, store.to_string())?;
        }
        if seed % 5 == 3 {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
        if seed % 3 == 1 {
            // What an older crash left.
            let name = format!("auth-profiles.json.{}.kalit.tmp", "0f".repeat(16));
            fs::write(path.with_file_name(name), "{\"version\":1,\"prof")?;
            let lock = json!({"pid": 4_194_304, "createdAt": "2026-01-01T00:00:00.000Z"});
            fs::write(path.with_file_name("auth-profiles.json.lock"), lock.to_string())?;
        }
        Ok(())
    }

    /// The other account of the provider.
    pub fn second(&self) -> String {
        format!("{}:second", provider_of(self.version))
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("kalit/data")
    }

    /// The databases of the act, as they are written.
    pub fn databases(&self) -> Vec<PathBuf> {
        match self.act {
            Act::Restore(count) => {
                let work = self.home.agent_dir("work").join("openclaw-agent.sqlite");
                let shared = self.home.state_dir().join("state/openclaw.sqlite");
                [work, shared].into_iter().skip(2 - count).collect()
            }
            _ => Vec::new(),
        }
    }

    /// `auth-profiles.json` and `auth-state.json` of the agents, or what the databases hold; a file
    /// that does not parse is an error.
    pub fn stores(&self) -> Result<BTreeMap<PathBuf, Value>> {
        let mut stores = BTreeMap::new();
        for path in self.databases() {
            let connection = rusqlite::Connection::open(&path)?;
            let query = if path.ends_with("openclaw.sqlite") {
                "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'"
            } else {
                "SELECT store_json FROM auth_profile_store"
            };
            let text: String = connection.query_row(query, [], |row| row.get(0))?;
            stores.insert(path, serde_json::from_str(&text)?);
        }
        for agent in self.act.agents() {
            for path in [self.home.profiles_path(agent), self.home.state_path(agent)] {
                match fs::read(&path) {
                    Ok(bytes) => {
                        let value =
                            serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
                        stores.insert(path, value);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error).context(path.display().to_string()),
                }
            }
        }
        Ok(stores)
    }

    /// The arguments of the command.
    pub fn arguments(&self) -> Vec<String> {
        let provider = provider_of(self.version).to_owned();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut arguments = match self.act {
            Act::Refresh(_) | Act::RefreshCopies => words(&["refresh", &self.profile]),
            Act::SignIn => return words(&["login", "openai", "--no-browser"]),
            Act::Use => words(&["use", &self.profile]),
            Act::SetOrder => words(&[
                "order",
                "set",
                "--provider",
                &provider,
                &self.profile,
                &self.second(),
            ]),
            Act::ClearOrder => words(&["order", "clear", "--provider", &provider]),
            Act::Import => words(&["import", "--yes"]),
            Act::SignOut => words(&["remove", &self.profile, "--everywhere", "--yes"]),
            Act::Restore(_) => words(&["restore", &self.profile, "--yes"]),
            Act::Watch => words(&["watch"]),
        };
        arguments.push("--json".to_owned());
        arguments
    }

    /// Lets Kalit do it; what it did in steps.
    pub async fn perform(&self, steps: &Steps, plan: Plan) -> Result<Performed> {
        let log = self.home.path().with_extension("steps");
        let _ = fs::remove_file(&log);
        let arguments = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = self.kalit.command(&arguments)?;
        command.envs(steps.variables(self.home.path(), &log, plan));
        let ran = self.finish(command).await;
        let steps = read_steps(&log);
        let _ = fs::remove_file(&log);
        Ok(Performed {
            ran: ran?,
            steps: steps?,
        })
    }

    /// Lets a command that was made of [`Stage::arguments`] do it.
    pub async fn finish(&self, mut command: Command) -> Result<Ran> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if self.act == Act::SignIn {
            self.consent(&mut child).await?;
        }
        if self.act == Act::Watch {
            self.until_sealed(&mut child).await?;
        }
        let output = tokio::time::timeout(COMMAND, child.wait_with_output())
            .await
            .with_context(|| format!("{:?} does not end", self.act))??;
        Ok(output.into())
    }

    /// Pastes the address of the last page, once the first is shown.
    async fn consent(&self, child: &mut Child) -> Result<()> {
        let mut stdin = child.stdin.take().context("no standard input")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        while let Some(line) = lines.next_line().await? {
            if !line.starts_with("http://127.0.0.1") {
                continue;
            }
            let url = url::Url::parse(&line)?;
            let of = |wanted: &str| {
                let found = url.query_pairs().find(|(name, _)| name == wanted);
                found
                    .map(|(_, value)| value.into_owned())
                    .context("no such parameter")
            };
            let (redirect, state) = (of("redirect_uri")?, of("state")?);
            let code = authorization_code(&self.login.account_id);
            let last = format!("{redirect}?code={code}&state={state}\n");
            // It may be dead already.
            let _ = stdin.write_all(last.as_bytes()).await;
            break;
        }
        // The rest of the output is read to its end, so that the program never waits for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(())
    }

    async fn until_sealed(&self, child: &mut Child) -> Result<()> {
        let logins = fs::canonicalize(self.home.state_dir())
            .map(|state| installation_dir(&self.data_dir(), &state))?
            .join("logins");
        let snapshots = logins.with_file_name("snapshots/index.json");
        let sealed = |dir: &Path| {
            let names = fs::read_dir(dir).into_iter().flatten().flatten();
            names
                .filter(|entry| entry.path().extension().is_some_and(|end| end == "age"))
                .count()
        };
        until_some("the sealed copies", COMMAND, || {
            let done = sealed(&logins) >= 1 && snapshots.exists();
            let ended = !matches!(child.try_wait(), Ok(None));
            (done || ended).then_some(())
        })
        .await?;
        if let Some(pid) = child.id() {
            // It may have ended meanwhile.
            let _ = signal(pid, rustix::process::Signal::TERM);
        }
        Ok(())
    }

    /// The token that the profile has in each store that holds it.
    pub fn generations(&self) -> Result<Vec<String>> {
        let stores = self.stores()?;
        let found = stores.values().filter_map(|store| {
            let refresh = store["profiles"][&self.profile]["refresh"].as_str()?;
            Some(refresh.to_owned())
        });
        Ok(found.collect())
    }

    /// Whether everything that the act is not about is as it was.
    pub fn others_are_untouched(&self, stores: &BTreeMap<PathBuf, Value>) -> Result<()> {
        for (path, before) in &self.before {
            let name = path.display();
            let Some(now) = stores.get(path) else {
                let cleared = self.act == Act::ClearOrder && path.ends_with("auth-state.json");
                ensure!(cleared, "{name} is gone");
                continue;
            };
            let (mut before, mut now) = (before.clone(), now.clone());
            for store in [&mut before, &mut now] {
                if let Some(profiles) = store["profiles"].as_object_mut() {
                    profiles.remove(&self.profile);
                }
                if let Some(store) = store.as_object_mut() {
                    store.remove("order");
                }
            }
            ensure!(before == now, "{name} lost something: {before} became {now}");
        }
        Ok(())
    }
}

/// A run and its steps.
#[derive(Debug)]
pub struct Performed {
    pub ran: Ran,
    pub steps: Vec<Step>,
}

/// The name under which a release keeps OpenAI's logins.
pub fn provider_of(version: Version) -> &'static str {
    match version {
        Version::V2026_2_17 | Version::V2026_4_29 => "openai-codex",
        Version::V2026_6_1 | Version::V2026_6_11 | Version::V2026_7_1 | Version::V2026_9_6 => "openai",
    }
}
