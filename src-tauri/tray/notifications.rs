//! Tells of lost logins: once for each generation and signal, with a button that leads back.
//! Nothing is told when all goes well.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kalit_core::broker::Broker;
use kalit_core::view::Snapshot;
use kalit_core::{Error, say};
use kalit_shell::alerts::{self, Alert};
use kalit_shell::menu::Action;
use kalit_shell::names::Cover;
use kalit_shell::route::Route;

use crate::desktop::{Button, Desktop, Note};

const RESTORE: &str = "restore";
const SIGN_IN: &str = "sign-in";
const CHECK: &str = "check";

fn button(id: &'static str) -> Button {
    let label = match id {
        RESTORE => say!("Restore…"),
        SIGN_IN => say!("Sign in again"),
        _ => say!("Check now"),
    };
    Button { id, label }
}

/// What this process has told and has not been solved yet.
#[derive(Default)]
pub struct Notifications {
    told: Mutex<Vec<Told>>,
}

struct Told {
    alert: Alert,
    /// Its number on the desktop, while it is on screen.
    id: Option<u32>,
}

impl Notifications {
    /// Tells what is new in `snapshot` and takes back what has been solved.
    pub async fn tell(&self, desktop: &Desktop, broker: &Broker, snapshot: &Snapshot) {
        let lost = alerts::alerts(snapshot);
        let solved: Vec<u32> = self
            .told()
            .extract_if(.., |told| !lost.iter().any(|alert| alert.key == told.alert.key))
            .filter_map(|told| told.id)
            .collect();
        for id in solved {
            desktop.withdraw(id).await;
        }
        // What is held back is not marked as told: it is told afterwards, if it is still so.
        if !broker.wants_notifications() {
            return;
        }
        // What was told is not told again, even if the record of it could not be written.
        let untold =
            |key: &str| !self.told().iter().any(|told| told.alert.key == key) && broker.notified(key);
        for alert in alerts::due(snapshot, untold) {
            let buttons: &[&str] = match (&alert.restore, &alert.sign_in) {
                (Some(_), Some(_)) => &[RESTORE, SIGN_IN],
                (Some(_), None) => &[RESTORE],
                (None, Some(_)) if alert.renewable => &[CHECK, SIGN_IN],
                (None, Some(_)) => &[SIGN_IN],
                (None, None) => &[],
            };
            let note = Note {
                title: &alert.title,
                body: &alert.body,
                buttons: &buttons.iter().map(|id| button(id)).collect::<Vec<_>>(),
            };
            let id = desktop.notify(note).await;
            self.told().push(Told { alert, id });
        }
    }

    /// Says that something a person asked for has failed, and what to do next.
    pub async fn fail(&self, desktop: &Desktop, title: &str, error: &Error, cover: &Cover) {
        let mut body = cover.text(error.message());
        if let Some(first) = body.chars().next() {
            body.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
        }
        let note = Note {
            title,
            body: &format!("{body}. {}", cover.text(&error.hint())),
            buttons: &[],
        };
        desktop.notify(note).await;
    }

    /// What a button of a notification stands for; every other click on it leads to the board.
    pub fn pressed(&self, id: u32, button: &str) -> Option<Action> {
        let told = self.told();
        let Told { alert, .. } = told.iter().find(|told| told.id == Some(id))?;
        Some(if button == SIGN_IN {
            Action::Open(alert.sign_in.clone().unwrap_or(Route::Board))
        } else if button == RESTORE {
            // The window shows first what would be done and what is known: a notification has no
            // room for it.
            Action::Open(alert.restore.clone().unwrap_or(Route::Board))
        } else if let Some(profile) = alert.profile.clone().filter(|_| button == CHECK) {
            Action::Renew {
                agent: alert.agent.clone(),
                profile,
            }
        } else {
            Action::Open(Route::Board)
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
