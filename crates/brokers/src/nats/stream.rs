//! The stream that is the log: made, opened, compared with the settings.

use std::time::Duration;

use serde_json::{Value, json};
use tidings::{Epoch, Offset};
use tokio::time::Instant;

use super::api::{self, ApiError, ask};
use super::engine::{Engine, EngineError, Version};
use super::moving;
use super::settings::Durability;
use super::{echo, epoch};
use crate::memory::random_epoch;
use crate::retention::Retention;

/// The servers from which on a batch is appended as a whole or not at all (ADR-50). 2.12.0 does too, but takes no `Nats-Msg-Id` in it.
pub(super) const ATOMIC: Version = Version(2, 12, 1);

/// The least that retention has to leave: the servers remove what is beyond it in the moment that it is appended, and a replica that did
/// not hear of it yet has to begin anew.
pub(super) const LEAST_EVENTS: u64 = 10_000;
/// The same in bytes.
pub(super) const LEAST_BYTES: u64 = 64 << 20;

/// Which history a stream holds: 8 hex digits in its metadata.
pub(super) const EPOCH: &str = "tidings-epoch";
/// In which form: [`codec`](super::codec) and [`subject`](super::subject), version 1.
pub(super) const FORMAT: &str = "tidings-format";
/// The form that this version writes and reads.
pub(super) const FORMAT_NOW: &str = "1";

/// How long a change of the limits may take: it carries all of the metadata as they were read, and could put back an epoch that was
/// replaced meanwhile. Less than a new epoch is watched.
const QUICK: Duration = Duration::from_millis(1_500);

/// What the settings may change at a stream that is there.
const CHANGEABLE: [&str; 8] = [
    "max_msgs",
    "max_bytes",
    "max_age",
    "duplicate_window",
    "num_replicas",
    "allow_direct",
    "allow_atomic",
    "description",
];

/// What is so about a stream.
#[derive(Clone, Debug)]
pub(super) struct StreamState {
    /// Which history.
    pub epoch: Epoch,
    /// The first message that is there, or the next one if none is.
    pub first: u64,
    /// The last message that ever was.
    pub last: u64,
    /// Bytes of its messages.
    pub bytes: u64,
    /// How many messages are places without an event.
    pub voids: u64,
    /// The last place that is missing among those that are there: damage, as nobody may delete. 0 if none.
    pub hole: u64,
    /// What the leader says that it lost when it read its files: damage, also of the end, whose places it then gives away again. With where
    /// it is noted that it was answered: each server has its own, and they lead in turn.
    pub lost: Option<(String, String)>,
    /// Whether it takes atomic batches.
    pub atomic: bool,
    /// Which server leads it, and since when, as far as it says so. Empty if there is one server.
    pub leader: String,
    /// Whether who says all this leads still, as far as it can be known.
    pub is_led: bool,
    /// Its configuration as the server says it.
    pub config: Value,
}

impl StreamState {
    /// Everything up to here is gone.
    pub fn trimmed(&self) -> u64 {
        self.first.saturating_sub(1).min(self.last).max(self.hole)
    }

    /// The epoch that stands in a configuration.
    fn epoch(config: &Value) -> Option<Epoch> {
        let text = config["metadata"][EPOCH].as_str().filter(|text| text.len() == 8)?;
        u32::from_str_radix(text, 16).ok().map(Epoch)
    }

    /// One with these ends, and nothing else that is so.
    #[cfg(test)]
    pub fn of(first: u64, last: u64) -> StreamState {
        let info = json!({
            "config": { "metadata": { EPOCH: "00000001" } },
            "state": { "messages": last + 1 - first, "bytes": 0, "first_seq": first, "last_seq": last },
        });
        StreamState::read(&info, "void").expect("it is one of ours")
    }

    fn read(info: &Value, void: &str) -> Result<StreamState, String> {
        let (config, state) = (&info["config"], &info["state"]);
        let number =
            |value: &Value, name: &str| value[name].as_u64().ok_or_else(|| format!("the stream has no `{name}`"));
        let (first, last) = (number(state, "first_seq")?, number(state, "last_seq")?);
        let holes = state["deleted"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        Ok(StreamState {
            epoch: StreamState::epoch(config).ok_or("it has no epoch of a hub")?,
            first: if number(state, "messages")? == 0 { last + 1 } else { first },
            last,
            bytes: number(state, "bytes")?,
            voids: state["subjects"][void].as_u64().unwrap_or(0),
            hole: holes.max().unwrap_or(0),
            lost: epoch::lost(info),
            atomic: config["allow_atomic"].as_bool().unwrap_or(false),
            leader: ["leader", "leader_since"].map(|name| info["cluster"][name].as_str().unwrap_or_default()).join(" "),
            is_led: is_led(info),
            config: config.clone(),
        })
    }
}

/// How long ago the leader of a stream may have heard of a copy for that to count. Copies answer it each second; and others are chosen to
/// lead after 4 s at the earliest.
const HEARD: Duration = Duration::from_secs(3);

/// Whether whoever says this of a stream has heard of most copies a moment ago. A leader that is cut off from the others answers for ten
/// seconds and more, while these have another one already.
pub(super) fn is_led(info: &Value) -> bool {
    let copies = info["cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    // 0: it was never heard of.
    let is_heard =
        |copy: &&Value| copy["active"].as_u64().is_some_and(|ago| ago > 0 && u128::from(ago) < HEARD.as_nanos());
    let heard = copies.iter().filter(is_heard).count();
    heard >= copies.len().div_ceil(2)
}

/// What its leader says of the stream.
pub(super) async fn info(engine: &Engine) -> Result<StreamState, ApiError> {
    let void = void_subject(engine);
    let question = format!("STREAM.INFO.{}", engine.stream_name());
    let body = json!({ "subjects_filter": void, "deleted_details": true });
    let info = api::ask_within(engine, &question, &body, Some(Duration::from_secs(2))).await?;
    StreamState::read(&info, &void).map_err(ApiError::NoAnswer)
}

/// The subject of places without an event.
pub(super) fn void_subject(engine: &Engine) -> String {
    format!("{}.void", engine.prefix())
}

/// What the subjects of events begin with, without the last dot.
pub(super) fn event_prefix(engine: &Engine) -> String {
    format!("{}.e", engine.prefix())
}

/// Opens the stream, and makes it if there is none. Of several replicas that make it at once one does and the others open.
pub(super) async fn open(engine: &Engine) -> Result<StreamState, EngineError> {
    check_durability(engine)?;
    check_retention(&engine.settings().retention)?;
    let question = format!("STREAM.INFO.{}", engine.stream_name());
    let read = Instant::now();
    match ask(engine, &question, &json!({})).await {
        Ok(info) => adopt(engine, &info["config"], read).await?,
        Err(error) if error.err_code() == api::STREAM_NOT_FOUND => match create_stream(engine, None, None).await {
            Ok(()) => {}
            Err(CreateError::Exists) => {
                let read = Instant::now();
                let info = ask(engine, &question, &json!({})).await.map_err(|error| unusable(engine, error))?;
                adopt(engine, &info["config"], read).await?;
            }
            Err(CreateError::Engine(error)) => return Err(error),
        },
        Err(error) => return Err(unusable(engine, error)),
    }
    let state = info(engine).await.map_err(|error| unusable(engine, error))?;
    epoch::answer_loss(engine, state).await.map_err(|error| unusable(engine, error))
}

/// Why a stream was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// There is one already.
    #[error("there is a log in NATS already")]
    Exists,
    /// The engine did not.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Makes the stream of the hub, empty: with a history of its own or, for a log that is moved here, with a given one; the first
/// event gets the place `first`.
pub async fn create_stream(engine: &Engine, epoch: Option<Epoch>, first: Option<Offset>) -> Result<(), CreateError> {
    create(engine, config(engine, epoch.unwrap_or_else(random_epoch), first)).await
}

/// Makes the stream of this configuration.
pub(super) async fn create(engine: &Engine, asked: Value) -> Result<(), CreateError> {
    check_durability(engine)?;
    match ask(engine, &format!("STREAM.CREATE.{}", engine.stream_name()), &asked).await {
        Ok(made) => {
            echo::check_stream_value(&format!("the stream {}", engine.stream_name()), &asked, &made["config"])?;
            tracing::info!(stream = engine.stream_name(), copies = engine.copies(), "the log was made in NATS");
            Ok(())
        }
        Err(error) if error.err_code() == api::STREAM_NAME_IN_USE => Err(CreateError::Exists),
        Err(error) => Err(unusable(engine, error).into()),
    }
}

fn check_durability(engine: &Engine) -> Result<(), EngineError> {
    if engine.settings().durability != Durability::PowerSafe {
        return Ok(());
    }
    let version = engine.version().unwrap_or(Version(0, 0, 0));
    if version < ATOMIC {
        return Err(EngineError::Unfit(format!(
            "durability = \"power-safe\" needs NATS {ATOMIC} or newer, which appends what is published at once as one batch; here is {version}: \
             update the servers, or set durability = \"engine\""
        )));
    }
    let in_cluster = engine.client().server_info().cluster.is_some();
    if in_cluster && engine.copies() < 3 {
        return Err(EngineError::Unfit(
            "durability = \"power-safe\" in a cluster needs copies = 3 or 5: with one, the loss of its server is the loss of the log".into(),
        ));
    }
    Ok(())
}

/// Refuses limits that one burst of events passes before every replica has heard of it.
fn check_retention(retention: &Retention) -> Result<(), EngineError> {
    let unfit = |sentence: String| {
        let why = "one burst of more would be removed in NATS before every replica has heard of it";
        Err(EngineError::Unfit(format!("{sentence}: {why}")))
    };
    match retention {
        Retention { events: Some(events), .. } if *events < LEAST_EVENTS => {
            unfit(format!("keep_events = {events} is too little with NATS, set {LEAST_EVENTS} or more"))
        }
        Retention { bytes: Some(bytes), .. } if *bytes < LEAST_BYTES => {
            unfit(format!("keep_bytes = {bytes} is too little with NATS, set \"{}MiB\" or more", LEAST_BYTES >> 20))
        }
        _ => Ok(()),
    }
}

/// What the stream is asked to be.
pub(super) fn config(engine: &Engine, epoch: Epoch, first: Option<Offset>) -> Value {
    let settings = engine.settings();
    let bound = |most: Option<u64>| most.map_or(-1, |most| i64::try_from(most).unwrap_or(i64::MAX));
    // The server refuses an age below 0.1 s, and a window that is longer than the age.
    let age = settings.retention.age.map(|age| age.max(Duration::from_millis(100)));
    let window = settings.duplicate_window.max(Duration::from_millis(100)).min(age.unwrap_or(Duration::MAX));
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let mut config = json!({
        "name": engine.stream_name(),
        "description": format!("The log of the Tidings hub {}. Don't publish, purge or edit here.", settings.hub),
        "subjects": [format!("{}.>", event_prefix(engine)), void_subject(engine)],
        "retention": "limits",
        "discard": "old",
        "storage": "file",
        "max_consumers": -1,
        "max_msgs": bound(settings.retention.events),
        "max_bytes": bound(settings.retention.bytes),
        "max_age": age.map_or(0, nanos),
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "num_replicas": engine.copies(),
        "duplicate_window": nanos(window),
        "allow_direct": true,
        "deny_delete": true,
        "deny_purge": true,
        "metadata": { EPOCH: epoch.to_string(), FORMAT: FORMAT_NOW },
    });
    if engine.version().is_some_and(|version| version >= ATOMIC) {
        config["allow_atomic"] = json!(true);
    }
    if let Some(first) = first {
        config["first_seq"] = json!(first.0);
    }
    config
}

/// Takes a stream that is there, as it was asked for at `read`: refuses one that is not a log of ours, and brings its limits to the settings.
async fn adopt(engine: &Engine, there: &Value, read: Instant) -> Result<(), EngineError> {
    let name = engine.stream_name();
    let refuse = |what: String| {
        Err(EngineError::Unfit(format!(
            "the stream {name} in NATS {what}: give this hub another name (`hub` of [broker.nats]), or remove the stream if nobody needs it"
        )))
    };
    let metadata = &there["metadata"];
    if metadata[EPOCH].as_str().is_none() {
        return refuse("was not made by Tidings".into());
    }
    if metadata[FORMAT] == moving::MOVING {
        return Err(EngineError::Unfit(format!(
            "a log is being moved into the stream {name} in NATS: run `tidings migrate` to its end, then start the hub"
        )));
    }
    if metadata[FORMAT] != FORMAT_NOW {
        return refuse(format!("is in format {}, and this version of Tidings knows {FORMAT_NOW}", metadata[FORMAT]));
    }
    let wanted = config(engine, Epoch(0), None);
    if let Some((field, value)) = echo::unasked(&wanted, there).filter(|(field, _)| !CHANGEABLE.contains(field)) {
        return refuse(format!("has `{field}` = {value}, by which events would be lost, changed or given away"));
    }
    let fields = wanted.as_object().into_iter().flatten().filter(|(name, _)| *name != "metadata");
    let mut changed = Vec::new();
    let mut config = there.clone();
    for (field, wanted) in fields.filter(|(field, wanted)| !echo::is_kept(wanted, &there[field.as_str()])) {
        if !CHANGEABLE.contains(&field.as_str()) {
            return refuse(format!("has `{field}` = {}, and {wanted} is needed", there[field.as_str()]));
        }
        changed.push(format!("{field}: {} -> {wanted}", there[field.as_str()]));
        config[field.as_str()] = wanted.clone();
    }
    if changed.is_empty() {
        return Ok(());
    }
    let made = ask(engine, &format!("STREAM.UPDATE.{name}"), &config).await.map_err(|error| unusable(engine, error))?;
    if read.elapsed() > QUICK {
        // Whoever replaced the epoch meanwhile may not have seen that this put it back.
        let is = StreamState::epoch(&made["config"]).ok_or_else(|| EngineError::Unfit("it has no epoch".into()))?;
        tracing::warn!("NATS took long to change the log's limits: every subscriber is told of a gap");
        epoch::replace(engine, is, None).await.map_err(|error| unusable(engine, error))?;
    }
    let mut wanted = wanted.clone();
    wanted.as_object_mut().map(|fields| fields.remove("metadata"));
    echo::check_stream_value(&format!("the stream {name}"), &wanted, &made["config"])?;
    tracing::info!(stream = name, changed = changed.join(", "), "the log in NATS has the limits of the settings now");
    Ok(())
}

/// What a failed question about the stream means for the start.
fn unusable(engine: &Engine, error: ApiError) -> EngineError {
    let at = engine.settings().shown_servers();
    let ApiError::Refused(refusal) = &error else {
        let info = engine.client().server_info();
        if !info.jetstream && info.cluster.is_none() {
            return EngineError::Unfit(format!(
                "JetStream is off at {at}: start the server with `-js`, or with `jetstream {{}}` in its configuration"
            ));
        }
        return error.unreachable(engine);
    };
    match refusal.err_code {
        10074 | 10052 => EngineError::Unfit(format!(
            "NATS at {at} can't keep {} copies: {}. Set copies = 1, or connect it to a cluster of three servers",
            engine.copies(),
            refusal.description
        )),
        10039 | 10076 => {
            EngineError::Unfit(format!("JetStream is off at {at} for this account: {}", refusal.description))
        }
        10065 => EngineError::Unfit(format!(
            "another stream in NATS at {at} has the subjects of this hub already ({}): give the hub another name, or remove that stream",
            refusal.description
        )),
        // What passes while a cluster finds its leaders: no leader, no suitable servers yet, not enough of them, a stream that another
        // replica has just made and that is not known everywhere.
        10005 | 10008 | 10009 | 10023 | api::STREAM_NOT_FOUND => error.unreachable(engine),
        _ if refusal.code >= 500 => error.unreachable(engine),
        _ => EngineError::Unfit(format!("NATS at {at} refuses the stream {}: {}", engine.stream_name(), refusal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_heard_of_most_copies_for_seconds_leads_no_more() {
        let info = |copies: &[u64]| {
            let copies: Vec<_> = copies.iter().map(|millis| json!({ "active": millis * 1_000_000 })).collect();
            json!({ "cluster": { "leader": "n1", "replicas": copies } })
        };
        assert!(is_led(&json!({ "cluster": { "leader": "n1" } })) && is_led(&json!({})), "it has the only copy");
        for heard in [&[900, 900][..], &[10, 60_000], &[900, 900, 9_000, 9_000]] {
            assert!(is_led(&info(heard)), "{heard:?}");
        }
        for unheard in [&[3_500, 3_500][..], &[0, 0], &[900, 9_000, 9_000, 9_000]] {
            assert!(!is_led(&info(unheard)), "{unheard:?}");
        }
    }

    #[test]
    fn limits_that_one_burst_passes_are_refused_with_what_to_set() {
        let keep = |events, bytes| check_retention(&Retention { events, bytes, ..Retention::FOREVER });
        for (events, bytes) in [(None, None), (Some(LEAST_EVENTS), Some(LEAST_BYTES))] {
            keep(events, bytes).expect("it is enough");
        }
        for (events, bytes, what) in
            [(Some(9_999), None, "keep_events = 9999"), (None, Some(LEAST_BYTES - 1), "\"64MiB\" or more")]
        {
            let sentence = keep(events, bytes).expect_err("it is too little").to_string();
            assert!(sentence.contains(what), "{sentence}");
        }
    }
}
