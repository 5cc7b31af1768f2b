//! The answers for programs: OpenClaw's names where it has them, the rest under `kalit`.

use super::bed::{Bed, OLD, WORK, accounts, login};
use serde_json::{Value, json};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn status_has_openclaws_fields_and_ours_beside_them() {
    let bed = Bed::new();
    let mut profiles = accounts();
    profiles[OLD]["expires"] = json!(1_000);
    profiles["openai-codex:odd"] = json!({"type": "oauth", "provider": "openai-codex"});
    bed.write_store("main", &profiles);
    bed.write(
        &bed.config(),
        "{agents: {defaults: {model: {primary: 'mistral/large', fallbacks: ['google/flash']}}}}",
    );
    let ran = bed.run(&["status", "--json"]);
    let answer = ran.json();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(keys(&answer), ["agentId", "agentDir", "auth", "kalit"]);
    assert_eq!(answer["auth"]["storePath"], json!(bed.store("main")));
    // A provider in use without a profile is reported, not counted.
    assert_eq!(answer["auth"]["missingProvidersInUse"], json!(["mistral"]));
    let listed = answer["auth"]["oauth"]["profiles"].as_array().unwrap();
    let of = |id: &str| listed.iter().find(|profile| profile["profileId"] == id).unwrap();
    let words = [
        (WORK, "oauth", "ok", Value::Null),
        (OLD, "oauth", "expired", json!("not_renewed")),
        (
            "openai-codex:odd",
            "oauth",
            "missing",
            json!("missing_credential"),
        ),
        ("anthropic:manual", "token", "static", Value::Null),
        ("google:default", "api_key", "static", Value::Null),
    ];
    assert_eq!(listed.len(), words.len());
    for (id, kind, status, reason) in words {
        let profile = of(id);
        assert_eq!(
            (&profile["type"], &profile["status"]),
            (&json!(kind), &json!(status)),
            "{profile}"
        );
        if !reason.is_null() && id != OLD {
            assert_eq!(profile["reasonCode"], reason, "{profile}");
        }
    }
    assert_eq!(
        keys(of(WORK)),
        [
            "profileId",
            "provider",
            "type",
            "status",
            "label",
            "expiresAt",
            "remainingMs"
        ]
    );
    assert_eq!(of(WORK)["expiresAt"], bed.profiles("main")[WORK]["expires"]);
    let board = &answer["kalit"];
    assert_eq!(
        (&board["schema"], &board["installation"]["era"]),
        (&json!(1), &json!("json"))
    );
    let provider = &board["agents"][0]["providers"][0];
    assert_eq!(provider["effective"], WORK);
    assert_eq!(provider["reason"]["code"], "rotating");
    assert_eq!(provider["accounts"][0]["generation"].as_str().unwrap().len(), 16);
}

#[test]
fn check_answers_with_one_for_lost_and_two_for_soon_and_one_wins() {
    let bed = Bed::new();
    let day = 24 * 60;
    let soon = login("soon", "fake-secret-refresh-soon", day - 5);
    let lost = login("lost", "fake-secret-refresh-lost", -5);
    let fine = login("fine", "fake-secret-refresh-fine", day + 5);
    let no_secret = json!({"type": "api_key", "provider": "google"});
    let ended = json!({"type": "token", "provider": "anthropic", "token": "fake-secret-t", "expires": 1_000});
    let cases = [
        (json!({}), 0),
        (json!({"openai-codex:fine": fine}), 0),
        (json!({"openai-codex:fine": fine, "openai-codex:soon": soon}), 2),
        (json!({"openai-codex:soon": soon, "openai-codex:lost": lost}), 1),
        (json!({"google:empty": no_secret}), 1),
        (json!({"anthropic:manual": ended, "openai-codex:soon": soon}), 1),
    ];
    for (profiles, status) in cases {
        bed.write_store("main", &profiles);
        let ran = bed.run(&["status", "--check"]);
        assert_eq!(ran.status, status, "{ran:?}");
        assert_eq!(bed.run(&["status", "--check", "--json"]).status, status);
        assert_eq!(bed.run(&["status"]).status, 0);
    }
}

#[test]
fn list_has_the_profiles_and_the_auth_array_of_the_channels_command() {
    let bed = Bed::with_accounts();
    bed.write_store(
        "other",
        &json!({"google:other": {"type": "api_key", "provider": "google", "key": "fake-secret-o"}}),
    );
    let answer = bed.run(&["list", "--json"]).json();
    assert_eq!(
        keys(&answer),
        ["agentId", "agentDir", "authStatePath", "profiles", "auth"]
    );
    assert_eq!(answer["profiles"].as_array().unwrap().len(), 4);
    assert!(
        answer["auth"]
            .as_array()
            .unwrap()
            .contains(&json!({"id": WORK, "provider": "openai-codex", "type": "oauth", "isExternal": false}))
    );
    let other = bed.run(&["list", "--agent", "other"]);
    let lines: Vec<&str> = other.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "PROFILE                        PROVIDER      KIND     STORE",
            "openai-codex:work@example.com  openai-codex  login    main's",
        ]
    );
    assert_eq!(
        lines.last(),
        Some(&"google:other                   google        API key")
    );
}

#[test]
fn order_get_has_openclaws_five_fields() {
    let bed = Bed::with_accounts();
    let get = ["order", "get", "--provider", "openai-codex", "--json"];
    let answer = bed.run(&get).json();
    assert_eq!(
        keys(&answer),
        [
            "agentId",
            "agentDir",
            "provider",
            "authStatePath",
            "order",
            "kalit"
        ]
    );
    assert_eq!(answer["order"], Value::Null);
    let set = bed.run(&["order", "set", "--provider", "openai-codex", OLD, WORK, "--json"]);
    assert_eq!(
        keys(&set.json()),
        ["agent", "provider", "effective", "reason", "order", "notes"]
    );
    let answer = bed.run(&get).json();
    assert_eq!(
        (&answer["agentId"], &answer["provider"], &answer["order"]),
        (&json!("main"), &json!("openai-codex"), &json!([OLD, WORK]))
    );
    assert_eq!(answer["authStatePath"], json!(bed.store("main")));
    assert_eq!(answer["kalit"]["reason"]["code"], "stored-order");
    let text = bed.run(&["order", "get", "--provider", "openai-codex"]);
    assert_eq!(text.stdout, format!("{OLD}\n{WORK}\n"));
}

#[test]
fn an_order_is_found_by_the_name_that_people_see() {
    let bed = Bed::with_accounts();
    for typed in ["openai", "ChatGPT"] {
        let get = ["order", "get", "--provider", typed];
        let answer = bed.run(&[&get[..], &["--json"]].concat()).json();
        assert_eq!(answer["provider"], "openai-codex", "{typed}");
        assert_eq!(answer["kalit"]["candidates"][0], WORK);
        let ran = bed.run(&get);
        assert!(
            ran.stderr
                .contains("The accounts of ChatGPT are those of openai-codex here."),
            "{ran:?}"
        );
    }
    let set = bed.run(&["order", "set", "--provider", "openai", OLD, WORK]);
    assert_eq!(set.status, 0, "{set:?}");
    let get = ["order", "get", "--provider", "openai-codex"];
    assert_eq!(bed.run(&get).stdout, format!("{OLD}\n{WORK}\n"));

    // An API key of OpenAI is shown under the same name.
    let mut profiles = bed.profiles("main");
    profiles["openai:key"] = json!({"type": "api_key", "provider": "openai", "key": "fake-secret-k"});
    bed.write_store("main", &profiles);
    let key = bed.run(&["order", "get", "--provider", "openai"]);
    assert!(
        key.stderr
            .contains("openai-codex is shown as ChatGPT, too: this is about openai."),
        "{key:?}"
    );
    assert!(key.stderr.contains("openai:key"), "{key:?}");
    let both = bed.run(&["order", "get", "--provider", "ChatGPT"]);
    assert_eq!(both.status, 64, "{both:?}");
    assert!(
        both.stderr
            .contains("several providers are shown as ChatGPT: openai, openai-codex"),
        "{both:?}"
    );

    // One that has no account here is no unknown one.
    let none = bed.run(&["order", "get", "--provider", "anthropic", "--agent", "main"]);
    assert_eq!(none.status, 0, "{none:?}");
    for verb in ["get", "clear"] {
        let ran = bed.run(&["order", verb, "--provider", "nosuch"]);
        assert_eq!(ran.status, 64, "{ran:?}");
        assert!(
            ran.stderr.contains("[provider.unknown]")
                && ran.stderr.contains(
                    "Known here: anthropic, github-copilot, google, minimax-portal, openai, openai-codex, openrouter, xai."
                ),
            "{ran:?}"
        );
    }
}

#[test]
fn agents_are_listed_with_their_bindings() {
    let bed = Bed::with_accounts();
    bed.write(
        &bed.config(),
        "{agents: {list: [{id: 'main'}, {id: 'work', name: 'Work', default: true}]},
          bindings: [{agentId: 'work', match: {channel: 'telegram', accountId: 'two'}}]}",
    );
    let answer = bed.run(&["agents", "list", "--json"]).json();
    let work = answer
        .as_array()
        .unwrap()
        .iter()
        .find(|agent| agent["id"] == "work")
        .unwrap();
    assert_eq!(
        (&work["name"], &work["isDefault"]),
        (&json!("Work"), &json!(true))
    );
    let binding = work["bindings"][0].as_str().unwrap();
    assert!(
        binding.contains("telegram") && binding.contains("two"),
        "{binding}"
    );
    let text = bed.run(&["agents", "list"]);
    assert!(
        text.stdout.starts_with("AGENT           DIRECTORY") && text.stdout.contains("telegram"),
        "{text:?}"
    );
    assert!(text.stdout.contains("\nwork (default)  /"), "{text:?}");
    assert!(
        !text.stdout.contains('\t') && !text.stdout.contains(" \n"),
        "{text:?}"
    );
}

#[test]
fn providers_and_doctor_answer_for_programs() {
    let bed = Bed::with_accounts();
    let providers = bed.run(&["providers", "list", "--json"]).json();
    let openai = &providers.as_array().unwrap()[0];
    assert_eq!(
        (&openai["id"], &openai["flow"], &openai["tokenHost"]),
        (&json!("openai"), &json!("pkce"), &json!("auth.openai.com"))
    );
    let doctor = bed.run(&["doctor", "--json"]).json();
    assert_eq!(
        (&doctor["schema"], &doctor["stateDir"]),
        (&json!(1), &json!(bed.state_dir()))
    );
    assert!(doctor["era"].as_str().unwrap().starts_with("json"));
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_none() {
    use std::fs::OpenOptions;
    use std::process::Stdio;
    let bed = Bed::with_accounts();
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["agents", "add", "/", "--json"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = bed.command(args).stdout(full).output().unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(73), "{args:?}: {told}");
        assert!(told.contains("[output.incomplete]"), "{args:?}: {told}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let expected = bed.command(args).stdout(Stdio::null()).status().unwrap();
        let ran = bed.command(args).stdout(writer).output().unwrap();
        let told = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), expected.code(), "{args:?}: {told}");
    }
}
