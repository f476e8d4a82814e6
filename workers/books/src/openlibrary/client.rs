//! The questions that are asked about books.

use std::collections::HashMap;
use std::time::SystemTime;

use super::answer::{self, FIELDS, Hit, Record};
use super::cache::Cache;
use super::http::Asker;
use super::similarity::{self, SAME_TITLE, words};
use super::{Error, Settings};
use crate::isbn::Isbn;

/// How many numbers go into one request. Open Library asks for few requests with many books each; twenty keep the
/// address below 1 KB and the answer below half a MB.
pub const ISBNS_PER_REQUEST: usize = 20;

/// How many works of a search are looked at. The right one is nearly always the first; a study guide may come before.
const HITS: &str = "5";

/// Asks Open Library about books, and remembers what it said. One client is for the whole program: it holds the pace.
#[derive(Debug)]
pub struct Client {
    asker: Asker,
    cache: Cache,
}

impl Client {
    /// A client. It fails where the address is none, or the directory of the cache can't be used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let cache = Cache::new(&settings.cache, SystemTime::now())
            .map_err(|error| Error::Settings(format!("the cache of Open Library's answers can't be used: {error}")))?;
        Ok(Client { asker: Asker::new(settings)?, cache })
    }

    /// The editions with these numbers, in their order; none for those that are not known. What is not kept yet takes
    /// one request for each [`ISBNS_PER_REQUEST`], and a second one where some are not in the search's index.
    pub async fn by_isbns(&self, isbns: &[Isbn]) -> Result<Vec<Option<Record>>, Error> {
        let mut known: HashMap<Isbn, Option<Record>> = HashMap::new();
        let mut unknown = Vec::new();
        for isbn in isbns {
            match self.kept(&isbn_key(isbn)) {
                Some(record) => drop(known.insert(*isbn, record)),
                None if unknown.contains(isbn) => {}
                None => unknown.push(*isbn),
            }
        }
        for some in unknown.chunks(ISBNS_PER_REQUEST) {
            for (isbn, record) in self.ask_isbns(some).await? {
                self.keep(isbn_key(&isbn), &record);
                known.insert(isbn, record);
            }
        }
        Ok(isbns.iter().map(|isbn| known.get(isbn).cloned().flatten()).collect())
    }

    /// Whether the answer for this number is kept, so that it takes no request.
    pub fn has(&self, isbn: &Isbn) -> bool {
        self.kept(&isbn_key(isbn)).is_some()
    }

    /// The book with this title, and by this author where one is given; none where Open Library knows none that is
    /// alike enough.
    pub async fn by_title(&self, title: &str, author: Option<&str>) -> Result<Option<Record>, Error> {
        let author = author.filter(|author| !words(author).is_empty());
        let key = format!("title {} by {}", words(title).join(" "), words(author.unwrap_or_default()).join(" "));
        if let Some(record) = self.kept(&key) {
            return Ok(record);
        }
        let mut found = self.search_title(title, author).await?;
        let main = similarity::main_title(title);
        if found.is_none() && main != title {
            // The search wants each word, and a record may have the title without its subtitle.
            found = self.search_title(main, author).await?;
        }
        self.keep(key, &found);
        Ok(found)
    }

    /// The book on whose spine these words stand; none where Open Library knows none that explains them.
    pub async fn by_spine(&self, read: &[String]) -> Result<Option<Record>, Error> {
        let text = read.join(" ");
        if text.is_empty() {
            return Ok(None);
        }
        let key = format!("spine {text}");
        if let Some(record) = self.kept(&key) {
            return Ok(record);
        }
        let hits = self.search(&[("q", &text)]).await?;
        let found = best(hits, |hit| {
            let authors = &hit.record.book.authors;
            let title = hit.record.book.title.as_deref().unwrap_or_default();
            let of_work = similarity::spine(read, &hit.work_title, authors);
            let of_edition = similarity::spine(read, title, authors);
            of_work.into_iter().chain(of_edition).reduce(f64::max)
        });
        self.keep(key, &found);
        Ok(found)
    }

    async fn search_title(&self, title: &str, author: Option<&str>) -> Result<Option<Record>, Error> {
        // Its words in capitals, AND and OR, are operators of the search.
        let lower = title.to_lowercase();
        let mut query = vec![("title", lower.as_str())];
        let name = author.map(last_name);
        query.extend(name.as_deref().map(|name| ("author", name)));
        let hits = self.search(&query).await?;
        Ok(best(hits, |hit| {
            let of_edition = hit.record.book.title.as_deref().map_or(0.0, |found| similarity::titles(title, found));
            let alike = similarity::titles(title, &hit.work_title).max(of_edition);
            let by_author = author.is_none_or(|author| similarity::same_author(author, &hit.record.book.authors));
            (by_author && alike >= SAME_TITLE).then_some(alike)
        }))
    }

    async fn search(&self, query: &[(&str, &str)]) -> Result<Vec<Hit>, Error> {
        let mut query = query.to_vec();
        query.extend([("fields", FIELDS), ("limit", HITS)]);
        answer::hits(&self.asker.get("/search.json", &query).await?)
    }

    /// What is known of each number: of the search, which knows most of an edition; and for those it does not know,
    /// as its index lags behind, of the Books API.
    async fn ask_isbns(&self, isbns: &[Isbn]) -> Result<Vec<(Isbn, Option<Record>)>, Error> {
        let q = format!("isbn:({})", joined(isbns.iter().map(Isbn::to_string), " OR "));
        let limit = isbns.len().to_string();
        let answer = self.asker.get("/search.json", &[("q", &q), ("fields", FIELDS), ("limit", &limit)]).await?;
        let hits = answer::hits(&answer)?;
        let mut found: Vec<(Isbn, Option<Record>)> = isbns.iter().map(|isbn| (*isbn, record_of(isbn, &hits))).collect();
        let missing: Vec<Isbn> = found.iter().filter(|(_, record)| record.is_none()).map(|(isbn, _)| *isbn).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let keys = joined(missing.iter().map(answer::bibkey), ",");
        let answer = self.asker.get("/api/books", &[("bibkeys", &keys), ("format", "json"), ("jscmd", "data")]).await?;
        for (isbn, record) in found.iter_mut().filter(|(_, record)| record.is_none()) {
            *record = answer::edition(&answer, isbn)?;
        }
        Ok(found)
    }

    fn kept(&self, key: &str) -> Option<Option<Record>> {
        self.cache.get(key, SystemTime::now())
    }

    fn keep(&self, key: String, record: &Option<Record>) {
        self.cache.put(key, record.clone(), SystemTime::now());
    }
}

fn isbn_key(isbn: &Isbn) -> String {
    format!("isbn {isbn}")
}

/// The edition with this number among the hits. A work comes with one edition only, so that the second of two
/// editions of one work is not there.
fn record_of(isbn: &Isbn, hits: &[Hit]) -> Option<Record> {
    let hit = hits.iter().find(|hit| hit.isbns.contains(isbn))?;
    let mut record = hit.record.clone();
    record.book.isbn = Some(isbn.to_string());
    Some(record)
}

/// The record of the hit that fits best; of two that fit the same, the first.
fn best(hits: Vec<Hit>, fits: impl Fn(&Hit) -> Option<f64>) -> Option<Record> {
    let mut best: Option<(f64, Hit)> = None;
    for hit in hits {
        if let Some(fit) = fits(&hit)
            && best.as_ref().is_none_or(|(before, _)| fit > *before)
        {
            best = Some((fit, hit));
        }
    }
    best.map(|(_, hit)| hit.record)
}

fn joined(parts: impl Iterator<Item = String>, between: &str) -> String {
    parts.collect::<Vec<_>>().join(between)
}

/// The last name of the first author. All else is spelled in too many ways ("J.R.R.", "J. R. R.", "John") for a
/// search that wants each word.
fn last_name(authors: &str) -> String {
    let first = authors.split([';', '&', '/']).next().unwrap_or(authors);
    let first = first.split(" and ").next().unwrap_or(first);
    let name = match first.split_once(',') {
        Some((last, _)) => words(last),
        None => words(first),
    };
    let last = name.iter().rev().find(|word| !similarity::is_suffix(word));
    last.cloned().unwrap_or_else(|| words(authors).join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_found_in_each_order() {
        for (authors, name) in [
            ("J. R. R. Tolkien", "tolkien"),
            ("Tolkien, J.R.R.", "tolkien"),
            ("Kurt Vonnegut Jr.", "vonnegut"),
            ("Terry Pratchett & Neil Gaiman", "pratchett"),
            ("Terry Pratchett and Neil Gaiman", "pratchett"),
            ("Homer", "homer"),
            ("Emily Brontë", "bronte"),
        ] {
            assert_eq!(last_name(authors), name, "{authors}");
        }
    }
}
