//! Everything Kalit does that is not a shell: reading and writing OpenClaw's credential store
//! under its own locks, signing in, refreshing, deciding which account is used and why.
//!
//! This crate must never name a GUI toolkit, print, read the process environment or the wall
//! clock on its own: those come in as [`environment::Environment`] and [`clock::Clock`].

#[macro_use]
pub mod language;

pub mod autostart;
pub mod broker;
pub mod clock;
mod durable;
pub mod environment;
pub mod error;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod history;
pub mod ids;
pub mod install;
mod json5_text;
pub mod oauth;
pub mod openclaw;
pub mod radar;
pub mod refresh;
pub mod routing;
pub mod secret;
pub mod settings;
pub mod store;
#[cfg(test)]
mod testbed;
pub mod vault;
pub mod view;
pub mod watch;
pub mod why;

pub use error::{Error, ErrorCode, Result};
