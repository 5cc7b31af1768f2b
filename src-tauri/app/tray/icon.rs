//! The tray's pictures, drawn for light and for dark panels. macOS takes the template variant and
//! colours it itself.

use tauri::image::Image;
use tauri::include_image;

use super::menu::Picture;

/// Whether the system colours the picture itself.
pub const TEMPLATE: bool = cfg!(target_os = "macos");

/// What the panel's ground is likely to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    Light,
    Dark,
}

/// The picture for a state on a ground.
pub fn image(picture: Picture, ground: Ground) -> Image<'static> {
    if TEMPLATE {
        return match picture {
            Picture::Healthy => include_image!("icons/tray/healthy-template-32.png"),
            Picture::Notice => include_image!("icons/tray/notice-template-32.png"),
            Picture::SignedOut => include_image!("icons/tray/signed-out-template-32.png"),
            Picture::Paused => include_image!("icons/tray/paused-template-32.png"),
        };
    }
    match (picture, ground) {
        (Picture::Healthy, Ground::Light) => include_image!("icons/tray/healthy-on-light-32.png"),
        (Picture::Healthy, Ground::Dark) => include_image!("icons/tray/healthy-on-dark-32.png"),
        (Picture::Notice, Ground::Light) => include_image!("icons/tray/notice-on-light-32.png"),
        (Picture::Notice, Ground::Dark) => include_image!("icons/tray/notice-on-dark-32.png"),
        (Picture::SignedOut, Ground::Light) => include_image!("icons/tray/signed-out-on-light-32.png"),
        (Picture::SignedOut, Ground::Dark) => include_image!("icons/tray/signed-out-on-dark-32.png"),
        (Picture::Paused, Ground::Light) => include_image!("icons/tray/paused-on-light-32.png"),
        (Picture::Paused, Ground::Dark) => include_image!("icons/tray/paused-on-dark-32.png"),
    }
}

/// The ground of the panel. GNOME's top bar is dark under every theme; other panels follow the
/// GTK theme. To be called on the main thread.
#[cfg(target_os = "linux")]
pub fn ground() -> Ground {
    use gtk::prelude::GtkSettingsExt;

    let desktop = std::env::var("XDG_CURRENT_DESKTOP").unwrap_or_default();
    if ["GNOME", "Unity", "Pantheon"]
        .iter()
        .any(|dark| desktop.contains(dark))
    {
        return Ground::Dark;
    }
    let Some(settings) = gtk::Settings::default() else {
        return Ground::Light;
    };
    let theme = std::env::var("GTK_THEME").ok();
    let theme = theme.or_else(|| settings.gtk_theme_name().map(|name| name.to_string()));
    if settings.is_gtk_application_prefer_dark_theme()
        || theme.is_some_and(|name| name.to_lowercase().contains("dark"))
    {
        Ground::Dark
    } else {
        Ground::Light
    }
}

/// Windows' taskbar is dark unless the person chose otherwise; macOS takes the template.
#[cfg(not(target_os = "linux"))]
pub fn ground() -> Ground {
    Ground::Dark
}
