//! What an app is told about a book.

use serde::{Deserialize, Serialize};

/// A book as an item of a result. What is not known is left out of its JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Book {
    /// 13 digits, valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isbn: Option<String>,
    /// Without the series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// As one says them: given name first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// The name of the series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// Which of the series it is; a text, as there are `0.5` and `1-3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series_position: Option<String>,
    /// ISO 639-1 where there is such a code, else 639-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Who published this edition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publisher: Option<String>,
    /// When this edition was published, or else the first; negative before our era.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_year: Option<i32>,
    /// How many pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<u32>,
    /// Paperback, audio and so on, in the words of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// How far its owner has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Stars of the owner, above 0 and up to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<f64>,
    /// The owner's shelves, tags or collections, but for those that say a status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shelves: Vec<String>,
    /// When the owner added it: `2024-05-31`, `2024-05` or `2024`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_added: Option<String>,
    /// When the owner finished it last, in the same form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_read: Option<String>,
}

/// How far somebody has read a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not begun.
    ToRead,
    /// Begun.
    Reading,
    /// Put aside for now.
    Paused,
    /// Finished.
    Read,
    /// Given up.
    DidNotFinish,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let book = Book {
            isbn: Some("9780439708180".into()),
            title: Some("Harry Potter".into()),
            authors: vec!["J.K. Rowling".into()],
            language: Some("en".into()),
            ..Book::default()
        };
        let json =
            json!({"isbn": "9780439708180", "title": "Harry Potter", "authors": ["J.K. Rowling"], "language": "en"});
        assert_eq!(serde_json::to_value(&book).unwrap(), json);
        assert_eq!(serde_json::from_value::<Book>(json).unwrap(), book);
        assert_eq!(serde_json::to_value(Book::default()).unwrap(), json!({}));
    }

    #[test]
    fn members_are_in_camel_case_and_states_are_words() {
        let book = Book {
            published_year: Some(1998),
            status: Some(Status::DidNotFinish),
            date_read: Some("2024-05-31".into()),
            ..Book::default()
        };
        let json = json!({"publishedYear": 1998, "status": "did-not-finish", "dateRead": "2024-05-31"});
        assert_eq!(serde_json::to_value(&book).unwrap(), json);
    }
}
