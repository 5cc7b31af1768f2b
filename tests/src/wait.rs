//! Waiting for a condition with a deadline. Journeys never sleep for a guessed time: they ask
//! again until the answer is there, and say what they waited for when it never came.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `probe` until it answers `Some`; an error names `what` and the time waited.
pub async fn until<T, F, Answer>(what: &str, limit: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Answer,
    Answer: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("waited {:.1} s for {what}", start.elapsed().as_secs_f64());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// [`until`] for a probe that answers at once.
pub async fn until_some<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    until(what, limit, || std::future::ready(probe())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_never_holds_is_named() {
        let limit = Duration::from_millis(30);
        let error = until_some("the moon", limit, || None::<()>).await.unwrap_err();
        assert!(error.to_string().contains("for the moon"), "{error}");
        assert_eq!(until_some("now", limit, || Some(7)).await.unwrap(), 7);
    }
}
