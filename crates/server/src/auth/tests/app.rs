//! An app on loopback, which answers as a test says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::sync::Notify;

/// How the app answers a request.
#[derive(Clone)]
pub enum Reply {
    /// At once.
    Now(u16, Vec<(&'static str, String)>, String),
    /// When it is told to.
    Held(Arc<Notify>, Box<Reply>),
    /// Never.
    Never,
}

pub fn json(status: u16, body: serde_json::Value) -> Reply {
    Reply::Now(status, Vec::new(), body.to_string())
}

pub fn status(status: u16) -> Reply {
    Reply::Now(status, Vec::new(), String::new())
}

#[derive(Default)]
struct Inner {
    replies: Mutex<HashMap<String, Reply>>,
    asked: Mutex<Vec<axum::http::HeaderMap>>,
    arrived: Notify,
}

/// An app whose `/path` answers what was last set for it.
pub struct App {
    inner: Arc<Inner>,
    address: std::net::SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

impl App {
    pub async fn start() -> Self {
        let inner = Arc::<Inner>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(inner.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        App { inner, address, server }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn say(&self, path: &str, reply: Reply) {
        self.inner.replies.lock().unwrap().insert(path.into(), reply);
    }

    /// How often it was asked, since this was last called.
    pub fn asked(&self) -> usize {
        self.questions().len()
    }

    /// The headers of the questions since this was last called.
    pub fn questions(&self) -> Vec<axum::http::HeaderMap> {
        std::mem::take(&mut *self.inner.asked.lock().unwrap())
    }

    /// Waits until a question has arrived.
    pub async fn arrived(&self) {
        self.inner.arrived.notified().await;
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    inner.asked.lock().unwrap().push(request.headers().clone());
    inner.arrived.notify_one();
    let reply = inner.replies.lock().unwrap().get(request.uri().path()).cloned();
    let mut reply = reply.unwrap_or(status(404));
    loop {
        match reply {
            Reply::Now(status, headers, body) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                return response.body(body.into()).unwrap();
            }
            Reply::Held(until, then) => {
                until.notified().await;
                reply = *then;
            }
            Reply::Never => std::future::pending().await,
        }
    }
}
