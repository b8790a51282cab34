//! One thread of the relay: accept, connect, carry.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::copy::{Scratch, both_ways};

const SCRATCH: usize = 64 * 1024;
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn run(sockets: Vec<Socket>, to: Vec<SocketAddr>, mut stop: watch::Receiver<()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a relay worker cannot start"),
    };
    runtime.block_on(async {
        let scratch: Scratch = Rc::new(RefCell::new(vec![0; SCRATCH].into_boxed_slice()));
        let to = Rc::new(Turns {
            to,
            next: Cell::new(0),
        });
        for socket in sockets {
            spawn_local(accept(socket, to.clone(), scratch.clone()));
        }
        // An error is the handle gone, which ends us as well. Tasks end with the runtime.
        let _ = stop.changed().await;
    });
}

/// Where the next connection goes.
struct Turns {
    to: Vec<SocketAddr>,
    next: Cell<usize>,
}

impl Turns {
    fn take(&self) -> SocketAddr {
        let turn = self.next.get();
        self.next.set((turn + 1) % self.to.len());
        self.to[turn]
    }
}

async fn accept(socket: Socket, to: Rc<Turns>, scratch: Scratch) {
    let listener = match TcpListener::from_std(socket.into()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a relay socket cannot be polled"),
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                spawn_local(carry(client, to.take(), scratch.clone()));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// One tunnel, from its accept to its end.
async fn carry(mut client: TcpStream, to: SocketAddr, scratch: Scratch) {
    let ended = match connect(to).await {
        Ok(mut upstream) => {
            let ended = both_ways(&mut client, &mut upstream, &scratch).await;
            if ended.is_err() {
                reset_on_close(&upstream);
            }
            ended
        }
        Err(error) => Err(error),
    };
    if ended.is_err() {
        reset_on_close(&client);
    }
}

/// A plain connect with no more system calls than it takes.
async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    let stream = TcpStream::from_std(socket.into())?;
    let ready = stream.ready(Interest::WRITABLE).await?;
    if ready.is_write_closed() || ready.is_error() {
        let error = stream.take_error()?;
        return Err(error.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()));
    }
    Ok(stream)
}

/// What broke on one side must not look like a clean end on the other.
fn reset_on_close(stream: &TcpStream) {
    // A socket that can't be told so closes as usual.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
