//! A client that speaks raw bytes, plain or over TLS, and reads replies strictly.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::house::PATIENCE;

pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

pub(crate) struct Client {
    wire: Box<dyn Wire>,
    /// Bytes behind the last reply.
    pending: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    /// Every value of a field, in order.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).first().copied()
    }

    /// The reason's word: the body's first.
    pub(crate) fn reason(&self) -> &str {
        self.body.split(' ').next().unwrap_or_default()
    }
}

impl Client {
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address)
            .await
            .expect("the listener accepts");
        Self {
            wire: Box::new(tcp),
            pending: Vec::new(),
        }
    }

    /// From a socket that the test made by itself.
    pub(crate) fn from_tcp(tcp: TcpStream) -> Self {
        Self {
            wire: Box::new(tcp),
            pending: Vec::new(),
        }
    }

    /// One that ends with a reset, where others close and may still be listening.
    pub(crate) async fn that_resets(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address)
            .await
            .expect("the listener accepts");
        tcp.set_zero_linger().expect("can be set");
        Self::from_tcp(tcp)
    }

    /// Over whatever the test has set up.
    pub(crate) fn over(wire: impl Wire + 'static) -> Self {
        Self {
            wire: Box::new(wire),
            pending: Vec::new(),
        }
    }

    pub(crate) async fn tls(address: SocketAddr, ca: &str) -> Self {
        let tcp = TcpStream::connect(address)
            .await
            .expect("the listener accepts");
        Self::tls_over(tcp, ca).await
    }

    /// Over a socket that has said something already.
    pub(crate) async fn tls_over(tcp: TcpStream, ca: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
            .unwrap();
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
            .expect("TLS with the proxy");
        Self {
            wire: Box::new(tls),
            pending: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire
            .write_all(bytes.as_ref())
            .await
            .expect("the proxy takes bytes");
        self.wire.flush().await.expect("the proxy takes bytes");
    }

    /// Sends what the proxy may no longer want.
    pub(crate) async fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.write_all(bytes.as_ref()).await;
    }

    /// Closes the sending side.
    pub(crate) async fn finish(&mut self) {
        self.wire.shutdown().await.expect("can be closed");
    }

    /// Closes the sending side, if the proxy has not closed everything before.
    pub(crate) async fn finish_if_open(&mut self) {
        let _ = self.wire.shutdown().await;
    }

    /// `CONNECT target`, and the reply.
    pub(crate) async fn connect(&mut self, target: impl std::fmt::Display) -> Reply {
        self.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: house.test\r\n\r\n"
        ))
        .await;
        self.reply().await
    }

    /// `CONNECT target` with one more header line.
    pub(crate) async fn connect_with(
        &mut self,
        target: impl std::fmt::Display,
        field: &str,
    ) -> Reply {
        self.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: house.test\r\n{field}\r\n\r\n"
        ))
        .await;
        self.reply().await
    }

    /// A tunnel that must come about.
    pub(crate) async fn tunnel(&mut self, target: impl std::fmt::Display) {
        let reply = self.connect(target).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        timeout(PATIENCE, self.read_reply())
            .await
            .expect("a reply in time")
    }

    /// A reply's head alone; what its body is, the test knows.
    pub(crate) async fn head(&mut self) -> Reply {
        timeout(PATIENCE, self.read_head())
            .await
            .expect("a reply head in time")
    }

    async fn read_reply(&mut self) -> Reply {
        let mut reply = self.read_head().await;
        let length: usize = reply
            .field("content-length")
            .map_or(0, |length| length.parse().expect("a length"));
        while self.pending.len() < length {
            assert_ne!(self.more().await, 0, "closed inside a reply body");
        }
        reply.body = String::from_utf8(self.pending.drain(..length).collect()).expect("text");
        reply
    }

    async fn read_head(&mut self) -> Reply {
        let end = loop {
            if let Some(end) = self
                .pending
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                break end + 4;
            }
            assert_ne!(
                self.more().await,
                0,
                "closed inside a reply head: {:?}",
                String::from_utf8_lossy(&self.pending)
            );
        };
        let head =
            String::from_utf8(self.pending.drain(..end).collect()).expect("a reply head in ASCII");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("a status");
        Reply {
            status,
            head,
            body: String::new(),
        }
    }

    async fn more(&mut self) -> usize {
        let mut bytes = [0; 4096];
        let read = self
            .wire
            .read(&mut bytes)
            .await
            .expect("the connection lives");
        self.pending.extend_from_slice(&bytes[..read]);
        read
    }

    /// Exactly so many bytes.
    pub(crate) async fn read(&mut self, len: usize) -> Vec<u8> {
        let read = async {
            while self.pending.len() < len {
                assert_ne!(
                    self.more().await,
                    0,
                    "closed after {:?}",
                    String::from_utf8_lossy(&self.pending)
                );
            }
        };
        timeout(PATIENCE, read).await.expect("bytes arrive");
        self.pending.drain(..len).collect()
    }

    /// Everything until the other side closes; the error if it was a reset.
    pub(crate) async fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.pending);
        timeout(PATIENCE, self.wire.read_to_end(&mut bytes))
            .await
            .expect("the end comes")?;
        Ok(bytes)
    }
}

/// The lines of a users file for one user, MD5 and SHA-256, as `htdigest` would hash them.
pub(crate) fn user_lines(user: &str, realm: &str, password: &str) -> String {
    let text = format!("{user}:{realm}:{password}");
    format!(
        "{user}:{realm}:{}\n{user}:{realm}:{}\n",
        md5(&text),
        sha256(&text)
    )
}

pub(crate) fn md5(text: &str) -> String {
    use md5::Digest;
    hex(&md5::Md5::digest(text.as_bytes()))
}

pub(crate) fn sha256(text: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
