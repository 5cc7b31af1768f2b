//! One order for all agents: `auth.order` of OpenClaw's configuration, written by OpenClaw, and
//! the orders of single agents cleared that would win over it.

use std::sync::Arc;

use super::acting::{Touches, acting, has_own_order};
use super::survey::Survey;
use super::{Activation, Broker, GlobalOrderPreview, Inner, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{ProfileId, ProviderId};
use crate::install::{Agent, Era, Installation, Version};
use crate::openclaw::actions;
use crate::openclaw::gateway::Gateway;
use crate::refresh::Fleet;
use crate::routing;

/// Its gateway restarts when `auth.order` changes (2026.6.1); that of [`FIRST_RELOADING`] says "will
/// apply without restarting the gateway".
const LAST_RESTARTING: Version = Version::new(2026, 6, 1);
const FIRST_RELOADING: Version = Version::new(2026, 9, 6);

impl Broker {
    /// What an order for all agents would change; without ids what taking it out would. Blocks.
    ///
    /// # Errors
    /// `order.invalid`, `profile.unknown`, `config.*`, `era.mixed`.
    pub fn order_globally_preview(
        &self,
        provider: &ProviderId,
        ids: Option<Vec<ProfileId>>,
    ) -> Result<GlobalOrderPreview> {
        self.inner
            .plan_globally(provider, ids.as_deref())
            .map(|plan| plan.preview(provider, ids))
    }

    /// Writes the order for all agents; answers with what follows from it in each agent that has
    /// an account of the provider.
    ///
    /// # Errors
    /// As [`Broker::order_globally_preview`]; `openclaw.*`.
    pub async fn order_globally(
        &self,
        provider: &ProviderId,
        ids: Option<Vec<ProfileId>>,
    ) -> Result<Vec<Activation>> {
        let provider = provider.clone();
        let work = async move |inner: Arc<Inner>| inner.order_globally(provider, ids).await;
        acting(self.inner.clone(), work).await
    }
}

/// What is to be done.
struct Plan {
    installation: Installation,
    /// `auth.order` as a whole.
    order: Vec<(String, Vec<ProfileId>)>,
    unchanged: bool,
    /// Agents with a stored order of their own for the provider.
    clears: Vec<Agent>,
    /// Agents with an account of the provider.
    concerned: Vec<Agent>,
    gateway: Gateway,
    era_is_json: bool,
}

impl Plan {
    fn preview(&self, provider: &ProviderId, ids: Option<Vec<ProfileId>>) -> GlobalOrderPreview {
        let running = self.gateway != Gateway::Absent;
        let newest = self.installation.evidence.newest;
        let reloads = newest.is_some_and(|version| version >= FIRST_RELOADING);
        let restarts = newest.is_some_and(|version| version <= LAST_RESTARTING);
        let mut notes = Vec::new();
        if self.unchanged {
            notes.push(say!("openclaw.json has this order already."));
        } else if running && restarts {
            notes.push(say!(
                "The running gateway restarts to apply it: conversations in progress stop."
            ));
        } else if running && !reloads {
            notes.push(say!("The running gateway may restart to apply it."));
        } else if running {
            notes.push(say!("The running gateway applies it without a restart."));
        }
        if !self.clears.is_empty() {
            notes.push(say!(
                "A stored order wins over openclaw.json: it is cleared where there is one."
            ));
        }
        GlobalOrderPreview {
            provider: provider.clone(),
            ids,
            clears: self.clears.iter().map(|agent| agent.id.clone()).collect(),
            gateway_running: running,
            restarts_gateway: running && !reloads && !self.unchanged,
            notes,
        }
    }
}

impl Inner {
    fn plan_globally(&self, provider: &ProviderId, ids: Option<&[ProfileId]>) -> Result<Plan> {
        let fleet = self.fleet()?;
        let installation = fleet.current();
        let era_is_json = match &installation.era {
            Era::Sqlite { .. } => false,
            Era::Json | Era::Empty | Era::Mixed { .. } => {
                installation.ensure_json_era()?;
                true
            }
        };
        if let Some(failure) = &installation.config_failure {
            return Err(failure.to_error());
        }
        for id in ids.unwrap_or_default() {
            self.check_anywhere(&fleet, provider, id)?;
        }
        let mut order = installation.config.auth.order.clone();
        let keys = || order.iter().map(|(key, _)| key.as_str());
        let rules = installation.rules().order_rules;
        let key = routing::order_key(rules, provider, keys().collect::<Vec<_>>()).map(str::to_owned);
        let before = key
            .as_ref()
            .and_then(|key| order.iter().find(|(known, _)| known == key))
            .map(|(_, ids)| ids.clone());
        match (ids, key) {
            (Some(ids), Some(key)) => {
                for (_, old) in order.iter_mut().filter(|(known, _)| *known == key) {
                    *old = ids.to_vec();
                }
            }
            (Some(ids), None) => order.push((provider.as_str().to_owned(), ids.to_vec())),
            (None, Some(key)) => order.retain(|(known, _)| *known != key),
            (None, None) => {}
        }
        let agents = || installation.agents.iter();
        Ok(Plan {
            unchanged: before.as_deref() == ids,
            order,
            // Taking the order out leaves what agents have of their own.
            clears: agents()
                .filter(|agent| ids.is_some() && has_own_order(&fleet, agent, provider))
                .cloned()
                .collect(),
            concerned: agents()
                .filter(|agent| {
                    let survey = Survey::of(&fleet, agent, self.now());
                    survey.providers(installation).contains(provider)
                })
                .cloned()
                .collect(),
            gateway: Gateway::of(installation),
            era_is_json,
            installation: installation.clone(),
        })
    }

    /// Whether any agent has this profile of the provider.
    fn check_anywhere(&self, fleet: &Fleet, provider: &ProviderId, id: &ProfileId) -> Result<()> {
        let mut unknown = Error::new(ErrorCode::ProfileUnknown, say!("no agent has a profile {id}", id));
        for agent in &fleet.current().agents {
            let survey = Survey::of(fleet, agent, self.now());
            match self.check_order(fleet, &survey, agent, provider, std::slice::from_ref(id)) {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == ErrorCode::ProfileUnknown => {}
                Err(error) => unknown = error,
            }
        }
        Err(unknown)
    }

    async fn order_globally(
        self: Arc<Self>,
        provider: ProviderId,
        ids: Option<Vec<ProfileId>>,
    ) -> Result<Vec<Activation>> {
        let (inner, of, wanted) = (self.clone(), provider.clone(), ids.clone());
        let plan = blocking(move || inner.plan_globally(&of, wanted.as_deref())).await?;
        let mut notes = Vec::new();
        if !plan.unchanged {
            let prepared = self.prepare(Touches::Gateway).await?;
            let claimed = actions::config_order(prepared.cli()?, &plan.order).await;
            let stored = prepared.installation.reload().config.auth.order;
            if !same(&stored, &plan.order) {
                claimed?;
                return Err(Error::new(
                    ErrorCode::OpenClawUnconfirmed,
                    say!("auth.order in openclaw.json is not what was asked for"),
                ));
            }
            notes.extend(prepared.notes);
        }
        for agent in &plan.clears {
            if plan.era_is_json {
                let (inner, agent, provider) = (self.clone(), agent.id.clone(), provider.clone());
                blocking(move || inner.store_order(&agent, &provider, None)).await?;
            } else {
                notes.extend(self.write_order(agent, &provider, None).await?);
            }
        }
        notes.dedup();
        blocking(move || {
            let installation = plan.installation.reload();
            plan.concerned
                .iter()
                .map(|agent| self.ordered(&installation, agent, &provider, ids.is_some(), notes.clone()))
                .collect()
        })
        .await
    }
}

/// The same lists under the same keys; an empty map is as good as none.
fn same(one: &[(String, Vec<ProfileId>)], other: &[(String, Vec<ProfileId>)]) -> bool {
    one.len() == other.len() && one.iter().all(|entry| other.contains(entry))
}
