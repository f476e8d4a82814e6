//! A downloader that only plays: it takes its time, says how far it is, and hands over a small book of its own making.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use zip::write::SimpleFileOptions;

use crate::app::App;
use crate::book::{Book, Status};
use crate::fault::{Fault, Result};
use crate::importer;
use crate::queue::{self, Item, Stage};
use crate::{book, words};

/// How many are fetched at once.
const AT_ONCE: usize = 3;

/// How often it is said how far one is.
const SAY_EVERY: Duration = Duration::from_millis(250);

/// What a book has in its title that can't be had the first time.
const TROUBLE: &str = "(unavailable)";

/// What is fetched now.
pub struct Downloads {
    places: Arc<Semaphore>,
    active: Mutex<HashMap<i64, Active>>,
    tries: AtomicU64,
}

struct Active {
    /// Which try it is: one that has ended takes out no later one of the same item.
    number: u64,
    task: AbortHandle,
    percent: u8,
    speed: Option<String>,
}

impl Default for Downloads {
    fn default() -> Self {
        Downloads { places: Arc::new(Semaphore::new(AT_ONCE)), active: Mutex::default(), tries: AtomicU64::new(0) }
    }
}

impl Downloads {
    /// Begins with an item of the queue as soon as there is a place.
    pub fn begin(&self, app: &Arc<App>, id: i64) {
        let (app, number) = (app.clone(), self.tries.fetch_add(1, Ordering::Relaxed));
        let mut active = self.active();
        let task = tokio::spawn(async move {
            if let Err(fault) = fetch(&app, id).await {
                tracing::error!(item = id, %fault, "a download broke off; it begins again with the next start");
            }
            app.downloads.take_out(id, number);
        });
        let entry = Active { number, task: task.abort_handle(), percent: 0, speed: None };
        if let Some(before) = active.insert(id, entry) {
            before.task.abort();
        }
    }

    fn take_out(&self, id: i64, number: u64) {
        let mut active = self.active();
        if active.get(&id).is_some_and(|active| active.number == number) {
            active.remove(&id);
        }
    }

    /// Breaks off an item that is no longer in the queue.
    pub fn end(&self, id: i64) {
        if let Some(active) = self.active().remove(&id) {
            active.task.abort();
        }
    }

    /// Breaks off all: they begin again with the next start.
    pub fn end_all(&self) {
        self.active().drain().for_each(|(_, active)| active.task.abort());
    }

    /// The items with how far they are now.
    pub fn fill_in(&self, items: &mut [Item]) {
        let active = self.active();
        for item in items.iter_mut().filter(|item| item.status == Stage::Downloading) {
            if let Some(Active { percent, speed, .. }) = active.get(&item.id) {
                (item.percent, item.speed) = (*percent, speed.clone());
            }
        }
    }

    fn note(&self, id: i64, percent: u8, speed: &str) {
        if let Some(active) = self.active().get_mut(&id) {
            (active.percent, active.speed) = (percent, Some(speed.to_owned()));
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<i64, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings one item from the queue to the shelf.
async fn fetch(app: &Arc<App>, id: i64) -> Result<()> {
    let places = app.downloads.places.clone();
    let place = places.acquire_owned().await.map_err(|_| Fault::Broken("there are no places".into()))?;
    let Some((item, book)) = step(app, id, Stage::Grabbed, Stage::Downloading, Status::Downloading).await? else {
        return Ok(());
    };
    if !arrive(app, &item).await? {
        return fail(app, id, "The server has taken the file down. A second try finds another one.").await;
    }
    if step(app, id, Stage::Downloading, Stage::Completed, Status::Downloaded).await?.is_none() {
        return Ok(());
    }
    drop(place);
    let file = app.downloaded.join(format!("{id}.epub"));
    let (number, written) = (book.id, (file.clone(), book));
    let made = tokio::task::spawn_blocking(move || write_book(&written.0, &written.1)).await;
    made.map_err(|error| Fault::Broken(error.to_string()))??;
    app.db.write(move |tx| queue::go_on(tx, id, Stage::Completed, Stage::Importing, None)).await?;
    match importer::shelve(app, file, Some(number)).await {
        Ok(_) => Ok(()),
        Err(error) => fail(app, id, &error.to_string()).await,
    }
}

/// Moves an item and its book on; none if somebody has taken it out.
async fn step(app: &App, id: i64, from: Stage, to: Stage, status: Status) -> Result<Option<(Item, Book)>> {
    let now = app.now();
    app.db
        .write(move |tx| {
            let Some(item) = queue::go_on(tx, id, from, to, None)? else { return Ok(None) };
            let what = match to {
                Stage::Downloading => "The download has begun.",
                _ => "The download is complete.",
            };
            let book = book::change(tx, item.book.id, now, what, &[("status", &status.name())])?;
            Ok(Some((item, book)))
        })
        .await
}

async fn fail(app: &App, id: i64, why: &str) -> Result<()> {
    let (now, why) = (app.now(), why.to_owned());
    app.db
        .write(move |tx| {
            let Some(item) = queue::find(tx, id)? else { return Ok(()) };
            if queue::go_on(tx, id, item.status, Stage::Failed, Some(&why))?.is_some() {
                let status = Status::Wanted.name();
                book::change(tx, item.book.id, now, &format!("The download failed: {why}"), &[("status", &status)])?;
            }
            Ok(())
        })
        .await
}

/// Lets the time pass that it takes, and says how far it is; false where it can't be had.
async fn arrive(app: &App, item: &Item) -> Result<bool> {
    let (began, total) = (app.clock.ticks(), app.settings.download);
    loop {
        let elapsed = Duration::from_millis(app.clock.ticks().saturating_sub(began));
        let percent = percent_of(elapsed, total);
        if percent >= 60 && item.attempt == 1 && item.book.title.contains(TROUBLE) {
            return Ok(false);
        }
        let speed = speed_at(item.id, percent);
        app.downloads.note(item.id, percent, &speed);
        let data = json!({ "id": item.id, "bookId": item.book.id, "percent": percent, "speed": speed });
        app.signal("queue.progress", &data, item.owner).await?;
        if percent == 100 {
            return Ok(true);
        }
        tokio::time::sleep(SAY_EVERY.min(total.saturating_sub(elapsed))).await;
    }
}

/// How much is there after `elapsed` of `total`.
fn percent_of(elapsed: Duration, total: Duration) -> u8 {
    if elapsed >= total {
        return 100;
    }
    (elapsed.as_secs_f64() / total.as_secs_f64() * 100.0) as u8
}

/// A speed that goes up and down a little.
fn speed_at(id: i64, percent: u8) -> String {
    let sway = ((f64::from(percent) / 9.0) + id as f64).sin();
    format!("{:.1} MB/s", 3.2 + 1.4 * sway)
}

/// Writes a book with one page.
fn write_book(file: &Path, book: &Book) -> Result<()> {
    let title = escape(&book.title);
    let author = escape(&book.author.name);
    let series = match &book.series {
        Some(series) => {
            let position = series.index.map(|index| format!("<meta property=\"group-position\">{index}</meta>"));
            let name = escape(&series.name);
            format!("<meta property=\"belongs-to-collection\">{name}</meta>{}", position.unwrap_or_default())
        }
        None => String::new(),
    };
    let package = format!(
        "<?xml version=\"1.0\"?><package xmlns=\"http://www.idpf.org/2007/opf\" version=\"3.0\" unique-identifier=\"id\">\
         <metadata xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><dc:identifier id=\"id\">bookshelf-{}</dc:identifier>\
         <dc:title>{title}</dc:title><dc:creator>{author}</dc:creator><dc:language>en</dc:language>{series}</metadata>\
         <manifest><item id=\"page\" href=\"page.xhtml\" media-type=\"application/xhtml+xml\"/></manifest>\
         <spine><itemref idref=\"page\"/></spine></package>",
        book.id
    );
    let page = format!(
        "<html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title>{title}</title></head><body><h1>{title}</h1><p>{author}</p></body></html>"
    );
    let container = "<?xml version=\"1.0\"?><container version=\"1.0\" xmlns=\"urn:oasis:names:tc:opendocument:xmlns:container\">\
        <rootfiles><rootfile full-path=\"content.opf\" media-type=\"application/oebps-package+xml\"/></rootfiles></container>";
    let mut archive = zip::ZipWriter::new(std::fs::File::create(file)?);
    let entries = [
        ("mimetype", "application/epub+zip"),
        ("META-INF/container.xml", container),
        ("content.opf", &package),
        ("page.xhtml", &page),
    ];
    for (index, (name, content)) in entries.into_iter().enumerate() {
        // The first stands as it is, so that the file is known by its beginning (EPUB 3.3, OCF §4.3).
        let method = if index == 0 { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(name, options).map_err(|error| Fault::Broken(error.to_string()))?;
        archive.write_all(content.as_bytes())?;
    }
    archive.finish().map_err(|error| Fault::Broken(error.to_string()))?;
    Ok(())
}

fn escape(text: &str) -> String {
    quick_xml::escape::escape(words::tidy(text).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_grows_with_time_and_ends_at_a_hundred() {
        let total = Duration::from_secs(8);
        let at = |ms| percent_of(Duration::from_millis(ms), total);
        assert_eq!([at(0), at(4_000), at(7_999), at(8_000), at(60_000)], [0, 50, 99, 100, 100]);
        assert_eq!(percent_of(Duration::ZERO, Duration::ZERO), 100);
    }
}
