//! What changed between two looks and what it means: outside rotations, stores that went back to
//! an older login, vanished profiles, OpenClaw's marks of a refusal. Keeps the newest tokens of
//! each family in memory, so that a store that a program without locks overwrote can be mended.

mod scene;
mod sightings;
#[cfg(test)]
mod sightings_tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use scene::Scene;

use super::merge::is_provably_same_person;
use super::sealing::Pace;
use super::{About, Inner};
use crate::clock::Timestamp;
use crate::error::ErrorCode;
use crate::event::EventKind;
use crate::history::Family;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::Era;
use crate::refresh::{Fleet, FleetStore};
use crate::secret::{Fingerprint, Secret};
use crate::store::credential::{Credential, NewTokens, Oauth};
use crate::store::{Fence, FenceKind, StoreContent};
use crate::view::Notice;

crate::keeps_secret!(Observer, Remembered, Profile, Newest);

/// OpenClaw 2026.6.1 removes `lastGood` when its refresh was refused: judged after this time.
const MARK_DELAY_MS: i64 = 1_000;
/// ... and only while the access token has ended or ends within this time.
const MARK_MARGIN_MS: i64 = 5 * 60_000;

/// A profile that is missing is called gone at a second look, this long after the first one: within
/// a second of the change, the time until it is seen included. A file that is being written does
/// not parse and is waited for by itself.
const GONE_DELAY_MS: i64 = 300;
/// ... and after this time if the whole file is gone: an upgrade to SQLite moves it.
const NO_FILE_DELAY_MS: i64 = 5_000;

/// The memory of one engine.
#[derive(Debug, Default)]
pub(super) struct Observer {
    stores: HashMap<PathBuf, Remembered>,
    newest: HashMap<Family, Newest>,
    suspicions: Vec<Suspicion>,
    credentials: Option<Fingerprint>,
    /// Profiles that were there at the last look: gone for good, or in the middle of a write.
    missing: HashMap<(PathBuf, ProfileId), Missing>,
    /// The newest generation that this process saw in each profile.
    held: HashMap<(PathBuf, ProfileId), Fingerprint>,
    /// Why nothing is renewed, as it was told last.
    stuck: Option<Notice>,
}

/// One store as it was at the last look.
#[derive(Debug, Default)]
struct Remembered {
    profiles: BTreeMap<ProfileId, Profile>,
    last_good: BTreeMap<ProviderId, ProfileId>,
    /// `None` until it was read once.
    order: Option<BTreeMap<ProviderId, Vec<ProfileId>>>,
    readable: bool,
}

/// A profile; of a login that OpenClaw has set aside, what stood there before.
#[derive(Clone, Debug)]
struct Profile {
    provider: String,
    generation: Option<Fingerprint>,
    oauth: Option<Oauth>,
    fence: Option<Fence>,
}

/// A profile that was there at an earlier look.
#[derive(Debug)]
struct Missing {
    since: Timestamp,
    was: Profile,
    /// The ids that were known in any store when it went: what has come since may be its new name.
    ids_then: BTreeSet<ProfileId>,
}

/// The newest tokens of a family.
#[derive(Debug)]
struct Newest {
    generation: Fingerprint,
    tokens: NewTokens,
}

/// `lastGood` vanished for a login that OpenClaw could not use.
#[derive(Debug)]
struct Suspicion {
    agent_dir: PathBuf,
    agent: AgentId,
    provider: ProviderId,
    profile_id: ProfileId,
    generation: Fingerprint,
    since: Timestamp,
}

/// What the engine must do after a look.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// A store was written: read again.
    pub(super) wrote: bool,
    /// Look again this soon.
    pub(super) look_in: Option<Duration>,
}

impl Observer {
    /// Compares the fleet with the last look. `mends`: this process may write.
    pub(super) fn observe(&mut self, inner: &Inner, fleet: &Fleet, mends: bool) -> Again {
        // Before anything else: what OpenClaw drops next must have a copy.
        let sealed = inner.seal_logins(fleet, Pace::Some);
        let mut again = Again::default();
        let installation = fleet.current().state_dir.canonical().display().to_string();
        // Between two eras everything lies twice or nowhere: what became of it is judged when
        // OpenClaw has finished.
        if matches!(fleet.current().era, Era::Mixed { .. }) {
            return again;
        }
        let own: Vec<&FleetStore> = fleet.own().collect();
        let ids_then: BTreeSet<ProfileId> = self
            .stores
            .values()
            .flat_map(|store| store.profiles.keys().cloned())
            .collect();
        for store in &own {
            let scene = Scene {
                inner,
                store,
                installation: &installation,
            };
            match &store.content {
                Ok(content) => self.compare(&scene, fleet, content, &also_there(fleet, store), &ids_then),
                // A busy database is no trouble of the store.
                Err(error) if error.code() == ErrorCode::StoreBusy => {}
                Err(error) => {
                    let _ = inner.marks.record_unreadable(&store.agent_dir, inner.now());
                    let remembered = self.stores.entry(store.agent_dir.clone()).or_default();
                    if std::mem::replace(&mut remembered.readable, false) {
                        scene.unreadable(fleet, error);
                    }
                }
            }
        }
        sightings::look(inner, fleet, &installation);
        for kept in inner.refresher.take_kept() {
            let (generation, tokens) = (kept.generation, kept.tokens);
            for holder in kept.holders {
                self.held
                    .insert((holder.agent_dir, holder.profile_id), generation);
            }
            self.newest.insert(kept.family, Newest { generation, tokens });
        }
        for store in &fleet.stores {
            if let Ok(content) = &store.content {
                self.learn(inner, store, content);
            }
        }
        if mends {
            for store in own.iter().filter(|store| !fleet.is_managed(store)) {
                let scene = Scene {
                    inner,
                    store,
                    installation: &installation,
                };
                again.wrote |= self.mend(&scene, fleet);
            }
        }
        again.look_in = self.judge(inner, fleet, &own, &installation);
        let now = inner.now();
        for missing in self.missing.values() {
            // One that waits for longer is looked at as often.
            let left = GONE_DELAY_MS - now.millis_since(missing.since);
            let left = if left > 0 {
                left.min(GONE_DELAY_MS)
            } else {
                GONE_DELAY_MS
            };
            let soon = Duration::from_millis(left.unsigned_abs());
            again.look_in = Some(again.look_in.map_or(soon, |other| other.min(soon)));
        }
        if matches!(sealed, Ok(false)) {
            again.look_in = Some(Duration::ZERO);
        }
        if again.wrote || self.credentials_changed(fleet, &own) {
            let _ = inner.seal_fleet(fleet, "changed-outside");
        }
        again
    }

    /// Tells once why no login can be renewed; `None` when they can.
    pub(super) fn tell_stuck(&mut self, inner: &Inner, fleet: &Fleet, stuck: Option<&Notice>) {
        if self.stuck.as_ref() == stuck {
            return;
        }
        self.stuck = stuck.cloned();
        if let Some(notice) = stuck {
            inner.emit(
                EventKind::RefreshFailed,
                About {
                    installation: &fleet.current().state_dir.canonical().display().to_string(),
                    cause: Some(&notice.code),
                    ..About::default()
                },
                &notice.message,
            );
        }
    }

    /// `elsewhere`: what the store's agent has besides. `ids_then`: what was known anywhere before
    /// this look.
    fn compare(
        &mut self,
        scene: &Scene<'_>,
        fleet: &Fleet,
        content: &StoreContent,
        elsewhere: &BTreeMap<ProfileId, Profile>,
        ids_then: &BTreeSet<ProfileId>,
    ) {
        let mut now = profiles(content);
        let first_look = !self.stores.contains_key(&scene.store.agent_dir);
        let remembered = self.stores.entry(scene.store.agent_dir.clone()).or_default();
        if !first_look && !remembered.readable {
            scene.emit(
                EventKind::StoreReadable,
                None,
                None,
                "readable",
                "the store can be read again",
            );
        }
        if !remembered.readable {
            let _ = scene.inner.marks.clear_unreadable(&scene.store.agent_dir);
        }
        remembered.readable = true;
        for (id, new) in &mut now {
            let Some(fence) = &new.fence else { continue };
            let old = remembered.profiles.get(id);
            let known = old.and_then(|old| old.fence.as_ref()) == Some(fence);
            if fence.kind == FenceKind::Failed && !known && !first_look {
                scene.dropped(fleet, id);
            }
            // When it is released, the new login is compared with what stood here before.
            new.generation = old.and_then(|old| old.generation);
            new.oauth = old.and_then(|old| old.oauth.clone());
        }
        for (id, new) in &now {
            if !remembered.profiles.contains_key(id) {
                let _ = scene.inner.marks.clear_gone(&scene.store.agent_dir, id);
            }
            let renamed_from = || {
                let mut gone = remembered
                    .profiles
                    .iter()
                    .filter(|(old_id, _)| !now.contains_key(*old_id));
                gone.find(|(_, old)| is_same_login(old, new)).map(|(_, old)| old)
            };
            match remembered.profiles.get(id).or_else(renamed_from) {
                None if first_look => {}
                None => scene.emit(
                    EventKind::Added,
                    Some(id),
                    new.generation,
                    "outside",
                    "an account was added",
                ),
                Some(old) if old.generation == new.generation || is_put_back(id, old, new) => {}
                Some(old) => scene.replaced(id, old, new),
            }
        }
        let at = scene.inner.now();
        let dir = &scene.store.agent_dir;
        for (id, old) in remembered
            .profiles
            .iter()
            .filter(|(id, _)| !now.contains_key(*id))
        {
            let place = (dir.clone(), id.clone());
            self.missing.entry(place).or_insert_with(|| Missing {
                since: at,
                was: old.clone(),
                ids_then: ids_then.clone(),
            });
        }
        self.missing.retain(|(missing_in, id), missing| {
            if missing_in != dir {
                return true;
            }
            let (since, old) = (&missing.since, &missing.was);
            // Under another id it is only renamed (openai-codex to openai); in the sqlite era the
            // agent may have it from the shared store instead.
            let renamed = now.iter().chain(elsewhere).any(|(new_id, new)| {
                let same = old.generation.is_some() && new.generation == old.generation;
                same || (!missing.ids_then.contains(new_id) && is_same_login(old, new))
            });
            if now.contains_key(id) || elsewhere.contains_key(id) || renamed {
                return false;
            }
            let patience = if content.exists {
                GONE_DELAY_MS
            } else {
                NO_FILE_DELAY_MS
            };
            if (0..patience).contains(&at.millis_since(*since)) {
                return true;
            }
            scene.vanished(fleet, id, old);
            false
        });
        // Without a readable auth-state.json nothing is known of lastGood.
        let judged = content.state_error.is_none();
        for (provider, id) in remembered.last_good.iter().filter(|_| judged) {
            let unusable = now
                .get(id)
                .and_then(|profile| profile.oauth.as_ref()?.expires.at());
            let unusable = unusable.is_some_and(|expires| expires.millis_since(at) <= MARK_MARGIN_MS);
            let generation = now.get(id).and_then(|profile| profile.generation);
            if let (None, true, Some(generation)) =
                (content.state.last_good.get(provider), unusable, generation)
                && !self.suspicions.iter().any(|known| known.generation == generation)
            {
                self.suspicions.push(Suspicion {
                    agent_dir: scene.store.agent_dir.clone(),
                    agent: scene.store.agent.clone(),
                    provider: provider.clone(),
                    profile_id: id.clone(),
                    generation,
                    since: at,
                });
            }
        }
        if judged {
            let order = &content.state.order;
            let before = remembered
                .order
                .replace(order.clone())
                .unwrap_or_else(|| order.clone());
            // That an account came or went is told by itself.
            let stayed = |ids: &[ProfileId]| {
                let both = |id: &&ProfileId| remembered.profiles.contains_key(*id) && now.contains_key(*id);
                ids.iter().filter(both).cloned().collect::<Vec<_>>()
            };
            let of = |order: &BTreeMap<ProviderId, Vec<ProfileId>>, provider| {
                order.get(provider).map(|ids| stayed(ids)).unwrap_or_default()
            };
            let providers: BTreeSet<&ProviderId> = before.keys().chain(order.keys()).collect();
            for provider in providers {
                if of(&before, provider) != of(order, provider) {
                    scene.reordered(provider, order.get(provider).map(Vec::as_slice));
                }
            }
        }
        remembered.profiles = now;
        if judged {
            remembered.last_good = content.state.last_good.clone();
        }
    }

    /// Remembers the newest tokens of each family.
    fn learn(&mut self, inner: &Inner, store: &FleetStore, content: &StoreContent) {
        for (id, credential) in content.document.profiles() {
            let (Some(oauth), Some(generation)) = (credential.as_oauth(), credential.generation()) else {
                continue;
            };
            let generations = inner.generations();
            let Ok(family) = generations.family_of(generation) else {
                continue;
            };
            let superseded = generations.is_superseded(generation).unwrap_or(true);
            let (Some(access), Some(expires)) = (&oauth.access, oauth.expires.at()) else {
                continue;
            };
            if superseded {
                continue;
            }
            self.held.insert((store.agent_dir.clone(), id), generation);
            let tokens = NewTokens {
                access: access.clone(),
                refresh: oauth.refresh.clone(),
                expires,
                id_token: oauth.id_token.clone(),
                account_id: oauth.account_id.clone(),
                plan: oauth.chatgpt_plan_type.clone(),
                email: oauth.common.email.clone(),
            };
            self.newest.insert(family, Newest { generation, tokens });
        }
    }

    /// Puts the newest tokens back where a store holds a superseded generation of their family.
    fn mend(&self, scene: &Scene<'_>, fleet: &Fleet) -> bool {
        let Ok(content) = &scene.store.content else {
            return false;
        };
        let mut wrote = false;
        for (id, credential) in content.document.profiles() {
            let (Some(_), Some(stale)) = (credential.as_oauth(), credential.generation()) else {
                continue;
            };
            // Only a profile that was seen with a newer generation went back to this one.
            let place = (scene.store.agent_dir.clone(), id.clone());
            if self.held.get(&place).is_none_or(|held| *held == stale) {
                continue;
            }
            let Some(newest) = self.replacement(scene.inner, stale) else {
                continue;
            };
            if let Ok(true) = scene.put_back(fleet, &id, stale, newest) {
                wrote = true;
                scene.emit(
                    EventKind::Repaired,
                    Some(&id),
                    Some(newest.generation),
                    "went_back",
                    "the store had gone back to an older login: the newest one was put back",
                );
            }
        }
        wrote
    }

    fn replacement(&self, inner: &Inner, stale: Fingerprint) -> Option<&Newest> {
        let generations = inner.generations();
        let family = generations.family_of(stale).ok()?;
        let newest = self.newest.get(&family)?;
        let refused = generations.refusal(newest.generation).ok()?.is_some();
        let superseded = generations.is_superseded(newest.generation).ok()?;
        let went_back = generations.leads_to(stale, newest.generation).ok()?;
        (went_back && !refused && !superseded).then_some(newest)
    }

    /// A suspicion that stands for a second is a mark: the same generation is still on disk, and
    /// no other profile took its place.
    fn judge(
        &mut self,
        inner: &Inner,
        fleet: &Fleet,
        own: &[&FleetStore],
        installation: &str,
    ) -> Option<Duration> {
        let now = inner.now();
        let managed = !fleet.managed.is_empty() && own.iter().any(|store| fleet.is_managed(store));
        let mut wait = None;
        self.suspicions.retain(|suspicion| {
            let content = own
                .iter()
                .find(|store| store.agent_dir == suspicion.agent_dir)
                .and_then(|store| store.content.as_ref().ok());
            let stands = content.is_some_and(|content| {
                let held = content.document.credential(&suspicion.profile_id);
                held.is_some_and(|credential| credential.generation() == Some(suspicion.generation))
                    && !content.state.last_good.contains_key(&suspicion.provider)
            });
            let age = now.millis_since(suspicion.since);
            if !stands {
                return false;
            }
            if (0..MARK_DELAY_MS).contains(&age) {
                let left = u64::try_from(MARK_DELAY_MS - age).unwrap_or(0);
                wait = Some(Duration::from_millis(left));
                return true;
            }
            if inner
                .marks
                .record_refused(suspicion.generation, "last_good_removed", now)
                .unwrap_or(false)
            {
                inner.emit(
                    EventKind::OpenclawRefused,
                    About {
                        installation,
                        agent: Some(&suspicion.agent),
                        profile_id: Some(&suspicion.profile_id),
                        generation: Some(suspicion.generation),
                        cause: Some("last_good_removed"),
                        ..About::default()
                    },
                    super::sentences::openclaw_refused(None, managed),
                );
            }
            false
        });
        wait
    }

    fn credentials_changed(&mut self, fleet: &Fleet, own: &[&FleetStore]) -> bool {
        let mut text = String::new();
        for store in own {
            if store.content.is_err() {
                let revision = fleet.current().store(&store.agent_dir).revision();
                text.push_str(&format!("{}\n{revision:?}\n", store.agent_dir.display()));
            }
            for (id, credential) in store
                .content
                .iter()
                .flat_map(|content| content.document.profiles())
            {
                let generation = credential.generation().map(|generation| generation.to_string());
                text.push_str(&format!(
                    "{}\n{id}\n{}\n",
                    store.agent_dir.display(),
                    generation.unwrap_or_default()
                ));
            }
        }
        let digest = Secret::new(text).fingerprint();
        self.credentials.replace(digest) != Some(digest)
    }
}

/// The profiles that the agent of a store has from elsewhere: nothing in the json era, where
/// every file is watched by itself; else from the shared store, or for that one from main's own.
fn also_there(fleet: &Fleet, store: &FleetStore) -> BTreeMap<ProfileId, Profile> {
    let installation = fleet.current();
    let other = if !fleet.is_managed(store) {
        None
    } else if fleet.is_shared_database(store) {
        let mut agents = installation.agents.iter();
        let main = agents.find(|agent| agent.id.is_main());
        main.and_then(|main| fleet.store_of(&main.agent_dir))
    } else {
        fleet
            .inherited(installation)
            .filter(|inherited| inherited.agent_dir != store.agent_dir)
    };
    let content = other.and_then(|other| other.content.as_ref().ok());
    content.map(profiles).unwrap_or_default()
}

/// Whether the very generation that OpenClaw had dropped stands there again.
fn is_put_back(id: &ProfileId, old: &Profile, new: &Profile) -> bool {
    let tokens = new.oauth.as_ref().and_then(|oauth| {
        let provider = &oauth.common.provider_text;
        Some((provider, oauth.access.as_ref()?, oauth.refresh.as_ref()?))
    });
    let pair = old.fence.as_ref().zip(tokens);
    pair.is_some_and(|(fence, (provider, access, refresh))| fence.is_of(id, provider, access, refresh))
}

/// Whether `new` is `old` under another id: the same tokens, or provably the same person's.
fn is_same_login(old: &Profile, new: &Profile) -> bool {
    let same_tokens = old.generation.is_some() && old.generation == new.generation;
    let people = old.oauth.as_ref().zip(new.oauth.as_ref());
    same_tokens || people.is_some_and(|(old, new)| is_provably_same_person(old, new))
}

fn profiles(content: &StoreContent) -> BTreeMap<ProfileId, Profile> {
    let profiles = content.document.profiles();
    profiles
        .map(|(id, credential)| (id, profile(&credential)))
        .collect()
}

fn profile(credential: &Credential) -> Profile {
    Profile {
        provider: credential
            .provider()
            .map_or_else(String::new, |provider| provider.as_str().to_owned()),
        generation: credential.generation(),
        oauth: credential.as_oauth().cloned(),
        fence: credential.fence().cloned(),
    }
}
