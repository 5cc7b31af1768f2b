//! Why accounts are as they are: the evidence brought together. For the board only what is lost is
//! explained, from what it has at hand, the history, and OpenClaw's log where that may tell.

use super::account::vanished_account;
use super::{Context, Inner};
use crate::Result;
use crate::broker::engine::attended;
use crate::broker::survey::Survey;
use crate::broker::{Broker, WhyView, sentences};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode};
use crate::history::{Generation, Gone};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::oauth::Providers;
use crate::openclaw::renewal_log;
use crate::radar;
use crate::refresh::Fleet;
use crate::secret::Fingerprint;
use crate::store::sqlite;
use crate::view::{AccountView, LostSignal, SCHEMA};
use crate::why::{self, Evidence, Loss, WayBack};

/// Events that one explanation looks at.
const MOST_EVENTS: usize = 100;
/// OpenClaw logs a failed renewal at most this long before its mark is seen.
const LOGGED_BEFORE_MS: i64 = 86_400_000;
/// And at most this long after it wrote the store.
const LOGGED_WITHIN_MS: i64 = 120_000;
/// What vanishes with one change of a file is noticed within this time.
const TOGETHER_MS: i64 = 60_000;

impl Broker {
    /// Why an account was signed out, or why it only looks so. Nothing is sent. Blocks.
    ///
    /// # Errors
    /// `agent.unknown`, `profile.unknown`, `state_dir.missing`, and those of the settings.
    pub fn why(&self, agent: &AgentId, profile: &ProfileId) -> Result<WhyView> {
        self.inner.why(agent, profile)
    }
}

impl Inner {
    fn why(&self, agent: &AgentId, id: &ProfileId) -> Result<WhyView> {
        let now = self.now();
        let _look = sqlite::OneLook::begin();
        let fleet = self.fleet()?;
        let agent = fleet.current().agent(agent)?;
        let providers = Providers::load(&self.environment).ok();
        let board = self.agent(&fleet, agent, providers.as_ref(), now);
        let accounts = || board.providers.iter().flat_map(|provider| &provider.accounts);
        let Some(mut view) = accounts().find(|account| account.profile_id == *id).cloned() else {
            return Err(Error::new(
                ErrorCode::ProfileUnknown,
                say!("agent {agent} has no profile {id}", agent = agent.id, id),
            ));
        };
        let survey = Survey::of(&fleet, agent, now);
        let context = Context {
            inner: self,
            fleet: &fleet,
            agent,
            survey: &survey,
            providers: providers.as_ref(),
            managed: super::is_managed(fleet.current()),
            now,
        };
        let seen = survey.seen.iter().find(|seen| seen.id == *id);
        let generation = seen.and_then(|seen| seen.credential.generation());
        let known = generation.and_then(|generation| self.generations().find(generation).ok().flatten());
        // The sentence about the signal alone: the board's is explained already.
        match seen {
            Some(seen) => {
                let provider = context
                    .providers
                    .and_then(|providers| providers.get(&view.provider));
                let usage = survey.state.usage_stats.get(id);
                view.lost = context.lost(seen, provider, usage, known.as_ref(), view.effective);
            }
            None => view
                .lost
                .iter_mut()
                .for_each(|lost| lost.text = sentences::gone()),
        }
        let lost = accounts().filter_map(|account| account.lost.as_ref());
        let vanished = lost.filter(|lost| lost.signal == LostSignal::Vanished);
        let with = vanished_with(&view, vanished.map(|lost| lost.at));
        let mut evidence = context.evidence(&view, known.as_ref(), with);
        evidence.leftovers = generation.map_or(0, |generation| leftovers(&fleet, generation));
        Ok(WhyView {
            schema: SCHEMA,
            agent: agent.id.clone(),
            profile_id: id.clone(),
            provider: view.provider,
            state: view.state,
            code: evidence.code().map(str::to_owned),
            at: evidence.loss.as_ref().map(|loss| loss.at),
            explanation: why::explain(&evidence),
        })
    }
}

impl Context<'_> {
    /// Puts the explanation's first words into what is told of a lost account.
    pub(super) fn tell_why(&self, view: &mut AccountView, known: Option<&Generation>, vanished_with: usize) {
        if view.lost.is_none() {
            return;
        }
        let explanation = why::explain(&self.evidence(view, known, vanished_with));
        view.lost
            .iter_mut()
            .for_each(|lost| lost.text = explanation.short());
    }

    /// A profile that vanished, with why.
    pub(super) fn vanished(&self, gone: &Gone, provider: &ProviderId, all: &[Gone]) -> AccountView {
        let restore = self.inner.profile_offer(self.fleet, gone.generation);
        let mut view = vanished_account(gone, provider, restore);
        let with = vanished_with(&view, all.iter().map(|gone| gone.at));
        self.tell_why(&mut view, None, with);
        view.sentence = view
            .lost
            .as_ref()
            .map(|lost| lost.text.clone())
            .unwrap_or_default();
        view
    }

    fn evidence(&self, view: &AccountView, known: Option<&Generation>, vanished_with: usize) -> Evidence {
        let inner = self.inner;
        let state_dir = self.fleet.current().state_dir.canonical();
        let refusal = known.and_then(|known| known.refusal.as_ref());
        let events = inner.history.of_account(
            &state_dir.display().to_string(),
            &view.profile_id,
            view.family.as_deref(),
            MOST_EVENTS,
        );
        let loss = view.lost.as_ref().map(|lost| Loss {
            signal: lost.signal,
            code: lost.cause.clone(),
            at: lost.at,
            text: lost.text.clone(),
        });
        let logged = loss
            .as_ref()
            .filter(|loss| matches!(loss.signal, LostSignal::Dropped | LostSignal::OpenclawRefused));
        let trouble = view.last_error.as_ref().map(|error| error.code.clone());
        Evidence {
            now: self.now,
            agent: self.agent.id.clone(),
            provider: view.provider.clone(),
            kind: view.kind,
            state: view.state,
            answer_was_lost: refusal.is_some_and(|refusal| refusal.answer_was_lost),
            superseded: known.is_some_and(|known| known.superseded_by.is_some()),
            generation: view.generation.clone(),
            clock_is_off: trouble.as_deref() == Some(ErrorCode::ClockSkew.as_str()),
            trouble,
            cooldown: view
                .cooldown
                .as_ref()
                .and_then(|cooldown| cooldown.reason.clone()),
            events: events.unwrap_or_default(),
            shared_with: view.shared_with.clone(),
            copies_in: view.copies_in.clone(),
            leftovers: 0,
            vanished_with,
            log: logged.and_then(|loss| self.logged(&view.profile_id, loss.at)),
            restore: view.restore.as_ref().map(WayBack::of),
            offline: inner.marks.offline_since(&state_dir).ok().flatten().is_some(),
            paused: inner.settings().is_ok_and(|settings| settings.watch_only),
            attended: attended(&inner.environment.data_dir(), self.fleet.current()),
            managed: self.managed,
            loss,
        }
    }

    fn logged(&self, id: &ProfileId, at: Timestamp) -> Option<renewal_log::Why> {
        let (since, until) = (
            at.plus_millis(-LOGGED_BEFORE_MS),
            at.plus_millis(LOGGED_WITHIN_MS),
        );
        renewal_log::last_failure(&self.inner.environment, id, since, until).map(|(_, why)| why)
    }
}

/// How many other profiles vanished with this one; `all`: when each of its agent did.
fn vanished_with(view: &AccountView, all: impl Iterator<Item = Timestamp>) -> usize {
    let Some(lost) = view
        .lost
        .as_ref()
        .filter(|lost| lost.signal == LostSignal::Vanished)
    else {
        return 0;
    };
    let together = all.filter(|at| at.millis_since(lost.at).abs() < TOGETHER_MS);
    together.count().saturating_sub(1)
}

/// How many old files of OpenClaw hold this generation.
fn leftovers(fleet: &Fleet, generation: Fingerprint) -> usize {
    let installation = fleet.current();
    let found = radar::leftovers(
        &installation.state_dir.path,
        &installation.state_dir.oauth_dir(),
        &installation.store_dirs(),
    );
    let holders = found.holders.iter();
    holders.filter(|holder| holder.generation == generation).count()
}

#[cfg(test)]
mod tests;
