//! Installations of OpenClaw 2026.6.5 and later are recognised, and Kalit itself writes nothing in
//! them.

use super::bed::{Bed, WORK};
use rusqlite::Connection;

/// The tables by which 2026.6.11's database is known, without rows.
const MARKER_TABLES: &str = "CREATE TABLE schema_meta(meta_key TEXT PRIMARY KEY, app_version TEXT);
    CREATE TABLE auth_profile_store(store_key TEXT PRIMARY KEY, store_json TEXT, updated_at INTEGER);
    CREATE TABLE auth_profile_state(state_key TEXT PRIMARY KEY, state_json TEXT, updated_at INTEGER);
    INSERT INTO schema_meta VALUES ('primary', '2026.6.11');";

fn database(bed: &Bed) {
    let path = bed.agent_dir("main").join("openclaw-agent.sqlite");
    Connection::open(path)
        .unwrap()
        .execute_batch(MARKER_TABLES)
        .unwrap();
}

/// What writes, its standard input, and why it does not where OpenClaw keeps the accounts but is
/// not installed.
const WRITERS: &[(&[&str], &str, &str)] = &[
    (&["use", WORK], "", "profile.unknown"),
    (
        &["order", "set", "--provider", "openai-codex", WORK],
        "",
        "profile.unknown",
    ),
    (
        &["order", "clear", "--provider", "openai-codex"],
        "",
        "openclaw.missing",
    ),
    (&["clear-cooldown", WORK], "", "profile.unknown"),
    (&["remove", WORK, "--yes"], "", "profile.unknown"),
    (&["refresh", WORK], "", "era.sqlite"),
    (&["import", "--yes"], "", "era.sqlite"),
    (&["login", "openai", "--no-browser"], "", "openclaw.missing"),
    (
        &["paste-api-key", "--provider", "google"],
        "fake-secret-key\n",
        "openclaw.missing",
    ),
    (&["test-logins", "--yes"], "", "openclaw.missing"),
];

fn refuses_all(bed: &Bed, code: &str, sentence: &str) {
    let before = bed.state();
    let shown = bed.run(&["status"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(
        shown.stdout.contains(sentence) && shown.stdout.contains(&format!("[{code}]")),
        "{shown:?}"
    );
    let looks: [&[&str]; 2] = [&["status", "--check", "--json"], &["list", "--json"]];
    let looks = if code == "era.mixed" { &looks[..] } else { &[] };
    for args in looks.iter().copied().chain([&["refresh", "--json"][..]]) {
        let ran = bed.run(args);
        assert_eq!((ran.status, ran.code().as_str()), (77, code), "{args:?}: {ran:?}");
    }
    for (args, stdin, of_sqlite) in WRITERS {
        let ran = bed.run_with(&[args, &["--json"][..]].concat(), stdin);
        let expected = if code == "era.mixed" { code } else { *of_sqlite };
        assert_eq!(ran.code(), expected, "{args:?}: {ran:?}");
        assert_ne!(ran.status, 0, "{args:?}: {ran:?}");
    }
    assert_eq!(bed.state(), before);
}

#[test]
fn the_sqlite_era_is_shown_and_nothing_is_written() {
    let bed = Bed::new();
    database(&bed);
    refuses_all(
        &bed,
        "era.sqlite",
        "OpenClaw 2026.6.5 or later keeps these logins",
    );
}

#[test]
fn stores_of_two_eras_side_by_side_are_told_and_left_alone() {
    let bed = Bed::with_accounts();
    database(&bed);
    refuses_all(&bed, "era.mixed", "Stores of two kinds lie side by side");
}
