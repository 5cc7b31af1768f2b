//! The snapshot: stores, records and locks brought together, one state and one sentence for each
//! account.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::history::{Generation, Gone};
use crate::ids::{AgentId, ProviderId};
use crate::install::{Agent, Era, Installation, sessions};
use crate::oauth::{Claims, Provider, Providers, classify};
use crate::refresh::schedule::{self, Setback};
use crate::refresh::{Fleet, FleetStore, due_item};
use crate::routing::{self, PassedOver, Resolution};
use crate::store::credential::{Credential, Expiry};
use crate::store::lock::{inspect_refresh_lock, inspect_store_lock};
use crate::store::{FenceKind, UsageStats, atomic, sqlite};
use crate::view::{
    AccountState, AccountView, AgentView, AuthStatus, CooldownView, CredentialKind, EraView,
    InstallationView, LockView, LostSignal, LostView, Notice, PinView, ProviderView, RestoreView, SCHEMA,
    Snapshot, Worst,
};

use super::engine::attended;
use super::survey::{Seen, Survey};
use super::{Failure, Inner, migration, notice_of, sentences};

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
            Ok(fleet) => self.board(&fleet, settings.watch_only, now),
            Err(error) => nothing(now, vec![notice_of(&error)]),
        }
    }

    pub(super) fn board(&self, fleet: &Fleet, paused: bool, now: Timestamp) -> Snapshot {
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
                "OpenClaw 2026.6.5 or later keeps these logins and renews them: Kalit changes them through OpenClaw",
            )),
            Era::Mixed { why } => notices.push(Notice::new(crate::ErrorCode::EraMixed, why)),
            Era::Json | Era::Empty => {}
        }
        notices.extend(migration::blocked_by(installation).map(|path| {
            let text = format!("OpenClaw does not work beside {}", path.display());
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
        } else if paused || nothing_there {
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
            paused,
            attended: attended(&self.environment.data_dir(), installation),
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
                .map(|gone| {
                    vanished_account(gone, id, self.inner.profile_offer(self.fleet, gone.generation))
                }),
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

    fn account(&self, seen: &Seen, provider_id: &ProviderId, resolution: &Resolution) -> AccountView {
        let (inner, now, credential) = (self.inner, self.now, &seen.credential);
        let provider = self.providers.and_then(|providers| providers.get(provider_id));
        let oauth = credential.as_oauth();
        let claims = match (provider, oauth.and_then(|oauth| oauth.access.as_ref())) {
            (Some(provider), Some(access)) => Claims::of_tokens(
                provider.claims(),
                access,
                oauth.and_then(|oauth| oauth.id_token.as_ref()),
            ),
            _ => Claims::default(),
        };
        let generation = credential.generation();
        let known = generation.and_then(|generation| inner.generations().find(generation).ok().flatten());
        let failure = generation.and_then(|generation| inner.setbacks().get(&generation).cloned());
        // The date of a fence is none.
        let expires = credential.expiry().at().filter(|_| credential.fence().is_none());
        let status = status(credential, now);
        let effective = resolution.effective.as_ref() == Some(&seen.id);
        let usage = self.survey.state.usage_stats.get(&seen.id);
        let holders = generation
            .filter(|_| oauth.is_some())
            .map(|generation| self.fleet.holders(generation));
        let state_dir = &self.fleet.current().state_dir.path;
        let renewed_by_openclaw = self.managed && oauth.is_some();
        let failed = credential
            .fence()
            .is_some_and(|fence| fence.kind == FenceKind::Failed);
        let restore = failed.then(|| inner.restore_view(self.fleet, self.agent, &seen.id));
        let lost = self.lost(seen, provider, usage, known.as_ref(), effective, restore.as_ref());
        let passed_over = resolution
            .passed_over
            .iter()
            .find(|(id, _)| *id == seen.id)
            .map(|(_, cause)| cause);
        let cooldown = resolution.unusable.get(&seen.id).map(|unusable| CooldownView {
            until: unusable.until,
            reason: unusable.reason.clone(),
            disabled: unusable.disabled,
        });
        let refreshing = credential
            .common()
            .and_then(|common| inspect_refresh_lock(state_dir, &common.provider_text, &seen.id));
        let refreshing = refreshing.filter(|holder| holder.alive).map(LockView::from);
        let due_at = provider
            .zip(generation)
            .filter(|(provider, _)| provider.token_route().is_some() && !self.managed)
            .and_then(|(provider, generation)| {
                let item = due_item(inner.generations(), credential, Some(provider), generation).ok()??;
                schedule::next_attempt(&item, now)
            });
        let mut view = AccountView {
            name: seen.id.account_name().to_owned(),
            profile_id: seen.id.clone(),
            provider: provider_id.clone(),
            kind: credential.kind(),
            email: credential
                .common()
                .and_then(|common| common.email.clone())
                .or_else(|| claims.email.clone()),
            plan: oauth
                .and_then(|oauth| oauth.chatgpt_plan_type.clone())
                .or_else(|| claims.plan.clone()),
            account_id: oauth
                .and_then(|oauth| oauth.account_id.clone())
                .or_else(|| claims.account_id.clone()),
            display_name: credential.common().and_then(|common| common.display_name.clone()),
            status,
            state: AccountState::Healthy,
            sentence: String::new(),
            expires_at: expires,
            remaining_ms: expires.map(|at| at.millis_since(now)),
            lifetime_ms: claims
                .lifetime_ms()
                .or_else(|| known.as_ref().and_then(|known| known.lifetime_ms)),
            due_at,
            renewal: renewed_by_openclaw.then(sentences::renewed_by_openclaw),
            generation: generation.map(|generation| generation.short()),
            family: known.as_ref().map(|known| known.family.short()),
            effective,
            in_use: effective && resolution.in_use,
            inherited: seen.inherited,
            passed_over: passed_over.map(PassedOver::text),
            cooldown,
            shared_with: holders
                .as_ref()
                .map(|holders| {
                    if self.managed {
                        holders.with_whom_but(state_dir)
                    } else {
                        holders.with_whom()
                    }
                })
                .unwrap_or_default(),
            copies_in: holders
                .map(|holders| {
                    let mut agents: Vec<AgentId> = holders
                        .stores
                        .into_iter()
                        .chain(holders.managed)
                        .filter(|holder| holder.state_dir == *state_dir)
                        .map(|holder| holder.agent)
                        .filter(|agent| *agent != self.agent.id)
                        .collect();
                    agents.dedup();
                    agents
                })
                .unwrap_or_default(),
            lost,
            restore,
            refreshing,
            last_error: known
                .as_ref()
                .filter(|known| known.superseded_by.is_some())
                .map(|known| self.superseded(known))
                .or_else(|| failure.map(|failure| failure.notice)),
            last_used: usage.and_then(|usage| usage.last_used),
        };
        let unknown = known.as_ref().is_some_and(|known| known.unknown_since.is_some());
        view.state = state(&view, credential, unknown);
        view.sentence = sentences::sentence(&view, now, self.survey.time_zone());
        if view.state == AccountState::Unknown && known.as_ref().is_some_and(Generation::is_given_up) {
            view.sentence = sentences::answer_lost_twice();
        }
        view
    }

    /// Why a newer generation is known than the one in the store.
    fn superseded(&self, known: &Generation) -> Notice {
        let code = crate::ErrorCode::RefreshSuperseded;
        let state_dir = self.fleet.current().state_dir.canonical();
        let journal = self.inner.journal(&state_dir);
        if journal.holds_answer_to(known.family, known.fingerprint) {
            let text =
                "it was renewed, and the new tokens wait in Kalit's journal until the store can be written";
            return Notice {
                hint: "Keep Kalit running, or run `kalit refresh`.".to_owned(),
                ..Notice::new(code, text)
            };
        }
        Notice::new(
            code,
            "the store went back to an older login than the newest one known",
        )
    }

    /// The signals of a lost login, the surest first.
    fn lost(
        &self,
        seen: &Seen,
        provider: Option<&Provider>,
        usage: Option<&UsageStats>,
        known: Option<&Generation>,
        effective: bool,
        restore: Option<&RestoreView>,
    ) -> Option<LostView> {
        let credential = &seen.credential;
        if let Some(fence) = credential.fence() {
            return (fence.kind == FenceKind::Failed).then(|| LostView {
                signal: LostSignal::Dropped,
                cause: "refresh_fence_failed".to_owned(),
                text: sentences::dropped(restore),
                at: self.written_at(seen).unwrap_or(self.now),
                generation: Some(fence.refresh.short()),
            });
        }
        let generation = credential.generation()?;
        let lost = |signal, cause: &str, text: String, at| {
            Some(LostView {
                signal,
                cause: cause.to_owned(),
                text,
                at,
                generation: Some(generation.short()),
            })
        };
        if let Some(refusal) = known.and_then(|known| known.refusal.as_ref()) {
            let id = provider.map_or_else(|| credential.provider(), |provider| Some(provider.id()))?;
            let text = classify::text_for(id, &refusal.code, refusal.answer_was_lost);
            return lost(LostSignal::SignedOut, &refusal.code, text, refusal.at);
        }
        let setback = self.inner.setbacks().get(&generation).cloned();
        if let Some(Failure {
            setback: Setback::Suspect { attempts, at },
            notice,
        }) = setback
            && schedule::suspicion_is_told(attempts)
        {
            return lost(
                LostSignal::Suspected,
                &notice.code,
                sentences::suspected(attempts),
                at,
            );
        }
        let used_since = |at| {
            usage
                .and_then(|usage| usage.last_used)
                .is_some_and(|used| used > at)
        };
        let good_again = self.survey.state.last_good.values().any(|id| *id == seen.id);
        let mark = self.inner.marks.refused(generation).ok().flatten();
        if let Some(mark) = mark.filter(|mark| !good_again && !used_since(mark.at)) {
            let text = sentences::openclaw_refused(None, self.managed);
            return lost(LostSignal::OpenclawRefused, &mark.code, text, mark.at);
        }
        if let Some((reason, at)) = usage.and_then(|usage| self.refused_by_usage(usage, known)) {
            let text = sentences::openclaw_refused(Some(&reason), self.managed);
            return lost(LostSignal::OpenclawRefused, &reason, text, at);
        }
        // OpenClaw renews on use: an idle login may lie expired.
        let expires = credential
            .as_oauth()
            .filter(|_| !self.managed)
            .and(credential.expiry().at())?;
        let overdue = self.now.millis_since(expires) >= NOT_RENEWED_MS;
        let used = usage
            .and_then(|usage| usage.last_used)
            .is_some_and(|used| expires.millis_since(used) < DAY_MS);
        // Kalit itself has just begun: it renews first and complains afterwards.
        let renewable = provider.is_some_and(|provider| provider.token_route().is_some());
        let just_begun = self
            .inner
            .renewing_since()
            .is_some_and(|since| self.now.millis_since(since) < GRACE_MS);
        if overdue && (effective || used) && !(renewable && just_begun) {
            let text = if known.is_some_and(Generation::is_given_up) {
                sentences::answer_lost_twice()
            } else {
                sentences::not_renewed(self.now.millis_since(expires))
            };
            return lost(
                LostSignal::NotRenewed,
                "not_renewed",
                text,
                expires.plus_millis(NOT_RENEWED_MS),
            );
        }
        None
    }

    /// When the store that holds a profile was written last.
    fn written_at(&self, seen: &Seen) -> Option<Timestamp> {
        let own = self.fleet.store_of(&self.agent.agent_dir);
        let inherited = self.fleet.inherited(self.fleet.current());
        let contents = [own, inherited].into_iter().flatten();
        contents
            .filter_map(|store| store.content.as_ref().ok())
            .find(|content| content.document.contains(&seen.id))?
            .written_at
    }

    /// OpenClaw's own marks of a refused login: fresh, and not resolved by a later use or renewal.
    fn refused_by_usage(
        &self,
        usage: &UsageStats,
        known: Option<&Generation>,
    ) -> Option<(String, Timestamp)> {
        let at = usage.last_failure_at?;
        let fresh = self.now.millis_since(at) < DAY_MS;
        let used_since = usage.last_used.is_some_and(|used| used > at);
        let renewed_since = known
            .and_then(|known| known.issued_at)
            .is_some_and(|issued| issued > at);
        if !fresh || used_since || renewed_since {
            return None;
        }
        let named = [&usage.disabled_reason, &usage.cooldown_reason];
        let named = named
            .into_iter()
            .flatten()
            .find(|reason| REFUSED_REASONS.contains(&reason.as_str()));
        // A reason that names something else is newer than the counts.
        let reasons = usage.disabled_reason.is_some() || usage.cooldown_reason.is_some();
        let counted = || {
            let counts = REFUSED_REASONS.iter();
            let mut counts = counts.filter(|reason| !reasons && usage.failure_counts.contains_key(**reason));
            counts.next().map(|reason| (*reason).to_owned())
        };
        Some((named.cloned().or_else(counted)?, at))
    }
}

/// OpenClaw's word for a credential.
fn status(credential: &Credential, now: Timestamp) -> AuthStatus {
    let by_time = |expiry: Expiry, open_ended: AuthStatus| match expiry {
        Expiry::At(at) if at <= now => AuthStatus::Expired,
        Expiry::At(at) if at.millis_since(now) < DAY_MS => AuthStatus::Expiring,
        Expiry::At(_) => AuthStatus::Ok,
        Expiry::Absent => open_ended,
        Expiry::Invalid => AuthStatus::Missing,
    };
    match credential {
        Credential::Unknown(_) => AuthStatus::Missing,
        fenced if fenced.fence().is_some() => AuthStatus::Expired,
        known if !known.has_secret() => AuthStatus::Missing,
        Credential::ApiKey(_) => AuthStatus::Static,
        Credential::Token(token) => by_time(token.expires, AuthStatus::Static),
        Credential::Oauth(oauth) => by_time(oauth.expires, AuthStatus::Ok),
    }
}

fn state(view: &AccountView, credential: &Credential, unknown: bool) -> AccountState {
    let lost = view.lost.as_ref().map(|lost| match lost.signal {
        LostSignal::SignedOut => AccountState::SignedOut,
        LostSignal::Suspected => AccountState::Suspected,
        LostSignal::OpenclawRefused => AccountState::Refused,
        LostSignal::Dropped => AccountState::Dropped,
        LostSignal::NotRenewed => AccountState::NotRenewed,
        LostSignal::Vanished => AccountState::Vanished,
    });
    if let Some(lost) = lost {
        return lost;
    }
    let side_file =
        credential.as_oauth().is_some_and(|oauth| oauth.has_oauth_ref) && !credential.has_secret();
    match (&view.cooldown, view.status) {
        _ if credential.fence().is_some() => AccountState::Renewing,
        _ if side_file || view.kind == CredentialKind::Unknown => AccountState::NeedsDoctor,
        (_, AuthStatus::Missing) => AccountState::Missing,
        _ if !view.shared_with.is_empty() => AccountState::Shared,
        _ if view.refreshing.is_some() => AccountState::Renewing,
        _ if unknown => AccountState::Unknown,
        (Some(cooldown), _) if cooldown.disabled => AccountState::Disabled,
        (Some(_), _) => AccountState::CoolingDown,
        (None, AuthStatus::Expired) => AccountState::Expired,
        (None, AuthStatus::Static) => AccountState::Static,
        (None, AuthStatus::Ok | AuthStatus::Expiring) if view.kind == CredentialKind::Token => {
            AccountState::Static
        }
        (None, AuthStatus::Ok | AuthStatus::Expiring) => AccountState::Healthy,
    }
}

fn needs_person(state: AccountState) -> bool {
    matches!(
        state,
        AccountState::SignedOut
            | AccountState::Suspected
            | AccountState::Dropped
            | AccountState::Refused
            | AccountState::NotRenewed
            | AccountState::Vanished
    )
}

fn is_notice(state: AccountState) -> bool {
    matches!(
        state,
        AccountState::Expired
            | AccountState::CoolingDown
            | AccountState::Disabled
            | AccountState::NeedsDoctor
            | AccountState::Missing
            | AccountState::Unknown
            | AccountState::Shared
    )
}

fn vanished_account(gone: &Gone, provider: &ProviderId, restore: Option<RestoreView>) -> AccountView {
    let text = sentences::vanished(restore.as_ref());
    AccountView {
        name: gone.profile_id.account_name().to_owned(),
        profile_id: gone.profile_id.clone(),
        provider: provider.clone(),
        kind: CredentialKind::Unknown,
        email: None,
        plan: None,
        account_id: None,
        display_name: None,
        status: AuthStatus::Missing,
        state: AccountState::Vanished,
        sentence: text.clone(),
        expires_at: None,
        remaining_ms: None,
        lifetime_ms: None,
        due_at: None,
        renewal: None,
        generation: gone.generation.map(|generation| generation.short()),
        family: None,
        effective: false,
        in_use: false,
        inherited: false,
        passed_over: Some("not in the store".to_owned()),
        cooldown: None,
        shared_with: Vec::new(),
        copies_in: Vec::new(),
        lost: Some(LostView {
            signal: LostSignal::Vanished,
            cause: "vanished".to_owned(),
            text,
            at: gone.at,
            generation: gone.generation.map(|generation| generation.short()),
        }),
        restore,
        refreshing: None,
        last_error: None,
        last_used: None,
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
            let text = format!(
                "{}: schema {schema} is newer than any that was tested",
                path.display()
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
fn missing_providers(installation: &Installation, agent: &Agent, present: &[ProviderId]) -> Vec<ProviderId> {
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
