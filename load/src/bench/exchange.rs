//! How the driver gets through, and the one exchange it makes: a kilobyte there, a kilobyte back.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::onprem::{ProxyClient, Tunnel};

/// There, and back.
pub(super) const BYTES: usize = 1024;
/// A transaction that takes longer has failed.
const WAIT: Duration = Duration::from_secs(15);

/// A way in.
pub(super) enum Road {
    /// A relay: connecting is all.
    Straight(SocketAddr),
    /// A proxy: CONNECT, with a login if it wants one.
    Asking(ProxyClient),
}

/// An open way through.
pub(super) enum Through {
    Straight(TcpStream),
    Tunnel(Tunnel),
}

impl Road {
    /// Opens a way to the target (a relay knows its own) and makes one exchange on it.
    pub(super) async fn travel(&self, target: &str) -> io::Result<Through> {
        timeout(WAIT, async {
            match self {
                Self::Straight(addr) => {
                    let mut stream = TcpStream::connect(addr).await?;
                    stream.set_nodelay(true)?;
                    exchange(&mut stream).await?;
                    Ok(Through::Straight(stream))
                }
                Self::Asking(client) => {
                    let mut tunnel = client.connect(target).await.map_err(io::Error::other)?;
                    exchange(&mut tunnel).await?;
                    Ok(Through::Tunnel(tunnel))
                }
            }
        })
        .await?
    }
}

impl Through {
    /// One more exchange, which proves that it is still open.
    pub(super) async fn again(&mut self) -> io::Result<()> {
        let exchange = async {
            match self {
                Self::Straight(stream) => exchange(stream).await,
                Self::Tunnel(tunnel) => exchange(tunnel).await,
            }
        };
        timeout(WAIT, exchange).await?
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    let mut bytes = [b'p'; BYTES];
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    stream.read_exact(&mut bytes).await?;
    Ok(())
}
