//! Who holds a generation. Releases 2026.2.17 to 2026.4.21 copy main's store, refresh tokens
//! included, into every agent: rotating one copy kills the others, so all of them are found before
//! anything is sent.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::ids::{AgentId, ProfileId};
use crate::install::canonical;
use crate::language;
use crate::radar::{Place, Program};
use crate::secret::Fingerprint;
use crate::store::credential::Credential;
use crate::store::lock::{RefreshLock, StoreLock};

use super::fleet::{Fleet, FleetStore};
use super::rotation::{Inner, Refresher};

/// One try of a store's lock.
const TRY_LOCK: Duration = Duration::from_secs(1);

/// One profile of one OpenClaw store that holds a generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    pub agent_dir: PathBuf,
    pub state_dir: PathBuf,
    pub agent: AgentId,
    /// The provider as the store spells it: part of the refresh lock's name.
    pub provider: String,
    pub profile_id: ProfileId,
}

/// Everything on this machine that holds a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Stores that Kalit can lock and write, in path order.
    pub stores: Vec<Holder>,
    /// Stores of the sqlite era, in path order: Kalit cannot write there.
    pub managed: Vec<Holder>,
    /// Other programs.
    pub foreign: Vec<String>,
    /// Stores of an installation that copies logins, which cannot be read: they may hold it too.
    pub unreadable: Vec<PathBuf>,
}

impl Holders {
    /// Whether Kalit may renew it: nobody outside the stores it can lock and write holds it.
    pub fn is_shared(&self) -> bool {
        !self.foreign.is_empty() || !self.unreadable.is_empty() || !self.managed.is_empty()
    }

    /// "Codex CLI", "agent work's store, which cannot be read".
    pub fn with_whom(&self) -> Vec<String> {
        let managed = (!self.managed.is_empty()).then(|| say!("OpenClaw 2026.6.5 or later"));
        self.outside().chain(managed).collect()
    }

    /// The same from the side of an installation of the sqlite era, which renews its own copies.
    pub fn with_whom_but(&self, state_dir: &Path) -> Vec<String> {
        let others = self.stores.iter().chain(&self.managed);
        let mut others: Vec<String> = others
            .filter(|holder| holder.state_dir != state_dir)
            .map(|holder| say!("OpenClaw in {path}", path = holder.state_dir.display()))
            .collect();
        others.dedup();
        self.outside().chain(others).collect()
    }

    fn outside(&self) -> impl Iterator<Item = String> {
        let unreadable = self
            .unreadable
            .iter()
            .map(|path| say!("{path}, which cannot be read", path = path.display()));
        let foreign = self.foreign.iter().map(|program| language::fixed(program));
        foreign.chain(unreadable)
    }
}

/// The locks of some holders, refresh locks and then store locks, each in path order. Held until
/// it is dropped.
#[derive(Debug)]
pub struct HolderLocks {
    refresh: Vec<RefreshLock>,
    stores: Vec<StoreLock>,
}

impl HolderLocks {
    /// The lock of one of the holders' stores.
    pub fn of(&self, agent_dir: &Path) -> Option<&StoreLock> {
        let place = canonical(agent_dir);
        self.stores.iter().find(|lock| lock.agent_dir() == place)
    }

    pub(super) fn into_parts(self) -> (Vec<RefreshLock>, Vec<StoreLock>) {
        (self.refresh, self.stores)
    }
}

impl Refresher {
    /// Takes the locks of all of these holders, or none. Blocks, a second for each lock at most.
    ///
    /// # Errors
    /// `lock.busy`, `lock.failed`, `era.sqlite`.
    pub fn lock(&self, fleet: &Fleet, holders: &[Holder]) -> Result<HolderLocks> {
        self.inner().lock(fleet, holders)
    }
}

impl Inner {
    pub(super) fn lock(&self, fleet: &Fleet, holders: &[Holder]) -> Result<HolderLocks> {
        let refresh = self.refresh_locks(fleet, holders)?;
        let dirs: BTreeSet<&Path> = holders.iter().map(|holder| holder.agent_dir.as_path()).collect();
        let stores = dirs
            .into_iter()
            .map(|dir| StoreLock::acquire(dir, &self.locks, TRY_LOCK));
        Ok(HolderLocks {
            stores: stores.collect::<Result<_>>()?,
            refresh,
        })
    }
}

/// Every OAuth generation of a fleet with its holders: a board asks for all of them.
#[derive(Debug, Default)]
pub(super) struct Index {
    stores: HashMap<Fingerprint, Vec<Holder>>,
    managed: HashMap<Fingerprint, Vec<Holder>>,
    unreadable: Vec<PathBuf>,
}

impl Index {
    pub(super) fn of(fleet: &Fleet) -> &Self {
        fleet.index.get_or_init(|| Self {
            stores: by_generation(&fleet.stores),
            managed: by_generation(&fleet.managed),
            unreadable: fleet
                .stores
                .iter()
                .filter(|store| store.content.is_err())
                .filter(|store| {
                    fleet
                        .installation(&store.state_dir)
                        .is_none_or(|installation| installation.rules().copies_main_store)
                })
                .map(|store| store.agent_dir.clone())
                .collect(),
        })
    }

    /// Everybody who holds `generation`. Leftovers are no obstacle; a copy in a database is one,
    /// because Kalit cannot write there.
    pub(super) fn find(&self, fleet: &Fleet, generation: Fingerprint) -> Holders {
        let of = |map: &HashMap<_, Vec<Holder>>| map.get(&generation).cloned().unwrap_or_default();
        let mut holders = Holders {
            stores: of(&self.stores),
            managed: of(&self.managed),
            foreign: Vec::new(),
            unreadable: self.unreadable.clone(),
        };
        for holder in fleet.external.obstacles(generation) {
            if !holders.foreign.iter().any(|known| known == holder.place.name()) {
                holders.foreign.push(holder.place.name().to_owned());
            }
        }
        // A file of Codex that cannot be read may hold the same ChatGPT login.
        if holders
            .stores
            .iter()
            .chain(&holders.managed)
            .any(|holder| matches!(holder.provider.trim(), "openai" | "openai-codex"))
        {
            let unreadable = fleet.external.unreadable.iter();
            let codex = unreadable.filter(|file| file.place == Place::Program(Program::Codex));
            holders.unreadable.extend(codex.map(|place| place.path.clone()));
        }
        holders
    }
}

fn by_generation(stores: &[FleetStore]) -> HashMap<Fingerprint, Vec<Holder>> {
    let mut map: HashMap<Fingerprint, Vec<Holder>> = HashMap::new();
    for store in stores {
        let profiles = store
            .content
            .iter()
            .flat_map(|content| content.document.profiles());
        for (profile_id, credential) in profiles {
            let generation = credential.generation();
            if let (Credential::Oauth(oauth), Some(generation)) = (&credential, generation) {
                map.entry(generation).or_default().push(Holder {
                    agent_dir: store.agent_dir.clone(),
                    state_dir: store.state_dir.clone(),
                    agent: store.agent.clone(),
                    provider: oauth.common.provider_text.clone(),
                    profile_id,
                });
            }
        }
    }
    map.values_mut().for_each(|holders| holders.sort());
    map
}
