//! Tidings tells everyone who may know, the moment something changed.
//!
//! This crate answers one question: *what is an event, who is given it, and how does it look?* It opens no socket and
//! no file. A connection is a cursor into one log, so live delivery, resuming, being slow and starting from an old
//! place are one mechanism:
//!
//! - [`Event`], [`Topic`], [`Audience`], [`Cursor`]: what happened, about what, who may see it, and where it stands.
//! - [`Principal`], [`Grants`], [`Filter`]: who asks, what they hold, what they asked for.
//! - [`Broker`]: keeps the events and tells of each append. [`Window`]: the recent ones, in memory.
//! - [`Hub`]: matches events to the subscribers of this process. [`Registry`]: finds them without asking each.
//! - [`Subscriber`]: the deliveries of one reader as an async stream.
//! - [`Profile`], [`Shape`], [`Form`], [`DataSchema`]: one app's part: which events it has, who may see them, how they look, what their data
//!   must be.
//! - [`Jobs`](job::Jobs): long work that others watch: what may become of it, and how it is told.
//! - [`explain`]: why a principal does or does not get an event.

mod arrival;
pub mod broker;
pub mod clock;
pub mod close;
mod coalesce;
pub mod cursor;
pub mod draft;
pub mod duration;
pub mod entry;
pub mod event;
pub mod explain;
pub mod filter;
pub mod form;
pub mod gap;
pub mod grant;
pub mod history;
pub mod hub;
pub mod job;
pub mod json;
pub mod limits;
#[cfg(all(test, shuttle))]
mod model;
mod path_index;
pub mod principal;
pub mod profile;
mod profiles;
pub mod registry;
mod retained;
mod revoked;
pub mod schema;
pub mod shape;
mod states;
pub mod subscriber;
mod sync;
pub mod template;
pub mod topic;
pub mod window;

pub use broker::{Broker, BrokerError, Head, Page, Query, Standing, Tail};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use close::CloseReason;
pub use cursor::{Cursor, Epoch, InvalidCursor, Offset};
pub use draft::{Draft, DraftError};
pub use entry::{Entry, FrameKey};
pub use event::{Event, NewEvent};
pub use explain::{Explanation, explain};
pub use filter::{Filter, Interest};
pub use form::{Form, FormFacts, FormNode, FormOutline, FormWords, HoleOutline, InvalidForm};
pub use gap::{Gap, GapReason};
pub use grant::{Audience, Grants, Implications};
pub use hub::{Hub, Published, Reader, Start};
pub use json::JsonPath;
pub use limits::Limits;
pub use principal::{Principal, PublishRights, Revocation, RevokedIdentity};
pub use profile::{Coalesce, EventRule, Profile};
pub use profiles::Profiles;
pub use registry::Registry;
pub use revoked::Moment;
pub use schema::{DataSchema, SchemaFault};
pub use shape::{Args, Case, Redaction, Shape};
pub use subscriber::{Delivery, Seated, Subscriber};
pub use template::{Facts, Template};
pub use topic::{InvalidTopic, Topic, TopicPattern};
pub use window::{Place, Window};
