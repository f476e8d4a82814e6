//! Any request to the routes of streams, polls and publishing: its first line, header lines, an empty line, its body.
//! Each is answered, none with a fault of ours, and a refusal says what is wrong.

#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidings::{Grants, Hub, Limits, Principal, Profile, PublishRights, SystemClock};
use tidings_brokers::memory::{MemoryBroker, MemorySettings};
use tidings_brokers::retention::Retention;
use tidings_fuzz::rich_profile;
use tidings_transports::{
    Answer, Authenticate, Cors, Mount, Problem, Publishing, Service, Stream, StreamSettings, router,
};
use tokio::runtime::Runtime;
use tower::ServiceExt;

struct Anybody;

#[async_trait::async_trait]
impl Authenticate for Anybody {
    async fn authenticate(&self, _: tidings_transports::Request<'_>) -> Result<Arc<Principal>, Problem> {
        let grants = Grants::parse(["**"]).expect("a literal grant");
        Ok(Arc::new(Principal { publish: PublishRights::All, ..Principal::new("u", grants, "anonymous") }))
    }
}

static SERVER: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limits = Limits {
        poll_wait: Duration::ZERO,
        window_events: 256,
        event_data: 512,
        batch_events: 8,
        request_bytes: 2048,
        ..Limits::default()
    };
    let router = runtime.block_on(async {
        let clock = Arc::new(SystemClock);
        let retention = Retention { events: Some(256), ..Retention::default() };
        let broker = Arc::new(MemoryBroker::with_clock(MemorySettings { retention }, clock.clone()));
        let app = Arc::new(rich_profile());
        let hub = Hub::open(broker, [app.clone()], clock, limits).await.expect("a hub in memory");
        let service = Service::new(hub, None, None);
        let open = Arc::new(Profile::open());
        let auth: Arc<dyn Authenticate> = Arc::new(Anybody);
        let settings = StreamSettings { cors: Cors::Any, ..StreamSettings::default() };
        let mount = |path: &str, answer, profile: &Arc<Profile>| Mount {
            path: path.into(),
            answer,
            stream: Stream::new(settings.clone(), profile.clone()),
            auth: auth.clone(),
        };
        let mounts = vec![
            mount("/v1/events", Answer::Sse, &open),
            mount("/v1/poll", Answer::Poll, &open),
            mount("/app", Answer::Poll, &app),
        ];
        let publishing = Publishing {
            path: "/v1/publish".into(),
            auth: auth.clone(),
            profiles: BTreeMap::from([("app".to_owned(), app)]),
            default: open,
        };
        router(&service, mounts, vec![publishing])
    });
    (runtime, router)
});

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = read(bytes) else { return };
    let (runtime, router) = &*SERVER;
    let streams = request.uri().path() == "/v1/events";
    let answer = runtime.block_on(async {
        let answer = router.clone().oneshot(request).await.expect("a router always answers");
        let (head, body) = answer.into_parts();
        // A stream that was opened does not end.
        let opened = streams && head.status == StatusCode::OK;
        let body = if opened { None } else { Some(to_bytes(body, 1 << 20).await.expect("a whole answer")) };
        (head, body)
    });
    let (head, body) = answer;
    assert_ne!(head.status, StatusCode::INTERNAL_SERVER_ERROR);
    let kind = head.headers.get("content-type").map(|value| value.to_str().expect("our own header"));
    if let (Some("application/problem+json"), Some(body)) = (kind, body.filter(|body| !body.is_empty())) {
        let problem: Value = serde_json::from_slice(&body).expect("a problem is JSON");
        assert_eq!(problem["status"], head.status.as_u16());
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
});

fn read(bytes: &[u8]) -> Option<Request<Body>> {
    let mut rest = bytes;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        line
    };
    let first = line();
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::from_bytes(&first[..space]).ok()?;
    *request.uri_mut() = Uri::try_from(&first[space + 1..]).ok()?;
    loop {
        let header = line();
        let Some(colon) = header.iter().position(|byte| *byte == b':') else { break };
        let value = header[colon + 1..].trim_ascii();
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&header[..colon]), HeaderValue::from_bytes(value)) else {
            break;
        };
        request.headers_mut().append(name, value);
    }
    *request.body_mut() = Body::from(rest.to_vec());
    Some(request)
}
