//! Keeps a lease while a job is worked on, and waits at the hub for a cancel.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::hub::{Request, Trouble};
use crate::lease::{ANSWER, Lease};
use crate::{CancelReason, Refused};

/// The longest wait at the hub. Proxies cut what is silent for longer than 30 s.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How long a lease counts if nobody said otherwise. Where it is shorter nothing is lost: while a heartbeat waits, the hub
/// renews the lease by itself.
const USUAL: Duration = Duration::from_secs(30);

/// The least time between two heartbeats, whatever the hub answers.
const PACE: Duration = Duration::from_millis(500);

/// Renews the lease until it is lost. A cancel is heard of at once: the hub holds the answer until there is something to
/// say. Some of the lease is left for tries after one that was not answered.
pub(crate) async fn beat(lease: Arc<Lease>, duration: Option<Duration>) {
    let duration = duration.unwrap_or(USUAL);
    let wait = (duration / 2).clamp(Duration::from_millis(100), LONGEST_WAIT);
    let waiting = Request {
        timeout: wait + (duration / 6).clamp(Duration::from_secs(1), ANSWER),
        ..lease.request("heartbeat", format!(r#"{{"wait":"{}ms"}}"#, wait.as_millis()))
    };
    let short = lease.request("heartbeat", "{}");
    let mut backoff = Backoff::new();
    while !lease.cancel.has(CancelReason::LeaseLost) {
        // Of a canceled job the hub has nothing more to say, so it would not wait.
        let is_canceled = lease.cancel.has(CancelReason::Canceled);
        let asked = Instant::now();
        let cause = match lease.ask(if is_canceled { &short } else { &waiting }).await {
            Ok(_) => {
                backoff.reset();
                sleep_until(asked + if is_canceled { wait } else { PACE }).await;
                continue;
            }
            Err(Trouble::Away { cause, retry_after }) => {
                sleep(backoff.next(retry_after)).await;
                cause
            }
            Err(Trouble::Refused(Refused { detail, .. })) => {
                sleep(backoff.next(None)).await;
                detail
            }
        };
        lease.lose_patience(&cause);
    }
}
