//! What a newcomer would otherwise do by hand: `cargo xtask demo`, `cargo xtask test`,
//! `cargo xtask prove`, `cargo xtask fuzz`, `cargo xtask gallery`, `cargo xtask bench`, and
//! `cargo xtask setup`, which these call first; `cargo xtask man` and `cargo xtask package` for
//! packages, `cargo xtask pictures` for the documents, `cargo xtask windows`, a check of another system's programs, and `cargo xtask texts` for
//! translators.

mod bench;
mod cargo;
mod demo;
#[cfg(test)]
mod documents;
mod fuzz;
mod man;
mod package;
mod prove;
mod setup;
mod test;
mod texts;
mod windows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use setup::Needs;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Name missing system packages and install them
    Setup,
    /// Tell Kalit's main job from sign-in to a revoked login, with evidence
    Demo(demo::Flags),
    /// Run all tests
    Test(test::Flags),
    /// Run the long forms of the proofs of reliability
    Prove(prove::Flags),
    /// Fuzz everything that Kalit reads
    Fuzz(fuzz::Flags),
    /// Make a picture of every state of the window, in `target/gallery`
    Gallery,
    /// Make the pictures of the documents anew, in `docs/images`
    Pictures,
    /// Measure Kalit beside OpenClaw and against its limits
    Bench(bench::Flags),
    /// Write the manual pages of `kalit`
    Man(man::Flags),
    /// Print what a language still lacks, in the form of its file, in English
    Texts(texts::Flags),
    /// Make this system's packages
    Package(package::Flags),
    /// Type-check and link the programs for Windows, from a Debian
    Windows(windows::Flags),
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Setup => {
            setup::ensure(Needs::Everything)?;
            println!("everything is there");
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(flags) => demo::run(&flags),
        Command::Test(flags) => test::run(&flags),
        Command::Prove(flags) => prove::run(&flags),
        Command::Fuzz(flags) => fuzz::run_fuzzer(&flags),
        Command::Gallery => gallery(),
        Command::Pictures => pictures(),
        Command::Bench(flags) => bench::run(&flags),
        Command::Man(flags) => man::run(&flags),
        Command::Texts(flags) => texts::run(&flags),
        Command::Package(flags) => package::run(&flags),
        Command::Windows(flags) => windows::run(&flags),
    }
}

/// Of programs that were just built.
fn pictures() -> anyhow::Result<ExitCode> {
    setup::ensure(Needs::Everything)?;
    cargo::run(&mut cargo::cargo(&["build", "--package", "kalit", "--bins"]))?;
    let program = |name: &str| cargo::target_dir().join("debug").join(name);
    let mut pictures = cargo::cargo(&[
        "run",
        "--quiet",
        "--package",
        "kalit-journeys",
        "--example",
        "pictures",
    ]);
    pictures.env("KALIT_DESKTOP_BIN", program("kalit-desktop"));
    pictures.env("KALIT_WINDOW_BIN", program("kalit-window"));
    cargo::run(&mut pictures)?;
    Ok(ExitCode::SUCCESS)
}

/// The pictures are those of the test that audits the same states.
fn gallery() -> anyhow::Result<ExitCode> {
    setup::ensure(Needs::Everything)?;
    let status = cargo::cargo(&["test", "--package", "kalit-journeys", "--test", "gallery", "--"])
        .args(["--nocapture", "every_state"])
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
