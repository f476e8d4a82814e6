//! The right to work on one job, and what is asked with it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::backoff::Backoff;
use crate::hub::{Hub, JSON, Request, Trouble, bearer};
use crate::{CancelReason, CancelToken, Error, Refused};

/// How long the hub may take to answer what it answers at once. It syncs to a disk that may be slow.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);

/// A lease (`protocol/README.md` §10.5). Each answer to it may say that the job is canceled or the lease lost, and its
/// token hears of it.
pub(crate) struct Lease {
    pub hub: Arc<Hub>,
    pub job: String,
    /// What the hub calls it. A secret.
    pub token: String,
    pub authorization: HeaderValue,
    pub cancel: CancelToken,
    /// How long the hub may be away before the job is given up.
    pub patience: Duration,
    /// When the hub last took something with it.
    answered: Mutex<Instant>,
}

/// What the hub gave has characters that no lease has.
#[derive(Debug, thiserror::Error)]
#[error("the hub gave a lease that is none")]
pub(crate) struct NotALease;

/// The members of an answer that are of use here; of the others there may be any.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reply {
    pub cancel: bool,
}

impl Lease {
    /// A lease that was given just now. The error is that it can't be one.
    pub fn new(hub: Arc<Hub>, job: String, token: String, patience: Duration) -> Result<Self, NotALease> {
        let authorization = bearer(&token).ok_or(NotALease)?;
        let (cancel, answered) = (CancelToken::new(), Mutex::new(Instant::now()));
        Ok(Lease { hub, job, token, authorization, cancel, patience, answered })
    }

    /// A request about this job.
    pub fn request(&self, action: &str, body: impl Into<Bytes>) -> Request {
        Request {
            path: format!("{}/{action}", self.path()),
            content_type: JSON,
            body: body.into(),
            authorization: Some(self.authorization.clone()),
            timeout: ANSWER,
        }
    }

    pub fn path(&self) -> String {
        format!("/v1/jobs/{}", self.job)
    }

    /// Asks once.
    pub async fn ask(&self, request: &Request) -> Result<Reply, Trouble> {
        match self.hub.post(request).await {
            Ok((_, body)) => {
                *self.answered() = Instant::now();
                let reply: Reply = serde_json::from_slice(&body).unwrap_or_default();
                if reply.cancel {
                    self.hear_cancel();
                }
                Ok(reply)
            }
            Err(trouble) => {
                self.hear(&trouble);
                Err(trouble)
            }
        }
    }

    /// Asks until there is an answer: for as long as the hub may be away, and for `grace` after `stop`.
    ///
    /// That the lease is lost is no reason to stop by itself: an end whose answer was lost is answered again, though the
    /// lease ended with it.
    pub async fn insist(&self, request: &Request, stop: &CancelToken, grace: Duration) -> Result<Reply, Error> {
        let stopped = async {
            stop.canceled().await;
            sleep(grace).await;
        };
        tokio::select! {
            biased;
            reply = self.ask_again(request) => reply,
            () = stopped => Err(stop.check().err().unwrap_or(Error::Canceled)),
        }
    }

    async fn ask_again(&self, request: &Request) -> Result<Reply, Error> {
        let began = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            let (cause, retry_after) = match self.ask(request).await {
                Ok(reply) => return Ok(reply),
                // Not the hub said so, but something before it, as a proxy does while the hub restarts.
                Err(Trouble::Refused(refused)) if refused.code.is_empty() => (refused.to_string(), None),
                Err(Trouble::Refused(refused)) => return Err(self.refused(refused)),
                Err(Trouble::Away { cause, retry_after }) => (cause, retry_after),
            };
            let (after, wait) = (began.elapsed(), backoff.next(retry_after));
            if after + wait > self.patience {
                return Err(Error::Away { after, cause });
            }
            sleep(wait).await;
        }
    }

    /// Gives the job up if the hub was away for too long.
    pub fn lose_patience(&self, cause: &str) {
        if self.answered().elapsed() > self.patience {
            tracing::warn!(job = self.job, cause, "the hub was away for too long; the job is given up");
            self.lose();
        }
    }

    fn answered(&self) -> MutexGuard<'_, Instant> {
        // Nothing panics while it is held.
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn refused(&self, refused: Refused) -> Error {
        if is_lost(&refused) { Error::LeaseLost } else { Error::Refused(refused) }
    }

    /// Takes note of an answer that says that the lease is lost.
    pub fn hear(&self, trouble: &Trouble) {
        if let Trouble::Refused(refused) = trouble
            && is_lost(refused)
        {
            self.lose();
        }
    }

    pub fn hear_cancel(&self) {
        if self.cancel.cancel(CancelReason::Canceled) {
            tracing::info!(job = self.job, "the job is canceled");
        }
    }

    pub fn lose(&self) {
        self.cancel.cancel(CancelReason::LeaseLost);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("job", &self.job).field("cancel", &self.cancel).finish_non_exhaustive()
    }
}

/// Whether an answer says that this worker has nothing more to say of the job.
pub(crate) fn is_lost(refused: &Refused) -> bool {
    (refused.status == 401 && !refused.code.is_empty()) || is_lost_code(&refused.code)
}

/// The same of a code that stands alone.
pub(crate) fn is_lost_code(code: &str) -> bool {
    matches!(code, "lease-lost" | "already-ended" | "no-such-job")
}
