//! How far the log has been looked through, by whoever looks: it goes on from there after a restart.

use rusqlite::{OptionalExtension, params};
use tidings::{Cursor, Epoch, Offset};

use super::{Store, StoreError};

impl Store {
    /// The place that was recorded last under this name.
    pub fn place(&self, name: &str) -> Result<Option<Cursor>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT epoch, offset FROM places WHERE name = ?1")?;
        // An offset keeps its bits: SQLite's numbers are signed.
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Cursor { epoch: Epoch(row.get(0)?), offset: Offset(row.get::<_, i64>(1)? as u64) })
        };
        Ok(statement.query_row([name], read).optional()?)
    }

    /// Records a place under this name; it takes that of the one before.
    pub fn put_place(&self, name: &str, place: Cursor) -> Result<(), StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO places VALUES (?1, ?2, ?3)")?;
        statement.execute(params![name, place.epoch.0, place.offset.0 as i64])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_of_each_name_is_known() {
        let store = Store::in_memory().unwrap();
        let at = |epoch, offset| Cursor { epoch: Epoch(epoch), offset: Offset(offset) };
        assert_eq!(store.place("a").unwrap(), None);
        store.put_place("a", at(7, 1)).unwrap();
        store.put_place("a", at(u32::MAX, u64::MAX)).unwrap();
        store.put_place("b", at(1, 2)).unwrap();
        assert_eq!(store.place("a").unwrap(), Some(at(u32::MAX, u64::MAX)));
        assert_eq!(store.place("b").unwrap(), Some(at(1, 2)));
    }
}
