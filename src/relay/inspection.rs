//! What a tunnel may open with, where its destination cares: the client's first bytes are held until that is clear.
//!
//! Decides about the bytes it is given; it reads and writes no socket. Dropped with the verdict, so that a tunnel that
//! was let through holds nothing of it.

use std::sync::Arc;
use std::time::SystemTime;

use super::hello::{Hello, Verdict, WIRE_MAX};
use crate::config::Sni;
use crate::exchange::{Exchange, Host, Reason};
use crate::policy::{Cleared, Latest, Passed, Reports};

/// The opening of one tunnel, as far as it has come.
#[derive(Debug)]
pub(crate) struct Inspection {
    cleared: Cleared,
    /// Nothing but a hello for the target passes.
    required: bool,
    /// Where rules are only tried out, a refusal is noted here, and passes.
    reports: Option<Arc<Reports>>,
    hello: Hello,
    held: Vec<u8>,
}

/// What is to become of the held bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ruling {
    Hold,
    Pass,
    /// `tls`: the client speaks TLS, and understands an alert.
    Refuse {
        tls: bool,
    },
}

impl Inspection {
    /// `None` where the destination has `sni = "off"`: then nothing is held, and nothing of this is there.
    pub(crate) fn of(cleared: &Cleared, reports: &Arc<Reports>) -> Option<Box<Self>> {
        let destination = cleared.destination();
        let required = match destination.sni {
            Sni::Off => return None,
            Sni::Match => false,
            Sni::Require => true,
        };
        Some(Box::new(Self {
            cleared: cleared.clone(),
            required,
            reports: destination.report_only.then(|| Arc::clone(reports)),
            hello: Hello::default(),
            held: Vec::new(),
        }))
    }

    /// Takes more of what the client sent. What is learnt goes into the exchange: the name in its hello, whatever the
    /// ruling.
    pub(super) fn read(&mut self, bytes: &[u8], exchange: &mut Exchange) -> Ruling {
        self.held.extend_from_slice(bytes);
        let (tls, passes) = match self.hello.read(bytes) {
            Verdict::NeedMore => return Ruling::Hold,
            Verdict::NotTls => (false, !self.required),
            Verdict::Hello(None) => (true, !self.required),
            Verdict::Hello(Some(name)) => {
                exchange.sni = Some(shown(&name));
                (true, self.cleared.goes_by(&name))
            }
            // A server might read a name in it where we read none.
            Verdict::TooLong | Verdict::Malformed => (true, false),
        };
        self.rule(tls, passes, exchange)
    }

    /// The client has closed its sending side before there was a verdict: what is held is no hello.
    pub(super) fn end(&self, exchange: &mut Exchange) -> Ruling {
        // Nothing at all is not a wrong opening.
        let passes = !self.required || !self.is_holding();
        self.rule(false, passes, exchange)
    }

    fn rule(&self, tls: bool, passes: bool, exchange: &mut Exchange) -> Ruling {
        if passes {
            Ruling::Pass
        } else if let Some(reports) = &self.reports {
            exchange.would_refuse.get_or_insert(Reason::SniMismatch);
            Self::report(reports, &self.cleared, exchange);
            Ruling::Pass
        } else {
            Ruling::Refuse { tls }
        }
    }

    /// Notes an opening that would have been refused, with the line that would allow it.
    pub(crate) fn report(reports: &Reports, cleared: &Cleared, exchange: &Exchange) {
        let passed = Passed {
            client: exchange.sender.clone(),
            target: cleared.target().clone(),
            destination: cleared.destination().name.clone(),
            reason: Reason::SniMismatch,
            limit: None,
        };
        let latest = Latest {
            user: exchange.user.clone(),
            address: exchange.client.0.ip().to_canonical(),
            lacking: Some(cleared.lacks_any_opening()),
        };
        reports.note(passed, latest, SystemTime::now());
    }

    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// How much more may be read before there must be a verdict.
    pub(super) fn room(&self) -> usize {
        WIRE_MAX.saturating_sub(self.held.len()).max(1)
    }

    /// Everything that the client sent so far, to be passed on.
    pub(super) fn into_held(self) -> Box<[u8]> {
        self.held.into_boxed_slice()
    }
}

fn shown(name: &Host) -> Box<str> {
    match name {
        Host::Name(name) => Box::from(&**name),
        Host::Addr(addr) => addr.to_string().into_boxed_str(),
    }
}
