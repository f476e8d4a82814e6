//! Says back what it hears over WebSocket: a server for conformance suites, built of nothing but the pure codec.
//!
//! Listens on the address it is given, else on 127.0.0.1:9001. Against the Autobahn test suite:
//!
//! ```text
//! cargo run --release -p tidings-transports --example websocket_echo &
//! echo '{"servers": [{"url": "ws://127.0.0.1:9001"}], "cases": ["*"], "exclude-cases": ["12.*", "13.*"]}' >spec.json
//! wstest -m fuzzingclient -s spec.json    # python2.7 -m pip install autobahntestsuite
//! ```
//! The cases left out are those of compression, an extension that is not spoken here.

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tidings_transports::websocket::frame::{self, Decoder, Message};
use tidings_transports::websocket::handshake;
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What the biggest message of the suite carries (9.1.6), in bytes.
const MAX_MESSAGE: usize = 16 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, Router::new().fallback(upgrade)).await
}

async fn upgrade(mut request: axum::extract::Request) -> Response {
    let on_upgrade = hyper::upgrade::on(&mut request);
    match handshake::check(&request.into_parts().0) {
        Ok(upgrade) => {
            tokio::spawn(serve(on_upgrade));
            upgrade.accept(None)
        }
        Err(problem) => problem.into_response(),
    }
}

async fn serve(on_upgrade: OnUpgrade) {
    if let Ok(upgraded) = on_upgrade.await
        && let Err(error) = echo(TokioIo::new(upgraded)).await
    {
        eprintln!("{error}");
    }
}

async fn echo(mut socket: TokioIo<Upgraded>) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut input = &buffer[..read];
        loop {
            let answer = match decoder.next(&mut input, MAX_MESSAGE) {
                Ok(None) => break,
                Ok(Some(Message::Text(text))) => frame::text(text.as_bytes()),
                Ok(Some(Message::Binary(bytes))) => frame::binary(&bytes),
                Ok(Some(Message::Ping(payload))) => frame::pong(&payload),
                Ok(Some(Message::Pong(_))) => continue,
                Ok(Some(Message::Close { code, reason })) => {
                    return end(socket, &frame::close(code.unwrap_or(1000), &reason)).await;
                }
                Err(fault) => return end(socket, &frame::close(fault.code, fault.reason)).await,
            };
            socket.write_all(&answer).await?;
        }
    }
}

/// Says goodbye, and reads on until the other side is gone: a socket closed with bytes unread is reset, and the goodbye lost.
async fn end(mut socket: TokioIo<Upgraded>, close: &[u8]) -> io::Result<()> {
    socket.write_all(close).await?;
    socket.shutdown().await?;
    io::copy(&mut socket, &mut io::sink()).await?;
    Ok(())
}
