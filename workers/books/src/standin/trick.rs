//! How the stand-in fails on demand.

use std::convert::Infallible;
use std::future::pending;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::Settings;

/// A way to fail. It is played for a question that holds its ISBN, or `stand-in <name>` as text, or for all
/// (`POST /stand-in/mode?is=<name>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// The right answer, after a long time.
    Slow,
    /// 429 with `Retry-After` for the first such question, the right answer for each further one.
    Busy,
    /// 503, always.
    Down,
    /// A JSON answer that breaks off.
    Broken,
    /// A JSON answer without an end.
    Endless,
    /// A page of HTML with status 200, as a proxy or a hotel's network answers.
    Html,
    /// 403, as Open Library answers programs it wants no requests of.
    Refusing,
    /// No answer at all.
    Silent,
}

impl Trick {
    /// All of them.
    pub const ALL: [Trick; 8] = [
        Trick::Slow,
        Trick::Busy,
        Trick::Down,
        Trick::Broken,
        Trick::Endless,
        Trick::Html,
        Trick::Refusing,
        Trick::Silent,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Trick::Slow => "slow",
            Trick::Busy => "busy",
            Trick::Down => "down",
            Trick::Broken => "broken",
            Trick::Endless => "endless",
            Trick::Html => "html",
            Trick::Refusing => "refusing",
            Trick::Silent => "silent",
        }
    }

    /// The ISBN-13 that stands for it: right, but of no book.
    pub fn isbn(self) -> &'static str {
        match self {
            Trick::Slow => "9780000000019",
            Trick::Busy => "9780000000026",
            Trick::Down => "9780000000033",
            Trick::Broken => "9780000000040",
            Trick::Endless => "9780000000057",
            Trick::Html => "9780000000064",
            Trick::Refusing => "9780000000071",
            Trick::Silent => "9780000000088",
        }
    }

    /// The trick of that name.
    pub fn named(name: &str) -> Option<Trick> {
        Trick::ALL.into_iter().find(|trick| trick.name() == name)
    }

    /// The trick that a query asks for, percent-encoded as it came.
    pub(super) fn in_query(query: &str) -> Option<Trick> {
        let asks = |trick: &Trick| {
            let name = trick.name();
            query.contains(trick.isbn())
                || ["+", "%20"].iter().any(|space| query.contains(&format!("stand-in{space}{name}")))
        };
        Trick::ALL.into_iter().find(asks)
    }

    /// Plays it; none where the right answer is to follow.
    pub(super) async fn play(self, settings: &Settings) -> Option<Response> {
        let json = [(CONTENT_TYPE, "application/json")];
        match self {
            Trick::Slow => {
                tokio::time::sleep(settings.slow).await;
                None
            }
            Trick::Busy => {
                let again = settings.retry_after.to_string();
                Some((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, again)]).into_response())
            }
            Trick::Down => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
            Trick::Broken => Some((json, r#"{"numFound": 1, "docs": [{"key": "/works/OL"#).into_response()),
            Trick::Endless => Some((json, endless()).into_response()),
            Trick::Html => Some(([(CONTENT_TYPE, "text/html")], "<html>Welcome to the guest network").into_response()),
            Trick::Refusing => Some(StatusCode::FORBIDDEN.into_response()),
            Trick::Silent => pending().await,
        }
    }
}

fn endless() -> Body {
    let spaces = Bytes::from(vec![b' '; 16 << 10]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(spaces.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_asks_for_a_trick_by_isbn_or_by_name() {
        assert_eq!(Trick::in_query("q=isbn%3A%289780000000033+OR+9780441172719%29"), Some(Trick::Down));
        assert_eq!(Trick::in_query("title=stand-in+slow&limit=5"), Some(Trick::Slow));
        assert_eq!(Trick::in_query("title=Dune"), None);
        assert_eq!(Trick::named("endless"), Some(Trick::Endless));
        assert_eq!(Trick::named("ok"), None);
    }
}
