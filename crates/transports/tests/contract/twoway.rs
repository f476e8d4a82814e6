//! Listening over a WebSocket, with our own messages.

use serde_json::{Value, json};

use super::transport::{Ask, Denied, Ear, Heard, Transport};
use crate::common::websocket::{FIN, TEXT, WebSocket, masked};
use crate::common::{Driver, Server};

/// A WebSocket on a socket of the lane, or carried to it.
pub struct OverWebSocket<const ON_A_LANE: bool> {
    socket: WebSocket,
    ear: Ear,
}

impl<const ON_A_LANE: bool> Transport for OverWebSocket<ON_A_LANE> {
    const DRIVER: Driver = if ON_A_LANE { Driver::Lanes } else { Driver::Carried };

    async fn open(server: &Server, ask: &Ask) -> Result<Self, Denied> {
        let answer = server.upgrade("/v1/ws", &ask.token, "").await;
        if answer.status != 101 {
            return Err(Denied::by(answer).await);
        }
        let mut socket = WebSocket::new(answer);
        let open = socket.next().await.unwrap();
        assert_eq!(open["type"], "open", "{open}");
        let mut subscribe = json!({ "type": "subscribe", "id": "s" });
        subscribe.as_object_mut().unwrap().extend(ask.members());
        // One that is shut out at once may be gone already.
        drop(socket.client.try_send(&masked(FIN | TEXT, subscribe.to_string().as_bytes())).await);
        let mut this = OverWebSocket { socket, ear: Ear::default() };
        let first = this.socket.next().await.expect("it is answered, or told why not");
        match first["type"].as_str() {
            Some("subscribed") => {
                this.ear.place = first["cursor"].as_str().unwrap().to_owned();
                if ask.cursor.is_none() {
                    assert_eq!(first["live"], true, "{first}");
                }
                if first["gap"].is_object() {
                    assert_eq!(first["gap"]["resumed"], first["cursor"]);
                    this.ear.gap(&first["gap"]);
                }
            }
            _ => this.take(&first).await,
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
            let message = self.socket.next().await.expect("it ended without a word");
            self.take(&message).await;
        }
    }
}

impl<const ON_A_LANE: bool> OverWebSocket<ON_A_LANE> {
    async fn take(&mut self, message: &Value) {
        let cursor = message["cursor"].as_str();
        match message["type"].as_str().unwrap() {
            "event" => {
                assert!(cursor.is_some(), "{message}");
                self.ear.event(message["name"].as_str().unwrap(), message["data"].clone(), cursor);
            }
            "signal" | "retained" => {
                assert!(cursor.is_none(), "{message}");
                self.ear.event(message["name"].as_str().unwrap(), message["data"].clone(), None);
            }
            "cursor" | "live" => self.ear.place = cursor.unwrap().to_owned(),
            "gap" => self.ear.gap(message),
            "close" => {
                self.ear.end(message);
                assert_eq!(self.socket.close_code().await, message["code"].as_u64().unwrap() as u16);
            }
            "heartbeat" => {}
            other => panic!("unexpected: {other} in {message}"),
        }
    }
}
