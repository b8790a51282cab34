//! One address of the cloud: its listening socket, its connections, and how it behaves at the moment.
//!
//! A task owns socket and connections, and takes orders by channel; when an order is answered, it has happened.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Behavior;
use super::connection::{Mood, connection};
use super::desk::Desk;

const BACKLOG: i32 = 1024;
/// The kernel holds one connection more than the backlog says.
const HANG_BACKLOG: i32 = 1;
const HANG_FILLERS: usize = 2;
/// A connect to loopback that takes longer has found the queue full.
const FILL_WAIT: Duration = Duration::from_millis(100);
const CONNECTIONS_MAX: usize = 10_000;

/// The handle on one address.
#[derive(Debug)]
pub(super) struct Door {
    addr: SocketAddr,
    orders: mpsc::Sender<Order>,
    counts: Arc<Counts>,
    mood: watch::Receiver<Mood>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    accepted: AtomicU64,
}

#[derive(Debug)]
struct Order {
    /// `None`: behave as before, but reset what is open.
    behavior: Option<Behavior>,
    done: oneshot::Sender<io::Result<usize>>,
}

/// The address at the kernel.
enum Ear {
    Listening(TcpListener),
    /// Bound, so that the port stays ours, but not listening: connects are refused.
    Refusing(Socket),
    /// Listening with a full queue: connects get no answer.
    Hanging {
        listener: TcpListener,
        _fillers: Vec<TcpStream>,
    },
}

/// A socket bound to this address, not yet listening.
pub(super) fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into()).map_err(|error| {
        if error.kind() == io::ErrorKind::AddrNotAvailable {
            let problem = format!(
                "{} can't be bound: this system has no such loopback address (on macOS and BSD: ifconfig lo0 alias {})",
                addr.ip(),
                addr.ip(),
            );
            return io::Error::new(error.kind(), problem);
        }
        error
    })?;
    Ok(socket)
}

pub(super) fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("not an IP socket"))
}

impl Door {
    pub(super) fn open(
        socket: Socket,
        tls: Option<TlsAcceptor>,
        desk: Arc<Desk>,
        answer_after: Duration,
    ) -> io::Result<Self> {
        let addr = local_addr(&socket)?;
        let counts = Arc::new(Counts::default());
        let (orders, inbox) = mpsc::channel(8);
        let (mood, seen_mood) = watch::channel(Mood::default());
        let keeper = Keeper {
            addr,
            ear: Some(Ear::Listening(listen(socket)?)),
            tls,
            desk,
            answer_after,
            mood,
            connections: JoinSet::new(),
            counts: counts.clone(),
        };
        tokio::spawn(keeper.run(inbox));
        Ok(Self {
            addr,
            orders,
            counts,
            mood: seen_mood,
        })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn behavior(&self) -> Behavior {
        self.mood.borrow().behavior
    }

    pub(super) fn connections(&self) -> usize {
        self.counts.open.load(Ordering::Relaxed)
    }

    pub(super) fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    pub(super) async fn set(&self, behavior: Behavior) -> io::Result<usize> {
        self.order(Some(behavior)).await
    }

    pub(super) async fn drop_connections(&self) -> io::Result<usize> {
        self.order(None).await
    }

    async fn order(&self, behavior: Option<Behavior>) -> io::Result<usize> {
        let gone = || io::Error::other("this address of the cloud has ended");
        let (done, answer) = oneshot::channel();
        let order = Order { behavior, done };
        self.orders.send(order).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The task behind a door.
struct Keeper {
    addr: SocketAddr,
    /// Taken out only while it changes; stays away if a change fails.
    ear: Option<Ear>,
    /// `None`: this door speaks HTTP in clear.
    tls: Option<TlsAcceptor>,
    desk: Arc<Desk>,
    answer_after: Duration,
    mood: watch::Sender<Mood>,
    connections: JoinSet<()>,
    counts: Arc<Counts>,
}

impl Keeper {
    async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        loop {
            tokio::select! {
                order = inbox.recv() => {
                    let Some(order) = order else { break };
                    let result = self.obey(order.behavior).await;
                    // Whoever asked may have gone; the change stays.
                    let _ = order.done.send(result);
                }
                stream = accept(self.ear.as_ref()), if self.connections.len() < CONNECTIONS_MAX => {
                    self.welcome(stream);
                }
                Some(_) = self.connections.join_next() => {}
            }
        }
        // The handle was dropped: the JoinSet ends every connection with us.
    }

    async fn obey(&mut self, behavior: Option<Behavior>) -> io::Result<usize> {
        let Some(behavior) = behavior else {
            return Ok(self.reset_connections().await);
        };
        // A hanging address fills its queue first: else the tunnels that are reset come back before it is full.
        self.turn_ear(behavior).await?;
        self.mood.send_modify(|mood| mood.behavior = behavior);
        match behavior {
            Behavior::Ok | Behavior::Slow(_) | Behavior::Silent => Ok(0),
            Behavior::Refuse | Behavior::Reset | Behavior::ResetTls | Behavior::Hang => {
                Ok(self.reset_connections().await)
            }
        }
    }

    async fn turn_ear(&mut self, behavior: Behavior) -> io::Result<()> {
        let Some(ear) = self.ear.take() else {
            return Err(io::Error::other("an earlier change failed"));
        };
        let ear = match (behavior, ear) {
            (Behavior::Refuse, Ear::Refusing(socket)) => Ear::Refusing(socket),
            (Behavior::Refuse, ear) => {
                drop(ear);
                Ear::Refusing(bind(self.addr)?)
            }
            (Behavior::Hang, ear @ Ear::Hanging { .. }) => ear,
            (Behavior::Hang, ear) => {
                let listener = hearing(ear)?;
                SockRef::from(&listener).listen(HANG_BACKLOG)?;
                let fillers = self.fill(&listener).await?;
                Ear::Hanging {
                    listener,
                    _fillers: fillers,
                }
            }
            (_, ear) => Ear::Listening(hearing(ear)?),
        };
        self.ear = Some(ear);
        Ok(())
    }

    /// Fills the accept queue with connections of our own that nobody will accept.
    async fn fill(&mut self, listener: &TcpListener) -> io::Result<Vec<TcpStream>> {
        let mut fillers = Vec::new();
        for _ in 0..16 {
            match tokio::time::timeout(FILL_WAIT, TcpStream::connect(self.addr)).await {
                Ok(filler) => fillers.push(filler?),
                Err(_) if fillers.len() >= HANG_FILLERS => break,
                Err(_) => {
                    // Somebody else's connection takes one of the places. Take it out, it will be reset.
                    let Ok(accepted) = tokio::time::timeout(FILL_WAIT, listener.accept()).await
                    else {
                        continue;
                    };
                    let (stream, peer) = accepted?;
                    let ours = |filler: &TcpStream| filler.local_addr().is_ok_and(|a| a == peer);
                    if fillers.iter().any(ours) {
                        fillers.retain(|filler| !ours(filler));
                    } else {
                        self.welcome(stream);
                    }
                }
            }
        }
        Ok(fillers)
    }

    fn welcome(&mut self, stream: TcpStream) {
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        let mood = self.mood.subscribe();
        let (tls, desk) = (self.tls.clone(), self.desk.clone());
        let open = OpenGuard::new(self.counts.clone());
        let answer_after = self.answer_after;
        self.connections.spawn(async move {
            let _open = open;
            connection(stream, tls, desk, answer_after, mood).await;
        });
    }

    async fn reset_connections(&mut self) -> usize {
        // Those that have ended already are not ours to count.
        while self.connections.try_join_next().is_some() {}
        let open = self.connections.len();
        self.mood.send_modify(|mood| mood.generation += 1);
        while self.connections.join_next().await.is_some() {}
        open
    }
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The ear as an ordinary listener again; fillers are let go.
fn hearing(ear: Ear) -> io::Result<TcpListener> {
    match ear {
        Ear::Listening(listener) => Ok(listener),
        Ear::Refusing(socket) => listen(socket),
        Ear::Hanging { listener, .. } => {
            SockRef::from(&listener).listen(BACKLOG)?;
            Ok(listener)
        }
    }
}

async fn accept(ear: Option<&Ear>) -> TcpStream {
    let Some(Ear::Listening(listener)) = ear else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, or the client left: neither is a reason to spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

struct OpenGuard(Arc<Counts>);

impl OpenGuard {
    fn new(counts: Arc<Counts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        Self(counts)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
