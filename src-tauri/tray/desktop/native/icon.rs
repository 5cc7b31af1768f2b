//! The tray's pictures, drawn for light and for dark panels. macOS takes the template variant and
//! colours it itself.

use tauri::image::Image;
use tauri::include_image;

use kalit_shell::menu::Picture;

/// Whether the system colours the picture itself.
pub const TEMPLATE: bool = cfg!(target_os = "macos");

/// What the panel's ground is likely to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(windows), expect(dead_code, reason = "macOS colours the template itself"))]
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
            Picture::Risk => include_image!("icons/tray/risk-template-32.png"),
            Picture::SignedOut => include_image!("icons/tray/signed-out-template-32.png"),
            Picture::Paused => include_image!("icons/tray/paused-template-32.png"),
        };
    }
    match (picture, ground) {
        (Picture::Healthy, Ground::Light) => include_image!("icons/tray/healthy-on-light-32.png"),
        (Picture::Healthy, Ground::Dark) => include_image!("icons/tray/healthy-on-dark-32.png"),
        (Picture::Notice, Ground::Light) => include_image!("icons/tray/notice-on-light-32.png"),
        (Picture::Notice, Ground::Dark) => include_image!("icons/tray/notice-on-dark-32.png"),
        (Picture::Risk, Ground::Light) => include_image!("icons/tray/risk-on-light-32.png"),
        (Picture::Risk, Ground::Dark) => include_image!("icons/tray/risk-on-dark-32.png"),
        (Picture::SignedOut, Ground::Light) => include_image!("icons/tray/signed-out-on-light-32.png"),
        (Picture::SignedOut, Ground::Dark) => include_image!("icons/tray/signed-out-on-dark-32.png"),
        (Picture::Paused, Ground::Light) => include_image!("icons/tray/paused-on-light-32.png"),
        (Picture::Paused, Ground::Dark) => include_image!("icons/tray/paused-on-dark-32.png"),
    }
}

/// Windows' taskbar as the person chose it. macOS takes the template.
pub fn ground() -> Ground {
    #[cfg(windows)]
    if light_taskbar().unwrap_or_default() {
        return Ground::Light;
    }
    Ground::Dark
}

#[cfg(windows)]
fn light_taskbar() -> std::io::Result<bool> {
    let user = winreg::RegKey::predef(winreg::enums::HKEY_CURRENT_USER);
    let theme = user.open_subkey(r"Software\Microsoft\Windows\CurrentVersion\Themes\Personalize")?;
    Ok(theme.get_value::<u32, _>("SystemUsesLightTheme")? == 1)
}
