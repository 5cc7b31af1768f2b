//! `kalit-desktop`: Kalit in the tray. It owns the engine that renews, shows it in a menu, tells of
//! lost logins, and starts the window, which is a program of its own: what happens to credentials is
//! decided in `kalit-core`, what the menu and a notification say in `kalit_shell`.

// A release opens no console of its own.
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod arguments;
mod desktop;
mod notifications;
mod shell;
mod window_process;

use clap::Parser;

use crate::arguments::Arguments;

fn main() -> anyhow::Result<()> {
    kalit_shell::memory::keep_private();
    let arguments = Arguments::parse();
    kalit_shell::process::speak();
    #[cfg(debug_assertions)]
    build_window();
    desktop::run(arguments)
}

/// `cargo run` builds this program alone; its window belongs to it. Not in release builds.
#[cfg(debug_assertions)]
fn build_window() {
    let run_by_cargo = std::env::var_os("CARGO_PKG_NAME").is_some_and(|name| name == env!("CARGO_PKG_NAME"));
    if let Some(cargo) = std::env::var_os("CARGO").filter(|_| run_by_cargo) {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let build = [
            "build",
            "--quiet",
            "--bin",
            "kalit-window",
            "--manifest-path",
            manifest,
        ];
        // Without a window the tray says so when it is asked for one.
        let _ = std::process::Command::new(cargo).args(build).status();
    }
}
