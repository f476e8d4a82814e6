//! What the data of events must be, in JSON Schema (draft 2020-12), and what is made of it.
//!
//! - [`files`], [`load`], [`keywords`], [`place`]: read the schemas of a profile and find every mistake in them.
//! - [`validate`], [`sentence`]: hold published data against one.
//! - [`view`], [`wire`], [`form`], [`job`]: what of it a client of some mount is given.
//! - [`typescript`], [`asyncapi`]: that, in the words of others.

pub mod asyncapi;
mod files;
mod form;
mod job;
mod keywords;
mod load;
mod place;
mod refs;
mod sentence;
pub mod typescript;
mod validate;
mod view;
mod wire;

pub use files::Files;
pub use load::{Loader, Origin};
pub use validate::JsonSchema;
pub use view::{View, ViewEvent};
