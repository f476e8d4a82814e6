//! Several namespaces on one connection, each with its own principal, place and end.

use std::sync::atomic::Ordering;

use serde_json::Value;
use tidings::{CloseReason, Revocation};

use crate::client::*;
use crate::common::{Server, event};

/// One connection, in `/` as ann and in `/custom` as bob.
async fn both(server: &Server, by: By) -> Session<'_> {
    two(server, by, "ann+all+a", "bob+all+b").await
}

async fn two<'a>(server: &'a Server, by: By, main: &str, custom: &str) -> Session<'a> {
    let mut session = Session::open(server, Eio::V4, by, "").await;
    session.say(&format!(r#"40{{"token":"{main}"}}"#)).await;
    connected(&session.next().await, "40");
    session.say(&format!(r#"40/custom,{{"token":"{custom}"}}"#)).await;
    connected(&session.next().await, "40/custom,");
    session
}

#[tokio::test]
async fn each_namespace_is_given_what_its_own_principal_may_see() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = both(&server, by).await;
        server.publish("t", "a", 1).await;
        assert_eq!(session.next().await, r#"42["n",1]"#);
        server.publish("t", "b", 2).await;
        assert_eq!(session.next().await, r#"42/custom,["n",2]"#);
        server.publish("t", "all", 3).await;
        let mut heard = [session.next().await, session.next().await];
        heard.sort_unstable();
        assert_eq!(heard, [r#"42/custom,["n",3]"#, r#"42["n",3]"#]);
        let mut who: Vec<_> =
            server.service.streams().await.iter().map(|stream| stream.principal.id.to_string()).collect();
        who.retain(|id| id == "ann" || id == "bob");
        who.sort_unstable();
        assert_eq!(who, ["ann", "bob"]);
        session.say("1").await;
        server.until("both are gone", |server| server.service.open_streams() == 0).await;
    }
}

#[tokio::test]
async fn a_revocation_ends_the_namespace_of_that_principal_alone() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = both(&server, by).await;
        server.hub.close(&Revocation::principal("bob"), CloseReason::Revoked);
        assert_eq!(session.next().await, "41/custom,");
        server.publish("t", "all", 1).await;
        assert_eq!(session.next().await, r#"42["n",1]"#);
        session.is_alive().await;
        session.say(r#"40/custom,{"token":"bob+b"}"#).await;
        connected(&session.next().await, "40/custom,");
        session.is_alive_in("/custom,").await;

        let mut session = both(&server, by).await;
        server.hub.close(&Revocation::principal("ann"), CloseReason::Revoked);
        assert_eq!(session.next().await, "41");
        server.publish("t", "all", 2).await;
        assert_eq!(session.next().await, r#"42/custom,["n",2]"#);
        session.is_alive_in("/custom,").await;
        session.say(r#"40{"token":"ann+a"}"#).await;
        connected(&session.next().await, "40");
        session.is_alive().await;
    }
}

#[tokio::test]
async fn one_principal_in_both_namespaces_is_shut_out_of_both() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = two(&server, by, ANN, ANN).await;
        server.hub.close(&Revocation::principal("ann"), CloseReason::Revoked);
        let mut heard = [session.next().await, session.next().await];
        heard.sort_unstable();
        assert_eq!(heard, ["41", "41/custom,"]);
        server.publish("t", "all", 1).await;
        settle(&server).await;
        server.clock.advance(std::time::Duration::from_secs(30));
        while session.hear().await.is_some_and(|packet| packet == "2") {}
        server.until("it is over", |server| server.service.open_streams() == 0).await;
    }
}

#[tokio::test]
async fn a_credential_that_runs_out_ends_its_namespace_alone() {
    for by in [By::Polling, By::WebSocket] {
        let server = start(quiet()).await;
        let mut session = two(&server, by, "ann+all", "bob+all~1010000").await;
        pass(&server, 10).await;
        assert_eq!(session.next().await, "41/custom,");
        session.is_alive().await;
        let server = start(quiet()).await;
        let mut session = two(&server, by, "ann+all~1010000", "bob+all").await;
        pass(&server, 10).await;
        assert_eq!(session.next().await, "41");
        session.is_alive_in("/custom,").await;
        // The connection is not held to a credential that nobody uses on it any more.
        pass(&server, 10).await;
        session.is_alive_in("/custom,").await;
    }
}

#[tokio::test]
async fn one_who_leaves_the_main_namespace_stays_in_the_other() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = both(&server, by).await;
        session.say("41").await;
        settle(&server).await;
        server.publish("t", "all", 1).await;
        assert_eq!(session.next().await, r#"42/custom,["n",1]"#);
        pass(&server, 25).await;
        assert_eq!(session.next().await, "2");
        session.say("3").await;
        pass(&server, 10).await;
        session.is_alive_in("/custom,").await;
    }
}

#[tokio::test]
async fn a_new_credential_is_of_the_namespace_that_it_was_shown_in() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = both(&server, by).await;
        session.say(r#"42/custom,1["authenticate",{"token":"bob+c"}]"#).await;
        assert_eq!(session.next().await, r#"43/custom,1[{"type":"authenticated"}]"#);
        server.publish("t", "b", 1).await;
        server.publish("t", "c", 2).await;
        assert_eq!(session.next().await, r#"42/custom,["n",2]"#);
        server.publish("t", "a", 3).await;
        assert_eq!(session.next().await, r#"42["n",3]"#);
        session.say(r#"421["authenticate",{"token":"bob+c"}]"#).await;
        assert!(session.next().await.contains("somebody-else"), "ann is not bob");
    }
}

#[tokio::test]
async fn a_server_that_stops_ends_the_transport_for_all_namespaces() {
    for by in [By::Polling, By::WebSocket] {
        let server = start(quiet()).await;
        let mut session = both(&server, by).await;
        server.hub.drain();
        pass(&server, 1).await;
        session.ends(1000).await;
        server.until("nobody is left", |server| server.service.open_streams() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_loses_nothing_of_either_namespace() {
    const EVENTS: u64 = 400;
    let server = start(quiet()).await;
    let mut session = two(&server, By::WebSocket, ANN, "bob+all").await;
    let padding = "x".repeat(100_000);
    for n in 0..EVENTS {
        let data = format!(r#"{{"n":{n},"padding":"{padding}"}}"#);
        server.publish_all([tidings::NewEvent { data: data.into(), ..event("t", "all", 0) }]).await;
        // Requests in between are answered in between.
        if n % 100 == 50 {
            session.say(r#"421["ping",{"id":"a"}]"#).await;
            session.say(r#"42/custom,1["ping",{"id":"b"}]"#).await;
        }
    }
    let blocked = |server: &Server| server.service.counters().blocked.load(Ordering::Relaxed) > 0;
    server.until("the socket takes no more", blocked).await;
    let (mut main, mut custom, mut pongs) = (0, 0, 0);
    while main < EVENTS || custom < EVENTS || pongs < 8 {
        let packet = session.next().await;
        if packet.starts_with("43") {
            pongs += 1;
            continue;
        }
        let (next, json) = match packet.strip_prefix("42/custom,") {
            Some(json) => (&mut custom, json),
            None => (&mut main, packet.strip_prefix("42").unwrap()),
        };
        let event: Vec<Value> = serde_json::from_str(json).unwrap();
        assert_eq!(event[1]["n"], *next, "in order, each once");
        *next += 1;
    }
    session.is_alive().await;
    session.is_alive_in("/custom,").await;
}

#[tokio::test]
async fn reading_the_past_in_one_namespace_does_not_hold_up_the_other() {
    let server = start(quiet()).await;
    for by in [By::Polling, By::WebSocket] {
        let mut session = both(&server, by).await;
        server.publish("a/1", "b", 1).await;
        assert_eq!(session.next().await, r#"42/custom,["n",1]"#);
        session.say(r#"42/custom,1["subscribe",{"id":"s","topics":["a/1"],"cursor":"earliest"}]"#).await;
        let subscribed = session.next().await;
        assert!(subscribed.starts_with("43/custom,1["), "{subscribed}");
        let mut past = session.next().await;
        while past.starts_with(r#"42/custom,["n","#) {
            past = session.next().await;
        }
        assert!(past.starts_with(r#"42/custom,["tidings.live","#), "{past}");
        session.is_alive().await;
        session.is_alive_in("/custom,").await;
    }
}

/// What was not read makes the kernel answer what is written next with a reset: the lane finds the client gone in the middle of what
/// it has to do.
#[tokio::test]
async fn clients_that_hang_up_while_they_are_told_something_are_only_gone() {
    let server = start(quiet()).await;
    for _ in 0..5 {
        let mut sessions = Vec::new();
        for _ in 0..20 {
            sessions.push(two(&server, By::WebSocket, ANN, ANN).await);
        }
        server.publish("t", "all", 1).await;
        settle(&server).await;
        drop(sessions);
        server.hub.close(&Revocation::principal("ann"), CloseReason::Revoked);
        server.until("they are gone", |server| server.service.open_streams() == 0).await;
    }
    for _ in 0..50 {
        let mut session = two(&server, By::WebSocket, ANN, ANN).await;
        server.publish("a/1", "all", 1).await;
        for namespace in ["", "/custom,"] {
            for n in 0..20 {
                let cursor = ["earliest", ""][n % 2];
                let subscribe = format!(r#"{{"id":"{n}","topics":["a/{n}"],"cursor":"{cursor}"}}"#);
                session.say(&format!(r#"42{namespace}{n}["subscribe",{subscribe}]"#)).await;
            }
        }
    }
    server.until("they are gone", |server| server.service.open_streams() == 0).await;
    both(&server, By::WebSocket).await.is_alive().await;
}
