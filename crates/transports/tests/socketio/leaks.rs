//! Whatever a client leaves half done: no connection, no session and no permit of it stays.

use std::time::Duration;

use tidings::Limits;

use crate::client::*;
use crate::common::{Driver, Options, Server};

/// How many sessions are left at once.
const BATCH: usize = 50;
/// How often.
const BATCHES: usize = 6;

/// A server on which a principal may be a little more often than a batch is: what stays behind is soon too much.
async fn begin(driver: Driver) -> Server {
    let limits = Limits {
        // Else those who never connect are ended by that, and not by their silence.
        header_timeout: Duration::from_secs(600),
        connections_per_principal: 2 * BATCH + BATCH / 2,
        connections_per_address: 4 * BATCH,
        ..Limits::default()
    };
    Server::start(driver, Options { settings: quiet(), limits, ..Options::default() }).await
}

async fn nothing_is_left(server: &Server, what: &str) {
    let is_empty = |server: &Server| {
        let service = &server.service;
        service.limiter.open() == 0 && service.open_streams() == 0 && service.pollers() == 0
    };
    server.until(what, is_empty).await;
    assert!(server.service.streams().await.is_empty(), "{what}");
}

/// Sessions that are silent are ended by the clock.
async fn silence(server: &Server) {
    pass(server, 25).await;
    pass(server, 20).await;
}

#[tokio::test]
async fn sessions_that_never_connect_leave_nothing() {
    let server = begin(Driver::Lanes).await;
    for _ in 0..BATCHES {
        let mut sessions = Vec::new();
        for _ in 0..BATCH {
            sessions.push(Session::open(&server, Eio::V4, By::WebSocket, ANN).await);
            sessions.push(Session::open(&server, Eio::V4, By::Polling, ANN).await);
        }
        drop(sessions);
        silence(&server).await;
        nothing_is_left(&server, "never connected").await;
    }
}

#[tokio::test]
async fn sessions_of_which_it_was_never_known_whose_they_are_leave_nothing() {
    for driver in [Driver::Lanes, Driver::Carried] {
        let server = begin(driver).await;
        for _ in 0..BATCHES / 2 {
            let mut sessions = Vec::new();
            for index in 0..2 * BATCH {
                let by = [By::WebSocket, By::Polling][index % 2];
                let eio = [Eio::V4, Eio::V3][index / 2 % 2];
                let mut session = Session::open(&server, eio, by, "gated+all").await;
                if eio == Eio::V4 {
                    session.say(["40", "40/custom,"][index / 4 % 2]).await;
                }
                server.gate.somebody().await;
                sessions.push(session);
            }
            let open = Session::connected(&server, Eio::V4, By::WebSocket, ANN).await;
            drop(sessions);
            drop(open);
            // Half of them are known while they are still there, half after they are gone.
            (0..BATCH).for_each(|_| server.gate.open());
            pass(&server, 25).await;
            // Clients of revision 3 ping by themselves, and are given longer.
            pass(&server, 20).await;
            (0..BATCH).for_each(|_| server.gate.open());
            nothing_is_left(&server, "asking").await;
        }
    }
}

#[tokio::test]
async fn sessions_that_stop_while_they_move_leave_nothing() {
    for driver in [Driver::Lanes, Driver::Carried] {
        let server = begin(driver).await;
        for _ in 0..BATCHES / 2 {
            let mut sockets = Vec::new();
            for index in 0..BATCH {
                let session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
                let mut socket = server.websocket(&session.target("websocket"), "").await;
                // Some say nothing, some probe, some say more than they should, and some have moved.
                let said = index % 4;
                if said > 0 {
                    socket.say("2probe").await;
                    assert_eq!(socket.text().await.as_deref(), Some("3probe"));
                }
                match said {
                    2 => socket.say("2probe").await,
                    3 => socket.say("5").await,
                    _ => {}
                }
                if index % 3 == 0 {
                    drop(session.begin_poll().await);
                }
                sockets.push(socket);
            }
            drop(sockets);
            silence(&server).await;
            nothing_is_left(&server, "moving").await;
        }
    }
}

#[tokio::test]
async fn sessions_in_two_namespaces_leave_nothing() {
    for driver in [Driver::Lanes, Driver::Carried] {
        let server = begin(driver).await;
        for _ in 0..BATCHES / 2 {
            let mut sessions = Vec::new();
            for index in 0..BATCH {
                let (eio, by) = ALL[index % 4];
                let mut session = Session::connected(&server, eio, by, ANN).await;
                session.say("40/custom,").await;
                session.next().await;
                match index / 4 % 4 {
                    0 => session.say("41").await,
                    1 => session.say("41/custom,").await,
                    2 => session.say("1").await,
                    _ => {}
                }
                match (by, index / 4 % 4) {
                    // What was said last is fetched, so that no session waits for it.
                    (By::Polling, 2) => assert_eq!(session.polled().await, ["6"]),
                    (By::Polling, _) => session.post("garbage").await.is(400, BAD_REQUEST),
                    (By::WebSocket, _) => {}
                }
                sessions.push(session);
            }
            drop(sessions);
            nothing_is_left(&server, "two namespaces").await;
        }
    }
}

#[tokio::test]
async fn sessions_that_were_refused_leave_nothing() {
    let server = begin(Driver::Lanes).await;
    for _ in 0..BATCHES {
        for index in 0..BATCH {
            let (eio, by) = ALL[index % 4];
            let token = ["", "away"][index / 4 % 2];
            let mut session = Session::open(&server, eio, by, token).await;
            if eio == Eio::V4 {
                session.say("40").await;
            }
            session.hear().await;
        }
        silence(&server).await;
        nothing_is_left(&server, "refused").await;
    }
}

#[tokio::test]
async fn clients_that_poll_and_never_come_again_are_forgotten() {
    let server = begin(Driver::Lanes).await;
    for _ in 0..BATCHES {
        for index in 0..BATCH {
            let session = Session::connected(&server, BOTH[index % 2], By::Polling, ANN).await;
            if index % 3 == 0 {
                server.publish("t", "all", index as u64).await;
            }
            if index % 5 == 0 {
                drop(session.begin_poll().await);
            }
        }
        silence(&server).await;
        nothing_is_left(&server, "polled").await;
    }
}
