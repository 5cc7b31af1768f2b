//! Sending: the record "sent" before the request, the request once, the answer to settling.

use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};

use super::preparing::Ticket;
use super::{Attempt, Done, Failed, Inner, Refresher, answer_lost_twice};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};
use crate::refresh::schedule::ANSWER;
use crate::secret::Fingerprint;

/// A refresh lock older than this is not trusted to last until the answer is merged.
const OLDEST_REFRESH_LOCK: Duration = Duration::from_secs(40);
/// How long store locks may be held around a request, and how old they may be before it, by the
/// wall clock: 2026.2.17 steals them after 30 s, also from a machine or a process that slept.
const STORE_LOCK_DURING_CALL: Duration = Duration::from_secs(20);

impl Refresher {
    /// `None`: too late to send, start again.
    pub(super) async fn send(&self, mut ticket: Ticket, attempt: &Attempt) -> Option<Result<Done, Failed>> {
        let inner = &self.inner;
        let (this, seen, retry) = (self.clone(), attempt.seen, ticket.retry);
        match spawn_blocking(move || this.inner.record_sending(seen, retry)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(Err(error.into())),
            Err(error) => return Some(Err(stopped(error).into())),
        }
        // Asked after the record, which is a write to the disk and may have taken its time.
        if !ticket.is_locked(inner.clock.now()) {
            return inner
                .not_sent(&ticket, attempt)
                .err()
                .map(|error| Err(error.into()));
        }
        let answer = {
            let call = ticket.endpoint.refresh(
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
        Some(settled.unwrap_or_else(|error| Err(stopped(error).into())))
    }
}

impl Inner {
    fn record_sending(&self, generation: Fingerprint, retry: bool) -> Result<(), Error> {
        let now = self.clock.now();
        if !retry {
            // until the answer is given up, another Kalit must not take it for lost
            return self.generations.record_unknown(generation, now.plus(ANSWER));
        }
        match self.generations.record_retry(generation, now)? {
            true => Ok(()),
            false => Err(answer_lost_twice()),
        }
    }
}

pub(super) fn stopped(error: JoinError) -> Error {
    Error::new(ErrorCode::Internal, say!("the refresh stopped")).with_source(error)
}

impl Ticket {
    /// Whether every lock is still held, and young enough to last: a machine or a process may have
    /// slept, and another may be sending the same token now.
    fn is_locked(&self, now: Timestamp) -> bool {
        let (refresh, store) = (&self.refresh_locks, &self.store_locks);
        refresh
            .iter()
            .all(|lock| lock.held_for(now) < OLDEST_REFRESH_LOCK && lock.verify())
            && store
                .iter()
                .all(|lock| lock.held_for(now) < STORE_LOCK_DURING_CALL && lock.verify())
    }
}
