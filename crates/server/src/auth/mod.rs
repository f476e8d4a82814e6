//! Who asks: sources of credentials in the order that the settings give, first present decides.
//!
//! - [`AuthSettings`]: the table, in the server's TOML and in each profile.
//! - [`Authenticator`]: asks the sources. [`Source`](authenticator::Source): one of them, by file: `api_key`, `jwt`
//!   (`jws`, `jwks`, `pem`), `forward`, `proxy_header`, `job_token`, `ticket`.
//! - [`Words`](words::Words): from what a source says to a principal: implications, `everyone`, the namespace.
//! - [`Revocations`]: who was shut out. [`Recheck`]: asks the app again about open streams.
//!   What is kept is behind [`AccessStore`](tidings_brokers::state::AccessStore).

pub mod api_key;
mod asker;
pub mod authenticator;
pub mod cache;
pub mod client;
pub mod duration;
pub mod error;
pub mod forward;
pub mod identity;
pub mod job_token;
pub mod jwks;
pub mod jws;
pub mod jwt;
pub mod memory;
pub mod pem;
pub mod place;
pub mod proxy_header;
pub mod recheck;
pub mod revocations;
pub mod rights;
pub mod secret;
pub mod settings;
pub mod source;
pub mod template;
pub mod ticket;
pub mod words;

pub use authenticator::{AuthContext, Authenticator};
pub use client::Client;
pub use error::AuthError;
pub use memory::MemoryStore;
pub use recheck::Recheck;
pub use revocations::{Revocations, RevokeCallback};
pub use secret::Secret;
pub use settings::AuthSettings;
pub use ticket::issue_ticket;

#[cfg(test)]
mod tests;
