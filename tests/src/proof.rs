//! Figures of reliability: a journey that proves something counts what it did. Its short form runs
//! with all tests; `cargo xtask prove` asks for the long form and prints the figures as a table.

use std::fmt::Display;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::build_dir;

/// Whether the long form is wanted: `KALIT_PROVE=long`.
pub fn is_long() -> bool {
    std::env::var_os("KALIT_PROVE").is_some_and(|value| value == "long")
}

/// How often something is done: the short form's number, or the long form's.
pub fn times(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// Where figures and logs are kept: `proofs` beside the build directory.
pub fn dir() -> Result<PathBuf> {
    let build = build_dir()?;
    let dir = build
        .parent()
        .context("the build directory has no parent")?
        .join("proofs");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// What one proof counted, in the order in which it is told.
#[derive(Debug)]
pub struct Figures {
    name: &'static str,
    rows: Vec<(String, String)>,
}

impl Figures {
    /// `name` is the table's title and its file's name.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row(&mut self, what: impl Into<String>, value: impl Display) -> &mut Self {
        self.rows.push((what.into(), value.to_string()));
        self
    }

    /// Prints the table and keeps it as `proofs/<name>.md` in the build directory.
    pub fn tell(&self) -> Result<()> {
        let mut table = format!("| {} | |\n|---|---:|\n", self.name);
        for (what, value) in &self.rows {
            table.push_str(&format!("| {what} | {value} |\n"));
        }
        println!("{table}");
        let dir = dir()?;
        let form = if is_long() { "long" } else { "short" };
        std::fs::write(dir.join(format!("{}-{form}.md", self.name)), table)?;
        Ok(())
    }
}
