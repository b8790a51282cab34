//! What only shows on a connection that is held on to: whether full packets pass, and whether silence is borne.
//!
//! Options of the doctor alone: the second one takes as long as it is told to.

use std::time::Duration;

use socket2::SockRef;

use super::ask::{AskError, Silence, Talk};
use super::finding::Severity;
use super::visit::{self, Terms, Visit};
use super::{ANSWER_PATIENCE, Prober};
use crate::policy::Cleared;

/// More than three packets of an Ethernet, and less than the header that any server reads.
const PADDING: usize = 5_000;

/// What to try beside the rest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras {
    pub(crate) mtu: bool,
    /// How long a connection is left silent.
    pub(crate) idle: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) mtu: Option<Packets>,
    pub(super) idle: Option<Idle>,
}

/// Whether a request of several full packets was answered, after a small one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packets {
    /// The segment size of the connection, in bytes.
    Pass {
        mss: Option<u32>,
    },
    Lost {
        mss: Option<u32>,
    },
    /// The other end did not want it, and said so.
    Unwanted,
}

/// How two silent connections ended: one that TCP keepalive looks after as it does in a tunnel, and one without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) time: Duration,
    pub(super) kept_alive: Outcome,
    pub(super) bare: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered after the silence.
    Answered,
    /// The other end closed it, in due form, after so long.
    Closed(Duration),
    /// It broke after so long.
    Broken(Duration),
    /// It was there to the end, and then nothing came back.
    Silent,
    /// It never came so far.
    Unopened,
}

/// One of both, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) severity: Severity,
    pub(super) check: &'static str,
    pub(super) what: String,
    pub(super) remedy: Option<&'static str>,
}

impl Held {
    pub(super) fn told(&self) -> Vec<Told> {
        let mtu = self.mtu.map(of_packets);
        mtu.into_iter().chain(self.idle.map(of_idle)).collect()
    }
}

/// Only where the address answered in the first place.
pub(super) async fn hold(
    prober: &Prober,
    cleared: &Cleared,
    visit: &Visit,
    terms: &Terms,
    extras: Extras,
) -> Held {
    let mut held = Held::default();
    if !matches!(visit.reply, Some(Ok(_))) || !matches!(visit.tls, Some(Ok(_))) {
        return held;
    }
    if extras.mtu {
        held.mtu = packets(prober, cleared, visit, terms).await;
    }
    if let Some(time) = extras.idle {
        let (kept_alive, bare) = tokio::join!(
            silence(prober, cleared, visit, terms, time, true),
            silence(prober, cleared, visit, terms, time, false)
        );
        held.idle = Some(Idle {
            time,
            kept_alive,
            bare,
        });
    }
    held
}

async fn packets(
    prober: &Prober,
    cleared: &Cleared,
    visit: &Visit,
    terms: &Terms,
) -> Option<Packets> {
    let (mut talk, mss) = open(prober, cleared, visit, terms, true).await?;
    Some(match talk.head(PADDING, ANSWER_PATIENCE).await {
        // Whatever it says to such a header: it has read it.
        Ok(_) => Packets::Pass { mss },
        Err(AskError::TimedOut) => Packets::Lost { mss },
        // Whoever drops packets says nothing.
        Err(AskError::Closed | AskError::BadReply) => Packets::Unwanted,
    })
}

async fn silence(
    prober: &Prober,
    cleared: &Cleared,
    visit: &Visit,
    terms: &Terms,
    time: Duration,
    keepalive: bool,
) -> Outcome {
    let Some((mut talk, _)) = open(prober, cleared, visit, terms, keepalive).await else {
        return Outcome::Unopened;
    };
    if talk.head(0, ANSWER_PATIENCE).await.is_err() {
        return Outcome::Unopened;
    }
    match talk.keep_silent(time).await {
        Silence::Closed(after) => Outcome::Closed(after),
        Silence::Broken(after) => Outcome::Broken(after),
        Silence::Kept => match talk.head(0, ANSWER_PATIENCE).await {
            Ok(_) => Outcome::Answered,
            Err(AskError::TimedOut) => Outcome::Silent,
            Err(AskError::Closed | AskError::BadReply) => Outcome::Broken(time),
        },
    }
}

/// A connection of its own, with its segment size.
async fn open(
    prober: &Prober,
    cleared: &Cleared,
    visit: &Visit,
    terms: &Terms,
    keepalive: bool,
) -> Option<(Talk, Option<u32>)> {
    let (way, _) = visit::connect(prober, cleared, visit.place).await.ok()?;
    let mss = {
        let socket = SockRef::from(way.socket());
        if !keepalive {
            socket.set_keepalive(false).ok()?;
        }
        socket.tcp_mss().ok()
    };
    let (stream, _) = visit::shake(prober, cleared, way, terms).await.ok()?;
    let is_h2 = visit::speaks_h2(&stream);
    let authority = cleared.target().to_string();
    let talk = Talk::open(stream, is_h2, &authority).await.ok()?;
    Some((talk, mss))
}

fn of_packets(packets: Packets) -> Told {
    const REMEDY: &str = "something on the way drops full packets and does not say so: let ICMP \"fragmentation needed\" (type 3 code 4; IPv6: packet too big) pass, clamp the MSS on the firewall, or lower the interface's MTU";
    let of = |mss: Option<u32>| {
        mss.map_or_else(String::new, |mss| format!(" (segments of {mss} bytes)"))
    };
    let (severity, what, remedy) = match packets {
        Packets::Pass { mss } => (
            Severity::Ok,
            format!("a request of several full packets is answered{}", of(mss)),
            None,
        ),
        Packets::Lost { mss } => (
            Severity::Fail,
            format!(
                "a small request is answered, one of several full packets is not{}",
                of(mss)
            ),
            Some(REMEDY),
        ),
        Packets::Unwanted => (
            Severity::Note,
            String::from(
                "the other end closes the connection over a request of several full packets: whether they pass cannot be told",
            ),
            None,
        ),
    };
    Told {
        severity,
        check: "mtu",
        what,
        remedy,
    }
}

fn of_idle(idle: Idle) -> Told {
    const REMEDY: &str = "raise the session timeout of the firewall or NAT for these hosts: push services need idle connections kept for 30 minutes at least; until then, make tunnel.keepalive shorter";
    let silent = idle.time.as_secs();
    let (severity, what, remedy) = match (idle.kept_alive, idle.bare) {
        (Outcome::Answered, Outcome::Answered) => (
            Severity::Ok,
            format!("a connection that was silent for {silent} s is still good"),
            None,
        ),
        (Outcome::Closed(after), _) | (Outcome::Answered, Outcome::Closed(after)) => (
            Severity::Note,
            format!(
                "the other end closed a silent connection after {} s: that is its own limit for HTTP, and says nothing of the way",
                after.as_secs()
            ),
            None,
        ),
        (Outcome::Unopened, _) | (_, Outcome::Unopened) => (
            Severity::Note,
            String::from("no connection could be opened to leave it silent"),
            None,
        ),
        (Outcome::Answered, Outcome::Silent | Outcome::Broken(_)) => (
            Severity::Warn,
            format!(
                "something on the way forgets a connection that is silent for {silent} s; only TCP keepalive (tunnel.keepalive) kept another one open"
            ),
            Some(REMEDY),
        ),
        (Outcome::Silent | Outcome::Broken(_), _) => (
            Severity::Fail,
            format!(
                "something on the way drops connections that are silent for {silent} s, TCP keepalive or not: pushes on idle tunnels are lost"
            ),
            Some(REMEDY),
        ),
    };
    Told {
        severity,
        check: "idle",
        what,
        remedy,
    }
}
