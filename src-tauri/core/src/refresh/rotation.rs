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
    /// Made for the first renewal.
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

    /// The journal of the installation in a canonical state directory.
    fn journal(&self, state_dir: &Path) -> Journal {
        Journal::open(&installation_dir(&self.data_dir, state_dir))
    }

    pub(super) fn ensure_writable(&self, fleet: &Fleet, state_dir: &Path) -> Result<()> {
        match fleet.installation(state_dir) {
            Some(installation) => installation.ensure_json_era(),
            None => Err(Error::new(ErrorCode::StateDirMissing, "the installation is gone")),
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
        "a renewal was sent and its answer never came",
    )
}

fn answer_lost_twice() -> Error {
    Error::new(
        ErrorCode::RefreshUnknown,
        "a renewal was sent twice and no answer came",
    )
    .with_hint("Kalit does not send it again: sign in again.")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use std::{fmt, fs};

    use super::preparing::Prepared;
    use super::{Attempt, Refresher, Wanted};
    use crate::broker::{Broker, Options, RefreshResult, RefreshTarget};
    use crate::clock::{Clock, Timestamp};
    use crate::history::Generations;
    use crate::ids::{AgentId, ProfileId};
    use crate::oauth::testing::free_port;
    use crate::secret::Secret;
    use crate::store::lock::{LockContext, Released, StoreLock};
    use crate::testbed::{ANN, Machine, NOW, answer, login};

    /// A machine of an unknown release, whose store lock is kept during the request.
    fn refresher(machine: &Machine) -> Refresher {
        let generations = Generations::open(&machine.environment().data_dir()).unwrap();
        let clock = machine.clock.clone();
        let locks = LockContext::for_test();
        Refresher::new(machine.environment(), None, clock, locks, generations)
    }

    #[tokio::test]
    async fn nothing_is_sent_after_a_lock_was_stolen() {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", -1000));
        let server = machine.serve(vec![answer(1, "REF1")]).await;
        let refresher = refresher(&machine);
        let seen = Secret::new("REF0").fingerprint();
        let attempt = Attempt {
            agent: AgentId::main(),
            agent_dir: main.clone(),
            profile_id: ProfileId::parse(ANN).unwrap(),
            seen,
            wanted: Wanted::Now,
        };
        let known = || refresher.generations().find(seen).unwrap().unwrap();
        for retry in [false, true] {
            if retry {
                let long_ago = NOW.plus_millis(-600_000);
                refresher.generations().record_unknown(seen, long_ago).unwrap();
            }
            let Ok(Prepared::Send(ticket)) = refresher.inner().prepare(&attempt) else {
                panic!("nothing to send");
            };
            assert_eq!(ticket.retry, retry);
            let lock = main.join("auth-profiles.json.lock");
            fs::write(&lock, r#"{"pid":1,"createdAt":"2025-11-23T12:00:00.000Z"}"#).unwrap();
            assert!(refresher.send(*ticket, &attempt).await.is_none());
            assert_eq!(server.requests().len(), 0);
            assert!(lock.exists(), "the thief's lock was taken away");
            fs::remove_file(lock).unwrap();
            assert_eq!(known().retried_at, None);
            assert_eq!(known().unknown_since, retry.then_some(NOW));
        }
        assert!(
            machine
                .names(&machine.path(".openclaw/locks/oauth-refresh"))
                .is_empty()
        );
    }

    /// A clock on which something happens at the n-th look at it under the store lock: before the
    /// request is recorded, or between the record and the request.
    struct Interrupted<F> {
        lock: PathBuf,
        looks: AtomicUsize,
        nth: usize,
        happening: F,
    }

    impl<F> fmt::Debug for Interrupted<F> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("Interrupted")
        }
    }

    impl<F: Fn() + Send + Sync> Clock for Interrupted<F> {
        fn now(&self) -> Timestamp {
            if self.lock.exists() && self.looks.fetch_add(1, Ordering::SeqCst) + 1 == self.nth {
                (self.happening)();
            }
            NOW
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_under_a_store_lock_that_was_stolen_before_the_request() {
        for nth in [1, 2] {
            let machine = Machine::new();
            let main = machine.agent_dir(".openclaw", "main");
            machine.write_store(&main, &login("REF0", -1000));
            let server = machine.serve(vec![answer(2, "REF2")]).await;
            // 2026.2.17 takes the lock over, renews and lets go, while this process stands still.
            let lock = main.join("auth-profiles.json.lock");
            let (stolen, store) = (lock.clone(), main.join("auth-profiles.json"));
            let clock = Arc::new(Interrupted {
                lock,
                looks: AtomicUsize::new(0),
                nth,
                happening: move || {
                    let renewed = fs::read_to_string(&store).unwrap().replace("REF0", "REF1");
                    fs::write(&store, renewed).unwrap();
                    fs::remove_file(&stolen).unwrap();
                },
            });
            let broker = Broker::open(Options {
                environment: machine.environment(),
                clock,
                state_dir: None,
                program: "kalit",
            })
            .unwrap();
            let outcomes = broker.refresh(RefreshTarget::All).await;
            assert_eq!(outcomes[0].result, RefreshResult::Adopted, "{outcomes:?}");
            assert_eq!(server.requests().len(), 0);
            assert_eq!(machine.read_store(&main)["profiles"][ANN]["refresh"], "REF1");
            assert_eq!(machine.names(&main), ["auth-profiles.json"]);
            let generations = Generations::open(&machine.environment().data_dir()).unwrap();
            let known = generations.find(Secret::new("REF0").fingerprint()).unwrap();
            assert!(known.is_none_or(|known| known.unknown_since.is_none()));
        }
    }

    #[tokio::test]
    async fn a_rotation_that_another_kalit_is_about_to_write_is_waited_for() {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", -1000));
        let server = machine.serve(vec![answer(2, "REF2")]).await;
        // The other one has the answer in the record, holds the lock and has not written yet.
        let generations = Generations::open(&machine.environment().data_dir()).unwrap();
        let [sent, received] = ["REF0", "REF1"].map(|token| Secret::new(token).fingerprint());
        generations.record_rotation(sent, received, NOW, None).unwrap();
        let lock = StoreLock::for_test(&main);

        let broker = machine.broker();
        let mut renewal = tokio::spawn(async move { broker.refresh(RefreshTarget::All).await });
        let early = tokio::time::timeout(Duration::from_millis(300), &mut renewal).await;
        assert!(early.is_err(), "{early:?}");
        machine.write_store(&main, &login("REF1", -1000));
        assert_eq!(lock.release(), Released::Clean);
        let outcomes = renewal.await.unwrap();
        assert_eq!(outcomes[0].result, RefreshResult::Adopted, "{outcomes:?}");
        assert_eq!(server.requests().len(), 0);
    }

    #[tokio::test]
    async fn the_http_client_is_kept_until_a_provider_cannot_be_reached() {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", -1000));
        let server = machine.serve(vec![answer(1, "REF1"), answer(2, "REF2")]).await;
        // A client that is made reads this file.
        let certificates = machine.path("ca.pem");
        fs::write(&certificates, "").unwrap();
        let environment = machine.environment().with_var("SSL_CERT_FILE", "ca.pem");
        let broker = machine.broker_in(environment);
        let renew = async || {
            let outcomes = broker.refresh(RefreshTarget::All).await;
            outcomes[0].error.as_ref().map(|error| error.code.clone())
        };
        assert_eq!(renew().await, None);
        fs::remove_file(&certificates).unwrap();
        assert_eq!(renew().await, None);
        assert_eq!(server.requests().len(), 2);

        machine.lead_to(&format!("http://127.0.0.1:{}/token", free_port().await));
        assert_eq!(renew().await.as_deref(), Some("network.unreachable"));
        assert_eq!(renew().await.as_deref(), Some("network.tls"));

        fs::write(&certificates, "").unwrap();
        let server = machine.serve(vec![answer(3, "REF3")]).await;
        assert_eq!(renew().await, None);
        assert_eq!(server.requests().len(), 1);
        assert_eq!(machine.read_store(&main)["profiles"][ANN]["refresh"], "REF3");
    }
}
