//! One connection to the cloud: TLS where its door has it, HTTP, and the mood its address is in.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::desk::{Answer, Asked, Desk};
use super::{Behavior, HTTP2};

const BODY_MAX: usize = 64 * 1024;
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// What connections look at: a new generation means that the older ones are to be reset.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mood {
    pub(super) behavior: Behavior,
    pub(super) generation: u64,
}

/// Serves a connection until it ends, or is to be reset.
pub(super) async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    desk: Arc<Desk>,
    answer_after: Duration,
    mut mood: watch::Receiver<Mood>,
) {
    // A second descriptor, so that we can still ask for a reset after the first was dropped.
    let Ok(socket) = SockRef::from(&stream).try_clone() else {
        return;
    };
    let now = *mood.borrow_and_update();
    let resets_in_clear = now.behavior == Behavior::ResetTls && tls.is_none();
    if now.behavior == Behavior::Reset || resets_in_clear {
        let _ = socket.set_linger(Some(Duration::ZERO));
        return;
    }
    let served_mood = mood.clone();
    tokio::select! {
        biased;
        _ = mood.wait_for(|mood| mood.generation != now.generation) => {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        () = serve(stream, tls, desk, answer_after, served_mood) => {
            if now.behavior == Behavior::ResetTls {
                let _ = socket.set_linger(Some(Duration::ZERO));
            }
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    tls: Option<TlsAcceptor>,
    desk: Arc<Desk>,
    answer_after: Duration,
    mood: watch::Receiver<Mood>,
) {
    if mood.borrow().behavior == Behavior::Silent {
        let mut heard = [0_u8; 1024];
        while stream.read(&mut heard).await.is_ok_and(|n| n > 0) {}
        return;
    }
    let _ = stream.set_nodelay(true);
    let counter = Counter {
        desk,
        answer_after,
        mood,
    };
    let Some(tls) = tls else {
        return counter.serve(stream, false).await;
    };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WAIT, tls.accept(stream)).await else {
        return;
    };
    if counter.mood.borrow().behavior == Behavior::ResetTls {
        return;
    }
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    counter.serve(stream, is_http2).await;
}

/// Where requests are answered; each of HTTP/2 in a task of its own.
#[derive(Debug, Clone)]
struct Counter {
    desk: Arc<Desk>,
    answer_after: Duration,
    mood: watch::Receiver<Mood>,
}

impl Counter {
    /// HTTP, on whatever it stands.
    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_http2: bool,
    ) {
        let service = service_fn(move |request| {
            let counter = self.clone();
            async move { reply(request, &counter.desk, counter.answer_after, &counter.mood).await }
        });
        let stream = TokioIo::new(stream);
        // An error here is a client that left or spoke no HTTP; its side knows.
        if is_http2 {
            let _ = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(stream, service)
                .await;
        } else {
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(stream, service)
                .await;
        }
    }
}

async fn reply(
    request: Request<Incoming>,
    desk: &Desk,
    answer_after: Duration,
    mood: &watch::Receiver<Mood>,
) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let behavior = mood.borrow().behavior;
    match behavior {
        Behavior::Silent => return std::future::pending().await,
        Behavior::Slow(delay) => tokio::time::sleep(delay).await,
        Behavior::Ok | Behavior::Refuse | Behavior::Reset | Behavior::ResetTls | Behavior::Hang => {
        }
    }
    tokio::time::sleep(answer_after).await;

    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let asked = Asked {
        method: &head.method,
        // HTTP/2 has it in the URI.
        host: text(header::HOST)
            .or_else(|| Some(head.uri.authority()?.as_str()))
            .unwrap_or_default(),
        path: head.uri.path(),
        authorization: text(header::AUTHORIZATION),
        body: &body,
    };
    match desk.answer(&asked, Instant::now()) {
        Answer::Never => std::future::pending().await,
        Answer::Reply(status, value) => Ok(Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(value.to_string())))
            .map_err(io::Error::other)?),
    }
}
