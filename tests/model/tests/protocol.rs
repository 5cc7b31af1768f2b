//! The protocol is checked exhaustively, and each sabotage of it is caught. `KALIT_PROVE=long` looks
//! at more that goes wrong at once.

use std::time::Instant;

use kalit_model::liveness::{self, HOPE, REST};
use kalit_model::properties::{
    NEVER_OLDER, NEVER_TWICE, NO_LOCK_STAYS, OPENCLAWS_RACE, OPENCLAWS_SAVE, PROGRESS, WINDOW,
};
use kalit_model::{Limits, PROCESSES, Process, Protocol, Sabotage};
use stateright::{Checker, Model};

const MUST_HOLD: [&str; 6] = [NEVER_TWICE, NEVER_OLDER, NO_LOCK_STAYS, PROGRESS, REST, HOPE];
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
fn check(name: &str, protocol: &Protocol) -> (usize, Vec<&'static str>) {
    let start = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = protocol.clone().checker().threads(threads).spawn_bfs().join();
    println!(
        "{name}, {:?}: {} states, at most {} steps, {:.1} s",
        protocol.limits,
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

/// The same, and how everything ends.
fn check_ends(name: &str, protocol: &Protocol) -> (usize, Vec<&'static str>) {
    let (states, mut found) = check(name, protocol);
    let start = Instant::now();
    let (same, broken) = liveness::broken(protocol);
    println!("{name}: all ends in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(same, states, "{name}");
    for (property, state) in broken {
        println!("{property}: {state:?}");
        found.push(property);
    }
    (states, found)
}

fn ensure_holds(name: &str, found: &[&'static str]) {
    let broken: Vec<_> = found.iter().filter(|found| MUST_HOLD.contains(found)).collect();
    assert!(broken.is_empty(), "{name}: {broken:?}");
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
    let twice = Limits {
        expiries: 2,
        ..NOTHING
    };
    let mut scenes = vec![
        ("both kinds", together(crash_and_loss)),
        ("both kinds", together(sleep_and_save)),
        (
            "newer releases",
            newer(Limits {
                suspensions: 1,
                lockless_saves: 1,
                ..twice
            }),
        ),
        ("older releases", older(crash_and_sleep)),
    ];
    if is_long() {
        scenes.extend([
            ("both kinds", together(crash_and_sleep)),
            (
                "older releases",
                older(Limits {
                    losses: 1,
                    ..crash_and_sleep
                }),
            ),
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
    let (mut states, mut seen) = (0, Vec::new());
    for (name, scene) in scenes {
        // All ends of the largest scenes take too long beside other tests.
        let few = scene.processes.len() < PROCESSES.len();
        let (more, found) = if few || is_long() {
            check_ends(name, &scene)
        } else {
            check(name, &scene)
        };
        ensure_holds(name, &found);
        states += more;
        seen.extend(found);
    }
    println!("{states} states in all");
    // What is known to be possible was possible here.
    for possible in [WINDOW, OPENCLAWS_RACE, OPENCLAWS_SAVE] {
        assert!(seen.contains(&possible), "{possible} was never seen");
    }
}

/// Where nobody is killed, stands still or writes without the lock, and no message is lost, a newer
/// OpenClaw never sends what another has sent: the excuse for it is of no use.
#[test]
fn kalit_leaves_a_newer_openclaw_no_occasion_to_end_a_login() {
    let scene = newer(Limits {
        expiries: 3,
        ..NOTHING
    });
    let (_, found) = check_ends("newer releases", &scene);
    ensure_holds("newer releases", &found);
    for possible in [WINDOW, OPENCLAWS_RACE, OPENCLAWS_SAVE] {
        assert!(!found.contains(&possible), "{possible} was seen");
    }
}

#[test]
fn each_sabotage_is_caught_and_nothing_is_without_it() {
    let crash = Limits {
        crashes: 1,
        ..NOTHING
    };
    let sleep = Limits {
        suspensions: 1,
        ..NOTHING
    };
    let alone = |limits| Protocol {
        processes: vec![Process::Kalit(0), Process::Kalit(1)],
        ..newer(limits)
    };
    let scenes: [(Sabotage, Protocol, &[&str]); 7] = [
        (Sabotage::JournalAfterMerge, newer(crash), &[PROGRESS, HOPE]),
        (Sabotage::NoReadUnderTheLocks, newer(NOTHING), &[NEVER_TWICE]),
        (Sabotage::NoRecordOfSending, newer(crash), &[NEVER_TWICE]),
        (Sabotage::NoLookBeforeSending, older(sleep), &[NEVER_TWICE]),
        (
            Sabotage::MergeBlindly,
            alone(Limits { expiries: 2, ..crash }),
            &[NEVER_OLDER],
        ),
        (
            Sabotage::OrderByFamily,
            newer(Limits {
                expiries: 3,
                ..NOTHING
            }),
            &[NEVER_OLDER],
        ),
        (Sabotage::NoTakeOver, alone(crash), &[REST]),
    ];
    for (sabotage, scene, broken) in scenes {
        let (_, found) = check_ends("without sabotage", &scene);
        ensure_holds("without sabotage", &found);
        let name = format!("{sabotage:?}");
        let (_, found) = check_ends(&name, &Protocol { sabotage, ..scene });
        for broken in broken {
            assert!(found.contains(broken), "{name} does not break: {broken}");
        }
    }
}
