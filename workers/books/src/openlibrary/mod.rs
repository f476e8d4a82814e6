//! Asks [Open Library](https://openlibrary.org/developers/api) about books: slowly, seldom, and never twice.
//!
//! Open Library is a free service of a charity and asks three things of programs: to say who they are and how to
//! reach them, to send at most one request a second (three, where they say so), and to ask about many books in one
//! request. So each ISBN goes into a search for many, every answer is kept, and one [`Pace`](pace::Pace) holds back
//! all requests of the program.

mod answer;
mod cache;
mod client;
mod error;
mod http;
mod pace;
mod settings;
pub mod similarity;

pub use answer::Record;
pub use client::{Client, ISBNS_PER_REQUEST};
pub use error::Error;
pub use settings::{CacheSettings, Settings};
