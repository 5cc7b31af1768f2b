//! Whether everything comes to a good end: over the whole graph of states, because a process that
//! tries again and again goes round in it, and no end state shows that.

use std::collections::HashMap;

use stateright::Model as _;

use crate::properties::{has_newest, is_openclaws_turn, is_over};
use crate::{Protocol, State};

/// From every state, by steps that do not happen by chance.
pub const REST: &str = "everything comes to rest";
/// From every state in which it is not lost and OpenClaw is not renewing.
pub const HOPE: &str = "the newest generation can still come into the store";

/// Looks at the whole graph: how many states it has, and one for each property that is broken. Every
/// step that stays possible is done sooner or later: so where a rest can always be reached, it is.
pub fn broken(protocol: &Protocol) -> (usize, Vec<(&'static str, State)>) {
    let mut numbers: HashMap<State, u32> = HashMap::new();
    let mut open: Vec<(State, u32)> = protocol.init_states().into_iter().zip(0..).collect();
    numbers.extend(open.iter().cloned());
    let mut graph = Graph::default();
    let (mut rests, mut good, mut hopeful) = (Vec::new(), Vec::new(), Vec::new());
    let mut actions = Vec::new();
    while let Some((state, from)) = open.pop() {
        let mut is_at_rest = true;
        protocol.actions(&state, &mut actions);
        for action in actions.drain(..) {
            let Some(next) = protocol.next_state(&state, action) else {
                continue;
            };
            let number = numbers.len() as u32;
            let to = *numbers.entry(next).or_insert_with_key(|next| {
                open.push((next.clone(), number));
                number
            });
            if !action.is_chance() {
                is_at_rest = false;
                graph.steps.push((to, from));
            }
        }
        if is_at_rest {
            rests.push(from);
        }
        if is_at_rest && has_newest(&state) {
            good.push(from);
        }
        if !is_over(&state) && !is_openclaws_turn(&state) {
            hopeful.push(from);
        }
    }
    let states = numbers.len();
    graph.steps.sort_unstable();
    let (to_rest, to_good) = (graph.leads_to(&rests, states), graph.leads_to(&good, states));
    let state_of = |wanted: u32| {
        let mut all = numbers.iter();
        all.find_map(|(state, number)| (*number == wanted).then(|| state.clone()))
    };
    let endless = (0..states as u32).find(|number| !to_rest[*number as usize]);
    let hopeless = hopeful.into_iter().find(|number| !to_good[*number as usize]);
    let broken = [
        (REST, endless.and_then(state_of)),
        (HOPE, hopeless.and_then(state_of)),
    ];
    let broken = broken
        .into_iter()
        .filter_map(|(name, state)| Some((name, state?)));
    (states, broken.collect())
}

/// The steps that do not happen by chance, by where they lead, and whence.
#[derive(Default)]
struct Graph {
    steps: Vec<(u32, u32)>,
}

impl Graph {
    /// From which states one of these can be reached.
    fn leads_to(&self, goals: &[u32], states: usize) -> Vec<bool> {
        let mut leads = vec![false; states];
        let mut open = goals.to_vec();
        while let Some(to) = open.pop() {
            if std::mem::replace(&mut leads[to as usize], true) {
                continue;
            }
            let first = self.steps.partition_point(|(target, _)| *target < to);
            let from = self.steps[first..].iter().take_while(|(target, _)| *target == to);
            open.extend(from.map(|(_, from)| from).filter(|from| !leads[**from as usize]));
        }
        leads
    }
}
