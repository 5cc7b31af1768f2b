//! The lock and refresh protocol as a model: two Kalit processes, one OpenClaw of the kind that
//! steals old locks (2026.2.17) and one of the kind that does not (2026.6.1), one store with one
//! login, and a server that ends a login when a spent generation comes back. Every order of their
//! steps is looked at, with crashes, lost messages and a suspended process.
//!
//! Generations are small numbers: the login begins with 0, each rotation issues the next one. A
//! step is what no other process can be seen in the middle of: one system call, or several on files
//! of which nobody else reads a part.

mod kalit;
pub mod liveness;
mod openclaw;
pub mod properties;
mod server;

use stateright::{Model, Property};

/// Generations that the server can issue, the first included.
pub const GENERATIONS: usize = 4;
/// The processes.
pub const PROCESSES: [Process; 4] = [
    Process::Kalit(0),
    Process::Kalit(1),
    Process::Stealing,
    Process::Other,
];

pub type Generation = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    Kalit(u8),
    /// OpenClaw as 2026.2.17: no refresh lock; steals a store lock that is old, whoever lives;
    /// releases by path.
    Stealing,
    /// OpenClaw as 2026.6.1: refresh lock, then store lock; takes over from the dead only.
    Other,
}

impl Process {
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Kalit(number) => number as usize,
            Self::Stealing => 2,
            Self::Other => 3,
        }
    }

    pub(crate) const fn is_kalit(self) -> bool {
        matches!(self, Self::Kalit(_))
    }
}

/// A change of the protocol that the check has to catch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    #[default]
    None,
    /// The answer is journalled after it is in the store.
    JournalAfterMerge,
    /// What is sent is what was read before the locks.
    NoReadUnderTheLocks,
    /// The locks are not looked at again between the record and the request.
    NoLookBeforeSending,
    /// That a request goes out is not recorded before.
    NoRecordOfSending,
    /// The answer is written whatever is in the store by now.
    MergeBlindly,
    /// What is spent is taken for older than whatever else of its family is not.
    OrderByFamily,
    /// A store lock whose owner is dead is not taken over.
    NoTakeOver,
}

/// The scene: who takes part, by which rules, and how much goes wrong at most.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub processes: Vec<Process>,
    /// Kalit keeps the store lock during the request: a release in use has no other.
    pub store_lock_during_call: bool,
    pub sabotage: Sabotage,
    pub limits: Limits,
}

/// How often each may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The access token ends: everybody wants to renew.
    pub expiries: u8,
    /// A process is killed.
    pub crashes: u8,
    /// A request or an answer is lost on the way.
    pub losses: u8,
    /// A process stands still, past the time after which its lock is old.
    pub suspensions: u8,
    /// An OpenClaw that could not have the lock saves what it has in memory without it.
    pub lockless_saves: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub server: Server,
    pub store: Store,
    pub store_lock: Option<Lock>,
    pub refresh_lock: Option<Lock>,
    /// What the journal holds, by the generation that was sent.
    pub journal: [Option<Generation>; GENERATIONS],
    /// Kalit's record, shared by its processes.
    pub record: [Known; GENERATIONS],
    pub actors: [Actor; PROCESSES.len()],
    pub left: Limits,
    pub facts: Facts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    pub newest: Generation,
    /// The spent generation that came back.
    pub ended: Option<Generation>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store {
    pub generation: Generation,
    pub expired: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lock {
    pub owner: Process,
    /// Which of the owner's lives took it.
    pub life: u8,
    /// Older than 30 s.
    pub old: bool,
}

/// What Kalit has on record of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Known {
    /// The generation that it was found to follow from, over all rotations that a Kalit made or
    /// saw; itself as long as none is known.
    pub family: Generation,
    /// What took its place.
    pub successor: Option<Generation>,
    pub refused: bool,
    pub sent: Sent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sent {
    #[default]
    No,
    /// A request went out, or was about to, and there is no answer yet, or none came.
    Unknown,
    /// The same for the one repetition.
    Again,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Counts the crashes: a lock of an earlier life is that of a dead owner.
    pub life: u8,
    pub suspended: bool,
    pub phase: Phase,
    /// The generation that the process has in memory: Kalit's newest, or OpenClaw's whole store.
    pub memory: Option<Generation>,
}

/// Where a process is in its renewal. `g` is sent, `n` received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    #[default]
    Idle,
    /// Has read the store without a lock.
    Wants {
        g: Generation,
    },
    /// Has the refresh lock.
    Refreshing {
        g: Generation,
    },
    /// Has the store lock too.
    Locked {
        g: Generation,
    },
    /// Has read again under the locks and will send.
    Ready {
        g: Generation,
    },
    /// The record of sending stands.
    Recorded {
        g: Generation,
    },
    InFlight {
        g: Generation,
        wire: Wire,
    },
    /// The answer is in memory.
    Received {
        g: Generation,
        n: Generation,
    },
    /// And safe in the journal.
    Journalled {
        g: Generation,
        n: Generation,
    },
    /// Needs the store lock, or has it still, to write.
    Placing {
        g: Generation,
        n: Generation,
    },
    /// The store has been dealt with.
    Placed {
        g: Generation,
        n: Generation,
    },
    /// The store lock is given back; the journal still stands.
    Discharging {
        g: Generation,
        n: Generation,
    },
    /// An answer out of the journal is to be placed.
    Replaying {
        g: Generation,
        n: Generation,
    },
    /// The store went back to an older generation: `n` is to be put back.
    Mending {
        n: Generation,
    },
    /// Nothing came of it: the locks are given back.
    Leaving,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    OnItsWay,
    Answered(Generation),
    Refused,
    Lost,
}

/// What happened, for the properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Kalit sent a generation that was on its way or spent already, or that a Kalit had sent
    /// before, other than as the one repetition of a request without an answer.
    pub kalit_resent: bool,
    /// Kalit wrote an older generation over a newer one.
    pub kalit_wrote_older: bool,
    /// A bit for each generation that was issued and never reached Kalit's journal: lost on the way,
    /// or Kalit was killed before its first step after the answer.
    pub lost_by_kalit: u8,
    /// And for each that OpenClaw lost: killed before it saved, an answer lost, or an older one written
    /// over it; until it is in the store again.
    pub lost_by_openclaw: u8,
    /// A bit for each generation that OpenClaw sent and that another had sent.
    pub resent_by_openclaw: u8,
    /// OpenClaw wrote an older generation over a newer one.
    pub openclaw_wrote_older: bool,
    /// A bit for each generation that was sent, by whom: to tell a second time.
    pub sent_by_kalit: u8,
    pub sent_by_openclaw: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The access token ends.
    Expire,
    /// The process does its next step.
    Step(Process),
    /// Kalit begins with an answer out of the journal, by the generation that was sent.
    Replay(Process, Generation),
    /// Kalit begins to put the newest generation back.
    Mend(Process),
    /// Kalit has held the store lock for 20 s of a request: it lets go.
    LetGo(Process),
    /// The server cannot be reached: nothing is sent.
    FailToConnect(Process),
    /// The request reaches the server.
    Arrive(Process),
    /// Request or answer is lost.
    Lose(Process),
    Crash(Process),
    Suspend(Process),
    Resume(Process),
    /// The store lock's owner has held it for 30 s.
    Age,
    /// OpenClaw reads the whole store, as each of its commands does.
    Load(Process),
    /// And saves it without the lock.
    SaveWithoutLock(Process),
}

impl Action {
    /// Whether it need not happen: everything else goes on by itself.
    pub(crate) fn is_chance(self) -> bool {
        match self {
            Self::Expire
            | Self::FailToConnect(_)
            | Self::Lose(_)
            | Self::Crash(_)
            | Self::Suspend(_)
            | Self::SaveWithoutLock(_) => true,
            Self::Load(process) => !process.is_kalit(),
            Self::Step(_)
            | Self::Replay(..)
            | Self::Mend(_)
            | Self::LetGo(_)
            | Self::Arrive(_)
            | Self::Resume(_)
            | Self::Age => false,
        }
    }
}

impl State {
    pub(crate) fn actor(&self, process: Process) -> &Actor {
        &self.actors[process.index()]
    }

    pub(crate) fn actor_mut(&mut self, process: Process) -> &mut Actor {
        &mut self.actors[process.index()]
    }

    pub(crate) fn is_dead(&self, lock: &Lock) -> bool {
        self.actor(lock.owner).life != lock.life
    }

    pub(crate) fn owns(&self, lock: Option<Lock>, process: Process) -> bool {
        lock.is_some_and(|lock| lock.owner == process && !self.is_dead(&lock))
    }

    pub(crate) fn lock_of(&self, process: Process) -> Lock {
        Lock {
            owner: process,
            life: self.actor(process).life,
            old: false,
        }
    }

    /// Whether a process that respects living owners can have the lock.
    pub(crate) fn is_free(&self, lock: Option<Lock>) -> bool {
        lock.is_none_or(|lock| self.is_dead(&lock))
    }

    /// Gives back what is still its own.
    pub(crate) fn release_store_lock(&mut self, process: Process) {
        if self.owns(self.store_lock, process) {
            self.store_lock = None;
        }
    }

    pub(crate) fn release_refresh_lock(&mut self, process: Process) {
        if self.owns(self.refresh_lock, process) {
            self.refresh_lock = None;
        }
    }

    /// Remembers what the store holds. A Kalit that sees a login renewed records it as a rotation.
    fn load(&mut self, process: Process) {
        let seen = self.store.generation;
        let before = self.actor_mut(process).memory.replace(seen);
        if let Some(before) = before
            && process.is_kalit()
            && seen > before
            && self.record[usize::from(seen)].family == seen
        {
            self.record_rotation(before, seen);
        }
    }

    pub(crate) fn record_rotation(&mut self, old: Generation, new: Generation) {
        let family = self.record[usize::from(old)].family;
        let joined = self.record[usize::from(new)].family;
        for known in &mut self.record {
            if known.family == joined {
                known.family = family;
            }
        }
        self.record[usize::from(old)].successor = Some(new);
    }

    /// Whether the record has it that rotations led from one generation to a later one.
    pub(crate) fn is_known_to_lead(&self, old: Generation, new: Generation) -> bool {
        let next = |known: &Generation| self.record[usize::from(*known)].successor;
        let later = std::iter::successors(next(&old), next);
        later.take(GENERATIONS).any(|later| later == new)
    }

    /// Whether the newest generation is in nobody's hands, and it was not Kalit that let it go: its
    /// answer was lost, or OpenClaw lost it and no Kalit has it in memory and knows that what the store
    /// holds is older.
    pub(crate) fn is_newest_lost(&self) -> bool {
        let newest = self.server.newest;
        let is_known = self.is_known_to_lead(self.store.generation, newest);
        let is_kept = PROCESSES
            .iter()
            .any(|process| process.is_kalit() && self.actor(*process).memory == Some(newest));
        self.facts.lost_by_kalit & bit(newest) != 0
            || (self.facts.lost_by_openclaw & bit(newest) != 0 && !(is_known && is_kept))
    }

    /// Puts fresh tokens into the store.
    pub(crate) fn write(&mut self, generation: Generation) {
        self.store = Store {
            generation,
            expired: false,
        };
        self.facts.lost_by_openclaw &= !bit(generation);
    }

    pub(crate) fn is_in_flight(&self, process: Process, generation: Generation) -> bool {
        matches!(self.actor(process).phase, Phase::InFlight { g, wire } if g == generation && wire != Wire::Lost)
    }
}

pub(crate) const fn bit(generation: Generation) -> u8 {
    1 << generation
}

impl Protocol {
    /// Where each step that does not happen by chance leads.
    pub(crate) fn goes_on(&self, state: &State) -> impl Iterator<Item = State> {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        actions
            .into_iter()
            .filter(|action| !action.is_chance())
            .filter_map(|action| self.next_state(state, action))
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            server: Server::default(),
            store: Store::default(),
            store_lock: None,
            refresh_lock: None,
            journal: [None; GENERATIONS],
            record: std::array::from_fn(|generation| Known {
                family: generation as Generation,
                ..Known::default()
            }),
            actors: [Actor::default(); PROCESSES.len()],
            left: self.limits,
            facts: Facts::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.left.expiries > 0
            && !state.store.expired
            && usize::from(state.server.newest) + 1 < GENERATIONS
        {
            actions.push(Action::Expire);
        }
        for &process in &self.processes {
            let actor = state.actor(process);
            if actor.suspended {
                actions.push(Action::Resume(process));
                continue;
            }
            if process.is_kalit() {
                self.kalit_actions(state, process, actions);
            } else {
                self.openclaw_actions(state, process, actions);
            }
            if process.is_kalit() && matches!(actor.phase, Phase::Recorded { .. }) && state.left.losses > 0 {
                actions.push(Action::FailToConnect(process));
            }
            if let Phase::InFlight { wire, .. } = actor.phase {
                if wire == Wire::OnItsWay {
                    actions.push(Action::Arrive(process));
                }
                if state.left.losses > 0 && wire != Wire::Lost {
                    actions.push(Action::Lose(process));
                }
            }
            if actor.phase != Phase::Idle && state.left.crashes > 0 {
                actions.push(Action::Crash(process));
            }
            if state.left.suspensions > 0 && state.owns(state.store_lock, process) {
                actions.push(Action::Suspend(process));
            }
        }
        if let Some(lock) = state.store_lock
            && !lock.old
            && !state.is_dead(&lock)
        {
            let owner = state.actor(lock.owner);
            let waits = matches!(owner.phase, Phase::InFlight { .. }) && !lock.owner.is_kalit();
            if owner.suspended || waits {
                actions.push(Action::Age);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Expire => {
                state.left.expiries -= 1;
                state.store.expired = true;
            }
            Action::Step(process) if process.is_kalit() => self.kalit_step(&mut state, process),
            Action::Step(process) => self.openclaw_step(&mut state, process),
            Action::Replay(process, sent) => self.begin_replay(&mut state, process, sent),
            Action::Mend(process) => self.begin_mending(&mut state, process),
            Action::LetGo(process) => state.release_store_lock(process),
            Action::FailToConnect(process) => state.fail_to_connect(process),
            Action::Arrive(process) => state.arrive(process),
            Action::Lose(process) => state.lose(process),
            Action::Crash(process) => state.crash(process),
            Action::Suspend(process) => {
                state.left.suspensions -= 1;
                state.actor_mut(process).suspended = true;
            }
            Action::Resume(process) => state.actor_mut(process).suspended = false,
            Action::Age => {
                if let Some(lock) = &mut state.store_lock {
                    lock.old = true;
                }
            }
            Action::Load(process) => state.load(process),
            Action::SaveWithoutLock(process) => state.save_without_lock(process),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
