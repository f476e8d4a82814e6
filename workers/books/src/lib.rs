//! A worker for jobs about books: imports lists, looks books up, reads bookshelves.

pub mod book;
mod cancel;
pub mod enrich;
mod http;
pub mod import;
pub mod isbn;
pub mod openlibrary;
pub mod report;
pub mod scan;
pub mod standin;
