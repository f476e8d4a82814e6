//! A WebSocket client that can also say what no client should.

use serde_json::Value;

use super::{Client, Server};

/// The last frame of a message, or its only one.
pub const FIN: u8 = 0x80;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The key of RFC 6455 §1.3, and its answer in lower case, as [`Client`] shows heads.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ANSWER: &str = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n";

/// A connection after its handshake.
pub struct WebSocket {
    pub client: Client,
    /// The code and the reason of the Close frame, once it has come.
    pub closed: Option<(u16, String)>,
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// A frame as clients send it.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The first frame of `bytes` and its length, if it has come whole: final, unmasked, with the shortest length, as a server's
/// must be that sends no fragments.
pub fn split(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(first & 0xf0, FIN, "a frame that is final, with no extension: {first:#x}");
    assert_eq!(second & 0x80, 0, "a server does not mask (RFC 6455 §5.1)");
    let (length, begin) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        length => (usize::from(length), 2),
    };
    assert!(second < 126 || length > 125 && (second == 126 || length > 0xffff), "the shortest form of {length}");
    let payload = bytes.get(begin..begin + length)?.to_vec();
    Some((Frame { opcode: first & 15, payload }, begin + length))
}

impl Server {
    /// Asks for a WebSocket, with these header lines beside those it takes, and reads the head of the answer.
    pub async fn upgrade(&self, target: &str, token: &str, headers: &str) -> Client {
        let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let request = format!(
            "GET {target} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: {KEY}\r\n\
             sec-websocket-version: 13\r\n{bearer}{headers}\r\n"
        );
        self.raw(request.as_bytes()).await
    }

    /// A WebSocket, of which nothing was read yet.
    pub async fn websocket(&self, target: &str, token: &str) -> WebSocket {
        WebSocket::new(self.upgrade(target, token, "").await)
    }
}

impl WebSocket {
    /// The connection that the client's answer opened.
    pub fn new(client: Client) -> WebSocket {
        assert_eq!(client.status, 101, "{}", client.head);
        assert!(client.head.contains(ANSWER), "{}", client.head);
        WebSocket { client, closed: None }
    }

    /// Sends a text message.
    pub async fn say(&mut self, text: &str) {
        self.client.send(&masked(FIN | TEXT, text.as_bytes())).await;
    }

    /// Sends a JSON message.
    pub async fn tell(&mut self, message: Value) {
        self.say(&message.to_string()).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, length)) = split(&self.client.buffer) {
                self.client.buffer.drain(..length);
                return Some(frame);
            }
            if !self.client.fill().await {
                assert!(self.client.buffer.is_empty(), "it ended within a frame: {:?}", self.client.buffer);
                return None;
            }
        }
    }

    /// The next text message; `None` at the end. Pings are answered, and a Close frame is as RFC 6455 §5.5.1 asks.
    pub async fn text(&mut self) -> Option<String> {
        while let Some(Frame { opcode, payload }) = self.frame().await {
            match opcode {
                TEXT => return Some(String::from_utf8(payload).expect("text is UTF-8")),
                // To one who is already gone it need not come.
                PING => drop(self.client.try_send(&masked(FIN | PONG, &payload)).await),
                PONG => {}
                CLOSE => {
                    let reason = String::from_utf8(payload[2..].to_vec()).expect("a reason is UTF-8");
                    self.closed = Some((u16::from_be_bytes([payload[0], payload[1]]), reason));
                    drop(self.client.try_send(&masked(FIN | CLOSE, &payload[..2])).await);
                }
                other => panic!("an unexpected opcode: {other}"),
            }
        }
        None
    }

    /// The next JSON message; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        let text = self.text().await?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// The next message that is neither a heartbeat nor a position.
    pub async fn hear(&mut self) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("it goes on, but ended with {:?}", self.closed));
            if !matches!(message["type"].as_str(), Some("heartbeat" | "cursor")) {
                return message;
            }
        }
    }

    /// Reads on to the end and returns the code of the Close frame.
    pub async fn close_code(&mut self) -> u16 {
        while self.text().await.is_some() {}
        self.closed.clone().expect("a Close frame comes before the end").0
    }
}
