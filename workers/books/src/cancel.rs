//! Work that ends soon after a cancel, whatever it waits for.

use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::report::{Report, Stopped, Unfinished};

/// How often it is looked whether somebody has canceled: ten times in the second that the work has to end.
const LOOK: Duration = Duration::from_millis(100);

/// What `work` gives, unless somebody cancels before. It is dropped then: a request is cut off, a child killed.
pub async fn unless_canceled<T>(report: &dyn Report, work: impl Future<Output = T>) -> Result<T, Unfinished> {
    let canceled = async {
        while !report.is_canceled() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        () = canceled => Err(Unfinished::Canceled),
        done = work => Ok(done),
    }
}

/// Hands over items from async code. [`Report::items`] may block, so the other tasks of this thread are moved away,
/// where there are other threads.
pub fn hand_over(report: &dyn Report, items: Vec<Value>) -> Result<(), Stopped> {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| report.items(items)),
        _ => report.items(items),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::report::Collected;

    #[tokio::test(start_paused = true)]
    async fn a_cancel_ends_work_that_would_never_end() {
        let report = Collected::default();
        let start = tokio::time::Instant::now();
        let (ended, ()) = tokio::join!(unless_canceled(&report, pending::<()>()), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            report.cancel();
        });
        assert_eq!(ended, Err(Unfinished::Canceled));
        assert!(start.elapsed() <= Duration::from_millis(5_200), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn work_that_nobody_cancels_gives_what_it_gives() {
        assert_eq!(unless_canceled(&Collected::default(), ready(7)).await, Ok(7));
        assert_eq!(unless_canceled(&Collected::canceled_at(0), ready(7)).await, Err(Unfinished::Canceled));
    }

    #[tokio::test]
    async fn items_are_handed_over_on_one_thread_too() {
        let report = Collected::default();
        hand_over(&report, vec![Value::Null]).unwrap();
        assert_eq!(report.items(), [Value::Null]);
    }
}
