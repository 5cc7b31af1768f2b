//! Running cargo in the workspace, and where it puts what it builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// `cargo` in the workspace's root.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    // What cargo tells of the package that it runs makes crates that look at it be built again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; an exit status other than zero is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// What is built for tests and demo: both binaries and the authorization server. Returns the
/// variables that tell a journey where they are.
pub fn build_binaries() -> Result<Vec<(&'static str, PathBuf)>> {
    run(&mut cargo(&["build", "--package", "kalit", "--bins"]))?;
    run(&mut cargo(&[
        "build",
        "--package",
        "kalit-journeys",
        "--examples",
    ]))?;
    let dir = target_dir().join("debug");
    let program = |name: &str| dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    Ok(vec![
        ("KALIT_BIN", program("kalit")),
        ("KALIT_DESKTOP_BIN", program("kalit-desktop")),
        ("KALIT_WINDOW_BIN", program("kalit-window")),
        (
            "KALIT_AUTHORIZATION_SERVER_BIN",
            program("examples/authorization-server"),
        ),
    ])
}

/// `CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}
