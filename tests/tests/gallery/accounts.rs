//! Snapshots as core publishes them, put together by hand: each account in one state.

use kalit_core::clock::{Clock, SystemClock, Timestamp};
use kalit_core::ids::{AgentId, ProfileId, ProviderId};
use kalit_core::view::{
    AccountState, AccountView, AgentView, AuthStatus, CooldownView, CredentialKind, EraView,
    InstallationView, LostSignal, LostView, Notice, OrderSource, ProviderView, Reason, RestoreView, SCHEMA,
    Snapshot, Worst,
};

pub const MINUTE: i64 = 60_000;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

pub fn now() -> Timestamp {
    SystemClock.now()
}

pub fn in_millis(millis: i64) -> Timestamp {
    now().plus_millis(millis)
}

pub fn profile_id(id: &str) -> ProfileId {
    ProfileId::parse(id).expect("a profile id")
}

pub fn provider_id(id: &str) -> ProviderId {
    ProviderId::parse(id).expect("a provider id")
}

/// An account whose time is that of its state.
pub fn account(id: &str, state: AccountState) -> AccountView {
    let left = match state {
        AccountState::Expired | AccountState::NotRenewed => Some(-40 * MINUTE),
        AccountState::Renewing => Some(20 * MINUTE),
        AccountState::Static | AccountState::NeedsDoctor | AccountState::Missing => None,
        AccountState::Healthy
        | AccountState::CoolingDown
        | AccountState::Disabled
        | AccountState::Unknown
        | AccountState::Shared
        | AccountState::Vanished
        | AccountState::Suspected
        | AccountState::Refused
        | AccountState::Dropped
        | AccountState::SignedOut => Some(6 * DAY + 7 * HOUR + 30 * MINUTE),
    };
    let profile_id = profile_id(id);
    AccountView {
        name: profile_id.account_name().to_owned(),
        provider: provider_id(id.split(':').next().unwrap_or_default()),
        profile_id,
        kind: match state {
            AccountState::Static => CredentialKind::ApiKey,
            _ => CredentialKind::Oauth,
        },
        email: None,
        plan: None,
        account_id: None,
        display_name: None,
        status: match (state, left) {
            (AccountState::Static, _) => AuthStatus::Static,
            (AccountState::Missing, _) => AuthStatus::Missing,
            (_, Some(left)) if left < 0 => AuthStatus::Expired,
            _ => AuthStatus::Ok,
        },
        state,
        sentence: String::new(),
        expires_at: left.map(in_millis),
        remaining_ms: left,
        lifetime_ms: left.map(|_| 10 * DAY),
        due_at: (state == AccountState::Healthy).then(|| in_millis(5 * DAY)),
        renewal: None,
        generation: Some("0123456789abcdef".to_owned()),
        family: Some("8a41c07be29f5d30".to_owned()),
        effective: false,
        in_use: false,
        inherited: false,
        passed_over: None,
        cooldown: None,
        shared_with: Vec::new(),
        copies_in: Vec::new(),
        lost: None,
        restore: None,
        refreshing: None,
        last_error: None,
        renewal_fails: false,
        last_used: Some(in_millis(-3 * HOUR)),
    }
}

/// A login that is lost by this signal.
pub fn lost(id: &str, state: AccountState, signal: LostSignal, text: &str) -> AccountView {
    AccountView {
        lost: Some(LostView {
            signal,
            cause: "refresh_token_reused".to_owned(),
            text: text.to_owned(),
            at: in_millis(-2 * HOUR),
            generation: Some("0123456789abcdef".to_owned()),
        }),
        ..account(id, state)
    }
}

pub fn restorable(account: AccountView, snapshot: Option<&str>) -> AccountView {
    AccountView {
        restore: Some(RestoreView {
            offered: true,
            text: "Kalit holds exactly this token, sealed 3 hours ago.".to_owned(),
            sealed_at: Some(in_millis(-3 * HOUR)),
            snapshot: snapshot.map(str::to_owned),
        }),
        ..account
    }
}

pub fn resting(id: &str, state: AccountState, reason: &str) -> AccountView {
    AccountView {
        cooldown: Some(CooldownView {
            until: in_millis(3 * MINUTE + 30_000),
            reason: Some(reason.to_owned()),
            disabled: state == AccountState::Disabled,
        }),
        ..account(id, state)
    }
}

/// A provider with its accounts; an order in force names the first.
pub fn provider(id: &str, name: &str, ordered: bool, mut accounts: Vec<AccountView>) -> ProviderView {
    if let Some(first) = accounts.first_mut() {
        first.effective = true;
        first.in_use = ordered;
    }
    let ids: Vec<ProfileId> = accounts
        .iter()
        .map(|account| account.profile_id.clone())
        .collect();
    let (code, text) = match (ordered, ids.len()) {
        (_, 0 | 1) => ("only-one", "the only account"),
        (true, _) => ("stored-order", "stored order"),
        (false, _) => ("rotating", "accounts take turns, the one used longest ago first"),
    };
    ProviderView {
        id: provider_id(id),
        name: name.to_owned(),
        mark: name.chars().take(2).collect(),
        order: ordered.then(|| ids.clone()),
        order_source: if ordered {
            OrderSource::Stored
        } else {
            OrderSource::Rotation
        },
        effective: ids.first().cloned(),
        reason: Reason {
            code: code.to_owned(),
            text: text.to_owned(),
            fallback_model: None,
        },
        candidates: ids,
        accounts,
    }
}

pub fn agent(id: &str, providers: Vec<ProviderView>) -> AgentView {
    let dir = format!("/home/me/.openclaw/agents/{id}/agent");
    AgentView {
        id: AgentId::normalize(id),
        name: None,
        is_default: id == "main",
        store_path: format!("{dir}/auth-profiles.json"),
        auth_state_path: format!("{dir}/auth-state.json"),
        agent_dir: dir,
        store_error: None,
        unreadable_since: None,
        restore: None,
        missing_providers: Vec::new(),
        providers,
        pins: Vec::new(),
        lock: None,
    }
}

pub fn notice(code: &str, message: &str, hint: &str) -> Notice {
    Notice {
        code: code.to_owned(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}

/// All of one installation.
pub fn snapshot(era: EraView, agents: Vec<AgentView>) -> Snapshot {
    let lost = |state: AccountState| state >= AccountState::NotRenewed;
    let accounts = agents
        .iter()
        .flat_map(|agent| &agent.providers)
        .flat_map(|provider| &provider.accounts);
    let needs_you = accounts.filter(|account| lost(account.state)).count()
        + agents.iter().filter(|agent| agent.store_error.is_some()).count();
    Snapshot {
        schema: SCHEMA,
        at: now(),
        installation: InstallationView {
            state_dir: "/home/me/.openclaw".to_owned(),
            era,
            openclaw_version: match era {
                EraView::Json => Some("2026.6.1".to_owned()),
                EraView::Sqlite => Some("2026.9.6".to_owned()),
                EraView::Mixed | EraView::None => None,
            },
            openclaw_found: era != EraView::None,
            state_dirs: vec!["/home/me/.openclaw".to_owned()],
        },
        agents,
        worst: if needs_you > 0 {
            Worst::SignedOut
        } else {
            Worst::Healthy
        },
        needs_you,
        paused: false,
        attended: true,
        show_names: true,
        muted_until: None,
        offline_since: None,
        notices: Vec::new(),
    }
}
