//! What is to become of each profile of a snapshot.

use super::{Opened, SealedStore, UNPLACED, also, document_now, stores_in, writes_itself};
use crate::broker::{Inner, PutBackVerdict, SnapshotChoice};
use crate::clock::Timestamp;
use crate::ids::ProfileId;
use crate::refresh::Fleet;
use crate::secret::Fingerprint;
use crate::store::{Credential, Document, FenceKind, json};
use crate::vault::snapshots::open_snapshot;
use serde_json::Value;
use zeroize::Zeroizing;

/// A profile of a snapshot and what is to become of it.
pub(super) struct Judged {
    pub(super) id: ProfileId,
    pub(super) sealed: Credential,
    pub(super) verdict: PutBackVerdict,
    pub(super) text: String,
    /// The credential to be stored, as it was once stored.
    pub(super) credential: Option<Zeroizing<String>>,
}

impl Inner {
    /// What becomes of the chosen profiles of one store.
    pub(super) fn judge_store(
        &self,
        fleet: &Fleet,
        opened: &Opened<'_>,
        sealed: &SealedStore,
        choice: &SnapshotChoice,
    ) -> Vec<Judged> {
        let now = document_now(fleet, sealed);
        let profiles = sealed.document.profiles();
        let chosen = profiles.filter(|(id, _)| choice.profile_id.as_ref().is_none_or(|wanted| wanted == id));
        let judged = chosen.filter_map(|(id, credential)| {
            let raw = sealed.document.raw(&id)?;
            let (verdict, text, stored) = if writes_itself(fleet) {
                self.judge(
                    fleet,
                    opened,
                    &now,
                    (&id, &credential, raw),
                    choice.profile_id.is_some(),
                )
            } else {
                judge_managed(&now, &id, &credential, raw, self.now())
            };
            Some(Judged {
                id,
                sealed: credential,
                verdict,
                text: text.to_owned(),
                credential: stored,
            })
        });
        judged.collect()
    }

    /// What becomes of one profile, in words, and what is stored for it. `alone`: a person asked for
    /// this very profile.
    pub(super) fn judge(
        &self,
        fleet: &Fleet,
        opened: &Opened<'_>,
        now: &Document,
        (id, sealed, raw): (&ProfileId, &Credential, Zeroizing<String>),
        alone: bool,
    ) -> (PutBackVerdict, String, Option<Zeroizing<String>>) {
        let kept = |text: String| (PutBackVerdict::Kept, text, None);
        let refused = |text: String| (PutBackVerdict::Refused, text, None);
        let current = now.credential(id);
        let Some(generation) = sealed.generation() else {
            return match current {
                Some(_) => kept(say!("it stays as it is")),
                None => (PutBackVerdict::PutBack, String::new(), Some(raw)),
            };
        };
        let Ok(known) = self.generations().find(generation) else {
            return refused(say!("Kalit's own record cannot be read"));
        };
        if known.as_ref().is_some_and(|known| known.refusal.is_some()) {
            return refused(say!(
                "the provider has refused this login for good: sign in again"
            ));
        }
        let (verdict, text, stored, generation) = match known.filter(|known| known.superseded_by.is_some()) {
            None => (PutBackVerdict::PutBack, String::new(), raw, generation),
            Some(known) => {
                let newest = self.generations().newest_of(known.family).ok().flatten();
                let newest = newest.filter(|newest| newest.refusal.is_none());
                let found = newest.and_then(|newest| {
                    let raw = self.find_login(fleet, opened, (id, sealed, &raw), newest.fingerprint)?;
                    Some((raw, newest.fingerprint))
                });
                let Some((raw, generation)) = found else {
                    return refused(say!("this login was renewed since and is spent: sign in again"));
                };
                let text = say!("this login was renewed since: its newest one is put back");
                (PutBackVerdict::NewestInstead, text, raw, generation)
            }
        };
        let Some(current) = current else {
            let mut others = now.profiles();
            let twin = others.find(|(_, other)| other.generation() == Some(generation));
            return match twin {
                Some((twin, _)) => kept(say!("the same login stands there as {twin}", twin)),
                None => (verdict, text, Some(stored)),
            };
        };
        match current.generation() {
            Some(there) if there == generation => kept(say!("it stands there")),
            Some(there) if self.is_older(there, generation) => {
                let text = also(text, say!("the older one there is replaced"));
                (verdict, text, Some(stored))
            }
            Some(_) | None if alone => {
                let text = also(text, say!("what stands there is replaced"));
                (verdict, text, Some(stored))
            }
            Some(_) | None => kept(say!("another login stands there and stays")),
        }
    }

    /// Whether `older` was renewed into `newer`'s family and is spent.
    pub(super) fn is_older(&self, older: Fingerprint, newer: Fingerprint) -> bool {
        let generations = self.generations();
        let family = |generation| generations.family_of(generation).ok();
        generations.is_superseded(older).unwrap_or(false) && family(older) == family(newer)
    }

    /// The newest generation of a login, wherever there is a copy: in a store, in a snapshot, among
    /// the sealed logins.
    pub(super) fn find_login(
        &self,
        fleet: &Fleet,
        opened: &Opened<'_>,
        (id, sealed, raw): (&ProfileId, &Credential, &Zeroizing<String>),
        wanted: Fingerprint,
    ) -> Option<Zeroizing<String>> {
        let in_document = |document: &Document| {
            let mut profiles = document.profiles();
            let (id, _) = profiles.find(|(_, credential)| credential.generation() == Some(wanted))?;
            document.raw(&id)
        };
        let contents = fleet.own().filter_map(|store| store.content.as_ref().ok());
        if let Some(found) = contents.map(|content| &content.document).find_map(in_document) {
            return Some(found);
        }
        let vault = self.vault_of(fleet);
        let list = vault.list().ok()?;
        let with_it = list
            .snapshots
            .iter()
            .filter(|entry| entry.generations.contains(&wanted));
        for entry in with_it {
            let Ok(other) = open_snapshot(&vault.path_of(entry), opened.key) else {
                continue;
            };
            let stores = stores_in(fleet, &other);
            let found = stores.iter().map(|store| &store.document).find_map(in_document);
            let found = found.or_else(|| with_tokens(raw, other.files.get(UNPLACED)?));
            if found.is_some() {
                return found;
            }
        }
        let logins = self.sealed_logins(fleet).ok()?;
        let provider = &sealed.common()?.provider_text;
        let copies = logins.logins.of_profile(id, provider);
        copies.iter().find_map(|digest| {
            let login = logins.logins.open_login(digest, opened.key).ok()?;
            let value = json::parse(login.credential.as_bytes()).ok()?;
            (Credential::read(&value).generation() == Some(wanted)).then_some(login.credential)
        })
    }
}

/// What becomes of a profile where OpenClaw alone stores accounts.
pub(super) fn judge_managed(
    now: &Document,
    id: &ProfileId,
    sealed: &Credential,
    raw: Zeroizing<String>,
    at: Timestamp,
) -> (PutBackVerdict, String, Option<Zeroizing<String>>) {
    let refused = |text: String| (PutBackVerdict::Refused, text, None);
    match now.credential(id) {
        Some(current)
            if current
                .fence()
                .is_some_and(|fence| fence.kind == FenceKind::Failed) =>
        {
            refused(say!("OpenClaw dropped it: `kalit restore {id}` puts it back", id))
        }
        Some(_) => (PutBackVerdict::Kept, say!("it stands there and stays"), None),
        None if sealed.expiry().at().is_some_and(|end| end <= at) => refused(say!("it has ended")),
        None => match sealed {
            Credential::ApiKey(_) | Credential::Token(_) if sealed.generation().is_some() => (
                PutBackVerdict::PutBack,
                say!("OpenClaw is asked to store it again"),
                Some(raw),
            ),
            Credential::ApiKey(_) | Credential::Token(_) | Credential::Oauth(_) | Credential::Unknown(_) => {
                refused(say!(
                    "OpenClaw 2026.6.5 or later stores logins itself: sign in again"
                ))
            }
        },
    }
}

/// A credential with tokens that found no place in any store.
pub(super) fn with_tokens(raw: &str, tokens: &[u8]) -> Option<Zeroizing<String>> {
    let mut credential = json::parse(raw.as_bytes()).ok()?;
    let Value::Object(tokens) = json::parse(tokens).ok()? else {
        return None;
    };
    let entry = credential.as_object_mut()?;
    for (name, value) in tokens.into_iter().filter(|(_, value)| !value.is_null()) {
        entry.insert(name, value);
    }
    Some(Zeroizing::new(credential.to_string()))
}
