//! Which provider a person means: its id as it stands in a store, an alias of the release, or the name
//! under which it is shown.

use super::survey::Survey;
use super::{Broker, board};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AgentId, ProviderId};
use crate::install::Agent;
use crate::oauth::Providers;
use crate::routing;

/// A provider that a person named.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedProvider {
    pub id: ProviderId,
    /// For people: "ChatGPT", else the id.
    pub name: String,
    /// Others with accounts or orders that are shown under the same name.
    pub alike: Vec<ProviderId>,
}

impl Broker {
    /// The provider that `text` names in an agent, or in all of them. An id without accounts and orders
    /// stands for the one that has some and is shown under the same name: ChatGPT's are those of
    /// `openai-codex` or of `openai`, by OpenClaw's release. Blocks.
    ///
    /// # Errors
    /// `provider.unknown` with the ids that are known; `usage` for a name that several have;
    /// `agent.unknown`; those of reading a store.
    pub fn named_provider(&self, agent: Option<&AgentId>, text: &str) -> Result<NamedProvider> {
        let wanted = ProviderId::parse(text)
            .ok_or_else(|| Error::new(ErrorCode::Usage, say!("the provider is empty")))?;
        let fleet = self.inner.fleet()?;
        let installation = fleet.current();
        let rules = installation.rules().order_rules;
        let providers = Providers::load(&self.inner.environment).ok();
        let name = |id: &ProviderId| self.inner.provider_name(providers.as_ref(), id);
        let meant = routing::normalize_provider(rules, text);
        let is_it = |id: &ProviderId| *id == wanted || Some(id) == meant.as_ref();
        let ids_of = |agents: &[&Agent]| {
            let of_config = installation.config.auth.order.iter();
            let mut ids: Vec<ProviderId> = of_config
                .filter_map(|(key, _)| routing::normalize_provider(rules, key))
                .collect();
            for agent in agents {
                let survey = Survey::of(&fleet, agent, self.inner.now());
                ids.extend(survey.providers(installation));
                ids.extend(survey.state.order.into_keys());
            }
            sorted(ids)
        };

        let all: Vec<&Agent> = installation.agents.iter().collect();
        let asked = match agent {
            Some(id) => vec![installation.agent(id)?],
            None => all.clone(),
        };
        if let Some(error) = asked.iter().find_map(|agent| board::unreadable(&fleet, agent)) {
            return Err(Error::new(error.code(), error.message()).with_hint(error.hint()));
        }
        let (here, others): (Vec<_>, Vec<_>) = ids_of(&asked).into_iter().partition(|id| is_it(id));
        let wanted_name = name(&wanted);
        let shown_so =
            |id: &ProviderId| name(id) == wanted_name || name(id).eq_ignore_ascii_case(text.trim());
        let alike: Vec<ProviderId> = others.into_iter().filter(shown_so).collect();
        let found = |id: ProviderId, alike| NamedProvider {
            name: name(&id),
            id,
            alike,
        };
        if here.is_empty() {
            match alike.as_slice() {
                [] => {}
                [one] => return Ok(found(one.clone(), Vec::new())),
                several => return Err(ambiguous(text, several)),
            }
        }
        let mut known = ids_of(&all);
        known.extend(
            providers
                .iter()
                .flat_map(Providers::iter)
                .map(|it| it.id().clone()),
        );
        known.extend(self.openclaw_logins().into_iter().map(|it| it.provider));
        known.extend(
            all.iter()
                .flat_map(|agent| board::missing_providers(installation, agent, &[])),
        );
        if known.iter().any(|id| is_it(id) || name(id) == wanted_name) {
            return Ok(found(wanted, alike));
        }
        match known.iter().find(|id| shown_so(id)) {
            Some(id) => Ok(found(id.clone(), alike)),
            None => Err(unknown(text, &sorted(known))),
        }
    }
}

fn ambiguous(text: &str, ids: &[ProviderId]) -> Error {
    let message = say!(
        "several providers are shown as {name}: {ids}",
        name = text.trim(),
        ids = list(ids)
    );
    Error::new(ErrorCode::Usage, message).with_hint(say!("Name one of them."))
}

fn unknown(text: &str, known: &[ProviderId]) -> Error {
    let message = say!("there is no provider {provider}", provider = text.trim());
    let hint = say!("Known here: {ids}.", ids = list(known));
    Error::new(ErrorCode::ProviderUnknown, message).with_hint(hint)
}

fn list(ids: &[ProviderId]) -> String {
    let ids: Vec<&str> = ids.iter().map(ProviderId::as_str).collect();
    ids.join(", ")
}

fn sorted(mut ids: Vec<ProviderId>) -> Vec<ProviderId> {
    ids.sort();
    ids.dedup();
    ids
}
