//! One attempt on one address: the only place where an outbound connection is opened.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

use super::parent::ParentError;
use crate::config::Keepalive;
use crate::exchange::Reason;
use crate::policy::ClearedAddr;

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectError {
    Refused,
    TimedOut,
    Reset,
    Unreachable,
    /// The address is one of this machine's, and the port one of ours.
    Ourselves,
    /// None of the destination's `source` addresses is on this machine.
    NoSource,
    /// The parent proxy was reached, and gave no tunnel.
    Parent(ParentError),
    /// We are out of descriptors, ports or memory.
    OutOfResources,
    Other,
}

impl ConnectError {
    /// The word in the access log and in metrics.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Reset => "reset",
            Self::Unreachable => "unreachable",
            Self::Ourselves => "ourselves",
            Self::Parent(error) => error.token(),
            Self::NoSource => "no_source",
            Self::OutOfResources => "out_of_resources",
            Self::Other => "failed",
        }
    }

    /// Whether it says something about the address; the rest is about us.
    pub(crate) fn blames_the_address(self) -> bool {
        match self {
            Self::Refused | Self::TimedOut | Self::Reset | Self::Unreachable => true,
            Self::Parent(error) => error.blames_the_parent(),
            Self::Ourselves | Self::NoSource | Self::OutOfResources | Self::Other => false,
        }
    }

    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Refused => Reason::ConnectRefused,
            Self::TimedOut => Reason::ConnectTimeout,
            Self::Reset => Reason::UpstreamReset,
            Self::Unreachable | Self::Other => Reason::Unreachable,
            Self::Ourselves => Reason::SelfTarget,
            Self::Parent(error) => error.reason(),
            Self::NoSource | Self::OutOfResources => Reason::Internal,
        }
    }
}

impl From<&io::Error> for ConnectError {
    fn from(error: &io::Error) -> Self {
        use rustix::io::Errno;
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::PermissionDenied => Self::Unreachable,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::OutOfResources,
            _ => match Errno::from_io_error(error) {
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN) => {
                    Self::OutOfResources
                }
                _ => Self::Other,
            },
        }
    }
}

/// Connects, from one of the `sources` where there are any: from the first that this machine has and that has a port
/// left. The caller's deadline ends it by dropping the future.
pub(crate) async fn connect(
    addr: ClearedAddr,
    keepalive: Keepalive,
    sources: &[IpAddr],
) -> Result<TcpStream, ConnectError> {
    let peer = addr.socket_addr();
    if addr.refuse_if_local() && is_local(peer.ip()) {
        return Err(ConnectError::Ourselves);
    }
    if sources.is_empty() {
        let connected = socket(peer, keepalive)
            .map_err(|error| ConnectError::from(&error))?
            .connect(peer)
            .await;
        return connected.map_err(|error| ConnectError::from(&error));
    }
    let mut failure = ConnectError::NoSource;
    for source in sources {
        let socket = socket(peer, keepalive).map_err(|error| ConnectError::from(&error))?;
        // Without it all works, with fewer ports.
        let _ = crate::sys::bind_address_no_port(&socket);
        match socket.bind((*source, 0).into()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                tracing::debug!(%source, "this machine does not have a source address");
                continue;
            }
            Err(error) => match ConnectError::from(&error) {
                ConnectError::OutOfResources => {
                    failure = ConnectError::OutOfResources;
                    continue;
                }
                error => return Err(error),
            },
        }
        match socket.connect(peer).await {
            Ok(stream) => return Ok(stream),
            // No port is left from here to there.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                failure = ConnectError::OutOfResources;
            }
            Err(error) => match ConnectError::from(&error) {
                // Of two ways out, one may lead nowhere.
                ConnectError::Unreachable => failure = ConnectError::Unreachable,
                error => return Err(error),
            },
        }
    }
    Err(failure)
}

/// Whether this machine has the address now: only then a socket can be bound to it.
pub(crate) fn is_here(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

/// A socket whose datagrams go to one address, and that hears when nobody listens there.
pub(crate) async fn datagrams(addr: ClearedAddr) -> io::Result<tokio::net::UdpSocket> {
    let peer = addr.socket_addr();
    let socket = tokio::net::UdpSocket::bind((any(peer.ip()), 0)).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

fn socket(peer: SocketAddr, keepalive: Keepalive) -> io::Result<TcpSocket> {
    let socket = if peer.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    // Never TCP_USER_TIMEOUT: together with keepalive it ends an idle tunnel after one lost probe.
    SockRef::from(&socket).set_tcp_keepalive(&tcp_keepalive(keepalive))?;
    Ok(socket)
}

/// The keepalive of the configuration as the kernel takes it.
pub(crate) fn tcp_keepalive(keepalive: Keepalive) -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.probes)
}

/// Whether an address is one of this machine's: the kernel then picks it as the source towards itself. No packet is sent.
fn is_local(ip: IpAddr) -> bool {
    if ip.is_loopback() || ip.is_unspecified() {
        return true;
    }
    let source = UdpSocket::bind((any(ip), 0)).and_then(|probe| {
        probe.connect((ip, 9))?;
        probe.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

/// All addresses of the same family.
fn any(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}
