//! One renewal of one generation: prepared under the locks, sent once, settled.

mod preparing;
mod sending;
mod settling;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use self::preparing::Prepared;
use crate::clock::Clock;
use crate::environment::Environment;
use crate::error::{Error, ErrorCode, Result};
use crate::history::{Family, Generations};
use crate::ids::{AgentId, ProfileId};
use crate::language;
use crate::oauth::{Claims, Class, Outcome, Provider, TokenEndpoint};
use crate::secret::Fingerprint;
use crate::settings::Settings;
use crate::store::agent_store::AgentStore;
use crate::store::credential::NewTokens;
use crate::store::lock::LockContext;
use crate::vault::journal::Entry;
use crate::vault::{Journal, installation_dir};

use super::fleet::Fleet;
use super::holders::Holder;
use super::schedule;

crate::keeps_secret!(Kept);

/// How long taking all locks may take altogether.
const ALL_LOCKS: Duration = Duration::from_secs(60);

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
    /// Answers that only memory holds: neither their stores nor the journal could be written.
    unwritten: Mutex<Vec<Entry>>,
    /// Made for the first request.
    endpoint: Mutex<Option<TokenEndpoint>>,
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
    Unknown {
        /// For the second time: it is not sent again.
        retried: bool,
    },
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
            Self::Unknown { retried: false } => answer_lost(),
            Self::Unknown { retried: true } => answer_lost_twice(),
            Self::Refused {
                clock_is_off: true,
                outcome,
                ..
            } if outcome.class != Class::Permanent => Error::new(
                ErrorCode::ClockSkew,
                say!(
                    "{text}, and this machine's clock differs from the provider's",
                    text = language::fixed(outcome.text)
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
                unwritten: Mutex::default(),
                endpoint: Mutex::default(),
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
            .map_err(|error| {
                Error::new(ErrorCode::Internal, say!("the refresh stopped")).with_source(error)
            })?
    }

    async fn run(self, attempt: Attempt) -> Result<Done, Failed> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            let this = self.clone();
            let wanted = attempt.clone();
            let prepared = spawn_blocking(move || this.inner.prepare(&wanted))
                .await
                .map_err(sending::stopped)??;
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
                    if started.elapsed() + pause > ALL_LOCKS {
                        let late = say!("the locks were too old each time before anything could be sent");
                        return Err(Error::new(ErrorCode::LockBusy, late).into());
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }
}

impl Inner {
    /// Reads all installations afresh.
    pub(super) fn fleet(&self) -> Result<Fleet> {
        let settings = Settings::load(&self.environment)?;
        Fleet::read(&self.environment, &settings, self.state_dir.as_deref())
    }

    /// Whether the profile still has the generation that was seen.
    fn still_seen(&self, attempt: &Attempt) -> Result<bool> {
        let content = AgentStore::new(&attempt.agent_dir).read()?;
        let credential = content.document.credential(&attempt.profile_id);
        Ok(credential.is_some_and(|credential| credential.generation() == Some(attempt.seen)))
    }

    /// Answers that only memory holds.
    pub(super) fn unwritten(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proxies or certificates may have changed: they are read anew for the next request.
    pub(super) fn forget_endpoint(&self) {
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The journal of the installation in a canonical state directory.
    fn journal(&self, state_dir: &Path) -> Journal {
        Journal::open(&installation_dir(&self.data_dir, state_dir))
    }

    pub(super) fn ensure_writable(&self, fleet: &Fleet, state_dir: &Path) -> Result<()> {
        match fleet.installation(state_dir) {
            Some(installation) => installation.ensure_json_era(),
            None => Err(Error::new(
                ErrorCode::StateDirMissing,
                say!("the installation is gone"),
            )),
        }
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

fn answer_lost() -> Error {
    Error::new(
        ErrorCode::RefreshUnknown,
        say!("a renewal was sent and its answer never came"),
    )
}

fn answer_lost_twice() -> Error {
    Error::new(
        ErrorCode::RefreshUnknown,
        say!("a renewal was sent twice and no answer came"),
    )
    .with_hint(say!("Kalit does not send it again: sign in again."))
}

#[cfg(test)]
mod tests;
