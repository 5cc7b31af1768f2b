//! What a snapshot gives reason to tell, as pure functions. No e-mail address may stand in a text:
//! other people see notifications.

use kalit_core::ids::{AgentId, ProfileId};
use kalit_core::view::{AccountView, AgentView, LostSignal, LostView, ProviderView, Snapshot};
use kalit_core::{plural, say};

use crate::route::Route;
use crate::{names, warnings, words};

/// One thing to be told once: a lost login, a store that cannot be read, or what may become a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub kind: AlertKind,
    /// Signal and generation, one for each login of a family that is told in one message: the same
    /// loss has the same key after a restart.
    pub keys: Vec<String>,
    pub title: String,
    /// Plain text, the cause first.
    pub body: String,
    pub agent: AgentId,
    /// `None` for a store.
    pub profile: Option<ProfileId>,
    /// Where "Sign in again" leads; nowhere for a store.
    pub sign_in: Option<Route>,
    /// Where "Restore" leads, when Kalit holds what is lost.
    pub restore: Option<Route>,
    /// Whether renewing may still show that nothing is lost.
    pub renewable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertKind {
    Lost(LostSignal),
    Unreadable,
    /// It cannot be renewed and ends within the hour.
    Ending,
    /// Another program holds the same login. Quiet.
    Shared,
}

impl Alert {
    /// Where what is known of it is shown.
    pub fn details(&self) -> Route {
        self.profile
            .as_ref()
            .map_or(Route::Board, |profile| Route::Account {
                agent: self.agent.clone(),
                profile: profile.clone(),
            })
    }

    /// Whether both tell of the same thing.
    pub fn is_about(&self, other: &Self) -> bool {
        self.keys.iter().any(|key| other.keys.contains(key))
    }
}

/// Everything to be told of `snapshot`, agents as they come. What happened to several agents that hold
/// one login, or one family of it, is one alert.
pub fn alerts(snapshot: &Snapshot) -> Vec<Alert> {
    let mut groups: Vec<Group> = Vec::new();
    for agent in &snapshot.agents {
        groups.extend(unreadable(agent).map(|alert| Group::of(alert, None)));
        for provider in &agent.providers {
            for account in provider.accounts.iter().filter(|account| !account.inherited) {
                let Some(found) = of_account(snapshot, agent, provider, account) else {
                    continue;
                };
                let found = Group::of(found, account.family.clone());
                match groups.iter_mut().find(|group| group.takes(&found)) {
                    Some(group) => group.add(found),
                    None => groups.push(found),
                }
            }
        }
    }
    groups.into_iter().map(Group::alert).collect()
}

/// The alerts that are still to be told; `first_time` answers, and remembers, whether a key is new.
pub fn due(snapshot: &Snapshot, mut first_time: impl FnMut(&str) -> bool) -> Vec<Alert> {
    let mut is_new = |alert: &Alert| alert.keys.iter().filter(|key| first_time(key)).count() > 0;
    alerts(snapshot)
        .into_iter()
        .filter(|alert| is_new(alert))
        .collect()
}

fn of_account(
    snapshot: &Snapshot,
    agent: &AgentView,
    provider: &ProviderView,
    account: &AccountView,
) -> Option<Alert> {
    match &account.lost {
        Some(lost) => Some(alert(snapshot, agent, provider, account, lost)),
        None => warnings::ending(snapshot, agent, provider, account)
            .or_else(|| warnings::shared(snapshot, agent, provider, account)),
    }
}

/// What is told in one message.
struct Group {
    alert: Alert,
    family: Option<String>,
    agents: Vec<AgentId>,
    accounts: usize,
}

impl Group {
    fn of(alert: Alert, family: Option<String>) -> Self {
        Self {
            family,
            agents: vec![alert.agent.clone()],
            accounts: 1,
            alert,
        }
    }

    fn takes(&self, other: &Self) -> bool {
        let related = self.family.is_some() && self.family == other.family;
        // One change of a file emptied it.
        let emptied = self.alert.kind == AlertKind::Lost(LostSignal::Vanished) && self.agents == other.agents;
        self.alert.kind == other.alert.kind && (related || emptied || self.alert.is_about(&other.alert))
    }

    fn add(&mut self, other: Self) {
        self.agents.extend(other.agents);
        self.agents.dedup();
        self.accounts += other.accounts;
        if self.agents.len() == 1 && self.alert.restore != other.alert.restore {
            // Each has a way back of its own: all of them stand in the window.
            self.alert.restore = whole(self.alert.restore.take(), other.alert.restore);
        }
        let keys = &mut self.alert.keys;
        keys.extend(
            other
                .alert
                .keys
                .into_iter()
                .filter(|key| !keys.contains(key))
                .collect::<Vec<_>>(),
        );
    }

    /// The first agent's alert, with the names of all.
    fn alert(mut self) -> Alert {
        if let ([agent], true) = (&*self.agents, self.accounts > 1) {
            self.alert.title = plural!(
                self.accounts,
                "{n} account disappeared from {agent}",
                "{n} accounts disappeared from {agent}",
                agent
            );
            (self.alert.profile, self.alert.sign_in) = (None, None);
            self.alert.body = if self.alert.restore.is_some() {
                say!("Kalit holds a sealed copy of them.")
            } else {
                say!("The window shows what is known of each.")
            };
        }
        if self.agents.len() > 1 {
            let agents: Vec<&str> = self.agents.iter().map(AgentId::as_str).collect();
            self.alert.body.push(' ');
            let agents = agents.join(", ");
            self.alert.body.push_str(&say!("Agents: {agents}.", agents));
        }
        // A notification has one face: the marks of a command would be read as they stand.
        self.alert.body = self.alert.body.replace('`', "");
        self.alert
    }
}

/// The snapshot that holds both, as a whole; else none.
fn whole(one: Option<Route>, other: Option<Route>) -> Option<Route> {
    match (one?, other?) {
        (
            Route::Snapshot { id, agent, .. },
            Route::Snapshot {
                id: same, agent: of, ..
            },
        ) if (&id, &agent) == (&same, &of) => Some(Route::Snapshot {
            id,
            agent,
            profile: None,
        }),
        _ => None,
    }
}

fn key(agent: &AgentView, account: &AccountView, lost: &LostView) -> String {
    let signal = match lost.signal {
        LostSignal::SignedOut => "signed-out",
        LostSignal::Suspected => "suspected",
        LostSignal::OpenclawRefused => "openclaw-refused",
        // What was put back once and refused again is told anew: there is another remedy now.
        LostSignal::Dropped if account.restore.as_ref().is_some_and(|restore| !restore.offered) => {
            "dropped-for-good"
        }
        LostSignal::Dropped => "dropped",
        LostSignal::NotRenewed => "not-renewed",
        LostSignal::Vanished => "vanished",
    };
    match lost.generation.as_ref().or(account.generation.as_ref()) {
        Some(generation) => format!("lost:{signal}:{generation}"),
        None => format!(
            "lost:{signal}:{}:{}:{}",
            agent.id,
            account.profile_id,
            lost.at.as_millis()
        ),
    }
}

fn alert(
    snapshot: &Snapshot,
    agent: &AgentView,
    provider: &ProviderView,
    account: &AccountView,
    lost: &LostView,
) -> Alert {
    let name = name(snapshot, provider, account);
    let mut body = without_addresses(&lost.text, &name);
    if let Some(next) = successor(snapshot, provider, account) {
        body.push(' ');
        body.push_str(&say!("{agent} goes on with {next}.", agent = agent.id, next));
    }
    Alert {
        kind: AlertKind::Lost(lost.signal),
        keys: vec![key(agent, account, lost)],
        title: words::lost(lost.signal, &name, &agent.id),
        body,
        agent: agent.id.clone(),
        profile: Some(account.profile_id.clone()),
        sign_in: Some(Route::SignIn {
            provider: account.provider.clone(),
            agent: agent.id.clone(),
            profile: Some(account.profile_id.clone()),
        }),
        restore: words::way_back(&agent.id, account),
        renewable: account.renewal.is_none()
            && matches!(
                lost.signal,
                LostSignal::Suspected | LostSignal::OpenclawRefused | LostSignal::NotRenewed
            ),
    }
}

/// A store that an engine knows to be unreadable, told once until it can be read again.
fn unreadable(agent: &AgentView) -> Option<Alert> {
    let error = agent.store_error.as_ref()?;
    let since = agent.unreadable_since?;
    let remedy = agent.restore.as_ref().map_or_else(
        || say!("Kalit writes nothing to it until it can be read again."),
        |restore| restore.text.clone(),
    );
    Some(Alert {
        kind: AlertKind::Unreadable,
        keys: vec![format!("unreadable:{}:{}", agent.agent_dir, since.as_millis())],
        title: say!("The accounts of {agent} cannot be read", agent = agent.id),
        body: match error.code.as_str() {
            // Of the others OpenClaw may make more than Kalit does.
            "store.unparsable" | "store.wrong_shape" | "store.corrupt" => {
                format!("{} {remedy}", say!("OpenClaw cannot use them either."))
            }
            _ => remedy,
        },
        agent: agent.id.clone(),
        profile: None,
        sign_in: None,
        restore: words::way_back_of_store(agent),
        renewable: false,
    })
}

/// The account's name; in the place of an e-mail address its provider's, with a number where that has
/// several accounts.
pub(crate) fn name(snapshot: &Snapshot, provider: &ProviderView, account: &AccountView) -> String {
    match account.name.contains('@') {
        true if provider.accounts.len() > 1 => names::numbered(snapshot, provider, &account.profile_id),
        true => provider.name.clone(),
        false => account.name.clone(),
    }
}

/// The account that is used instead, if another one is usable.
fn successor(snapshot: &Snapshot, provider: &ProviderView, lost: &AccountView) -> Option<String> {
    let next = provider.effective.as_ref().filter(|id| **id != lost.profile_id)?;
    let next = provider
        .accounts
        .iter()
        .find(|account| account.profile_id == *next)?;
    next.lost.is_none().then(|| name(snapshot, provider, next))
}

/// Puts `name` in the place of every word that looks like an address.
pub(crate) fn without_addresses(text: &str, name: &str) -> String {
    let hidden = |word: &str| match word.find('@') {
        Some(at) if at > 0 => {
            let tail = word
                .trim_end_matches(|c: char| c.is_alphanumeric())
                .chars()
                .last();
            let tail = tail.filter(|c| matches!(c, '.' | ',' | ':' | ';') && word.ends_with(*c));
            tail.map_or_else(|| name.to_owned(), |c| format!("{name}{c}"))
        }
        _ => word.to_owned(),
    };
    text.split(' ').map(hidden).collect::<Vec<_>>().join(" ")
}

/// Notification bodies are markup on Linux (Desktop Notifications Specification, section
/// "Markup"); elsewhere they are plain text.
pub fn body_markup(text: &str) -> String {
    if cfg!(target_os = "linux") {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kalit_core::ErrorCode;
    use kalit_core::view::{AccountState, Notice, OrderSource, RestoreView};

    use super::*;
    use crate::summary::samples::{NOW, account, agent, lost, provider, snapshot};

    /// main goes on with `work` after `studio` was lost.
    fn one_lost(signal: LostSignal) -> Snapshot {
        let accounts = vec![
            account("openai:work", AccountState::Healthy),
            lost("openai:studio", signal, "feed"),
        ];
        snapshot(vec![agent("main", vec![provider(OrderSource::Stored, accounts)])])
    }

    #[test]
    fn a_lost_login_is_told_with_its_cause_and_a_way_back() {
        let route = Route::parse("sign-in/openai?agent=main&profile=openai:studio").unwrap();
        let expected = Alert {
            kind: AlertKind::Lost(LostSignal::SignedOut),
            keys: vec!["lost:signed-out:feed".to_owned()],
            title: "studio is signed out".to_owned(),
            body: "Another program used this login. main goes on with work.".to_owned(),
            agent: AgentId::main(),
            profile: ProfileId::parse("openai:studio"),
            sign_in: Some(route),
            restore: None,
            renewable: false,
        };
        assert_eq!(due(&one_lost(LostSignal::SignedOut), |_| true), vec![expected]);
    }

    #[test]
    fn a_store_that_was_emptied_is_told_once() {
        let mut state = one_lost(LostSignal::Vanished);
        let accounts = &mut state.agents[0].providers[0].accounts;
        accounts.push(lost("openai:lab", LostSignal::Vanished, "beef"));
        for account in accounts.iter_mut().filter(|account| account.lost.is_some()) {
            account.restore = Some(RestoreView {
                snapshot: Some("one".to_owned()),
                offered: true,
                text: "Kalit holds exactly this token.".to_owned(),
                sealed_at: None,
            });
        }
        let told = due(&state, |_| true);
        let [alert] = &*told else { panic!("{told:?}") };
        assert_eq!(alert.title, "2 accounts disappeared from main");
        assert_eq!(alert.keys, ["lost:vanished:feed", "lost:vanished:beef"]);
        assert_eq!(alert.restore, Route::parse("snapshots/one?agent=main"));
        assert_eq!(alert.details(), Route::Board);
        // One that is held by no snapshot, or by another one, is put back by itself.
        let accounts = &mut state.agents[0].providers[0].accounts;
        accounts.last_mut().unwrap().restore = None;
        assert_eq!(due(&state, |_| true)[0].restore, None);
    }

    #[test]
    fn each_signal_has_its_own_words_and_key() {
        let told = |signal| {
            let alert = due(&one_lost(signal), |_| true).remove(0);
            (alert.title, alert.keys.concat(), alert.renewable)
        };
        let text = |title: &str, key: &str, renewable| (title.to_owned(), key.to_owned(), renewable);
        assert_eq!(
            told(LostSignal::SignedOut),
            text("studio is signed out", "lost:signed-out:feed", false)
        );
        assert_eq!(
            told(LostSignal::Suspected),
            text("studio may be signed out", "lost:suspected:feed", true)
        );
        assert_eq!(
            told(LostSignal::OpenclawRefused),
            text("OpenClaw was refused: studio", "lost:openclaw-refused:feed", true)
        );
        assert_eq!(
            told(LostSignal::Dropped),
            text("OpenClaw dropped studio", "lost:dropped:feed", false)
        );
        assert_eq!(
            told(LostSignal::NotRenewed),
            text("studio is not renewed", "lost:not-renewed:feed", true)
        );
        assert_eq!(
            told(LostSignal::Vanished),
            text("studio disappeared from main", "lost:vanished:feed", false)
        );
    }

    #[test]
    fn a_dropped_login_can_be_put_back_until_it_was_refused_again() {
        let told = |offered: bool, text: &str| {
            let mut dropped = one_lost(LostSignal::Dropped);
            let account = &mut dropped.agents[0].providers[0].accounts[1];
            account.restore = Some(RestoreView {
                offered,
                text: text.to_owned(),
                sealed_at: None,
                snapshot: None,
            });
            // Core's text of the loss ends with that of the remedy.
            let lost = account.lost.as_mut().unwrap();
            lost.text = format!("{} {text}", lost.text);
            due(&dropped, |_| true).remove(0)
        };
        let offered = told(true, "Kalit holds exactly this token.");
        assert_eq!(offered.restore, Route::parse("restore/main/openai:studio"));
        assert_eq!(
            offered.body,
            "Another program used this login. Kalit holds exactly this token. main goes on with work."
        );
        let refused = told(false, "It was put back once and refused again: sign in again.");
        assert_eq!(refused.restore, None);
        assert!(refused.body.contains("sign in again"), "{}", refused.body);
        assert_ne!(offered.keys, refused.keys);
    }

    #[test]
    fn a_vanished_login_is_put_back_from_its_snapshot() {
        let mut vanished = one_lost(LostSignal::Vanished);
        vanished.agents[0].providers[0].accounts[1].restore = Some(RestoreView {
            offered: true,
            text: String::new(),
            sealed_at: None,
            snapshot: Some("01-ab".to_owned()),
        });
        let alert = due(&vanished, |_| true).remove(0);
        assert_eq!(
            alert.restore,
            Route::parse("snapshots/01-ab?agent=main&profile=openai:studio")
        );
        assert!(alert.sign_in.is_some());
    }

    #[test]
    fn a_store_that_cannot_be_read_is_told_once_for_each_time() {
        let mut broken = agent("main", vec![]);
        broken.store_error = Some(Notice::new(ErrorCode::StoreUnparsable, "line 3"));
        let unknown = snapshot(vec![broken.clone()]);
        assert_eq!(due(&unknown, |_| true), vec![], "no engine has seen it twice");
        broken.unreadable_since = Some(NOW);
        broken.restore = Some(RestoreView {
            offered: true,
            text: "Kalit holds a sealed copy of its accounts: Restore puts them back.".to_owned(),
            sealed_at: Some(NOW),
            snapshot: Some("01-ab".to_owned()),
        });
        let expected = Alert {
            kind: AlertKind::Unreadable,
            keys: vec![format!("unreadable::{}", NOW.as_millis())],
            title: "The accounts of main cannot be read".to_owned(),
            body: "OpenClaw cannot use them either. Kalit holds a sealed copy of its accounts: Restore puts them back."
                .to_owned(),
            agent: AgentId::main(),
            profile: None,
            sign_in: None,
            restore: Route::parse("snapshots/01-ab?agent=main"),
            renewable: false,
        };
        assert_eq!(due(&snapshot(vec![broken.clone()]), |_| true), vec![expected]);
        // OpenClaw may well read what is too new or too large for Kalit.
        let mut newer = broken.clone();
        newer.store_error = Some(Notice::new(ErrorCode::StoreSchemaUnsupported, "schema 99"));
        newer.restore = None;
        assert_eq!(
            due(&snapshot(vec![newer]), |_| true).remove(0).body,
            "Kalit writes nothing to it until it can be read again."
        );
        let mut again = broken.clone();
        again.unreadable_since = Some(NOW.plus_millis(1));
        let keys = |agent: AgentView| due(&snapshot(vec![agent]), |_| true).remove(0).keys;
        assert_ne!(keys(broken), keys(again));
    }

    #[test]
    fn what_openclaw_renews_itself_is_not_offered_for_renewal() {
        let mut refused = one_lost(LostSignal::OpenclawRefused);
        for provider in &mut refused.agents[0].providers {
            for account in &mut provider.accounts {
                account.renewal = Some("OpenClaw renews it on use.".to_owned());
            }
        }
        assert!(!due(&refused, |_| true).remove(0).renewable);
    }

    #[test]
    fn a_loss_is_told_once_and_again_only_for_another_generation() {
        let mut sent = BTreeSet::new();
        let mut told = |snapshot: &Snapshot| due(snapshot, |key| sent.insert(key.to_owned())).len();
        let mut state = one_lost(LostSignal::SignedOut);
        assert_eq!(told(&state), 1);
        assert_eq!(told(&state), 0);
        let lost = state.agents[0].providers[0].accounts[1].lost.as_mut().unwrap();
        lost.generation = Some("beef".to_owned());
        assert_eq!(told(&state), 1);
    }

    #[test]
    fn agents_with_copies_of_one_generation_make_one_alert() {
        let group = || {
            provider(
                OrderSource::Rotation,
                vec![lost("openai:studio", LostSignal::SignedOut, "feed")],
            )
        };
        let state = snapshot(vec![agent("main", vec![group()]), agent("work", vec![group()])]);
        let titles: Vec<_> = due(&state, |_| true)
            .into_iter()
            .map(|a| (a.agent, a.body))
            .collect();
        assert_eq!(
            titles,
            [(
                AgentId::main(),
                "Another program used this login. Agents: main, work.".to_owned()
            )]
        );
    }

    #[test]
    fn generations_of_one_family_are_one_message_that_is_not_repeated_for_either() {
        let group = |generation| {
            let mut lost = lost("openai:studio", LostSignal::SignedOut, generation);
            lost.family = Some("f00d".to_owned());
            provider(OrderSource::Rotation, vec![lost])
        };
        let main = agent("main", vec![group("feed")]);
        let both = snapshot(vec![main, agent("work", vec![group("beef")])]);
        let mut sent = BTreeSet::new();
        let mut told = |snapshot: &Snapshot| due(snapshot, |key| sent.insert(key.to_owned()));
        let alert = told(&both).remove(0);
        assert_eq!(alert.keys, ["lost:signed-out:feed", "lost:signed-out:beef"]);
        assert!(alert.body.ends_with("Agents: main, work."), "{}", alert.body);
        assert_eq!(told(&both), []);
        // main was signed in again
        let work = snapshot(vec![agent("work", vec![group("beef")])]);
        assert_eq!(told(&work), []);
        assert!(alerts(&work)[0].is_about(&alert), "it stays on the screen");
    }

    #[test]
    fn an_inherited_loss_is_told_for_its_owner_only() {
        let mut inherited = lost("openai:studio", LostSignal::SignedOut, "beef");
        inherited.inherited = true;
        let state = snapshot(vec![agent(
            "work",
            vec![provider(OrderSource::Rotation, vec![inherited])],
        )]);
        assert_eq!(due(&state, |_| true), vec![]);
    }

    #[test]
    fn a_loss_without_a_generation_is_known_by_its_time() {
        let mut state = one_lost(LostSignal::Vanished);
        let account = &mut state.agents[0].providers[0].accounts[1];
        account.generation = None;
        account.lost.as_mut().unwrap().generation = None;
        assert_eq!(
            due(&state, |_| true)[0].keys,
            ["lost:vanished:main:openai:studio:1800000000000"]
        );
    }

    #[test]
    fn no_address_stands_in_a_notification() {
        let mut gone = lost("openai:me@example.com", LostSignal::SignedOut, "feed");
        gone.lost.as_mut().unwrap().text = "The login of me@example.com, was used by <codex>.".to_owned();
        let other = account("openai:you@example.com", AccountState::Healthy);
        let state = snapshot(vec![agent(
            "main",
            vec![provider(OrderSource::Stored, vec![other, gone])],
        )]);
        let alert = due(&state, |_| true).remove(0);
        assert_eq!(alert.title, "ChatGPT 1 is signed out");
        assert_eq!(
            alert.body,
            "The login of ChatGPT 1, was used by <codex>. main goes on with ChatGPT 2."
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_body_is_escaped_where_it_is_markup() {
        assert_eq!(body_markup("R&D <b>"), "R&amp;D &lt;b&gt;");
    }
}
