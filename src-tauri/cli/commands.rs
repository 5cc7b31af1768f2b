//! One function per verb.

use std::io::{BufRead, IsTerminal, Read, Write};

use kalit_core::broker::{
    Activation, Broker, LoginRequest, LoginSession, PasteKind, PasteRequest, RefreshOutcome, RefreshResult,
    RefreshTarget, SignedIn,
};
use kalit_core::ids::{AgentId, ProfileId, ProviderId};
use kalit_core::oauth::paste;
use kalit_core::secret::Secret;
use kalit_core::view::{AccountState, AccountView, AgentView, AuthStatus, Snapshot};
use kalit_core::{Error, ErrorCode};
use serde_json::json;

use crate::arguments::{AgentArgument, AgentsAction, Command, OrderAction, PasteArguments, ProvidersAction};
use crate::output;

type Result<T> = std::result::Result<T, Error>;

/// Runs one command; the answer is the exit code.
pub async fn run(broker: &Broker, command: Command, json: bool) -> Result<u8> {
    match command {
        Command::Status { agent, check } => status(broker, &agent, check, json),
        Command::List { agent } => list(broker, &agent, json),
        Command::Login {
            provider,
            agent,
            profile_id,
            no_browser,
            use_now,
        } => {
            let request = LoginRequest {
                provider: provider_id(&provider)?,
                agent: chosen_agent(broker, &agent)?,
                profile_id: profile_id.as_deref().map(parse_profile).transpose()?,
                use_now,
            };
            login(broker, request, no_browser, json).await
        }
        Command::PasteToken { paste, expires_in } => {
            let expires_in = expires_in.as_deref().map(paste::expires_in).transpose()?;
            paste_secret(broker, paste, PasteKind::Token, expires_in, json).await
        }
        Command::PasteApiKey { paste } => paste_secret(broker, paste, PasteKind::ApiKey, None, json).await,
        Command::Use { profile_id, agent } => {
            let agent = chosen_agent(broker, &agent)?;
            let done = broker.activate(&agent, &parse_profile(&profile_id)?).await?;
            activation(&done, json);
            Ok(0)
        }
        Command::Order { action } => order(broker, action, json).await,
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
            Ok(refreshed(&broker.refresh(target).await, json))
        }
        Command::Remove {
            profile_id,
            agent,
            yes,
        } => remove(broker, &profile_id, &agent, yes, json).await,
        Command::Import { agent, yes } => import(broker, &agent, yes, json).await,
        Command::Agents { action } => agents(broker, action, json).await,
        Command::Providers { action } => providers(broker, action, json),
        Command::Watch => watch(broker, json).await,
        Command::Doctor { move_key_to_keychain } => {
            if move_key_to_keychain {
                output::note(broker.move_key_to_keychain().await?);
            }
            doctor(broker, json);
            Ok(0)
        }
    }
}

fn status(broker: &Broker, agent: &AgentArgument, check: bool, json: bool) -> Result<u8> {
    let snapshot = broker.snapshot();
    let agents = shown_agents(&snapshot, agent)?;
    if json {
        output::json(&output::status(&snapshot, &agents));
    } else {
        output::board(&snapshot, &agents);
    }
    for error in agents.iter().filter_map(|agent| agent.store_error.as_ref()) {
        if !json {
            output::notice(error);
        }
        return Ok(65);
    }
    Ok(if check { checked(&agents) } else { 0 })
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
            || account.state == AccountState::SignedOut
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

fn list(broker: &Broker, agent: &AgentArgument, json: bool) -> Result<u8> {
    let snapshot = broker.snapshot();
    let agents = shown_agents(&snapshot, agent)?;
    if json {
        output::json(&output::list(&agents));
        return Ok(0);
    }
    for agent in agents {
        for account in agent.providers.iter().flat_map(|provider| &provider.accounts) {
            let from = if account.inherited { " (from main)" } else { "" };
            output::line(format!(
                "{}\t{}\t{}{from}",
                agent.id, account.profile_id, account.provider
            ));
        }
    }
    Ok(0)
}

async fn login(broker: &Broker, request: LoginRequest, no_browser: bool, json: bool) -> Result<u8> {
    let agent = request.agent.clone();
    let session = broker.login(request).await?;
    if let Some(notice) = session.port_notice() {
        output::note(notice);
    }
    if no_browser {
        output::note("Open this address in a browser, sign in, and paste the address of the last page here:");
        show_url(&session, json);
    } else {
        output::note("Opening the browser. If nothing opens, use this address:");
        show_url(&session, json);
        let url = session.authorize_url().to_owned();
        let opened = tokio::task::spawn_blocking(move || open::that(url)).await;
        if !matches!(opened, Ok(Ok(()))) {
            let error = Error::new(ErrorCode::BrowserFailed, "no browser could be opened");
            output::note(format!(
                "{} [{}]\n{}",
                error.message(),
                error.code().as_str(),
                error.hint()
            ));
        }
        output::note("Waiting. You can also paste the address of the last page here.");
    }
    paste_from_stdin(&session);
    let signed_in = tokio::select! {
        done = session.wait() => done?,
        _ = tokio::signal::ctrl_c() => return Err(Error::new(ErrorCode::LoginCancelled, "the sign-in was cancelled")),
    };
    tell_signed_in(&signed_in, json);
    if signed_in.offers_use && !json && std::io::stdin().is_terminal() && asked("Use it now?")? {
        activation(&broker.activate(&agent, &signed_in.profile_id).await?, false);
    }
    Ok(0)
}

fn show_url(session: &LoginSession, json: bool) {
    if json {
        output::note(session.authorize_url())
    } else {
        output::line(session.authorize_url())
    }
}

/// Reads redirect addresses line by line on a thread of its own, which ends with the process.
fn paste_from_stdin(session: &LoginSession) {
    let handle = session.handle();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            if line.trim().is_empty() {
                continue;
            }
            match handle.paste(&Secret::new(line)) {
                Ok(()) => break,
                Err(error) => output::note(format!(
                    "{} [{}]\n{}",
                    error.message(),
                    error.code().as_str(),
                    error.hint()
                )),
            }
        }
    });
}

fn tell_signed_in(signed_in: &SignedIn, json: bool) {
    if json {
        return output::json(signed_in);
    }
    let who = signed_in
        .plan
        .as_ref()
        .map_or_else(String::new, |plan| format!(" · {plan}"));
    output::line(format!("Signed in as {}{who}", signed_in.profile_id));
    output::line(&signed_in.reason.text);
    for note in &signed_in.notes {
        output::line(note);
    }
}

async fn paste_secret(
    broker: &Broker,
    paste: PasteArguments,
    kind: PasteKind,
    expires_in: Option<std::time::Duration>,
    json: bool,
) -> Result<u8> {
    let agent = chosen_agent(broker, &paste.agent)?;
    if std::io::stdin().is_terminal() {
        output::note("Paste the secret and press Enter:");
    }
    let request = PasteRequest {
        agent,
        provider: provider_id(&paste.provider)?,
        profile_id: paste.profile_id.as_deref().map(parse_profile).transpose()?,
        kind,
        secret: secret_from_stdin()?,
        expires_in,
    };
    tell_signed_in(&broker.paste_secret(request).await?, json);
    Ok(0)
}

/// All of stdin up to 64 KiB: more than one line is refused later, with the right words.
fn secret_from_stdin() -> Result<Secret> {
    let mut text = String::new();
    let read = if std::io::stdin().is_terminal() {
        std::io::stdin().lock().read_line(&mut text)
    } else {
        std::io::stdin().lock().take(65_536).read_to_string(&mut text)
    };
    read.map_err(|error| Error::new(ErrorCode::SecretEmpty, "the secret cannot be read").with_source(error))?;
    Ok(Secret::new(text))
}

fn activation(done: &Activation, json: bool) {
    if json {
        return output::json(done);
    }
    output::line(&done.reason.text);
    for note in &done.notes {
        output::line(note);
    }
}

async fn order(broker: &Broker, action: OrderAction, json: bool) -> Result<u8> {
    match action {
        OrderAction::Get { provider, agent } => {
            let view = broker.order(&chosen_agent(broker, &agent)?, &provider_id(&provider)?)?;
            if json {
                output::json(&view);
            } else {
                match &view.order {
                    Some(order) => order.iter().for_each(|id| output::line(id.as_str())),
                    None => output::line("no stored order"),
                }
                output::line(&view.kalit.reason.text);
            }
        }
        OrderAction::Set {
            provider,
            agent,
            profile_ids,
        } => {
            let ids = profile_ids
                .iter()
                .map(|id| parse_profile(id))
                .collect::<Result<Vec<_>>>()?;
            let agent = chosen_agent(broker, &agent)?;
            activation(
                &broker.set_order(&agent, &provider_id(&provider)?, ids).await?,
                json,
            );
        }
        OrderAction::Clear { provider, agent } => {
            let agent = chosen_agent(broker, &agent)?;
            activation(&broker.clear_order(&agent, &provider_id(&provider)?).await?, json);
        }
    }
    Ok(0)
}

fn refreshed(outcomes: &[RefreshOutcome], json: bool) -> u8 {
    if json {
        output::json(&json!({"schema": kalit_core::view::SCHEMA, "outcomes": outcomes}));
    } else if outcomes.is_empty() {
        output::line("Nothing to renew");
    }
    for outcome in outcomes.iter().filter(|_| !json) {
        let what = match outcome.result {
            RefreshResult::Refreshed => "renewed",
            RefreshResult::Adopted => "another program had renewed it",
            RefreshResult::Fresh => "not due yet",
            RefreshResult::Failed => "not renewed",
        };
        output::line(format!("{} ({}): {what}", outcome.profile_id, outcome.agent));
        if let Some(error) = &outcome.error {
            output::notice(error);
        }
    }
    outcomes
        .iter()
        .map(|outcome| outcome.exit_code)
        .max()
        .unwrap_or(0)
}

async fn remove(broker: &Broker, id: &str, agent: &AgentArgument, yes: bool, json: bool) -> Result<u8> {
    let agent = chosen_agent(broker, agent)?;
    let id = parse_profile(id)?;
    confirm(
        yes,
        json,
        &format!("Forget {id} in agent {agent}? The login stays valid at the provider."),
    )?;
    let removal = broker.remove(&agent, &id).await?;
    if json {
        output::json(&removal);
    } else {
        output::line(format!("Forgot {} in {}", removal.profile_id, removal.agent));
        removal.notes.iter().for_each(output::line);
    }
    Ok(0)
}

async fn import(broker: &Broker, agent: &AgentArgument, yes: bool, json: bool) -> Result<u8> {
    let agent = chosen_agent(broker, agent)?;
    let items = broker.import_preview(&agent)?;
    if !json {
        for item in &items {
            output::line(format!("{}\t{}\t{}", item.profile_id, item.source, item.text));
        }
    }
    if items.iter().all(|item| item.verdict != "importable") {
        if json {
            output::json(&json!({"schema": kalit_core::view::SCHEMA, "preview": items, "imported": []}));
        }
        return Err(Error::new(
            ErrorCode::ImportNothing,
            "nothing here can be imported",
        ))
        .or_else(|error: Error| if items.is_empty() { Err(error) } else { Ok(0) });
    }
    confirm(yes, json, "Import these?")?;
    let imported = broker.import(&agent).await?;
    if json {
        output::json(&json!({"schema": kalit_core::view::SCHEMA, "preview": items, "imported": imported}));
    } else {
        output::line(format!("Imported {}", imported.len()));
    }
    Ok(0)
}

async fn agents(broker: &Broker, action: AgentsAction, json: bool) -> Result<u8> {
    match action {
        AgentsAction::List => {
            let agents = broker.agents();
            if json {
                output::json(&agents);
            } else {
                for agent in &agents {
                    let default = if agent.is_default { " (default)" } else { "" };
                    output::line(format!(
                        "{}{default}\t{}\t{}",
                        agent.id,
                        agent.agent_dir,
                        agent.bindings.join(", ")
                    ));
                }
            }
        }
        AgentsAction::Add { id, workspace } => {
            let added = broker.add_agent(&id, workspace.as_deref()).await?;
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

fn providers(broker: &Broker, action: ProvidersAction, json: bool) -> Result<u8> {
    match action {
        ProvidersAction::List => {
            let providers = broker.providers();
            if json {
                output::json(&providers);
            } else {
                for provider in providers {
                    let host = provider.token_host.as_deref().unwrap_or("-");
                    output::line(format!(
                        "{}\t{}\t{host}\t{}",
                        provider.id, provider.flow, provider.source
                    ));
                    if let Some(error) = &provider.error {
                        output::notice(error);
                    }
                }
            }
        }
        ProvidersAction::Trust { file, yes } => {
            let consent = broker.consent_for(&file)?;
            if !json {
                output::line(consent.statement());
            }
            confirm(yes, json, "Trust this manifest?")?;
            let provider = consent.provider().clone();
            broker.trust_provider(consent)?;
            if json {
                output::json(&json!({"trusted": file, "provider": provider}));
            }
        }
    }
    Ok(0)
}

async fn watch(broker: &Broker, json: bool) -> Result<u8> {
    let engine = broker.engine().await?;
    let mut events = engine.events();
    let mut terminate = Terminate::new()?;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) if json => output::line(serde_json::to_string(&event).unwrap_or_default()),
                Ok(event) => output::line(format!("{} {}", event.at, event.text)),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
            },
            () = terminate.wait() => break,
        }
    }
    engine.stop().await;
    Ok(0)
}

/// Ctrl-C, and on Unix SIGTERM.
struct Terminate {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Terminate {
    fn new() -> Result<Self> {
        #[cfg(unix)]
        {
            let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(
                |error| Error::new(ErrorCode::Internal, "cannot listen for signals").with_source(error),
            )?;
            Ok(Self { signal })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    async fn wait(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.signal.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

fn doctor(broker: &Broker, json: bool) {
    let diagnosis = broker.diagnose();
    if json {
        return output::json(&diagnosis);
    }
    output::line(format!("State directory: {}", diagnosis.state_dir));
    output::line(format!("Era: {}", diagnosis.era));
    let parts: [(&str, Vec<String>); 6] = [
        ("Evidence", diagnosis.evidence),
        ("Rules in force", diagnosis.rules),
        (
            "Locks",
            diagnosis
                .locks
                .iter()
                .map(|lock| format!("{} {:?}", lock.path, lock.pid))
                .collect(),
        ),
        ("Sealed copies", diagnosis.snapshots),
        ("Rescue journal", diagnosis.journal),
        ("Leftovers with secrets", diagnosis.leftovers),
    ];
    for (title, lines) in parts {
        output::line(format!("{title}:{}", if lines.is_empty() { " none" } else { "" }));
        lines.iter().for_each(|text| output::line(format!("  {text}")));
    }
    output::line(format!("Key of the sealed copies: {}", diagnosis.key));
    for notice in &diagnosis.notices {
        output::line(format!("{} {}", notice.message, notice.hint));
    }
}

fn shown_agents<'a>(snapshot: &'a Snapshot, agent: &AgentArgument) -> Result<Vec<&'a AgentView>> {
    match &agent.agent {
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

fn chosen_agent(broker: &Broker, agent: &AgentArgument) -> Result<AgentId> {
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

fn provider_id(text: &str) -> Result<ProviderId> {
    ProviderId::parse(text).ok_or_else(|| Error::new(ErrorCode::Usage, "the provider is empty"))
}

fn parse_profile(text: &str) -> Result<ProfileId> {
    ProfileId::parse(text).ok_or_else(|| Error::new(ErrorCode::Usage, "the profile id is empty"))
}

fn confirm(yes: bool, json: bool, question: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if json || !std::io::stdin().is_terminal() {
        return Err(Error::new(
            ErrorCode::ConfirmationNeeded,
            "this needs a confirmation",
        ));
    }
    if asked(question)? {
        Ok(())
    } else {
        Err(Error::new(ErrorCode::ConfirmationNeeded, "nothing was changed"))
    }
}

fn asked(question: &str) -> Result<bool> {
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Error::new(ErrorCode::Usage, "no answer").with_source(error))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
