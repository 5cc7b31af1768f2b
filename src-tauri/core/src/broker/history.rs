//! What happened to the accounts, as it was kept: shown, searched, exported.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Broker, HistoryExport, HistoryRequest, HistoryView, Inner};
use crate::durable;
use crate::error::{Error, ErrorCode, Result};
use crate::event::Event;
use crate::history::About;
use crate::view::SCHEMA;

impl Broker {
    /// The newest events of the current installation that are asked for, whoever caused them. Blocks.
    ///
    /// # Errors
    /// `state_dir.missing`; `vault.unreadable`, `vault.failed` when the history cannot be read.
    pub fn history(&self, request: &HistoryRequest) -> Result<HistoryView> {
        let inner = &self.inner;
        let limit = request.limit as usize;
        let mut events = inner.events_of(request, limit.saturating_add(1))?;
        let has_more = events.len() > limit;
        events.truncate(limit);
        Ok(HistoryView {
            schema: SCHEMA,
            events,
            has_more,
            set_aside: inner.history.set_aside().map(|path| path.display().to_string()),
        })
    }

    /// Writes the events that are asked for to a new file that only this user may read: one JSON object a
    /// line, the oldest first. Without `file` to one in the person's `Downloads`, else home. Blocks.
    ///
    /// # Errors
    /// `usage` when the file is there already, `output.incomplete` when it cannot be written; those of
    /// [`Broker::history`].
    pub fn export_history(&self, request: &HistoryRequest, file: Option<&Path>) -> Result<HistoryExport> {
        let mut events = self.inner.events_of(request, request.limit as usize)?;
        events.reverse();
        let path = match file {
            Some(file) => {
                let path = self.inner.environment.working_dir().join(file);
                write_new(&path, &events).map_err(|error| not_written(&path, error))?;
                path
            }
            None => self.inner.write_to_downloads(&events)?,
        };
        Ok(HistoryExport {
            schema: SCHEMA,
            path: path.display().to_string(),
            count: events.len(),
        })
    }
}

impl Inner {
    fn events_of(&self, request: &HistoryRequest, limit: usize) -> Result<Vec<Event>> {
        let installation = self.installation()?.state_dir.canonical().display().to_string();
        let about = About {
            installation: &installation,
            agent: request.agent.as_ref().map(|agent| agent.as_str()),
            profile_id: request.profile_id.as_ref().map(|id| id.as_str()),
        };
        let words: Vec<String> = request.search.iter().flat_map(|text| words(text)).collect();
        self.history
            .newest(about, limit, |event| is_wanted(event, request, &words))
    }

    /// The first name that is free.
    fn write_to_downloads(&self, events: &[Event]) -> Result<PathBuf> {
        let home = self.environment.home();
        let downloads = home.join("Downloads");
        let dir = if downloads.is_dir() {
            downloads
        } else {
            home.to_owned()
        };
        let day: String = self.now().to_iso8601().chars().take(10).collect();
        let mut number = 1;
        loop {
            let again = if number > 1 {
                format!("-{number}")
            } else {
                String::new()
            };
            let path = dir.join(format!("kalit-history-{day}{again}.jsonl"));
            match write_new(&path, events) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                written => {
                    return written
                        .map(|()| path.clone())
                        .map_err(|error| not_written(&path, error));
                }
            }
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(str::to_lowercase)
}

fn is_wanted(event: &Event, request: &HistoryRequest, words: &[String]) -> bool {
    let begins = |wanted: &Option<String>, known: &Option<String>| match wanted {
        Some(wanted) => known
            .as_deref()
            .is_some_and(|known| known.starts_with(&wanted.to_lowercase())),
        None => true,
    };
    let asked = (request.kinds.is_empty() || request.kinds.contains(&event.kind))
        && request.since.is_none_or(|since| event.at >= since)
        && begins(&request.family, &event.family)
        && begins(&request.generation, &event.generation);
    if !asked || words.is_empty() {
        return asked;
    }
    let texts = [
        Some(event.text.as_str()),
        Some(event.kind.as_str()),
        Some(event.source.as_str()),
        event.cause.as_deref(),
        event.agent.as_ref().map(|agent| agent.as_str()),
        event.profile_id.as_ref().map(|id| id.as_str()),
    ];
    let text = texts
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
        .to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

/// Nothing is left of a file that could not be written whole.
fn write_new(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = durable::private(options.write(true).create_new(true)).open(path)?;
    let written = (|| {
        let mut out = BufWriter::new(&file);
        for event in events {
            serde_json::to_writer(&mut out, event)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        file.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

fn not_written(path: &Path, error: io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::new(ErrorCode::Usage, say!("{path} is there already", path))
            .with_hint(say!("Name another file: none is written over.")),
        _ => Error::new(ErrorCode::OutputIncomplete, say!("cannot write {path}", path))
            .with_hint(say!(
                "Nothing was written. Check free space and permissions of the directory."
            ))
            .with_source(error),
    }
}

#[cfg(test)]
mod tests;
