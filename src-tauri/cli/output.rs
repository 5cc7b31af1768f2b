//! Tables and sentences for people, JSON for programs.

use std::io::Write;

use kalit_core::Error;
use kalit_core::clock::Timestamp;
use kalit_core::view::{
    AccountState, AccountView, AgentView, AuthStatus, CredentialKind, Notice, ProviderView, Snapshot,
};
use serde::Serialize;
use serde_json::{Value, json};

/// One line to stdout; a closed pipe ends quietly.
pub fn line(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// One line to stderr.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
}

/// Pretty JSON to stdout.
pub fn json(value: &impl Serialize) {
    line(serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A failure: one object on stdout with `--json`, else code and hint on stderr.
pub fn failure(error: &Error, as_json: bool) {
    if as_json {
        json(
            &json!({"error": {"code": error.code().as_str(), "message": error.message(), "hint": error.hint()}}),
        );
    } else {
        note(format!(
            "kalit: {} [{}]\n{}",
            error.message(),
            error.code().as_str(),
            error.hint()
        ));
    }
}

/// A notice of the snapshot, in the form of an error.
pub fn notice(notice: &Notice) {
    note(format!("{} [{}]\n{}", notice.message, notice.code, notice.hint));
}

/// `models status --json` of OpenClaw as far as it concerns credentials, and ours under `kalit`.
pub fn status(snapshot: &Snapshot, agents: &[&AgentView]) -> Value {
    let accounts = || {
        agents
            .iter()
            .flat_map(|agent| &agent.providers)
            .flat_map(|provider| &provider.accounts)
    };
    let profiles: Vec<Value> = accounts().map(openclaw_profile).collect();
    let first = agents.first();
    json!({
        "agentId": first.map(|agent| &agent.id),
        "agentDir": first.map(|agent| &agent.agent_dir),
        "auth": {
            "storePath": first.map(|agent| &agent.store_path),
            "oauth": {"warnAfterMs": 86_400_000, "profiles": profiles},
        },
        "kalit": Snapshot { agents: agents.iter().map(|agent| (*agent).clone()).collect(), ..snapshot.clone() },
    })
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
pub fn list(agents: &[&AgentView]) -> Value {
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
    json!({
        "agentId": first.map(|agent| &agent.id), "agentDir": first.map(|agent| &agent.agent_dir),
        "authStatePath": first.map(|agent| &agent.auth_state_path), "profiles": profiles, "auth": auth,
    })
}

/// The board in text.
pub fn board(snapshot: &Snapshot, agents: &[&AgentView]) {
    line(verdict(snapshot));
    for notice in &snapshot.notices {
        line(format!("  {} {}", notice.message, notice.hint));
    }
    for agent in agents {
        line(String::new());
        line(format!(
            "{}{}",
            agent.id,
            if agent.is_default { " (default agent)" } else { "" }
        ));
        if let Some(error) = &agent.store_error {
            line(format!("  {} [{}]", error.message, error.code));
            line(format!("  {}", error.hint));
            continue;
        }
        if agent.providers.is_empty() {
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
    for account in &provider.accounts {
        let mark = if account.in_use {
            "●"
        } else if account.effective {
            "◐"
        } else if account.passed_over.is_some() {
            "◌"
        } else {
            "○"
        };
        line(format!(
            "    {mark} {:<34} {}",
            account.profile_id.as_str(),
            state_text(account, now)
        ));
        if !account.sentence.is_empty() {
            line(format!("      {}", account.sentence));
        }
    }
}

/// "Everything is in order", or how many accounts need the person.
pub fn verdict(snapshot: &Snapshot) -> String {
    match snapshot.needs_you {
        0 => "Everything is in order".into(),
        1 => "One account needs you".into(),
        many => format!("{many} accounts need you"),
    }
}

fn state_text(account: &AccountView, now: Timestamp) -> String {
    let word = match account.state {
        AccountState::Healthy => "ok",
        AccountState::Static => "does not renew",
        AccountState::Renewing => "renewing…",
        AccountState::Expired => "expired, renews on use",
        AccountState::CoolingDown => "resting",
        AccountState::Disabled => "disabled by OpenClaw",
        AccountState::NeedsDoctor => "needs OpenClaw's doctor",
        AccountState::Missing => "no usable secret",
        AccountState::Unknown => "answer lost, trying again",
        AccountState::Shared => "shared login",
        AccountState::NotRenewed => "not renewed",
        AccountState::Vanished => "vanished",
        AccountState::Refused => "OpenClaw was refused",
        AccountState::SignedOut => "signed out",
    };
    let until = match (&account.cooldown, account.expires_at) {
        (Some(cooldown), _) => Some((cooldown.until, "for")),
        (None, Some(at)) if at > now => Some((at, "left")),
        _ => None,
    };
    match until {
        Some((at, "for")) => format!("{word} for {}", words(at.millis_since(now))),
        Some((at, _)) => format!("{word}, {} left", words(at.millis_since(now))),
        None => word.into(),
    }
}

/// A duration in words: `6 d 4 h`, `3 h 20 min`, `5 min`, `less than a minute`.
pub fn words(millis: i64) -> String {
    let minutes = millis.max(0) / 60_000;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => "less than a minute".into(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_words() {
        assert_eq!(words(-5), "less than a minute");
        assert_eq!(words(5 * 60_000), "5 min");
        assert_eq!(words(200 * 60_000), "3 h 20 min");
        assert_eq!(words((6 * 24 + 4) * 3_600_000), "6 d 4 h");
    }
}
