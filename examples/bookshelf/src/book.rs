//! Books: what is known of one, and each change of one with the event that tells it.

use std::collections::HashSet;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::fault::{Fault, Result};
use crate::viewer::Viewer;
use crate::{author, outbox, series, words};

/// A book as everybody is told of it who may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Book {
    /// Its number.
    pub id: i64,
    /// Its title.
    pub title: String,
    /// Who wrote it.
    pub author: Named,
    /// The series it is of.
    pub series: Option<InSeries>,
    /// How far it is on its way to the shelf.
    pub status: Status,
    /// The id of the user it belongs to; nobody's is everybody's.
    pub owner: Option<String>,
    /// Where its cover is.
    pub cover: Option<String>,
    /// Its file, once it is there.
    pub file: Option<BookFile>,
    /// When it was added, in ms since 1970.
    pub added_at: i64,
    /// When it last changed, in ms since 1970.
    pub updated_at: i64,
    /// Grows with each change.
    pub revision: i64,
    #[serde(skip)]
    pub(crate) owner_id: Option<i64>,
    #[serde(skip)]
    pub(crate) path: Option<String>,
}

/// Somebody or something by its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Named {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// A place in a series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InSeries {
    /// The series.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Which of it the book is.
    pub index: Option<f64>,
}

/// A book's file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BookFile {
    /// Its name without folders.
    pub name: String,
    /// `epub`.
    pub format: String,
    /// How large it is.
    pub bytes: i64,
}

/// How far a book is on its way to the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Somebody wants it.
    Wanted,
    /// It is on its way.
    Downloading,
    /// It is here, and not on the shelf yet.
    Downloaded,
    /// It is on the shelf.
    Imported,
    /// Nobody wants it any more.
    Skipped,
}

impl Status {
    /// As it stands in the database, and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Status::Wanted => "wanted",
            Status::Downloading => "downloading",
            Status::Downloaded => "downloaded",
            Status::Imported => "imported",
            Status::Skipped => "skipped",
        }
    }

    /// The status of this name.
    pub fn named(name: &str) -> Option<Status> {
        let all = [Status::Wanted, Status::Downloading, Status::Downloaded, Status::Imported, Status::Skipped];
        all.into_iter().find(|status| status.name() == name)
    }
}

/// A book that somebody wants.
#[derive(Clone, Debug, Default)]
pub struct NewBook {
    /// Its title, tidy.
    pub title: String,
    /// Who wrote it, tidy.
    pub author: String,
    /// The series it is of, and which of it.
    pub series: Option<(String, Option<f64>)>,
    /// Whose it is.
    pub owner: Option<i64>,
}

/// Which books are asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Search {
    /// Only with this status.
    pub status: Option<String>,
    /// Only of this author.
    pub author: Option<i64>,
    /// Only of this series.
    pub series: Option<i64>,
    /// Only with this in the title, or in the author's name.
    pub q: Option<String>,
}

/// Something that became of a book.
#[derive(Clone, Debug, Serialize)]
pub struct Happened {
    /// When, in ms since 1970.
    pub at: i64,
    /// What, as a sentence.
    pub what: String,
}

const SELECT: &str = "
    SELECT books.id, books.title, authors.id, authors.name, series.id, series.name, books.series_index, books.status, books.owner,
           books.cover, books.file_path, books.file_bytes, books.added_at, books.updated_at, books.revision
    FROM books JOIN authors ON authors.id = books.author LEFT JOIN series ON series.id = books.series";

fn read(row: &Row<'_>) -> rusqlite::Result<Book> {
    let series = match row.get::<_, Option<i64>>(4)? {
        Some(id) => Some(InSeries { id, name: row.get(5)?, index: row.get(6)? }),
        None => None,
    };
    let (id, status, owner_id): (i64, String, Option<i64>) = (row.get(0)?, row.get(7)?, row.get(8)?);
    let (cover, path): (Option<String>, Option<String>) = (row.get(9)?, row.get(10)?);
    let bytes: Option<i64> = row.get(11)?;
    let file = path.as_deref().map(|path| BookFile {
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        format: path.rsplit('.').next().unwrap_or("epub").to_owned(),
        bytes: bytes.unwrap_or_default(),
    });
    Ok(Book {
        id,
        title: row.get(1)?,
        author: Named { id: row.get(2)?, name: row.get(3)? },
        series,
        status: Status::named(&status).unwrap_or(Status::Wanted),
        owner: owner_id.map(|owner| owner.to_string()),
        // The name of the file follows its content, so a browser may keep what is at this address.
        cover: cover.map(|name| format!("/api/v1/books/{id}/cover?v={}", name.split('.').next().unwrap_or_default())),
        file,
        added_at: row.get(12)?,
        updated_at: row.get(13)?,
        revision: row.get(14)?,
        owner_id,
        path,
    })
}

/// The book with this number.
pub fn find(db: &Connection, id: i64) -> Result<Option<Book>> {
    Ok(db.prepare_cached(&format!("{SELECT} WHERE books.id = ?1"))?.query_row([id], read).optional()?)
}

/// The book with this number, if it is there for `viewer`; else 404, so that nobody learns what there is.
pub fn seen(db: &Connection, id: i64, viewer: Viewer) -> Result<Book> {
    find(db, id)?.filter(|book| viewer.may_see(book.owner_id)).ok_or_else(|| Fault::missing("book"))
}

/// The books that `viewer` may see and that fit, by title.
pub fn list(db: &Connection, viewer: Viewer, search: &Search) -> Result<Vec<Book>> {
    let sees = Viewer::SEES;
    let sql = format!(
        "{SELECT} WHERE {sees} AND (?2 IS NULL OR books.status = ?2) AND (?3 IS NULL OR books.author = ?3)
         AND (?4 IS NULL OR books.series = ?4)
         AND (?5 IS NULL OR instr(lower(books.title), ?5) > 0 OR instr(lower(authors.name), ?5) > 0)
         ORDER BY books.key, books.id"
    );
    let text = search.q.as_deref().map(str::to_lowercase).filter(|text| !text.is_empty());
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(params![viewer.sql(), search.status, search.author, search.series, text], read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// What became of a book, the newest first.
pub fn history(db: &Connection, book: i64) -> Result<Vec<Happened>> {
    let mut statement = db.prepare_cached("SELECT at, what FROM history WHERE book = ?1 ORDER BY id DESC LIMIT 200")?;
    let found = statement.query_map([book], |row| Ok(Happened { at: row.get(0)?, what: row.get(1)? }))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The book without a file that this must be, by title and author; one that is skipped last.
pub fn match_missing(db: &Connection, title: &str, author: &str) -> Result<Option<Book>> {
    let sql = format!(
        "{SELECT} WHERE books.key = ?1 AND authors.key = ?2 AND books.file_path IS NULL
         ORDER BY books.status = 'skipped', books.id LIMIT 1"
    );
    let mut statement = db.prepare_cached(&sql)?;
    Ok(statement.query_row([words::key(title), words::person_key(author)], read).optional()?)
}

/// The book whose file this is.
pub fn with_file(db: &Connection, path: &str) -> Result<Option<Book>> {
    Ok(db.prepare_cached(&format!("{SELECT} WHERE books.file_path = ?1"))?.query_row([path], read).optional()?)
}

/// The name of a book's cover, if it has one.
pub fn cover(db: &Connection, id: i64) -> Result<Option<String>> {
    let found = db.prepare_cached("SELECT cover FROM books WHERE id = ?1")?.query_row([id], |row| row.get(0));
    Ok(found.optional()?.flatten())
}

/// The names of all covers.
pub fn covers(db: &Connection) -> Result<HashSet<String>> {
    let mut statement = db.prepare("SELECT DISTINCT cover FROM books WHERE cover IS NOT NULL")?;
    let found = statement.query_map([], |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Whether `owner` has this book already, or nobody has it, which is the same to them.
pub fn is_known(db: &Connection, title: &str, author: &str, owner: Option<i64>) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM books JOIN authors ON authors.id = books.author
               WHERE books.key = ?1 AND authors.key = ?2 AND (books.owner IS NULL OR books.owner IS ?3))";
    let mut statement = db.prepare_cached(sql)?;
    Ok(statement.query_row(params![words::key(title), words::person_key(author), owner], |row| row.get(0))?)
}

/// Adds a book that is wanted, and tells of it. Its author is told of by the caller, once for many books.
pub fn add(tx: &Transaction<'_>, new: &NewBook, now: i64, what: &str) -> Result<Book> {
    let author = author::find_or_add(tx, &new.author, new.owner)?;
    let (series, index) = match &new.series {
        Some((name, index)) => (Some(series::find_or_add(tx, name, new.owner)?), *index),
        None => (None, None),
    };
    tx.prepare_cached(
        "INSERT INTO books (title, key, author, series, series_index, status, owner, added_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 'wanted', ?6, ?7, ?7)",
    )?
    .execute(params![new.title, words::key(&new.title), author, series, index, new.owner, now])?;
    let id = tx.last_insert_rowid();
    happened(tx, id, now, what)?;
    let book = find(tx, id)?.ok_or_else(|| Fault::missing("book"))?;
    outbox::put(tx, "book.added", &book, book.owner_id)?;
    Ok(book)
}

/// Sets columns of a book, takes note of what happened, and tells of it.
pub fn change(tx: &Transaction<'_>, id: i64, now: i64, what: &str, set: &[(&str, &dyn ToSql)]) -> Result<Book> {
    let before = find(tx, id)?.ok_or_else(|| Fault::missing("book"))?;
    for (column, value) in set {
        // The names of columns are written in this program, and come from no client.
        tx.prepare_cached(&format!("UPDATE books SET {column} = ?2 WHERE id = ?1"))?.execute(params![id, value])?;
    }
    tx.prepare_cached("UPDATE books SET updated_at = ?2, revision = revision + 1 WHERE id = ?1")?
        .execute(params![id, now])?;
    happened(tx, id, now, what)?;
    let book = find(tx, id)?.ok_or_else(|| Fault::missing("book"))?;
    if before.owner_id != book.owner_id && book.owner_id.is_some() {
        // Whoever could see it until now and can't any more has to hear that it is gone; then those who can hear what it is.
        outbox::put(tx, "book.removed", &json!({ "id": id }), before.owner_id)?;
    }
    outbox::put(tx, "book.updated", &book, book.owner_id)?;
    Ok(book)
}

/// Removes a book with all that belongs to it, and tells of it.
pub fn remove(tx: &Transaction<'_>, book: &Book) -> Result<()> {
    tx.execute("DELETE FROM books WHERE id = ?1", [book.id])?;
    outbox::put(tx, "book.removed", &json!({ "id": book.id }), book.owner_id)
}

fn happened(tx: &Transaction<'_>, book: i64, now: i64, what: &str) -> Result<()> {
    tx.prepare_cached("INSERT INTO history (book, at, what) VALUES (?1, ?2, ?3)")?.execute(params![book, now, what])?;
    Ok(())
}
