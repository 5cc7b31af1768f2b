//! The request log: one JSON line a request with a sequential id. Tokens, codes and states appear
//! as fingerprints, so that a line can be compared with a store and still tells no secret.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::secret::Secret;
use serde_json::{Map, Value};

use crate::http::Request;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// 1 for the first.
    pub request: u64,
    /// Epoch milliseconds.
    pub at: i64,
    pub method: String,
    pub path: String,
    pub status: u16,
    /// `kind` and what belongs to it.
    pub detail: Map<String, Value>,
}

impl Entry {
    /// From a line of the log.
    pub fn parse(line: &str) -> Option<Self> {
        let mut detail: Map<String, Value> = serde_json::from_str(line).ok()?;
        Some(Self {
            request: detail.shift_remove("request")?.as_u64()?,
            at: detail.shift_remove("at")?.as_i64()?,
            method: detail.shift_remove("method")?.as_str()?.to_owned(),
            path: detail.shift_remove("path")?.as_str()?.to_owned(),
            status: u16::try_from(detail.shift_remove("status")?.as_u64()?).ok()?,
            detail,
        })
    }

    fn to_line(&self) -> String {
        let mut line = Map::new();
        line.insert("request".to_owned(), self.request.into());
        line.insert("at".to_owned(), self.at.into());
        line.insert("method".to_owned(), self.method.clone().into());
        line.insert("path".to_owned(), self.path.clone().into());
        line.insert("status".to_owned(), self.status.into());
        line.extend(self.detail.clone());
        format!("{}\n", Value::Object(line))
    }

    /// A text field of the detail.
    pub fn text(&self, name: &str) -> &str {
        self.detail.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether this is a request of that kind.
    pub fn is(&self, kind: &str) -> bool {
        self.text("kind") == kind
    }

    /// Whether this is a refresh, answered or refused.
    pub fn is_refresh(&self) -> bool {
        self.is("token") && self.text("grant") == "refresh_token"
    }
}

/// What a log says in the place of a secret: Kalit's own fingerprint, the 16 digits shown to
/// people.
pub fn fingerprint(secret: &str) -> String {
    Secret::new(secret).fingerprint().short()
}

/// Reads a log; a half-written last line is left for the next time.
pub fn read_log(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(Entry::parse).collect()
}

#[derive(Debug)]
pub(super) struct Journal {
    file: Option<File>,
    entries: Mutex<Vec<Entry>>,
}

impl Journal {
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let file = path
            .map(|path| {
                File::options()
                    .create(true)
                    .append(true)
                    .open(path)
                    .with_context(|| format!("the log {}", path.display()))
            })
            .transpose()?;
        Ok(Self {
            file,
            entries: Mutex::default(),
        })
    }

    pub(super) fn write(&self, request: &Request, status: u16, detail: Value) {
        let Value::Object(detail) = detail else { return };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry {
            request: entries.len() as u64 + 1,
            at: SystemClock.now().as_millis(),
            method: request.method.clone(),
            path: request.path.clone(),
            status,
            detail,
        };
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(entry.to_line().as_bytes());
        }
        entries.push(entry);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
