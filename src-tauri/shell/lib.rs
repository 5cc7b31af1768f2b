//! What the shells share, and what the tray decides: pure functions over a snapshot. Nothing here
//! draws, and nothing here needs a GUI toolkit.

pub mod alerts;
pub mod browser;
pub mod diagnosis;
pub mod hold;
pub mod in_flight;
pub mod memory;
pub mod menu;
pub mod names;
pub mod process;
pub mod route;
pub mod summary;
pub mod warnings;
pub mod words;
