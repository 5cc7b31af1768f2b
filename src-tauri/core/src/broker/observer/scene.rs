//! One store at one look: what its changes mean, told as events, and what is put back into it.

use super::{Newest, Profile};
use crate::broker::{About, Inner};
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::ids::{ProfileId, ProviderId};
use crate::oauth::{Claims, Identity, Providers, Sameness};
use crate::refresh::{Fleet, FleetStore};
use crate::secret::{Fingerprint, Secret};
use crate::store::StoreLock;
use crate::store::credential::{Oauth, RefreshedFields};
use std::path::Path;

/// One store at one look.
pub(super) struct Scene<'a> {
    pub(super) inner: &'a Inner,
    pub(super) store: &'a FleetStore,
    pub(super) installation: &'a str,
}

impl Scene<'_> {
    /// A profile's generation changed. Recorded as a rotation when the newer tokens are provably
    /// newer and of the same person; Kalit's own rotations are recorded already.
    pub(super) fn replaced(&self, id: &ProfileId, old: &Profile, new: &Profile) {
        let generations = self.inner.generations();
        let (Some(before), Some(after)) = (old.generation, new.generation) else {
            return self.emit(
                EventKind::Changed,
                Some(id),
                new.generation,
                "outside",
                "the account was changed",
            );
        };
        if generations.find(after).ok().flatten().is_some() {
            return;
        }
        let at = self.inner.now();
        match self.is_rotation(old, new) {
            Some(lifetime_ms)
                if generations
                    .record_rotation(before, after, at, lifetime_ms)
                    .is_ok() =>
            {
                self.emit(
                    EventKind::Adopted,
                    Some(id),
                    Some(after),
                    "outside",
                    "another program renewed it",
                );
            }
            Some(_) | None => {
                self.emit(
                    EventKind::Changed,
                    Some(id),
                    Some(after),
                    "outside",
                    "the account was changed",
                );
            }
        }
    }

    /// `Some(lifetime)` when `new` is the same person's, and its access token is the later one.
    pub(super) fn is_rotation(&self, old: &Profile, new: &Profile) -> Option<Option<i64>> {
        let (old, new) = (old.oauth.as_ref()?, new.oauth.as_ref()?);
        let providers = Providers::load(&self.inner.environment).ok()?;
        let provider = providers.get(&new.common.provider)?;
        let read = |oauth: &Oauth| {
            let access = oauth.access.clone().unwrap_or_else(|| Secret::new(""));
            let claims = Claims::of_tokens(provider.claims(), &access, oauth.id_token.as_ref());
            let identity = Identity::of(provider, &claims).with_stored_account(oauth.account_id.as_deref());
            (claims, identity)
        };
        let ((old_claims, old_person), (new_claims, new_person)) = (read(old), read(new));
        let same = new_person.compare(&old_person) == Sameness::Same;
        let later = match (old_claims.issued_at, new_claims.issued_at) {
            (Some(old), Some(new)) => new > old,
            _ => new.expires.at() > old.expires.at(),
        };
        (same && later).then(|| new_claims.lifetime_ms())
    }

    pub(super) fn unreadable(&self, fleet: &Fleet, error: &Error) {
        let restore = self.inner.store_offer(fleet, &self.store.agent, error);
        let text = match &restore {
            Some(restore) => format!("{}. {}", error.message(), restore.text),
            None => error.message().to_owned(),
        };
        self.emit_with(
            EventKind::StoreUnreadable,
            About {
                cause: Some(error.code().as_str()),
                snapshot: restore.as_ref().and_then(|restore| restore.snapshot.as_deref()),
                ..About::default()
            },
            text,
        );
    }

    pub(super) fn vanished(&self, fleet: &Fleet, id: &ProfileId, old: &Profile) {
        let at = self.inner.now();
        let dir: &Path = &self.store.agent_dir;
        if self
            .inner
            .marks
            .record_vanished(dir, id, &old.provider, old.generation, at)
            .unwrap_or(false)
        {
            let restore = self.inner.profile_offer(fleet, old.generation);
            let text = crate::broker::sentences::vanished(restore.as_ref());
            self.emit_with(
                EventKind::Vanished,
                About {
                    profile_id: Some(id),
                    generation: old.generation,
                    cause: Some("outside"),
                    snapshot: restore.as_ref().and_then(|restore| restore.snapshot.as_deref()),
                    ..About::default()
                },
                format!("{}: {text}", id.account_name()),
            );
        }
    }

    pub(super) fn reordered(&self, provider: &ProviderId, order: Option<&[ProfileId]>) {
        self.emit_with(
            EventKind::OrderChanged,
            About {
                order,
                cause: Some("outside"),
                ..About::default()
            },
            format!("The order of {provider} in {} was changed", self.store.agent),
        );
    }

    pub(super) fn dropped(&self, fleet: &Fleet, id: &ProfileId) {
        let agent = fleet.current().agent(&self.store.agent).ok();
        let restore = agent.map(|agent| self.inner.restore_view(fleet, agent, id));
        self.emit(
            EventKind::Dropped,
            Some(id),
            None,
            "refresh_fence_failed",
            &crate::broker::sentences::dropped(restore.as_ref()),
        );
    }

    /// Compare-and-set under the lock: only while the stale generation is still there.
    pub(super) fn put_back(
        &self,
        fleet: &Fleet,
        id: &ProfileId,
        stale: Fingerprint,
        newest: &Newest,
    ) -> Result<bool> {
        let installation = fleet.current();
        // Busy: the next look tries again.
        let lock = StoreLock::try_acquire(&self.store.agent_dir, &self.inner.locks)?;
        installation.ensure_json_era()?;
        let fields = if installation.rules().writes_whitelist {
            RefreshedFields::All
        } else {
            RefreshedFields::Stored
        };
        let (wrote, _) = installation
            .store(&self.store.agent_dir)
            .update(&lock, |document, _| {
                let held = document
                    .credential(id)
                    .and_then(|credential| credential.generation());
                if held != Some(stale) {
                    return Ok(false);
                }
                document.replace_tokens(id, &newest.tokens, fields)?;
                Ok(true)
            })?;
        Ok(wrote)
    }

    pub(super) fn emit(
        &self,
        kind: EventKind,
        id: Option<&ProfileId>,
        generation: Option<Fingerprint>,
        cause: &str,
        text: &str,
    ) {
        let text = match id {
            Some(id) => format!("{}: {text}", id.account_name()),
            None => text.to_owned(),
        };
        self.emit_with(
            kind,
            About {
                profile_id: id,
                generation,
                cause: Some(cause),
                ..About::default()
            },
            text,
        );
    }

    /// Tells something of this store.
    pub(super) fn emit_with(&self, kind: EventKind, about: About<'_>, text: String) {
        let here = About {
            installation: self.installation,
            agent: Some(&self.store.agent),
            ..about
        };
        self.inner.emit(kind, here, text);
    }
}
