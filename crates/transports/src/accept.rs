//! Our own accept loop: hyper reads the request, and a stream's socket moves on to a lane.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tidings::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tower::ServiceExt;

use crate::adopt;
use crate::date::imf_fixdate;
use crate::events::Peer;
use crate::handover::{Handed, Handover};
use crate::lane::Opening;
use crate::limiter::Permit;
use crate::service::Service;
use crate::unread;

/// Accepts connections until `stop` says so, then sends idle ones away and lets requests under way end.
pub struct Acceptor {
    service: Arc<Service>,
    router: Router,
    stop: watch::Receiver<bool>,
}

/// A socket with its own handshake, such as TLS, in front of HTTP.
#[async_trait::async_trait]
pub trait Handshake: Send + Sync {
    /// The type of stream that results.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// Shakes hands; the bool says whether HTTP/2 was agreed on (ALPN).
    async fn handshake(&self, socket: TcpStream) -> io::Result<(Self::Io, bool)>;
}

impl Acceptor {
    /// Serves `router` for the streams of `service`.
    pub fn new(service: Arc<Service>, router: Router, stop: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Acceptor { service, router, stop })
    }

    /// Accepts plain connections: HTTP/1.1, and HTTP/2 with prior knowledge (RFC 9113 §3.3).
    pub async fn run(self: Arc<Self>, listener: TcpListener) {
        self.accept(listener, |acceptor, socket, peer, permit| async move {
            acceptor.plain(socket, peer, permit).await;
        })
        .await;
    }

    /// Accepts connections that shake hands first. Their sockets can't be taken over: each stream is a response body.
    pub async fn run_with<H: Handshake + 'static>(self: Arc<Self>, listener: TcpListener, handshake: Arc<H>) {
        self.accept(listener, move |acceptor, socket, peer, permit| {
            let handshake = handshake.clone();
            async move {
                limit_silence(&socket, acceptor.service.hub.limits().write_stall);
                let Some(Ok((io, is_http2))) = acceptor.begin(handshake.handshake(socket)).await else { return };
                if is_http2 {
                    acceptor.http2(io, peer).await;
                    drop(permit);
                    return;
                }
                let service = acceptor.service.clone();
                let mut permit = Some(permit);
                acceptor
                    .http1(io, peer, move |parked, io, unread| {
                        let (lanes, permit) = (service.lanes.clone()?, permit.take());
                        let Parked { head, handed } = parked;
                        tokio::spawn(async move { adopt::remote(&lanes, handed, head, io, unread, permit).await });
                        Some(())
                    })
                    .await;
            }
        })
        .await;
    }

    async fn accept<F, S>(self: Arc<Self>, listener: TcpListener, serve: S)
    where
        F: Future<Output = ()> + Send + 'static,
        S: Fn(Arc<Self>, TcpStream, IpAddr, Permit) -> F,
    {
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let ip = peer.ip().to_canonical();
                    if let Some(permit) = self.service.limiter.accept(ip) {
                        let _ = socket.set_nodelay(true);
                        tokio::spawn(serve(self.clone(), socket, ip, permit));
                    }
                }
                Err(error) => {
                    // Out of file descriptors, mostly: accepting again at once would only spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// What a client begins with, or ends with; `None` if it takes too long, or if the program stops: it waits for requests alone.
    async fn begin<T>(&self, first: impl Future<Output = T>) -> Option<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            first = tokio::time::timeout(self.service.hub.limits().header_timeout, first) => first.ok(),
            _ = stop.wait_for(|stop| *stop) => None,
        }
    }

    async fn plain(self: Arc<Self>, socket: TcpStream, peer: IpAddr, permit: Permit) {
        let mut first = [0; 4];
        match self.begin(socket.peek(&mut first)).await {
            Some(Ok(read)) if read > 0 => {}
            _ => return,
        }
        if &first == b"PRI " {
            self.http2(socket, peer).await;
            return;
        }
        let service = self.service.clone();
        let mut permit = Some(permit);
        self.http1(socket, peer, move |parked, socket, unread| {
            let lanes = service.lanes.as_ref()?;
            limit_silence(&socket, service.hub.limits().write_stall);
            let (Parked { head, handed }, permit) = (parked, permit.take()?);
            let Handed::Stream(mut granted) = handed else {
                return adopt::socket(lanes, handed, head, socket, unread, permit);
            };
            // What belongs to the runtime ends here, and the lane has a bare socket.
            let socket = socket.into_std().ok()?;
            granted.permit = permit.join(granted.permit);
            lanes.open(Opening { socket, head, granted });
            Some(())
        })
        .await;
    }

    /// Serves requests until one of them goes on as something else: then `take_over` has the connection, and what was read of it.
    async fn http1<I>(&self, io: I, peer: IpAddr, mut take_over: impl FnMut(Parked, I, Vec<u8>) -> Option<()>)
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = self.service.hub.limits();
        let slot: Arc<Mutex<Option<Parked>>> = Arc::default();
        // A stream is better off as a response body than carried to a lane; only a plain socket is given away for it.
        let has_lanes = self.service.lanes.is_some();
        let is_plain = std::any::TypeId::of::<I>() == std::any::TypeId::of::<TcpStream>();
        let (router, parking, clock) = (self.router.clone(), slot.clone(), self.service.hub.clock().clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (router, parking, clock) = (router.clone(), parking.clone(), clock.clone());
            Box::pin(async move {
                let get = request.method() == Method::GET && request.version() >= Version::HTTP_10;
                let (request, rest) = unread::watch(request);
                let mut response = respond(router, request, peer).await;
                if let Some(rest) = rest {
                    rest.answered(&mut response);
                }
                if get
                    && has_lanes
                    && let Some(handover) = response.extensions().get::<Handover>()
                    && (is_plain || !handover.is_stream())
                    && let Some(handed) = handover.take()
                {
                    let head = head(&response, clock.now());
                    *parking.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Parked { head, handed });
                    // The connection is taken apart around this future: it never gets to answer.
                    return std::future::pending().await;
                }
                Ok::<_, Infallible>(response)
            })
        });
        let io = Watched::new(io, limits.write_stall);
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.header_bytes.max(8192))
            .serve_connection(TokioIo::new(io), service);
        let mut stop = self.stop.clone();
        let mut stopping = Box::pin(async move { drop(stop.wait_for(|stop| *stop).await) });
        let mut stopped = false;
        let ended = poll_fn(|cx| {
            if !stopped && stopping.as_mut().poll(cx).is_ready() {
                stopped = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Some(ended));
            }
            match slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_some() {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await;
        match ended {
            None => {
                let parked = slot.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
                let parts = connection.into_parts();
                let watched = parts.io.into_inner();
                // What hyper has not flushed would be lost: an answer to a pipelined request, to a client that reads none.
                if let Some(parked) = parked
                    && !watched.blocked
                {
                    take_over(parked, watched.io, parts.read_buf.to_vec());
                }
            }
            Some(Ok(())) => {
                // A request body that was not read would turn our end into a reset, and the client might lose the answer.
                let mut parts = connection.into_parts();
                self.linger(&mut parts.io.inner_mut().io).await;
            }
            Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        }
    }

    /// Ends our side, and reads on for a while what nobody wants: most clients send all of a body before they read the answer.
    async fn linger(&self, io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
        let limits = self.service.hub.limits();
        let mut left = limits.request_bytes;
        let read_on = async {
            io.shutdown().await?;
            let mut unwanted = vec![0; 16 << 10];
            while let Ok(read) = tokio::time::timeout(PAUSE, io.read(&mut unwanted)).await {
                match left.checked_sub(read?) {
                    Some(less) if less < left => left = less,
                    _ => break,
                }
            }
            io::Result::Ok(())
        };
        // However it ends, the answer was given.
        let _ = self.begin(read_on).await;
    }

    async fn http2<I>(&self, io: I, peer: IpAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.service.hub.limits();
        let router = self.router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let router = router.clone();
            async move { Ok::<_, Infallible>(respond(router, request, peer).await) }
        });
        let io = TokioIo::new(Watched::new(io, limits.write_stall).greeting(limits.header_timeout));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.request_timeout)
            .keep_alive_timeout(limits.write_stall)
            .max_concurrent_streams(256)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        let mut stop = self.stop.clone();
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            _ = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}

/// A client that is refused and sends nothing for so long has read the answer, or will not.
const PAUSE: Duration = Duration::from_secs(1);

/// A stream whose request has been answered up to the point where its socket is taken.
struct Parked {
    head: Bytes,
    handed: Handed,
}

async fn respond<B>(router: Router, request: Request<B>, peer: IpAddr) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Send + 'static,
{
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    router.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {})
}

/// The response head as bytes. A body has no length and no chunks: it ends with the connection (RFC 9112 §6.3, rule 8).
fn head(response: &Response<Body>, now: Timestamp) -> Bytes {
    let mut head = Vec::with_capacity(256);
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
    for (name, value) in response.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if !response.headers().contains_key(http::header::DATE) {
        // RFC 9110 §6.6.1: an origin server with a clock sends it.
        head.extend_from_slice(format!("date: {}\r\n", imf_fixdate(now)).as_bytes());
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        head.extend_from_slice(b"connection: close\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// A peer that vanished without a word is noticed by the kernel (RFC 5482), not after its quarter of an hour.
fn limit_silence(socket: &TcpStream, stall: Duration) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(socket).set_tcp_user_timeout(Some(stall));
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, stall);
}

/// How many bytes HTTP/2 begins with: its preface and the head of a frame (RFC 9113 §3.4).
const GREETING: usize = 24 + 9;

/// Remembers whether the last write was taken, and ends a connection that takes nothing, or that never begins.
struct Watched<I> {
    io: I,
    blocked: bool,
    stall: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Runs until the client has sent so many bytes.
    greeting: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<I> Watched<I> {
    fn new(io: I, stall: Duration) -> Self {
        Watched { io, blocked: false, stall, stalled: None, greeting: None }
    }

    /// Bounds how long a client may take to begin: hyper does it for HTTP/1.1 alone.
    fn greeting(mut self, timeout: Duration) -> Self {
        self.greeting = Some((GREETING, Box::pin(tokio::time::sleep(timeout))));
        self
    }

    fn wrote<T>(&mut self, wrote: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.blocked = wrote.is_pending();
        if !self.blocked {
            self.stalled = None;
            return wrote;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let Some((missing, timer)) = &mut self.greeting else { return read };
        *missing = missing.saturating_sub(buf.filled().len() - before);
        if *missing == 0 {
            self.greeting = None;
        } else if read.is_pending() {
            return timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(wrote, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.wrote(wrote, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
