//! One book of the list.

use serde_json::{Map, Value};

use crate::isbn::Isbn;
use crate::openlibrary::similarity::words;

/// The most of a member that is repeated in an item or a progress, in characters.
const ECHO: usize = 200;

/// What is known of a book before it is looked up: a number, a title, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub isbn: Option<Isbn>,
    pub title: Option<String>,
    pub author: Option<String>,
}

impl Query {
    /// The book of an entry, or a sentence that says what is wrong with it. A wrong number is passed over where there
    /// is a title to look for.
    pub fn read(entry: &Value, longest: usize) -> Result<Query, String> {
        let Value::Object(members) = entry else { return Err("it is no object with title, author or isbn".into()) };
        let title = text(members, "title", longest)?.filter(|title| !words(title).is_empty());
        let author = text(members, "author", longest)?;
        let number = match members.get("isbn") {
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => text(members, "isbn", longest)?,
        };
        let isbn = match number.map(|number| Isbn::parse(&number).map_err(|error| (number, error))) {
            Some(Ok(isbn)) => isbn,
            Some(Err((number, error))) if title.is_none() => return Err(format!("{number:?} is no ISBN: {error}")),
            _ => None,
        };
        if isbn.is_none() && title.is_none() {
            return Err("it has neither a title nor an isbn".into());
        }
        Ok(Query { isbn, title, author })
    }
}

fn text(members: &Map<String, Value>, name: &str, longest: usize) -> Result<Option<String>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() > longest => {
            Err(format!("its {name} has {} characters; at most {longest} are taken", text.chars().count()))
        }
        Some(Value::String(text)) => Ok(Some(text.trim().to_string()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("its {name} is no text")),
    }
}

/// What the list says of a book, cut to a sensible length.
pub fn echo(entry: &Value) -> Value {
    chosen(entry, &["title", "author", "isbn"])
}

/// What is told of a book while it is worked on.
pub fn about(entry: &Value) -> Value {
    chosen(entry, &["title", "isbn"])
}

fn chosen(entry: &Value, names: &[&str]) -> Value {
    let member = |name: &&str| match entry.get(name)? {
        Value::String(text) => Some((name.to_string(), Value::String(text.chars().take(ECHO).collect()))),
        Value::Number(number) => Some((name.to_string(), Value::Number(number.clone()))),
        _ => None,
    };
    Value::Object(names.iter().filter_map(member).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_book_has_a_number_or_a_title() {
        let query = Query::read(&json!({"isbn": "978-0-441-17271-9", "title": " Dune "}), 500).unwrap();
        assert_eq!((query.isbn.unwrap().to_string().as_str(), query.title.as_deref()), ("9780441172719", Some("Dune")));
        assert!(Query::read(&json!({"isbn": 9780441172719u64}), 500).unwrap().isbn.is_some());
        assert_eq!(Query::read(&json!({"title": "Dune", "isbn": "B00X"}), 500).unwrap().isbn, None);
    }

    #[test]
    fn what_is_no_book_is_told_with_its_reason() {
        for (entry, reason) in [
            (json!({}), "neither a title nor an isbn"),
            (json!({"title": "", "author": "Frank Herbert"}), "neither"),
            (json!({"title": "***"}), "neither"),
            (json!(null), "no object"),
            (json!(["Dune"]), "no object"),
            (json!({"title": {"a": 1}}), "its title is no text"),
            (json!({"isbn": "9780441172710"}), "check digit"),
            (json!({"title": "x".repeat(501)}), "has 501 characters"),
            (json!({"isbn": "1".repeat(501)}), "has 501 characters"),
        ] {
            let error = Query::read(&entry, 500).unwrap_err();
            assert!(error.contains(reason), "{entry}: {error}");
        }
        assert!(Query::read(&json!({"title": "é".repeat(500)}), 500).is_ok());
    }

    #[test]
    fn what_is_repeated_of_an_entry_is_small() {
        let echoed = echo(&json!({"title": "é".repeat(5000), "isbn": 7, "author": [1], "secret": "x"}));
        assert_eq!(echoed, json!({"title": "é".repeat(200), "isbn": 7}));
    }
}
