//! Listening over HTTP: Server-Sent Events, and polls.

use serde_json::Value;

use super::transport::{Ask, Denied, Ear, Ending, Heard, Transport};
use crate::common::{Client, Driver, Server};

/// Server-Sent Events, on a lane or as the body of a response.
pub struct Sse<const ON_A_LANE: bool> {
    client: Client,
    ear: Ear,
}

impl<const ON_A_LANE: bool> Transport for Sse<ON_A_LANE> {
    const DRIVER: Driver = if ON_A_LANE { Driver::Lanes } else { Driver::Bodies };
    const IS_CLOCKED: bool = ON_A_LANE;
    const IS_WATCHED: bool = ON_A_LANE;

    async fn open(server: &Server, ask: &Ask) -> Result<Self, Denied> {
        let target = format!("/v1/events?{}", ask.query(false));
        let client = server.request(&target, &ask.token, ask.cursor.as_deref()).await;
        if client.status != 200 {
            return Err(Denied::by(client).await);
        }
        let mut sse = Sse { client, ear: Ear::default() };
        while sse.ear.place.is_empty() {
            assert!(sse.read().await, "it ended before the position was told");
        }
        Ok(sse)
    }

    fn place(&self) -> &str {
        &self.ear.place
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.ear.next() {
                return heard;
            }
            assert!(self.read().await, "it ended without a word");
        }
    }
}

impl<const ON_A_LANE: bool> Sse<ON_A_LANE> {
    async fn read(&mut self) -> bool {
        let Some(event) = self.client.next().await else { return false };
        let data: Value = serde_json::from_str(&event.data).unwrap();
        match event.name.as_str() {
            "tidings.open" | "tidings.cursor" => {
                assert_eq!(data["cursor"], event.id, "a position is told twice alike");
                self.ear.place = event.id;
            }
            "tidings.gap" => {
                assert_eq!(data["resumed"], event.id);
                self.ear.gap(&data);
            }
            "tidings.close" => {
                self.ear.end(&data);
                assert_eq!(self.client.next().await, None, "nothing comes after the end");
            }
            name => self.ear.event(name, data, Some(event.id.as_str()).filter(|id| !id.is_empty())),
        }
        true
    }
}

/// One answer at a time.
pub struct Poll {
    address: std::net::SocketAddr,
    ask: Ask,
    asked: Option<Client>,
    ear: Ear,
    /// What the next poll goes on from.
    cursor: Option<String>,
}

impl Transport for Poll {
    const DRIVER: Driver = Driver::Lanes;
    const IS_CLOCKED: bool = false;
    const IS_WATCHED: bool = false;

    async fn open(server: &Server, ask: &Ask) -> Result<Self, Denied> {
        let (address, cursor) = (server.address, ask.cursor.clone());
        let mut poll = Poll { address, ask: ask.clone(), asked: None, ear: Ear::default(), cursor };
        poll.ask(0).await;
        poll.answer().await?;
        if poll.ear.heard.is_empty() {
            poll.ear.place = poll.cursor.clone().unwrap();
        }
        Ok(poll)
    }

    fn place(&self) -> &str {
        &self.ear.place
    }

    async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.ear.next() {
                return heard;
            }
            if let Err(denied) = self.answer().await {
                assert_eq!(denied.status, Some(401), "{denied:?}");
                let reason = ["expired", "revoked"].into_iter().find(|reason| denied.detail.contains(reason));
                return Heard::Ended(Ending { reason: reason.unwrap().into(), comes_back: false });
            }
        }
    }

    async fn wait(&mut self, server: &Server) {
        let before = server.hub.subscribers().len();
        self.ask(50).await;
        server.until("it waits", |server| server.hub.subscribers().len() > before).await;
    }
}

impl Poll {
    async fn ask(&mut self, wait: u32) {
        let Ask { token, .. } = &self.ask;
        let cursor = self.cursor.iter().map(|cursor| format!("&cursor={cursor}")).collect::<String>();
        let query = format!("{}&wait={wait}{cursor}", self.ask.query(false));
        let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        let mut client = Client::connect(self.address).await;
        let request = format!("GET /v1/poll?{query} HTTP/1.1\r\nhost: x\r\n{bearer}connection: close\r\n\r\n");
        client.send(request.as_bytes()).await;
        self.asked = Some(client);
    }

    async fn answer(&mut self) -> Result<(), Denied> {
        if self.asked.is_none() {
            self.ask(50).await;
        }
        let mut client = self.asked.take().unwrap();
        client.read_head().await;
        if client.status != 200 {
            return Err(Denied::by(client).await);
        }
        let answer: Value = serde_json::from_str(&client.rest().await).unwrap();
        if answer["gap"].is_object() {
            self.ear.gap(&answer["gap"]);
        }
        for event in answer["events"].as_array().unwrap() {
            self.ear.event(event["name"].as_str().unwrap(), event["data"].clone(), event["cursor"].as_str());
        }
        if let Some(reason) = answer["closed"].as_str() {
            let ending = Ending { reason: reason.into(), comes_back: true };
            self.ear.heard.push_back(Heard::Ended(ending));
        }
        self.cursor = Some(answer["cursor"].as_str().unwrap().to_owned());
        Ok(())
    }
}
