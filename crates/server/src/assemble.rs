//! From settings and profiles to what is served: who says who asks, and what is where.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings::job::Jobs;
use tidings::{Clock, Hub, Profile};
use tidings_brokers::state::AccessStore;
use tidings_transports::desk::Desk;
use tidings_transports::rate::Rates;
use tidings_transports::stream::{Codec, OneJob};
use tidings_transports::{Answer, Authenticate, Mount, Publishing, Stream, StreamSettings};

use crate::auth::{AuthContext, Authenticator, Client, Recheck, Revocations, RevokeCallback};
use crate::inspect::{MountedStreams, ShownProfile};
use crate::profile::{Plan, Ready, Transport};
use crate::serve::Failure;
use crate::settings::Settings;

/// Who says who asks: at `/v1`, and at each profile's paths.
#[derive(Clone)]
pub struct Doors {
    /// For `/v1`.
    pub open: Arc<dyn Authenticate>,
    /// By profile.
    pub profiles: BTreeMap<String, Arc<dyn Authenticate>>,
    /// Who was shut out.
    pub revocations: Arc<Revocations>,
    /// Ends live streams.
    pub revoke: RevokeCallback,
    /// Asks the app again about open streams.
    pub recheck: Arc<Recheck>,
    /// Keys, tickets, revocations.
    pub store: Arc<dyn AccessStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The parameters of the query in which a credential for `/v1` may stand.
    pub credentials: Arc<[String]>,
}

/// A side endpoint of a profile.
#[derive(Clone, Debug)]
pub struct Side {
    /// Where.
    pub path: String,
    /// What it says.
    pub ready: Ready,
    /// Whether it says that the program lives, not that it is ready: then it is 200 also while it drains.
    pub lives: bool,
    /// The streams it counts.
    pub streams: Vec<Arc<Stream>>,
}

pub(crate) async fn open_doors(
    settings: &Settings,
    plan: &Plan,
    hub: &Arc<Hub>,
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    jobs: Arc<Jobs>,
) -> Result<Doors, Failure> {
    let revocations = Arc::new(Revocations::open(store.clone(), clock.clone()).await?);
    let revoke: crate::auth::RevokeCallback = {
        let hub = hub.clone();
        Arc::new(move |revocation, reason| hub.close(&revocation, reason))
    };
    tokio::spawn(revocations.clone().watch(revoke.clone()));
    let recheck = Arc::new(Recheck::new(clock.clone(), revoke.clone()));
    tokio::spawn(recheck.clone().run());
    let context = AuthContext {
        namespace: None,
        implications: Default::default(),
        profiles: plan
            .profiles
            .iter()
            .filter_map(|loaded| Some((loaded.profile.namespace()?.to_owned(), loaded.profile.implications().clone())))
            .collect(),
        store: store.clone(),
        clock: clock.clone(),
        revocations: revocations.clone(),
        recheck: recheck.clone(),
        client: Client::new(),
        jobs: Some(jobs),
        base: settings.base.clone(),
    };
    let open: Arc<dyn Authenticate> =
        Arc::new(Authenticator::new(&settings.auth, context.clone()).map_err(|error| format!("[auth] {error}"))?);
    let mut profiles: BTreeMap<String, Arc<dyn Authenticate>> = BTreeMap::new();
    for loaded in &plan.profiles {
        let context = AuthContext {
            namespace: loaded.profile.namespace().map(Into::into),
            implications: loaded.profile.implications().clone(),
            base: loaded.base.clone(),
            ..context.clone()
        };
        let name = loaded.profile.name();
        let door =
            Authenticator::new(&loaded.auth, context).map_err(|error| format!("profile {name}: [auth] {error}"))?;
        profiles.insert(name.to_owned(), Arc::new(door));
    }
    let credentials = settings.auth.query_parameters().map(str::to_owned).collect();
    Ok(Doors { open, profiles, revocations, revoke, recheck, store, clock, credentials })
}

/// The program's own streams. A path that a profile has taken is the profile's.
const OPEN: [(&[&str], Answer); 4] = [
    (&["/v1/events"], Answer::Sse),
    (&["/v1/poll"], Answer::Poll),
    (&["/v1/ws"], Answer::WebSocket),
    (&["/socket.io", "/socket.io/"], Answer::SocketIo),
];

/// Those streams, and those of each profile.
pub(crate) fn mounts(settings: &Settings, plan: &Plan, doors: &Doors) -> Vec<Mount> {
    let open = Arc::new(Profile::open());
    let v1 = StreamSettings {
        cors: settings.api.cors.clone(),
        heartbeat_every: settings.api.heartbeat_every,
        retry: settings.api.retry,
        drain_retry: settings.drain.retry,
        ..StreamSettings::default()
    };
    let mount = |path: &str, answer, stream: &Arc<Stream>, auth: &Arc<dyn Authenticate>| Mount {
        path: path.to_owned(),
        answer,
        stream: stream.clone(),
        auth: auth.clone(),
    };
    let mut mounts = Vec::new();
    for (paths, answer) in OPEN {
        let stream = stream(answer, v1.clone(), open.clone());
        let free = paths.iter().filter(|path| !plan.serves(path));
        mounts.extend(free.map(|path| mount(path, answer, &stream, &doors.open)));
    }
    // Of one job each.
    let of_job = StreamSettings { job: Some(OneJob::default()), ..v1 };
    mounts.push(mount("/v1/jobs/{job}/events", Answer::Sse, &stream(Answer::Sse, of_job, open), &doors.open));
    for loaded in &plan.profiles {
        let auth = &doors.profiles[loaded.profile.name()];
        for served in &loaded.mounts {
            let (answer, own) = match &served.transport {
                Transport::Sse(own) => (Answer::Sse, own),
                Transport::Poll(own) => (Answer::Poll, own),
                Transport::WebSocket(own) => (Answer::WebSocket, own),
                Transport::SocketIo(own) => (Answer::SocketIo, own),
                Transport::Ready(_) | Transport::Health(_) | Transport::Desk(_) => continue,
            };
            let own = StreamSettings { drain_retry: settings.drain.retry, ..own.clone() };
            let stream = stream(answer, own, loaded.profile.clone());
            mounts.extend(served.paths.iter().map(|path| mount(&path.path, answer, &stream, auth)));
        }
    }
    mounts
}

/// The streams of the mounts with their paths, and how their clients are answered.
pub(crate) fn streams(mounts: &[Mount]) -> MountedStreams {
    let transport = |mount: &Mount| match mount.answer {
        Answer::Sse => "sse",
        Answer::Poll => "poll",
        Answer::WebSocket => "websocket",
        Answer::SocketIo => "socketio",
    };
    mounts.iter().map(|mount| (mount.path.clone(), transport(mount), mount.stream.clone())).collect()
}

/// The profiles as operators are shown them, the built-in one last.
pub(crate) fn shown_profiles(plan: &Plan, streams: &MountedStreams) -> Vec<ShownProfile> {
    let served = plan.profiles.iter().map(|loaded| ShownProfile::new(&loaded.profile, &loaded.description, streams));
    let open = ShownProfile::new(&Profile::open(), "Any event, on any topic, for whom the publisher names.", streams);
    served.chain([open]).collect()
}

/// Where the clients of each profile deal with jobs.
pub(crate) fn desks(plan: &Plan, doors: &Doors) -> Vec<Arc<Desk>> {
    let mut desks = Vec::new();
    for loaded in &plan.profiles {
        let auth = &doors.profiles[loaded.profile.name()];
        let mut shared: BTreeMap<&str, Arc<Rates>> = BTreeMap::new();
        for served in &loaded.mounts {
            let Transport::Desk(settings) = &served.transport else { continue };
            let paths = served.paths.iter().map(|path| path.path.as_str());
            let rates = settings.rate.map(|rate| match served.shared_rate.as_deref() {
                Some(name) => shared.entry(name).or_insert_with(|| Arc::new(Rates::new(rate))).clone(),
                None => Arc::new(Rates::new(rate)),
            });
            desks.extend(Desk::counted(paths, settings, &loaded.profile, auth, rates));
        }
    }
    desks
}

/// Streams that clients who are answered so can hold.
fn stream(answer: Answer, settings: StreamSettings, profile: Arc<Profile>) -> Arc<Stream> {
    let codec = match answer {
        Answer::Sse | Answer::Poll => Codec::Sse,
        Answer::WebSocket => Codec::WebSocket,
        Answer::SocketIo => Codec::SocketIo,
    };
    Stream::with_codec(codec, settings, profile)
}

/// The side endpoints of the profiles, each with the streams that it counts.
pub(crate) fn sides(plan: &Plan, mounts: &[Mount]) -> Vec<Side> {
    let mut sides = Vec::new();
    for loaded in &plan.profiles {
        let mut streams: Vec<Arc<Stream>> = Vec::new();
        for mount in mounts.iter().filter(|mount| mount.stream.profile.name() == loaded.profile.name()) {
            if !streams.iter().any(|stream| stream.id == mount.stream.id) {
                streams.push(mount.stream.clone());
            }
        }
        for served in &loaded.mounts {
            let (ready, lives) = match &served.transport {
                Transport::Ready(ready) => (ready, false),
                Transport::Health(ready) => (ready, true),
                _ => continue,
            };
            sides.extend(served.paths.iter().map(|path| Side {
                path: path.path.clone(),
                ready: ready.clone(),
                lives,
                streams: streams.clone(),
            }));
        }
    }
    sides
}

pub(crate) fn publishing(plan: &Plan, doors: &Doors) -> Publishing {
    let open = Arc::new(Profile::open());
    let mut profiles: BTreeMap<_, _> =
        plan.profiles.iter().map(|loaded| (loaded.profile.name().to_owned(), loaded.profile.clone())).collect();
    // With one app beside it, a publisher need not say which.
    let default = match &plan.profiles[..] {
        [only] => only.profile.clone(),
        _ => open.clone(),
    };
    profiles.entry(open.name().to_owned()).or_insert(open);
    Publishing { path: "/v1/publish".into(), auth: doors.open.clone(), profiles, default }
}
