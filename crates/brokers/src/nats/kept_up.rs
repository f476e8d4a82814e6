//! Tasks that have to go on, whatever happens in them.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// How long it waits before it begins again.
const AGAIN: Duration = Duration::from_secs(1);

/// Does `work`. An error if it panicked: what it was there for would end, and nobody would know.
pub(super) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| Panicked)
}

/// A fault of this program, which it has told of itself.
#[derive(Debug, thiserror::Error)]
#[error("a fault of this program ended it")]
pub(super) struct Panicked;

/// Does what never ends, and begins it again if it panics.
pub(super) async fn kept_up<F: Future<Output = ()>>(what: &str, work: impl Fn() -> F) {
    while caught(work()).await.is_err() {
        tracing::error!(what, "a fault of this program ended what is to go on; it begins again");
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_panics_begins_again() {
        let begun = AtomicU64::new(0);
        kept_up("a test", || async {
            assert!(begun.fetch_add(1, Ordering::Relaxed) == 2, "not yet");
        })
        .await;
        assert_eq!(begun.into_inner(), 3);
    }
}
