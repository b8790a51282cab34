//! Pushes that can be seen: watched while they pass, told of when they have ended.
//!
//! A body is looked at as its pieces go by; none of it is kept, and none of it waits for us.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

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

/// For so long an error body may say more than its status has, before what is known is told.
const FAULT_PATIENCE: Duration = Duration::from_secs(1);

/// One request for a push or token service, on its way.
pub(super) struct Watching<'a> {
    service: &'a Service,
    sight: RefCell<Box<Sight>>,
    component: Option<Component>,
    begun: Instant,
    /// When the whole request had been handed on.
    sent: Cell<Option<Instant>>,
    /// The answer has come to its end.
    whole: Cell<bool>,
    /// By when an answer that has begun is told of; it may take hours to end.
    due: Cell<Option<Instant>>,
    told: Cell<bool>,
}

impl<'a> Watching<'a> {
    /// `None` where the request is neither a push nor asks for a token.
    pub(super) fn begin(
        service: &'a Service,
        admission: &Admission,
        parts: &Parts,
    ) -> Option<Self> {
        let cleared = &admission.cleared;
        let inspect_max = usize::try_from(service.forward.inspect_max.0).unwrap_or(usize::MAX);
        let sight = Sight::of(cleared.role(), &cleared.target().host, parts, inspect_max)?;
        Some(Self {
            service,
            sight: RefCell::new(Box::new(sight)),
            component: admission.component,
            begun: Instant::now(),
            sent: Cell::new(None),
            whole: Cell::new(false),
            due: Cell::new(None),
            told: Cell::new(false),
        })
    }

    /// A piece of the request's body passes.
    pub(super) fn request(&self, bytes: &[u8]) {
        self.sight.borrow_mut().request(bytes);
    }

    /// The request has passed to its end.
    pub(super) fn sent(&self) {
        self.sent.set(Some(Instant::now()));
    }

    /// The reply's head has come. What it moves moves now, unless its body has to say more: what it says in an error, and
    /// that there is all of it in a success.
    pub(super) fn answered(&self, entry: &mut Entry) {
        self.due.set(Some(Instant::now() + FAULT_PATIENCE));
        self.look(entry);
    }

    /// By when `look` is to be asked again, though nothing has come.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.get().filter(|_| !self.told.get())
    }

    /// Tells, if an answer has begun and all is known of it that will be for now.
    pub(super) fn look(&self, entry: &mut Entry) {
        let (Some(due), Some(status)) = (self.due(), entry.status) else {
            return;
        };
        // A sender that still sends has not said what it is.
        let is_open = self.sent.get().is_none()
            || self.sight.borrow().may_say_more(status)
            || (200..300).contains(&status) && !self.whole.get();
        if !is_open || Instant::now() >= due {
            self.tell(entry, End::Answered(status));
        }
    }

    /// A piece of the reply's body passes.
    pub(super) fn reply(&self, entry: &mut Entry, bytes: &[u8]) {
        if !(200..300).contains(&entry.status.unwrap_or_default()) {
            self.sight.borrow_mut().fault(bytes);
        }
        self.look(entry);
    }

    /// The reply's body has ended as it should.
    pub(super) fn whole(&self, entry: &mut Entry) {
        self.whole.set(true);
        self.look(entry);
    }

    /// It never got beyond `stage`, which says what was missing. `body` has what came of it by then.
    pub(super) fn unsent(
        &self,
        entry: &mut Entry,
        reason: Reason,
        stage: End,
        body: (Framing, &[u8]),
    ) {
        self.held(body);
        self.tell(entry, End::unsent(reason, stage));
    }

    /// Its sender left at `stage`, while there was no connection yet. What had come as a whole was sent, as far as its
    /// sender knows, and had no answer.
    pub(super) fn given_up(&self, entry: &mut Entry, stage: End, body: (Framing, &[u8])) {
        let end = if self.held(body) {
            End::deserted(self.begun.elapsed(), stage)
        } else {
            End::Left
        };
        self.tell(entry, end);
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
    pub(super) fn ended(&self, entry: &mut Entry, ending: &Ending) {
        let end = match (ending, entry.status, self.sent.get()) {
            (Ending::Refused(refused), ..) => End::without_answer(refused.reason),
            (Ending::Cut { reason, .. }, Some(status), _) => End::answered(status, Some(*reason)),
            (_, Some(status), _) => End::Answered(status),
            (Ending::Left(_), None, Some(sent)) => End::deserted(sent.elapsed(), End::Unanswered),
            (Ending::Left(_) | Ending::Replied { .. } | Ending::Cut { .. }, None, _)
            | (Ending::Upgraded(_), None, _) => End::Left,
        };
        self.tell(entry, end);
    }

    /// Once.
    fn tell(&self, entry: &mut Entry, end: End) {
        if self.told.replace(true) {
            return;
        }
        let service = self.service;
        let mut sight = self.sight.borrow_mut();
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
                        remedy: end.remedy(),
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
