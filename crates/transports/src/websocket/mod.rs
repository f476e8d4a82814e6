//! WebSocket (RFC 6455). Pure: no socket is read or written here.
//!
//! - [`handshake`]: which HTTP request may become a connection, and the answer that makes it one.
//! - [`frame`]: frames ↔ messages.
//! - [`message`]: what our own protocol says in them.

pub mod frame;
pub mod handshake;
pub mod message;
pub(crate) mod mount;
