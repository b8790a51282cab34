//! A small real origin: HTTP/1.1 and HTTP/2, plain and TLS, WebSocket, and a memory of what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, UPGRADE};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::house;
use crate::upstream;

/// What it was asked: the request line without what a client is free to choose, and all fields.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) fields: HeaderMap,
}

#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// Whom to trust, PEM.
    pub(crate) ca: String,
    desk: Arc<Desk>,
}

#[derive(Debug)]
struct Desk {
    files: PathBuf,
    asked: Mutex<Vec<Asked>>,
    /// Two hundred meet here.
    together: tokio::sync::Barrier,
}

impl Origin {
    /// Serves `files` as they are below `/files/`.
    pub(crate) async fn start(files: &Path) -> Self {
        let desk = Arc::new(Desk {
            files: files.to_path_buf(),
            asked: Mutex::new(Vec::new()),
            together: tokio::sync::Barrier::new(200),
        });
        let (listener, http) = upstream::listener().await;
        tokio::spawn(accept(listener, None, desk.clone()));
        let (ca, chain, key) =
            house::certificate(&["localhost", "127.0.0.1", "::1", "origin.test"]);
        let mut tls = upstream::tls(&chain, &key);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let (listener, https) = upstream::listener().await;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(accept(listener, Some(acceptor), desk.clone()));
        Self {
            http,
            https,
            ca,
            desk,
        }
    }

    /// What it was asked since the last time somebody looked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.desk.asked.lock().unwrap())
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, desk: Arc<Desk>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, desk) = (tls.clone(), desk.clone());
        tokio::spawn(async move {
            let _ = tcp.set_nodelay(true);
            let Some(tls) = tls else {
                let http2 = speaks_http2(&tcp).await;
                return serve(tcp, http2, desk).await;
            };
            if let Ok(tls) = tls.accept(tcp).await {
                let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                serve(tls, http2, desk).await;
            }
        });
    }
}

/// HTTP/2 without TLS opens with a preface that no HTTP/1.1 method begins like.
async fn speaks_http2(tcp: &TcpStream) -> bool {
    let mut first = [0];
    tcp.readable().await.is_ok() && tcp.peek(&mut first).await.is_ok() && first == *b"P" && {
        let mut preface = [0; 3];
        tcp.peek(&mut preface).await.is_ok() && preface == *b"PRI"
    }
}

async fn serve(
    wire: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    desk: Arc<Desk>,
) {
    let service = service_fn(move |request| answer(request, desk.clone()));
    // An error here is a client that left; the test sees on its side what it needs to see.
    if http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(wire), service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(wire), service)
            .with_upgrades()
            .await;
    }
}

type Reply = Response<BoxBody<Bytes, Infallible>>;

async fn answer(mut request: Request<Incoming>, desk: Arc<Desk>) -> hyper::Result<Reply> {
    let path = request.uri().path().to_owned();
    let version = if request.version() == Version::HTTP_2 {
        "HTTP/2"
    } else {
        "HTTP/1.1"
    };
    // What came is noted as it came: an absolute URI would be a proxy's mistake, and is to be seen.
    let target = if request.version() == Version::HTTP_2 {
        path.clone()
    } else {
        request.uri().to_string()
    };
    desk.asked.lock().unwrap().push(Asked {
        line: format!("{} {target} {version}", request.method()),
        fields: request.headers().clone(),
    });
    if path.starts_with("/ws") {
        return Ok(upgrade(&mut request));
    }
    if path.starts_with("/together/") {
        // Nobody is answered before all are there.
        desk.together.wait().await;
        return Ok(text(StatusCode::OK, "together\n"));
    }
    if let Some(length) = path.strip_prefix("/bytes/") {
        let length = length.parse().expect("a test asks for a number");
        return Ok(Response::new(Pattern::new(length).boxed()));
    }
    if let Some(name) = path.strip_prefix("/files/") {
        return Ok(match std::fs::read(desk.files.join(name)) {
            Ok(bytes) => text(StatusCode::OK, bytes),
            Err(_) => text(StatusCode::NOT_FOUND, "no such file"),
        });
    }
    if *request.method() == Method::GET {
        return Ok(text(StatusCode::OK, format!("hello from {path}")));
    }
    let (mut length, mut hash) = (0, digest::Context::new(&digest::SHA256));
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            length += data.len();
            hash.update(&data);
        }
    }
    Ok(text(
        StatusCode::OK,
        format!("{length} {}", hex(hash.finish().as_ref())),
    ))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed());
    *reply.status_mut() = status;
    reply
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So many bytes that never repeat, so that nothing lost, doubled or moved goes unnoticed.
#[derive(Debug)]
pub(crate) struct Pattern {
    at: u64,
    left: u64,
}

impl Pattern {
    pub(crate) fn new(length: u64) -> Self {
        Self {
            at: 0,
            left: length,
        }
    }

    pub(crate) fn sha256(length: u64) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        Self::new(length).for_each(|part| hash.update(&part));
        hex(hash.finish().as_ref())
    }
}

impl Iterator for Pattern {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        const WORDS: u64 = 8 * 1024;
        if self.left == 0 {
            return None;
        }
        let mut part = Vec::with_capacity(WORDS as usize * 8);
        for word in self.at..self.at + WORDS {
            part.extend_from_slice(&word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
        self.at += WORDS;
        part.truncate(usize::try_from(self.left).map_or(part.len(), |left| left.min(part.len())));
        self.left -= part.len() as u64;
        Some(part.into())
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|part| Ok(Frame::data(part))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A WebSocket frame with a text.
pub(crate) const RING: &[u8] = b"\x81\x04ring";

/// Agrees to a WebSocket, and sends back what it is sent; `/ws/ring` rings by itself, and closes.
fn upgrade(request: &mut Request<Incoming>) -> Reply {
    let fields = request.headers();
    let Some(key) = fields.get("sec-websocket-key") else {
        return text(StatusCode::BAD_REQUEST, "a WebSocket has a key");
    };
    let told = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let accept = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &told);
    let rings = request.uri().path() == "/ws/ring";
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else {
            return;
        };
        let mut wire = TokioIo::new(upgraded);
        if rings {
            let _ = wire.write_all(RING).await;
            let _ = wire.shutdown().await;
        } else {
            let _ = send_frames_back(wire).await;
        }
    });
    let mut reply = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let fields = reply.headers_mut();
    fields.insert(CONNECTION, "Upgrade".parse().unwrap());
    fields.insert(UPGRADE, "websocket".parse().unwrap());
    let accept = BASE64_STANDARD.encode(accept.as_ref());
    fields.insert("sec-websocket-accept", accept.parse().unwrap());
    reply
}

async fn send_frames_back(
    mut wire: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), std::io::Error> {
    loop {
        let (first, length) = (wire.read_u8().await?, wire.read_u8().await? & 0x7f);
        let length = match length {
            126 => usize::from(wire.read_u16().await?),
            length => usize::from(length),
        };
        let mut mask = [0; 4];
        wire.read_exact(&mut mask).await?;
        let mut payload = vec![0; length];
        wire.read_exact(&mut payload).await?;
        let plain = payload.iter().zip(mask.iter().cycle());
        let plain: Vec<u8> = plain.map(|(byte, mask)| byte ^ mask).collect();
        wire.write_u8(first).await?;
        match u8::try_from(length) {
            Ok(length) if length < 126 => wire.write_u8(length).await?,
            _ => {
                wire.write_u8(126).await?;
                wire.write_u16(length as u16).await?;
            }
        }
        wire.write_all(&plain).await?;
        wire.flush().await?;
        if first & 0x0f == 8 {
            return wire.shutdown().await;
        }
    }
}
