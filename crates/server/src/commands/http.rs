//! The client of the commands that ask a running hub.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::Failure;
use crate::auth::Secret;

/// Where the hub is, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub struct HubArgs {
    /// Where the hub is
    #[arg(long, value_name = "URL", env = "TIDINGS_URL", default_value = "http://127.0.0.1:8090")]
    pub url: String,
    /// The API key or token to ask with
    #[arg(long, value_name = "TOKEN", env = "TIDINGS_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<Secret>,
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::from(text))
}

/// A body that is sent.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// How long the hub may take to accept the connection and to begin its answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long it may take where a file is sent, or waited for somebody.
const LONG: Duration = Duration::from_secs(3600);

/// The most bytes of an answer that is no stream.
const MOST: usize = 16 << 20;

/// A client of one hub.
pub struct Hub {
    client: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Body>,
    base: String,
    authorization: Option<HeaderValue>,
    /// How long the hub may take to begin its answer.
    patience: Duration,
}

/// Why there is no answer that can be used.
#[derive(Debug)]
pub enum Refused {
    /// The hub can't be reached at the moment.
    Unreachable(String),
    /// The hub answered with a refusal.
    Status {
        /// Which.
        status: StatusCode,
        /// The sentence for people.
        sentence: String,
        /// After how long to ask again, if it says so.
        retry_after: Option<Duration>,
    },
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unreachable(sentence) | Refused::Status { sentence, .. } => Failure::new(sentence),
        }
    }
}

impl Hub {
    /// A client; the error is a sentence about the address or the token.
    pub fn new(args: &HubArgs) -> Result<Self, Failure> {
        let base = args.url.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = base.parse().ok();
        let has_host = uri.as_ref().is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
        });
        if !has_host || base.contains(['?', '#', '@']) {
            let sentence = format!("--url {base:?} is no address: write it like http://127.0.0.1:8090");
            return Err(Failure::new(sentence));
        }
        let authorization = args.token.as_ref().map(|token| -> Result<HeaderValue, Failure> {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose().trim()))
                .map_err(|_| Failure::new("the token holds characters that no token has"))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let authorization = authorization.transpose()?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_secs(10)));
        let provider = rustls::crypto::ring::default_provider();
        let https = if base.starts_with("https") {
            HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(provider)
                .map_err(|error| Failure::new(format!("the certificates of the system can't be read: {error}")))?
        } else {
            // The certificates are read only where they are needed: a health check has none to wait for.
            let config = rustls::ClientConfig::builder_with_provider(provider.into())
                .with_safe_default_protocol_versions()
                .expect("ring supports the default versions")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            HttpsConnectorBuilder::new().with_tls_config(config)
        };
        let connector = https.https_or_http().enable_http1().wrap_connector(http);
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Hub { client, base, authorization, patience: ANSWER })
    }

    /// The same for what takes long: a large file to send, an answer that waits for somebody else.
    pub fn patient(self) -> Self {
        Hub { patience: LONG, ..self }
    }

    /// Asks, and returns the answer if it is a 2xx; its body may be a stream.
    pub async fn open(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, Refused> {
        let uri: Uri = format!("{}{target}", self.base)
            .parse()
            .map_err(|_| Refused::Unreachable(format!("{}{target} is no address", self.base)))?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
            .headers_mut()
            .insert(header::USER_AGENT, HeaderValue::from_static(concat!("tidings/", env!("CARGO_PKG_VERSION"))));
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
        let response = match tokio::time::timeout(self.patience, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Refused::Unreachable(self.unreachable(&error))),
            Err(_) => {
                let sentence = format!("{} did not answer within {} s", self.base, self.patience.as_secs());
                return Err(Refused::Unreachable(sentence));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// Asks, and waits for the whole answer, which is JSON.
    pub async fn ask(&self, method: Method, target: &str, headers: HeaderMap, body: Body) -> Result<Value, Refused> {
        let response = self.open(method, target, headers, body).await?;
        let bytes = self.collect(response).await?;
        serde_json::from_slice(&bytes).map_err(|_| {
            Refused::Unreachable(format!("{} answered with no JSON: is it Tidings that listens there?", self.base))
        })
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, Refused> {
        let body = Limited::new(response.into_body(), MOST).collect();
        match tokio::time::timeout(ANSWER, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            _ => Err(Refused::Unreachable(format!("the answer of {} broke off", self.base))),
        }
    }

    fn unreachable(&self, error: &hyper_util::client::legacy::Error) -> String {
        let mut causes = Vec::new();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(inner) = cause {
            if let Some(io) = inner.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return format!(
                    "nothing listens at {}: is `tidings serve` running? Another address is given by --url or TIDINGS_URL",
                    self.base
                );
            }
            causes.push(inner.to_string());
            cause = inner.source();
        }
        if !error.is_connect() {
            return format!("the connection to {} broke: {}", self.base, causes.join(": "));
        }
        format!("{} can't be reached: {}", self.base, causes.join(": "))
    }

    async fn refusal(&self, response: Response<Incoming>) -> Refused {
        let status = response.status();
        let number = |name: header::HeaderName| response.headers().get(name)?.to_str().ok()?.trim().parse().ok();
        let retry_after = number(header::RETRY_AFTER).map(Duration::from_secs);
        let body = self.collect(response).await.unwrap_or_default();
        Refused::Status { status, sentence: sentence(status, &body, self.authorization.is_some()), retry_after }
    }
}

/// What a refusal says, for people.
fn sentence(status: StatusCode, body: &[u8], with_token: bool) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut sentence = match problem["detail"].as_str() {
        Some(detail) => format!("{detail} ({})", status.as_u16()),
        None => format!("the answer is {status}"),
    };
    // The first is what `detail` tells.
    for error in problem["errors"].as_array().into_iter().flatten().skip(1) {
        if let (Some(index), Some(detail)) = (error["index"].as_u64(), error["detail"].as_str()) {
            let field = error["field"].as_str().unwrap_or_default();
            sentence.push_str(&format!("\n  event {index}: {field}: {detail}"));
        }
    }
    if status == StatusCode::UNAUTHORIZED && !with_token {
        sentence.push_str("\ngive a key with --token or TIDINGS_TOKEN; `tidings key create` makes one");
    }
    sentence
}

/// No body.
pub fn empty() -> Body {
    whole(Bytes::new())
}

/// A body that is known as a whole.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    UnsyncBoxBody::new(Full::new(bytes.into()))
}

/// A path with a query; pairs without a value are left out.
pub fn target<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut target = path.to_owned();
    for (name, value) in pairs {
        let Some(value) = value else { continue };
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(name);
        target.push('=');
        target.extend(percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC));
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(url: &str) -> Result<Hub, Failure> {
        Hub::new(&HubArgs { url: url.into(), token: None })
    }

    #[test]
    fn an_address_that_is_none_is_a_sentence() {
        for wrong in ["127.0.0.1:8090", "ftp://a", "http://", "http://u:p@host", "http://a?b"] {
            assert!(hub(wrong).is_err(), "{wrong}");
        }
        assert!(hub("https://hub.example/live/").is_ok_and(|hub| hub.base == "https://hub.example/live"));
    }

    #[test]
    fn a_query_is_escaped_and_what_is_not_given_is_left_out() {
        let pairs = [("topic", Some("a/*&b")), ("name", None), ("cursor", Some("x"))];
        assert_eq!(target("/v1/events", pairs), "/v1/events?topic=a%2F%2A%26b&cursor=x");
        assert_eq!(target("/sse?libraries=l1", [("cursor", Some("x"))]), "/sse?libraries=l1&cursor=x");
    }

    #[test]
    fn a_refusal_says_what_the_problem_says_and_what_to_do() {
        let body = br#"{"detail":"event 0: name: too long","errors":[{"index":0},{"index":2,"field":"topic","detail":"is empty"}]}"#;
        let text = sentence(StatusCode::UNPROCESSABLE_ENTITY, body, true);
        assert_eq!(text, "event 0: name: too long (422)\n  event 2: topic: is empty");
        assert!(sentence(StatusCode::UNAUTHORIZED, b"", false).contains("TIDINGS_TOKEN"));
        assert_eq!(sentence(StatusCode::BAD_GATEWAY, b"<html>", true), "the answer is 502 Bad Gateway");
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let args = HubArgs { url: "http://a".into(), token: Some(Secret::from("tdg_hunter2")) };
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn where_nothing_listens_the_sentence_says_so() {
        // Nobody else can have the port meanwhile.
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let refused = hub(&url).unwrap().ask(Method::GET, "/health", HeaderMap::new(), empty()).await;
        let text = Failure::from(refused.unwrap_err()).to_string();
        assert!(text.contains("nothing listens at http://127.0.0.1:") && text.contains("tidings serve"), "{text}");
    }
}
