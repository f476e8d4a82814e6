//! Our own protocol over WebSocket (`protocol/README.md` §8): what is asked and answered, and what comes of bad input.

#[path = "conversations/bad_input.rs"]
mod bad_input;
mod common;
#[path = "conversations/requests.rs"]
mod requests;
#[path = "conversations/stress.rs"]
mod stress;
