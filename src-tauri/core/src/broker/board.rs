//! The snapshot: stores, records and locks brought together, one state and one sentence for each
//! account.

mod account;
mod explain;

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::history::Gone;
use crate::ids::ProviderId;
use crate::install::{Agent, Era, Installation, sessions};
use crate::oauth::Providers;
use crate::refresh::{Fleet, FleetStore};
use crate::routing::{self};
use crate::settings::Settings;
use crate::store::credential::Credential;
use crate::store::lock::inspect_store_lock;
use crate::store::{atomic, sqlite};
use crate::view::{
    AccountView, AgentView, EraView, InstallationView, LockView, Notice, PinView, ProviderView, SCHEMA,
    Snapshot, Worst,
};

use super::engine::attended;
use super::survey::{Seen, Survey};
use account::{is_notice, needs_person};

use super::{Inner, migration, notice_of};

const DAY_MS: i64 = 86_400_000;
/// Expired this long, in use and renewed by nobody: told.
const NOT_RENEWED_MS: i64 = 30 * 60_000;
/// How long after its start Kalit says nothing of it.
const GRACE_MS: i64 = 120_000;
/// OpenClaw's reasons that mean a refused login.
const REFUSED_REASONS: [&str; 3] = ["auth", "auth_permanent", "session_expired"];

impl Inner {
    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let settings = match self.settings() {
            Ok(settings) => settings,
            Err(error) => return nothing(now, vec![notice_of(&error)]),
        };
        let _look = sqlite::OneLook::begin();
        match Fleet::read(&self.environment, &settings, self.explicit.as_deref()) {
            Ok(fleet) => self.board(&fleet, &settings, now),
            Err(error) => nothing(now, vec![notice_of(&error)]),
        }
    }

    pub(super) fn board(&self, fleet: &Fleet, settings: &Settings, now: Timestamp) -> Snapshot {
        let installation = fleet.current();
        let providers = Providers::load(&self.environment).ok();
        let agents: Vec<AgentView> = installation
            .agents
            .iter()
            .map(|agent| self.agent(fleet, agent, providers.as_ref(), now))
            .collect();
        let mut notices = Vec::new();
        match &installation.era {
            Era::Sqlite { .. } => notices.push(Notice::new(
                crate::ErrorCode::EraSqlite,
                say!("OpenClaw 2026.6.5 or later keeps these logins and renews them: Kalit changes them through OpenClaw"),
            )),
            Era::Mixed { why } => notices.push(Notice::new(crate::ErrorCode::EraMixed, why)),
            Era::Json | Era::Empty => {}
        }
        notices.extend(migration::blocked_by(installation).map(|path| {
            let text = say!("OpenClaw does not work beside {path}", path = path.display());
            Notice::new(crate::ErrorCode::EraLeftover, text)
        }));
        notices.extend(
            installation
                .config_failure
                .iter()
                .map(|finding| finding.to_notice()),
        );
        notices.extend(installation.notices.iter().map(|finding| finding.to_notice()));
        notices.extend(flaws(fleet));
        let openclaw_found = installation.program.is_some();
        let accounts = || {
            agents
                .iter()
                .flat_map(|agent| &agent.providers)
                .flat_map(|provider| &provider.accounts)
        };
        let needs_you = accounts()
            .filter(|account| !account.inherited && needs_person(account.state))
            .count()
            + agents.iter().filter(|agent| agent.store_error.is_some()).count();
        let nothing_there = !openclaw_found && installation.era == Era::Empty;
        let worst = if needs_you > 0 {
            Worst::SignedOut
        } else if accounts().any(|account| is_notice(account.state)) {
            Worst::Notice
        } else if settings.watch_only || nothing_there {
            Worst::Paused
        } else {
            Worst::Healthy
        };
        Snapshot {
            schema: SCHEMA,
            at: now,
            installation: InstallationView {
                state_dir: installation.state_dir.path.display().to_string(),
                era: match installation.era {
                    Era::Json => EraView::Json,
                    Era::Sqlite { .. } => EraView::Sqlite,
                    Era::Mixed { .. } => EraView::Mixed,
                    Era::Empty => EraView::None,
                },
                openclaw_version: installation.evidence.newest.map(|version| version.to_string()),
                openclaw_found,
                state_dirs: fleet
                    .installations
                    .iter()
                    .map(|installation| installation.state_dir.path.display().to_string())
                    .collect(),
            },
            agents,
            worst,
            needs_you,
            paused: settings.watch_only,
            attended: attended(&self.environment.data_dir(), installation),
            show_names: settings.show_names,
            muted_until: settings.muted_until,
            offline_since: self
                .marks
                .offline_since(&installation.state_dir.canonical())
                .unwrap_or_default(),
            notices,
        }
    }

    fn agent(
        &self,
        fleet: &Fleet,
        agent: &Agent,
        providers: Option<&Providers>,
        now: Timestamp,
    ) -> AgentView {
        let installation = fleet.current();
        let survey = Survey::of(fleet, agent, now);
        let managed = is_managed(installation);
        let store_error = unreadable(fleet, agent).map(notice_of);
        let shared = shared_database(fleet);
        let mut vanished = self.marks.vanished(&agent.agent_dir).unwrap_or_default();
        if let Some(shared) = shared.filter(|_| agent.id.is_main()) {
            vanished.extend(self.marks.vanished(&shared.agent_dir).unwrap_or_default());
        }
        let mut ids = survey.providers(installation);
        let missing_providers = missing_providers(installation, agent, &ids);
        for gone in &vanished {
            if let Some(id) = ProviderId::parse(&gone.provider)
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        let context = Context {
            inner: self,
            fleet,
            agent,
            survey: &survey,
            providers,
            managed,
            now,
        };
        let providers = ids.iter().map(|id| context.provider(id, &vanished)).collect();
        AgentView {
            missing_providers,
            providers: self.last_good_view(managed, agent, store_error.is_some(), providers),
            pins: sessions::pins(installation, &agent.id)
                .into_iter()
                .map(|pin| PinView {
                    session: pin.session,
                    profile_id: pin.profile_id,
                    source: pin.source,
                    model: pin.model,
                })
                .collect(),
            lock: inspect_store_lock(&agent.agent_dir)
                .filter(|holder| holder.alive && !managed)
                .map(LockView::from),
            unreadable_since: store_error
                .is_some()
                .then(|| self.marks.unreadable_since(&agent.agent_dir).ok()?)
                .flatten(),
            restore: unreadable(fleet, agent).and_then(|error| self.store_offer(fleet, &agent.id, error)),
            store_error,
            ..bare_agent(installation, agent)
        }
    }

    /// While a database cannot be read, what this process saw there last.
    fn last_good_view(
        &self,
        managed: bool,
        agent: &Agent,
        failed: bool,
        now: Vec<ProviderView>,
    ) -> Vec<ProviderView> {
        let mut views = self.last_views.lock().unwrap_or_else(PoisonError::into_inner);
        if !managed {
            views.remove(&agent.agent_dir);
            return now;
        }
        if failed {
            return views.get(&agent.agent_dir).cloned().unwrap_or(now);
        }
        views.insert(agent.agent_dir.clone(), now.clone());
        now
    }
}

/// What the accounts of one agent are judged by.
struct Context<'a> {
    inner: &'a Inner,
    fleet: &'a Fleet,
    agent: &'a Agent,
    survey: &'a Survey,
    providers: Option<&'a Providers>,
    /// OpenClaw keeps and renews the logins.
    managed: bool,
    now: Timestamp,
}

impl Context<'_> {
    fn provider(&self, id: &ProviderId, vanished: &[Gone]) -> ProviderView {
        let installation = self.fleet.current();
        let name = self.inner.provider_name(self.providers, id);
        let now = self.now;
        let (resolution, order) = self
            .survey
            .with_input(installation, self.agent, id, &name, now, |input| {
                let order = input.stored_order.or(input.config_order).map(<[_]>::to_vec);
                (routing::resolve(input), order)
            });
        let rules = installation.rules().order_rules;
        let belongs = |seen: &&Seen| {
            let text = match &seen.credential {
                Credential::Unknown(unknown) => return unknown.provider.as_ref() == Some(id),
                known => known.common().map(|common| common.provider_text.as_str()),
            };
            text.and_then(|text| routing::normalize_provider(rules, text))
                .as_ref()
                == Some(id)
        };
        let place = |seen: &&Seen| {
            resolution
                .candidates
                .iter()
                .position(|candidate| *candidate == seen.id)
                .unwrap_or(usize::MAX)
        };
        let mut mine: Vec<&Seen> = self.survey.seen.iter().filter(belongs).collect();
        mine.sort_by_key(place);
        let mut accounts: Vec<AccountView> = mine
            .into_iter()
            .map(|seen| self.account(seen, id, &resolution))
            .collect();
        accounts.extend(
            vanished
                .iter()
                .filter(|gone| gone.provider == id.as_str())
                .filter(|gone| !self.survey.seen.iter().any(|seen| seen.id == gone.profile_id))
                .map(|gone| self.vanished(gone, id, vanished)),
        );
        ProviderView {
            id: id.clone(),
            mark: mark(&name),
            name,
            order: order.filter(|_| resolution.in_use),
            order_source: resolution.source,
            effective: resolution.effective.clone(),
            reason: resolution.reason.clone(),
            candidates: resolution.candidates,
            accounts,
        }
    }
}

/// What is odd about the stores of the current installation without making them unusable.
pub(super) fn flaws(fleet: &Fleet) -> Vec<Notice> {
    let installation = fleet.current();
    let mut notices = Vec::new();
    for store in fleet.own() {
        let Ok(content) = &store.content else { continue };
        // An error of the state names its place itself.
        notices.extend(content.state_error.as_ref().map(notice_of));
        let path = store_path(installation, &store.agent_dir);
        notices.extend(atomic::check_exposure(&path).err().as_ref().map(notice_of));
        if let Some(schema) = store.untested_schema {
            let text = say!(
                "{path}: schema {schema} is newer than any that was tested",
                path = path.display(),
                schema
            );
            notices.push(Notice::new(crate::ErrorCode::StoreSchemaUntested, text));
        }
        let shapes = content.document.wrong_shapes();
        let shape = shapes.first().map(|shape| shape.error());
        for flaw in content.document.flaw().into_iter().chain(shape) {
            let mut notice = notice_of(&flaw);
            notice.message = format!("{}: {}", path.display(), notice.message);
            notices.push(notice);
        }
    }
    notices
}

fn is_managed(installation: &Installation) -> bool {
    matches!(installation.era, Era::Sqlite { .. } | Era::Mixed { .. })
}

/// The store in the shared database, where there is one.
fn shared_database(fleet: &Fleet) -> Option<&FleetStore> {
    fleet
        .inherited(fleet.current())
        .filter(|store| fleet.is_shared_database(store))
}

/// Why an agent's accounts are not known. Without the shared database nobody knows what the agents
/// of its era inherit.
pub(super) fn unreadable<'f>(fleet: &'f Fleet, agent: &Agent) -> Option<&'f Error> {
    let stores = [fleet.store_of(&agent.agent_dir), shared_database(fleet)];
    let mut stores = stores.into_iter().flatten();
    stores.find_map(|store| store.content.as_ref().err())
}

/// The file that holds the accounts of a directory.
fn store_path(installation: &Installation, dir: &Path) -> PathBuf {
    if !is_managed(installation) {
        installation.store(dir).profiles_path()
    } else if *dir == sqlite::shared_dir(&installation.state_dir.path) {
        sqlite::shared_database(&installation.state_dir.path)
    } else {
        sqlite::agent_database(dir)
    }
}

/// The file that holds the order of an agent.
pub(super) fn order_path(installation: &Installation, agent: &Agent) -> PathBuf {
    if is_managed(installation) {
        sqlite::agent_database(&agent.agent_dir)
    } else {
        installation.store(&agent.agent_dir).order_path()
    }
}

/// The providers of the models that an agent is set to use, without those it has accounts for.
pub(super) fn missing_providers(
    installation: &Installation,
    agent: &Agent,
    present: &[ProviderId],
) -> Vec<ProviderId> {
    let rules = installation.rules().order_rules;
    let mut missing = Vec::new();
    let fallbacks = installation.fallback_models(&agent.id).iter().map(String::as_str);
    for model in installation
        .config
        .primary_model(&agent.id)
        .into_iter()
        .chain(fallbacks)
    {
        let provider = model.split_once('/').map(|(provider, _)| provider);
        if let Some(id) = provider.and_then(|text| routing::normalize_provider(rules, text))
            && !present.contains(&id)
            && !missing.contains(&id)
        {
            missing.push(id);
        }
    }
    missing
}

fn bare_agent(installation: &Installation, agent: &Agent) -> AgentView {
    AgentView {
        id: agent.id.clone(),
        name: agent.name.clone(),
        is_default: agent.is_default,
        agent_dir: agent.agent_dir.display().to_string(),
        store_path: store_path(installation, &agent.agent_dir).display().to_string(),
        auth_state_path: order_path(installation, agent).display().to_string(),
        store_error: None,
        unreadable_since: None,
        restore: None,
        missing_providers: Vec::new(),
        providers: Vec::new(),
        pins: Vec::new(),
        lock: None,
    }
}

fn nothing(now: Timestamp, notices: Vec<Notice>) -> Snapshot {
    Snapshot {
        schema: SCHEMA,
        at: now,
        installation: InstallationView {
            state_dir: String::new(),
            era: EraView::None,
            openclaw_version: None,
            openclaw_found: false,
            state_dirs: Vec::new(),
        },
        agents: Vec::new(),
        worst: Worst::Notice,
        needs_you: 0,
        paused: false,
        attended: false,
        show_names: true,
        muted_until: None,
        offline_since: None,
        notices,
    }
}

/// Two letters for a provider: its capitals, else its first two.
pub(super) fn mark(name: &str) -> String {
    let capitals: String = name.chars().filter(|c| c.is_uppercase()).take(2).collect();
    if capitals.chars().count() == 2 {
        return capitals;
    }
    let mut letters = name.chars().filter(|c| c.is_alphanumeric());
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters.next())
        .collect()
}
