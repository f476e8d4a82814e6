//! Reads the spines on a photo of a bookshelf, and looks the books up.

mod layout;
mod ocr;
mod photo;
mod place;
mod spine;
mod tesseract;
mod vision;

use std::path::Path;

use serde_json::{Value, json};

pub use photo::Limits;
pub use tesseract::Tesseract;
pub use vision::{Key, Vision};

use crate::cancel::unless_canceled;
use crate::enrich::{Item, Ledger, Summary};
use crate::openlibrary::{Client, Error, Record};
use crate::report::{Failure, Report, Unfinished};
use photo::Photo;
use spine::Spine;

/// What reads the photo.
#[derive(Clone, Debug)]
pub enum Engine {
    /// A model that sees, at an endpoint for it. Reads nearly all spines.
    Vision(Vision),
    /// The program `tesseract` on this machine. Reads what is printed plainly, and sends the photo nowhere.
    Tesseract(Tesseract),
}

/// The bounds of one scan.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How large a photo may be.
    pub photo: Limits,
    /// The most spines that are looked up, from the left. Default 60, a full shelf.
    pub spines: usize,
    /// After how many spines in a row without an answer the work fails, to be tried again later. Default 5.
    pub failures: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { photo: Limits::default(), spines: 60, failures: 5 }
    }
}

/// Reads the photo, and looks up each spine on it. Each is handed over as an item as when books are looked up
/// ([`crate::enrich::run`]), from the left, with what was read on it as `spine`: `{"text","confidence"}`. A spine
/// that no known book explains is `not-found`: it may be noise, or a book for which somebody has to look themselves.
pub async fn run(
    image: &Path,
    engine: &Engine,
    settings: &Settings,
    client: &Client,
    report: &dyn Report,
) -> Result<Summary, Unfinished> {
    report.progress(0, None, Some("reading the photo"), None);
    let photo = unless_canceled(report, Photo::open(image, &settings.photo)).await??;
    let mut spines = unless_canceled(report, engine.read(photo, report)).await??;
    spines.truncate(settings.spines);
    if spines.is_empty() {
        let sentence = "no spine of a book can be read on the photo; one that is sharp, bright and taken from the \
                        front reads best";
        return Err(Failure::new("no-spines", sentence).into());
    }
    let message = match spines.len() {
        1 => "1 spine found".into(),
        many => format!("{many} spines found"),
    };
    report.progress(0, Some(spines.len() as u64), Some(&message), None);
    let mut ledger = Ledger::new(report, spines.len(), settings.failures);
    let mut index = 0;
    for spine in &spines {
        ledger.begin(json!({ "title": spine.title_or_text() }))?;
        let books = unless_canceled(report, books(spine, client)).await?;
        ledger.split(books.len());
        for (spine, answer) in books {
            let item = Item { query: query(spine), spine: Some(told(spine)), ..Item::new(index) };
            ledger.enter(item, answer)?;
            index += 1;
        }
    }
    ledger.finish()
}

impl Engine {
    async fn read(&self, photo: Photo, report: &dyn Report) -> Result<Vec<Spine>, Failure> {
        match self {
            Engine::Vision(vision) => vision.read(photo).await,
            Engine::Tesseract(tesseract) => ocr::read(photo, tesseract, report).await,
        }
    }
}

/// What came of one spine, or of a part of it.
type Answer<'a> = (&'a Spine, Result<Option<Record>, Error>);

/// The book of a spine; or where none explains it, but some explain its parts, what came of each part: what was taken
/// for one spine may be two.
async fn books<'a>(spine: &'a Spine, client: &Client) -> Vec<Answer<'a>> {
    let whole = look_up(spine, client).await;
    if !matches!(whole, Ok(None)) {
        return vec![(spine, whole)];
    }
    let mut parts = Vec::new();
    for part in &spine.parts {
        // Boxed, as parts have parts.
        parts.extend(Box::pin(books(part, client)).await);
    }
    let is_known = |(_, answer): &Answer| matches!(answer, Ok(Some(_)));
    if parts.iter().any(is_known) { parts } else { vec![(spine, whole)] }
}

/// The first book that one of the ways to read the spine leads to.
async fn look_up(spine: &Spine, client: &Client) -> Result<Option<Record>, Error> {
    if let Some(title) = &spine.title
        && let Some(record) = client.by_title(title, spine.author.as_deref()).await?
    {
        return Ok(Some(record));
    }
    for words in spine.readings() {
        if let Some(record) = client.by_spine(&words).await? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn query(spine: &Spine) -> Value {
    match (&spine.title, &spine.author) {
        (Some(title), Some(author)) => json!({"title": title, "author": author}),
        (Some(title), None) => json!({ "title": title }),
        (None, _) => json!({"title": spine.text()}),
    }
}

fn told(spine: &Spine) -> Value {
    let mut told = json!({ "text": spine.text() });
    if let Some(confidence) = spine.confidence() {
        // Two digits: it is an estimate.
        told["confidence"] = json!((confidence * 100.0).round() / 100.0);
    }
    told
}
