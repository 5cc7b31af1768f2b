//! What the shells see of healing: a refused login that gave way to a newer one that lay elsewhere,
//! and what only a person can decide.

use super::{About, Inner};
use crate::event::EventKind;
use crate::ids::ProfileId;
use crate::install::Agent;
use crate::refresh::{Asks, Attempt, Fleet, FleetStore, Healing, Holder, Sources, Wanted};
use crate::secret::Fingerprint;
use crate::store::Credential;
use crate::view::RestoreView;

impl Inner {
    /// Heals what was refused or is spent in the current installation: after a crash between the
    /// refusal and the healing, and when a newer generation came later. Whether a store was written.
    pub(super) fn heal_all(&self, fleet: &Fleet, sources: Sources) -> bool {
        let mut wrote = false;
        for store in fleet.own().filter(|store| !fleet.is_managed(store)) {
            for attempt in self.beyond_renewal(store) {
                if !self.refresher.heals(fleet, &attempt, sources) {
                    continue;
                }
                // Busy: the next look tries again.
                if let Ok(Healing::Healed { generation, holders }) = self.refresher.heal(&attempt, sources) {
                    self.healed(&attempt, generation, &holders);
                    wrote = true;
                }
            }
        }
        wrote
    }

    /// Tells a healing; the directories that were written.
    pub(super) fn healed(
        &self,
        attempt: &Attempt,
        generation: Fingerprint,
        holders: &[Holder],
    ) -> Vec<String> {
        self.setbacks().remove(&attempt.seen);
        let _ = self.marks.clear_refused(attempt.seen);
        for holder in holders {
            self.emit(
                EventKind::Repaired,
                About {
                    installation: &crate::install::canonical(&holder.state_dir).display().to_string(),
                    agent: Some(&holder.agent),
                    profile_id: Some(&holder.profile_id),
                    generation: Some(generation),
                    cause: Some("healed"),
                    ..About::default()
                },
                format!(
                    "{}: its login was refused, and a newer one of the same account took its place",
                    holder.profile_id.account_name()
                ),
            );
        }
        self.seal("healed");
        let mut places: Vec<String> = holders
            .iter()
            .map(|holder| holder.agent_dir.display().to_string())
            .collect();
        places.dedup();
        places
    }

    /// What offers a way back to a login that the provider refused.
    pub(super) fn healing_offer(
        &self,
        fleet: &Fleet,
        agent: &Agent,
        id: &ProfileId,
        generation: Fingerprint,
    ) -> Option<RestoreView> {
        let generations = self.generations();
        let newest = generations
            .family_of(generation)
            .and_then(|family| generations.newest_of(family));
        let newest = newest.ok().flatten().map(|newest| newest.fingerprint);
        let sealed = newest
            .filter(|newest| *newest != generation)
            .and_then(|newest| self.profile_offer(fleet, Some(newest)));
        sealed.or_else(|| {
            let store = fleet.store_of(&agent.agent_dir)?;
            let asks = self.refresher.asks(fleet, &attempt(store, id, generation))?;
            Some(RestoreView {
                offered: false,
                text: hint(&asks),
                sealed_at: None,
                snapshot: None,
            })
        })
    }

    /// The logins of a store that are not renewed any more.
    fn beyond_renewal(&self, store: &FleetStore) -> Vec<Attempt> {
        let Ok(content) = &store.content else {
            return Vec::new();
        };
        let profiles = content.document.profiles();
        let logins = profiles.filter(|(_, credential)| matches!(credential, Credential::Oauth(_)));
        let dead = logins.filter_map(|(id, credential)| {
            let generation = credential.generation()?;
            // Its renewal runs: that heals it, if need be.
            if self.deciding().contains(&generation) {
                return None;
            }
            let known = self.generations().find(generation).ok()??;
            let dead = known.refusal.is_some() || known.superseded_by.is_some();
            dead.then(|| attempt(store, &id, generation))
        });
        dead.collect()
    }
}

fn attempt(store: &FleetStore, id: &ProfileId, seen: Fingerprint) -> Attempt {
    Attempt {
        agent: store.agent.clone(),
        agent_dir: store.agent_dir.clone(),
        profile_id: id.clone(),
        seen,
        wanted: Wanted::IfDue,
    }
}

/// What a person may do.
pub(super) fn hint(asks: &Asks) -> String {
    match asks {
        Asks::Unproven {
            agent: Some(agent), ..
        } => say!(
            "Agent {agent} has a later login of this account, but nothing proves that it follows this one: nothing was written. Sign in again.",
            agent
        ),
        Asks::Unproven { agent: None, .. } => say!(
            "Kalit holds a later login of this account, but nothing proves that it follows this one: nothing was written. `kalit snapshots` shows what can be put back."
        ),
        Asks::Locked => say!(
            "Kalit holds a later copy of this login, and its key is in the system's keychain: `kalit snapshots` shows what can be put back."
        ),
    }
}
