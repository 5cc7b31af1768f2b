//! Who holds a generation. Releases 2026.2.17 to 2026.4.21 copy main's store, refresh tokens
//! included, into every agent: rotating one copy kills the others, so all of them are found before
//! anything is sent.

use std::path::PathBuf;

use crate::ids::{AgentId, ProfileId};
use crate::radar::HolderKind;
use crate::secret::Fingerprint;
use crate::store::credential::Credential;

use super::fleet::Fleet;

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
        let unreadable = self
            .unreadable
            .iter()
            .map(|path| format!("{}, which cannot be read", path.display()));
        self.foreign.iter().cloned().chain(unreadable).collect()
    }
}

/// Compares every store and every foreign fingerprint with `generation`. Leftovers are no
/// obstacle; a copy in a sqlite-era installation is one, because Kalit cannot write there.
pub(super) fn find(fleet: &Fleet, generation: Fingerprint) -> Holders {
    let mut holders = Holders::default();
    for store in &fleet.stores {
        match &store.content {
            Ok(content) => {
                for (profile_id, credential) in content.document.profiles() {
                    if let Credential::Oauth(oauth) = &credential
                        && credential.generation() == Some(generation)
                    {
                        holders.stores.push(Holder {
                            agent_dir: store.agent_dir.clone(),
                            state_dir: store.state_dir.clone(),
                            agent: store.agent.clone(),
                            provider: oauth.common.provider_text.clone(),
                            profile_id,
                        });
                    }
                }
            }
            Err(_) => {
                let copies = fleet
                    .installation(&store.state_dir)
                    .is_none_or(|installation| installation.rules().copies_main_store);
                if copies {
                    holders.unreadable.push(store.agent_dir.clone());
                }
            }
        }
    }
    holders.stores.sort();
    for holder in fleet.external.obstacles(generation) {
        if !holders.foreign.iter().any(|known| known == holder.program) {
            holders.foreign.push(holder.program.to_owned());
        }
    }
    // A file of Codex that cannot be read may hold the same ChatGPT login.
    if holders
        .stores
        .iter()
        .any(|holder| matches!(holder.provider.trim(), "openai" | "openai-codex"))
    {
        let unreadable = fleet.external.unreadable.iter();
        let codex =
            unreadable.filter(|place| place.program == "Codex CLI" && place.kind == HolderKind::OtherProgram);
        holders.unreadable.extend(codex.map(|place| place.path.clone()));
    }
    holders
}
