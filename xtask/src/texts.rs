//! What translators work on: the texts that a language file lacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde_json::{Map, Value, json};

#[path = "../../src-tauri/core/src/language/texts.rs"]
mod sources;

#[derive(clap::Args)]
pub struct Flags {
    /// The language, such as `uz`; without one everything is printed
    code: Option<String>,
}

/// Prints the window's texts and the sentences that the language lacks, as JSON.
pub fn run(flags: &Flags) -> anyhow::Result<ExitCode> {
    let language = match &flags.code {
        Some(code) => file(code).or_else(|error| match error.downcast_ref::<std::io::Error>() {
            // A new language lacks everything.
            Some(io) if io.kind() == std::io::ErrorKind::NotFound => Ok(json!({})),
            _ => Err(error),
        })?,
        None => json!({}),
    };
    let mut lacking = Map::new();
    lacking.insert(
        "window".to_owned(),
        window(&file("en")?["window"], &language["window"]),
    );
    lacking.insert("sentences".to_owned(), sentences(&language["sentences"])?);
    println!("{}", serde_json::to_string_pretty(&lacking)?);
    Ok(ExitCode::SUCCESS)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn file(code: &str) -> anyhow::Result<Value> {
    let path = root().join("lang").join(code).with_extension("json");
    let text = fs::read_to_string(&path)?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// The English texts for which `other` has none; a plural is one text.
fn window(english: &Value, other: &Value) -> Value {
    let mut lacking = Map::new();
    for (key, text) in english.as_object().into_iter().flatten() {
        let said = &other[key];
        if said.is_null() {
            lacking.insert(key.clone(), text.clone());
        } else if text.is_object() && text["other"].is_null() {
            let within = window(text, said);
            if within.as_object().is_some_and(|within| !within.is_empty()) {
                lacking.insert(key.clone(), within);
            }
        }
    }
    Value::Object(lacking)
}

/// The templates in the sources for which `other` has none, file by file.
fn sentences(other: &Value) -> anyhow::Result<Value> {
    let mut seen = BTreeSet::new();
    let mut lacking = Map::new();
    for path in sources::sources(&root().join("src-tauri"))? {
        let tokens = sources::tokens(&fs::read_to_string(&path)?);
        let texts = sources::texts(&tokens).map_err(|error| anyhow!("{}, {error}", path.display()))?;
        for text in texts {
            if seen.insert(text.english.clone()) && other[&text.english].is_null() {
                let said = match text.one {
                    Some(one) => json!({"one": one, "other": text.english}),
                    None => json!(text.english),
                };
                lacking.insert(text.english, said);
            }
        }
    }
    Ok(Value::Object(lacking))
}
