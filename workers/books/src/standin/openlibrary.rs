//! The two requests of Open Library that the worker makes, answered from the catalogue.

use axum::extract::Query;
use axum::response::Json;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::catalog::{BOOKS, Book};
use crate::openlibrary::similarity::words;

#[derive(Deserialize)]
pub struct Search {
    #[serde(default)]
    q: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    author: String,
    #[serde(default)]
    fields: String,
    limit: Option<usize>,
}

/// `GET /search.json`, <https://openlibrary.org/dev/docs/api/search>: works, each with the one edition that fits the
/// question best.
pub async fn search(Query(search): Query<Search>) -> Json<Value> {
    let found: Vec<&Book> = BOOKS.iter().filter(|book| book.indexed && search.fits(book)).collect();
    let limit = search.limit.unwrap_or(100);
    let docs: Vec<Value> = found.iter().take(limit).map(|book| search.chosen(work(book))).collect();
    Json(json!({
        "numFound": found.len(), "start": 0, "numFoundExact": true, "num_found": found.len(),
        "documentation_url": "https://openlibrary.org/dev/docs/api/search",
        "q": search.q, "offset": null, "docs": docs,
    }))
}

impl Search {
    /// Each field must fit; within one, each word (Solr's `q.op=AND`).
    fn fits(&self, book: &Book) -> bool {
        let q = match self.q.strip_prefix("isbn:(").and_then(|rest| rest.strip_suffix(')')) {
            Some(isbns) => isbns.split(" OR ").any(|isbn| isbn == book.isbn),
            None => has_words(&format!("{} {} {}", book.title, book.author, book.publisher), &self.q),
        };
        q && has_words(book.title, &self.title)
            && has_words(book.author, &self.author)
            && !(self.q.is_empty() && self.title.is_empty() && self.author.is_empty())
    }

    /// Only the fields that were asked for, as `fields=key,title,editions,editions.isbn` says.
    fn chosen(&self, mut work: Map<String, Value>) -> Value {
        let fields: Vec<&str> = self.fields.split(',').filter(|field| !field.is_empty()).collect();
        if fields.is_empty() || fields.contains(&"*") {
            return Value::Object(work);
        }
        work.retain(|name, _| fields.contains(&name.as_str()));
        let of_edition: Vec<&str> = fields.iter().filter_map(|field| field.strip_prefix("editions.")).collect();
        let editions = work.get_mut("editions").and_then(|editions| editions["docs"].as_array_mut());
        for edition in editions.into_iter().flatten().filter_map(Value::as_object_mut) {
            edition.retain(|name, _| of_edition.is_empty() || of_edition.contains(&name.as_str()));
        }
        Value::Object(work)
    }
}

fn has_words(text: &str, asked: &str) -> bool {
    let text = words(text);
    words(asked).iter().all(|word| text.contains(word))
}

fn work(book: &Book) -> Map<String, Value> {
    let edition = json!({
        "key": format!("/books/OL{}M", book.number), "title": book.title, "isbn": [book.isbn],
        "language": [book.language], "publisher": [book.publisher], "publish_date": [book.published],
        "cover_i": book.number,
    });
    let work = json!({
        "key": format!("/works/OL{}W", book.number), "title": book.title, "author_name": [book.author],
        "author_key": [format!("OL{}A", book.number)], "first_publish_year": book.year,
        "number_of_pages_median": book.pages, "cover_i": book.number, "edition_count": 100 + book.number,
        "language": [book.language, "spa"], "subject": book.subjects, "isbn": [book.isbn],
        "editions": {"numFound": 100 + book.number, "start": 0, "numFoundExact": true, "docs": [edition]},
    });
    match work {
        Value::Object(work) => work,
        _ => Map::new(),
    }
}

#[derive(Deserialize)]
pub struct Bibkeys {
    #[serde(default)]
    bibkeys: String,
}

/// `GET /api/books?jscmd=data&format=json`, <https://openlibrary.org/dev/docs/api/books>: those editions that are
/// known, by the key that was asked for.
pub async fn books(Query(asked): Query<Bibkeys>) -> Json<Value> {
    let known = |key: &str| {
        let isbn = key.strip_prefix("ISBN:")?;
        let book = BOOKS.iter().find(|book| book.isbn == isbn)?;
        Some((key.to_string(), edition(book)))
    };
    Json(Value::Object(asked.bibkeys.split(',').filter_map(known).collect()))
}

fn edition(book: &Book) -> Value {
    let number = book.number;
    let subjects: Vec<Value> = book
        .subjects
        .iter()
        .map(|name| json!({"name": name, "url": format!("https://openlibrary.org/subjects/{name}")}))
        .collect();
    json!({
        "url": format!("https://openlibrary.org/books/OL{number}M/-"), "key": format!("/books/OL{number}M"),
        "title": book.title,
        "authors": [{"url": format!("https://openlibrary.org/authors/OL{number}A/-"), "name": book.author}],
        "number_of_pages": book.pages,
        "identifiers": {"isbn_13": [book.isbn], "openlibrary": [format!("OL{number}M")]},
        "publishers": [{"name": book.publisher}], "publish_date": book.published, "subjects": subjects,
        "cover": {
            "small": format!("https://covers.openlibrary.org/b/id/{number}-S.jpg"),
            "medium": format!("https://covers.openlibrary.org/b/id/{number}-M.jpg"),
            "large": format!("https://covers.openlibrary.org/b/id/{number}-L.jpg"),
        },
    })
}
