//! What the window's commands share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use kalit_core::broker::Broker;

use super::sign_in::SignIn;
use super::view::Problem;
use crate::arguments::Arguments;
use crate::in_flight::InFlight;
use crate::setup;

/// One window's state.
pub struct Session {
    arguments: Arguments,
    broker: Mutex<Option<Broker>>,
    pub sign_in: SignIn,
    pub in_flight: InFlight,
    leaving: AtomicBool,
}

impl Session {
    pub fn new(arguments: Arguments) -> Self {
        Self {
            arguments,
            broker: Mutex::new(None),
            sign_in: SignIn::default(),
            in_flight: InFlight::default(),
            leaving: AtomicBool::new(false),
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

    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }
}
