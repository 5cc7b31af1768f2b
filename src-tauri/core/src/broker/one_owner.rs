//! One owner: OpenClaw 2026.2.17 to 2026.4.21 copies main's logins into every agent, and each copy
//! of a refresh token can end the others. The copies are taken out of the agents' stores; OpenClaw
//! reads main's store over each of them. A person asks and has read the preview.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::survey::Survey;
use super::{About, Broker, Inner, OneOwner, OneOwnerCopy, OneOwnerPreview, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::Agent;
use crate::openclaw::cli::Cli;
use crate::refresh::{Fleet, FleetStore, Holder};
use crate::routing;
use crate::secret::Fingerprint;
use crate::store::{Document, StateEdit, StoreContent};

/// A person waits: after this the locks are said to be busy.
const ALL_LOCKS: Duration = Duration::from_secs(15);

impl Broker {
    /// What making main the one owner of its login `profile` would do. Changes nothing. Blocks.
    ///
    /// # Errors
    /// `owner.not_needed`; `profile.unknown` when main has no such login; `era.sqlite`, `era.mixed`;
    /// those of reading main's store.
    pub fn one_owner_preview(&self, profile: &ProfileId) -> Result<OneOwnerPreview> {
        let fleet = self.inner.fleet()?;
        let plan = self.inner.plan_owner(&fleet, profile)?;
        Ok(self.inner.preview_owner(&fleet, &plan))
    }

    /// Takes the copies of main's login out of the agents' stores. To be called when a person has
    /// read the preview and consents.
    ///
    /// # Errors
    /// Those of [`Broker::one_owner_preview`]; `lock.busy`, `store.changed`, `vault.*`, and those of
    /// writing a store: what was written before stays, and the snapshot has all of it.
    pub async fn one_owner(&self, profile: &ProfileId) -> Result<OneOwner> {
        let (inner, profile) = (self.inner.clone(), profile.clone());
        let done = blocking(move || {
            let started = Instant::now();
            loop {
                match inner.one_owner(&profile) {
                    Err(error) if error.code() == ErrorCode::LockBusy && started.elapsed() < ALL_LOCKS => {
                        std::thread::sleep(Duration::from_millis(200));
                    }
                    done => return done,
                }
            }
        })
        .await?;
        Ok(self.inner.resolved_by_openclaw(done).await)
    }
}

/// What is to be taken out where.
struct Plan<'f> {
    id: ProfileId,
    provider: ProviderId,
    generation: Fingerprint,
    owner: &'f FleetStore,
    /// In path order.
    copies: Vec<Holder>,
    /// Agents with another login under this id: it stays.
    others: Vec<AgentId>,
    /// The release copies what main holds when it saves an agent's store.
    copied_again: bool,
    /// Up to 2026.4.8 an agent's own order may name what lies in main's store alone.
    keeps_orders: bool,
}

impl Inner {
    fn plan_owner<'f>(&self, fleet: &'f Fleet, id: &ProfileId) -> Result<Plan<'f>> {
        let installation = fleet.current();
        installation.ensure_json_era()?;
        let unknown = || {
            Error::new(
                ErrorCode::ProfileUnknown,
                say!("agent main has no login {id}", id),
            )
        };
        let owner = fleet.inherited(installation).ok_or_else(unknown)?;
        let content = match &owner.content {
            Ok(content) => content,
            Err(error) => return Err(Error::new(error.code(), error.message()).with_hint(error.hint())),
        };
        let credential = content.document.credential(id).ok_or_else(unknown)?;
        let generation = credential
            .generation()
            .filter(|_| credential.as_oauth().is_some());
        let (Some(generation), Some(common)) = (generation, credential.common()) else {
            let what = say!("{id} does not renew: copies of it do no harm", id);
            return Err(Error::new(ErrorCode::OwnerNotNeeded, what));
        };
        let here = &installation.state_dir.path;
        let mut copies = fleet.holders(generation).stores;
        copies.retain(|holder| {
            holder.state_dir == *here && holder.profile_id == *id && holder.agent_dir != owner.agent_dir
        });
        if copies.is_empty() {
            let what = say!("main alone holds the login {id}", id);
            return Err(Error::new(ErrorCode::OwnerNotNeeded, what));
        }
        let holds_another = |store: &&FleetStore| {
            let held = store.content.as_ref().ok();
            let held = held.and_then(|content| content.document.credential(id)?.generation());
            held.is_some_and(|held| held != generation)
        };
        let others = fleet.own().filter(holds_another).map(|store| store.agent.clone());
        let rules = installation.rules();
        Ok(Plan {
            id: id.clone(),
            provider: routing::normalize_provider(rules.order_rules, &common.provider_text)
                .unwrap_or_else(|| common.provider.clone()),
            generation,
            owner,
            copies,
            others: others.collect(),
            copied_again: rules.copies_main_store,
            keeps_orders: rules.auth_state_file == Some(false),
        })
    }

    fn preview_owner(&self, fleet: &Fleet, plan: &Plan<'_>) -> OneOwnerPreview {
        let installation = fleet.current();
        let copies = plan.copies.iter().filter_map(|copy| {
            let agent = installation.agent(&copy.agent).ok()?;
            let content = fleet.store_of(&copy.agent_dir)?.content.as_ref().ok()?;
            let without = without(content, plan);
            let then = Survey::with_own(fleet, agent, Some(&without), self.now());
            Some(OneOwnerCopy {
                uses_now: self.used(&Survey::of(fleet, agent, self.now()), fleet, agent, plan),
                uses_then: self.used(&then, fleet, agent, plan),
                resolves: None,
                agent: copy.agent.clone(),
                path: installation
                    .store(&copy.agent_dir)
                    .profiles_path()
                    .display()
                    .to_string(),
            })
        });
        let mut notes = Vec::new();
        if plan.copied_again {
            notes.push(say!(
                "OpenClaw 2026.2.17 to 2026.4.21 copies main's accounts again when it next saves an agent's store: from 2026.4.29 on it does not."
            ));
        }
        for agent in &plan.others {
            notes.push(say!(
                "Agent {agent} has another login under this id: it stays.",
                agent
            ));
        }
        OneOwnerPreview {
            profile_id: plan.id.clone(),
            owner: plan.owner.agent.clone(),
            path: installation
                .store(&plan.owner.agent_dir)
                .profiles_path()
                .display()
                .to_string(),
            release: installation.evidence.oldest.map(|release| release.to_string()),
            copies: copies.collect(),
            notes,
        }
    }

    /// With OpenClaw's own word on what each agent has now. It reads, and copies nothing into a store
    /// that is there.
    async fn resolved_by_openclaw(&self, mut done: OneOwner) -> OneOwner {
        let Ok(installation) = self.installation() else {
            return done;
        };
        let Ok(cli) = Cli::of(&installation) else {
            return done;
        };
        for copy in &mut done.copies {
            let agent = &copy.agent;
            let asked = ["models", "status", "--json", "--agent", agent.as_str()];
            let Ok(status) = cli.json(&asked, None).await else {
                continue;
            };
            let resolves = has_login(&status, &done.profile_id);
            copy.resolves = Some(resolves);
            if !resolves {
                done.notes.push(say!(
                    "OpenClaw itself does not show the account for {agent}.",
                    agent
                ));
            }
        }
        done
    }

    fn used(&self, survey: &Survey, fleet: &Fleet, agent: &Agent, plan: &Plan<'_>) -> Option<ProfileId> {
        self.resolve(survey, fleet.current(), agent, &plan.provider)
            .effective
    }

    fn one_owner(&self, id: &ProfileId) -> Result<OneOwner> {
        let fleet = self.fleet()?;
        let plan = self.plan_owner(&fleet, id)?;
        let preview = self.preview_owner(&fleet, &plan);
        self.seal_fleet(&fleet, "before-one-owner")?;
        let snapshots = self.vault_of(&fleet).list()?.snapshots;
        let snapshot = snapshots.first().map(|entry| entry.id());
        let locks = self
            .refresher
            .lock(&fleet, &fleet.holders(plan.generation).stores)?;
        // Under the locks everything is read again: this is what decides.
        let fleet = self.fleet()?;
        let again = self.plan_owner(&fleet, id)?;
        if again.generation != plan.generation || again.copies != plan.copies {
            let what = say!("the holders of this login changed");
            return Err(Error::new(ErrorCode::StoreChanged, what));
        }
        let installation = fleet.current();
        for copy in &plan.copies {
            let Some(lock) = locks.of(&copy.agent_dir) else {
                continue;
            };
            self.marks.expect_removal(&copy.agent_dir, id)?;
            let removed = installation
                .store(&copy.agent_dir)
                .update(lock, |document, state| take_out(document, state, &plan));
            if let Err(error) = removed {
                let _ = self.marks.clear_gone(&copy.agent_dir, id);
                return Err(error);
            }
            self.emit(
                EventKind::Removed,
                About {
                    installation: &installation.state_dir.canonical().display().to_string(),
                    agent: Some(&copy.agent),
                    profile_id: Some(id),
                    generation: Some(plan.generation),
                    snapshot: snapshot.as_deref(),
                    cause: Some("one-owner"),
                    ..About::default()
                },
                format!(
                    "{} was removed from {}: main is its owner",
                    id.account_name(),
                    copy.agent
                ),
            );
        }
        drop(locks);
        let fleet = self.fleet()?;
        let copies = preview.copies.into_iter().map(|copy| {
            let agent = fleet.current().agent(&copy.agent).ok();
            let uses_then = agent.and_then(|agent| {
                let survey = Survey::of(&fleet, agent, self.now());
                self.used(&survey, &fleet, agent, &plan)
            });
            OneOwnerCopy { uses_then, ..copy }
        });
        let mut notes = preview.notes;
        if let Some(snapshot) = &snapshot {
            notes.push(say!(
                "`kalit snapshots restore {snapshot}` puts the copies back.",
                snapshot
            ));
        }
        Ok(OneOwner {
            profile_id: plan.id.clone(),
            owner: preview.owner,
            copies: copies.collect(),
            snapshot,
            notes,
        })
    }
}

/// Whether `models status --json` lists the login, and not as missing.
fn has_login(status: &Value, id: &ProfileId) -> bool {
    let profiles = status["auth"]["oauth"]["profiles"].as_array();
    let mut profiles = profiles.into_iter().flatten();
    profiles.any(|profile| profile["profileId"] == id.as_str() && profile["status"] != "missing")
}

/// Compare-and-set: only while the copy is main's generation.
fn take_out(document: &mut Document, state: &mut StateEdit, plan: &Plan<'_>) -> Result<()> {
    let held = document.credential(&plan.id).and_then(|held| held.generation());
    if held != Some(plan.generation) {
        let what = say!("{id} changed while it was looked at", id = plan.id);
        return Err(Error::new(ErrorCode::StoreChanged, what));
    }
    document.remove(&plan.id)?;
    if plan.keeps_orders {
        let orders = state.before().order.clone();
        let naming = orders.iter().filter(|(_, ids)| ids.contains(&plan.id));
        naming.for_each(|(provider, ids)| state.set_order(provider, ids));
    }
    Ok(())
}

/// The store as [`take_out`] leaves it.
fn without(content: &StoreContent, plan: &Plan<'_>) -> StoreContent {
    let (mut document, mut state) = (content.document.clone(), content.state.clone());
    let _ = document.remove(&plan.id);
    if !plan.keeps_orders {
        state.order.retain(|_, ids| {
            let before = ids.len();
            ids.retain(|id| *id != plan.id);
            before == 0 || !ids.is_empty()
        });
    }
    state.last_good.retain(|_, id| *id != plan.id);
    state.usage_stats.remove(&plan.id);
    StoreContent {
        document,
        state,
        revision: content.revision,
        exists: content.exists,
        state_error: None,
        written_at: content.written_at,
    }
}

#[cfg(all(test, unix))]
mod tests;
