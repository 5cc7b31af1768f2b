//! Figures of reliability: a journey that proves something counts what it did. Its short form runs
//! with all tests; `cargo xtask prove` asks for the long form and prints the figures as a table.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// What this test program has told and could not do, whichever of its tests came first.
#[derive(Debug, Default)]
struct Told {
    tables: Vec<PathBuf>,
    not_here: Vec<String>,
}

static TOLD: Mutex<Told> = Mutex::new(Told {
    tables: Vec::new(),
    not_here: Vec::new(),
});

fn told() -> MutexGuard<'static, Told> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A part of the proof that this machine does not admit: the reason is printed, and stands in every
/// table of figures of this test program.
pub fn not_here(why: impl Into<String>) {
    let why = why.into();
    println!("not here: {why}");
    let mut told = told();
    if told.not_here.contains(&why) {
        return;
    }
    for table in &told.tables {
        let kept = std::fs::File::options().append(true).open(table);
        let added = kept.and_then(|mut kept| kept.write_all(not_here_row(&why).as_bytes()));
        if let Err(error) = added {
            panic!("{}: {error}", table.display());
        }
    }
    told.not_here.push(why);
}

fn not_here_row(why: &str) -> String {
    format!("| not here: {why} | |\n")
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
        let path = self.path()?;
        let mut told = told();
        table.extend(told.not_here.iter().map(|why| not_here_row(why)));
        println!("{table}");
        std::fs::write(&path, table)?;
        told.tables.push(path);
        Ok(())
    }

    fn path(&self) -> Result<PathBuf> {
        let form = if is_long() { "long" } else { "short" };
        Ok(dir()?.join(format!("{}-{form}.md", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_done_stands_in_a_table_whichever_comes_first() {
        let mut figures = Figures::new("proof-of-proofs");
        let path = figures.path().unwrap();
        not_here("a reason");
        figures.row("faults", 1).tell().unwrap();
        not_here("a reason");
        not_here("another");
        let table = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            table,
            "| proof-of-proofs | |\n|---|---:|\n| faults | 1 |\n\
             | not here: a reason | |\n| not here: another | |\n"
        );
    }
}
