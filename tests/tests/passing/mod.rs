//! Minutes that pass at once, for journeys with Kalit in this process.

use std::time::Duration;

use kalit_core::clock::ManualClock;

/// Lets time pass for timers and for the wall clock; what is awaited meanwhile goes on.
pub async fn pass(clock: &ManualClock, time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    clock.advance_millis(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
    tokio::time::resume();
    // What the timers woke has its turn.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
