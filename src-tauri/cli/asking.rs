//! A word to the person at a terminal while something takes its time.

use std::future::Future;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kalit_core::broker::Broker;
use kalit_core::{Error, ErrorCode};

use crate::output;

/// Work that is done sooner needs no word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether somebody reads such words.
static WANTED: AtomicBool = AtomicBool::new(false);

/// Lets words be said where stderr is a terminal and neither `--json` nor `--quiet` was given.
pub fn begin(json: bool, quiet: bool) {
    let wanted = !json && !quiet && std::io::stderr().is_terminal();
    WANTED.store(wanted, Ordering::Relaxed);
}

/// Runs `work`; says that OpenClaw is asked, when it is and takes more than a second, else that its files
/// are in use.
pub async fn asking<T>(is_asked: impl FnOnce() -> bool, work: impl Future<Output = T>) -> T {
    let what = || {
        if is_asked() {
            "Asking OpenClaw…"
        } else {
            "Waiting for OpenClaw’s files…"
        }
    };
    said(what, work).await
}

/// Runs `work`; says `what` it does when it takes more than a second.
pub async fn saying<T>(what: &'static str, work: impl Future<Output = T>) -> T {
    said(|| what, work).await
}

/// Reads from the disk; says so when it takes more than a second.
pub async fn reading<T: Send + 'static>(
    broker: &Broker,
    read: impl FnOnce(&Broker) -> T + Send + 'static,
) -> Result<T, Error> {
    let broker = broker.clone();
    let work = tokio::task::spawn_blocking(move || read(&broker));
    saying("Reading OpenClaw’s files…", work)
        .await
        .map_err(|error| Error::new(ErrorCode::Internal, "a task ended early").with_source(error))
}

async fn said<T>(what: impl FnOnce() -> &'static str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    if WANTED.load(Ordering::Relaxed) {
        output::note(what());
    }
    work.await
}
