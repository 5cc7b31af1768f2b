//! Tables and sentences for people, JSON for programs.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use kalit_core::broker::Diagnosis;
use kalit_core::clock::Timestamp;
use kalit_core::event::Event;
use kalit_core::ids::{AgentId, ProfileId};
use kalit_core::view::{
    AccountState, AccountView, AgentView, AuthStatus, CredentialKind, EraView, Notice, ProviderView, Reason,
    Snapshot, Worst,
};
use kalit_core::{Error, ErrorCode};
use kalit_shell::diagnosis;
use kalit_shell::words::{duration, holder};
use serde::Serialize;
use serde_json::{Value, json};

/// Whether something that was printed reached nobody who waits for it.
static INCOMPLETE: AtomicBool = AtomicBool::new(false);

/// What becomes of a command whose output could not be written; a closed pipe is the reader's choice.
pub fn incomplete() -> Option<Error> {
    INCOMPLETE.load(Ordering::Relaxed).then(|| {
        Error::new(
            ErrorCode::OutputIncomplete,
            "what this command has to say could not be written",
        )
    })
}

/// One line to stdout.
pub fn line(text: impl AsRef<str>) {
    print(writeln!(io::stdout(), "{}", text.as_ref()));
}

/// One line to stderr.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Pretty JSON to stdout.
pub fn json(value: &impl Serialize) {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut stdout, value).map_err(io::Error::from);
    print(
        written
            .and_then(|()| writeln!(stdout))
            .and_then(|()| stdout.flush()),
    );
}

/// One event; `false` when nobody reads any more.
pub fn event(event: &Event, as_json: bool) -> bool {
    let text = if as_json {
        serde_json::to_string(event).unwrap_or_default()
    } else {
        format!("{} {}", event.at.to_iso8601(), event.text)
    };
    print(writeln!(io::stdout(), "{text}"))
}

/// Whether it was written.
fn print(written: io::Result<()>) -> bool {
    if let Err(error) = &written
        && error.kind() != ErrorKind::BrokenPipe
    {
        INCOMPLETE.store(true, Ordering::Relaxed);
    }
    written.is_ok()
}

/// A failure: one object on stdout with `--json`, else code and hint on stderr.
pub fn failure(error: &Error, as_json: bool) {
    if as_json {
        json(&with_error(json!({}), Some(error)));
    } else {
        note(format!("kalit: {}", told(error)));
    }
}

/// Something to tell that does not end the command.
pub fn complaint(error: &Error) {
    note(told(error));
}

fn told(error: &Error) -> String {
    format!(
        "{} [{}]\n{}",
        error.message(),
        error.code().as_str(),
        error.hint()
    )
}

/// The object with what went wrong under `error`, if anything.
pub fn with_error(mut value: Value, error: Option<&Error>) -> Value {
    if let (Some(error), Some(object)) = (error, value.as_object_mut()) {
        object.insert("error".into(), error_value(error));
    }
    value
}

fn error_value(error: &Error) -> Value {
    json!({"code": error.code().as_str(), "message": error.message(), "hint": error.hint()})
}

/// A notice of the snapshot as the error it tells of.
pub fn error_of(notice: &Notice) -> Error {
    let code = ErrorCode::ALL.iter().find(|code| code.as_str() == notice.code);
    Error::new(code.copied().unwrap_or(ErrorCode::Internal), &notice.message).with_hint(&notice.hint)
}

/// What an agent uses and why, in one line.
pub fn in_use(agent: &AgentId, effective: Option<&ProfileId>, reason: &Reason) -> String {
    match (effective, reason.code.as_str()) {
        (Some(id), "stored-order" | "config-order") => {
            format!("Agent {agent} uses {id} first ({})", reason.text)
        }
        (Some(id), "only-one") => format!("Agent {agent} uses {id} ({})", reason.text),
        (Some(id), _) => format!("Next in agent {agent} is {id} ({})", reason.text),
        (None, _) => format!("Agent {agent}: {}", reason.text),
    }
}

/// `models status --json` of OpenClaw as far as it concerns the credentials of one agent (the one
/// named, else the default agent), and ours of all agents shown under `kalit`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status<'a> {
    agent_id: Option<&'a AgentId>,
    agent_dir: Option<&'a str>,
    auth: Value,
    kalit: &'a Snapshot,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

impl<'a> Status<'a> {
    pub fn of(snapshot: &'a Snapshot, error: Option<&Error>) -> Self {
        let agents = &snapshot.agents;
        let one = agents.iter().find(|agent| agent.is_default).or(agents.first());
        let accounts = one
            .iter()
            .flat_map(|agent| &agent.providers)
            .flat_map(|provider| &provider.accounts);
        let profiles: Vec<Value> = accounts
            .filter(|account| account.state != AccountState::Vanished)
            .map(openclaw_profile)
            .collect();
        Self {
            agent_id: one.map(|agent| &agent.id),
            agent_dir: one.map(|agent| agent.agent_dir.as_str()),
            auth: json!({
                "storePath": one.map(|agent| &agent.store_path),
                "missingProvidersInUse": one.map_or(&[][..], |agent| &agent.missing_providers),
                "oauth": {"warnAfterMs": 86_400_000, "profiles": profiles},
            }),
            kalit: snapshot,
            error: error.map(error_value),
        }
    }
}

fn openclaw_profile(account: &AccountView) -> Value {
    let mut value = json!({
        "profileId": account.profile_id,
        "provider": account.provider,
        "type": account.kind,
        "status": account.status,
        "label": label(account),
    });
    if let Some(object) = value.as_object_mut() {
        if let Some(at) = account.expires_at {
            object.insert("expiresAt".into(), json!(at));
        }
        if let Some(left) = account.remaining_ms {
            object.insert("remainingMs".into(), json!(left));
        }
        if let Some(code) = reason_code(account) {
            object.insert("reasonCode".into(), json!(code));
        }
    }
    value
}

/// Never contains a character of a secret.
fn label(account: &AccountView) -> String {
    match &account.email {
        Some(email) if !account.profile_id.as_str().contains(email.as_str()) => {
            format!("{} ({email})", account.profile_id)
        }
        _ => account.profile_id.to_string(),
    }
}

fn reason_code(account: &AccountView) -> Option<String> {
    if let Some(lost) = &account.lost {
        return Some(lost.cause.clone());
    }
    match account.status {
        AuthStatus::Expired => Some("expired".into()),
        AuthStatus::Missing => Some("missing_credential".into()),
        AuthStatus::Ok | AuthStatus::Expiring | AuthStatus::Static => None,
    }
}

/// `list --json`: the profiles, and `auth[]` as `channels list --json` of 2026.2.17 had it.
pub fn list(agents: &[&AgentView], error: Option<&Error>) -> Value {
    let mut profiles = Vec::new();
    let mut auth = Vec::new();
    for agent in agents {
        for account in agent.providers.iter().flat_map(|provider| &provider.accounts) {
            let kind = match account.kind {
                CredentialKind::Oauth => "oauth",
                CredentialKind::Token => "token",
                CredentialKind::ApiKey => "api_key",
                CredentialKind::Unknown => "unknown",
            };
            auth.push(json!({"id": account.profile_id, "provider": account.provider, "type": kind, "isExternal": false}));
            let mut profile = json!({
                "id": account.profile_id, "provider": account.provider, "type": kind, "label": label(account),
                "kalit": {"schema": kalit_core::view::SCHEMA, "agent": agent.id, "inherited": account.inherited, "generation": account.generation},
            });
            if let Some(object) = profile.as_object_mut() {
                if let Some(email) = &account.email {
                    object.insert("email".into(), json!(email));
                }
                if let Some(at) = account.expires_at {
                    object.insert("expiresAt".into(), json!(at.to_iso8601()));
                }
            }
            profiles.push(profile);
        }
    }
    let first = agents.first();
    let value = json!({
        "agentId": first.map(|agent| &agent.id), "agentDir": first.map(|agent| &agent.agent_dir),
        "authStatePath": first.map(|agent| &agent.auth_state_path), "profiles": profiles, "auth": auth,
    });
    with_error(value, error)
}

/// The board in text.
pub fn board(snapshot: &Snapshot) {
    line(verdict(snapshot));
    for notice in &snapshot.notices {
        line(format!("  {} [{}]", notice.message, notice.code));
        line(format!("  {}", notice.hint));
    }
    if snapshot.installation.era == EraView::Mixed {
        return;
    }
    for agent in &snapshot.agents {
        line(String::new());
        let default = if agent.is_default { " (default agent)" } else { "" };
        line(format!("{}{default}", agent.id));
        if let Some(lock) = &agent.lock {
            line(format!("  The store is locked by {}.", holder(lock, snapshot.at)));
        }
        for provider in &agent.missing_providers {
            line(format!(
                "  {provider}: a model in use asks for it, and there is no account"
            ));
        }
        if let Some(error) = &agent.store_error {
            line(format!("  {} [{}]", error.message, error.code));
            line(format!("  {}", error.hint));
        } else if agent.providers.is_empty() {
            line("  no accounts yet: `kalit login openai` or `kalit paste-api-key --provider …`");
        }
        for provider in &agent.providers {
            provider_lines(provider, snapshot.at);
        }
        for pin in &agent.pins {
            line(format!(
                "  session {} is pinned to {}",
                pin.session, pin.profile_id
            ));
        }
    }
}

fn provider_lines(provider: &ProviderView, now: Timestamp) {
    line(format!("  {}: {}", provider.name, provider.reason.text));
    let width = provider
        .accounts
        .iter()
        .map(|account| account.profile_id.as_str().chars().count());
    let width = width.max().unwrap_or(0);
    for account in &provider.accounts {
        let (mark, place) = match (&account.passed_over, account.in_use, account.effective) {
            (_, true, _) => ("●", Some("in use".to_owned())),
            (_, _, true) => ("◐", (provider.accounts.len() > 1).then(|| "next".to_owned())),
            (Some(cause), ..) => ("◌", Some(format!("passed over: {cause}"))),
            (None, false, false) => ("○", None),
        };
        let mut words = vec![state_text(account, now)];
        words.extend(account.inherited.then(|| "in main's store".to_owned()));
        words.extend(place);
        let id = account.profile_id.as_str();
        line(format!("    {mark} {id:<width$}  {}", words.join(" · ")));
        if !account.sentence.is_empty() {
            line(format!("      {}", account.sentence));
        }
    }
}

/// One sentence over everything.
pub fn verdict(snapshot: &Snapshot) -> String {
    match (snapshot.installation.era, snapshot.needs_you) {
        (EraView::Mixed, _) => return "Stores of two kinds lie side by side".into(),
        (EraView::None, 0) if !snapshot.installation.openclaw_found => return "OpenClaw not found".into(),
        (_, 0) => {}
        (_, 1) => return "One account needs you".into(),
        (_, many) => return format!("{many} accounts need you"),
    }
    let accounts = snapshot
        .agents
        .iter()
        .flat_map(|agent| &agent.providers)
        .flat_map(|it| &it.accounts);
    let noted = accounts
        .filter(|account| !account.inherited && !account.sentence.is_empty())
        .count();
    match (snapshot.worst, noted) {
        (Worst::Paused, _) => "Nothing is renewed: Kalit only watches".into(),
        (Worst::Healthy | Worst::Notice | Worst::SignedOut, 0) => "Everything is in order".into(),
        (Worst::Healthy | Worst::Notice | Worst::SignedOut, 1) => {
            "No login is lost; see the note on one account".into()
        }
        (Worst::Healthy | Worst::Notice | Worst::SignedOut, many) => {
            format!("No login is lost; see the notes on {many} accounts")
        }
    }
}

fn state_text(account: &AccountView, now: Timestamp) -> String {
    let left = account
        .expires_at
        .filter(|at| *at > now)
        .map(|at| format!("{} left", duration(at.millis_since(now))));
    let rest = |word: &str| match &account.cooldown {
        Some(cooldown) => format!("{word} for {}", duration(cooldown.until.millis_since(now))),
        None => word.to_owned(),
    };
    match account.state {
        AccountState::Healthy => left.unwrap_or_else(|| "OK".into()),
        AccountState::Static => match left {
            Some(left) => format!("does not renew, {left}"),
            None => "does not renew".into(),
        },
        AccountState::Renewing => "renewing…".into(),
        AccountState::Expired => "expired, renews on use".into(),
        AccountState::CoolingDown => rest("resting"),
        AccountState::Disabled => rest("disabled by OpenClaw"),
        AccountState::NeedsDoctor => "needs OpenClaw's doctor".into(),
        AccountState::Missing => "no usable secret".into(),
        AccountState::Unknown => "answer lost, trying again".into(),
        AccountState::Shared => match left {
            Some(left) => format!("shared login, {left}"),
            None => "shared login, expired".into(),
        },
        AccountState::NotRenewed => "not renewed".into(),
        AccountState::Vanished => "vanished".into(),
        AccountState::Suspected => "may be signed out".into(),
        AccountState::Refused => "OpenClaw was refused".into(),
        AccountState::Dropped => "dropped by OpenClaw".into(),
        AccountState::SignedOut => "signed out".into(),
    }
}

/// What `doctor` found.
pub fn diagnosis(diagnosis: &Diagnosis, as_json: bool) {
    if as_json {
        return json(diagnosis);
    }
    diagnosis::lines(diagnosis).iter().for_each(line);
}
