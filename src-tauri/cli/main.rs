//! `kalit`: every verb but one is one call of the broker; this crate only parses, prints and exits.

mod arguments;
mod asking;
mod commands;
mod completions;
mod global_order;
mod history;
mod interrupt;
mod one_owner;
mod openclaw_login;
mod order;
mod output;
mod prompt;
mod providers;
mod radar;
mod remote_sign_in;
mod remove;
mod restore;
mod sessions;
mod settings;
mod sign_in;
mod snapshots;
mod table;
mod test_logins;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::error::ErrorKind;
use kalit_core::broker::{Broker, Options};
use kalit_core::clock::SystemClock;
use kalit_core::{Error, ErrorCode};
use kalit_shell::process;

use crate::arguments::{Arguments, Command, Verb};

fn main() -> ExitCode {
    kalit_shell::memory::keep_private();
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, wants_json),
    };
    let json = arguments.json;
    asking::begin(json, arguments.quiet);
    let code = run(arguments).unwrap_or_else(|error| {
        output::failure(&error, json);
        error.code().exit_code()
    });
    match output::incomplete() {
        Some(error) => {
            output::complaint(&error);
            ExitCode::from(error.code().exit_code())
        }
        None => ExitCode::from(code),
    }
}

fn run(arguments: Arguments) -> Result<u8, Error> {
    match arguments.verb {
        Verb::Broker(command) => ask(command, arguments.state_dir, arguments.json),
        // Shells ask for it when they start, packages where there is no home.
        Verb::Completions { shell } => {
            completions::print(shell, arguments.json);
            Ok(0)
        }
    }
}

fn ask(command: Command, state_dir: Option<PathBuf>, json: bool) -> Result<u8, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorCode::Internal, "cannot start").with_source(error))?;
    let broker = Broker::open(Options {
        environment: process::environment(),
        clock: Arc::new(SystemClock),
        state_dir,
        program: "kalit",
    })?;
    let result = runtime.block_on(commands::run(&broker, command, json));
    // A thread may still wait for a line on stdin: it must not keep the process.
    runtime.shutdown_background();
    result
}

fn usage(error: &clap::Error, json: bool) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ if json => {
            let text = error.render().to_string();
            let line = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            output::failure(&Error::new(ErrorCode::Usage, line), true);
            ExitCode::from(64)
        }
        _ => {
            let _ = error.print();
            ExitCode::from(64)
        }
    }
}
