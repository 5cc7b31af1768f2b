//! What a failed call to a provider means: the first row of the table in `verdicts` that matches
//! decides. A new status or OAuth code is one row there and one case in the tests.
//!
//! Must never call an account signed out on less than a recognised code in a JSON answer of the
//! token endpoint: a bare 401 or a login page of a network is no verdict. Only words of that table
//! leave this module; nothing that a server sent is passed on.

use std::time::Duration;

use serde_json::Value;

use crate::ids::ProviderId;
use crate::language;
use crate::{Error, ErrorCode};

use super::verdicts::{ROWS, UNRECOGNISED};

/// What to do about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// This credential is dead: never send it again, ask for a new sign-in (once the store still
    /// holds it after a re-read).
    Permanent,
    /// The provider no longer accepts this client: signing in again would not help.
    ClientFault,
    /// This request or this attempt is over; nothing is said about the stored credential.
    RequestFault,
    /// Nothing was decided: try again, not before `retry_after` if the provider named a time.
    Transient {
        /// As the provider asked, at most a day.
        retry_after: Option<Duration>,
    },
    /// A refusal that is not recognised: tried again before anybody is told
    /// ([`crate::refresh::schedule`] says when).
    Suspect,
    /// The request was sent and no complete answer came: the token may have been rotated.
    Unknown,
    /// The person has not finished yet (RFC 8628 section 3.5).
    Pending,
}

/// A classified failure: what to do, and what to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What to do.
    pub class: Class,
    /// The row of the table that decided, for diagnosis.
    pub rule: &'static str,
    /// A stable word: the provider's code if the table knows it, else one of ours.
    pub code: &'static str,
    /// What happened: a clause in English, lower case, without a full stop.
    pub text: &'static str,
    /// The code for people and programs.
    pub error: ErrorCode,
    /// Whether the provider may have rotated the token although no usable answer came. A later
    /// refusal of the same token is then told as a lost answer.
    pub may_have_rotated: bool,
}

impl Outcome {
    /// As an error, with the error code's own hint.
    pub fn to_error(&self) -> Error {
        Error::new(self.error, language::fixed(self.text))
    }

    /// The text as a sentence, told as a lost answer where `after_lost_answer` explains it.
    pub fn sentence(&self, after_lost_answer: bool) -> String {
        sentence(lost_answer(self.code, after_lost_answer).unwrap_or(self.text))
    }
}

/// The code under which the end of a login is kept that a person asked for.
pub const SIGNED_OUT_EVERYWHERE: &str = "signed_out_everywhere";

/// The sentence for a code that was kept (in the history, for instance). `after_lost_answer`: the
/// refused request repeated one whose answer never arrived.
pub fn text_for(provider: &ProviderId, code: &str, after_lost_answer: bool) -> String {
    if code == SIGNED_OUT_EVERYWHERE {
        return sentence(template!("you signed this login out everywhere"));
    }
    let row = ROWS
        .iter()
        .filter(|row| row.is_about(provider))
        .find(|row| row.code == code || row.codes().contains(&code));
    let text = row.map_or(template!("the provider refused"), |row| row.text);
    sentence(lost_answer(code, after_lost_answer).unwrap_or(text))
}

/// The rows from which this code of a provider may come, by name, and whether they end a login.
#[cfg(test)]
pub(crate) fn rows_of(provider: &ProviderId, code: &str) -> Vec<(&'static str, bool)> {
    let rows = ROWS.iter().filter(|row| row.is_about(provider));
    let rows = rows.filter(|row| row.code == code || row.codes().contains(&code));
    rows.map(|row| (row.id, row.class == Class::Permanent)).collect()
}

/// The names of all rows.
#[cfg(test)]
pub(crate) fn row_names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.id).chain([UNRECOGNISED.rule])
}

/// Where the failure was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The answer of the token endpoint to a refresh or an exchange.
    Token,
    /// The answer of the provider's API to an access token.
    Api,
    /// The authorization response in the browser.
    Callback,
    /// The device flow's token endpoint.
    Device,
}

/// A failure of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host's name has no address.
    Dns,
    /// Nobody answers at the address, or not in time.
    Unreachable,
    /// No trusted TLS connection.
    Tls,
    /// The proxy did not let the connection through.
    Proxy,
    /// The request was sent, and no complete answer came.
    NoAnswer,
}

/// The form of an answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Empty,
    /// A JSON object.
    Json,
    /// HTML, plain text, other JSON, or more than was read.
    Other,
}

/// A complete answer, reduced to what decides.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status; for [`Place::Callback`] 400.
    pub status: u16,
    /// The body's form.
    pub body: Body,
    /// The error code in the body, in lower case.
    pub code: Option<String>,
    /// The error description in the body.
    pub description: Option<String>,
    /// Whether `cf-mitigated: challenge` was sent.
    pub challenge: bool,
    /// Whether the answer is a redirect to another host.
    pub elsewhere: bool,
    /// `Retry-After`, in seconds from now.
    pub retry_after: Option<Duration>,
}

/// What is known about a failure.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// The connection failed.
    Failure(Failure),
    /// An answer came.
    Answer(Place, Answer),
}

/// Looks the evidence up in the table.
pub fn classify(provider: &ProviderId, evidence: &Evidence) -> Outcome {
    let mut outcome = ROWS
        .iter()
        .filter(|row| row.is_about(provider))
        .find_map(|row| row.outcome(evidence))
        .unwrap_or(UNRECOGNISED);
    if let (Class::Transient { retry_after }, Evidence::Answer(_, answer)) = (&mut outcome.class, evidence) {
        *retry_after = answer
            .retry_after
            .map(|after| after.min(Duration::from_secs(86_400)));
    }
    outcome
}

/// The error code and description of an answer: `error.code`, the string `error`, the top-level
/// `code`, else `error.type`, else MiniMax's `status`; the code in lower case.
pub(super) fn error_of(body: &Value) -> (Option<String>, Option<String>) {
    let error = body.get("error");
    let nested = |name: &str| error.and_then(|error| error.get(name));
    let code = [
        nested("code"),
        error,
        body.get("code"),
        nested("type"),
        body.get("status"),
    ]
    .into_iter()
    .flatten()
    .find_map(Value::as_str)
    .filter(|code| !code.is_empty() && code.len() <= 100)
    .map(str::to_lowercase);
    let description = [
        nested("message"),
        body.get("error_description"),
        body.get("message"),
    ]
    .into_iter()
    .flatten()
    .find_map(Value::as_str)
    .map(str::to_owned);
    (code, description)
}

/// The codes with which a provider refuses a token that an unheard answer has already replaced.
const SPENT: [&str; 4] = [
    "refresh_token_reused",
    "refresh_token_invalidated",
    "invalid_refresh_token",
    "invalid_grant",
];

fn lost_answer(code: &str, after_lost_answer: bool) -> Option<&'static str> {
    (after_lost_answer && SPENT.contains(&code)).then_some(template!(
        "the answer to the last renewal was lost on its way, so the token that is left no longer works"
    ))
}

fn sentence(clause: &str) -> String {
    let clause = language::fixed(clause);
    let mut characters = clause.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
