//! `doctor`: what Kalit found, with its evidence. No secret, no content of a file.

use std::collections::BTreeSet;

use super::{Broker, Diagnosis, Inner, blocking, board, notice_of};
use crate::error::Result;
use crate::ids::ProviderId;
use crate::install::{Era, Installation};
use crate::radar;
use crate::store::lock::{inspect_refresh_lock, inspect_store_lock};
use crate::vault::journal::Question;
use crate::vault::seal::key_location;
use crate::vault::{Journal, KeyLocation, Snapshots, installation_dir, keychain, leftover_temp_files};
use crate::view::{LockView, SCHEMA};

impl Broker {
    /// Facts about the installation and about Kalit's own files. Where OpenClaw's doctor is the
    /// remedy and could drop a login, asks first whether the token hosts answer; nothing of an
    /// account is sent.
    ///
    /// # Errors
    /// `internal`.
    pub async fn diagnose(&self) -> Result<Diagnosis> {
        let inner = self.inner.clone();
        let (mut diagnosis, ending) = blocking(move || Ok(inner.diagnose())).await?;
        if let Some(migration) = &mut diagnosis.migration {
            match self.inner.online(&ending).await {
                Err(error) => {
                    let text = format!("{}: do not run it now.", error.message());
                    migration.warnings.insert(0, text);
                }
                Ok(unknown) => migration.warnings.extend(unknown.iter().map(|id| {
                    format!("Kalit does not know where {id} renews: make sure that it can be reached.")
                })),
            }
        }
        Ok(diagnosis)
    }

    /// The same facts, fit to be shown to others: the home directory is `~`, and no e-mail address
    /// stands in them.
    pub fn redacted(&self, diagnosis: Diagnosis) -> Diagnosis {
        let home = self.inner.environment.home();
        diagnosis.map_texts(|text| without_addresses(&text.replace(&*home.to_string_lossy(), "~")))
    }

    /// Moves the private key of the sealed copies into the system's keychain; answers with a
    /// sentence.
    ///
    /// # Errors
    /// `keychain.unavailable`: the key file stays.
    pub async fn move_key_to_keychain(&self) -> Result<String> {
        keychain::move_key_to_keychain(&self.inner.environment.data_dir())
            .await
            .map(|place| key_text(&place))
    }
}

impl Diagnosis {
    /// Every text of it through `change`.
    fn map_texts(mut self, change: impl Fn(&str) -> String) -> Self {
        let apply = |text: &mut String| *text = change(text);
        [&mut self.state_dir, &mut self.era, &mut self.key]
            .into_iter()
            .for_each(apply);
        for list in [
            &mut self.evidence,
            &mut self.rules,
            &mut self.snapshots,
            &mut self.journal,
            &mut self.leftovers,
        ] {
            list.iter_mut().for_each(apply);
        }
        for lock in &mut self.locks {
            apply(&mut lock.path);
            lock.program.iter_mut().for_each(apply);
        }
        if let Some(migration) = &mut self.migration {
            migration.files.iter_mut().for_each(apply);
            migration.warnings.iter_mut().for_each(apply);
            apply(&mut migration.command);
        }
        for notice in &mut self.notices {
            apply(&mut notice.message);
            apply(&mut notice.hint);
        }
        self
    }
}

/// The text with `…@…` for every e-mail address.
fn without_addresses(text: &str) -> String {
    let is_part = |letter: char| letter.is_alphanumeric() || "._%+-@".contains(letter);
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_part) {
        clean.push_str(&rest[..begin]);
        let word = &rest[begin..];
        let end = word.find(|letter| !is_part(letter)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        clean.push_str(if word.trim_matches('.').contains('@') {
            "…@…"
        } else {
            word
        });
        rest = after;
    }
    clean + rest
}

impl Inner {
    pub(super) fn diagnose(&self) -> (Diagnosis, BTreeSet<ProviderId>) {
        let now = self.now();
        let data_dir = self.environment.data_dir();
        let mut diagnosis = Diagnosis {
            schema: SCHEMA,
            at: now,
            state_dir: String::new(),
            era: String::new(),
            evidence: Vec::new(),
            rules: Vec::new(),
            locks: Vec::new(),
            snapshots: Vec::new(),
            journal: Vec::new(),
            leftovers: Vec::new(),
            key: key_text(&key_location(&data_dir)),
            migration: None,
            notices: Vec::new(),
        };
        let installation = match self.installation() {
            Ok(installation) => installation,
            Err(error) => {
                diagnosis.notices.push(notice_of(&error));
                return (diagnosis, BTreeSet::new());
            }
        };
        let own = installation_dir(&data_dir, &installation.state_dir.canonical());
        diagnosis.state_dir = installation.state_dir.path.display().to_string();
        diagnosis.era = match &installation.era {
            Era::Json => "json (OpenClaw 2026.2.17 to 2026.6.1)".to_owned(),
            Era::Sqlite { why } => format!("sqlite (OpenClaw 2026.6.5 or later writes, Kalit reads): {why}"),
            Era::Mixed { why } => format!("mixed: {why}"),
            Era::Empty => "nothing found".to_owned(),
        };
        diagnosis.evidence = installation
            .evidence
            .sources
            .iter()
            .map(|source| {
                let version = source
                    .version
                    .map_or_else(|| "?".to_owned(), |version| version.to_string());
                format!("{version}  {}  {}", source.what, source.path.display())
            })
            .collect();
        diagnosis.rules = rules(&installation);
        diagnosis.locks = self.locks_held(&installation);
        self.vault_facts(&own, &mut diagnosis);
        let leftovers = radar::leftovers(
            &installation.state_dir.path,
            &installation.state_dir.oauth_dir(),
            &installation.store_dirs(),
        );
        let mut places: Vec<String> = leftovers
            .holders
            .iter()
            .map(|holder| holder.path.display().to_string())
            .collect();
        places.dedup();
        diagnosis.leftovers = places;
        diagnosis.leftovers.extend(
            leftover_temp_files(&installation.store_dirs())
                .into_iter()
                .map(|file| format!("{} (temporary file of an interrupted write)", file.path.display())),
        );
        diagnosis.notices.extend(
            installation
                .config_failure
                .iter()
                .map(|finding| finding.to_notice()),
        );
        diagnosis
            .notices
            .extend(installation.notices.iter().map(|finding| finding.to_notice()));
        let mut ending = BTreeSet::new();
        if let Ok(fleet) = self.fleet() {
            let unreadable = fleet.own().filter_map(|store| store.content.as_ref().err());
            diagnosis.notices.extend(unreadable.map(notice_of));
            diagnosis.notices.extend(board::flaws(&fleet));
            if let Some((migration, providers)) = self.migration(&fleet) {
                diagnosis.migration = Some(migration);
                ending = providers;
            }
        }
        (diagnosis, ending)
    }

    fn locks_held(&self, installation: &Installation) -> Vec<LockView> {
        let mut locks = Vec::new();
        for dir in installation.store_dirs() {
            locks.extend(inspect_store_lock(&dir));
            let Ok(content) = installation.store(&dir).read() else {
                continue;
            };
            for (id, credential) in content.document.profiles() {
                let Some(common) = credential.common() else {
                    continue;
                };
                locks.extend(inspect_refresh_lock(
                    &installation.state_dir.path,
                    &common.provider_text,
                    &id,
                ));
            }
        }
        locks.into_iter().map(LockView::from).collect()
    }

    fn vault_facts(&self, own: &std::path::Path, diagnosis: &mut Diagnosis) {
        match Snapshots::open(own).list() {
            Ok(list) => {
                diagnosis.snapshots = list
                    .snapshots
                    .iter()
                    .map(|entry| format!("{}  {}  {}", entry.at, entry.reason, entry.file))
                    .collect();
                diagnosis.snapshots.extend(
                    list.unlisted
                        .iter()
                        .map(|path| format!("{} (not in the index)", path.display())),
                );
            }
            Err(error) => diagnosis.notices.push(notice_of(&error)),
        }
        match Journal::open(own).entries() {
            Ok(found) => {
                diagnosis.journal = found
                    .entries
                    .iter()
                    .map(|entry| match &entry.question {
                        Question::Refresh { holders, .. } => {
                            format!("{}  an answer waits for {} stores", entry.at, holders.len())
                        }
                        Question::SignIn(asked) => {
                            format!("{}  a sign-in waits for agent {}", entry.at, asked.agent)
                        }
                    })
                    .collect();
                diagnosis.journal.extend(
                    found
                        .unreadable
                        .iter()
                        .map(|file| format!("{}: {}", file.path.display(), file.reason)),
                );
            }
            Err(error) => diagnosis.notices.push(notice_of(&error)),
        }
        let trust = self.locks.trust();
        if let Err(error) = trust.check(std::path::Path::new(&diagnosis.state_dir)) {
            diagnosis.notices.push(notice_of(&error));
        }
    }
}

fn rules(installation: &Installation) -> Vec<String> {
    let rules = installation.rules();
    let known = installation.evidence.newest.map_or_else(
        || "unknown release: every careful choice".to_owned(),
        |version| format!("newest release {version}"),
    );
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    vec![
        known,
        format!(
            "store lock held during a refresh: {}",
            yes(rules.store_lock_during_call)
        ),
        format!(
            "order kept in: {}",
            match rules.auth_state_file {
                Some(true) => "auth-state.json",
                Some(false) => "auth-profiles.json",
                None => "auth-state.json if it exists",
            }
        ),
        format!("agents copy main's store: {}", yes(rules.copies_main_store)),
    ]
}

fn key_text(place: &KeyLocation) -> String {
    match place {
        KeyLocation::File => "a file that only you can read".to_owned(),
        KeyLocation::Keychain => "the system's keychain".to_owned(),
        KeyLocation::Missing => "not made yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_left_out_and_nothing_else() {
        for (text, clean) in [
            ("openai:mary@example.com waits", "openai:…@… waits"),
            ("(ada.l+x@mail.example.org).", "(…@…)."),
            (
                "/srv/ünï@exämple.uz/auth-profiles.json",
                "/srv/…@…/auth-profiles.json",
            ),
            ("openclaw (pid 4312), 2026.6.1", "openclaw (pid 4312), 2026.6.1"),
            ("", ""),
        ] {
            assert_eq!(without_addresses(text), clean);
        }
    }
}
