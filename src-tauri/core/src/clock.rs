//! The clock seam: one trait with one method, so that a day of refreshing can be tested in a
//! second. Nothing else in this crate may read the wall clock.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use jiff::tz::TimeZone;

/// A point in wall-clock time: milliseconds since the Unix epoch, the unit of OpenClaw's
/// `expires`. May be negative or far in the future, because files can say anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From epoch milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Epoch milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; negative when `earlier` is later.
    pub const fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Moved by a signed number of milliseconds, saturating.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Moved into the future, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    /// ISO 8601 in UTC with milliseconds, as JavaScript's `Date.toISOString` writes it.
    pub fn to_iso8601(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => format!("{at:.3}"),
            Err(_) => format!("{}ms", self.0),
        }
    }

    /// Parses an ISO 8601 / RFC 3339 instant.
    pub fn from_iso8601(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .map(|at| Self(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_iso8601())
    }
}

/// A point in time for people: "22:38" today, else as [`dated`].
pub fn moment(at: Timestamp, now: Timestamp, time_zone: &TimeZone) -> String {
    match (local(at, time_zone), local(now, time_zone)) {
        (Some(there), Some(here)) if there.date() == here.date() => there.strftime("%H:%M").to_string(),
        _ => dated(at, now, time_zone),
    }
}

/// A point in time with its day: "27 Nov 22:38" this year, "27 Nov 2025" in another one.
pub fn dated(at: Timestamp, now: Timestamp, time_zone: &TimeZone) -> String {
    match (local(at, time_zone), local(now, time_zone)) {
        (Some(at), Some(now)) if at.year() == now.year() => say!(
            "{day} {month} {time}",
            day = at.day(),
            month = month(at.month()),
            time = at.strftime("%H:%M")
        ),
        (Some(at), _) => say!(
            "{day} {month} {year}",
            day = at.day(),
            month = month(at.month()),
            year = at.year()
        ),
        (None, _) => say!("the far future"),
    }
}

fn local(at: Timestamp, time_zone: &TimeZone) -> Option<jiff::Zoned> {
    let instant = jiff::Timestamp::from_millisecond(at.0).ok()?;
    Some(instant.to_zoned(time_zone.clone()))
}

/// A month beside a day, by its number from 1 on.
fn month(number: i8) -> String {
    match number {
        1 => say!("Jan"),
        2 => say!("Feb"),
        3 => say!("Mar"),
        4 => say!("Apr"),
        5 => say!("May"),
        6 => say!("Jun"),
        7 => say!("Jul"),
        8 => say!("Aug"),
        9 => say!("Sep"),
        10 => say!("Oct"),
        11 => say!("Nov"),
        _ => say!("Dec"),
    }
}

/// Tells the time. Implementations must be cheap; callers ask again after every wake-up, since
/// monotonic timers stop while a machine sleeps.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now, by the wall clock.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(match since {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        })
    }
}

/// A clock that stands still until it is moved: for tests and for planning.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `at`.
    pub const fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.0))
    }

    /// Moves the clock by a signed number of milliseconds.
    pub fn advance_millis(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the clock.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_day_when_that_is_another_one_and_its_year_then_too() {
        let at = |text: &str| Timestamp::from_iso8601(text).unwrap();
        let east = TimeZone::fixed(jiff::tz::offset(5));
        let now = at("2026-11-27T18:00:00Z");
        let cases = [
            ("2026-11-27T17:38:00Z", "22:38"),
            ("2026-11-27T18:59:00Z", "23:59"),
            ("2026-11-27T19:01:00Z", "28 Nov 00:01"),
            ("2026-01-03T01:05:00Z", "3 Jan 06:05"),
            ("2026-12-31T19:00:00Z", "1 Jan 2027"),
        ];
        for (time, words) in cases {
            assert_eq!(moment(at(time), now, &east), words);
        }
        assert_eq!(dated(now, now, &east), "27 Nov 23:00");
        assert_eq!(
            moment(Timestamp::from_millis(i64::MAX), now, &east),
            "the far future"
        );
    }

    #[test]
    fn iso8601_matches_javascript() {
        assert_eq!(
            Timestamp::from_millis(1_700_000_000_123).to_iso8601(),
            "2023-11-14T22:13:20.123Z"
        );
        assert_eq!(Timestamp::from_millis(0).to_iso8601(), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            Timestamp::from_iso8601("2023-11-14T22:13:20.123Z"),
            Some(Timestamp::from_millis(1_700_000_000_123))
        );
        assert_eq!(Timestamp::from_iso8601("yesterday"), None);
    }
}
