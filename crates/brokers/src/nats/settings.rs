//! How the engine is reached, and how it keeps the events.

use std::path::PathBuf;
use std::time::Duration;

use crate::retention::Retention;

/// How a hub uses NATS JetStream. All replicas of a hub have the same settings.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// Where the servers are: `nats://host:4222` or `tls://host:4222`. One is enough to find the others of its cluster.
    pub servers: Vec<String>,
    /// The name of the hub: its stream is `TIDINGS_<name>`, its subjects begin with `tidings.<name>.`. Letters, digits, `-` and `_`, 1 to 32.
    pub hub: String,
    /// Who this is to the servers.
    pub login: Login,
    /// TLS to the servers.
    pub tls: NatsTls,
    /// On how many servers each event is kept: 1, 3 or 5. `None`: 3 in a cluster, else 1.
    pub copies: Option<usize>,
    /// What must have happened before a publish is answered.
    pub durability: Durability,
    /// What may go.
    pub retention: Retention,
    /// For how long the engine itself knows a request that was sent again. It keeps about 100 bytes for each event of that time.
    pub duplicate_window: Duration,
    /// How long a publish waits for the engine before it is refused.
    pub publish_timeout: Duration,
    /// The most bytes of one event with all that belongs to it. The servers must take that much in one message.
    pub event_bytes: usize,
}

impl Default for NatsSettings {
    fn default() -> Self {
        NatsSettings {
            servers: Vec::new(),
            hub: "hub".into(),
            login: Login::None,
            tls: NatsTls::default(),
            copies: None,
            durability: Durability::Engine,
            retention: Retention::default(),
            duplicate_window: Duration::from_secs(120),
            publish_timeout: Duration::from_secs(5),
            event_bytes: 1_000_000,
        }
    }
}

/// What an acknowledged publish has behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What the servers are set to: in the memory of their systems on `copies` servers, on the disk within their `sync_interval`.
    #[default]
    Engine,
    /// Made for servers with `sync_interval: always` and `copies` of 3 or more: what queued during one sync is appended as one
    /// atomic batch, so that many publishes share it. Refused where the servers can't.
    PowerSafe,
}

/// Who this is to the servers. Its `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Nobody: the servers ask for nothing.
    #[default]
    None,
    /// A user and a password.
    Password(String, String),
    /// A token.
    Token(String),
    /// The file of credentials (`.creds`) that `nsc` makes: a JWT and its seed.
    Credentials(PathBuf),
    /// The seed of an nkey.
    Nkey(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Login::None => "none",
            Login::Password(..) => "user and password",
            Login::Token(_) => "token",
            Login::Credentials(_) => "credentials file",
            Login::Nkey(_) => "nkey",
        })
    }
}

/// TLS to the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// Whether a server without TLS is refused. A `tls://` address asks for it too.
    pub required: bool,
    /// Certificates of authorities (PEM) that are trusted beside those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate (PEM) and its key by which this program shows who it is.
    pub identity: Option<(PathBuf, PathBuf)>,
}
