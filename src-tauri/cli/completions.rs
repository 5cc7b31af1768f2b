//! `kalit completions`: what a shell needs to complete Kalit's verbs and flags, from their definition.

use clap::CommandFactory;
use clap_complete::Shell;
use kalit_core::view::SCHEMA;
use serde_json::json;

use crate::arguments::Arguments;
use crate::output;

pub fn print(shell: Shell, json: bool) {
    // The generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kalit", &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = script.trim_end();
    if json {
        output::json(&json!({"schema": SCHEMA, "shell": shell.to_string(), "script": script}));
    } else {
        output::line(script);
    }
}
