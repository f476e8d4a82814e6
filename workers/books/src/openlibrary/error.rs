//! Why Open Library gave no answer that helps.

/// Why a lookup failed. That a book is not known there is no error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answered, the connection broke, or it took too long; through all retries.
    #[error("Open Library cannot be reached: {0}")]
    Unreachable(String),
    /// It answered 429 or 5xx through all retries, or asked for a longer pause than is taken.
    #[error("Open Library is busy or broken: {0}")]
    Busy(String),
    /// It wants no requests of this program (401, 403): another one changes nothing.
    #[error(
        "Open Library refused the request with status {0}. It refuses programs that say no contact: set one with --contact"
    )]
    Refused(u16),
    /// The answer is not what its documentation says; about this question only.
    #[error("Open Library gave an answer that was not understood: {0}")]
    Unexpected(String),
    /// The client itself cannot be made of these settings.
    #[error("{0}")]
    Settings(String),
}
