//! `kalit history` and `kalit why`: what happened to the accounts, and what made one of them lost.

use kalit_core::broker::{Broker, HistoryRequest, WhyView};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::event::{Event, EventKind};
use kalit_core::ids::{AgentId, ProfileId};
use kalit_core::oauth::paste;
use kalit_core::{Error, ErrorCode};
use serde::Serialize;

use crate::arguments::HistoryArguments;
use crate::commands::parse_profile;
use crate::output;
use crate::table::{paragraph, table};

const SHOWN: u32 = 50;
/// As many as are kept.
const ALL: u32 = 20_000;

/// Shows the events that are asked for, or writes them to a file.
pub fn run(
    broker: &Broker,
    profile: Option<&str>,
    agent: Option<&str>,
    wanted: HistoryArguments,
    json: bool,
) -> Result<u8, Error> {
    let request = HistoryRequest {
        agent: agent.map(AgentId::normalize),
        profile_id: profile.map(parse_profile).transpose()?,
        search: wanted.search,
        kinds: wanted
            .kinds
            .iter()
            .map(|word| kind(word))
            .collect::<Result<_, _>>()?,
        since: wanted.since.as_deref().map(since).transpose()?,
        family: wanted.family,
        generation: wanted.generation,
        limit: wanted.limit.unwrap_or(match wanted.export {
            Some(_) => ALL,
            None => SHOWN,
        }),
    };
    if let Some(file) = wanted.export {
        let export = broker.export_history(&request, Some(&file))?;
        if json {
            output::json(&export);
        } else {
            output::line(format!("Wrote {} events to {}", export.count, export.path));
        }
        return Ok(0);
    }
    let history = broker.history(&request)?;
    if let Some(path) = history.set_aside.as_ref().filter(|_| !json) {
        output::note(format!("An earlier history could not be read: {path}"));
    }
    if json {
        output::json(&history);
    } else if history.events.is_empty() {
        let everything = HistoryRequest {
            limit: request.limit,
            ..HistoryRequest::default()
        };
        output::line(match request == everything {
            true => "Nothing has happened yet",
            false => "Nothing of that is in the history",
        });
    } else {
        let row = |event: &Event| [output::moment(event.at), event.text.clone()];
        table(["WHEN", "WHAT"], history.events.iter().map(row).collect());
    }
    Ok(0)
}

/// Explains the state of one account.
pub fn why(broker: &Broker, agent: &AgentId, profile_id: &ProfileId, json: bool) -> Result<u8, Error> {
    let why = broker.why(agent, profile_id)?;
    if json {
        output::json(&why);
    } else {
        tell(&why);
    }
    Ok(0)
}

fn tell(why: &WhyView) {
    let explanation = &why.explanation;
    let at = why
        .at
        .map(|at| format!("{}: ", output::moment(at)))
        .unwrap_or_default();
    paragraph(0, format!("{at}{}", explanation.paragraph));
    let (cause, confidence) = (word(&explanation.cause), word(&explanation.confidence));
    output::line(format!("Cause: {cause} ({confidence})"));
}

/// The stable word, as JSON has it.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn kind(word: &str) -> Result<EventKind, Error> {
    EventKind::parse(word).ok_or_else(|| {
        let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Error::new(ErrorCode::Usage, format!("there is no type {word:?}"))
            .with_hint(format!("The types are {}.", known.join(", ")))
    })
}

fn since(span: &str) -> Result<kalit_core::clock::Timestamp, Error> {
    let span = paste::expires_in(span).map_err(|error| {
        Error::new(ErrorCode::Usage, "--since is not a time span").with_hint(error.hint())
    })?;
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Ok(SystemClock.now().plus_millis(-millis))
}
