//! Ending a login at its provider, as a person asked: under the locks of a renewal, because a token
//! that is rotated meanwhile is not the one that ends. Recorded before it is sent and once it is
//! answered: whatever happens in between, no store keeps a dead login without a word of it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::fleet::Fleet;
use super::merge;
use super::rotation::{Inner, Refresher};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::ProfileId;
use crate::oauth::classify::SIGNED_OUT_EVERYWHERE;
use crate::oauth::{Provider, Providers, RevokeAnswer, TokenEndpoint};
use crate::secret::{Fingerprint, Secret};
use crate::store::credential::Credential;
use crate::store::lock::{RefreshLock, StoreLock};

crate::keeps_raw_secret!(Ticket);

/// One try of a lock.
const TRY_LOCK: Duration = Duration::from_secs(1);
/// A person waits: after this the locks are said to be busy.
const ALL_LOCKS: Duration = Duration::from_secs(15);
/// 2026.2.17 takes store locks from others after 30 s.
const OLDEST_LOCK: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(15);

/// A profile of one store, with the generation that it was seen with.
#[derive(Clone, Debug)]
pub struct Login {
    pub agent_dir: PathBuf,
    pub profile_id: ProfileId,
    pub seen: Fingerprint,
}

/// Whether a login can be ended at its provider.
#[derive(Debug)]
pub enum Revocable {
    /// There.
    At(Box<Provider>),
    /// It is known to have ended: nothing needs to be sent.
    Ended,
}

struct Ticket {
    provider: Box<Provider>,
    endpoint: TokenEndpoint,
    token: Secret,
    client_id: Option<String>,
    refresh_locks: Vec<RefreshLock>,
    store_locks: Vec<StoreLock>,
}

enum Prepared {
    Send(Box<Ticket>),
    Ended,
    Busy(Error),
}

impl Refresher {
    /// Where a login can be ended.
    ///
    /// # Errors
    /// `revoke.unavailable` with the reason why it cannot.
    pub fn revocable(&self, credential: &Credential) -> Result<Revocable> {
        self.inner().revocable(credential)
    }

    /// Ends a login at its provider; `true` when it had ended before. What was begun comes to its
    /// end whoever stops waiting.
    ///
    /// # Errors
    /// `revoke.*`, `network.*`, `provider.*`: the store is as it was, and so is the login unless it
    /// is `revoke.unknown`. `store.changed`: it was renewed meanwhile. `lock.busy`.
    pub async fn revoke(&self, login: Login) -> Result<bool> {
        let this = self.clone();
        tokio::spawn(async move { this.revoke_once(login).await })
            .await
            .map_err(stopped)?
    }

    async fn revoke_once(self, login: Login) -> Result<bool> {
        let started = Instant::now();
        loop {
            let (this, wanted) = (self.clone(), login.clone());
            let prepared = spawn_blocking(move || this.inner().prepare_revocation(&wanted));
            let busy = match prepared.await.map_err(stopped)?? {
                Prepared::Ended => return Ok(true),
                Prepared::Send(ticket) => match self.revoke_with(*ticket, &login).await? {
                    Some(ended) => return Ok(ended),
                    None => Error::new(
                        ErrorCode::LockBusy,
                        say!("the locks were too old to send anything"),
                    ),
                },
                Prepared::Busy(error) => error,
            };
            if started.elapsed() > ALL_LOCKS {
                return Err(busy);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// `None`: too late to send, start again.
    async fn revoke_with(&self, ticket: Ticket, login: &Login) -> Result<Option<bool>> {
        let (this, seen) = (self.clone(), login.seen);
        let record = spawn_blocking(move || {
            let inner = this.inner();
            let now = inner.clock.now();
            inner.generations.record_revoking(seen, now)?;
            let locked = ticket.is_locked(inner.clock.now());
            if !locked {
                inner.generations.clear_revoking(seen)?;
            }
            Ok::<_, Error>(locked.then_some(ticket))
        });
        let Some(ticket) = record.await.map_err(stopped)?? else {
            return Ok(None);
        };
        let client_id = ticket.client_id.as_deref();
        let asked = ticket
            .endpoint
            .revoke(&ticket.provider, &ticket.token, client_id, DEADLINE);
        let answer = asked.await;
        let (this, login) = (self.clone(), login.clone());
        let settled = spawn_blocking(move || {
            let ended = this.inner().settle_revocation(&login, answer);
            drop(ticket);
            ended
        });
        settled.await.map_err(stopped)?.map(Some)
    }
}

impl Inner {
    fn revocable(&self, credential: &Credential) -> Result<Revocable> {
        let unavailable = |why: String| Err(Error::new(ErrorCode::RevokeUnavailable, why));
        if credential.as_oauth().is_none() {
            return unavailable(say!("a token or key is ended on the provider's own pages"));
        }
        let Some(generation) = credential.generation() else {
            return unavailable(say!("its refresh token is not in the store"));
        };
        if let Some(known) = self.generations.find(generation)? {
            if known.refusal.is_some() {
                return Ok(Revocable::Ended);
            }
            if known.superseded_by.is_some() {
                return unavailable(say!("this copy is spent: a newer one of the same login is known"));
            }
            if known.unknown_since.is_some() {
                return unavailable(say!(
                    "a renewal was not answered: which token counts is not known"
                ));
            }
        }
        let providers = Providers::load(&self.environment)?;
        let Some(provider) = credential.provider().and_then(|id| providers.get(id)) else {
            return unavailable(say!("Kalit does not know its provider"));
        };
        if provider.revoke_url().is_none() || provider.token_route().is_none() {
            return unavailable(say!(
                "Kalit knows no way to do that at {provider}",
                provider = provider.name()
            ));
        }
        // A token goes to nobody but the server that issued it.
        let family = self.generations.family_of(generation)?;
        let token_url = provider.token_route().map(|route| route.url.as_str());
        if let Some(sign_in) = self.generations.sign_in_of(family)?
            && Some(sign_in.token_url.as_str()) != token_url
        {
            return unavailable(say!("it was signed in at another server than the manifest's"));
        }
        Ok(Revocable::At(Box::new(provider.clone())))
    }

    fn prepare_revocation(&self, login: &Login) -> Result<Prepared> {
        match merge::replay_answer(self, login.seen) {
            Err(error) if error.code() == ErrorCode::LockBusy => return Ok(Prepared::Busy(error)),
            merged => merged?,
        }
        let fleet = self.fleet()?;
        let found = fleet.holders(login.seen).stores;
        let mut store_locks = Vec::new();
        let refresh_locks = match self.refresh_locks(&fleet, &found) {
            Ok(locks) => locks,
            Err(error) if error.code() == ErrorCode::LockBusy => return Ok(Prepared::Busy(error)),
            Err(error) => return Err(error),
        };
        for dir in found
            .iter()
            .map(|holder| &holder.agent_dir)
            .collect::<BTreeSet<_>>()
        {
            match StoreLock::acquire(dir, &self.locks, TRY_LOCK) {
                Ok(lock) => store_locks.push(lock),
                Err(error) if error.code() == ErrorCode::LockBusy => return Ok(Prepared::Busy(error)),
                Err(error) => return Err(error),
            }
        }
        // Under the locks everything is read again: this is what decides.
        let fleet = self.fleet()?;
        if fleet.holders(login.seen).stores != found {
            let error = Error::new(ErrorCode::StoreChanged, say!("the holders of this login changed"));
            return Ok(Prepared::Busy(error));
        }
        let credential = stored(&fleet, login)?;
        let provider = match self.revocable(&credential)? {
            Revocable::At(provider) => provider,
            Revocable::Ended => return Ok(Prepared::Ended),
        };
        let keeps_store_locks = found.iter().any(|holder| {
            fleet
                .installation(&holder.state_dir)
                .is_none_or(|installation| installation.rules().store_lock_during_call)
        });
        if !keeps_store_locks {
            store_locks.clear();
        }
        let oauth = credential.as_oauth();
        let Some(token) = oauth.and_then(|oauth| oauth.refresh.clone()) else {
            return Err(changed(login));
        };
        Ok(Prepared::Send(Box::new(Ticket {
            provider,
            endpoint: self.endpoint()?,
            token,
            client_id: oauth.and_then(|oauth| oauth.client_id.clone()),
            refresh_locks,
            store_locks,
        })))
    }

    /// Whether it had ended before.
    fn settle_revocation(&self, login: &Login, answer: RevokeAnswer) -> Result<bool> {
        let (generations, seen) = (&self.generations, login.seen);
        let (code, before) = match answer {
            RevokeAnswer::Ended => (SIGNED_OUT_EVERYWHERE, false),
            RevokeAnswer::EndedBefore { code } => (code, true),
            RevokeAnswer::NotSent(error) => {
                self.forget_endpoint();
                generations.clear_revoking(seen)?;
                return Err(error);
            }
            RevokeAnswer::Refused {
                error,
                is_doubtful: false,
            } => {
                generations.clear_revoking(seen)?;
                return Err(error);
            }
            RevokeAnswer::Refused { error, .. } => {
                return Err(Error::new(ErrorCode::RevokeUnknown, error.message()));
            }
            RevokeAnswer::Unknown => {
                let text = say!("the request was sent and its answer never came");
                return Err(Error::new(ErrorCode::RevokeUnknown, text));
            }
        };
        generations.record_refusal(seen, code, self.clock.now())?;
        generations.clear_revoking(seen)?;
        // A program without these locks may have renewed it: then another token lives on.
        stored(&self.fleet()?, login)?;
        Ok(before)
    }
}

impl Ticket {
    /// Whether every lock is still held, and young enough to last: a machine may have slept.
    fn is_locked(&self, now: Timestamp) -> bool {
        let (refresh, store) = (&self.refresh_locks, &self.store_locks);
        refresh
            .iter()
            .all(|lock| lock.held_for(now) < OLDEST_LOCK && lock.verify())
            && store
                .iter()
                .all(|lock| lock.held_for(now) < OLDEST_LOCK && lock.verify())
    }
}

/// The credential, as long as it has the generation that was seen.
fn stored(fleet: &Fleet, login: &Login) -> Result<Credential> {
    let store = fleet.store_of(&login.agent_dir).ok_or_else(|| changed(login))?;
    let content = match &store.content {
        Ok(content) => content,
        Err(error) => return Err(Error::new(error.code(), error.message()).with_hint(error.hint())),
    };
    content
        .document
        .credential(&login.profile_id)
        .filter(|credential| credential.generation() == Some(login.seen))
        .ok_or_else(|| changed(login))
}

fn changed(login: &Login) -> Error {
    Error::new(
        ErrorCode::StoreChanged,
        say!("another program renewed {id} meanwhile", id = login.profile_id),
    )
}

fn stopped(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorCode::Internal, say!("the sign-out stopped")).with_source(error)
}
