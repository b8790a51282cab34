//! Binding: one socket a core, on one address, and a clear word when the address is taken.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Keepalive;

/// Connections that may wait for an accept, for each core.
const BACKLOG: i32 = 1024;

/// Bytes that may wait unsent in the kernel for one client.
const UNSENT_MAX: u32 = 128 * 1024;

/// Binds `count` sockets (at least one) to one address; port 0 becomes the same free port for all.
///
/// The first socket binds without SO_REUSEPORT, so that another holder of the address is noticed; only then is it
/// shared with its siblings.
pub(crate) fn bind(
    address: SocketAddr,
    dual_stack: bool,
    count: usize,
    keepalive: Keepalive,
) -> io::Result<Vec<TcpListener>> {
    let first = socket(address, dual_stack, keepalive)?;
    first.bind(&address.into())?;
    let bound = first
        .local_addr()?
        .as_socket()
        .ok_or(io::ErrorKind::AddrNotAvailable)?;
    first.set_reuse_port(true)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let sibling = socket(address, dual_stack, keepalive)?;
        sibling.set_reuse_port(true)?;
        sibling.bind(&bound.into())?;
        sockets.push(sibling);
    }
    // A SO_REUSEADDR bind succeeds beside a socket that does not listen yet; only listening settles who holds the port.
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

/// Accepted sockets inherit the options of the listening one.
fn socket(address: SocketAddr, dual_stack: bool, keepalive: Keepalive) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // A restart must not wait for the TIME_WAIT of the connections before it.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.probes);
    socket.set_tcp_keepalive(&keepalive)?;
    // Else a slow client's progress would show only when a large part of the kernel's buffer has drained.
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const KEEPALIVE: Keepalive = Keepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(15),
        probes: 4,
    };

    #[test]
    fn siblings_share_a_port_that_nobody_else_gets() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), false, 3, KEEPALIVE).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(
            sockets
                .iter()
                .all(|socket| socket.local_addr().unwrap() == address)
        );
        let second = bind(address, false, 1, KEEPALIVE).map(|_| ()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn accepted_sockets_inherit_keepalive_and_nodelay() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), false, 1, KEEPALIVE).unwrap();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client
            .connect(&sockets[0].local_addr().unwrap().into())
            .unwrap();
        let accepted = loop {
            match sockets[0].accept() {
                Ok((accepted, _)) => break Socket::from(accepted),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(accepted.keepalive().unwrap() && accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE.idle);
        assert_eq!(
            accepted.tcp_keepalive_interval().unwrap(),
            KEEPALIVE.interval
        );
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), KEEPALIVE.probes);
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            None,
            "it would end idle tunnels after one lost probe"
        );
    }
}
