//! What must hold.

use stateright::{Model as _, Property};

use crate::{PROCESSES, Phase, Protocol, State};

pub const NEVER_TWICE: &str = "Kalit sends no generation twice";
pub const NEVER_OLDER: &str = "Kalit overwrites no newer generation by an older one";
pub const NO_LOCK_STAYS: &str = "a process that is done holds no lock";
pub const PROGRESS: &str = "at the end the newest generation is in the store";
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
            let mut actions = Vec::new();
            protocol.actions(state, &mut actions);
            let ended = actions
                .into_iter()
                .all(|action| protocol.next_state(state, action).is_none());
            !ended || is_well(state)
        }),
        // What can happen is found, too: a model in which nothing goes wrong proves nothing.
        Property::sometimes(WINDOW, |_, state: &State| state.facts.answer_lost),
        Property::sometimes(OPENCLAWS_RACE, |_, state: &State| state.facts.openclaw_resent),
        Property::sometimes(OPENCLAWS_SAVE, |_, state: &State| {
            state.facts.openclaw_wrote_older
        }),
    ]
}

/// Where nothing moves any more: everybody is done, the newest generation is in the store and
/// usable, or what took it away is known and was not Kalit.
fn is_well(state: &State) -> bool {
    let done = state.actors.iter().all(|actor| actor.phase == Phase::Idle);
    let journal = state.journal.iter().all(Option::is_none);
    let facts = &state.facts;
    let excused = facts.answer_lost || facts.openclaw_lost || (state.server.ended && facts.openclaw_resent);
    let newest = !state.server.ended && state.store.generation == state.server.newest && !state.store.expired;
    done && journal && (newest || excused)
}
