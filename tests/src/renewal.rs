//! One login that both OpenClaw and Kalit renew: where journeys count requests and look at what
//! the store, the locks and the journal hold afterwards.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::ids::ProfileId;
use kalit_core::store::lock::{LockContext, PidTrust, SandboxMarks, StoreLock};
use serde_json::json;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::dialogue::Dialogue;
use crate::kalit::{Kalit, Ran, expired_login};
use crate::openclaw::{Release, TestHome, Version, harness, read_json, release};
use crate::token_endpoint::{Door, Login, TokenEndpoint};
use crate::wait::until_some;

/// How long an answer is kept back when something is to happen meanwhile.
pub const IN_FLIGHT: Duration = Duration::from_millis(2500);
/// The longest a step may take on a busy machine.
pub const BUSY: Duration = Duration::from_secs(120);

/// One expired login, a release, Kalit, and the endpoint that both refresh at.
#[derive(Debug)]
pub struct Scene {
    pub home: TestHome,
    pub release: Release,
    pub endpoint: TokenEndpoint,
    pub kalit: Kalit,
    /// The id of the expired login in main's store.
    pub profile: String,
}

impl Scene {
    /// With a release, and an endpoint whose access tokens live an hour.
    pub async fn new(version: Version) -> Result<Self> {
        Self::with_lifetime(version, Duration::from_secs(3600)).await
    }

    /// The same with access tokens that live so long.
    pub async fn with_lifetime(version: Version, lifetime: Duration) -> Result<Self> {
        let provider = match version {
            Version::V2026_2_17 | Version::V2026_4_29 => "openai-codex",
            _ => "openai",
        };
        let (home, release) = (TestHome::new()?, release(version).await?);
        let login = Login::named("ada", "test-refresh-0");
        let profile = format!("{provider}:ada@example.com");
        let store = json!({"version": 1, "profiles": {&profile: expired_login(&login, provider)}});
        home.write_profiles("main", &store)?;
        let endpoint = TokenEndpoint::start(login, lifetime).await?;
        let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[1455]))?;
        Ok(Self {
            home,
            release,
            endpoint,
            kalit,
            profile,
        })
    }

    /// The same, parsed.
    pub fn profile_id(&self) -> Result<ProfileId> {
        ProfileId::parse(&self.profile).context("no profile id")
    }

    /// A script of the harness, or the release's own program, with the endpoint in reach.
    pub fn node(&self, script: &str) -> Command {
        let path = match script {
            "openclaw.mjs" => self.release.package_dir.join(script),
            script => harness(script),
        };
        let mut command = self.release.command(&self.home, &path);
        command.envs(self.endpoint.node_env());
        command
    }

    /// The release's own resolver, loaded: it resolves the login after [`Dialogue::say`].
    pub async fn resolver(&self) -> Result<Dialogue> {
        let mut command = self.node("resolve-profile.mjs");
        command
            .arg(&self.release.package_dir)
            .arg(&self.profile)
            .arg(self.home.agent_dir("main"));
        let mut resolver = Dialogue::start(command)?;
        let ready = resolver.answer().await?;
        ensure!(ready == json!({"ready": true}), "{ready}");
        Ok(resolver)
    }

    /// The release's own resolver answers with the stored token and asks nothing of the endpoint.
    pub async fn openclaw_uses_the_answer(&self) -> Result<()> {
        let asked = self.doors().len();
        let mut resolver = self.resolver().await?;
        resolver.say("go").await?;
        let resolved = resolver.answer().await?;
        let access = self.endpoint.current_access("acct-ada");
        let access = access.context("nothing was issued")?;
        ensure!(resolved == json!({"resolved": [access]}), "{resolved}");
        ensure!(self.doors().len() == asked, "OpenClaw asked for tokens");
        Ok(())
    }

    /// `kalit refresh` beside the test.
    pub fn refresh_beside(&self) -> JoinHandle<Result<Ran>> {
        let (kalit, profile) = (self.kalit.clone(), self.profile.clone());
        tokio::spawn(async move { kalit.run(&["refresh", &profile, "--json"]).await })
    }

    /// Lets the stored access token be over, as time does.
    pub fn expire(&self) -> Result<()> {
        let mut store = read_json(&self.home.profiles_path("main"))?;
        store["profiles"][&self.profile]["expires"] = json!(SystemClock.now().as_millis() - 60_000);
        self.home.write_profiles("main", &store)
    }

    /// The door of each token request so far.
    pub fn doors(&self) -> Vec<Door> {
        let requests = self.endpoint.token_requests();
        requests.iter().map(|request| request.door).collect()
    }

    /// The store holds the server's newest tokens, no spent one came back, no lock is left.
    pub fn settled(&self) -> Result<()> {
        let store = read_json(&self.home.profiles_path("main"))?;
        let stored = &store["profiles"][&self.profile];
        ensure!(
            stored["refresh"] == json!(self.endpoint.current_refresh("acct-ada")),
            "{stored}"
        );
        ensure!(
            stored["access"] == json!(self.endpoint.current_access("acct-ada")),
            "{stored}"
        );
        ensure!(self.endpoint.reuses() == 0, "a spent token came back");
        let left = self.left_behind()?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }

    /// Locks, temporary files and journal entries.
    pub fn left_behind(&self) -> Result<Vec<PathBuf>> {
        let places = [
            self.home.agent_dir("main"),
            self.home.state_dir().join("locks/oauth-refresh"),
        ];
        let mut left = self.journal()?;
        for place in places.iter().filter(|place| place.exists()) {
            for entry in std::fs::read_dir(place)? {
                let path = entry?.path();
                if path.extension().is_some_and(|end| end == "lock" || end == "tmp") {
                    left.push(path);
                }
            }
        }
        Ok(left)
    }

    /// The entries of Kalit's rescue journal.
    pub fn journal(&self) -> Result<Vec<PathBuf>> {
        let mut entries = Vec::new();
        let installations = self.home.path().join("kalit/data/installations");
        for installation in std::fs::read_dir(installations).into_iter().flatten() {
            for entry in std::fs::read_dir(installation?.path().join("journal"))
                .into_iter()
                .flatten()
            {
                let path = entry?.path();
                if path.extension().is_some_and(|end| end == "json") {
                    entries.push(path);
                }
            }
        }
        Ok(entries)
    }

    /// Kills a `kalit refresh` (SIGKILL) that has the answer in its journal and waits for the lock
    /// of the store. From 2026.4.21 on no store lock is held while the request is on its way.
    pub async fn crash_before_the_merge(&self, requests: usize) -> Result<()> {
        self.endpoint.set_delay(IN_FLIGHT);
        let mut child = self
            .kalit
            .command(&["refresh", &self.profile])?
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.endpoint.arrived(requests, BUSY).await?;
        let lock = StoreLock::acquire(&self.home.agent_dir("main"), &locks(), IN_FLIGHT)?;
        until_some("the journal", Duration::from_secs(20), || {
            self.journal().ok().filter(|entries| !entries.is_empty())
        })
        .await?;
        child.kill().await?;
        drop(lock);
        let stored = read_json(&self.home.profiles_path("main"))?;
        let stored = &stored["profiles"][&self.profile]["refresh"];
        ensure!(
            *stored != json!(self.endpoint.current_refresh("acct-ada")),
            "merged before the end"
        );
        Ok(())
    }
}

/// Locks as Kalit takes them in this process.
pub fn locks() -> LockContext {
    let trust = PidTrust::detect(&SandboxMarks::default(), false);
    LockContext::new(Arc::new(SystemClock), trust)
}
