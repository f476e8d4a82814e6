//! What a request asks for: its query on the first line, its `Last-Event-ID` on the second.

#![no_main]

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, Uri};
use libfuzzer_sys::fuzz_target;
use tidings::{Cursor, Profile};
use tidings_fuzz::rich_profile;
use tidings_transports::stream::Filtering;
use tidings_transports::{Stream, StreamSettings, query};

const MOST: usize = 50;

static OPEN: LazyLock<Arc<Stream>> =
    LazyLock::new(|| Stream::new(StreamSettings::default(), Arc::new(Profile::open())));

/// A profile's stream, with parameters of its own.
static APP: LazyLock<Arc<Stream>> = LazyLock::new(|| {
    let filtering = |query: &str, split, topic: &str, always: &[&str]| Filtering {
        query: query.into(),
        split,
        topic: topic.into(),
        always: always.iter().map(|text| text.parse().expect("a literal pattern")).collect(),
    };
    let filters = vec![
        filtering("libraries", Some(','), "library/{value}", &["server", "user/*"]),
        filtering("item", None, "item/{value}", &[]),
    ];
    Stream::new(StreamSettings { filters, ..StreamSettings::default() }, Arc::new(rich_profile()))
});

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (query_bytes, header) = bytes.split_at(split);
    let Ok(uri) = Uri::try_from([b"/v1/events?", query_bytes].concat()) else { return };
    let mut headers = HeaderMap::new();
    if let Some(Ok(value)) = header.get(1..).map(HeaderValue::from_bytes) {
        headers.insert("last-event-id", value);
    }
    if let Some(id) = query::resume(&headers, &uri) {
        assert!(!id.is_empty());
        let _ = id.parse::<Cursor>();
    }
    for stream in [&*OPEN, &*APP] {
        match query::filter(stream, &uri, MOST) {
            Ok(filter) => {
                let topics = filter.topics.as_deref().unwrap_or_default();
                assert!(topics.len() <= MOST);
                if let Some(namespace) = stream.profile.namespace() {
                    assert!(filter.topics.is_some(), "a profile's stream is given that profile's events alone");
                    let below = format!("{namespace}/");
                    assert!(topics.iter().all(|topic| topic.as_str().starts_with(&below)));
                }
            }
            Err(problem) => assert_eq!(problem.status.as_u16(), 400),
        }
    }
});
