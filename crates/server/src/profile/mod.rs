//! The apps that the program serves: each is one `profile.toml`, and nothing else.
//!
//! - [`file`]: the file as it is written.
//! - [`load`]: reads one, with its variants and values.
//! - [`build`], [`looks`], [`mounts`], [`stream`], [`socketio`], [`desk`]: make of it what the hub and the transports obey, and find what can't be.
//!   [`fits`]: which setting belongs to which transport.
//! - [`Plan`]: all profiles together, none in the way of another.

mod build;
mod desk;
mod file;
mod fits;
mod load;
mod looks;
mod mounts;
mod plan;
mod socketio;
mod stream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use tidings::Profile;
use tidings::job::KindSettings;
use tidings_transports::StreamSettings;
use tidings_transports::desk::DeskSettings;

use crate::auth::AuthSettings;
pub(crate) use build::check_auth;
pub use load::{Loading, embedded};
pub use plan::{Plan, RESERVED};

use crate::settings::Place;

/// One app, ready to be served.
#[derive(Clone, Debug)]
pub struct LoadedProfile {
    /// Its events, audiences and shapes.
    pub profile: Arc<Profile>,
    /// A sentence about it.
    pub description: String,
    /// Who may ask on its mounts.
    pub auth: AuthSettings,
    /// Where relative paths in its settings start.
    pub base: PathBuf,
    /// Where it is heard.
    pub mounts: Vec<Mount>,
    /// What is different for a kind of job.
    pub jobs: BTreeMap<String, KindSettings>,
}

/// A place where a profile is heard.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Its paths, each absolute, with the base path.
    pub paths: Vec<MountPath>,
    /// What is there.
    pub transport: Transport,
    /// The name under which what an address asks here counts together with what it asks at other mounts of the profile.
    pub shared_rate: Option<String>,
}

/// A path, and where it was written.
#[derive(Clone, Debug)]
pub struct MountPath {
    /// The path.
    pub path: String,
    /// Where it was written.
    pub place: Place,
}

/// What is at a mount.
#[derive(Clone, Debug, PartialEq)]
pub enum Transport {
    /// Server-Sent Events.
    Sse(StreamSettings),
    /// Long-poll.
    Poll(StreamSettings),
    /// WebSocket.
    WebSocket(StreamSettings),
    /// Socket.IO. Its paths come with a slash at the end and without.
    SocketIo(StreamSettings),
    /// A side endpoint that says whether the program is ready, in the app's own form.
    Ready(Ready),
    /// A side endpoint that says that the program lives, in the app's own form: 200 also while it drains.
    Health(Ready),
    /// Where the app's clients deal with jobs.
    Desk(Box<DeskSettings>),
}

impl Transport {
    /// How its streams behave, if it has any.
    pub fn stream(&self) -> Option<&StreamSettings> {
        match self {
            Transport::Sse(stream)
            | Transport::Poll(stream)
            | Transport::WebSocket(stream)
            | Transport::SocketIo(stream) => Some(stream),
            Transport::Ready(_) | Transport::Health(_) | Transport::Desk(_) => None,
        }
    }
}

/// What a side endpoint says. 200 while ready, 503 with the same body and `status_draining` while draining.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ready {
    /// The members of the answer.
    pub body: Map<String, Value>,
    /// The member that says how many clients the profile's streams have.
    pub clients: Option<String>,
    /// Members that differ while the program drains, laid over `body`.
    pub draining: Map<String, Value>,
}

impl Ready {
    /// The answer with this many clients.
    pub fn answer(&self, clients: u64, draining: bool) -> Value {
        let mut body = self.body.clone();
        if draining {
            body.extend(self.draining.clone());
        }
        if let Some(name) = &self.clients {
            body.insert(name.clone(), clients.into());
        }
        Value::Object(body)
    }
}
