//! `openclaw.json` that is not what it should be. It is never written, and the accounts in the
//! stores are shown all the same.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::bed::{Bed, OLD, WORK};
use serde_json::json;

struct Bad {
    what: &'static str,
    make: fn(&Bed),
    code: &'static str,
    status: i32,
}

const CASES: &[Bad] = &[
    Bad {
        what: "empty",
        make: |bed| bed.write(&bed.config(), ""),
        code: "config.unparsable",
        status: 65,
    },
    Bad {
        what: "truncated",
        make: |bed| bed.write(&bed.config(), "{\"agents\":{\"list\":[{\"id\":\"fake-secret-"),
        code: "config.unparsable",
        status: 65,
    },
    Bad {
        what: "16 MB",
        make: |bed| {
            bed.write(
                &bed.config(),
                format!("{{\"padding\":\"{}\"}}", "x".repeat(16 << 20)),
            )
        },
        code: "config.unparsable",
        status: 65,
    },
    Bad {
        what: "an array",
        make: |bed| bed.write(&bed.config(), "[]"),
        code: "config.wrong_shape",
        status: 0,
    },
    Bad {
        what: "a wrong type",
        make: |bed| bed.write(&bed.config(), "{agents: 7}"),
        code: "config.wrong_shape",
        status: 0,
    },
    Bad {
        what: "duplicate keys",
        make: |bed| bed.write(&bed.config(), "{auth: {}, auth: {}}"),
        code: "config.duplicate_keys",
        status: 0,
    },
    Bad {
        what: "a directory",
        make: |bed| std::fs::create_dir(bed.config()).unwrap(),
        code: "config.unreadable",
        status: 77,
    },
    Bad {
        what: "unreadable",
        make: |bed| {
            bed.write(&bed.config(), "{}");
            std::fs::set_permissions(bed.config(), std::fs::Permissions::from_mode(0o000)).unwrap();
        },
        code: "config.unreadable",
        status: 77,
    },
    Bad {
        what: "a dangling link",
        make: |bed| symlink(bed.path("nowhere.json"), bed.config()).unwrap(),
        code: "config.unreadable",
        status: 77,
    },
    Bad {
        what: "a looping link",
        make: |bed| symlink(bed.config(), bed.config()).unwrap(),
        code: "config.unreadable",
        status: 77,
    },
    Bad {
        what: "a missing include",
        make: |bed| bed.write(&bed.config(), "{$include: './gone.json'}"),
        code: "config.include",
        status: 65,
    },
];

#[test]
fn a_bad_configuration_is_named_and_the_accounts_are_shown_all_the_same() {
    for bad in CASES {
        let mut bed = Bed::with_accounts();
        (bad.make)(&bed);
        bed.as_nobody();
        let before = bed.state();
        let ran = bed.run(&["status"]);
        assert_eq!(ran.status, bad.status, "{}: {ran:?}", bad.what);
        assert!(
            ran.stdout.contains(&format!("[{}]", bad.code)),
            "{}: {ran:?}",
            bad.what
        );
        assert!(ran.stdout.contains(WORK), "{}: {ran:?}", bad.what);
        let as_json = bed.run(&["status", "--json"]);
        assert_eq!(as_json.status, bad.status, "{}: {as_json:?}", bad.what);
        if bad.status == 0 {
            assert_eq!(
                as_json.json()["kalit"]["notices"][0]["code"],
                bad.code,
                "{}",
                bad.what
            );
        } else {
            assert_eq!(as_json.code(), bad.code, "{}", bad.what);
        }
        assert_eq!(bed.state(), before, "{}", bad.what);
    }
}

#[test]
fn comments_trailing_commas_and_variables_are_legal_in_the_configuration() {
    let bed = Bed::with_accounts();
    let text = "// mine\n{auth: {order: {'openai-codex': ['openai-codex:old@example.com',],},}, /* that is all */}\n";
    bed.write(&bed.config(), text);
    let ran = bed.run(&["order", "get", "--provider", "openai-codex", "--json"]);
    let answer = ran.json();
    assert_eq!(answer["order"], json!(null));
    assert_eq!(
        (&answer["kalit"]["source"], &answer["kalit"]["candidates"][0]),
        (&json!("config"), &json!(OLD))
    );
    assert_eq!(std::fs::read_to_string(bed.config()).unwrap(), text);
}

#[test]
fn settings_that_do_not_parse_stop_everything_and_stay() {
    let bed = Bed::with_accounts();
    let settings = bed.path("home/.config/kalit/settings.json");
    bed.write(&settings, "{\"version\":1,}");
    for args in [
        &["status", "--json"][..],
        &["use", WORK, "--json"],
        &["doctor", "--json"],
    ] {
        let ran = bed.run(args);
        assert_eq!(
            (ran.status, ran.code().as_str()),
            (65, "settings.unparsable"),
            "{ran:?}"
        );
    }
    assert_eq!(std::fs::read_to_string(settings).unwrap(), "{\"version\":1,}");
}
