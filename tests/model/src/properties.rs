//! What must hold.

use stateright::Property;

use crate::{PROCESSES, Phase, Protocol, State, Wire, bit};

pub const NEVER_TWICE: &str = "Kalit sends no generation twice";
pub const NEVER_OLDER: &str = "Kalit overwrites no newer generation by an older one";
pub const NO_LOCK_STAYS: &str = "a process that is done holds no lock";
pub const PROGRESS: &str = "where nothing moves the newest generation is in the store";
pub const WINDOW: &str = "an answer can be lost before the journal has it";
pub const OPENCLAWS_RACE: &str = "OpenClaw can send a generation that another has sent";
pub const OPENCLAWS_SAVE: &str = "OpenClaw can overwrite a newer generation";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(NEVER_TWICE, |_, state: &State| !state.facts.kalit_resent),
        Property::always(NEVER_OLDER, |_, state: &State| !state.facts.kalit_wrote_older),
        Property::always(NO_LOCK_STAYS, |_, state: &State| {
            PROCESSES.iter().all(|process| {
                state.actor(*process).phase != Phase::Idle
                    || (!state.owns(state.store_lock, *process) && !state.owns(state.refresh_lock, *process))
            })
        }),
        Property::always(PROGRESS, |protocol, state: &State| {
            protocol.goes_on(state).next().is_some() || is_well(state)
        }),
        // What can happen is found, too: a model in which nothing goes wrong proves nothing.
        Property::sometimes(WINDOW, |_, state: &State| state.facts.lost_by_kalit != 0),
        Property::sometimes(OPENCLAWS_RACE, |_, state: &State| {
            state.facts.resent_by_openclaw != 0
        }),
        Property::sometimes(OPENCLAWS_SAVE, |_, state: &State| {
            state.facts.openclaw_wrote_older
        }),
    ]
}

/// Where nothing moves until something happens by chance: everybody is done, and the newest generation
/// is in the store and usable, or what took this very one away was not Kalit.
fn is_well(state: &State) -> bool {
    let done = state.actors.iter().all(|actor| actor.phase == Phase::Idle);
    let journal = state.journal.iter().all(Option::is_none);
    done && journal && (has_newest(state) || is_over(state))
}

pub(crate) fn has_newest(state: &State) -> bool {
    state.server.ended.is_none() && state.store.generation == state.server.newest && !state.store.expired
}

/// Whether it was not Kalit by whom the newest generation is in nobody's hands, or the login is over:
/// what came back had been sent by OpenClaw beside another.
pub(crate) fn is_over(state: &State) -> bool {
    let resent = |spent| state.facts.resent_by_openclaw & bit(spent) != 0;
    state.is_newest_lost() || state.server.ended.is_some_and(resent)
}

/// Whether OpenClaw is renewing, or what it sent beside another is on its way: it may be about to end the
/// login, and nobody can keep it from that.
pub(crate) fn is_openclaws_turn(state: &State) -> bool {
    let resent = |g| state.facts.resent_by_openclaw & bit(g) != 0;
    PROCESSES.iter().any(|process| match state.actor(*process).phase {
        Phase::InFlight { g, wire } if process.is_kalit() => wire == Wire::OnItsWay && resent(g),
        phase => !process.is_kalit() && phase != Phase::Idle,
    })
}
