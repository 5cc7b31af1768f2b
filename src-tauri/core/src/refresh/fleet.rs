//! All OpenClaw installations of this machine, read once for one decision.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::environment::Environment;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::AgentId;
use crate::install::{self, Era, Installation, canonical};
use crate::radar;
use crate::secret::Fingerprint;
use crate::settings::Settings;
use crate::store::agent_store::StoreContent;
use crate::store::sqlite::{self, SharedLocation};

use super::holders::{Holders, Index};

crate::keeps_secret!(FleetStore);

/// The installations, their stores and the fingerprints elsewhere, at one moment. Read without
/// locks: a hint until it is read again under them.
#[derive(Debug)]
pub struct Fleet {
    /// The current one first.
    pub installations: Vec<Installation>,
    /// Stores of the json era, which Kalit may write.
    pub stores: Vec<FleetStore>,
    /// Stores of the sqlite era: OpenClaw alone writes them.
    pub managed: Vec<FleetStore>,
    /// JSON stores of the current installation that OpenClaw has not moved into SQLite yet: sealed
    /// and told, and nothing else.
    pub unmoved: Vec<FleetStore>,
    pub(super) external: radar::Found,
    pub(super) index: OnceLock<Index>,
    /// Where the store of a directory is, by each of its names that is known.
    slots: HashMap<OsString, Slot>,
}

/// A place in [`Fleet::stores`] or [`Fleet::managed`].
#[derive(Clone, Copy, Debug)]
enum Slot {
    Written(usize),
    Managed(usize),
}

/// One agent's store, or the one that the agents of an installation share.
#[derive(Debug)]
pub struct FleetStore {
    pub state_dir: PathBuf,
    /// Main for the shared store.
    pub agent: AgentId,
    /// Its directory as its first agent names it (others may lead there by links: it is one store);
    /// for the shared store that of the shared database.
    pub agent_dir: PathBuf,
    pub content: Result<StoreContent>,
    /// The schema of the database, if it is newer than any that Kalit was tested with.
    pub untested_schema: Option<i64>,
    /// The schema of the database, where there is one.
    pub schema: Option<i64>,
    /// `agent_dir` without links.
    place: PathBuf,
}

impl Fleet {
    /// Reads the current installation (an error there is an error) and, as far as they can be
    /// read, the others on this machine, all of them afresh.
    pub fn read(environment: &Environment, settings: &Settings, explicit: Option<&Path>) -> Result<Self> {
        let installations = install::installations(environment, settings, explicit);
        if installations.is_empty() {
            return Err(Error::new(
                ErrorCode::StateDirMissing,
                say!("no OpenClaw state directory is known"),
            ));
        }
        let mut fleet = Self {
            installations: Vec::new(),
            stores: Vec::new(),
            managed: Vec::new(),
            unmoved: Vec::new(),
            external: radar::read_external(environment),
            index: OnceLock::new(),
            slots: HashMap::new(),
        };
        for (position, installation) in installations.iter().enumerate() {
            match installation.era {
                Era::Json | Era::Empty => {
                    for store in json_stores(installation) {
                        if fleet.take(&store, Slot::Written(fleet.stores.len())) {
                            fleet.stores.push(store);
                        }
                    }
                }
                Era::Sqlite { .. } => fleet.read_sqlite(installation),
                Era::Mixed { .. } => {
                    fleet.read_sqlite(installation);
                    // Nothing is renewed in the current one, whoever holds a copy.
                    if position > 0 {
                        fleet
                            .external
                            .append(radar::read_unmoved(&installation.store_dirs()));
                    } else {
                        let mut unmoved = json_stores(installation);
                        unmoved.retain(|store| store.content.as_ref().map_or(true, |it| it.exists));
                        fleet.unmoved = unmoved;
                    }
                }
            }
        }
        Ok(Self {
            installations,
            ..fleet
        })
    }

    fn read_sqlite(&mut self, installation: &Installation) {
        let state_dir = &installation.state_dir.path;
        let stored = |agent, agent_dir: PathBuf, read: Result<sqlite::Read>| {
            let (content, untested_schema, schema) = match read {
                Ok(read) => (Ok(read.content), read.untested_schema, read.schema),
                Err(error) => (Err(error), None, None),
            };
            FleetStore {
                state_dir: state_dir.clone(),
                agent,
                place: canonical(&agent_dir),
                agent_dir,
                content,
                untested_schema,
                schema,
            }
        };
        let shared = match sqlite::read_shared(state_dir) {
            Ok(shared) => (shared.location == SharedLocation::StateDatabase).then_some(Ok(shared.store)),
            Err(error) => Some(Err(error)),
        };
        let shared = shared.map(|read| stored(AgentId::main(), sqlite::shared_dir(state_dir), read));
        let owners = owners(installation);
        let own = installation.store_dirs().into_iter().map(|agent_dir| {
            let read = sqlite::read_agent(&agent_dir);
            stored(owner_of(&owners, &agent_dir), agent_dir, read)
        });
        for store in shared.into_iter().chain(own) {
            if self.take(&store, Slot::Managed(self.managed.len())) {
                self.managed.push(store);
            }
        }
    }

    /// Notes where a store will be; whether its directory had none yet.
    fn take(&mut self, store: &FleetStore, slot: Slot) -> bool {
        if self.slots.contains_key(store.place.as_os_str()) {
            return false;
        }
        for name in [&store.place, &store.agent_dir] {
            self.slots.entry(name.clone().into_os_string()).or_insert(slot);
        }
        true
    }

    /// The installation that is shown and changed.
    pub fn current(&self) -> &Installation {
        // invariant: `read` puts the current installation first.
        &self.installations[0]
    }

    /// Who holds a generation, here and in other programs.
    pub fn holders(&self, generation: Fingerprint) -> Holders {
        Index::of(self).find(self, generation)
    }

    /// What lies in other programs' files, and in stores of other installations that count no less.
    pub fn external(&self) -> &radar::Found {
        &self.external
    }

    /// The installation that a holder belongs to.
    pub fn installation(&self, state_dir: &Path) -> Option<&Installation> {
        self.installations
            .iter()
            .find(|installation| installation.state_dir.path == state_dir)
    }

    /// The store in one of an installation's directories, by whatever links it is named.
    pub fn store_of(&self, agent_dir: &Path) -> Option<&FleetStore> {
        let slot = self.slots.get(agent_dir.as_os_str());
        match slot.or_else(|| self.slots.get(canonical(agent_dir).as_os_str()))? {
            Slot::Written(at) => self.stores.get(*at),
            Slot::Managed(at) => self.managed.get(*at),
        }
    }

    /// The store that the agents of an installation inherit: the shared database's, else main's.
    pub fn inherited(&self, installation: &Installation) -> Option<&FleetStore> {
        let shared_dir = sqlite::shared_dir(&installation.state_dir.path);
        self.store_of(&shared_dir)
            .or_else(|| self.store_of(&installation.inherited_store_dir()))
    }

    /// Whether OpenClaw alone writes it: a store of the sqlite era. `store` is one of this fleet's.
    pub fn is_managed(&self, store: &FleetStore) -> bool {
        let mut managed = self.managed.iter();
        managed.any(|known| std::ptr::eq(known, store))
    }

    /// Whether it is the store in an installation's shared database.
    pub fn is_shared_database(&self, store: &FleetStore) -> bool {
        store.agent_dir == sqlite::shared_dir(&store.state_dir)
    }

    /// Every store of the current installation that holds logins, those not moved yet included.
    pub fn to_be_sealed(&self) -> impl Iterator<Item = &FleetStore> {
        self.own().chain(&self.unmoved)
    }

    /// The stores of the current installation, whatever its era.
    pub fn own(&self) -> impl Iterator<Item = &FleetStore> {
        let state_dir = &self.current().state_dir.path;
        let all = self.stores.iter().chain(&self.managed);
        all.filter(move |store| store.state_dir == *state_dir)
    }
}

/// The JSON stores in an installation's directories, each once.
fn json_stores(installation: &Installation) -> Vec<FleetStore> {
    let owners = owners(installation);
    let mut places = HashSet::new();
    let mut stores = Vec::new();
    for agent_dir in installation.store_dirs() {
        let place = canonical(&agent_dir);
        if places.insert(place.clone()) {
            stores.push(FleetStore {
                state_dir: installation.state_dir.path.clone(),
                agent: owner_of(&owners, &agent_dir),
                content: installation.store(&agent_dir).read(),
                place,
                agent_dir,
                untested_schema: None,
                schema: None,
            });
        }
    }
    stores
}

/// The first agent of each directory.
fn owners(installation: &Installation) -> HashMap<&OsStr, &AgentId> {
    let mut owners = HashMap::new();
    for agent in &installation.agents {
        owners.entry(agent.agent_dir.as_os_str()).or_insert(&agent.id);
    }
    owners
}

fn owner_of(owners: &HashMap<&OsStr, &AgentId>, agent_dir: &Path) -> AgentId {
    let owner = owners.get(agent_dir.as_os_str());
    owner.map_or_else(AgentId::main, |id| (*id).clone())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rusqlite::Connection;

    use super::*;
    use crate::broker::{RefreshResult, RefreshTarget};
    use crate::secret::Secret;
    use crate::testbed::{ANN, Machine, answer, login};

    #[tokio::test]
    async fn a_directory_with_several_names_is_one_holder_and_renewed_with_one_request() {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", -1000));
        // An agent of the same installation and the main agent of another one lead to main's.
        for (state, agent) in [(".openclaw", "work"), (".openclaw-b", "main")] {
            let alias = machine.agent_dir(state, agent);
            fs::create_dir_all(alias.parent().unwrap()).unwrap();
            symlink(&main, alias).unwrap();
        }
        let fleet = machine.fleet();
        assert_eq!(fleet.installations.len(), 2);
        let held: Vec<_> = fleet
            .holders(Secret::new("REF0").fingerprint())
            .stores
            .into_iter()
            .map(|holder| holder.agent_dir)
            .collect();
        assert_eq!(held, std::slice::from_ref(&main));
        let of_work = fleet.store_of(&machine.agent_dir(".openclaw", "work")).unwrap();
        assert_eq!(of_work.agent_dir, main);

        let server = machine.serve(vec![answer(1, "REF1")]).await;
        let outcomes = machine.broker().refresh(RefreshTarget::All).await;
        let [outcome] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(outcome.result, RefreshResult::Refreshed, "{outcome:?}");
        assert_eq!(outcome.holders, [main.display().to_string()]);
        assert_eq!(server.requests().len(), 1);
        assert_eq!(machine.read_store(&main)["profiles"][ANN]["refresh"], "REF1");
        let names = machine.names(&main);
        assert_eq!(names, ["auth-profiles.json"], "no lock and no temporary file");
    }

    #[tokio::test]
    async fn a_json_copy_in_an_installation_of_both_eras_makes_the_login_shared() {
        let machine = Machine::new();
        let main = machine.agent_dir(".openclaw", "main");
        machine.write_store(&main, &login("REF0", -1000));
        let mixed = machine.agent_dir(".openclaw-b", "main");
        machine.write_store(&mixed, &login("REF0", -1000));
        Connection::open(mixed.join("openclaw-agent.sqlite"))
            .unwrap()
            .execute_batch("CREATE TABLE auth_profile_store (store_key, store_json, updated_at)")
            .unwrap();
        let fleet = machine.fleet();
        assert!(matches!(fleet.installations[1].era, Era::Mixed { .. }));
        let held = fleet.holders(Secret::new("REF0").fingerprint());
        assert_eq!(held.stores.len(), 1);
        assert_eq!(
            (held.is_shared(), held.with_whom()),
            (
                true,
                vec!["an OpenClaw with both JSON and SQLite stores".to_owned()]
            )
        );

        let server = machine.serve(vec![answer(1, "REF1")]).await;
        let broker = machine.broker();
        let outcomes = broker.refresh(RefreshTarget::All).await;
        let codes: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.error.as_ref().unwrap().code.as_str())
            .collect();
        assert_eq!((codes, server.requests().len()), (vec!["refresh.shared"], 0));

        // Signed in on its own there: the login is this installation's alone.
        machine.write_store(&mixed, &login("REF-other", -1000));
        let outcomes = broker.refresh(RefreshTarget::All).await;
        assert_eq!(outcomes[0].result, RefreshResult::Refreshed, "{outcomes:?}");
        assert_eq!(server.requests().len(), 1);
        assert_eq!(
            machine.read_store(&mixed)["profiles"][ANN]["refresh"],
            "REF-other"
        );
    }
}
