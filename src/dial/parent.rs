//! CONNECT through one parent proxy: TLS to it where its URL says so, the login it asks for, its reply read strictly.
//!
//! Never tells a client an address or what the parent said; never sends a password that others could read on the way.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::connect::ConnectError;
use super::parents::Parents;
use crate::config::{Parent, Password};
use crate::exchange::{Reason, Target};

/// The longest head of a parent's reply.
const HEAD_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;
/// The longest body of a 407 that is read over to keep the connection.
const BODY_MAX: usize = 64 * 1024;

/// The stream that a dial has brought.
#[derive(Debug)]
pub(crate) enum Way {
    Plain(TcpStream),
    /// TLS with a parent; what it carries may be anything.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a parent gave no tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParentError {
    /// It asks for a login that we do not have, or does not take ours.
    Login,
    /// It asks for Basic, and the password could be read on the way.
    Basic,
    /// It lets us not go there (403 and other 4xx).
    Denied,
    /// It did not get there (5xx).
    Failed,
    /// What came is no reply to a CONNECT.
    BadReply,
    /// It closed before it had answered.
    Closed,
    /// No TLS with it.
    Tls,
}

impl ParentError {
    /// Whether another parent may do better; the rest is about the login or the target.
    pub(super) fn blames_the_parent(self) -> bool {
        match self {
            Self::BadReply | Self::Closed | Self::Tls => true,
            Self::Login | Self::Basic | Self::Denied | Self::Failed => false,
        }
    }

    pub(super) const ALL: [Self; 7] = [
        Self::Login,
        Self::Basic,
        Self::Tls,
        Self::Denied,
        Self::BadReply,
        Self::Closed,
        Self::Failed,
    ];

    pub(super) fn token(self) -> &'static str {
        match self {
            Self::Login => "parent_login",
            Self::Basic => "parent_basic",
            Self::Denied => "parent_denied",
            Self::Failed => "parent_failed",
            Self::BadReply => "parent_bad_reply",
            Self::Closed => "parent_closed",
            Self::Tls => "parent_tls",
        }
    }

    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Login | Self::Basic | Self::Denied => Reason::ConnectRefused,
            Self::Failed => Reason::Unreachable,
            Self::BadReply => Reason::BadReply,
            Self::Closed => Reason::UpstreamReset,
            Self::Tls => Reason::UpstreamTlsFailed,
        }
    }

    /// What a client may know, and what its operator must do.
    pub(crate) fn details(self) -> &'static str {
        match self {
            Self::Login => {
                "the parent proxy does not take our login: see the user in via, and password_file"
            }
            Self::Basic => {
                "the parent proxy wants the password in clear: reach it with https:// in via, or have it offer digest"
            }
            Self::Denied => {
                "the parent proxy refuses this target: it must allow CONNECT to its host and port"
            }
            Self::Failed => "the parent proxy cannot reach the target: see its log",
            Self::BadReply => {
                "the parent's reply is not HTTP: does via name a proxy, and http or https rightly?"
            }
            Self::Closed => "the parent proxy closed before it had answered: see its log",
            Self::Tls => {
                "no TLS with the parent proxy: its certificate must name it, and be of an authority in ca or of the system's"
            }
        }
    }
}

/// Where to, through whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand<'a> {
    pub(super) parent: &'a Parent,
    pub(super) password: Option<&'a Password>,
    pub(super) target: &'a Target,
    pub(super) peer: SocketAddr,
    /// The proxies so far, as Via has them, ourselves last: two that are each other's parent must notice.
    pub(super) trail: &'a str,
}

/// Has the parent connect to the target; what the target said already comes with the stream. `open` makes a connection
/// to the parent, anew where it closes after its 407.
pub(super) async fn tunnel(
    errand: Errand<'_>,
    parents: &Parents,
    open: impl AsyncFn() -> Result<Way, ConnectError>,
) -> Result<(Way, Bytes), ConnectError> {
    let authority = errand.target.to_string();
    let (mut way, mut buffer) = (open().await?, BytesMut::new());
    let mut refusals = 0;
    loop {
        let login = parents.answer(errand, &authority);
        ask(&mut way, &authority, errand.trail, login.as_deref()).await?;
        let reply = reply(&mut way, &mut buffer).await?;
        let error = match reply.status {
            200..=299 => return Ok((way, buffer.freeze())),
            407 => {
                let stale = parents.learn(errand, &reply.challenges)?;
                refusals += 1;
                // One refusal says how to log in, or that what we remembered is old. A fresh nonce may be used up by
                // others before we come: only that is worth a third round.
                if refusals == 1 || (stale && refusals == 2) {
                    if !reply.read_over(&mut way, &mut buffer).await {
                        buffer.clear();
                        way = open().await?;
                    }
                    continue;
                }
                ParentError::Login
            }
            400..=499 => ParentError::Denied,
            500..=599 => ParentError::Failed,
            _ => ParentError::BadReply,
        };
        return Err(parents.refused(errand, error, reply.status));
    }
}

async fn ask(
    way: &mut Way,
    authority: &str,
    trail: &str,
    login: Option<&str>,
) -> Result<(), ConnectError> {
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nVia: {trail}\r\n");
    if let Some(login) = login {
        head.push_str("Proxy-Authorization: ");
        head.push_str(login);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let sent = async {
        way.write_all(head.as_bytes()).await?;
        way.flush().await
    };
    sent.await.map_err(|error| broken(&error))
}

/// The head of a reply.
#[derive(Debug)]
struct Reply {
    status: u16,
    challenges: Vec<String>,
    /// The length of its body, where the connection is good for another request behind it.
    body: Option<usize>,
}

/// Reads a reply's head; what came behind it stays in the buffer.
async fn reply(way: &mut Way, buffer: &mut BytesMut) -> Result<Reply, ConnectError> {
    loop {
        if let Some((reply, length)) = parse(buffer)? {
            buffer.advance(length);
            // An interim reply (1xx) says nothing of a CONNECT.
            if !(100..200).contains(&reply.status) {
                return Ok(reply);
            }
            continue;
        }
        if buffer.len() >= HEAD_MAX {
            return Err(ParentError::BadReply.into());
        }
        match way.read_buf(buffer).await {
            Ok(0) => return Err(ParentError::Closed.into()),
            Ok(_) => {}
            Err(error) => return Err(broken(&error)),
        }
    }
}

/// A whole head and its length, or nothing yet.
fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, ParentError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(&bytes[..bytes.len().min(HEAD_MAX)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(ParentError::BadReply),
    };
    let of = |name: &'static str| {
        let named = move |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        head.headers.iter().filter(named).map(|field| field.value)
    };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).ok();
    let closes = of("connection").chain(of("proxy-connection")).any(|value| {
        value
            .to_ascii_lowercase()
            .windows(5)
            .any(|word| word == b"close")
    });
    let mut lengths = of("content-length");
    let body = match (lengths.next(), lengths.next()) {
        (Some(length), None) => text(length).and_then(|length| length.parse().ok()),
        _ => None,
    };
    let reusable = head.version == Some(1) && !closes && of("transfer-encoding").next().is_none();
    let reply = Reply {
        status: head.code.unwrap_or_default(),
        challenges: of("proxy-authenticate").filter_map(text).collect(),
        body: body.filter(|length| reusable && *length <= BODY_MAX),
    };
    Ok(Some((reply, length)))
}

impl Reply {
    /// Reads the body over; whether the connection may be asked again.
    async fn read_over(&self, way: &mut Way, buffer: &mut BytesMut) -> bool {
        let Some(length) = self.body else {
            return false;
        };
        while buffer.len() < length {
            if !matches!(way.read_buf(buffer).await, Ok(1..)) {
                return false;
            }
        }
        buffer.advance(length);
        // More than a body, and nothing was asked: nobody knows what it belongs to.
        buffer.is_empty()
    }
}

fn broken(error: &io::Error) -> ConnectError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => ParentError::Closed.into(),
        io::ErrorKind::InvalidData => ParentError::Tls.into(),
        _ => ConnectError::from(error),
    }
}

impl From<ParentError> for ConnectError {
    fn from(error: ParentError) -> Self {
        Self::Parent(error)
    }
}

impl Way {
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }
}

impl AsyncRead for Way {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Way {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_replies() {
        let check = |head: &str, expected: Option<(u16, Option<usize>)>| {
            let found = parse(head.as_bytes()).ok().flatten();
            assert_eq!(
                found.map(|(reply, _)| (reply.status, reply.body)),
                expected,
                "{head}"
            );
        };
        check(
            "HTTP/1.1 407 No\r\nContent-Length: 5\r\n\r\n",
            Some((407, Some(5))),
        );
        check(
            "HTTP/1.0 407 No\r\nContent-Length: 5\r\n\r\n",
            Some((407, None)),
        );
        check(
            "HTTP/1.1 407 No\r\nContent-Length: 5\r\nConnection: Close\r\n\r\n",
            Some((407, None)),
        );
        check(
            "HTTP/1.1 407 No\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            Some((407, None)),
        );
        check(
            "HTTP/1.1 407 No\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some((407, None)),
        );
        check(
            "HTTP/1.1 407 No\r\nContent-Length: 99999999\r\n\r\n",
            Some((407, None)),
        );
        check("HTTP/1.1 200 OK\r\n\r\n", Some((200, None)));
        check("HTTP/1.1 200 OK\r\n", None);
        assert!(parse(b"SSH-2.0-x\r\n").is_err());
        assert!(parse(b"HTTP/2 200\r\n\r\n").is_err());
    }
}
