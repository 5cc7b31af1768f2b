//! A store that is not what OpenClaw writes: a stable code, a sentence, an exit code, and every
//! byte stays.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::bed::{Bed, MARK, OLD, WORK, accounts};
use kalit_journeys::authserver::manifest;
use kalit_journeys::token_endpoint::{Login, TokenEndpoint};
use serde_json::{Value, json};

struct Bad {
    what: &'static str,
    make: fn(&Bed),
    code: &'static str,
    status: i32,
    /// Whether reading fails as well, not only writing.
    unreadable: bool,
}

fn with_text(bed: &Bed, text: impl AsRef<[u8]>) {
    bed.write(&bed.store("main"), text);
}

fn text_of(profiles: &Value) -> String {
    json!({"version": 1, "profiles": profiles}).to_string()
}

const CASES: &[Bad] = &[
    Bad {
        what: "empty",
        make: |bed| with_text(bed, ""),
        code: "store.unparsable",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "truncated",
        make: |bed| {
            let text = text_of(&accounts());
            with_text(bed, &text[..text.len() / 2]);
        },
        code: "store.unparsable",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "a trailing comma",
        make: |bed| with_text(bed, text_of(&accounts()).replacen("}}", "},}", 1)),
        code: "store.unparsable",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "comments",
        make: |bed| with_text(bed, format!("// mine\n{}", text_of(&accounts()))),
        code: "store.unparsable",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "an array",
        make: |bed| with_text(bed, format!("[{}]", text_of(&accounts()))),
        code: "store.wrong_shape",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "profiles of a wrong type",
        make: |bed| with_text(bed, json!({"version": 1, "profiles": [accounts()]}).to_string()),
        code: "store.wrong_shape",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "duplicate keys",
        make: |bed| {
            let text = text_of(&accounts());
            let twice = format!("{},\"version\":2}}", text.trim_end_matches('}').to_owned() + "}}");
            with_text(bed, twice);
        },
        code: "store.duplicate_keys",
        status: 65,
        unreadable: false,
    },
    Bad {
        what: "16 MB",
        make: |bed| {
            let mut profiles = accounts();
            profiles["padding"] = json!({"type": "token", "provider": "x", "token": MARK.repeat(1_400_000)});
            with_text(bed, text_of(&profiles));
        },
        code: "store.too_large",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "a directory",
        make: |bed| std::fs::create_dir(bed.store("main")).unwrap(),
        code: "store.not_a_file",
        status: 65,
        unreadable: true,
    },
    Bad {
        what: "unreadable",
        make: |bed| {
            with_text(bed, text_of(&accounts()));
            std::fs::set_permissions(bed.store("main"), std::fs::Permissions::from_mode(0o000)).unwrap();
        },
        code: "store.unreadable",
        status: 77,
        unreadable: true,
    },
    Bad {
        what: "a dangling link",
        make: |bed| symlink(bed.path("nowhere/store.json"), bed.store("main")).unwrap(),
        code: "store.symlink",
        status: 77,
        unreadable: true,
    },
    Bad {
        what: "a looping link",
        make: |bed| symlink(bed.store("main"), bed.store("main")).unwrap(),
        code: "store.symlink",
        status: 77,
        unreadable: true,
    },
];

/// Everything that would write, and `status` and `list`, which only read.
const WRITERS: &[(&[&str], &str)] = &[
    (&["use", WORK], ""),
    (&["order", "set", "--provider", "openai-codex", OLD, WORK], ""),
    (&["remove", WORK, "--yes"], ""),
    (
        &[
            "paste-api-key",
            "--provider",
            "google",
            "--profile-id",
            "google:new",
        ],
        "fake-secret-new-key\n",
    ),
];

#[test]
fn a_bad_store_is_named_and_kept_byte_for_byte() {
    for bad in CASES {
        let mut bed = Bed::new();
        (bad.make)(&bed);
        bed.as_nobody();
        let before = bed.state();
        for args in [&["status"][..], &["list"]] {
            let ran = bed.run(args);
            let all = format!("{}{}", ran.stdout, ran.stderr);
            let expected = if bad.unreadable { bad.status } else { 0 };
            assert_eq!(ran.status, expected, "{}: {args:?}: {ran:?}", bad.what);
            if bad.unreadable || args == ["status"] {
                assert!(all.contains(&format!("[{}]", bad.code)), "{}: {ran:?}", bad.what);
            }
            let as_json = bed.run(&[args, &["--json"]].concat());
            assert_eq!(as_json.status, expected, "{}: {as_json:?}", bad.what);
            if bad.unreadable {
                assert_eq!(as_json.code(), bad.code, "{}", bad.what);
            }
        }
        for (args, stdin) in WRITERS {
            let ran = bed.run_with(&[args, &["--json"][..]].concat(), stdin);
            assert_eq!(
                (ran.status, ran.code().as_str()),
                (bad.status, bad.code),
                "{}: {args:?}: {ran:?}",
                bad.what
            );
        }
        if bad.unreadable {
            let refresh = bed.run(&["refresh", WORK]);
            assert_eq!(refresh.status, bad.status, "{}: {refresh:?}", bad.what);
            let due = bed.run(&["refresh", "--due"]);
            assert_eq!(due.status, bad.status, "{}: {due:?}", bad.what);
        }
        assert_eq!(bed.state(), before, "{}", bad.what);
    }
}

#[test]
fn entries_of_a_wrong_type_are_told_and_the_others_work() {
    let bed = Bed::new();
    let mut profiles = accounts();
    profiles["openai-codex:odd"] =
        json!({"type": "oauth", "provider": "openai-codex", "access": 7, "expires": "soon"});
    profiles["list"] = json!([1, 2]);
    bed.write_store("main", &profiles);
    let ran = bed.run(&["status"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("[store.wrong_shape]"), "{ran:?}");
    assert!(ran.stdout.contains(WORK), "{ran:?}");
    let used = bed.run(&["use", WORK]);
    assert_eq!(used.status, 0, "{used:?}");
    assert_eq!(bed.profiles("main"), profiles);
}

#[test]
fn a_bad_state_file_is_told_and_kept() {
    let bed = Bed::with_accounts();
    let state = bed.agent_dir("main").join("auth-state.json");
    bed.write(&state, "{\"order\":{");
    let before = bed.state();
    let ran = bed.run(&["status"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("[store.unparsable]") && ran.stdout.contains("auth-state.json"),
        "{ran:?}"
    );
    assert_eq!(bed.run(&["use", WORK]).status, 65);
    assert_eq!(bed.state(), before);
}

#[test]
fn one_agents_bad_store_does_not_hide_the_others_accounts() {
    let bed = Bed::with_accounts();
    bed.write(&bed.store("broken"), "{");
    let ran = bed.run(&["status"]);
    assert_eq!(ran.status, 65, "{ran:?}");
    assert!(
        ran.stdout.contains(WORK) && ran.stdout.contains("[store.unparsable]"),
        "{ran:?}"
    );
    let checked = bed.run(&["status", "--json", "--check"]);
    assert_eq!(
        (checked.status, checked.code().as_str()),
        (65, "store.unparsable")
    );
    assert_eq!(
        checked.json()["auth"]["oauth"]["profiles"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let only_main = bed.run(&["status", "--agent", "main", "--check"]);
    assert_eq!(only_main.status, 0, "{only_main:?}");
}

#[test]
fn a_link_to_a_file_of_ones_own_is_followed_and_stays_a_link() {
    let bed = Bed::new();
    let target = bed.path("home/dotfiles/store.json");
    bed.write(&target, text_of(&accounts()));
    symlink(&target, bed.store("main")).unwrap();
    let ran = bed.run(&["use", OLD]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(std::fs::read_link(bed.store("main")).unwrap(), target);
    assert!(std::fs::read_to_string(&target).unwrap().contains("\"order\""));
}

#[test]
fn nothing_is_lost_in_a_directory_that_cannot_be_written() {
    let mut bed = Bed::with_accounts();
    bed.manifest(&manifest("http://127.0.0.1:9", &[1455]));
    bed.as_nobody();
    let dir = bed.agent_dir("main");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    let before = bed.state();
    assert_eq!(bed.run(&["status"]).status, 0);
    for (args, stdin) in WRITERS {
        let ran = bed.run_with(&[args, &["--json"][..]].concat(), stdin);
        assert_eq!(
            (ran.status, ran.code().as_str()),
            (73, "lock.failed"),
            "{args:?}: {ran:?}"
        );
    }
    // Without the lock a renewal sends nothing: nobody listens there.
    let refresh = bed.run(&["refresh", WORK, "--json"]);
    assert_eq!(
        (refresh.status, refresh.code().as_str()),
        (73, "lock.failed"),
        "{refresh:?}"
    );
    assert_eq!(bed.state(), before);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn nothing_is_lost_on_a_full_disk() {
    let bed = Bed::new();
    let mut profiles = accounts();
    profiles["padding"] = padding();
    bed.write_store("main", &profiles);
    let before = bed.state();
    for (args, stdin) in WRITERS {
        let ran = bed.run_on_a_full_disk(&[args, &["--json"][..]].concat(), stdin);
        assert_eq!(
            (ran.status, ran.code().as_str()),
            (73, "store.write_failed"),
            "{args:?}: {ran:?}"
        );
    }
    assert_eq!(bed.state(), before);
}

/// What came is kept beside the store for a minute of trying, and put there when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_no_room_is_kept_and_stored_later_without_another_request() {
    let login_of_work = Login::named("work", "fake-secret-refresh-work");
    let endpoint = TokenEndpoint::start(login_of_work, Duration::from_secs(3600))
        .await
        .unwrap();
    let bed = Bed::new();
    bed.manifest(&endpoint.manifest(&[1455]));
    let mut profiles = accounts();
    profiles["padding"] = padding();
    bed.write_store("main", &profiles);
    let before = bed.state();
    let (bed, ran) = tokio::task::spawn_blocking(move || {
        let ran = bed.run_on_a_full_disk(&["refresh", WORK, "--json"], "");
        (bed, ran)
    })
    .await
    .unwrap();
    assert_eq!(
        (ran.status, ran.code().as_str()),
        (73, "store.write_failed"),
        "{ran:?}"
    );
    assert_eq!(bed.state(), before);
    assert_eq!(endpoint.token_requests().len(), 1);

    let (bed, again) = tokio::task::spawn_blocking(move || {
        let again = bed.run(&["refresh", WORK, "--json"]);
        (bed, again)
    })
    .await
    .unwrap();
    assert_eq!(again.status, 0, "{again:?}");
    assert_eq!(again.json()["outcomes"][0]["result"], "adopted");
    assert_eq!((endpoint.token_requests().len(), endpoint.reuses()), (1, 0));
    let stored = bed.profiles("main");
    assert_eq!(
        (&stored[WORK]["refresh"], &stored["padding"]),
        (
            &json!(endpoint.current_refresh("acct-work").unwrap()),
            &profiles["padding"]
        )
    );
}

/// What makes a store larger than a full disk takes.
fn padding() -> Value {
    json!({"type": "token", "provider": "x", "token": MARK.repeat(300_000)})
}
