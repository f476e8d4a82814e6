//! How the server ends what it began, in exact frames; and what it says to those who hear nothing for a while.

use std::time::Duration;

use tidings::{CloseReason, Limits, Revocation};
use tidings_transports::{IdleEnd, StreamSettings};

use crate::client::*;
use crate::common::{Driver, Options, Server};

/// What is told of an end.
fn close(reason: CloseReason) -> String {
    let (code, name, sentence, back) = (reason.code(), reason.name(), reason.sentence(), reason.come_back());
    format!(r#"42["tidings.close",{{"code":{code},"reason":"{name}","message":"{sentence}","reconnect":{back}}}]"#)
}

/// A session in `/`, with its position behind it.
async fn inside<'a>(server: &'a Server, eio: Eio, by: By, token: &str) -> Session<'a> {
    let mut session = Session::connected(server, eio, by, token).await;
    assert!(session.next().await.contains("tidings.open"));
    session
}

#[tokio::test]
async fn who_is_to_stay_away_is_told_why_and_disconnected() {
    for (eio, by) in ALL {
        let server = start(settings()).await;
        let mut session = inside(&server, eio, by, ANN).await;
        server.hub.close(&Revocation::principal("ann"), CloseReason::Revoked);
        assert_eq!(session.next().await, close(CloseReason::Revoked));
        assert_eq!(session.next().await, "41");
        session.ends(1000).await;
        let mut session = inside(&server, eio, by, "ann+all~1010000").await;
        pass(&server, 10).await;
        assert_eq!(session.next().await, close(CloseReason::Expired));
        assert_eq!(session.next().await, "41");
        session.ends(1000).await;
    }
}

#[tokio::test]
async fn who_is_to_come_back_is_told_why_and_not_disconnected() {
    for (eio, by) in ALL {
        let server = start(settings()).await;
        let mut session = inside(&server, eio, by, ANN).await;
        server.hub.drain();
        pass(&server, 1).await;
        assert_eq!(session.next().await, close(CloseReason::Draining));
        session.ends(1000).await;
    }
}

#[tokio::test]
async fn who_is_in_no_namespace_yet_is_only_let_go_when_the_server_stops() {
    for by in [By::Polling, By::WebSocket] {
        let server = start(settings()).await;
        let mut session = Session::open(&server, Eio::V4, by, ANN).await;
        server.hub.drain();
        pass(&server, 1).await;
        session.ends(1000).await;
    }
}

#[tokio::test]
async fn a_stream_without_updates_ends_with_the_event_that_says_so() {
    let event = Some(("timeout".to_owned(), r#"{"after":20}"#.to_owned()));
    let idle = Some(IdleEnd { after: Duration::from_secs(20), event, form: None });
    let server = start(StreamSettings { idle, ..settings() }).await;
    for (eio, by) in ALL {
        let mut session = inside(&server, eio, by, ANN).await;
        pass(&server, 15).await;
        session.is_alive().await;
        let place = server.publish("t", "all", 1).await;
        assert_eq!(session.next().await, format!(r#"42["n",1,"{place}"]"#));
        pass(&server, 15).await;
        if eio == Eio::V4 {
            assert_eq!(session.next().await, "2");
            session.say("3").await;
        }
        session.is_alive().await;
        pass(&server, 5).await;
        assert_eq!(session.next().await, r#"42["timeout",{"after":20}]"#);
        assert_eq!(session.next().await, close(CloseReason::Idle));
        session.ends(1000).await;
    }
}

#[tokio::test]
async fn a_quiet_connection_is_told_its_position_now_and_then() {
    let server = start(StreamSettings { cursor_every: Duration::from_secs(15), ..settings() }).await;
    for (eio, by) in ALL {
        let mut session = inside(&server, eio, by, ANN).await;
        let place = server.publish("t", "others", 1).await;
        pass(&server, 20).await;
        assert_eq!(session.next().await, format!(r#"42["tidings.cursor",{{"cursor":"{place}"}},"{place}"]"#));
        session.is_alive().await;
    }
}

#[tokio::test]
async fn one_more_than_a_principal_may_have_is_refused_until_another_has_gone() {
    let limits = Limits { connections_per_principal: 1, ..Limits::default() };
    let server = Server::start(Driver::Lanes, Options { settings: quiet(), limits, ..Options::default() }).await;
    for by in [By::Polling, By::WebSocket] {
        let mut first = Session::connected(&server, Eio::V4, by, ANN).await;
        let mut second = Session::open(&server, Eio::V4, by, ANN).await;
        second.say("40").await;
        let refused = second.next().await;
        assert!(refused.starts_with(r#"44{"message":"this principal already has 1 streams open"#), "{refused}");
        first.say("40/custom,").await;
        let refused = first.next().await;
        assert!(refused.starts_with(r#"44/custom,{"message":"#), "each namespace is a stream: {refused}");
        first.say("41").await;
        settle(&server).await;
        second.connect().await;
        second.is_alive().await;
        second.say("1").await;
        server.until("it is gone", |server| server.service.open_streams() == 1).await;
        // Its place is free when the lane has ended its round.
        settle(&server).await;
        first.connect().await;
        first.say("1").await;
        server.until("both are gone", |server| server.service.open_streams() == 0).await;
    }
}

#[tokio::test]
async fn a_session_that_polls_counts_as_a_connection_of_its_address() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let server = Server::start(Driver::Lanes, Options { settings: quiet(), limits, ..Options::default() }).await;
    let mut session = Session::connected(&server, Eio::V4, By::Polling, ANN).await;
    server.until("only the session is left", |server| server.service.limiter.open() == 1).await;
    let answer = ask(&server, "GET", &path(Eio::V4, "polling"), &bearer(ANN), "").await;
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after"), "{}", answer.head);
    server.until("only the session is left", |server| server.service.limiter.open() == 1).await;
    session.is_alive().await;
}
