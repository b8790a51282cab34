//! Free ports on loopback, for children that must be told where to listen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// How often a port is looked for that is free on every address.
const TRIES: usize = 20;

/// So many different free addresses: held together, so that they differ, and let go for the child.
pub fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut held = Vec::with_capacity(N);
    for _ in 0..N {
        held.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    }
    let mut found = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (found, listener) in found.iter_mut().zip(&held) {
        *found = listener.local_addr()?;
    }
    Ok(found)
}

/// A port that is free on all of these.
pub fn free_port(ips: &[IpAddr]) -> io::Result<u16> {
    let mut clash = io::Error::from(io::ErrorKind::InvalidInput);
    for _ in 0..TRIES {
        let mut port = 0;
        let mut held = Vec::with_capacity(ips.len());
        for ip in ips {
            match TcpListener::bind((*ip, port)) {
                Ok(listener) => {
                    port = listener.local_addr()?.port();
                    held.push(listener);
                }
                Err(error) => clash = error,
            }
        }
        if held.len() == ips.len() && port != 0 {
            return Ok(port);
        }
    }
    Err(clash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_a_port_is_free_on_all() {
        let [a, b, c] = free_addresses().unwrap();
        assert!(a != b && b != c && a != c);
        let ips = [1, 2, 3].map(|n| IpAddr::from([127, 0, 0, n]));
        let port = free_port(&ips).unwrap();
        for ip in ips {
            TcpListener::bind((ip, port)).unwrap();
        }
        assert!(free_port(&[]).is_err());
    }
}
