//! What the data of an event must be.

use std::fmt;

use crate::draft::DraftError;

/// Says whether data is what an event's schema asks for.
///
/// This crate has none of its own: who embeds it and wants no validator pays for none. The program's is JSON Schema.
pub trait DataSchema: fmt::Debug + Send + Sync {
    /// The first place where `data`, any JSON text, is not as it must be.
    ///
    /// It is asked once for each event that is published, before the event has a place in the log. What it says goes to the
    /// publisher and into logs: a sentence must not repeat values of the data, which may be large or secret; names of members it may.
    fn check(&self, data: &str) -> Result<(), SchemaFault>;

    /// The schema as a JSON Schema document (draft 2020-12) in which every `$ref` is to `#/$defs`, for those who show it or make types
    /// of it.
    fn document(&self) -> Option<&serde_json::Value> {
        None
    }
}

/// Where data is not what its schema asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("data{pointer}: {detail}")]
pub struct SchemaFault {
    /// The place as a JSON Pointer (RFC 6901): `/medias/0/action`; empty for the data as a whole.
    pub pointer: String,
    /// A sentence that repeats no value of the data.
    pub detail: String,
}

impl SchemaFault {
    /// The mistake of a draft with this data; its field is `data/medias/0/action`.
    pub fn into_error(self) -> DraftError {
        DraftError::new(format!("data{}", self.pointer), "schema", self.detail)
    }
}
