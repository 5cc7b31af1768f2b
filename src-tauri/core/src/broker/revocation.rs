//! Removing an account, and before it, if a person wants that, ending its login at the provider:
//! while the store still has it, a failure loses nothing and can be tried again.

use std::sync::Arc;

use super::accounts::inherited;
use super::acting::{acting, places_of};
use super::survey::{Seen, Survey};
use super::{About, Broker, Inner, Removal, RemovalPreview, SignedOut, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId};
use crate::install::Agent;
use crate::oauth::Providers;
use crate::refresh::{Fleet, Login, Revocable};
use crate::secret::Fingerprint;

/// A login that its provider has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedLogin {
    pub(super) generation: Fingerprint,
    pub(super) how: SignedOut,
}

impl Broker {
    /// What removing an account would do; nothing is changed. Blocks.
    ///
    /// # Errors
    /// `profile.unknown`, `profile.inherited`, and what keeps the account from being removed at all.
    pub fn removal_preview(&self, agent: &AgentId, profile: &ProfileId) -> Result<RemovalPreview> {
        self.inner.removal_preview(agent, profile)
    }

    /// Forgets a profile in one store. `everywhere`: ends its login at the provider first; if that
    /// fails, nothing is removed.
    ///
    /// # Errors
    /// `profile.unknown`, `profile.inherited`, and those of writing a store. `everywhere`:
    /// `revoke.*`, `network.*`, `provider.*`; the message of another says when the login has ended.
    pub async fn remove(&self, agent: &AgentId, profile: &ProfileId, everywhere: bool) -> Result<Removal> {
        let (inner, agent, profile) = (self.inner.clone(), agent.clone(), profile.clone());
        if inner.openclaw_writes()? {
            return acting(inner, async move |inner| {
                inner.remove_by_openclaw(agent, profile, everywhere).await
            })
            .await;
        }
        if !everywhere {
            return blocking(move || inner.remove(&agent, &profile, None)).await;
        }
        acting(inner, async move |inner: Arc<Inner>| {
            let ended = inner.clone().sign_out(agent.clone(), profile.clone()).await?;
            let name = profile.clone();
            blocking(move || inner.remove(&agent, &profile, Some(ended)))
                .await
                .map_err(|error| not_removed(&name, &error))
        })
        .await
    }
}

impl Inner {
    fn removal_preview(&self, agent: &AgentId, id: &ProfileId) -> Result<RemovalPreview> {
        let (fleet, agent) = if self.openclaw_writes()? {
            self.check_removal(agent, id)?;
            self.managed(agent)?
        } else {
            let (_, agent) = self.writable(agent)?;
            (self.fleet()?, agent)
        };
        let (seen, provider) = self.own_profile(&fleet, &agent, id)?;
        let (has_ended, why_not) = match self.refresher.revocable(&seen.credential) {
            Ok(Revocable::At(_)) => (false, None),
            Ok(Revocable::Ended) => (true, Some(say!("the provider has ended it already"))),
            Err(error) => (false, Some(error.message().to_owned())),
        };
        Ok(RemovalPreview {
            also_used_by: match seen.credential.generation() {
                Some(generation) => self.used_by(&fleet, &agent, id, generation),
                None => Vec::new(),
            },
            agent: agent.id,
            profile_id: id.clone(),
            provider,
            can_sign_out: why_not.is_none(),
            has_ended,
            why_not,
        })
    }

    /// A profile of an agent's own store, and its provider's name.
    fn own_profile(&self, fleet: &Fleet, agent: &Agent, id: &ProfileId) -> Result<(Seen, String)> {
        let mut survey = Survey::of(fleet, agent, self.now());
        let provider = self.provider_of_profile(fleet, &survey, fleet.current(), id, &agent.id)?;
        let providers = Providers::load(&self.environment).ok();
        let name = self.provider_name(providers.as_ref(), &provider);
        survey.seen.retain(|seen| seen.id == *id);
        match survey.seen.pop() {
            Some(seen) if !seen.inherited => Ok((seen, name)),
            _ => {
                let error = inherited(fleet, id, &agent.id, self.now());
                Err(error.with_hint(say!("Remove it in the main agent.")))
            }
        }
    }

    /// Who uses a login besides this agent.
    fn used_by(&self, fleet: &Fleet, agent: &Agent, id: &ProfileId, generation: Fingerprint) -> Vec<String> {
        let installation = fleet.current();
        let holders = fleet.holders(generation);
        let reads_it = |other: &&Agent| {
            other.id != agent.id
                && Survey::of(fleet, other, self.now())
                    .seen
                    .iter()
                    .any(|seen| seen.credential.generation() == Some(generation))
        };
        let agents = installation.agents.iter().filter(reads_it);
        let mut users: Vec<String> = agents.map(|other| say!("agent {id}", id = other.id)).collect();
        let own = holders.stores.iter().chain(&holders.managed).filter(|holder| {
            holder.state_dir == installation.state_dir.path
                && holder.agent == agent.id
                && holder.profile_id != *id
        });
        users.extend(own.map(|holder| say!("account {id}", id = holder.profile_id)));
        users.extend(holders.with_whom_but(&installation.state_dir.path));
        users.dedup();
        users
    }

    /// Ends a login at its provider and tells it.
    pub(super) async fn sign_out(self: Arc<Self>, agent: AgentId, id: ProfileId) -> Result<EndedLogin> {
        let (inner, of, wanted) = (self.clone(), agent.clone(), id.clone());
        let login = blocking(move || inner.login_to_end(&of, &wanted)).await?;
        let generation = login.seen;
        let ended = self.refresher.revoke(login).await;
        let had_ended = ended.map_err(|error| {
            let why = error.message();
            let text = say!("{id} was neither signed out nor removed: {why}", id, why);
            match error.code() {
                code @ (ErrorCode::RevokeUnknown | ErrorCode::StoreChanged) => {
                    Error::new(code, say!("{id} was not removed: {why}", id, why))
                }
                code => Error::new(code, text).with_hint(error.hint()),
            }
        })?;
        blocking(move || {
            let installation = self.installation()?.state_dir.canonical().display().to_string();
            if !had_ended {
                self.emit(
                    EventKind::Revoked,
                    About {
                        installation: &installation,
                        agent: Some(&agent),
                        profile_id: Some(&id),
                        generation: Some(generation),
                        cause: Some(self.program),
                        ..About::default()
                    },
                    format!("{} was signed out at the provider", id.account_name()),
                );
            }
            let how = if had_ended {
                SignedOut::EndedBefore
            } else {
                SignedOut::Ended
            };
            Ok(EndedLogin { generation, how })
        })
        .await
    }

    /// What is to be ended; nothing that could keep it from being removed afterwards is left out.
    fn login_to_end(&self, agent: &AgentId, id: &ProfileId) -> Result<Login> {
        let managed = self.openclaw_writes()?;
        let (fleet, agent) = if managed {
            self.managed(agent)?
        } else {
            let (installation, agent) = self.writable(agent)?;
            installation.store(&agent.agent_dir).check_writable()?;
            (self.fleet()?, agent)
        };
        self.seal("before-removal");
        let (seen, _) = self.own_profile(&fleet, &agent, id)?;
        let places = if managed {
            places_of(&fleet, &agent, id)
        } else {
            vec![agent.agent_dir.clone()]
        };
        self.refresher.revocable(&seen.credential)?;
        let (Some(agent_dir), Some(seen)) = (places.into_iter().next(), seen.credential.generation()) else {
            return Err(Error::new(ErrorCode::StoreChanged, say!("{id} has changed", id)));
        };
        Ok(Login {
            agent_dir,
            profile_id: id.clone(),
            seen,
        })
    }
}

/// Whether what is removed is the very login that was ended.
pub(super) fn still_that(
    id: &ProfileId,
    generation: Option<Fingerprint>,
    ended: Option<EndedLogin>,
) -> Result<()> {
    match ended {
        Some(ended) if generation != Some(ended.generation) => Err(Error::new(
            ErrorCode::StoreChanged,
            say!("{id} holds another login by now", id),
        )),
        _ => Ok(()),
    }
}

/// The provider has ended the login, and its store still has it: the board says so, too.
pub(super) fn not_removed(id: &ProfileId, error: &Error) -> Error {
    let why = error.message();
    let text = say!(
        "{id} has ended at its provider and is still stored here: {why}",
        id,
        why
    );
    Error::new(error.code(), text).with_hint(say!("Remove it here alone, or sign in again."))
}

#[cfg(test)]
mod tests;
