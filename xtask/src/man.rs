//! `cargo xtask man`: the manual pages, for packages, from the definition of the command line. The
//! shipped program does not carry what draws them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};

#[path = "../../src-tauri/cli/arguments.rs"]
pub mod arguments;

#[derive(Args)]
pub struct Flags {
    /// Where the pages are written: kalit.1 and one for each verb
    dir: PathBuf,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    write(&flags.dir)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the pages into `dir`.
pub fn write(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    clap_mangen::generate_to(arguments::Arguments::command(), dir)
        .with_context(|| format!("writing to {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_verb_has_a_page_that_names_it_and_there_is_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let flags = Flags {
            dir: dir.path().join("man1"),
        };
        run(&flags).unwrap();
        let entries = std::fs::read_dir(&flags.dir).unwrap();
        let written: BTreeSet<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let verbs = verbs(&arguments::Arguments::command());
        assert!(verbs.contains("kalit-order-set"), "{verbs:?}");
        assert_eq!(
            written,
            verbs.iter().map(|verb| format!("{verb}.1")).collect(),
            "a page for each verb"
        );
        let refresh = std::fs::read_to_string(flags.dir.join("kalit-refresh.1")).unwrap();
        assert!(refresh.contains("`kalit renew`"), "{refresh}");
        for verb in verbs {
            let page = std::fs::read_to_string(flags.dir.join(format!("{verb}.1"))).unwrap();
            let name = verb.replace('-', "\\-");
            assert!(page.contains(&format!("\n{name} \\- ")), "{verb}: {page}");
        }
    }

    /// The names of the command and of all below it, as pages are named.
    fn verbs(command: &clap::Command) -> BTreeSet<String> {
        let mut names = BTreeSet::from([command.get_name().to_owned()]);
        for below in command.get_subcommands() {
            let below = verbs(below);
            names.extend(below.iter().map(|name| format!("{}-{name}", command.get_name())));
        }
        names
    }
}
