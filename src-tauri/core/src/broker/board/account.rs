//! One account of the board: its state, the sentence about it, and what may have become of a lost one.

use super::{Context, DAY_MS, GRACE_MS, NOT_RENEWED_MS, REFUSED_REASONS};
use crate::broker::survey::Seen;
use crate::broker::{Failure, sentences};
use crate::clock::Timestamp;
use crate::history::{Generation, Gone};
use crate::ids::{AgentId, ProviderId};
use crate::oauth::unavailable::unavailable;
use crate::oauth::{Claims, Provider, classify};
use crate::radar::{Place, Program};
use crate::refresh::due_item;
use crate::refresh::schedule::{self, Setback};
use crate::routing::{PassedOver, Resolution};
use crate::store::credential::{Credential, Expiry};
use crate::store::lock::inspect_refresh_lock;
use crate::store::{FenceKind, UsageStats};
use crate::view::{
    AccountState, AccountView, AuthStatus, CooldownView, CredentialKind, LockView, LostSignal, LostView,
    Notice, RestoreView,
};

impl Context<'_> {
    pub(super) fn account(
        &self,
        seen: &Seen,
        provider_id: &ProviderId,
        resolution: &Resolution,
    ) -> AccountView {
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
        let lost = self.lost(seen, provider, usage, known.as_ref(), effective);
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
        let spent_by = known.as_ref().and_then(|known| self.spent_by(known));
        let mut shared_with = holders
            .as_ref()
            .map(|holders| {
                if self.managed {
                    holders.with_whom_but(state_dir)
                } else {
                    holders.with_whom()
                }
            })
            .unwrap_or_default();
        shared_with.extend(spent_by.map(|program| program.name().to_owned()));
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
            shared_with,
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
                .or_else(|| failure.as_ref().map(|failure| failure.notice.clone())),
            renewal_fails: known.as_ref().is_some_and(Generation::is_given_up)
                || failure.is_some_and(|failure| failure.lasts()),
            last_used: usage.and_then(|usage| usage.last_used),
        };
        let signed_out = view.lost.as_ref().map(|lost| lost.signal) == Some(LostSignal::SignedOut);
        if let Some(generation) = generation.filter(|_| signed_out && !seen.inherited) {
            view.restore = inner.healing_offer(self.fleet, self.agent, &seen.id, generation);
        }
        let unknown = known.as_ref().is_some_and(|known| known.unknown_since.is_some());
        let revoking =
            generation.and_then(|generation| inner.generations().revoking_since(generation).ok()?);
        view.state = state(&view, credential, unknown || revoking.is_some());
        self.tell_why(&mut view, known.as_ref(), 0);
        view.sentence = sentences::sentence(&view, now, self.survey.time_zone());
        if view.state == AccountState::Unknown && known.as_ref().is_some_and(Generation::is_given_up) {
            view.sentence = sentences::answer_lost_twice();
        } else if view.state == AccountState::Unknown && revoking.is_some() {
            view.sentence = sentences::revoking(self.managed);
        }
        view
    }

    /// The program that has newer tokens of a login whose copy stands in the store.
    fn spent_by(&self, known: &Generation) -> Option<Program> {
        known.superseded_by.filter(|by| *by != known.fingerprint)?;
        let newest = self.inner.generations().newest_of(known.family).ok()??;
        let mut holders = self.fleet.external().obstacles(newest.fingerprint);
        holders.find_map(|holder| match holder.place {
            Place::Program(program) => Some(program),
            Place::Unmoved | Place::Leftover => None,
        })
    }

    /// Why a newer generation is known than the one in the store.
    pub(super) fn superseded(&self, known: &Generation) -> Notice {
        let code = crate::ErrorCode::RefreshSuperseded;
        let state_dir = self.fleet.current().state_dir.canonical();
        let journal = self.inner.journal(&state_dir);
        if journal.holds_answer_to(known.family, known.fingerprint) {
            let text = say!(
                "it was renewed, and the new tokens wait in Kalit's journal until the store can be written"
            );
            return Notice {
                hint: say!("Keep Kalit running, or run `kalit refresh`."),
                ..Notice::new(code, text)
            };
        }
        if let Some(program) = self.spent_by(known) {
            let program = program.name();
            let text = say!(
                "{program} has newer tokens of this login: the copy here is most likely spent",
                program
            );
            return Notice {
                hint: say!("Sign in separately for OpenClaw."),
                ..Notice::new(code, text)
            };
        }
        Notice::new(
            code,
            say!("the store went back to an older login than the newest one known"),
        )
    }

    /// The signals of a lost login, the surest first, each with the sentence about it alone.
    pub(super) fn lost(
        &self,
        seen: &Seen,
        provider: Option<&Provider>,
        usage: Option<&UsageStats>,
        known: Option<&Generation>,
        effective: bool,
    ) -> Option<LostView> {
        let credential = &seen.credential;
        if let Some(fence) = credential.fence() {
            return (fence.kind == FenceKind::Failed).then(|| LostView {
                signal: LostSignal::Dropped,
                cause: "refresh_fence_failed".to_owned(),
                text: sentences::fenced(),
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
        let refusal = known.and_then(|known| known.refusal.as_ref());
        if let Some(refusal) = refusal.filter(|_| !self.inner.deciding().contains(&generation)) {
            let id = provider.map_or_else(|| credential.provider(), |provider| Some(provider.id()))?;
            let text = classify::text_for(id, &refusal.code, refusal.answer_was_lost);
            return lost(LostSignal::SignedOut, &refusal.code, text, refusal.at);
        }
        let setback = self.inner.setbacks().get(&generation).cloned();
        if let Some(Failure {
            setback: Setback::Suspect { attempts, at },
            notice,
            ..
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
            let text = sentences::refused(None);
            return lost(LostSignal::OpenclawRefused, &mark.code, text, mark.at);
        }
        if let Some((reason, at)) = usage.and_then(|usage| self.refused_by_usage(usage, known)) {
            let text = sentences::refused(Some(&reason));
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
            let ended = credential.provider().and_then(unavailable);
            let (cause, text) = if let Some(ended) = ended.filter(|known| known.has_ended) {
                ("not_renewed", ended.sentence())
            } else if known.is_some_and(Generation::is_given_up) {
                ("answer_lost", sentences::sent_twice())
            } else {
                (
                    "not_renewed",
                    sentences::not_renewed(self.now.millis_since(expires)),
                )
            };
            return lost(
                LostSignal::NotRenewed,
                cause,
                text,
                expires.plus_millis(NOT_RENEWED_MS),
            );
        }
        None
    }

    /// When the store that holds a profile was written last.
    pub(super) fn written_at(&self, seen: &Seen) -> Option<Timestamp> {
        let own = self.fleet.store_of(&self.agent.agent_dir);
        let inherited = self.fleet.inherited(self.fleet.current());
        let contents = [own, inherited].into_iter().flatten();
        contents
            .filter_map(|store| store.content.as_ref().ok())
            .find(|content| content.document.contains(&seen.id))?
            .written_at
    }

    /// OpenClaw's own marks of a refused login: fresh, and not resolved by a later use or renewal.
    pub(super) fn refused_by_usage(
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
pub(super) fn status(credential: &Credential, now: Timestamp) -> AuthStatus {
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

pub(super) fn state(view: &AccountView, credential: &Credential, unknown: bool) -> AccountState {
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

pub(super) fn needs_person(state: AccountState) -> bool {
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

pub(super) fn is_notice(state: AccountState) -> bool {
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

pub(super) fn vanished_account(
    gone: &Gone,
    provider: &ProviderId,
    restore: Option<RestoreView>,
) -> AccountView {
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
        sentence: String::new(),
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
        passed_over: Some(say!("not in the store")),
        cooldown: None,
        shared_with: Vec::new(),
        copies_in: Vec::new(),
        lost: Some(LostView {
            signal: LostSignal::Vanished,
            cause: "vanished".to_owned(),
            text: sentences::gone(),
            at: gone.at,
            generation: gone.generation.map(|generation| generation.short()),
        }),
        restore,
        refreshing: None,
        last_error: None,
        renewal_fails: false,
        last_used: None,
    }
}
