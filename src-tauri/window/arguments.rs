//! The command line of `kalit-window`.

use std::path::PathBuf;

use clap::Parser;
use kalit_shell::route::Route;

/// Kalit's window alone. The tray opens it; `kalit-desktop` starts the tray.
#[derive(Clone, Debug, Parser)]
#[command(name = "kalit-window", version)]
pub struct Arguments {
    /// Where to go: board, agent/<id>, account/<agent>/<profile>, add, settings, diagnostics, restore/<agent>/<profile>, sign-in/<provider>?agent=&profile=
    #[arg(value_name = "ROUTE", default_value = "board", value_parser = route)]
    pub route: Route,

    /// OpenClaw's state directory, instead of OPENCLAW_STATE_DIR or ~/.openclaw
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The tray holds the standard input: one route a line, `quit` closes the window
    #[arg(long, hide = true)]
    pub attached: bool,
}

fn route(text: &str) -> Result<Route, String> {
    Route::parse(text).ok_or_else(|| format!("there is no view {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_is_shown_unless_another_view_is_named() {
        let route = |arguments: &[&str]| {
            Arguments::try_parse_from([&["kalit-window"], arguments].concat()).map(|parsed| parsed.route)
        };
        assert_eq!(route(&[]).unwrap(), Route::Board);
        assert_eq!(route(&["add", "--state-dir", "/s"]).unwrap(), Route::Add);
        assert!(route(&["nowhere"]).is_err());
    }
}
