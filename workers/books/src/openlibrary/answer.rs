//! What Open Library says about a book, read with a guard: its records are written by thousands of hands, so each
//! member may be missing, of another type, or longer than is sensible. What makes no sense is left out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;
use crate::book::Book;
use crate::isbn::Isbn;

/// The longest title that is taken over, in characters.
const TITLE: usize = 500;

/// The longest other text: a name, a subject. With the most of each, a book stays below the 16 KiB that an item of a
/// job may have.
const TEXT: usize = 150;

/// The most authors that are taken over.
const AUTHORS: usize = 8;

/// The most subjects that are taken over: some works have hundreds, the first ones say most.
const SUBJECTS: usize = 5;

/// The fields that are asked of the search, works' and editions' (`editions.…`).
pub const FIELDS: &str = "key,title,subtitle,author_name,first_publish_year,number_of_pages_median,cover_i,language,\
                          subject,editions,editions.key,editions.title,editions.subtitle,editions.isbn,\
                          editions.language,editions.publisher,editions.publish_date,editions.cover_i";

/// A book as Open Library knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// What is known of it.
    #[serde(flatten)]
    pub book: Book,
    /// A picture of its cover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover_url: Option<String>,
    /// What it is about: the first few subjects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// The key of its work there, such as `OL893415W`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_library_work: Option<String>,
    /// The key of its edition there, such as `OL26242482M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_library_edition: Option<String>,
}

/// One work that a search found, with the edition that fits the question best.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// What is known of both: the edition's where it says something.
    pub record: Record,
    /// The title of the work, which may be another than its edition's: a translation's, say.
    pub work_title: String,
    /// All numbers of the edition.
    pub isbns: Vec<Isbn>,
}

/// The hits of an answer of `/search.json`, best first.
pub fn hits(answer: &Value) -> Result<Vec<Hit>, Error> {
    let docs = answer["docs"].as_array().ok_or_else(|| missing("a search without a list of docs"))?;
    Ok(docs.iter().filter_map(hit).collect())
}

fn hit(work: &Value) -> Option<Hit> {
    let edition = &work["editions"]["docs"][0];
    let of_either = |name: &str| text(&edition[name]).or_else(|| text(&work[name]));
    let work_title = title(work).or_else(|| title(edition))?;
    let isbns: Vec<Isbn> = texts(&edition["isbn"]).filter_map(|isbn| Isbn::parse(isbn).ok().flatten()).collect();
    let published = texts(&edition["publish_date"]).find_map(year);
    let book = Book {
        isbn: isbns.first().map(Isbn::to_string),
        title: title(edition).or_else(|| Some(work_title.clone())),
        authors: texts(&work["author_name"]).filter_map(bounded).take(AUTHORS).collect(),
        language: texts(&edition["language"]).next().and_then(language).or_else(|| only_language(work)),
        publisher: texts(&edition["publisher"]).find_map(bounded),
        published_year: published.or_else(|| sensible_year(work["first_publish_year"].as_i64()?)),
        pages: pages(&work["number_of_pages_median"]),
        ..Book::default()
    };
    let record = Record {
        book,
        cover_url: cover(&edition["cover_i"]).or_else(|| cover(&work["cover_i"])),
        subjects: texts(&work["subject"]).filter_map(bounded).take(SUBJECTS).collect(),
        open_library_work: text(&work["key"]).and_then(|key| olid(&key, "/works/")),
        open_library_edition: of_either("key").and_then(|key| olid(&key, "/books/")),
    };
    Some(Hit { record, work_title, isbns })
}

/// The edition with that number in an answer of `/api/books?jscmd=data`.
pub fn edition(answer: &Value, isbn: &Isbn) -> Result<Option<Record>, Error> {
    let editions = answer.as_object().ok_or_else(|| missing("no list of editions"))?;
    let Some(edition) = editions.get(&bibkey(isbn)) else { return Ok(None) };
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|entry| text(&entry["name"])).collect()
    };
    let mut authors = names(&edition["authors"]);
    authors.truncate(AUTHORS);
    let mut subjects = names(&edition["subjects"]);
    subjects.truncate(SUBJECTS);
    let book = Book {
        isbn: Some(isbn.to_string()),
        title: title(edition),
        authors,
        publisher: names(&edition["publishers"]).into_iter().next(),
        published_year: edition["publish_date"].as_str().and_then(year),
        pages: pages(&edition["number_of_pages"]),
        ..Book::default()
    };
    let record = Record {
        cover_url: text(&edition["cover"]["medium"]).filter(|url| url.starts_with("https://")),
        subjects,
        open_library_work: None,
        open_library_edition: text(&edition["key"]).and_then(|key| olid(&key, "/books/")),
        book,
    };
    Ok(record.book.title.is_some().then_some(record))
}

/// How `/api/books` spells the question for a number.
pub fn bibkey(isbn: &Isbn) -> String {
    format!("ISBN:{isbn}")
}

fn missing(what: &str) -> Error {
    Error::Unexpected(what.into())
}

fn title(record: &Value) -> Option<String> {
    let title = cut(record["title"].as_str()?, TITLE)?;
    match text(&record["subtitle"]) {
        Some(subtitle) => cut(&format!("{title}: {subtitle}"), TITLE),
        None => Some(title),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().and_then(bounded)
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn bounded(text: &str) -> Option<String> {
    cut(text, TEXT)
}

/// A text that says something, cut where it is too long.
fn cut(text: &str, longest: usize) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.chars().filter(|c| !c.is_control()).take(longest).collect())
}

fn pages(value: &Value) -> Option<u32> {
    value.as_u64().filter(|pages| (1..=100_000).contains(pages)).and_then(|pages| u32::try_from(pages).ok())
}

fn cover(id: &Value) -> Option<String> {
    let id = id.as_u64().filter(|id| *id > 0)?;
    Some(format!("https://covers.openlibrary.org/b/id/{id}-M.jpg"))
}

/// The identifier in a key like `/works/OL893415W`.
fn olid(key: &str, prefix: &str) -> Option<String> {
    let id = key.strip_prefix(prefix)?;
    let plain = id.len() <= 20 && id.starts_with("OL") && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| id.to_string())
}

/// The year in a date as people write it: `September 1990`, `1990-09-01`, `c1990`, `May 23, 2006`.
fn year(date: &str) -> Option<i32> {
    let mut runs = date.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() == 4);
    runs.find_map(|run| run.parse().ok().filter(|year| *year >= 1000).and_then(sensible_year))
}

fn sensible_year(year: i64) -> Option<i32> {
    i32::try_from(year).ok().filter(|year| (-3000..=2100).contains(year))
}

/// The language of a work of which all editions are in one.
fn only_language(work: &Value) -> Option<String> {
    let mut languages = texts(&work["language"]);
    match (languages.next(), languages.next()) {
        (Some(code), None) => language(code),
        _ => None,
    }
}

/// A language as ISO 639-1 says it, or 639-2 where there is no such code. Open Library has MARC's codes, which are
/// those of 639-2/B.
fn language(marc: &str) -> Option<String> {
    const CODES: &[(&str, &str)] = &[
        ("ara", "ar"),
        ("bul", "bg"),
        ("cat", "ca"),
        ("chi", "zh"),
        ("cze", "cs"),
        ("dan", "da"),
        ("dut", "nl"),
        ("eng", "en"),
        ("est", "et"),
        ("fin", "fi"),
        ("fre", "fr"),
        ("ger", "de"),
        ("gre", "el"),
        ("heb", "he"),
        ("hin", "hi"),
        ("hrv", "hr"),
        ("hun", "hu"),
        ("ice", "is"),
        ("ind", "id"),
        ("ita", "it"),
        ("jpn", "ja"),
        ("kor", "ko"),
        ("lat", "la"),
        ("lav", "lv"),
        ("lit", "lt"),
        ("nor", "no"),
        ("per", "fa"),
        ("pol", "pl"),
        ("por", "pt"),
        ("rum", "ro"),
        ("rus", "ru"),
        ("slo", "sk"),
        ("slv", "sl"),
        ("spa", "es"),
        ("srp", "sr"),
        ("swe", "sv"),
        ("tha", "th"),
        ("tur", "tr"),
        ("ukr", "uk"),
        ("vie", "vi"),
        ("wel", "cy"),
        ("yid", "yi"),
    ];
    if marc.len() != 3 || !marc.bytes().all(|byte| byte.is_ascii_lowercase()) || marc == "und" || marc == "mul" {
        return None;
    }
    let short = CODES.iter().find(|(code, _)| *code == marc).map(|(_, short)| *short);
    Some(short.unwrap_or(marc).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn isbn(text: &str) -> Isbn {
        Isbn::parse(text).unwrap().unwrap()
    }

    #[test]
    fn a_hit_is_its_edition_where_that_says_something_and_its_work_where_not() {
        let answer = json!({"numFound": 1, "docs": [{
            "key": "/works/OL893415W", "title": "Dune", "author_name": ["Frank Herbert"], "first_publish_year": 1965,
            "number_of_pages_median": 592, "cover_i": 11481354, "language": ["ger", "eng"],
            "subject": ["a", "b", "c", "d", "e", "f"],
            "editions": {"numFound": 120, "start": 0, "docs": [{
                "key": "/books/OL9086163M", "title": "Der Wüstenplanet", "subtitle": "Roman",
                "isbn": ["3453132432", "nonsense"], "language": ["ger"], "publish_date": ["1. Januar 1993"],
                "publisher": ["Heyne"],
            }]},
        }]});
        let hit = hits(&answer).unwrap().remove(0);
        let json = serde_json::to_value(&hit.record).unwrap();
        let expected = json!({
            "isbn": isbn("3453132432").to_string(), "title": "Der Wüstenplanet: Roman", "authors": ["Frank Herbert"],
            "language": "de", "publisher": "Heyne", "publishedYear": 1993, "pages": 592,
            "coverUrl": "https://covers.openlibrary.org/b/id/11481354-M.jpg", "subjects": ["a", "b", "c", "d", "e"],
            "openLibraryWork": "OL893415W", "openLibraryEdition": "OL9086163M",
        });
        assert_eq!(json, expected);
        assert_eq!(hit.work_title, "Dune");
        assert_eq!(serde_json::from_value::<Record>(json).unwrap(), hit.record, "it reads back from a cache");
    }

    #[test]
    fn a_member_of_another_type_or_without_sense_is_left_out() {
        let answer = json!({"docs": [
            {"title": "Odd", "key": "/works/../../etc", "author_name": "not a list", "first_publish_year": "1965",
             "number_of_pages_median": -3, "cover_i": -1, "language": [7], "subject": {"a": 1}, "editions": []},
            {"key": "/works/OL1W"},
            17,
        ]});
        let hits = hits(&answer).unwrap();
        assert_eq!(hits.len(), 1, "a doc without a title is no book");
        assert_eq!(serde_json::to_value(&hits[0].record).unwrap(), json!({"title": "Odd"}));
    }

    #[test]
    fn a_text_of_a_megabyte_is_cut() {
        let answer = json!({"docs": [{"title": "é".repeat(1 << 20), "author_name": vec!["a"; 5000]}]});
        let record = hits(&answer).unwrap().remove(0).record;
        assert_eq!(record.book.title.unwrap().chars().count(), TITLE);
        assert_eq!(record.book.authors.len(), AUTHORS);
    }

    #[test]
    fn an_answer_without_its_list_is_an_error() {
        for answer in [json!(null), json!([]), json!({"docs": 1}), json!({"error": "x"}), json!("docs")] {
            assert!(matches!(hits(&answer), Err(Error::Unexpected(_))), "{answer}");
        }
        assert!(edition(&json!([]), &isbn("9780441172719")).is_err());
    }

    #[test]
    fn the_books_api_is_read_as_its_documentation_shows_it() {
        let dune = isbn("9780441172719");
        let answer = json!({"ISBN:9780441172719": {
            "url": "https://openlibrary.org/books/OL9086163M/Dune", "key": "/books/OL9086163M", "title": "Dune",
            "authors": [{"url": "https://openlibrary.org/authors/OL79034A/Frank_Herbert", "name": "Frank Herbert"}],
            "number_of_pages": 535, "publishers": [{"name": "Ace"}], "publish_date": "September 1990",
            "subjects": [{"name": "Science fiction", "url": "https://openlibrary.org/subjects/science_fiction"}],
            "cover": {"medium": "https://covers.openlibrary.org/b/id/1-M.jpg"},
        }});
        let expected = json!({
            "isbn": "9780441172719", "title": "Dune", "authors": ["Frank Herbert"], "publisher": "Ace",
            "publishedYear": 1990, "pages": 535, "coverUrl": "https://covers.openlibrary.org/b/id/1-M.jpg",
            "subjects": ["Science fiction"], "openLibraryEdition": "OL9086163M",
        });
        assert_eq!(serde_json::to_value(edition(&answer, &dune).unwrap().unwrap()).unwrap(), expected);
        assert_eq!(edition(&answer, &isbn("9780141439518")).unwrap(), None);
    }

    #[test]
    fn a_year_is_found_in_each_way_to_write_a_date() {
        for date in ["1990", "September 1990", "1990-09-01", "c1990", "01/09/1990", "May 23, 1990"] {
            assert_eq!(year(date), Some(1990), "{date}");
        }
        for date in ["", "n.d.", "90", "12345", "0000", "9999"] {
            assert_eq!(year(date), None, "{date}");
        }
    }

    #[test]
    fn a_language_is_told_in_two_letters_where_there_are_two() {
        assert_eq!(language("eng").as_deref(), Some("en"));
        assert_eq!(language("grc").as_deref(), Some("grc"));
        assert_eq!(language("und"), None);
        assert_eq!(language("../"), None);
    }
}
