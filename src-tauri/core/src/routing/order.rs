//! OpenClaw's `resolveAuthProfileOrder`, rule by rule.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use crate::clock::Timestamp;
use crate::ids::ProfileId;
use crate::view::{CredentialKind, OrderSource};

use super::providers::{auth_key, name_key};
use super::reason::{self, PassedOver};
use super::{
    Candidate, ConfigMode, ConfigProfile, Expiry, Input, Resolution, RuleSet, SecretPresence, Unusable,
};

/// The largest date JavaScript knows; 2026.6.1 and later ignore times beyond it.
const LAST_DATE: Timestamp = Timestamp::from_millis(8_640_000_000_000_000);

/// Resolves the order as the release would at `input.now`.
pub fn resolve(input: &Input<'_>) -> Resolution {
    let profiles = Profiles::new(input);
    let explicit = explicit_order(input);
    let configured: Vec<&ProfileId> = profiles.configured().collect();
    let base: Vec<&ProfileId> = match explicit {
        Some((order, _)) => order.iter().collect(),
        None if !configured.is_empty() => configured.clone(),
        None => profiles.stored().collect(),
    };

    let mut eligible = distinct(base.iter().copied().filter(|id| profiles.judge(id).is_ok()));
    let mut repaired = false;
    if eligible.is_empty() && !base.is_empty() && base.iter().all(|id| profiles.find(id).is_none()) {
        let may = match input.rules {
            RuleSet::V2_17 => false,
            RuleSet::V4_29 => !configured.is_empty(),
            RuleSet::V6_1 | RuleSet::V7_1 | RuleSet::V9_6 => {
                !configured.is_empty() || matches!(explicit, Some((_, OrderSource::Stored)))
            }
        };
        if may {
            eligible = distinct(profiles.stored().filter(|id| profiles.judge(id).is_ok()));
            repaired = true;
        }
    }

    // 2026.4.29 keeps its explicit way of sorting for the profiles that stand in, 2026.6.1 rotates.
    let keeps_order = match explicit {
        Some(_) => !repaired || input.rules < RuleSet::V6_1,
        None => false,
    };
    let mut candidates = profiles.sorted(eligible, keeps_order);
    if let Some(at) = input
        .preferred
        .and_then(|id| candidates.iter().position(|other| *other == id))
    {
        candidates[..=at].rotate_right(1);
    }
    let candidates: Vec<ProfileId> = candidates.into_iter().cloned().collect();

    let source = match explicit {
        Some((_, source)) if !repaired => source,
        Some(_) | None => OrderSource::Rotation,
    };
    let unusable = profiles.unusable();
    let pinned = candidates.first().filter(|first| input.preferred == Some(first));
    let effective = pinned
        .or_else(|| candidates.iter().find(|id| !unusable.contains_key(id)))
        .cloned();
    let passed_over = passed_over(&profiles, explicit, &candidates);
    let reason = reason::explain(
        input,
        &reason::Found {
            candidates: &candidates,
            effective: effective.as_ref(),
            pinned: pinned.is_some(),
            source,
            explicit: explicit.map_or(&[], |(order, _)| order),
            passed_over: &passed_over,
            unusable: &unusable,
        },
    );
    Resolution {
        in_use: source != OrderSource::Rotation && effective.is_some(),
        candidates,
        source,
        effective,
        reason,
        passed_over,
        unusable,
    }
}

/// The stored order wins over the config's in every release; an empty stored one is dropped when
/// OpenClaw loads it, an empty one in the config stands.
pub(super) fn explicit_order<'a>(input: &Input<'a>) -> Option<(&'a [ProfileId], OrderSource)> {
    let stored = input.stored_order.filter(|order| !order.is_empty());
    stored
        .map(|order| (order, OrderSource::Stored))
        .or_else(|| input.config_order.map(|order| (order, OrderSource::Config)))
}

/// Everything in `ids`, once each, where it first stands.
pub(super) fn distinct<'a>(ids: impl Iterator<Item = &'a ProfileId>) -> Vec<&'a ProfileId> {
    let mut seen = HashSet::new();
    ids.filter(|id| seen.insert(*id)).collect()
}

fn passed_over(
    profiles: &Profiles<'_, '_>,
    explicit: Option<(&[ProfileId], OrderSource)>,
    candidates: &[ProfileId],
) -> Vec<(ProfileId, PassedOver)> {
    let ordered = explicit.map_or(&[][..], |(order, _)| order).iter();
    let named = ordered.chain(profiles.configured());
    distinct(named.chain(profiles.stored()))
        .into_iter()
        .filter(|id| !candidates.contains(id))
        .map(|id| {
            let cause = profiles.judge(id).err().unwrap_or(match explicit {
                Some((_, OrderSource::Config)) => PassedOver::NotInConfigOrder,
                Some(_) => PassedOver::NotInStoredOrder,
                None => PassedOver::HiddenByConfig,
            });
            (id.clone(), cause)
        })
        .collect()
}

/// The profiles of an [`Input`], seen through the rules of its release.
pub(super) struct Profiles<'i, 'a> {
    input: &'i Input<'a>,
    provider: String,
}

impl<'i, 'a> Profiles<'i, 'a> {
    pub(super) fn new(input: &'i Input<'a>) -> Self {
        Self {
            input,
            provider: auth_key(input.rules, input.provider.as_str()),
        }
    }

    /// The profile as OpenClaw knows it: entries of unknown type or without a provider are
    /// dropped when the store is loaded.
    pub(super) fn find(&self, id: &ProfileId) -> Option<&'a Candidate> {
        self.input.profiles.iter().find(|profile| {
            profile.id == *id
                && profile.kind != CredentialKind::Unknown
                && !profile.provider_text.trim().is_empty()
        })
    }

    /// The provider's profiles in the store.
    pub(super) fn stored(&self) -> impl Iterator<Item = &'a ProfileId> {
        let known = self.input.profiles.iter().map(|profile| &profile.id);
        known.filter(|id| {
            self.find(id)
                .is_some_and(|profile| self.is_ours(&profile.provider_text))
        })
    }

    /// The provider's profiles in the config.
    pub(super) fn configured(&self) -> impl Iterator<Item = &'a ProfileId> {
        let entries = self.input.config_profiles.iter();
        entries
            .filter(|entry| self.is_ours(&entry.provider_text))
            .map(|entry| &entry.id)
    }

    /// Whether OpenClaw may use the profile for this provider, whatever the order says.
    pub(super) fn judge(&self, id: &ProfileId) -> Result<(), PassedOver> {
        let entry = self.config_entry(id);
        let Some(profile) = self.find(id) else {
            let unknown = self.input.profiles.iter().any(|profile| profile.id == *id);
            return match entry {
                Some(entry) if self.needs_no_credential(entry) => Ok(()),
                _ if unknown => Err(PassedOver::UnknownType),
                _ => Err(PassedOver::NotInStore),
            };
        };
        if !self.is_ours(&profile.provider_text) {
            return Err(PassedOver::OtherProvider);
        }
        if let Some(entry) = entry {
            if !self.is_ours(&entry.provider_text) {
                return Err(PassedOver::ConfigProvider {
                    provider: entry.provider_text.clone(),
                });
            }
            if !agrees(entry.mode, profile.kind) {
                return Err(PassedOver::ConfigMode { mode: entry.mode });
            }
        }
        self.judge_secret(profile)
    }

    /// The order of trying: the given one, or by kind and last use; resting profiles behind, the
    /// one that is ready soonest first.
    pub(super) fn sorted(&self, ids: Vec<&'a ProfileId>, keeps_order: bool) -> Vec<&'a ProfileId> {
        let (mut resting, mut ready): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| self.resting_until(id).is_some());
        if !keeps_order {
            ready.sort_by_key(|id| (self.rank(id), self.comes_last(id), self.last_used(id)));
        }
        resting.sort_by_key(|id| self.resting_until(id));
        ready.append(&mut resting);
        ready
    }

    fn config_entry(&self, id: &ProfileId) -> Option<&'a ConfigProfile> {
        self.input.config_profiles.iter().find(|entry| entry.id == *id)
    }

    fn is_ours(&self, provider_text: &str) -> bool {
        auth_key(self.input.rules, provider_text) == self.provider
    }

    /// 2026.6.1: an entry of mode `aws-sdk` stands for credentials that AWS's own tools keep.
    fn needs_no_credential(&self, entry: &ConfigProfile) -> bool {
        self.input.rules >= RuleSet::V6_1
            && entry.mode == ConfigMode::AwsSdk
            && self.input.aws_sdk
            && self.is_ours(&entry.provider_text)
    }

    fn judge_secret(&self, profile: &Candidate) -> Result<(), PassedOver> {
        match profile.secret {
            SecretPresence::Inline => {}
            SecretPresence::None => return Err(PassedOver::NoSecret),
            SecretPresence::SideFile => return Err(PassedOver::SideFile),
            SecretPresence::Reference if self.input.rules == RuleSet::V2_17 => {
                return Err(PassedOver::ReferenceUnread);
            }
            SecretPresence::Reference => {}
            SecretPresence::Renewing => return Err(PassedOver::Renewing),
            SecretPresence::Dropped => return Err(PassedOver::Dropped),
            SecretPresence::Unfinished => return Err(PassedOver::Unfinished),
        }
        if profile.kind != CredentialKind::Token {
            return Ok(());
        }
        let lenient = self.input.rules == RuleSet::V2_17;
        match profile.expires {
            Expiry::None => Ok(()),
            Expiry::Invalid if lenient => Ok(()),
            Expiry::Invalid => Err(PassedOver::ExpiryInvalid),
            Expiry::At(at) if at.as_millis() <= 0 && lenient => Ok(()),
            Expiry::At(at) if at.as_millis() <= 0 => Err(PassedOver::ExpiryInvalid),
            Expiry::At(at) if at > LAST_DATE && self.input.rules >= RuleSet::V6_1 => {
                Err(PassedOver::ExpiryInvalid)
            }
            Expiry::At(at) if at <= self.input.now => Err(PassedOver::TokenExpired { at }),
            Expiry::At(_) => Ok(()),
        }
    }

    fn rank(&self, id: &ProfileId) -> u8 {
        match self.find(id).map(|profile| profile.kind) {
            Some(CredentialKind::Oauth) => 0,
            Some(CredentialKind::Token) => 1,
            Some(CredentialKind::ApiKey) => 2,
            Some(CredentialKind::Unknown) | None => 3,
        }
    }

    /// 2026.9.6 tries a login that has expired after those that have not.
    fn comes_last(&self, id: &ProfileId) -> bool {
        let expired = |profile: &Candidate| match profile.expires {
            Expiry::At(at) => {
                profile.kind == CredentialKind::Oauth && at.as_millis() > 0 && at <= self.input.now
            }
            Expiry::None | Expiry::Invalid => false,
        };
        self.input.rules >= RuleSet::V9_6 && self.find(id).is_some_and(expired)
    }

    fn last_used(&self, id: &ProfileId) -> Timestamp {
        let used = self.input.usage.get(id).and_then(|usage| usage.last_used);
        used.unwrap_or(Timestamp::from_millis(0))
    }

    fn resting_until(&self, id: &ProfileId) -> Option<Timestamp> {
        self.window(id).map(|window| window.until)
    }

    /// The window that ends last, if it has not ended. Which windows count is the release's
    /// business; that OpenClaw forgets ended ones first makes no difference to the order.
    fn window(&self, id: &ProfileId) -> Option<Unusable> {
        let rules = self.input.rules;
        if rules != RuleSet::V2_17 {
            let provider = self
                .find(id)
                .map(|profile| name_key(rules, &profile.provider_text));
            if matches!(provider.as_deref(), Some("openrouter" | "kilocode")) {
                return None;
            }
        }
        let usage = self.input.usage.get(id)?;
        let blocked = usage.blocked_until.filter(|_| rules >= RuleSet::V6_1);
        let windows = [
            (usage.disabled_until, &usage.disabled_reason, true),
            (blocked, &usage.blocked_reason, false),
            (usage.cooldown_until, &usage.cooldown_reason, false),
        ];
        windows
            .into_iter()
            .filter_map(|(until, reason, disabled)| Some((until?, reason, disabled)))
            .filter(|(until, ..)| until.as_millis() > 0 && *until > self.input.now)
            .filter(|(until, ..)| rules < RuleSet::V6_1 || *until <= LAST_DATE)
            .min_by_key(|(until, ..)| Reverse(*until))
            .map(|(until, reason, disabled)| Unusable {
                until,
                reason: reason.clone(),
                disabled,
            })
    }

    fn unusable(&self) -> BTreeMap<ProfileId, Unusable> {
        let ours = distinct(self.stored().chain(self.configured()));
        ours.into_iter()
            .filter_map(|id| Some((id.clone(), self.window(id)?)))
            .collect()
    }
}

/// A config entry must name the credential's type; `oauth` accepts a `token` as well.
fn agrees(mode: ConfigMode, kind: CredentialKind) -> bool {
    match mode {
        ConfigMode::Oauth => matches!(kind, CredentialKind::Oauth | CredentialKind::Token),
        ConfigMode::Token => kind == CredentialKind::Token,
        ConfigMode::ApiKey => kind == CredentialKind::ApiKey,
        ConfigMode::AwsSdk | ConfigMode::Other => false,
    }
}
