//! What the tunnels lead to: for every kilobyte it answers one, until the other side closes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::exchange::BYTES;

const BACKLOG: u32 = 4096;
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves these addresses until dropped, or until a listener can't be set up.
pub async fn serve(addrs: Vec<SocketAddr>) -> io::Result<()> {
    let mut doors = JoinSet::new();
    for addr in addrs {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it.
        socket.set_nodelay(true)?;
        socket.bind(addr)?;
        doors.spawn(accept(socket.listen(BACKLOG)?));
    }
    while doors.join_next().await.is_some() {}
    Ok(())
}

async fn accept(listener: TcpListener) {
    // Dropped with us, connections and all.
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    open.spawn(answer(stream));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

/// An error is the other side gone: its driver knows.
async fn answer(mut stream: TcpStream) {
    let mut bytes = [0; BYTES];
    while stream.read_exact(&mut bytes).await.is_ok() {
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
