//! The server, and what becomes of requests.

use crate::{Generation, Phase, Process, State, Wire, bit};

impl State {
    /// Puts a request of `generation` on its way and takes note of a second one.
    pub(crate) fn send(&mut self, process: Process, generation: Generation, is_repetition: bool) {
        let sent = bit(generation);
        let others = crate::PROCESSES
            .iter()
            .filter(|other| **other != process)
            .any(|other| self.is_in_flight(*other, generation));
        if process.is_kalit() {
            let again = self.facts.sent_by_kalit & sent != 0 && !is_repetition;
            // A generation whose successor is lost looks like any other.
            let spent = generation < self.server.newest && !self.is_newest_lost();
            self.facts.kalit_resent |= others || again || spent;
            self.facts.sent_by_kalit |= sent;
        } else {
            let before = self.facts.sent_by_kalit | self.facts.sent_by_openclaw;
            self.facts.resent_by_openclaw |= before & sent;
            self.facts.sent_by_openclaw |= sent;
        }
        self.actor_mut(process).phase = Phase::InFlight {
            g: generation,
            wire: Wire::OnItsWay,
        };
    }

    pub(crate) fn arrive(&mut self, process: Process) {
        let Phase::InFlight { g, .. } = self.actor(process).phase else {
            return;
        };
        let wire = self.answer(g);
        self.actor_mut(process).phase = Phase::InFlight { g, wire };
    }

    fn answer(&mut self, generation: Generation) -> Wire {
        if self.server.ended.is_some() {
            return Wire::Refused;
        }
        if generation < self.server.newest {
            self.server.ended = Some(generation);
            return Wire::Refused;
        }
        self.server.newest += 1;
        Wire::Answered(self.server.newest)
    }

    /// The request, or its answer, is lost on the way.
    pub(crate) fn lose(&mut self, process: Process) {
        let Phase::InFlight { g, wire } = self.actor(process).phase else {
            return;
        };
        self.left.losses -= 1;
        if let Wire::Answered(n) = wire {
            self.lost_an_answer(process, n);
        }
        self.actor_mut(process).phase = Phase::InFlight { g, wire: Wire::Lost };
    }

    pub(crate) fn crash(&mut self, process: Process) {
        self.left.crashes -= 1;
        let phase = self.actor(process).phase;
        let lost = match phase {
            // What is on its way still arrives.
            Phase::InFlight {
                g,
                wire: Wire::OnItsWay,
            } => self.answer(g).issued(),
            Phase::InFlight { wire, .. } => wire.issued(),
            // The very next step would have made it safe.
            Phase::Received { n, .. } => Some(n),
            Phase::Placing { n, .. } if !process.is_kalit() => Some(n),
            Phase::Placing { .. }
            | Phase::Idle
            | Phase::Wants { .. }
            | Phase::Refreshing { .. }
            | Phase::Locked { .. }
            | Phase::Ready { .. }
            | Phase::Recorded { .. }
            | Phase::Journalled { .. }
            | Phase::Placed { .. }
            | Phase::Discharging { .. }
            | Phase::Replaying { .. }
            | Phase::Mending { .. }
            | Phase::Leaving => None,
        };
        if let Some(n) = lost {
            self.lost_an_answer(process, n);
        }
        let actor = self.actor_mut(process);
        actor.life += 1;
        actor.phase = Phase::Idle;
        actor.memory = None;
    }

    fn lost_an_answer(&mut self, process: Process, n: Generation) {
        if process.is_kalit() {
            self.facts.lost_by_kalit |= bit(n);
        } else {
            self.facts.lost_by_openclaw |= bit(n);
        }
    }
}

impl Wire {
    fn issued(self) -> Option<Generation> {
        match self {
            Self::Answered(n) => Some(n),
            Self::OnItsWay | Self::Refused | Self::Lost => None,
        }
    }
}
