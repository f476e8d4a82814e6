//! API keys: stored hashed, shown once.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tidings::Timestamp;

use super::{Store, StoreError, from_sql, to_sql};

/// What a key is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// What the operator calls it.
    pub name: String,
    /// The grants of who listens with it; patterns allowed.
    pub grants: Vec<String>,
    /// The topics it may publish on, patterns allowed; [`None`] is all.
    pub publish_topics: Option<Vec<String>>,
    /// The event names it may publish; [`None`] is all.
    pub publish_names: Option<Vec<String>>,
    /// Whether it may publish at all.
    pub may_publish: bool,
    /// Whether it may do what an operator may: revoke, explain, read the metrics.
    pub operator: bool,
    /// The profile it belongs to; [`None`] is all.
    pub profile: Option<String>,
    /// From when on it is refused; [`None`] is never.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// A key that may do nothing yet.
    pub fn named(name: impl Into<String>) -> Self {
        NewKey { name: name.into(), ..NewKey::default() }
    }
}

/// A key, without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// How it is found and named in logs: 8 characters of `a-z0-9`. Not secret.
    pub id: String,
    /// What it may do.
    pub rights: NewKey,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, as [`Store::touch_key`] was told.
    pub used_at: Option<Timestamp>,
    /// SHA-256 of the secret.
    pub(crate) secret: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("rights", &self.rights).finish_non_exhaustive()
    }
}

impl Key {
    /// A new key that no store has, and its token.
    pub fn generate(rights: NewKey, now: Timestamp) -> Result<(Self, String), getrandom::Error> {
        let mut random = [0; ID + 32];
        getrandom::fill(&mut random)?;
        let id: String = random[..ID].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        let secret = URL_SAFE_NO_PAD.encode(&random[ID..]);
        let token = format!("{TOKEN_PREFIX}{id}_{secret}");
        Ok((
            Key { id, rights, created_at: now, used_at: None, secret: Sha256::digest(secret.as_bytes()).into() },
            token,
        ))
    }

    /// Whether `secret`, the third part of a token, is this key's. Takes as long for a nearly right one as for a wrong one.
    pub fn has_secret(&self, secret: &str) -> bool {
        let hash: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
        hash.ct_eq(&self.secret).into()
    }

    /// Whether it is past its time.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.rights.expires_at.is_some_and(|at| now >= at)
    }
}

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "tdg_";

/// No i, l, o and u: an id is read aloud and typed.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID: usize = 8;

/// The id and the secret of a token `tdg_<id>_<secret>`; [`None`] if it is none.
pub fn split_token(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
    (id.len() == ID && id.bytes().all(|b| ALPHABET.contains(&b)) && !secret.is_empty()).then_some((id, secret))
}

fn list(texts: &[String]) -> String {
    serde_json::Value::from(texts.to_vec()).to_string()
}

fn read_list(row: &Row<'_>, column: &str) -> rusqlite::Result<Vec<String>> {
    let text: String = row.get(column)?;
    parse_list(&text, row.as_ref().column_index(column)?)
}

fn parse_list(text: &str, column: usize) -> rusqlite::Result<Vec<String>> {
    let fail = |e| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e));
    serde_json::from_str(text).map_err(fail)
}

fn read_optional_list(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Vec<String>>> {
    let text: Option<String> = row.get(column)?;
    let at = row.as_ref().column_index(column)?;
    text.map(|text| parse_list(&text, at)).transpose()
}

fn read_key(row: &Row<'_>) -> rusqlite::Result<Key> {
    Ok(Key {
        id: row.get("id")?,
        rights: NewKey {
            name: row.get("name")?,
            grants: read_list(row, "grants")?,
            publish_topics: read_optional_list(row, "publish_topics")?,
            publish_names: read_optional_list(row, "publish_names")?,
            may_publish: row.get("may_publish")?,
            operator: row.get("operator")?,
            profile: row.get("profile")?,
            expires_at: row.get::<_, Option<i64>>("expires_at")?.map(from_sql),
        },
        created_at: from_sql(row.get("created_at")?),
        used_at: row.get::<_, Option<i64>>("used_at")?.map(from_sql),
        secret: row.get("secret")?,
    })
}

impl Store {
    /// Makes a key and returns it with its token, `tdg_<id>_<secret>`. The token is stored nowhere: show it once.
    pub fn create_key(&self, new: NewKey, now: Timestamp) -> Result<(Key, String), StoreError> {
        let (key, token) = Key::generate(new, now).map_err(StoreError::Random)?;
        let rights = &key.rights;
        self.connection().prepare_cached(
            "INSERT INTO keys (id, secret, name, grants, publish_topics, publish_names, may_publish, operator, profile,
             created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            key.id,
            key.secret,
            rights.name,
            list(&rights.grants),
            rights.publish_topics.as_deref().map(list),
            rights.publish_names.as_deref().map(list),
            rights.may_publish,
            rights.operator,
            rights.profile,
            to_sql(now),
            rights.expires_at.map(to_sql),
        ])?;
        self.changed();
        Ok((key, token))
    }

    /// The key with this id.
    pub fn find_key(&self, id: &str) -> Result<Option<Key>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT * FROM keys WHERE id = ?1")?;
        Ok(statement.query_row([id], read_key).optional()?)
    }

    /// The key of a token, if there is one, the secret is right and it has not expired.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Option<Key>, StoreError> {
        let Some((id, secret)) = split_token(token) else { return Ok(None) };
        Ok(self.find_key(id)?.filter(|key| key.has_secret(secret) && !key.is_expired(now)))
    }

    /// All keys, oldest first, the expired ones too.
    pub fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT * FROM keys ORDER BY created_at, id")?;
        let keys = statement.query_map([], read_key)?.collect::<Result<_, _>>()?;
        Ok(keys)
    }

    /// The ids of all keys.
    pub fn key_ids(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT id FROM keys")?;
        let ids = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(ids)
    }

    /// Removes a key and returns whether there was one.
    pub fn delete_key(&self, id: &str) -> Result<bool, StoreError> {
        let removed = self.connection().prepare_cached("DELETE FROM keys WHERE id = ?1")?.execute([id])?;
        self.changed();
        Ok(removed > 0)
    }

    /// Remembers that a key was used. A write with a sync: call it once a minute and key, not at each use.
    pub fn touch_key(&self, id: &str, now: Timestamp) -> Result<(), StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("UPDATE keys SET used_at = ?2 WHERE id = ?1")?;
        statement.execute(params![id, to_sql(now)])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> NewKey {
        NewKey {
            name: "the \"publisher\"".into(),
            grants: vec!["role/admin".into(), "library/*/read".into()],
            publish_topics: Some(vec!["library/*".into()]),
            publish_names: Some(vec![]),
            may_publish: true,
            operator: true,
            profile: Some("app".into()),
            expires_at: Some(Timestamp(100)),
        }
    }

    #[test]
    fn a_token_finds_its_key_with_all_its_rights_until_it_expires() {
        let store = Store::in_memory().unwrap();
        let (key, token) = store.create_key(full(), Timestamp(5)).unwrap();
        assert_eq!(key.rights, full());
        assert_eq!(store.verify(&token, Timestamp(99)).unwrap(), Some(key.clone()));
        assert_eq!(store.verify(&token, Timestamp(100)).unwrap(), None);
        assert_eq!(store.find_key(&key.id).unwrap(), Some(key));
    }

    #[test]
    fn a_wrong_secret_a_foreign_token_and_a_deleted_key_are_refused() {
        let store = Store::in_memory().unwrap();
        let (key, token) = store.create_key(NewKey::named("a"), Timestamp(5)).unwrap();
        let (_, other) = store.create_key(NewKey::named("b"), Timestamp(6)).unwrap();
        let (_, foreign_secret) = split_token(&other).unwrap();
        let mixed = format!("tdg_{}_{foreign_secret}", key.id);
        let cut = &token[..token.len() - 1];
        for wrong in [mixed.as_str(), cut, "", "tdg_", "tdg__", "tdg_00000000_x", "tdg_%%%%%%%%_x", "Bearer x"] {
            assert_eq!(store.verify(wrong, Timestamp(7)).unwrap(), None, "{wrong}");
        }
        assert!(store.delete_key(&key.id).unwrap());
        assert!(!store.delete_key(&key.id).unwrap());
        assert_eq!(store.verify(&token, Timestamp(7)).unwrap(), None);
        assert_eq!(store.keys().unwrap().len(), 1);
    }

    #[test]
    fn a_token_has_its_form_and_its_secret_is_not_stored_or_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = Store::open(&path).unwrap();
        let (key, token) = store.create_key(NewKey::named("a"), Timestamp(5)).unwrap();
        let (id, secret) = split_token(&token).unwrap();
        assert_eq!((id, secret.len()), (key.id.as_str(), 43));
        drop(store);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        let shown = format!("{key:?}");
        assert!(!shown.contains(secret) && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn the_last_use_is_remembered() {
        let store = Store::in_memory().unwrap();
        let (key, _) = store.create_key(NewKey::named("a"), Timestamp(5)).unwrap();
        store.touch_key(&key.id, Timestamp(9)).unwrap();
        assert_eq!(store.keys().unwrap()[0].used_at, Some(Timestamp(9)));
    }
}
