//! Renewing on request and on schedule, and what is remembered of failures.

use super::{
    About, Broker, Failure, Inner, RefreshOutcome, RefreshResult, RefreshTarget, blocking, healing, notice_of,
};
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId};
use crate::oauth::{Class, Providers};
use crate::refresh::schedule::{self, Item, Setback};
use crate::refresh::{
    Attempt, Done, Failed, Fleet, Healing, Sources, Wanted, answers_wait, due_item, replay,
};
use crate::secret::Fingerprint;

/// A login that can be renewed, with its place in the schedule.
#[derive(Clone, Debug)]
pub(super) struct Renewable {
    pub(super) attempt: Attempt,
    pub(super) item: Item,
}

impl Renewable {
    /// What is tried when the schedule says so. A doubt of this process is cleared up even if the
    /// login itself is not due.
    pub(super) fn wanted(&self) -> Attempt {
        let wanted = match self.item.setback {
            Some(Setback::Suspect { .. } | Setback::Unknown { .. }) => Wanted::Now,
            Some(Setback::Transient { .. } | Setback::Refused) | None => Wanted::IfDue,
        };
        Attempt {
            wanted,
            ..self.attempt.clone()
        }
    }
}

impl Broker {
    /// Renews logins; each generation once, in all its holders. An unknown profile is one failed
    /// outcome.
    pub async fn refresh(&self, target: RefreshTarget) -> Vec<RefreshOutcome> {
        self.refresh_until(target, || false).await.unwrap_or_default()
    }

    /// Like [`Broker::refresh`]; asks `stopped` before each login. The one in flight is finished.
    ///
    /// # Errors
    /// What keeps Kalit from finding the logins: `state_dir.missing`, `settings.unparsable`.
    pub async fn refresh_until(
        &self,
        target: RefreshTarget,
        stopped: impl Fn() -> bool,
    ) -> Result<Vec<RefreshOutcome>> {
        let inner = self.inner.clone();
        let wanted = target.clone();
        let attempts = match (blocking(move || inner.attempts(&wanted)).await, target) {
            (Ok(attempts), _) => attempts,
            (Err(error), RefreshTarget::Profile(agent, profile_id)) => {
                return Ok(vec![failed(agent, profile_id, &error)]);
            }
            (Err(error), RefreshTarget::Due | RefreshTarget::All) => return Err(error),
        };
        let mut outcomes = Vec::new();
        for attempt in attempts {
            if stopped() {
                break;
            }
            outcomes.push(self.renew(attempt).await);
        }
        Ok(outcomes)
    }

    /// One renewal with its record, its events and a sealed copy.
    pub(super) async fn renew(&self, attempt: Attempt) -> RefreshOutcome {
        self.inner.deciding().insert(attempt.seen);
        let result = self.inner.refresher.refresh(attempt.clone()).await;
        let (inner, settling) = (self.inner.clone(), attempt.clone());
        let done = tokio::task::spawn_blocking(move || inner.settle(&settling, result)).await;
        self.inner.deciding().remove(&attempt.seen);
        done.unwrap_or_else(|error| {
            let error = Error::new(ErrorCode::Internal, say!("a renewal broke off")).with_source(error);
            failed(attempt.agent, attempt.profile_id, &error)
        })
    }
}

impl Inner {
    /// Every login of the current installation that Kalit can renew, each generation once.
    pub(super) fn renewables(&self, fleet: &Fleet) -> Result<Vec<Renewable>> {
        let providers = Providers::load(&self.environment)?;
        let installation = fleet.current();
        let mut renewables: Vec<Renewable> = Vec::new();
        for store in fleet
            .stores
            .iter()
            .filter(|store| store.state_dir == installation.state_dir.path)
        {
            for (id, credential) in store
                .content
                .iter()
                .flat_map(|content| content.document.profiles())
            {
                let provider = credential.provider().and_then(|provider| providers.get(provider));
                let Some(provider) = provider.filter(|provider| provider.token_route().is_some()) else {
                    continue;
                };
                let Some(generation) = credential.generation() else {
                    continue;
                };
                if renewables.iter().any(|known| known.attempt.seen == generation) {
                    continue;
                }
                let Some(mut item) = due_item(self.generations(), &credential, Some(provider), generation)?
                else {
                    continue;
                };
                if item.setback.is_none() {
                    item.setback = self
                        .setbacks()
                        .get(&generation)
                        .map(|failure| failure.setback.clone());
                }
                renewables.push(Renewable {
                    attempt: Attempt {
                        agent: store.agent.clone(),
                        agent_dir: store.agent_dir.clone(),
                        profile_id: id,
                        seen: generation,
                        wanted: Wanted::IfDue,
                    },
                    item,
                });
            }
        }
        Ok(renewables)
    }

    fn attempts(&self, target: &RefreshTarget) -> Result<Vec<Attempt>> {
        let fleet = self.fleet()?;
        match target {
            RefreshTarget::Profile(agent, id) => Ok(vec![self.attempt(&fleet, agent, id)?]),
            RefreshTarget::All => {
                let all = self.renewables(&fleet)?.into_iter();
                Ok(all
                    .map(|login| Attempt {
                        wanted: Wanted::Now,
                        ..login.attempt
                    })
                    .collect())
            }
            RefreshTarget::Due => {
                let all = self.renewables(&fleet)?;
                let items: Vec<Item> = all.iter().map(|login| login.item.clone()).collect();
                let due = schedule::plan(&items, self.now()).due;
                // A spent copy is not due, and what a crash kept from it may wait in a journal. What cannot
                // be written now is tried again later.
                if answers_wait(&self.refresher) {
                    let _ = replay(&self.refresher);
                }
                Ok(due
                    .into_iter()
                    .filter_map(|place| Some(all.get(place)?.wanted()))
                    .collect())
            }
        }
    }

    /// One profile as a person named it; an inherited one is renewed where it lies.
    fn attempt(&self, fleet: &Fleet, agent: &AgentId, id: &ProfileId) -> Result<Attempt> {
        let installation = fleet.current();
        installation.ensure_json_era()?;
        let own = installation.agent(agent)?.agent_dir.clone();
        for dir in [own, installation.inherited_store_dir()] {
            let Some(store) = fleet.store_of(&dir) else {
                continue;
            };
            let content = match &store.content {
                Ok(content) => content,
                Err(error) => return Err(Error::new(error.code(), error.message()).with_hint(error.hint())),
            };
            let Some(credential) = content.document.credential(id) else {
                continue;
            };
            let Some(oauth) = credential.as_oauth() else {
                return Err(Error::new(
                    ErrorCode::ProfileNotRefreshable,
                    say!("{id} does not renew", id),
                ));
            };
            let Some(seen) = credential.generation() else {
                let code = if oauth.has_oauth_ref {
                    ErrorCode::StoreEncrypted
                } else {
                    ErrorCode::ProfileNotRefreshable
                };
                return Err(Error::new(
                    code,
                    say!("{id} has no refresh token in the store", id),
                ));
            };
            return Ok(Attempt {
                agent: store.agent.clone(),
                agent_dir: dir,
                profile_id: id.clone(),
                seen,
                wanted: Wanted::Now,
            });
        }
        Err(Error::new(
            ErrorCode::ProfileUnknown,
            say!("agent {agent} has no profile {id}", agent, id),
        ))
    }

    fn settle(&self, attempt: &Attempt, result: Result<Done, Failed>) -> RefreshOutcome {
        let state_dir = self
            .installation()
            .map(|installation| installation.state_dir.canonical())
            .unwrap_or_default();
        let installation = state_dir.display().to_string();
        let about = |generation: Fingerprint, cause| About {
            installation: &installation,
            agent: Some(&attempt.agent),
            profile_id: Some(&attempt.profile_id),
            generation: Some(generation),
            cause,
            ..About::default()
        };
        let name = attempt.profile_id.account_name();
        let outcome = |result, holders, error: Option<&Error>| RefreshOutcome {
            agent: attempt.agent.clone(),
            profile_id: attempt.profile_id.clone(),
            result,
            holders,
            exit_code: error.map_or(0, |error| error.code().exit_code()),
            error: error.map(notice_of),
        };
        match result {
            Ok(Done::Refreshed { generation, holders }) => {
                self.setbacks().remove(&attempt.seen);
                let _ = self.marks.clear_refused(attempt.seen);
                let _ = self.marks.clear_offline(&state_dir);
                self.emit(
                    EventKind::Refreshed,
                    about(generation, Some(self.program)),
                    format!("{name} was renewed"),
                );
                self.seal("refreshed");
                let mut places: Vec<String> = holders
                    .iter()
                    .map(|holder| holder.agent_dir.display().to_string())
                    .collect();
                places.dedup();
                outcome(RefreshResult::Refreshed, places, None)
            }
            Ok(Done::Adopted) => {
                self.setbacks().remove(&attempt.seen);
                outcome(RefreshResult::Adopted, Vec::new(), None)
            }
            Ok(Done::Fresh) => outcome(RefreshResult::Fresh, Vec::new(), None),
            Err(failure) => {
                let mut error = failure.to_error();
                let signed_out =
                    matches!(&failure, Failed::Refused { outcome, .. } if outcome.class == Class::Permanent);
                if matches!(
                    error.code(),
                    ErrorCode::RefreshSignedOut | ErrorCode::RefreshSuperseded
                ) {
                    match self.refresher.heal(attempt, Sources::All) {
                        Ok(Healing::Healed { generation, holders }) => {
                            return outcome(
                                RefreshResult::Healed,
                                self.healed(attempt, generation, &holders),
                                None,
                            );
                        }
                        Ok(Healing::Asks(asks)) => error = error.with_hint(healing::hint(&asks)),
                        // It is as the provider said; the next look tries again.
                        Ok(Healing::Nothing) | Err(_) => {}
                    }
                }
                let cause = match &failure {
                    Failed::Refused { outcome, .. } => outcome.code,
                    Failed::Before(_) | Failed::NotSent(_) | Failed::Unknown { .. } => error.code().as_str(),
                };
                if signed_out {
                    self.setbacks().remove(&attempt.seen);
                    let _ = self.marks.clear_refused(attempt.seen);
                    let text = format!("{name} is signed out: {}", error.message());
                    self.emit(EventKind::SignedOut, about(attempt.seen, Some(cause)), text);
                } else {
                    self.remember(attempt.seen, &failure, &error);
                    let text = format!("{name} was not renewed: {}", error.message());
                    self.emit(EventKind::RefreshFailed, about(attempt.seen, Some(cause)), text);
                }
                // One that was not sent for another reason says nothing of the network.
                let _ = if no_network(error.code()) {
                    self.marks.record_offline(&state_dir, self.now())
                } else if matches!(failure, Failed::Refused { .. }) {
                    self.marks.clear_offline(&state_dir)
                } else {
                    Ok(())
                };
                outcome(RefreshResult::Failed, Vec::new(), Some(&error))
            }
        }
    }

    /// Takes back that there is no network, unless a login waits that this process could not renew for
    /// want of one. One in a store that cannot be read may be there still.
    pub(super) fn forget_offline(&self, fleet: &Fleet) {
        // Held to the end: no attempt fails in between.
        let setbacks = self.setbacks();
        let offline = |failure: &Failure| failure.no_network;
        let waiting = |generation| setbacks.get(&generation).is_some_and(offline);
        let waits = setbacks.values().any(offline)
            && fleet.own().any(|store| match &store.content {
                Ok(content) => content
                    .document
                    .profiles()
                    .filter_map(|(_, credential)| credential.generation())
                    .any(waiting),
                Err(_) => true,
            });
        if !waits {
            let _ = self.marks.clear_offline(&fleet.current().state_dir.canonical());
        }
    }

    /// Holds the schedule back after a failure in which nothing was decided.
    fn remember(&self, generation: Fingerprint, failure: &Failed, error: &Error) {
        let at = self.now();
        let mut setbacks = self.setbacks();
        // Only refusals add up to a suspicion.
        let (attempts, refusals) = match setbacks.get(&generation).map(|failure| &failure.setback) {
            Some(Setback::Transient { attempts, .. }) => (attempts + 1, 1),
            Some(Setback::Suspect { attempts, .. }) => (attempts + 1, attempts + 1),
            Some(Setback::Unknown { .. } | Setback::Refused) | None => (1, 1),
        };
        let setback = match failure {
            Failed::Refused { outcome, .. } => match outcome.class {
                Class::Suspect => Setback::Suspect {
                    attempts: refusals,
                    at,
                },
                Class::Transient { retry_after } => Setback::Transient {
                    attempts,
                    at,
                    retry_after,
                },
                Class::Permanent
                | Class::ClientFault
                | Class::RequestFault
                | Class::Unknown
                | Class::Pending => Setback::Transient {
                    attempts,
                    at,
                    retry_after: Some(std::time::Duration::from_secs(3600)),
                },
            },
            Failed::Before(_) | Failed::NotSent(_) | Failed::Unknown { .. } => Setback::Transient {
                attempts,
                at,
                retry_after: None,
            },
        };
        setbacks.insert(
            generation,
            Failure {
                setback,
                no_network: no_network(error.code()),
                notice: notice_of(error),
            },
        );
    }
}

fn no_network(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NetworkUnreachable | ErrorCode::NetworkCaptive)
}

fn failed(agent: AgentId, profile_id: ProfileId, error: &Error) -> RefreshOutcome {
    RefreshOutcome {
        agent,
        profile_id,
        result: RefreshResult::Failed,
        holders: Vec::new(),
        exit_code: error.code().exit_code(),
        error: Some(notice_of(error)),
    }
}
