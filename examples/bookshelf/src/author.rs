//! Authors: they come with their books.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde_json::json;

use crate::fault::{Fault, Result};
use crate::viewer::Viewer;
use crate::{outbox, words};

/// An author as somebody sees them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Author {
    /// Their number.
    pub id: i64,
    /// Their name.
    pub name: String,
    /// How many of their books whoever asks may see.
    pub books: i64,
    /// When they were looked up last, in ms since 1970.
    pub refreshed_at: Option<i64>,
}

/// The number of the author with this name, who is added if they are new.
///
/// Whoever can see a book of `owner` reads the name as it is written here. Where all books that there are so far are hidden from them, as
/// the books of others, the name is written anew: how those others write it is theirs to know.
pub fn find_or_add(tx: &Transaction<'_>, name: &str, owner: Option<i64>) -> Result<i64> {
    let key = words::person_key(name);
    let found = tx.prepare_cached("SELECT id FROM authors WHERE key = ?1")?.query_row([&key], |row| row.get(0));
    if let Some(id) = found.optional()? {
        let sql = "UPDATE authors SET name = ?2 WHERE id = ?1 AND NOT EXISTS
                   (SELECT 1 FROM books WHERE books.author = ?1 AND (books.owner IS NULL OR books.owner = ?3))";
        tx.prepare_cached(sql)?.execute(params![id, name, owner])?;
        return Ok(id);
    }
    tx.prepare_cached("INSERT INTO authors (name, key) VALUES (?1, ?2)")?.execute([name, &key])?;
    Ok(tx.last_insert_rowid())
}

/// The authors of the books that `viewer` may see, by name. With `only`, that one.
pub fn list(db: &Connection, viewer: Viewer, only: Option<i64>) -> Result<Vec<Author>> {
    let sql = format!(
        "SELECT authors.id, authors.name, count(*), authors.refreshed_at FROM authors JOIN books ON books.author = authors.id
         WHERE {} AND (?2 IS NULL OR authors.id = ?2) GROUP BY authors.id ORDER BY authors.name",
        Viewer::SEES
    );
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(params![viewer.sql(), only], |row| {
        Ok(Author { id: row.get(0)?, name: row.get(1)?, books: row.get(2)?, refreshed_at: row.get(3)? })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// One author, if there is one of their books that `viewer` may see.
pub fn seen(db: &Connection, id: i64, viewer: Viewer) -> Result<Author> {
    list(db, viewer, Some(id))?.pop().ok_or_else(|| Fault::missing("author"))
}

/// The numbers of all authors who have books, by name, and whether one of them is nobody's, so that everybody knows of the author.
pub fn all(db: &Connection) -> Result<Vec<(i64, bool)>> {
    let sql = "SELECT authors.id, max(books.owner IS NULL) FROM authors JOIN books ON books.author = authors.id
               GROUP BY authors.id ORDER BY authors.name";
    let mut statement = db.prepare(sql)?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Tells that something about an author has changed: to everybody if a book of theirs is nobody's, else to those whose books they are.
///
/// How many books there are differs by who asks, and so is not told: pages ask again.
pub fn tell(tx: &Transaction<'_>, id: i64) -> Result<()> {
    tell_them(tx, id, Vec::new())
}

/// The same, and to those who could see a book of `owner` that is no longer there: it may have been the last that they saw of the author.
pub fn tell_left(tx: &Transaction<'_>, id: i64, owner: Option<i64>) -> Result<()> {
    tell_them(tx, id, vec![owner])
}

fn tell_them(tx: &Transaction<'_>, id: i64, mut owners: Vec<Option<i64>>) -> Result<()> {
    let found = tx
        .prepare_cached("SELECT name, refreshed_at FROM authors WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?)));
    let Some((name, refreshed_at)) = found.optional()? else { return Ok(()) };
    let data = json!({ "id": id, "name": name, "refreshedAt": refreshed_at });
    let mut statement = tx.prepare_cached("SELECT DISTINCT owner FROM books WHERE author = ?1")?;
    let now: Vec<Option<i64>> = statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    owners.extend(now.into_iter().filter(|owner| !owners.contains(owner)).collect::<Vec<_>>());
    if owners.contains(&None) {
        return outbox::put(tx, "author.updated", &data, None);
    }
    owners.into_iter().try_for_each(|owner| outbox::put(tx, "author.updated", &data, owner))
}
