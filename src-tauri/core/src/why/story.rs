//! What the history tells of who else used a login, and when.

use super::{Evidence, Loss};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::radar::Program;

/// Deeds after which a login in the store is a fresh one.
const FRESH: [EventKind; 6] = [
    EventKind::SignedIn,
    EventKind::Refreshed,
    EventKind::Adopted,
    EventKind::Imported,
    EventKind::Repaired,
    EventKind::Restored,
];

/// What happened before a loss is noticed at most this long after it.
const NOTICED_WITHIN_MS: i64 = 120_000;

/// Somebody who used the same login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// For people.
    pub(super) name: String,
    pub(super) at: Timestamp,
    /// The very generation that was lost, not merely the same account.
    pub(super) same: bool,
}

impl Evidence {
    /// The program that was last seen to renew the login for itself, before or about when it was lost.
    pub(super) fn renewed_elsewhere(&self, loss: &Loss) -> Option<Other> {
        self.other(loss, EventKind::RenewedElsewhere, |cause| !cause.contains(':'))
    }

    /// The program that held the login and was last seen without it, or with another account's: it was
    /// signed out there, or signed in anew.
    pub(super) fn gone_elsewhere(&self, loss: &Loss) -> Option<Other> {
        self.other(loss, EventKind::RenewedElsewhere, |cause| cause.contains(':'))
    }

    /// The program that was last found with the same login.
    pub(super) fn found_elsewhere(&self, loss: &Loss) -> Option<Other> {
        self.other(loss, EventKind::Shared, |_| true)
    }

    fn other(&self, loss: &Loss, kind: EventKind, is_meant: fn(&str) -> bool) -> Option<Other> {
        let fresh = self.last_fresh(loss.at).map(|event| event.at);
        // What a program does much later it does because its login, too, was lost.
        let until = loss.at.plus_millis(NOTICED_WITHIN_MS);
        self.events
            .iter()
            .filter(|event| event.kind == kind && event.at <= until)
            .filter(|event| event.cause.as_deref().is_some_and(is_meant))
            .map(|event| {
                let same = event.generation.is_some() && event.generation == self.generation;
                (event, same)
            })
            .find(|(event, same)| *same || fresh.is_none_or(|fresh| event.at >= fresh))
            .and_then(|(event, same)| {
                Some(Other {
                    name: program(event.cause.as_deref()?),
                    at: event.at,
                    same,
                })
            })
    }

    /// Another agent of OpenClaw whose copy was renewed: its store went on, this one did not.
    pub(super) fn renewed_in_other_agent(&self, loss: &Loss) -> Option<Other> {
        let fresh = self.last_fresh(loss.at).map(|event| event.at);
        let event = self.events.iter().find(|event| {
            event.kind == EventKind::Adopted
                && event.agent.as_ref().is_some_and(|agent| *agent != self.agent)
                && event.generation != self.generation
                && event.at <= loss.at
                && fresh.is_none_or(|fresh| event.at >= fresh)
        })?;
        Some(Other {
            name: event.agent.as_ref()?.to_string(),
            at: event.at,
            same: true,
        })
    }

    /// When this agent's login was last made new before `until`.
    pub(super) fn last_fresh(&self, until: Timestamp) -> Option<&Event> {
        self.events.iter().find(|event| {
            FRESH.contains(&event.kind) && event.agent.as_ref() == Some(&self.agent) && event.at <= until
        })
    }

    /// The failure that nothing has made good yet: its code. `Err` with the time of what did.
    pub(super) fn trouble(&self) -> Result<Option<&str>, Timestamp> {
        let mut made_good = None;
        for event in &self.events {
            if event.agent.as_ref() != Some(&self.agent) {
                continue;
            }
            if FRESH.contains(&event.kind) {
                made_good = made_good.or(Some(event.at));
            } else if event.kind == EventKind::RefreshFailed {
                return match made_good {
                    Some(at) => Err(at),
                    None => Ok(event.cause.as_deref().or(self.trouble.as_deref())),
                };
            }
        }
        Ok(self.trouble.as_deref())
    }
}

/// A program's name from a cause: its stable word, and after a colon what became of its copy.
fn program(cause: &str) -> String {
    let word = cause.split(':').next().unwrap_or_default();
    match (Program::of_word(word), word) {
        (Some(program), _) => program.name().to_owned(),
        (None, "openclaw") => say!("Another OpenClaw"),
        (None, _) => word.to_owned(),
    }
}

/// "3 minutes", rounded down; `None` for less than one.
pub(super) fn span(millis: i64) -> Option<String> {
    let minutes = millis / 60_000;
    match (minutes, minutes / 60, minutes / 1440) {
        (..=0, ..) => None,
        (_, 0, _) => Some(plural!(minutes, "{n} minute", "{n} minutes")),
        (_, hours, 0) => Some(plural!(hours, "{n} hour", "{n} hours")),
        (_, _, days) => Some(plural!(days, "{n} day", "{n} days")),
    }
}
