//! Notifications by the Desktop Notifications Specification. All are sent on one connection that
//! stays open: some desktops take a notification back when its sender goes, some tell only the
//! sender of a pressed button.

use std::collections::HashMap;

use futures_util::StreamExt;
use kalit_shell::alerts;
use tokio::sync::{OnceCell, mpsc};
use zbus::zvariant::Value;
use zbus::{MatchRule, MessageStream, message};

use super::super::{Happened, Note, Urgency};
use super::icon::image_data;

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// The desktop decides how long it stays.
const NO_TIMEOUT_OF_OURS: i32 = -1;

/// What listens to their buttons.
pub struct Notes {
    events: mpsc::UnboundedSender<Happened>,
    listening: OnceCell<()>,
}

impl Notes {
    pub fn new(events: mpsc::UnboundedSender<Happened>) -> Self {
        Self {
            events,
            listening: OnceCell::new(),
        }
    }

    /// Shows a notification and answers its number.
    pub async fn show(&self, bus: &zbus::Connection, note: Note<'_>) -> zbus::Result<u32> {
        self.listening.get_or_try_init(|| self.listen(bus)).await?;
        let mut actions: Vec<&str> = note
            .buttons
            .iter()
            .flat_map(|button| [button.id, &button.label])
            .collect();
        // a click on the notification itself
        actions.extend(["default", ""]);
        let urgency = match note.urgency {
            Urgency::Low => 0,
            Urgency::Normal => 1,
        };
        let mut hints = HashMap::from([("urgency", Value::U8(urgency))]);
        // The icon theme has no picture of the program before it is installed.
        hints.extend(image_data().map(|picture| ("image-data", picture)));
        let body = alerts::body_markup(note.body);
        let arguments = (
            "Kalit",
            0_u32,
            "",
            note.title,
            body.as_str(),
            actions,
            hints,
            NO_TIMEOUT_OF_OURS,
        );
        let answer = bus
            .call_method(Some(NAME), PATH, Some(NAME), "Notify", &arguments)
            .await?;
        answer.body().deserialize()
    }

    /// Takes a notification off the screen; one that is gone already stays gone.
    pub async fn withdraw(&self, bus: &zbus::Connection, id: u32) {
        let _ = bus
            .call_method(Some(NAME), PATH, Some(NAME), "CloseNotification", &id)
            .await;
    }

    /// Subscribes before the first notification, so that no button is missed.
    async fn listen(&self, bus: &zbus::Connection) -> zbus::Result<()> {
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .interface(NAME)?
            .path(PATH)?
            .build();
        let mut signals = MessageStream::for_match_rule(rule, bus, None).await?;
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(signal) = signals.next().await {
                if let Some(happened) = signal.ok().and_then(|signal| told(&signal)) {
                    let _ = events.send(happened);
                }
            }
        });
        Ok(())
    }
}

fn told(signal: &zbus::Message) -> Option<Happened> {
    let header = signal.header();
    match header.member()?.as_str() {
        "ActionInvoked" => {
            let (notification, button) = signal.body().deserialize().ok()?;
            Some(Happened::ButtonPressed { notification, button })
        }
        "NotificationClosed" => {
            let (id, _reason): (u32, u32) = signal.body().deserialize().ok()?;
            Some(Happened::NotificationClosed(id))
        }
        _ => None,
    }
}
