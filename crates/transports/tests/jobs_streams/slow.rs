//! Sockets that take little and late: what they are given of a job in the end is the same.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidings::job::JobId;
use tidings::{Filter, Grants, Limits, Principal, Profile};
use tidings_transports::handover::Granted;
use tidings_transports::lane::Opening;
use tidings_transports::stream::OneJob;
use tidings_transports::{Stream, StreamSettings};
use tokio::io::AsyncReadExt;

use crate::common::Driver;
use crate::rig::{Rig, Setup};

/// The other end of a stream.
struct Reader {
    socket: tokio::net::UnixStream,
    bytes: Vec<u8>,
}

impl Reader {
    /// A stream of the job on a socket whose buffer holds about `room` bytes. It is a Unix socket: the kernel gives its buffers no more
    /// than was asked for.
    fn open(rig: &Rig, stream: &Arc<Stream>, id: &JobId, room: usize) -> Reader {
        let (ours, theirs) = UnixStream::pair().unwrap();
        socket2::SockRef::from(&ours).set_send_buffer_size(room).unwrap();
        for socket in [&ours, &theirs] {
            socket.set_nonblocking(true).unwrap();
        }
        let topic = format!("job/{id}");
        let granted = Granted {
            principal: Arc::new(Principal::new("u", Grants::parse([&*topic]).unwrap(), "test")),
            filter: Filter::topics([topic.parse().unwrap()]),
            stream: stream.clone(),
            start: rig.hub.start(None),
            ends: Vec::new(),
            since: rig.hub.moment(),
            permit: rig.service.limiter.accept("127.0.0.1".parse().unwrap()).unwrap(),
        };
        let socket = std::net::TcpStream::from(OwnedFd::from(ours));
        rig.service.lanes.as_ref().unwrap().open(Opening { socket, head: bytes::Bytes::new(), granted });
        Reader { socket: tokio::net::UnixStream::from_std(theirs).unwrap(), bytes: Vec::new() }
    }

    /// Takes at most `most` bytes of what is there.
    fn take(&mut self, most: usize) {
        let mut chunk = vec![0; most];
        if let Ok(read) = self.socket.try_read(&mut chunk) {
            self.bytes.extend_from_slice(&chunk[..read]);
        }
    }

    /// The names of all events, once it has ended; with the data of the last two.
    async fn rest(mut self) -> (Vec<String>, Vec<String>) {
        let rest = tokio::time::timeout(Duration::from_secs(60), self.socket.read_to_end(&mut self.bytes));
        rest.await.expect("the stream ends").unwrap();
        let text = String::from_utf8(self.bytes).unwrap();
        assert!(text.ends_with("\n\n"), "it ends within a block: {text:?}");
        let field = |block: &str, name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned)
        };
        let blocks: Vec<&str> = text.split_terminator("\n\n").collect();
        let names = blocks.iter().filter_map(|block| field(block, "event: ")).collect();
        let data: Vec<String> = blocks.iter().filter_map(|block| field(block, "data: ")).collect();
        (names, data)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Progress,
    /// Some items of so many bytes are told.
    Items(usize, usize),
    /// Events that are of no concern to it: the window moves on.
    Others(usize),
    /// It takes so many bytes.
    Take(usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Progress),
        3 => (1usize..12, 1usize..4_000).prop_map(|(count, bytes)| Step::Items(count, bytes)),
        1 => (1usize..30).prop_map(Step::Others),
        3 => (1usize..6_000).prop_map(Step::Take),
        2 => Just(Step::Wait),
    ]
}

async fn life(script: &[Step], end: usize, room: usize, window: usize, write_bytes: usize) {
    let limits = Limits { window_events: window, turn_bytes: 8_000, write_bytes, ..Limits::default() };
    let rig = Rig::with(Driver::Lanes, Setup { limits, ..Setup::default() }).await;
    let settings = StreamSettings { job: Some(OneJob::default()), ..StreamSettings::default() };
    let stream = Stream::new(settings, Arc::new(Profile::open()));
    let work = rig.work("import").await;
    let mut reader = Reader::open(&rig, &stream, &work.id, room);
    let (mut done, mut items) = (0, 0u64);
    for step in script {
        match *step {
            Step::Progress => {
                done += 1;
                work.progress(done);
            }
            Step::Items(count, bytes) => {
                let some: Vec<_> = (0..count).map(|_| "i".repeat(bytes).into()).collect();
                work.items(items, &some, true).await;
                items += count as u64;
            }
            Step::Others(count) => {
                let others = (0..count as u64).map(|n| crate::common::event("other", "all", n));
                rig.hub.publish(others.collect()).await.unwrap();
            }
            Step::Take(most) => reader.take(most),
            Step::Wait => tokio::task::yield_now().await,
        }
    }
    work.complete_with(end).await;
    let told_after = crate::common::event(&format!("job/{}", work.id), &format!("job/{}", work.id), 7);
    rig.hub.publish(vec![told_after]).await.unwrap();
    let (names, data) = reader.rest().await;
    let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count() as u64;
    assert_eq!((count("job.completed"), count("job.item"), count("n")), (1, items, 0), "{names:?}");
    let [.., last, close] = &data[..] else { panic!("too little: {names:?}") };
    let last: serde_json::Value = serde_json::from_str(last).expect("the end comes whole");
    assert_eq!((&last["state"], last["result"].as_str().unwrap().len()), (&"completed".into(), end));
    assert_eq!(names.last().unwrap(), "tidings.close");
    assert!(close.contains("4007"), "{close}");
    rig.until("it is gone", |rig| rig.service.limiter.open() == 0).await;
    assert_eq!(rig.service.counters().behind.load(std::sync::atomic::Ordering::Relaxed), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Wherever a write is cut and however far the reader falls behind, it is given every item once, the end whole, why it is over, and
    /// nothing more.
    #[test]
    fn however_little_a_socket_takes_it_is_given_the_end_whole(
        script in prop::collection::vec(step(), 0..30),
        end in prop_oneof![1usize..300, 1usize..60_000],
        room in 2_000usize..20_000,
        window in prop_oneof![Just(2usize), Just(8), Just(10_000)],
        write_bytes in prop_oneof![Just(4_000usize), Just(256_000)],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(life(&script, end, room, window, write_bytes));
    }
}
