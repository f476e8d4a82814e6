//! Any headers, query and first message at a door with every source that needs no app: lines, the first of them the target,
//! one that begins with `{` the message, the others headers.
//! Nobody has a credential here, so nobody is let in, and the refusal is one of the client's.

#![no_main]

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use tidings_server::auth::{AuthContext, Authenticator, MemoryStore};
use tidings_transports::Request;
use tokio::runtime::Runtime;

static DOOR: LazyLock<(Runtime, Authenticator)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let settings = serde_json::from_value(json!({
        "anonymous": "reject",
        "sources": [
            { "kind": "ticket" },
            { "kind": "api-key", "in": [{ "header": "x-api-key" }, { "header": "authorization", "scheme": "Bearer", "prefix": "tdg_" }, { "query": "key" },
                { "subprotocol": "bearer.", "prefix": "tdg_" }, { "payload": "key" }],
              "keys": [{ "name": "k", "value": "a secret that the fuzzer does not know: 7f3a" }] },
            { "kind": "jwt", "in": [{ "header": "authorization", "scheme": "Bearer" }, { "cookie": "session" }, { "subprotocol": "bearer." }, { "subprotocol": "" }, { "payload": "token" }],
              "secret": "another secret that the fuzzer does not know: 91bc" },
            { "kind": "proxy-header", "trusted": ["10.0.0.0/8"] },
        ],
    }));
    let context = AuthContext::new(Arc::new(MemoryStore::default()), Arc::new(|_, _| {}));
    let door = Authenticator::new(&settings.expect("literal settings"), context).expect("good settings");
    (runtime, door)
});

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return };
    let mut headers = HeaderMap::new();
    let mut payload = None;
    for line in lines {
        if line.starts_with(b"{") {
            payload = serde_json::from_slice(line).ok();
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) else { return };
        headers.append(name, value);
    }
    let (runtime, door) = &*DOOR;
    let (peer, payload) = ([192, 0, 2, 1].into(), payload.as_ref());
    let request = Request { method: &Method::GET, uri: &uri, headers: &headers, peer, payload };
    let refused = runtime.block_on(door.identify(request)).expect_err("nobody has a credential");
    assert!(matches!(refused.status.as_u16(), 400 | 401), "{refused:?}");
});
