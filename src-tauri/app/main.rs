//! `kalit-desktop`: the tray and, as a process of its own, the window. Both are shells over
//! `kalit-core`: what happens to credentials is decided there.

mod arguments;
mod in_flight;
mod notify;
mod route;
mod setup;
mod summary;
mod tray;
mod window;
mod words;

use clap::Parser;

use crate::arguments::{Arguments, Role};

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.role()? {
        Role::Tray => tray::run(arguments),
        Role::Window(route) => window::run(arguments, route),
    }
}
