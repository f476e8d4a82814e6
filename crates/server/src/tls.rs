//! TLS in the program, for who has no reverse proxy.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidings_transports::Handshake;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::settings::TlsSettings;

/// The server's side of TLS, with its certificate.
pub struct Tls(TlsAcceptor);

impl Tls {
    /// Reads the certificate and the key, if the settings name them; relative to `base`.
    pub fn load(settings: &TlsSettings, base: &Path) -> Result<Option<Arc<Tls>>, String> {
        let (Some(cert), Some(key)) = (&settings.cert, &settings.key) else { return Ok(None) };
        let (cert, key) = (base.join(cert), base.join(key));
        let chain = CertificateDer::pem_file_iter(&cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("[tls] cert: {} can't be read: {error}", cert.display()))?;
        // The error of a key names the file alone: what stands in it is a secret.
        let key = PrivateKeyDer::from_pem_file(&key)
            .map_err(|_| format!("[tls] key: {} is not a private key in PEM that can be read", key.display()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| format!("[tls] the certificate and the key don't fit: {error}"))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Arc::new(Tls(TlsAcceptor::from(Arc::new(config))))))
    }
}

#[async_trait::async_trait]
impl Handshake for Tls {
    type Io = TlsStream<TcpStream>;

    async fn handshake(&self, socket: TcpStream) -> io::Result<(Self::Io, bool)> {
        let stream = self.0.accept(socket).await?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, is_http2))
    }
}
