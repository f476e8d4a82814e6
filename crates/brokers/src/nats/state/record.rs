//! How the state is spelled in NATS: JSON, and names of letters, digits, `-` and `_`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use tidings::{Cursor, Timestamp};

use super::mirror::Record;
use crate::state::{Answer, Claim, StateError};
use crate::store::{Key, NewKey, Revocation};

/// What of a key is in the bucket of keys, each under a name of its own: uses are noted without touching the key.
pub(super) enum OfKey {
    Key(Box<Key>),
    UsedAt(Timestamp),
}

/// The name of a key's record.
pub(super) fn key_name(id: &str) -> String {
    format!("k.{id}")
}

/// The name of a key's last use.
pub(super) fn use_name(id: &str) -> String {
    format!("u.{id}")
}

/// Whose key's last use this is the name of.
pub(super) fn used_key(name: &str) -> Option<&str> {
    name.strip_prefix("u.")
}

impl Record for OfKey {
    fn read(name: &str, value: &[u8]) -> Result<Self, String> {
        match name.split_once('.') {
            Some(("k", id)) => {
                let record: KeyRecord = from_json(value)?;
                Ok(OfKey::Key(Box::new(record.into_key(id))))
            }
            Some(("u", _)) => Ok(OfKey::UsedAt(Timestamp(from_json(value)?))),
            _ => Err("the name is of nothing that this program keeps".into()),
        }
    }

    fn is_told(&self) -> bool {
        matches!(self, OfKey::Key(_))
    }
}

/// A key, without its id: that is its name.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyRecord {
    secret_sha256: Hash,
    name: String,
    grants: Vec<String>,
    publish_topics: Option<Vec<String>>,
    publish_names: Option<Vec<String>>,
    may_publish: bool,
    operator: bool,
    profile: Option<String>,
    created_at: u64,
    expires_at: Option<u64>,
}

impl KeyRecord {
    pub fn new(key: &Key) -> Self {
        let rights = key.rights.clone();
        KeyRecord {
            secret_sha256: Hash(key.secret),
            name: rights.name,
            grants: rights.grants,
            publish_topics: rights.publish_topics,
            publish_names: rights.publish_names,
            may_publish: rights.may_publish,
            operator: rights.operator,
            profile: rights.profile,
            created_at: key.created_at.0,
            expires_at: rights.expires_at.map(|at| at.0),
        }
    }

    fn into_key(self, id: &str) -> Key {
        let rights = NewKey {
            name: self.name,
            grants: self.grants,
            publish_topics: self.publish_topics,
            publish_names: self.publish_names,
            may_publish: self.may_publish,
            operator: self.operator,
            profile: self.profile,
            expires_at: self.expires_at.map(Timestamp),
        };
        Key {
            id: id.to_owned(),
            rights,
            created_at: Timestamp(self.created_at),
            used_at: None,
            secret: self.secret_sha256.0,
        }
    }
}

/// A revocation.
#[derive(Serialize, Deserialize)]
pub(super) struct RevocationRecord {
    kind: String,
    value: String,
    namespace: Option<String>,
    at: u64,
    until: u64,
}

impl RevocationRecord {
    pub fn new(revocation: &Revocation) -> Self {
        let Revocation { kind, value, namespace, at, until } = revocation.clone();
        RevocationRecord { kind: kind.as_str().into(), value, namespace, at: at.0, until: until.0 }
    }
}

/// The name of a revocation: what is revoked is any text, of any length, so its hash stands for it.
pub(super) fn revocation_name(Revocation { kind, value, namespace, .. }: &Revocation) -> String {
    let mut hash = Sha256::new();
    if let Some(namespace) = namespace {
        // No text has this byte, so that no value can be taken for one with a namespace.
        hash = hash.chain_update(namespace).chain_update([0xff]);
    }
    format!("{}.{}", kind.as_str(), URL_SAFE_NO_PAD.encode(hash.chain_update(value).finalize()))
}

impl Record for Revocation {
    fn read(_name: &str, value: &[u8]) -> Result<Self, String> {
        let RevocationRecord { kind, value, namespace, at, until } = from_json(value)?;
        Ok(Revocation { kind: kind.parse()?, value, namespace, at: Timestamp(at), until: Timestamp(until) })
    }

    fn is_told(&self) -> bool {
        true
    }
}

/// Who a ticket stands for.
#[derive(Serialize, Deserialize)]
pub(super) struct TicketRecord {
    pub principal: String,
    pub expires_at: u64,
}

/// The name of a ticket.
pub(super) fn ticket_name(hash: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

/// What is kept of a request.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RequestRecord {
    Claim { body: Hash, after: String, by: u64, at: u64 },
    Answer { body: Option<Hash>, answer: String, at: u64 },
}

/// The name of a request.
pub(super) fn request_name(request: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(request)
}

/// What is kept of a request, read.
pub(super) enum Kept {
    Claim(Claim),
    Answer(Answer),
}

impl From<&Claim> for RequestRecord {
    fn from(Claim { body, after, by, at }: &Claim) -> Self {
        RequestRecord::Claim { body: Hash(*body), after: after.to_string(), by: *by, at: at.0 }
    }
}

impl From<&Answer> for RequestRecord {
    fn from(Answer { body, answer, at }: &Answer) -> Self {
        RequestRecord::Answer { body: body.map(Hash), answer: answer.clone(), at: at.0 }
    }
}

impl Kept {
    pub fn read(value: &[u8]) -> Result<Self, StateError> {
        let unreadable = |error: String| StateError::Broken(format!("a request in NATS can't be read: {error}"));
        Ok(match from_json(value).map_err(unreadable)? {
            RequestRecord::Claim { body, after, by, at } => {
                let after = after.parse::<Cursor>().map_err(|error| unreadable(error.to_string()))?;
                Kept::Claim(Claim { body: body.0, after, by, at: Timestamp(at) })
            }
            RequestRecord::Answer { body, answer, at } => {
                Kept::Answer(Answer { body: body.map(|body| body.0), answer, at: Timestamp(at) })
            }
        })
    }
}

/// A SHA-256, spelled in base64.
pub(super) struct Hash([u8; 32]);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Hash).ok_or_else(|| de::Error::custom("a hash is 43 characters of base64"))
    }
}

/// The bytes of a record.
pub(super) fn to_json(record: &impl Serialize) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(record).map_err(|error| StateError::Broken(format!("a record can't be written: {error}")))
}

/// A record.
pub(super) fn from_json<'de, T: Deserialize<'de>>(value: &'de [u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}
