//! The verbs that the window may ask for. Each one parses, calls core and answers a view; what a
//! person pasted comes in once and goes straight into a secret.

use std::sync::Arc;
use std::time::Duration;

use kalit_core::broker::{
    Activation, AddedAgentInfo, ClearedCooldown, GlobalOrderPreview, HistoryRequest, HistoryView, LoginRoute,
    OneOwner, OneOwnerPreview, OpenClawLoginChoice, PasteKind, PasteRequest, ProviderInfo, RefreshOutcome,
    RefreshTarget, Removal, RemovalPreview, RestorePreview, Restored, Setting, SettingView, SettingsView,
    SignedIn, SnapshotInfo, SnapshotPreview, SnapshotRestored, TestLoginsOffer, TestedLogins,
};
use kalit_core::ids::{AgentId, ProfileId, ProviderId};
use kalit_core::language::{self, WindowTexts};
use kalit_core::secret::Secret;
use kalit_core::view::{SessionView, SessionsView};
use kalit_core::{Error, ErrorCode, say};
use kalit_shell::{diagnosis, process};
use serde_json::Value;
use tauri::ipc::Invoke;
use tauri::{AppHandle, State, Wry, async_runtime};
use tauri_plugin_shell::ShellExt;

use crate::session::Session;
use crate::view::{
    Answer, Chosen, OpenClawSignInRequest, PasteTarget, Pasted, SignInRequest, SignInStarted, View,
};

/// All commands; src-tauri/permissions/window.toml allows the same ones.
pub fn handler() -> impl Fn(Invoke<Wry>) -> bool + Send + Sync + 'static {
    tauri::generate_handler![
        snapshot,
        providers,
        first_run,
        wanted_route,
        sign_in_start,
        sign_in_paste,
        sign_in_cancel,
        open_link,
        login_route,
        openclaw_logins,
        openclaw_login_start,
        login_answer,
        login_choose,
        paste_secret,
        activate,
        set_order,
        clear_order,
        clear_cooldown,
        order_globally_preview,
        order_globally,
        sessions,
        pin_session,
        test_logins_offer,
        test_logins,
        restore_preview,
        restore,
        snapshots,
        snapshot_preview,
        restore_snapshot,
        refresh,
        refresh_all,
        one_owner,
        one_owner_preview,
        removal_preview,
        remove,
        history,
        settings,
        set_setting,
        set_paused,
        start_tray,
        add_agent,
        diagnosis,
        texts,
    ]
}

type Window<'a> = State<'a, Session>;

#[tauri::command]
async fn snapshot(session: Window<'_>) -> Answer<View> {
    let broker = session.broker()?;
    let snapshot = async_runtime::spawn_blocking(move || broker.snapshot()).await?;
    Ok(Arc::new(snapshot).into())
}

/// The page's texts in the language that the person chose, else in the system's.
#[tauri::command]
async fn texts(session: Window<'_>) -> Answer<WindowTexts> {
    let broker = session.broker();
    let read = move || {
        language::window_texts(broker.map_or_else(|_| language::spoken(), |broker| broker.language()))
    };
    Ok(async_runtime::spawn_blocking(read).await?)
}

#[tauri::command]
async fn providers(session: Window<'_>) -> Answer<Vec<ProviderInfo>> {
    Ok(session.broker()?.providers())
}

/// Whether the window shows accounts for the first time on this machine.
#[tauri::command]
async fn first_run(session: Window<'_>) -> Answer<bool> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.notified("window.first-run")).await?)
}

/// Where the tray, a notification or a second start wants the page to be, if it is not there yet.
#[tauri::command]
async fn wanted_route(session: Window<'_>) -> Answer<Option<String>> {
    Ok(session.take_wanted().map(|route| route.to_string()))
}

#[tauri::command]
async fn sign_in_start(app: AppHandle, session: Window<'_>, request: SignInRequest) -> Answer<SignInStarted> {
    session.sign_in.start(&app, request).await
}

#[tauri::command]
async fn sign_in_paste(session: Window<'_>, text: String) -> Answer<()> {
    session.sign_in.paste(Secret::new(text))
}

#[tauri::command]
async fn sign_in_cancel(session: Window<'_>) -> Answer<()> {
    session.sign_in.cancel();
    Ok(())
}

/// Opens the page of the running sign-in once more.
#[tauri::command]
async fn open_link(app: AppHandle, session: Window<'_>) -> Answer<()> {
    session.sign_in.open_browser(&app)
}

/// Who signs in to a provider here: Kalit, OpenClaw, or a person with a token or key.
#[tauri::command]
async fn login_route(session: Window<'_>, provider: ProviderId) -> Answer<LoginRoute> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.login_route(&provider)).await?)
}

/// What OpenClaw and its plugins sign in themselves.
#[tauri::command]
async fn openclaw_logins(session: Window<'_>) -> Answer<Vec<OpenClawLoginChoice>> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.openclaw_logins()).await?)
}

#[tauri::command]
async fn openclaw_login_start(
    app: AppHandle,
    session: Window<'_>,
    request: OpenClawSignInRequest,
) -> Answer<()> {
    session.sign_in.start_openclaw(&app, request).await
}

#[tauri::command]
async fn login_answer(session: Window<'_>, ask: u32, text: String) -> Answer<()> {
    session.sign_in.answer(ask, &Secret::new(text))
}

#[tauri::command]
async fn login_choose(session: Window<'_>, ask: u32, choice: usize) -> Answer<()> {
    session.sign_in.choose(ask, choice)
}

#[tauri::command]
async fn paste_secret(session: Window<'_>, target: PasteTarget, secret: String) -> Answer<SignedIn> {
    let secret = Secret::new(secret);
    let _begun = session.in_flight.begin().await;
    let broker = session.broker()?;
    Ok(broker.paste_secret(request(target, secret)).await?)
}

#[tauri::command]
async fn activate(session: Window<'_>, agent: AgentId, profile: ProfileId) -> Answer<Activation> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.activate(&agent, &profile).await?)
}

#[tauri::command]
async fn set_order(
    session: Window<'_>,
    agent: AgentId,
    provider: ProviderId,
    ids: Vec<ProfileId>,
) -> Answer<Activation> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.set_order(&agent, &provider, ids).await?)
}

#[tauri::command]
async fn clear_order(session: Window<'_>, agent: AgentId, provider: ProviderId) -> Answer<Activation> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.clear_order(&agent, &provider).await?)
}

/// Lets OpenClaw use an account at once that it leaves alone after failures.
#[tauri::command]
async fn clear_cooldown(session: Window<'_>, agent: AgentId, profile: ProfileId) -> Answer<ClearedCooldown> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.clear_cooldown(&agent, &profile).await?)
}

/// What an order for all agents would change; nothing is changed.
#[tauri::command]
async fn order_globally_preview(
    session: Window<'_>,
    provider: ProviderId,
    ids: Option<Vec<ProfileId>>,
) -> Answer<GlobalOrderPreview> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.order_globally_preview(&provider, ids)).await??)
}

#[tauri::command]
async fn order_globally(
    session: Window<'_>,
    provider: ProviderId,
    ids: Option<Vec<ProfileId>>,
) -> Answer<Vec<Activation>> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.order_globally(&provider, ids).await?)
}

#[tauri::command]
async fn sessions(session: Window<'_>, agent: AgentId) -> Answer<SessionsView> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.sessions(&agent)).await??)
}

/// Pins the session called `name` to a profile, or takes its pin away.
#[tauri::command]
async fn pin_session(
    session: Window<'_>,
    agent: AgentId,
    name: String,
    profile: Option<ProfileId>,
) -> Answer<SessionView> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.pin_session(&agent, &name, profile).await?)
}

/// Whether the logins can be tested now, and what that risks.
#[tauri::command]
async fn test_logins_offer(session: Window<'_>) -> Answer<TestLoginsOffer> {
    Ok(session.broker()?.test_logins_offer().await)
}

#[tauri::command]
async fn test_logins(session: Window<'_>) -> Answer<TestedLogins> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.test_logins().await?)
}

/// What is known of a login that OpenClaw dropped; nothing is changed.
#[tauri::command]
async fn restore_preview(session: Window<'_>, agent: AgentId, profile: ProfileId) -> Answer<RestorePreview> {
    Ok(session.broker()?.restore_preview(&agent, &profile).await?)
}

#[tauri::command]
async fn restore(session: Window<'_>, agent: AgentId, profile: ProfileId) -> Answer<Restored> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.restore(&agent, &profile).await?)
}

/// The sealed snapshots, as far as they are known without the key.
#[tauri::command]
async fn snapshots(session: Window<'_>) -> Answer<Vec<SnapshotInfo>> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.snapshots()).await??)
}

/// What a snapshot holds and what putting it back would do; nothing is changed.
#[tauri::command]
async fn snapshot_preview(session: Window<'_>, choice: Chosen) -> Answer<SnapshotPreview> {
    Ok(session.broker()?.snapshot_preview(choice.into()).await?)
}

#[tauri::command]
async fn restore_snapshot(session: Window<'_>, choice: Chosen) -> Answer<SnapshotRestored> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.restore_snapshot(choice.into()).await?)
}

#[tauri::command]
async fn refresh(session: Window<'_>, agent: AgentId, profile: ProfileId) -> Answer<Vec<RefreshOutcome>> {
    let _begun = session.in_flight.begin().await;
    Ok(session
        .broker()?
        .refresh(RefreshTarget::Profile(agent, profile))
        .await)
}

#[tauri::command]
async fn refresh_all(session: Window<'_>) -> Answer<Vec<RefreshOutcome>> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.refresh(RefreshTarget::All).await)
}

/// What making main the one owner of its login would do; nothing is changed.
#[tauri::command]
async fn one_owner_preview(session: Window<'_>, profile: ProfileId) -> Answer<OneOwnerPreview> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.one_owner_preview(&profile)).await??)
}

#[tauri::command]
async fn one_owner(session: Window<'_>, profile: ProfileId) -> Answer<OneOwner> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.one_owner(&profile).await?)
}

/// What removing an account would do; nothing is changed.
#[tauri::command]
async fn removal_preview(session: Window<'_>, agent: AgentId, profile: ProfileId) -> Answer<RemovalPreview> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.removal_preview(&agent, &profile)).await??)
}

#[tauri::command]
async fn remove(
    session: Window<'_>,
    agent: AgentId,
    profile: ProfileId,
    everywhere: bool,
) -> Answer<Removal> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.remove(&agent, &profile, everywhere).await?)
}

/// What happened to the accounts, or to one of them; newest first.
#[tauri::command]
async fn history(
    session: Window<'_>,
    agent: Option<AgentId>,
    profile: Option<ProfileId>,
    limit: u32,
) -> Answer<HistoryView> {
    let broker = session.broker()?;
    let request = HistoryRequest {
        agent,
        profile_id: profile,
        limit,
    };
    Ok(async_runtime::spawn_blocking(move || broker.history(&request)).await??)
}

#[tauri::command]
async fn settings(session: Window<'_>) -> Answer<SettingsView> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.settings()).await??)
}

/// Changes the setting with this name; null stands for its default.
#[tauri::command]
async fn set_setting(session: Window<'_>, key: String, value: Value) -> Answer<SettingView> {
    let setting = Setting::parse(&key)?;
    let tray = process::beside("kalit-desktop").map_err(not_started)?;
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.set_setting(setting, &value, &tray)).await??)
}

#[tauri::command]
async fn set_paused(session: Window<'_>, paused: bool) -> Answer<()> {
    let broker = session.broker()?;
    Ok(async_runtime::spawn_blocking(move || broker.set_paused(paused)).await??)
}

/// Starts Kalit in the tray: a window alone renews nothing.
#[tauri::command]
async fn start_tray(app: AppHandle, session: Window<'_>) -> Answer<()> {
    let tray = process::beside("kalit-desktop").map_err(not_started)?;
    let mut command = app.shell().command(tray);
    if let Some(dir) = session.state_dir() {
        command = command.arg("--state-dir").arg(dir);
    }
    command.spawn().map_err(not_started)?;
    Ok(())
}

fn not_started(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        ErrorCode::TrayNotStarted,
        say!("Kalit cannot be started in the tray"),
    )
    .with_source(error)
}

fn request(target: PasteTarget, secret: Secret) -> PasteRequest {
    PasteRequest {
        agent: target.agent,
        provider: target.provider,
        profile_id: target.profile,
        kind: match target.kind {
            Pasted::Token => PasteKind::Token,
            Pasted::ApiKey => PasteKind::ApiKey,
        },
        secret,
        expires_in: target
            .expires_in_days
            .map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// What stands between `before` and `after` in a text, each time.
    fn between<'a>(text: &'a str, before: &str, after: &str) -> BTreeSet<&'a str> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(after)?.0))
            .collect()
    }

    #[test]
    fn the_window_may_call_exactly_the_commands_it_uses() {
        let source = include_str!("commands.rs");
        let commands = between(source, "#[tauri::command]\nasync fn ", "(");
        let handled = source
            .split_once("generate_handler![")
            .unwrap()
            .1
            .split_once(']')
            .unwrap()
            .0;
        let handled: BTreeSet<_> = handled
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        let permissions = include_str!("../permissions/window.toml");
        let allowed: BTreeSet<_> = permissions
            .split_once("allow = [")
            .unwrap()
            .1
            .split('"')
            .skip(1)
            .step_by(2)
            .collect();
        let called = between(include_str!("../../ui/api.js"), "invoke('", "'");
        assert_eq!(commands.len(), 43);
        assert_eq!(commands, handled);
        assert_eq!(commands, allowed);
        assert_eq!(commands, called);
    }
}

/// Adds an agent, with a workspace in the state directory.
#[tauri::command]
async fn add_agent(session: Window<'_>, id: String) -> Answer<AddedAgentInfo> {
    let _begun = session.in_flight.begin().await;
    Ok(session.broker()?.add_agent(&id, None).await?)
}

/// What `kalit doctor` tells, fit to be shown to others.
#[tauri::command]
async fn diagnosis(session: Window<'_>) -> Answer<String> {
    let broker = session.broker()?;
    let found = broker.diagnose().await?;
    Ok(diagnosis::lines(&broker.redacted(found)).join("\n"))
}
