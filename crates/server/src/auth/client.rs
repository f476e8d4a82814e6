//! Asking others over HTTP: the app, and the publisher of a key set.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// How long an idle connection to the app is kept for the next question.
const IDLE: Duration = Duration::from_secs(30);

/// The most idle connections to one host.
const IDLE_PER_HOST: usize = 32;

/// A client for http and https that trusts the certificates of the system (`SSL_CERT_FILE` names others). Cheap to
/// clone; clones share their connections. Redirects are not followed: they are an answer.
#[derive(Clone, Default)]
pub struct Client(Arc<OnceLock<Pool>>);

type Pool = hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// A whole answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer. Says nothing of what was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The connection failed or broke.
    #[error("{0}")]
    Broken(String),
    /// The answer is larger than it may be.
    #[error("the answer has more than {0} bytes")]
    Large(usize),
}

impl Client {
    /// A client. It reads the certificates of the system when it first asks.
    pub fn new() -> Self {
        Client::default()
    }

    fn pool() -> Pool {
        let provider = rustls::crypto::ring::default_provider();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let https = match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider) {
            Ok(builder) => builder.https_or_http().enable_http1().wrap_connector(http),
            Err(error) => {
                tracing::warn!(%error, "the system has no certificates, so no https address can be asked");
                let config =
                    rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                        .with_safe_default_protocol_versions()
                        .expect("ring supports the default versions")
                        .with_root_certificates(rustls::RootCertStore::empty())
                        .with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(http)
            }
        };
        hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(https)
    }

    /// Asks, and waits for the whole answer.
    pub async fn ask(
        &self,
        method: &Method,
        uri: &Uri,
        headers: HeaderMap,
        timeout: Duration,
        most: usize,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        let exchange = async {
            let response = self
                .0
                .get_or_init(Client::pool)
                .request(request)
                .await
                .map_err(|error| NoAnswer::Broken(causes(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    NoAnswer::Large(most)
                } else {
                    NoAnswer::Broken("the answer broke off".into())
                }
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(NoAnswer::Late(timeout)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// An error and what is behind it: "client error (Connect): tcp connect error: Connection refused".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Reads the address of something to ask; the error is a sentence.
pub fn address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "it is not an address like http://app:8080/path".to_owned())?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => {}
        _ => return Err("it must be an address that begins with http:// or https://".into()),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("it must not hold a user or a password".into());
    }
    Ok(uri)
}
