//! A proxy for tests: it says what it is told, or relays or forwards to an address it is told. No resolver, no policy.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tidegate_load::cloud::ca::ThrowAwayCa;
use tidegate_load::onprem::{ProxyClient, tls};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    /// `host:port`, or a whole URL.
    pub target: String,
    pub authorization: Option<String>,
    /// Which connection, from 0.
    pub connection: usize,
}

/// What is done about it.
pub enum Act {
    /// 200, then bytes both ways to this address.
    Relay(SocketAddr),
    /// The request, in origin form and on a connection of its own, to this address: in TLS if these are the
    /// certificates to trust. What is answered goes back.
    Forward(SocketAddr, Option<String>),
    /// This text; the connection stays open.
    Say(String),
    /// This text; the connection is closed.
    SayAndClose(String),
    /// Nothing.
    Silence,
}

pub struct TinyProxy {
    pub addr: SocketAddr,
    ca_pem: Option<String>,
    heard: Arc<Mutex<Vec<Heard>>>,
    tunnels: watch::Sender<u32>,
}

type Script = Arc<dyn Fn(&Heard) -> Act + Send + Sync>;

impl TinyProxy {
    pub async fn start(script: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        Self::open(script, None).await
    }

    pub async fn start_tls(script: impl Fn(&Heard) -> Act + Send + Sync + 'static) -> Self {
        let ca = ThrowAwayCa::new("tiny proxy").unwrap();
        Self::open(script, Some(ca)).await
    }

    async fn open(
        script: impl Fn(&Heard) -> Act + Send + Sync + 'static,
        ca: Option<ThrowAwayCa>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = ca.as_ref().map(|ca| {
            let identity = ca.issue(&["127.0.0.1".to_owned()]).unwrap();
            TlsAcceptor::from(Arc::new(identity.server_config().unwrap()))
        });
        let proxy = Self {
            addr: listener.local_addr().unwrap(),
            ca_pem: ca.map(|ca| ca.pem()),
            heard: Arc::default(),
            tunnels: watch::Sender::new(0),
        };
        let (heard, cut) = (proxy.heard.clone(), proxy.tunnels.subscribe());
        let script: Script = Arc::new(script);
        tokio::spawn(async move {
            let next = AtomicUsize::new(0);
            while let Ok((stream, _)) = listener.accept().await {
                let id = next.fetch_add(1, Ordering::Relaxed);
                let (heard, script, cut) = (heard.clone(), script.clone(), cut.clone());
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, id, heard, script, cut).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, id, heard, script, cut).await;
                            }
                        }
                    }
                });
            }
        });
        proxy
    }

    pub fn client(&self) -> ProxyClient {
        match &self.ca_pem {
            None => ProxyClient::plain(self.addr),
            Some(pem) => ProxyClient::tls(
                self.addr,
                tls::server_name("127.0.0.1").unwrap(),
                tls::trusting(pem).unwrap(),
            ),
        }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// Ends every tunnel that is open now.
    pub fn cut(&self) {
        self.tunnels.send_modify(|n| *n += 1);
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: S,
    connection: usize,
    heard: Arc<Mutex<Vec<Heard>>>,
    script: Script,
    mut cut: watch::Receiver<u32>,
) {
    cut.mark_unchanged();
    while let Some(head) = read_head(&mut client).await {
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            let mut found = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.to_owned())
        };
        let word = |n| head.split(' ').nth(n).unwrap().to_owned();
        let length = field("content-length").map_or(0, |value| value.parse().unwrap());
        let mut body = vec![0; length];
        client.read_exact(&mut body).await.unwrap();
        let ask = Heard {
            method: word(0),
            target: word(1),
            authorization: field("proxy-authorization"),
            connection,
        };
        heard.lock().unwrap().push(ask.clone());
        match script(&ask) {
            Act::Relay(addr) => {
                let Ok(mut upstream) = TcpStream::connect(addr).await else {
                    let _ = client
                        .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                        .await;
                    continue;
                };
                let _ = client
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .await;
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut upstream) => {}
                    _ = cut.changed() => {}
                }
                return;
            }
            Act::Forward(addr, trust) => {
                let reply = forward(&ask.target, &head, &body, addr, trust).await;
                client.write_all(&reply).await.unwrap();
            }
            Act::Say(text) => client.write_all(text.as_bytes()).await.unwrap(),
            Act::SayAndClose(text) => {
                client.write_all(text.as_bytes()).await.unwrap();
                let _ = client.shutdown().await;
                return;
            }
            Act::Silence => std::future::pending().await,
        }
    }
}

async fn forward(
    url: &str,
    head: &str,
    body: &[u8],
    addr: SocketAddr,
    trust: Option<String>,
) -> Vec<u8> {
    let (_, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let kept = head
        .lines()
        .skip(1)
        .filter(|line| !line.is_empty() && !line.to_lowercase().starts_with("proxy-"));
    let fields: String = kept.map(|line| format!("{line}\r\n")).collect();
    let head = format!("POST /{path} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n");
    let request = [head.as_bytes(), body].concat();

    let stream = TcpStream::connect(addr).await.unwrap();
    match trust {
        None => exchange(stream, &request).await,
        Some(pem) => {
            let host = authority.split(':').next().unwrap();
            let name = tls::server_name(host).unwrap();
            let stream = tls::trusting(&pem).unwrap().connect(name, stream).await;
            exchange(stream.unwrap(), &request).await
        }
    }
}

/// The whole answer, without the goodbye that it says to us.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).await.unwrap();
    let mut reply = Vec::new();
    // An end without a TLS goodbye is an end all the same.
    let _ = stream.read_to_end(&mut reply).await;
    let reply = String::from_utf8(reply).unwrap();
    reply.replacen("connection: close\r\n", "", 1).into_bytes()
}

async fn read_head<S: AsyncRead + Unpin>(client: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A 407 with these challenges and a short body.
pub fn challenge(challenges: &[&str]) -> String {
    let lines: String = challenges
        .iter()
        .map(|challenge| format!("Proxy-Authenticate: {challenge}\r\n"))
        .collect();
    format!("HTTP/1.1 407 Proxy Authentication Required\r\n{lines}Content-Length: 5\r\n\r\nwho?\n")
}
