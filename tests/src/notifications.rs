//! What the session's notification daemon is told and answers, read off the bus by a monitor
//! (nobody can see a monitor), and a real press of a notification's button in its window.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use tokio::task::JoinSet;
use zbus::message::Type;
use zbus::zvariant::OwnedValue;

use crate::desktop::DesktopSession;
use crate::process::run;
use crate::wait::until_some;

const DAEMON: &str = "org.freedesktop.Notifications";

/// Pixels of xfce4-notifyd's default theme: around the buttons, between them, and their height.
const MARGIN: i32 = 14;
const GAP: i32 = 7;
const BUTTON_HEIGHT: i32 = 34;

/// A `Notify` call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The daemon's answer; `None` until it came.
    pub id: Option<u32>,
    pub app: String,
    pub title: String,
    /// Markup, as sent.
    pub body: String,
    /// Key and label, in order.
    pub actions: Vec<(String, String)>,
    /// 0: low, 1: normal, 2: critical.
    pub urgency: Option<u8>,
}

/// What the daemon said about a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    ActionInvoked { id: u32, action: String },
    Closed { id: u32, reason: u32 },
}

/// Listens from its start on.
#[derive(Debug)]
pub struct NotificationMonitor {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Seen {
    /// With sender and serial of the call, to find its answer.
    calls: Vec<(String, u32, Notification)>,
    signals: Vec<Signal>,
}

impl NotificationMonitor {
    pub async fn start(session: &DesktopSession) -> Result<Self> {
        let bus = session.bus().await?;
        let rules = [
            format!("type='method_call',interface='{DAEMON}',member='Notify'"),
            format!("type='method_return',sender='{DAEMON}'"),
            format!("type='signal',interface='{DAEMON}'"),
        ];
        let rules: Vec<zbus::MatchRule<'_>> = rules
            .iter()
            .map(|rule| rule.as_str().try_into())
            .collect::<Result<_, _>>()?;
        // before the call, so that nothing slips through between
        let mut messages = zbus::MessageStream::from(&bus);
        zbus::fdo::MonitoringProxy::new(&bus)
            .await?
            .become_monitor(&rules, 0)
            .await?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noting = Arc::clone(&seen);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                noting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .note(&message);
            }
        });
        Ok(Self { seen, _tasks: tasks })
    }

    /// Every notification so far.
    pub fn notifications(&self) -> Vec<Notification> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.calls
            .iter()
            .map(|(_, _, notification)| notification.clone())
            .collect()
    }

    /// Every signal of the daemon so far.
    pub fn signals(&self) -> Vec<Signal> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .signals
            .clone()
    }

    /// Waits for a notification that the daemon accepted.
    pub async fn notification(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Notification) -> bool,
    ) -> Result<Notification> {
        until_some(what, limit, || {
            self.notifications()
                .into_iter()
                .find(|seen| seen.id.is_some() && wanted(seen))
        })
        .await
        .with_context(|| format!("notifications seen: {:?}", self.notifications()))
    }

    /// Waits until the program has taken the notification off the screen.
    pub async fn withdrawn(&self, notification: &Notification, limit: Duration) -> Result<()> {
        // 3: by CloseNotification (Desktop Notifications Specification, "NotificationClosed")
        let by_call = |signal: &Signal| matches!(signal, Signal::Closed { id, reason: 3 } if Some(*id) == notification.id);
        until_some("the notification to be withdrawn", limit, || {
            self.signals().iter().any(by_call).then_some(())
        })
        .await
        .with_context(|| format!("signals seen: {:?}", self.signals()))
    }

    /// Waits until an action of the notification was invoked and returns its key.
    pub async fn action_invoked(&self, notification: u32, limit: Duration) -> Result<String> {
        until_some("ActionInvoked", limit, || {
            self.signals().into_iter().find_map(|signal| match signal {
                Signal::ActionInvoked { id, action } if id == notification => Some(action),
                Signal::ActionInvoked { .. } | Signal::Closed { .. } => None,
            })
        })
        .await
        .with_context(|| format!("signals seen: {:?}", self.signals()))
    }
}

impl Notification {
    /// What its buttons say.
    pub fn buttons(&self) -> Vec<&str> {
        let buttons = self.actions.iter().filter(|(key, _)| key != "default");
        buttons.map(|(_, label)| label.as_str()).collect()
    }
}

impl Seen {
    fn note(&mut self, message: &zbus::Message) {
        let header = message.header();
        let body = message.body();
        match header.message_type() {
            Type::MethodCall => {
                type Notify = (
                    String,
                    u32,
                    String,
                    String,
                    String,
                    Vec<String>,
                    std::collections::HashMap<String, OwnedValue>,
                    i32,
                );
                let Ok((app, _, _, title, text, actions, hints, _)) = body.deserialize::<Notify>() else {
                    return;
                };
                let sender = header.sender().map(ToString::to_string).unwrap_or_default();
                let actions = actions
                    .chunks_exact(2)
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect();
                let notification = Notification {
                    id: None,
                    app,
                    title,
                    body: text,
                    actions,
                    urgency: hints.get("urgency").and_then(|value| u8::try_from(value).ok()),
                };
                self.calls
                    .push((sender, header.primary().serial_num().get(), notification));
            }
            Type::MethodReturn => {
                let (Some(serial), Some(receiver)) = (header.reply_serial(), header.destination()) else {
                    return;
                };
                let asked = self
                    .calls
                    .iter_mut()
                    .find(|(sender, number, _)| *number == serial.get() && *sender == receiver.to_string());
                if let (Some((_, _, notification)), Ok(id)) = (asked, body.deserialize::<u32>()) {
                    notification.id = Some(id);
                }
            }
            Type::Signal => match header.member().map(|member| member.as_str()) {
                Some("ActionInvoked") => {
                    if let Ok((id, action)) = body.deserialize::<(u32, String)>() {
                        self.signals.push(Signal::ActionInvoked { id, action });
                    }
                }
                Some("NotificationClosed") => {
                    if let Ok((id, reason)) = body.deserialize::<(u32, u32)>() {
                        self.signals.push(Signal::Closed { id, reason });
                    }
                }
                _ => {}
            },
            Type::Error => {}
        }
    }
}

/// A notification's window on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub id: u64,
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

/// Presses the button of a notification's action with the mouse, where xfce4-notifyd 0.7 draws it:
/// in a row of equal buttons along the lower right edge. With several notifications on the screen
/// it is the newest that is pressed.
pub async fn press(session: &DesktopSession, notification: &Notification, action: &str) -> Result<()> {
    // "default" is a click on the text, not a button
    let shown: Vec<_> = notification
        .actions
        .iter()
        .filter(|(key, _)| key != "default")
        .collect();
    let from_right = shown
        .iter()
        .rev()
        .position(|(key, _)| key == action)
        .with_context(|| format!("no button {action:?} in {notification:?}"))?;
    let longest = shown
        .iter()
        .map(|(_, label)| label.chars().count())
        .max()
        .unwrap_or_default();
    let button = i32::try_from(longest)? * 6 + 23;
    let window = window(session, Duration::from_secs(10)).await?;
    let x = window.x + window.width - MARGIN - button / 2 - i32::try_from(from_right)? * (button + GAP);
    let y = window.y + window.height - MARGIN - BUTTON_HEIGHT / 2;
    run(session
        .command("xdotool")
        .args(["mousemove", &x.to_string(), &y.to_string(), "click", "1"]))
    .context("pressing the notification's button")?;
    Ok(())
}

/// Waits for the newest window of xfce4-notifyd.
pub async fn window(session: &DesktopSession, limit: Duration) -> Result<Window> {
    until_some("the notification's window", limit, || {
        let mut search = session.command("xdotool");
        search.args(["search", "--onlyvisible", "--class", "xfce4-notifyd"]);
        let found = run(&mut search).ok()?;
        let ids = found.lines().filter_map(|id| id.trim().parse::<u64>().ok());
        geometry(session, ids.max()?)
    })
    .await
}

fn geometry(session: &DesktopSession, id: u64) -> Option<Window> {
    let text = run(session
        .command("xdotool")
        .args(["getwindowgeometry", "--shell", &id.to_string()]))
    .ok()?;
    let number = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .and_then(|value| value.parse().ok())
    };
    Some(Window {
        id,
        x: number("X")?,
        y: number("Y")?,
        width: number("WIDTH")?,
        height: number("HEIGHT")?,
    })
}
