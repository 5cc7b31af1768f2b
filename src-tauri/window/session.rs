//! What the window's commands share.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kalit_core::broker::Broker;
use kalit_shell::in_flight::InFlight;
use kalit_shell::process;
use kalit_shell::route::Route;

use crate::sign_in::SignIn;
use crate::view::Problem;

/// Whether a person sees the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Shown,
    /// Closed, and finishing what is under way.
    Leaving,
    /// The process ends.
    Gone,
}

/// One window's state.
pub struct Session {
    state_dir: Option<PathBuf>,
    broker: Mutex<Option<Broker>>,
    pub sign_in: SignIn,
    pub in_flight: InFlight,
    presence: Mutex<Presence>,
    /// Where the page has been asked to go and has not gone yet: it may not listen yet.
    wanted: Mutex<Option<Route>>,
}

impl Session {
    pub fn new(state_dir: Option<PathBuf>) -> Self {
        Self {
            state_dir,
            broker: Mutex::new(None),
            sign_in: SignIn::default(),
            in_flight: InFlight::default(),
            presence: Mutex::new(Presence::Shown),
            wanted: Mutex::new(None),
        }
    }

    /// `--state-dir`.
    pub fn state_dir(&self) -> Option<&Path> {
        self.state_dir.as_deref()
    }

    /// The broker, opened when it is first needed and again after a failure. Reads the disk.
    pub fn broker(&self) -> Result<Broker, Problem> {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        match broker.as_ref() {
            Some(broker) => Ok(broker.clone()),
            None => Ok(broker.insert(process::broker(self.state_dir.as_deref())?).clone()),
        }
    }

    /// The window was closed; the process ends when nothing is under way.
    pub fn leave(&self) {
        let mut presence = self.presence();
        if *presence == Presence::Shown {
            *presence = Presence::Leaving;
        }
    }

    /// The window was asked for again. Whether it can be had: the process may be ending.
    pub fn stay(&self) -> bool {
        let mut presence = self.presence();
        if *presence == Presence::Leaving {
            *presence = Presence::Shown;
        }
        *presence == Presence::Shown
    }

    /// Whether the window is closed.
    pub fn is_leaving(&self) -> bool {
        *self.presence() != Presence::Shown
    }

    /// Ends for good, unless the window was asked for again. Whether it does.
    pub fn end(&self) -> bool {
        let mut presence = self.presence();
        if *presence == Presence::Leaving {
            *presence = Presence::Gone;
        }
        *presence == Presence::Gone
    }

    fn presence(&self) -> MutexGuard<'_, Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the place to go until the page asks for it; only the last one counts.
    pub fn want(&self, route: Route) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(route);
    }

    /// The place the page has not gone to yet, once.
    pub fn take_wanted(&self) -> Option<Route> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_window_can_be_had_again_until_the_process_ends() {
        let session = Session::new(None);
        assert!(!session.end());
        session.leave();
        assert!(session.is_leaving() && session.stay() && !session.is_leaving());
        assert!(!session.end());
        session.leave();
        assert!(session.end() && !session.stay() && session.is_leaving());
    }

    #[test]
    fn a_place_is_kept_until_the_page_asks_for_it_and_given_once() {
        let session = Session::new(None);
        assert_eq!(session.take_wanted(), None);
        session.want(Route::Board);
        session.want(Route::Add);
        assert_eq!(session.take_wanted(), Some(Route::Add));
        assert_eq!(session.take_wanted(), None);
    }
}
