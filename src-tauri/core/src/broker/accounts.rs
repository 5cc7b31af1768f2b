//! Switching, orders, removal, import and agents: changes of one store under its lock.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::acting::acting;
use super::board;
use super::revocation::{EndedLogin, still_that};
use super::survey::Survey;
use super::{About, Activation, Broker, ImportItem, Inner, OrderMore, OrderView, Removal, blocking};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Agent, Installation, sessions};
use crate::oauth::Providers;
use crate::openclaw::agents;
use crate::radar;
use crate::refresh::Fleet;
use crate::routing::{self, Note, Plan, Resolution};
use crate::secret::Fingerprint;
use crate::store::AgentStore;
use crate::store::legacy::{LegacyImport, Preview, StaleReason, Verdict};
use crate::view::SCHEMA;

/// An agent as `agents list` shows it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AgentInfo {
    pub id: AgentId,
    pub name: Option<String>,
    pub workspace: String,
    pub agent_dir: String,
    /// Which conversations go to this agent.
    pub bindings: Vec<String>,
    pub is_default: bool,
}

/// An agent that was added, and what the person should know.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AddedAgentInfo {
    pub id: AgentId,
    pub agent_dir: String,
    pub workspace: String,
    pub notes: Vec<String>,
}

impl Broker {
    /// Puts a profile first in its provider's order, those in force behind it, and checks from
    /// disk that it is used now.
    ///
    /// # Errors
    /// `profile.unknown`, `profile.inherited`, `order.overridden` naming what still wins,
    /// `lock.busy`, and those of writing a store.
    pub async fn activate(&self, agent: &AgentId, profile: &ProfileId) -> Result<Activation> {
        let (inner, agent, profile) = (self.inner.clone(), agent.clone(), profile.clone());
        if inner.openclaw_writes()? {
            return acting(inner, async move |inner| {
                inner.activate_by_openclaw(agent, profile).await
            })
            .await;
        }
        blocking(move || inner.activate(&agent, &profile)).await
    }

    /// The stored order of a provider and what follows from it. Blocks.
    pub fn order(&self, agent: &AgentId, provider: &ProviderId) -> Result<OrderView> {
        let fleet = self.inner.fleet()?;
        let installation = fleet.current();
        let agent = installation.agent(agent)?;
        if let Some(error) = board::unreadable(&fleet, agent) {
            return Err(Error::new(error.code(), error.message()).with_hint(error.hint()));
        }
        let survey = Survey::of(&fleet, agent, self.inner.now());
        let resolution = self.inner.resolve(&survey, installation, agent, provider);
        Ok(OrderView {
            agent_id: agent.id.clone(),
            agent_dir: agent.agent_dir.display().to_string(),
            provider: provider.clone(),
            auth_state_path: board::order_path(installation, agent).display().to_string(),
            order: survey.stored_order(installation, provider).map(<[_]>::to_vec),
            kalit: OrderMore {
                schema: SCHEMA,
                source: resolution.source,
                candidates: resolution.candidates,
                reason: resolution.reason,
            },
        })
    }

    /// Stores an order.
    ///
    /// # Errors
    /// `order.invalid` for ids that are not this provider's or not this agent's own.
    pub async fn set_order(
        &self,
        agent: &AgentId,
        provider: &ProviderId,
        ids: Vec<ProfileId>,
    ) -> Result<Activation> {
        let (inner, agent, provider) = (self.inner.clone(), agent.clone(), provider.clone());
        if inner.openclaw_writes()? {
            let work =
                async move |inner: Arc<Inner>| inner.order_by_openclaw(agent, provider, Some(ids)).await;
            return acting(inner, work).await;
        }
        blocking(move || inner.store_order(&agent, &provider, Some(ids))).await
    }

    /// Returns to rotation (or to the order of the config).
    pub async fn clear_order(&self, agent: &AgentId, provider: &ProviderId) -> Result<Activation> {
        let (inner, agent, provider) = (self.inner.clone(), agent.clone(), provider.clone());
        if inner.openclaw_writes()? {
            let work = async move |inner: Arc<Inner>| inner.order_by_openclaw(agent, provider, None).await;
            return acting(inner, work).await;
        }
        blocking(move || inner.store_order(&agent, &provider, None)).await
    }

    /// What the legacy files hold and what an import would do with it. Blocks.
    pub fn import_preview(&self, agent: &AgentId) -> Result<Vec<ImportItem>> {
        let (_, _, mut preview) = self.inner.legacy(agent)?;
        if preview.candidates.is_empty() && !preview.problems.is_empty() {
            return Err(preview.problems.remove(0));
        }
        Ok(preview.candidates.iter().filter_map(import_item).collect())
    }

    /// Imports what the preview shows as importable; answers with the ids.
    pub async fn import(&self, agent: &AgentId) -> Result<Vec<ProfileId>> {
        let (inner, agent) = (self.inner.clone(), agent.clone());
        blocking(move || inner.import(&agent)).await
    }

    /// The agents of the installation. Blocks.
    pub fn agents(&self) -> Vec<AgentInfo> {
        let Ok(installation) = self.inner.installation() else {
            return Vec::new();
        };
        let info = |agent: &Agent| AgentInfo {
            id: agent.id.clone(),
            name: agent.name.clone(),
            workspace: agent.workspace.display().to_string(),
            agent_dir: agent.agent_dir.display().to_string(),
            bindings: agent.bindings.clone(),
            is_default: agent.is_default,
        };
        installation.agents.iter().map(info).collect()
    }

    /// Adds an agent through OpenClaw's own command.
    ///
    /// # Errors
    /// `openclaw.missing` with what to run by hand, `openclaw.failed`, `usage`.
    pub async fn add_agent(&self, id: &str, workspace: Option<&Path>) -> Result<AddedAgentInfo> {
        let installation = self.inner.installation()?;
        let id = AgentId::normalize(id);
        let workspace = match workspace {
            Some(dir) => self.inner.environment.working_dir().join(dir),
            None => installation.state_dir.path.join(format!("workspace-{id}")),
        };
        let added = agents::add_agent(&installation, &id, &workspace).await?;
        let mut notes = Vec::new();
        if added.copies_main_store {
            notes.push(say!(
                "This OpenClaw copies main's accounts, tokens included, into every agent at its first use: \
                 renewed in one place, a copy elsewhere dies. Kalit renews all copies together."
            ));
        }
        Ok(AddedAgentInfo {
            id: added.id,
            agent_dir: added.agent_dir.display().to_string(),
            workspace: added.workspace.display().to_string(),
            notes,
        })
    }
}

impl Inner {
    pub(super) fn resolve(
        &self,
        survey: &Survey,
        installation: &Installation,
        agent: &Agent,
        provider: &ProviderId,
    ) -> Resolution {
        let providers = Providers::load(&self.environment).ok();
        let name = self.provider_name(providers.as_ref(), provider);
        survey.with_input(installation, agent, provider, &name, self.now(), routing::resolve)
    }

    pub(super) fn activate(&self, agent_id: &AgentId, id: &ProfileId) -> Result<Activation> {
        let (installation, agent) = self.writable(agent_id)?;
        let store = installation.store(&agent.agent_dir);
        let lock = self.lock(&agent.agent_dir)?;
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent, self.now());
        let (provider, plan) = self.plan_switch(&fleet, &survey, &agent, id)?;
        if !plan.unchanged {
            installation.ensure_json_era()?;
            store.update(&lock, |_, state| {
                state.set_order(&provider, &plan.new_order);
                Ok(())
            })?;
        }
        drop(lock);
        self.switched(&agent, &provider, id, note_texts(&plan.notes))
    }

    /// The order that puts a profile first.
    pub(super) fn plan_switch(
        &self,
        fleet: &Fleet,
        survey: &Survey,
        agent: &Agent,
        id: &ProfileId,
    ) -> Result<(ProviderId, Plan)> {
        let installation = fleet.current();
        let provider = self.provider_of_profile(fleet, survey, installation, id, &agent.id)?;
        let plan = survey
            .with_input(
                installation,
                agent,
                &provider,
                provider.as_str(),
                self.now(),
                |input| routing::plan_activation(input, id),
            )
            .map_err(|refusal| match refusal {
                routing::Refusal::Inherited => inherited(fleet, id, &agent.id, self.now()),
                other => other.into_error(id),
            })?;
        Ok((provider, plan))
    }

    /// Checks from disk that a switch had its effect, and tells it.
    pub(super) fn switched(
        &self,
        agent: &Agent,
        provider: &ProviderId,
        id: &ProfileId,
        mut notes: Vec<String>,
    ) -> Result<Activation> {
        let activation = self.settled(agent, provider, &mut notes)?;
        let fleet = self.fleet()?;
        let installation = fleet.current();
        if activation.effective.as_ref() != Some(id) {
            let survey = Survey::of(&fleet, agent, self.now());
            let resolution = self.resolve(&survey, installation, agent, provider);
            let text = routing::overridden_by(&resolution, id).map_or_else(
                || say!("another account is used"),
                |over| over.text(id, self.now(), survey.time_zone()),
            );
            return Err(Error::new(ErrorCode::OrderOverridden, text));
        }
        self.emit(
            EventKind::Switched,
            About {
                installation: &installation.state_dir.canonical().display().to_string(),
                agent: Some(&agent.id),
                profile_id: Some(id),
                order: activation.order.as_deref(),
                cause: Some(self.program),
                ..About::default()
            },
            format!("{} is used first in {}", id.account_name(), agent.id),
        );
        Ok(activation)
    }

    pub(super) fn store_order(
        &self,
        agent_id: &AgentId,
        provider: &ProviderId,
        ids: Option<Vec<ProfileId>>,
    ) -> Result<Activation> {
        let (installation, agent) = self.writable(agent_id)?;
        let store = installation.store(&agent.agent_dir);
        let lock = self.lock(&agent.agent_dir)?;
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent, self.now());
        let ids_wanted = ids.as_deref().unwrap_or_default();
        self.check_order(&fleet, &survey, &agent, provider, ids_wanted)?;
        let seen_only = |id: &&ProfileId| survey.seen.iter().any(|seen| seen.id == **id && seen.inherited);
        if let Some(id) = ids_wanted.iter().find(seen_only) {
            return Err(inherited(&fleet, id, agent_id, self.now()));
        }
        installation.ensure_json_era()?;
        store.update(&lock, |_, state| {
            match &ids {
                Some(ids) => state.set_order(provider, ids),
                None => state.clear_order(provider),
            }
            Ok(())
        })?;
        drop(lock);
        self.ordered(&installation, &agent, provider, ids.is_some(), Vec::new())
    }

    /// Whether an order names profiles of this provider only.
    pub(super) fn check_order(
        &self,
        fleet: &Fleet,
        survey: &Survey,
        agent: &Agent,
        provider: &ProviderId,
        ids: &[ProfileId],
    ) -> Result<()> {
        let installation = fleet.current();
        for id in ids {
            let owner = self.provider_of_profile(fleet, survey, installation, id, &agent.id)?;
            let rules = installation.rules().order_rules;
            if Some(&owner) != routing::normalize_provider(rules, provider.as_str()).as_ref() {
                return Err(Error::new(
                    ErrorCode::OrderInvalid,
                    say!("{id} belongs to {owner}", id, owner),
                ));
            }
        }
        Ok(())
    }

    /// Tells a changed order and what follows from it.
    pub(super) fn ordered(
        &self,
        installation: &Installation,
        agent: &Agent,
        provider: &ProviderId,
        was_set: bool,
        mut notes: Vec<String>,
    ) -> Result<Activation> {
        let what = if was_set { "set" } else { "cleared" };
        let settled = self.settled(agent, provider, &mut notes);
        self.emit(
            EventKind::OrderChanged,
            About {
                installation: &installation.state_dir.canonical().display().to_string(),
                agent: Some(&agent.id),
                order: settled.as_ref().ok().and_then(|done| done.order.as_deref()),
                cause: Some(self.program),
                ..About::default()
            },
            format!("The order of {provider} in {} was {what}", agent.id),
        );
        settled
    }

    /// Resolves again from disk. A pin concerns one session: it does not make a switch fail, it is
    /// told.
    pub(super) fn settled(
        &self,
        agent: &Agent,
        provider: &ProviderId,
        notes: &mut Vec<String>,
    ) -> Result<Activation> {
        let fleet = self.fleet()?;
        let installation = fleet.current();
        let survey = Survey::of(&fleet, agent, self.now());
        let resolution = self.resolve(&survey, installation, agent, provider);
        for pin in sessions::pins(installation, &agent.id) {
            let same = survey.seen.iter().any(|seen| {
                seen.id == pin.profile_id && seen.credential.provider().is_some_and(|owner| owner == provider)
            });
            if same && resolution.effective.as_ref() != Some(&pin.profile_id) {
                notes.push(say!(
                    "Session {session} stays pinned to {account}.",
                    session = pin.session,
                    account = pin.profile_id
                ));
            }
        }
        Ok(Activation {
            agent: agent.id.clone(),
            provider: provider.clone(),
            effective: resolution.effective,
            reason: resolution.reason,
            order: survey.stored_order(installation, provider).map(<[_]>::to_vec),
            notes: std::mem::take(notes),
        })
    }

    /// The provider of a profile that the agent sees.
    pub(super) fn provider_of_profile(
        &self,
        fleet: &Fleet,
        survey: &Survey,
        installation: &Installation,
        id: &ProfileId,
        agent: &AgentId,
    ) -> Result<ProviderId> {
        if let Some(Err(error)) = fleet
            .store_of(&installation.agent(agent)?.agent_dir)
            .map(|store| &store.content)
        {
            return Err(Error::new(error.code(), error.message()).with_hint(error.hint()));
        }
        let seen = survey.seen.iter().find(|seen| seen.id == *id).ok_or_else(|| {
            Error::new(
                ErrorCode::ProfileUnknown,
                say!("agent {agent} has no profile {id}", agent, id),
            )
        })?;
        let rules = installation.rules().order_rules;
        seen.credential
            .common()
            .and_then(|common| routing::normalize_provider(rules, &common.provider_text))
            .or_else(|| seen.credential.provider().cloned())
            .ok_or_else(|| Error::new(ErrorCode::OrderInvalid, say!("{id} names no provider", id)))
    }

    /// `ended`: what was ended at its provider before; another login stays.
    pub(super) fn remove(
        &self,
        agent_id: &AgentId,
        id: &ProfileId,
        ended: Option<EndedLogin>,
    ) -> Result<Removal> {
        let (installation, agent) = self.writable(agent_id)?;
        let store = installation.store(&agent.agent_dir);
        self.seal("before-removal");
        let lock = self.lock(&agent.agent_dir)?;
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent, self.now());
        self.provider_of_profile(&fleet, &survey, &installation, id, agent_id)?;
        let seen = survey.seen.iter().find(|seen| seen.id == *id);
        if seen.is_some_and(|seen| seen.inherited) {
            return Err(
                inherited(&fleet, id, agent_id, self.now()).with_hint(say!("Remove it in the main agent."))
            );
        }
        let generation = seen.and_then(|seen| seen.credential.generation());
        still_that(id, generation, ended)?;
        installation.ensure_json_era()?;
        self.marks.expect_removal(&agent.agent_dir, id)?;
        let removed = store.update(&lock, |document, _| document.remove(id));
        if let Err(error) = removed {
            let _ = self.marks.clear_gone(&agent.agent_dir, id);
            return Err(error);
        }
        drop(lock);
        Ok(self.removed(&installation, agent_id, id, generation, ended, Vec::new()))
    }

    /// Tells a removal and where else the login lies.
    pub(super) fn removed(
        &self,
        installation: &Installation,
        agent: &AgentId,
        id: &ProfileId,
        generation: Option<Fingerprint>,
        ended: Option<EndedLogin>,
        mut notes: Vec<String>,
    ) -> Removal {
        let also_in = generation
            .map(|generation| self.elsewhere(installation, generation))
            .unwrap_or_default();
        self.emit(
            EventKind::Removed,
            About {
                installation: &installation.state_dir.canonical().display().to_string(),
                agent: Some(agent),
                profile_id: Some(id),
                generation,
                cause: Some(self.program),
                ..About::default()
            },
            format!("{} was removed from {agent}", id.account_name()),
        );
        notes.extend(also_in.iter().map(|place| match ended {
            Some(_) => say!("The same login in {place} has ended, too.", place),
            None => say!("The same login is still in {place}.", place),
        }));
        Removal {
            agent: agent.clone(),
            profile_id: id.clone(),
            signed_out: ended.map(|ended| ended.how),
            also_in,
            notes,
        }
    }

    /// Every other place with this generation, leftovers included.
    fn elsewhere(&self, installation: &Installation, generation: Fingerprint) -> Vec<String> {
        let Ok(fleet) = self.fleet() else {
            return Vec::new();
        };
        let holders = fleet.holders(generation);
        let mut places: Vec<String> = holders
            .stores
            .iter()
            .map(|holder| holder.agent_dir.display().to_string())
            .collect();
        places.extend(holders.foreign);
        let leftovers = radar::leftovers(
            &installation.state_dir.path,
            &installation.state_dir.oauth_dir(),
            &installation.store_dirs(),
        );
        places.extend(
            leftovers
                .holders
                .iter()
                .filter(|holder| holder.generation == generation)
                .map(|holder| holder.path.display().to_string()),
        );
        places
    }

    fn legacy(&self, agent_id: &AgentId) -> Result<(LegacyImport, AgentStore, Preview)> {
        let (installation, agent) = self.writable(agent_id).map_err(|error| match error.code() {
            ErrorCode::EraSqlite => error.with_hint(say!(
                "OpenClaw's own doctor imports older files: run `kalit doctor` first."
            )),
            _ => error,
        })?;
        let fleet = self.fleet()?;
        let own = fleet.store_of(&agent.agent_dir).map(|store| &store.agent_dir);
        let mut superseded = BTreeSet::new();
        let mut held_elsewhere = BTreeSet::new();
        for store in &fleet.stores {
            for (_, credential) in store
                .content
                .iter()
                .flat_map(|content| content.document.profiles())
            {
                if let Some(generation) = credential.generation()
                    && Some(&store.agent_dir) != own
                {
                    held_elsewhere.insert(generation);
                }
            }
        }
        let sources = radar::leftovers(
            &installation.state_dir.path,
            &installation.state_dir.oauth_dir(),
            &installation.store_dirs(),
        );
        for holder in &sources.holders {
            let known = self.generations().find(holder.generation)?;
            if known.is_some_and(|known| known.superseded_by.is_some() || known.refusal.is_some()) {
                superseded.insert(holder.generation);
            }
        }
        let import = LegacyImport {
            oauth_dir: installation.state_dir.oauth_dir(),
            legacy_agent_dir: Some(installation.state_dir.legacy_agent_dir()).filter(|dir| dir.is_dir()),
            superseded,
            held_elsewhere,
        };
        let store = installation.store(&agent.agent_dir);
        let preview = import.preview(&store)?;
        Ok((import, store, preview))
    }

    fn import(&self, agent_id: &AgentId) -> Result<Vec<ProfileId>> {
        let (import, store, preview) = self.legacy(agent_id)?;
        let (installation, _) = self.writable(agent_id)?;
        let lock = self.lock(store.agent_dir())?;
        installation.ensure_json_era()?;
        let (ids, _) = import.apply(&preview, &store, &lock)?;
        drop(lock);
        for id in &ids {
            self.emit(
                EventKind::Imported,
                About {
                    installation: &installation.state_dir.canonical().display().to_string(),
                    agent: Some(agent_id),
                    profile_id: Some(id),
                    cause: Some(self.program),
                    ..About::default()
                },
                format!("{} was imported into {agent_id}", id.account_name()),
            );
        }
        self.seal("imported");
        Ok(ids)
    }
}

pub(super) fn note_texts(notes: &[Note]) -> Vec<String> {
    notes.iter().map(|note| note.text()).collect()
}

/// Nothing is ordered for an agent that only reads a profile: OpenClaw ignores or prunes it.
pub(super) fn inherited(fleet: &Fleet, id: &ProfileId, agent: &AgentId, now: Timestamp) -> Error {
    let reads_it = |other: &&Agent| {
        let survey = Survey::of(fleet, other, now);
        survey.seen.iter().any(|seen| seen.inherited && seen.id == *id)
    };
    let affected: Vec<&str> = fleet
        .current()
        .agents
        .iter()
        .filter(reads_it)
        .map(|other| other.id.as_str())
        .collect();
    Error::new(
        ErrorCode::ProfileInherited,
        say!(
            "{id} lies in main's store; agent {agent} only reads it",
            id,
            agent
        ),
    )
    .with_hint(say!(
        "Switch in main (--agent main): that also affects {agents}. Or sign in separately for {agent}.",
        agents = affected.join(", "),
        agent
    ))
}

fn import_item(candidate: &crate::store::legacy::Candidate) -> Option<ImportItem> {
    let (verdict, text) = match &candidate.verdict {
        Verdict::Importable => ("importable", say!("will be imported")),
        Verdict::AlreadyPresent => ("already-present", say!("already in the store")),
        Verdict::Stale(StaleReason::Superseded) => (
            "stale",
            say!("a newer login is known: importing it would end that one"),
        ),
        Verdict::Stale(StaleReason::OlderThan(id)) => ("stale", say!("older than {id}", id)),
        Verdict::Stale(StaleReason::Cache) => (
            "stale",
            say!("OpenClaw's cache beside a store in use: its tokens are spent"),
        ),
        Verdict::Unusable => ("stale", say!("no usable secret")),
    };
    Some(ImportItem {
        source: candidate.source.display().to_string(),
        provider: candidate.provider.clone()?,
        profile_id: candidate.profile_id.clone(),
        kind: format!("{:?}", candidate.kind).to_lowercase(),
        expires_at: candidate.expires,
        verdict: verdict.to_owned(),
        text,
    })
}
