//! The verbs of the command line that canaries go through, and that these are all.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, release};
use serde_json::Value;

pub const WORK: &str = "openai:work@example.com";
pub const OLD: &str = "openai:old@example.com";
/// Stands for the id of the newest snapshot.
pub const SNAPSHOT: &str = "SNAPSHOT";
/// Runs until it is interrupted.
pub const WATCH: &[&str] = &["watch", "--json"];
/// A dialogue, in which a person pastes an address.
pub const LOGIN: &[&str] = &["login", "openai", "--no-browser"];

/// A command, and what it reads from stdin: `SECRET` stands for a canary.
pub type Verb = (&'static [&'static str], &'static str);

/// What Kalit answers by itself where accounts lie in JSON files. A new verb gets a line.
pub const VERBS: &[Verb] = &[
    (&["status"], ""),
    (&["status", "--json", "--check"], ""),
    (&["list", "--json"], ""),
    (&["refresh", WORK], ""),
    (&["refresh", "--due", "--json"], ""),
    (&["use", OLD], ""),
    (&["clear-cooldown", OLD, "--json"], ""),
    (&["order", "get", "--provider", "openai", "--json"], ""),
    (&["order", "set", "--provider", "openai", WORK, OLD], ""),
    (&["order", "clear", "--provider", "openai"], ""),
    (&["paste-api-key", "--provider", "mistral"], "SECRET"),
    (
        &["paste-token", "--provider", "anthropic", "--json"],
        "SECRET and more",
    ),
    (&["one-owner", WORK, "--yes"], ""),
    (&["import", "--yes", "--json"], ""),
    (&["restore", WORK, "--yes"], ""),
    (&["sessions", "list"], ""),
    (&["test-logins", "--yes"], ""),
    (&["agents", "list", "--json"], ""),
    (&["providers", "list", "--quiet"], ""),
    (
        &["providers", "trust", "kalit/providers/openai.json", "--yes"],
        "",
    ),
    // Nobody listens there.
    (
        &[
            "providers",
            "discover",
            "http://127.0.0.1:9",
            "--id",
            "acme",
            "--client-id",
            "c",
            "--yes",
        ],
        "",
    ),
    (&["settings"], ""),
    (&["settings", "set", "showNames", "false", "--json"], ""),
    (&["settings", "unset", "showNames"], ""),
    (&["doctor"], ""),
    (&["doctor", "--json"], ""),
    (WATCH, ""),
    (&["remove", OLD, "--everywhere"], ""),
    (&["remove", OLD, "--everywhere", "--yes", "--json"], ""),
    (&["radar"], ""),
    (&["radar", "--keychain", "--json"], ""),
    (&["radar", "--check"], ""),
    (&["history"], ""),
    (&["history", "--profile", OLD, "--limit", "5", "--json"], ""),
    (
        &[
            "history", "--search", "old", "--type", "removed", "--since", "1d", "--json",
        ],
        "",
    ),
    (&["history", "--export", "kalit/events.jsonl", "--json"], ""),
    (&["why", WORK], ""),
    (&["why", WORK, "--json"], ""),
    (&["snapshots", "list"], ""),
    (&["snapshots", "show", SNAPSHOT], ""),
    (&["snapshots", "show", SNAPSHOT, "--json"], ""),
    (&["snapshots", "restore", SNAPSHOT, "--yes"], ""),
    (
        &[
            "snapshots",
            "restore",
            SNAPSHOT,
            "--profile-id",
            WORK,
            "--yes",
            "--json",
        ],
        "",
    ),
    // Without a session bus it fails; the desktop's journey moves it.
    (MOVE_KEY, ""),
    (&["login", "openai", "--host", "a;b"], ""),
    (&["completions", "bash"], ""),
    (&["frobnicate"], ""),
];

pub const MOVE_KEY: &[&str] = &["doctor", "--move-key-to-keychain"];

/// What asks OpenClaw, which takes its time: once in the short form.
pub const ASKING: &[Verb] = &[
    (&["login", "nobody"], ""),
    (&["agents", "add", "spare", "--json"], ""),
    (&["sessions", "pin", "agent:main:main", WORK], ""),
    (&["sessions", "unpin", "agent:main:main", "--json"], ""),
];

#[tokio::test]
async fn canaries_go_through_every_verb_that_there_is() -> Result<()> {
    let (home, release) = (TestHome::new()?, release(Version::V2026_6_1).await?);
    let kalit = Kalit::new(&home, &release, &Value::Null)?;
    let (mut open, mut verbs) = (vec![Vec::new()], BTreeSet::new());
    while let Some(path) = open.pop() {
        let below = subcommands(&kalit, &path).await?;
        if below.is_empty() {
            verbs.insert(path);
        } else {
            open.extend(below.into_iter().map(|name| [&path[..], &[name]].concat()));
        }
    }
    ensure!(
        verbs.contains(&vec!["order".to_owned(), "set".to_owned()]),
        "{verbs:?}"
    );
    let covered = VERBS.iter().chain(ASKING).map(|(args, _)| *args).chain([LOGIN]);
    let covered: Vec<&[&str]> = covered.collect();
    for verb in &verbs {
        let goes = covered
            .iter()
            .any(|args| args.starts_with(&verb.iter().map(String::as_str).collect::<Vec<_>>()));
        ensure!(goes, "no canary goes through `kalit {}`", verb.join(" "));
    }
    Ok(())
}

/// What the help of a verb lists below it.
async fn subcommands(kalit: &Kalit, path: &[String]) -> Result<Vec<String>> {
    let mut args: Vec<&str> = path.iter().map(String::as_str).collect();
    args.push("--help");
    let help = kalit.run(&args).await?;
    ensure!(help.code == 0, "{args:?}: {help:?}");
    let mut names = Vec::new();
    let listed = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1);
    for line in listed.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().context("an empty line")?;
        if name != "help" {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
