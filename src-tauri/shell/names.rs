//! Names that are not to be seen: with `showNames` off, tray, notifications and the window's list say
//! "ChatGPT 2" where the name, the address or the id of an account would stand. Ids stay what they are
//! wherever something is done by them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kalit_core::ids::ProfileId;
use kalit_core::say;
use kalit_core::view::radar::RadarView;
use kalit_core::view::{Notice, ProviderView, Snapshot};

/// Words that OpenClaw gives to accounts itself tell nothing about a person.
const OPENCLAWS_OWN: [&str; 2] = ["default", "manual"];

/// What stands in the place of which text, longer texts first; nothing while names may be seen.
#[derive(Clone, Debug, Default)]
pub struct Cover(Vec<(String, String)>);

impl Cover {
    /// What hides the names in `snapshot`. An account keeps its number when the order changes.
    pub fn of(snapshot: &Snapshot) -> Self {
        if snapshot.show_names {
            return Self::default();
        }
        let numbers = Numbers::of(snapshot);
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for provider in providers(snapshot) {
            for account in &provider.accounts {
                let shown = numbers.shown(provider, &account.profile_id);
                let name = Some(&account.name).filter(|name| !OPENCLAWS_OWN.contains(&name.as_str()));
                let id = account.profile_id.as_str().to_owned();
                let known = [name, account.email.as_ref(), account.display_name.as_ref()];
                for text in known.into_iter().flatten().cloned().chain([id]) {
                    let stands = texts.entry(text).or_insert_with(|| shown.clone());
                    if *stands != shown {
                        // Two accounts have this name.
                        *stands = say!("an account");
                    }
                }
            }
        }
        let mut texts: Vec<_> = texts.into_iter().filter(|(text, _)| !text.is_empty()).collect();
        texts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self(texts)
    }

    /// A text without the names.
    pub fn text(&self, text: &str) -> String {
        let covered = |text: String, (name, shown): &(String, String)| replaced(&text, name, shown);
        self.0.iter().fold(text.to_owned(), covered)
    }

    /// A snapshot as it may be seen.
    pub fn over(&self, snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
        if self.0.is_empty() {
            return Arc::clone(snapshot);
        }
        let numbers = Numbers::of(snapshot);
        let mut seen = Snapshot::clone(snapshot);
        seen.notices.iter_mut().for_each(|notice| self.notice(notice));
        for provider in seen.agents.iter_mut().flat_map(|agent| &mut agent.providers) {
            self.words(&mut provider.reason.text);
            for at in 0..provider.accounts.len() {
                let shown = numbers.shown(provider, &provider.accounts[at].profile_id);
                let account = &mut provider.accounts[at];
                account.name = shown;
                (account.email, account.display_name, account.account_id) = (None, None, None);
                self.words(&mut account.sentence);
                let others = [&mut account.renewal, &mut account.passed_over];
                others.into_iter().flatten().for_each(|text| self.words(text));
                account
                    .lost
                    .iter_mut()
                    .for_each(|lost| self.words(&mut lost.text));
                account
                    .restore
                    .iter_mut()
                    .for_each(|restore| self.words(&mut restore.text));
                account.last_error.iter_mut().for_each(|error| self.notice(error));
            }
        }
        Arc::new(seen)
    }

    /// What the radar found, as it may be seen.
    pub fn radar(&self, found: &mut RadarView) {
        for finding in &mut found.findings {
            self.words(&mut finding.title);
            self.words(&mut finding.text);
            finding
                .places
                .iter_mut()
                .for_each(|place| self.words(&mut place.name));
            finding.ways.iter_mut().for_each(|way| self.words(&mut way.text));
        }
    }

    fn notice(&self, notice: &mut Notice) {
        self.words(&mut notice.message);
        self.words(&mut notice.hint);
    }

    fn words(&self, text: &mut String) {
        *text = self.text(text);
    }
}

/// What is said instead of an account's name: "ChatGPT 2".
pub fn numbered(snapshot: &Snapshot, provider: &ProviderView, id: &ProfileId) -> String {
    Numbers::of(snapshot).shown(provider, id)
}

/// The profiles of each provider, by its name: an account's number is its place among them.
struct Numbers(BTreeMap<String, BTreeSet<ProfileId>>);

impl Numbers {
    fn of(snapshot: &Snapshot) -> Self {
        let mut all = BTreeMap::<String, BTreeSet<ProfileId>>::new();
        for provider in providers(snapshot) {
            let ids = provider.accounts.iter().map(|account| account.profile_id.clone());
            all.entry(provider.name.clone()).or_default().extend(ids);
        }
        Self(all)
    }

    fn shown(&self, provider: &ProviderView, id: &ProfileId) -> String {
        let ids = self.0.get(&provider.name).into_iter().flatten();
        let place = ids.take_while(|other| *other != id).count();
        format!("{} {}", provider.name, place + 1)
    }
}

fn providers(snapshot: &Snapshot) -> impl Iterator<Item = &ProviderView> {
    snapshot.agents.iter().flat_map(|agent| &agent.providers)
}

/// Replaces `name` where it stands as a word of its own.
fn replaced(text: &str, name: &str, shown: &str) -> String {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || matches!(c, '@' | '-' | '_'));
    let (mut left, mut done) = (text, String::new());
    while let Some(at) = left.find(name) {
        let (before, after) = (&left[..at], &left[at + name.len()..]);
        let part =
            is_part(before.chars().next_back().or(done.chars().next_back())) || is_part(after.chars().next());
        done.push_str(before);
        done.push_str(if part { name } else { shown });
        left = after;
    }
    done + left
}

#[cfg(test)]
mod tests {
    use kalit_core::view::{AccountState, LostSignal, OrderSource};

    use super::*;
    use crate::alerts;
    use crate::menu::menu;
    use crate::summary::samples::{NOW, account, agent, lost, provider, snapshot};

    fn hidden() -> Arc<Snapshot> {
        let mut work = account("openai:work", AccountState::Healthy);
        work.email = Some("ann@example.com".to_owned());
        work.sentence = "openai:work and ann@example.com work in the network".to_owned();
        let studio = lost("openai:studio", LostSignal::SignedOut, "feed");
        let mut all = snapshot(vec![agent(
            "main",
            vec![provider(OrderSource::Stored, vec![work, studio])],
        )]);
        all.show_names = false;
        Arc::new(all)
    }

    #[test]
    fn nothing_is_hidden_while_names_may_be_seen() {
        let mut all = Snapshot::clone(&hidden());
        all.show_names = true;
        let all = Arc::new(all);
        let cover = Cover::of(&all);
        assert!(Arc::ptr_eq(&cover.over(&all), &all));
        assert_eq!(cover.text("main now uses work"), "main now uses work");
    }

    #[test]
    fn no_name_is_left_in_menu_and_notifications() {
        let all = hidden();
        let cover = Cover::of(&all);
        let seen = cover.over(&all);
        let said = format!("{:?}", menu(&seen, NOW).items);
        let labels: Vec<&str> = said
            .split("label: ")
            .skip(1)
            .filter_map(|rest| rest.split('"').nth(1))
            .collect();
        assert!(
            labels.iter().any(|label| label.starts_with("ChatGPT 2 · ")),
            "{labels:?}"
        );
        assert!(
            labels
                .iter()
                .all(|label| !label.contains("studio") && !label.contains("work"))
        );
        let told = alerts::alerts(&seen).remove(0);
        assert_eq!(told.title, "ChatGPT 1 is signed out");
        assert_eq!(
            told.body,
            "Another program used this login. main goes on with ChatGPT 2."
        );
        // The same loss, whatever it is called.
        assert_eq!(told.keys, alerts::alerts(&all)[0].keys);
        assert_eq!(told.profile, ProfileId::parse("openai:studio"));
    }

    #[test]
    fn a_name_is_replaced_where_it_stands_as_a_word() {
        let all = hidden();
        let seen = Cover::of(&all).over(&all);
        let work = &seen.agents[0].providers[0].accounts[0];
        assert_eq!((work.name.as_str(), work.email.as_ref()), ("ChatGPT 2", None));
        assert_eq!(work.sentence, "ChatGPT 2 and ChatGPT 2 ChatGPT 2 in the network");
        assert_eq!(
            replaced("work, network, work-1", "work", "W"),
            "W, network, work-1"
        );
        assert_eq!(replaced("workwork work", "work", "W"), "workwork W");
    }
}
