//! Checks on the files of the window, which no compiler reads: texts, templates and shapes that are
//! named exist, and nothing needs what the content security policy refuses.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

const PAGE: &str = include_str!("../../ui/index.html");
const STYLE: &str = include_str!("../../ui/app.css");
const SCRIPTS: [(&str, &str); 30] = [
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
    ("radar.js", include_str!("../../ui/radar.js")),
    ("history.js", include_str!("../../ui/history.js")),
    ("key.js", include_str!("../../ui/key.js")),
    ("keys.js", include_str!("../../ui/keys.js")),
    ("morph.js", include_str!("../../ui/morph.js")),
    ("new-agent.js", include_str!("../../ui/new-agent.js")),
    ("one-owner.js", include_str!("../../ui/one-owner.js")),
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
    ("texts.js", include_str!("../../ui/texts.js")),
    ("words.js", include_str!("../../ui/words.js")),
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

/// The window's texts. That every language has the same, with the same places, is checked in core.
fn english() -> Map<String, Value> {
    let language: Value = serde_json::from_str(include_str!("../../lang/en.json")).unwrap();
    language["window"].as_object().unwrap().clone()
}

/// What stands in braces in a text.
fn placeholders(text: &str) -> BTreeSet<String> {
    text.split('{')
        .skip(1)
        .map(|rest| rest.split('}').next().unwrap().to_owned())
        .collect()
}

/// The names of the values that a text takes, or those that its plural forms take and `n`.
/// Nothing for a dictionary.
fn taken(text: &Value) -> Option<BTreeSet<String>> {
    let forms = match text {
        Value::String(text) => return Some(placeholders(text)),
        text => text.as_object().unwrap(),
    };
    forms.get("other")?;
    let forms = forms.values().map(|form| placeholders(form.as_str().unwrap()));
    let mut names: BTreeSet<String> = forms.flatten().collect();
    names.insert("n".to_owned());
    Some(names)
}

/// A use of a text in a script.
#[derive(Debug)]
struct Use {
    /// `kinds` and `token` of `text.kinds.token`; an entry that is not named until the page runs is `None`.
    path: Vec<Option<String>>,
    /// The names of the values that it is called with; `None` where it is not called in place.
    values: Option<BTreeSet<String>>,
}

/// Every `text.…` in `source`, where `text` is no property of something else.
fn uses(source: &str) -> Vec<Use> {
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '$');
    source
        .match_indices("text.")
        .filter(|(at, _)| !source[..*at].ends_with(in_name) || source[..*at].ends_with("..."))
        .filter_map(|(at, mark)| read_use(&source[at + mark.len()..]))
        .collect()
}

fn read_use(mut rest: &str) -> Option<Use> {
    let mut path = Vec::new();
    loop {
        let (name, after) = rest.split_at(rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()));
        if name.is_empty() {
            return None;
        }
        path.push(Some(name.to_owned()));
        rest = after;
        while rest.starts_with('[') {
            path.push(None);
            rest = &rest[enclosed(rest).len() + 2..];
        }
        match rest.strip_prefix('.') {
            Some(after) => rest = after,
            None => break,
        }
    }
    let values = rest.starts_with('(').then(|| names(enclosed(rest)));
    Some(Use { path, values })
}

/// What stands between the bracket that `source` begins with and the one that closes it.
fn enclosed(source: &str) -> &str {
    &source[1..pieces(source, |_| false).1]
}

/// The names in an object that is written in place: `{ a, b: … }`.
fn names(argument: &str) -> BTreeSet<String> {
    let object = argument.trim();
    assert!(object.starts_with('{'), "a text takes one object: {object}");
    let (pieces, _) = pieces(object, |c| c == ',');
    pieces
        .into_iter()
        .map(|piece| piece.split(':').next().unwrap().trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The inside of the brackets that `source` begins with, cut at the characters `at` that stand in no
/// further brackets and no string; and where the closing bracket stands.
fn pieces(source: &str, at: impl Fn(char) -> bool) -> (Vec<&str>, usize) {
    let (mut depth, mut quote, mut from, mut found) = (0, None, 1, Vec::new());
    for (place, c) in source.char_indices() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => {
                depth -= 1;
                if depth == 0 {
                    found.push(&source[from..place]);
                    return (found, place);
                }
            }
            (None, _) if depth == 1 && at(c) => {
                found.push(&source[from..place]);
                from = place + 1;
            }
            (None, _) => {}
        }
    }
    panic!("a bracket is not closed: {source}");
}

#[test]
fn every_fixed_text_of_the_page_is_written() {
    let written = english();
    for key in named(PAGE, "data-text=\"") {
        let text = written.get(&key).and_then(Value::as_str);
        let text = text.unwrap_or_else(|| panic!("{key} is no fixed text of lang/en.json"));
        assert!(placeholders(text).is_empty(), "{key} takes values");
    }
}

#[test]
fn every_text_that_is_used_is_written_and_every_written_text_is_used() {
    let written = english();
    let mut used = named(PAGE, "data-text=\"");
    used.extend(
        uses(&all_scripts())
            .into_iter()
            .filter_map(|text| text.path[0].clone()),
    );
    for key in &used {
        assert!(written.contains_key(key), "text.{key} is used and not written");
    }
    for key in written.keys() {
        assert!(used.contains(key), "text.{key} is written and not used");
    }
}

/// What is read from a dictionary that was passed on, as `duration` does it, is not seen here, nor
/// whether a value is there when the page runs: `texts.js` throws then, and the gallery shows it.
#[test]
fn every_text_is_called_with_the_values_that_it_names() {
    let written = Value::Object(english());
    let mut calls = 0;
    for (file, source) in SCRIPTS {
        for used in uses(source) {
            let mut texts = vec![&written];
            for step in &used.path {
                texts = texts
                    .into_iter()
                    .flat_map(|text| match step {
                        Some(key) => vec![text.get(key).unwrap_or_else(|| panic!("{file}: {used:?}"))],
                        None => text.as_object().unwrap().values().collect(),
                    })
                    .collect();
            }
            for text in texts {
                // A dictionary that is passed on.
                let Some(names) = taken(text) else { continue };
                let called = used.values.clone().unwrap_or_default();
                assert_eq!(called, names, "{file}: {used:?} of {text}");
                assert_eq!(used.values.is_some(), !names.is_empty(), "{file}: {used:?}");
                calls += usize::from(used.values.is_some());
            }
        }
    }
    assert!(calls > 100, "only {calls} calls were found");
}

#[test]
fn the_names_of_a_call_are_read() {
    let source =
        "tell(text.kinds[one.kind ?? 'x)']({ a, b: f(c, { d: `,` }), e: [1, 2] })); reason.text.f({ g })";
    let found = uses(source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].path, [Some("kinds".to_owned()), None]);
    assert_eq!(found[0].values, Some(["a", "b", "e"].map(str::to_owned).into()));
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
