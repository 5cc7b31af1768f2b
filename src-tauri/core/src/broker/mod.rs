//! The façade that tray, window and command line use: one snapshot, one stream of events, a few
//! verbs. Every Kalit process has its own broker; they agree through the files on disk.

mod accounts;
mod acting;
#[cfg(all(test, unix))]
mod acting_tests;
mod board;
mod cooldown;
mod doctor;
mod engine;
mod global_order;
mod healing;
mod history;
mod login;
mod merge;
mod migration;
mod naming;
mod observer;
mod one_owner;
mod online;
mod openclaw_login;
mod pasting;
mod radar;
mod renewal;
mod requests;
mod rescue;
mod restore;
mod revocation;
mod sealing;
mod sentences;
mod sessions;
mod settings;
mod sign_in;
mod snapshots;
#[cfg(test)]
mod sqlite_tests;
mod survey;
mod test_logins;
mod which_provider;
mod why;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

pub use accounts::{AddedAgentInfo, AgentInfo};
pub use engine::{Engine, Watch};
pub use login::{LoginHandle, LoginSession, ShownCode};
pub use openclaw_login::{
    AskKind, LoginRoute, LoginStep, OpenClawLogin, OpenClawLoginChoice, OpenClawLoginHandle,
    OpenClawLoginRequest,
};
pub use requests::*;
pub use settings::{Mute, Setting, SettingView, SettingsView};
pub use which_provider::NamedProvider;
pub use why::WhyView;

use crate::clock::{Clock, Timestamp};
use crate::environment::Environment;
use crate::error::{Error, ErrorCode, Result};
use crate::event::{Event, EventKind};
use crate::history::{Generations, History, Marks};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Agent, Installation};
use crate::language;
use crate::oauth::discovery::{Discovered, Issuer};
use crate::oauth::provider::Origin;
use crate::oauth::unavailable::UNAVAILABLE;
use crate::oauth::{self, Consent, Flow, Providers};
use crate::openclaw::plugins::Plugins;
use crate::refresh::schedule::Setback;
use crate::refresh::{Fleet, Refresher};
use crate::secret::Fingerprint;
use crate::settings::Settings;
use crate::store::lock::{LockContext, PidTrust, SandboxMarks, StoreLock};
use crate::view::{Notice, ProviderView, SCHEMA, Snapshot};

/// How a shell opens the broker.
#[derive(Clone, Debug)]
pub struct Options {
    pub environment: Environment,
    pub clock: Arc<dyn Clock>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// For messages: `kalit` or `kalit-desktop`.
    pub program: &'static str,
}

/// Clones share everything.
#[derive(Clone, Debug)]
pub struct Broker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    environment: Environment,
    clock: Arc<dyn Clock>,
    explicit: Option<PathBuf>,
    program: &'static str,
    locks: LockContext,
    refresher: Refresher,
    marks: Marks,
    history: History,
    plugins: Plugins,
    events: broadcast::Sender<Event>,
    setbacks: Mutex<HashMap<Fingerprint, Failure>>,
    /// Generations whose renewal runs: one that is refused may still be healed, and is not told as
    /// lost before that.
    deciding: Mutex<HashSet<Fingerprint>>,
    /// What each agent of the sqlite era showed when its databases could last be read.
    last_views: Mutex<HashMap<PathBuf, Vec<ProviderView>>>,
    /// Which logins have a sealed copy, as far as this process knows.
    sealed: Mutex<sealing::Sealed>,
    /// Held while OpenClaw makes a change for this process: one at a time.
    acting: tokio::sync::Mutex<()>,
    /// Since when this process renews; until it has had a chance, nothing is called "not renewed".
    renewing_since: Mutex<Option<Timestamp>>,
}

/// The last failed attempt with a generation, in this process.
#[derive(Clone, Debug)]
struct Failure {
    setback: Setback,
    /// The network did not carry it.
    no_network: bool,
    notice: Notice,
}

impl Failure {
    /// Whether it was not the first in a row, or the next attempt is long in coming.
    fn lasts(&self) -> bool {
        let long = std::time::Duration::from_secs(60 * 60);
        match self.setback {
            Setback::Transient {
                attempts,
                retry_after,
                ..
            } => attempts > 1 || retry_after.is_some_and(|wait| wait >= long),
            Setback::Suspect { attempts, .. } => attempts > 1,
            Setback::Unknown { .. } | Setback::Refused => false,
        }
    }
}

impl Broker {
    /// Reads nothing of OpenClaw's yet.
    ///
    /// # Errors
    /// `settings.unparsable`, `vault.unreadable`.
    pub fn open(options: Options) -> Result<Self> {
        let settings = heeded_settings(&options.environment)?;
        let data_dir = options.environment.data_dir();
        let trust = PidTrust::detect(&SandboxMarks::default(), settings.trust_pids);
        let locks = LockContext::new(Arc::clone(&options.clock), trust);
        let refresher = Refresher::new(
            options.environment.clone(),
            options.state_dir.clone(),
            Arc::clone(&options.clock),
            locks.clone(),
            Generations::open(&data_dir)?,
        );
        Ok(Self {
            inner: Arc::new(Inner {
                clock: options.clock,
                explicit: options.state_dir,
                program: options.program,
                locks,
                refresher,
                marks: Marks::open(&data_dir)?,
                history: History::open(&data_dir),
                plugins: Plugins::default(),
                events: broadcast::channel(256).0,
                setbacks: Mutex::default(),
                deciding: Mutex::default(),
                last_views: Mutex::default(),
                sealed: Mutex::default(),
                acting: tokio::sync::Mutex::default(),
                renewing_since: Mutex::default(),
                environment: options.environment,
            }),
        })
    }

    /// Everything there is to show, read from disk now. Blocks for a few milliseconds. Never
    /// fails: what is wrong stands in it.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.snapshot()
    }

    /// Switches renewal by Kalit off or on ("watch only"), for all its processes.
    pub fn set_paused(&self, paused: bool) -> Result<()> {
        Settings::update(&self.inner.environment, |settings| settings.watch_only = paused).map(|_| ())
    }

    /// The providers one can sign in to, and manifests that are not in force.
    pub fn providers(&self) -> Vec<ProviderInfo> {
        let Ok(providers) = Providers::load(&self.inner.environment) else {
            return Vec::new();
        };
        let usable = providers.iter().map(|provider| ProviderInfo {
            id: provider.id().clone(),
            name: provider.name().to_owned(),
            mark: board::mark(provider.name()),
            flow: match provider.flow() {
                Flow::Pkce(_) => "pkce",
                Flow::Device(_) => "device",
                Flow::Token => "token",
                Flow::ApiKey => "api-key",
            }
            .to_owned(),
            source: match provider.origin() {
                Origin::BuiltIn => "built-in".to_owned(),
                Origin::File(path) | Origin::Override(path) => path.display().to_string(),
            },
            token_host: provider
                .sign_in_route()
                .and_then(|route| Some(route.url.host_str()?.to_owned())),
            note: None,
            error: None,
        });
        let rejected = providers.rejected().iter().filter_map(|rejected| {
            let name = rejected.path.file_stem()?.to_string_lossy().into_owned();
            Some(ProviderInfo {
                id: ProviderId::parse(&name)?,
                mark: board::mark(&name),
                name,
                flow: "none".to_owned(),
                source: rejected.path.display().to_string(),
                token_host: None,
                note: None,
                error: Some(Notice::new(rejected.code, &rejected.message)),
            })
        });
        let unavailable = UNAVAILABLE.iter().filter_map(|known| {
            Some(ProviderInfo {
                id: known.id().filter(|id| providers.get(id).is_none())?,
                name: known.name.to_owned(),
                mark: board::mark(known.name),
                flow: if known.has_ended { "ended" } else { "none" }.to_owned(),
                source: String::new(),
                token_host: None,
                note: Some(known.sentence()),
                error: None,
            })
        });
        usable.chain(rejected).chain(unavailable).collect()
    }

    /// What trusting a manifest means; nothing is recorded before [`Broker::trust_provider`].
    pub fn consent_for(&self, file: &Path) -> Result<Consent> {
        oauth::trust(&self.inner.environment, file)
    }

    /// Reads what an authorization server says of itself, as a manifest that is not written yet.
    ///
    /// # Errors
    /// Those of [`oauth::discovery::discover`].
    pub async fn discover_provider(&self, issuer: &Issuer) -> Result<Discovered> {
        let clock = Arc::clone(&self.inner.clock);
        oauth::discovery::discover(&self.inner.environment, clock, issuer).await
    }

    /// Records the consent.
    pub fn trust_provider(&self, consent: Consent) -> Result<()> {
        consent.give()
    }

    /// Whether this notification is the first of its kind, over restarts and processes.
    pub fn notified(&self, key: &str) -> bool {
        self.inner
            .refresher
            .generations()
            .mark_notified(key)
            .unwrap_or(true)
    }

    /// What happens from now on in this process.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// The code of the language that this process speaks to people, after a look at the settings.
    pub fn language(&self) -> &'static str {
        let _ = self.inner.settings();
        language::spoken()
    }

    /// Whether notifications are wanted, and not muted now.
    pub fn wants_notifications(&self) -> bool {
        let now = self.inner.now();
        Settings::load(&self.inner.environment).map_or(true, |settings| {
            settings.notifications && settings.muted_until.is_none_or(|until| until <= now)
        })
    }
}

/// From now on the process speaks the language of its settings; no broker need be open.
pub fn speak(environment: &Environment) {
    let _ = heeded_settings(environment);
}

/// The settings, in whose language the process speaks from now on, if it is one that does.
fn heeded_settings(environment: &Environment) -> Result<Settings> {
    let settings = Settings::load(environment);
    let chosen = settings.as_ref().ok();
    environment.speak(chosen.and_then(|settings| settings.language.as_deref()));
    settings
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn generations(&self) -> &Generations {
        self.refresher.generations()
    }

    fn settings(&self) -> Result<Settings> {
        let settings = heeded_settings(&self.environment)?;
        self.locks.trust().set_trusted(settings.trust_pids);
        Ok(settings)
    }

    fn fleet(&self) -> Result<Fleet> {
        Fleet::read(&self.environment, &self.settings()?, self.explicit.as_deref())
    }

    fn installation(&self) -> Result<Installation> {
        Installation::open(&self.environment, &self.settings()?, self.explicit.as_deref())
    }

    /// The installation and one of its agents, writable at this moment.
    fn writable(&self, agent: &AgentId) -> Result<(Installation, Agent)> {
        let installation = self.installation()?;
        let agent = installation.agent(agent)?.clone();
        installation.ensure_json_era()?;
        Ok((installation, agent))
    }

    /// The lock of an agent's store, as long as OpenClaw itself would wait for it.
    fn lock(&self, agent_dir: &Path) -> Result<StoreLock> {
        StoreLock::acquire(agent_dir, &self.locks, crate::store::lock::STORE_LOCK_LIMIT)
    }

    /// Keeps an event in the history and tells this process's subscribers.
    fn emit(&self, kind: EventKind, about: About<'_>, text: impl Into<String>) {
        let family = |generation| self.generations().family_of(generation).ok();
        let event = Event {
            schema: SCHEMA,
            kind,
            at: self.now(),
            installation: about.installation.to_owned(),
            agent: about.agent.cloned(),
            profile_id: about.profile_id.cloned(),
            generation: about.generation.map(|generation| generation.short()),
            family: about.generation.and_then(family).map(|family| family.short()),
            snapshot: about.snapshot.map(str::to_owned),
            order: about.order.map(<[_]>::to_vec),
            cause: about.cause.map(str::to_owned),
            source: kind.source(about.cause).to_owned(),
            text: text.into(),
        };
        // The history is a convenience: a full disk there must not stop a refresh.
        let _ = self.history.append(&event);
        let _ = self.events.send(event);
    }

    fn renewing_since(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.renewing_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setbacks(&self) -> MutexGuard<'_, HashMap<Fingerprint, Failure>> {
        self.setbacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deciding(&self) -> MutexGuard<'_, HashSet<Fingerprint>> {
        self.deciding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn provider_name(&self, providers: Option<&Providers>, id: &ProviderId) -> String {
        providers
            .and_then(|providers| providers.get(id))
            .map_or_else(|| id.as_str().to_owned(), |provider| provider.name().to_owned())
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, Default)]
struct About<'a> {
    installation: &'a str,
    agent: Option<&'a AgentId>,
    profile_id: Option<&'a ProfileId>,
    generation: Option<Fingerprint>,
    /// The snapshot from which it can be put back.
    snapshot: Option<&'a str>,
    /// The order that is stored now.
    order: Option<&'a [ProfileId]>,
    cause: Option<&'a str>,
}

fn notice_of(error: &Error) -> Notice {
    Notice {
        code: error.code().as_str().to_owned(),
        message: error.message().to_owned(),
        hint: error.hint(),
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::new(ErrorCode::Internal, say!("a task broke off")).with_source(error))?
}
