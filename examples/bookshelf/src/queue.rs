//! The download queue: what is in it, and each change of it with the event that tells it.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde_json::json;

use crate::book::{Book, Status};
use crate::fault::{Fault, Result};
use crate::viewer::Viewer;
use crate::{book, outbox};

/// Something in the queue, as it is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its number.
    pub id: i64,
    /// The book that is fetched.
    pub book: Titled,
    /// How far it is.
    pub status: Stage,
    /// How much of it is there: 0 to 100. What is fetched now is told by `queue.progress`, and is in no database.
    pub percent: u8,
    /// How fast it comes: `1.2 MB/s`.
    pub speed: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// When it was added, in ms since 1970.
    pub added_at: i64,
    #[serde(skip)]
    pub(crate) owner: Option<i64>,
    #[serde(skip)]
    pub(crate) attempt: i64,
}

/// A book by its title.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Titled {
    /// Its number.
    pub id: i64,
    /// Its title.
    pub title: String,
}

/// How far something in the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It waits.
    Grabbed,
    /// It is fetched.
    Downloading,
    /// It is here.
    Completed,
    /// It is put on the shelf.
    Importing,
    /// It is on the shelf.
    Imported,
    /// It could not be had.
    Failed,
}

impl Stage {
    /// As it stands in the database, and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Grabbed => "grabbed",
            Stage::Downloading => "downloading",
            Stage::Completed => "completed",
            Stage::Importing => "importing",
            Stage::Imported => "imported",
            Stage::Failed => "failed",
        }
    }

    fn named(name: &str) -> Stage {
        let all = [Stage::Grabbed, Stage::Downloading, Stage::Completed, Stage::Importing, Stage::Imported];
        all.into_iter().find(|stage| stage.name() == name).unwrap_or(Stage::Failed)
    }

    fn is_open(self) -> bool {
        !matches!(self, Stage::Imported | Stage::Failed)
    }
}

const SELECT: &str =
    "SELECT queue.id, books.id, books.title, queue.status, queue.error, queue.added_at, books.owner, queue.attempt
    FROM queue JOIN books ON books.id = queue.book";

fn read(row: &Row<'_>) -> rusqlite::Result<Item> {
    let status = Stage::named(&row.get::<_, String>(3)?);
    let percent = if matches!(status, Stage::Completed | Stage::Importing | Stage::Imported) { 100 } else { 0 };
    Ok(Item {
        id: row.get(0)?,
        book: Titled { id: row.get(1)?, title: row.get(2)? },
        status,
        percent,
        speed: None,
        error: row.get(4)?,
        added_at: row.get(5)?,
        owner: row.get(6)?,
        attempt: row.get(7)?,
    })
}

/// The item with this number.
pub fn find(db: &Connection, id: i64) -> Result<Option<Item>> {
    Ok(db.prepare_cached(&format!("{SELECT} WHERE queue.id = ?1"))?.query_row([id], read).optional()?)
}

/// The item with this number, if it is there for `viewer`.
pub fn seen(db: &Connection, id: i64, viewer: Viewer) -> Result<Item> {
    find(db, id)?.filter(|item| viewer.may_see(item.owner)).ok_or_else(|| Fault::missing("download"))
}

/// What `viewer` may see of the queue, the newest first.
pub fn list(db: &Connection, viewer: Viewer) -> Result<Vec<Item>> {
    let sql = format!("{SELECT} WHERE {} ORDER BY queue.id DESC LIMIT 500", Viewer::SEES);
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_map(params![viewer.sql()], read)?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The item under way of a book.
pub fn open_of(db: &Connection, book: i64) -> Result<Option<Item>> {
    let sql = format!("{SELECT} WHERE queue.book = ?1 AND queue.status NOT IN ('imported', 'failed')");
    Ok(db.prepare_cached(&sql)?.query_row([book], read).optional()?)
}

/// The numbers of all that wait, oldest first. What a program that ended was fetching waits again.
pub fn take_up(tx: &Transaction<'_>, now: i64) -> Result<Vec<i64>> {
    let sql = format!("{SELECT} WHERE queue.status NOT IN ('imported', 'failed') ORDER BY queue.id");
    let open: Vec<Item> = tx.prepare(&sql)?.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    for item in open.iter().filter(|item| item.status != Stage::Grabbed) {
        set(tx, item.id, Stage::Grabbed, None)?;
        book::change(tx, item.book.id, now, "The download begins again.", &[("status", &Status::Wanted.name())])?;
    }
    Ok(open.iter().map(|item| item.id).collect())
}

/// Puts a book into the queue, and tells of it.
pub fn add(tx: &Transaction<'_>, book: &Book, now: i64) -> Result<Item> {
    if book.file.is_some() {
        return Err(Fault::conflict("has-file", format!("{:?} is on the shelf already", book.title)));
    }
    if open_of(tx, book.id)?.is_some() {
        return Err(Fault::conflict("in-queue", format!("{:?} is in the queue already", book.title)));
    }
    tx.execute(
        "INSERT INTO queue (book, status, added_at) VALUES (?1, ?2, ?3)",
        params![book.id, Stage::Grabbed.name(), now],
    )?;
    let item = find(tx, tx.last_insert_rowid())?.ok_or_else(|| Fault::missing("download"))?;
    tell(tx, "added", &item)?;
    Ok(item)
}

/// Moves an item on, if it is where `from` says; none if it is not, or is gone.
pub fn go_on(tx: &Transaction<'_>, id: i64, from: Stage, to: Stage, error: Option<&str>) -> Result<Option<Item>> {
    match find(tx, id)? {
        Some(item) if item.status == from => set(tx, id, to, error).map(Some),
        _ => Ok(None),
    }
}

/// The book of an item is on the shelf: whatever the item waited for, it is done.
pub fn finish(tx: &Transaction<'_>, item: &Item) -> Result<Item> {
    set(tx, item.id, Stage::Imported, None)
}

/// Has what failed wait again, and tells of it.
pub fn retry(tx: &Transaction<'_>, item: &Item) -> Result<Item> {
    if item.status != Stage::Failed {
        return Err(Fault::conflict("not-failed", "only what has failed can be tried again"));
    }
    if open_of(tx, item.book.id)?.is_some() {
        return Err(Fault::conflict("in-queue", "the book is in the queue a second time already"));
    }
    tx.execute("UPDATE queue SET attempt = attempt + 1 WHERE id = ?1", [item.id])?;
    set(tx, item.id, Stage::Grabbed, None)
}

/// Takes an item out of the queue, and tells of it. Its book is wanted again if it was on its way.
pub fn remove(tx: &Transaction<'_>, item: &Item, now: i64) -> Result<()> {
    tx.execute("DELETE FROM queue WHERE id = ?1", [item.id])?;
    tell(tx, "removed", item)?;
    if item.status.is_open() && item.status != Stage::Grabbed {
        book::change(tx, item.book.id, now, "The download was removed.", &[("status", &Status::Wanted.name())])?;
    }
    Ok(())
}

/// Takes out all items of a book that is about to be removed, or to be seen by fewer.
pub fn remove_all_of(tx: &Transaction<'_>, book: i64) -> Result<Vec<i64>> {
    let sql = format!("{SELECT} WHERE queue.book = ?1");
    let items: Vec<Item> = tx.prepare(&sql)?.query_map([book], read)?.collect::<rusqlite::Result<_>>()?;
    for item in &items {
        tx.execute("DELETE FROM queue WHERE id = ?1", [item.id])?;
        tell(tx, "removed", item)?;
    }
    Ok(items.iter().map(|item| item.id).collect())
}

fn set(tx: &Transaction<'_>, id: i64, to: Stage, error: Option<&str>) -> Result<Item> {
    tx.execute("UPDATE queue SET status = ?2, error = ?3 WHERE id = ?1", params![id, to.name(), error])?;
    let item = find(tx, id)?.ok_or_else(|| Fault::missing("download"))?;
    tell(tx, "updated", &item)?;
    Ok(item)
}

fn tell(tx: &Transaction<'_>, action: &str, item: &Item) -> Result<()> {
    outbox::put(tx, "queue.changed", &json!({ "action": action, "item": item }), item.owner)
}
