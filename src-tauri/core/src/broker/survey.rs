//! One agent's view of the stores: its own profiles over main's, as OpenClaw merges them, and the
//! inputs of the order resolution.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::ids::{ProfileId, ProviderId};
use crate::install::config::ConfigMode;
use crate::install::{Agent, Installation};
use crate::refresh::{Fleet, FleetStore};
use crate::routing::{self, Candidate, ConfigProfile, Input, SecretPresence, TimeZone, Usage, order_key};
use crate::store::credential::{Credential, Expiry};
use crate::store::{AuthState, FenceKind, StoreContent, UsageStats};

pub(super) use super::merge::Seen;
use super::merge::merge;

/// What one agent sees.
#[derive(Debug)]
pub(super) struct Survey {
    /// In OpenClaw's order: see [`merge`].
    pub(super) seen: Vec<Seen>,
    pub(super) state: AuthState,
    candidates: Vec<Candidate>,
    config_profiles: Vec<ConfigProfile>,
    usage: BTreeMap<ProfileId, Usage>,
    time_zone: TimeZone,
}

impl Survey {
    pub(super) fn of(fleet: &Fleet, agent: &Agent, now: Timestamp) -> Self {
        let own = readable(fleet.store_of(&agent.agent_dir));
        Self::with_own(fleet, agent, own, now)
    }

    /// As if the agent's own store held `own`.
    pub(super) fn with_own(fleet: &Fleet, agent: &Agent, own: Option<&StoreContent>, now: Timestamp) -> Self {
        let installation = fleet.current();
        let inherited = fleet
            .inherited(installation)
            .filter(|store| store.agent_dir != agent.agent_dir);
        let (mut seen, state) = merge(readable(inherited), own, &installation.rules(), now);
        // The shared database is main's own store, too.
        let is_owner = agent.id.is_main() && inherited.is_some_and(|store| fleet.is_shared_database(store));
        for seen in &mut seen {
            seen.inherited &= !is_owner;
        }
        Self {
            candidates: seen.iter().map(candidate).collect(),
            config_profiles: config_profiles(installation),
            usage: state
                .usage_stats
                .iter()
                .map(|(id, stats)| (id.clone(), usage(stats)))
                .collect(),
            seen,
            state,
            time_zone: TimeZone::system(),
        }
    }

    /// As if nothing were inherited: 2026.9.6 stores an order that names what an agent only reads.
    pub(super) fn owning_all(mut self) -> Self {
        for candidate in &mut self.candidates {
            candidate.inherited = false;
        }
        self
    }

    /// The providers of the agent's profiles, in store order.
    pub(super) fn providers(&self, installation: &Installation) -> Vec<ProviderId> {
        let rules = installation.rules().order_rules;
        let mut providers = Vec::new();
        for seen in &self.seen {
            let id = match &seen.credential {
                Credential::Unknown(unknown) => unknown.provider.clone(),
                known => known
                    .common()
                    .and_then(|common| routing::normalize_provider(rules, &common.provider_text)),
            };
            if let Some(id) = id
                && !providers.contains(&id)
            {
                providers.push(id);
            }
        }
        providers
    }

    /// The stored order that counts for a provider.
    pub(super) fn stored_order(
        &self,
        installation: &Installation,
        provider: &ProviderId,
    ) -> Option<&[ProfileId]> {
        let keys = self.state.order.keys().map(ProviderId::as_str);
        let key = order_key(installation.rules().order_rules, provider, keys)?;
        self.state.order.get(&ProviderId::parse(key)?).map(Vec::as_slice)
    }

    /// Calls `use_input` with the input of the order resolution for one provider.
    pub(super) fn with_input<T>(
        &self,
        installation: &Installation,
        agent: &Agent,
        provider: &ProviderId,
        provider_name: &str,
        now: Timestamp,
        use_input: impl FnOnce(&Input<'_>) -> T,
    ) -> T {
        let rules = installation.rules().order_rules;
        let config_order = &installation.config.auth.order;
        let key = order_key(rules, provider, config_order.iter().map(|(key, _)| key.as_str()));
        use_input(&Input {
            rules,
            provider,
            provider_name,
            profiles: &self.candidates,
            stored_order: self.stored_order(installation, provider),
            config_order: key.and_then(|key| {
                config_order
                    .iter()
                    .find(|(known, _)| known == key)
                    .map(|(_, ids)| ids.as_slice())
            }),
            config_profiles: &self.config_profiles,
            usage: &self.usage,
            aws_sdk: false,
            preferred: None,
            fallback_models: installation.fallback_models(&agent.id),
            now,
            time_zone: &self.time_zone,
        })
    }

    /// For the times in texts.
    pub(super) fn time_zone(&self) -> &TimeZone {
        &self.time_zone
    }
}

fn readable(store: Option<&FleetStore>) -> Option<&StoreContent> {
    store?.content.as_ref().ok()
}

fn candidate(seen: &Seen) -> Candidate {
    let credential = &seen.credential;
    let inline = |present: bool| {
        if present {
            SecretPresence::Inline
        } else {
            SecretPresence::None
        }
    };
    let fence = credential.fence().map(|fence| fence.kind);
    let secret = match credential {
        known if known.common().is_some_and(|common| common.is_replacement) => SecretPresence::Unfinished,
        _ if fence == Some(FenceKind::Pending) => SecretPresence::Renewing,
        _ if fence == Some(FenceKind::Failed) => SecretPresence::Dropped,
        Credential::ApiKey(key) if key.key.is_none() && key.key_ref.is_some() => SecretPresence::Reference,
        Credential::Token(token) if token.token.is_none() && token.token_ref.is_some() => {
            SecretPresence::Reference
        }
        Credential::Oauth(oauth) if !credential.has_secret() && oauth.has_oauth_ref => {
            SecretPresence::SideFile
        }
        Credential::ApiKey(_) | Credential::Token(_) | Credential::Oauth(_) | Credential::Unknown(_) => {
            inline(credential.has_secret())
        }
    };
    Candidate {
        id: seen.id.clone(),
        provider_text: match credential {
            Credential::Unknown(unknown) => unknown
                .provider
                .as_ref()
                .map_or_else(String::new, |id| id.as_str().to_owned()),
            known => known
                .common()
                .map_or_else(String::new, |common| common.provider_text.clone()),
        },
        kind: credential.kind(),
        secret,
        expires: match credential.expiry() {
            Expiry::Absent => routing::Expiry::None,
            Expiry::Invalid => routing::Expiry::Invalid,
            Expiry::At(at) => routing::Expiry::At(at),
        },
        inherited: seen.inherited,
    }
}

fn config_profiles(installation: &Installation) -> Vec<ConfigProfile> {
    let profiles = installation.config.auth.profiles.iter();
    profiles
        .map(|(id, profile)| ConfigProfile {
            id: id.clone(),
            provider_text: profile.provider.as_str().to_owned(),
            mode: match &profile.mode {
                ConfigMode::Oauth => routing::ConfigMode::Oauth,
                ConfigMode::Token => routing::ConfigMode::Token,
                ConfigMode::ApiKey => routing::ConfigMode::ApiKey,
                ConfigMode::AwsSdk => routing::ConfigMode::AwsSdk,
                ConfigMode::Unknown(_) => routing::ConfigMode::Other,
            },
        })
        .collect()
}

fn usage(stats: &UsageStats) -> Usage {
    Usage {
        last_used: stats.last_used,
        cooldown_until: stats.cooldown_until,
        cooldown_reason: stats.cooldown_reason.clone(),
        disabled_until: stats.disabled_until,
        disabled_reason: stats.disabled_reason.clone(),
        blocked_until: stats.blocked_until,
        blocked_reason: stats.blocked_reason.clone(),
    }
}
