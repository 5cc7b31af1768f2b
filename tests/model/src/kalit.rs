//! A Kalit process, step by step as `kalit-core` does it.

use crate::{Action, GENERATIONS, Generation, Phase, Process, Protocol, Sabotage, Sent, State, Wire};

impl Protocol {
    pub(crate) fn kalit_actions(&self, state: &State, process: Process, actions: &mut Vec<Action>) {
        let actor = state.actor(process);
        match actor.phase {
            Phase::Idle => {
                if state.store.expired && !self.is_answered(state) && may_send(state, state.store.generation)
                {
                    actions.push(Action::Step(process));
                }
                for sent in 0..GENERATIONS {
                    if state.journal[sent].is_some() && !is_at_it(state, sent) {
                        actions.push(Action::Replay(process, sent as Generation));
                    }
                }
                if self.replacement(state, process).is_some() {
                    actions.push(Action::Mend(process));
                }
                // A look at the store remembers what is new there.
                let seen = state.store.generation;
                if actor.memory.is_none_or(|memory| memory != seen)
                    && state.record[usize::from(seen)].successor.is_none()
                {
                    actions.push(Action::Load(process));
                }
            }
            Phase::Wants { .. } => {
                if state.is_free(state.refresh_lock) {
                    actions.push(Action::Step(process));
                }
            }
            // A busy lock makes everything start again.
            Phase::Refreshing { .. } => actions.push(Action::Step(process)),
            Phase::InFlight { wire, .. } => {
                if wire != Wire::OnItsWay {
                    actions.push(Action::Step(process));
                }
                if state.owns(state.store_lock, process) {
                    actions.push(Action::LetGo(process));
                }
            }
            Phase::Placing { .. } => {
                if state.owns(state.store_lock, process) || state.is_free(state.store_lock) {
                    actions.push(Action::Step(process));
                }
            }
            Phase::Replaying { .. } => {
                if state.is_free(state.refresh_lock) {
                    actions.push(Action::Step(process));
                }
            }
            Phase::Mending { .. } => {
                if state.is_free(state.store_lock) || state.owns(state.store_lock, process) {
                    actions.push(Action::Step(process));
                }
            }
            Phase::Locked { .. }
            | Phase::Ready { .. }
            | Phase::Recorded { .. }
            | Phase::Received { .. }
            | Phase::Journalled { .. }
            | Phase::Placed { .. }
            | Phase::Discharging { .. }
            | Phase::Leaving => actions.push(Action::Step(process)),
        }
    }

    /// Whether the answer to what the store holds waits in the journal: it is merged first.
    fn is_answered(&self, state: &State) -> bool {
        state.journal[usize::from(state.store.generation)].is_some()
    }

    pub(crate) fn begin_replay(&self, state: &mut State, process: Process, sent: Generation) {
        if let Some(n) = state.journal[usize::from(sent)] {
            state.record_rotation(sent, n);
            state.actor_mut(process).phase = Phase::Replaying { g: sent, n };
        }
    }

    pub(crate) fn begin_mending(&self, state: &mut State, process: Process) {
        if let Some(n) = self.replacement(state, process) {
            state.actor_mut(process).phase = Phase::Mending { n };
        }
    }

    pub(crate) fn kalit_step(&self, state: &mut State, process: Process) {
        let sabotage = self.sabotage;
        let next = match state.actor(process).phase {
            Phase::Idle => Phase::Wants {
                g: state.store.generation,
            },
            Phase::Wants { g } => {
                state.refresh_lock = Some(state.lock_of(process));
                Phase::Refreshing { g }
            }
            Phase::Refreshing { g } => {
                let is_dead = state.store_lock.is_some() && sabotage == Sabotage::NoTakeOver;
                if state.is_free(state.store_lock) && !is_dead {
                    state.store_lock = Some(state.lock_of(process));
                    Phase::Locked { g }
                } else {
                    state.release_refresh_lock(process);
                    Phase::Idle
                }
            }
            Phase::Locked { g } => {
                let changed = state.store.generation != g || !state.store.expired;
                if sabotage != Sabotage::NoReadUnderTheLocks
                    && (changed || self.is_answered(state) || !may_send(state, g))
                {
                    Phase::Leaving
                } else {
                    if !self.store_lock_during_call {
                        state.release_store_lock(process);
                    }
                    Phase::Ready { g }
                }
            }
            Phase::Ready { g } => {
                if !state.owns(state.refresh_lock, process) {
                    Phase::Leaving
                } else {
                    let known = &mut state.record[usize::from(g)];
                    known.sent = match known.sent {
                        _ if sabotage == Sabotage::NoRecordOfSending => known.sent,
                        Sent::No => Sent::Unknown,
                        Sent::Unknown | Sent::Again => Sent::Again,
                    };
                    Phase::Recorded { g }
                }
            }
            Phase::Recorded { g } => {
                let is_repetition = state.record[usize::from(g)].sent == Sent::Again;
                let lost_one = !state.owns(state.refresh_lock, process)
                    || (self.store_lock_during_call && !state.owns(state.store_lock, process));
                if !lost_one || sabotage == Sabotage::NoLookBeforeSending {
                    return state.send(process, g, is_repetition);
                }
                state.not_sent(g);
                Phase::Leaving
            }
            Phase::InFlight { g, wire } => match wire {
                Wire::Answered(n) => Phase::Received { g, n },
                Wire::Refused => {
                    state.record[usize::from(g)].refused = true;
                    Phase::Leaving
                }
                Wire::Lost | Wire::OnItsWay => Phase::Leaving,
            },
            Phase::Received { g, n } => {
                if sabotage != Sabotage::JournalAfterMerge {
                    state.journal[usize::from(g)] = Some(n);
                }
                Phase::Journalled { g, n }
            }
            Phase::Journalled { g, n } => {
                state.record_rotation(g, n);
                Phase::Placing { g, n }
            }
            Phase::Placing { g, n } => {
                if state.owns(state.store_lock, process) {
                    self.merge(state, g, n);
                    // An answer out of the journal may be older than what it remembers.
                    if state.record[usize::from(n)].successor.is_none() {
                        state.actor_mut(process).memory = Some(n);
                    }
                    Phase::Placed { g, n }
                } else {
                    state.store_lock = Some(state.lock_of(process));
                    Phase::Placing { g, n }
                }
            }
            Phase::Placed { g, n } => {
                state.release_store_lock(process);
                if sabotage == Sabotage::JournalAfterMerge {
                    state.journal[usize::from(g)] = Some(n);
                }
                Phase::Discharging { g, n }
            }
            Phase::Discharging { g, .. } => {
                state.journal[usize::from(g)] = None;
                Phase::Leaving
            }
            Phase::Replaying { g, n } => {
                state.refresh_lock = Some(state.lock_of(process));
                Phase::Placing { g, n }
            }
            Phase::Mending { n } => {
                if state.owns(state.store_lock, process) {
                    if self.replacement(state, process) == Some(n) {
                        state.facts.kalit_wrote_older |= state.store.generation > n;
                        state.write(n);
                    }
                    Phase::Leaving
                } else {
                    state.store_lock = Some(state.lock_of(process));
                    Phase::Mending { n }
                }
            }
            Phase::Leaving => {
                state.release_store_lock(process);
                state.release_refresh_lock(process);
                Phase::Idle
            }
        };
        state.actor_mut(process).phase = next;
    }

    /// What this process would put back: the newest generation that it saw, where the store holds one
    /// that is known to be older.
    fn replacement(&self, state: &State, process: Process) -> Option<Generation> {
        let n = state.actor(process).memory?;
        let known = state.record[usize::from(n)];
        let went_back = self.is_older(state, state.store.generation, n);
        (went_back && known.successor.is_none() && !known.refused).then_some(n)
    }

    fn is_older(&self, state: &State, old: Generation, new: Generation) -> bool {
        let [older, newer] = [old, new].map(|generation| state.record[usize::from(generation)]);
        match self.sabotage {
            Sabotage::OrderByFamily => {
                older.successor.is_some() && older.family == newer.family && old != new
            }
            _ => state.is_known_to_lead(old, new),
        }
    }

    /// What is on disk decides: the generation sent, or a known older one, gives way.
    fn merge(&self, state: &mut State, sent: Generation, n: Generation) {
        let on_disk = state.store.generation;
        let answer = state.record[usize::from(n)];
        let is_outdated = answer.successor.is_some() || answer.refused;
        let is_older = self.is_older(state, on_disk, n);
        let gives_way = !is_outdated && on_disk != n && (on_disk == sent || is_older);
        if gives_way || self.sabotage == Sabotage::MergeBlindly {
            state.facts.kalit_wrote_older |= on_disk > n;
            state.write(n);
        }
    }
}

impl State {
    /// The record of sending is taken back: the request did not leave.
    fn not_sent(&mut self, generation: Generation) {
        let known = &mut self.record[usize::from(generation)];
        known.sent = match known.sent {
            Sent::No | Sent::Unknown => Sent::No,
            Sent::Again => Sent::Unknown,
        };
    }

    pub(crate) fn fail_to_connect(&mut self, process: Process) {
        self.left.losses -= 1;
        if let Phase::Recorded { g } = self.actor(process).phase {
            self.not_sent(g);
        }
        self.actor_mut(process).phase = Phase::Leaving;
    }
}

/// Whether the record lets a generation be sent: never after a refusal or a rotation, once more
/// after a request without an answer, when no Kalit can still have it.
fn may_send(state: &State, generation: Generation) -> bool {
    let known = state.record[usize::from(generation)];
    let waits = [Process::Kalit(0), Process::Kalit(1)]
        .iter()
        .any(|kalit| has_request(state, *kalit, generation));
    let again = match known.sent {
        Sent::No => true,
        Sent::Unknown => !waits,
        Sent::Again => false,
    };
    known.successor.is_none() && !known.refused && again
}

/// Whether a request of a process that runs is younger than the time after which it is repeated.
fn has_request(state: &State, process: Process, generation: Generation) -> bool {
    let actor = state.actor(process);
    !actor.suspended
        && matches!(actor.phase,
            Phase::Recorded { g } | Phase::InFlight { g, .. } | Phase::Received { g, .. } if g == generation)
}

/// Whether a running Kalit is placing this answer itself. It need not be known for safety, but
/// replaying beside it leads nowhere new.
fn is_at_it(state: &State, sent: usize) -> bool {
    [Process::Kalit(0), Process::Kalit(1)].iter().any(
        |kalit| matches!(state.actor(*kalit).phase, Phase::Replaying { g, .. } if usize::from(g) == sent),
    )
}
