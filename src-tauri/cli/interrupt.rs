//! Ctrl-C and the request to end. What was sent to a provider is finished first: a renewal that
//! is cut off after the request may cost the login.

use std::future::Future;

use kalit_core::Error;

use crate::output;

/// Listens from its creation on: from then no signal ends the process by itself.
pub struct Interrupt {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 3],
}

impl Interrupt {
    pub fn listen() -> Result<Self, Error> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let listen = |kind| {
                signal(kind).map_err(|error| {
                    Error::new(kalit_core::ErrorCode::Internal, "cannot listen for signals")
                        .with_source(error)
                })
            };
            Ok(Self {
                signals: [
                    listen(SignalKind::interrupt())?,
                    listen(SignalKind::terminate())?,
                    listen(SignalKind::hangup())?,
                ],
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Waits for the next one.
    pub async fn wait(&mut self) {
        #[cfg(unix)]
        {
            let [interrupt, terminate, hangup] = &mut self.signals;
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }

    /// Runs `work` to its end whatever comes; `asked_to_end` is called for each signal.
    pub async fn finish<T>(&mut self, work: impl Future<Output = T>, mut asked_to_end: impl FnMut()) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.wait() => asked_to_end(),
            }
        }
    }

    /// [`Interrupt::finish`] with a word to the person.
    pub async fn finish_telling<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.finish(work, || output::note("Finishing what was begun."))
            .await
    }
}
