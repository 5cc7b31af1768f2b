//! What the window's commands share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use kalit_core::broker::Broker;

use super::sign_in::SignIn;
use super::view::Problem;
use crate::arguments::Arguments;
use crate::in_flight::InFlight;
use crate::route::Route;
use crate::setup;

/// One window's state.
pub struct Session {
    arguments: Arguments,
    broker: Mutex<Option<Broker>>,
    pub sign_in: SignIn,
    pub in_flight: InFlight,
    leaving: AtomicBool,
    /// Where the page has been asked to go and has not gone yet: it may not listen yet.
    wanted: Mutex<Option<Route>>,
}

impl Session {
    pub fn new(arguments: Arguments) -> Self {
        Self {
            arguments,
            broker: Mutex::new(None),
            sign_in: SignIn::default(),
            in_flight: InFlight::default(),
            leaving: AtomicBool::new(false),
            wanted: Mutex::new(None),
        }
    }

    /// The broker, opened when it is first needed and again after a failure. Reads the disk.
    pub fn broker(&self) -> Result<Broker, Problem> {
        let mut broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        match broker.as_ref() {
            Some(broker) => Ok(broker.clone()),
            None => Ok(broker.insert(setup::broker(&self.arguments)?).clone()),
        }
    }

    /// The window was closed; the process ends when nothing is under way.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    /// The window was asked for again.
    pub fn stay(&self) {
        self.leaving.store(false, Ordering::SeqCst);
    }

    /// Keeps the place to go until the page asks for it; only the last one counts.
    pub fn want(&self, route: Route) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(route);
    }

    /// The place the page has not gone to yet, once.
    pub fn take_wanted(&self) -> Option<Route> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_place_is_kept_until_the_page_asks_for_it_and_given_once() {
        let session = Session::new(Arguments::parse_from(["kalit-desktop", "--window"]));
        assert_eq!(session.take_wanted(), None);
        session.want(Route::Board);
        session.want(Route::Add);
        assert_eq!(session.take_wanted(), Some(Route::Add));
        assert_eq!(session.take_wanted(), None);
    }
}
