//! Import of credentials that very old installations left behind: `credentials/oauth.json`, a
//! flat `auth.json`, and the agent directory `<state>/agent`.
//!
//! Only as a deliberate act: [`LegacyImport::preview`] says what would happen, and
//! [`LegacyImport::apply`] does no more than what a preview has shown. The danger is a rotated
//! refresh token coming back to life: sending it makes the provider end the whole login. So an
//! existing profile is never replaced, and a candidate that may be older than what is stored is
//! not offered. The sources are read, never written and never deleted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{ProfileId, ProviderId};
use crate::secret::Fingerprint;
use crate::store::agent_store::{AgentStore, PROFILES_FILE, Revision};
use crate::store::atomic;
use crate::store::credential::{Credential, Oauth};
use crate::store::document::Document;
use crate::store::json;
use crate::store::lock::StoreLock;
use crate::view::CredentialKind;

/// The flat store of old installations, and a cache of OpenClaw 2026.2.17.
pub const FLAT_FILE: &str = "auth.json";

/// OAuth logins of old installations, in the OAuth directory.
pub const OAUTH_FILE: &str = "oauth.json";

/// Where to look and what is known to be no longer fresh.
#[derive(Clone, Debug, Default)]
pub struct LegacyImport {
    /// `OPENCLAW_OAUTH_DIR` or `<state>/credentials`.
    pub oauth_dir: PathBuf,
    /// `<state>/agent`, if it exists.
    pub legacy_agent_dir: Option<PathBuf>,
    /// Generations known to have been followed by a newer one.
    pub superseded: BTreeSet<Fingerprint>,
    /// Generations in the stores of other agents and in files of other programs.
    pub held_elsewhere: BTreeSet<Fingerprint>,
}

/// What an import would do.
#[derive(Debug)]
pub struct Preview {
    pub candidates: Vec<Candidate>,
    /// Sources that are there but cannot be read.
    pub problems: Vec<Error>,
}

/// One credential in a legacy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The file it lies in.
    pub source: PathBuf,
    pub provider: Option<ProviderId>,
    /// The id it would get.
    pub profile_id: ProfileId,
    pub kind: CredentialKind,
    pub email: Option<String>,
    pub expires: Option<Timestamp>,
    pub generation: Option<Fingerprint>,
    pub verdict: Verdict,
}

/// Whether a candidate is imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Importable,
    /// Its id is taken, or the same login lies in a store already.
    AlreadyPresent,
    Stale(StaleReason),
    /// No secret, or a type that OpenClaw does not know.
    Unusable,
}

/// Why a candidate must not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// A newer generation of the same login is known.
    Superseded,
    /// It ends before another login that may be the same one, under this id.
    OlderThan(ProfileId),
    /// The file is OpenClaw 2026.2.17's cache beside a store in use: it keeps rotated tokens.
    Cache,
}

impl LegacyImport {
    /// Lists what the legacy files hold and what would become of it in `store`, the main agent's.
    ///
    /// # Errors
    ///
    /// Those of [`AgentStore::read`]: beside an unusable store nothing can be said.
    pub fn preview(&self, store: &AgentStore) -> Result<Preview> {
        let (found, problems) = self.find(store.agent_dir());
        let content = store.read()?;
        Ok(Preview {
            candidates: self
                .judge(found, &content.document)
                .map(|(candidate, _)| candidate)
                .collect(),
            problems,
        })
    }

    /// Imports what `preview` showed as importable and what still is: the files and the store
    /// are looked at again under the lock. Answers with the ids that were added.
    ///
    /// # Errors
    ///
    /// `import.nothing`, `import.stale` (there are candidates, none may be imported), and those
    /// of [`AgentStore::update`].
    pub fn apply(
        &self,
        preview: &Preview,
        store: &AgentStore,
        lock: &StoreLock,
    ) -> Result<(Vec<ProfileId>, Revision)> {
        store.update(lock, |document, _| {
            let (found, _) = self.find(store.agent_dir());
            if found.is_empty() {
                return Err(Error::new(
                    ErrorCode::ImportNothing,
                    say!("no legacy credential was found"),
                ));
            }
            let shown: Vec<_> = self
                .judge(found, document)
                .filter(|(candidate, _)| candidate.verdict == Verdict::Importable)
                .filter(|(candidate, _)| preview.candidates.contains(candidate))
                .collect();
            if shown.is_empty() {
                return Err(Error::new(
                    ErrorCode::ImportStale,
                    say!("none of the legacy credentials may be imported"),
                ));
            }
            let mut added = Vec::new();
            for (candidate, entry) in shown {
                document.put_raw(&candidate.profile_id, entry)?;
                added.push(candidate.profile_id);
            }
            Ok(added)
        })
    }

    /// Everything that lies in the legacy files, the most authoritative first: OpenClaw lets
    /// `auth.json` win over `oauth.json`.
    fn find(&self, agent_dir: &Path) -> (Vec<Found>, Vec<Error>) {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        let mut look = |path: PathBuf, shape: Shape| match read_object(&path) {
            Ok(Some(object)) => shape.collect(&path, &object, &mut found),
            Ok(None) => {}
            Err(error) => problems.push(error),
        };
        look(agent_dir.join(FLAT_FILE), Shape::Flat);
        if let Some(legacy) = self.legacy_agent_dir.as_deref().filter(|dir| *dir != agent_dir) {
            look(legacy.join(PROFILES_FILE), Shape::Profiles);
            look(legacy.join(FLAT_FILE), Shape::Flat);
        }
        look(self.oauth_dir.join(OAUTH_FILE), Shape::Oauth);
        (found, problems)
    }

    fn judge(
        &self,
        found: Vec<Found>,
        document: &Document,
    ) -> impl Iterator<Item = (Candidate, Map<String, Value>)> {
        let stored: Vec<(ProfileId, Credential)> = document.profiles().collect();
        let mut candidates: Vec<Candidate> = Vec::new();
        for one in &found {
            let mut verdict = self.verdict(one, &found, &stored);
            let generation = one.credential.generation();
            let is_taken = candidates.iter().any(|earlier| {
                let same_login = generation.is_some() && earlier.generation == generation;
                earlier.verdict == Verdict::Importable && (earlier.profile_id == one.id || same_login)
            });
            if is_taken && verdict == Verdict::Importable {
                verdict = Verdict::AlreadyPresent;
            }
            candidates.push(Candidate {
                source: one.source.clone(),
                provider: one.credential.provider().cloned(),
                profile_id: one.id.clone(),
                kind: one.credential.kind(),
                email: one.credential.common().and_then(|common| common.email.clone()),
                expires: one.credential.expiry().at(),
                generation,
                verdict,
            });
        }
        candidates.into_iter().zip(found.into_iter().map(|one| one.entry))
    }

    /// The verdict on `one`, other candidates being considered only for how fresh they are.
    fn verdict(&self, one: &Found, found: &[Found], stored: &[(ProfileId, Credential)]) -> Verdict {
        if !one.credential.has_secret() {
            return Verdict::Unusable;
        }
        let oauth = one.credential.as_oauth();
        let generation = one.credential.generation();
        let is_present = stored.iter().any(|(id, credential)| {
            *id == one.id || (generation.is_some() && credential.generation() == generation)
        });
        let is_elsewhere = generation.is_some_and(|generation| self.held_elsewhere.contains(&generation));
        // A second copy of a rotating token logs its owner out; a static one may lie in two places.
        if is_present || (oauth.is_some() && is_elsewhere) {
            return Verdict::AlreadyPresent;
        }
        if one.shape == Shape::Flat && !stored.is_empty() {
            return Verdict::Stale(StaleReason::Cache);
        }
        if generation.is_some_and(|generation| self.superseded.contains(&generation)) {
            return Verdict::Stale(StaleReason::Superseded);
        }
        let others = stored
            .iter()
            .map(|(id, credential)| (id, credential))
            .chain(found.iter().map(|other| (&other.id, &other.credential)));
        let newer = oauth.and_then(|oauth| {
            let mut newer = others.filter(|(_, other)| may_have_replaced(other, oauth));
            newer.next()
        });
        match newer {
            Some((id, _)) => Verdict::Stale(StaleReason::OlderThan(id.clone())),
            None => Verdict::Importable,
        }
    }
}

/// Whether `other` ends later than `oauth` and nothing says that it is somebody else's login.
fn may_have_replaced(other: &Credential, oauth: &Oauth) -> bool {
    let Some(other) = other.as_oauth() else {
        return false;
    };
    let same_provider = other.common.provider == oauth.common.provider
        || (other.common.provider.is_openai() && oauth.common.provider.is_openai());
    let differ = |a: &Option<String>, b: &Option<String>| match (a, b) {
        (Some(a), Some(b)) => !a.trim().eq_ignore_ascii_case(b.trim()),
        (None, _) | (_, None) => false,
    };
    let somebody_else =
        differ(&other.account_id, &oauth.account_id) || differ(&other.common.email, &oauth.common.email);
    let ends_later = match (other.expires.at(), oauth.expires.at()) {
        (Some(other), Some(own)) => other > own,
        // A login without an end cannot be shown to be the newer one.
        (Some(_), None) => true,
        (None, _) => false,
    };
    same_provider && !somebody_else && ends_later
}

/// One entry of a legacy file, in the form in which it would be stored.
struct Found {
    source: PathBuf,
    shape: Shape,
    id: ProfileId,
    entry: Map<String, Value>,
    credential: Credential,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `{<provider>: {"type", …}}`.
    Flat,
    /// An `auth-profiles.json`.
    Profiles,
    /// `{<provider>: {"access", "refresh", "expires", …}}`.
    Oauth,
}

impl Shape {
    fn collect(self, path: &Path, object: &Map<String, Value>, found: &mut Vec<Found>) {
        let entries = match self {
            Shape::Profiles => object.get("profiles").and_then(Value::as_object),
            // A file with `profiles` is no flat store for OpenClaw either.
            Shape::Flat if object.contains_key("profiles") => None,
            Shape::Flat | Shape::Oauth => Some(object),
        };
        for (key, value) in entries.into_iter().flatten() {
            let Some(entry) = value.as_object() else {
                continue;
            };
            let (id, entry) = match self {
                Shape::Profiles => (key.clone(), entry.clone()),
                Shape::Flat => (format!("{key}:default"), with_provider(key, entry, None)),
                Shape::Oauth => (format!("{key}:default"), with_provider(key, entry, Some("oauth"))),
            };
            let Some(id) = ProfileId::parse(&id) else {
                continue;
            };
            found.push(Found {
                source: path.to_owned(),
                shape: self,
                id,
                credential: Credential::read(&Value::Object(entry.clone())),
                entry,
            });
        }
    }
}

/// The entry with `type` and `provider` in front, as OpenClaw stores it; all other fields stay.
fn with_provider(key: &str, entry: &Map<String, Value>, kind: Option<&str>) -> Map<String, Value> {
    let kind = kind.map(Value::from);
    let kind = kind.or_else(|| entry.get("type").or_else(|| entry.get("mode")).cloned());
    let provider = entry.get("provider").and_then(Value::as_str);
    let provider = provider
        .and_then(ProviderId::parse)
        .or_else(|| ProviderId::parse(key));
    let mut whole = Map::new();
    whole.extend(kind.map(|kind| ("type".to_owned(), kind)));
    whole.extend(provider.map(|provider| ("provider".to_owned(), provider.as_str().into())));
    let rest = entry.iter();
    let rest = rest.filter(|(name, _)| !matches!(name.as_str(), "type" | "mode" | "provider"));
    whole.extend(rest.map(|(name, value)| (name.clone(), value.clone())));
    whole
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let Some(bytes) = atomic::read_file(path)? else {
        return Ok(None);
    };
    let parsed = json::parse_for_edit(&bytes).map_err(|error| atomic::about(path, error))?;
    match (parsed.flaw, parsed.value) {
        (Some(flaw), _) => Err(atomic::about(path, flaw.error())),
        (None, Value::Object(object)) => Ok(Some(object)),
        (None, _) => Err(Error::new(
            ErrorCode::StoreWrongShape,
            say!("{path}: the top level is not an object", path = path.display()),
        )),
    }
}

#[cfg(test)]
mod tests;
