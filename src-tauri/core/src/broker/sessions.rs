//! The sessions of an agent, and pinning them to an account through a running gateway.
//!
//! The gateway has no parameter for a pin of its own: the model names the profile
//! (`provider/model@profile`). A model of the same provider keeps a pin, the default model too; only
//! one of another provider takes it off (2026.9.6, observed). So unpinning goes by a model of
//! another provider that the configuration names, and back.

use std::sync::Arc;

use serde_json::Value;

use super::acting::{Prepared, Touches, acting};
use super::survey::Survey;
use super::{Broker, Inner, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::sessions::{self, Session};
use crate::install::{Agent, Era, Installation};
use crate::openclaw::actions;
use crate::openclaw::cli::Cli;
use crate::openclaw::gateway::Gateway;
use crate::routing;
use crate::view::{SessionView, SessionsView};

impl Broker {
    /// The sessions of an agent, the newest first, at most 500. Blocks.
    ///
    /// # Errors
    /// `agent.unknown`.
    pub fn sessions(&self, agent: &AgentId) -> Result<SessionsView> {
        let installation = self.inner.installation()?;
        let agent = installation.agent(agent)?;
        let why_not = cannot_pin(&installation).map(|error| error.message().to_owned());
        Ok(SessionsView {
            agent: agent.id.clone(),
            sessions: sessions::sessions(&installation, &agent.id)
                .into_iter()
                .map(SessionView::from)
                .collect(),
            can_pin: why_not.is_none(),
            why_not,
        })
    }

    /// Pins a session to a profile, or takes its pin off; answers with the session as it is then.
    ///
    /// # Errors
    /// `gateway.not_running`, `usage` for an unknown session, `profile.unknown`, `order.invalid`
    /// without a model for it, `openclaw.*`.
    pub async fn pin_session(
        &self,
        agent: &AgentId,
        session: &str,
        profile: Option<ProfileId>,
    ) -> Result<SessionView> {
        let (agent, session) = (agent.clone(), session.to_owned());
        let work = async move |inner: Arc<Inner>| inner.pin(agent, session, profile).await;
        acting(self.inner.clone(), work).await
    }
}

/// The models that a change goes through, the last one to stay; `None` is the default model.
type Steps = Vec<Option<String>>;

impl Inner {
    async fn pin(
        self: Arc<Self>,
        agent: AgentId,
        session: String,
        profile: Option<ProfileId>,
    ) -> Result<SessionView> {
        let (inner, key, wanted) = (self.clone(), session.clone(), profile.clone());
        let (agent, steps) = blocking(move || inner.plan_pin(&agent, &key, wanted.as_ref())).await?;
        if !steps.is_empty() {
            let prepared = self.prepare(Touches::Gateway).await?;
            self.patch(&prepared, &session, &steps).await?;
        }
        blocking(move || {
            let installation = self.installation()?;
            let now = find(&installation, &agent, &session)?;
            if now.profile_id == profile {
                return Ok(now.into());
            }
            Err(Error::new(
                ErrorCode::OpenClawUnconfirmed,
                say!("session {session} is not pinned as was asked for", session),
            ))
        })
        .await
    }

    async fn patch(&self, prepared: &Prepared, session: &str, steps: &Steps) -> Result<()> {
        let cli = prepared.cli()?;
        for (done, model) in steps.iter().enumerate() {
            let answer = actions::patch_session(cli, session, model.as_deref()).await;
            let failed = match answer {
                Ok(answer) if answer.get("entry").is_some_and(Value::is_object) => continue,
                Ok(_) => Error::new(
                    ErrorCode::OpenClawFailed,
                    say!("openclaw: its answer names no session"),
                ),
                Err(error) => error,
            };
            if done == 0 {
                return Err(failed);
            }
            let back = model.as_deref().unwrap_or("default");
            return Err(failed.with_hint(say!(
                "The pin is off, but the session's model was changed on the way: send `/model {back}` in it.",
                back
            )));
        }
        Ok(())
    }

    fn plan_pin(&self, agent: &AgentId, key: &str, profile: Option<&ProfileId>) -> Result<(Agent, Steps)> {
        let (fleet, agent) = match self.managed(agent) {
            Err(error) if error.code() == ErrorCode::StoreChanged => return Err(only_in_the_session()),
            found => found?,
        };
        let installation = fleet.current();
        let session = find(installation, &agent, key)?;
        if session.profile_id.as_ref() == profile {
            return Ok((agent, Vec::new()));
        }
        if let Some(error) = cannot_pin(installation) {
            return Err(error);
        }
        let models = models(installation, &agent);
        let Some(id) = profile else {
            let steps = unpinned(&session, &models)?;
            return Ok((agent, steps));
        };
        let survey = Survey::of(&fleet, &agent, self.now());
        let provider = self.provider_of_profile(&fleet, &survey, installation, id, &agent.id)?;
        let seen = survey.seen.iter().find(|seen| seen.id == *id);
        if seen.is_some_and(|seen| seen.credential.fence().is_some()) {
            return Err(Error::new(
                ErrorCode::OrderOverridden,
                say!("{id} has no token at the moment", id),
            )
            .with_hint(say!("Sign in again, or wait until OpenClaw has renewed it.")));
        }
        let rules = installation.rules().order_rules;
        let is_of = |model: &str| {
            let of = model.split_once('/').map(|(of, _)| of).unwrap_or_default();
            routing::normalize_provider(rules, of).as_ref() == Some(&provider)
        };
        let current = model_of(&session);
        let model = current.into_iter().chain(models).find(|model| is_of(model));
        match model {
            Some(model) => Ok((agent, vec![Some(format!("{model}@{id}"))])),
            None => Err(no_model(&provider, id)),
        }
    }
}

/// By a model of another provider and back to what the session had.
fn unpinned(session: &Session, models: &[String]) -> Result<Steps> {
    let of = |model: &str| model.split_once('/').map(|(of, _)| of.to_lowercase());
    let pinned = session.profile_id.as_ref().map(ProfileId::as_str);
    let own = pinned
        .and_then(|id| id.split_once(':'))
        .map(|(of, _)| of.to_lowercase());
    let current = session.provider.as_ref().map(|provider| provider.to_lowercase());
    let other = models.iter().find(|model| {
        let provider = of(model);
        provider.is_some() && provider != own && provider != current
    });
    let Some(other) = other else {
        return Err(Error::new(
            ErrorCode::OpenClawUnsupported,
            say!("this OpenClaw takes a pin off only with a model of another provider, and openclaw.json names none"),
        )
        .with_hint(say!("Pin the session to the account that the order names first, or start a new session.")));
    };
    let back = model_of(session).filter(|_| session.own_model);
    Ok(vec![Some(other.clone()), back])
}

/// The models that the configuration names for an agent.
fn models(installation: &Installation, agent: &Agent) -> Vec<String> {
    let primary = installation.config.primary_model(&agent.id).map(str::to_owned);
    let fallbacks = installation.fallback_models(&agent.id).iter().cloned();
    primary
        .into_iter()
        .chain(fallbacks)
        .filter(|model| model.contains('/'))
        .collect()
}

/// `provider/model` of a session, where both are known.
fn model_of(session: &Session) -> Option<String> {
    let (provider, model) = (session.provider.as_ref()?, session.model.as_ref()?);
    Some(format!("{provider}/{model}"))
}

fn find(installation: &Installation, agent: &Agent, key: &str) -> Result<Session> {
    sessions::sessions(installation, &agent.id)
        .into_iter()
        .find(|session| session.key == key)
        .ok_or_else(|| {
            Error::new(
                ErrorCode::Usage,
                say!("agent {agent} has no session {key}", agent = agent.id, key),
            )
            .with_hint(say!("Run `kalit sessions list` to see the sessions."))
        })
}

/// Why no session can be pinned now.
fn cannot_pin(installation: &Installation) -> Option<Error> {
    match &installation.era {
        Era::Sqlite { .. } => {}
        Era::Json | Era::Mixed { .. } | Era::Empty => return Some(only_in_the_session()),
    }
    if let Err(error) = Cli::of(installation) {
        return Some(error);
    }
    match Gateway::of(installation) {
        Gateway::Running => None,
        Gateway::Uncertain | Gateway::Absent => Some(Error::new(
            ErrorCode::GatewayNotRunning,
            say!("OpenClaw's gateway does not run for this installation"),
        )),
    }
}

fn only_in_the_session() -> Error {
    Error::new(
        ErrorCode::OpenClawUnsupported,
        say!("this OpenClaw pins an account in the session only"),
    )
    .with_hint(say!("Send `/model <provider>/<model>@<profile>` in the session."))
}

fn no_model(provider: &ProviderId, id: &ProfileId) -> Error {
    Error::new(
        ErrorCode::OrderInvalid,
        say!(
            "neither the session nor openclaw.json names a model of {provider}",
            provider
        ),
    )
    .with_hint(say!(
        "Send `/model {provider}/<model>@{id}` in the session.",
        provider,
        id
    ))
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            session: session.key,
            label: session.label,
            profile_id: session.profile_id,
            source: session.source,
            provider: session
                .provider
                .as_deref()
                .and_then(ProviderId::parse)
                .map(|id| id.as_str().to_owned()),
            model: session.model,
            updated_at: session.updated_at,
        }
    }
}
