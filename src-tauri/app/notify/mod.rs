//! Tells of lost logins: once for each generation and signal, with a button that leads back.
//! Nothing is told when all goes well.

mod due;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kalit_core::Error;
use kalit_core::broker::Broker;
use kalit_core::view::Snapshot;
use tauri::AppHandle;
use tauri_plugin_notification::{Action, ActionType, NotificationExt};

use self::due::Alert;
use crate::route::Route;
use crate::tray;
use crate::tray::menu::Action as Click;

const LOST: &str = "lost";
const SUSPECTED: &str = "suspected";
const SIGN_IN: &str = "sign-in";
const CHECK: &str = "check";

/// The notifications of this process that may still be on the screen.
#[derive(Default)]
pub struct Notifications {
    shown: Mutex<BTreeMap<i32, Alert>>,
}

impl Notifications {
    /// Declares the buttons and listens to them. Before the first notification: buttons are not
    /// sent without a listener.
    pub fn register(app: &AppHandle) -> tauri_plugin_notification::Result<()> {
        let sign_in = Action::builder(SIGN_IN, "Sign in again").build();
        let check = Action::builder(CHECK, "Check now").build();
        app.notification().register_action_types(vec![
            ActionType::builder(LOST).actions(vec![sign_in.clone()]).build(),
            ActionType::builder(SUSPECTED)
                .actions(vec![check, sign_in])
                .build(),
        ])?;
        let handle = app.clone();
        app.notification().on_action(move |performed| {
            if let Some(id) = performed.notification().map(|notification| notification.id()) {
                tray::shell(&handle)
                    .notifications
                    .pressed(&handle, id, performed.action_id());
            }
        })
    }

    /// Tells what is new in `snapshot` and takes back what has been solved.
    pub fn tell(&self, app: &AppHandle, broker: &Broker, snapshot: &Snapshot) {
        let lost = due::alerts(snapshot);
        let mut shown = self.shown();
        let is_lost = |alert: &Alert| lost.iter().any(|other| other.key == alert.key);
        let solved: Vec<i32> = shown
            .iter()
            .filter(|(_, alert)| !is_lost(alert))
            .map(|(id, _)| *id)
            .collect();
        shown.retain(|id, _| !solved.contains(id));
        let first = shown.last_key_value().map_or(1, |(id, _)| id + 1);
        // What is on screen is not told again, even if the record of it could not be written.
        let untold = |key: &str| !shown.values().any(|alert| alert.key == key) && broker.notified(key);
        let new = if broker.wants_notifications() {
            due::due(snapshot, untold)
        } else {
            Vec::new()
        };
        for (id, alert) in (first..).zip(new) {
            let buttons = if alert.renewable { SUSPECTED } else { LOST };
            show(app, id, &alert.title, &alert.body, Some(buttons));
            shown.insert(id, alert);
        }
        drop(shown);
        if !solved.is_empty() {
            let _ = app.notification().remove_active(solved);
        }
    }

    /// Says that something a person asked for has failed, and what to do next.
    pub fn fail(&self, app: &AppHandle, title: &str, error: &Error) {
        let mut body = error.message().to_owned();
        if let Some(first) = body.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        show(app, 0, title, &format!("{body}. {}", error.hint()), None);
    }

    fn pressed(&self, app: &AppHandle, id: i32, button: &str) {
        let Some(alert) = self.shown().get(&id).cloned() else {
            return;
        };
        let Alert {
            agent,
            profile,
            sign_in,
            ..
        } = alert;
        match button {
            SIGN_IN => tray::act(app, Click::Open(sign_in)),
            CHECK => tray::act(app, Click::Renew { agent, profile }),
            _ => tray::act(app, Click::Open(Route::Board)),
        }
    }

    fn shown(&self) -> MutexGuard<'_, BTreeMap<i32, Alert>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(app: &AppHandle, id: i32, title: &str, body: &str, buttons: Option<&str>) {
    let mut notification = app
        .notification()
        .builder()
        .id(id)
        .title(title)
        .body(due::body_markup(body));
    if cfg!(target_os = "linux") {
        // A name of the icon theme; the program has no icon there before it is installed.
        notification = notification.icon("dialog-warning");
    }
    if let Some(buttons) = buttons {
        notification = notification.action_type_id(buttons);
    }
    // Where it cannot be shown, tray and window tell the same.
    let _ = notification.show();
}
