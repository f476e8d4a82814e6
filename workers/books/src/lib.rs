//! A worker for jobs about books: imports lists, looks books up, reads bookshelves.

pub mod book;
pub mod isbn;
pub mod report;
