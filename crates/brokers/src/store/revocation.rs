//! Revocations: who may no longer, though what they hold has not expired.

use rusqlite::params;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use tidings::Timestamp;

use super::{Store, StoreError, from_sql, to_sql};

/// What is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Everything of a principal, by its id.
    Principal,
    /// One session of somebody, by its id.
    Session,
    /// An API key, by its id.
    Key,
}

impl Revoked {
    /// How it is spelled on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Revoked::Principal => "principal",
            Revoked::Session => "session",
            Revoked::Key => "key",
        }
    }
}

impl std::str::FromStr for Revoked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Revoked::Principal, Revoked::Session, Revoked::Key]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} can't be revoked: it is one of principal, session and key"))
    }
}

impl ToSql for Revoked {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Revoked {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|_| FromSqlError::InvalidType)
    }
}

/// A revocation: what was issued to `value` up to `at` counts no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub kind: Revoked,
    /// Whose.
    pub value: String,
    /// In which profile alone, by its namespace; [`None`] is everywhere.
    pub namespace: Option<String>,
    /// When. What was issued later is good again.
    pub at: Timestamp,
    /// Until when it must be remembered: by then, all that was issued before has expired.
    pub until: Timestamp,
}

impl Store {
    /// Keeps a revocation. Of two of the same, the later times count.
    pub fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let Revocation { kind, value, namespace, at, until } = revocation;
        self.connection()
            .prepare_cached(
                "INSERT INTO revocations VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET at = max(at, excluded.at), until = max(until, excluded.until)",
            )?
            .execute(params![kind, value, namespace.as_deref().unwrap_or(""), to_sql(*at), to_sql(*until)])?;
        self.changed();
        Ok(())
    }

    /// All that still count.
    pub fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT kind, value, nullif(namespace, ''), at, until FROM revocations WHERE until > ?1 ORDER BY at",
        )?;
        let read = |row: &rusqlite::Row<'_>| {
            let (at, until) = (from_sql(row.get(3)?), from_sql(row.get(4)?));
            Ok(Revocation { kind: row.get(0)?, value: row.get(1)?, namespace: row.get(2)?, at, until })
        };
        let revocations = statement.query_map([to_sql(now)], read)?.collect::<Result<_, _>>()?;
        Ok(revocations)
    }

    pub(super) fn sweep_revocations(&self, now: Timestamp) -> Result<usize, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("DELETE FROM revocations WHERE until <= ?1")?;
        Ok(statement.execute([to_sql(now)])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(kind: Revoked, namespace: Option<&str>, at: u64, until: u64) -> Revocation {
        let namespace = namespace.map(Into::into);
        Revocation { kind, value: "u1".into(), namespace, at: Timestamp(at), until: Timestamp(until) }
    }

    #[test]
    fn a_revocation_counts_until_its_time_and_the_later_one_wins() {
        let store = Store::in_memory().unwrap();
        let of = |kind, at, until| revocation(kind, None, at, until);
        store.revoke(&of(Revoked::Principal, 5, 100)).unwrap();
        store.revoke(&of(Revoked::Principal, 7, 50)).unwrap();
        store.revoke(&of(Revoked::Key, 6, 10)).unwrap();
        let expected = [of(Revoked::Key, 6, 10), of(Revoked::Principal, 7, 100)];
        assert_eq!(store.revocations(Timestamp(9)).unwrap(), expected);
        assert_eq!(store.revocations(Timestamp(10)).unwrap(), expected[1..]);
        assert_eq!(store.sweep(Timestamp(10)).unwrap(), 1);
        assert_eq!(store.revocations(Timestamp(0)).unwrap(), expected[1..]);
    }

    #[test]
    fn the_same_id_in_two_profiles_and_everywhere_are_three_revocations() {
        let store = Store::in_memory().unwrap();
        let of = |namespace, at| revocation(Revoked::Principal, namespace, at, 100);
        let expected = [of(Some("a"), 5), of(Some("b"), 6), of(None, 7)];
        expected.iter().for_each(|revocation| store.revoke(revocation).unwrap());
        assert_eq!(store.revocations(Timestamp(9)).unwrap(), expected);
    }
}
