//! The few system calls without a safe wrapper: the only file where `unsafe` may stand, with a sentence each that says
//! why it is sound.
#![allow(
    unsafe_code,
    reason = "the standard library, rustix and socket2 have neither TCP_INFO nor IP_BIND_ADDRESS_NO_PORT"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// What the kernel knows of one TCP connection, as far as we ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Segments under way that were not acknowledged.
    pub(crate) unacked: u32,
    /// Bytes that were not sent yet: the receiver's window is closed, or too much is under way.
    pub(crate) unsent: u32,
    /// Window probes since the last answer.
    pub(crate) probes: u8,
    /// Since data was last sent, retransmissions included.
    pub(crate) since_sent: Duration,
    /// Since the last acknowledgement came, one of nothing new included.
    pub(crate) since_ack: Duration,
    /// The smoothed round trip.
    pub(crate) rtt: Duration,
}

/// Words of `struct tcp_info` (linux/tcp.h), as far as we read. The kernel writes no more than it is given room for.
const WORDS: usize = 37;

/// Reads TCP_INFO: 0.4 µs.
pub(crate) fn tcp_info(socket: &impl AsFd) -> io::Result<TcpInfo> {
    let mut words = [0_u32; WORDS];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the descriptor is borrowed, so it is open; the kernel writes at most `len` bytes, which is the size of
    // `words`, and any bytes are valid `u32`s.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Eight bytes come first: the state, the congestion state, retransmits, probes, …
    let [.., probes] = words[0].to_ne_bytes();
    let ms = |word: usize| Duration::from_millis(words[word].into());
    Ok(TcpInfo {
        unacked: words[6],
        unsent: words[36],
        probes,
        since_sent: ms(11),
        since_ack: ms(14),
        rtt: Duration::from_micros(words[17].into()),
    })
}

/// Has the next bind to port 0 leave the port open until the connect (IP_BIND_ADDRESS_NO_PORT): one local port can then
/// serve one connection to every peer, not one in all.
pub(crate) fn bind_address_no_port(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed, so it is open; the kernel reads exactly the bytes of `on`, whose size stands
    // beside it, and keeps no pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_bound_socket_has_no_port_before_it_connects() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        bind_address_no_port(&socket).unwrap();
        let any_port: std::net::SocketAddr = "127.0.0.2:0".parse().unwrap();
        socket.bind(&any_port.into()).unwrap();
        let port =
            |socket: &socket2::Socket| socket.local_addr().unwrap().as_socket().unwrap().port();
        assert_eq!(port(&socket), 0);
        socket
            .connect(&listener.local_addr().unwrap().into())
            .unwrap();
        assert_ne!(port(&socket), 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test plays both sides")]
    fn what_a_receiver_leaves_unread_shows() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.write_all(b"x").unwrap();
        receiver.read_exact(&mut [0]).unwrap();
        let info = tcp_info(&sender).unwrap();
        assert_eq!((info.unacked, info.unsent, info.probes), (0, 0, 0));
        assert!(info.rtt > Duration::ZERO && info.rtt < Duration::from_secs(1));
        // Until its window and our buffer are full.
        sender.set_nonblocking(true).unwrap();
        while sender.write(&[0; 65_536]).is_ok() {}
        assert!(tcp_info(&sender).unwrap().unsent > 0);
        assert!(tcp_info(&std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
