//! The settings: shown, changed by name, and a wrong name or value changes nothing.

use std::fs;
use std::path::PathBuf;

use super::bed::{Bed, Case, now};
use serde_json::{Value, json};

const REFUSED: &[Case] = &[
    Case {
        args: &["settings", "set", "watchonly", "true"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[settings.unknown]", "Allowed: stateDir,", "launchAtLogin"],
    },
    Case {
        args: &["settings", "unset", "version"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[settings.unknown]"],
    },
    Case {
        args: &["settings", "set", "watchOnly", "yes"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[settings.invalid]", "Allowed: true, false."],
    },
    Case {
        args: &["settings", "set", "stateDir", "true"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[settings.invalid]", "absolute path"],
    },
    Case {
        args: &["settings", "set", "openclawBinary", "/nowhere/openclaw"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[settings.invalid]", "a program that exists"],
    },
    Case {
        args: &["settings", "set", "mutedUntil", "later"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["[settings.invalid]", "`1h`", "`tomorrow`", "`off`", "`22:30`"],
    },
    Case {
        args: &["settings", "set", "watchOnly"],
        stdin: "",
        status: 64,
        stdout: &[],
        stderr: &["VALUE"],
    },
    Case {
        args: &["settings", "set", "launchAtLogin", "maybe", "--json"],
        stdin: "",
        status: 64,
        stdout: &["\"settings.invalid\""],
        stderr: &[],
    },
];

fn file(bed: &Bed) -> PathBuf {
    bed.path("home/.config/kalit/settings.json")
}

fn value(shown: &Value, key: &str) -> Value {
    let settings = shown["settings"].as_array().unwrap();
    let setting = settings.iter().find(|setting| setting["key"] == key);
    setting.unwrap_or_else(|| panic!("no {key} in {shown}"))["value"].clone()
}

#[test]
fn a_wrong_name_or_value_is_refused_and_nothing_is_written() {
    let bed = Bed::with_accounts();
    for case in REFUSED {
        bed.check(case);
        assert!(!file(&bed).exists(), "{:?}", case.args);
    }
    let text = r#"{"later":[1.50],"watchOnly":true}"#;
    bed.write(&file(&bed), text);
    for case in REFUSED {
        bed.check(case);
        assert_eq!(fs::read_to_string(file(&bed)).unwrap(), text, "{:?}", case.args);
    }
}

#[test]
fn a_setting_is_changed_by_name_and_what_is_unknown_stays() {
    let bed = Bed::with_accounts();
    bed.write(&file(&bed), r#"{"version":1,"later":[1.50]}"#);
    let shown = bed.run(&["settings"]);
    assert_eq!(shown.status, 0, "{shown:?}");
    assert!(
        shown.stdout.starts_with("SETTING         VALUE  DEFAULT\n")
            && shown.stdout.contains("watchOnly       false  false\n")
            && shown.stdout.contains("stateDir        none   none\n"),
        "{shown:?}"
    );
    assert!(
        shown.stderr.contains("settings.json") && shown.stderr.contains("no OpenClaw program found"),
        "{shown:?}"
    );

    let set = bed.run(&["settings", "set", "watchOnly", "true"]);
    assert_eq!(
        (set.status, set.stdout.as_str()),
        (0, "watchOnly  true  [default: false]\n")
    );
    let dir = bed.path("another");
    fs::create_dir(&dir).unwrap();
    let dir = dir.display().to_string();
    let set = bed.run(&["settings", "set", "stateDir", &dir, "--json"]);
    assert_eq!(
        set.json(),
        json!({"key": "stateDir", "value": dir, "default": null})
    );
    let shown = bed.run(&["settings", "--json"]).json();
    assert_eq!(value(&shown, "watchOnly"), true);
    assert_eq!(shown["stateDir"], json!(dir));
    assert_eq!(bed.run(&["status", "--json"]).json()["kalit"]["paused"], true);

    for key in ["watchOnly", "stateDir"] {
        assert_eq!(bed.run(&["settings", "unset", key]).status, 0);
    }
    assert_eq!(
        fs::read_to_string(file(&bed)).unwrap(),
        "{\n  \"version\": 1,\n  \"later\": [\n    1.50\n  ]\n}\n"
    );
}

#[test]
fn notifications_are_muted_in_words_and_shown_by_the_clock() {
    let bed = Bed::with_accounts();
    let before = now();
    for (typed, least, most) in [("1h", 1, 2), ("tomorrow", 7, 33), ("23:59", 0, 24)] {
        let set = bed.run(&["settings", "set", "mutedUntil", typed, "--json"]);
        let until = set.json()["value"].as_i64().unwrap();
        let hours = (until - before) / 3_600_000;
        assert!((least..=most).contains(&hours), "{typed}: {hours} hours");
        let shown = bed.run(&["settings"]).stdout;
        let row = shown.lines().find(|line| line.starts_with("mutedUntil")).unwrap();
        assert!(!row.contains(&until.to_string()), "{row}");
        assert_eq!(
            value(&bed.run(&["settings", "--json"]).json(), "mutedUntil"),
            until
        );
    }
    let over = bed.run(&["settings", "set", "mutedUntil", "1000"]);
    assert!(over.stdout.contains("1 Jan 1970 (over)"), "{over:?}");
    let off = bed.run(&["settings", "set", "mutedUntil", "off"]);
    assert_eq!(off.stdout, "mutedUntil  none  [default: none]\n");
}

#[cfg(target_os = "linux")]
#[test]
fn launching_at_login_is_the_desktops_own_entry_and_no_setting_of_the_file() {
    let bed = Bed::new();
    let entry = bed.path("home/.config/autostart/kalit.desktop");
    let shown = || value(&bed.run(&["settings", "--json"]).json(), "launchAtLogin");
    assert_eq!(shown(), false);
    // The one beside `kalit`: a build of the command line alone has none.
    let tray = kalit_journeys::process::binary("KALIT_BIN", "kalit")
        .unwrap()
        .with_file_name("kalit-desktop");
    let set = bed.run(&["settings", "set", "launchAtLogin", "true", "--json"]);
    if !tray.exists() {
        assert_eq!(set.code(), "autostart.unavailable");
        assert!(!entry.exists());
        return;
    }
    assert_eq!(set.json()["value"], true, "{set:?}");
    let text = fs::read_to_string(&entry).unwrap();
    let exec = format!("Exec=\"{}\" --hidden\n", tray.display());
    assert!(text.contains(&exec), "{text}");
    assert_eq!(shown(), true);
    fs::write(&entry, text + "X-GNOME-Autostart-enabled=false\n").unwrap();
    assert_eq!(shown(), false);
    assert_eq!(bed.run(&["settings", "unset", "launchAtLogin"]).status, 0);
    assert!(!entry.exists());
    assert!(!file(&bed).exists(), "it is kept twice");
}
