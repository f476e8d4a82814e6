//! Everything at once, in an order that nobody chose: whatever comes, the lanes live and nothing stays behind.

use std::sync::Arc;
use std::time::Duration;

use tidings::{CloseReason, Revocation};
use tidings_transports::{Cors, StreamSettings};

use crate::client::*;
use crate::common::websocket::masked;
use crate::common::{Driver, Options, Server};

/// Xorshift: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

const PACKETS: [&str; 30] = [
    "40",
    "40/custom,",
    "40",
    "40/custom,",
    r#"40{"token":"ann+all"}"#,
    r#"40/custom,{"token":"bob+all","cursor":"earliest"}"#,
    r#"40{"token":"cat+all~1030000","topics":["a/*"]}"#,
    r#"40/custom,{"token":"gated+all"}"#,
    r#"40/custom,{"token":"nope//"}"#,
    r#"40{"token":"away"}"#,
    "41",
    "41/custom,",
    r#"421["ping"]"#,
    r#"42/custom,1["ping"]"#,
    r#"421["subscribe",{"id":"s","topics":["a/*"],"cursor":"earliest"}]"#,
    r#"42/custom,1["subscribe",{"id":"s","topics":["a/1"],"cursor":"earliest"}]"#,
    r#"422["subscribe",{"id":"s"}]"#,
    r#"421["unsubscribe",{"id":"s"}]"#,
    r#"42/custom,1["unsubscribe",{"id":"connect"}]"#,
    r#"421["publish",{"id":"p","event":{"name":"n","topic":"a/1","data":1,"audience":["all"]}}]"#,
    r#"42/custom,1["publish",{"event":{"name":"n","topic":"a/2","data":2,"audience":["all"]}}]"#,
    r#"421["authenticate",{"token":"ann+all+more"}]"#,
    r#"42/custom,1["authenticate",{"token":"gated+all"}]"#,
    "2",
    "3",
    "6",
    "1",
    "42[",
    "40/nowhere,",
    "abc",
];

/// A client that does as it likes, and mostly goes without a word.
async fn misbehave(server: &Server, random: &mut Random) {
    let (eio, by) = random.one_of(&ALL);
    let token = random.one_of(&["ann+all", "bob+all", "cat+all~1030000", "gated+all", "", "away"]);
    let mut session = Session::open(server, eio, by, token).await;
    let packets: Vec<&str> = (0..random.below(12)).map(|_| random.one_of(&PACKETS)).collect();
    match &mut session.socket {
        Some(socket) => {
            for packet in &packets {
                // It may have been sent away.
                drop(socket.client.try_send(&masked(0x81, packet.as_bytes())).await);
            }
            if random.below(3) == 0 && packets.len() > 2 {
                drop(socket.client.try_send(&[0x81, 0xff, 0, 0]).await);
            }
        }
        None => {
            for packet in &packets {
                session.post(&eio.encode(&[packet])).await;
            }
            if random.below(2) == 0 {
                let mut upgrade = server.upgrade(&session.target("websocket"), "", "").await;
                for probe in ["2probe", "5", "421[\"ping\"]"].iter().take(random.below(4) as usize) {
                    drop(upgrade.try_send(&masked(0x81, probe.as_bytes())).await);
                }
            }
            if random.below(2) == 0 {
                drop(session.begin_poll().await);
            }
        }
    }
}

async fn weather(server: &Server, random: &mut Random) {
    match random.below(6) {
        0 => server.hub.close(&Revocation::principal(random.one_of(&["ann", "bob", "gated"])), CloseReason::Revoked),
        1 => server.clock.advance(Duration::from_secs(random.below(12))),
        2 => server.gate.open(),
        _ => drop(server.publish(random.one_of(&["a/1", "a/2", "b"]), "all", 1).await),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_order_of_things_ends_a_lane_or_leaves_anything() {
    for driver in [Driver::Lanes, Driver::Carried] {
        let settings = StreamSettings { cors: Cors::Any, ..settings() };
        let server = Server::start(driver, Options { settings, ..Options::default() }).await;
        let server = Arc::new(server);
        let clients = (1u64..=6).map(|seed| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed);
                for _ in 0..60 {
                    misbehave(&server, &mut random).await;
                    weather(&server, &mut random).await;
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        // Whoever was never known is known now.
        (0..1_000).for_each(|_| server.gate.open());
        settle(&server).await;
        // Time goes on until all have had theirs: of some it may be known only now that they are there.
        let is_empty = |server: &Server| {
            server.clock.advance(Duration::from_secs(25));
            server.service.open_streams() == 0 && server.service.limiter.open() == 0
        };
        server.until("nobody is left", is_empty).await;
        Session::open(&server, Eio::V4, By::WebSocket, ANN).await.connect().await;
    }
}
