//! Checks on the files of the window, which no compiler reads: texts, templates and shapes that are
//! named exist, and nothing needs what the content security policy refuses.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../ui/index.html");
const STYLE: &str = include_str!("../../ui/app.css");
const ENGLISH: &str = include_str!("../../ui/i18n/en.js");
const SCRIPTS: [(&str, &str); 25] = [
    ("account.js", include_str!("../../ui/account.js")),
    ("add.js", include_str!("../../ui/add.js")),
    ("api.js", include_str!("../../ui/api.js")),
    ("app.js", include_str!("../../ui/app.js")),
    ("board.js", include_str!("../../ui/board.js")),
    ("clipboard.js", include_str!("../../ui/clipboard.js")),
    ("diagnostics.js", include_str!("../../ui/diagnostics.js")),
    ("dialog.js", include_str!("../../ui/dialog.js")),
    ("dom.js", include_str!("../../ui/dom.js")),
    ("everywhere.js", include_str!("../../ui/everywhere.js")),
    ("history.js", include_str!("../../ui/history.js")),
    ("key.js", include_str!("../../ui/key.js")),
    ("morph.js", include_str!("../../ui/morph.js")),
    ("new-agent.js", include_str!("../../ui/new-agent.js")),
    ("openclaw-login.js", include_str!("../../ui/openclaw-login.js")),
    ("order.js", include_str!("../../ui/order.js")),
    ("places.js", include_str!("../../ui/places.js")),
    ("remove.js", include_str!("../../ui/remove.js")),
    ("restore.js", include_str!("../../ui/restore.js")),
    ("sessions.js", include_str!("../../ui/sessions.js")),
    ("settings.js", include_str!("../../ui/settings.js")),
    ("sign-in.js", include_str!("../../ui/sign-in.js")),
    ("snapshots.js", include_str!("../../ui/snapshots.js")),
    ("states.js", include_str!("../../ui/states.js")),
    ("test-logins.js", include_str!("../../ui/test-logins.js")),
];

/// The words that follow `mark` in `text`, up to the first character that cannot be in a name.
fn named(text: &str, mark: &str) -> BTreeSet<String> {
    text.split(mark)
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
                .collect()
        })
        .filter(|name: &String| !name.is_empty())
        .collect()
}

fn all_scripts() -> String {
    SCRIPTS
        .iter()
        .map(|(_, source)| *source)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn every_fixed_text_of_the_page_is_written() {
    for key in named(PAGE, "data-text=\"") {
        assert!(
            ENGLISH.contains(&format!("\n  {key}: ")),
            "{key} is not in i18n/en.js"
        );
    }
}

#[test]
fn every_text_that_is_used_is_written_and_every_written_text_is_used() {
    let scripts = all_scripts();
    let written: BTreeSet<String> = ENGLISH
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
        .collect();
    let words = include_str!("../../ui/words.js");
    let mut used = named(&(scripts + words), "text.");
    used.extend(named(PAGE, "data-text=\""));
    // What a refresh answers: `text[outcome.result]`.
    used.extend(["refreshed", "adopted", "fresh"].map(str::to_owned));
    let not_texts = ["js", "textContent"].map(str::to_owned);
    for key in used.iter().filter(|key| !not_texts.contains(key)) {
        assert!(written.contains(key), "text.{key} is used and not written");
    }
    for key in &written {
        assert!(used.contains(key), "text.{key} is written and not used");
    }
}

#[test]
fn every_template_shape_and_action_that_is_named_exists() {
    let scripts = all_scripts();
    for id in named(&scripts, "clone('") {
        assert!(
            PAGE.contains(&format!("<template id=\"{id}\"")),
            "no template {id}"
        );
    }
    let shapes = named(PAGE, "<symbol id=\"");
    let mut used = named(PAGE, "href=\"#");
    used.extend(named(&scripts, "'g-").into_iter().map(|name| format!("g-{name}")));
    used.extend(named(&scripts, "'m-").into_iter().map(|name| format!("m-{name}")));
    for shape in used.iter().filter(|name| *name != "sheet") {
        assert!(shapes.contains(shape), "no shape {shape}");
    }
    let mut actions = named(&scripts, "action: '");
    actions.extend(named(PAGE, "data-action=\""));
    for action in actions {
        assert!(
            scripts.contains(&format!("'{action}': ")),
            "nobody handles {action}"
        );
    }
}

#[test]
fn nothing_needs_what_the_content_security_policy_refuses() {
    for refused in [
        " style=",
        " onclick=",
        "javascript:",
        "<style",
        "http://127",
        "https://",
    ] {
        assert!(!PAGE.contains(refused), "index.html has {refused}");
    }
    for (name, source) in SCRIPTS {
        for refused in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            ".style.",
            "document.write",
        ] {
            assert!(!source.contains(refused), "{name} has {refused}");
        }
        if name != "api.js" {
            assert!(!source.contains("__TAURI__"), "{name} reaches past api.js");
        }
    }
    assert!(!STYLE.contains("url("), "app.css loads something");
}

#[test]
fn light_and_dark_define_the_same_colours() {
    let block = |from: &str| {
        STYLE
            .split_once(from)
            .unwrap()
            .1
            .split_once('}')
            .unwrap()
            .0
            .to_owned()
    };
    let light = named(&block("--index: 9.5rem;"), "--");
    let dark = named(&block("@media (prefers-color-scheme: dark) {\n  :root {"), "--");
    assert_eq!(light, dark);
}
