//! What only OpenClaw may change, changed by OpenClaw itself: its command line, started by core in
//! one way for all shells. No secret is ever an argument, the environment is cleared but for what
//! OpenClaw needs, and what a command claims is read back from disk by whoever asked for it: exit
//! codes and messages of OpenClaw's are not always true (2026.2.17 to 2026.9.6, observed).

pub(crate) mod actions;
pub mod agents;
pub(crate) mod cli;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod gateway;
pub(crate) mod plugins;
mod redaction;
pub(crate) mod renewal_log;
pub(crate) mod terminal;

pub(crate) use agents::quoted;

use std::path::PathBuf;

use crate::environment::Environment;

/// Where OpenClaw keeps its logs, and up to 2026.7.1 the locks of its gateway.
fn temporary_dir(environment: &Environment) -> PathBuf {
    let named = ["TMPDIR", "TEMP", "TMP"]
        .into_iter()
        .find_map(|name| environment.var(name));
    named.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

#[cfg(all(test, unix))]
mod tests;
