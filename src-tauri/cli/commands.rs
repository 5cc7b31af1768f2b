//! One function per verb.

use std::sync::atomic::{AtomicBool, Ordering};

use kalit_core::broker::{
    Activation, AgentInfo, Broker, ImportItem, OpenClawLoginRequest, PasteKind, RefreshOutcome,
    RefreshResult, RefreshTarget,
};
use kalit_core::ids::{AgentId, ProfileId, ProviderId};
use kalit_core::view::{
    AccountState, AccountView, AgentView, AuthStatus, CredentialKind, EraView, SCHEMA, Snapshot,
};
use kalit_core::{Error, ErrorCode};
use serde_json::json;

use crate::arguments::{AgentArgument, AgentsAction, Command, ProvidersAction};
use crate::asking::{asking, reading, saying};
use crate::interrupt::Interrupt;
use crate::prompt::confirm;
use crate::remote_sign_in::{self, Remote};
use crate::table::table;
use crate::{
    history, one_owner, order, output, providers, radar, remove, restore, sessions, settings, sign_in,
    snapshots, test_logins,
};

type Result<T> = std::result::Result<T, Error>;

/// Runs one command; the answer is the exit code.
pub async fn run(broker: &Broker, command: Command, json: bool) -> Result<u8> {
    match command {
        Command::Status { agent, check } => status(broker, agent.agent.as_deref(), check, json).await,
        Command::List { agent } => list(broker, &agent, json).await,
        Command::Login {
            provider,
            agent,
            profile_id,
            device_code,
            method,
            no_browser,
            host,
            use_now,
        } => {
            if let Some(host) = host {
                let remote = Remote {
                    host,
                    provider: provider_id(&provider)?,
                    agent: agent.agent,
                    profile_id,
                    method,
                    device_code,
                    no_browser,
                    use_now,
                };
                return remote_sign_in::login(remote, json).await;
            }
            let request = OpenClawLoginRequest {
                provider: provider_id(&provider)?,
                agent: chosen_agent(broker, &agent)?,
                profile_id: profile_id.as_deref().map(parse_profile).transpose()?,
                method,
                device_code,
                use_now,
            };
            sign_in::routed(broker, request, no_browser, json).await
        }
        Command::PasteToken { paste, expires_in } => {
            let expires_in = sign_in::lifetime(expires_in.as_deref())?;
            sign_in::paste_secret(broker, paste, PasteKind::Token, expires_in, json).await
        }
        Command::PasteApiKey { paste } => {
            sign_in::paste_secret(broker, paste, PasteKind::ApiKey, None, json).await
        }
        Command::Use { profile_id, agent } => {
            let agent = chosen_agent(broker, &agent)?;
            let profile_id = parse_profile(&profile_id)?;
            let work = asking(|| broker.asks_openclaw(), broker.activate(&agent, &profile_id));
            let done = Interrupt::listen()?.finish_telling(work).await?;
            tell_activation(&done, json);
            Ok(0)
        }
        Command::ClearCooldown { profile_id, agent } => {
            clear_cooldown(broker, &profile_id, &agent, json).await
        }
        Command::Order { action } => order::run(broker, action, json).await,
        Command::Sessions { action } => sessions::run(broker, action, json).await,
        Command::TestLogins { yes } => test_logins::run(broker, yes, json).await,
        Command::Refresh {
            profile_id,
            due,
            agent,
        } => {
            let target = match (profile_id, due) {
                (Some(id), _) => RefreshTarget::Profile(chosen_agent(broker, &agent)?, parse_profile(&id)?),
                (None, true) => RefreshTarget::Due,
                (None, false) => RefreshTarget::All,
            };
            refresh(broker, target, json).await
        }
        Command::Remove {
            profile_id,
            agent,
            everywhere,
            yes,
        } => remove::run(broker, &profile_id, &agent, everywhere, yes, json).await,
        Command::Restore {
            profile_id,
            agent,
            yes,
        } => {
            let agent = chosen_agent(broker, &agent)?;
            restore::run(broker, &agent, &parse_profile(&profile_id)?, yes, json).await
        }
        Command::Snapshots { action } => snapshots::run(broker, action, json).await,
        Command::Radar { keychain, check } => radar::run(broker, keychain, check, json).await,
        Command::OneOwner { profile_id, yes } => {
            one_owner::run(broker, &parse_profile(&profile_id)?, yes, json).await
        }
        Command::History {
            profile,
            agent,
            wanted,
        } => history::run(broker, profile.as_deref(), agent.agent.as_deref(), wanted, json),
        Command::Why { profile_id, agent } => {
            let agent = chosen_agent(broker, &agent)?;
            history::why(broker, &agent, &parse_profile(&profile_id)?, json)
        }
        Command::Import { agent, yes } => import(broker, &agent, yes, json).await,
        Command::Agents { action } => agents(broker, action, json).await,
        Command::Providers { action } => provider_verb(broker, action, json).await,
        Command::Settings { action } => settings::run(broker, action, json),
        Command::Watch => watch(broker, json).await,
        Command::Doctor {
            move_key_to_keychain,
            redacted,
        } => {
            if move_key_to_keychain {
                let work = broker.move_key_to_keychain();
                output::note(saying("Waiting for the keychain…", work).await?);
            }
            let mut diagnosis = saying("Looking at what is there…", broker.diagnose()).await?;
            if redacted {
                diagnosis = broker.redacted(diagnosis);
            }
            output::diagnosis(&diagnosis, json);
            Ok(0)
        }
    }
}

async fn status(broker: &Broker, agent: Option<&str>, check: bool, json: bool) -> Result<u8> {
    let mut snapshot = reading(broker, Broker::snapshot).await?;
    if let Some(text) = agent {
        let id = AgentId::normalize(text);
        snapshot.agents.retain(|agent| agent.id == id);
        if snapshot.agents.is_empty() {
            return Err(unknown_agent(&id));
        }
    }
    let agents: Vec<&AgentView> = snapshot.agents.iter().collect();
    let problem = match problem(&snapshot, &agents) {
        Some(problem) => Some(problem),
        None if check => era_notice(&snapshot, &[ErrorCode::EraMixed]),
        None => None,
    };
    if json {
        output::json(&output::Status::of(&snapshot, problem.as_ref()));
    } else {
        output::board(&snapshot);
        problem.iter().for_each(output::complaint);
    }
    Ok(match problem {
        Some(problem) => problem.code().exit_code(),
        None if check => checked(&agents),
        None => 0,
    })
}

/// What keeps the answer from being the whole truth: an installation, a configuration or a store
/// that cannot be read.
fn problem(snapshot: &Snapshot, agents: &[&AgentView]) -> Option<Error> {
    const WHOLE: [ErrorCode; 5] = [
        ErrorCode::StateDirMissing,
        ErrorCode::SettingsUnparsable,
        ErrorCode::ConfigUnparsable,
        ErrorCode::ConfigUnreadable,
        ErrorCode::ConfigInclude,
    ];
    let nothing = snapshot.installation.era == EraView::None && !snapshot.installation.openclaw_found;
    if nothing
        && !std::path::Path::new(&snapshot.installation.state_dir).is_dir()
        && snapshot.notices.is_empty()
    {
        return Some(Error::new(
            ErrorCode::StateDirMissing,
            format!(
                "{} does not exist and no OpenClaw was found",
                snapshot.installation.state_dir
            ),
        ));
    }
    let stores = agents.iter().filter_map(|agent| agent.store_error.as_ref());
    stores
        .map(output::error_of)
        .chain(
            snapshot
                .notices
                .iter()
                .map(output::error_of)
                .filter(|error| WHOLE.contains(&error.code())),
        )
        .next()
}

/// In the era after JSON Kalit shows and does not write; between both it does not even show all.
fn era_notice(snapshot: &Snapshot, codes: &[ErrorCode]) -> Option<Error> {
    let mut notices = snapshot.notices.iter().map(output::error_of);
    notices.find(|error| codes.contains(&error.code()))
}

/// 1: expired, without a usable secret, or signed out; 2: expires within 24 hours; 1 wins.
fn checked(agents: &[&AgentView]) -> u8 {
    let accounts: Vec<&AccountView> = agents
        .iter()
        .flat_map(|agent| &agent.providers)
        .flat_map(|provider| &provider.accounts)
        .collect();
    let lost = |account: &&&AccountView| {
        matches!(account.status, AuthStatus::Expired | AuthStatus::Missing)
            || matches!(account.state, AccountState::SignedOut | AccountState::Dropped)
    };
    if accounts.iter().any(|account| lost(&account)) {
        1
    } else if accounts
        .iter()
        .any(|account| account.status == AuthStatus::Expiring)
    {
        2
    } else {
        0
    }
}

async fn list(broker: &Broker, agent: &AgentArgument, json: bool) -> Result<u8> {
    let snapshot = reading(broker, Broker::snapshot).await?;
    let agents = shown_agents(&snapshot, agent.agent.as_deref())?;
    let chosen = agents
        .iter()
        .find(|view| agent.agent.is_some() || view.is_default)
        .copied();
    let chosen: Vec<&AgentView> = chosen.or_else(|| agents.first().copied()).into_iter().collect();
    let problem = problem(&snapshot, &chosen).or_else(|| era_notice(&snapshot, &[ErrorCode::EraMixed]));
    if json {
        output::json(&output::list(&chosen, problem.as_ref()));
    } else {
        let accounts = chosen
            .iter()
            .flat_map(|agent| &agent.providers)
            .flat_map(|provider| &provider.accounts);
        let rows: Vec<_> = accounts.map(list_row).collect();
        if rows.is_empty() && problem.is_none() {
            output::note("There are no accounts yet.");
        } else if !rows.is_empty() {
            table(["PROFILE", "PROVIDER", "KIND", "STORE"], rows);
        }
        problem.iter().for_each(output::complaint);
    }
    Ok(problem.map_or(0, |problem| problem.code().exit_code()))
}

fn list_row(account: &AccountView) -> [String; 4] {
    let kind = match account.kind {
        CredentialKind::Oauth => "login",
        CredentialKind::Token => "token",
        CredentialKind::ApiKey => "API key",
        CredentialKind::Unknown => "unknown kind",
    };
    let store = if account.inherited { "main's" } else { "" };
    [
        account.profile_id.as_str(),
        account.provider.as_str(),
        kind,
        store,
    ]
    .map(str::to_owned)
}

/// What is used after a switch or a change of the order.
pub fn tell_activation(done: &Activation, json: bool) {
    if json {
        return output::json(done);
    }
    output::line(output::in_use(&done.agent, done.effective.as_ref(), &done.reason));
    done.notes.iter().for_each(output::line);
}

async fn clear_cooldown(broker: &Broker, id: &str, agent: &AgentArgument, json: bool) -> Result<u8> {
    let agent = chosen_agent(broker, agent)?;
    let id = parse_profile(id)?;
    let work = asking(|| false, broker.clear_cooldown(&agent, &id));
    let done = Interrupt::listen()?.finish_telling(work).await?;
    if json {
        output::json(&done);
    } else {
        output::line(format!(
            "Cleared the cooldown of {} in {}",
            done.profile_id, done.agent
        ));
        output::line(output::in_use(&done.agent, done.effective.as_ref(), &done.reason));
    }
    Ok(0)
}

/// A signal lets the request in flight come to its end and leaves the other logins as they are.
async fn refresh(broker: &Broker, target: RefreshTarget, json: bool) -> Result<u8> {
    let named = matches!(target, RefreshTarget::Profile(..));
    let stopped = AtomicBool::new(false);
    let renewals = broker.refresh_until(target, || stopped.load(Ordering::Relaxed));
    let work = saying("Renewing…", renewals);
    let stop = || {
        if !stopped.swap(true, Ordering::Relaxed) {
            output::note("Finishing the renewal in flight.");
        }
    };
    let outcomes = Interrupt::listen()?.finish(work, stop).await?;
    let worst = outcomes.iter().max_by_key(|outcome| outcome.exit_code);
    let mut error = worst
        .and_then(|outcome| outcome.error.as_ref())
        .map(output::error_of);
    if !named && error.is_none() {
        // A login in a store that cannot be read was not even looked at.
        let snapshot = broker.snapshot();
        let agents: Vec<&AgentView> = snapshot.agents.iter().collect();
        error = problem(&snapshot, &agents)
            .or_else(|| era_notice(&snapshot, &[ErrorCode::EraSqlite, ErrorCode::EraMixed]));
        if !json {
            error.iter().for_each(output::complaint);
        }
    }
    if json {
        output::json(&output::with_error(
            json!({"schema": SCHEMA, "outcomes": outcomes}),
            error.as_ref(),
        ));
    } else if outcomes.is_empty() && error.is_none() {
        output::line("Nothing to renew");
    } else {
        outcomes.iter().for_each(outcome_line);
    }
    Ok(error.map_or(0, |error| error.code().exit_code()))
}

fn outcome_line(outcome: &RefreshOutcome) {
    let what = match outcome.result {
        RefreshResult::Refreshed => "renewed",
        RefreshResult::Adopted => "another program had renewed it",
        RefreshResult::Fresh => "not due yet",
        RefreshResult::Healed => "replaced by a newer login of the same account",
        RefreshResult::Failed => "not renewed",
    };
    output::line(format!("{} ({}): {what}", outcome.profile_id, outcome.agent));
    outcome
        .error
        .iter()
        .map(output::error_of)
        .for_each(|error| output::complaint(&error));
}

async fn import(broker: &Broker, agent: &AgentArgument, yes: bool, json: bool) -> Result<u8> {
    let agent = chosen_agent(broker, agent)?;
    let items = broker.import_preview(&agent)?;
    if !json {
        let row = |item: &ImportItem| {
            [
                item.profile_id.to_string(),
                item.source.clone(),
                item.text.clone(),
            ]
        };
        if !items.is_empty() {
            table(["PROFILE", "FROM", "WHAT"], items.iter().map(row).collect());
        }
    }
    let imported = if items.iter().any(|item| item.verdict == "importable") {
        match confirm(yes, json, "Import these?", "Read the preview, then add --yes.") {
            Ok(()) => {
                let work = asking(|| false, broker.import(&agent));
                Interrupt::listen()?.finish_telling(work).await
            }
            Err(error) => Err(error),
        }
    } else if items.iter().any(|item| item.verdict == "stale") {
        Err(Error::new(
            ErrorCode::ImportStale,
            "nothing here is fresh enough to be imported",
        ))
    } else if items.is_empty() {
        Err(Error::new(ErrorCode::ImportNothing, "there is nothing to import"))
    } else {
        Ok(Vec::new())
    };
    let error = imported.as_ref().err();
    if json {
        let ids = imported.as_deref().unwrap_or_default();
        output::json(&output::with_error(
            json!({"schema": SCHEMA, "preview": items, "imported": ids}),
            error,
        ));
    } else {
        match &imported {
            Ok(ids) if ids.is_empty() => output::line("Nothing was imported: all of it is in the store"),
            Ok(ids) => output::line(format!("Imported {}", ids.len())),
            Err(error) => output::failure(error, false),
        }
    }
    Ok(error.map_or(0, |error| error.code().exit_code()))
}

async fn agents(broker: &Broker, action: AgentsAction, json: bool) -> Result<u8> {
    match action {
        AgentsAction::List => {
            if let Some(problem) = problem(&broker.snapshot(), &[]) {
                return Err(problem);
            }
            let agents = broker.agents();
            if json {
                output::json(&agents);
            } else {
                let row = |agent: &AgentInfo| {
                    let default = if agent.is_default { " (default)" } else { "" };
                    let id = format!("{}{default}", agent.id);
                    [id, agent.agent_dir.clone(), agent.bindings.join(", ")]
                };
                table(
                    ["AGENT", "DIRECTORY", "BINDINGS"],
                    agents.iter().map(row).collect(),
                );
            }
        }
        AgentsAction::Add { id, workspace } => {
            let work = asking(|| true, broker.add_agent(&id, workspace.as_deref()));
            let added = Interrupt::listen()?.finish_telling(work).await?;
            if json {
                output::json(&added);
            } else {
                output::line(format!("Added agent {}", added.id));
                added.notes.iter().for_each(output::line);
            }
        }
    }
    Ok(0)
}

async fn provider_verb(broker: &Broker, action: ProvidersAction, json: bool) -> Result<u8> {
    match action {
        ProvidersAction::List => providers::list(broker, json).await?,
        ProvidersAction::Discover(asked) => providers::discover(broker, asked, json).await?,
        ProvidersAction::Trust { file, yes } => {
            let consent = broker.consent_for(&file)?;
            if !json {
                output::line(consent.statement());
            }
            confirm(
                yes,
                json,
                "Trust this manifest?",
                "Read the manifest, then add --yes.",
            )?;
            let provider = consent.provider().clone();
            broker.trust_provider(consent)?;
            if json {
                output::json(&json!({"trusted": file, "provider": provider}));
            } else {
                output::line(format!("Trusted for {provider}"));
            }
        }
    }
    Ok(0)
}

async fn watch(broker: &Broker, json: bool) -> Result<u8> {
    let mut interrupt = Interrupt::listen()?;
    let mut events = broker.subscribe();
    let engine = broker.engine().await?;
    loop {
        let told = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => output::event(&event, json),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => true,
                Err(tokio::sync::broadcast::error::RecvError::Closed) => false,
            },
            () = interrupt.wait() => false,
        };
        if !told {
            break;
        }
    }
    interrupt.finish(engine.stop(), || {}).await;
    Ok(0)
}

fn shown_agents<'a>(snapshot: &'a Snapshot, agent: Option<&str>) -> Result<Vec<&'a AgentView>> {
    match agent {
        None => Ok(snapshot.agents.iter().collect()),
        Some(text) => {
            let id = AgentId::normalize(text);
            let found: Vec<_> = snapshot.agents.iter().filter(|agent| agent.id == id).collect();
            if found.is_empty() {
                Err(unknown_agent(&id))
            } else {
                Ok(found)
            }
        }
    }
}

/// The agent that was named, else the default one.
pub fn chosen_agent(broker: &Broker, agent: &AgentArgument) -> Result<AgentId> {
    let agents = broker.agents();
    match &agent.agent {
        Some(text) => {
            let id = AgentId::normalize(text);
            if agents.iter().any(|agent| agent.id == id) {
                Ok(id)
            } else {
                Err(unknown_agent(&id))
            }
        }
        None => Ok(agents
            .into_iter()
            .find(|agent| agent.is_default)
            .map_or_else(AgentId::main, |agent| agent.id)),
    }
}

fn unknown_agent(id: &AgentId) -> Error {
    Error::new(ErrorCode::AgentUnknown, format!("there is no agent {id}"))
}

pub fn provider_id(text: &str) -> Result<ProviderId> {
    ProviderId::parse(text).ok_or_else(|| Error::new(ErrorCode::Usage, "the provider is empty"))
}

pub fn parse_profile(text: &str) -> Result<ProfileId> {
    ProfileId::parse(text).ok_or_else(|| Error::new(ErrorCode::Usage, "the profile id is empty"))
}
