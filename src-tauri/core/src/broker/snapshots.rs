//! The sealed snapshots as people use them: what there is, what putting one back would do now, and
//! doing it. A person asks and has read the preview. A login that is known to be spent or refused
//! never comes back, what stands in a store and is no older stays, and whatever is replaced was
//! sealed before.

mod verdicts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use verdicts::Judged;

use super::sealing::{BROKEN, CELL, broken, is_replaceable};
use super::{
    About, Broker, Inner, PasteKind, PasteRequest, PutBackVerdict, SnapshotChoice, SnapshotInfo,
    SnapshotPreview, SnapshotProfile, SnapshotRestored, SnapshotRestoredProfile, SnapshotStore, blocking,
    notice_of,
};
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::Era;
use crate::language;
use crate::refresh::{Fleet, FleetStore};
use crate::secret::Fingerprint;
use crate::store::agent_store::{PROFILES_FILE, STATE_FILE};
use crate::store::{AuthState, Credential, Document, StateEdit, StoreContent};
use crate::vault::snapshots::{OpenSnapshot, SnapshotEntry, id_of, made_at, open_snapshot};
use crate::vault::{SealKey, Snapshots, installation_dir, keychain};
use crate::view::RestoreView;

/// Told before a login that renews is put back.
const WARNING: &str = template!(
    "If a login was renewed after this copy was made and Kalit did not see it, the provider takes the old one for misuse: then sign in again."
);
/// What tokens are called in a snapshot that found no place in any store.
const UNPLACED: &str = "unplaced-tokens.json";

impl Broker {
    /// The snapshots of the installation, the newest first. Needs no key. Blocks.
    ///
    /// # Errors
    /// `vault.unreadable`, and those of reading the installation.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let inner = &self.inner;
        let fleet = inner.fleet()?;
        let list = inner.vault_of(&fleet).list()?;
        let held = held(&fleet);
        let listed = list.snapshots.iter().map(|entry| SnapshotInfo {
            id: entry.id(),
            at: Some(entry.at),
            reason: Some(entry.reason.clone()),
            agents: entry.agents.clone(),
            profiles: entry.profiles,
            missing: entry
                .generations
                .iter()
                .filter(|generation| !held.contains(generation) && inner.may_come_back(**generation))
                .count(),
        });
        let unlisted = list.unlisted.iter().map(|path| SnapshotInfo {
            id: id_of(path),
            at: made_at(path),
            reason: None,
            agents: Vec::new(),
            profiles: 0,
            missing: 0,
        });
        Ok(listed.chain(unlisted).collect())
    }

    /// What a snapshot holds, and what putting it back would do now. Changes nothing.
    ///
    /// # Errors
    /// `snapshot.unknown`; `agent.unknown`, `profile.unknown` for what the snapshot does not hold;
    /// `keychain.unavailable` and `vault.unreadable` without the key of the sealed copies.
    pub async fn snapshot_preview(&self, choice: SnapshotChoice) -> Result<SnapshotPreview> {
        let key = self.key_for(&choice).await?;
        let inner = self.inner.clone();
        blocking(move || {
            let fleet = inner.fleet()?;
            let opened = inner.open_choice(&fleet, &choice, &key)?;
            Ok(inner.preview_of(&fleet, &opened, &choice))
        })
        .await
    }

    /// Puts back what was chosen of a snapshot. To be called when a person has read the preview and
    /// consents.
    ///
    /// # Errors
    /// Those of [`Broker::snapshot_preview`]; `snapshot.superseded` for a profile whose login is spent
    /// or refused; `restore.not_needed`; `store.unparsable` for one profile of a store that cannot be
    /// read; `era.sqlite` for what OpenClaw alone may store; `store.changed`; those of writing a store.
    pub async fn restore_snapshot(&self, choice: SnapshotChoice) -> Result<SnapshotRestored> {
        let key = self.key_for(&choice).await?;
        if self.inner.openclaw_writes()? {
            let (inner, wanted) = (self.inner.clone(), choice.clone());
            let request = blocking(move || inner.paste_of(&wanted, &key)).await?;
            let stored = self.paste_secret(request).await?;
            return Ok(SnapshotRestored {
                id: choice.id,
                restored: vec![SnapshotRestoredProfile {
                    agent: stored.agent,
                    profile_id: stored.profile_id,
                }],
                notes: stored.notes,
            });
        }
        let inner = self.inner.clone();
        blocking(move || inner.put_back_snapshot(&choice, &key)).await
    }

    /// Before anything is sealed there is no key: that there is no such snapshot comes first.
    async fn key_for(&self, choice: &SnapshotChoice) -> Result<SealKey> {
        let (inner, id) = (self.inner.clone(), choice.id.clone());
        blocking(move || inner.vault_of(&inner.fleet()?).find(&id)).await?;
        keychain::read_key(&self.inner.environment.data_dir()).await
    }
}

/// An opened snapshot.
struct Opened<'k> {
    id: String,
    snapshot: OpenSnapshot,
    stores: Vec<SealedStore>,
    key: &'k SealKey,
}

/// One agent's store in a snapshot.
struct SealedStore {
    agent_dir: PathBuf,
    agent: AgentId,
    document: Document,
    state: AuthState,
}

impl Inner {
    /// What offers to put back a profile that vanished with this secret.
    pub(super) fn profile_offer(
        &self,
        fleet: &Fleet,
        generation: Option<Fingerprint>,
    ) -> Option<RestoreView> {
        let generation = generation.filter(|_| writes_itself(fleet))?;
        if !self.may_come_back(generation) {
            return None;
        }
        let list = self.vault_of(fleet).list().ok()?;
        let entry = list
            .snapshots
            .iter()
            .find(|entry| entry.generations.contains(&generation))?;
        Some(offer(
            entry,
            say!("Kalit holds a sealed copy of it: Restore puts it back."),
        ))
    }

    /// What offers to put back the accounts of an agent whose store cannot be read.
    pub(super) fn store_offer(&self, fleet: &Fleet, agent: &AgentId, error: &Error) -> Option<RestoreView> {
        if !writes_itself(fleet) || !is_replaceable(error) {
            return None;
        }
        let list = self.vault_of(fleet).list().ok()?;
        let entry = list.snapshots.iter().find(|entry| entry.agents.contains(agent))?;
        Some(offer(
            entry,
            say!("Kalit holds a sealed copy of its accounts: Restore puts them back."),
        ))
    }

    /// Whether a generation may be used again: it is neither spent nor refused.
    fn may_come_back(&self, generation: Fingerprint) -> bool {
        let known = self.generations().find(generation);
        known.is_ok_and(|known| {
            known.is_none_or(|known| known.superseded_by.is_none() && known.refusal.is_none())
        })
    }

    pub(super) fn vault_of(&self, fleet: &Fleet) -> Snapshots {
        let state_dir = fleet.current().state_dir.canonical();
        Snapshots::open(&installation_dir(&self.environment.data_dir(), &state_dir))
    }

    fn open_choice<'k>(
        &self,
        fleet: &Fleet,
        choice: &SnapshotChoice,
        key: &'k SealKey,
    ) -> Result<Opened<'k>> {
        if let Era::Mixed { .. } = fleet.current().era {
            return Err(fleet.current().mixed());
        }
        let path = self.vault_of(fleet).find(&choice.id)?;
        let snapshot = open_snapshot(&path, key)?;
        let mut stores = stores_in(fleet, &snapshot);
        if let Some(agent) = &choice.agent {
            stores.retain(|store| store.agent == *agent);
            if stores.is_empty() {
                let what = say!("the snapshot holds nothing of agent {agent}", agent);
                return Err(Error::new(ErrorCode::AgentUnknown, what));
            }
        }
        if let Some(id) = &choice.profile_id {
            stores.retain(|store| store.document.contains(id));
            if stores.is_empty() {
                let what = say!("the snapshot holds no profile {id}", id);
                return Err(Error::new(ErrorCode::ProfileUnknown, what));
            }
        }
        Ok(Opened {
            id: choice.id.clone(),
            snapshot,
            stores,
            key,
        })
    }

    fn preview_of(&self, fleet: &Fleet, opened: &Opened<'_>, choice: &SnapshotChoice) -> SnapshotPreview {
        let mut notes = Vec::new();
        let mut offered = false;
        let mut renews = false;
        let stores = opened.stores.iter().map(|sealed| {
            let now = fleet.store_of(&sealed.agent_dir);
            let problem = now.and_then(|now| now.content.as_ref().err());
            let judged = self.judge_store(fleet, opened, sealed, choice);
            let comes = |judged: &&Judged| judged.credential.is_some();
            offered |= judged.iter().any(|judged| comes(&judged)) || is_mendable(fleet, sealed);
            renews |= judged
                .iter()
                .filter(comes)
                .any(|judged| judged.sealed.as_oauth().is_some());
            if problem.is_some() {
                notes.push(say!("The account file of {agent} cannot be read: its bytes are sealed, then it is replaced. What can still be read of it stays.", agent = sealed.agent));
            }
            let document = document_now(fleet, sealed);
            SnapshotStore {
                agent: sealed.agent.clone(),
                path: path_of(fleet, sealed),
                problem: problem.map(notice_of),
                orders: match (&choice.profile_id, now) {
                    (None, Some(now)) => orders(sealed, &judged, &document, &state_now(now))
                        .into_iter()
                        .map(|(provider, _)| provider)
                        .collect(),
                    _ => Vec::new(),
                },
                profiles: judged.into_iter().map(view_of).collect(),
            }
        });
        let stores = stores.collect();
        if renews {
            notes.push(language::fixed(WARNING));
        }
        SnapshotPreview {
            id: opened.id.clone(),
            at: opened.snapshot.at,
            reason: opened.snapshot.reason.clone(),
            stores,
            offered,
            notes,
        }
    }

    /// The writes, one store after the other.
    fn put_back_snapshot(&self, choice: &SnapshotChoice, key: &SealKey) -> Result<SnapshotRestored> {
        let fleet = self.fleet()?;
        fleet.current().ensure_json_era()?;
        let opened = self.open_choice(&fleet, choice, key)?;
        refuse_nothing(&self.preview_of(&fleet, &opened, choice), choice)?;
        let mut done = SnapshotRestored {
            id: choice.id.clone(),
            restored: Vec::new(),
            notes: Vec::new(),
        };
        for sealed in &opened.stores {
            self.put_back_store(&opened, sealed, choice, &mut done)?;
        }
        self.seal("restored");
        Ok(done)
    }

    /// Puts back what is chosen of one store, under its lock. What stands there was sealed before.
    fn put_back_store(
        &self,
        opened: &Opened<'_>,
        sealed: &SealedStore,
        choice: &SnapshotChoice,
        done: &mut SnapshotRestored,
    ) -> Result<()> {
        let fleet = self.fleet()?;
        let comes = |fleet: &Fleet| {
            let mut judged = self.judge_store(fleet, opened, sealed, choice);
            judged.retain(|judged| judged.credential.is_some());
            judged
        };
        if comes(&fleet).is_empty() && !is_mendable(&fleet, sealed) {
            return Ok(());
        }
        let files = broken(&fleet);
        self.seal_all(&fleet, &files, "before-restore")?;
        let store = fleet.current().store(&sealed.agent_dir);
        store.create_dir()?;
        let lock = self.lock(&sealed.agent_dir)?;
        let fleet = self.fleet()?;
        fleet.current().ensure_json_era()?;
        let judged = comes(&fleet);
        let before = document_now(&fleet, sealed);
        let edit = |document: &mut Document, state: &mut StateEdit| {
            for judged in &judged {
                if document.raw(&judged.id) != before.raw(&judged.id) {
                    let what = say!("{id} changed while it was looked at", id = judged.id);
                    return Err(Error::new(ErrorCode::StoreChanged, what));
                }
                let credential = judged.credential.as_ref().map_or("", |text| text.as_str());
                document.put_back(&judged.id, credential)?;
            }
            if choice.profile_id.is_none() {
                for (provider, ids) in orders(sealed, &judged, document, state.before()) {
                    state.set_order(&provider, &ids);
                }
            }
            Ok(())
        };
        match files.iter().find(|file| file.agent_dir == sealed.agent_dir) {
            Some(file) => {
                store.repair(&lock, &file.bytes, edit)?;
                let note = say!(
                    "The account file of {agent} can be read again.",
                    agent = sealed.agent
                );
                done.notes.push(note);
            }
            None => {
                store.update(&lock, edit)?;
            }
        }
        drop(lock);
        let _ = self.marks.clear_unreadable(&sealed.agent_dir);
        for judged in judged {
            let _ = self.marks.clear_gone(&sealed.agent_dir, &judged.id);
            self.emit(
                EventKind::Restored,
                About {
                    installation: &fleet.current().state_dir.canonical().display().to_string(),
                    agent: Some(&sealed.agent),
                    profile_id: Some(&judged.id),
                    snapshot: Some(&opened.id),
                    cause: Some("snapshot"),
                    ..About::default()
                },
                format!("{}: it was put back from a snapshot", judged.id.account_name()),
            );
            done.restored.push(SnapshotRestoredProfile {
                agent: sealed.agent.clone(),
                profile_id: judged.id,
            });
        }
        Ok(())
    }

    /// A static token or key of a snapshot as something to be pasted: in the sqlite era OpenClaw
    /// alone stores accounts.
    fn paste_of(&self, choice: &SnapshotChoice, key: &SealKey) -> Result<PasteRequest> {
        let fleet = self.fleet()?;
        let opened = self.open_choice(&fleet, choice, key)?;
        if choice.profile_id.is_none() {
            let what = say!(
                "OpenClaw 2026.6.5 or later keeps its accounts itself: only one at a time can be put back"
            );
            return Err(Error::new(ErrorCode::EraSqlite, what).with_hint(say!(
                "Name a token or a key with --profile-id; sign in again for a login."
            )));
        }
        let managed = || {
            let what = say!("OpenClaw 2026.6.5 or later stores logins itself: this one cannot be put back");
            Error::new(ErrorCode::EraSqlite, what).with_hint(say!("Sign in again."))
        };
        let sealed = opened.stores.first().ok_or_else(managed)?;
        let mut judged = self.judge_store(&fleet, &opened, sealed, choice);
        let judged = judged.pop().ok_or_else(managed)?;
        match judged.verdict {
            PutBackVerdict::PutBack | PutBackVerdict::NewestInstead => {}
            PutBackVerdict::Kept => {
                let what = format!("{}: {}", judged.id, judged.text);
                return Err(Error::new(ErrorCode::RestoreNotNeeded, what));
            }
            PutBackVerdict::Refused => {
                let what = format!("{}: {}", judged.id, judged.text);
                return Err(Error::new(ErrorCode::EraSqlite, what).with_hint(say!("Nothing was changed.")));
            }
        }
        let (kind, secret) = match &judged.sealed {
            Credential::ApiKey(api_key) => (PasteKind::ApiKey, api_key.key.clone()),
            Credential::Token(token) => (PasteKind::Token, token.token.clone()),
            Credential::Oauth(_) | Credential::Unknown(_) => return Err(managed()),
        };
        let left = judged.sealed.expiry().at().map(|at| at.millis_since(self.now()));
        Ok(PasteRequest {
            agent: sealed.agent.clone(),
            provider: judged.sealed.provider().cloned().ok_or_else(managed)?,
            profile_id: Some(judged.id),
            kind,
            secret: secret.ok_or_else(managed)?,
            expires_in: left.map(|left| Duration::from_millis(left.max(0).unsigned_abs())),
        })
    }
}

/// `text`, and after it `more`.
fn also(text: String, more: String) -> String {
    if text.is_empty() {
        more
    } else {
        format!("{text}; {more}")
    }
}

/// Whether Kalit writes the stores itself.
fn writes_itself(fleet: &Fleet) -> bool {
    matches!(fleet.current().era, Era::Json | Era::Empty)
}

fn offer(entry: &SnapshotEntry, text: String) -> RestoreView {
    RestoreView {
        offered: true,
        text,
        sealed_at: Some(entry.at),
        snapshot: Some(entry.id()),
    }
}

/// The secrets that the stores of the installation hold now.
fn held(fleet: &Fleet) -> BTreeSet<Fingerprint> {
    let contents = fleet.own().filter_map(|store| store.content.as_ref().ok());
    let all = contents.flat_map(|content| content.document.profiles());
    all.filter_map(|(_, credential)| credential.generation())
        .collect()
}

/// The stores in a snapshot that hold anything, of agents that are known now.
fn stores_in(fleet: &Fleet, snapshot: &OpenSnapshot) -> Vec<SealedStore> {
    let state_dir = fleet.current().state_dir.canonical();
    let stores = snapshot.files.iter().filter_map(|(name, bytes)| {
        let path = state_dir.join(name);
        let name = path.file_name()?.to_str()?;
        let agent_dir = path.parent()?.to_owned();
        let is_store = name == PROFILES_FILE || name.ends_with(CELL);
        let (document, state) = if is_store {
            let file = agent_dir.join(STATE_FILE);
            let file = file
                .strip_prefix(&state_dir)
                .unwrap_or(&file)
                .display()
                .to_string();
            let state = snapshot.files.get(&file).map(|bytes| bytes.as_slice());
            let content = StoreContent::of_cells(Some(bytes), state, None).ok()?;
            (content.document, content.state)
        } else if name.strip_suffix(BROKEN) == Some(PROFILES_FILE) {
            let document = Document::recovered(bytes)?;
            let state = document.state();
            (document, state)
        } else {
            return None;
        };
        let known = fleet.store_of(&agent_dir)?;
        document.profiles().next()?;
        Some(SealedStore {
            agent_dir: known.agent_dir.clone(),
            agent: known.agent.clone(),
            document,
            state,
        })
    });
    stores.collect()
}

/// What stands in a store now, as far as it can be read.
fn document_now(fleet: &Fleet, sealed: &SealedStore) -> Document {
    let now = fleet.store_of(&sealed.agent_dir);
    match now.map(|now| &now.content) {
        Some(Ok(content)) => content.document.clone(),
        Some(Err(_)) => recovered(fleet, sealed).unwrap_or_else(Document::empty),
        None => Document::empty(),
    }
}

/// What can still be read of a store's file that does not parse.
fn recovered(fleet: &Fleet, sealed: &SealedStore) -> Option<Document> {
    let mut files = broken(fleet).into_iter();
    let file = files.find(|file| file.agent_dir == sealed.agent_dir)?;
    Document::recovered(&file.bytes)
}

/// Whether the store's file does not parse and writing what can be read of it mends it.
fn is_mendable(fleet: &Fleet, sealed: &SealedStore) -> bool {
    let now = fleet.store_of(&sealed.agent_dir);
    now.is_some_and(|now| now.content.is_err()) && recovered(fleet, sealed).is_some()
}

fn state_now(store: &FleetStore) -> AuthState {
    let content = store.content.as_ref();
    content.map_or_else(|_| AuthState::default(), |content| content.state.clone())
}

fn path_of(fleet: &Fleet, sealed: &SealedStore) -> String {
    let store = fleet.current().store(&sealed.agent_dir);
    let path: &Path = &if writes_itself(fleet) {
        store.profiles_path()
    } else {
        sealed.agent_dir.clone()
    };
    path.display().to_string()
}

/// The orders that come back with the profiles: where there is none now the one of the snapshot,
/// else what came back at the end of the one in force.
fn orders(
    sealed: &SealedStore,
    judged: &[Judged],
    document: &Document,
    now: &AuthState,
) -> Vec<(ProviderId, Vec<ProfileId>)> {
    let comes = |id: &ProfileId| {
        let mut judged = judged.iter();
        judged.any(|judged| judged.id == *id && judged.credential.is_some())
    };
    let changed = sealed.state.order.iter().filter_map(|(provider, order)| {
        let mut ids = now.order.get(provider).cloned().unwrap_or_default();
        let is_new = ids.is_empty();
        let more = order.iter().filter(|id| {
            let there = comes(id) || (is_new && document.contains(id));
            there && !now.order.get(provider).is_some_and(|ids| ids.contains(id))
        });
        let more: Vec<ProfileId> = more.cloned().collect();
        if more.iter().all(|id| !comes(id)) {
            return None;
        }
        ids.extend(more);
        Some((provider.clone(), ids))
    });
    changed.collect()
}

/// A choice that puts nothing back is an error that says why.
fn refuse_nothing(preview: &SnapshotPreview, choice: &SnapshotChoice) -> Result<()> {
    let unreadable = preview.stores.iter().find_map(|store| store.problem.as_ref());
    if let (Some(problem), Some(id)) = (unreadable, &choice.profile_id) {
        let what = format!(
            "{}: {}",
            problem.message,
            say!("{id} cannot be put back alone", id)
        );
        return Err(Error::new(ErrorCode::StoreUnparsable, what)
            .with_hint(say!("Put back the whole store: leave out --profile-id.")));
    }
    if preview.offered {
        return Ok(());
    }
    let mut profiles = preview.stores.iter().flat_map(|store| &store.profiles);
    match profiles.find(|profile| profile.verdict == PutBackVerdict::Refused) {
        Some(refused) => {
            let what = format!("{}: {}", refused.profile_id, refused.text);
            Err(Error::new(ErrorCode::SnapshotSuperseded, what))
        }
        None => Err(Error::new(
            ErrorCode::RestoreNotNeeded,
            say!("the stores hold everything that can be put back of this snapshot"),
        )),
    }
}

fn view_of(judged: Judged) -> SnapshotProfile {
    SnapshotProfile {
        profile_id: judged.id,
        provider: judged.sealed.provider().cloned(),
        kind: judged.sealed.kind(),
        generation: judged.sealed.generation().map(|generation| generation.short()),
        expires_at: judged.sealed.expiry().at(),
        verdict: judged.verdict,
        text: judged.text,
    }
}

#[cfg(all(test, unix))]
mod tests;
