//! Pushes that can be seen: watched while they pass, told of when they have ended.
//!
//! A body is looked at as its pieces go by; none of it is kept, and none of it waits for us.

use std::cell::{Cell, RefCell};

use http::request::Parts;

use super::Service;
use super::body::Framing;
use super::forward::Ending;
use crate::exchange::{Component, Reason};
use crate::gate::Admission;
use crate::push::{self, End, Move, Sight, Subject};
use crate::telemetry::alarm::Alarm;
use crate::telemetry::alarms::Evidence;
use crate::telemetry::guide::Origin;
use crate::telemetry::{Entry, Moment};

/// One request for a push or token service, on its way.
#[derive(Debug)]
pub(super) struct Watching {
    sight: RefCell<Box<Sight>>,
    component: Option<Component>,
    /// The whole request has been handed on.
    sent: Cell<bool>,
}

impl Watching {
    /// `None` where the request is neither a push nor asks for a token.
    pub(super) fn begin(service: &Service, admission: &Admission, parts: &Parts) -> Option<Self> {
        let cleared = &admission.cleared;
        let inspect_max = usize::try_from(service.forward.inspect_max.0).unwrap_or(usize::MAX);
        let sight = Sight::of(cleared.role(), &cleared.target().host, parts, inspect_max)?;
        Some(Self {
            sight: RefCell::new(Box::new(sight)),
            component: admission.component,
            sent: Cell::new(false),
        })
    }

    /// A piece of the request's body passes.
    pub(super) fn request(&self, bytes: &[u8]) {
        self.sight.borrow_mut().request(bytes);
    }

    /// The request has passed to its end.
    pub(super) fn sent(&self) {
        self.sent.set(true);
    }

    /// A piece of the reply's body passes.
    pub(super) fn reply(&self, status: Option<u16>, bytes: &[u8]) {
        if !status.is_some_and(|status| (200..300).contains(&status)) {
            self.sight.borrow_mut().fault(bytes);
        }
    }

    /// It never got to a connection. `pending` has what came of its body by then.
    pub(super) fn unsent(
        self,
        service: &Service,
        entry: &mut Entry,
        reason: Reason,
        body: (Framing, &[u8]),
    ) {
        self.held(body);
        self.tell(service, entry, End::without_answer(reason));
    }

    /// Its sender left while there was no connection yet. What had come as a whole was sent, as far as its sender knows,
    /// and had no answer.
    pub(super) fn given_up(self, service: &Service, entry: &mut Entry, body: (Framing, &[u8])) {
        let end = if self.held(body) {
            End::Unanswered
        } else {
            End::Left
        };
        self.tell(service, entry, end);
    }

    /// As much of the body as came, while none of it could be handed on; whether that is all of it. Of a body in chunks
    /// it is not known.
    fn held(&self, (framing, pending): (Framing, &[u8])) -> bool {
        match framing {
            Framing::None => true,
            Framing::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.request(&pending[..pending.len().min(length)]);
                pending.len() >= length
            }
            Framing::Chunked => false,
        }
    }

    /// It went over a connection, and this became of it.
    pub(super) fn ended(self, service: &Service, entry: &mut Entry, ending: &Ending) {
        let end = match (ending, entry.status) {
            (Ending::Refused(refused), _) => End::without_answer(refused.reason),
            (_, Some(status)) => End::Answered(status),
            // Its sender had waited long enough.
            (Ending::Left(_), None) if self.sent.get() => End::Unanswered,
            (Ending::Left(_) | Ending::Replied { .. } | Ending::Cut { .. }, None)
            | (Ending::Upgraded(_), None) => End::Left,
        };
        self.tell(service, entry, end);
    }

    fn tell(self, service: &Service, entry: &mut Entry, end: End) {
        let mut sight = self.sight.into_inner();
        entry.tracking_id = sight.take_tracking_id().map(Box::new);
        let Some(subject) = sight.subject() else {
            return;
        };
        let (by, what) = match subject {
            Subject::Push { service: by, kind } => {
                service.meters.push(by.token(), kind.token(), end.label());
                let what = format!("a push ({}, {})", by.token(), kind.token());
                (by.in_the_guide(), what)
            }
            Subject::Token => (None, String::from("a request for an access token")),
        };
        let Some(component) = self.component else {
            return;
        };
        // Senders are told apart; the text names the destination.
        let sender = entry.sender.as_ref().map_or("", |name| name.as_str());
        let destination = entry.destination.as_ref().map_or("", |name| name.as_str());
        let seen = || format!("{what} to {destination} {}", end.words());
        let now = Moment::now();
        for moved in sight.moves(component, end) {
            match moved {
                Move::Count(name) => {
                    let counters = &service.counters;
                    counters.add(component, name, by, Origin::Observed, 1, now.instant);
                }
                Move::Raise(alarm) => {
                    let evidence = Evidence {
                        exchange: Some(entry.id),
                        text: seen(),
                    };
                    let alarms = &service.alarms;
                    alarms.raise(on_board(alarm), sender, Origin::Observed, evidence, now);
                }
                Move::Clear(alarm) => {
                    service.alarms.clear(on_board(alarm), sender, &seen(), now);
                }
            }
        }
    }
}

fn on_board(alarm: push::Alarm) -> Alarm {
    match alarm {
        push::Alarm::ServiceUnavailable => Alarm::PushNotificationServiceUnavailable,
        push::Alarm::InvalidDeviceTokenResponse => {
            Alarm::PushNotificationInvalidDeviceTokenResponse
        }
        push::Alarm::AccessTokenUnavailable => Alarm::PushNotificationServiceAccessTokenUnavailable,
        push::Alarm::AccessTokenInvalid => Alarm::AccessTokenInvalid,
        push::Alarm::PushFailed => Alarm::PushNotificationFailed,
        push::Alarm::FailedInvalidDeviceToken => Alarm::PushNotificationFailedInvalidDeviceToken,
        push::Alarm::FailedInvalidAccessToken => Alarm::PushNotificationFailedInvalidAccessToken,
        push::Alarm::AccessTokenFetchFailed => Alarm::AccessTokenFetchFailed,
    }
}
