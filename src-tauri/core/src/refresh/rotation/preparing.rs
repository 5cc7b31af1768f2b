//! Preparing: find the holders, take the locks, read again, decide whether anything is sent.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Attempt, Done, Failed, Inner, Wanted, answer_lost, answer_lost_twice, due_item};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::history::{Family, Generation, SignIn};
use crate::ids::ProviderId;
use crate::install::canonical;
use crate::oauth::{Provider, Providers, TokenEndpoint};
use crate::refresh::fleet::Fleet;
use crate::refresh::holders::{Holder, Holders};
use crate::refresh::{merge, schedule};
use crate::secret::{Fingerprint, Secret};
use crate::store::agent_store::AgentStore;
use crate::store::lock::{RefreshLock, StoreLock};
use crate::vault::Journal;
use crate::vault::journal::Room;

crate::keeps_raw_secret!(Ticket);

/// A holder's lock that is not free within this time makes everything start again.
const TRY_LOCK: Duration = Duration::from_secs(1);

/// Everything that is needed to send, locks included.
pub(super) struct Ticket {
    pub(super) provider: Provider,
    pub(super) endpoint: TokenEndpoint,
    pub(super) refresh_token: Secret,
    pub(super) access: Secret,
    pub(super) expires: Option<Timestamp>,
    pub(super) client_id: Option<String>,
    pub(super) holders: Vec<Holder>,
    pub(super) refresh_locks: Vec<RefreshLock>,
    pub(super) store_locks: Vec<StoreLock>,
    /// Store locks are kept until the answer, 20 s at most.
    pub(super) keeps_store_locks: bool,
    pub(super) store_locked_at: Instant,
    pub(super) retry: bool,
    /// Known before the request: nothing but the journal may stand between an answer and a store.
    pub(super) family: Family,
    /// Where the answer goes first.
    pub(super) room: Room,
}

pub(super) enum Prepared {
    Send(Box<Ticket>),
    Done(Done),
    /// A lock was busy: everything was released.
    Busy(Error),
}

impl Inner {
    pub(super) fn prepare(&self, attempt: &Attempt) -> Result<Prepared, Failed> {
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
        self.refuse_refused(attempt)?;
        let provider = self.provider_of(&found, attempt.seen)?;
        let endpoint = self.endpoint()?;

        let refresh_locks = match self.refresh_locks(&fleet, &found.stores) {
            Ok(locks) => locks,
            Err(error) if error.code() == ErrorCode::LockBusy => return Ok(Prepared::Busy(error)),
            Err(error) => return Err(error.into()),
        };
        // Renewed while this one waited for its turn: no store is locked to see that.
        if !self.still_seen(attempt)? {
            return Ok(Prepared::Done(Done::Adopted));
        }
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
            let error = Error::new(ErrorCode::StoreChanged, say!("the holders of this login changed"));
            return Ok(Prepared::Busy(error));
        }
        let Some(first) = held.stores.first() else {
            return Ok(Prepared::Done(Done::Adopted));
        };
        if attempt.wanted == Wanted::IfDue && !self.is_due(attempt, &provider)? {
            return Ok(Prepared::Done(Done::Fresh));
        }
        for holder in &held.stores {
            self.ensure_writable(&fleet, &holder.state_dir)?;
            // What would refuse the answer refuses the request.
            AgentStore::new(&holder.agent_dir).check_writable()?;
        }
        self.refuse_answered(&fleet, attempt.seen)?;
        let content = AgentStore::new(&first.agent_dir).read()?;
        let oauth = content.document.credential(&first.profile_id);
        let Some(oauth) = oauth.as_ref().and_then(|credential| credential.as_oauth()) else {
            return Ok(Prepared::Done(Done::Adopted));
        };
        let Some(refresh_token) = oauth.refresh.clone() else {
            return Err(Error::new(
                ErrorCode::ProfileNotRefreshable,
                say!("there is no refresh token"),
            )
            .into());
        };
        if refresh_token.fingerprint() != attempt.seen {
            // Written by a program that takes no lock.
            return Ok(Prepared::Done(Done::Adopted));
        }
        let keeps_store_locks = held.stores.iter().any(|holder| {
            fleet
                .installation(&holder.state_dir)
                .is_none_or(|installation| installation.rules().store_lock_during_call)
        });
        if !keeps_store_locks {
            store_locks.clear();
        }
        let family = self.generations.family_of(attempt.seen)?;
        let room = self
            .journal(&canonical(&first.state_dir))
            .reserve(family, attempt.seen)?;
        Ok(Prepared::Send(Box::new(Ticket {
            provider,
            endpoint,
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
            family,
            room,
        })))
    }

    /// The refresh locks of all holders, in path order. Releases up to 2026.4.15 do not know them;
    /// there they keep Kalit's own processes apart for as long as an answer is waited for.
    pub(in crate::refresh) fn refresh_locks(
        &self,
        fleet: &Fleet,
        holders: &[Holder],
    ) -> Result<Vec<RefreshLock>> {
        let logins: BTreeSet<_> = holders
            .iter()
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

    /// What the record says of the generation. One that was refused is never sent.
    fn refuse_refused(&self, attempt: &Attempt) -> Result<Option<Generation>> {
        let known = self.generations.find(attempt.seen)?;
        match known.as_ref().and_then(|known| known.refusal.as_ref()) {
            Some(refusal) => Err(Error::new(
                ErrorCode::RefreshSignedOut,
                say!(
                    "{id} was refused before ({code})",
                    id = attempt.profile_id,
                    code = refusal.code
                ),
            )),
            None => Ok(known),
        }
    }

    /// Neither is one that has a successor. Asked under the locks: until then another Kalit may be
    /// about to write it.
    fn refuse_dead(&self, attempt: &Attempt) -> Result<Option<Generation>> {
        let known = self.refuse_refused(attempt)?;
        if known.as_ref().is_some_and(|known| known.superseded_by.is_some()) {
            return Err(Error::new(
                ErrorCode::RefreshSuperseded,
                say!(
                    "{id} went back to an older login than the newest one known",
                    id = attempt.profile_id
                ),
            ));
        }
        Ok(known)
    }

    /// Neither is one whose answer is in a journal, in an entry that could not be merged or read.
    fn refuse_answered(&self, fleet: &Fleet, generation: Fingerprint) -> Result<()> {
        let family = self.generations.family_of(generation)?;
        let holds = |journal: &Journal| journal.holds_answer_to(family, generation);
        let mut journals = fleet
            .installations
            .iter()
            .map(|installation| self.journal(&installation.state_dir.canonical()));
        match journals.find(holds) {
            None => Ok(()),
            Some(journal) => Err(Error::new(
                ErrorCode::VaultUnreadable,
                say!(
                    "an entry in {path} that cannot be used answers this login already",
                    path = journal.dir().display()
                ),
            )),
        }
    }

    /// Whether this is the one retry of a request without an answer. Asked under the locks: until
    /// then the answer may still come to another Kalit.
    fn is_retry(&self, attempt: &Attempt) -> Result<bool> {
        let Some(known) = self.refuse_dead(attempt)? else {
            return Ok(false);
        };
        match known.unknown_since {
            None => Ok(false),
            Some(_) if known.retried_at.is_some() => Err(answer_lost_twice()),
            Some(at) => {
                let now = self.clock.now();
                if schedule::repeated_at(at, now) > now {
                    return Err(answer_lost());
                }
                Ok(true)
            }
        }
    }

    /// The provider with the token endpoint under which the login was made, else its manifest's.
    fn provider_of(&self, found: &Holders, generation: Fingerprint) -> Result<Provider> {
        let Some(holder) = found.stores.first() else {
            return Err(Error::new(
                ErrorCode::ProfileUnknown,
                say!("no store holds this login any more"),
            ));
        };
        let providers = Providers::load(&self.environment)?;
        let id = ProviderId::parse(&holder.provider)
            .ok_or_else(|| Error::new(ErrorCode::ProviderUnknown, say!("the profile names no provider")))?;
        let provider = providers
            .get(&id)
            .filter(|provider| provider.token_route().is_some())
            .ok_or_else(|| {
                Error::new(
                    ErrorCode::ProfileNotRefreshable,
                    say!("Kalit does not know how to renew {id}", id),
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

    /// One client for all renewals: proxies and certificates are those of the environment.
    pub(in crate::refresh) fn endpoint(&self) -> Result<TokenEndpoint> {
        let mut slot = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some(endpoint) => Ok(endpoint.clone()),
            None => {
                let endpoint = TokenEndpoint::new(&self.environment, Arc::clone(&self.clock))?;
                Ok(slot.insert(endpoint).clone())
            }
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
}

fn refuse_shared(found: &Holders) -> Result<()> {
    if !found.is_shared() {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::RefreshShared,
        say!(
            "the same login is also held by {programs}",
            programs = found.with_whom().join(", ")
        ),
    ))
}

fn directories(holders: &[Holder]) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = holders.iter().map(|holder| holder.agent_dir.clone()).collect();
    directories.sort();
    directories.dedup();
    directories
}
