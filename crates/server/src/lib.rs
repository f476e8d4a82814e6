//! How the program is configured, secured and run: what `main` is made of.

pub mod auth;
pub mod bench;
pub mod check;
pub mod profile;
pub mod settings;
