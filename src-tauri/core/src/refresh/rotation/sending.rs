//! Sending: the record "sent" before the request, the request once, the answer to settling.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::preparing::Ticket;
use super::{Attempt, Done, Failed, Refresher, answer_lost_twice};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};

/// A refresh lock older than this is not trusted to last until the answer is merged.
const OLDEST_REFRESH_LOCK: Duration = Duration::from_secs(40);
/// How long store locks may be held around a request, and how old they may be before it, by the
/// wall clock: 2026.2.17 steals them after 30 s, also from a machine or a process that slept.
const STORE_LOCK_DURING_CALL: Duration = Duration::from_secs(20);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(120);

impl Refresher {
    /// `None`: too late to send, start again.
    pub(super) async fn send(&self, mut ticket: Ticket, attempt: &Attempt) -> Option<Result<Done, Failed>> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let recorded = if ticket.retry {
            inner
                .generations
                .record_retry(attempt.seen, now)
                .and_then(|first| if first { Ok(()) } else { Err(answer_lost_twice()) })
        } else {
            // until the answer is given up, another Kalit must not take it for lost
            inner.generations.record_unknown(attempt.seen, now.plus(ANSWER))
        };
        if let Err(error) = recorded {
            return Some(Err(error.into()));
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
        Some(settled.unwrap_or_else(|error| {
            Err(Error::new(ErrorCode::Internal, "the refresh stopped")
                .with_source(error)
                .into())
        }))
    }
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
