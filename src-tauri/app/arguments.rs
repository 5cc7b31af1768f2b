//! The command line of `kalit-desktop`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

use crate::route::Route;

/// Kalit in the tray: every OpenClaw account in view, renewed before it expires.
#[derive(Clone, Debug, Parser)]
#[command(name = "kalit-desktop", version)]
pub struct Arguments {
    /// OpenClaw's state directory, instead of OPENCLAW_STATE_DIR or ~/.openclaw
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Open the window alone: board, add, sign-in/<provider>?agent=&profile=
    #[arg(long, value_name = "ROUTE", num_args = 0..=1, default_missing_value = "board")]
    pub window: Option<String>,

    /// The tray holds the window's standard input: one route a line, `quit` closes it
    #[arg(long, hide = true, requires = "window")]
    pub attached: bool,
}

/// What this process is.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    Tray,
    Window(Route),
}

impl Arguments {
    /// Fails on a route that does not exist.
    pub fn role(&self) -> anyhow::Result<Role> {
        match self.window.as_deref() {
            None => Ok(Role::Tray),
            Some(text) => {
                let route = Route::parse(text).with_context(|| format!("there is no view {text:?}"))?;
                Ok(Role::Window(route))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(arguments: &[&str]) -> anyhow::Result<Role> {
        Arguments::try_parse_from([&["kalit-desktop"], arguments].concat())?.role()
    }

    #[test]
    fn the_role_is_the_tray_unless_a_window_is_asked_for() {
        assert_eq!(role(&[]).unwrap(), Role::Tray);
        assert_eq!(role(&["--window"]).unwrap(), Role::Window(Route::Board));
        assert_eq!(
            role(&["--window", "board", "--state-dir", "/s"]).unwrap(),
            Role::Window(Route::Board)
        );
        assert!(role(&["--window", "nowhere"]).is_err());
        assert!(role(&["--attached"]).is_err());
    }
}
