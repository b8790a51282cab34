//! A null TCP relay, the yardstick: what it costs to accept, connect and move bytes, and nothing else.
//!
//! It is as lean as we can make it: a thread and a runtime for each worker with sockets of its own, one scratch buffer
//! a worker and none a tunnel. It reads no request, knows no limits, and writes nothing down.

mod copy;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::thread::{self, JoinHandle};

use socket2::{Domain, Socket, Type};
use tokio::sync::watch;

const BACKLOG: i32 = 4096;

/// What to start.
#[derive(Debug, Clone)]
pub struct RelayPlan {
    /// Where to listen; port 0 takes any free one, the same on all.
    pub listen: Vec<SocketAddr>,
    /// Where the connections go, by turns.
    pub to: Vec<SocketAddr>,
    /// How many threads.
    pub workers: NonZeroU8,
}

/// A relay that runs. Dropping it ends it and everything it carries.
#[derive(Debug)]
pub struct Relay {
    addrs: Vec<SocketAddr>,
    stop: watch::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Binds, and starts the threads.
    pub fn start(plan: &RelayPlan) -> io::Result<Self> {
        if plan.to.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a relay needs a place to lead to",
            ));
        }
        let (mut addrs, mut port) = (Vec::new(), None);
        let mut shares: Vec<Vec<Socket>> = (0..plan.workers.get()).map(|_| Vec::new()).collect();
        for wanted in &plan.listen {
            let mut addr = *wanted;
            for share in &mut shares {
                if let (0, Some(port)) = (addr.port(), port) {
                    addr.set_port(port);
                }
                let socket = listen(addr)?;
                addr = local_addr(&socket)?;
                port = Some(addr.port());
                share.push(socket);
            }
            addrs.push(addr);
        }
        let stop = watch::Sender::new(());
        let mut threads = Vec::new();
        for (number, sockets) in shares.into_iter().enumerate() {
            let (to, stopped) = (plan.to.clone(), stop.subscribe());
            let name = format!("relay-{number}");
            threads.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(move || worker::run(sockets, to, stopped))?,
            );
        }
        Ok(Self {
            addrs,
            stop,
            threads,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.send_modify(|()| {});
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// A socket of its own for each worker, so that the kernel shares connections out and no thread wakes for another's.
fn listen(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it: one system call a connection less.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("not an IP socket"))
}
