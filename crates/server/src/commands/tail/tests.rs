use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use http::StatusCode;

use super::*;

fn message(name: &str, data: &str) -> Message {
    Message { name: name.into(), data: data.into() }
}

#[test]
fn an_event_is_one_line_whatever_is_in_it() {
    let at = Timestamp(1_000);
    let text = as_text(&message("a", "{\"x\": 1}"), "e-1", at, false);
    assert_eq!(text, "00:00:01Z a {\"x\": 1} e-1\n");
    let nasty = as_text(&message("a\x1b[2J", "one\ntwo\u{9b}31m"), "", at, false);
    assert_eq!(nasty, "00:00:01Z a\\u{1b}[2J one two\\u{9b}31m \n");
    assert!(as_text(&message("a", "1"), "e-1", at, true).contains("\x1b[1;36ma\x1b[0m"));
}

#[test]
fn as_json_an_event_has_its_name_id_and_data() {
    assert_eq!(as_json(&message("a", "{\"x\":\n1}"), "e-1"), "{\"data\":{\"x\":1},\"id\":\"e-1\",\"name\":\"a\"}\n");
    assert_eq!(as_json(&message("a", "hello"), ""), "{\"data\":\"hello\",\"id\":null,\"name\":\"a\"}\n");
}

#[test]
fn a_goodbye_says_whether_to_come_back() {
    let close = |data: &str| goodbye(&message("tidings.close", data));
    assert!(matches!(close(r#"{"message":"m","reconnect":true}"#), Ok(Some(text)) if text == "m"));
    assert!(matches!(close(r#"{"message":"m","reconnect":false}"#), Err(Failure(text)) if text == "m"));
    assert!(matches!(goodbye(&message("a", "1")), Ok(None)));
}

#[test]
fn who_was_never_connected_is_told_at_once_and_who_was_waits() {
    let gone = Refused::Unreachable(String::new());
    assert_eq!(comes_back(&gone, false), None);
    assert_eq!(comes_back(&gone, true), Some(None));
    let status = |status, retry_after| Refused::Status { status, sentence: String::new(), retry_after };
    let wait = Some(Duration::from_secs(7));
    assert_eq!(comes_back(&status(StatusCode::TOO_MANY_REQUESTS, wait), false), Some(wait));
    assert_eq!(comes_back(&status(StatusCode::UNAUTHORIZED, None), true), None);
}

#[tokio::test]
async fn a_cut_stream_is_resumed_after_the_last_event_and_each_event_is_shown_once() {
    type Asked = (String, Option<String>);
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let seen = asked.clone();
    let stream = get(move |uri: http::Uri, headers: HeaderMap| async move {
        let id = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
        let mut asked = seen.lock().unwrap();
        asked.push((uri.query().unwrap_or_default().to_owned(), id));
        let body = match asked.len() {
            1 => {
                "retry: 0\n\nevent: tidings.open\ndata: {}\nid: e-0\n\nevent: a\ndata: 1\nid: e-1\n\nevent: a\ndata: 2\nid: e-2\n"
            }
            _ => {
                "event: a\ndata: 2\nid: e-2\n\nevent: tidings.gap\ndata: {}\n\nevent: tidings.close\ndata: {\"message\":\"enough\",\"reconnect\":false}\n\n"
            }
        };
        ([(header::CONTENT_TYPE, "text/event-stream")], body)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/events", stream)).await });

    let args = TailArgs {
        topic: vec!["book/*".into()],
        name: vec![],
        since: Some("earliest".into()),
        path: "/v1/events".into(),
        json: true,
        hub: HubArgs { url, token: None },
    };
    let mut lines = Vec::new();
    let write = |line: &str| {
        lines.push(line.to_owned());
        Ok(())
    };
    let mut screen = Screen { write, json: true, colours: false };
    let ended = follow(&args, &mut screen).await;
    server.abort();

    assert_eq!(ended.unwrap_err().to_string(), "enough");
    assert_eq!(
        lines,
        [
            "{\"data\":1,\"id\":\"e-1\",\"name\":\"a\"}\n",
            "{\"data\":2,\"id\":\"e-2\",\"name\":\"a\"}\n",
            "{\"data\":{},\"id\":\"e-2\",\"name\":\"tidings.gap\"}\n",
        ]
    );
    let asked = asked.lock().unwrap();
    let queries: Vec<_> = asked.iter().map(|(query, id)| (query.as_str(), id.as_deref())).collect();
    assert_eq!(queries, [("topic=book%2F%2A&cursor=earliest", None), ("topic=book%2F%2A", Some("e-1"))]);
}
