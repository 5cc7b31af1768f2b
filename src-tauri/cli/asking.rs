//! A word to the person while OpenClaw works: its commands take seconds.

use std::future::Future;
use std::time::Duration;

use crate::output;

/// Work that is done sooner needs no word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `work`; says on stderr that OpenClaw is asked, when it is and takes more than a second.
pub async fn asking<T>(is_asked: impl FnOnce() -> bool, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    if is_asked() {
        output::note("Asking OpenClaw…");
    }
    work.await
}
