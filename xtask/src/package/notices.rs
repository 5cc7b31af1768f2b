//! The licences of the crates that stand in the programs, for the packages that carry them.

use std::collections::{BTreeMap, BTreeSet};
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::linux::said;
use crate::cargo::cargo;

/// How the name of a file begins that holds a licence or must go with it.
const NAMES: [&str; 6] = [
    "license",
    "licence",
    "unlicense",
    "copying",
    "copyright",
    "notice",
];
const RULE: &str = "--------------------------------------------------------------------------------";

/// A crate of another origin than this repository.
struct Crate {
    /// Such as `ring 0.17.14`.
    name: String,
    licence: String,
    /// Else where its repository is.
    authors: String,
    source: PathBuf,
}

/// Every crate that is linked into Linux's programs with its licence, and each text once with the crates in
/// whose sources it lies.
pub fn text() -> Result<String> {
    let linked = said(&mut cargo(&[
        "tree",
        "--locked",
        "--package",
        "kalit",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    // "name v1.2.3", with what else there is to say
    let linked: BTreeSet<String> = linked
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap_or_default()))
        .collect();
    let platform = format!("{ARCH}-unknown-linux-gnu");
    let all = said(&mut cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
        "--filter-platform",
        &platform,
    ]))?;
    let all: Value = serde_json::from_str(&all)?;
    let mut crates = Vec::new();
    for package in all["packages"].as_array().context("no packages")? {
        let word = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {}", word("name"), word("version"));
        if !package["source"].is_null() && linked.contains(&name) {
            let authors = package["authors"].as_array().into_iter().flatten();
            let mut authors: Vec<&str> = authors.filter_map(Value::as_str).collect();
            if authors.is_empty() {
                authors.extend(package["repository"].as_str());
            }
            let manifest = PathBuf::from(word("manifest_path"));
            ensure!(package["license"].is_string(), "{name} does not name its licence");
            crates.push(Crate {
                licence: word("license"),
                authors: authors.join(", "),
                source: manifest.parent().context("no directory")?.to_owned(),
                name,
            });
        }
    }
    ensure!(!crates.is_empty(), "no crates");
    crates.sort_by(|one, other| one.name.cmp(&other.name));
    written(&crates)
}

fn written(crates: &[Crate]) -> Result<String> {
    let mut out = "Kalit's programs contain these crates:\n\n".to_owned();
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for one in crates {
        out += &format!("{}: {}", one.name, one.licence);
        let found = licences(&one.source)?;
        if found.is_empty() {
            // The terms are those of the same licence below.
            out += &format!("; without a text of its own, by {}", one.authors);
        }
        out += "\n";
        for text in found {
            texts.entry(text).or_default().push(&one.name);
        }
    }
    for (text, names) in texts {
        out += &format!("\n{RULE}\n{}\n{RULE}\n\n{text}\n", names.join(", "));
    }
    Ok(out)
}

/// The texts in a crate's directory and in its `LICENSES`, each once.
fn licences(source: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(source).with_context(|| source.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if !NAMES.iter().any(|begins| name.starts_with(begins)) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            for text in fs::read_dir(path)? {
                found.insert(read(&text?.path())?);
            }
        } else {
            found.insert(read(&path)?);
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let lines: Vec<String> = String::from_utf8_lossy(&bytes)
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    Ok(lines.join("\n").trim_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_once_with_all_its_crates() {
        let root = tempfile::tempdir().unwrap();
        let of = |name: &str, files: &[(&str, &str)]| {
            let source = root.path().join(name);
            fs::create_dir_all(source.join("LICENSES")).unwrap();
            for (file, text) in files {
                fs::write(source.join(file), text).unwrap();
            }
            Crate {
                name: name.to_owned(),
                licence: "MIT".to_owned(),
                authors: "Ada".to_owned(),
                source,
            }
        };
        let crates = [
            of(
                "one 1.0.0",
                &[
                    ("LICENSE-MIT", "Be free. \r\n"),
                    ("license.rs.bak", "Be free."),
                    ("lib.rs", "code"),
                ],
            ),
            of(
                "other 2.0.0",
                &[("LICENSES/MIT.txt", "\nBe free.\n"), ("NOTICE", "By Hedy.")],
            ),
            of("bare 0.1.0", &[]),
        ];
        let expected = format!(
            "Kalit's programs contain these crates:\n\none 1.0.0: MIT\nother 2.0.0: MIT\n\
            bare 0.1.0: MIT; without a text of its own, by Ada\n\n\
            {RULE}\none 1.0.0, other 2.0.0\n{RULE}\n\nBe free.\n\n{RULE}\nother 2.0.0\n{RULE}\n\nBy Hedy.\n"
        );
        assert_eq!(written(&crates).unwrap(), expected);
    }
}
