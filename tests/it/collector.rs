//! Syslog collectors that take nothing but what the RFCs allow: RFC 5426 (UDP), RFC 6587 (TCP), RFC 5425 (TLS).

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::Value;
use tidegate_load::cloud::ca::{Identity, ThrowAwayCa};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::house::PATIENCE;

/// One message, taken apart.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) priority: u32,
    pub(crate) timestamp: String,
    pub(crate) host_name: String,
    pub(crate) app_name: String,
    pub(crate) process: String,
    pub(crate) id: String,
    /// The structured data; an access line has none.
    pub(crate) data: String,
    /// What stands behind it, where that is no JSON.
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// RFC 5424 §6, as strictly as it is written.
fn parse(message: &[u8]) -> Message {
    let text = std::str::from_utf8(message).expect("UTF-8");
    assert!(
        text.is_ascii() || text.contains("] \u{feff}"),
        "beyond ASCII a byte-order mark is needed: {text}"
    );
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
    let rest = text
        .strip_prefix('<')
        .unwrap_or_else(|| panic!("no PRI: {text}"));
    let (priority, rest) = rest.split_once('>').expect("PRI ends");
    assert!((1..=3).contains(&priority.len()) && (priority == "0" || !priority.starts_with('0')));
    let fields: Vec<&str> = rest.splitn(7, ' ').collect();
    let [version, timestamp, host_name, app_name, process, id, rest] = fields[..] else {
        panic!("not all of the header: {text}");
    };
    let (data, body) = structured_data(rest);
    assert_eq!(version, "1", "{text}");
    assert!(is_timestamp(timestamp), "{timestamp}");
    for (field, longest) in [(host_name, 255), (app_name, 48), (process, 128), (id, 32)] {
        assert!((1..=longest).contains(&field.len()), "{text}");
        assert!(field.bytes().all(|b| (33..=126).contains(&b)), "{text}");
    }
    Message {
        priority: priority.parse().expect("a number"),
        timestamp: timestamp.into(),
        host_name: host_name.into(),
        app_name: app_name.into(),
        process: process.into(),
        id: id.into(),
        data: data.into(),
        text: body.trim_start_matches('\u{feff}').into(),
        json: match data {
            "-" => serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")),
            _ => Value::Null,
        },
    }
}

/// `-` or `[…]`, and what stands behind it (RFC 5424 §6.3).
fn structured_data(rest: &str) -> (&str, &str) {
    if let Some(body) = rest.strip_prefix("- ") {
        return ("-", body);
    }
    assert!(rest.starts_with('['), "{rest}");
    let mut escaped = false;
    let end = rest.char_indices().find(|(_, c)| {
        let ends = *c == ']' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    let (end, _) = end.expect("an end of the structured data");
    let body = rest[end + 1..]
        .strip_prefix(' ')
        .expect("a space behind it");
    (&rest[..=end], body)
}

/// `2026-03-01T09:30:00.250Z`: upper case, at most six digits of a second.
fn is_timestamp(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let fraction = shape
        .strip_prefix("0000-00-00T00:00:00.")
        .and_then(|rest| rest.strip_suffix('Z'));
    fraction
        .is_some_and(|digits| (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b == b'0'))
}

/// Over UDP: one message a datagram.
#[derive(Debug)]
pub(crate) struct Datagrams(UdpSocket);

impl Datagrams {
    pub(crate) async fn listen() -> Self {
        Self::on(([127, 0, 0, 1], 0).into()).await
    }

    pub(crate) async fn on(address: SocketAddr) -> Self {
        Self(UdpSocket::bind(address).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn message(&self) -> Message {
        let mut datagram = vec![0; 65_536];
        let length = timeout(PATIENCE, self.0.recv(&mut datagram))
            .await
            .expect("a datagram arrives")
            .unwrap();
        parse(&datagram[..length])
    }
}

/// Over TCP.
#[derive(Debug)]
pub(crate) struct Listening(TcpListener);

impl Listening {
    pub(crate) async fn anywhere() -> Self {
        Self::on(([127, 0, 0, 1], 0).into()).await
    }

    /// Also where another has listened just now.
    pub(crate) async fn on(address: SocketAddr) -> Self {
        Self(TcpListener::bind(address).await.unwrap())
    }

    /// Of what nobody reads, little is taken.
    pub(crate) fn with_a_small_buffer() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1_024).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self(socket.listen(8).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> Connection<TcpStream> {
        let accepted = timeout(PATIENCE, self.0.accept()).await;
        Connection(accepted.expect("somebody connects").unwrap().0)
    }

    /// Over TLS, with a certificate of this authority for this name.
    pub(crate) async fn accept_tls(
        &self,
        authority: &ThrowAwayCa,
        name: &str,
    ) -> std::io::Result<Connection<TlsStream<TcpStream>>> {
        let identity = authority.issue(&[name.to_owned()]).unwrap();
        self.accept_tls_with(&identity).await
    }

    pub(crate) async fn accept_tls_with(
        &self,
        identity: &Identity,
    ) -> std::io::Result<Connection<TlsStream<TcpStream>>> {
        let config: ServerConfig = identity.server_config().unwrap();
        let tls = TlsAcceptor::from(Arc::new(config)).accept(self.accept().await.0);
        timeout(PATIENCE, tls)
            .await
            .expect("a handshake comes to its end")
            .map(Connection)
    }
}

/// A connection with octet-counted messages.
#[derive(Debug)]
pub(crate) struct Connection<S>(pub(crate) S);

impl<S: AsyncRead + Unpin> Connection<S> {
    pub(crate) async fn message(&mut self) -> Message {
        self.next().await.expect("a message, not the end")
    }

    /// Waits for the end of the connection, which must not be inside a message.
    pub(crate) async fn ends(&mut self) {
        if let Some(message) = self.next().await {
            panic!("a message, not the end: {message:?}");
        }
    }

    async fn next(&mut self) -> Option<Message> {
        let read = async {
            let mut length = 0;
            let mut digits = 0;
            loop {
                let byte = match self.0.read_u8().await {
                    Ok(byte) => byte,
                    Err(_) if digits == 0 => return None,
                    Err(error) => panic!("an end inside a message: {error}"),
                };
                match byte {
                    b'0'..=b'9' if digits > 0 || byte != b'0' => {
                        length = length * 10 + usize::from(byte - b'0')
                    }
                    b' ' if digits > 0 => break,
                    _ => panic!("no length before a message: {byte}"),
                }
                digits += 1;
            }
            let mut message = vec![0; length];
            self.0
                .read_exact(&mut message)
                .await
                .expect("a whole message");
            Some(parse(&message))
        };
        timeout(PATIENCE, read)
            .await
            .expect("a message or the end arrives")
    }
}
