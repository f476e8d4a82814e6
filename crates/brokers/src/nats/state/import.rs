//! State that was kept elsewhere.

use super::NatsState;
use super::record::{Kept, KeyRecord, OfKey, RequestRecord, key_name, request_name, to_json, use_name};
use crate::nats::state::mirror::Record;
use crate::state::{Answer, StateError};
use crate::store::Key;

impl NatsState {
    /// Keeps a key of another store, with its secret and its last use. Again is well.
    ///
    /// # Errors
    /// [`StateError::Broken`] where there is another key of its id.
    pub async fn put_key(&self, key: &Key) -> Result<(), StateError> {
        let name = key_name(&key.id);
        let bucket = self.keys.bucket();
        match bucket.create(&name, to_json(&KeyRecord::new(key))?).await? {
            Some(revision) => self.keys.note(&name, Some(OfKey::Key(Box::new(key.clone()))), revision),
            None => {
                let kept = bucket.get(&name).await?.and_then(|kept| OfKey::read(&name, &kept.value).ok());
                if !matches!(kept, Some(OfKey::Key(kept)) if kept.secret == key.secret) {
                    let sentence = format!("there is another key {} in NATS: delete one of the two", key.id);
                    return Err(StateError::Broken(sentence));
                }
            }
        }
        match key.used_at {
            Some(at) => bucket.set(&use_name(&key.id), to_json(&at.0)?).await,
            None => Ok(()),
        }
    }

    /// Keeps an answer of another store, unless there is one already.
    pub async fn put_answer(&self, request: [u8; 16], answer: &Answer) -> Result<(), StateError> {
        let (name, record) = (request_name(request), to_json(&RequestRecord::from(answer))?);
        if self.requests.create(&name, record.clone()).await?.is_some() {
            return Ok(());
        }
        let Some(kept) = self.requests.get(&name).await? else { return Ok(()) };
        match Kept::read(&kept.value)? {
            Kept::Answer(_) => Ok(()),
            // Nobody else is there yet: it was never answered.
            Kept::Claim(_) => self.requests.update(&name, record, kept.revision).await.map(drop),
        }
    }
}
