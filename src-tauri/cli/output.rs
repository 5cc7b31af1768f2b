//! Sentences for people, JSON for programs.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use kalit_core::broker::Diagnosis;
use kalit_core::clock::{self, Clock, SystemClock, TimeZone, Timestamp};
use kalit_core::event::Event;
use kalit_core::ids::{AgentId, ProfileId};
use kalit_core::language;
use kalit_core::view::{
    AccountState, AccountView, AgentView, AuthStatus, CredentialKind, EraView, Notice, ProviderView, Reason,
    Snapshot,
};
use kalit_core::{Error, ErrorCode};
use kalit_shell::words::{capital, duration, holder};
use kalit_shell::{diagnosis, summary};
use serde::Serialize;
use serde_json::{Value, json};

use crate::table::{columns, paragraph};

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

/// One event as it happens; `false` when nobody reads any more.
pub fn event(event: &Event, as_json: bool) -> bool {
    let text = if as_json {
        serde_json::to_string(event).unwrap_or_default()
    } else {
        let at = clock::dated(event.at, SystemClock.now(), &TimeZone::system());
        format!("{at}  {}", event.text)
    };
    print(writeln!(io::stdout(), "{text}"))
}

/// How many columns stdout has; `None` where it is no terminal, or does not say.
pub fn terminal_width() -> Option<usize> {
    #[cfg(unix)]
    {
        // What is no terminal has no size.
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0).then_some(usize::from(size.ws_col))
    }
    #[cfg(not(unix))]
    None
}

/// A time for people: "22:38", "27 Nov 22:38", "27 Nov 2025".
pub fn moment(at: Timestamp) -> String {
    clock::moment(at, SystemClock.now(), &TimeZone::system())
}

/// What the window says for a code of one of its lists, such as `snapshotReasons`; else the code.
pub fn words_for(list: &str, code: &str) -> String {
    let english = language::english();
    let said = english
        .as_ref()
        .and_then(|english| english.window.get(list)?.get(code)?.as_str());
    said.unwrap_or(code).to_owned()
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
        (_, "none-usable") | (None, _) => format!("Agent {agent}: {}", reason.text),
        (Some(id), "only-one") => format!("Agent {agent} uses {id} ({})", reason.text),
        (Some(id), _) => format!("Next in agent {agent} is {id} ({})", reason.text),
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
    paragraph(0, verdict(snapshot));
    for notice in &snapshot.notices {
        paragraph(2, format!("{} [{}]", notice.message, notice.code));
        paragraph(2, &notice.hint);
    }
    match snapshot.installation.era {
        EraView::Mixed => return,
        EraView::Json if !snapshot.attended && !snapshot.paused && renews(snapshot) => {
            paragraph(
                2,
                "Nothing is renewed now: neither the tray nor `kalit watch` runs.",
            );
        }
        EraView::Json | EraView::Sqlite | EraView::None => {}
    }
    let main = snapshot.agents.iter().find(|agent| agent.id.is_main());
    for agent in &snapshot.agents {
        line(String::new());
        let default = if agent.is_default { " (default agent)" } else { "" };
        line(format!("{}{default}", agent.id));
        if let Some(lock) = &agent.lock {
            paragraph(
                2,
                format!("The store is locked by {}.", holder(lock, snapshot.at)),
            );
        }
        for provider in &agent.missing_providers {
            paragraph(
                2,
                format!("{provider}: a model in use asks for it, and there is no account"),
            );
        }
        if let Some(error) = &agent.store_error {
            paragraph(2, format!("{} [{}]", error.message, error.code));
            paragraph(2, &error.hint);
        } else if agent.providers.is_empty() {
            paragraph(
                2,
                "no accounts yet: `kalit login openai` or `kalit paste-api-key --provider …`",
            );
        }
        provider_lines(agent, main.filter(|main| main.id != agent.id), snapshot.at);
        for pin in &agent.pins {
            paragraph(
                2,
                format!("session {} is pinned to {}", pin.session, pin.profile_id),
            );
        }
    }
}

/// Whether there is something that Kalit would renew.
fn renews(snapshot: &Snapshot) -> bool {
    summary::own_accounts(snapshot).any(|account| account.due_at.is_some())
}

/// The providers of an agent; what it merely reads from main, and main shows, is said once.
fn provider_lines(agent: &AgentView, main: Option<&AgentView>, now: Timestamp) {
    let of_main: Vec<ProviderText> = main
        .iter()
        .flat_map(|main| &main.providers)
        .map(|provider| ProviderText::of(provider, now))
        .collect();
    let mut shared = Vec::new();
    for provider in &agent.providers {
        let text = ProviderText::of(provider, now);
        if provider.accounts.iter().all(|account| account.inherited) && of_main.contains(&text) {
            shared.push(provider.name.as_str());
        } else {
            text.print(provider);
        }
    }
    if !shared.is_empty() && shared.len() == of_main.len() && shared.len() == agent.providers.len() {
        paragraph(2, "shares main's accounts");
    } else if !shared.is_empty() {
        paragraph(2, format!("{}: as in main", shared.join(", ")));
    }
}

/// What is said of a provider, whichever store holds its accounts.
#[derive(PartialEq)]
struct ProviderText {
    title: String,
    /// Mark and id, state, place, sentence.
    rows: Vec<[String; 4]>,
}

impl ProviderText {
    fn of(provider: &ProviderView, now: Timestamp) -> Self {
        let row = |account: &AccountView| {
            let (mark, place) = match (&account.passed_over, account.in_use, account.effective) {
                (_, true, _) => ("●", "in use".to_owned()),
                (_, _, true) if provider.accounts.len() > 1 => ("◐", "next".to_owned()),
                (_, _, true) => ("◐", String::new()),
                (Some(cause), ..) => ("◌", format!("passed over: {cause}")),
                (None, false, false) => ("○", String::new()),
            };
            let id = format!("{mark} {}", account.profile_id);
            [id, state_text(account, now), place, account.sentence.clone()]
        };
        Self {
            // That nothing is ready names the provider itself.
            title: match provider.reason.code.as_str() {
                "none-usable" => capital(&provider.reason.text),
                _ => format!("{}: {}", provider.name, provider.reason.text),
            },
            rows: provider.accounts.iter().map(row).collect(),
        }
    }

    fn print(&self, provider: &ProviderView) {
        paragraph(2, &self.title);
        let cells = |(row, account): (&[String; 4], &AccountView)| {
            let [id, state, place, _] = row;
            let store = if account.inherited { "in main's store" } else { "" };
            let words = [state.as_str(), store, place].map(|words| (!words.is_empty()).then_some(words));
            [
                id.clone(),
                words.into_iter().flatten().collect::<Vec<_>>().join(" · "),
            ]
        };
        let cells: Vec<_> = self.rows.iter().zip(&provider.accounts).map(cells).collect();
        for (text, [.., sentence]) in columns(4, &cells, terminal_width()).iter().zip(&self.rows) {
            line(text);
            if !sentence.is_empty() {
                paragraph(6, sentence);
            }
        }
    }
}

/// One sentence over everything, the worst first, as the window has it.
pub fn verdict(snapshot: &Snapshot) -> String {
    let installation = &snapshot.installation;
    let agents = &snapshot.agents;
    let unreadable: Vec<&AgentView> = agents
        .iter()
        .filter(|agent| agent.store_error.is_some())
        .collect();
    let needs_you = |account: &&AccountView| account.lost.is_some() || account.state == AccountState::Missing;
    let lost = summary::own_accounts(snapshot).filter(needs_you).count();
    match (installation.era, unreadable.len() + lost) {
        (EraView::Mixed, _) => return "Stores of two kinds lie side by side".into(),
        (_, needy) if needy > 0 && lost == 0 => {
            return format!("The account file of {} cannot be read", unreadable[0].id);
        }
        (EraView::None, 0) if !installation.openclaw_found => return "OpenClaw not found".into(),
        (_, 0) => {}
        (_, 1) => return "One account needs you".into(),
        (_, many) => return format!("{many} accounts need you"),
    }
    let mut idle: Vec<&str> = Vec::new();
    for provider in agents.iter().flat_map(|agent| &agent.providers) {
        if provider.reason.code == "none-usable" && !idle.contains(&provider.name.as_str()) {
            idle.push(&provider.name);
        }
    }
    if !idle.is_empty() {
        format!("No account is ready for {}", idle.join(", "))
    } else if snapshot.paused && installation.era != EraView::Sqlite {
        "Renewal is paused".into()
    } else {
        "Everything is in order".into()
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
