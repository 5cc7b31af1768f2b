//! A store lock that a living program holds. Kalit waits for it as long as OpenClaw would.

use super::bed::{Bed, OLD, WORK, now};
use kalit_core::clock::Timestamp;
use serde_json::json;

#[test]
fn a_lock_that_a_living_program_holds_is_told_after_a_minute() {
    let bed = Bed::with_accounts();
    let lock = bed.agent_dir("main").join("auth-profiles.json.lock");
    let created = Timestamp::from_millis(now()).to_iso8601();
    let text = json!({"pid": std::process::id(), "createdAt": created}).to_string();
    bed.write(&lock, &text);
    let shown = bed.run(&["status"]);
    assert!(
        shown.stdout.contains(&format!("(pid {})", std::process::id())),
        "{shown:?}"
    );
    let before = bed.state();
    let commands = [
        &["use", OLD, "--json"][..],
        &["remove", WORK, "--yes", "--json"],
        &["refresh", WORK, "--json"],
    ];
    std::thread::scope(|scope| {
        for args in commands {
            let bed = &bed;
            scope.spawn(move || {
                let ran = bed.run(args);
                assert_eq!(
                    (ran.status, ran.code().as_str()),
                    (75, "lock.busy"),
                    "{args:?}: {ran:?}"
                );
                assert!(ran.stdout.contains(&std::process::id().to_string()), "{ran:?}");
            });
        }
    });
    assert_eq!(bed.state(), before);
}
