//! The protocol is checked exhaustively, and each sabotage of it is caught. `KALIT_PROVE=long` looks
//! at more that goes wrong at once.

use std::time::Instant;

use kalit_model::properties::{
    NEVER_OLDER, NEVER_TWICE, NO_LOCK_STAYS, OPENCLAWS_RACE, OPENCLAWS_SAVE, PROGRESS, WINDOW,
};
use kalit_model::{Limits, PROCESSES, Process, Protocol, Sabotage};
use stateright::{Checker, Model};

const MUST_HOLD: [&str; 4] = [NEVER_TWICE, NEVER_OLDER, NO_LOCK_STAYS, PROGRESS];
const NOTHING: Limits = Limits {
    expiries: 1,
    crashes: 0,
    losses: 0,
    suspensions: 0,
    lockless_saves: 0,
};

/// Two Kalit processes and both kinds of OpenClaw on one store.
fn together(limits: Limits) -> Protocol {
    Protocol {
        processes: PROCESSES.to_vec(),
        store_lock_during_call: true,
        sabotage: Sabotage::None,
        limits,
    }
}

/// Only the newer kind is installed: Kalit lets the store lock go during a request.
fn newer(limits: Limits) -> Protocol {
    Protocol {
        processes: vec![Process::Kalit(0), Process::Kalit(1), Process::Other],
        store_lock_during_call: false,
        ..together(limits)
    }
}

/// Only the older kind is.
fn older(limits: Limits) -> Protocol {
    Protocol {
        processes: vec![Process::Kalit(0), Process::Kalit(1), Process::Stealing],
        ..together(limits)
    }
}

fn is_long() -> bool {
    std::env::var_os("KALIT_PROVE").is_some_and(|value| value == "long")
}

/// Looks at every state, and tells the shortest way to each broken property.
fn check(name: &str, protocol: Protocol) -> (usize, Vec<&'static str>) {
    let start = Instant::now();
    let limits = protocol.limits;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = protocol.checker().threads(threads).spawn_bfs().join();
    println!(
        "{name}, {limits:?}: {} states, at most {} steps, {:.1} s",
        checker.unique_state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64()
    );
    let found = checker.discoveries();
    for broken in found.keys().filter(|name| MUST_HOLD.contains(name)) {
        println!("{broken}: {:?}", found[broken].clone().into_actions());
    }
    (checker.unique_state_count(), found.into_keys().collect())
}

fn holds(name: &str, protocol: Protocol, seen: &mut Vec<&'static str>) -> usize {
    let (states, found) = check(name, protocol);
    let broken: Vec<_> = found.iter().filter(|found| MUST_HOLD.contains(found)).collect();
    assert!(broken.is_empty(), "{name}: {broken:?}");
    seen.extend(found);
    states
}

#[test]
fn no_order_of_steps_sends_a_token_twice_or_loses_one() {
    let crash_and_loss = Limits {
        crashes: 1,
        losses: 1,
        ..NOTHING
    };
    let crash_and_sleep = Limits {
        crashes: 1,
        suspensions: 1,
        ..NOTHING
    };
    let sleep_and_save = Limits {
        suspensions: 1,
        lockless_saves: 1,
        ..NOTHING
    };
    let mut scenes = vec![
        ("both kinds", together(crash_and_loss)),
        ("both kinds", together(crash_and_sleep)),
        ("both kinds", together(sleep_and_save)),
        (
            "newer releases",
            newer(Limits {
                expiries: 2,
                suspensions: 1,
                lockless_saves: 1,
                ..NOTHING
            }),
        ),
        (
            "older releases",
            older(Limits {
                losses: 1,
                ..crash_and_sleep
            }),
        ),
    ];
    if is_long() {
        let twice = Limits {
            expiries: 2,
            ..NOTHING
        };
        scenes.extend([
            ("both kinds", together(Limits { crashes: 1, ..twice })),
            (
                "both kinds",
                together(Limits {
                    crashes: 1,
                    lockless_saves: 1,
                    ..NOTHING
                }),
            ),
            (
                "both kinds",
                together(Limits {
                    suspensions: 1,
                    ..crash_and_loss
                }),
            ),
            (
                "newer releases",
                newer(Limits {
                    crashes: 2,
                    lockless_saves: 1,
                    ..twice
                }),
            ),
            (
                "newer releases",
                newer(Limits {
                    crashes: 1,
                    losses: 1,
                    suspensions: 1,
                    ..twice
                }),
            ),
            (
                "older releases",
                older(Limits {
                    crashes: 1,
                    suspensions: 1,
                    lockless_saves: 1,
                    ..twice
                }),
            ),
        ]);
    }
    let mut seen = Vec::new();
    let states: usize = scenes
        .into_iter()
        .map(|(name, protocol)| holds(name, protocol, &mut seen))
        .sum();
    println!("{states} states in all");
    // What is known to be possible was possible here.
    for possible in [WINDOW, OPENCLAWS_RACE, OPENCLAWS_SAVE] {
        assert!(seen.contains(&possible), "{possible} was never seen");
    }
}

#[test]
fn each_sabotage_is_caught() {
    let crash = Limits {
        crashes: 1,
        ..NOTHING
    };
    let scenes = [
        (Sabotage::JournalAfterMerge, newer(crash), PROGRESS),
        (Sabotage::NoReadUnderTheLocks, newer(NOTHING), NEVER_TWICE),
        (Sabotage::NoRecordOfSending, newer(crash), NEVER_TWICE),
        (
            Sabotage::NoLookBeforeSending,
            older(Limits {
                suspensions: 1,
                ..NOTHING
            }),
            NEVER_TWICE,
        ),
        (
            Sabotage::MergeBlindly,
            older(Limits { expiries: 2, ..crash }),
            NEVER_OLDER,
        ),
    ];
    for (sabotage, scene, broken) in scenes {
        let (_, found) = check(&format!("{sabotage:?}"), Protocol { sabotage, ..scene });
        assert!(found.contains(&broken), "{sabotage:?} is not caught: {found:?}");
    }
}
