//! What was in the database beside the log, all but the jobs.

use futures_util::{StreamExt, TryStreamExt, stream};
use tidings::Timestamp;

use crate::nats::NatsState;
use crate::state::{AccessStore, StateError};
use crate::store::{Store, StoreError};

/// How many are put at once.
const AT_ONCE: usize = 64;

/// How many are read at once.
const PAGE: usize = 1_000;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedState {
    /// API keys.
    pub keys: u64,
    /// Revocations.
    pub revocations: u64,
    /// Answers to requests with an `Idempotency-Key`.
    pub answers: u64,
}

/// Moves API keys, revocations and answers; moving again is well. Tickets count for minutes, and stay.
///
/// # Errors
/// [`StateError::Broken`] where NATS has another key of the same id or the database can't be read, [`StateError::Unavailable`].
pub async fn move_state(from: &Store, to: &NatsState, now: Timestamp) -> Result<MovedState, StateError> {
    let mut moved = MovedState::default();
    let keys = from.keys().map_err(unreadable)?;
    moved.keys = keys.len() as u64;
    each(keys, |key| async move { to.put_key(&key).await }).await?;
    let revocations = from.revocations(now).map_err(unreadable)?;
    moved.revocations = revocations.len() as u64;
    each(revocations, |revocation| async move { to.revoke(&revocation).await }).await?;
    let mut after = None;
    loop {
        let page = from.answers(after, PAGE, now).map_err(unreadable)?;
        let Some((last, _)) = page.last() else { return Ok(moved) };
        after = Some(*last);
        moved.answers += page.len() as u64;
        each(page, |(request, answer)| async move { to.put_answer(request, &answer).await }).await?;
    }
}

async fn each<T, F: Future<Output = Result<(), StateError>>>(
    all: Vec<T>,
    put: impl Fn(T) -> F,
) -> Result<(), StateError> {
    stream::iter(all).map(put).buffer_unordered(AT_ONCE).try_collect().await
}

fn unreadable(error: StoreError) -> StateError {
    StateError::Broken(error.to_string())
}
