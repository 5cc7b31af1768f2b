//! All OpenClaw installations of this machine, read once for one decision.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::AgentId;
use crate::install::{self, Era, Installation, canonical};
use crate::radar;
use crate::secret::Fingerprint;
use crate::settings::Settings;
use crate::store::agent_store::StoreContent;

use super::holders::{self, Holders};

/// The installations, their json-era stores and the fingerprints elsewhere, at one moment. Read
/// without locks: a hint until it is read again under them.
#[derive(Debug)]
pub struct Fleet {
    /// The current one first.
    pub installations: Vec<Installation>,
    pub stores: Vec<FleetStore>,
    pub(super) external: radar::Found,
}

/// One agent's store.
#[derive(Debug)]
pub struct FleetStore {
    pub state_dir: PathBuf,
    pub agent: AgentId,
    /// As its first agent names it. Others may lead there by links: it is one store.
    pub agent_dir: PathBuf,
    pub content: Result<StoreContent>,
    /// `agent_dir` without links.
    place: PathBuf,
}

impl Fleet {
    /// Reads the current installation (an error there is an error) and, as far as they can be
    /// read, the others on this machine, all of them afresh.
    pub fn read(environment: &Environment, settings: &Settings, explicit: Option<&Path>) -> Result<Self> {
        let dirs = install::state_dirs(environment, settings, explicit);
        let mut installations: Vec<Installation> = Vec::new();
        for dir in &dirs {
            let known = installations
                .iter()
                .any(|known| known.state_dir.canonical() == dir.canonical());
            if installations.is_empty() || (!known && dir.path.is_dir()) {
                installations.push(Installation::open_dir(environment, settings, dir));
            }
        }
        if installations.is_empty() {
            return Err(Error::new(
                ErrorCode::StateDirMissing,
                "no OpenClaw state directory is known",
            ));
        }
        let mut external = radar::read_external(environment);
        let mut stores: Vec<FleetStore> = Vec::new();
        for installation in &installations {
            let dirs = installation.store_dirs();
            match installation.era {
                Era::Json | Era::Empty => {
                    for agent_dir in dirs {
                        let place = canonical(&agent_dir);
                        if stores.iter().any(|store| store.place == place) {
                            continue;
                        }
                        let agent = installation
                            .agents
                            .iter()
                            .find(|agent| agent.agent_dir == agent_dir);
                        stores.push(FleetStore {
                            state_dir: installation.state_dir.path.clone(),
                            agent: agent.map_or_else(AgentId::main, |agent| agent.id.clone()),
                            content: installation.store(&agent_dir).read(),
                            agent_dir,
                            place,
                        });
                    }
                }
                Era::Sqlite { .. } | Era::Mixed { .. } => {
                    external.append(radar::read_unwritable(&installation.state_dir.path, &dirs));
                }
            }
        }
        Ok(Self {
            installations,
            stores,
            external,
        })
    }

    /// The installation that is shown and changed.
    pub fn current(&self) -> &Installation {
        // invariant: `read` puts the current installation first.
        &self.installations[0]
    }

    /// Who holds a generation, here and in other programs.
    pub fn holders(&self, generation: Fingerprint) -> Holders {
        holders::find(self, generation)
    }

    /// The installation that a holder belongs to.
    pub fn installation(&self, state_dir: &Path) -> Option<&Installation> {
        self.installations
            .iter()
            .find(|installation| installation.state_dir.path == state_dir)
    }

    /// The store in a directory, by whatever links it is named.
    pub fn store_of(&self, agent_dir: &Path) -> Option<&FleetStore> {
        let place = canonical(agent_dir);
        self.stores.iter().find(|store| store.place == place)
    }
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
