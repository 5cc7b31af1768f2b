//! The verbs, case by case: arguments, stdin, status, stdout, stderr.

use super::bed::{Bed, Case, OLD, WORK, accounts, login, now};
use serde_json::json;

const CASES: &[Case] = &[
    Case {
        args: &["frobnicate"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["frobnicate"],
    },
    Case {
        args: &["use", "--json"],
        stdin: "",
        status: 64,
        stdout: &["\"code\": \"usage\""],
        stderr: &[],
    },
    Case {
        args: &["refresh", "--due", WORK],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["cannot be used with"],
    },
    Case {
        args: &["status", "--agent", "nobody"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[agent.unknown]", "kalit agents list"],
    },
    Case {
        args: &["use", "openai-codex:nobody"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[profile.unknown]", "kalit list"],
    },
    Case {
        args: &["clear-cooldown", WORK],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[cooldown.none]", "kalit status"],
    },
    Case {
        args: &["clear-cooldown", "openai-codex:nobody", "--json"],
        stdin: "",
        status: 64,
        stdout: &["\"code\": \"profile.unknown\""],
        stderr: &[],
    },
    Case {
        args: &["login", "nobody"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[provider.unknown]", "kalit providers list"],
    },
    Case {
        args: &["login", "anthropic"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &[
            "[provider.flow_unsupported]",
            "kalit paste-token --provider anthropic",
        ],
    },
    Case {
        args: &[
            "order",
            "set",
            "--provider",
            "openai-codex",
            WORK,
            "openai-codex:nobody",
        ],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[profile.unknown]"],
    },
    Case {
        args: &[
            "order",
            "set",
            "--provider",
            "openai-codex",
            WORK,
            "google:default",
        ],
        stdin: "",
        status: 65,
        stdout: &[],
        stderr: &["[order.invalid]", "google:default belongs to google"],
    },
    Case {
        args: &["remove", WORK],
        stdin: "y\n",
        status: 64,
        stdout: &[],
        stderr: &["[confirmation.needed]", "--yes", "kalit snapshots list"],
    },
    Case {
        args: &["remove", "openai-codex:nobody"],
        stdin: "y\n",
        status: 64,
        stdout: &[],
        stderr: &["[profile.unknown]", "kalit list"],
    },
    Case {
        args: &["snapshots", "show", "20251123-0"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[snapshot.unknown]", "kalit snapshots list"],
    },
    Case {
        args: &["snapshots", "restore", "20251123-0", "--yes"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[snapshot.unknown]"],
    },
    Case {
        args: &["renew", "--due", WORK],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["cannot be used with"],
    },
    Case {
        args: &["remove", "google:default", "--everywhere", "--yes"],
        stdin: "",
        status: 69,
        stdout: &[],
        stderr: &["[revoke.unavailable]", "provider's own pages"],
    },
    Case {
        args: &["remove", OLD, "--everywhere"],
        stdin: "y\n",
        status: 64,
        stdout: &["ChatGPT ends the login itself"],
        stderr: &["[confirmation.needed]"],
    },
    Case {
        args: &["refresh", "google:default"],
        stdin: "",
        status: 65,
        stdout: &["google:default (main): not renewed"],
        stderr: &["[profile.not_refreshable]"],
    },
    Case {
        args: &["import"],
        stdin: "",
        status: 65,
        stdout: &[],
        stderr: &["[import.nothing]"],
    },
    Case {
        args: &["agents", "add", "helper"],
        stdin: "",
        status: 69,
        stdout: &[],
        stderr: &["[openclaw.missing]", "openclaw agents add"],
    },
    Case {
        args: &["providers", "trust", "nowhere.json", "--yes"],
        stdin: "",
        status: 65,
        stdout: &[],
        stderr: &["[provider.manifest_invalid]"],
    },
    Case {
        args: &["paste-token", "--provider", "anthropic"],
        stdin: "",
        status: 65,
        stdout: &[],
        stderr: &["[secret.empty]"],
    },
    Case {
        args: &["paste-token", "--provider", "anthropic"],
        stdin: "sk-ant-oat01-fake-secret- 0000000000000000000000000000000000000000000000000000000000\n",
        status: 65,
        stdout: &[],
        stderr: &["[secret.whitespace]"],
    },
    Case {
        args: &["paste-token", "--provider", "anthropic"],
        stdin: "sk-ant-oat01-fake-secret-\n0000000000000000000000000000000000000000000000000000000000\n",
        status: 65,
        stdout: &[],
        stderr: &["[secret.whitespace]"],
    },
    Case {
        args: &["paste-token", "--provider", "anthropic"],
        stdin: "sk-ant-oat01-fake-secret-000\n",
        status: 65,
        stdout: &[],
        stderr: &["[secret.too_short]"],
    },
    Case {
        args: &["paste-token", "--provider", "anthropic"],
        stdin: "fake-secret-00000000000000000000000000000000000000000000000000000000000000000000000\n",
        status: 65,
        stdout: &[],
        stderr: &["[secret.prefix]", "claude setup-token"],
    },
    Case {
        args: &["paste-api-key", "--provider", "openai"],
        stdin: "sk-ant-api03-fake-secret-0000000000\n",
        status: 65,
        stdout: &[],
        stderr: &["[secret.prefix]"],
    },
    Case {
        args: &["paste-token", "--provider", "anthropic", "--expires-in", "soon"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["365d"],
    },
    Case {
        args: &[
            "paste-api-key",
            "--provider",
            "openai-codex",
            "--profile-id",
            WORK,
        ],
        stdin: "fake-secret-0000000000\n",
        status: 65,
        stdout: &[],
        stderr: &["[profile.exists]"],
    },
    Case {
        args: &["--version"],
        stdin: "",
        status: 0,
        stdout: &["kalit "],
        stderr: &[],
    },
];

#[test]
fn what_cannot_be_done_is_told_and_nothing_changes() {
    let bed = Bed::with_accounts();
    let before = bed.state();
    for case in CASES {
        bed.check(case);
        assert_eq!(bed.state(), before, "{:?}", case.args);
    }
}

#[test]
fn every_command_explains_itself() {
    let bed = Bed::new();
    assert!(bed.run(&["--help"]).stdout.contains("[alias: renew]"));
    for command in [
        "status",
        "list",
        "login",
        "paste-token",
        "paste-api-key",
        "use",
        "clear-cooldown",
        "order",
        "refresh",
        "remove",
        "import",
        "agents",
        "providers",
        "watch",
        "doctor",
    ] {
        let ran = bed.run(&[command, "--help"]);
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.stdout.contains(&format!("Usage: kalit {command}")), "{ran:?}");
        assert!(
            bed.run(&["--help"]).stdout.contains(&format!("  {command} ")),
            "{command}"
        );
    }
}

#[test]
fn a_switch_says_what_is_used_now_and_clear_returns_to_rotation() {
    let bed = Bed::with_accounts();
    bed.check(&Case {
        args: &["use", OLD],
        stdin: "",
        status: 0,
        stdout: &[
            "Agent main uses openai-codex:old@example.com first (stored order)",
            "Accounts no longer take turns",
        ],
        stderr: &[],
    });
    bed.check(&Case {
        args: &["status"],
        stdin: "",
        status: 0,
        stdout: &[
            "Everything is in order",
            "ChatGPT: stored order",
            "● openai-codex:old@example.com",
        ],
        stderr: &[],
    });
    // What is in force already is no change.
    let before = bed.state();
    assert_eq!(bed.run(&["use", OLD]).status, 0);
    assert_eq!(bed.state(), before);
    bed.check(&Case {
        args: &["order", "clear", "--provider", "openai-codex"],
        stdin: "",
        status: 0,
        stdout: &["rotating over 2"],
        stderr: &[],
    });
    assert_eq!(bed.profiles("main"), accounts_of(&bed));
}

#[test]
fn a_cleared_account_is_used_again_and_keeps_what_else_was_noted() {
    let bed = Bed::with_accounts();
    let state = bed.agent_dir("main").join("auth-state.json");
    let rest = |until: i64| {
        json!({"version": 1, "order": {"openai-codex": [OLD, WORK]}, "usageStats": {
            OLD: {"lastUsed": 5, "errorCount": 4, "failureCounts": {"billing": 4}, "lastFailureAt": 6,
                "disabledUntil": until, "disabledReason": "billing"},
            WORK: {"lastUsed": 7, "errorCount": 1},
        }})
    };
    // A window that has ended is none.
    bed.write(&state, rest(now() - 1000).to_string());
    let before = bed.state();
    let ran = bed.run(&["clear-cooldown", OLD, "--json"]);
    assert_eq!(
        (ran.status, ran.code().as_str()),
        (64, "cooldown.none"),
        "{ran:?}"
    );
    assert_eq!(bed.state(), before);

    bed.write(&state, rest(now() + 3_600_000).to_string());
    let shown = bed.run(&["status"]);
    assert!(
        shown.stdout.contains("OpenClaw leaves it alone until"),
        "{shown:?}"
    );
    bed.check(&Case {
        args: &["clear-cooldown", OLD],
        stdin: "",
        status: 0,
        stdout: &[
            "Cleared the cooldown of openai-codex:old@example.com in main",
            "Agent main uses openai-codex:old@example.com first (stored order)",
        ],
        stderr: &[],
    });
    let mut expected = rest(0);
    expected["usageStats"][OLD] = json!({"lastUsed": 5, "errorCount": 0, "lastFailureAt": 6});
    let found: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    assert_eq!(found, expected);
    assert_eq!(bed.profiles("main"), accounts_of(&bed));
    let shown = bed.run(&["status"]);
    assert!(!shown.stdout.contains("leaves it alone"), "{shown:?}");
}

#[test]
fn the_first_line_says_the_worst_and_the_others_what_is_shared() {
    let bed = Bed::with_accounts();
    bed.write(
        &bed.config(),
        "{agents: {list: [{id: 'main', default: true}, {id: 'work'}, {id: 'lab'}]}}",
    );
    bed.write_store(
        "lab",
        &json!({"mistral:default": {"type": "api_key", "provider": "mistral", "key": "fake-secret-m"}}),
    );
    let first = |bed: &Bed| bed.run(&["status"]).stdout.lines().next().unwrap().to_owned();
    let shown = bed.run(&["status"]).stdout;
    assert_eq!(first(&bed), "Everything is in order", "{shown}");
    assert!(shown.contains("\nwork\n  shares main's accounts\n"), "{shown}");
    assert!(
        shown.contains("  ChatGPT, Anthropic, google: as in main\n"),
        "{shown}"
    );
    assert_eq!(shown.matches(WORK).count(), 1, "{shown}");
    assert!(shown.contains("Nothing is renewed now"), "{shown}");

    assert_eq!(bed.run(&["settings", "set", "watchOnly", "true"]).status, 0);
    assert_eq!(first(&bed), "Renewal is paused");

    let state = bed.agent_dir("main").join("auth-state.json");
    let rests = json!({"cooldownUntil": now() + 3_600_000, "cooldownReason": "rate_limit", "errorCount": 1});
    let usage = json!({"version": 1, "usageStats": {WORK: rests, OLD: rests}});
    bed.write(&state, usage.to_string());
    assert_eq!(first(&bed), "No account is ready for ChatGPT");
    let shown = bed.run(&["status"]).stdout;
    assert!(
        shown.contains("\n  No account is ready for ChatGPT until ")
            && !shown.contains("ChatGPT: no account"),
        "{shown}"
    );

    let mut profiles = bed.profiles("main");
    profiles["google:empty"] = json!({"type": "api_key", "provider": "google"});
    bed.write_store("main", &profiles);
    assert_eq!(first(&bed), "One account needs you");

    bed.write(&bed.store("main"), "{");
    assert_eq!(first(&bed), "The account file of main cannot be read");
}

fn accounts_of(bed: &Bed) -> serde_json::Value {
    let mut expected = accounts();
    // the times differ by the moment in which they were made
    for id in [WORK, OLD] {
        expected[id]["expires"] = bed.profiles("main")[id]["expires"].clone();
    }
    expected
}

#[test]
fn an_agent_that_only_reads_a_profile_gets_no_order() {
    let bed = Bed::with_accounts();
    bed.write(
        &bed.config(),
        "{agents: {list: [{id: 'main', default: true}, {id: 'work'}, {id: 'lab'}]}}",
    );
    let lab = json!({WORK: login("work", "fake-secret-refresh-of-lab", 900)});
    bed.write_store("lab", &lab);
    // the lock makes this directory where it is missing, as OpenClaw does
    std::fs::create_dir_all(bed.agent_dir("work")).unwrap();
    let before = bed.state();
    for args in [
        &["use", WORK, "--agent", "work"][..],
        &[
            "order",
            "set",
            "--provider",
            "openai-codex",
            WORK,
            "--agent",
            "work",
        ],
    ] {
        let ran = bed.run(args);
        assert_eq!(ran.status, 77, "{ran:?}");
        assert!(ran.stderr.contains("[profile.inherited]"), "{ran:?}");
        // lab has a login of its own under that id: it is not affected
        assert!(ran.stderr.contains("that also affects work."), "{ran:?}");
    }
    assert_eq!(bed.run(&["remove", WORK, "--agent", "work", "--yes"]).status, 77);
    assert_eq!(bed.state(), before);
    let usage = json!({"version": 1, "usageStats": {WORK: {"cooldownUntil": now() + 3_600_000}}});
    bed.write(&bed.agent_dir("main").join("auth-state.json"), usage.to_string());
    let before = bed.state();
    let ran = bed.run(&["clear-cooldown", WORK, "--agent", "work"]);
    assert_eq!(ran.status, 77, "{ran:?}");
    assert!(
        ran.stderr.contains("[profile.inherited]") && ran.stderr.contains("--agent main"),
        "{ran:?}"
    );
    assert_eq!(bed.state(), before);
    let shown = bed.run(&["status", "--agent", "work"]);
    assert!(shown.stdout.contains("in main's store"), "{shown:?}");
}

#[test]
fn a_pasted_secret_is_stored_and_never_shown() {
    let bed = Bed::with_accounts();
    let token = format!("sk-ant-oat01-fake-secret-{}", "0".repeat(70));
    let args = [
        "paste-token",
        "--provider",
        "anthropic",
        "--profile-id",
        "anthropic:new",
        "--expires-in",
        "365d",
    ];
    let ran = bed.run_with(&[&args[..], &["--json"]].concat(), &format!("{token}\n"));
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.json()["profileId"], "anthropic:new");
    let profile = bed.profiles("main")["anthropic:new"].clone();
    assert_eq!(
        (&profile["type"], &profile["token"]),
        (&json!("token"), &json!(token))
    );
    let year = profile["expires"].as_i64().unwrap() - now();
    assert!((year - 365 * 86_400_000).abs() < 60_000, "{year}");
    // Cut off after the line break: that is no second line.
    let ran = bed.run_with(
        &["paste-api-key", "--provider", "mistral"],
        "fake-secret-mistral-key\r\n",
    );
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("Stored mistral:manual"), "{ran:?}");
    assert_eq!(
        bed.profiles("main")["mistral:manual"]["key"],
        "fake-secret-mistral-key"
    );
}

#[test]
fn removing_forgets_one_profile_and_names_other_copies() {
    let bed = Bed::with_accounts();
    let copy = json!({WORK: accounts()[WORK]});
    bed.write_store("copy", &copy);
    let ran = bed.run(&["remove", WORK, "--yes"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.stdout
            .contains("Forgot openai-codex:work@example.com in main"),
        "{ran:?}"
    );
    assert!(
        ran.stdout.contains(&bed.agent_dir("copy").display().to_string()),
        "{ran:?}"
    );
    assert!(bed.profiles("main").get(WORK).is_none());
    assert!(bed.profiles("copy").get(WORK).is_some());
    // Removed on purpose: nobody is told that it vanished.
    let shown = bed.run(&["status"]);
    assert!(!shown.stdout.contains("vanished"), "{shown:?}");
}

#[test]
fn an_import_shows_first_and_never_resurrects() {
    let bed = Bed::new();
    let expires = now() + 86_400_000;
    let legacy = json!({
        "openai-codex": {"access": "fake-secret-a", "refresh": "fake-secret-legacy", "expires": expires},
        "anthropic": {"access": "fake-secret-b", "refresh": "fake-secret-legacy-2", "expires": expires},
    });
    let source = bed.state_dir().join("credentials/oauth.json");
    bed.write(&source, legacy.to_string());
    let before = bed.state();
    let preview = bed.run(&["import", "--json"]);
    assert_eq!(
        (preview.status, preview.code().as_str()),
        (64, "confirmation.needed"),
        "{preview:?}"
    );
    assert_eq!(preview.json()["preview"].as_array().unwrap().len(), 2);
    assert_eq!(bed.state(), before);
    let done = bed.run(&["import", "--yes"]);
    assert_eq!(done.status, 0, "{done:?}");
    assert!(done.stdout.contains("Imported 2"), "{done:?}");
    let profiles = bed.profiles("main");
    assert_eq!(profiles["openai-codex:default"]["refresh"], "fake-secret-legacy");
    assert_eq!(std::fs::read_to_string(&source).unwrap(), legacy.to_string());

    // OpenClaw rotated since: the old file must not come back.
    let mut newer = profiles;
    newer["openai-codex:default"]["refresh"] = json!("fake-secret-newer");
    newer["openai-codex:default"]["expires"] = json!(expires + 3_600_000);
    bed.write_store("main", &newer);
    let again = bed.run(&["import", "--yes", "--json"]);
    assert!(
        again.json()["imported"].as_array().unwrap().is_empty(),
        "{again:?}"
    );
    assert_eq!(bed.profiles("main"), newer);
}
