//! `kalit-desktop`: Kalit in the tray. It owns the engine that renews, shows it in a menu, tells of
//! lost logins, and starts the window, which is a program of its own: what happens to credentials is
//! decided in `kalit-core`, what the menu and a notification say in `kalit_shell`.

mod arguments;
mod desktop;
mod notifications;
mod shell;
mod window_process;

use clap::Parser;

use crate::arguments::Arguments;

fn main() -> anyhow::Result<()> {
    desktop::run(Arguments::parse())
}
