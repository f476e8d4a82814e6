//! That a job should stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::Error;

/// Why a job should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// Somebody canceled the job. The handler ends; the hub is told that it is canceled.
    Canceled,
    /// The hub has given the job to somebody else, or it has ended: what this worker still says of it does not count.
    LeaseLost,
    /// The worker stops, and the time it had for what was begun is over. The job goes back to the hub.
    Stopping,
}

impl CancelReason {
    const fn bit(self) -> u8 {
        match self {
            CancelReason::Canceled => 1,
            CancelReason::LeaseLost => 2,
            CancelReason::Stopping => 4,
        }
    }
}

/// Tells a handler that it should stop. Cheap to clone and to ask, from any thread.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    reasons: AtomicU8,
    told: Notify,
}

impl CancelToken {
    pub(crate) fn new() -> Self {
        CancelToken::default()
    }

    /// Whether to stop. A load of one byte: ask it for every row.
    pub fn is_canceled(&self) -> bool {
        self.0.reasons.load(Ordering::Acquire) != 0
    }

    /// Why to stop, if so. A lost lease goes before a cancel, and that before a worker that stops.
    pub fn reason(&self) -> Option<CancelReason> {
        [CancelReason::LeaseLost, CancelReason::Canceled, CancelReason::Stopping]
            .into_iter()
            .find(|reason| self.has(*reason))
    }

    /// Returns as soon as the job should stop.
    pub async fn canceled(&self) {
        self.until(u8::MAX).await;
    }

    /// An error as soon as the job should stop, for `?` in a loop: [`Error::Canceled`] or [`Error::LeaseLost`].
    pub fn check(&self) -> Result<(), Error> {
        match self.reason() {
            None => Ok(()),
            Some(CancelReason::LeaseLost) => Err(Error::LeaseLost),
            Some(_) => Err(Error::Canceled),
        }
    }

    pub(crate) fn has(&self, reason: CancelReason) -> bool {
        self.0.reasons.load(Ordering::Acquire) & reason.bit() != 0
    }

    /// Returns as soon as it should stop for this reason.
    pub(crate) async fn for_reason(&self, reason: CancelReason) {
        self.until(reason.bit()).await;
    }

    /// Says that it should stop; returns whether that is news.
    pub(crate) fn cancel(&self, reason: CancelReason) -> bool {
        let before = self.0.reasons.fetch_or(reason.bit(), Ordering::AcqRel);
        self.0.told.notify_waiters();
        before & reason.bit() == 0
    }

    async fn until(&self, bits: u8) {
        loop {
            // Registered before it looks: what is told between the two is not missed.
            let mut told = std::pin::pin!(self.0.told.notified());
            told.as_mut().enable();
            if self.0.reasons.load(Ordering::Acquire) & bits != 0 {
                return;
            }
            told.await;
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancelToken").field(&self.reason()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_of_it_and_whoever_comes_later_too() {
        let token = CancelToken::new();
        let waiting = tokio::spawn({
            let token = token.clone();
            async move { token.canceled().await }
        });
        tokio::task::yield_now().await;
        assert!(!token.is_canceled() && token.check().is_ok());
        assert!(token.cancel(CancelReason::Canceled));
        waiting.await.unwrap();
        token.canceled().await;
        assert!(matches!(token.check(), Err(Error::Canceled)));
    }

    #[tokio::test]
    async fn a_lost_lease_goes_before_a_cancel_and_is_news_once() {
        let token = CancelToken::new();
        token.cancel(CancelReason::Stopping);
        token.cancel(CancelReason::Canceled);
        assert_eq!(token.reason(), Some(CancelReason::Canceled));
        assert!(token.cancel(CancelReason::LeaseLost));
        assert!(!token.cancel(CancelReason::LeaseLost));
        token.for_reason(CancelReason::LeaseLost).await;
        assert_eq!(token.reason(), Some(CancelReason::LeaseLost));
    }
}
