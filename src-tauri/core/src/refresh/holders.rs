//! Who holds a generation. Releases 2026.2.17 to 2026.4.21 copy main's store, refresh tokens
//! included, into every agent: rotating one copy kills the others, so all of them are found before
//! anything is sent.

use std::path::PathBuf;

use crate::ids::{AgentId, ProfileId};
use crate::install::Installation;
use crate::radar::{self, HolderKind};
use crate::secret::Fingerprint;
use crate::store::agent_store::AgentStore;
use crate::store::credential::Credential;

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
    /// In path order.
    pub stores: Vec<Holder>,
    /// Other programs and sqlite-era installations: Kalit cannot write there.
    pub foreign: Vec<String>,
    /// Stores of an installation that copies logins, which cannot be read: they may hold it too.
    pub unreadable: Vec<PathBuf>,
}

impl Holders {
    /// Whether Kalit may renew it: nobody outside the stores it can lock and write holds it.
    pub fn is_shared(&self) -> bool {
        !self.foreign.is_empty() || !self.unreadable.is_empty()
    }

    /// "Codex CLI", "agent work's store, which cannot be read".
    pub fn with_whom(&self) -> Vec<String> {
        let unreadable =
            self.unreadable.iter().map(|path| format!("{}, which cannot be read", path.display()));
        self.foreign.iter().cloned().chain(unreadable).collect()
    }
}

/// Reads every store of `installations` and compares with `external`, the fingerprints outside
/// OpenClaw's own stores. Reads without locks: the answer is a hint until it was read again under
/// the holders' locks.
pub fn find(
    installations: &[Installation],
    external: &[radar::Holder],
    generation: Fingerprint,
) -> Holders {
    let mut holders = Holders::default();
    for installation in installations {
        for agent in installation.agents() {
            match AgentStore::new(&agent.agent_dir).read() {
                Ok(content) => {
                    for (profile_id, credential) in content.document().profiles() {
                        if holds(&credential, generation) {
                            holders.stores.push(Holder {
                                agent_dir: agent.agent_dir.clone(),
                                state_dir: installation.state_dir().to_path_buf(),
                                agent: agent.id.clone(),
                                provider: credential.provider_text().to_owned(),
                                profile_id,
                            });
                        }
                    }
                }
                Err(_) if installation.rules().copies_main_store => {
                    holders.unreadable.push(agent.agent_dir.clone());
                }
                Err(_) => {}
            }
        }
    }
    holders.stores.sort();
    holders.stores.dedup_by(|a, b| a.agent_dir == b.agent_dir && a.profile_id == b.profile_id);
    for holder in external.iter().filter(|holder| holder.fingerprint == Some(generation)) {
        if !matches!(holder.kind, HolderKind::Leftover) && !holders.foreign.contains(&holder.program) {
            holders.foreign.push(holder.program.clone());
        }
    }
    holders
}

fn holds(credential: &Credential, generation: Fingerprint) -> bool {
    matches!(credential, Credential::Oauth(_)) && credential.generation() == Some(generation)
}
