//! The events: a timeline of every account, each thing once, whoever noticed it.

use std::path::{Path, PathBuf};
use std::{error, fs};

use rusqlite::types::ToSql;
use rusqlite::{Connection, params};

use super::Database;
use crate::error::{Error, ErrorCode, Result};
use crate::event::{Event, EventKind};
use crate::ids::ProfileId;
use crate::vault::{lock_dir, write_failed};

const FILE: &str = "events.sqlite";
const ASIDE: &str = "events.sqlite.broken";
/// How many events are kept.
pub(super) const NEWEST: i64 = 20_000;
/// What several processes notice of one thing is noticed within this time.
const SAME_MS: i64 = 60_000;

const SCHEMA: &str = "
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    installation TEXT NOT NULL,
    at INTEGER NOT NULL,
    type TEXT NOT NULL,
    agent TEXT,
    profile_id TEXT,
    generation TEXT,
    event TEXT NOT NULL
) STRICT;
CREATE INDEX event_profile ON event (installation, profile_id, agent, id);
";

/// What a process sees in a store, without having done it.
const NOTICED: [EventKind; 11] = [
    EventKind::Added,
    EventKind::Adopted,
    EventKind::Changed,
    EventKind::Dropped,
    EventKind::NotRenewed,
    EventKind::OpenclawRefused,
    EventKind::RenewedElsewhere,
    EventKind::Shared,
    EventKind::StoreReadable,
    EventKind::StoreUnreadable,
    EventKind::Vanished,
];
/// Of these what Kalit's own deeds look like to another of its processes.
const COMES: [EventKind; 3] = [EventKind::Added, EventKind::Adopted, EventKind::Changed];
/// Deeds of Kalit's that put a login into a store.
const BROUGHT: [EventKind; 5] = [
    EventKind::Imported,
    EventKind::Refreshed,
    EventKind::Repaired,
    EventKind::Restored,
    EventKind::SignedIn,
];

/// What is told of an agent's orders; with a restored account its place in them may come back.
const ORDERS: [EventKind; 3] = [EventKind::OrderChanged, EventKind::Switched, EventKind::Restored];

/// Which events are asked for: those of one installation and, if named, agent and profile.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    pub installation: &'a str,
    pub agent: Option<&'a str>,
    pub profile_id: Option<&'a str>,
}

/// The events of all installations of this user.
#[derive(Debug)]
pub struct History {
    database: Database,
    aside: PathBuf,
}

impl History {
    /// `data_dir` is [`crate::environment::Environment::data_dir`]. Nothing is made on disk
    /// before the first event.
    pub fn open(data_dir: &Path) -> Self {
        Self {
            database: Database::at(data_dir.join(FILE), SCHEMA),
            aside: data_dir.join(ASIDE),
        }
    }

    /// Adds an event, unless it is known already; the newest 20 000 are kept.
    pub fn append(&self, event: &Event) -> Result<()> {
        let text = serde_json::to_string(event).map_err(|error| {
            Error::new(ErrorCode::Internal, say!("an event has no JSON")).with_source(error)
        })?;
        self.unless_broken(|database| database.write(|transaction| add(transaction, event, &text)))
    }

    /// The newest events that `wanted` takes, newest first, at most `limit`. That a process began to watch
    /// is none of an account; rows of a later version of Kalit that this one cannot read are left out.
    pub fn newest(
        &self,
        about: About<'_>,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Vec<Event>> {
        self.unless_broken(|database| {
            database.read(Vec::new(), |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT event FROM event WHERE installation = ?1 AND type <> 'started'
                     AND (?2 IS NULL OR agent = ?2) AND (?3 IS NULL OR profile_id = ?3)
                     ORDER BY id DESC",
                )?;
                let values = params![about.installation, about.agent, about.profile_id];
                let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
                read_events(rows, limit, &wanted)
            })
        })
    }

    /// The newest events of a profile, in whichever agent, and of its family (16 hex) under other names,
    /// newest first, at most `limit`. Of the family only what is among the newest 2000 of all.
    pub fn of_account(
        &self,
        installation: &str,
        id: &ProfileId,
        family: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Event>> {
        self.unless_broken(|database| {
            database.read(Vec::new(), |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id, event FROM event WHERE installation = ?1 AND profile_id = ?2
                     UNION
                     SELECT id, event FROM event WHERE ?3 IS NOT NULL AND installation = ?1
                       AND id > (SELECT max(id) FROM event) - 2000 AND event ->> '$.family' = ?3
                     ORDER BY id DESC",
                )?;
                let values = params![installation, id.as_str(), family];
                let rows = statement.query_map(values, |row| row.get::<_, String>(1))?;
                read_events(rows, limit, &|_| true)
            })
        })
    }

    /// The earlier file that broke, if there is one.
    pub fn set_aside(&self) -> Option<&Path> {
        self.aside.exists().then_some(self.aside.as_path())
    }

    /// Runs it once more with a new file if the old one turns out to be broken.
    fn unless_broken<T>(&self, work: impl Fn(&Database) -> Result<T>) -> Result<T> {
        self.database.reopen_if_replaced();
        match work(&self.database) {
            Err(error) if is_broken(&error) => {
                self.put_aside()?;
                work(&self.database)
            }
            done => done,
        }
    }

    /// Moves a broken file away, over an earlier one. Another process may have done so meanwhile.
    fn put_aside(&self) -> Result<()> {
        let path = self.database.path.clone();
        let dir = path.parent().unwrap_or(Path::new("."));
        let failed = |error| write_failed(say!("cannot move {path}", path = path.display()), error);
        let _turn = lock_dir(dir)?;
        self.database.close();
        let whole = self.database.read(true, |connection| {
            connection.query_row("PRAGMA quick_check(1)", [], |row| {
                Ok(row.get::<_, String>(0)? == "ok")
            })
        });
        if matches!(whole, Ok(true)) {
            return Ok(());
        }
        self.database.close();
        fs::rename(&path, &self.aside).map_err(failed)?;
        for side in ["-wal", "-shm"] {
            let beside = |path: &Path| {
                let mut name = path.as_os_str().to_owned();
                name.push(side);
                PathBuf::from(name)
            };
            let _ = fs::remove_file(beside(&self.aside));
            let _ = fs::rename(beside(&path), beside(&self.aside));
        }
        Ok(())
    }
}

fn read_events(
    rows: impl Iterator<Item = rusqlite::Result<String>>,
    limit: usize,
    wanted: &impl Fn(&Event) -> bool,
) -> rusqlite::Result<Vec<Event>> {
    let mut events = Vec::new();
    for row in rows {
        if events.len() == limit {
            break;
        }
        let event: Option<Event> = serde_json::from_str(&row?).ok();
        let event = event.map(|mut event| {
            // Rows of earlier versions do not say it.
            if event.source == "unknown" {
                event.source = event.kind.source(event.cause.as_deref()).to_owned();
            }
            event
        });
        events.extend(event.filter(wanted));
    }
    Ok(events)
}

fn is_broken(error: &Error) -> bool {
    let source = error::Error::source(error).and_then(|source| source.downcast_ref::<rusqlite::Error>());
    matches!(
        source.and_then(rusqlite::Error::sqlite_error_code),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

fn add(transaction: &Connection, event: &Event, text: &str) -> rusqlite::Result<()> {
    if is_known(transaction, event)? {
        return Ok(());
    }
    if ORDERS.contains(&event.kind) && !is_noticed_order(event) {
        for (id, told) in recent_orders(transaction, event)? {
            if is_noticed_order(&told) && (event.kind == EventKind::Restored || told.order == event.order) {
                transaction.execute("DELETE FROM event WHERE id = ?1", [id])?;
            }
        }
    }
    if BROUGHT.contains(&event.kind) {
        // Another process saw it in the store before its doer had told it.
        transaction.execute(
            &format!(
                "DELETE FROM event WHERE installation = ?1 AND agent IS ?2 AND profile_id = ?3
                 AND (?4 IS NULL OR generation = ?4) AND at > ?5 AND type IN ({})",
                words(&COMES)
            ),
            params![
                event.installation,
                event.agent.as_ref().map(|agent| agent.as_str()),
                event.profile_id.as_ref().map(|id| id.as_str()),
                event.generation,
                event.at.as_millis() - SAME_MS
            ],
        )?;
    }
    transaction.execute(
        "INSERT INTO event (installation, at, type, agent, profile_id, generation, event)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            event.installation,
            event.at.as_millis(),
            event.kind.as_str(),
            event.agent.as_ref().map(|agent| agent.as_str()),
            event.profile_id.as_ref().map(|id| id.as_str()),
            event.generation,
            text
        ],
    )?;
    let newest = transaction.last_insert_rowid();
    transaction.execute("DELETE FROM event WHERE id <= ?1", [newest - NEWEST])?;
    Ok(())
}

/// Whether what was noticed has been told: by another process that noticed it, or by the one that
/// did it.
fn is_known(transaction: &Connection, event: &Event) -> rusqlite::Result<bool> {
    if is_noticed_order(event) {
        return is_known_order(transaction, event);
    }
    if !NOTICED.contains(&event.kind) {
        return Ok(false);
    }
    let agent = event.agent.as_ref().map(|agent| agent.as_str());
    let id = event.profile_id.as_ref().map(|id| id.as_str());
    let place: [&dyn ToSql; 3] = [&event.installation, &agent, &id];
    let mut statement = transaction.prepare_cached(
        "SELECT type, generation, at FROM event
         WHERE installation = ?1 AND agent IS ?2 AND profile_id IS ?3 ORDER BY id DESC LIMIT 1",
    )?;
    let mut rows = statement.query(&place[..])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    let (kind, generation): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    let is_recent = (event.at.as_millis() - row.get::<_, i64>(2)?).abs() < SAME_MS;
    let same = generation == event.generation;
    let brought = is_any(&kind, &BROUGHT) && (same || (generation.is_none() && is_recent));
    Ok((kind == event.kind.as_str() && same && is_recent)
        || (COMES.contains(&event.kind)
            && (brought || (same && generation.is_some() && is_any(&kind, &COMES)))))
}

/// Whether somebody else's order was seen in a store, or what Kalit's own looks like to another of its
/// processes.
fn is_noticed_order(event: &Event) -> bool {
    event.kind == EventKind::OrderChanged && event.cause.as_deref() == Some("outside")
}

/// Whether the same accounts were last said to have this order, or came back with it.
fn is_known_order(transaction: &Connection, event: &Event) -> rusqlite::Result<bool> {
    let accounts = |event: &Event| {
        let mut ids = event.order.clone().unwrap_or_default();
        ids.sort();
        ids
    };
    let told = recent_orders(transaction, event)?;
    let mut told = told.iter().map(|(_, told)| told);
    let last = told.find(|told| told.kind == EventKind::Restored || accounts(told) == accounts(event));
    Ok(last.is_some_and(|last| last.kind == EventKind::Restored || last.order == event.order))
}

/// What was told of orders in this agent a short time before, newest first.
fn recent_orders(transaction: &Connection, event: &Event) -> rusqlite::Result<Vec<(i64, Event)>> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT id, event FROM event WHERE installation = ?1 AND agent IS ?2 AND at > ?3 AND type IN ({})
         ORDER BY id DESC",
        words(&ORDERS)
    ))?;
    let agent = event.agent.as_ref().map(|agent| agent.as_str());
    let since = event.at.as_millis() - SAME_MS;
    let rows = statement.query_map(params![event.installation, agent, since], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?))
    })?;
    let mut told = Vec::new();
    for row in rows {
        let (id, text) = row?;
        told.extend(serde_json::from_str(&text).ok().map(|event| (id, event)));
    }
    Ok(told)
}

fn is_any(kind: &str, kinds: &[EventKind]) -> bool {
    kinds.iter().any(|known| known.as_str() == kind)
}

/// Of a list in SQL.
fn words(kinds: &[EventKind]) -> String {
    let quoted: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.as_str())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
