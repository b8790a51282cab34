//! The client's side of a connection: plain or TLS, one concrete type, so that nothing above is generic.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::Scratch;

/// How long a client may take to close after our last word, and how much of what it sends is read until then.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(crate) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientStream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// The version of its TLS; `None` without.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        use tokio_rustls::rustls::ProtocolVersion;
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(match tls.get_ref().1.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "other",
            }),
        }
    }

    /// The next close becomes a reset (RST), so that the client does not take an error for a clean end.
    pub(crate) fn reset_on_close(&self) {
        // Fails only on a socket that is gone already, which is what was wanted.
        let _ = self.tcp().set_zero_linger();
    }

    /// The same connection by a descriptor of its own, to wait for its errors while others read and write.
    pub(super) fn error_watch(&self) -> io::Result<TcpStream> {
        let fd = self.tcp().as_fd().try_clone_to_owned()?;
        TcpStream::from_std(fd.into())
    }

    /// Sends the last word and closes so that the client can still read it: our side first, then what it still sends is
    /// read and dropped, for a reset would eat the reply. Some send a whole body before they look for a 407.
    pub(crate) async fn farewell(mut self, last_word: &[u8], scratch: &Scratch) {
        let _ = timeout(FAREWELL, async {
            self.write_all(last_word).await?;
            self.shutdown().await?;
            let mut left = FAREWELL_BYTES;
            while left > 0 {
                match scratch.read(&mut self, |_| ()).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            io::Result::Ok(())
        })
        .await;
    }

    /// Returns when the client has gone for good: a reset, not a FIN, since a client may close its sending side and wait.
    pub(crate) async fn gone(&self) {
        loop {
            match self.tcp().ready(Interest::ERROR).await {
                Ok(ready) if !ready.is_error() => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Resolves when the client has reset the connection, or ended it without another byte: it can have no use for a
    /// tunnel. Takes nothing that it sent.
    pub(crate) async fn left(&self) {
        let tcp = self.tcp();
        loop {
            let interest = Interest::READABLE | Interest::ERROR;
            match tcp.ready(interest).await {
                Ok(ready) if !ready.is_error() => {}
                Ok(_) | Err(_) => return,
            }
            let peek = || SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]);
            match tcp.try_io(Interest::READABLE, peek) {
                Ok(0) => return,
                // There is more to come of it, be it the end of TLS: what stands behind that cannot be seen.
                Ok(_) => return self.gone().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for ClientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => match Pin::new(tls).poll_read(cx, buf) {
                // Many clients close without close_notify. What travels inside has an end of its own; to us it is a FIN.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                other => other,
            },
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
