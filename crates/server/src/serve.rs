//! `tidings serve`: puts the parts together, runs them, and takes them down in order.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidings::job::{JobFiles, JobSettings, JobStore, Jobs};
use tidings::{Broker, BrokerError, Clock, Hub, Standing, SystemClock};
use tidings_brokers::state::StateStore;
use tidings_transports::{Acceptor, Cors, Lanes, Limiter, Service};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::assemble::{self, Doors};
use crate::auth::settings::{AnonymousGrants, AnonymousSettings, PublishSettings};
use crate::console::EMBEDDED;
use crate::descriptors;
use crate::idempotency::IdempotencyKeys;
use crate::inspect::{self, Inspector, Sampler, Topics};
use crate::profile::Plan;
use crate::routes::{self, RouteOptions};
use crate::settings::{LogFormat, Settings};
use crate::storage::{self, Storage, patiently};
use crate::tls::Tls;

/// `tidings serve`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// The settings; `tidings default-config` prints them with every default
    #[arg(long, value_name = "FILE", env = "TIDINGS_CONFIG")]
    pub config: Option<PathBuf>,
    /// For trying out: whoever reaches it may read and publish everything. Listens on this machine only
    #[arg(long)]
    pub dev: bool,
    /// Listen here instead of at the addresses of the settings; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<SocketAddr>,
    /// Keep the log and the database here instead of where the settings say
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Why the program did not start, or ended: a sentence for whoever started it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure(error.to_string())
    }
}

/// Runs the hub until it is told to stop.
pub fn run(args: ServeArgs) -> ExitCode {
    let settings = match load(&args) {
        Ok(settings) => settings,
        Err(Failure(sentence)) => {
            eprintln!("{}", sentence.trim_end());
            return ExitCode::from(2);
        }
    };
    start_log(&settings);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(serve(settings, args.dev, &place(&args), cores)),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(sentence)) => {
            eprintln!("{}", sentence.trim_end());
            ExitCode::FAILURE
        }
    }
}

fn load(args: &ServeArgs) -> Result<Settings, Failure> {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let mut settings = Settings::load(args.config.as_deref()).map_err(|report| report.render(colours))?;
    if !args.listen.is_empty() {
        settings.listen.http = args.listen.clone();
    }
    match &args.data {
        Some(dir) => settings.data.dir = dir.clone(),
        None => settings.data.dir = settings.base.join(&settings.data.dir),
    }
    if args.dev {
        let open =
            settings.listen.http.iter().chain(&settings.listen.https).find(|address| !address.ip().is_loopback());
        if let Some(address) = open {
            return Err(Failure(format!(
                "--dev lets whoever reaches it read and publish everything, so it listens on this machine only, and not on {address}.\n\
                 Leave --dev away, make a key with `tidings key create`, or listen on 127.0.0.1."
            )));
        }
        // Pages that are being written come from another port of this machine.
        if settings.api.cors == Cors::Same {
            let hosts = ["localhost", "127.0.0.1", "[::1]"];
            settings.api.cors = Cors::Origins(hosts.map(|host| format!("http://{host}:*")).into());
        }
        settings.auth.anonymous = AnonymousSettings::Grants(AnonymousGrants {
            grants: vec!["**".into()],
            publish: PublishSettings::All,
            operator: true,
        });
    }
    Ok(settings)
}

fn start_log(settings: &Settings) {
    // What the client of NATS says beside its warnings, the engine says in better words; who names it hears all.
    let level = match settings.log.level.contains("async_nats") {
        true => settings.log.level.clone(),
        false => format!("{},async_nats=warn", settings.log.level),
    };
    // These write down how it logs in.
    let level = format!("{level},async_nats::connector=warn,async_nats::connection=warn");
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second start in one process, as in tests, keeps the first log.
    let _ = match settings.log.format {
        LogFormat::Text => log.with_ansi(colours).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

async fn serve(mut settings: Settings, dev: bool, place: &str, cores: usize) -> Result<(), Failure> {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let plan = Plan::load(&settings).map_err(|report| report.render(colours))?;
    let tls = Tls::load(&settings.tls, &settings.base)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Told as soon as possible: a signal that comes during the start ends it in order as well.
    let mut stop = Stop::listen()?;

    match descriptors::raise_limit() {
        Ok(most) if most < settings.limits.connections as u64 + 64 => tracing::info!(
            "the system lets this process have {most} files open, and each stream needs one; LimitNOFILE or `ulimit -Hn` raise it"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }

    let Storage { broker, state, jobs, files, recovery, log, promises, mut replaced, before_missed } = tokio::select! {
        opened = storage::open(&mut settings, clock.clone()) => opened?,
        () = stop.wait() => return Ok(()),
    };
    let is_shared = broker.standing() != Standing::Alone;
    let kept = Kept { broker, state, jobs, files };
    let (hub, service, doors) = tokio::select! {
        begun = begin(&settings, &plan, kept, clock, cores) => begun?,
        () = stop.wait() => return Ok(()),
        why = &mut replaced => return Err(begin_anew(&why)),
    };
    before_missed({
        let (revocations, revoke, service) = (doors.revocations.clone(), doors.revoke.clone(), service.clone());
        Box::new(move || {
            let (revocations, revoke, service) = (revocations.clone(), revoke.clone(), service.clone());
            Box::pin(async move {
                revocations.catch_up(&revoke).await;
                service.settle().await;
            })
        })
    });
    let mounts = assemble::mounts(&settings, &plan, &doors);
    let sides = assemble::sides(&plan, &mounts);
    let publishing = assemble::publishing(&plan, &doors);
    let desks = assemble::desks(&plan, &doors);
    let upload_bytes = settings.jobs.upload_bytes;
    let streams = assemble::streams(&mounts);
    let sampler = Sampler::new(service.clone(), streams.clone());
    tokio::spawn(sampler.clone().run());
    let topics = Topics::new(hub.clone());
    tokio::spawn(topics.clone().run());
    let cors = settings.api.cors.clone();
    let inspector = Arc::new(Inspector {
        service: service.clone(),
        door: doors.open.clone(),
        credentials: doors.credentials.clone(),
        sampler,
        topics,
        log,
        profiles: plan.profiles.iter().map(|loaded| loaded.profile.name().to_owned()).collect(),
        shown_profiles: inspect::all_profiles(&assemble::shown_profiles(&plan, &streams)),
        dev,
        cors: cors.clone(),
    });
    let (page, console) = (settings.api.page, settings.api.console);
    let options = RouteOptions { recovery, page, console, dev, upload_bytes, cors, streams, inspector };
    let router = routes::router(&service, mounts, publishing, sides, desks, doors, options);

    let (stop_accepting, stopped) = watch::channel(false);
    let acceptor = Acceptor::new(service.clone(), router, stopped);
    let mut accepting = Vec::new();
    let mut addresses = Vec::new();
    for address in &settings.listen.http {
        let (listener, bound) = bind(*address).await?;
        addresses.push(format!("http://{bound}"));
        accepting.push(tokio::spawn(acceptor.clone().run(listener)));
    }
    if let Some(tls) = tls {
        for address in &settings.listen.https {
            let (listener, bound) = bind(*address).await?;
            addresses.push(format!("https://{bound}"));
            accepting.push(tokio::spawn(acceptor.clone().run_with(listener, tls.clone())));
        }
    }
    promises.iter().for_each(|promise| tracing::info!("{promise}"));
    greet(&addresses, dev, place, &plan, console && !EMBEDDED.is_empty());
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let replaced = tokio::select! {
        () = stop.wait() => None,
        why = &mut replaced => Some(why),
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    match &replaced {
        None => tracing::info!("told to stop: sending the streams away"),
        Some(why) => tracing::error!("{why}: sending the streams away, to begin anew"),
    }
    tokio::select! {
        () = drain(&service, &hub, settings.drain.delay, || is_shared && stop_accepting.send(true).is_ok()) => {}
        () = stop.wait() => tracing::warn!("told to stop again: not waiting for the streams"),
    }
    let _ = stop_accepting.send(true);
    for task in accepting {
        let _ = task.await;
    }
    tokio::select! {
        () = let_requests_end(&service) => {}
        () = stop.wait() => tracing::warn!("told to stop again: not waiting for the requests"),
    }
    tracing::info!("stopped");
    match replaced {
        None => Ok(()),
        Some(why) => Err(begin_anew(&why)),
    }
}

/// What was opened, for what stands on it.
struct Kept {
    broker: Arc<dyn Broker>,
    state: Arc<dyn StateStore>,
    jobs: Arc<dyn JobStore>,
    files: Arc<dyn JobFiles>,
}

/// Puts the hub, its jobs and its doors on what was opened. What fails because NATS is away is tried until it is back.
async fn begin(
    settings: &Settings,
    plan: &Plan,
    Kept { broker, state, jobs, files }: Kept,
    clock: Arc<dyn Clock>,
    cores: usize,
) -> Result<(Arc<Hub>, Arc<Service>, Doors), Failure> {
    let is_shared = broker.standing() != Standing::Alone;
    let profiles: Vec<_> = plan.profiles.iter().map(|loaded| loaded.profile.clone()).collect();
    let open_hub = || Hub::open(broker.clone(), profiles.clone(), clock.clone(), settings.limits.clone());
    let hub = patiently(open_hub, |error| is_shared && matches!(error, BrokerError::Unavailable(_))).await?;
    let lanes = match settings.lanes.count {
        0 => cores,
        count => count,
    };
    let lanes = Lanes::start(&hub, lanes, &tokio::runtime::Handle::current())?;
    let waits = profiles.iter().flat_map(|profile| profile.rules()).filter_map(|rule| rule.coalesce);
    let longest_wait = waits.map(|coalesce| coalesce.max_wait).max().unwrap_or_default();
    let idempotency = IdempotencyKeys::open(state.clone(), broker, clock.clone(), longest_wait).await?;
    let trusted = settings.proxy.trusted.clone();
    let limiter =
        Limiter::behind(&settings.limits, Box::new(move |peer| crate::auth::proxy_header::is_in(&trusted, peer)));
    let engine = JobSettings { kinds: plan.kinds(), ..settings.jobs.engine() };
    let jobs = patiently(|| Jobs::open(hub.clone(), jobs.clone(), engine.clone()), |_| is_shared).await?;
    let service = Service::limited(hub.clone(), Some(lanes), Some(Arc::new(idempotency)), limiter, Some(jobs.clone()));
    tokio::spawn(tidings_transports::jobs::files::sweep(files.clone(), Arc::downgrade(&jobs)));
    service.keep_files(files);
    let doors = assemble::open_doors(settings, plan, &hub, state, clock, jobs).await?;
    Ok((hub, service, doors))
}

/// Whoever looks after the program starts it again: what it held of the old history is no longer so.
fn begin_anew(why: &str) -> Failure {
    format!("{why}. Start it again: its clients are told of a gap").into()
}

/// `/ready` says no, then the streams end one after the other; returns when the last has, or at the latest after twice the window.
async fn drain(service: &Service, hub: &Hub, delay: Duration, close_doors: impl FnOnce() -> bool) {
    service.draining.store(true, Ordering::SeqCst);
    tokio::time::sleep(delay).await;
    if close_doors() {
        // Who comes now finds another replica at once, instead of a stream here that is sent away a moment later.
        tracing::info!("no connections are accepted any more");
    }
    hub.drain();
    let deadline = tokio::time::Instant::now() + 2 * hub.limits().drain_window;
    while service.open_streams() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns when the requests that were under way are answered, or at the latest after one more window.
async fn let_requests_end(service: &Service) {
    let deadline = tokio::time::Instant::now() + service.hub.limits().drain_window;
    while service.limiter.open() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let family = if address.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
    let listen = || -> std::io::Result<TcpListener> {
        let socket = socket2::Socket::new(family, socket2::Type::STREAM, None)?;
        // Else a restart has to wait for the last connections to time out.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        // Everybody comes back at once after a restart.
        socket.listen(4096)?;
        TcpListener::from_std(socket.into())
    };
    let listener = listen().map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} is taken: another program listens there. Give another with --listen, for example --listen 127.0.0.1:0 for a free one")
        }
        _ => format!("can't listen on {address}: {error}"),
    })?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Says where it is and what to do next.
fn greet(addresses: &[String], dev: bool, place: &str, plan: &Plan, console: bool) {
    let mut out = String::new();
    for address in addresses {
        out.push_str(&format!("listening on {address}\n"));
    }
    for loaded in &plan.profiles {
        let paths: Vec<_> =
            loaded.mounts.iter().flat_map(|mount| &mount.paths).map(|path| path.path.as_str()).collect();
        out.push_str(&format!("serving {} at {}\n", loaded.profile.name(), paths.join(", ")));
    }
    if let Some(address) = addresses.first() {
        let key = if dev { "" } else { " -H 'Authorization: Bearer <key>'" };
        let one_app = if plan.profiles.len() == 1 { "?profile=default" } else { "" };
        out.push_str(&format!(
            "\nlisten:   curl -N{key} '{address}/v1/events?topic=hello/*'\n\
             publish:  curl{key} --json '{{\"name\":\"greeting\",\"topic\":\"hello/world\",\"data\":{{\"text\":\"hi\"}}}}' '{address}/v1/publish{one_app}'\n\
             look:     {address}/\n"
        ));
        if console {
            out.push_str(&format!("console:  {address}/console\n"));
        }
        if !dev {
            out.push_str(&format!("key:      tidings key create{place} --name me --grant '**' --publish\n"));
        }
    }
    let mut stdout = std::io::stdout().lock();
    // A closed standard output is no reason not to serve.
    let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
}

/// The options by which another command finds what this hub keeps.
fn place(args: &ServeArgs) -> String {
    let given = [("--config", &args.config), ("--data", &args.data)];
    let given = given.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?.display().to_string())));
    given.map(|(name, path)| format!(" {name} {}", in_a_shell(&path))).collect()
}

/// The word as it is pasted into a shell.
fn in_a_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The signals that end the program.
struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Stop { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

/// Whether a `Host` header names this machine: in `--dev`, a page of another site that made its name point here gets nothing.
pub(crate) fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_where_the_hub_that_says_how_will_look() {
        let args = |config: Option<&str>, data: Option<&str>| ServeArgs {
            config: config.map(Into::into),
            dev: false,
            listen: Vec::new(),
            data: data.map(Into::into),
        };
        assert_eq!(place(&args(None, None)), "");
        assert_eq!(
            place(&args(Some("server.toml"), Some("/var/lib/tidings"))),
            " --config server.toml --data /var/lib/tidings"
        );
        assert_eq!(place(&args(None, Some("it's a \"$HOME\""))), r#" --data 'it'\''s a "$HOME"'"#);
    }
}
