//! Changes in the sqlite era: planned by Kalit, made by OpenClaw, read back from its databases.
//!
//! One change at a time, and one that was begun comes to its end. A running gateway of 2026.9.6
//! renews every login that has ended, whichever change it is told of, and drops those whose
//! renewal fails (observed: `models.authOrderSet` and `models.authRefresh`, and so every command
//! that ends in one of them; a change of the configuration, too). So every login is sealed first;
//! while one is about to be renewed, the gateway is either left alone or the provider must answer.

use std::path::PathBuf;
use std::sync::Arc;

use super::accounts::{inherited, note_texts};
use super::revocation::{EndedLogin, not_removed, still_that};
use super::survey::Survey;
use super::{Activation, Broker, Inner, Removal, blocking, board};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Agent, Era, Installation, Version};
use crate::openclaw::actions;
use crate::openclaw::cli::{Cli, Reach};
use crate::openclaw::gateway::Gateway;
use crate::refresh::Fleet;
use crate::routing;
use crate::secret::Fingerprint;
use crate::store::FenceKind;

/// OpenClaw renews from five minutes before the end on; a command may take another one.
const RENEWS_WITHIN_MS: i64 = 6 * 60_000;
/// The last release that is known to keep a login whose renewal failed.
const LAST_KEEPING: Version = Version::new(2026, 7, 1);
/// The first releases with `models auth logout` are later than this one.
const LAST_WITHOUT_LOGOUT: Version = Version::new(2026, 7, 1);
/// The first release whose gateway takes an order.
const FIRST_ORDER_RPC: Version = Version::new(2026, 8, 0);

impl Broker {
    /// Whether OpenClaw makes the changes that are asked for here, which takes seconds. Blocks.
    pub fn asks_openclaw(&self) -> bool {
        self.inner.openclaw_writes().unwrap_or(false)
    }
}

/// Runs a change in a task of its own, so that it comes to its end whoever stops waiting, and one
/// after the other.
pub(super) async fn acting<T, F>(inner: Arc<Inner>, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let work = work(inner.clone());
    let whole = tokio::spawn(async move {
        let _turn = inner.acting.lock().await;
        work.await
    });
    whole
        .await
        .map_err(|error| Error::new(ErrorCode::Internal, say!("a change broke off")).with_source(error))?
}

/// What a command changes, as far as a running gateway takes notice by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touches {
    /// A database: the gateway sees it when it next looks.
    Store,
    /// What the gateway takes up at once: the configuration, a session.
    Gateway,
}

/// How OpenClaw is asked for one change.
pub(super) struct Prepared {
    pub(super) installation: Installation,
    pub(super) gateway: Gateway,
    reach: Reach,
    pub(super) notes: Vec<String>,
}

impl Prepared {
    pub(super) fn cli(&self) -> Result<Cli<'_>> {
        Ok(Cli::of(&self.installation)?.reaching(self.reach))
    }
}

/// A login that OpenClaw renews as soon as it looks at it.
struct Ending {
    id: ProfileId,
    provider: ProviderId,
}

impl Inner {
    /// Whether OpenClaw has to make the changes. Looks at the disk; an installation of both eras
    /// is for the others to refuse.
    pub(super) fn openclaw_writes(&self) -> Result<bool> {
        Ok(matches!(self.installation()?.era, Era::Sqlite { .. }))
    }

    /// Seals what a running gateway could lose and decides whether it may hear of the change.
    ///
    /// # Errors
    /// `vault.unsealed`; `openclaw.would_renew` when the gateway would renew a login that cannot
    /// be renewed at the moment.
    pub(super) async fn prepare(self: &Arc<Self>, touches: Touches) -> Result<Prepared> {
        let inner = self.clone();
        let (installation, gateway, ending) = blocking(move || {
            let fleet = inner.fleet()?;
            let installation = fleet.current().clone();
            let gateway = Gateway::of(&installation);
            // One may start while the command runs.
            inner.ensure_sealed(&fleet)?;
            let ending = match gateway {
                Gateway::Absent => Vec::new(),
                Gateway::Uncertain | Gateway::Running => endings(&fleet, inner.now()),
            };
            Ok((installation, gateway, ending))
        })
        .await?;
        let mut prepared = Prepared {
            installation,
            gateway,
            reach: Reach::Gateway,
            notes: Vec::new(),
        };
        let newest = prepared.installation.evidence.newest;
        let keeps = newest.is_some_and(|version| version <= LAST_KEEPING);
        let Some(first) = ending.first().filter(|_| !keeps) else {
            return Ok(prepared);
        };
        match touches {
            Touches::Store => {
                prepared.reach = Reach::Store;
                prepared.notes.push(say!(
                    "The running gateway was not told: it would renew {id} at once. It sees the change \
                     when it next looks.",
                    id = first.id
                ));
            }
            Touches::Gateway => {
                self.ensure_renewable(&ending).await?;
                prepared.notes.push(say!(
                    "The running gateway may renew {id} by this; a sealed copy is kept.",
                    id = first.id
                ));
            }
        }
        Ok(prepared)
    }

    /// Whether every provider of these logins could renew now.
    async fn ensure_renewable(&self, ending: &[Ending]) -> Result<()> {
        let providers = ending.iter().map(|login| login.provider.clone()).collect();
        let why = match self.online(&providers).await {
            Ok(unknown) => match unknown.first() {
                None => return Ok(()),
                Some(id) => say!("Kalit does not know where {id} renews", id),
            },
            Err(error) => error.message().to_owned(),
        };
        let ids: Vec<&str> = ending.iter().map(|login| login.id.as_str()).collect();
        Err(Error::new(
            ErrorCode::OpenClawWouldRenew,
            say!(
                "the running gateway would renew {ids} now: {why}",
                ids = ids.join(", "),
                why
            ),
        ))
    }

    pub(super) async fn activate_by_openclaw(
        self: Arc<Self>,
        agent_id: AgentId,
        id: ProfileId,
    ) -> Result<Activation> {
        let (inner, chosen) = (self.clone(), id.clone());
        let (agent, provider, plan) = blocking(move || {
            let (fleet, agent) = inner.managed(&agent_id)?;
            let survey = Survey::of(&fleet, &agent, inner.now()).owning_all();
            let (provider, plan) = inner.plan_switch(&fleet, &survey, &agent, &chosen)?;
            Ok((agent, provider, plan))
        })
        .await?;
        let mut notes = note_texts(&plan.notes);
        if !plan.unchanged {
            notes.extend(self.write_order(&agent, &provider, Some(&plan.new_order)).await?);
        }
        blocking(move || self.switched(&agent, &provider, &id, notes)).await
    }

    pub(super) async fn order_by_openclaw(
        self: Arc<Self>,
        agent_id: AgentId,
        provider: ProviderId,
        ids: Option<Vec<ProfileId>>,
    ) -> Result<Activation> {
        let (inner, wanted, of) = (self.clone(), ids.clone(), provider.clone());
        let (installation, agent) = blocking(move || {
            let (fleet, agent) = inner.managed(&agent_id)?;
            let survey = Survey::of(&fleet, &agent, inner.now());
            inner.check_order(
                &fleet,
                &survey,
                &agent,
                &of,
                wanted.as_deref().unwrap_or_default(),
            )?;
            Ok((fleet.current().clone(), agent))
        })
        .await?;
        let notes = self.write_order(&agent, &provider, ids.as_deref()).await?;
        blocking(move || self.ordered(&installation, &agent, &provider, ids.is_some(), notes)).await
    }

    /// Lets OpenClaw store or clear an order and reads it back.
    ///
    /// # Errors
    /// Those of [`Inner::prepare`] and of the command; `openclaw.unconfirmed`, or
    /// `profile.inherited` where a release does not store an order for what an agent only reads.
    pub(super) async fn write_order(
        self: &Arc<Self>,
        agent: &Agent,
        provider: &ProviderId,
        ids: Option<&[ProfileId]>,
    ) -> Result<Vec<String>> {
        let prepared = self.prepare(Touches::Store).await?;
        let cli = prepared.cli()?;
        let (inner, named, of) = (self.clone(), ids.map(<[_]>::to_vec), provider.clone());
        let by_gateway = prepared.gateway == Gateway::Running
            && prepared.reach == Reach::Gateway
            && prepared
                .installation
                .evidence
                .newest
                .is_some_and(|version| version >= FIRST_ORDER_RPC);
        let place = agent.clone();
        let by_gateway =
            by_gateway && blocking(move || inner.gateway_takes(&place, &of, named.as_deref())).await?;
        let mut done = Err(Error::new(ErrorCode::Internal, say!("nothing was asked")));
        if by_gateway {
            done = actions::order_through_gateway(cli, &agent.id, provider, ids).await;
        }
        if done.is_err() {
            done = actions::order(cli, &agent.id, provider, ids).await;
        }
        let (inner, agent, provider) = (self.clone(), agent.clone(), provider.clone());
        let wanted = ids.map(<[_]>::to_vec);
        blocking(move || inner.confirm_order(&agent, &provider, wanted.as_deref(), done)).await?;
        Ok(prepared.notes)
    }

    /// Whether the gateway would accept the order: it wants every profile of the provider, and no
    /// order of the configuration in its way (2026.9.6).
    fn gateway_takes(&self, agent: &Agent, provider: &ProviderId, ids: Option<&[ProfileId]>) -> Result<bool> {
        let Some(ids) = ids else { return Ok(true) };
        let (fleet, agent) = self.managed(&agent.id)?;
        let installation = fleet.current();
        let survey = Survey::of(&fleet, &agent, self.now());
        let governed = survey.with_input(installation, &agent, provider, "", self.now(), |input| {
            input.stored_order.is_none() && input.config_order.is_some()
        });
        let rules = installation.rules().order_rules;
        let all = survey.seen.iter().filter(|seen| {
            let common = seen.credential.common();
            let owner = common.and_then(|common| routing::normalize_provider(rules, &common.provider_text));
            owner.as_ref() == Some(provider)
        });
        let mut count = 0;
        let named = all
            .inspect(|_| count += 1)
            .filter(|seen| ids.contains(&seen.id))
            .count();
        Ok(!governed && named == count && ids.len() == count)
    }

    /// What a command claimed counts for nothing if the store says otherwise, and the other way
    /// round.
    fn confirm_order(
        &self,
        agent: &Agent,
        provider: &ProviderId,
        ids: Option<&[ProfileId]>,
        claimed: Result<()>,
    ) -> Result<()> {
        let (fleet, agent) = self.managed(&agent.id)?;
        let stored = own_order(&fleet, &agent, provider);
        if stored.as_deref() == ids {
            return Ok(());
        }
        claimed?;
        let survey = Survey::of(&fleet, &agent, self.now());
        let seen_only = |id: &&ProfileId| survey.seen.iter().any(|seen| seen.id == **id && seen.inherited);
        if let Some(id) = ids.unwrap_or_default().iter().find(seen_only) {
            return Err(inherited(&fleet, id, &agent.id, self.now()));
        }
        Err(Error::new(
            ErrorCode::OpenClawUnconfirmed,
            say!(
                "the order of {provider} in {agent} is not what was asked for",
                provider,
                agent = agent.id
            ),
        ))
    }

    pub(super) async fn remove_by_openclaw(
        self: Arc<Self>,
        agent_id: AgentId,
        id: ProfileId,
        everywhere: bool,
    ) -> Result<Removal> {
        let (inner, gone) = (self.clone(), id.clone());
        let checked = blocking(move || {
            inner.seal("before-removal");
            inner.check_removal(&agent_id, &gone)
        });
        let (agent, generation, places) = checked.await?;
        let prepared = self.prepare(Touches::Gateway).await?;
        if !everywhere {
            return self.log_out(prepared, agent, id, generation, places, None).await;
        }
        // Without it the login would end and stay.
        prepared.cli()?;
        let ended = self.clone().sign_out(agent.id.clone(), id.clone()).await?;
        let removed = self.log_out(prepared, agent, id.clone(), generation, places, Some(ended));
        removed.await.map_err(|error| not_removed(&id, &error))
    }

    /// Lets OpenClaw remove a profile and reads that back.
    async fn log_out(
        self: Arc<Self>,
        prepared: Prepared,
        agent: Agent,
        id: ProfileId,
        generation: Option<Fingerprint>,
        places: Vec<PathBuf>,
        ended: Option<EndedLogin>,
    ) -> Result<Removal> {
        still_that(&id, generation, ended)?;
        for dir in &places {
            self.marks.expect_removal(dir, &id)?;
        }
        let claimed = match prepared.cli() {
            Ok(cli) => actions::log_out(cli, &agent.id, &id).await,
            Err(error) => Err(error),
        };
        blocking(move || {
            let (fleet, agent) = self.managed(&agent.id)?;
            let survey = Survey::of(&fleet, &agent, self.now());
            if survey.seen.iter().any(|seen| seen.id == id && !seen.inherited) {
                for dir in &places {
                    let _ = self.marks.clear_gone(dir, &id);
                }
                claimed?;
                return Err(Error::new(
                    ErrorCode::OpenClawUnconfirmed,
                    say!("{id} is still in the store", id),
                ));
            }
            Ok(self.removed(fleet.current(), &agent.id, &id, generation, ended, prepared.notes))
        })
        .await
    }

    /// What is removed, and the stores that hold it.
    pub(super) fn check_removal(
        &self,
        agent: &AgentId,
        id: &ProfileId,
    ) -> Result<(Agent, Option<Fingerprint>, Vec<PathBuf>)> {
        let (fleet, agent) = self.managed(agent)?;
        let installation = fleet.current();
        let survey = Survey::of(&fleet, &agent, self.now());
        let provider = self.provider_of_profile(&fleet, &survey, installation, id, &agent.id)?;
        let seen = survey.seen.iter().find(|seen| seen.id == *id);
        if seen.is_some_and(|seen| seen.inherited) {
            return Err(
                inherited(&fleet, id, &agent.id, self.now()).with_hint(say!("Remove it in the main agent."))
            );
        }
        let fence = seen.and_then(|seen| Some(seen.credential.fence()?.kind));
        if fence == Some(FenceKind::Pending) {
            return Err(
                Error::new(ErrorCode::StoreBusy, say!("OpenClaw is renewing {id}", id))
                    .with_hint(say!("Wait until it is done, then try again.")),
            );
        }
        if installation
            .evidence
            .newest
            .is_some_and(|version| version <= LAST_WITHOUT_LOGOUT)
        {
            return Err(Error::new(
                ErrorCode::OpenClawUnsupported,
                say!("OpenClaw up to 2026.7.1 has no command that removes one account"),
            )
            .with_hint(say!("Update OpenClaw. Or run `openclaw models auth --agent {agent} login --provider {provider} --force`: \
                 it removes every account of {provider} and then signs in.", agent = agent.id, provider)));
        }
        let generation = seen.and_then(|seen| seen.credential.generation());
        let places = places_of(&fleet, &agent, id);
        Ok((agent, generation, places))
    }

    /// The installations and an agent of a current one of the sqlite era, as they are now.
    ///
    /// # Errors
    /// `agent.unknown`; `era.mixed`; `store.changed` when the era is another by now; what keeps
    /// the agent's accounts from being known.
    pub(super) fn managed(&self, agent: &AgentId) -> Result<(Fleet, Agent)> {
        let fleet = self.fleet()?;
        let installation = fleet.current();
        let agent = installation.agent(agent)?.clone();
        match &installation.era {
            Era::Sqlite { .. } => {}
            Era::Mixed { .. } => return Err(installation.mixed()),
            Era::Json | Era::Empty => {
                return Err(Error::new(
                    ErrorCode::StoreChanged,
                    say!("OpenClaw keeps its accounts in another way than a moment ago"),
                ));
            }
        }
        if let Some(error) = board::unreadable(&fleet, &agent) {
            return Err(Error::new(error.code(), error.message()).with_hint(error.hint()));
        }
        Ok((fleet, agent))
    }
}

/// The logins that OpenClaw renews as soon as it looks at them.
fn endings(fleet: &Fleet, now: Timestamp) -> Vec<Ending> {
    let stores = fleet.own().filter_map(|store| store.content.as_ref().ok());
    let logins = stores.flat_map(|content| content.document.profiles());
    logins
        .filter(|(_, credential)| ends_soon(credential, now))
        .filter_map(|(id, credential)| {
            Some(Ending {
                id,
                provider: credential.provider()?.clone(),
            })
        })
        .collect()
}

/// Whether OpenClaw renews a login when it uses it now; one without a known end counts.
pub(super) fn ends_soon(credential: &crate::store::Credential, now: Timestamp) -> bool {
    let renews = credential
        .as_oauth()
        .is_some_and(|oauth| oauth.refresh.is_some() && oauth.fence.is_none());
    let end = credential.expiry().at();
    renews && end.is_none_or(|end| end.millis_since(now) <= RENEWS_WITHIN_MS)
}

/// The order that an agent's own store keeps.
fn own_order(fleet: &Fleet, agent: &Agent, provider: &ProviderId) -> Option<Vec<ProfileId>> {
    let installation = fleet.current();
    let content = fleet.store_of(&agent.agent_dir)?.content.as_ref().ok()?;
    let keys = content.state.order.keys().map(ProviderId::as_str);
    let key = routing::order_key(installation.rules().order_rules, provider, keys)?;
    content.state.order.get(&ProviderId::parse(key)?).cloned()
}

/// Whether an agent's own store keeps an order.
pub(super) fn has_own_order(fleet: &Fleet, agent: &Agent, provider: &ProviderId) -> bool {
    own_order(fleet, agent, provider).is_some()
}

/// The directories of the stores in which an agent's own profile lies.
pub(super) fn places_of(fleet: &Fleet, agent: &Agent, id: &ProfileId) -> Vec<PathBuf> {
    let own = fleet.store_of(&agent.agent_dir);
    let shared = fleet
        .inherited(fleet.current())
        .filter(|store| agent.id.is_main() && fleet.is_shared_database(store));
    own.into_iter()
        .chain(shared)
        .filter(|store| {
            store
                .content
                .as_ref()
                .is_ok_and(|content| content.document.contains(id))
        })
        .map(|store| store.agent_dir.clone())
        .collect()
}
