//! Socket.IO on its Engine.IO: what its two living generations say, pure.
//!
//! | clients | Engine.IO | Socket.IO | who says CONNECT to `/` | a refusal carries |
//! |---|---|---|---|---|
//! | 1.x, 2.x | 3 (`EIO=3`) | 4 | the server, unasked | a JSON string |
//! | 3.x, 4.x | 4 (`EIO=4`) | 5 | the client, with its `auth` | `{"message":…}` |
//!
//! - [`engine`]: Engine.IO packets, the payloads of long-polling, and what HTTP refuses.
//! - [`packet`]: Socket.IO packets, the text of an Engine.IO message.
//! - [`sid`]: session ids, public and private.
//!
//! Binary is refused with [`engine::Malformed::Binary`]: events are JSON, and nothing here could carry it.

mod arguments;
pub mod engine;
pub(crate) mod mount;
pub mod packet;
pub(crate) mod polling;
pub mod sid;

pub use arguments::{Arguments, arguments};
