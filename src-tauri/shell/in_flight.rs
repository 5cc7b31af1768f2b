//! Work that must not be cut off when the process ends: a refresh, an exchange, a write.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

/// Counts what is under way in this process.
#[derive(Clone, Default)]
pub struct InFlight(Arc<RwLock<()>>);

impl InFlight {
    /// The process stays until the answer is dropped.
    pub async fn begin(&self) -> OwnedRwLockReadGuard<()> {
        Arc::clone(&self.0).read_owned().await
    }

    /// Waits until nothing is under way. What begins meanwhile waits behind this.
    pub async fn ended(&self) {
        drop(self.0.write().await);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_what_has_begun() {
        let work = InFlight::default();
        work.ended().await;
        let begun = work.begin().await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), work.ended());
        assert!(waiting.await.is_err());
        drop(begun);
        work.ended().await;
    }
}
