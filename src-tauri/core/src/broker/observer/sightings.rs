//! Which other programs were seen with a generation of these stores. Kept in the record: that a
//! program renewed a login that it shared, or is gone with it, is noticed after a restart, too.

use std::collections::HashMap;

use super::scene::Scene;
use crate::broker::Inner;
use crate::event::EventKind;
use crate::history::{Family, Sighting};
use crate::ids::ProfileId;
use crate::radar::{Holder, Place, Program};
use crate::refresh::{Fleet, FleetStore};
use crate::secret::Fingerprint;

/// A login in a store of this installation.
struct Own<'a> {
    store: &'a FleetStore,
    id: ProfileId,
    account_id: Option<String>,
}

/// Notes who holds what by now, and tells what became of it.
pub(super) fn look(inner: &Inner, fleet: &Fleet, installation: &str) {
    let own = own(fleet);
    let Ok(sightings) = inner.marks.sightings() else {
        return;
    };
    let external = fleet.external();
    let of = |program: Program| {
        let place = Place::Program(program);
        external
            .holders
            .iter()
            .filter(move |holder| holder.place == place)
    };
    let tell = |own: &Own<'_>, kind: EventKind, generation: Fingerprint, cause: &str, text: &str| {
        let store = own.store;
        let scene = Scene {
            inner,
            store,
            installation,
        };
        scene.emit(kind, Some(&own.id), Some(generation), cause, text);
    };
    for sighting in &sightings {
        let Some(program) = Program::of_word(&sighting.program) else {
            continue;
        };
        let unreadable = external.unreadable.iter();
        let unknown = unreadable
            .filter(|file| file.place == Place::Program(program))
            .count()
            > 0;
        if unknown || of(program).any(|holder| holder.generation == sighting.generation) {
            continue;
        }
        let _ = inner.marks.forget_sighting(sighting);
        let here = own.get(&sighting.generation);
        let next = of(program).find(|holder| is_successor(holder, here));
        if let Some(next) = next {
            follow(inner, &own, sighting, next);
        }
        let Some(here) = here else { continue };
        let (name, word) = (program.name(), program.word());
        let (cause, text) = match (next, of(program).next()) {
            (Some(_), _) => (
                word.to_owned(),
                format!("{name} has newer tokens of the login that it shared"),
            ),
            (None, Some(_)) => (
                format!("{word}:other-account"),
                format!("{name} holds another account in place of the login that it shared"),
            ),
            (None, None) => (
                format!("{word}:gone"),
                format!(
                    "{name}'s file no longer holds the login that it shared: it was signed out there, which ends it here, too, or moved to the keychain"
                ),
            ),
        };
        tell(
            here,
            EventKind::RenewedElsewhere,
            sighting.generation,
            &cause,
            &text,
        );
    }
    for holder in &external.holders {
        let (Place::Program(program), Some(here)) = (holder.place, own.get(&holder.generation)) else {
            continue;
        };
        let sighting = Sighting {
            program: program.word().to_owned(),
            generation: holder.generation,
        };
        if inner
            .marks
            .record_sighting(&sighting, inner.now())
            .unwrap_or(false)
        {
            let text = format!("{} holds the same login", program.name());
            tell(here, EventKind::Shared, holder.generation, program.word(), &text);
        }
    }
}

/// The program's newer tokens are a later generation of the same chain, and it goes on from there.
fn follow(inner: &Inner, own: &HashMap<Fingerprint, Own<'_>>, sighting: &Sighting, next: &Holder) {
    let generations = inner.generations();
    let at = next.changed_at.unwrap_or_else(|| inner.now());
    let Ok(family) = generations.record_rotation(sighting.generation, next.generation, at, None) else {
        return;
    };
    let of_family = |generation: &Fingerprint| {
        let known: Option<Family> = generations.family_of(*generation).ok();
        known == Some(family)
    };
    if own.keys().any(of_family) {
        let seen = Sighting {
            program: sighting.program.clone(),
            generation: next.generation,
        };
        let _ = inner.marks.record_sighting(&seen, inner.now());
    }
}

/// Whether it can be the same person's login: nothing says that it is another account's.
fn is_successor(holder: &Holder, own: Option<&Own<'_>>) -> bool {
    let here = own.and_then(|own| own.account_id.as_ref());
    let pair = here.zip(holder.account_id.as_ref());
    pair.is_none_or(|(here, there)| here == there)
}

fn own(fleet: &Fleet) -> HashMap<Fingerprint, Own<'_>> {
    let mut own = HashMap::new();
    for store in fleet.own() {
        let profiles = store
            .content
            .iter()
            .flat_map(|content| content.document.profiles());
        for (id, credential) in profiles {
            let (Some(generation), Some(oauth)) = (credential.generation(), credential.as_oauth()) else {
                continue;
            };
            own.entry(generation).or_insert_with(|| Own {
                store,
                id,
                account_id: oauth.account_id.clone(),
            });
        }
    }
    own
}
