//! Reads openclaw.json into one JSON value the way OpenClaw does: JSON5, `$include`, and, for the
//! parts that are asked for, `${VARIABLE}`. Rules as in the bundles of OpenClaw 2026.2.17,
//! 2026.4.29 and 2026.6.1. Never writes, and its errors never quote the file.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::paths::normalize;
use super::{Finding, paths};
use crate::ErrorCode;
use crate::environment::Environment;
use crate::json5_text::parse;

/// A configuration is a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 * 1024 * 1024 - 1;
/// 2026.6.1's limit for an included file.
const MAX_INCLUDE_BYTES: u64 = 2 * 1024 * 1024;
/// OpenClaw's limit, 2026.2.17 to 2026.6.1.
const MAX_INCLUDE_DEPTH: usize = 10;
/// Ours, against includes that multiply.
const MAX_INCLUDED_FILES: usize = 256;

/// The whole configuration with its includes merged in, variables not yet substituted.
pub(super) struct Document {
    pub value: Value,
    /// Keys that stand twice in one object of the file or of an included one.
    pub duplicates: BTreeSet<String>,
}

/// Reads `path`; `Ok(None)` when there is no such file.
pub(super) fn read(path: &Path, environment: &Environment) -> Result<Option<Document>, Finding> {
    let text = match read_text(path, MAX_CONFIG_BYTES) {
        Ok(text) => text,
        Err(error) if is_missing(path, &error) => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let mut duplicates = BTreeSet::new();
    let value = parse(&text, &mut duplicates).map_err(|why| {
        let problem = if text.trim().is_empty() {
            say!("it is empty")
        } else {
            why
        };
        Finding::new(
            ErrorCode::ConfigUnparsable,
            say!(
                "{path} is not valid JSON5: {why}",
                path = path.display(),
                why = problem
            ),
        )
    })?;
    let mut includes = Includes::new(path, environment, &mut duplicates);
    let value = includes.process(value, path, &[normalize(path)])?;
    Ok(Some(Document { value, duplicates }))
}

/// Replaces `${NAME}` in every string below `value` and turns `$${NAME}` into `${NAME}`. A name
/// without a non-empty value stays as written (2026.4.29 and 2026.6.1; 2026.2.17 then ignores the
/// whole file) and is added to `missing`.
pub(super) fn substitute(
    value: &mut Value,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut BTreeSet<String>,
) {
    match value {
        Value::String(text) if text.contains('$') => *text = substitute_text(text, lookup, missing),
        Value::Array(items) => {
            for item in items {
                substitute(item, lookup, missing);
            }
        }
        Value::Object(fields) => {
            for (_, field) in fields {
                substitute(field, lookup, missing);
            }
        }
        _ => {}
    }
}

/// Whether a string refers to a variable.
pub(super) fn has_reference(text: &str) -> bool {
    let mut missing = BTreeSet::new();
    substitute_text(text, &|_| None, &mut missing);
    !missing.is_empty()
}

fn substitute_text(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    missing: &mut BTreeSet<String>,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((name, after)) = rest.strip_prefix("$${").and_then(variable) {
            out.push_str(&format!("${{{name}}}"));
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("${").and_then(variable) {
            match lookup(name).filter(|value| !value.is_empty()) {
                Some(value) => out.push_str(&value),
                None => {
                    missing.insert(name.to_owned());
                    out.push_str(&format!("${{{name}}}"));
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// `NAME}…` → name and what follows; only upper-case names count.
fn variable(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.split_once('}')?;
    let mut bytes = name.bytes();
    let first = bytes.next()?;
    let legal = (first.is_ascii_uppercase() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    legal.then_some((name, after))
}

struct Includes<'a> {
    /// Included files must lie in here: lexically and after resolving symlinks.
    roots: Vec<(PathBuf, PathBuf)>,
    shown_root: PathBuf,
    loaded: usize,
    duplicates: &'a mut BTreeSet<String>,
}

impl<'a> Includes<'a> {
    fn new(config: &Path, environment: &Environment, duplicates: &'a mut BTreeSet<String>) -> Self {
        let root = normalize(config.parent().unwrap_or(Path::new("/")));
        let separator = if cfg!(windows) { ';' } else { ':' };
        // 2026.6.1; earlier releases know no further roots.
        let further = environment.var("OPENCLAW_INCLUDE_ROOTS").unwrap_or_default();
        let roots = std::iter::once(root.clone())
            .chain(
                further
                    .split(separator)
                    .filter(|entry| !entry.trim().is_empty())
                    .map(|entry| paths::user_path(entry, environment)),
            )
            .map(|root| {
                let real = paths::canonical(&root);
                (root, real)
            })
            .collect();
        Self {
            roots,
            shown_root: root,
            loaded: 0,
            duplicates,
        }
    }

    /// `chain` holds the files on the way from the configuration to `file`, both included.
    fn process(&mut self, value: Value, file: &Path, chain: &[PathBuf]) -> Result<Value, Finding> {
        match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.process(item, file, chain))
                .collect::<Result<Vec<_>, _>>()
                .map(Value::Array),
            Value::Object(mut fields) => {
                let include = fields.shift_remove("$include");
                let mut own = Map::new();
                let included = match include {
                    Some(include) => Some(self.resolve(include, file, chain)?),
                    None => None,
                };
                for (key, field) in fields {
                    own.insert(key, self.process(field, file, chain)?);
                }
                match included {
                    None => Ok(Value::Object(own)),
                    Some(included) if own.is_empty() => Ok(included),
                    Some(included @ Value::Object(_)) => Ok(merge(included, Value::Object(own))),
                    Some(_) => Err(include_error(
                        file,
                        &say!("keys beside $include need an included object"),
                    )),
                }
            }
            other => Ok(other),
        }
    }

    fn resolve(&mut self, include: Value, file: &Path, chain: &[PathBuf]) -> Result<Value, Finding> {
        match include {
            Value::String(name) => self.load(&name, file, chain),
            Value::Array(names) => {
                let mut merged = Value::Object(Map::new());
                for name in names {
                    let Value::String(name) = name else {
                        return Err(include_error(
                            file,
                            &say!("$include lists something that is no path"),
                        ));
                    };
                    merged = merge(merged, self.load(&name, file, chain)?);
                }
                Ok(merged)
            }
            _ => Err(include_error(
                file,
                &say!("$include is neither a path nor a list of paths"),
            )),
        }
    }

    fn load(&mut self, name: &str, file: &Path, chain: &[PathBuf]) -> Result<Value, Finding> {
        if name.contains('\0') || name.len() >= 4096 {
            return Err(include_error(file, &say!("$include names an impossible path")));
        }
        let dir = file.parent().unwrap_or(Path::new("/"));
        let path = normalize(&dir.join(name));
        let inside = |real: bool, path: &Path| {
            self.roots
                .iter()
                .any(|root| path.starts_with(if real { &root.1 } else { &root.0 }))
        };
        if !inside(false, &path) || fs::canonicalize(&path).is_ok_and(|real| !inside(true, &real)) {
            let why = say!(
                "$include leads out of {root}: {path}",
                root = self.shown_root.display(),
                path = path.display()
            );
            return Err(include_error(file, &why));
        }
        if chain.contains(&path) {
            return Err(include_error(
                file,
                &say!("$include goes in a circle at {path}", path = path.display()),
            ));
        }
        self.loaded += 1;
        if chain.len() > MAX_INCLUDE_DEPTH || self.loaded > MAX_INCLUDED_FILES {
            return Err(include_error(
                file,
                &say!("too many includes at {path}", path = path.display()),
            ));
        }
        let text = read_text(&path, MAX_INCLUDE_BYTES).map_err(|error| {
            let why = say!(
                "{path} cannot be read ({kind})",
                path = path.display(),
                kind = error.kind()
            );
            include_error(file, &why)
        })?;
        let value = parse(&text, self.duplicates).map_err(|why| {
            include_error(
                file,
                &say!("{path} is not valid JSON5: {why}", path = path.display(), why),
            )
        })?;
        let mut longer = chain.to_vec();
        longer.push(path.clone());
        self.process(value, &path, &longer)
    }
}

/// Objects merge key by key, lists are joined, anything else is replaced.
fn merge(target: Value, source: Value) -> Value {
    match (target, source) {
        (Value::Array(mut target), Value::Array(source)) => {
            target.extend(source);
            Value::Array(target)
        }
        (Value::Object(mut target), Value::Object(source)) => {
            for (key, value) in source {
                match target.get_mut(&key) {
                    Some(slot) => {
                        let old = std::mem::take(slot);
                        *slot = merge(old, value);
                    }
                    None => {
                        target.insert(key, value);
                    }
                }
            }
            Value::Object(target)
        }
        (_, source) => source,
    }
}

fn include_error(file: &Path, why: &str) -> Finding {
    Finding::new(ErrorCode::ConfigInclude, format!("{}: {why}", file.display()))
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let why = match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let message = say!("{path} is too large to be a configuration", path = path.display());
            return Finding::new(ErrorCode::ConfigUnparsable, message);
        }
        io::ErrorKind::IsADirectory => say!("it is a directory"),
        io::ErrorKind::InvalidInput => say!("it is not a regular file"),
        io::ErrorKind::NotFound => say!("it is a link to nothing"),
        kind => kind.to_string(),
    };
    Finding::new(
        ErrorCode::ConfigUnreadable,
        say!("{path} cannot be read: {why}", path = path.display(), why),
    )
}

/// A dangling link is a broken configuration, not a missing one.
fn is_missing(path: &Path, error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    ) && fs::symlink_metadata(path).is_err()
}

/// Reads like Node's `readFileSync(path, "utf8")`: wrong bytes become U+FFFD.
fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
