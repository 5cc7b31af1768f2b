//! What takes more than a second is told to a person at a terminal, and to nobody else.

use std::process::Command;
use std::time::Duration;

use super::bed::{Bed, Ran, WORK, login};
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

/// `kalit` in a pseudo-terminal.
fn in_terminal(bed: &Bed, args: &[&str]) -> Ran {
    let kalit = binary("KALIT_BIN", "kalit").unwrap();
    let line = format!("exec '{}' {}", kalit.display(), args.join(" "));
    let mut script = Command::new("/usr/bin/script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    bed.dress(&mut script);
    script.env("SHELL", "/bin/sh");
    bed.run_command(&mut script, "")
}
