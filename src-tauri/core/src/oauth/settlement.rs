//! The one answer of a sign-in: whoever brings it first (browser, paste, cancel, timeout) settles
//! it, and nobody can settle it twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::Result;
use crate::secret::Secret;

crate::keeps_secret!(Settlement);
crate::keeps_raw_secret!(Claim);

/// The authorization code, or why there will be none.
pub(super) type Settled = Result<Secret>;

#[derive(Clone, Debug)]
pub(super) struct Settlement(Arc<Mutex<Slot>>);

#[derive(Debug)]
enum Slot {
    Open(oneshot::Sender<Settled>),
    Answered,
    Cancelled,
}

/// What [`Settlement::claim`] found.
pub(super) enum Claimed {
    /// The claimant is the first, and must resolve.
    First(Claim),
    /// An answer came before.
    Answered,
    /// The sign-in was given up before.
    Cancelled,
}

/// The right to settle, taken by one.
pub(super) struct Claim(oneshot::Sender<Settled>);

impl Settlement {
    pub(super) fn new() -> (Self, oneshot::Receiver<Settled>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Slot::Open(sender)))), receiver)
    }

    /// Takes the right to settle, before the answer is passed on: the browser is answered first.
    pub(super) fn claim(&self) -> Claimed {
        let mut slot = self.slot();
        match std::mem::replace(&mut *slot, Slot::Answered) {
            Slot::Open(sender) => Claimed::First(Claim(sender)),
            Slot::Answered => Claimed::Answered,
            Slot::Cancelled => {
                *slot = Slot::Cancelled;
                Claimed::Cancelled
            }
        }
    }

    /// Gives up, unless an answer came before. Returns whether it did.
    pub(super) fn cancel(&self) -> bool {
        let mut slot = self.slot();
        match &*slot {
            Slot::Answered => false,
            Slot::Open(_) | Slot::Cancelled => {
                *slot = Slot::Cancelled;
                true
            }
        }
    }

    /// The slot is valid after every statement, so a panic elsewhere cannot have spoilt it.
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    pub(super) fn resolve(self, settled: Settled) {
        // Nobody waits any more if the sign-in was dropped meanwhile.
        let _ = self.0.send(settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_claim_settles_and_later_ones_learn_that() {
        let (settlement, receiver) = Settlement::new();
        let Claimed::First(claim) = settlement.claim() else {
            panic!("not the first")
        };
        assert!(matches!(settlement.claim(), Claimed::Answered));
        assert!(!settlement.cancel(), "an answer is never abandoned");
        claim.resolve(Ok(Secret::new("code")));
        assert_eq!(receiver.await.unwrap().unwrap().expose(), "code");
    }

    #[tokio::test]
    async fn after_a_cancel_nothing_settles() {
        let (settlement, receiver) = Settlement::new();
        assert!(settlement.cancel());
        assert!(settlement.cancel());
        assert!(matches!(settlement.claim(), Claimed::Cancelled));
        assert!(matches!(settlement.claim(), Claimed::Cancelled));
        assert!(receiver.await.is_err());
    }
}
