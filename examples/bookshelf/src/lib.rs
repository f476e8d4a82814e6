//! A shelf of books: a small real app with the hub in its own process, whose pages never poll.
//!
//! - [`app`]: puts the parts together. [`args`]: the command line.
//! - [`db`]: the database. [`outbox`]: what is to be told stands in the same transaction, and is told after its commit.
//! - [`book`], [`author`], [`series`], [`queue`]: what there is, and how each change of it is told.
//! - [`users`], [`logins`], [`session`], [`viewer`]: who asks, and what they may see.
//! - [`watch`], [`importer`], [`epub`], [`library`]: from a dropped file to a book on the shelf.
//! - [`downloader`]: plays a downloader. [`work`]: the jobs. [`demo`]: something to look at.
//! - [`api`]: what is served.

pub mod api;
pub mod app;
pub mod args;
pub mod author;
pub mod book;
pub mod db;
pub mod demo;
pub mod downloader;
pub mod epub;
pub mod fault;
pub mod importer;
pub mod library;
pub mod logins;
pub mod outbox;
pub mod queue;
pub mod series;
pub mod session;
pub mod users;
pub mod viewer;
pub mod watch;
pub mod words;
pub mod work;
