//! The command line of `kalit-desktop`.

use std::path::PathBuf;

use clap::Parser;

/// Kalit in the tray: every OpenClaw account in view, renewed before it expires.
#[derive(Clone, Debug, Parser)]
#[command(name = "kalit-desktop", version)]
pub struct Arguments {
    /// OpenClaw's state directory, instead of OPENCLAW_STATE_DIR or ~/.openclaw
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// Open no window, also where there is no tray and when Kalit runs already: for a start at login
    #[arg(long)]
    pub hidden: bool,
}
