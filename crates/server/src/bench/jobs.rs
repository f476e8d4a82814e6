//! Running jobs with a watcher each: what it costs to tell of progress that comes faster than anybody looks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Failure;
use super::fleet::Fleet;
use super::publisher::response;
use super::report::{Report, milliseconds};
use super::target::Target;

/// The options of `jobs`.
#[derive(Debug, clap::Args)]
pub struct JobsArgs {
    /// How many jobs run, each with one watcher
    #[arg(long, default_value_t = 10_000)]
    jobs: usize,
    /// How often each says how far it is, per second
    #[arg(long, default_value_t = 10.0)]
    updates: f64,
    /// For how long, in seconds
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How many requests are under way at once while jobs are made, claimed and ended
    #[arg(long, default_value_t = 16)]
    workers: usize,
}

/// How many updates go in one request.
const BATCH: usize = 500;
/// The kind of the jobs: nobody else's worker takes them.
const KIND: &str = "bench";

pub fn measure(target: &Target, args: &JobsArgs) -> Result<Report, Failure> {
    let mut report = Report::new(format!("jobs-{}", args.jobs));
    let run = run_id()?;
    let begin = Instant::now();
    let leases = make(target, args, &run)?;
    report.set_ratio("made_and_claimed_per_s", args.jobs as f64, begin.elapsed().as_secs_f64());

    let watched = target.listening_at("/v1/jobs/{topic}/events");
    let mut fleet = Fleet::new(&watched, 1)?;
    let every = Duration::from_secs_f64(1.0 / args.updates.max(0.01));
    fleet.watches = Some(every);
    fleet.open(args.jobs, 256, |index| leases[index].0.clone())?;
    fleet.add_publishers(4)?;
    fleet.rest(Duration::from_millis(300))?;

    // Buffers grow to their size and pages are touched before the clock starts.
    let mut round = 0;
    offer(&mut fleet, &leases, every, Duration::from_secs(1), &mut round)?;
    fleet.tally.latency = Default::default();
    fleet.tally.shown = Default::default();
    let (cpu, before, begin) = (target.process.cpu()?, fleet.tally.delivered, Instant::now());
    let offered = offer(&mut fleet, &leases, every, Duration::from_secs_f64(args.seconds), &mut round)?;
    let elapsed = begin.elapsed();
    let cpu = target.process.cpu()? - cpu;
    let told = fleet.tally.delivered - before;
    report.set("offered_per_s", offered as f64 / elapsed.as_secs_f64());
    report.set("told_per_s", told as f64 / elapsed.as_secs_f64());
    if target.process.is_known() {
        report.set("cores", cpu.as_secs_f64() / elapsed.as_secs_f64());
        report.set_ratio("cpu_us_per_told", cpu.as_secs_f64() * 1e6, told as f64);
    }
    report.set("shown_after_p50_ms", milliseconds(fleet.tally.shown.at(0.5)));
    report.set("shown_after_p99_ms", milliseconds(fleet.tally.shown.at(0.99)));
    report.set("shown_after_max_ms", milliseconds(fleet.tally.shown.at(1.0)));

    // The last of each is shown in the end, whatever was passed over.
    fleet.rest(Duration::from_millis(600))?;
    let last = round;
    let behind = fleet.missing(|_, _| last);
    let begin = Instant::now();
    let (ending, leases) = (target.clone(), leases);
    let workers = args.workers;
    let ended = std::thread::spawn(move || end(&ending, &leases, workers).map_err(|error| error.to_string()));
    let told = |fleet: &Fleet<'_>| fleet.subscribers.iter().filter(|watcher| watcher.progress.ends > 0).count();
    let mut quiet_since = Instant::now();
    let mut seen = 0;
    while told(&fleet) < args.jobs && quiet_since.elapsed() < Duration::from_secs(10) {
        fleet.turn(Duration::from_millis(20))?;
        if told(&fleet) > seen {
            (seen, quiet_since) = (told(&fleet), Instant::now());
        }
    }
    ended.join().map_err(|_| "a thread that ended the jobs panicked")??;
    report.set_ratio("ended_per_s", args.jobs as f64, begin.elapsed().as_secs_f64());
    fleet.rest(Duration::from_millis(200))?;
    let ends: u32 = fleet.subscribers.iter().map(|watcher| watcher.progress.ends).sum();
    report.set("lost", behind as f64 + (args.jobs - told(&fleet)) as f64);
    report.set("repeated", f64::from(ends) - told(&fleet) as f64);
    Ok(report)
}

/// Offers each job's progress once in `every`, in batches spread over it, for `period`. Says how many updates that were.
fn offer(
    fleet: &mut Fleet<'_>,
    leases: &[(String, String)],
    every: Duration,
    period: Duration,
    round: &mut u32,
) -> Result<u64, Failure> {
    let batches: Vec<&[(String, String)]> = leases.chunks(BATCH).collect();
    let step = every / batches.len() as u32;
    let begin = Instant::now();
    let (mut due, mut offered) = (begin, 0);
    while begin.elapsed() < period {
        *round += 1;
        for (index, batch) in batches.iter().enumerate() {
            loop {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                fleet.turn(left.saturating_sub(Duration::from_millis(2)))?;
            }
            due += step;
            let mut body = Vec::with_capacity(batch.len() * 260);
            let payload = fleet.stamp(0, *round);
            for (job, lease) in *batch {
                let head =
                    format!("{{\"job\":\"{job}\",\"lease\":\"{lease}\",\"done\":{round},\"total\":1000000,\"item\":");
                body.extend_from_slice(head.as_bytes());
                payload.write(&mut body, fleet.target.payload_bytes);
                body.extend_from_slice(b"}\n");
            }
            offered += batch.len() as u64;
            let request = fleet.target.request("/v1/jobs/progress", "application/x-ndjson", &body, None);
            let publishers = fleet.publishers.len();
            fleet.publishers[index % publishers].send(&request)?;
        }
    }
    fleet.settle_publishers()?;
    Ok(offered)
}

/// Another name for each run, so that one hub can be measured twice.
fn run_id() -> Result<String, Failure> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(format!("{:08x}", u32::from_ne_bytes(random)))
}

/// Makes the jobs and claims each: its id and its lease.
fn make(target: &Target, args: &JobsArgs, run: &str) -> Result<Vec<(String, String)>, Failure> {
    let kind = format!("{KIND}-{run}");
    let claimed = in_parallel(args.workers, args.jobs, |client, index| {
        let job = format!("{{\"kind\":\"{kind}\",\"id\":\"{kind}-{index}\",\"lease\":\"600s\"}}");
        client.post(target, "/v1/jobs", job.as_bytes(), None)?;
        let claim = format!("{{\"kinds\":[\"{kind}\"],\"wait\":\"10s\"}}");
        let claimed: Value = serde_json::from_slice(&client.post(target, "/v1/jobs/claim", claim.as_bytes(), None)?)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match (text(&claimed["job"]["id"]), text(&claimed["lease"])) {
            (Some(id), Some(lease)) => Ok((id, lease)),
            _ => Err("a claim was answered without a job".into()),
        }
    })?;
    Ok(claimed)
}

fn end(target: &Target, leases: &[(String, String)], workers: usize) -> Result<(), Failure> {
    in_parallel(workers, leases.len(), |client, index| {
        let (id, lease) = &leases[index];
        client.post(target, &format!("/v1/jobs/{id}/complete"), b"{}", Some(lease)).map(drop)
    })
    .map(drop)
}

/// Does something for each index, so many at once.
fn in_parallel<T: Send>(
    workers: usize,
    count: usize,
    each: impl Fn(&mut Client, usize) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers.max(1))
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut done) = (Client::default(), Vec::new());
                    loop {
                        let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if index >= count {
                            return Ok(done);
                        }
                        done.push(each(&mut client, index).map_err(|error| error.to_string())?);
                    }
                })
            })
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join().map_err(|_| "a worker panicked".to_owned())?);
        joined.collect::<Result<Vec<Vec<T>>, String>>()
    })?;
    Ok(done.into_iter().flatten().collect())
}

/// One keep-alive connection on which one request follows another.
#[derive(Default)]
struct Client {
    stream: Option<TcpStream>,
}

impl Client {
    /// The body of the answer; one that is no success is an error.
    fn post(&mut self, target: &Target, path: &str, body: &[u8], bearer: Option<&str>) -> Result<Vec<u8>, Failure> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(target.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                none.insert(stream)
            }
        };
        stream.write_all(&target.request(path, "application/json", body, bearer))?;
        let (mut received, mut buffer) = (Vec::new(), [0; 8 << 10]);
        loop {
            if let Some((status, length)) = response(&received)? {
                let answer = &received[..length];
                if !(200..300).contains(&status) {
                    return Err(format!("{path} was refused: {}", String::from_utf8_lossy(answer)).into());
                }
                let from = memchr::memmem::find(answer, b"\r\n\r\n").map_or(length, |end| end + 4);
                return Ok(answer[from..].to_vec());
            }
            match stream.read(&mut buffer)? {
                0 => return Err("the server closed the connection".into()),
                read => received.extend_from_slice(&buffer[..read]),
            }
        }
    }
}
