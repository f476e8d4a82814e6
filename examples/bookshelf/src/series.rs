//! Series: they come with their books.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use crate::fault::{Fault, Result};
use crate::viewer::Viewer;
use crate::words;

/// A series as somebody sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// How many of its books whoever asks may see.
    pub books: i64,
}

/// The number of the series with this name, which is added if it is new.
///
/// Whoever can see a book of `owner` reads the name as it is written here. Where all books that there are so far are hidden from them, as
/// the books of others, the name is written anew: how those others write it is theirs to know.
pub fn find_or_add(tx: &Transaction<'_>, name: &str, owner: Option<i64>) -> Result<i64> {
    let key = words::key(name);
    let found = tx.prepare_cached("SELECT id FROM series WHERE key = ?1")?.query_row([&key], |row| row.get(0));
    if let Some(id) = found.optional()? {
        let sql = "UPDATE series SET name = ?2 WHERE id = ?1 AND NOT EXISTS
                   (SELECT 1 FROM books WHERE books.series = ?1 AND (books.owner IS NULL OR books.owner = ?3))";
        tx.prepare_cached(sql)?.execute(params![id, name, owner])?;
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO series (name, key) VALUES (?1, ?2)")?.execute([name, &key])?;
    Ok(tx.last_insert_rowid())
}

/// The series of the books that `viewer` may see, by name. With `only`, that one.
pub fn list(db: &Connection, viewer: Viewer, only: Option<i64>) -> Result<Vec<Series>> {
    let sql = format!(
        "SELECT series.id, series.name, count(*) FROM series JOIN books ON books.series = series.id
         WHERE {} AND (?2 IS NULL OR series.id = ?2) GROUP BY series.id ORDER BY series.name",
        Viewer::SEES
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(params![viewer.sql(), only], |row| {
        Ok(Series { id: row.get(0)?, name: row.get(1)?, books: row.get(2)? })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// One series, if there is a book of it that `viewer` may see.
pub fn seen(db: &Connection, id: i64, viewer: Viewer) -> Result<Series> {
    list(db, viewer, Some(id))?.pop().ok_or_else(|| Fault::missing("series"))
}
