//! Tickets: a way in that works once and not for long, for clients that can't send a header.

use rusqlite::{OptionalExtension, params};
use tidings::Timestamp;

use super::{Store, StoreError, to_sql};

impl Store {
    /// Keeps who a ticket stands for. Only the ticket's SHA-256 is stored.
    pub fn put_ticket(&self, hash: [u8; 32], principal: &str, expires_at: Timestamp) -> Result<(), StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("INSERT INTO tickets VALUES (?1, ?2, ?3)")?;
        statement.execute(params![hash, principal, to_sql(expires_at)])?;
        Ok(())
    }

    /// Takes a ticket away and returns who it stands for; [`None`] if there is none, it was taken or it has expired.
    /// Of several who come with one ticket, one gets it.
    pub fn take_ticket(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<String>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("DELETE FROM tickets WHERE hash = ?1 RETURNING principal, expires_at > ?2")?;
        // The rows of RETURNING are all there only when the statement was run to its end.
        let taken: Option<(String, bool)> =
            statement.query_row(params![hash, to_sql(now)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(taken.filter(|(_, valid)| *valid).map(|(principal, _)| principal))
    }

    pub(super) fn sweep_tickets(&self, now: Timestamp) -> Result<usize, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("DELETE FROM tickets WHERE expires_at <= ?1")?;
        Ok(statement.execute([to_sql(now)])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_works_once_and_only_in_its_time() {
        let store = Store::in_memory().unwrap();
        store.put_ticket([1; 32], "{\"id\":\"u1\"}", Timestamp(10)).unwrap();
        store.put_ticket([2; 32], "{}", Timestamp(10)).unwrap();
        assert_eq!(store.take_ticket([1; 32], Timestamp(9)).unwrap().as_deref(), Some("{\"id\":\"u1\"}"));
        assert_eq!(store.take_ticket([1; 32], Timestamp(9)).unwrap(), None);
        assert_eq!(store.take_ticket([2; 32], Timestamp(10)).unwrap(), None, "expired");
        assert_eq!(store.take_ticket([3; 32], Timestamp(1)).unwrap(), None, "never given out");
    }

    #[test]
    fn of_two_who_come_with_one_ticket_one_gets_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let stores = [Store::open(&path).unwrap(), Store::open(&path).unwrap()];
        for n in 0..20 {
            stores[0].put_ticket([n; 32], "x", Timestamp(10)).unwrap();
            let taken: usize = std::thread::scope(|scope| {
                let takes: Vec<_> =
                    stores.iter().map(|store| scope.spawn(move || store.take_ticket([n; 32], Timestamp(1)))).collect();
                takes.into_iter().map(|take| usize::from(take.join().unwrap().unwrap().is_some())).sum()
            });
            assert_eq!(taken, 1);
        }
    }

    #[test]
    fn expired_tickets_are_swept() {
        let store = Store::in_memory().unwrap();
        store.put_ticket([1; 32], "a", Timestamp(10)).unwrap();
        store.put_ticket([2; 32], "b", Timestamp(20)).unwrap();
        assert_eq!(store.sweep(Timestamp(10)).unwrap(), 1);
        assert!(store.take_ticket([2; 32], Timestamp(10)).unwrap().is_some());
    }
}
