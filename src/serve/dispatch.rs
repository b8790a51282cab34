//! The order of the stations: the only file that calls two of them.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::head::Head;
use super::http1::{refuse, send};
use super::reply::{self, Refusal};
use super::{Arrival, Service};
use crate::dial::{Dialed, Story};
use crate::exchange::{Kind, Reason, Side, Target};
use crate::gate::{Admission, Asked, Login};
use crate::relay::{ClientStream, LiveTunnel, Tunnel, UpstreamStream};
use crate::telemetry::{Entry, Event};

/// What becomes of the connection after an exchange.
#[derive(Debug)]
pub(crate) enum Next<Permit> {
    /// It became a tunnel, or the client is gone.
    Taken,
    /// It stays open for another request.
    Head {
        stream: ClientStream,
        arrival: Arrival<Permit>,
        challenged: bool,
    },
    /// Its last reply was sent.
    Close(ClientStream),
}

/// Takes one request through the house.
pub(crate) async fn dispatch<Permit: 'static>(
    stream: ClientStream,
    arrival: Arrival<Permit>,
    service: &Rc<Service>,
    head: Head,
    rest: Box<[u8]>,
    mut entry: Entry,
) -> Next<Permit> {
    entry.method = Some(head.method().into());
    if head.is_connect() {
        entry.kind = Kind::Tunnel;
        return connect(stream, arrival, service, head, rest, entry).await;
    }
    let details = if head.request_target().starts_with(b"/") || head.request_target() == b"*" {
        "this is a proxy: ask with CONNECT host:port"
    } else {
        entry.kind = Kind::Forward;
        "forwarding of absolute-form requests is not available yet: ask with CONNECT host:port"
    };
    let refused = Refused::new(Reason::BadRequest, details);
    // A body may stand behind the head; what is left of it must not be read as a request.
    answer(stream, arrival, entry, &refused, false).await
}

/// A refusal or failure on its way to the reply.
#[derive(Debug)]
struct Refused {
    reason: Reason,
    details: String,
    challenges: Vec<String>,
}

impl Refused {
    fn new(reason: Reason, details: impl Into<String>) -> Self {
        Self {
            reason,
            details: details.into(),
            challenges: Vec::new(),
        }
    }
}

async fn connect<Permit: 'static>(
    mut stream: ClientStream,
    arrival: Arrival<Permit>,
    service: &Rc<Service>,
    head: Head,
    rest: Box<[u8]>,
    mut entry: Entry,
) -> Next<Permit> {
    // Bytes behind a refused CONNECT were meant for its target; they must not be read as a request.
    let keep = head.keep_alive() && rest.is_empty();
    let admission = match admit(service, &arrival, &head, &mut entry) {
        Ok(admission) => admission,
        Err(refused) => return answer(stream, arrival, entry, &refused, keep).await,
    };
    let Admission { login, cleared } = admission;
    let Some(permit) = service.gate.take_tunnel() else {
        let refused = Refused::new(Reason::TunnelsFull, "no room for another tunnel");
        return answer(stream, arrival, entry, &refused, keep).await;
    };
    let mut story = Story::default();
    let dialed = tokio::select! {
        dialed = service.dialer.dial(&cleared, Instant::from_std(entry.opened), &mut story) => Some(dialed),
        () = stream.gone() => None,
    };
    note_story(&mut entry, story);
    let Dialed {
        stream: upstream,
        peer,
    } = match dialed {
        Some(Ok(dialed)) => dialed,
        Some(Err(error)) => {
            let refused = Refused::new(error.reason(), error.to_string());
            return answer(stream, arrival, entry, &refused, keep).await;
        }
        None => {
            entry.closed_by = Some(Side::Client);
            entry.end(Reason::ClientGone);
            return Next::Taken;
        }
    };
    entry.peer = Some(peer);
    entry.status = Some(reply::ESTABLISHED_STATUS);
    entry.setup = Some(entry.opened.elapsed());
    if send(&mut stream, reply::ESTABLISHED).await.is_err() {
        entry.closed_by = Some(Side::Client);
        entry.end(Reason::ClientGone);
        return Next::Taken;
    }
    entry.tell(Event::Open);
    let target = cleared.target().clone();
    let live = Arc::new(LiveTunnel {
        id: entry.id,
        opened_at: entry.opened_at,
        opened: Instant::now(),
        listener: arrival.listener.name.clone(),
        client: arrival.client,
        sender: login.sender,
        user: login.user,
        target,
        destination: cleared.destination().name.clone(),
        peer,
        traffic: Default::default(),
        orders: Default::default(),
    });
    let listing = service.tunnels.list_while(Arc::clone(&live));
    let held = (
        permit,
        arrival.permit,
        arrival.watch,
        service.meters.tunnel_opened(),
    );
    let tunnel = Tunnel {
        client: stream,
        upstream: UpstreamStream::Plain(upstream),
        early: rest,
        entry,
        live,
        listing,
        held,
    };
    // A task of its own: the future of this connection is large, and ends here.
    tokio::task::spawn_local(tunnel.run(service.scratch.clone(), Arc::clone(&service.meters)));
    Next::Taken
}

/// Target, credentials and policy; what is learnt on the way goes into the entry.
fn admit<Permit>(
    service: &Service,
    arrival: &Arrival<Permit>,
    head: &Head,
    entry: &mut Entry,
) -> Result<Admission, Refused> {
    let target = Target::from_connect(head.request_target())
        .map_err(|error| Refused::new(error.reason(), error.details()))?;
    entry.target = Some(target.clone());
    let authorization: Vec<&[u8]> = head.field_values("proxy-authorization").collect();
    let rules = Arc::clone(&service.rules.borrow());
    let asked = Asked {
        listener: &arrival.listener,
        client: client_ip(arrival.client.0),
        method: head.method(),
        request_target: head.request_target(),
        target: &target,
        authorization: &authorization,
    };
    match service.gate.admit(&rules, &asked, SystemTime::now()) {
        Ok(admission) => {
            note_login(entry, &admission.login);
            entry.destination = Some(admission.cleared.destination().name.clone());
            if admission.login.scheme.is_some() {
                service.meters.authentication(
                    admission.login.scheme,
                    admission.login.algorithm,
                    "ok",
                );
            }
            Ok(admission)
        }
        Err(refusal) => {
            note_login(entry, &refusal.login);
            entry.destination = refusal.error.destination().cloned();
            let reason = refusal.error.reason();
            if let Reason::NoCredentials | Reason::BadCredentials | Reason::StaleNonce = reason {
                service.meters.authentication(
                    refusal.login.scheme,
                    refusal.login.algorithm,
                    reason.token(),
                );
            }
            Err(Refused {
                reason,
                details: refusal.error.to_string(),
                challenges: refusal.challenges,
            })
        }
    }
}

fn note_login(entry: &mut Entry, login: &Login) {
    entry.user.clone_from(&login.user);
    entry.scheme = login.scheme;
    entry.algorithm = login.algorithm;
    entry.sender.clone_from(&login.sender);
}

fn note_story(entry: &mut Entry, story: Story) {
    entry.resolved = story.resolved;
    entry.attempts = story.attempts;
    entry.dns = story.dns;
    entry.connect = story.connect;
}

/// A dual-stack socket shows IPv4 clients as mapped addresses; rules speak of the IPv4 address.
fn client_ip(client: SocketAddr) -> std::net::IpAddr {
    client.ip().to_canonical()
}

/// Sends the refusal, and says what becomes of the connection.
async fn answer<Permit>(
    mut stream: ClientStream,
    arrival: Arrival<Permit>,
    mut entry: Entry,
    refused: &Refused,
    keep: bool,
) -> Next<Permit> {
    let challenged = matches!(
        refused.reason,
        Reason::NoCredentials | Reason::BadCredentials | Reason::StaleNonce
    );
    // In a drain only the client that was asked for credentials may come back on this connection.
    let keep = keep && (challenged || !arrival.watch.is_draining());
    let refusal = Refusal {
        reason: refused.reason,
        details: &refused.details,
        challenges: &refused.challenges,
        keep,
    };
    match refuse(&mut stream, &mut entry, &refusal).await {
        Err(_) => Next::Taken,
        Ok(()) if keep => Next::Head {
            stream,
            arrival,
            challenged,
        },
        Ok(()) => Next::Close(stream),
    }
}
