//! The fuzzer's function of openclaw.json.

use std::collections::BTreeSet;
use std::path::Path;

use super::config::parts;
use super::document;
use crate::json5_text;

/// The configuration's JSON5 text: read as the JSON of what it means, and never repeated in a
/// refusal.
pub(crate) fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut duplicates = BTreeSet::new();
    let mut value = match json5_text::parse(&text, &mut duplicates) {
        Ok(value) => value,
        Err(place) => {
            let words = ["line ", ", column ", "it ends too early or is nested too deep"];
            let rest = words
                .iter()
                .fold(place.clone(), |rest, word| rest.replace(word, ""));
            assert!(
                rest.bytes().all(|byte| byte.is_ascii_digit()),
                "it repeats the file: {place}"
            );
            return;
        }
    };
    let mut none = BTreeSet::new();
    let again = json5_text::parse(&value.to_string(), &mut none).expect("JSON is JSON5");
    assert_eq!(again, value);
    assert_eq!(none, BTreeSet::new());

    parts::config(&value, Path::new("openclaw.json"), &mut Vec::new());
    let mut missing = BTreeSet::new();
    document::substitute(
        &mut value,
        &|name| (name.len() % 2 == 0).then(|| "value".to_owned()),
        &mut missing,
    );
    assert!(missing.iter().all(|name| name.len() % 2 == 1));
    parts::config(&value, Path::new("openclaw.json"), &mut Vec::new());
}
