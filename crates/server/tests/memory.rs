//! Connections that have ended leave no memory behind.

mod program;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use program::{Http, PATIENCE, Program, serve, until};
use socket2::{Domain, Socket, Type};

/// How many connections are open at once: fewer than the files a process may have open.
const AT_ONCE: usize = 2_000;

/// The allocator gives back at once what it has no use for, so that what is measured is what is held, whenever that is.
const GIVES_BACK: (&str, &str) = ("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");

fn open_streams(program: &Program, transport: &str) -> u64 {
    program.get("/ready").json()["streams"][transport].as_u64().expect("it counts them")
}

/// Opens streams with different topics and places, and drops them all.
fn wave(program: &Program, number: usize) {
    let mut streams = Vec::with_capacity(AT_ONCE);
    for index in 0..AT_ONCE {
        let mut http = Http::connect(program.address).expect("it listens");
        let target = format!("/v1/events?topic=wave/{number}/{index}");
        http.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).expect("it reads");
        streams.push(http);
    }
    for http in &mut streams {
        assert_eq!(http.head().expect("it answers").0, 200);
    }
    until("all are open", || open_streams(program, "sse") == AT_ONCE as u64);
    drop(streams);
    until("all are forgotten", || open_streams(program, "sse") == 0);
}

#[test]
fn twenty_thousand_streams_come_and_go_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path());
    let program = Program::start(command.arg("--dev").env(GIVES_BACK.0, GIVES_BACK.1));
    // What the program makes room for once, it keeps for the next: so it is measured after the first two waves.
    wave(&program, 0);
    wave(&program, 1);
    let before = program.resident();
    for number in 2..12 {
        wave(&program, number);
    }
    let mut grown = 0;
    // The last of them are freed a moment after they are counted.
    until("less than 200 bytes are left of each stream, which is less than the least of its parts", || {
        grown = program.resident().saturating_sub(before);
        grown < 4_000_000
    });
    println!("{} KiB before, {} KiB more after 20,000 streams", before / 1024, grown / 1024);
}

/// How far a client comes before it is gone.
#[derive(Clone, Copy)]
enum Course {
    /// A WebSocket with a subscription.
    WebSocket,
    /// Socket.IO over WebSocket, connected to its namespace.
    SocketIo,
    /// Socket.IO by long-polling, connected, while a poll waits.
    Polling,
    /// A session that has opened a WebSocket to move to, and then neither moves nor polls.
    HalfMoved,
    /// Half the head of a handshake.
    HalfHandshake,
    /// A handshake, and half a message.
    HalfMessage,
}

impl Course {
    fn of(index: usize) -> Course {
        match index % 40 {
            5 | 15 | 25 | 35 => Course::Polling,
            // Two connections each.
            8 => Course::HalfMoved,
            2 | 12 | 22 | 32 => Course::HalfHandshake,
            9 | 18 | 29 | 38 => Course::HalfMessage,
            even if even % 2 == 0 => Course::SocketIo,
            _ => Course::WebSocket,
        }
    }
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A client that is on its way.
struct Client {
    /// One, or the one that it moves away from and the one that it moves to.
    sockets: Vec<TcpStream>,
    /// What it hears on the last of them at the end of its course.
    sign: &'static str,
}

/// A request for `target`.
fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")
}

/// A text message of a client in one frame of less than 126 bytes, with a mask of zeros.
fn text(message: &str) -> Vec<u8> {
    [&[0x81, 0x80 | message.len() as u8, 0, 0, 0, 0], message.as_bytes()].concat()
}

/// Connects from one of sixteen addresses, so that the ports of those that have just gone are not missed.
fn connect(to: SocketAddr, index: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = Ipv4Addr::new(127, 0, 0, 1 + (index % 16) as u8);
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("a loopback address");
    // Three of four vanish with a reset, the others say goodbye.
    if !index.is_multiple_of(4) {
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }
    socket.connect(&to.into()).expect("it listens");
    socket.set_tcp_nodelay(true).expect("a TCP socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    socket.into()
}

fn send(socket: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    socket.write_all(bytes.as_ref()).expect("it reads");
}

/// Reads until `sign` has come.
fn hear(socket: &mut TcpStream, sign: &str) -> String {
    let (mut heard, mut buffer) = (String::new(), [0; 4096]);
    while !heard.contains(sign) {
        let read = match socket.read(&mut buffer) {
            // A read with a timeout is interrupted where the process was stopped for a while.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.expect("it answers"),
        };
        assert!(read > 0, "it ended without {sign}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    heard
}

/// Opens a Socket.IO session by polling, and returns its path, up to the transport.
fn begin_polling(socket: &mut TcpStream) -> String {
    send(socket, get("/socket.io/?EIO=4&transport=polling", ""));
    let opened = hear(socket, "\"maxPayload\":");
    let sid = opened.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a session has an id");
    format!("/socket.io/?EIO=4&sid={sid}&transport=")
}

/// Sends a client on its course.
fn begin(to: SocketAddr, course: Course, topic: &str, index: usize) -> Client {
    let mut socket = connect(to, index);
    let (mut sign, mut old) = ("", None);
    match course {
        Course::WebSocket => {
            send(&mut socket, get(&format!("/v1/ws?topic={topic}"), UPGRADE));
            sign = "\"subscribed\"";
        }
        Course::SocketIo => {
            let handshake = get("/socket.io/?EIO=4&transport=websocket", UPGRADE);
            let hello = text(&format!("40{{\"topics\":[\"{topic}\"]}}"));
            send(&mut socket, [handshake.as_bytes(), &hello].concat());
            sign = "40{\"sid\"";
        }
        Course::Polling => {
            let path = begin_polling(&mut socket);
            let post = format!("POST {path}polling HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n40");
            send(&mut socket, post);
            hear(&mut socket, "\r\n\r\nok");
            send(&mut socket, get(&format!("{path}polling"), ""));
            hear(&mut socket, "tidings.open");
            send(&mut socket, get(&format!("{path}polling"), ""));
        }
        Course::HalfMoved => {
            let path = begin_polling(&mut socket);
            old = Some(std::mem::replace(&mut socket, connect(to, index + 1)));
            let handshake = get(&format!("{path}websocket"), UPGRADE);
            send(&mut socket, [handshake.as_bytes(), &text("2probe")].concat());
            sign = "3probe";
        }
        Course::HalfHandshake => {
            let handshake = get(&format!("/v1/ws?topic={topic}"), UPGRADE);
            send(&mut socket, &handshake[..handshake.len() / 2]);
        }
        Course::HalfMessage => {
            let message = text("{\"type\":\"subscribe\",\"id\":\"1\",\"topics\":[\"half/of/it\"]}");
            send(&mut socket, [get("/v1/ws", UPGRADE).as_bytes(), &message[..message.len() / 2]].concat());
            sign = "\"type\":\"open\"";
        }
    }
    Client { sockets: old.into_iter().chain([socket]).collect(), sign }
}

/// Lets many clients come, each as far as its course goes, and drops them all.
fn come_and_go(program: &Program, number: usize) {
    let mut clients: Vec<Client> = (0..AT_ONCE)
        .map(|index| {
            let topic = format!("wave/{number}/{index}");
            begin(program.address, Course::of(index), &topic, index)
        })
        .collect();
    for client in &mut clients {
        hear(client.sockets.last_mut().expect("each has one"), client.sign);
    }
    drop(clients);
    until("their WebSockets are forgotten", || open_streams(program, "websocket") == 0);
}

/// Waits until the only connection is the one that asks.
fn forget_all(program: &Program) {
    until("all are forgotten", || {
        open_streams(program, "socketio") == 0 && program.get("/metrics").body.contains("\ntidings_connections 1\n")
    });
}

#[test]
fn a_hundred_thousand_connections_come_and_go_on_all_courses_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path());
    // A session that neither polls nor moves is forgotten after this time: long enough that nobody is late on the way.
    command.arg("--dev").env("TIDINGS_LIMITS__HEADER_TIMEOUT", "15s").env(GIVES_BACK.0, GIVES_BACK.1);
    let program = Program::start(&mut command);
    // What the program makes room for once, it keeps for the next.
    for number in 0..5 {
        come_and_go(&program, number);
    }
    forget_all(&program);
    let before = program.resident();
    for number in 5..50 {
        come_and_go(&program, number);
    }
    forget_all(&program);
    // What is said to a session that does not poll any more waits half a minute for it, and timers of the gone run out.
    let mut grown = 0;
    until("no more than 50 bytes are left of each, which is less than any of its parts", || {
        grown = program.resident().saturating_sub(before);
        grown < 5_000_000
    });
    println!("{} KiB before, {} KiB more after 90,000 connections", before / 1024, grown / 1024);
}
