//! What a forwarded request asks for, once it may: an answer of ours, or a request for the origin.
//!
//! Pure.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use super::body::Framing;
use super::head::Head;
use super::headers::{self, Passing};
use super::turn::Refused;
use super::{Service, reply};
use crate::exchange::{Absolute, Reason};

/// What is to be done.
pub(super) enum Order {
    /// The request ends here (RFC 9110 §7.6.2).
    Answer(fn(&Head, bool) -> (u16, Vec<u8>)),
    Forward(Box<Forwarding>),
}

/// A request as the origin will see it.
pub(super) struct Forwarding {
    pub(super) parts: Parts,
    pub(super) websocket: bool,
}

impl Order {
    pub(super) fn of(
        head: &Head,
        absolute: &Absolute,
        framing: Framing,
        service: &Service,
    ) -> Result<Self, Refused> {
        if service.pseudonym.stands_in(head) {
            return Err(Refused::new(
                Reason::LoopDetected,
                "the request has been here before",
            ));
        }
        let max = service.forward.body_max.0;
        if let Framing::Length(length) = framing
            && max > 0
            && length > max
        {
            return Err(Refused::new(Reason::BodyTooLarge, "request body too large"));
        }
        let method = Method::from_bytes(head.method().as_bytes())
            .map_err(|_| Refused::new(Reason::BadRequest, "method is not a token"))?;
        if method == Method::TRACE && framing != Framing::None {
            return Err(Refused::new(Reason::BadRequest, "TRACE with a body"));
        }
        let counted = matches!(method, Method::OPTIONS | Method::TRACE);
        let max_forwards = if counted { max_forwards(head)? } else { None };
        if max_forwards == Some(0) {
            return Ok(Self::Answer(if method == Method::TRACE {
                reply::trace
            } else {
                |_, keep| reply::options(keep)
            }));
        }
        let passing = Passing {
            framing,
            websocket: headers::asks_for_websocket(head, framing),
            max_forwards: max_forwards.map(|left| left - 1),
        };
        let fields = headers::request(head, absolute, passing, &service.pseudonym)
            .map_err(|error| Refused::new(error.reason(), error.details()))?;
        let mut request = Request::new(());
        *request.uri_mut() = uri(&method, absolute.path.as_ref());
        *request.method_mut() = method;
        *request.headers_mut() = fields;
        Ok(Self::Forward(Box::new(Forwarding {
            parts: request.into_parts().0,
            websocket: passing.websocket,
        })))
    }
}

/// The request-target for the origin (RFC 9112 §3.2): its path, or `*` where OPTIONS names the whole server.
fn uri(method: &Method, path: Option<&PathAndQuery>) -> Uri {
    match path {
        Some(path) => Uri::from(path.clone()),
        None if *method == Method::OPTIONS => Uri::from_static("*"),
        None => Uri::from_static("/"),
    }
}

fn max_forwards(head: &Head) -> Result<Option<u64>, Refused> {
    let mut values = head.field_values("max-forwards");
    let invalid = || Refused::new(Reason::BadRequest, "Max-Forwards is not a number");
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(invalid()),
        (Some(digits), None) => {
            let text = std::str::from_utf8(digits).map_err(|_| invalid())?;
            if text.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(invalid());
            }
            // More hops than can be counted are more than there are.
            Ok(Some(text.parse().unwrap_or(u64::MAX)))
        }
    }
}
