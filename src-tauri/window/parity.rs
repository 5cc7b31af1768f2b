//! Whatever the window can do, the command line can do, too: `docs/json.md` says by which verb.

use clap::{Command, CommandFactory};

#[path = "../cli/arguments.rs"]
mod arguments;

/// The rows of the table: commands of the window, and what stands for them.
fn rows() -> Vec<(Vec<&'static str>, &'static str)> {
    let docs = include_str!("../../docs/json.md");
    let table = docs.split_once("## What the window can do").unwrap().1;
    let row = |line: &'static str| line.strip_prefix('|')?.split_once('|');
    let rows = table.lines().filter_map(row).skip(2);
    rows.map(|(window, verbs)| (quoted(window), verbs)).collect()
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_command_of_the_window_has_its_verbs_on_the_command_line() {
    let mut named: Vec<&str> = rows().into_iter().flat_map(|(window, _)| window).collect();
    named.sort_unstable();
    let mut commands: Vec<&str> = include_str!("commands.rs")
        .split("#[tauri::command]\nasync fn ")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('(')?.0))
        .collect();
    commands.sort_unstable();
    assert_eq!(named, commands);
}

#[test]
fn every_verb_that_stands_for_a_command_exists() {
    let kalit = arguments::Arguments::command();
    let mut count = 0;
    for verb in rows().into_iter().flat_map(|(_, verbs)| quoted(verbs)) {
        let Some(words) = verb.strip_prefix("kalit ") else {
            assert_eq!(verb, "kalit-desktop");
            continue;
        };
        let mut command: &Command = &kalit;
        for word in words.split(' ') {
            if let Some(flag) = word.strip_prefix("--") {
                let known = command
                    .get_arguments()
                    .any(|known| known.get_long() == Some(flag));
                assert!(known, "{verb}: no {word}");
            } else if command.has_subcommands() {
                let found = command.find_subcommand(word);
                command = found.unwrap_or_else(|| panic!("{verb}: no {word}"));
            }
        }
        count += 1;
    }
    assert!(count > 20, "{count} verbs");
}
