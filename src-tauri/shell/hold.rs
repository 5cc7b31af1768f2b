//! When nothing is told yet: right after a machine woke and while it is offline, much looks like trouble
//! that is over a moment later.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use kalit_core::clock::Timestamp;

/// How long nothing is told after the machine woke.
const AFTER_WAKING: Duration = Duration::from_secs(2 * 60);
/// A machine has slept when the wall clock went this much further than the clock that stops meanwhile.
const SLEPT: i64 = 10_000;
/// Providers that are out of reach for longer than this are trouble themselves, while there is a network.
const OUT_OF_REACH: i64 = 60 * 60 * 1000;
/// How long until a machine without a network is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Looks at both clocks again and again.
#[derive(Debug)]
pub struct Hold {
    looked: (Timestamp, Instant),
    woke: Option<Instant>,
}

impl Hold {
    pub fn new(now: Timestamp, instant: Instant) -> Self {
        Self {
            looked: (now, instant),
            woke: None,
        }
    }

    /// For how long nothing is to be told yet; zero when something may be told now. Whether providers
    /// answer again is known by `offline_since` alone.
    pub fn look(
        &mut self,
        now: Timestamp,
        instant: Instant,
        offline_since: Option<Timestamp>,
        has_network: impl Fn() -> bool,
    ) -> Duration {
        let by_the_wall = now.millis_since(self.looked.0);
        let awake = instant.saturating_duration_since(self.looked.1);
        self.looked = (now, instant);
        if by_the_wall.saturating_sub_unsigned(millis(awake)) > SLEPT {
            self.woke = Some(instant);
        }
        let waking = self.woke.map_or(Duration::ZERO, |woke| {
            AFTER_WAKING.saturating_sub(instant.saturating_duration_since(woke))
        });
        let offline = offline_since.map_or(Duration::ZERO, |since| {
            let left = (OUT_OF_REACH - now.millis_since(since)).clamp(0, OUT_OF_REACH);
            let left = Duration::from_millis(left.unsigned_abs());
            if has_network() { left } else { left.max(LOOK_AGAIN) }
        });
        waking.max(offline)
    }
}

/// Whether this machine has a way to other networks. Nothing is sent: connecting such a socket only looks
/// for a route, here to addresses that are nobody's (RFC 5737, RFC 3849).
pub fn has_network() -> bool {
    let routed =
        |own: &str, other: &str| UdpSocket::bind(own).is_ok_and(|socket| socket.connect(other).is_ok());
    routed("0.0.0.0:0", "192.0.2.1:9") || routed("[::]:0", "[2001:db8::1]:9")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::samples::NOW;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn nothing_is_told_for_two_minutes_after_a_sleep() {
        let begin = Instant::now();
        let mut hold = Hold::new(NOW, begin);
        let mut look =
            |wall: i64, awake: Duration| hold.look(NOW.plus_millis(wall), begin + awake, None, || true);
        assert_eq!(look(60_000, MINUTE), Duration::ZERO);
        assert_eq!(
            look(120_000 + 9_000, 2 * MINUTE),
            Duration::ZERO,
            "a clock that is set a little"
        );
        // an hour asleep, a minute awake
        assert_eq!(look(120_000 + 3_600_000, 3 * MINUTE), 2 * MINUTE);
        assert_eq!(look(180_000 + 3_600_000, 4 * MINUTE), MINUTE);
        assert_eq!(look(240_000 + 3_600_000, 5 * MINUTE), Duration::ZERO);
        // a clock that is set back is no sleep
        assert_eq!(look(0, 6 * MINUTE), Duration::ZERO);
    }

    #[test]
    fn nothing_is_told_without_a_network_nor_in_the_first_hour_out_of_reach() {
        let begin = Instant::now();
        let mut hold = Hold::new(NOW, begin);
        let mut look = |minutes: u32, since: Option<Timestamp>, has_network: bool| {
            let passed = minutes * MINUTE;
            let now = NOW.plus_millis(i64::from(minutes) * 60_000);
            hold.look(now, begin + passed, since, || has_network)
        };
        assert_eq!(look(1, Some(NOW), true), 59 * MINUTE);
        assert_eq!(look(2, None, false), Duration::ZERO, "a provider has answered");
        assert_eq!(look(59, Some(NOW), true), MINUTE);
        assert_eq!(look(60, Some(NOW), true), Duration::ZERO);
        assert_eq!(look(600, Some(NOW), true), Duration::ZERO);
        assert_eq!(look(601, Some(NOW), false), MINUTE, "the machine is offline");
    }
}
