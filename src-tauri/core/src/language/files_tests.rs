//! Whether each language file says everything, and nothing but what is said.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::texts::{self, Kind, Text, Token};
use super::*;

const WHERE: [&str; 4] = ["core/src", "shell", "tray", "window"];

/// Path and tokens of every source in which a person is spoken to.
fn sources() -> Vec<(String, Vec<Token>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let paths = WHERE
        .iter()
        .flat_map(|dir| texts::sources(&root.join(dir)).unwrap());
    let read = |path: std::path::PathBuf| {
        let tokens = texts::tokens(&fs::read_to_string(&path).unwrap());
        (path.display().to_string(), tokens)
    };
    paths.map(read).collect()
}

/// Every template, by what a language file names it by.
fn all_texts() -> BTreeMap<String, Text> {
    let mut all = BTreeMap::new();
    for (path, tokens) in sources() {
        let found = texts::texts(&tokens).unwrap_or_else(|error| panic!("{path}, {error}"));
        for text in found {
            let known: &mut Text = all.entry(text.english.clone()).or_insert_with(|| text.clone());
            assert_eq!(*known, text, "{path}: one template, said in two ways");
        }
    }
    all
}

fn placeholders(template: &str) -> BTreeSet<String> {
    let template = template.replace("{{", "").replace("}}", "");
    let names = template
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// What is amiss in a language file, one a line.
fn flaws(language: &Language, texts: &BTreeMap<String, Text>, window: &Map<String, Value>) -> Vec<String> {
    let mut flaws = Vec::new();
    let categories = categories(language);
    for (english, text) in texts {
        let wanted = placeholders(english);
        match (language.sentences.get(english), &text.one) {
            (None, _) => flaws.push(format!("missing: {english}")),
            (Some(Sentence::Plain(said)), None) => flaws.extend(unequal(english, &wanted, said)),
            (Some(Sentence::Plural(forms)), Some(_)) => {
                flaws.extend(plural_flaws(english, &wanted, forms, &categories));
            }
            (Some(Sentence::Plain(_)), Some(_)) => flaws.push(format!("has plural forms: {english}")),
            (Some(Sentence::Plural(_)), None) => flaws.push(format!("has no plural forms: {english}")),
        }
    }
    let unused = language.sentences.keys().filter(|key| !texts.contains_key(*key));
    flaws.extend(unused.map(|key| format!("unused: {key}")));
    window_flaws(&mut flaws, "", window, &language.window, &categories);
    flaws
}

/// How many of the counts up to 1000 each plural category stands for.
fn categories(language: &Language) -> BTreeMap<&'static str, usize> {
    let mut categories = BTreeMap::from([("other", 0)]);
    for count in 0..=1000 {
        *categories.entry(language.category(count).unwrap()).or_default() += 1;
    }
    categories
}

fn unequal(place: &str, wanted: &BTreeSet<String>, said: &str) -> Option<String> {
    let found = placeholders(said);
    (found != *wanted).then(|| format!("has {found:?}: {place}"))
}

fn plural_flaws(
    place: &str,
    wanted: &BTreeSet<String>,
    forms: &BTreeMap<String, String>,
    categories: &BTreeMap<&str, usize>,
) -> Vec<String> {
    let mut flaws = Vec::new();
    if !forms.keys().eq(categories.keys()) {
        let (found, needed) = (forms.keys(), categories.keys());
        flaws.push(format!("has the forms {found:?} instead of {needed:?}: {place}"));
    }
    for (category, form) in forms {
        let found = placeholders(form);
        // Only what is said of one number alone can do without it.
        let needs_number = categories.get(category.as_str()) != Some(&1);
        let lacks = |name: &String| !found.contains(name) && (name != "n" || needs_number);
        if !found.is_subset(wanted) || wanted.iter().any(lacks) {
            flaws.push(format!("has {found:?} in {category}: {place}"));
        }
    }
    flaws
}

/// The forms of a plural.
fn forms(text: &Value) -> Option<BTreeMap<String, String>> {
    let forms = text.as_object().filter(|forms| forms.contains_key("other"))?;
    let text = |(category, form): (&String, &Value)| Some((category.clone(), form.as_str()?.to_owned()));
    forms.iter().map(text).collect()
}

fn window_flaws(
    flaws: &mut Vec<String>,
    above: &str,
    english: &Map<String, Value>,
    language: &Map<String, Value>,
    categories: &BTreeMap<&str, usize>,
) {
    for (key, text) in english {
        let place = format!("{above}{key}");
        match (text, language.get(key)) {
            (_, None) => flaws.push(format!("missing: window.{place}")),
            (Value::String(text), Some(Value::String(said))) => {
                flaws.extend(unequal(&place, &placeholders(text), said));
            }
            (text, Some(said)) => match (forms(text), forms(said)) {
                (Some(text), Some(said)) => {
                    let wanted = text.values().flat_map(|form| placeholders(form)).collect();
                    flaws.extend(plural_flaws(&place, &wanted, &said, categories));
                }
                (None, None) if text.is_object() && said.is_object() => {
                    let (Value::Object(text), Value::Object(said)) = (text, said) else {
                        continue;
                    };
                    window_flaws(flaws, &format!("{place}."), text, said, categories);
                }
                _ => flaws.push(format!("has another kind: window.{place}")),
            },
        }
    }
    let unused = language.keys().filter(|key| !english.contains_key(*key));
    flaws.extend(unused.map(|key| format!("unused: window.{above}{key}")));
}

#[test]
fn every_language_says_everything() {
    let texts = all_texts();
    assert!(texts.len() > 100, "only {} templates were found", texts.len());
    let window = language(ENGLISH).unwrap().window;
    for code in codes().filter(|code| *code != ENGLISH) {
        let flaws = flaws(&language(code).unwrap(), &texts, &window);
        assert!(flaws.is_empty(), "lang/{code}.json\n{}", flaws.join("\n"));
    }
}

#[test]
fn english_has_its_own_plurals_and_no_sentences() {
    let english = language(ENGLISH).unwrap();
    assert!(english.sentences.is_empty());
    let flaws = flaws(&english, &BTreeMap::new(), &english.window);
    assert!(flaws.is_empty(), "{}", flaws.join("\n"));
}

#[test]
fn what_is_amiss_in_a_language_is_named() {
    let source = r#"
        // say!("in a comment")
        fn said() {
            say!("is fine: {a}", a = b');');
            say!(
                "is \
                 missing",
            );
            say!("lacks {a}", a);
            let n: &'static str = plural!(f(1, [2, 3]), "one in {agent}", "{n} in {agent}", agent);
            plural!(n, "{n} day", "{n} days");
            plural!(n, "{n} hour", "{n} hours");
            say!("should be \u{201c}plain\u{201d}");
        }
        const LATER: &str = template!("later");
        #[cfg(all(test, unix))]
        mod tests { fn a() { say!("in a test") } }
    "#;
    let texts = texts::texts(&texts::tokens(source)).unwrap();
    let texts = texts.into_iter().map(|text| (text.english.clone(), text));
    let window = r#"{"a": "A {x}", "b": {"c": "C", "d": "D"}, "n": {"one": "1", "other": "{n}"}, "m": "M"}"#;
    let language = r#"{
        "name": "x", "locale": "ru-RU",
        "window": {"a": "A {y}", "b": {"c": "C", "e": "E"}, "n": {"one": "{n}", "other": "{n}"}, "m": {}},
        "sentences": {
            "is fine: {a}": "{a}!",
            "lacks {a}": "nothing",
            "{n} in {agent}": {"one": "1 in {agent}", "few": "{n} {who}", "many": "{n}", "other": "{n} in {agent}"},
            "{n} days": {"one": "{n}", "other": "{n}"},
            "{n} hours": "{n}",
            "should be “plain”": {"one": "1", "few": "2", "many": "3", "other": "4"},
            "is in no source": "no"
        }
    }"#;
    let found = flaws(
        &serde_json::from_str(language).unwrap(),
        &texts.collect(),
        &serde_json::from_str(window).unwrap(),
    );
    let four = r#"["few", "many", "one", "other"]"#;
    let two = r#"["one", "other"]"#;
    let expected = [
        "missing: is missing".to_owned(),
        "has {}: lacks {a}".to_owned(),
        "missing: later".to_owned(),
        "has no plural forms: should be “plain”".to_owned(),
        format!("has the forms {two} instead of {four}: {{n}} days"),
        "has plural forms: {n} hours".to_owned(),
        "has {\"n\", \"who\"} in few: {n} in {agent}".to_owned(),
        "has {\"n\"} in many: {n} in {agent}".to_owned(),
        "has {\"agent\"} in one: {n} in {agent}".to_owned(),
        "unused: is in no source".to_owned(),
        "has {\"y\"}: a".to_owned(),
        "missing: window.b.d".to_owned(),
        "unused: window.b.e".to_owned(),
        format!("has the forms {two} instead of {four}: n"),
        "has another kind: window.m".to_owned(),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_template_that_is_no_literal_is_told() {
    for source in ["say!(text)", "plural!(1, one, \"{n}\")", "plural!(1)"] {
        assert!(texts::texts(&texts::tokens(source)).is_err(), "{source}");
    }
}

fn has_words(template: &str) -> bool {
    let outside = |part: &str| part.split_once('}').map_or(part, |(_, rest)| rest).to_owned();
    template
        .split('{')
        .map(outside)
        .any(|text| text.contains(char::is_alphabetic))
}

/// The lines that give a sentence to `Error::new` and the like as it stands there.
fn raw_sentences(tokens: &[Token]) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let before: Vec<_> = tokens[..at].iter().rev().take(7).map(|t| &t.kind).collect();
        let word = |word: &str| Kind::Word(word.to_owned());
        let inner = &tokens[at + 1..];
        let argument = match before.as_slice() {
            _ if token.kind != Kind::Sign('(') => continue,
            [new, Kind::Sign(':'), Kind::Sign(':'), kind, rest @ ..]
                if **new == word("new")
                    && [word("Error"), word("Notice"), word("Finding")].contains(kind) =>
            {
                // Those of the standard library are none of ours.
                if rest.get(2).is_some_and(|module| **module == word("io")) {
                    continue;
                }
                &inner[(texts::argument_length(inner) + 1).min(inner.len())..]
            }
            [hint, ..] if **hint == word("with_hint") => inner,
            _ => continue,
        };
        let is_raw = match argument {
            [first, ..] if first.kind == word("format") => match argument.get(3).map(|token| &token.kind) {
                // Mere values with signs between them are no sentence.
                Some(Kind::Literal(template)) => has_words(template),
                _ => true,
            },
            [first, ..] => matches!(first.kind, Kind::Literal(_)),
            [] => false,
        };
        if is_raw {
            found.push(token.line);
        }
    }
    found
}

#[test]
fn no_error_has_a_sentence_that_cannot_be_translated() {
    let amiss = r#"
        Error::new(ErrorCode::Usage, "raw");
        crate::Error::new(code(a, b), format!("{x} is raw"))
            .with_hint("raw");
        io::Error::new(io::ErrorKind::Other, "the system's");
        Error::new(code, say!("fine")).with_hint(error.hint());
        Error::new(code, format!("{}: {why}", path.display()));
    "#;
    assert_eq!(raw_sentences(&texts::tokens(amiss)), [2, 3, 4]);
    let raw: Vec<String> = sources()
        .into_iter()
        .flat_map(|(path, tokens)| {
            let lines = raw_sentences(&tokens);
            lines.into_iter().map(move |line| format!("{path}:{line}"))
        })
        .collect();
    assert!(raw.is_empty(), "as say!(…), please:\n{}", raw.join("\n"));
}
