//! The tokens of jobs.

use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tidings::Timestamp;
use tidings::job::{JobId, JobStoreError};

use super::Shared;
use super::key;
use super::stream::ASKED_AT_ONCE;

/// Whose token it is, and until when.
#[derive(Serialize, Deserialize)]
struct Token {
    job: JobId,
    /// When that was made: a later one of its id is another.
    created: Timestamp,
    expires: Timestamp,
}

impl Shared {
    pub(super) async fn put_token(&self, hash: [u8; 32], id: &JobId, expires: Timestamp) -> Result<(), JobStoreError> {
        let created = self.created(id).await?.ok_or_else(|| JobStoreError(format!("there is no job {id}")))?;
        let token = Token { job: id.clone(), created, expires };
        let value = serde_json::to_vec(&token).map_err(|error| JobStoreError(error.to_string()))?;
        // The mark first: a token that is there goes with its job.
        self.stream.put(&key::token_of(id, &hash), Default::default(), None).await?;
        self.stream.put(&key::token(&hash), value.into(), None).await.map(drop)
    }

    pub(super) async fn token(&self, hash: [u8; 32]) -> Result<Option<(JobId, Timestamp)>, JobStoreError> {
        let Some(found) = self.stream.last(&key::token(&hash)).await? else { return Ok(None) };
        let token: Token = serde_json::from_slice(&found.payload)
            .map_err(|error| JobStoreError(format!("a token of a job is damaged: {error}")))?;
        let is_there = self.created(&token.job).await? == Some(token.created);
        Ok(is_there.then_some((token.job, token.expires)))
    }

    /// Forgets the tokens of a job, but for those that were put for another one since.
    pub(super) async fn remove_tokens(&self, id: &JobId) -> Result<(), JobStoreError> {
        let remove = |key: String| async move {
            let Some(hash) = key.rsplit('.').next() else { return Ok(()) };
            let key = format!("t.{hash}");
            let Some(found) = self.stream.last(&key).await? else { return Ok(()) };
            match serde_json::from_slice::<Token>(&found.payload) {
                Ok(token) if token.job != *id => Ok(()),
                _ => self.stream.purge(&key, found.sequence).await,
            }
        };
        let keys = self.stream.keys(&key::tokens_of(id)).await?;
        futures_util::stream::iter(keys).map(remove).buffer_unordered(ASKED_AT_ONCE / 4).try_collect().await
    }
}
