//! One renewal of one generation: find its holders, take the locks, read again, send, settle.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use crate::clock::{Clock, Timestamp};
use crate::environment::Environment;
use crate::error::{Error, ErrorCode, Result};
use crate::history::{Family, Generation, Generations, SignIn};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::oauth::{Claims, Class, Outcome, Provider, Providers, RefreshAnswer, TokenAnswer, TokenEndpoint};
use crate::secret::{Fingerprint, Secret};
use crate::settings::Settings;
use crate::store::agent_store::AgentStore;
use crate::store::credential::NewTokens;
use crate::store::lock::{LockContext, RefreshLock, StoreLock};
use crate::vault::journal::{EntryHolder, Received};
use crate::vault::{Journal, installation_dir};

use super::fleet::Fleet;
use super::holders::{Holder, Holders};
use super::merge::{self, Answer};
use super::schedule;

/// A holder's lock that is not free within this time makes everything start again.
const TRY_LOCK: Duration = Duration::from_secs(1);
/// How long taking all locks may take altogether.
const ALL_LOCKS: Duration = Duration::from_secs(60);
/// A refresh lock older than this is not trusted to last until the answer is merged.
const OLDEST_REFRESH_LOCK: Duration = Duration::from_secs(40);
/// How long store locks may be held around a request (2026.2.17 steals them after 30 s).
const STORE_LOCK_DURING_CALL: Duration = Duration::from_secs(20);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(120);
/// An unanswered request is repeated once, after this time.
const RETRY_UNKNOWN_MS: i64 = 60_000;

/// Renews generations. Clones share everything.
#[derive(Clone, Debug)]
pub struct Refresher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) environment: Environment,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) locks: LockContext,
    pub(super) data_dir: PathBuf,
    pub(super) generations: Generations,
    kept: Mutex<Vec<Kept>>,
}

/// Tokens that this process received and merged.
#[derive(Debug)]
pub struct Kept {
    pub family: Family,
    pub generation: Fingerprint,
    pub holders: Vec<Holder>,
    pub tokens: NewTokens,
}

/// Whether a renewal is asked for by a person or by the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Renew even if it is not due.
    Now,
    /// Only if the schedule still says so under the locks.
    IfDue,
}

/// The profile that is to be renewed and the generation it was seen with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub agent: AgentId,
    pub agent_dir: PathBuf,
    pub profile_id: ProfileId,
    pub seen: Fingerprint,
    pub wanted: Wanted,
}

/// How a renewal ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Rotated and in every holder.
    Refreshed {
        generation: Fingerprint,
        holders: Vec<Holder>,
    },
    /// Another program had rotated it: nothing was sent.
    Adopted,
    /// Not due any more: nothing was sent.
    Fresh,
}

/// How a renewal failed: what the schedule must know.
#[derive(Debug)]
pub enum Failed {
    /// Before anything was sent, for a reason of this machine.
    Before(Error),
    /// The provider could not be reached.
    NotSent(Error),
    /// Sent, and no answer came.
    Unknown,
    /// Answered without tokens.
    Refused {
        outcome: Outcome,
        after_lost_answer: bool,
        clock_is_off: bool,
    },
}

impl Failed {
    /// What to tell.
    pub fn to_error(&self) -> Error {
        match self {
            Self::Before(error) | Self::NotSent(error) => {
                Error::new(error.code(), error.message()).with_hint(error.hint())
            }
            Self::Unknown => answer_lost(),
            Self::Refused {
                clock_is_off: true,
                outcome,
                ..
            } if outcome.class != Class::Permanent => Error::new(
                ErrorCode::ClockSkew,
                format!(
                    "{}, and this machine's clock differs from the provider's",
                    outcome.text
                ),
            ),
            Self::Refused {
                outcome,
                after_lost_answer,
                ..
            } => {
                let code = match outcome.class {
                    Class::Permanent => ErrorCode::RefreshSignedOut,
                    _ => outcome.error,
                };
                let sentence = outcome.sentence(*after_lost_answer);
                Error::new(code, sentence.trim_end_matches('.'))
            }
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Before(error)
    }
}

/// Everything that is needed to send, locks included.
struct Ticket {
    provider: Provider,
    refresh_token: Secret,
    access: Secret,
    expires: Option<Timestamp>,
    client_id: Option<String>,
    holders: Vec<Holder>,
    refresh_locks: Vec<RefreshLock>,
    store_locks: Vec<StoreLock>,
    /// Store locks are kept until the answer, 20 s at most.
    keeps_store_locks: bool,
    store_locked_at: Instant,
    retry: bool,
    /// Known before the request: nothing but the journal may stand between an answer and a store.
    family: Family,
}

enum Prepared {
    Send(Box<Ticket>),
    Done(Done),
    /// A lock was busy: everything was released.
    Busy(Error),
}

impl Refresher {
    /// `state_dir` is the explicit one, if any; `data_dir` Kalit's own.
    pub fn new(
        environment: Environment,
        state_dir: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        locks: LockContext,
        generations: Generations,
    ) -> Self {
        let data_dir = environment.data_dir();
        Self {
            inner: Arc::new(Inner {
                environment,
                state_dir,
                clock,
                locks,
                data_dir,
                generations,
                kept: Mutex::default(),
            }),
        }
    }

    /// The record of generations.
    pub fn generations(&self) -> &Generations {
        &self.inner.generations
    }

    /// The tokens merged since the last call, oldest first: a program without locks may overwrite
    /// them before anybody looks at the store.
    pub fn take_kept(&self) -> Vec<Kept> {
        std::mem::take(&mut *self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Renews the generation that `attempt` saw, in all its holders, with one request. The request
    /// and what follows it run in a task of their own: dropping this future does not stop them.
    pub async fn refresh(&self, attempt: Attempt) -> Result<Done, Failed> {
        let this = self.clone();
        tokio::spawn(async move { this.run(attempt).await })
            .await
            .map_err(|error| Error::new(ErrorCode::Internal, "the refresh stopped").with_source(error))?
    }

    async fn run(self, attempt: Attempt) -> Result<Done, Failed> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            let this = self.clone();
            let wanted = attempt.clone();
            let prepared = spawn_blocking(move || this.inner.prepare(&wanted))
                .await
                .map_err(|error| {
                    Error::new(ErrorCode::Internal, "the refresh stopped").with_source(error)
                })??;
            match prepared {
                Prepared::Done(done) => return Ok(done),
                Prepared::Busy(error) if started.elapsed() + pause > ALL_LOCKS => return Err(error.into()),
                Prepared::Busy(_) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Prepared::Send(ticket) => {
                    if let Some(result) = self.send(*ticket, &attempt).await {
                        return result;
                    }
                }
            }
        }
    }

    /// `None`: too late to send, start again.
    async fn send(&self, mut ticket: Ticket, attempt: &Attempt) -> Option<Result<Done, Failed>> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let old = ticket
            .refresh_locks
            .iter()
            .any(|lock| lock.held_for(now) >= OLDEST_REFRESH_LOCK);
        if old || !ticket.refresh_locks.iter().all(RefreshLock::verify) {
            return None;
        }
        let recorded = if ticket.retry {
            inner
                .generations
                .record_retry(attempt.seen, now)
                .and_then(|first| if first { Ok(()) } else { Err(answer_lost()) })
        } else {
            // until the answer is given up, another Kalit must not take it for lost
            inner.generations.record_unknown(attempt.seen, now.plus(ANSWER))
        };
        if let Err(error) = recorded {
            return Some(Err(error.into()));
        }
        let endpoint = match TokenEndpoint::new(&inner.environment, Arc::clone(&inner.clock)) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                return Some(Err(inner
                    .generations
                    .clear_unknown(attempt.seen)
                    .err()
                    .unwrap_or(error)
                    .into()));
            }
        };
        let answer = {
            let call = endpoint.refresh(
                &ticket.provider,
                &ticket.refresh_token,
                ticket.client_id.as_deref(),
                ANSWER,
            );
            tokio::pin!(call);
            if ticket.keeps_store_locks {
                let left = STORE_LOCK_DURING_CALL.saturating_sub(ticket.store_locked_at.elapsed());
                match tokio::time::timeout(left, &mut call).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        ticket.store_locks.clear();
                        call.await
                    }
                }
            } else {
                call.await
            }
        };
        let this = self.clone();
        let attempt = attempt.clone();
        let settled = spawn_blocking(move || this.inner.settle(ticket, &attempt, answer)).await;
        Some(settled.unwrap_or_else(|error| {
            Err(Error::new(ErrorCode::Internal, "the refresh stopped")
                .with_source(error)
                .into())
        }))
    }
}

impl Inner {
    /// Reads all installations afresh.
    pub(super) fn fleet(&self) -> Result<Fleet> {
        let settings = Settings::load(&self.environment)?;
        Fleet::read(&self.environment, &settings, self.state_dir.as_deref())
    }

    fn prepare(&self, attempt: &Attempt) -> Result<Prepared, Failed> {
        match merge::replay_answer(self, attempt.seen) {
            Err(error) if error.code() == ErrorCode::LockBusy => return Ok(Prepared::Busy(error)),
            merged => merged?,
        }
        let fleet = self.fleet()?;
        let found = fleet.holders(attempt.seen);
        if !self.still_seen(attempt)? {
            return Ok(Prepared::Done(Done::Adopted));
        }
        refuse_shared(&found)?;
        self.refuse_dead(attempt)?;
        let provider = self.provider_of(&found, attempt.seen)?;

        let refresh_locks = match self.refresh_locks(&fleet, &found.stores) {
            Ok(locks) => locks,
            Err(error) if error.code() == ErrorCode::LockBusy => return Ok(Prepared::Busy(error)),
            Err(error) => return Err(error.into()),
        };
        let mut store_locks: Vec<StoreLock> = Vec::new();
        let store_locked_at = Instant::now();
        for dir in directories(&found.stores) {
            match StoreLock::acquire(&dir, &self.locks, TRY_LOCK) {
                Ok(lock) => store_locks.push(lock),
                Err(error) if error.code() == ErrorCode::LockBusy => return Ok(Prepared::Busy(error)),
                Err(error) => return Err(error.into()),
            }
        }

        // Under the locks everything is read again: this is what decides.
        let fleet = self.fleet()?;
        let held = fleet.holders(attempt.seen);
        if !self.still_seen(attempt)? {
            return Ok(Prepared::Done(Done::Adopted));
        }
        refuse_shared(&held)?;
        let retry = self.is_retry(attempt)?;
        if held.stores != found.stores {
            let error = Error::new(ErrorCode::StoreChanged, "the holders of this login changed");
            return Ok(Prepared::Busy(error));
        }
        let Some(first) = held.stores.first() else {
            return Ok(Prepared::Done(Done::Adopted));
        };
        if attempt.wanted == Wanted::IfDue && !self.is_due(attempt, &provider)? {
            return Ok(Prepared::Done(Done::Fresh));
        }
        let content = AgentStore::new(&first.agent_dir).read()?;
        let oauth = content.document.credential(&first.profile_id);
        let Some(oauth) = oauth.as_ref().and_then(|credential| credential.as_oauth()) else {
            return Ok(Prepared::Done(Done::Adopted));
        };
        let Some(refresh_token) = oauth.refresh.clone() else {
            return Err(Error::new(ErrorCode::ProfileNotRefreshable, "there is no refresh token").into());
        };
        for holder in &held.stores {
            self.ensure_writable(&fleet, &holder.state_dir)?;
        }
        let keeps_store_locks = held.stores.iter().any(|holder| {
            fleet
                .installation(&holder.state_dir)
                .is_none_or(|installation| installation.rules().store_lock_during_call)
        });
        if !keeps_store_locks {
            store_locks.clear();
        }
        Ok(Prepared::Send(Box::new(Ticket {
            provider,
            refresh_token,
            access: oauth.access.clone().unwrap_or_else(|| Secret::new("")),
            expires: oauth.expires.at(),
            client_id: oauth.client_id.clone(),
            holders: held.stores,
            refresh_locks,
            store_locks,
            keeps_store_locks,
            store_locked_at,
            retry,
            family: self.generations.family_of(attempt.seen)?,
        })))
    }

    /// The refresh locks of all holders whose releases know them, in path order.
    pub(super) fn refresh_locks(&self, fleet: &Fleet, holders: &[Holder]) -> Result<Vec<RefreshLock>> {
        let logins: BTreeSet<_> = holders
            .iter()
            .filter(|holder| uses_refresh_lock(fleet, holder))
            .map(|holder| (&holder.state_dir, &holder.provider, &holder.profile_id))
            .collect();
        let mut locks = Vec::new();
        for (state_dir, provider, profile_id) in logins {
            self.ensure_writable(fleet, state_dir)?;
            let lock = RefreshLock::acquire(state_dir, provider, profile_id, &self.locks, TRY_LOCK)?;
            locks.push(lock);
        }
        Ok(locks)
    }

    /// Whether the profile still has the generation that was seen.
    fn still_seen(&self, attempt: &Attempt) -> Result<bool> {
        let content = AgentStore::new(&attempt.agent_dir).read()?;
        let credential = content.document.credential(&attempt.profile_id);
        Ok(credential.is_some_and(|credential| credential.generation() == Some(attempt.seen)))
    }

    /// What the record says of the generation. One that was refused or has a successor is never
    /// sent.
    fn refuse_dead(&self, attempt: &Attempt) -> Result<Option<Generation>> {
        let Some(known) = self.generations.find(attempt.seen)? else {
            return Ok(None);
        };
        if let Some(refusal) = &known.refusal {
            return Err(Error::new(
                ErrorCode::RefreshSignedOut,
                format!("{} was refused before ({})", attempt.profile_id, refusal.code),
            ));
        }
        if known.superseded_by.is_some() {
            return Err(Error::new(
                ErrorCode::RefreshSuperseded,
                format!(
                    "{} went back to an older login than the newest one known",
                    attempt.profile_id
                ),
            ));
        }
        Ok(Some(known))
    }

    /// Whether this is the one retry of a request without an answer. Asked under the locks: until
    /// then the answer may still come to another Kalit.
    fn is_retry(&self, attempt: &Attempt) -> Result<bool> {
        let Some(known) = self.refuse_dead(attempt)? else {
            return Ok(false);
        };
        match known.unknown_since {
            None => Ok(false),
            Some(_) if known.retried_at.is_some() => Err(answer_lost()),
            Some(at) if self.clock.now().millis_since(at) < RETRY_UNKNOWN_MS => Err(answer_lost()),
            Some(_) => Ok(true),
        }
    }

    /// The provider with the token endpoint under which the login was made, else its manifest's.
    fn provider_of(&self, found: &Holders, generation: Fingerprint) -> Result<Provider> {
        let Some(holder) = found.stores.first() else {
            return Err(Error::new(
                ErrorCode::ProfileUnknown,
                "no store holds this login any more",
            ));
        };
        let providers = Providers::load(&self.environment)?;
        let id = ProviderId::parse(&holder.provider)
            .ok_or_else(|| Error::new(ErrorCode::ProviderUnknown, "the profile names no provider"))?;
        let provider = providers
            .get(&id)
            .filter(|provider| provider.token_route().is_some())
            .ok_or_else(|| {
                Error::new(
                    ErrorCode::ProfileNotRefreshable,
                    format!("Kalit does not know how to renew {id}"),
                )
            })?;
        match self
            .generations
            .sign_in_of(self.generations.family_of(generation)?)?
        {
            Some(SignIn { token_url, .. }) => provider.at_token_url(&token_url),
            None => Ok(provider.clone()),
        }
    }

    fn is_due(&self, attempt: &Attempt, provider: &Provider) -> Result<bool> {
        let content = AgentStore::new(&attempt.agent_dir).read()?;
        let Some(credential) = content.document.credential(&attempt.profile_id) else {
            return Ok(false);
        };
        let item = due_item(&self.generations, &credential, Some(provider), attempt.seen)?;
        let now = self.clock.now();
        Ok(item.is_some_and(|item| schedule::next_attempt(&item, now).is_some_and(|at| at <= now)))
    }

    pub(super) fn ensure_writable(&self, fleet: &Fleet, state_dir: &Path) -> Result<()> {
        match fleet.installation(state_dir) {
            Some(installation) => installation.ensure_json_era(),
            None => Err(Error::new(ErrorCode::StateDirMissing, "the installation is gone")),
        }
    }

    fn settle(&self, ticket: Ticket, attempt: &Attempt, answer: RefreshAnswer) -> Result<Done, Failed> {
        let now = self.clock.now();
        match answer {
            RefreshAnswer::Rotated(tokens) => Ok(self.keep(ticket, attempt, &tokens, now)?),
            RefreshAnswer::OnlyRefresh { refresh, skew_ms } => {
                // The old access token goes on with the new refresh token.
                let left = ticket.expires.map_or(0, |at| at.millis_since(now)) / 1000;
                let tokens = TokenAnswer {
                    access: ticket.access.clone(),
                    refresh: Some(refresh),
                    id_token: None,
                    expires_in: Some(left.max(1)),
                    token_type: None,
                    skew_ms,
                };
                Ok(self.keep(ticket, attempt, &tokens, now)?)
            }
            RefreshAnswer::NotSent(error) => {
                self.nothing_decided(&ticket, attempt, false)?;
                Err(Failed::NotSent(error))
            }
            RefreshAnswer::Unknown => self.gave_up(attempt, now),
            RefreshAnswer::Refused(refusal) => {
                let outcome = refusal.outcome;
                match outcome.class {
                    // Recorded whatever became of the store: it is never sent again.
                    Class::Permanent => {
                        self.generations.record_refusal(attempt.seen, outcome.code, now)?;
                    }
                    Class::Unknown => return self.gave_up(attempt, now),
                    Class::ClientFault
                    | Class::RequestFault
                    | Class::Transient { .. }
                    | Class::Suspect
                    | Class::Pending => self.nothing_decided(&ticket, attempt, outcome.may_have_rotated)?,
                }
                if !self.still_seen(attempt)? {
                    return Ok(Done::Adopted);
                }
                let refusal_on_record = self.generations.refusal(attempt.seen)?;
                let after_lost_answer = refusal_on_record.is_some_and(|refusal| refusal.answer_was_lost);
                Err(Failed::Refused {
                    outcome,
                    after_lost_answer,
                    clock_is_off: refusal.clock_is_off(),
                })
            }
        }
    }

    /// May be sent again. An answer that was lost before, or that may hide a rotation, stays known.
    fn nothing_decided(&self, ticket: &Ticket, attempt: &Attempt, may_have_rotated: bool) -> Result<()> {
        if ticket.retry || may_have_rotated {
            self.generations.record_doubt(attempt.seen)
        } else {
            self.generations.clear_unknown(attempt.seen)
        }
    }

    fn gave_up(&self, attempt: &Attempt, now: Timestamp) -> Result<Done, Failed> {
        self.generations.record_unanswered(attempt.seen, now)?;
        Err(Failed::Unknown)
    }

    /// Journal, record, merge, in this order: from here on nothing may lose the answer.
    fn keep(&self, ticket: Ticket, attempt: &Attempt, tokens: &TokenAnswer, now: Timestamp) -> Result<Done> {
        let family = ticket.family;
        let holders: Vec<EntryHolder> = ticket
            .holders
            .iter()
            .filter_map(|holder| {
                Some(EntryHolder {
                    agent_dir: holder.agent_dir.clone(),
                    provider: ProviderId::parse(&holder.provider)?,
                    profile_id: holder.profile_id.clone(),
                })
            })
            .collect();
        let state_dir = ticket
            .holders
            .first()
            .map(|holder| holder.state_dir.clone())
            .unwrap_or_default();
        let canonical = state_dir.canonicalize().unwrap_or_else(|_| state_dir.clone());
        let journal = Journal::open(&installation_dir(&self.data_dir, &canonical));
        let entry = journal.record(
            &canonical.display().to_string(),
            family,
            holders,
            attempt.seen,
            Received::from(tokens),
            now,
        );
        let answer = Answer::new(&ticket.provider, attempt.seen, family, tokens, now);
        // A record that cannot be written must not turn a renewal that worked into a failure.
        let _ = self
            .generations
            .record_rotation(attempt.seen, answer.generation, now, answer.lifetime_ms);
        let merged = merge::into_all(
            self,
            &answer,
            &ticket.holders,
            ticket.store_locks,
            merge::ALL_HOLDERS,
        );
        drop(ticket.refresh_locks);
        let merged = merged.and_then(|left_alone| self.seal_unplaced(&answer, &left_alone));
        let generation = answer.generation;
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Kept {
                family,
                generation,
                holders: ticket.holders.clone(),
                tokens: answer.into_tokens(),
            });
        match (entry, merged) {
            (Ok(entry), Ok(())) => journal.discharge(entry)?,
            (Err(_), Ok(())) => {}
            // The journal stands: the next start merges it.
            (Ok(_), Err(error)) => return Err(error),
            (Err(journal_error), Err(_)) => return Err(journal_error),
        }
        Ok(Done::Refreshed {
            generation,
            holders: ticket.holders,
        })
    }
}

/// What the schedule needs to know of a stored login; `None` when it cannot be renewed.
pub fn due_item(
    generations: &Generations,
    credential: &crate::store::credential::Credential,
    provider: Option<&Provider>,
    generation: Fingerprint,
) -> Result<Option<schedule::Item>> {
    let Some(oauth) = credential.as_oauth() else {
        return Ok(None);
    };
    let (Some(expires), Some(access)) = (credential.expiry().at(), &oauth.access) else {
        return Ok(None);
    };
    let claims = provider
        .map(|provider| Claims::of_tokens(provider.claims(), access, None))
        .unwrap_or_default();
    let family = generations.family_of(generation)?;
    let known = generations.find(generation)?;
    let setback = known.as_ref().and_then(schedule::Setback::recorded);
    Ok(Some(schedule::Item {
        expires,
        issued_at: claims.issued_at,
        lifetime_ms: claims
            .lifetime_ms()
            .or_else(|| known.and_then(|known| known.lifetime_ms)),
        last_refresh: generations.last_refresh(family)?,
        seed: schedule::seed_of(family.fingerprint()),
        setback,
    }))
}

fn refuse_shared(found: &Holders) -> Result<()> {
    if !found.is_shared() {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::RefreshShared,
        format!("the same login is also held by {}", found.with_whom().join(", ")),
    ))
}

fn uses_refresh_lock(fleet: &Fleet, holder: &Holder) -> bool {
    fleet
        .installation(&holder.state_dir)
        .is_none_or(|installation| installation.rules().refresh_lock)
}

fn directories(holders: &[Holder]) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = holders.iter().map(|holder| holder.agent_dir.clone()).collect();
    directories.sort();
    directories.dedup();
    directories
}

fn answer_lost() -> Error {
    Error::new(
        ErrorCode::RefreshUnknown,
        "a renewal was sent and its answer never came",
    )
}
