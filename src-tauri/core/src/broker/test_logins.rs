//! "Test logins": OpenClaw uses every login once (`openclaw status --usage --json`) and so renews
//! those that end within five minutes. The command names no profile, and 2026.9.6 drops a login
//! whose renewal fails: only on a person's word, online, with every login sealed, and without a
//! gateway that would do the same at the same time.

use std::sync::Arc;

use super::acting::{Touches, acting, ends_soon};
use super::{Broker, Inner, TestLoginsOffer, TestResult, TestedLogin, TestedLogins, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Era, Version};
use crate::language;
use crate::openclaw::actions;
use crate::openclaw::cli::Cli;
use crate::openclaw::gateway::Gateway;
use crate::refresh::Fleet;
use crate::secret::{Fingerprint, Secret};
use crate::store::FenceKind;

const RISK: &str = template!(
    "OpenClaw asks every provider with every login and renews those that end within five minutes. \
                    A login whose renewal fails is dropped by OpenClaw 2026.9.6. Kalit seals a copy of each first."
);

/// Its `status --usage` knows no `--agent`: it uses the default agent's logins.
const LAST_WITHOUT_AGENT: Version = Version::new(2026, 7, 1);

impl Broker {
    /// Whether logins can be tested now. Asks the providers' hosts whether they answer, without
    /// sending anything of an account.
    pub async fn test_logins_offer(&self) -> TestLoginsOffer {
        let why_not = self.inner.clone().may_test().await.err();
        TestLoginsOffer {
            offered: why_not.is_none(),
            risk: language::fixed(RISK),
            why_not: why_not.map(|error| error.message().to_owned()),
        }
    }

    /// Lets OpenClaw use every login once and compares what it holds before and after.
    ///
    /// # Errors
    /// Why it is not offered: `openclaw.unsupported`, `openclaw.missing`, `gateway.running`,
    /// `network.*`, `openclaw.would_renew`; `vault.unsealed`; `openclaw.failed`.
    pub async fn test_logins(&self) -> Result<TestedLogins> {
        let work = async move |inner: Arc<Inner>| inner.test_logins().await;
        acting(self.inner.clone(), work).await
    }
}

/// A login at one moment.
struct Held {
    agent: AgentId,
    store: std::path::PathBuf,
    id: ProfileId,
    provider: Option<ProviderId>,
    generation: Option<Fingerprint>,
    /// A provider may keep the refresh token and give a new access token only.
    access: Option<Fingerprint>,
    fence: Option<FenceKind>,
    ends_soon: bool,
}

impl Inner {
    async fn may_test(self: Arc<Self>) -> Result<()> {
        let inner = self.clone();
        let logins = blocking(move || {
            let fleet = inner.fleet()?;
            let installation = fleet.current();
            match &installation.era {
                Era::Sqlite { .. } => {}
                Era::Mixed { .. } => return Err(installation.mixed()),
                Era::Json | Era::Empty => {
                    return Err(Error::new(
                        ErrorCode::OpenClawUnsupported,
                        say!("with this OpenClaw Kalit renews the logins itself"),
                    )
                    .with_hint(say!("Run `kalit refresh`.")));
                }
            }
            Cli::of(installation)?;
            if Gateway::of(installation) != Gateway::Absent {
                return Err(Error::new(
                    ErrorCode::GatewayRunning,
                    say!("a running gateway renews the logins itself when it uses them"),
                ));
            }
            Ok(inner.held(&fleet))
        })
        .await?;
        let usable = |login: &&Held| login.fence.is_none() && login.generation.is_some();
        let logins: Vec<&Held> = logins.iter().filter(usable).collect();
        if logins.is_empty() {
            return Err(Error::new(
                ErrorCode::ProfileNotRefreshable,
                say!("there is no login that OpenClaw could renew"),
            ));
        }
        let providers = logins.iter().filter_map(|login| login.provider.clone()).collect();
        let unknown = self.online(&providers).await?;
        let due = logins.iter().filter(|login| login.ends_soon);
        for (login, id) in due.filter_map(|login| Some((login, login.provider.as_ref()?))) {
            if unknown.contains(id) {
                let what = say!(
                    "{login} would be renewed, and Kalit does not know whether {provider} can be reached",
                    login = login.id,
                    provider = id
                );
                return Err(Error::new(ErrorCode::OpenClawWouldRenew, what));
            }
        }
        Ok(())
    }

    async fn test_logins(self: Arc<Self>) -> Result<TestedLogins> {
        self.clone().may_test().await?;
        let inner = self.clone();
        let before = blocking(move || {
            let fleet = inner.fleet()?;
            inner.ensure_sealed(&fleet)?;
            Ok(inner.held(&fleet))
        })
        .await?;
        let prepared = self.prepare(Touches::Gateway).await?;
        if prepared.gateway != Gateway::Absent {
            return Err(Error::new(
                ErrorCode::GatewayRunning,
                say!("a gateway was started meanwhile"),
            ));
        }
        let newest = prepared.installation.evidence.newest;
        let by_agent = newest.is_none_or(|version| version > LAST_WITHOUT_AGENT);
        let mut agents: Vec<Option<&AgentId>> = before
            .iter()
            .filter(|login| login.fence.is_none())
            .map(|login| by_agent.then_some(&login.agent))
            .collect();
        agents.sort();
        agents.dedup();
        let mut claimed = Ok(());
        for agent in agents {
            // What was renewed for an agent before may be due again for this one.
            let inner = self.clone();
            blocking(move || {
                let fleet = inner.fleet()?;
                if Gateway::of(fleet.current()) != Gateway::Absent {
                    return Err(Error::new(
                        ErrorCode::GatewayRunning,
                        say!("a gateway was started meanwhile"),
                    ));
                }
                inner.ensure_sealed(&fleet)
            })
            .await?;
            let done = actions::use_every_login(prepared.cli()?, agent).await;
            claimed = claimed.and(done);
        }
        let inner = self.clone();
        let after = blocking(move || {
            inner.seal("tested");
            Ok(inner.held(&inner.fleet()?))
        })
        .await?;
        let logins: Vec<TestedLogin> = before
            .iter()
            .filter(|login| login.fence.is_none())
            .map(|login| tested(login, &after))
            .collect();
        // What became of the logins counts, whatever the command said of itself.
        let mut notes = Vec::new();
        if let Err(error) = claimed {
            if logins.iter().all(|login| login.result == TestResult::Unchanged) {
                return Err(error);
            }
            notes.push(say!(
                "Not every agent's logins were used: {why}.",
                why = error.message()
            ));
        }
        if logins.iter().any(|login| login.result == TestResult::Dropped) {
            notes.push(say!(
                "Kalit holds a sealed copy of what OpenClaw dropped: see the account."
            ));
        }
        Ok(TestedLogins { logins, notes })
    }

    fn held(&self, fleet: &Fleet) -> Vec<Held> {
        let now = self.now();
        let logins = fleet
            .own()
            .filter_map(|store| Some((store, store.content.as_ref().ok()?)));
        logins
            .flat_map(|(store, content)| {
                let profiles = content.document.profiles();
                profiles.map(move |(id, credential)| (store, id, credential))
            })
            .filter(|(_, _, credential)| credential.as_oauth().is_some())
            .map(|(store, id, credential)| Held {
                agent: store.agent.clone(),
                store: store.agent_dir.clone(),
                id,
                provider: credential.provider().cloned(),
                generation: credential.generation(),
                access: credential
                    .as_oauth()
                    .and_then(|oauth| oauth.access.as_ref())
                    .map(Secret::fingerprint),
                fence: credential.fence().map(|fence| fence.kind),
                ends_soon: ends_soon(&credential, now),
            })
            .collect()
    }
}

fn tested(login: &Held, after: &[Held]) -> TestedLogin {
    let now = after
        .iter()
        .find(|other| other.store == login.store && other.id == login.id);
    let name = login.id.account_name();
    let (result, text) = match now {
        // 2026.9.6 takes away an agent's copy of a login that it renewed in the shared store.
        None => (
            TestResult::Unchanged,
            say!(
                "{name} is no longer in this store: the agent uses the shared one",
                name
            ),
        ),
        Some(now) => match now.fence {
            Some(FenceKind::Failed) => (
                TestResult::Dropped,
                say!("OpenClaw could not renew {name} and dropped its token", name),
            ),
            Some(FenceKind::Pending) => (
                TestResult::Unchanged,
                say!("OpenClaw has not finished renewing {name}", name),
            ),
            None if (now.generation, now.access) != (login.generation, login.access) => (
                TestResult::Renewed,
                say!("{name} works: OpenClaw renewed it", name),
            ),
            None if login.ends_soon => (
                TestResult::Unchanged,
                say!("{name} was due, but OpenClaw did not renew it", name),
            ),
            None => (
                TestResult::Unchanged,
                say!("{name} was not due: OpenClaw kept its tokens", name),
            ),
        },
    };
    TestedLogin {
        agent: login.agent.clone(),
        profile_id: login.id.clone(),
        result,
        text,
    }
}
