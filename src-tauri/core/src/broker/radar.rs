//! What lies where on this machine, put together for the radar's report.

use std::collections::{BTreeSet, HashMap};

use super::{Broker, Inner};
use crate::clock::TimeZone;
use crate::error::Result;
use crate::history::Generation;
use crate::language;
use crate::radar::report::{Known, Owner, Profile, Spot, report};
use crate::radar::{self, Found, Place, Program, keychain};
use crate::refresh::{Fleet, FleetStore};
use crate::secret::Fingerprint;
use crate::store::credential::Credential;
use crate::view::SCHEMA;
use crate::view::radar::{RadarView, UnreadableView};

impl Broker {
    /// Who holds which login: OpenClaw's stores of every state directory and both eras, its leftovers,
    /// and the files of other programs. `keychain`: a person wants their items in the system's keychain
    /// looked at, too, which may make it ask.
    ///
    /// # Errors
    /// `state_dir.missing`; `vault.unreadable` when the record of generations cannot be read.
    pub async fn radar(&self, keychain: bool) -> Result<RadarView> {
        let looked = if keychain {
            keychain::read(&self.inner.environment).await
        } else {
            Found::default()
        };
        let inner = self.inner.clone();
        super::blocking(move || inner.radar(looked, keychain)).await
    }
}

impl Inner {
    fn radar(&self, looked: Found, keychain: bool) -> Result<RadarView> {
        let fleet = self.fleet()?;
        let mut spots: Vec<Spot> = Vec::new();
        let mut unreadable = Vec::new();
        let mut places = BTreeSet::new();
        for store in fleet.stores.iter().chain(&fleet.managed).chain(&fleet.unmoved) {
            match &store.content {
                Ok(content) if content.exists => {
                    places.insert(store.agent_dir.clone());
                    spots.extend(of_store(&fleet, store));
                }
                Ok(_) => {}
                Err(error) => unreadable.push(UnreadableView {
                    name: store.agent.to_string(),
                    path: store.agent_dir.display().to_string(),
                    reason: error.message().to_owned(),
                }),
            }
        }
        let mut others = fleet.external().clone();
        for installation in &fleet.installations {
            others.append(radar::leftovers(
                &installation.state_dir.path,
                &installation.state_dir.oauth_dir(),
                &installation.store_dirs(),
            ));
        }
        others.append(looked);
        unreadable.extend(others.unreadable.into_iter().map(|file| UnreadableView {
            name: language::fixed(file.place.name()),
            path: file.path.display().to_string(),
            reason: file.reason,
        }));
        for holder in others.holders {
            places.insert(holder.path.clone());
            spots.push(Spot {
                owner: Owner::Other(holder.place),
                path: holder.path,
                generation: holder.generation,
                account_id: holder.account_id,
                changed_at: holder.changed_at,
            });
        }
        let mut generations: HashMap<Fingerprint, Generation> = HashMap::new();
        let tokens: BTreeSet<Fingerprint> = spots.iter().map(|spot| spot.generation).collect();
        for generation in &tokens {
            if let Some(known) = self.generations().find(*generation)? {
                generations.insert(*generation, known);
            }
        }
        let known = Known {
            generations: &generations,
            now: self.now(),
            time_zone: &TimeZone::system(),
        };
        Ok(RadarView {
            schema: SCHEMA,
            at: self.now(),
            findings: report(&spots, &known),
            places: places.len(),
            logins: tokens.len(),
            unreadable,
            unseen: unseen(&spots, keychain),
        })
    }
}

/// The OAuth logins of a store.
fn of_store<'a>(fleet: &'a Fleet, store: &'a FleetStore) -> impl Iterator<Item = Spot> + 'a {
    let installation = fleet.installation(&store.state_dir);
    let copies_main = installation.is_some_and(|installation| installation.rules().copies_main_store);
    let content = store.content.as_ref().ok();
    let profiles = content
        .into_iter()
        .flat_map(|content| content.document.profiles());
    let written_at = content.and_then(|content| content.written_at);
    profiles.filter_map(move |(profile_id, credential)| {
        let generation = credential.generation()?;
        let Credential::Oauth(oauth) = &credential else {
            return None;
        };
        Some(Spot {
            owner: Owner::Profile(Profile {
                state_dir: store.state_dir.clone(),
                is_current: store.state_dir == fleet.current().state_dir.path,
                managed: fleet.is_managed(store),
                copies_main,
                agent: store.agent.clone(),
                provider: oauth.common.provider.clone(),
                profile_id,
                expires: oauth.expires.at(),
            }),
            path: store.agent_dir.clone(),
            generation,
            account_id: oauth.account_id.clone(),
            changed_at: written_at,
        })
    })
}

/// Programs whose file holds no login, though they may keep one in the keychain.
fn unseen(spots: &[Spot], keychain: bool) -> Vec<String> {
    let mut programs: Vec<Program> = keychain::PROGRAMS.to_vec();
    programs.retain(|program| {
        let file = Owner::Other(Place::Program(*program));
        !keychain && spots.iter().all(|spot| spot.owner != file)
    });
    programs
        .into_iter()
        .map(|program| program.name().to_owned())
        .collect()
}
