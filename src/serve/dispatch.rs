//! The order of the stations, each called from here; what an origin's connection takes is `origin.rs`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::time::Instant;

use super::body::Framing;
use super::forward::{self, Ending};
use super::head::{Head, HeadLimits, Version};
use super::http1::send;
use super::order::Order;
use super::origin::{self, note_story, reach};
use super::pushes::Watching;
use super::reply;
use super::turn::{After, Next, Refused, Turn};
use super::{Arrival, Service};
use crate::config::Repeat;
use crate::dial::{DialError, Dialed, Story};
use crate::exchange::{Absolute, Fault, Kind, PeerAddr, Reason, Side, Target};
use crate::gate::{Admission, Asked, Asking, Limited, Login, Pass, Shares, TunnelPermit, Waited};
use crate::policy::Cleared;
use crate::push::End;
use crate::relay::{
    Brake, ClientStream, Inspection, Listing, LiveTunnel, Toll, Tunnel, UpstreamStream,
};
use crate::telemetry::{Entry, Event, Manner};

/// A request that must not be sent twice goes over a kept connection only if that was used just now: an origin that
/// closes its idle connections after some seconds might be doing so while the request is on its way.
const UNREPEATABLE_FRESH: Duration = Duration::from_secs(3);

/// Takes one request through the house.
pub(crate) async fn dispatch<Permit: 'static>(
    stream: ClientStream,
    arrival: Arrival<Permit>,
    service: &Rc<Service>,
    head: Head,
    pending: BytesMut,
    mut entry: Entry,
) -> Next<Permit> {
    entry.method = Some(head.method().into());
    let turn = Turn {
        stream,
        arrival,
        pending,
        entry,
    };
    if head.is_connect() {
        return connect(turn, service, head).await;
    }
    let framing = match Framing::of(&head) {
        Ok(framing) => framing,
        Err(error) => {
            let refused = Refused::new(error.reason(), error.details());
            return turn.refuse(service, &refused, After::Close).await;
        }
    };
    let after = After::forward(&head, framing);
    if Absolute::looks_like(head.request_target()) {
        return forward(turn, service, &head, framing, after).await;
    }
    if head.method() == "OPTIONS" && head.request_target() == b"*" {
        let options = reply::options(after != After::Close);
        return turn.reply(service, options, after).await;
    }
    let refused = Refused::new(
        Reason::BadRequest,
        "this is a proxy: ask with CONNECT host:port or an absolute URI",
    );
    turn.refuse(service, &refused, After::Close).await
}

async fn connect<Permit: 'static>(
    mut turn: Turn<Permit>,
    service: &Rc<Service>,
    head: Head,
) -> Next<Permit> {
    turn.entry.kind = Kind::Tunnel;
    let after = After::connect(&head, &turn.pending);
    let target = match Target::from_connect(head.request_target()) {
        Ok(target) => target,
        Err(error) => {
            let refused = Refused::new(error.reason(), error.details());
            return turn.refuse(service, &refused, after).await;
        }
    };
    let admission = match admit(service, &mut turn, &head, target) {
        Ok(admission) => admission,
        Err(refused) => return turn.refuse(service, &refused, after).await,
    };
    if service.pseudonym.stands_in(&head) {
        let refused = Refused::new(Reason::LoopDetected, "the request has been here before");
        return turn.refuse(service, &refused, after).await;
    }
    let trail = service.pseudonym.trail(&head, &admission.cleared);
    // Before it takes a place among all tunnels: a storm that waits may not keep others from theirs.
    let pass = match wait_for_turn(&mut turn, service, &admission, true).await {
        Some(Ok(pass)) => pass,
        Some(Err(refused)) => {
            let after = after.behind_a_wait(&turn.entry);
            return turn.refuse(service, &refused, after).await;
        }
        None => return turn.left(Reason::ClientGone),
    };
    let Some(permit) = service.gate.take_tunnel() else {
        drop(pass);
        let after = after.behind_a_wait(&turn.entry);
        let refused = Refused::new(Reason::TunnelsFull, "no room for another tunnel");
        return turn.refuse(service, &refused, after).await;
    };
    let Dialed {
        stream,
        early,
        peer,
        others: _,
    } = match dial(&mut turn, service, &admission.cleared, &trail).await {
        Some(Ok(dialed)) => dialed,
        // The place is free before the line that tells of it is written.
        Some(Err(refused)) => {
            drop((permit, pass));
            // While we dialled, bytes for the target may have been sent behind the head. They, too, must not be read as
            // a request.
            return turn.refuse(service, &refused, After::Close).await;
        }
        None => {
            drop((permit, pass));
            return turn.left(Reason::ClientGone);
        }
    };
    turn.entry.peer = Some(peer);
    turn.entry.reached();
    service.note_would_refuse(&mut turn.entry, &admission.cleared);
    turn.entry.status = Some(reply::ESTABLISHED_STATUS);
    turn.entry.setup = Some(turn.entry.opened.elapsed());
    // Whoever has read the 200 finds the tunnel listed.
    let listing = list(&turn, service, &admission, peer);
    if send(&mut turn.stream, reply::ESTABLISHED).await.is_err() {
        return turn.left(Reason::ClientGone);
    }
    turn.entry.tell(Event::Open);
    // A parent may hand on at once what the target said first.
    if !early.is_empty() {
        if send(&mut turn.stream, &early).await.is_err() {
            return turn.left(Reason::ClientGone);
        }
        turn.entry.bytes_down = early.len() as u64;
    }
    let inspection = Inspection::of(&admission.cleared, &service.reports);
    tunnel(
        turn,
        service,
        origin::upstream(stream),
        inspection,
        listing,
        (permit, pass),
    )
}

/// Connects to the target; `None` where the client did not wait for it.
async fn dial<Permit>(
    turn: &mut Turn<Permit>,
    service: &Service,
    cleared: &Cleared,
    trail: &str,
) -> Option<Result<Dialed, Refused>> {
    let mut story = Story::default();
    let begun = Instant::from_std(turn.entry.opened);
    let dialed = tokio::select! {
        dialed = service.dialer.dial(cleared, begun, &[], trail, &mut story) => Some(dialed),
        () = turn.stream.gone() => None,
    };
    note_story(&mut turn.entry, story);
    // What was refused all the same, at an address that never passes, is no report.
    if let Some(Err(error)) = &dialed
        && error.reason().fault() != Fault::Policy
    {
        service.note_would_refuse(&mut turn.entry, cleared);
    }
    let refused = |error: DialError| Refused::new(error.reason(), error.to_string());
    dialed.map(|dialed| dialed.map_err(refused))
}

/// Waits until no limit stands in the way; `None` where the client did not wait for it. A drain does not end the wait.
async fn wait_for_turn<Permit>(
    turn: &mut Turn<Permit>,
    service: &Service,
    admission: &Admission,
    tunnel: bool,
) -> Option<Result<Pass, Refused>> {
    let Admission {
        login,
        cleared,
        limits,
        priority,
        ..
    } = admission;
    if limits.is_empty() {
        return Some(Ok(Pass::default()));
    }
    // The rest of the budget is the dial's.
    let patience = service.dialer.budget(cleared) / 4 * 3;
    let asking = Asking {
        sender: login.sender.as_ref(),
        user: login.user.as_ref(),
        address: client_ip(turn.arrival.client.0),
        destination: &cleared.destination().name,
        priority: *priority,
        tunnel,
        until: Instant::from_std(turn.entry.opened) + patience,
    };
    // A CONNECT that nothing came behind.
    let is_bare = turn.entry.kind == Kind::Tunnel && turn.pending.is_empty();
    let mut waited = Waited::default();
    let passed = tokio::select! {
        biased;
        passed = limits.pass(&asking, &mut waited) => Some(passed),
        // Who asked for a forward may have ended its sending side and still want the reply.
        () = turn.stream.gone(), if !is_bare => None,
        () = turn.stream.left(), if is_bare => None,
    };
    service.note_waited(&mut turn.entry, waited, cleared);
    passed.map(|passed| {
        passed.map_err(|limited: Limited| Refused {
            fields: limited.fields(),
            ..Refused::new(limited.reason(), limited.to_string())
        })
    })
}

/// Puts a tunnel on the list of those that live.
fn list<Permit>(
    turn: &Turn<Permit>,
    service: &Service,
    admission: &Admission,
    peer: PeerAddr,
) -> Listing {
    let Admission { login, cleared, .. } = admission;
    service.tunnels.list_while(Arc::new(LiveTunnel {
        id: turn.entry.id,
        opened_at: turn.entry.opened_at,
        opened: Instant::now(),
        listener: turn.arrival.listener.name.clone(),
        client: turn.arrival.client,
        sender: login.sender.clone(),
        user: login.user.clone(),
        target: cleared.target().clone(),
        peer,
        traffic: Default::default(),
        orders: Default::default(),
        tally: service.tunnels.tally(&cleared.destination().name),
    }))
}

/// Joins the two sides, in a task of its own: the future of the connection is large, and ends here.
fn tunnel<Permit: 'static>(
    turn: Turn<Permit>,
    service: &Service,
    upstream: UpstreamStream,
    inspection: Option<Box<Inspection>>,
    live: Listing,
    (permit, pass): (TunnelPermit, Pass),
) -> Next<Permit> {
    let Turn {
        stream,
        arrival,
        pending,
        entry,
    } = turn;
    // What came with the way itself has gone down already.
    let sent = usize::try_from(entry.bytes_down).unwrap_or(usize::MAX);
    if sent > 0 {
        live.traffic.note_down(sent, Duration::ZERO);
    }
    let brake = pass.shares().map(|shares| Box::new(Brake::new(shares)));
    let held = (
        permit,
        pass,
        arrival.permit,
        arrival.watch,
        service.meters.tunnel_opened(),
    );
    let tunnel = Tunnel {
        client: stream,
        upstream,
        early: Box::from(&pending[..]),
        inspection,
        brake,
        entry,
        live,
        held,
    };
    tokio::task::spawn_local(tunnel.run(service.scratch.clone(), Arc::clone(&service.meters)));
    Next::Taken
}

/// A request in absolute form, from its head to the end of its reply.
async fn forward<Permit: 'static>(
    mut turn: Turn<Permit>,
    service: &Rc<Service>,
    head: &Head,
    framing: Framing,
    after: After,
) -> Next<Permit> {
    turn.entry.kind = Kind::Forward;
    let absolute = match Absolute::parse(head.request_target()) {
        Ok(absolute) => absolute,
        Err(error) => {
            let refused = Refused::new(error.reason(), error.details());
            return turn.refuse(service, &refused, After::Close).await;
        }
    };
    let target = absolute.target.clone();
    let admission = match admit(service, &mut turn, head, target) {
        Ok(admission) => admission,
        Err(refused) => return turn.refuse(service, &refused, after).await,
    };
    if !absolute.tls && admission.cleared.takes_only_tls() {
        if !admission.cleared.destination().report_only {
            let refused = Refused::new(
                Reason::SniMismatch,
                "this destination takes nothing but TLS: ask with https, or CONNECT",
            );
            return turn.refuse(service, &refused, after).await;
        }
        Inspection::report(&service.reports, &admission.cleared, &turn.entry);
        let (destination, sender) = (
            &admission.cleared.destination().name,
            turn.entry.sender.as_ref(),
        );
        service
            .meters
            .would_refuse(destination, sender, Reason::SniMismatch);
        turn.entry.would_refuse = Some(Reason::SniMismatch);
    }
    let order = match Order::of(head, &absolute, framing, service) {
        Ok(order) => order,
        Err(refused) => return turn.refuse(service, &refused, After::Close).await,
    };
    let order = match order {
        Order::Forward(order) => order,
        Order::Answer(answer) => {
            let keep = after != After::Close;
            return turn.reply(service, answer(head, keep), after).await;
        }
    };
    let pass = match wait_for_turn(&mut turn, service, &admission, order.websocket).await {
        Some(Ok(pass)) => pass,
        Some(Err(refused)) => return turn.refuse(service, &refused, after).await,
        None => return turn.left(Reason::ClientGone),
    };
    let watching = Watching::begin(service, &admission, &order.parts);
    let shares = pass.shares();
    let permit = if order.websocket {
        let Some(permit) = service.gate.take_tunnel() else {
            let refused = Refused::new(Reason::TunnelsFull, "no room for another tunnel");
            return turn.refuse(service, &refused, after).await;
        };
        Some((permit, pass))
    } else {
        None
    };
    let fresh = if order.parts.method.is_idempotent() {
        service.forward.idle_timeout
    } else {
        UNREPEATABLE_FRESH
    };
    let kept = service
        .idle
        .take(&admission.cleared, absolute.tls, fresh, Instant::now());
    let trail = service.pseudonym.trail(head, &admission.cleared);
    let origin = match kept {
        Some(origin) => origin,
        None => match dial(&mut turn, service, &admission.cleared, &trail).await {
            Some(Ok(dialed)) => {
                let stage = if absolute.tls {
                    End::NoTls
                } else {
                    End::Unanswered
                };
                let opened = tokio::select! {
                    opened = reach(service, &admission.cleared, &absolute, Some(dialed), &[], &trail, &mut turn.entry) => Some(opened),
                    () = turn.stream.gone() => None,
                };
                match opened {
                    Some(Ok(origin)) => origin,
                    Some(Err(refused)) => {
                        service.note_would_refuse(&mut turn.entry, &admission.cleared);
                        if let Some(watching) = watching {
                            let body = (framing, &turn.pending[..]);
                            watching.unsent(&mut turn.entry, refused.reason, stage, body);
                        }
                        return turn.refuse(service, &refused, after).await;
                    }
                    None => {
                        if let Some(watching) = watching {
                            watching.given_up(&mut turn.entry, stage, (framing, &turn.pending));
                        }
                        return turn.left(Reason::ClientGone);
                    }
                }
            }
            Some(Err(refused)) => {
                if let Some(watching) = watching {
                    let body = (framing, &turn.pending[..]);
                    watching.unsent(&mut turn.entry, refused.reason, End::Unreached, body);
                }
                return turn.refuse(service, &refused, after).await;
            }
            None => {
                if let Some(watching) = watching {
                    let body = (framing, &turn.pending[..]);
                    watching.given_up(&mut turn.entry, End::Unreached, body);
                }
                return turn.left(Reason::ClientGone);
            }
        },
    };
    turn.entry.peer = Some(origin.peer);
    // One that was kept may have died since: it is there when it answers.
    if !origin.reused {
        turn.entry.reached();
    }
    service.note_would_refuse(&mut turn.entry, &admission.cleared);
    let rule = admission.cleared.destination().repeat;
    let exchange = forward::Exchange {
        head,
        framing,
        websocket: order.websocket,
        keep: head.keep_alive(),
        watch: &turn.arrival.watch,
        limits: &service.forward,
        head_limits: HeadLimits::new(&service.intake),
        event_limit: service.event_limit,
        pseudonym: &service.pseudonym,
        authentication_info: admission.authentication_info.as_deref(),
        scratch: &service.scratch,
        idle: &service.idle,
        repeatable: !order.websocket && may_be_repeated(&order.parts.method, rule),
        retryable: rule != Repeat::Never && order.parts.method.is_idempotent(),
        toll: shares.as_ref(),
        watching: watching.as_ref(),
        blame: &|peer| {
            service.dialer.suspect(&admission.cleared, peer);
        },
    };
    let cleared = &admission.cleared;
    let reopen = async |entry: &mut Entry, avoid: &[SocketAddr]| {
        reach(service, cleared, &absolute, None, avoid, &trail, entry).await
    };
    let ending = exchange
        .run(
            &mut turn.stream,
            &mut turn.pending,
            order.parts,
            origin,
            &mut turn.entry,
            reopen,
        )
        .await;
    if turn.entry.repeated {
        let destination = &admission.cleared.destination().name;
        service.meters.forward_repeated(destination);
    }
    if let Some(watching) = watching {
        watching.ended(&mut turn.entry, &ending);
    }
    match ending {
        Ending::Replied { keep } => turn.replied(keep),
        Ending::Refused(refused) => {
            // What is left of the body lies between here and the next request.
            let after = match after {
                // Nobody waits twice for a body that did not come, or was wrong.
                _ if refused.reason.fault() == Fault::Client => After::Close,
                After::Keep { read_over } => After::Keep {
                    read_over: read_over.saturating_sub(turn.entry.bytes_up),
                },
                After::Close => After::Close,
            };
            turn.refuse(service, &refused, after).await
        }
        Ending::Cut { reason, by, reset } => turn.cut(reason, by, reset),
        Ending::Left(reason) => turn.left(reason),
        Ending::Upgraded(response) => {
            let Some(permit) = permit else {
                return turn.cut(Reason::Internal, Side::Proxy, true);
            };
            switch(turn, service, admission, *response, permit).await
        }
    }
}

/// A WebSocket from its 101 on: a tunnel, with a line of its own beside the request's.
async fn switch<Permit: 'static>(
    mut turn: Turn<Permit>,
    service: &Service,
    admission: Admission,
    response: http::Response<hyper::body::Incoming>,
    permit: (TunnelPermit, Pass),
) -> Next<Permit> {
    let (upstream, sent) = match crate::relay::forward::upgraded(response).await {
        Ok(upgraded) => upgraded,
        Err(error) => return turn.cut(error.reason(), Side::Upstream, true),
    };
    if send(&mut turn.stream, &sent).await.is_err() {
        return turn.left(Reason::ClientGone);
    }
    let mut entry = service.open(
        &turn.arrival.listener,
        turn.arrival.client,
        std::time::Instant::now(),
    );
    let asked = &turn.entry;
    entry.kind = Kind::Tunnel;
    entry.method.clone_from(&asked.method);
    entry.target.clone_from(&asked.target);
    entry.destination.clone_from(&asked.destination);
    entry.would_refuse = asked.would_refuse;
    note_login(&mut entry, &admission.login);
    entry.peer = asked.peer;
    entry.status = asked.status;
    let Some(peer) = asked.peer else {
        return turn.cut(Reason::Internal, Side::Proxy, true);
    };
    std::mem::replace(&mut turn.entry, entry).end(Reason::Finished);
    turn.entry.bytes_down = sent.len() as u64;
    // What it opens with has been looked at: a request, of which the target was read.
    let listing = list(&turn, service, &admission, peer);
    tunnel(turn, service, upstream, None, listing, permit)
}

/// Credentials and policy; what is learnt on the way goes into the entry.
fn admit<Permit>(
    service: &Service,
    turn: &mut Turn<Permit>,
    head: &Head,
    target: Target,
) -> Result<Admission, Refused> {
    let tls = turn.stream.tls_version();
    let Turn { arrival, entry, .. } = turn;
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
        certificate_user: arrival.user.as_ref(),
    };
    let now = SystemTime::now();
    let admitted = service.gate.admit(&rules, &asked, now);
    let login = match &admitted {
        Ok(admission) => &admission.login,
        Err(refusal) => &refusal.login,
    };
    note_login(entry, login);
    let manner = Manner {
        http10: head.version() == Version::Http10,
        tls,
        before: arrival.before,
        nonce: login.nonce,
        mislabelled: login.mislabelled,
        challenged: admitted
            .as_ref()
            .is_err_and(|refusal| !refusal.challenges.is_empty()),
    };
    service.ledger.habits().asked(entry, &manner, now);
    match admitted {
        Ok(admission) => {
            entry.destination = Some(admission.cleared.destination().name.clone());
            if admission.login.mislabelled {
                service.meters.mislabelled_digest();
            }
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
            entry.destination = refusal.error.destination().cloned();
            let reason = refusal.error.reason();
            if refusal.login.mislabelled {
                service.meters.mislabelled_digest();
            }
            if let Reason::NoCredentials
            | Reason::BadCredentials
            | Reason::StaleNonce
            | Reason::Throttled = reason
            {
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
                fields: refusal
                    .error
                    .retry_after()
                    .map(reply::retry_after)
                    .into_iter()
                    .collect(),
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

/// Whether a request may reach two addresses. Safe methods (RFC 9110 §9.2.1) change nothing; PUT and DELETE do, and one
/// that comes late could undo what others did in between.
fn may_be_repeated(method: &http::Method, rule: Repeat) -> bool {
    match rule {
        Repeat::Never => false,
        Repeat::Safe => method.is_safe(),
        Repeat::Always => true,
    }
}

impl Toll for Shares {
    fn pay(&self, bytes: usize, now: Instant) -> Instant {
        Self::pay(self, bytes, now)
    }

    fn piece(&self) -> usize {
        Self::piece(self)
    }
}

/// A dual-stack socket shows IPv4 clients as mapped addresses; rules speak of the IPv4 address.
fn client_ip(client: SocketAddr) -> std::net::IpAddr {
    client.ip().to_canonical()
}
