//! Whether the panel under the icon is light or dark. No desktop says so; each has its hints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kalit_shell::process;
use serde::Serialize;
use zbus::proxy::MethodFlags;
use zbus::zvariant::{DynamicType, OwnedValue, Value};

/// Hints come from programs that run anyway, and at once.
const PATIENCE: Duration = Duration::from_millis(100);
/// Their panels are dark under every theme.
const DARK_PANELS: [&str; 3] = ["GNOME", "Unity", "Pantheon"];

/// What the panel's ground is likely to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    Light,
    Dark,
}

/// Where the hints are.
pub struct Grounds {
    desktop: String,
    theme: Option<String>,
    settings: PathBuf,
}

impl Default for Grounds {
    fn default() -> Self {
        let environment = process::environment();
        Self {
            desktop: environment
                .var("XDG_CURRENT_DESKTOP")
                .unwrap_or_default()
                .to_owned(),
            theme: environment.var("GTK_THEME").map(str::to_owned),
            settings: environment
                .config_dir()
                .with_file_name("gtk-3.0")
                .join("settings.ini"),
        }
    }
}

impl Grounds {
    /// The ground as things stand: a person may change the theme at any time.
    pub async fn ground(&self, bus: Option<&zbus::Connection>) -> Ground {
        if DARK_PANELS.iter().any(|name| self.desktop.contains(name)) {
            return Ground::Dark;
        }
        if let Some(theme) = &self.theme {
            return of_theme(theme);
        }
        if let Some(bus) = bus {
            if let Some(theme) = xfce_theme(bus).await {
                return of_theme(&theme);
            }
            match color_scheme(bus).await {
                Some(1) => return Ground::Dark,
                Some(2) => return Ground::Light,
                _ => {}
            }
        }
        of_settings(&self.settings)
    }
}

fn of_theme(name: &str) -> Ground {
    if name.to_lowercase().contains("dark") {
        Ground::Dark
    } else {
        Ground::Light
    }
}

/// GTK's own settings file, which desktops write for programs that do not ask them.
fn of_settings(path: &Path) -> Ground {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
    };
    match value("gtk-application-prefer-dark-theme") {
        Some("1" | "true") => Ground::Dark,
        _ => value("gtk-theme-name").map_or(Ground::Light, of_theme),
    }
}

/// The theme that Xfce's panel wears.
async fn xfce_theme(bus: &zbus::Connection) -> Option<String> {
    let service = ("org.xfce.Xfconf", "/org/xfce/Xfconf", "org.xfce.Xfconf");
    let value = asked(bus, service, "GetProperty", &("xsettings", "/Net/ThemeName")).await?;
    String::try_from(value).ok()
}

/// 1: dark, 2: light (XDG Desktop Portal, `org.freedesktop.appearance`).
async fn color_scheme(bus: &zbus::Connection) -> Option<u32> {
    let service = (
        "org.freedesktop.portal.Desktop",
        "/org/freedesktop/portal/desktop",
        "org.freedesktop.portal.Settings",
    );
    let arguments = ("org.freedesktop.appearance", "color-scheme");
    let mut value = Value::from(asked(bus, service, "Read", &arguments).await?);
    // `Read` wraps the answer twice
    while let Value::Value(inner) = value {
        value = *inner;
    }
    u32::try_from(value).ok()
}

/// What a service that already runs answers; nothing is started for it.
async fn asked(
    bus: &zbus::Connection,
    (name, path, interface): (&'static str, &'static str, &'static str),
    method: &'static str,
    arguments: &(impl Serialize + DynamicType),
) -> Option<OwnedValue> {
    let ask = async {
        let service = zbus::proxy::Builder::<zbus::Proxy<'_>>::new(bus)
            .destination(name)?
            .path(path)?
            .interface(interface)?
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        let flags = MethodFlags::NoAutoStart.into();
        service.call_with_flags(method, flags, arguments).await
    };
    tokio::time::timeout(PATIENCE, ask).await.ok()?.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grounds(desktop: &str, theme: Option<&str>, settings: &Path) -> Grounds {
        Grounds {
            desktop: desktop.to_owned(),
            theme: theme.map(str::to_owned),
            settings: settings.to_owned(),
        }
    }

    #[tokio::test]
    async fn the_desktop_is_asked_first_then_the_theme_then_gtks_settings() {
        let dir = tempfile::tempdir().unwrap();
        let settings = dir.path().join("settings.ini");
        let ground = |desktop, theme| {
            let grounds = grounds(desktop, theme, &settings);
            async move { grounds.ground(None).await }
        };
        assert_eq!(ground("ubuntu:GNOME", Some("Adwaita")).await, Ground::Dark);
        assert_eq!(ground("XFCE", Some("Adwaita:dark")).await, Ground::Dark);
        assert_eq!(ground("", None).await, Ground::Light);
        for (text, expected) in [
            ("[Settings]\ngtk-theme-name=Breeze-Dark\n", Ground::Dark),
            ("[Settings]\ngtk-theme-name = Adwaita\n", Ground::Light),
            (
                "[Settings]\ngtk-application-prefer-dark-theme=true\n",
                Ground::Dark,
            ),
            ("no settings", Ground::Light),
        ] {
            std::fs::write(&settings, text).unwrap();
            assert_eq!(ground("KDE", None).await, expected, "{text}");
        }
    }
}
