//! The watch folder: what is dropped there is imported as soon as it is whole.
//!
//! The system tells when a file was closed after writing, or moved here; nothing is looked for now and then.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, Inotify, WatchMask};

use crate::app::App;
use crate::epub::Unreadable;
use crate::importer::{self, NotShelved};

/// How long a file that was there at the start and is no book may still be written to: nobody tells that it is not.
const YOUNG: Duration = Duration::from_secs(10);

/// The bytes for events that are read at once; the longest name takes 272.
const EVENT_BYTES: usize = 16 << 10;

/// Imports what lies in the folder and what comes, for ever.
///
/// # Errors
/// Where the folder can't be watched.
pub async fn run(app: Arc<App>) -> io::Result<()> {
    let inotify = Inotify::init()?;
    inotify.watches().add(&app.drop, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::ONLYDIR)?;
    let mut events = inotify.into_event_stream(vec![0; EVENT_BYTES])?;
    // Watched first, and then looked at: what comes between the two is seen.
    sweep(&app).await;
    while let Some(event) = events.next().await {
        let event = event?;
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            // So much came at once that some of it was not told.
            sweep(&app).await;
        } else if let Some(name) = event.name {
            take(&app, app.drop.join(name), false).await;
        }
    }
    Err(io::Error::other("the system tells no more of the watch folder"))
}

async fn sweep(app: &Arc<App>) {
    let folder = app.drop.clone();
    let listed = tokio::task::spawn_blocking(move || {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        found.sort();
        found
    });
    for file in listed.await.unwrap_or_default() {
        take(app, file, true).await;
    }
}

/// Imports a file. With `may_grow` it is perhaps still written to.
async fn take(app: &Arc<App>, file: PathBuf, may_grow: bool) {
    let Err(why) = import(app, &file).await else { return };
    if !(may_grow && is_young(&file).await) {
        return put_aside(app, &file, &why).await;
    }
    let app = app.clone();
    tokio::spawn(async move {
        tokio::time::sleep(YOUNG).await;
        if let Err(why) = import(&app, &file).await {
            put_aside(&app, &file, &why).await;
        }
    });
}

/// Puts the file on the shelf if it is one of a book; the error is why it can never be.
async fn import(app: &Arc<App>, file: &Path) -> Result<(), Unreadable> {
    if !is_book(file).await {
        return Ok(());
    }
    match importer::shelve(app, file.to_owned(), None).await {
        Ok(book) => tracing::info!(book = book.id, title = book.title, "imported"),
        Err(NotShelved::Unreadable(why)) => return Err(why),
        // It stays where it is, and is tried again at the next start.
        Err(NotShelved::Later(fault)) => {
            tracing::error!(file = %file.display(), %fault, "a file can't be imported now")
        }
    }
    Ok(())
}

async fn put_aside(app: &Arc<App>, file: &Path, why: &Unreadable) {
    tracing::warn!(file = %file.display(), %why, "a file in the watch folder is no book");
    if let Err(fault) = importer::put_aside(app, file, why).await {
        tracing::error!(file = %file.display(), %fault, "it can't be put aside");
    }
}

/// Whether it is a file that ends in `.epub`: no folder, no link, and none of the names that programs use while they write.
async fn is_book(file: &Path) -> bool {
    let name = file.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let is_named = name.ends_with(".epub") && !name.starts_with('.');
    is_named && tokio::fs::symlink_metadata(file).await.is_ok_and(|about| about.is_file())
}

async fn is_young(file: &Path) -> bool {
    let modified = tokio::fs::metadata(file).await.and_then(|about| about.modified()).ok();
    modified.and_then(|at| at.elapsed().ok()).is_some_and(|age| age < YOUNG)
}
