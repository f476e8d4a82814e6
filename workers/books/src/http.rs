//! What each HTTP client here has in common.

use reqwest::{Client, ClientBuilder, Response, Url};

/// Why a body was not taken.
#[derive(Debug)]
pub enum BodyError {
    /// The connection broke, or it took too long.
    Broken(reqwest::Error),
    /// It has more bytes than it may have.
    TooLarge,
}

/// A client for one host. A host on this machine is asked directly, whatever proxy the environment names.
pub fn client(host: &Url) -> ClientBuilder {
    // Whoever links several TLS users installs one provider for all; that it is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if is_here(host) { Client::builder().no_proxy() } else { Client::builder() }
}

/// The whole body, unless it has more than `most` bytes.
pub async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if chunk.len() > most - body.len() {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_each_of_its_names() {
        for url in ["http://localhost:11434/v1", "http://127.0.0.1/", "http://127.1.2.3:80/", "https://[::1]:8443/"] {
            assert!(is_here(&Url::parse(url).unwrap()), "{url}");
        }
        for url in ["https://openlibrary.org", "http://localhost.example.org/", "http://10.0.0.1/"] {
            assert!(!is_here(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
