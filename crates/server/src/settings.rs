//! How the program is set up: one TOML file, with the environment over it.

mod broker;
pub mod decode;
pub mod env;
pub mod report;
pub mod tree;
pub mod value;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use tidings::Limits;
use tidings::job::JobSettings;
use tidings_brokers::nats::{MOST_IN_BATCH, NatsSettings};
use tidings_transports::Cors;

use crate::auth::AuthSettings;
pub use broker::{BrokerKind, BrokerSettings, DurabilityWord, NatsTable, Urls, data_bytes, message_bytes};
pub use decode::At;
pub use report::{Mistake, Place, Report, Source};
use value::{duration, optional_duration, size};

/// The commented settings with every default: what `tidings default-config` prints.
pub const DEFAULT_CONFIG: &str = include_str!("../server.toml");

/// All settings of the program. [`Default`] runs.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where it listens.
    pub listen: ListenSettings,
    /// Where it keeps what it keeps.
    pub data: DataSettings,
    /// The log.
    pub broker: BrokerSettings,
    /// The threads that own the sockets.
    pub lanes: LaneSettings,
    /// Every bound.
    #[serde(deserialize_with = "read_limits")]
    pub limits: Limits,
    /// TLS in the program.
    pub tls: TlsSettings,
    /// Who may use `/v1`.
    pub auth: AuthSettings,
    /// The streams of `/v1`.
    pub api: ApiSettings,
    /// Long work that somebody else watches.
    pub jobs: JobsSettings,
    /// The reverse proxies before it.
    pub proxy: ProxySettings,
    /// How it stops.
    pub drain: DrainSettings,
    /// What it tells of itself.
    pub log: LogSettings,
    /// The apps it serves, beside `/v1`.
    pub profiles: Vec<ProfileRef>,
    /// The directory that relative paths start at: that of the settings file, else the working directory.
    #[serde(skip)]
    pub base: PathBuf,
}

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSettings {
    /// Addresses for HTTP.
    pub http: Vec<SocketAddr>,
    /// Addresses for HTTPS; `[tls]` has its certificate.
    pub https: Vec<SocketAddr>,
}

impl Default for ListenSettings {
    fn default() -> Self {
        ListenSettings { http: vec![SocketAddr::from(([127, 0, 0, 1], 8090))], https: Vec::new() }
    }
}

/// Where it keeps what it keeps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// The directory of the log and of the database. Made at start.
    pub dir: PathBuf,
}

impl Default for DataSettings {
    fn default() -> Self {
        DataSettings { dir: "data".into() }
    }
}

/// The threads that own the sockets.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneSettings {
    /// How many; 0 for one per core.
    pub count: usize,
}

/// TLS in the program. Usually a reverse proxy does it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The file with the certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// The file with the private key, PEM.
    pub key: Option<PathBuf>,
}

/// The streams of `/v1`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSettings {
    /// Which other origins may read: `"same"`, `"any"` or a list of origins.
    #[serde(deserialize_with = "read_cors")]
    pub cors: Cors,
    /// What keeps a quiet stream alive is sent after this much silence.
    #[serde(with = "duration")]
    pub heartbeat_every: Duration,
    /// After how long a client comes back; `None` tells none.
    #[serde(with = "optional_duration")]
    pub retry: Option<Duration>,
    /// Whether `/` is the live page.
    pub page: bool,
    /// Whether the console is at `/console`. It shows operators what they may see, and others nothing.
    pub console: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        ApiSettings {
            cors: Cors::Same,
            heartbeat_every: Duration::from_secs(20),
            retry: Some(Duration::from_secs(3)),
            page: true,
            console: true,
        }
    }
}

/// Long work that somebody else watches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsSettings {
    /// How long a worker may be silent before its job is given to another, where the job does not say.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How often a job may be tried, where it does not say.
    pub attempts: u32,
    /// How long a worker has to answer a cancel.
    #[serde(with = "duration")]
    pub cancel_grace: Duration,
    /// How long a job is kept after its end, with its result.
    #[serde(with = "duration")]
    pub keep_for: Duration,
    /// How long a job's token counts.
    #[serde(with = "duration")]
    pub token_ttl: Duration,
    /// At most once in this time is a job's progress told.
    #[serde(with = "duration")]
    pub progress_every: Duration,
    /// The most bytes of a file that comes with a job.
    #[serde(with = "size")]
    pub upload_bytes: u64,
    /// The most jobs that have not ended. One app has three quarters of them at most.
    pub open_jobs: usize,
}

impl Default for JobsSettings {
    fn default() -> Self {
        let JobSettings { lease, attempts, cancel_grace, keep_for, token_ttl, progress_every, open_jobs, .. } =
            JobSettings::default();
        let upload_bytes = 100_000_000;
        JobsSettings { lease, attempts, cancel_grace, keep_for, token_ttl, progress_every, upload_bytes, open_jobs }
    }
}

impl JobsSettings {
    /// What the engine obeys.
    pub(crate) fn engine(&self) -> JobSettings {
        let JobsSettings {
            lease,
            attempts,
            cancel_grace,
            keep_for,
            token_ttl,
            progress_every,
            upload_bytes: _,
            open_jobs,
        } = *self;
        let engine = JobSettings::default();
        JobSettings { lease, attempts, cancel_grace, keep_for, token_ttl, progress_every, open_jobs, ..engine }
    }
}

/// The reverse proxies before it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxySettings {
    /// The networks whose `X-Forwarded-For` is believed, for limits by address.
    pub trusted: Vec<IpNet>,
}

/// How it stops. How long it takes to send its streams away is `drain_window` of `[limits]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainSettings {
    /// How long `/ready` says no before the first stream ends, so that a load balancer has heard of it.
    #[serde(with = "duration")]
    pub delay: Duration,
    /// The `retry:` of the last goodbye: after how long clients come back, spread out up to twice that.
    #[serde(with = "duration")]
    pub retry: Duration,
}

impl Default for DrainSettings {
    fn default() -> Self {
        DrainSettings { delay: Duration::ZERO, retry: Duration::from_secs(2) }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// What it tells of itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// How a line is written.
    pub format: LogFormat,
    /// How much: `error`, `warn`, `info`, `debug`, `trace`, or per part as in `info,tidings_server=debug`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { format: LogFormat::Text, level: "info".into() }
    }
}

/// A profile to serve. A bare text is its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileRef {
    /// The name of a profile that comes with the program.
    pub name: Option<At<String>>,
    /// The directory or file of a profile of your own. Relative to the settings file.
    pub path: Option<At<PathBuf>>,
    /// The variants that are laid over it, in this order.
    pub variants: Vec<At<String>>,
    /// What is put before all its paths.
    pub base_path: Option<At<String>>,
    /// Values of it, by name. Read with the profile, which says what they are.
    pub values: Values,
}

/// Values for a profile, as they were written.
#[derive(Clone, Default)]
pub struct Values(pub Vec<(tree::Key, tree::Node)>);

// The names alone: a value may be a secret.
impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(key, _)| &key.name)).finish()
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        let plain = |values: &Values| -> Vec<_> {
            values.0.iter().map(|(key, value)| (key.name.clone(), value.to_json())).collect()
        };
        plain(self) == plain(other)
    }
}

impl Settings {
    /// Reads a file, with the environment over it. Without a file, the defaults with the environment over them.
    pub fn load(path: Option<&Path>) -> Result<Settings, Report> {
        let mut report = Report::default();
        let Some(path) = path else { return Settings::read(None, std::env::vars(), report) };
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let source = Source::file(path.display().to_string(), text);
                let base = path.parent().map(Path::to_path_buf).unwrap_or_default();
                Settings::read_at(Some(&source), base, std::env::vars(), report)
            }
            Err(error) => {
                report.nowhere(format!("the settings {} can't be read: {error}", path.display()));
                Err(report)
            }
        }
    }

    /// Reads a text, with these variables over it.
    pub fn read(
        source: Option<&std::sync::Arc<Source>>,
        variables: impl IntoIterator<Item = (String, String)>,
        report: Report,
    ) -> Result<Settings, Report> {
        Settings::read_at(source, PathBuf::new(), variables, report)
    }

    fn read_at(
        source: Option<&std::sync::Arc<Source>>,
        base: PathBuf,
        variables: impl IntoIterator<Item = (String, String)>,
        mut report: Report,
    ) -> Result<Settings, Report> {
        let empty = Source::file("the defaults", "");
        let mut root = tree::Node::parse(source.unwrap_or(&empty), &mut report);
        env::overlay(&mut root, variables, &mut report);
        let settings = decode::decode(&root, &mut report).map(|settings| Settings { base, ..settings });
        if let Some(settings) = &settings {
            // What was left out as wrong is missing to whoever looks at the whole, which need not be told again.
            let clean = report.is_empty();
            settings.check(&root, &mut report);
            if clean {
                crate::profile::check_auth(&settings.auth, None, None, &settings.base, |path, message| {
                    report.at(&tree::place_at(&root, &format!("auth.{path}")), message);
                });
            }
        }
        report.into_result(settings)
    }

    /// How NATS is used, if the log is kept there.
    pub fn nats(&self) -> Option<NatsSettings> {
        self.broker.nats(&self.base, &self.limits)
    }

    /// What types can't say.
    fn check(&self, root: &tree::Node, report: &mut Report) {
        let place = |section: &str, key: &str| match root.get(section) {
            Some(table) => table.entry(key).map_or(table.place.clone(), |(key, _)| key.place.clone()),
            None => root.place.clone(),
        };
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            let key = if self.tls.cert.is_some() { "cert" } else { "key" };
            report.at(&place("tls", key), "`cert` and `key` of [tls] go together");
        }
        if !self.listen.https.is_empty() && self.tls.cert.is_none() {
            report.at(&place("listen", "https"), "HTTPS needs `cert` and `key` of [tls]");
        }
        for (key, mistake) in self.broker.mistakes() {
            report.at(&tree::place_at(root, &format!("broker.{key}")), mistake);
        }
        if self.broker.kind() == BrokerKind::Nats && self.limits.batch_events > MOST_IN_BATCH {
            let message = format!("NATS appends at most {MOST_IN_BATCH} events as one batch");
            report.at(&place("limits", "batch_events"), message);
        }
        if self.listen.http.is_empty() && self.listen.https.is_empty() {
            report.at(&place("listen", "http"), "it listens nowhere").help("give `http` or `https` an address");
        }
        if self.api.heartbeat_every < Duration::from_secs(1) {
            report.at(&place("api", "heartbeat_every"), "a heartbeat more often than once a second only costs");
        }
        let longest = JobSettings::default().longest_lease;
        if self.jobs.lease < Duration::from_secs(1) || self.jobs.lease > longest {
            let message = format!("a lease is 1s to {}s: so long a job waits whose worker has died", longest.as_secs());
            report.at(&place("jobs", "lease"), message);
        }
        if !(1..=100).contains(&self.jobs.attempts) {
            report.at(&place("jobs", "attempts"), "a job is tried 1 to 100 times");
        }
        for (profile, node) in self.profiles.iter().zip(match root.get("profiles").map(|node| &node.kind) {
            Some(tree::Kind::List(items)) => items.as_slice(),
            _ => &[],
        }) {
            if profile.name.is_some() == profile.path.is_some() {
                report.at(&node.place, "a profile has either a `name` (one that comes with the program) or a `path`");
            }
        }
    }
}

/// Reads `"same"`, `"any"` or a list of origins.
pub(crate) fn read_cors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cors, D::Error> {
    struct Read;
    impl<'de> de::Visitor<'de> for Read {
        type Value = Cors;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("\"same\", \"any\" or a list of origins like [\"https://app.example\"]")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Cors, E> {
            match text {
                "same" => Ok(Cors::Same),
                "any" => Ok(Cors::Any),
                _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
            }
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Cors, A::Error> {
            let mut origins = Vec::new();
            while let Some(origin) = list.next_element::<String>()? {
                let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
                let host = host.map(|host| host.strip_suffix(":*").unwrap_or(host));
                if host.is_none_or(|host| host.is_empty() || host.contains(['/', '*', ' '])) {
                    let message = format!("{origin:?} is no origin: write scheme and host without a path");
                    return Err(de::Error::custom(message));
                }
                origins.push(origin);
            }
            Ok(Cors::Origins(origins))
        }
    }
    deserializer.deserialize_any(Read)
}

impl<'de> Deserialize<'de> for ProfileRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct Table {
            name: Option<At<String>>,
            path: Option<At<PathBuf>>,
            variants: Vec<At<String>>,
            base_path: Option<At<String>>,
            values: Values,
        }
        struct Read;
        impl<'de> de::Visitor<'de> for Read {
            type Value = ProfileRef;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a profile, or a table with `name` or `path`")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<ProfileRef, E> {
                Ok(ProfileRef { name: Some(At::nowhere(name.to_owned())), ..ProfileRef::default() })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ProfileRef, A::Error> {
                let Table { name, path, variants, base_path, values } =
                    Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(ProfileRef { name, path, variants, base_path, values })
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = std::collections::BTreeMap::<String, At<serde_json::Value>>::deserialize(deserializer)?;
        let node = |(name, At { value, place }): (String, At<serde_json::Value>)| {
            let key = tree::Key { name, place: place.clone() };
            (key, tree::Node::from_json(value, &place))
        };
        Ok(Values(entries.into_iter().map(node).collect()))
    }
}

/// Makes the table of the bounds; each is explained at [`Limits`]. One that is missing here does not compile.
macro_rules! limits_table {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)*) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct LimitsTable {
            $($(#[$meta])* $name: $type,)*
        }

        impl Default for LimitsTable {
            fn default() -> Self {
                let Limits { $($name),* } = Limits::default();
                LimitsTable { $($name),* }
            }
        }

        fn read_limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
            let LimitsTable { $($name),* } = LimitsTable::deserialize(deserializer)?;
            Ok(Limits { $($name),* })
        }
    };
}

limits_table! {
    #[serde(with = "size")]
    event_data: usize,
    #[serde(with = "size")]
    event_scope: usize,
    audience_grants: usize,
    batch_events: usize,
    #[serde(with = "size")]
    request_bytes: usize,
    window_events: usize,
    #[serde(with = "size")]
    window_bytes: usize,
    #[serde(with = "size")]
    write_bytes: usize,
    #[serde(with = "size")]
    turn_bytes: usize,
    page_events: usize,
    #[serde(with = "size")]
    page_bytes: usize,
    concurrent_reads: usize,
    filter_topics: usize,
    subscriptions: usize,
    #[serde(with = "size")]
    message_bytes: usize,
    messages_per_second: usize,
    connections: usize,
    connections_per_address: usize,
    connections_per_principal: usize,
    #[serde(with = "duration")]
    header_timeout: Duration,
    #[serde(with = "size")]
    header_bytes: usize,
    #[serde(with = "duration")]
    request_timeout: Duration,
    #[serde(with = "duration")]
    write_stall: Duration,
    #[serde(with = "duration")]
    poll_wait: Duration,
    poll_events: usize,
    #[serde(with = "duration")]
    drain_window: Duration,
}

#[cfg(test)]
mod tests;
