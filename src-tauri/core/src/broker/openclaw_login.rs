//! Signing in by OpenClaw itself: its own dialogue in a pseudo-terminal, handed on to the person,
//! and what came of it read from the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::acting::Touches;
use super::sign_in::Stored;
use super::{Broker, Inner, SignedIn, blocking, board};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Agent, Era, Installation, Version};
use crate::oauth::unavailable::unavailable;
use crate::oauth::{Claims, Flow, Providers};
use crate::openclaw::cli::Cli;
pub use crate::openclaw::terminal::{AskKind, LoginStep, OpenClawLoginHandle};
use crate::openclaw::terminal::{End, Ended, STORED, Terminal};
use crate::refresh::{Fleet, FleetStore};
use crate::secret::{Fingerprint, Secret};
use crate::store::credential::Credential;

/// A provider that OpenClaw, or one of its plugins, signs in to itself.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OpenClawLoginChoice {
    pub provider: ProviderId,
    pub name: String,
    /// Two letters for the provider's mark.
    pub mark: String,
    /// For [`OpenClawLoginRequest::method`]; without one OpenClaw asks, if there are several.
    pub methods: Vec<String>,
    /// There is a sign-in by a code to enter on another machine.
    pub device_code: bool,
}

/// Start a sign-in of OpenClaw's own.
#[derive(Clone, Debug)]
pub struct OpenClawLoginRequest {
    pub provider: ProviderId,
    pub agent: AgentId,
    /// Set to sign in again for an existing profile, or to choose the id of a new one.
    pub profile_id: Option<ProfileId>,
    pub method: Option<String>,
    /// By a code to enter on another machine, where the provider has that.
    pub device_code: bool,
    /// Switch to the account once it is signed in.
    pub use_now: bool,
}

/// Who signs in to a provider here.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LoginRoute {
    /// [`Broker::login`].
    Kalit,
    /// [`Broker::openclaw_login`].
    OpenClaw,
    /// A token or a key is pasted: [`Broker::paste_secret`].
    Paste,
    /// Nobody: the provider is unknown, or there is no OpenClaw.
    None,
}

/// A sign-in under way. Dropping it cancels it.
#[derive(Debug)]
pub struct OpenClawLogin {
    steps: mpsc::UnboundedReceiver<LoginStep>,
    handle: OpenClawLoginHandle,
    done: oneshot::Receiver<Result<SignedIn>>,
}

impl Broker {
    /// What OpenClaw can sign in to here, by the manifests of its plugins. Blocks for a few
    /// milliseconds the first time. Empty when there is no OpenClaw, or one whose plugins do not
    /// say (2026.2.17): a provider can be named all the same.
    pub fn openclaw_logins(&self) -> Vec<OpenClawLoginChoice> {
        let Ok(installation) = self.inner.installation() else {
            return Vec::new();
        };
        self.inner.openclaw_logins(&installation)
    }

    /// Who signs in to a provider here. Blocks for a few milliseconds.
    pub fn login_route(&self, provider: &ProviderId) -> LoginRoute {
        let Ok(installation) = self.inner.installation() else {
            return LoginRoute::None;
        };
        let openclaw = if installation.program.is_some() {
            LoginRoute::OpenClaw
        } else {
            LoginRoute::None
        };
        let providers = Providers::load(&self.inner.environment).ok();
        let flow = providers
            .as_ref()
            .and_then(|providers| providers.get(provider))
            .map(|provider| provider.flow());
        let json = matches!(installation.era, Era::Json | Era::Empty);
        match flow {
            Some(Flow::Pkce(_) | Flow::Device(_)) if json => LoginRoute::Kalit,
            Some(Flow::Token | Flow::ApiKey) => LoginRoute::Paste,
            // Without an OpenClaw that is what it says itself.
            Some(Flow::Pkce(_) | Flow::Device(_)) => LoginRoute::OpenClaw,
            None if unavailable(provider).is_some_and(|known| known.has_ended) => LoginRoute::None,
            None => openclaw,
        }
    }

    /// Starts OpenClaw's own sign-in. Every login that it could touch is sealed before.
    ///
    /// # Errors
    /// `agent.unknown`, `era.mixed`, `openclaw.missing`, `openclaw.failed`, `vault.*`.
    pub async fn openclaw_login(&self, request: OpenClawLoginRequest) -> Result<OpenClawLogin> {
        // At its end OpenClaw tells a running gateway, which renews what has ended.
        let prepared = self.inner.prepare(Touches::Gateway).await?;
        let (inner, asked) = (self.inner.clone(), request.clone());
        let (before, terminal) = blocking(move || inner.start_openclaw_login(&asked)).await?;
        let Terminal { steps, handle, ended } = terminal;
        let (tell, done) = oneshot::channel();
        let broker = self.clone();
        tokio::spawn(async move {
            // invariant: the sender is dropped only with its runtime, and so is this task.
            let ended = ended.await.unwrap_or_default();
            let mut done = broker.finish_openclaw_login(request, before, ended).await;
            if let Ok(signed_in) = &mut done {
                signed_in.notes.extend(prepared.notes);
            }
            let _ = tell.send(done);
        });
        Ok(OpenClawLogin { steps, handle, done })
    }

    async fn finish_openclaw_login(
        &self,
        request: OpenClawLoginRequest,
        before: Before,
        ended: Ended,
    ) -> Result<SignedIn> {
        let inner = self.inner.clone();
        let use_now = request.use_now;
        let mut signed_in = blocking(move || inner.read_openclaw_login(&request, &before, &ended)).await?;
        if use_now {
            match self.activate(&signed_in.agent, &signed_in.profile_id).await {
                Ok(activation) => {
                    signed_in.notes.extend(activation.notes);
                    signed_in.effective = activation.effective;
                    signed_in.reason = activation.reason;
                    signed_in.offers_use = false;
                }
                Err(error) => signed_in
                    .notes
                    .push(say!("It is not used first: {why}.", why = error.message())),
            }
        }
        Ok(signed_in)
    }
}

impl OpenClawLogin {
    /// What to show next; `None` when OpenClaw has ended.
    pub async fn next(&mut self) -> Option<LoginStep> {
        self.steps.recv().await
    }

    /// For answering and for cancelling.
    pub fn handle(&self) -> OpenClawLoginHandle {
        self.handle.clone()
    }

    /// Waits for OpenClaw's end and tells what is in the store then.
    ///
    /// # Errors
    /// `login.cancelled`, `login.timeout`; `login.exchange_failed` with OpenClaw's last line when
    /// no login of the provider is new; those of reading the store.
    pub async fn wait(mut self) -> Result<SignedIn> {
        (&mut self.done).await.map_err(|error| {
            Error::new(ErrorCode::Internal, say!("the sign-in broke off")).with_source(error)
        })?
    }
}

impl Drop for OpenClawLogin {
    fn drop(&mut self) {
        self.handle.cancel();
    }
}

/// The logins that an agent saw, each by what tells one generation from the next.
type Before = BTreeMap<(PathBuf, ProfileId), Mark>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    generation: Option<Fingerprint>,
    access: Option<Fingerprint>,
}

impl Mark {
    fn of(credential: &Credential) -> Self {
        let access = credential.as_oauth().and_then(|oauth| oauth.access.as_ref());
        Self {
            generation: credential.generation(),
            access: access.map(Secret::fingerprint),
        }
    }
}

/// A login that was not there before.
struct Found {
    profile_id: ProfileId,
    credential: Credential,
    replaced: bool,
}

impl Inner {
    fn openclaw_logins(&self, installation: &Installation) -> Vec<OpenClawLoginChoice> {
        let providers = Providers::load(&self.environment).ok();
        let mut choices: Vec<OpenClawLoginChoice> = Vec::new();
        let methods = self.plugins.sign_ins(installation);
        for method in &methods {
            let device = method.method == "device-code";
            if let Some(known) = choices
                .iter_mut()
                .find(|choice| choice.provider == method.provider)
            {
                if !known.methods.contains(&method.method) {
                    known.methods.push(method.method.clone());
                }
                known.device_code |= device;
                continue;
            }
            let mut of_provider = methods.iter().filter(|it| it.provider == method.provider);
            let alone = of_provider.nth(1).is_none();
            let known = providers
                .as_ref()
                .and_then(|providers| providers.get(&method.provider));
            let name = match (known, &method.group) {
                (Some(known), _) => known.name().to_owned(),
                (None, Some(group)) if !alone => group.clone(),
                (None, _) => method.label.clone(),
            };
            choices.push(OpenClawLoginChoice {
                provider: method.provider.clone(),
                mark: board::mark(&name),
                name,
                methods: vec![method.method.clone()],
                device_code: device,
            });
        }
        choices
    }

    fn start_openclaw_login(&self, request: &OpenClawLoginRequest) -> Result<(Before, Terminal)> {
        let fleet = self.fleet()?;
        let installation = fleet.current();
        let agent = installation.agent(&request.agent)?;
        if matches!(installation.era, Era::Mixed { .. }) {
            return Err(installation.mixed());
        }
        let cli = Cli::of(installation)?;
        // 2026.2.17 has no agent to choose (observed), 2026.4.29 has.
        let release = installation.program.as_ref().and_then(|program| program.version);
        let default = installation.default_agent();
        if release.is_some_and(|release| release < Version::new(2026, 4, 29)) && agent.id != default {
            return Err(Error::new(
                ErrorCode::OpenClawFailed,
                say!(
                    "this OpenClaw signs in for its default agent {default} only",
                    default
                ),
            )
            .with_hint(say!("Sign in for agent {default}, or update OpenClaw.", default)));
        }
        if !matches!(installation.era, Era::Empty) {
            self.ensure_sealed(&fleet)?;
        }
        let before = logins(&fleet, agent);
        let mut arguments = vec!["models", "auth", "--agent", agent.id.as_str(), "login"];
        arguments.extend(["--provider", request.provider.as_str()]);
        if let Some(id) = &request.profile_id {
            arguments.extend(["--profile-id", id.as_str()]);
        }
        match (&request.method, request.device_code) {
            (Some(method), _) => arguments.extend(["--method", method]),
            (None, true) => arguments.push("--device-code"),
            (None, false) => {}
        }
        // An id that begins with a dash would be an option.
        let values = [Some(request.provider.as_str()), request.method.as_deref()];
        let id = request.profile_id.as_ref().map(ProfileId::as_str);
        if values
            .into_iter()
            .chain([id])
            .flatten()
            .any(|value| value.starts_with('-'))
        {
            return Err(Error::new(
                ErrorCode::Usage,
                say!("a name must not begin with a dash"),
            ));
        }
        let terminal = Terminal::start(&cli.command(&arguments))?;
        Ok((before, terminal))
    }

    fn read_openclaw_login(
        self: &Arc<Self>,
        request: &OpenClawLoginRequest,
        before: &Before,
        ended: &Ended,
    ) -> Result<SignedIn> {
        let fleet = self.fleet()?;
        let installation = fleet.current().clone();
        let agent = installation.agent(&request.agent)?.clone();
        let Some(found) = new_login(&fleet, &agent, request, before, ended)? else {
            return Err(nothing_new(ended));
        };
        let (email, plan) = self.identity(&found.credential);
        let expires_at: Option<Timestamp> = found.credential.expiry().at();
        let provider = found.credential.provider().cloned();
        let stored = Stored {
            installation,
            agent,
            profile_id: found.profile_id,
            provider: provider.unwrap_or_else(|| request.provider.clone()),
            generation: found.credential.generation(),
            notes: Vec::new(),
        };
        self.told(stored, email, plan, expires_at, found.replaced, false)
    }

    /// E-mail and plan: as stored, else as the tokens say.
    fn identity(&self, credential: &Credential) -> (Option<String>, Option<String>) {
        let stored = credential.common().and_then(|common| common.email.clone());
        let Some(oauth) = credential.as_oauth() else {
            return (stored, None);
        };
        let providers = Providers::load(&self.environment).ok();
        let manifest = providers
            .as_ref()
            .and_then(|providers| providers.get(&oauth.common.provider));
        let claims = match (manifest, &oauth.access) {
            (Some(manifest), Some(access)) => {
                Claims::of_tokens(manifest.claims(), access, oauth.id_token.as_ref())
            }
            (Some(_) | None, _) => Claims::default(),
        };
        (
            stored.or(claims.email),
            oauth.chatgpt_plan_type.clone().or(claims.plan),
        )
    }
}

/// The stores in which an agent's sign-in may end: its own, and the one it inherits.
fn stores<'f>(fleet: &'f Fleet, agent: &Agent) -> impl Iterator<Item = &'f FleetStore> {
    let own = fleet.store_of(&agent.agent_dir);
    let inherited = fleet
        .inherited(fleet.current())
        .filter(move |inherited| own.is_none_or(|own| own.agent_dir != inherited.agent_dir));
    own.into_iter().chain(inherited)
}

fn logins(fleet: &Fleet, agent: &Agent) -> Before {
    let readable = stores(fleet, agent)
        .filter_map(|store| Some((store.agent_dir.as_path(), store.content.as_ref().ok()?)));
    readable
        .flat_map(|(dir, content)| {
            let profiles = content.document.profiles();
            profiles.map(move |(id, credential)| (key(dir, &id), Mark::of(&credential)))
        })
        .collect()
}

fn key(dir: &Path, id: &ProfileId) -> (PathBuf, ProfileId) {
    (dir.to_owned(), id.clone())
}

/// The login that the sign-in brought. A login that something else renewed meanwhile is not taken
/// for it when there is a better one; after a cancelled sign-in, never.
fn new_login(
    fleet: &Fleet,
    agent: &Agent,
    request: &OpenClawLoginRequest,
    before: &Before,
    ended: &Ended,
) -> Result<Option<Found>> {
    let told = ended.lines.iter().any(|line| line.starts_with(STORED));
    let mut best: Option<(u8, Found)> = None;
    let mut unreadable = None;
    for store in stores(fleet, agent) {
        let content = match &store.content {
            Ok(content) => content,
            Err(error) => {
                unreadable = Some(Error::new(error.code(), error.message()).with_hint(error.hint()));
                continue;
            }
        };
        for (id, credential) in content.document.profiles() {
            let old = before.get(&key(&store.agent_dir, &id));
            if !credential.has_secret() || old == Some(&Mark::of(&credential)) {
                continue;
            }
            // 2026.6.1 to 2026.9.6: "Auth profile: anthropic:default (anthropic/token)".
            let named = ended
                .lines
                .iter()
                .any(|line| line.starts_with(STORED) && line.split(' ').any(|word| word == id.as_str()));
            let of_provider = credential.provider().is_some_and(|provider| {
                *provider == request.provider || (provider.is_openai() && request.provider.is_openai())
            });
            let rank = match (named, of_provider, old.is_none()) {
                (true, ..) => 4,
                (false, true, true) => 3,
                // Something else may have renewed what was there before: only where OpenClaw did
                // not say what it stored, and came to its end.
                (false, true, false) if told || ended.end != End::ByItself => continue,
                (false, true, false) if request.profile_id.as_ref() == Some(&id) => 2,
                (false, true, false) => 1,
                (false, ..) => continue,
            };
            if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                let found = Found {
                    profile_id: id,
                    credential,
                    replaced: old.is_some(),
                };
                best = Some((rank, found));
            }
        }
    }
    match (best, unreadable) {
        (Some((_, found)), _) => Ok(Some(found)),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

fn nothing_new(ended: &Ended) -> Error {
    let (code, what) = match ended.end {
        End::Cancelled => return Error::new(ErrorCode::LoginCancelled, say!("the sign-in was cancelled")),
        End::TimedOut => (
            ErrorCode::LoginTimeout,
            say!("the sign-in was not finished in ten minutes"),
        ),
        End::ByItself => (ErrorCode::LoginExchangeFailed, say!("OpenClaw stored no login")),
    };
    let message = match &ended.last_line {
        Some(line) => say!("{what}; it said: {line}", what, line = line.trim_end_matches('.')),
        None => what,
    };
    Error::new(code, message)
}

#[cfg(all(test, unix))]
mod tests;
