//! The log: which one, what may go, and how NATS is reached where that keeps it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};
use tidings::Limits;
use tidings_brokers::Retention;
use tidings_brokers::nats::{Durability, Login, NatsSettings, NatsTls};

use super::decode::At;
use super::value::{duration, optional_duration, optional_size, size};
use crate::auth::secret::Secret;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokerKind {
    /// Kept on disk: survives a crash.
    Disk,
    /// Kept in memory: gone with the process.
    Memory,
    /// Kept by NATS JetStream, for several replicas.
    Nats,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerSettings {
    /// Which one, if it is said: see [`BrokerSettings::kind`].
    pub kind: Option<At<BrokerKind>>,
    /// Where the servers of NATS are. Naming one chooses NATS.
    pub url: Urls,
    /// How old an event may get; `None` for no bound.
    #[serde(with = "optional_duration")]
    pub keep_for: Option<Duration>,
    /// How many events are kept; `None` for no bound.
    #[serde(with = "optional_size")]
    pub keep_events: Option<u64>,
    /// How many bytes are kept; `None` for no bound.
    #[serde(with = "optional_size")]
    pub keep_bytes: Option<u64>,
    /// How many bytes one file of the log on disk has; what is trimmed goes away file by file.
    #[serde(with = "size")]
    pub segment_bytes: u64,
    /// How NATS is used.
    pub nats: NatsTable,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        BrokerSettings {
            kind: None,
            url: Urls::default(),
            keep_for: Some(Duration::from_secs(7 * 86_400)),
            keep_events: None,
            keep_bytes: Some(1 << 30),
            segment_bytes: 64 << 20,
            nats: NatsTable::default(),
        }
    }
}

/// Addresses of servers: one text, or a list. Its `Debug` shows no login.
#[derive(Clone, Default, PartialEq)]
pub struct Urls(pub Vec<At<String>>);

impl std::fmt::Debug for Urls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} addresses", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> de::Visitor<'de> for Read {
            type Value = Urls;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address like \"nats://127.0.0.1:4222\", or a list of them")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Urls, E> {
                let each = text.split(',').map(str::trim).filter(|url| !url.is_empty());
                Ok(Urls(each.map(|url| At::nowhere(url.to_owned())).collect()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Urls, A::Error> {
                let mut urls = Vec::new();
                while let Some(url) = list.next_element::<At<String>>()? {
                    urls.push(url);
                }
                Ok(Urls(urls))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// How NATS is used: see [`NatsSettings`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsTable {
    /// The name of the hub among others on the same servers.
    pub hub: String,
    /// On how many servers each event is kept; 0 is 3 in a cluster, else 1.
    pub copies: usize,
    /// What must have happened before a publish is answered.
    pub durability: DurabilityWord,
    /// For how long NATS itself knows a request that was sent again.
    #[serde(with = "duration")]
    pub duplicate_window: Duration,
    /// How long a publish waits for NATS before it is refused.
    #[serde(with = "duration")]
    pub publish_timeout: Duration,
    /// The user, with `password`.
    pub user: Option<String>,
    /// The password of `user`.
    pub password: Option<Secret>,
    /// A token.
    pub token: Option<Secret>,
    /// The seed of an nkey.
    pub nkey: Option<Secret>,
    /// A file of credentials. Relative to the settings file.
    pub credentials: Option<PathBuf>,
    /// Whether a server without TLS is refused.
    pub tls: bool,
    /// Authorities that are trusted beside those of the system (PEM). Relative to the settings file.
    pub ca: Option<PathBuf>,
    /// The certificate by which this program shows who it is (PEM). Relative to the settings file.
    pub cert: Option<PathBuf>,
    /// Its key (PEM). Relative to the settings file.
    pub key: Option<PathBuf>,
}

impl Default for NatsTable {
    fn default() -> Self {
        let NatsSettings { hub, duplicate_window, publish_timeout, .. } = NatsSettings::default();
        NatsTable {
            hub,
            copies: 0,
            durability: DurabilityWord::Engine,
            duplicate_window,
            publish_timeout,
            user: None,
            password: None,
            token: None,
            nkey: None,
            credentials: None,
            tls: false,
            ca: None,
            cert: None,
            key: None,
        }
    }
}

/// What must have happened before a publish is answered: see [`Durability`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DurabilityWord {
    /// What the servers are set to.
    #[default]
    Engine,
    /// For servers that sync always.
    PowerSafe,
}

/// How many bytes an event may have beside its data: its scope as text within JSON, its audience, its topic, name and key.
fn overhead(limits: &Limits) -> usize {
    2 * limits.event_scope + 520 * limits.audience_grants + (8 << 10)
}

/// How many bytes a server must take in one message for these limits.
pub fn message_bytes(limits: &Limits) -> usize {
    limits.event_data + overhead(limits)
}

/// How many bytes of data fit into one message of `most` bytes.
pub fn data_bytes(limits: &Limits, most: usize) -> usize {
    most.saturating_sub(overhead(limits))
}

impl BrokerSettings {
    /// Which log it is: what is said, else NATS where an address of it is given, else the disk.
    pub fn kind(&self) -> BrokerKind {
        let unsaid = if self.url.0.is_empty() { BrokerKind::Disk } else { BrokerKind::Nats };
        self.kind.as_ref().map_or(unsaid, |kind| kind.value)
    }

    /// What may go.
    pub fn retention(&self) -> Retention {
        Retention { age: self.keep_for, events: self.keep_events, bytes: self.keep_bytes }
    }

    /// How NATS is used, if it is: paths are made absolute by `base`.
    pub(super) fn nats(&self, base: &Path, limits: &Limits) -> Option<NatsSettings> {
        if self.kind() != BrokerKind::Nats {
            return None;
        }
        let NatsTable { hub, copies, durability, duplicate_window, publish_timeout, tls, ca, cert, key, .. } =
            &self.nats;
        let path = |path: &PathBuf| base.join(path);
        // The data shrinks to what fits where nobody said how large it may be.
        let event_bytes = if limits.event_data == Limits::default().event_data { 0 } else { message_bytes(limits) };
        Some(NatsSettings {
            servers: self.url.0.iter().map(|url| url.value.clone()).collect(),
            hub: hub.clone(),
            login: self.nats.login(base),
            tls: NatsTls {
                required: *tls,
                ca: ca.as_ref().map(path),
                identity: cert.as_ref().map(path).zip(key.as_ref().map(path)),
            },
            copies: (*copies > 0).then_some(*copies),
            durability: match durability {
                DurabilityWord::Engine => Durability::Engine,
                DurabilityWord::PowerSafe => Durability::PowerSafe,
            },
            retention: self.retention(),
            duplicate_window: *duplicate_window,
            publish_timeout: *publish_timeout,
            event_bytes,
        })
    }

    /// What is wrong with it, by the key of `[broker]` or, with a dot, of `[broker.nats]`.
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut wrong = |key: &'static str, sentence: &str| found.push((key, sentence.to_owned()));
        let is_nats = self.kind() == BrokerKind::Nats;
        if !self.url.0.is_empty() && !is_nats {
            wrong("kind", "`url` is where NATS is: leave `kind` away, or `url`");
        }
        if is_nats && self.url.0.is_empty() {
            wrong("kind", "where NATS is has to be said: url = \"nats://127.0.0.1:4222\"");
        }
        let is_address = |url: &str| {
            let (scheme, host) = url.split_once("://").unwrap_or(("nats", url));
            matches!(scheme, "nats" | "tls") && !host.is_empty()
        };
        if self.url.0.iter().any(|url| !is_address(url)) {
            wrong("url", "an address of NATS is like nats://host:4222 or tls://host:4222");
        }
        if is_nats && self.keep_events.is_some_and(|events| events < 10_000) {
            wrong(
                "keep_events",
                "a log in NATS keeps 10000 events at least: one burst would push others out before every replica has read them",
            );
        }
        if is_nats && self.keep_bytes.is_some_and(|bytes| bytes < 64 << 20) {
            wrong(
                "keep_bytes",
                "a log in NATS keeps 64MiB at least: one burst would push others out before every replica has read them",
            );
        }
        if is_nats && self.keep_for.is_some_and(|age| age < Duration::from_secs(60)) {
            wrong(
                "keep_for",
                "a log in NATS keeps events for 1m at least: a replica that looks for its server needs some seconds",
            );
        }
        let least = least_window(self.nats.publish_timeout);
        if is_nats && self.keep_for.is_some_and(|age| age < least) {
            let sentence = format!(
                "it is at least {}s with this `publish_timeout`: NATS knows what was sent again only for as long as it keeps events",
                least.as_secs_f64().ceil()
            );
            wrong("keep_for", &sentence);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let hub = &self.nats.hub;
        if hub.is_empty() || hub.len() > 32 || !hub.chars().all(is_word) {
            wrong("nats.hub", "it is 1 to 32 letters, digits, `-` and `_`");
        }
        if ![0, 1, 3, 5].contains(&self.nats.copies) {
            wrong("nats.copies", "events are kept on 1, 3 or 5 servers; 0 is 3 in a cluster, else 1");
        }
        if self.nats.duplicate_window > Duration::from_secs(3600) {
            wrong("nats.duplicate_window", "it is at most 1h");
        }
        if self.nats.publish_timeout < Duration::from_millis(100) || self.nats.publish_timeout > Duration::from_secs(60)
        {
            wrong("nats.publish_timeout", "it is 100ms to 60s");
        }
        if self.nats.duplicate_window < least {
            let sentence = format!(
                "it is at least {}s, twice as long as `publish_timeout` and 10s more: a publish that another replica sends again must be \
                 known when both have arrived",
                least.as_secs_f64().ceil()
            );
            wrong("nats.duplicate_window", &sentence);
        }
        if self.nats.user.is_some() != self.nats.password.is_some() {
            let key = if self.nats.user.is_some() { "nats.user" } else { "nats.password" };
            wrong(key, "`user` and `password` go together");
        }
        if self.nats.ways_in() > 1 {
            wrong("nats", "it is said in more than one way who this is: keep one of user, token, nkey and credentials");
        }
        if self.nats.cert.is_some() != self.nats.key.is_some() {
            let key = if self.nats.cert.is_some() { "nats.cert" } else { "nats.key" };
            wrong(key, "`cert` and `key` go together");
        }
        found
    }
}

/// The least window in which NATS has to know a request again: a replica takes one over some seconds after the time that a publish may
/// take, and its own may take as long.
fn least_window(publish_timeout: Duration) -> Duration {
    2 * (publish_timeout + Duration::from_secs(10))
}

impl NatsTable {
    fn ways_in(&self) -> usize {
        [self.user.is_some(), self.token.is_some(), self.nkey.is_some(), self.credentials.is_some()]
            .into_iter()
            .filter(|is_said| *is_said)
            .count()
    }

    fn login(&self, base: &Path) -> Login {
        let text = |secret: &Secret| secret.expose().trim().to_owned();
        match self {
            NatsTable { user: Some(user), password: Some(password), .. } => {
                Login::Password(user.clone(), text(password))
            }
            NatsTable { token: Some(token), .. } => Login::Token(text(token)),
            NatsTable { nkey: Some(seed), .. } => Login::Nkey(text(seed)),
            NatsTable { credentials: Some(file), .. } => Login::Credentials(base.join(file)),
            _ => Login::None,
        }
    }
}
