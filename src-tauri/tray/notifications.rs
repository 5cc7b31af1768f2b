//! Tells of lost logins and of what may become one: once for each generation and signal, with a button
//! that leads back, taken back when it is solved. Nothing is told when all goes well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kalit_core::broker::Broker;
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::view::Snapshot;
use kalit_core::{Error, say};
use kalit_shell::alerts::{self, Alert, AlertKind};
use kalit_shell::hold::{self, Hold};
use kalit_shell::menu::Action;
use kalit_shell::names::Cover;
use kalit_shell::words;

use crate::desktop::{Button, Desktop, Note, Urgency};

/// What a notification offers. Buttons that do the same have the same id.
#[derive(Clone, Copy)]
enum Offer {
    Restore,
    SignIn,
    Separate,
    Check,
    Renew,
    /// Also what a click on the notification itself does.
    Details,
}

impl Offer {
    fn id(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::SignIn | Self::Separate => "sign-in",
            Self::Check | Self::Renew => "check",
            Self::Details => "details",
        }
    }

    fn button(self) -> Button {
        let label = match self {
            Self::Restore => say!("Restore…"),
            Self::SignIn => say!("Sign in again"),
            Self::Separate => say!("Sign in separately"),
            Self::Check => say!("Check now"),
            Self::Renew => say!("Renew now"),
            Self::Details => say!("Details"),
        };
        Button { id: self.id(), label }
    }
}

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
                buttons: &buttons(&alert),
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
            body: &format!("{body}. {}", cover.text(&error.hint())),
            buttons: &[],
            urgency: Urgency::Normal,
        };
        desktop.notify(note).await;
    }

    /// Says once, over restarts, where Kalit is after its window was closed. Answers with the words if the
    /// desktop shows no notification.
    pub async fn first_close(&self, desktop: &Desktop, broker: &Broker) -> Option<String> {
        let stays = say!("Kalit stays in the tray");
        if !broker.wants_notifications() || !broker.notified("tray.first-close") {
            return None;
        }
        let note = Note {
            title: &stays,
            body: &say!("It goes on watching your logins. To end it, choose Quit in its menu."),
            buttons: &[],
            urgency: Urgency::Low,
        };
        desktop.notify(note).await.is_none().then_some(stays)
    }

    /// What a button of a notification stands for; every other click on it shows what is known.
    pub fn pressed(&self, id: u32, button: &str) -> Option<Action> {
        let told = self.told();
        let Told { alert, .. } = told.iter().find(|told| told.id == Some(id))?;
        // Restoring shows first what would be done and what is known: a notification has no room for it.
        let route = match button {
            _ if button == Offer::SignIn.id() => alert.sign_in.clone(),
            _ if button == Offer::Restore.id() => alert.restore.clone(),
            _ => None,
        };
        let renewed = alert.profile.clone().filter(|_| button == Offer::Check.id());
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
fn buttons(alert: &Alert) -> Vec<Button> {
    use Offer::{Check, Details, Renew, Restore, Separate, SignIn};
    let offers: &[Offer] = match (alert.kind, &alert.restore, &alert.sign_in) {
        (AlertKind::Ending, ..) if alert.renewable => &[Renew, Details],
        (AlertKind::Shared, ..) => &[Separate, Details],
        (_, Some(_), Some(_)) => &[Restore, SignIn],
        (_, Some(_), None) => &[Restore, Details],
        (_, None, Some(_)) if alert.renewable => &[Check, SignIn],
        (_, None, Some(_)) => &[SignIn, Details],
        (_, None, None) => &[Details],
    };
    offers.iter().map(|offer| offer.button()).collect()
}
