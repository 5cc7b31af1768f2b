//! Tells of lost logins and of what may become one: once for each generation and signal, with a button
//! that leads back, taken back when it is solved. Nothing is told when all goes well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kalit_core::Error;
use kalit_core::broker::Broker;
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::view::Snapshot;
use kalit_shell::alerts::{self, Alert, AlertKind};
use kalit_shell::hold::{self, Hold};
use kalit_shell::menu::Action;
use kalit_shell::names::Cover;
use kalit_shell::words;

use crate::desktop::{Button, Desktop, Note, Urgency};

const RESTORE: Button = Button {
    id: "restore",
    label: "Restore…",
};
const SIGN_IN: Button = Button {
    id: "sign-in",
    label: "Sign in again",
};
const SEPARATE: Button = Button {
    id: SIGN_IN.id,
    label: "Sign in separately",
};
const CHECK: Button = Button {
    id: "check",
    label: "Check now",
};
const RENEW: Button = Button {
    id: CHECK.id,
    label: "Renew now",
};
/// Also what a click on the notification itself does.
const DETAILS: Button = Button {
    id: "details",
    label: "Details",
};

/// What this process has told and has not been solved yet.
pub struct Notifications {
    told: Mutex<Vec<Told>>,
    hold: Mutex<Hold>,
}

struct Told {
    alert: Alert,
    /// Its number on the desktop, while it is on screen.
    id: Option<u32>,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            told: Mutex::default(),
            hold: Mutex::new(Hold::new(SystemClock.now(), Instant::now())),
        }
    }
}

impl Notifications {
    /// Tells what is new in `snapshot` and takes back what has been solved. Answers after which time to
    /// be asked again, if something may be held back now.
    pub async fn tell(&self, desktop: &Desktop, broker: &Broker, snapshot: &Snapshot) -> Option<Duration> {
        let present = alerts::alerts(snapshot);
        let solved = |told: &Told| !present.iter().any(|alert| alert.is_about(&told.alert));
        self.withdraw(desktop, solved).await;
        // What is held back is not marked as told: it is told afterwards, if it is still so.
        let held = self.hold.lock().unwrap_or_else(PoisonError::into_inner).look(
            SystemClock.now(),
            Instant::now(),
            snapshot.offline_since,
            hold::has_network,
        );
        if !held.is_zero() {
            return Some(held);
        }
        if !broker.wants_notifications() {
            return None;
        }
        // What was told is not told again, even if the record of it could not be written.
        let untold = |key: &str| {
            let here = |told: &Told| told.alert.keys.iter().any(|told| told == key);
            !self.told().iter().any(here) && broker.notified(key)
        };
        for alert in alerts::due(snapshot, untold) {
            // What was said of a part of it is said anew.
            self.withdraw(desktop, |told| told.alert.is_about(&alert)).await;
            let note = Note {
                title: &alert.title,
                body: &alert.body,
                buttons: buttons(&alert),
                urgency: match alert.kind {
                    AlertKind::Shared => Urgency::Low,
                    AlertKind::Lost(_) | AlertKind::Unreadable | AlertKind::Ending => Urgency::Normal,
                },
            };
            let id = desktop.notify(note).await;
            self.told().push(Told { alert, id });
        }
        None
    }

    /// Takes everything off the screen: nobody answers its buttons any more.
    pub async fn end(&self, desktop: &Desktop) {
        self.withdraw(desktop, |_| true).await;
    }

    async fn withdraw(&self, desktop: &Desktop, what: impl Fn(&Told) -> bool) {
        let gone: Vec<u32> = self
            .told()
            .extract_if(.., |told| what(told))
            .filter_map(|told| told.id)
            .collect();
        for id in gone {
            desktop.withdraw(id).await;
        }
    }

    /// Says that something a person asked for has failed, and what to do next.
    pub async fn fail(&self, desktop: &Desktop, title: &str, error: &Error, cover: &Cover) {
        let body = words::capital(&cover.text(error.message()));
        let note = Note {
            title,
            body: &format!("{body}. {}", cover.text(error.hint())),
            buttons: &[],
            urgency: Urgency::Normal,
        };
        desktop.notify(note).await;
    }

    /// Says once, over restarts, where Kalit is after its window was closed. Answers with the words if the
    /// desktop shows no notification.
    pub async fn first_close(&self, desktop: &Desktop, broker: &Broker) -> Option<&'static str> {
        const STAYS: &str = "Kalit stays in the tray";
        if !broker.wants_notifications() || !broker.notified("tray.first-close") {
            return None;
        }
        let note = Note {
            title: STAYS,
            body: "It goes on watching your logins. To end it, choose Quit in its menu.",
            buttons: &[],
            urgency: Urgency::Low,
        };
        desktop.notify(note).await.is_none().then_some(STAYS)
    }

    /// What a button of a notification stands for; every other click on it shows what is known.
    pub fn pressed(&self, id: u32, button: &str) -> Option<Action> {
        let told = self.told();
        let Told { alert, .. } = told.iter().find(|told| told.id == Some(id))?;
        // Restoring shows first what would be done and what is known: a notification has no room for it.
        let route = match button {
            _ if button == SIGN_IN.id => alert.sign_in.clone(),
            _ if button == RESTORE.id => alert.restore.clone(),
            _ => None,
        };
        let renewed = alert.profile.clone().filter(|_| button == CHECK.id);
        Some(match renewed {
            Some(profile) => Action::Renew {
                agent: alert.agent.clone(),
                profile,
            },
            None => Action::Open(route.unwrap_or_else(|| alert.details())),
        })
    }

    /// A notification has left the screen.
    pub fn closed(&self, id: u32) {
        for told in self.told().iter_mut().filter(|told| told.id == Some(id)) {
            told.id = None;
        }
    }

    fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two at most: macOS shows no more.
fn buttons(alert: &Alert) -> &'static [Button] {
    match (alert.kind, &alert.restore, &alert.sign_in) {
        (AlertKind::Ending, ..) if alert.renewable => &[RENEW, DETAILS],
        (AlertKind::Shared, ..) => &[SEPARATE, DETAILS],
        (_, Some(_), Some(_)) => &[RESTORE, SIGN_IN],
        (_, Some(_), None) => &[RESTORE, DETAILS],
        (_, None, Some(_)) if alert.renewable => &[CHECK, SIGN_IN],
        (_, None, Some(_)) => &[SIGN_IN, DETAILS],
        (_, None, None) => &[DETAILS],
    }
}
