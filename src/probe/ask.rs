//! The only request that a probe makes: `HEAD /`, over HTTP/1.1 or HTTP/2 as the other end prefers.
//!
//! No body, no credentials, no path: it can be no push.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper::header::{DATE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The header that makes a request fill packets.
const PADDING: &str = "x-padding";

/// An HTTP connection on which something can be asked.
#[derive(Debug)]
pub(super) struct Talk {
    sender: Sender,
    connection: JoinHandle<Result<(), hyper::Error>>,
    authority: String,
}

#[derive(Debug)]
enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What the server's clock says, against ours.
    pub(super) ahead: Option<Skew>,
}

/// How far a server's clock is before ours (or behind), in seconds.
pub(crate) type Skew = i64;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    #[error("no answer")]
    TimedOut,
    #[error("the connection was closed without an answer")]
    Closed,
    #[error("the answer is not HTTP")]
    BadReply,
}

/// How a silent connection went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    Kept,
    /// The other end said that it closes, after so long.
    Closed(Duration),
    /// It broke: a reset, or an end without a word.
    Broken(Duration),
}

impl Talk {
    pub(super) async fn open<S>(stream: S, is_h2: bool, authority: &str) -> Result<Self, AskError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let failed = |error: hyper::Error| why(&error);
        let (sender, connection) = if is_h2 {
            let executor = TokioExecutor::new();
            let (sender, connection) = http2::handshake(executor, io).await.map_err(failed)?;
            (Sender::Two(sender), tokio::spawn(connection))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
            (Sender::One(sender), tokio::spawn(connection))
        };
        Ok(Self {
            sender,
            connection,
            authority: authority.to_owned(),
        })
    }

    /// Asks, with so many bytes of padding.
    pub(super) async fn head(
        &mut self,
        padding: usize,
        patience: Duration,
    ) -> Result<Reply, AskError> {
        let request = self.request(padding).ok_or(AskError::BadReply)?;
        let asked = async {
            match &mut self.sender {
                Sender::One(sender) => sender.send_request(request).await,
                Sender::Two(sender) => sender.send_request(request).await,
            }
        };
        let reply = timeout(patience, asked).await;
        let reply = reply.map_err(|_| AskError::TimedOut)?;
        let reply = reply.map_err(|error| why(&error))?;
        let date = reply
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        Ok(Reply {
            status: reply.status().as_u16(),
            ahead: date.map(|date| ahead(date, SystemTime::now())),
        })
    }

    /// Says nothing for a while, and sees whether the connection outlives it.
    pub(super) async fn keep_silent(&mut self, time: Duration) -> Silence {
        let begun = tokio::time::Instant::now();
        match timeout(time, &mut self.connection).await {
            Err(_) => Silence::Kept,
            Ok(Ok(Ok(()))) => Silence::Closed(begun.elapsed()),
            // TCP's own end, and TLS was told nothing: so do many servers.
            Ok(Ok(Err(error))) if is_end(&error) => Silence::Closed(begun.elapsed()),
            Ok(_) => Silence::Broken(begun.elapsed()),
        }
    }

    fn request(&self, padding: usize) -> Option<Request<Empty<Bytes>>> {
        let request = Request::builder().method(Method::HEAD);
        let request = match &self.sender {
            Sender::One(_) => request.uri("/").header(HOST, &self.authority),
            Sender::Two(_) => request
                .version(Version::HTTP_2)
                .uri(format!("https://{}/", self.authority)),
        };
        let mut request = request
            .header(
                USER_AGENT,
                concat!("tidegate-doctor/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .ok()?;
        if padding > 0 {
            let padding = HeaderValue::from_str(&"x".repeat(padding)).ok()?;
            request.headers_mut().insert(PADDING, padding);
        }
        Some(request)
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn is_end(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof)
}

fn why(error: &hyper::Error) -> AskError {
    if error.is_parse() {
        AskError::BadReply
    } else {
        AskError::Closed
    }
}

/// An HTTP date has no fractions: within a second nobody is wrong.
fn ahead(theirs: SystemTime, ours: SystemTime) -> Skew {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match theirs.duration_since(ours) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_in_whole_seconds() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_900);
        let check = |theirs: u64, skew| {
            let theirs = SystemTime::UNIX_EPOCH + Duration::from_secs(theirs);
            assert_eq!(ahead(theirs, now), skew, "{theirs:?}");
        };
        check(1_000, 0);
        check(1_001, 0);
        check(1_061, 60);
        check(900, -100);
    }
}
