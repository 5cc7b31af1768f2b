//! Settling: what an answer means for the record, and rotated tokens from the journal into every
//! holder. From the moment tokens came nothing here may lose them.

use std::sync::PoisonError;

use super::preparing::Ticket;
use super::{Attempt, Done, Failed, Inner, Kept};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::ProviderId;
use crate::install::canonical;
use crate::oauth::{Class, RefreshAnswer, TokenAnswer};
use crate::refresh::merge::{self, Answer, Patience};
use crate::vault::journal::{EntryHolder, Received};

impl Inner {
    pub(super) fn settle(
        &self,
        ticket: Ticket,
        attempt: &Attempt,
        answer: RefreshAnswer,
    ) -> Result<Done, Failed> {
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
                self.forget_endpoint();
                self.not_sent(&ticket, attempt)?;
                Err(Failed::NotSent(error))
            }
            RefreshAnswer::Unknown => self.gave_up(&ticket, attempt, now),
            RefreshAnswer::Refused(refusal) => {
                let outcome = refusal.outcome;
                match outcome.class {
                    // Recorded whatever became of the store: it is never sent again.
                    Class::Permanent => {
                        self.generations.record_refusal(attempt.seen, outcome.code, now)?;
                    }
                    Class::Unknown => return self.gave_up(&ticket, attempt, now),
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

    /// Takes the record of sending back.
    pub(super) fn not_sent(&self, ticket: &Ticket, attempt: &Attempt) -> Result<()> {
        if ticket.retry {
            self.generations.postpone_retry(attempt.seen, self.clock.now())
        } else {
            self.generations.clear_unknown(attempt.seen)
        }
    }

    /// May be sent again. An answer that was lost before, or that may hide a rotation, stays known.
    pub(super) fn nothing_decided(
        &self,
        ticket: &Ticket,
        attempt: &Attempt,
        may_have_rotated: bool,
    ) -> Result<()> {
        if ticket.retry || may_have_rotated {
            self.generations.record_doubt(attempt.seen)
        } else {
            self.generations.clear_unknown(attempt.seen)
        }
    }

    fn gave_up(&self, ticket: &Ticket, attempt: &Attempt, now: Timestamp) -> Result<Done, Failed> {
        self.generations.record_unanswered(attempt.seen, now)?;
        Err(Failed::Unknown {
            retried: ticket.retry,
        })
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
        let state_dir = canonical(&state_dir);
        let journal = self.journal(&state_dir);
        let (entry, written) = journal.record(
            ticket.room,
            &state_dir.display().to_string(),
            holders,
            Received::from(tokens),
            now,
        );
        let answer = Answer::new(&ticket.provider, attempt.seen, tokens, now);
        // A record that cannot be written must not turn a renewal that worked into a failure.
        let _ = self
            .generations
            .record_rotation(attempt.seen, answer.generation, now, answer.lifetime_ms);
        let merged = merge::into_all(
            self,
            &answer,
            &ticket.holders,
            ticket.store_locks,
            Patience {
                limit: merge::ALL_HOLDERS,
                is_journalled: written.is_ok(),
            },
        );
        drop(ticket.refresh_locks);
        let merged = merged.and_then(|left_alone| match left_alone.first() {
            Some(holder) => self.seal_unplaced(&answer, &canonical(&holder.state_dir)),
            None => Ok(()),
        });
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
        match (merged, written) {
            // An entry that stays is discharged at the next look: every store has the answer.
            (Ok(()), _) => drop(journal.discharge(entry)),
            // The journal stands: the next start merges it.
            (Err(error), Ok(())) => return Err(error),
            (Err(error), Err(_)) => {
                self.unwritten().push(entry);
                return Err(nowhere(&error));
            }
        }
        Ok(Done::Refreshed {
            generation,
            holders: ticket.holders,
        })
    }
}

/// Only memory holds the answer.
fn nowhere(error: &Error) -> Error {
    Error::new(
        ErrorCode::VaultFailed,
        say!("the login was renewed, and neither its store nor Kalit's journal could be written: {why}", why = error.message()),
    )
    .with_hint(
        say!("Make room on the disk, or repair it. A Kalit that goes on running stores the login then; after a command that ended, sign in again."),
    )
}
