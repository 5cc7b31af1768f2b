//! What a terminal is for: what takes more than a second is told there and nowhere else, and lists keep
//! to its width.

use std::process::Command;
use std::time::Duration;

use super::bed::{Bed, Ran, WORK, accounts, login};
use kalit_journeys::process::binary;
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use serde_json::json;

const REFRESH: &str = "fake-secret-refresh-work";
const TOLD: &str = "Renewing…";
const SLOW: Duration = Duration::from_millis(1800);

/// Where stderr of `kalit` leads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stderr {
    Terminal,
    Pipe,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_more_than_a_second_is_told_at_a_terminal_alone() {
    use Stderr::{Pipe, Terminal};

    let cases: [(&[&str], _, _, _); 5] = [
        (&["refresh", WORK], SLOW, Terminal, true),
        (&["refresh", WORK], Duration::ZERO, Terminal, false),
        (&["refresh", WORK], SLOW, Pipe, false),
        (&["refresh", WORK, "--json"], SLOW, Terminal, false),
        (&["refresh", WORK, "--quiet"], SLOW, Terminal, false),
    ];
    for (args, delay, stderr, told) in cases {
        let bed = Bed::new();
        let endpoint = TokenEndpoint::start(Login::named("work", REFRESH), Duration::from_secs(3600));
        let endpoint = endpoint.await.unwrap();
        endpoint.set_delay(delay);
        bed.manifest(&endpoint.manifest(&[1455]));
        bed.write_store("main", &json!({WORK: login("work", REFRESH, 5)}));
        let ran = tokio::task::spawn_blocking(move || match stderr {
            Pipe => bed.run(args),
            Terminal => in_terminal(&bed, args),
        });
        let ran = ran.await.unwrap();
        assert_eq!(endpoint.rotations(), 1, "{args:?} {ran:?}");
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(
            all.matches(TOLD).count(),
            usize::from(told),
            "{args:?} {stderr:?}: {all}"
        );
        assert!(all.contains("renewed") || all.contains("\"refreshed\""), "{all}");
    }
}

#[test]
fn everything_keeps_to_the_width_of_a_terminal_and_is_whole_in_a_pipe() {
    let bed = Bed::new();
    let long = "openai-codex:a.very.long.name.of.somebody@department.subsidiary.example.com";
    let mut profiles = accounts();
    profiles[long] = login("long", "fake-secret-refresh-long", -90);
    bed.write_store("main", &profiles);
    bed.write_store(
        "lab",
        &json!({"mistral:default": {"type": "api_key", "provider": "mistral"}}),
    );
    assert_eq!(
        bed.run(&["order", "set", "--provider", "openai-codex", long])
            .status,
        0
    );
    let muted = bed.run(&["settings", "set", "mutedUntil", "tomorrow"]);
    assert_eq!(muted.status, 0, "{muted:?}");
    let lists: [&[&str]; 9] = [
        &["status"],
        &["status", "--agent", "lab"],
        &["list"],
        &["list", "--agent", "lab"],
        &["agents", "list"],
        &["providers", "list"],
        &["snapshots", "list"],
        &["history"],
        &["settings"],
    ];
    for args in lists {
        let ran = in_terminal(&bed, args);
        assert_eq!(ran.status, 0, "{args:?} {ran:?}");
        // The last lines of some lists go to stderr, and name paths.
        let table = ran.stdout.split("In use: ").next().unwrap();
        for line in table.lines().map(str::trim_end) {
            let width = line.chars().count();
            assert!(width <= 80, "{args:?}: {width} in {line:?}");
            assert!(!line.contains('\t'), "{args:?}: {line:?}");
        }
        let piped = bed.run(args).stdout;
        assert!(
            !piped.contains('\t') && !piped.contains(" \n"),
            "{args:?}: {piped}"
        );
        if ["status", "list"].contains(&args[0]) {
            assert!(piped.contains(long), "{args:?}: {piped}");
            assert!(!table.contains(long) && table.contains("…"), "{args:?}: {table}");
        }
    }
}

/// `kalit` in a pseudo-terminal of 80 columns.
fn in_terminal(bed: &Bed, args: &[&str]) -> Ran {
    let kalit = binary("KALIT_BIN", "kalit").unwrap();
    let line = format!(
        "/bin/stty columns 80 && exec '{}' {}",
        kalit.display(),
        args.join(" ")
    );
    let mut script = Command::new("/usr/bin/script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    bed.dress(&mut script);
    script.env("SHELL", "/bin/sh");
    bed.run_command(&mut script, "")
}
