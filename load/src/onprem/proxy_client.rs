//! A proxy's client: CONNECT, the 407 round, and the memory of it.
//!
//! It knows the proxy and the name of a target, never the target's address.
//!
//! ```no_run
//! # async fn story() -> Result<(), tidegate_load::onprem::ConnectError> {
//! use tidegate_load::onprem::ProxyClient;
//!
//! let client = ProxyClient::plain("127.0.0.1:3128".parse().expect("an address")).login("cucm1", "secret");
//! let tunnel = client.connect("push.test:443").await?;
//! # drop(tunnel); Ok(()) }
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::challenge::{Learned, Login, Memory, Taste};
use super::counts::{Counts, OpenTunnel, Unanswered, one_more};
use super::reply::{Reply, read_reply};
use super::tunnel::{ProxyStream, Tunnel};

/// A proxy with another address is left after so long.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_secs(2);
/// The last address is waited for longer.
const LAST_ADDRESS_WAIT: Duration = Duration::from_secs(5);
/// Bare, answered, and once more for a nonce that was too old.
pub(super) const ROUNDS: usize = 3;

/// What the proxy said instead of opening a tunnel.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub headers: HeaderMap,
    /// The first 64 KiB of its body.
    pub body: Bytes,
}

/// Why there is no tunnel.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The proxy answered something other than 200.
    #[error("the proxy answered {}", .0.status)]
    Refused(Refused),
    /// The proxy could not be reached, or the connection to it broke.
    #[error("connection to the proxy failed")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer from the proxy within {0:?}")]
    TimedOut(Duration),
    /// The answer was not HTTP.
    #[error("the proxy's answer is not HTTP: {0}")]
    BadReply(String),
}

impl ConnectError {
    /// The proxy's refusal, if that is what it was.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Io(_) | Self::TimedOut(_) | Self::BadReply(_) => None,
        }
    }
}

/// One client of one proxy. It remembers the last challenge and answers it in advance.
#[derive(Debug)]
pub struct ProxyClient {
    addresses: Vec<SocketAddr>,
    tls: Option<ProxyTls>,
    login: Option<Login>,
    taste: Taste,
    memory: Mutex<Memory>,
    counts: Arc<Counts>,
}

struct ProxyTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl std::fmt::Debug for ProxyTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProxyTls({:?})", self.name)
    }
}

impl ProxyClient {
    /// A proxy that is spoken to in clear.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            addresses: vec![address],
            tls: None,
            login: None,
            taste: Taste::default(),
            memory: Mutex::default(),
            counts: Arc::default(),
        }
    }

    /// A proxy that is spoken to in TLS; its certificate must carry this name (or address).
    #[must_use]
    pub fn tls(address: SocketAddr, name: ServerName<'static>, connector: TlsConnector) -> Self {
        Self {
            tls: Some(ProxyTls { connector, name }),
            ..Self::plain(address)
        }
    }

    /// Another address of the same proxy, tried after those before it.
    #[must_use]
    pub fn or_at(mut self, address: SocketAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// With this name and password, when asked.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some(Login {
            user: user.to_owned(),
            password: password.to_owned(),
        });
        self
    }

    /// Which challenge it answers.
    #[must_use]
    pub fn taste(mut self, taste: Taste) -> Self {
        self.taste = taste;
        self
    }

    /// Counts here, together with others.
    #[must_use]
    pub fn counted_in(mut self, counts: Arc<Counts>) -> Self {
        self.counts = counts;
        self
    }

    /// What it saw.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// How many addresses the proxy has.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Opens a tunnel to `host:port`.
    pub async fn connect(&self, target: &str) -> Result<Tunnel, ConnectError> {
        self.connect_from(0, target).await.map(|(tunnel, _)| tunnel)
    }

    /// Opens a tunnel, starting with the proxy's address of this index; says which address did it.
    ///
    /// A refusal is an answer and ends the search; a proxy that can't be reached, or says nothing, does not.
    pub async fn connect_from(
        &self,
        first: usize,
        target: &str,
    ) -> Result<(Tunnel, usize), ConnectError> {
        let count = self.addresses.len();
        let mut failure = None;
        for step in 0..count {
            let index = (first + step) % count;
            let wait = if step + 1 < count {
                NEXT_ADDRESS_AFTER
            } else {
                LAST_ADDRESS_WAIT
            };
            let attempt = self.connect_at(self.addresses[index], target);
            match tokio::time::timeout(wait, attempt).await {
                Ok(Ok(tunnel)) => return Ok((tunnel, index)),
                Ok(Err(ConnectError::Refused(refused))) => {
                    return Err(ConnectError::Refused(refused));
                }
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(ConnectError::TimedOut(wait)),
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable).into()))
    }

    async fn connect_at(&self, address: SocketAddr, target: &str) -> Result<Tunnel, ConnectError> {
        let mut kept = None;
        // A remembered challenge may be too old, which is no reason to give up; a fresh one is not.
        let mut may_be_old = self.has_challenge();
        for round in 1..=ROUNDS {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => self.open(address).await?,
            };
            let credentials = self.credentials("CONNECT", target);
            let reply = self
                .ask(&mut stream, target, credentials.as_deref())
                .await?;
            if credentials.is_some() && reply.status != 407 {
                one_more(&self.counts.authenticated);
            }
            if reply.status == 200 {
                one_more(&self.counts.established);
                return Ok(Tunnel {
                    stream,
                    early: reply.rest,
                    _open: OpenTunnel::new(self.counts.clone()),
                });
            }
            let again = reply.status == 407
                && round < ROUNDS
                && self.learn(&reply.headers, credentials.is_some(), may_be_old);
            one_more(if reply.status == 407 {
                &self.counts.challenged
            } else {
                &self.counts.refused
            });
            if !again {
                return Err(ConnectError::Refused(Refused {
                    status: reply.status,
                    headers: reply.headers,
                    body: reply.body,
                }));
            }
            may_be_old = false;
            // Answered on the same connection where it stays open, as most clients do.
            kept = reply.keeps_open.then_some(stream);
        }
        unreachable!("the last round returns")
    }

    /// A connection to the proxy's address of this index, for requests to the proxy itself.
    pub(super) async fn reach(&self, index: usize) -> io::Result<ProxyStream> {
        let address = self.addresses[index % self.addresses.len()];
        let stream = tokio::time::timeout(LAST_ADDRESS_WAIT, self.open(address)).await??;
        one_more(&self.counts.reached);
        Ok(stream)
    }

    async fn open(&self, address: SocketAddr) -> io::Result<ProxyStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(ProxyStream::Plain(stream)),
            Some(tls) => {
                let stream = tls.connector.connect(tls.name.clone(), stream).await?;
                Ok(ProxyStream::Tls(Box::new(stream)))
            }
        }
    }

    pub(super) fn credentials(&self, method: &str, uri: &str) -> Option<String> {
        let login = self.login.as_ref()?;
        self.memory().answer(login, self.taste, method, uri)
    }

    pub(super) fn has_challenge(&self) -> bool {
        self.memory().has_challenge()
    }

    /// Takes in the challenge; says whether to try again.
    pub(super) fn learn(&self, headers: &HeaderMap, were_sent: bool, may_be_old: bool) -> bool {
        if self.login.is_none() || self.taste == Taste::BasicAtOnce {
            return false;
        }
        match self.memory().learn(headers, self.taste) {
            Learned::Nothing => false,
            Learned::Challenge { stale } => !were_sent || stale || may_be_old,
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(
        &self,
        stream: &mut ProxyStream,
        target: &str,
        credentials: Option<&str>,
    ) -> Result<Reply, ConnectError> {
        let mut head = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: tidegate-load/{}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if let Some(credentials) = credentials {
            head.push_str(&format!("Proxy-Authorization: {credentials}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;

        let unanswered = Unanswered::new(&self.counts);
        let reply = read_reply(stream).await?;
        unanswered.settled();
        Ok(reply)
    }
}
