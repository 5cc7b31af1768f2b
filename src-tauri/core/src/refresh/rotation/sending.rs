//! Sending: the record "sent" before the request, the request once, the answer to settling.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::preparing::Ticket;
use super::{Attempt, Done, Failed, Refresher, answer_lost_twice};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};
use crate::store::lock::{RefreshLock, StoreLock};

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
        if !ticket.locks_hold(now) {
            return None;
        }
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
        // Recording waits for the disk, and a process may be stopped at any time.
        if !ticket.locks_hold(inner.clock.now()) {
            let undone = inner.nothing_decided(&ticket, attempt, false);
            return undone.err().map(|error| Err(error.into()));
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
    /// Whether all locks are still this process's, and young enough to stay so.
    fn locks_hold(&self, now: Timestamp) -> bool {
        let refresh = |lock: &RefreshLock| lock.held_for(now) < OLDEST_REFRESH_LOCK && lock.verify();
        let store = |lock: &StoreLock| lock.held_for(now) < STORE_LOCK_DURING_CALL && lock.verify();
        self.refresh_locks.iter().all(refresh) && self.store_locks.iter().all(store)
    }
}
