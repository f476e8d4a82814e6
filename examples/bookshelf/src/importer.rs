//! From a file to a book on the shelf.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use crate::app::App;
use crate::book::{Book, NewBook, Status};
use crate::epub::{self, Epub, Unreadable};
use crate::fault::{Fault, Result};
use crate::{author, book, outbox, queue};

/// Why a file is not on the shelf.
#[derive(Debug, thiserror::Error)]
pub enum NotShelved {
    /// The file is no book.
    #[error(transparent)]
    Unreadable(Unreadable),
    /// Something that may work another time did not.
    #[error(transparent)]
    Later(#[from] Fault),
}

impl From<Unreadable> for NotShelved {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Disk(error) => NotShelved::Later(error.into()),
            error => NotShelved::Unreadable(error),
        }
    }
}

/// Puts a file on the shelf: as the book `of` this number, else as one that somebody wants, or as a new one of nobody. The file is gone from
/// where it was afterwards.
///
/// The order makes a crash at any point harmless: the file is on the shelf before the database says so, and leaves its old place after;
/// the same file once more is found to be there already.
pub async fn shelve(app: &Arc<App>, file: PathBuf, of: Option<i64>) -> std::result::Result<Book, NotShelved> {
    let app = app.clone();
    let done = tokio::task::spawn_blocking(move || {
        let epub = epub::read(&file)?;
        let bytes = fs::metadata(&file).map_err(Fault::from)?.len();
        let cover = epub.cover.as_ref().map(|cover| app.library.keep_cover(cover));
        let cover = cover.transpose().map_err(Fault::from)?;
        let place = app.library.shelve(&file, &epub.author, &epub.title).map_err(Fault::from)?;
        let shelved = Shelved { place: &place, bytes: i64::try_from(bytes).unwrap_or(i64::MAX), cover };
        let book = record(&app, &epub, &shelved, of)?;
        fs::remove_file(&file).map_err(Fault::from)?;
        Ok(book)
    });
    done.await.unwrap_or_else(|_| Err(Fault::Broken("the import broke off".into()).into()))
}

/// A file that is on the shelf.
struct Shelved<'a> {
    place: &'a str,
    bytes: i64,
    cover: Option<String>,
}

/// Has the database know of a file that is on the shelf.
fn record(app: &App, epub: &Epub, shelved: &Shelved<'_>, of: Option<i64>) -> Result<Book> {
    let (now, place) = (app.now(), shelved.place);
    app.db.write_here(|tx| {
        if let Some(book) = book::with_file(tx, place)? {
            return Ok(book);
        }
        let wanted = match of {
            // Somebody may have removed it meanwhile, and then it is not to come back.
            Some(id) => Some(book::find(tx, id)?.ok_or_else(|| Fault::missing("book"))?),
            None => book::match_missing(tx, &epub.title, &epub.author)?,
        };
        let found = match wanted {
            Some(book) => book,
            None => {
                let new = NewBook {
                    title: epub.title.clone(),
                    author: epub.author.clone(),
                    series: epub.series.clone(),
                    owner: None,
                };
                book::add(tx, &new, now, "The book was found in the watch folder.")?
            }
        };
        if let Some(item) = queue::open_of(tx, found.id)? {
            queue::finish(tx, &item)?;
        }
        let cover = match &shelved.cover {
            Some(cover) => Some(cover.clone()),
            None => book::cover(tx, found.id)?,
        };
        let status = Status::Imported.name();
        let set: [(&str, &dyn rusqlite::ToSql); 4] =
            [("status", &status), ("file_path", &place), ("file_bytes", &shelved.bytes), ("cover", &cover)];
        let book = book::change(tx, found.id, now, "The file was imported.", &set)?;
        author::tell(tx, book.author.id)?;
        Ok(book)
    })
}

/// Puts a file that is no book aside, with a text beside it that says why, and tells of it.
pub async fn put_aside(app: &Arc<App>, file: &Path, why: &Unreadable) -> Result<()> {
    let (failed, file, why) = (app.failed.clone(), file.to_owned(), why.to_string());
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let now = app.now();
    app.db
        .write(move |tx| {
            outbox::put(tx, "import.failed", &json!({ "file": name, "message": why, "at": now }), None)?;
            let (target, text) = free_names(&failed, &name);
            fs::write(&text, format!("{name}\n{why}\n"))?;
            // Last: once it is done, only the commit is left.
            fs::rename(&file, &target)?;
            Ok(())
        })
        .await
}

/// Names that are free in the folder: for the file, and for the text.
fn free_names(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let pair = |name: String| (folder.join(&name), folder.join(format!("{name}.txt")));
    let candidates = (1..1_000).map(|number| match number {
        1 => pair(name.to_owned()),
        number => pair(format!("{number} {name}")),
    });
    let mut free = candidates.filter(|(target, text)| !target.exists() && !text.exists());
    free.next().unwrap_or_else(|| pair(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_takes_the_place_of_no_other_file_and_no_other_text() {
        let folder = tempfile::tempdir().unwrap();
        let names = |name: &str| {
            let (file, text) = free_names(folder.path(), name);
            [file, text].map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(names("a.epub"), ["a.epub", "a.epub.txt"]);
        fs::write(folder.path().join("a.epub.txt"), "of another").unwrap();
        assert_eq!(names("a.epub"), ["2 a.epub", "2 a.epub.txt"]);
        fs::write(folder.path().join("2 a.epub"), "another").unwrap();
        assert_eq!(names("a.epub"), ["3 a.epub", "3 a.epub.txt"]);
    }
}
