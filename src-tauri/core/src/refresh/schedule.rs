//! When a login is renewed: a pure function of what is known and of the wall clock. It sends
//! nothing, waits for nothing and remembers nothing; callers ask again after every wake-up, since
//! monotonic timers stop while a machine sleeps and people change clocks.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::history::Generation;
use crate::secret::Fingerprint;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

const SHORTEST_LEAD: i64 = 10 * MINUTE;
const LONGEST_LEAD: i64 = 12 * HOUR;
/// The lifetime of a token of which nothing is known.
const USUAL_LIFETIME: i64 = HOUR;
/// How far the record may be ahead of the clock before the clock counts as set back.
const CLOCK_TOLERANCE: i64 = MINUTE;
/// The schedule never refreshes a family again within this time.
const REFRESH_DISTANCE: i64 = 30 * SECOND;
/// Nothing was lost, the provider or the network is out of order: minutes until the next attempt,
/// the last for all later ones.
const TRANSIENT_BACKOFF: [i64; 4] = [MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE];
/// A refusal that is not certain: looked at three times before the person is told, hourly after.
const SUSPECT_BACKOFF: [i64; 4] = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR];
/// A request was sent and never answered: tried once more after this time.
const UNKNOWN_RETRY: i64 = 60 * SECOND;
/// How long an answer is waited for.
pub const ANSWER: Duration = Duration::from_secs(120);
/// The longest `Retry-After` that is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest sleep of a scheduler, so that a changed clock or the end of a machine's sleep is
/// noticed soon.
const LONGEST_SLEEP: i64 = 30 * SECOND;

/// What the schedule needs to know of one login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// When the access token expires, as the store says.
    pub expires: Timestamp,
    /// When it was issued, if known.
    pub issued_at: Option<Timestamp>,
    /// How long it lives from issue to expiry: from the JWT (`exp − iat`) or Kalit's own record.
    pub lifetime_ms: Option<i64>,
    /// When anybody last refreshed this family.
    pub last_refresh: Option<Timestamp>,
    /// Spreads logins over time. The same seed gives the same jitter, so that every wake-up
    /// computes the same due time.
    pub seed: u64,
    /// What stands in the way since the last attempt.
    pub setback: Option<Setback>,
}

/// How the last attempt failed. `attempts` counts such failures in a row, from 1; `at` is the time
/// of the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setback {
    /// Nothing was lost; may be tried again.
    Transient {
        attempts: u32,
        at: Timestamp,
        /// What the provider asked for.
        retry_after: Option<Duration>,
    },
    /// Refused without a recognised error: perhaps not the provider's word.
    Suspect { attempts: u32, at: Timestamp },
    /// Sent at this time and never answered.
    Unknown { at: Timestamp, retried: bool },
    /// Over for this generation, refused or superseded: never sent again.
    Refused,
}

/// What to do now and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Positions of the items that are due, the most urgent first.
    pub due: Vec<usize>,
    /// When the next item becomes due; `None` when none ever does by itself.
    pub wake: Option<Timestamp>,
}

impl Setback {
    /// What Kalit's record says of a generation; `None` when nothing stands in the way. A request
    /// that is on its way right now looks like one that was never answered.
    pub fn recorded(known: &Generation) -> Option<Self> {
        if known.refusal.is_some() || known.superseded_by.is_some() {
            return Some(Self::Refused);
        }
        known.unknown_since.map(|since| Self::Unknown {
            at: since,
            retried: known.retried_at.is_some(),
        })
    }
}

/// When to renew, setbacks aside: `lead` before the expiry, and a little earlier by the jitter. A
/// tenth of the lifetime is the lead, at least 10 minutes and at most 12 hours, but never more
/// than a third of the lifetime. May lie in the past.
pub fn due_at(item: &Item, now: Timestamp) -> Timestamp {
    let lead = lead_ms(lifetime_ms(item));
    let due = item.expires.plus_millis(-(lead + jitter_ms(lead, item.seed)));
    match item.last_refresh {
        // The clock was set back since: `expires` is as wrong as this is, and only a new answer
        // can tell the right one.
        Some(last) if last.millis_since(now) > CLOCK_TOLERANCE => now,
        Some(last) => due.max(last.plus_millis(REFRESH_DISTANCE)),
        None => due,
    }
}

/// When the schedule sends the next request for this login; `None` for never.
pub fn next_attempt(item: &Item, now: Timestamp) -> Option<Timestamp> {
    let due = due_at(item, now);
    // As in `due_at`: a time that lies in the future says nothing.
    let after = |at: Timestamp, wait_ms: i64| {
        if at > now { now } else { at.plus_millis(wait_ms) }
    };
    match &item.setback {
        None => Some(due),
        Some(Setback::Transient {
            attempts,
            at,
            retry_after,
        }) => Some(due.max(after(*at, transient_wait_ms(*attempts, *retry_after)))),
        // These two are cleared up soon even if the login is not due: it may be lost already.
        Some(Setback::Suspect { attempts, at }) => Some(after(*at, step(&SUSPECT_BACKOFF, *attempts))),
        Some(Setback::Unknown { at, retried: false }) => Some(repeated_at(*at, now)),
        Some(Setback::Unknown { retried: true, .. } | Setback::Refused) => None,
    }
}

/// When an unanswered request is repeated. `given_up` is when its answer is no longer waited for: up
/// to [`ANSWER`] ahead. A time further ahead is by a clock that was set back since.
pub fn repeated_at(given_up: Timestamp, now: Timestamp) -> Timestamp {
    if given_up > now.plus(ANSWER).plus_millis(CLOCK_TOLERANCE) {
        now
    } else {
        given_up.plus_millis(UNKNOWN_RETRY)
    }
}

/// Whether an uncertain refusal has been seen often enough to tell the person.
pub fn suspicion_is_told(attempts: u32) -> bool {
    usize::try_from(attempts).is_ok_and(|attempts| attempts >= SUSPECT_BACKOFF.len())
}

/// Looks at all logins at once.
pub fn plan(items: &[Item], now: Timestamp) -> Plan {
    let mut times: Vec<(Timestamp, usize)> = items
        .iter()
        .enumerate()
        .filter_map(|(position, item)| Some((next_attempt(item, now)?, position)))
        .collect();
    times.sort_unstable();
    Plan {
        due: times
            .iter()
            .take_while(|(at, _)| *at <= now)
            .map(|(_, position)| *position)
            .collect(),
        wake: times.iter().map(|(at, _)| *at).find(|at| *at > now),
    }
}

impl Plan {
    /// How long to sleep now that nothing more is due. Never longer than 30 seconds, because the
    /// wall clock can move while a timer does not.
    pub fn sleep(&self, now: Timestamp) -> Duration {
        let wait_ms = self.wake.map_or(LONGEST_SLEEP, |wake| {
            wake.millis_since(now).clamp(0, LONGEST_SLEEP)
        });
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    }
}

/// The seed of a login whose family (or, for want of one, generation) has this fingerprint.
pub fn seed_of(fingerprint: Fingerprint) -> u64 {
    let (head, _) = fingerprint.as_bytes().split_at(8);
    head.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

fn lifetime_ms(item: &Item) -> i64 {
    let measured = item.issued_at.map(|issued| item.expires.millis_since(issued));
    [item.lifetime_ms, measured]
        .into_iter()
        .flatten()
        .find(|lifetime| *lifetime > 0)
        .unwrap_or(USUAL_LIFETIME)
}

fn lead_ms(lifetime_ms: i64) -> i64 {
    (lifetime_ms / 10)
        .clamp(SHORTEST_LEAD, LONGEST_LEAD)
        .min(lifetime_ms / 3)
}

/// From nothing to a tenth of the lead; seed 0 has none.
fn jitter_ms(lead_ms: i64, seed: u64) -> i64 {
    // The finaliser of MurmurHash3 (public domain): neighbouring seeds give unrelated values.
    let mut mixed = seed;
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^= mixed >> 33;
    let share = i64::from((mixed >> 32) as u32);
    // invariant: a lead is at most 12 hours, so the product stays far below 2^63.
    (lead_ms / 10 * share) >> 32
}

/// A `Retry-After` only makes it later: one that lies in the past, however often, does not.
fn transient_wait_ms(attempts: u32, retry_after: Option<Duration>) -> i64 {
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    i64::try_from(asked.as_millis())
        .unwrap_or(i64::MAX)
        .max(step(&TRANSIENT_BACKOFF, attempts))
}

fn step(steps: &[i64; 4], attempts: u32) -> i64 {
    let position = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    // invariant: the position is at most the last one.
    steps[position.min(steps.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::history::Generations;
    use crate::secret::Secret;

    const DAY: i64 = 24 * HOUR;
    const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn token(lifetime_ms: i64, seed: u64) -> Item {
        Item {
            expires: NOON.plus_millis(lifetime_ms),
            issued_at: None,
            lifetime_ms: Some(lifetime_ms),
            last_refresh: None,
            seed,
            setback: None,
        }
    }

    /// A provider that answers every request with a new token of the same lifetime.
    fn renew(item: &mut Item, lifetime_ms: i64, now: Timestamp) {
        item.expires = now.plus_millis(lifetime_ms);
        item.last_refresh = Some(now);
    }

    /// Runs the schedule on a test clock until `until`, counting requests.
    fn run(item: &mut Item, lifetime_ms: i64, clock: &ManualClock, until: Timestamp) -> i64 {
        let mut requests = 0;
        while clock.now() <= until {
            let now = clock.now();
            let plan = plan(std::slice::from_ref(item), now);
            if plan.due == [0] {
                requests += 1;
                renew(item, lifetime_ms, now);
            } else {
                let asleep = plan.sleep(now);
                assert!(!asleep.is_zero(), "the schedule spins at {now}");
                clock.set(now.plus(asleep));
            }
        }
        requests
    }

    #[test]
    fn the_lead_is_a_tenth_within_its_bounds_and_never_more_than_a_third() {
        for (lifetime, lead) in [
            (2 * MINUTE, 40 * SECOND),
            (15 * MINUTE, 5 * MINUTE),
            (30 * MINUTE, 10 * MINUTE),
            (HOUR, 10 * MINUTE),
            (8 * HOUR, 48 * MINUTE),
            (5 * DAY, 12 * HOUR),
            (10 * DAY, 12 * HOUR),
            (1, 0),
            (i64::MAX, 12 * HOUR),
        ] {
            assert_eq!(lead_ms(lifetime), lead, "{lifetime}");
        }
    }

    #[test]
    fn the_lifetime_is_the_known_one_else_measured_else_an_hour() {
        let mut item = token(10 * DAY, 0);
        item.issued_at = Some(NOON.plus_millis(-DAY));
        assert_eq!(due_at(&item, NOON), item.expires.plus_millis(-12 * HOUR));
        item.lifetime_ms = None;
        item.issued_at = Some(item.expires.plus_millis(-2 * HOUR));
        assert_eq!(due_at(&item, NOON), item.expires.plus_millis(-12 * MINUTE));
        item.issued_at = Some(item.expires.plus_millis(1));
        assert_eq!(due_at(&item, NOON), item.expires.plus_millis(-10 * MINUTE));
        item.lifetime_ms = Some(0);
        assert_eq!(due_at(&item, NOON), item.expires.plus_millis(-10 * MINUTE));
    }

    #[test]
    fn jitter_is_only_earlier_at_most_a_tenth_of_the_lead_and_always_the_same() {
        let lead = 10 * MINUTE;
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..500_u32 {
            let seed = seed_of(Secret::new(number.to_string()).fingerprint());
            let due = due_at(&token(HOUR, seed), NOON);
            assert_eq!(due, due_at(&token(HOUR, seed), NOON));
            let early = NOON.plus_millis(HOUR - lead).millis_since(due);
            assert!((0..=lead / 10).contains(&early), "{early}");
            seen.insert(early / SECOND);
        }
        assert!(seen.len() > 50, "spread over only {} of 60 seconds", seen.len());
        assert_eq!(due_at(&token(HOUR, 0), NOON), NOON.plus_millis(HOUR - lead));
    }

    #[test]
    fn a_day_of_each_token_takes_exactly_the_computed_requests() {
        for (lifetime, days, lead, expected_without_jitter) in [
            // 120 s: lead = 120 / 3 = 40 s, renewed every 80 s; 86 400 / 80.
            (2 * MINUTE, 1, 40 * SECOND, 1080),
            // 1 h: lead = max(6, 10) = 10 min, renewed every 50 min; 1 440 / 50 = 28.8.
            (HOUR, 1, 10 * MINUTE, 28),
            // 10 d: lead = min(24, 12) = 12 h, renewed every 9.5 d: not within a day,
            (10 * DAY, 1, 12 * HOUR, 0),
            // but 3 times in 30 days (30 / 9.5 = 3.2).
            (10 * DAY, 30, 12 * HOUR, 3),
        ] {
            for seed in [0, 1, 0xdead_beef, u64::MAX] {
                let jitter = jitter_ms(lead, seed);
                assert!((0..=lead / 10).contains(&jitter));
                let every = lifetime - lead - jitter;
                let expected = days * DAY / every;
                let clock = ManualClock::new(NOON);
                let requests = run(
                    &mut token(lifetime, seed),
                    lifetime,
                    &clock,
                    NOON.plus_millis(days * DAY),
                );
                assert_eq!(requests, expected, "lifetime {lifetime} seed {seed}");
                if seed == 0 {
                    assert_eq!(requests, expected_without_jitter);
                }
            }
        }
    }

    #[test]
    fn a_family_is_never_refreshed_again_within_thirty_seconds() {
        // A token that is born expired: one request every 30 s, not a storm.
        let clock = ManualClock::new(NOON);
        let requests = run(&mut token(0, 0), 0, &clock, NOON.plus_millis(DAY - 1));
        assert_eq!(requests, DAY / (30 * SECOND));
        // Another program refreshed it a moment ago, but the store still says otherwise.
        let mut item = token(HOUR, 0);
        item.expires = NOON.plus_millis(-MINUTE);
        item.last_refresh = Some(NOON.plus_millis(-10 * SECOND));
        assert_eq!(due_at(&item, NOON), NOON.plus_millis(20 * SECOND));
    }

    #[test]
    fn a_clock_set_forward_renews_once_and_goes_on() {
        let clock = ManualClock::new(NOON);
        let mut item = token(HOUR, 0);
        let before = run(&mut item, HOUR, &clock, NOON.plus_millis(2 * HOUR));
        assert_eq!(before, 120 / 50);
        clock.advance_millis(HOUR);
        let jumped = clock.now();
        let after = run(&mut item, HOUR, &clock, jumped.plus_millis(5 * HOUR));
        // At once, then every 50 minutes: 300 / 50 = 6.
        assert_eq!(after, 1 + 6);
    }

    #[test]
    fn a_clock_set_back_renews_once_and_goes_on() {
        let clock = ManualClock::new(NOON);
        let mut item = token(HOUR, 0);
        let before = run(&mut item, HOUR, &clock, NOON.plus_millis(2 * HOUR));
        assert_eq!(before, 120 / 50);
        clock.advance_millis(-HOUR);
        let jumped = clock.now();
        // The last refresh, 20 minutes old in truth, now lies 40 minutes ahead.
        assert!(item.last_refresh.unwrap() > jumped);
        let after = run(&mut item, HOUR, &clock, jumped.plus_millis(5 * HOUR));
        assert_eq!(after, 1 + 6);
        assert!(item.expires > clock.now());
    }

    #[test]
    fn a_clock_corrected_by_seconds_changes_nothing() {
        let mut item = token(HOUR, 0);
        renew(&mut item, HOUR, NOON);
        let now = NOON.plus_millis(-20 * SECOND);
        assert_eq!(due_at(&item, now), NOON.plus_millis(50 * MINUTE));
    }

    #[test]
    fn after_a_sleep_each_login_is_renewed_once_the_most_urgent_first() {
        let clock = ManualClock::new(NOON);
        let mut items = [token(8 * HOUR, 0), token(2 * MINUTE, 0), token(10 * DAY, 0)];
        assert_eq!(
            plan(&items, NOON),
            Plan {
                due: vec![],
                wake: Some(NOON.plus_millis(80 * SECOND)),
            }
        );
        clock.advance_millis(9 * HOUR);
        let now = clock.now();
        assert_eq!(plan(&items, now).due, [1, 0]);
        renew(&mut items[1], 2 * MINUTE, now);
        renew(&mut items[0], 8 * HOUR, now);
        let next = plan(&items, now);
        assert_eq!(next.due, Vec::<usize>::new());
        assert_eq!(next.wake, Some(now.plus_millis(80 * SECOND)));
    }

    #[test]
    fn a_scheduler_looks_at_the_clock_every_thirty_seconds_at_least() {
        let far = plan(&[token(10 * DAY, 0)], NOON);
        assert_eq!(far.sleep(NOON), Duration::from_secs(30));
        assert_eq!(plan(&[], NOON), Plan::default());
        assert_eq!(Plan::default().sleep(NOON), Duration::from_secs(30));
        let near = Plan {
            due: vec![],
            wake: Some(NOON.plus_millis(1500)),
        };
        assert_eq!(near.sleep(NOON), Duration::from_millis(1500));
        assert_eq!(near.sleep(NOON.plus_millis(HOUR)), Duration::ZERO);
    }

    #[test]
    fn failures_back_off_as_their_kind_demands() {
        let mut item = token(HOUR, 0);
        item.expires = NOON;
        let mut wait = |setback: Setback| {
            item.setback = Some(setback);
            next_attempt(&item, NOON).map(|at| at.millis_since(NOON))
        };
        let transient = |attempts, retry_after| Setback::Transient {
            attempts,
            at: NOON,
            retry_after,
        };
        for (attempts, minutes) in [(0, 1), (1, 1), (2, 2), (3, 5), (4, 10), (5, 10), (u32::MAX, 10)] {
            assert_eq!(wait(transient(attempts, None)), Some(minutes * MINUTE));
        }
        for (attempts, asked, waited) in [
            (1, Duration::from_secs(0), MINUTE),
            (1, Duration::from_secs(90), 90 * SECOND),
            (9, Duration::from_secs(0), 10 * MINUTE),
            (9, Duration::from_secs(3600), HOUR),
            (9, Duration::MAX, DAY),
        ] {
            assert_eq!(wait(transient(attempts, Some(asked))), Some(waited));
        }
        for (attempts, minutes) in [(1, 1), (2, 5), (3, 15), (4, 60), (9, 60)] {
            assert_eq!(
                wait(Setback::Suspect { attempts, at: NOON }),
                Some(minutes * MINUTE)
            );
            assert_eq!(suspicion_is_told(attempts), attempts >= 4);
        }
        assert_eq!(
            wait(Setback::Unknown {
                at: NOON,
                retried: false
            }),
            Some(MINUTE)
        );
        assert_eq!(
            wait(Setback::Unknown {
                at: NOON,
                retried: true
            }),
            None
        );
        assert_eq!(wait(Setback::Refused), None);
    }

    #[test]
    fn only_a_failure_without_consequence_waits_until_the_login_is_due() {
        let mut item = token(HOUR, 0);
        item.setback = Some(Setback::Transient {
            attempts: 1,
            at: NOON,
            retry_after: None,
        });
        assert_eq!(next_attempt(&item, NOON), Some(NOON.plus_millis(50 * MINUTE)));
        item.setback = Some(Setback::Unknown {
            at: NOON,
            retried: false,
        });
        assert_eq!(next_attempt(&item, NOON), Some(NOON.plus_millis(MINUTE)));
        item.setback = Some(Setback::Suspect {
            attempts: 2,
            at: NOON,
        });
        assert_eq!(next_attempt(&item, NOON), Some(NOON.plus_millis(5 * MINUTE)));
    }

    #[test]
    fn a_dead_or_unanswered_login_plans_nothing() {
        let mut item = token(HOUR, 0);
        item.expires = NOON.plus_millis(-DAY);
        item.setback = Some(Setback::Refused);
        assert_eq!(plan(&[item], NOON), Plan::default());
    }

    #[test]
    fn the_record_of_a_generation_says_what_stands_in_the_way() {
        let data = tempfile::tempdir().unwrap();
        let record = Generations::open(data.path()).unwrap();
        let [first, second] = ["REF0", "REF1"].map(|token| Secret::new(token).fingerprint());
        let setback = |generation| Setback::recorded(&record.find(generation).unwrap().unwrap());
        record.record_unknown(first, NOON).unwrap();
        let unknown = |retried| Some(Setback::Unknown { at: NOON, retried });
        assert_eq!(setback(first), unknown(false));
        record.record_retry(first, NOON.plus_millis(MINUTE)).unwrap();
        assert_eq!(setback(first), unknown(true));
        record.record_rotation(first, second, NOON, None).unwrap();
        assert_eq!(setback(first), Some(Setback::Refused));
        assert_eq!(setback(second), None);
        record
            .record_refusal(second, "refresh_token_expired", NOON)
            .unwrap();
        assert_eq!(setback(second), Some(Setback::Refused));
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        for expires in [i64::MIN, -1, 0, i64::MAX] {
            for lifetime_ms in [None, Some(i64::MIN), Some(i64::MAX)] {
                let item = Item {
                    expires: Timestamp::from_millis(expires),
                    issued_at: Some(Timestamp::from_millis(i64::MIN)),
                    lifetime_ms,
                    last_refresh: Some(Timestamp::from_millis(i64::MIN)),
                    seed: u64::MAX,
                    setback: None,
                };
                let due = next_attempt(&item, NOON).unwrap();
                assert!(due <= Timestamp::from_millis(expires.max(i64::MIN + 30 * SECOND)));
            }
        }
    }
}
