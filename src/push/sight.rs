//! One exchange with a push or token service, watched from its head to its end.

use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{HeaderMap, Method};

use super::answer::{Fault, Verdict};
use super::message::{self, Message};
use super::outcome::End;
use super::scan::{Listener, Scan};
use super::words::{Kind, Service};
use super::{Move, outcome};
use crate::config::Role;
use crate::exchange::{Component, Host, TrackingId};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Push {
        service: Service,
        kind: Kind,
    },
    /// An access token.
    Token,
}

/// Looks at what passes, and keeps the few words that count.
#[derive(Debug)]
pub(crate) struct Sight {
    watched: Watched,
    request: Glance,
    reply: Glance,
    fault: Fault,
}

#[derive(Debug)]
enum Watched {
    Push(Message),
    Token { tracking_id: Option<TrackingId> },
}

/// The first bytes of a body.
#[derive(Debug)]
struct Glance {
    scan: Scan,
    /// So many more bytes are looked at.
    left: usize,
}

impl Sight {
    /// `None` where it is neither a push nor asks for a token: those are POSTs.
    pub(crate) fn of(role: Role, host: &Host, parts: &Parts, inspect_max: usize) -> Option<Self> {
        if parts.method != Method::POST {
            return None;
        }
        let watched = match role {
            Role::Push => Watched::Push(Message::of(parts, host)),
            Role::Token if asks_for_token(parts) => Watched::Token {
                tracking_id: message::tracking_id(&parts.headers),
            },
            Role::Token | Role::Onboarding | Role::Other => return None,
        };
        let readable = if is_encoded(&parts.headers) {
            0
        } else {
            inspect_max
        };
        Some(Self {
            watched,
            request: Glance::at(readable),
            reply: Glance::at(inspect_max),
            fault: Fault::default(),
        })
    }

    /// A piece of the request's body.
    pub(crate) fn request(&mut self, bytes: &[u8]) {
        // What asks for a token is one.
        if let Watched::Push(message) = &mut self.watched {
            self.request.read(bytes, message);
        }
    }

    /// A piece of the body of a reply that is no success.
    pub(crate) fn fault(&mut self, bytes: &[u8]) {
        self.reply.read(bytes, &mut self.fault);
    }

    /// The id that follows the message from service to service, once.
    pub(crate) fn take_tracking_id(&mut self) -> Option<TrackingId> {
        match &mut self.watched {
            Watched::Push(message) => message.take_tracking_id(),
            Watched::Token { tracking_id } => tracking_id.take(),
        }
    }

    /// What it was. `None` for a push that nobody was to get.
    pub(crate) fn subject(&self) -> Option<Subject> {
        match &self.watched {
            Watched::Push(message) if message.is_rehearsal() => None,
            Watched::Push(message) => Some(Subject::Push {
                service: message.service(),
                kind: message.kind(),
            }),
            Watched::Token { .. } => Some(Subject::Token),
        }
    }

    /// Whether more of the reply could change what an answer with this status moves.
    pub(crate) fn may_say_more(&self, status: u16) -> bool {
        let is_open = match self.subject() {
            Some(Subject::Push { service, .. }) => !Verdict::is_plain(service, status),
            Some(Subject::Token) | None => false,
        };
        is_open && self.reply.left > 0 && !self.reply.scan.is_done()
    }

    /// What its end moves for a sender that is this part of its cluster.
    pub(crate) fn moves(&self, component: Component, end: End) -> Vec<Move> {
        let moves = |subject| outcome::moves(component, subject, end, self.fault.word);
        self.subject().map(moves).unwrap_or_default()
    }
}

impl Glance {
    fn at(left: usize) -> Self {
        Self {
            scan: Scan::default(),
            left,
        }
    }

    fn read(&mut self, bytes: &[u8], listener: &mut impl Listener) {
        if self.left == 0 || self.scan.is_done() {
            return;
        }
        let seen = &bytes[..bytes.len().min(self.left)];
        self.left -= seen.len();
        self.scan.read(seen, listener);
    }
}

/// A token service also answers other questions.
fn asks_for_token(parts: &Parts) -> bool {
    let path = parts.uri.path().as_bytes();
    path.windows(b"token".len())
        .any(|part| part.eq_ignore_ascii_case(b"token"))
}

fn is_encoded(fields: &HeaderMap) -> bool {
    fields
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn sight(
        role: Role,
        method: &str,
        path: &str,
        field: (&str, &str),
        max: usize,
    ) -> Option<Sight> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(field.0, field.1);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Sight::of(role, &Host::Name("push.test".into()), &parts, max)
    }

    const NO_FIELD: (&str, &str) = ("x", "y");

    #[test]
    fn posts_to_push_services_are_pushes_and_nothing_else_is() {
        let check = |role, method: &str, path: &str, wanted: &str| {
            let sight = sight(role, method, path, NO_FIELD, 100);
            let found = match sight.and_then(|sight| sight.subject()) {
                Some(Subject::Push { .. }) => "push",
                Some(Subject::Token) => "token",
                None => "-",
            };
            assert_eq!(found, wanted, "{method} {path} {role:?}");
        };
        check(Role::Push, "POST", "/anything", "push");
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"] {
            check(Role::Push, method, "/3/device/00fc", "-");
            check(Role::Token, method, "/token", "-");
        }
        check(Role::Token, "POST", "/token/v1/access-tokens", "token");
        check(Role::Token, "POST", "/idb/oauth2/v1/access_token", "token");
        check(
            Role::Token,
            "POST",
            "/actions/GetBearerToken/invoke",
            "token",
        );
        check(Role::Token, "POST", "/logout", "-");
        check(Role::Onboarding, "POST", "/token", "-");
        check(Role::Other, "POST", "/3/device/00fc", "-");
    }

    const BODY: &[u8] = br#"{"service":"APNS","kind":"voip","trackingId":"t-1"}"#;

    fn subject(sight: &Sight) -> String {
        match sight.subject() {
            Some(Subject::Push { service, kind }) => {
                format!("{} {}", service.token(), kind.token())
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn an_error_body_may_say_more_until_it_has_said_all() {
        let body = br#"{"reason":"Unregistered"}"#;
        let read = |status: u16, length: usize, max: usize| {
            let mut sight = sight(Role::Push, "POST", "/3/device/00fc", NO_FIELD, max).unwrap();
            sight.fault(&body[..length]);
            sight.may_say_more(status)
        };
        assert!(read(410, 0, 100));
        assert!(read(410, body.len() - 1, 100));
        assert!(!read(410, body.len(), 100), "the text has ended");
        assert!(!read(410, 10, 10), "no more is looked at");
        for status in [200, 401, 429, 503] {
            assert!(!read(status, 0, 100), "{status}");
        }
        let token = sight(Role::Token, "POST", "/token", NO_FIELD, 100).unwrap();
        assert!(!token.may_say_more(400));
    }

    #[test]
    fn no_more_is_read_than_may_be() {
        let check = |max: usize, field, wanted: &str| {
            let mut sight = sight(Role::Push, "POST", "/push", field, max).unwrap();
            for piece in BODY.chunks(7) {
                sight.request(piece);
            }
            assert_eq!(subject(&sight), wanted, "{max} {field:?}");
        };
        check(BODY.len(), NO_FIELD, "APNS voip");
        check(32, NO_FIELD, "APNS voip");
        check(30, NO_FIELD, "APNS other");
        check(10, NO_FIELD, "other other");
        check(0, NO_FIELD, "other other");
        // The head is no body.
        check(0, ("apns-push-type", "voip"), "other voip");
        check(100, ("content-encoding", "gzip"), "other other");
        check(100, ("content-encoding", "identity"), "APNS voip");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn whatever_comes_is_no_panic_and_pieces_make_no_difference(
            start in 0..BODY.len(),
            noise in prop::collection::vec(any::<u8>(), 0..200),
            size in 1_usize..50,
            max in 0_usize..300,
        ) {
            let bytes = [&BODY[..start], &noise, &BODY[start..]].concat();
            let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
                let mut sight = sight(Role::Push, "POST", "/push", NO_FIELD, max).unwrap();
                for piece in pieces {
                    sight.request(piece);
                    sight.fault(piece);
                }
                let moves = sight.moves(Component::CallManager, End::Answered(410));
                (subject(&sight), sight.take_tracking_id(), moves)
            };
            let whole = read(&mut std::iter::once(&bytes[..]));
            prop_assert_eq!(read(&mut bytes.chunks(size)), whole);
        }
    }
}
