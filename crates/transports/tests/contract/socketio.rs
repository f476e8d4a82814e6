//! Listening over Socket.IO.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::Value;

use super::transport::{Ask, Denied, Ear, Heard, Transport};
use crate::common::websocket::{FIN, TEXT, WebSocket, masked};
use crate::common::{Client, Driver, Server};

/// By WebSocket, on a socket of the lane.
pub const SOCKET: char = 's';
/// By WebSocket, carried to the lane.
pub const CARRIED: char = 'c';
/// By long-polling.
pub const POLLING: char = 'p';
/// By long-polling at first, then by WebSocket, on a socket of the lane.
pub const UPGRADED: char = 'u';
/// The same, carried to the lane.
pub const UPGRADED_CARRIED: char = 'v';

/// A client of this revision of Engine.IO that comes this way.
pub struct SocketIo<const EIO: u8, const WAY: char> {
    pipe: Pipe,
    ear: Ear,
}

enum Pipe {
    WebSocket(WebSocket),
    Polling(Polling),
}

/// The state of a client that polls.
struct Polling {
    address: SocketAddr,
    target: String,
    eio: u8,
    packets: VecDeque<String>,
}

impl Pipe {
    async fn packet(&mut self) -> Option<String> {
        match self {
            Pipe::WebSocket(socket) => socket.text().await,
            Pipe::Polling(polling) => polling.packet().await,
        }
    }

    /// Sends a packet to a server that may have hung up.
    async fn say(&mut self, packet: &str) {
        match self {
            Pipe::WebSocket(socket) => drop(socket.client.try_send(&masked(FIN | TEXT, packet.as_bytes())).await),
            Pipe::Polling(polling) => polling.say(packet).await,
        }
    }
}

impl Polling {
    fn request(&self, method: &str, more: &str) -> String {
        format!("{method} {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n", self.target)
    }

    /// Asks for packets, and leaves the answer to whoever reads the client.
    async fn poll(&self) -> Client {
        let mut client = Client::connect(self.address).await;
        client.send(self.request("GET", "").as_bytes()).await;
        client
    }

    /// Reads the packets of an answer; none where the session is over.
    async fn read(&mut self, mut client: Client) {
        client.read_head().await;
        let body = client.rest().await;
        if client.status != 200 {
            assert_eq!((client.status, body.as_str()), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
            return;
        }
        self.take(&body);
    }

    fn take(&mut self, body: &str) {
        match self.eio {
            4 => self.packets.extend(body.split('\u{1e}').map(str::to_owned)),
            _ => {
                let mut rest = body;
                while let Some((length, packets)) = rest.split_once(':') {
                    let (packet, more) = packets.split_at(length.parse().unwrap());
                    self.packets.push_back(packet.to_owned());
                    rest = more;
                }
            }
        }
    }

    async fn packet(&mut self) -> Option<String> {
        if self.packets.is_empty() {
            let client = self.poll().await;
            self.read(client).await;
        }
        // The end of the connection is a packet here.
        self.packets.pop_front().filter(|packet| packet != "1")
    }

    async fn say(&self, packet: &str) {
        let body = if self.eio == 4 { packet.to_owned() } else { format!("{}:{packet}", packet.len()) };
        let mut client = Client::connect(self.address).await;
        let request = self.request("POST", &format!("content-length: {}\r\n", body.len()));
        client.send(format!("{request}{body}").as_bytes()).await;
        client.read_head().await;
    }
}

impl<const EIO: u8, const WAY: char> Transport for SocketIo<EIO, WAY> {
    const DRIVER: Driver = if matches!(WAY, CARRIED | UPGRADED_CARRIED) { Driver::Carried } else { Driver::Lanes };

    async fn open(server: &Server, ask: &Ask) -> Result<Self, Denied> {
        let token = if ask.is_late { "" } else { &ask.token };
        // Clients of the older revision connect without a word.
        let query = if EIO == 3 { ask.query(true) } else { String::new() };
        let way = if matches!(WAY, SOCKET | CARRIED) { "websocket" } else { "polling" };
        let target = format!("/socket.io/?EIO={EIO}&transport={way}&{query}");
        let pipe = match way {
            "websocket" => {
                let answer = server.upgrade(&target, token, "").await;
                if answer.status != 101 {
                    return Err(Denied::by(answer).await);
                }
                Pipe::WebSocket(WebSocket::new(answer))
            }
            _ => {
                let mut client = server.request(&target, token, None).await;
                if client.status != 200 {
                    return Err(Denied::by(client).await);
                }
                // An answer that is kept alive ends with its length.
                let length = client.head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
                let body = client.exactly(length.parse().unwrap()).await;
                let (address, packets) = (server.address, VecDeque::new());
                let mut polling = Polling { address, target, eio: EIO, packets };
                polling.take(&body);
                Pipe::Polling(polling)
            }
        };
        let mut this = SocketIo { pipe, ear: Ear::default() };
        let open = this.pipe.packet().await.unwrap();
        let open: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        if let Pipe::Polling(polling) = &mut this.pipe {
            assert_eq!(open["upgrades"], serde_json::json!(["websocket"]));
            polling.target = format!("/socket.io/?EIO={EIO}&transport=polling&sid={}", open["sid"].as_str().unwrap());
        }
        if EIO == 4 {
            let mut auth = ask.members();
            if ask.is_late {
                auth.insert("token".into(), ask.token.clone().into());
            }
            this.pipe.say(&format!("40{}", Value::from(auth))).await;
        }
        let answer = this.pipe.packet().await.unwrap();
        if let Some(refusal) = answer.strip_prefix("44") {
            let refusal: Value = serde_json::from_str(refusal).unwrap();
            let detail = if EIO == 4 { &refusal["message"] } else { &refusal };
            return Err(Denied { status: None, detail: detail.as_str().unwrap().to_owned() });
        }
        assert!(answer.starts_with("40"), "{answer}");
        while this.ear.place.is_empty() {
            let packet = this.pipe.packet().await.expect("the position is told");
            this.take(&packet).await;
        }
        if matches!(WAY, UPGRADED | UPGRADED_CARRIED) {
            this.upgrade(server, open["sid"].as_str().unwrap()).await;
        }
        Ok(this)
    }

    fn place(&self) -> &str {
        &self.ear.place
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.ear.next() {
                return heard;
            }
            let packet = self.pipe.packet().await.expect("it ended without a word");
            self.take(&packet).await;
        }
    }

    async fn live(&mut self) {
        if EIO == 3 {
            self.pipe.say("2").await;
        }
    }
}

impl<const EIO: u8, const WAY: char> SocketIo<EIO, WAY> {
    /// Moves from long-polling to a WebSocket, as clients do while a poll waits.
    async fn upgrade(&mut self, server: &Server, sid: &str) {
        let Pipe::Polling(polling) = &mut self.pipe else { return };
        let waiting = polling.poll().await;
        let target = format!("/socket.io/?EIO={EIO}&transport=websocket&sid={sid}");
        let answer = server.upgrade(&target, "", "").await;
        if answer.status != 101 {
            // It was shut out before it got so far.
            return polling.read(waiting).await;
        }
        let mut socket = WebSocket::new(answer);
        socket.say("2probe").await;
        assert_eq!(socket.text().await.as_deref(), Some("3probe"));
        polling.read(waiting).await;
        socket.say("5").await;
        let mut packets = std::mem::take(&mut polling.packets);
        // It has moved when it is answered there.
        socket.say("427[\"ping\",{}]").await;
        let has_moved = loop {
            match socket.text().await.as_deref() {
                Some("437[{\"type\":\"pong\"}]") => break true,
                Some(packet) => packets.push_back(packet.to_owned()),
                // Shut out meanwhile; what it was told of that waits where it was.
                None => break false,
            }
        };
        if !has_moved {
            polling.packets = packets;
            return;
        }
        self.pipe = Pipe::WebSocket(socket);
        for packet in packets {
            self.take(&packet).await;
        }
    }

    async fn take(&mut self, packet: &str) {
        match packet {
            "2" => return self.pipe.say("3").await,
            "3" | "6" => return,
            _ => {}
        }
        let text = packet.strip_prefix("42").unwrap_or_else(|| panic!("an event, and not {packet}"));
        let event: Vec<Value> = serde_json::from_str(text).unwrap();
        let (name, args) = (event[0].as_str().unwrap(), &event[1..]);
        let cursor = args.last().and_then(Value::as_str);
        match name {
            "tidings.open" | "tidings.cursor" => {
                assert_eq!(args[0]["cursor"].as_str(), cursor);
                self.ear.place = cursor.unwrap().to_owned();
            }
            "tidings.gap" => {
                assert_eq!(args[0]["resumed"].as_str(), cursor);
                self.ear.gap(&args[0]);
            }
            "tidings.close" => self.end(&args[0]).await,
            name => {
                assert_eq!(args.len(), 2, "{packet}");
                self.ear.event(name, args[0].clone(), cursor);
            }
        }
    }

    /// Who is not to come back is disconnected first; with the others the transport ends, after which they come by themselves.
    async fn end(&mut self, close: &Value) {
        self.ear.end(close);
        let mut rest = Vec::new();
        while let Some(packet) = self.pipe.packet().await {
            rest.push(packet);
        }
        let disconnected = if close["reconnect"] == true { vec![] } else { vec!["41"] };
        assert_eq!(rest, disconnected, "{close}");
        if let Pipe::WebSocket(socket) = &self.pipe {
            assert_eq!(socket.closed.as_ref().unwrap().0, 1000);
        }
    }
}
