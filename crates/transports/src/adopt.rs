//! Connections that go both ways, from the server that shook hands to the lane that holds them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::handover::{Granted, Handed};
use crate::lane::{Claim, Conversation, End, Lanes, Remote};
use crate::limiter::Permit;
use crate::session::Session;
use crate::websocket::frame::{self, Decoder, Message};

/// How long a client may take to move from long-polling to the WebSocket that it has opened for it.
const MOVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The most bytes of a message while it moves: `2probe` and `5`.
const MAX_PROBE: usize = 1 << 10;

/// Hands a plain socket over. `permit` counts it.
pub(crate) fn socket(
    lanes: &Arc<Lanes>,
    handed: Handed,
    head: Bytes,
    socket: tokio::net::TcpStream,
    unread: Vec<u8>,
    permit: Permit,
) -> Option<()> {
    match handed {
        Handed::Stream(_) => None,
        Handed::Conversation(mut granted, session) => {
            granted.permit = permit.join(granted.permit);
            let end = End::Socket(socket.into_std().ok()?);
            lanes.converse(Conversation { end, head, unread, granted, session, polls: false });
            Some(())
        }
        Handed::Move(claim) => {
            tokio::spawn(async move {
                if let Some((socket, unread)) = settle(&claim, head, socket, unread).await
                    && let Ok(socket) = socket.into_std()
                {
                    let remote = claim.used();
                    // At once: a poll that comes before the lane knows is to be refused, not let go.
                    remote.leave();
                    remote.move_to(socket, unread, Some(permit));
                }
            });
            Some(())
        }
    }
}

/// Carries a connection whose socket no lane can hold, until it ends.
pub(crate) async fn remote(
    lanes: &Arc<Lanes>,
    handed: Handed,
    head: Bytes,
    io: impl AsyncRead + AsyncWrite + Unpin,
    unread: Vec<u8>,
    permit: Option<Permit>,
) {
    match handed {
        Handed::Stream(_) => {}
        Handed::Conversation(granted, session) => {
            let remote = converse(lanes, head, granted, session, permit, false);
            remote.carry(io, unread, lanes.stall()).await;
        }
        Handed::Move(claim) => {
            if let Some((io, unread)) = settle(&claim, head, io, unread).await {
                let remote = claim.used();
                // Here it does not end: whoever looked for it among those that poll finds it no more.
                remote.leave();
                remote.set_moving(false);
                remote.carry(io, unread, lanes.stall()).await;
            }
            // It was counted as long as it was carried.
            drop(permit);
        }
    }
}

/// Begins a conversation whose bytes somebody else carries.
pub(crate) fn converse(
    lanes: &Arc<Lanes>,
    head: Bytes,
    mut granted: Granted,
    session: Box<Session>,
    permit: Option<Permit>,
    polls: bool,
) -> Arc<Remote> {
    if let Some(permit) = permit {
        granted.permit = permit.join(granted.permit);
    }
    let (remote, unread) = (lanes.remote(polls), Vec::new());
    lanes.converse(Conversation { end: End::Remote(remote.clone()), head, unread, granted, session, polls });
    remote
}

/// Answers the probe of a client that wants to move here from long-polling, and waits for its word that it does. `None` if it stays
/// where it was.
async fn settle<I: AsyncRead + AsyncWrite + Unpin>(
    claim: &Claim,
    head: Bytes,
    io: I,
    unread: Vec<u8>,
) -> Option<(I, Vec<u8>)> {
    tokio::time::timeout(MOVE_TIMEOUT, probe(claim.remote(), head, io, unread)).await.ok().flatten()
}

async fn probe<I: AsyncRead + AsyncWrite + Unpin>(
    remote: &Remote,
    head: Bytes,
    mut io: I,
    mut unread: Vec<u8>,
) -> Option<(I, Vec<u8>)> {
    io.write_all(&head).await.ok()?;
    let (mut decoder, mut probed) = (Decoder::default(), false);
    loop {
        let mut input = &unread[..];
        while let Some(message) = decoder.next(&mut input, MAX_PROBE).ok()? {
            match message {
                Message::Text(text) if text == "2probe" && !probed => {
                    probed = true;
                    io.write_all(&frame::text(b"3probe")).await.ok()?;
                    // A poll that waits is let go: the client waits for that before it moves.
                    remote.set_moving(true);
                }
                Message::Text(text) if text == "5" && probed => return Some((io, input.to_vec())),
                Message::Ping(payload) => io.write_all(&frame::pong(&payload)).await.ok()?,
                Message::Pong(_) => {}
                _ => {
                    // Best effort: whoever says something else here is not a client of this protocol.
                    let _ = io.write_all(&frame::close(1002, "a probe was expected")).await;
                    return None;
                }
            }
        }
        unread.clear();
        if io.read_buf(&mut unread).await.ok()? == 0 {
            return None;
        }
    }
}
