//! From a listening socket to a client stream: bind, accept, permits, PROXY protocol, TLS.
//!
//! A listening socket is never closed with a queue behind it: a closed SO_REUSEPORT socket takes its queue along.

pub(crate) mod bind;
mod certificate;
pub(crate) mod permits;
mod proxy_protocol;
pub(crate) mod tls;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::config;
use crate::exchange::{ClientAddr, Reason};
use crate::gate;
use crate::lifecycle::DrainWatch;
use crate::relay::ClientStream;
use crate::serve::{Arrival, Service, http1};
use crate::telemetry::{Before, Chain, Meters};
use permits::{Permit, Permits};
use tls::TlsTerms;

/// First and last wait after a failed accept.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What those outside of `allow_from` are told.
const DENIED: (Reason, &str) = (
    Reason::ClientDenied,
    "this address may not use this listener",
);

/// The first byte of a TLS record that opens a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// How a listener meets a client; a reload swaps it, and each connection keeps what it was met with.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) listener: Arc<config::Listener>,
    pub(crate) tls: Option<TlsTerms>,
}

impl Terms {
    /// The certificates of a listener are made ready here, the only thing that can fail.
    pub(crate) fn new(listener: Arc<config::Listener>) -> Result<Self, rustls::Error> {
        let tls = listener.tls.as_ref().map(TlsTerms::new).transpose()?;
        Ok(Self { listener, tls })
    }
}

/// What one listener's accept loop on one core needs.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) terms: watch::Receiver<Arc<Terms>>,
    pub(crate) permits: Permits,
    pub(crate) meters: Arc<Meters>,
    pub(crate) service: Rc<Service>,
    pub(crate) watch: DrainWatch,
}

impl Door {
    /// Accepts until a drain begins, then what still waits in the queue, then closes the socket.
    pub(crate) async fn accept(mut self, socket: TcpListener) {
        let mut back_off = BACK_OFF.0;
        loop {
            let accepted = tokio::select! {
                // A drain must not wait while clients keep coming.
                biased;
                () = self.watch.begun() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((tcp, addr)) => {
                    back_off = BACK_OFF.0;
                    self.welcome(tcp, ClientAddr(addr));
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if back_off == BACK_OFF.0 {
                        tracing::warn!(listener = %self.terms.borrow().listener.name, error = %Chain(&error), "cannot accept connections; trying again");
                    }
                    sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
        self.empty_queue(&socket).await;
    }

    async fn empty_queue(&self, socket: &TcpListener) {
        loop {
            // Ready at once if somebody waits; a first poll may also find nothing only because the reactor was not asked yet.
            match timeout(Duration::from_millis(1), socket.accept()).await {
                Ok(Ok((tcp, addr))) => self.welcome(tcp, ClientAddr(addr)),
                Ok(Err(error)) if is_the_clients(&error) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn welcome(&self, tcp: TcpStream, client: ClientAddr) {
        let accepted = Instant::now();
        let terms = Arc::clone(&self.terms.borrow());
        let from = client.0.ip().to_canonical();
        let balancers = &terms.listener.proxy_protocol_from;
        let introduced = balancers.iter().any(|network| network.contains(&from));
        if !introduced && !gate::is_served(&terms.listener, from) {
            return self.deny(tcp, client, &terms, accepted);
        }
        let (permit, turned_away) = match self.permits.take() {
            Permit::Granted(held) => (held, None),
            Permit::Full(held) => (
                held,
                Some((
                    Reason::ConnectionsFull,
                    "the proxy serves as many connections as it may",
                )),
            ),
            // Beyond the places for polite refusals there is nothing to be said, only to be counted.
            Permit::Overrun => {
                let mut entry = self.service.open(&terms.listener, client, accepted);
                entry.end(Reason::ConnectionsFull);
                return;
            }
        };
        let held = (permit, self.meters.connection_opened());
        let arrival = Arrival {
            listener: Arc::clone(&terms.listener),
            client,
            accepted,
            turned_away,
            permit: held,
            watch: self.watch.clone(),
            user: None,
            before: Before::Nothing,
        };
        let service = Rc::clone(&self.service);
        if introduced {
            drop(tokio::task::spawn_local(introduce(
                tcp,
                terms.tls.clone(),
                arrival,
                service,
            )));
        } else {
            hand_on(tcp, terms.tls.clone(), arrival, service);
        }
    }

    /// Who may not connect at all takes no place from those who may, and no handshake is made with them.
    fn deny(&self, tcp: TcpStream, client: ClientAddr, terms: &Terms, accepted: Instant) {
        match (self.permits.take_to_deny(), &terms.tls) {
            (Some(held), None) => {
                let arrival = Arrival {
                    listener: Arc::clone(&terms.listener),
                    client,
                    accepted,
                    turned_away: Some(DENIED),
                    permit: (held, self.meters.connection_opened()),
                    watch: self.watch.clone(),
                    user: None,
                    before: Before::Nothing,
                };
                hand_on(tcp, None, arrival, Rc::clone(&self.service));
            }
            // There is no TLS in which it could be told, or no place for telling.
            (Some(_), Some(_)) | (None, _) => {
                let mut entry = self.service.open(&terms.listener, client, accepted);
                entry.end(Reason::ClientDenied);
            }
        }
    }
}

/// In a task of its own, so that nothing of what came before takes room while the connection lives.
fn hand_on<Held: 'static>(
    tcp: TcpStream,
    tls: Option<TlsTerms>,
    arrival: Arrival<Held>,
    service: Rc<Service>,
) {
    match tls {
        None => drop(tokio::task::spawn_local(http1::serve(
            ClientStream::Plain(tcp),
            arrival,
            service,
        ))),
        Some(terms) => drop(tokio::task::spawn_local(welcome_tls(
            tcp, terms, arrival, service,
        ))),
    }
}

/// A load balancer says first whose connection it is; from then on that is the client.
async fn introduce<Held: 'static>(
    mut tcp: TcpStream,
    tls: Option<TlsTerms>,
    mut arrival: Arrival<Held>,
    service: Rc<Service>,
) {
    let patience = service.intake.handshake_timeout;
    let details = match timeout(patience, proxy_protocol::read(&mut tcp)).await {
        Ok(Ok(Some(header))) => {
            if let Some(source) = header.source {
                arrival.client = ClientAddr(source);
            }
            let client = arrival.client.0.ip().to_canonical();
            if !gate::is_served(&arrival.listener, client) {
                arrival.turned_away = Some(DENIED);
                if tls.is_some() {
                    let mut entry =
                        service.open(&arrival.listener, arrival.client, arrival.accepted);
                    entry.end(Reason::ClientDenied);
                    return;
                }
            }
            if tls.is_none() {
                // The head's deadline follows the header, which had one of its own.
                arrival.accepted = Instant::now();
            }
            return hand_on(tcp, tls, arrival, service);
        }
        // A health check that only connects.
        Ok(Ok(None)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no whole PROXY protocol header in time".to_owned(),
    };
    tracing::debug!(from = %arrival.client, listener = %arrival.listener.name, error = %details, "a load balancer did not say whose connection it passes on");
    if tls.is_some() {
        // There is no TLS yet in which it could be told.
        let mut entry = service.open(&arrival.listener, arrival.client, arrival.accepted);
        entry.end(Reason::BadProxyHeader);
        return;
    }
    let stream = ClientStream::Plain(tcp);
    http1::turn_away(stream, arrival, &service, Reason::BadProxyHeader, &details).await;
}

/// TLS first; a client that does not speak it is told so in words that it understands.
async fn welcome_tls<Held: 'static>(
    tcp: TcpStream,
    terms: TlsTerms,
    mut arrival: Arrival<Held>,
    service: Rc<Service>,
) {
    let patience = service.intake.handshake_timeout;
    let mut first = [0];
    let left = patience.saturating_sub(arrival.accepted.elapsed());
    match timeout(left, tcp.peek(&mut first)).await {
        // Nobody spoke: a port check, or a client that changed its mind.
        Ok(Ok(0) | Err(_)) | Err(_) => return,
        Ok(Ok(_)) if first[0] != TLS_HANDSHAKE => {
            arrival.turned_away = Some((
                Reason::BadRequest,
                "this listener speaks TLS: the proxy's address must be given as https",
            ));
            return http1::serve(ClientStream::Plain(tcp), arrival, service).await;
        }
        Ok(Ok(_)) => {}
    }
    match terms
        .handshake(tcp, patience.saturating_sub(arrival.accepted.elapsed()))
        .await
    {
        Ok((tls, user)) => {
            arrival.user = user;
            // The head's deadline follows the handshake, which had one of its own.
            arrival.accepted = Instant::now();
            http1::serve(ClientStream::Tls(Box::new(tls)), arrival, service).await;
        }
        Err(error) => {
            tracing::debug!(client = %arrival.client, listener = %arrival.listener.name, error = %Chain(&error), "no TLS with this client");
            let mut entry = service.open(&arrival.listener, arrival.client, arrival.accepted);
            entry.end(Reason::HandshakeFailed);
        }
    }
}

/// Failures of the connection that was to be accepted, not of the socket (accept(2), "Error handling").
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
    )
}
