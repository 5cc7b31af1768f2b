//! What must hold after an act of [`crate::acts`] was interrupted, and after Kalit was started again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kalit_core::broker::{Broker, RefreshResult, RefreshTarget};
use kalit_core::clock::{Clock, ManualClock, SystemClock};
use kalit_core::ids::{AgentId, ProfileId};
use kalit_core::store::lock::{RefreshLock, StoreLock};
use kalit_core::vault::{SealKey, Sealer};
use kalit_core::view::AccountState;
use serde_json::Value;

use crate::acts::{Act, Stage, provider_of};
use crate::openclaw::read_json;
use crate::renewal::locks;
use crate::token_endpoint::TokenEndpoint;
use crate::wait::until_some;

/// How long after the crash an unanswered request may be sent once more: 120 s for its answer, and
/// 60 s of rest.
const RETRY_MS: i64 = 185_000;

/// How an interrupted act came out in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As if it had not begun.
    Old,
    /// Everything is in place.
    New,
    /// The server may have rotated, and its answer is lost: told as such.
    Unknown,
}

impl Stage {
    /// Right after the interruption: every store is the old one or the new one, private, and what
    /// lies there keeps nobody out.
    pub fn is_whole(&self, endpoint: &TokenEndpoint) -> Result<()> {
        let stores = self.stores()?;
        self.others_are_untouched(&stores)?;
        self.targets_are_old_or_new(&stores, endpoint)?;
        for path in files_below(self.home.path())? {
            self.is_private(&path)?;
        }
        for lock in self.locks()? {
            is_whole_lock(&lock)?;
        }
        Ok(())
    }

    fn targets_are_old_or_new(
        &self,
        stores: &BTreeMap<PathBuf, Value>,
        endpoint: &TokenEndpoint,
    ) -> Result<()> {
        let account = &self.login.account_id;
        let (refresh, access) = match &self.brings {
            Some(access) => (Some(self.login.refresh.clone()), Some(access.clone())),
            None => (
                endpoint.current_refresh(account),
                endpoint.current_access(account),
            ),
        };
        for (path, store) in stores {
            let profile = &store["profiles"][&self.profile];
            let before = self
                .before
                .get(path)
                .map(|before| &before["profiles"][&self.profile]);
            if self.act == Act::SignOut && profile.is_null() {
                // Never forgotten before its end.
                ensure!(!endpoint.is_live(account), "removed, and still signed in");
                continue;
            }
            let is_old = *profile == before.cloned().unwrap_or_default();
            let is_new = profile["refresh"].as_str() == refresh.as_deref()
                && profile["access"].as_str() == access.as_deref();
            // What Kalit does not know stays.
            let is_complete = before.is_none_or(|before| before["unknown"] == profile["unknown"]);
            ensure!(
                is_old || (is_new && is_complete),
                "{profile} is neither old nor new"
            );
        }
        Ok(())
    }

    /// Files of Kalit's, and stores that were written, are for their owner alone.
    fn is_private(&self, path: &Path) -> Result<()> {
        let mode = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.permissions().mode() & 0o777);
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let ours = path.starts_with(self.data_dir());
        let written = self
            .before
            .get(path)
            .is_none_or(|before| read_json(path).is_ok_and(|now| now != *before));
        let planted = name.contains(&"0f".repeat(16));
        let is_store = name.starts_with("auth-") && !name.ends_with(".lock") && written && !planted;
        let is_database = name.contains(".sqlite");
        if ours || is_store || is_database {
            ensure!(
                mode(path)? == 0o600,
                "{} has mode {:o}",
                path.display(),
                mode(path)?
            );
        }
        let dir = path.parent().context("no directory")?;
        if ours && dir != self.data_dir().parent().unwrap_or(dir) {
            ensure!(mode(dir)? == 0o700, "{} has mode {:o}", dir.display(), mode(dir)?);
        }
        Ok(())
    }

    /// OpenClaw's locks that lie there.
    pub fn locks(&self) -> Result<Vec<PathBuf>> {
        let mut files = files_below(&self.home.state_dir())?;
        files.retain(|path| path.extension().is_some_and(|end| end == "lock"));
        Ok(files)
    }

    /// Everybody can take every lock at once: what a dead process left keeps nobody out.
    fn locks_are_free(&self) -> Result<()> {
        let context = locks();
        for agent in self.act.agents() {
            let dir = self.home.agent_dir(agent);
            if dir.is_dir() {
                StoreLock::try_acquire(&dir, &context)?;
            }
        }
        let id = ProfileId::parse(&self.profile).context("no profile id")?;
        RefreshLock::try_acquire(&self.home.state_dir(), provider_of(self.version), &id, &context)?;
        let left = self.locks()?;
        ensure!(left.is_empty(), "locks are left: {left:?}");
        Ok(())
    }

    /// Temporary files, journal entries and records of unfinished work.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>> {
        let is_left = |path: &PathBuf| {
            let dir = path.parent().and_then(Path::file_name).unwrap_or_default();
            let waits =
                (dir == "journal" || dir == "restores") && path.extension().is_some_and(|end| end == "json");
            waits || path.to_string_lossy().ends_with(".kalit.tmp")
        };
        let files = files_below(self.home.path())?;
        Ok(files.into_iter().filter(is_left).collect())
    }

    /// The answers that wait.
    pub fn journal(&self) -> Result<Vec<PathBuf>> {
        let mut files = files_below(&self.data_dir())?;
        files.retain(|path| {
            path.parent().and_then(Path::file_name).unwrap_or_default() == "journal"
                && path.extension().is_some_and(|end| end == "json")
        });
        Ok(files)
    }

    /// Starts an engine as `kalit watch` does, and waits until everything is in order: nothing is
    /// left, and the newest generation is in every store, or told to be unknown.
    pub async fn recovers(&self, endpoint: &TokenEndpoint, limit: Duration) -> Result<Outcome> {
        let broker = self.kalit.broker(Arc::new(SystemClock))?;
        let engine = broker.engine().await?;
        let mut last = None;
        let settled = until_some("a state without fault", limit, || {
            match self.outcome(&broker, endpoint) {
                Ok(outcome) => Some(outcome),
                Err(error) => {
                    last = Some(error);
                    None
                }
            }
        })
        .await;
        // A renewal of its own may have been under way: it is waited for.
        engine.stop().await;
        if let Err(late) = settled {
            return Err(last.unwrap_or(late));
        }
        let mut outcome = self.outcome(&broker, endpoint)?;
        if let (Act::Restore(_), Outcome::Old) = (self.act, outcome) {
            // A person asks again.
            let id = ProfileId::parse(&self.profile).context("no profile id")?;
            broker.restore(&AgentId::main(), &id).await?;
            outcome = self.outcome(&broker, endpoint)?;
            ensure!(outcome == Outcome::New, "it cannot be put back any more");
        }
        self.is_whole(endpoint)?;
        self.locks_are_free()?;
        self.can_seal()?;
        Ok(outcome)
    }

    fn outcome(&self, broker: &Broker, endpoint: &TokenEndpoint) -> Result<Outcome> {
        let left = self.leftovers()?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        let stores = self.stores()?;
        let current = endpoint
            .current_refresh(&self.login.account_id)
            .context("no such login")?;
        let held = self.generations()?;
        match self.act {
            Act::Refresh(_) | Act::RefreshCopies => {
                if held.iter().all(|held| *held == current) && current != self.login.refresh {
                    return Ok(Outcome::New);
                }
                ensure!(
                    held.iter().all(|held| *held == self.login.refresh),
                    "lost: {held:?} is stored, {current} was issued"
                );
                let state = self.account_state(broker)?;
                ensure!(
                    state == AccountState::Unknown || current != self.login.refresh,
                    "not renewed yet: the account is {state:?}"
                );
                ensure!(
                    state == AccountState::Unknown,
                    "lost: {held:?} is stored, {current} was issued, the account is {state:?}"
                );
                Ok(Outcome::Unknown)
            }
            Act::SignIn if current == self.login.refresh => Ok(Outcome::Old),
            Act::SignIn if held.is_empty() => Ok(Outcome::Unknown),
            Act::SignIn => {
                ensure!(
                    held.iter().all(|held| *held == current),
                    "another login is stored"
                );
                Ok(Outcome::New)
            }
            Act::Use | Act::SetOrder | Act::ClearOrder => {
                self.order_outcome(&stores.into_values().collect::<Vec<_>>())
            }
            Act::Import if held.is_empty() => Ok(Outcome::Old),
            Act::Import => {
                ensure!(
                    held.iter().all(|held| *held == self.login.refresh),
                    "another login was imported"
                );
                Ok(Outcome::New)
            }
            Act::SignOut if held.is_empty() => Ok(Outcome::New),
            Act::SignOut => {
                let told = matches!(
                    self.account_state(broker)?,
                    AccountState::SignedOut | AccountState::Unknown
                );
                let is_live = endpoint.is_live(&self.login.account_id);
                ensure!(is_live || told, "it has ended, and nothing is told");
                Ok(if told { Outcome::Unknown } else { Outcome::Old })
            }
            Act::Restore(count) => match held.iter().filter(|held| **held == self.login.refresh).count() {
                0 => Ok(Outcome::Old),
                restored if restored == count => Ok(Outcome::New),
                restored => bail!("put back in {restored} of {count} databases"),
            },
            Act::Watch => {
                let sealed = files_below(&self.data_dir())?;
                let sealed = sealed
                    .iter()
                    .filter(|path| path.extension().is_some_and(|end| end == "age"));
                ensure!(sealed.count() >= 2, "not sealed yet");
                Ok(Outcome::New)
            }
        }
    }

    fn order_outcome(&self, stores: &[Value]) -> Result<Outcome> {
        let provider = provider_of(self.version);
        let of = |stores: &[&Value]| {
            stores
                .iter()
                .find_map(|store| store["order"].get(provider).cloned())
        };
        let now = of(&stores.iter().collect::<Vec<_>>());
        // Kalit adds the provider's other accounts behind those that were named.
        let is_new = match &now {
            None => self.act == Act::ClearOrder,
            Some(order) => order[0] == self.profile && order[1] == self.second(),
        };
        if is_new {
            return Ok(Outcome::New);
        }
        ensure!(
            now == of(&self.before.values().collect::<Vec<_>>()),
            "the order became {now:?}"
        );
        Ok(Outcome::Old)
    }

    /// What Kalit shows of the login.
    pub fn account_state(&self, broker: &Broker) -> Result<AccountState> {
        let snapshot = broker.snapshot();
        let accounts = snapshot.agents.iter().flat_map(|agent| &agent.providers);
        let mut accounts = accounts.flat_map(|provider| &provider.accounts);
        let found = accounts.find(|account| account.profile_id.as_str() == self.profile);
        Ok(found.context("the account is not shown")?.state)
    }

    /// The key pair fits: what is sealed from now on can be opened.
    fn can_seal(&self) -> Result<()> {
        let data = self.data_dir();
        if let Some(key) = SealKey::from_file(&data)? {
            ensure!(
                Sealer::open(&data)?.public_key() == key.public_key(),
                "another key"
            );
        }
        Ok(())
    }

    /// Three minutes later the unanswered request is sent once more: renewed if the server had not
    /// rotated, else told to be signed out because the answer was lost. Whether it was renewed.
    pub async fn is_retried_once(&self, endpoint: &TokenEndpoint) -> Result<bool> {
        let rotated = endpoint.current_refresh(&self.login.account_id) != Some(self.login.refresh.clone());
        let later = SystemClock.now().plus_millis(RETRY_MS);
        let broker = self.kalit.broker(Arc::new(ManualClock::new(later)))?;
        let outcomes = broker.refresh(RefreshTarget::Due).await;
        let outcome = outcomes.first().context("nothing was tried")?;
        if !rotated {
            ensure!(outcome.result == RefreshResult::Refreshed, "{outcome:?}");
            return Ok(true);
        }
        let error = outcome.error.as_ref().context("a spent token was taken")?;
        ensure!(
            error.code == "refresh.signed_out"
                && error.message.contains("answer to the last renewal was lost"),
            "{error:?}"
        );
        ensure!(self.account_state(&broker)? == AccountState::SignedOut);
        Ok(false)
    }

    /// Whether the command line, started beside the leftovers, works at once: the newest generation is
    /// in every store, or it was asked for, nothing waits, and it is told to be unknown.
    pub async fn command_works(&self, endpoint: &TokenEndpoint) -> Result<()> {
        let waits = !self.journal()?.is_empty();
        let ran = self.kalit.run(&["refresh", "--due", "--json"]).await?;
        let outcomes = ran.json()?["outcomes"].clone();
        let outcomes = outcomes.as_array().context("no outcomes")?;
        let blocked = outcomes.iter().find(|outcome| {
            outcome["error"]["code"]
                .as_str()
                .is_some_and(|code| code.starts_with("lock."))
        });
        ensure!(blocked.is_none(), "{ran:?}");
        let current = endpoint.current_refresh(&self.login.account_id);
        let held = self.generations()?;
        let is_new = |held: &String| Some(held) == current.as_ref() && *held != self.login.refresh;
        if !held.is_empty() && held.iter().all(is_new) {
            return Ok(());
        }
        let account = self.kalit.account("main", &self.profile).await?;
        ensure!(
            !waits && account["state"] == "unknown",
            "neither renewed nor told: {ran:?}, {account:#}"
        );
        Ok(())
    }
}

/// Both kinds of OpenClaw take a lock over whose owner is dead; one that names none, or is cut
/// short, blocks 2026.5.12 to 2026.6.1 for ever.
pub fn is_whole_lock(path: &Path) -> Result<()> {
    let lock = read_json(path)?;
    let pid = lock["pid"]
        .as_i64()
        .with_context(|| format!("{lock} names no process"))?;
    ensure!(lock["createdAt"].is_string(), "{lock} tells no time");
    ensure!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "the owner of {lock} lives"
    );
    Ok(())
}

/// Every file below a directory, links apart.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).context(dir.display().to_string()),
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
