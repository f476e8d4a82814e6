//! The connection to the engine, which the log and the shared state have in common.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::{self, Context, Error as JetStreamError, ErrorCode};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};

use super::settings::{Login, NatsSettings};

/// How often the connection is asked whether it lives. A server that says nothing is left after about three of these.
const PING_EVERY: Duration = Duration::from_secs(2);

/// How long one question to the engine waits for its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait between two attempts to connect.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The oldest servers that are taken. Older ones drop fields of a configuration in silence.
pub const OLDEST: Version = Version(2, 10, 0);

/// Why the engine can't be used: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// It can't be reached now. Trying again may help.
    #[error("NATS can't be reached at {at}: {why}")]
    Unreachable {
        /// Where it was looked for, without secrets.
        at: String,
        /// What happened.
        why: String,
    },
    /// It is there, and can't be used as it is.
    #[error("{0}")]
    Unfit(String),
}

/// The version of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `2.12.8`, and `2.12.8-beta.1` as the same.
    pub fn parse(text: &str) -> Option<Version> {
        let mut parts = text.trim_start_matches('v').splitn(3, '.');
        let mut number = || parts.next()?.split(['-', '+']).next()?.parse().ok();
        Some(Version(number()?, number()?, number()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A connection to NATS that is kept for as long as this is: after a cut it comes back by itself, at whichever server of the
/// cluster answers. Cheap to clone an [`Arc`] of.
pub struct Engine {
    settings: NatsSettings,
    client: Client,
    context: Context,
    down: Arc<Mutex<Option<Down>>>,
}

/// Since when it is away, and why.
#[derive(Clone, Debug)]
pub struct Down {
    /// Since when.
    pub since: Instant,
    /// A sentence, without secrets.
    pub why: String,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("at", &self.settings.shown_servers()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Connects, and looks whether the server can be used at all. What the stream must be like is seen when it is opened.
    pub async fn connect(settings: NatsSettings) -> Result<Arc<Engine>, EngineError> {
        settings.check()?;
        let down = Arc::<Mutex<Option<Down>>>::default();
        let client = settings.options(down.clone()).await?.connect(&settings.servers[..]).await;
        let client = client.map_err(|error| settings.not_connected(&error))?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        let engine = Engine { settings, client, context, down };
        engine.check_server()?;
        Ok(Arc::new(engine))
    }

    fn check_server(&self) -> Result<(), EngineError> {
        let info = self.client.server_info();
        let at = self.settings.shown_servers();
        match self.version() {
            Some(version) if version >= OLDEST => {}
            _ => {
                return Err(EngineError::Unfit(format!(
                    "the NATS server at {at} is version {}, which drops settings without a word that keep events from those who may not see \
                     them: use {OLDEST} or newer, best 2.12 or newer",
                    info.version
                )));
            }
        }
        if !info.headers {
            return Err(EngineError::Unfit(format!(
                "the NATS server at {at} has headers turned off (`no_header_support`), and events need them: turn them on"
            )));
        }
        let most = info.max_payload;
        if most < self.settings.event_bytes {
            return Err(EngineError::Unfit(format!(
                "the NATS server at {at} takes messages of {most} bytes at most, and an event may have {} with all that belongs to it: \
                 raise `max_payload` there, or lower `event_data` of [limits]",
                self.settings.event_bytes
            )));
        }
        Ok(())
    }

    /// The settings.
    pub fn settings(&self) -> &NatsSettings {
        &self.settings
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream over the connection.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The version of the server that it is connected to, as far as it can be read.
    pub fn version(&self) -> Option<Version> {
        Version::parse(&self.client.server_info().version)
    }

    /// The most bytes of one message that the server takes.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// On how many servers each thing is kept.
    pub fn copies(&self) -> usize {
        let in_cluster = self.client.server_info().cluster.is_some();
        self.settings.copies.unwrap_or(if in_cluster { 3 } else { 1 })
    }

    /// `None` while it is connected; else since when it is not, and why.
    pub fn down(&self) -> Option<Down> {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        // The client drops events when many come at once: that it is back may be one of them.
        if down.is_some() && self.client.connection_state() == State::Connected {
            back(&mut down);
        }
        down.clone()
    }

    /// How many connections were made so far. One more is counted before anything is heard through it.
    pub fn connects(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// What all subjects of the hub begin with, without the last dot.
    pub fn prefix(&self) -> String {
        format!("tidings.{}", self.settings.hub)
    }

    /// The name of the stream that holds the log.
    pub fn stream_name(&self) -> String {
        format!("TIDINGS_{}", self.settings.hub)
    }

    /// The name of a bucket (key-value, or of objects) of the hub.
    pub fn bucket_name(&self, of: &str) -> String {
        format!("tidings_{}_{of}", self.settings.hub)
    }
}

impl NatsSettings {
    /// The addresses without what may be secret in them.
    pub fn shown_servers(&self) -> String {
        let without_login = |address: &String| match (address.split_once("://"), address.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            (None, Some((_, host))) => host.to_owned(),
            _ => address.clone(),
        };
        self.servers.iter().map(without_login).collect::<Vec<_>>().join(", ")
    }

    fn check(&self) -> Result<(), EngineError> {
        let unfit = |sentence: &str| Err(EngineError::Unfit(sentence.into()));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.servers.is_empty() {
            return unfit("no NATS server is given: name one, like nats://127.0.0.1:4222");
        }
        if self.hub.is_empty() || self.hub.len() > 32 || !self.hub.chars().all(is_word) {
            return unfit("the name of the hub in NATS is 1 to 32 letters, digits, `-` and `_`");
        }
        if self.copies.is_some_and(|copies| ![1, 3, 5].contains(&copies)) {
            return unfit("events are kept on 1, 3 or 5 servers: with an even number one more may fail for nothing");
        }
        Ok(())
    }

    /// What is wrong here does not get better by waiting; what is away may come back.
    fn not_connected(&self, error: &ConnectError) -> EngineError {
        let at = self.shown_servers();
        let look_at = match error.kind() {
            ConnectErrorKind::ServerParse => "the address is not one of NATS: write nats://host:4222",
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                "it refuses who this is: look at user, token, nkey or credentials"
            }
            ConnectErrorKind::Tls => "TLS fails: look at `ca`, `cert` and `key`",
            // What rustls says of an answer that is none of TLS.
            _ if error.to_string().contains("InvalidContentType") => {
                "this server speaks no TLS: leave `tls` away, or turn it on there"
            }
            _ => return EngineError::Unreachable { at, why: error.to_string() },
        };
        EngineError::Unfit(format!("NATS at {at} can't be used: {look_at} ({error})"))
    }

    async fn options(&self, down: Arc<Mutex<Option<Down>>>) -> Result<ConnectOptions, EngineError> {
        let slow = Mutex::new(None);
        let mut options = ConnectOptions::new()
            .name(format!("tidings {}", self.hub))
            .ping_interval(PING_EVERY)
            .connection_timeout(REQUEST_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .max_reconnects(None)
            .subscription_capacity(1 << 16)
            .client_capacity(1 << 13)
            .require_tls(self.tls.required)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| note(&down, &slow, &event));
        options = match &self.login {
            Login::None => options,
            Login::Password(user, password) => options.user_and_password(user.clone(), password.clone()),
            Login::Token(token) => options.token(token.clone()),
            Login::Nkey(seed) => options.nkey(seed.clone()),
            Login::Credentials(file) => options.credentials_file(file).await.map_err(|error| {
                EngineError::Unfit(format!("the NATS credentials {} can't be read: {error}", file.display()))
            })?,
        };
        if let Some(ca) = &self.tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((cert, key)) = &self.tls.identity {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(options)
    }
}

/// Whether another try may help: servers that look for a leader, or for each other. It is told, and waited for.
pub(super) fn is_passing(error: &JetStreamError) -> bool {
    error.code() >= 500 || error.error_code() == ErrorCode::CLUSTER_NO_PEERS
}

/// Quick at first, then doubling up to [`LONGEST_WAIT`]; of many replicas each waits another time.
fn reconnect_delay(attempts: usize) -> Duration {
    let most = Duration::from_millis(50).saturating_mul(1 << attempts.min(6)).min(LONGEST_WAIT);
    let mut random = [0; 2];
    let share =
        getrandom::fill(&mut random).map_or(1.0, |()| f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX));
    most.mul_f64(0.5 + share / 2.0)
}

/// It is connected again.
fn back(down: &mut Option<Down>) {
    if down.take().is_some() {
        tracing::info!("NATS is back");
    }
}

/// How long it must be quiet before what comes as one of many is told of again.
const BURST: Duration = Duration::from_secs(10);

/// Whether this is the first of many that come one behind the other; `last` is when the one before it came.
fn is_first(last: &Mutex<Option<Instant>>, now: Instant) -> bool {
    let before = last.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
    before.is_none_or(|before| now.saturating_duration_since(before) > BURST)
}

fn note(down: &Mutex<Option<Down>>, slow: &Mutex<Option<Instant>>, event: &Event) -> std::future::Ready<()> {
    let gone = |why: String| {
        tracing::warn!(why, "NATS is away");
        let mut down = down.lock().unwrap_or_else(PoisonError::into_inner);
        let since = down.as_ref().map_or_else(Instant::now, |down| down.since);
        *down = Some(Down { since, why });
    };
    match event {
        Event::Connected => back(&mut down.lock().unwrap_or_else(PoisonError::into_inner)),
        Event::Disconnected => gone("the connection was cut".into()),
        Event::Closed => gone("the connection was given up".into()),
        Event::LameDuckMode => tracing::info!("the NATS server is about to stop; going on at another"),
        // One comes for each message that is dropped.
        Event::SlowConsumer(_) if !is_first(slow, Instant::now()) => {}
        Event::SlowConsumer(_) => tracing::warn!("NATS sends faster than is read here; what was dropped is read again"),
        Event::ServerError(error) => tracing::warn!(%error, "NATS reports an error"),
        Event::ClientError(error) => tracing::debug!(%error, "NATS can't be reached"),
        _ => {}
    }
    std::future::ready(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        for (text, version) in [
            ("2.9.10", Version(2, 9, 10)),
            ("2.10.0", Version(2, 10, 0)),
            ("v2.15.1", Version(2, 15, 1)),
            ("2.12.0-RC.3", Version(2, 12, 0)),
        ] {
            assert_eq!(Version::parse(text), Some(version));
        }
        assert_eq!(Version::parse("2.10"), None);
        assert!(Version(2, 9, 10) < OLDEST && Version(2, 10, 0) >= OLDEST && Version(3, 0, 0) > OLDEST);
    }

    #[test]
    fn of_many_in_a_row_the_first_is_told() {
        let (last, begun) = (Mutex::new(None), Instant::now());
        let told = [0, 1, 9, 18, 29].map(|second| is_first(&last, begun + Duration::from_secs(second)));
        assert_eq!(told, [true, false, false, false, true]);
    }

    #[test]
    fn no_password_is_shown() {
        let servers = vec!["nats://me:secret@a:4222".into(), "nats://b:4222".into(), "token@c".into()];
        let settings =
            NatsSettings { servers, login: Login::Password("u".into(), "secret".into()), ..NatsSettings::default() };
        assert_eq!(settings.shown_servers(), "nats://a:4222, nats://b:4222, c");
        assert!(!format!("{:?}", settings.login).contains("secret"));
    }
}
