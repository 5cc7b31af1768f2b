//! How OpenClaw puts an agent's own store over the inherited one (`mergeAuthProfileStores` of
//! 2026.4.29, 2026.6.1, 2026.6.11, 2026.7.1 and 2026.9.6). A pure function: nothing is read.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::ids::{ProfileId, ProviderId};
use crate::install::Rules;
use crate::routing::{self, RuleSet};
use crate::store::credential::{Credential, Oauth};
use crate::store::{AuthState, StoreContent};

/// A profile as an agent sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) id: ProfileId,
    pub(super) credential: Credential,
    /// It lies in the inherited store; this agent only reads it.
    pub(super) inherited: bool,
}

/// From this time before its end on OpenClaw does not use an access token any more.
const MARGIN_MS: i64 = 5 * 60_000;
/// The largest date JavaScript knows.
const LAST_DATE: Timestamp = Timestamp::from_millis(8_640_000_000_000_000);

/// The profiles in OpenClaw's order, and the merged records. `inherited` is absent for the agent
/// that owns the inherited store.
pub(super) fn merge(
    inherited: Option<&StoreContent>,
    own: Option<&StoreContent>,
    rules: &Rules,
    now: Timestamp,
) -> (Vec<Seen>, AuthState) {
    let read = |content: Option<&StoreContent>, inherited| -> Vec<Seen> {
        let profiles = content
            .into_iter()
            .flat_map(|content| content.document.profiles());
        profiles
            .map(|(id, credential)| Seen {
                id,
                credential,
                inherited,
            })
            .collect()
    };
    let (base, own_profiles) = (read(inherited, true), read(own, false));
    let mut seen = if rules.own_profiles_first {
        put_over(own_profiles.clone(), &base, |_, _| {})
    } else {
        put_over(base.clone(), &own_profiles, |place, own| *place = own.clone())
    };
    let mut state = match (inherited, own) {
        (Some(inherited), Some(own)) if rules.own_profiles_first => {
            overlay(&inherited.state, &own.state, &own_profiles, rules.order_rules)
        }
        (Some(inherited), Some(own)) => inherited.state.clone().overlaid_by(own.state.clone()),
        (Some(one), None) | (None, Some(one)) => one.state.clone(),
        (None, None) => AuthState::default(),
    };
    if rules.adopts_main_login && inherited.is_some() {
        let drift = Drift {
            base: &base,
            base_state: inherited.map(|content| &content.state),
            rules: rules.order_rules,
            now,
        };
        for profile in &own_profiles {
            if let Some(newer) = drift.replacement(profile) {
                drift.replace(&profile.id, &newer.id, &mut seen, &mut state);
            }
        }
    }
    (seen, state)
}

/// `first`, and behind it what only `others` has; `both` decides about the rest.
fn put_over(mut first: Vec<Seen>, others: &[Seen], both: impl Fn(&mut Seen, &Seen)) -> Vec<Seen> {
    let places: BTreeMap<ProfileId, usize> = first
        .iter()
        .enumerate()
        .map(|(place, seen)| (seen.id.clone(), place))
        .collect();
    for other in others {
        match places.get(&other.id).and_then(|place| first.get_mut(*place)) {
            Some(place) => both(place, other),
            None => first.push(other.clone()),
        }
    }
    first
}

/// From 2026.6.5 on an inherited order begins with the agent's own profiles of that provider.
fn overlay(base: &AuthState, own: &AuthState, own_profiles: &[Seen], rules: RuleSet) -> AuthState {
    let mut merged = base.clone().overlaid_by(own.clone());
    for (provider, order) in &base.order {
        if own.order.contains_key(provider) {
            continue;
        }
        let mine = own_profiles.iter().filter(|seen| {
            let text = seen
                .credential
                .common()
                .map(|common| common.provider_text.as_str());
            text.and_then(|text| routing::provider_name(rules, text)).as_ref() == Some(provider)
        });
        let order = mine.map(|seen| &seen.id).chain(order);
        merged.order.insert(provider.clone(), distinct(order));
    }
    merged
}

/// `reconcileMainStoreOAuthProfileDrift`: an agent's own login `<provider>:default` that main has
/// newer under another id gives way to it.
struct Drift<'a> {
    base: &'a [Seen],
    base_state: Option<&'a AuthState>,
    rules: RuleSet,
    now: Timestamp,
}

impl<'a> Drift<'a> {
    /// `findMainStoreOAuthReplacement`.
    fn replacement(&self, own: &Seen) -> Option<&'a Seen> {
        let legacy = own.credential.as_oauth()?;
        let provider = self.provider(legacy)?;
        if own.id.as_str() != format!("{provider}:default") {
            return None;
        }
        let mut candidates: Vec<(&Seen, &Oauth)> = self
            .base
            .iter()
            .filter(|seen| seen.id != own.id)
            .filter_map(|seen| Some((seen, seen.credential.as_oauth()?)))
            .filter(|(_, oauth)| self.provider(oauth).as_ref() == Some(&provider))
            .filter(|(_, oauth)| !oauth.common.is_replacement && self.is_newer(legacy, oauth))
            .collect();
        candidates.sort_by(|(left, left_oauth), (right, right_oauth)| {
            let newest_first = right_oauth.expires.at().cmp(&left_oauth.expires.at());
            newest_first.then_with(|| left.id.cmp(&right.id))
        });
        let mut same = candidates
            .iter()
            .filter(|(_, oauth)| is_same_person(legacy, oauth))
            .map(|(seen, _)| *seen);
        if let Some(first) = same.next() {
            let ambiguous = !has_identity(legacy) && same.next().is_some();
            return (!ambiguous).then_some(first);
        }
        if self.is_usable(legacy) {
            return None;
        }
        let mut possible = candidates
            .iter()
            .filter(|(_, oauth)| !is_conflicting(legacy, oauth))
            .map(|(seen, _)| *seen);
        let first = possible.next()?;
        possible.next().is_none().then_some(first)
    }

    /// `replaceMergedProfileReferences`.
    fn replace(&self, old: &ProfileId, new: &ProfileId, seen: &mut Vec<Seen>, state: &mut AuthState) {
        let in_base = |id: &ProfileId| self.base.iter().find(|seen| seen.id == *id);
        match (in_base(old), seen.iter_mut().find(|seen| seen.id == *old)) {
            (Some(base), Some(place)) => *place = base.clone(),
            (None, _) => seen.retain(|seen| seen.id != *old),
            (Some(_), None) => {}
        }
        if let Some(base) = in_base(new) {
            match seen.iter_mut().find(|seen| seen.id == *new) {
                Some(place) => {
                    let newer = place.credential.as_oauth().zip(base.credential.as_oauth());
                    if newer.is_some_and(|(place, base)| self.is_newer(place, base)) {
                        *place = base.clone();
                    }
                }
                None => seen.push(base.clone()),
            }
        }
        let renamed = |id: &ProfileId| if id == old { new.clone() } else { id.clone() };
        for order in state.order.values_mut() {
            let ids: Vec<ProfileId> = order.iter().map(renamed).collect();
            *order = distinct(&ids);
        }
        for id in state.last_good.values_mut() {
            *id = renamed(id);
        }
        let stats = self.base_state.and_then(|state| state.usage_stats.get(old));
        match stats {
            Some(stats) => state.usage_stats.insert(old.clone(), stats.clone()),
            None => state.usage_stats.remove(old),
        };
    }

    fn provider(&self, oauth: &Oauth) -> Option<ProviderId> {
        routing::provider_name(self.rules, &oauth.common.provider_text)
    }

    fn is_newer(&self, old: &Oauth, new: &Oauth) -> bool {
        self.is_usable(new) && (!self.is_usable(old) || new.expires.at() > old.expires.at())
    }

    fn is_usable(&self, oauth: &Oauth) -> bool {
        let is_date = |at: &Timestamp| self.rules < RuleSet::V6_1 || *at <= LAST_DATE;
        let expires = oauth.expires.at().filter(is_date);
        oauth.access.is_some() && expires.is_some_and(|at| at.millis_since(self.now) > MARGIN_MS)
    }
}

/// Whether two logins belong to one person, provably: under the provider ids of two eras too.
pub(super) fn is_provably_same_person(one: &Oauth, other: &Oauth) -> bool {
    let (provider, other_provider) = (&one.common.provider, &other.common.provider);
    let one_provider = provider == other_provider || (provider.is_openai() && other_provider.is_openai());
    one_provider
        && match (existing_ids(one), existing_ids(other)) {
            ((Some(one), _), (Some(other), _)) => one == other,
            ((_, Some(one)), (_, Some(other))) => one == other,
            _ => false,
        }
}

/// `isSafeToAdoptMainStoreOAuthIdentity`.
fn is_same_person(existing: &Oauth, incoming: &Oauth) -> bool {
    if existing.common.provider_text != incoming.common.provider_text {
        return false;
    }
    match (existing_ids(existing), existing_ids(incoming)) {
        ((None, None), _) => true,
        ((Some(one), _), (Some(other), _)) => one == other,
        ((_, Some(one)), (_, Some(other))) => one == other,
        _ => false,
    }
}

/// `hasComparableOAuthIdentityConflict`.
fn is_conflicting(one: &Oauth, other: &Oauth) -> bool {
    let (one, other) = (existing_ids(one), existing_ids(other));
    let differ =
        |one: Option<String>, other: Option<String>| one.zip(other).is_some_and(|(one, other)| one != other);
    differ(one.0, other.0) || differ(one.1, other.1)
}

fn has_identity(oauth: &Oauth) -> bool {
    existing_ids(oauth) != (None, None)
}

/// Account id and e-mail, as OpenClaw compares them.
fn existing_ids(oauth: &Oauth) -> (Option<String>, Option<String>) {
    let trimmed = |text: &Option<String>| text.as_deref().map(str::trim).map(str::to_owned);
    let email = trimmed(&oauth.common.email).map(|email| email.to_lowercase());
    (trimmed(&oauth.account_id), email)
}

fn distinct<'a>(ids: impl IntoIterator<Item = &'a ProfileId>) -> Vec<ProfileId> {
    let mut kept: Vec<ProfileId> = Vec::new();
    for id in ids {
        if !kept.contains(id) {
            kept.push(id.clone());
        }
    }
    kept
}
