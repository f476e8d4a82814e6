//! Asking the hub.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;

use crate::{BuildError, Refused};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// The most bytes of an answer. A claim has the input of its job.
const MOST: usize = 16 << 20;

/// What `problem` documents have before their code (`protocol/README.md` §6).
const PROBLEM: &str = "urn:tidings:problem:";

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A client of one hub.
pub(crate) struct Hub {
    client: reqwest::Client,
    base: String,
    /// Whether the last request was not answered: an outage is logged once and not once for each request.
    away: AtomicBool,
}

/// Why there is no answer that can be used.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The hub can't answer at the moment; the same request may be answered later.
    Away {
        cause: String,
        /// After how long to ask again, if it says so.
        retry_after: Option<Duration>,
    },
    /// The hub refused.
    Refused(Refused),
}

/// A request with a body that is known as a whole, so that it can be sent again.
#[derive(Clone)]
pub(crate) struct Request {
    pub path: String,
    pub content_type: &'static str,
    pub body: Bytes,
    pub authorization: Option<HeaderValue>,
    /// How long the whole answer may take.
    pub timeout: Duration,
}

impl Hub {
    /// A client; the error is a sentence about the address.
    pub fn new(url: &str) -> Result<Self, BuildError> {
        let base = url.trim().trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&base).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        });
        let Some(parsed) = parsed.filter(|url| url.query().is_none() && url.fragment().is_none()) else {
            // What was given is not repeated: somebody may have written a password into it.
            return Err(BuildError("the hub's address is none: write it like http://127.0.0.1:8090".into()));
        };
        let client = client(parsed.scheme() == "https")
            .build()
            .map_err(|error| BuildError(format!("no client for {base} can be made: {}", causes(&error))))?;
        Ok(Hub { client, base, away: AtomicBool::new(false) })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks once. The answer is a 2xx with its whole body.
    pub async fn post(&self, request: &Request) -> Result<(StatusCode, Bytes), Trouble> {
        let exchange = async {
            let mut builder = self
                .client
                .post(format!("{}{}", self.base, request.path))
                .header(ACCEPT, JSON)
                .header(CONTENT_TYPE, request.content_type)
                .body(request.body.clone());
            if let Some(authorization) = &request.authorization {
                builder = builder.header(AUTHORIZATION, authorization.clone());
            }
            let response = builder.send().await.map_err(|error| away(&error))?;
            let status = response.status();
            let retry_after = retry_after(response.headers());
            let location = location(response.headers());
            let body = whole(response).await?;
            if status.is_success() { Ok((status, body)) } else { Err(refusal(status, retry_after, location, &body)) }
        };
        let answer =
            tokio::time::timeout(request.timeout, exchange).await.unwrap_or_else(|_| Err(late(request.timeout)));
        self.note(answer.as_ref().err());
        answer
    }

    /// Asks for a file from an offset on; the answer is a 200 or 206 whose body is still to be read.
    pub async fn file(
        &self,
        path: &str,
        authorization: &HeaderValue,
        from: u64,
        timeout: Duration,
    ) -> Result<Response, Trouble> {
        let exchange = async {
            let mut builder = self
                .client
                .request(Method::GET, format!("{}{path}", self.base))
                .header(AUTHORIZATION, authorization.clone());
            if from > 0 {
                builder = builder.header(RANGE, format!("bytes={from}-"));
            }
            let response = builder.send().await.map_err(|error| away(&error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let (retry_after, location) = (retry_after(response.headers()), location(response.headers()));
            let body = whole(response).await?;
            Err(refusal(status, retry_after, location, &body))
        };
        let answer = tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| Err(late(timeout)));
        self.note(answer.as_ref().err());
        answer
    }

    /// Logs the beginning and the end of an outage.
    fn note(&self, trouble: Option<&Trouble>) {
        let is_away = matches!(trouble, Some(Trouble::Away { .. }));
        if self.away.swap(is_away, Ordering::Relaxed) == is_away {
            return;
        }
        match trouble {
            Some(Trouble::Away { cause, .. }) => {
                tracing::warn!(hub = self.base, cause, "the hub does not answer; it is asked again until it does");
            }
            _ => tracing::info!(hub = self.base, "the hub answers again"),
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("base", &self.base).finish_non_exhaustive()
    }
}

/// A header with a secret, which no Debug shows; `None` if it has characters that no header has.
pub(crate) fn bearer(secret: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.trim())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn client(is_secure: bool) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("tidings-worker/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        // A redirect is an answer: the key is for this hub and for nobody that it names.
        .redirect(reqwest::redirect::Policy::none())
        // Requests are sent again here, with pauses and bounds.
        .retry(reqwest::retry::never());
    let provider = rustls::crypto::ring::default_provider();
    if is_secure {
        // An error says that the program has chosen a provider, which is then used.
        let _ = provider.install_default();
        return builder;
    }
    // The certificates of the system are read only where they are needed: a small container may have none.
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    builder.tls_backend_preconfigured(config)
}

async fn whole(mut response: Response) -> Result<Bytes, Trouble> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| away(&error))? {
        if body.len() + chunk.len() > MOST {
            return Err(Trouble::Refused(Refused {
                status: response.status().as_u16(),
                code: "answer-too-large".into(),
                detail: format!("the hub's answer has more than {MOST} bytes"),
            }));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn location(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(LOCATION)?.to_str().ok()?.to_owned())
}

/// The members of a problem document that are of use here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    r#type: String,
    title: String,
    detail: String,
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, location: Option<String>, body: &[u8]) -> Trouble {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let detail = [problem.detail, problem.title].into_iter().find(|text| !text.is_empty());
    let passes = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    if status.is_server_error() || passes.contains(&status) {
        let cause = detail.unwrap_or_else(|| format!("the answer is {status}"));
        return Trouble::Away { cause, retry_after };
    }
    let detail = detail.unwrap_or_else(|| match location {
        Some(location) if status.is_redirection() => format!("the hub has another address: {location}"),
        _ => format!("the answer is {status}, and not one of Tidings: is it a hub that listens there?"),
    });
    let code = problem.r#type.strip_prefix(PROBLEM).unwrap_or_default().to_owned();
    Trouble::Refused(Refused { status: status.as_u16(), code, detail })
}

fn late(timeout: Duration) -> Trouble {
    Trouble::Away { cause: format!("no answer within {} s", timeout.as_secs()), retry_after: None }
}

fn away(error: &reqwest::Error) -> Trouble {
    Trouble::Away { cause: causes(error), retry_after: None }
}

/// What is behind an error. Its own sentence only repeats the address.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return "nothing listens there: is the hub running?".into();
        }
        causes.push(inner.to_string());
        cause = inner.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_a_sentence_that_repeats_no_password() {
        for wrong in ["", "127.0.0.1:8090", "ftp://a", "http://", "http://u:hunter2@host", "http://a?b", "http://a#b"] {
            let error = Hub::new(wrong).unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:8090") && !error.contains("hunter2"), "{wrong}: {error}");
        }
        assert_eq!(Hub::new("http://hub.example/live/").unwrap().base(), "http://hub.example/live");
    }

    #[test]
    fn a_credential_is_not_shown_by_debug() {
        assert!(!format!("{:?}", bearer("tdl_hunter2").unwrap()).contains("hunter2"));
        assert!(bearer("two\nlines").is_none());
    }

    #[test]
    fn a_refusal_has_the_code_of_its_problem_and_an_answer_of_somebody_else_says_so() {
        let body = br#"{"type":"urn:tidings:problem:lease-lost","detail":"another worker has it"}"#;
        let Trouble::Refused(refused) = refusal(StatusCode::CONFLICT, None, None, body) else { panic!() };
        assert_eq!((refused.code.as_str(), refused.detail.as_str()), ("lease-lost", "another worker has it"));
        let Trouble::Refused(refused) = refusal(StatusCode::NOT_FOUND, None, None, b"<html>") else { panic!() };
        assert!(refused.detail.contains("is it a hub"), "{refused}");
    }

    #[tokio::test]
    async fn where_nothing_listens_the_sentence_says_so() {
        // Nobody else can have the port meanwhile.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let hub = Hub::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
        let request = Request {
            path: "/v1/jobs/claim".into(),
            content_type: JSON,
            body: Bytes::new(),
            authorization: None,
            timeout: Duration::from_secs(10),
        };
        let Err(Trouble::Away { cause, .. }) = hub.post(&request).await else { panic!() };
        assert!(cause.contains("is the hub running?"), "{cause}");
    }

    #[test]
    fn what_passes_is_asked_again_and_after_the_time_that_was_asked_for() {
        for status in [429, 500, 502, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            let trouble = refusal(status, Some(Duration::from_secs(3)), None, b"");
            assert!(
                matches!(trouble, Trouble::Away { retry_after: Some(after), .. } if after.as_secs() == 3),
                "{status}"
            );
        }
    }
}
