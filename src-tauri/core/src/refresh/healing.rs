//! Healing: a generation that the provider refused for good gives way to a newer one of the same
//! login that lies elsewhere on this machine, if that it is newer is proven: the same account, an
//! access token that was issued later, and a recorded rotation or a file that was written later.
//! What is not proven is told and never written. Never from another program's file, never in place
//! of a generation that took the place of a refused one itself.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fleet::{Fleet, FleetStore};
use super::holders::Holder;
use super::merge::{self, Answer, Patience, new_tokens};
use super::rotation::{Attempt, Inner, Refresher};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::AgentId;
use crate::install::canonical;
use crate::oauth::classify::SIGNED_OUT_EVERYWHERE;
use crate::oauth::{Claims, Identity, Provider, Providers, Sameness, TokenAnswer};
use crate::secret::{Fingerprint, Secret};
use crate::store::credential::{Credential, NewTokens, Oauth};
use crate::store::{AgentStore, Document, json};
use crate::vault::journal::Question;
use crate::vault::{Journal, SealKey, SealedLogins, Snapshots, installation_dir, open_snapshot};

crate::keeps_secret!(Candidate, Found, Stale);

/// How long stores that appear meanwhile are tried.
const LATE_HOLDERS: Duration = Duration::from_secs(1);
/// After this the locks are said to be busy: the next look tries again.
const ALL_LOCKS: Duration = Duration::from_secs(10);
/// What the tokens of an answer are called in a snapshot that no store took.
const UNPLACED: &str = "unplaced-tokens.json";

/// Where a newer generation is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// The stores of the json era alone.
    Stores,
    /// The journals and what is sealed, too, as far as no keychain has to be asked.
    All,
}

/// What came of looking for a newer generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healing {
    /// Written into every store that held the refused one.
    Healed {
        generation: Fingerprint,
        holders: Vec<Holder>,
    },
    /// A person has to decide.
    Asks(Asks),
    Nothing,
}

/// Why nothing is written although there is something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// A later login of the same account, and nothing proves that it follows the refused one.
    Unproven {
        /// The agent in whose store it lies; `None`: in the journal or sealed.
        agent: Option<AgentId>,
        generation: Fingerprint,
    },
    /// There are later sealed copies, and their key is in the keychain.
    Locked,
}

/// A later login of the same account.
#[derive(Debug)]
struct Candidate {
    generation: Fingerprint,
    tokens: NewTokens,
    claims: Claims,
    issued_at: Timestamp,
    /// Where it lies; `None`: in the journal or sealed.
    agent: Option<AgentId>,
    is_proven: bool,
}

#[derive(Debug)]
enum Found {
    Proven(Box<Candidate>),
    Asks(Asks),
    Nothing,
}

/// The refused login as it stands in its store.
#[derive(Debug)]
struct Stale {
    oauth: Oauth,
    provider: Provider,
    identity: Identity,
    issued_at: Timestamp,
    written_at: Option<Timestamp>,
    /// The provider refused it; else it is only known to be spent.
    is_refused: bool,
    state_dir: PathBuf,
}

impl Refresher {
    /// Looks for a newer generation than the one `attempt` saw, which was refused or is spent, and
    /// writes it where that one stands if it is proven to be newer. Blocks.
    ///
    /// # Errors
    /// `lock.busy`, those of writing a store and of reading the vault: the store is as it was.
    pub fn heal(&self, attempt: &Attempt, sources: Sources) -> Result<Healing> {
        let started = Instant::now();
        loop {
            match self.inner().try_heal(attempt, sources) {
                Err(error)
                    if matches!(error.code(), ErrorCode::LockBusy | ErrorCode::StoreChanged)
                        && started.elapsed() < ALL_LOCKS =>
                {
                    std::thread::sleep(Duration::from_millis(200));
                }
                done => return done,
            }
        }
    }

    /// Whether [`Refresher::heal`] would write something, from what `fleet` holds.
    pub fn heals(&self, fleet: &Fleet, attempt: &Attempt, sources: Sources) -> bool {
        matches!(self.inner().look(fleet, attempt, sources), Ok(Found::Proven(_)))
    }

    /// What a person has to decide about a refused login, from the stores alone.
    pub fn asks(&self, fleet: &Fleet, attempt: &Attempt) -> Option<Asks> {
        match self.inner().look(fleet, attempt, Sources::Stores) {
            Ok(Found::Asks(asks)) => Some(asks),
            Ok(Found::Proven(_) | Found::Nothing) | Err(_) => None,
        }
    }
}

impl Inner {
    fn try_heal(&self, attempt: &Attempt, sources: Sources) -> Result<Healing> {
        let fleet = self.fleet()?;
        let generation = match self.look(&fleet, attempt, sources)? {
            Found::Proven(candidate) => candidate.generation,
            Found::Asks(asks) => return Ok(Healing::Asks(asks)),
            Found::Nothing => return Ok(Healing::Nothing),
        };
        // Whoever holds the newer one is kept from renewing it meanwhile.
        let holders = fleet.holders(attempt.seen).stores;
        let mut places = fleet.holders(generation).stores;
        places.extend(holders.iter().cloned());
        let (_refresh_locks, store_locks) = self.lock(&fleet, &places)?.into_parts();
        // Under the locks everything is read again: this is what decides.
        let fleet = self.fleet()?;
        let again = match self.look(&fleet, attempt, sources)? {
            Found::Proven(candidate) if candidate.generation == generation => candidate,
            Found::Proven(_) | Found::Asks(_) | Found::Nothing => {
                let what = say!("the login changed while a newer one was looked for");
                return Err(Error::new(ErrorCode::StoreChanged, what));
            }
        };
        if fleet.holders(attempt.seen).stores != holders {
            let what = say!("the holders of this login changed");
            return Err(Error::new(ErrorCode::StoreChanged, what));
        }
        let Some(stale) = self.stale(&fleet, attempt)? else {
            return Ok(Healing::Nothing);
        };
        self.generations.record_healed(generation, self.clock.now())?;
        let Candidate {
            tokens,
            claims,
            issued_at,
            ..
        } = *again;
        let answer = Answer::found(&stale.provider, attempt.seen, generation, tokens, &claims);
        self.generations
            .record_rotation(attempt.seen, generation, issued_at, answer.lifetime_ms)?;
        let patience = Patience {
            limit: LATE_HOLDERS,
            is_journalled: true,
        };
        merge::into_all(self, &answer, &holders, store_locks, patience)?;
        Ok(Healing::Healed { generation, holders })
    }

    /// Judges everything that may be a newer generation.
    fn look(&self, fleet: &Fleet, attempt: &Attempt, sources: Sources) -> Result<Found> {
        let Some(stale) = self.stale(fleet, attempt)? else {
            return Ok(Found::Nothing);
        };
        let mut candidates = self.in_stores(fleet, attempt, &stale)?;
        let mut locked = false;
        if stale.is_refused && sources == Sources::All {
            candidates.extend(self.in_journals(fleet, attempt, &stale)?);
            match SealKey::from_file(&self.data_dir)? {
                Some(key) => candidates.extend(self.in_seals(attempt, &stale, &key)?),
                None => locked = self.has_later_seals(attempt, &stale)?,
            }
        }
        // The latest decides: an older one that is proven may have been spent for it.
        candidates.sort_by_key(|candidate| (candidate.issued_at, candidate.is_proven));
        let Some(latest) = candidates.pop() else {
            return Ok(if locked {
                Found::Asks(Asks::Locked)
            } else {
                Found::Nothing
            });
        };
        let rivals =
            |other: &Candidate| other.issued_at == latest.issued_at && other.generation != latest.generation;
        if latest.is_proven && !candidates.iter().any(rivals) {
            return Ok(Found::Proven(Box::new(latest)));
        }
        Ok(Found::Asks(Asks::Unproven {
            agent: latest.agent,
            generation: latest.generation,
        }))
    }

    /// `None`: it stands there no more, it may be sent, or nothing can be proven of it.
    fn stale(&self, fleet: &Fleet, attempt: &Attempt) -> Result<Option<Stale>> {
        let Some(store) = fleet
            .store_of(&attempt.agent_dir)
            .filter(|store| !fleet.is_managed(store))
        else {
            return Ok(None);
        };
        let content = store.content.as_ref().ok();
        let credential = content.and_then(|content| content.document.credential(&attempt.profile_id));
        let Some(Credential::Oauth(oauth)) = credential else {
            return Ok(None);
        };
        if oauth.refresh.as_ref().map(Secret::fingerprint) != Some(attempt.seen) || oauth.has_oauth_ref {
            return Ok(None);
        }
        let Some(known) = self.generations.find(attempt.seen)? else {
            return Ok(None);
        };
        let is_refused = known.refusal.is_some();
        // What a person ended stays ended.
        if known
            .refusal
            .is_some_and(|refusal| refusal.code == SIGNED_OUT_EVERYWHERE)
        {
            return Ok(None);
        }
        if !is_refused && known.superseded_by.is_none()
            || is_refused && self.generations.was_healed(attempt.seen)?
        {
            return Ok(None);
        }
        let providers = Providers::load(&self.environment)?;
        let provider = providers.get(&oauth.common.provider);
        let Some((provider, access)) = provider.zip(oauth.access.as_ref()) else {
            return Ok(None);
        };
        let claims = Claims::of_tokens(provider.claims(), access, oauth.id_token.as_ref());
        let Some(issued_at) = claims.issued_at else {
            return Ok(None);
        };
        Ok(Some(Stale {
            identity: Identity::of(provider, &claims).with_stored_account(oauth.account_id.as_deref()),
            provider: provider.clone(),
            issued_at,
            written_at: written_at(store),
            is_refused,
            state_dir: canonical(&store.state_dir),
            oauth,
        }))
    }

    fn in_stores(&self, fleet: &Fleet, attempt: &Attempt, stale: &Stale) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        for store in &fleet.stores {
            let Ok(content) = &store.content else { continue };
            for (_, credential) in content.document.profiles() {
                let Credential::Oauth(oauth) = credential else {
                    continue;
                };
                let candidate = self.judge(attempt, stale, &oauth, written_at(store))?;
                found.extend(candidate.map(|candidate| Candidate {
                    agent: Some(store.agent.clone()),
                    // Somebody else renews that one.
                    is_proven: candidate.is_proven && !fleet.holders(candidate.generation).is_shared(),
                    ..candidate
                }));
            }
        }
        Ok(found)
    }

    /// Answers that still wait for their stores.
    fn in_journals(&self, fleet: &Fleet, attempt: &Attempt, stale: &Stale) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        for installation in &fleet.installations {
            let own = installation_dir(&self.data_dir, &installation.state_dir.canonical());
            for entry in Journal::open(&own).entries()?.entries {
                let (Question::Refresh { .. }, Some(_)) = (&entry.question, &entry.received.refresh_token)
                else {
                    continue;
                };
                let answer = TokenAnswer::from(&entry.received);
                let provider = &stale.provider;
                let claims = Claims::of_tokens(provider.claims(), &answer.access, answer.id_token.as_ref());
                let tokens = new_tokens(&answer, &claims, entry.at);
                found.extend(self.judge_tokens(attempt, stale, tokens, claims, Some(entry.at))?);
            }
        }
        Ok(found)
    }

    fn in_seals(&self, attempt: &Attempt, stale: &Stale, key: &SealKey) -> Result<Vec<Candidate>> {
        let own = installation_dir(&self.data_dir, &stale.state_dir);
        let mut found = Vec::new();
        let mut logins = SealedLogins::open(&own);
        logins.look()?;
        for digest in logins.of_profile(&attempt.profile_id, &stale.oauth.common.provider_text) {
            // A copy that does not open is told by `doctor`; another one may.
            let Ok(login) = logins.open_login(&digest, key) else {
                continue;
            };
            if let Some(oauth) = oauth_in(&login.credential) {
                found.extend(self.judge(attempt, stale, &oauth, Some(login.at))?);
            }
        }
        let Some(newest) = self.recorded_newest(attempt)? else {
            return Ok(found);
        };
        let snapshots = Snapshots::open(&own);
        for entry in snapshots.list()?.snapshots {
            if !entry.generations.contains(&newest) {
                continue;
            }
            let Ok(opened) = open_snapshot(&snapshots.path_of(&entry), key) else {
                continue;
            };
            for (name, bytes) in &opened.files {
                let held: Vec<Oauth> = if name == UNPLACED {
                    unplaced(bytes, &stale.oauth.common.provider_text)
                        .into_iter()
                        .collect()
                } else {
                    let document = Document::parse(bytes).ok();
                    let profiles = document.iter().flat_map(Document::profiles);
                    profiles
                        .filter_map(|(_, credential)| credential.as_oauth().cloned())
                        .collect()
                };
                for oauth in held {
                    found.extend(self.judge(attempt, stale, &oauth, Some(entry.at))?);
                }
            }
        }
        Ok(found)
    }

    /// Whether sealed copies, which cannot be opened now, are later than the refused login.
    fn has_later_seals(&self, attempt: &Attempt, stale: &Stale) -> Result<bool> {
        let own = installation_dir(&self.data_dir, &stale.state_dir);
        let mut logins = SealedLogins::open(&own);
        logins.look()?;
        let copies = logins.of_profile(&attempt.profile_id, &stale.oauth.common.provider_text);
        let later = |at| stale.written_at.is_some_and(|written| at > written);
        let credential = Credential::Oauth(stale.oauth.clone());
        let stands = crate::vault::GenerationDigest::of(&attempt.profile_id, &credential);
        let mut others = copies.iter().filter(|digest| stands.as_ref() != Some(digest));
        if others.any(|digest| logins.find(digest).is_some_and(|entry| later(entry.at))) {
            return Ok(true);
        }
        let Some(newest) = self.recorded_newest(attempt)? else {
            return Ok(false);
        };
        let list = Snapshots::open(&own).list()?;
        Ok(list
            .snapshots
            .iter()
            .any(|entry| entry.generations.contains(&newest)))
    }

    /// The newest generation to which recorded rotations led from the one that was seen.
    fn recorded_newest(&self, attempt: &Attempt) -> Result<Option<Fingerprint>> {
        let family = self.generations.family_of(attempt.seen)?;
        let newest = self.generations.newest_of(family)?;
        let newest = newest.filter(|newest| newest.refusal.is_none() && newest.superseded_by.is_none());
        let Some(newest) = newest.map(|newest| newest.fingerprint) else {
            return Ok(None);
        };
        let led = self.generations.leads_to(attempt.seen, newest)?;
        Ok(led.then_some(newest))
    }

    fn judge(
        &self,
        attempt: &Attempt,
        stale: &Stale,
        oauth: &Oauth,
        written_at: Option<Timestamp>,
    ) -> Result<Option<Candidate>> {
        // Most are somebody else's: seen without a look into the tokens.
        let accounts = stale.oauth.account_id.as_ref().zip(oauth.account_id.as_ref());
        if accounts.is_some_and(|(ours, theirs)| ours != theirs) || oauth.client_id != stale.oauth.client_id {
            return Ok(None);
        }
        let provider = &stale.provider;
        let same_provider = oauth.common.provider == stale.oauth.common.provider;
        let tokens = tokens_of(oauth).filter(|_| same_provider && !oauth.has_oauth_ref);
        let Some(tokens) = tokens else { return Ok(None) };
        let claims = Claims::of_tokens(provider.claims(), &tokens.access, tokens.id_token.as_ref());
        self.judge_tokens(attempt, stale, tokens, claims, written_at)
    }

    /// `None`: it is another account's, no later one, or known to be spent. `written_at`: when what
    /// holds it was written.
    fn judge_tokens(
        &self,
        attempt: &Attempt,
        stale: &Stale,
        tokens: NewTokens,
        claims: Claims,
        written_at: Option<Timestamp>,
    ) -> Result<Option<Candidate>> {
        let identity =
            Identity::of(&stale.provider, &claims).with_stored_account(tokens.account_id.as_deref());
        let generation = tokens.refresh.as_ref().map(Secret::fingerprint);
        let later = claims.issued_at.filter(|issued| *issued > stale.issued_at);
        let (Some(generation), Some(issued_at)) = (generation, later) else {
            return Ok(None);
        };
        if generation == attempt.seen || identity.compare(&stale.identity) != Sameness::Same {
            return Ok(None);
        }
        let generations = &self.generations;
        let known = generations.find(generation)?;
        if known
            .as_ref()
            .is_some_and(|known| known.superseded_by.is_some() || known.refusal.is_some())
        {
            return Ok(None);
        }
        let recorded = generations.leads_to(attempt.seen, generation)?;
        let family = generations.family_of(generation)?;
        // A sign-in of its own begins another family.
        let other_family =
            family != generations.family_of(attempt.seen)? && (generations.sign_in_of(family)?.is_some());
        let written_later = written_at
            .zip(stale.written_at)
            .is_some_and(|(its, ours)| its > ours);
        let unanswered = known.is_some_and(|known| known.unknown_since.is_some());
        Ok(Some(Candidate {
            generation,
            tokens,
            claims,
            issued_at,
            agent: None,
            is_proven: !unanswered && (recorded || (stale.is_refused && written_later && !other_family)),
        }))
    }
}

/// When a store's account file was written last.
fn written_at(store: &FleetStore) -> Option<Timestamp> {
    let path = AgentStore::new(&store.agent_dir).profiles_path();
    let modified = fs::metadata(path).ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(0).plus(since))
}

fn tokens_of(oauth: &Oauth) -> Option<NewTokens> {
    Some(NewTokens {
        access: oauth.access.clone()?,
        refresh: Some(oauth.refresh.clone()?),
        expires: oauth.expires.at()?,
        id_token: oauth.id_token.clone(),
        account_id: oauth.account_id.clone(),
        plan: oauth.chatgpt_plan_type.clone(),
        email: oauth.common.email.clone(),
    })
}

fn oauth_in(credential: &str) -> Option<Oauth> {
    let value = json::parse(credential.as_bytes()).ok()?;
    Credential::read(&value).as_oauth().cloned()
}

/// The tokens of an answer that no store took, as a login.
fn unplaced(bytes: &[u8], provider: &str) -> Option<Oauth> {
    let mut value = json::parse(bytes).ok()?;
    let entry = value.as_object_mut()?;
    entry.insert("type".to_owned(), Value::from("oauth"));
    entry.insert("provider".to_owned(), Value::from(provider));
    Credential::read(&value).as_oauth().cloned()
}

#[cfg(all(test, unix))]
mod tests;
