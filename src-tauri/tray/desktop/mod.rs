//! The desktop as the tray needs it: an icon with a menu, notifications, and the word of a second
//! start. On Linux all of it is D-Bus, so that the tray loads no GUI toolkit; elsewhere Tauri does
//! it.

#[cfg(target_os = "linux")]
#[path = "dbus/mod.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "native/mod.rs"]
mod platform;

pub use platform::{Desktop, run};

/// What a person, or the desktop, has done.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(
        dead_code,
        reason = "macOS and Windows do not tell of a notification's end or a missing tray"
    )
)]
pub enum Happened {
    /// The icon itself was clicked.
    IconClicked,
    /// A line of the menu was clicked.
    LineClicked(String),
    ButtonPressed {
        notification: u32,
        button: String,
    },
    NotificationClosed(u32),
    /// Kalit was started once more.
    StartedAgain,
    /// The desktop has a tray now, or has none any more.
    TrayChanged,
}

/// A notification to be shown.
pub struct Note<'a> {
    pub title: &'a str,
    /// Plain text.
    pub body: &'a str,
    pub buttons: &'a [Button],
    pub urgency: Urgency,
}

/// How much a notification asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Low,
    Normal,
}

/// A button of a notification.
pub struct Button {
    pub id: &'static str,
    pub label: String,
}
