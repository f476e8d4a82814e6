//! A stand-in on loopback, and a client that asks it without waiting.
#![allow(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::time::Duration;

use tidings_books::openlibrary::{Client, Settings};
use tidings_books::standin::{self, Standin};
use tokio::net::TcpListener;

/// A stand-in that listens.
pub struct Running {
    pub standin: Standin,
    pub address: SocketAddr,
}

pub async fn start() -> Running {
    start_with(standin::Settings { retry_after: 0, ..standin::Settings::default() }).await
}

pub async fn start_with(settings: standin::Settings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let standin = Standin::new(settings);
    tokio::spawn(standin.clone().serve(listener));
    Running { standin, address }
}

impl Running {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How Open Library is asked here: at once, and again after a moment.
    pub fn settings(&self) -> Settings {
        Settings {
            base_url: self.url(),
            contact: Some("tests@example.org".into()),
            requests_per_second: Some(100_000.0),
            timeout: Duration::from_secs(300),
            backoff: Duration::from_millis(1),
            ..Settings::default()
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.settings()).unwrap()
    }

    /// The paths that were asked for so far.
    pub fn paths(&self) -> Vec<String> {
        self.standin.requests().into_iter().map(|asked| asked.path).collect()
    }
}
