//! Bringing an answer into every store that needs it, by what is on disk there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::history::Generations;
use crate::install::canonical;
use crate::oauth::{Claims, Identity, Provider, Providers, Sameness, TokenAnswer};
use crate::secret::{Fingerprint, Secret};
use crate::store::agent_store::AgentStore;
use crate::store::credential::{Credential, NewTokens, Oauth, RefreshedFields};
use crate::store::lock::StoreLock;
use crate::vault::journal::{Entry, EntryHolder, Question};
use crate::vault::snapshots::Content;
use crate::vault::{Journal, Sealer, Snapshots, installation_dir};

use super::fleet::Fleet;
use super::holders::Holder;
use super::rotation::{Inner, Refresher};

crate::keeps_raw_secret!(Answer);

/// One try of a holder's lock.
const TRY_LOCK: Duration = Duration::from_secs(1);
/// After this the journal keeps the answer until the next start.
pub(super) const ALL_HOLDERS: Duration = Duration::from_secs(60);
/// The same for an answer out of the journal: what cannot be written now is tried again later.
const REPLAYED_HOLDERS: Duration = Duration::from_secs(2);

/// An answer with what is needed to place it.
pub(super) struct Answer {
    sent: Fingerprint,
    pub(super) generation: Fingerprint,
    tokens: NewTokens,
    identity: Identity,
    provider: Provider,
    pub(super) lifetime_ms: Option<i64>,
}

impl Answer {
    pub(super) fn new(provider: &Provider, sent: Fingerprint, answer: &TokenAnswer, at: Timestamp) -> Self {
        let claims = Claims::of_tokens(provider.claims(), &answer.access, answer.id_token.as_ref());
        let tokens = new_tokens(answer, &claims, at);
        Self {
            sent,
            generation: answer.refresh.as_ref().map_or(sent, Secret::fingerprint),
            identity: Identity::of(provider, &claims),
            lifetime_ms: claims
                .lifetime_ms()
                .or_else(|| answer.expires_in.map(|seconds| seconds.saturating_mul(1000))),
            tokens,
            provider: provider.clone(),
        }
    }
}

impl Answer {
    /// Tokens that were found, in place of `sent`.
    pub(super) fn found(
        provider: &Provider,
        sent: Fingerprint,
        generation: Fingerprint,
        tokens: NewTokens,
        claims: &Claims,
    ) -> Self {
        Self {
            sent,
            generation,
            identity: Identity::of(provider, claims).with_stored_account(tokens.account_id.as_deref()),
            lifetime_ms: claims.lifetime_ms(),
            tokens,
            provider: provider.clone(),
        }
    }

    pub(super) fn into_tokens(self) -> NewTokens {
        self.tokens
    }
}

/// An answer as a store keeps it.
pub fn new_tokens(answer: &TokenAnswer, claims: &Claims, at: Timestamp) -> NewTokens {
    NewTokens {
        access: answer.access.clone(),
        refresh: answer.refresh.clone(),
        expires: answer.expires_at(at, claims),
        id_token: answer.id_token.clone(),
        account_id: claims.account_id.clone(),
        plan: claims.plan.clone(),
        email: claims.email.clone(),
    }
}

/// How long stores that cannot be written now are tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    /// The answer is safe: for a disk that fails nobody has to wait.
    pub(super) is_journalled: bool,
}

impl Patience {
    fn is_over(self, started: Instant, error: &Error) -> bool {
        let of_the_disk = matches!(
            error.code(),
            ErrorCode::StoreWriteFailed | ErrorCode::LockFailed | ErrorCode::VaultFailed
        );
        (self.is_journalled && of_the_disk) || started.elapsed() > self.limit
    }
}

/// Writes the answer into all holders, `held` locks first, the others one by one as they become
/// free; then looks for copies that appeared meanwhile.
pub(super) fn into_all(
    inner: &Inner,
    answer: &Answer,
    holders: &[Holder],
    held: Vec<StoreLock>,
    patience: Patience,
) -> Result<Vec<Holder>> {
    let mut left_alone = Vec::new();
    let mut waiting: Vec<Holder> = Vec::new();
    for holder in holders {
        let place = canonical(&holder.agent_dir);
        let placed = match held.iter().find(|lock| lock.agent_dir() == place) {
            Some(lock) => into_one(inner, answer, holder, lock).ok(),
            None => None,
        };
        match placed {
            Some(Placed::There) => {}
            Some(Placed::LeftAlone) => left_alone.push(holder.clone()),
            None => waiting.push(holder.clone()),
        }
    }
    drop(held);
    let started = Instant::now();
    loop {
        let mut last_error = Error::new(ErrorCode::StoreChanged, say!("the old login keeps coming back"));
        waiting.retain(|holder| match locked_into_one(inner, answer, holder) {
            Ok(placed) => {
                if placed == Placed::LeftAlone {
                    left_alone.push(holder.clone());
                }
                false
            }
            Err(error) => {
                last_error = error;
                true
            }
        });
        if waiting.is_empty() {
            let late: Vec<Holder> = match inner.fleet() {
                Ok(fleet) if answer.generation != answer.sent => {
                    let mut late = fleet.holders(answer.sent).stores;
                    late.retain(|holder| {
                        let moved = inner.has_moved(&fleet, &holder.state_dir, &holder.agent_dir);
                        !left_alone.contains(holder) && !matches!(moved, Ok(true))
                    });
                    late
                }
                _ => Vec::new(),
            };
            if late.is_empty() {
                return Ok(left_alone);
            }
            waiting = late;
        }
        if patience.is_over(started, &last_error) {
            return Err(last_error);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What became of an answer in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placed {
    /// Written, or there already.
    There,
    /// The store holds something else that must stay: the answer is to be sealed.
    LeftAlone,
}

fn locked_into_one(inner: &Inner, answer: &Answer, holder: &Holder) -> Result<Placed> {
    let lock = StoreLock::acquire(&holder.agent_dir, &inner.locks, TRY_LOCK)?;
    into_one(inner, answer, holder, &lock)
}

fn into_one(inner: &Inner, answer: &Answer, holder: &Holder, lock: &StoreLock) -> Result<Placed> {
    let fleet = inner.fleet()?;
    inner.ensure_writable(&fleet, &holder.state_dir)?;
    let store = match fleet.installation(&holder.state_dir) {
        Some(installation) => installation.store(&holder.agent_dir),
        None => AgentStore::new(&holder.agent_dir),
    };
    let fields = match fleet.installation(&holder.state_dir) {
        Some(installation) if installation.rules().writes_whitelist => RefreshedFields::All,
        _ => RefreshedFields::Stored,
    };
    let (placed, _) = store.update(lock, |document, _state| {
        let Some(Credential::Oauth(oauth)) = document.credential(&holder.profile_id) else {
            return Ok(Placed::LeftAlone);
        };
        if oauth.refresh.as_ref().map(Secret::fingerprint) == Some(answer.generation)
            && answer.generation != answer.sent
        {
            return Ok(Placed::There);
        }
        if !inner.takes(answer, &oauth)? {
            return Ok(Placed::LeftAlone);
        }
        document.replace_tokens(&holder.profile_id, &answer.tokens, fields)?;
        Ok(Placed::There)
    })?;
    Ok(placed)
}

impl Inner {
    /// Whether OpenClaw has taken a store into a database, which Kalit does not write.
    fn has_moved(&self, fleet: &Fleet, state_dir: &Path, agent_dir: &Path) -> Result<bool> {
        let writable = self.ensure_writable(fleet, state_dir);
        match writable.and_then(|()| AgentStore::new(agent_dir).check_era()) {
            Ok(()) => Ok(false),
            Err(error) if matches!(error.code(), ErrorCode::EraSqlite | ErrorCode::EraMixed) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the answer replaces what is on disk: the generation sent, or one that is known to have
    /// led to it. Anything else stays, and ours is sealed. So does everything when a later
    /// answer took this one's place meanwhile: writing it would end the login.
    fn takes(&self, answer: &Answer, oauth: &Oauth) -> Result<bool> {
        let known = self.generations.find(answer.generation)?;
        if known.is_some_and(|known| known.superseded_by.is_some() || known.refusal.is_some()) {
            return Ok(false);
        }
        let Some(on_disk) = oauth.refresh.as_ref().map(Secret::fingerprint) else {
            return Ok(false);
        };
        if on_disk == answer.generation && on_disk == answer.sent {
            // A provider that keeps the refresh token: the later access token stays.
            let later = |at: Timestamp| oauth.expires.at().is_none_or(|stored| at > stored);
            return Ok(later(answer.tokens.expires));
        }
        if on_disk == answer.sent {
            return Ok(true);
        }
        if on_disk == answer.generation || oauth.has_oauth_ref {
            return Ok(false);
        }
        let older = self.generations.leads_to(on_disk, answer.generation)?;
        Ok(older && self.same_person(answer, oauth))
    }

    /// Keeps an answer that some store did not take, sealed: nothing is thrown away.
    pub(super) fn seal_unplaced(&self, answer: &Answer, canonical_state_dir: &Path) -> Result<()> {
        seal_tokens(
            &self.data_dir,
            canonical_state_dir,
            &self.generations,
            &answer.tokens,
            self.clock.now(),
            "answer-not-placed",
        )
    }

    fn same_person(&self, answer: &Answer, oauth: &Oauth) -> bool {
        let Some(access) = &oauth.access else { return true };
        let claims = Claims::of_tokens(answer.provider.claims(), access, oauth.id_token.as_ref());
        let theirs = Identity::of(&answer.provider, &claims).with_stored_account(oauth.account_id.as_deref());
        answer.identity.compare(&theirs) != Sameness::Different
    }
}

/// Seals tokens that no store took, as a snapshot of their own.
pub fn seal_tokens(
    data_dir: &Path,
    canonical_state_dir: &Path,
    generations: &Generations,
    tokens: &NewTokens,
    at: Timestamp,
    reason: &str,
) -> Result<()> {
    let text = serde_json::json!({
        "access": tokens.access.expose(),
        "refresh": tokens.refresh.as_ref().map(Secret::expose),
        "expires": tokens.expires,
        "idToken": tokens.id_token.as_ref().map(Secret::expose),
        "accountId": tokens.account_id,
        "email": tokens.email,
    });
    let bytes = Zeroizing::new(text.to_string().into_bytes());
    let generation = tokens.refresh.as_ref().unwrap_or(&tokens.access).fingerprint();
    Snapshots::open(&installation_dir(data_dir, canonical_state_dir)).seal(
        &Sealer::open(data_dir)?,
        generations,
        &Content {
            at,
            reason,
            credentials: generation,
            generations: &[generation],
            agents: &[],
            profiles: 0,
            files: &[("unplaced-tokens.json".to_owned(), bytes)],
        },
    )?;
    Ok(())
}

/// Merges what a crash left in the journals of this machine's installations; entries whose stores
/// are all written are removed. Returns the stores that were brought up to date; the first error
/// does not keep the other entries waiting.
pub fn replay(refresher: &Refresher) -> Result<Vec<PathBuf>> {
    replay_some(refresher.inner(), None)
}

/// Whether a journal of this user, or this process's memory, holds an answer. Only lists directories.
pub fn answers_wait(refresher: &Refresher) -> bool {
    if !refresher.inner().unwritten().is_empty() {
        return true;
    }
    let Ok(installations) = std::fs::read_dir(refresher.inner().data_dir.join("installations")) else {
        return false;
    };
    installations.flatten().any(|installation| {
        std::fs::read_dir(installation.path().join("journal")).is_ok_and(|journal| {
            journal.flatten().any(|file| {
                file.path()
                    .extension()
                    .is_some_and(|extension| extension == "json")
            })
        })
    })
}

/// Merges what a crash left in a journal and concerns a generation that is to be sent: the answer to
/// it, which must not be asked for again, and the answer that brought it, for which other stores
/// may still wait.
pub(super) fn replay_answer(inner: &Inner, generation: Fingerprint) -> Result<()> {
    replay_some(inner, Some(generation)).map(|_| ())
}

/// Sign-ins wait for [`crate::broker`], which knows how they are stored.
fn replay_some(inner: &Inner, only: Option<Fingerprint>) -> Result<Vec<PathBuf>> {
    let fleet = inner.fleet()?;
    let (mut done, mut first_error) = (Vec::new(), None);
    inner.unwritten().retain(|entry| match entry.write() {
        Ok(()) => false,
        Err(error) => {
            first_error.get_or_insert(error);
            true
        }
    });
    for installation in &fleet.installations {
        let journal = Journal::open(&installation_dir(
            &inner.data_dir,
            &installation.state_dir.canonical(),
        ));
        let entries = match journal.entries() {
            Ok(entries) => entries.entries,
            Err(error) => {
                let here = |holder: &Holder| holder.state_dir == installation.state_dir.path;
                if only.is_none_or(|only| fleet.holders(only).stores.iter().any(here)) {
                    first_error.get_or_insert(error);
                }
                continue;
            }
        };
        for entry in entries {
            let Question::Refresh { sent, holders } = entry.question.clone() else {
                continue;
            };
            let brings = entry.received.generation();
            if only.is_some_and(|only| only != sent && only != brings) {
                continue;
            }
            match replay_entry(inner, &fleet, &journal, entry, sent, &holders) {
                Ok(stores) => done.extend(stores),
                // A store that cannot be written keeps no other one from being renewed; one that is
                // busy takes its answer soon.
                Err(error)
                    if only == Some(brings) && only != Some(sent) && error.code() != ErrorCode::LockBusy => {}
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    first_error.map_or(Ok(done), Err)
}

fn replay_entry(
    inner: &Inner,
    fleet: &Fleet,
    journal: &Journal,
    entry: Entry,
    sent: Fingerprint,
    places: &[EntryHolder],
) -> Result<Vec<PathBuf>> {
    let providers = Providers::load(&inner.environment)?;
    let first = places.first();
    let Some(provider) = first.and_then(|holder| providers.get(&holder.provider)) else {
        return Ok(Vec::new());
    };
    let tokens = TokenAnswer::from(&entry.received);
    let answer = Answer::new(provider, sent, &tokens, entry.at);
    inner
        .generations
        .record_rotation(sent, answer.generation, entry.at, answer.lifetime_ms)?;
    let mut holders = Vec::new();
    let (mut gone, mut lost_sight) = (false, false);
    for place in places {
        let Some(owner) = fleet.store_of(&place.agent_dir) else {
            match place.agent_dir.try_exists() {
                Ok(false) => gone = true,
                Ok(true) | Err(_) => lost_sight = true,
            }
            continue;
        };
        match inner.has_moved(fleet, &owner.state_dir, &place.agent_dir) {
            Ok(false) => holders.push(Holder {
                agent_dir: place.agent_dir.clone(),
                state_dir: owner.state_dir.clone(),
                agent: owner.agent.clone(),
                provider: place.provider.as_str().to_owned(),
                profile_id: place.profile_id.clone(),
            }),
            Ok(true) => gone = true,
            Err(_) => lost_sight = true,
        }
    }
    // A Kalit that is at it right now holds these; those of one that crashed are taken over.
    let _refresh_locks = inner.refresh_locks(fleet, &holders)?;
    let patience = Patience {
        limit: REPLAYED_HOLDERS,
        is_journalled: true,
    };
    let left_alone = into_all(inner, &answer, &holders, Vec::new(), patience)?;
    if lost_sight {
        return Err(Error::new(
            ErrorCode::StoreUnreadable,
            say!("a store that waits for an answer cannot be found now"),
        ));
    }
    if gone || !left_alone.is_empty() {
        inner.seal_unplaced(&answer, Path::new(&entry.installation))?;
    }
    journal.discharge(entry)?;
    Ok(holders.into_iter().map(|holder| holder.agent_dir).collect())
}

#[cfg(test)]
mod tests;
