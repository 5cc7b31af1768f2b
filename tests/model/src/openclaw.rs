//! OpenClaw's processes, as far as the store, the locks and the server see them.

use crate::{Action, Generation, Lock, Phase, Process, Protocol, State, Wire, bit};

impl Protocol {
    pub(crate) fn openclaw_actions(&self, state: &State, process: Process, actions: &mut Vec<Action>) {
        let actor = state.actor(process);
        match actor.phase {
            Phase::Idle => {
                if state.store.expired && state.server.ended.is_none() {
                    actions.push(Action::Step(process));
                }
                if state.left.lockless_saves > 0 {
                    if actor.memory != Some(state.store.generation) {
                        actions.push(Action::Load(process));
                    }
                    if actor
                        .memory
                        .is_some_and(|memory| memory != state.store.generation)
                    {
                        actions.push(Action::SaveWithoutLock(process));
                    }
                }
            }
            Phase::Wants { .. } => {
                if state.is_free(state.refresh_lock) {
                    actions.push(Action::Step(process));
                }
            }
            Phase::Refreshing { .. } => {
                if can_have_store_lock(state, process, state.store_lock) {
                    actions.push(Action::Step(process));
                }
            }
            Phase::InFlight { wire, .. } => {
                if wire != Wire::OnItsWay {
                    actions.push(Action::Step(process));
                }
            }
            Phase::Locked { .. }
            | Phase::Ready { .. }
            | Phase::Recorded { .. }
            | Phase::Received { .. }
            | Phase::Journalled { .. }
            | Phase::Placing { .. }
            | Phase::Placed { .. }
            | Phase::Discharging { .. }
            | Phase::Replaying { .. }
            | Phase::Mending { .. }
            | Phase::Leaving => actions.push(Action::Step(process)),
        }
    }

    pub(crate) fn openclaw_step(&self, state: &mut State, process: Process) {
        let g = state.store.generation;
        let next = match state.actor(process).phase {
            Phase::Idle if process == Process::Stealing => Phase::Refreshing { g },
            Phase::Idle => Phase::Wants { g },
            Phase::Wants { .. } => {
                state.refresh_lock = Some(state.lock_of(process));
                Phase::Refreshing { g }
            }
            Phase::Refreshing { .. } => {
                state.store_lock = Some(state.lock_of(process));
                Phase::Locked { g }
            }
            // It reads again under the lock, and keeps it during the call.
            Phase::Locked { .. } if state.store.expired => return state.send(process, g, false),
            Phase::Locked { .. } => Phase::Leaving,
            Phase::InFlight { g, wire } => match wire {
                Wire::Answered(n) => Phase::Placing { g, n },
                Wire::Refused | Wire::Lost | Wire::OnItsWay => Phase::Leaving,
            },
            // It does not look whether the lock is still its own.
            Phase::Placing { n, .. } => {
                state.overwrite(n);
                state.actor_mut(process).memory = None;
                Phase::Leaving
            }
            Phase::Leaving => {
                if process == Process::Stealing {
                    // by path, whosever it is
                    state.store_lock = None;
                } else {
                    state.release_store_lock(process);
                    state.release_refresh_lock(process);
                }
                Phase::Idle
            }
            Phase::Ready { .. }
            | Phase::Recorded { .. }
            | Phase::Received { .. }
            | Phase::Journalled { .. }
            | Phase::Placed { .. }
            | Phase::Discharging { .. }
            | Phase::Replaying { .. }
            | Phase::Mending { .. } => Phase::Idle,
        };
        state.actor_mut(process).phase = next;
    }
}

fn can_have_store_lock(state: &State, process: Process, lock: Option<Lock>) -> bool {
    state.is_free(lock) || (process == Process::Stealing && lock.is_some_and(|lock| lock.old))
}

impl State {
    pub(crate) fn save_without_lock(&mut self, process: Process) {
        let Some(memory) = self.actor(process).memory else {
            return;
        };
        self.left.lockless_saves -= 1;
        self.overwrite(memory);
        // The old access token has ended.
        self.store.expired = true;
    }

    /// Writes whatever is in the store by now.
    fn overwrite(&mut self, generation: Generation) {
        let on_disk = self.store.generation;
        self.write(generation);
        if on_disk > generation {
            self.facts.openclaw_wrote_older = true;
            self.facts.lost_by_openclaw |= bit(on_disk);
        }
    }
}
