//! What the proxy has to say: the last minute of each destination's tunnels.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{TurnsError, setup};

/// The proxy's cores tell what they counted every 5 s.
pub(super) const TOLD_WITHIN: Duration = Duration::from_millis(5_500);
const WAIT: Duration = Duration::from_secs(5);

/// One destination, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Book {
    pub(super) destination: String,
    pub(super) confirmations: Option<Told>,
}

/// What the proxy says of the exchanges of a minute.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
pub(super) struct Told {
    /// Those that it is sure of.
    pub(super) exchanges: u64,
    /// Those of which it has a time.
    pub(super) timed: u64,
    /// Of those, in milliseconds.
    pub(super) mean_ms: Option<f64>,
    /// The same.
    pub(super) p50_ms: Option<f64>,
    /// The same.
    pub(super) p99_ms: Option<f64>,
}

pub(super) async fn read(admin: SocketAddr) -> Result<Vec<Book>, TurnsError> {
    let page = timeout(WAIT, page(admin)).await;
    let page = page.unwrap_or_else(|late| Err(late.into()));
    let books = page.and_then(|page| serde_json::from_str(&page).map_err(io::Error::from));
    books.map_err(setup("reading /destinations"))
}

async fn page(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request =
        format!("GET /destinations HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::other("the page is not there")),
    }
}
