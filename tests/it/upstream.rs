//! Targets behind the proxy: ones that echo, speak first, refuse, hang, or do what the test says.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A listener on loopback: the test accepts by itself.
pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    listener_on(LOCALHOST).await
}

pub(crate) async fn listener_on(ip: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, 0))
        .await
        .expect("a loopback address");
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Sends back what it gets, and closes when its client does.
pub(crate) async fn echo() -> SocketAddr {
    echo_on(LOCALHOST).await
}

pub(crate) async fn echo_on(ip: IpAddr) -> SocketAddr {
    echo_at(SocketAddr::new(ip, 0)).await
}

pub(crate) async fn echo_at(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(address)
        .await
        .expect("a loopback address");
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(send_back(tcp));
        }
    });
    address
}

async fn send_back(mut tcp: TcpStream) {
    let (mut reader, mut writer) = tcp.split();
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
    let _ = writer.shutdown().await;
}

/// A port on which nobody listens.
pub(crate) async fn refusing() -> SocketAddr {
    let (listener, address) = listener().await;
    drop(listener);
    address
}

/// An address that leaves a connect unanswered, as a dead machine does: its queue is full, and nobody accepts.
#[derive(Debug)]
pub(crate) struct Hanging {
    _listener: socket2::Socket,
    _queued: Vec<socket2::Socket>,
    pub(crate) address: SocketAddr,
}

pub(crate) fn hanging(address: SocketAddr) -> Hanging {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    // A backlog of 0 holds one connection; further SYNs are dropped.
    let queued = (0..4)
        .map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    Hanging {
        _listener: listener,
        _queued: queued,
        address,
    }
}

/// From here on this end hears nothing, and acknowledges nothing, as behind a link that is down: a filter on the socket
/// drops every segment that comes in. Needs no privilege and no namespace.
pub(crate) fn deafen(socket: &impl std::os::fd::AsFd) {
    /// BPF_RET | BPF_K: keep 0 bytes.
    const DROP: socket2::SockFilter = socket2::SockFilter::new(0x06, 0, 0, 0);
    socket2::SockRef::from(socket)
        .attach_filter(&[DROP])
        .unwrap();
}

/// TLS as a server speaks it with this certificate and key, PEM.
pub(crate) fn tls(certificate: &str, key: &str) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
    let chain = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// Reads exactly so many bytes.
pub(crate) async fn read(tcp: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    tokio::time::timeout(crate::house::PATIENCE, tcp.read_exact(&mut bytes))
        .await
        .expect("bytes arrive")
        .expect("the connection lives");
    bytes
}
