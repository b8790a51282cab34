//! An origin that does what the test says, and keeps every byte that it was sent.
//!
//! It decides nothing by itself: the test accepts each connection, reads, answers, closes or resets it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::client::{Client, Reply};
use crate::house::{self, PATIENCE};
use crate::upstream::{self, LOCALHOST};

/// A reply that leaves its connection usable.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A reply that does not.
pub(crate) const OK_CLOSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

pub(crate) struct Origin {
    listener: TcpListener,
    /// The same socket, to look whether somebody waits at it.
    glance: std::net::TcpListener,
    pub(crate) address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

/// One connection to the origin.
pub(crate) struct Call {
    wire: Wire,
    /// Everything that came, from the first byte.
    heard: Vec<u8>,
    /// How much of it the test has read.
    read: usize,
    pub(crate) sni: Option<String>,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How the proxy left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Broken,
}

/// A request head as the origin sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) line: String,
    /// Names in lower case, values as they came.
    fields: Vec<(String, String)>,
}

/// A whole request as the origin sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) ask: Ask,
    pub(crate) body: Vec<u8>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        Self::on((LOCALHOST, 0).into()).expect("a loopback address")
    }

    /// On an address of the test's choice, which may not be free.
    pub(crate) fn on(address: SocketAddr) -> io::Result<Self> {
        let glance = std::net::TcpListener::bind(address)?;
        glance.set_nonblocking(true)?;
        Ok(Self {
            listener: TcpListener::from_std(glance.try_clone()?)?,
            address: glance.local_addr()?,
            glance,
            tls: None,
        })
    }

    /// Speaks TLS from now on, with a certificate for this name; its authority, PEM.
    pub(crate) fn tls(&mut self, name: &str) -> String {
        let (authority, certificate, key) = house::certificate(&[name]);
        self.tls_with(&certificate, &key);
        authority
    }

    /// Speaks TLS from now on, with this certificate and key, PEM.
    pub(crate) fn tls_with(&mut self, certificate: &str, key: &str) {
        let config = upstream::tls(certificate, key);
        self.tls = Some(TlsAcceptor::from(Arc::new(config)));
    }

    /// `push.test` and the origin's port.
    pub(crate) fn authority(&self) -> String {
        format!("push.test:{}", self.address.port())
    }

    /// `http://push.test:…` and this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority())
    }

    /// A GET for this path in absolute form.
    pub(crate) fn get(&self, path: &str) -> String {
        self.request("GET", path, "")
    }

    /// A request in absolute form, with these field lines.
    pub(crate) fn request(&self, method: &str, path: &str, fields: &str) -> String {
        format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n",
            self.url(path),
            self.authority()
        )
    }

    /// The next connection.
    pub(crate) async fn call(&self) -> Call {
        timeout(PATIENCE, self.accept())
            .await
            .expect("somebody calls the origin")
            .expect("TLS with the origin")
    }

    /// The next connection on which something comes: the proxy also connects only to learn what an address is like.
    pub(crate) async fn caller(&self) -> Call {
        loop {
            let mut call = self.call().await;
            call.begins().await;
            if !call.heard.is_empty() {
                return call;
            }
        }
    }

    /// The next connection, where TLS may fail.
    pub(crate) async fn try_call(&self) -> io::Result<Call> {
        timeout(PATIENCE, self.accept())
            .await
            .expect("somebody calls the origin")
    }

    async fn accept(&self) -> io::Result<Call> {
        let (tcp, _) = self.listener.accept().await.expect("the origin listens");
        let (wire, sni) = match &self.tls {
            None => (Wire::Plain(tcp), None),
            Some(acceptor) => {
                let tls = acceptor.accept(tcp).await?;
                let sni = tls.get_ref().1.server_name().map(str::to_owned);
                (Wire::Tls(Box::new(tls)), sni)
            }
        };
        Ok(Call {
            wire,
            heard: Vec::new(),
            read: 0,
            sni,
        })
    }

    /// The connection that a client's request leads to, and the head on it. A proxy that answers by itself instead
    /// fails the test with its answer.
    pub(crate) async fn reached(&self, client: &mut Client) -> (Call, Ask) {
        let arrives = async {
            let mut call = self.caller().await;
            let ask = call.ask().await;
            (call, ask)
        };
        tokio::select! {
            arrived = arrives => arrived,
            reply = client.reply() => panic!("the proxy answered by itself: {}", told(&reply)),
        }
    }

    /// What came over connections that the test has not accepted, once the proxy has ended each of them.
    pub(crate) async fn unaccepted(&self) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        while let Ok((tcp, _)) = self.glance.accept() {
            tcp.set_nonblocking(true).unwrap();
            let mut call = Call {
                wire: Wire::Plain(TcpStream::from_std(tcp).unwrap()),
                heard: Vec::new(),
                read: 0,
                sni: None,
            };
            call.end().await;
            heard.push(call.heard);
        }
        heard
    }

    /// Nobody waits to be accepted: what the test has not seen did not happen.
    pub(crate) fn nobody_called(&self) {
        let waiting = self.glance.accept().map(|(tcp, _)| tcp.peer_addr());
        assert!(waiting.is_err(), "somebody called the origin: {waiting:?}");
    }

    /// No byte came over any connection that the test has not accepted.
    pub(crate) async fn nobody_asked(&self) {
        for heard in self.unaccepted().await {
            assert_eq!(String::from_utf8_lossy(&heard), "");
        }
    }

    /// No whole request came over any connection that the test has not accepted.
    pub(crate) async fn nothing_came_whole(&self, about: &str) {
        for heard in self.unaccepted().await {
            let (whole, _) = messages(&heard);
            assert!(whole.is_empty(), "{about}: the origin got {whole:?}");
        }
    }
}

impl Call {
    /// The next request's head.
    pub(crate) async fn ask(&mut self) -> Ask {
        self.until(head).await
    }

    /// The next request's head, asked for by this client. A proxy that answers by itself fails the test.
    pub(crate) async fn asked_by(&mut self, client: &mut Client) -> Ask {
        tokio::select! {
            ask = self.ask() => ask,
            reply = client.reply() => panic!("the proxy answered by itself: {}", told(&reply)),
        }
    }

    /// Waits for the first byte, or for the proxy to leave without one.
    pub(crate) async fn begins(&mut self) {
        let first = async {
            if self.heard.is_empty() {
                let _ = self.more().await;
            }
        };
        timeout(PATIENCE, first).await.expect("something comes");
    }

    /// The next request, whole.
    pub(crate) async fn message(&mut self) -> Message {
        self.until(message).await
    }

    async fn until<T>(&mut self, look: impl Fn(&[u8]) -> Option<(T, usize)>) -> T {
        let come = async {
            loop {
                if let Some((found, len)) = look(&self.heard[self.read..]) {
                    self.read += len;
                    return found;
                }
                match self.more().await {
                    Ok(0) => panic!("the proxy closed after {:?}", self.text()),
                    Ok(_) => {}
                    Err(error) => panic!("{error} after {:?}", self.text()),
                }
            }
        };
        timeout(PATIENCE, come).await.expect("the request comes")
    }

    /// Exactly so many bytes.
    pub(crate) async fn read(&mut self, len: usize) -> Vec<u8> {
        self.until(|bytes| bytes.get(..len).map(|bytes| (bytes.to_vec(), len)))
            .await
    }

    /// Waits until the proxy has left, and says how.
    pub(crate) async fn end(&mut self) -> End {
        let end = async {
            loop {
                match self.more().await {
                    Ok(0) => return End::Clean,
                    Ok(_) => {}
                    Err(_) => return End::Broken,
                }
            }
        };
        timeout(PATIENCE, end).await.expect("the proxy leaves")
    }

    /// Waits until the proxy has left, and sees that the request on this connection never became whole.
    pub(crate) async fn ends_unfinished(&mut self) {
        self.end().await;
        let (whole, _) = messages(&self.heard);
        assert!(
            whole.is_empty(),
            "a broken request became whole: {:?}",
            self.text()
        );
    }

    /// Waits until the proxy has left; the requests that came, and no byte more.
    pub(crate) async fn ends_after(&mut self) -> Vec<Message> {
        self.end().await;
        let (whole, rest) = messages(&self.heard);
        assert_eq!(String::from_utf8_lossy(rest), "", "behind the last request");
        whole
    }

    /// The whole requests that came so far.
    pub(crate) fn requests(&self) -> Vec<Message> {
        messages(&self.heard).0
    }

    /// Everything that came on this connection.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let sent = match &mut self.wire {
            Wire::Plain(tcp) => tcp.write_all(bytes).await,
            Wire::Tls(tls) => match tls.write_all(bytes).await {
                Ok(()) => tls.flush().await,
                Err(error) => Err(error),
            },
        };
        sent.expect("the proxy takes the reply");
    }

    /// Sends what the proxy may no longer want.
    pub(crate) async fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = match &mut self.wire {
            Wire::Plain(tcp) => tcp.write_all(bytes.as_ref()).await,
            Wire::Tls(tls) => tls.write_all(bytes.as_ref()).await,
        };
    }

    /// Ends the sending side; the proxy may go on.
    pub(crate) async fn finish(&mut self) {
        let _ = match &mut self.wire {
            Wire::Plain(tcp) => tcp.shutdown().await,
            Wire::Tls(tls) => tls.shutdown().await,
        };
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        let tcp = match &self.wire {
            Wire::Plain(tcp) => tcp,
            Wire::Tls(tls) => tls.get_ref().0,
        };
        tcp.set_zero_linger().expect("can be set");
    }

    async fn more(&mut self) -> io::Result<usize> {
        let mut bytes = vec![0; 64 * 1024];
        let read = match &mut self.wire {
            Wire::Plain(tcp) => tcp.read(&mut bytes).await?,
            Wire::Tls(tls) => tls.read(&mut bytes).await?,
        };
        self.heard.extend_from_slice(&bytes[..read]);
        Ok(read)
    }
}

impl Ask {
    /// Every value of a field, in order.
    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        let lines = self.fields.iter();
        lines
            .filter(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a field that stands once or not at all.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.fields(name);
        assert!(values.len() < 2, "{name} stands {values:?} in {self:?}");
        values.first().copied()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }
}

fn told(reply: &Reply) -> String {
    let status = reply.head.lines().next().unwrap_or_default();
    let details = reply.field("proxy-status").unwrap_or_default();
    format!("{status} ({details})")
}

/// Every whole request at the front of what came, and what is left behind them.
fn messages(mut bytes: &[u8]) -> (Vec<Message>, &[u8]) {
    let mut whole = Vec::new();
    while let Some((message, len)) = message(bytes) {
        whole.push(message);
        bytes = &bytes[len..];
    }
    (whole, bytes)
}

/// One request by the letter: whoever writes to an origin has no excuse.
fn message(bytes: &[u8]) -> Option<(Message, usize)> {
    let (ask, at) = head(bytes)?;
    let (body, len) = match (ask.field("content-length"), ask.field("transfer-encoding")) {
        (None, None) => (Vec::new(), 0),
        (Some(length), None) => {
            let length = length.parse().expect("a length");
            (bytes.get(at..)?.get(..length)?.to_vec(), length)
        }
        (None, Some("chunked")) => chunked(&bytes[at..])?,
        both => panic!("two framings at the origin: {both:?}"),
    };
    Some((Message { ask, body }, at + len))
}

fn head(bytes: &[u8]) -> Option<(Ask, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    // Values may hold bytes beyond ASCII, which mean nothing to us.
    let text = &*String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words.len(), words[2]), (3, "HTTP/1.1"), "{line:?}");
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':').expect("a colon");
        let clean = !name.is_empty() && !name.contains([' ', '\t']);
        assert!(clean, "{line:?}");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    let fields = fields.collect();
    Some((Ask { line, fields }, end + 4))
}

fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    let line = |at: usize| {
        let rest = bytes.get(at..)?;
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        Some((
            std::str::from_utf8(&rest[..end]).expect("ASCII"),
            at + end + 2,
        ))
    };
    loop {
        let (size, behind) = line(at)?;
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        at = behind;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..)?.get(..size)?);
        let (nothing, behind) = line(at + size)?;
        assert_eq!(nothing, "", "behind a chunk");
        at = behind;
    }
    loop {
        let (trailer, behind) = line(at)?;
        at = behind;
        if trailer.is_empty() {
            return Some((body, at));
        }
    }
}

/// The origin and its readers themselves, with no proxy between.
#[tokio::test]
async fn the_origin_hears_what_is_said_and_says_what_it_is_told() {
    let origin = Origin::start().await;
    let mut client = Client::plain(origin.address).await;
    client
        .send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\nrest")
        .await;
    let mut call = origin.call().await;
    let message = call.message().await;
    assert_eq!(
        (message.ask.line.as_str(), message.body.as_slice()),
        ("POST /a HTTP/1.1", &b"abc"[..])
    );
    assert_eq!(call.ask().await.field("host"), Some("x"));
    assert_eq!(call.read(4).await, b"rest");
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
    origin.nobody_called();
    drop(client);
    assert_eq!(call.end().await, End::Clean);
    assert!(call.text().ends_with("\r\n\r\nrest"));
    let (whole, rest) = messages(call.heard.as_slice());
    assert_eq!((whole.len(), rest), (2, &b"rest"[..]));

    let mut client = Client::plain(origin.address).await;
    client
        .send("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n")
        .await;
    let mut call = origin.call().await;
    call.ask().await;
    crate::chunks::data(&mut call, "abc").await;
    client.send("X: y\r\n\r\n").await;
    assert_eq!(crate::chunks::end(&mut call).await, ["X: y"]);
    assert_eq!(messages(&call.heard).0[0].body, b"abc");
    call.reset();
    client.read_to_end().await.expect_err("a reset");

    let mut client = Client::plain(origin.address).await;
    client
        .send("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        .await;
    drop(client);
    origin.nothing_came_whole("half a body").await;
}

#[tokio::test]
async fn the_origin_speaks_tls_for_its_name() {
    let mut origin = Origin::start().await;
    let authority = origin.tls("localhost");
    let (mut client, mut call) =
        tokio::join!(Client::tls(origin.address, &authority), origin.call());
    assert_eq!(call.sni.as_deref(), Some("localhost"));
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(call.ask().await.line, "GET / HTTP/1.1");
    call.send(OK).await;
    assert_eq!(client.reply().await.body, "ok");
}
