//! Looks up a list of books, one after the other.

mod ledger;
mod query;

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

pub use ledger::Summary;
pub(crate) use ledger::{Item, Ledger};
use query::Query;

use crate::cancel::unless_canceled;
use crate::isbn::Isbn;
use crate::openlibrary::{Client, Error, ISBNS_PER_REQUEST, Record};
use crate::report::{Failure, Report, Unfinished};

/// What is to be looked up: the `input` of a job.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    /// Each `{"title"?,"author"?,"isbn"?}`, with a title or a number. One that is none is told as an error of its own.
    pub books: Vec<Value>,
}

/// The bounds of one list.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most books in a list. Default 100.
    pub books: usize,
    /// The longest title or author, in characters. Default 500.
    pub text: usize,
    /// After how many books in a row without an answer the work fails, to be tried again later. Default 5.
    pub failures: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { books: 100, text: 500, failures: 5 }
    }
}

impl Input {
    /// The input of a job, as it came.
    pub fn read(input: &Value) -> Result<Input, Failure> {
        Input::deserialize(input)
            .map_err(|error| Failure::new("wrong-input", format!("the input is not {{\"books\":[…]}}: {error}")))
    }
}

/// Looks up each book. Before each it says which, and after each it hands over
/// `{"index","status":"found","book":{…}}`, or `"not-found"` or `"error"` with the `query`, and for an error the
/// `reason`.
///
/// Where Open Library answers nothing for some books in a row, the work fails, and those books are not told of: when
/// it is tried again, they may be found.
pub async fn run(
    input: Input,
    settings: &Settings,
    client: &Client,
    report: &dyn Report,
) -> Result<Summary, Unfinished> {
    let books = &input.books;
    if books.is_empty() {
        return Err(Failure::new("no-books", "the list of books is empty").into());
    }
    if books.len() > settings.books {
        let sentence = format!("the list has {} books; at most {} are looked up at once", books.len(), settings.books);
        return Err(Failure::new("too-many-books", sentence).into());
    }
    let queries: Vec<Result<Query, String>> = books.iter().map(|book| Query::read(book, settings.text)).collect();
    let mut ledger = Ledger::new(report, queries.len(), settings.failures);
    let mut lookup = Lookup { client, known: HashMap::new(), alone: HashSet::new() };
    for (index, (query, book)) in queries.iter().zip(books).enumerate() {
        ledger.begin(query::about(book))?;
        let item = Item { query: query::echo(book), ..Item::new(index) };
        match query {
            Err(reason) => ledger.refuse(item, reason)?,
            Ok(query) => {
                let answer = unless_canceled(report, lookup.one(query, &queries[index + 1..])).await?;
                ledger.enter(item, answer)?;
            }
        }
    }
    ledger.finish()
}

/// Looks up books, those with numbers many at once.
struct Lookup<'a> {
    client: &'a Client,
    /// What was answered for numbers further down the list.
    known: HashMap<Isbn, Option<Record>>,
    /// Numbers whose common request failed. One of them may be why, so that each is asked for alone.
    alone: HashSet<Isbn>,
}

impl Lookup<'_> {
    async fn one(&mut self, query: &Query, next: &[Result<Query, String>]) -> Result<Option<Record>, Error> {
        let mut found = None;
        if let Some(isbn) = query.isbn {
            found = self.by_isbn(isbn, next).await?;
        }
        match &query.title {
            Some(title) if found.is_none() => {
                let by_title = self.client.by_title(title, query.author.as_deref()).await?;
                Ok(by_title.map(|record| with_isbn(record, query.isbn)))
            }
            _ => Ok(found),
        }
    }

    async fn by_isbn(&mut self, isbn: Isbn, next: &[Result<Query, String>]) -> Result<Option<Record>, Error> {
        if let Some(record) = self.known.get(&isbn) {
            return Ok(record.clone());
        }
        let batch = self.batch(isbn, next);
        match self.client.by_isbns(&batch).await {
            Ok(records) => {
                self.known.extend(batch.into_iter().zip(records));
                Ok(self.known.get(&isbn).cloned().flatten())
            }
            Err(error @ Error::Refused(_)) => Err(error),
            Err(error) if batch.len() == 1 => Err(error),
            Err(_) => {
                self.alone.extend(batch);
                Ok(self.client.by_isbns(&[isbn]).await?.pop().flatten())
            }
        }
    }

    /// The number, and those after it that may be asked for in the same request.
    fn batch(&self, isbn: Isbn, next: &[Result<Query, String>]) -> Vec<Isbn> {
        let mut batch = vec![isbn];
        if self.alone.contains(&isbn) {
            return batch;
        }
        for isbn in next.iter().filter_map(|query| query.as_ref().ok()?.isbn) {
            if batch.len() == ISBNS_PER_REQUEST {
                break;
            }
            if !batch.contains(&isbn) && !self.known.contains_key(&isbn) && !self.alone.contains(&isbn) {
                batch.push(isbn);
            }
        }
        batch
    }
}

/// A record that was found by its title: it may be of another edition, and the number that was asked for is not known.
/// The asked number stands, as it is the book that somebody holds.
fn with_isbn(mut record: Record, asked: Option<Isbn>) -> Record {
    if let Some(isbn) = asked {
        record.book.isbn = Some(isbn.to_string());
    }
    record
}
