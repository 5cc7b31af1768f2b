//! Ending the rest of an account as a person asks. After failures OpenClaw leaves a profile alone
//! for a while (`usageStats`); in the json era that is changed under its lock. OpenClaw 2026.6.11 to
//! 2026.9.6 have no command for it: `models auth activate` sends a request and binds the agent's
//! model to the account, which is more than was asked for.

use super::accounts::inherited;
use super::survey::Survey;
use super::{About, Broker, ClearedCooldown, Inner, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::Agent;
use crate::refresh::Fleet;
use crate::store::StoreContent;

impl Broker {
    /// Lets OpenClaw use a profile again that it leaves alone after failures, which count from none
    /// again.
    ///
    /// # Errors
    /// `profile.unknown`; `cooldown.none` for a profile that does not rest; `profile.inherited`;
    /// `openclaw.unsupported` in the sqlite era; `lock.busy`, and those of writing a store.
    pub async fn clear_cooldown(&self, agent: &AgentId, profile: &ProfileId) -> Result<ClearedCooldown> {
        let (inner, agent, profile) = (self.inner.clone(), agent.clone(), profile.clone());
        blocking(move || {
            if inner.openclaw_writes()? {
                return Err(inner.no_command(&agent, &profile)?);
            }
            inner.clear_cooldown(&agent, &profile)
        })
        .await
    }
}

impl Inner {
    fn clear_cooldown(&self, agent_id: &AgentId, id: &ProfileId) -> Result<ClearedCooldown> {
        let (installation, agent) = self.writable(agent_id)?;
        let store = installation.store(&agent.agent_dir);
        let lock = self.lock(&agent.agent_dir)?;
        let fleet = self.fleet()?;
        let provider = self.resting(&fleet, &agent, id)?;
        self.ensure_own(&fleet, &agent, id)?;
        installation.ensure_json_era()?;
        store.update(&lock, |_, state| {
            state.clear_cooldown(id);
            Ok(())
        })?;
        drop(lock);
        self.emit(
            EventKind::CooldownCleared,
            About {
                installation: &installation.state_dir.canonical().display().to_string(),
                agent: Some(agent_id),
                profile_id: Some(id),
                cause: Some(self.program),
                ..About::default()
            },
            format!("The cooldown of {} in {agent_id} was cleared", id.account_name()),
        );
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent, self.now());
        let resolution = self.resolve(&survey, fleet.current(), &agent, &provider);
        Ok(ClearedCooldown {
            agent: agent.id,
            provider,
            profile_id: id.clone(),
            effective: resolution.effective,
            reason: resolution.reason,
        })
    }

    /// Why a profile of the sqlite era goes on resting.
    fn no_command(&self, agent: &AgentId, id: &ProfileId) -> Result<Error> {
        let (fleet, agent) = self.managed(agent)?;
        self.resting(&fleet, &agent, id)?;
        Ok(Error::new(
            ErrorCode::OpenClawUnsupported,
            say!("OpenClaw 2026.6.5 and later keep cooldowns in their database and have no command that ends one"),
        )
        .with_hint(say!("Wait until it ends. OpenClaw also ends it when this account is signed in again.")))
    }

    /// The provider of a profile that rests by the rules of the release.
    fn resting(&self, fleet: &Fleet, agent: &Agent, id: &ProfileId) -> Result<ProviderId> {
        let installation = fleet.current();
        let survey = Survey::of(fleet, agent, self.now());
        let provider = self.provider_of_profile(fleet, &survey, installation, id, &agent.id)?;
        let resolution = self.resolve(&survey, installation, agent, &provider);
        if resolution.unusable.contains_key(id) {
            return Ok(provider);
        }
        let state_error = own_content(fleet, agent).and_then(|content| content.state_error.as_ref());
        Err(match state_error {
            // Whether it rests stands in that file.
            Some(error) => Error::new(error.code(), error.message()).with_hint(error.hint()),
            None => Error::new(
                ErrorCode::CooldownNone,
                say!("{id} does not rest in agent {agent}", id, agent = agent.id),
            ),
        })
    }

    /// Whether what holds a profile back stands in the agent's own store.
    ///
    /// # Errors
    /// `profile.inherited` where it stands in main's: with the profile, or by itself.
    fn ensure_own(&self, fleet: &Fleet, agent: &Agent, id: &ProfileId) -> Result<()> {
        let hint = || say!("Clear it in main: add --agent main.");
        let content = own_content(fleet, agent);
        if !content.is_some_and(|content| content.document.contains(id)) {
            return Err(inherited(fleet, id, &agent.id, self.now()).with_hint(hint()));
        }
        if content.is_some_and(|content| content.state.usage_stats.contains_key(id)) {
            return Ok(());
        }
        Err(Error::new(
            ErrorCode::ProfileInherited,
            say!(
                "the cooldown of {id} stands in main's store; agent {agent} only reads it",
                id,
                agent = agent.id
            ),
        )
        .with_hint(hint()))
    }
}

fn own_content<'a>(fleet: &'a Fleet, agent: &Agent) -> Option<&'a StoreContent> {
    fleet.store_of(&agent.agent_dir)?.content.as_ref().ok()
}

#[cfg(test)]
mod tests;
