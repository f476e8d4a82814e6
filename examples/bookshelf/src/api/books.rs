//! Books.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rusqlite::ToSql;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::body::{Asked, Body, Id};
use super::etag;
use crate::app::App;
use crate::book::{self, Book, Happened, NewBook, Search, Status};
use crate::fault::{Fault, Result};
use crate::session::Visitor;
use crate::{author, queue, series, words};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    title: String,
    author: String,
    #[serde(default)]
    series: Option<Place>,
    /// Whether it is theirs alone.
    #[serde(default)]
    owned: bool,
}

/// A series by its name alone, or with a place in it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Place {
    Name(String),
    Numbered {
        name: String,
        #[serde(default)]
        index: Option<f64>,
    },
}

impl Place {
    fn read(self) -> Result<(String, Option<f64>)> {
        let (name, index) = match self {
            Place::Name(name) => (name, None),
            Place::Numbered { name, index } => (name, index),
        };
        Ok((tidy("series", &name)?, index))
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Change {
    title: Option<String>,
    author: Option<String>,
    #[serde(deserialize_with = "present")]
    series: Option<Option<Place>>,
    status: Option<Status>,
    owned: Option<bool>,
}

/// `null` is something that was said, and absence is not.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Option<Place>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Serialize)]
pub(super) struct Detail {
    #[serde(flatten)]
    book: Book,
    history: Vec<Happened>,
}

fn tidy(field: &str, text: &str) -> Result<String> {
    let detail = || format!("{field} is a text of 1 to {} characters", words::MOST_CHARS);
    words::tidy(text).ok_or_else(|| Fault::invalid(field, detail()))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Asked(search): Asked<Search>,
) -> Result<Json<Value>> {
    if let Some(status) = search.status.as_deref().filter(|status| Status::named(status).is_none()) {
        let status: String = status.chars().take(32).collect();
        return Err(Fault::invalid("status", format!("there is no status {status:?}")));
    }
    let books = app.db.read(move |db| book::list(db, visitor.viewer(), &search)).await?;
    Ok(Json(json!({ "books": books })))
}

pub(super) async fn wanted(State(app): State<Arc<App>>, visitor: Visitor) -> Result<Json<Value>> {
    let search = Search { status: Some(Status::Wanted.name().into()), ..Search::default() };
    let books = app.db.read(move |db| book::list(db, visitor.viewer(), &search)).await?;
    Ok(Json(json!({ "books": books })))
}

pub(super) async fn show(State(app): State<Arc<App>>, visitor: Visitor, Id(id): Id) -> Result<Json<Detail>> {
    let read = app.db.read(move |db| {
        let book = book::seen(db, id, visitor.viewer())?;
        Ok(Detail { history: book::history(db, id)?, book })
    });
    Ok(Json(read.await?))
}

pub(super) async fn add(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<Book>)> {
    let new = NewBook {
        title: tidy("title", &wanted.title)?,
        author: tidy("author", &wanted.author)?,
        series: wanted.series.map(Place::read).transpose()?,
        owner: wanted.owned.then_some(visitor.viewer().user),
    };
    let (now, by) = (app.now(), format!("{} wants the book.", visitor.0.user.name));
    let added = app.db.write(move |tx| {
        if book::is_known(tx, &new.title, &new.author, new.owner)? {
            return Err(Fault::conflict("known-book", format!("{:?} by {} is there already", new.title, new.author)));
        }
        let book = book::add(tx, &new, now, &by)?;
        author::tell(tx, book.author.id)?;
        Ok(book)
    });
    Ok((StatusCode::CREATED, Json(added.await?)))
}

pub(super) async fn change(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Id(id): Id,
    Body(asked): Body<Change>,
) -> Result<Json<Book>> {
    let now = app.now();
    let (book, gone) = app.db.write(move |tx| changed(tx, visitor, id, asked, now)).await?;
    gone.into_iter().for_each(|item| app.downloads.end(item));
    Ok(Json(book))
}

fn changed(
    tx: &rusqlite::Transaction<'_>,
    visitor: Visitor,
    id: i64,
    asked: Change,
    now: i64,
) -> Result<(Book, Vec<i64>)> {
    let before = book::seen(tx, id, visitor.viewer())?;
    let mut set: Vec<(&str, Box<dyn ToSql>)> = Vec::new();
    let owner = match asked.owned {
        Some(owned) => owned.then_some(before.owner_id.unwrap_or(visitor.viewer().user)),
        None => before.owner_id,
    };
    if let Some(title) = asked.title {
        let title = tidy("title", &title)?;
        set.push(("key", Box::new(words::key(&title))));
        set.push(("title", Box::new(title)));
    }
    if let Some(author) = asked.author {
        set.push(("author", Box::new(author::find_or_add(tx, &tidy("author", &author)?, owner)?)));
    }
    if let Some(place) = asked.series {
        let place = place.map(Place::read).transpose()?;
        let found = place.as_ref().map(|(name, _)| series::find_or_add(tx, name, owner)).transpose()?;
        set.push(("series", Box::new(found)));
        set.push(("series_index", Box::new(place.and_then(|(_, index)| index))));
    }
    if let Some(status) = asked.status {
        if !matches!((before.status, status), (Status::Wanted | Status::Skipped, Status::Wanted | Status::Skipped)) {
            let detail = "a book that is wanted can be skipped, and the other way round; the rest happens by itself";
            return Err(Fault::conflict("not-by-hand", detail));
        }
        set.push(("status", Box::new(status.name())));
    }
    let mut gone = Vec::new();
    if owner != before.owner_id {
        if owner.is_some() {
            // Those who can't see it any more hear that it is gone.
            gone = queue::remove_all_of(tx, id)?;
            if matches!(before.status, Status::Downloading | Status::Downloaded) {
                // Nobody brings it any more.
                set.push(("status", Box::new(Status::Wanted.name())));
            }
        }
        set.push(("owner", Box::new(owner)));
    }
    let set: Vec<(&str, &dyn ToSql)> = set.iter().map(|(column, value)| (*column, &**value)).collect();
    let what = format!("{} changed it.", visitor.0.user.name);
    let book = book::change(tx, id, now, &what, &set)?;
    author::tell(tx, book.author.id)?;
    if before.author.id != book.author.id || before.owner_id != book.owner_id {
        author::tell_left(tx, before.author.id, before.owner_id)?;
    }
    Ok((book, gone))
}

pub(super) async fn remove(State(app): State<Arc<App>>, visitor: Visitor, Id(id): Id) -> Result<StatusCode> {
    let removed = app.db.write(move |tx| {
        let book = book::seen(tx, id, visitor.viewer())?;
        let items = queue::remove_all_of(tx, id)?;
        book::remove(tx, &book)?;
        author::tell_left(tx, book.author.id, book.owner_id)?;
        Ok((book, items))
    });
    let (book, items) = removed.await?;
    items.into_iter().for_each(|item| app.downloads.end(item));
    if let Some(place) = book.path
        && let Err(error) = tokio::fs::remove_file(app.library.book(&place)).await
    {
        tracing::warn!(place, %error, "the file of a removed book stays");
    }
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn cover(
    State(app): State<Arc<App>>,
    visitor: Visitor,
    Id(id): Id,
    asked: HeaderMap,
) -> Result<Response> {
    let found = app.db.read(move |db| Ok((book::seen(db, id, visitor.viewer())?.owner_id, book::cover(db, id)?)));
    let (owner, name) = found.await?;
    let name = name.ok_or_else(|| Fault::missing("cover"))?;
    // Another picture has another name, so the name is its tag.
    let tag = format!("\"{name}\"");
    let keep = match owner {
        // Whoever sits at this browser next may not see it: it is asked for again each time, and who may see it is checked again.
        Some(_) => "private, no-cache",
        None => "private, max-age=31536000, immutable",
    };
    let mut response = match etag::is_known(&asked, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => {
            let bytes = tokio::fs::read(app.library.cover(&name)).await?;
            ([(header::CONTENT_TYPE, media_of(&name))], Bytes::from(bytes)).into_response()
        }
    };
    let headers = [(header::CACHE_CONTROL, keep), (header::ETAG, &tag), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    for (header, value) in headers {
        let value = HeaderValue::from_str(value).map_err(|error| Fault::Broken(error.to_string()))?;
        response.headers_mut().insert(header, value);
    }
    Ok(response)
}

fn media_of(cover: &str) -> &'static str {
    match cover.rsplit('.').next() {
        Some("png") => "image/png",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        _ => "image/jpeg",
    }
}
