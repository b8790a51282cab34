//! A push from its head and from what its body says: which service brings it, what it is for, which id follows it.
//!
//! Push REST publishes no schema, and senders differ: names are looked for wherever they stand in the JSON, whatever
//! case they have, and what says nothing of itself is of kind `other`. The README lists them.

use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::scan::Listener;
use super::words::{Kind, Service, is, is_one_of};
use crate::exchange::{Host, SubscriberService, TrackingId};

/// Longer ids are none; so are device tokens, which are longer still.
const ID_MAX: usize = 100;

/// As long as the token of an Apple device, all hexadecimal digits.
const TOKEN_DIGITS: usize = 64;

const SERVICE_NAMES: [&str; 4] = [
    "service",
    "pushservice",
    "subscriberservice",
    "notificationservice",
];
const KIND_NAMES: [&str; 5] = [
    "kind",
    "type",
    "pushtype",
    "messagetype",
    "notificationtype",
];

/// Whose rules a request keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    PushRest,
    Apns,
    Fcm,
    WebPush,
}

/// What is known of a push so far.
#[derive(Debug)]
pub(super) struct Message {
    api: Api,
    /// What the host and the path say.
    at: Service,
    /// What the head says.
    channel: Option<Kind>,
    said: Said,
    tracking_id: Option<TrackingId>,
}

/// What the body says.
#[derive(Debug, Default)]
struct Said {
    service: Option<Service>,
    kind: Option<Kind>,
    custom_region: bool,
    /// Something to be shown.
    alert: bool,
    /// Nothing is to be sent.
    rehearsal: bool,
}

impl Message {
    /// From the head alone.
    pub(super) fn of(parts: &Parts, host: &Host) -> Self {
        let api = Api::of(parts);
        let fields = &parts.headers;
        let (at, channel) = match api {
            Api::Apns => (apns_at(host), apns_channel(fields)),
            Api::Fcm => (Service::Guide(SubscriberService::Fcm), None),
            Api::WebPush => (Service::WebPush, Some(Kind::Message)),
            Api::PushRest => (Service::Other, apns_channel(fields)),
        };
        Self {
            api,
            at,
            channel,
            said: Said::default(),
            tracking_id: tracking_id(fields),
        }
    }

    pub(super) fn service(&self) -> Service {
        self.said.service.unwrap_or(self.at)
    }

    pub(super) fn kind(&self) -> Kind {
        let said = &self.said;
        let particular = said.kind.filter(|kind| kind.is_particular());
        let kind = particular
            .or(self.channel)
            .or(said.kind)
            .unwrap_or(match self.api {
                Api::Apns | Api::Fcm if said.alert => Kind::Message,
                Api::Apns | Api::Fcm | Api::WebPush | Api::PushRest => Kind::Other,
            });
        match kind {
            Kind::Voip | Kind::Message if said.custom_region => Kind::CustomRegion,
            kind => kind,
        }
    }

    /// Whether it asks that nothing be sent.
    pub(super) fn is_rehearsal(&self) -> bool {
        self.api == Api::Fcm && self.said.rehearsal
    }

    pub(super) fn take_tracking_id(&mut self) -> Option<TrackingId> {
        self.tracking_id.take()
    }
}

impl Listener for Message {
    fn value(&mut self, name: &[u8], value: &[u8]) {
        let said = &mut self.said;
        if is_one_of(name, &SERVICE_NAMES) {
            said.service = said.service.or_else(|| Service::of(value));
        } else if is_one_of(name, &KIND_NAMES) {
            said.kind = said.kind.or_else(|| Kind::of(value));
        } else if is(name, "trackingid") {
            let own = || id(value);
            self.tracking_id = self.tracking_id.take().or_else(own);
        } else if is_one_of(name, &["customregion", "iscustomregion"]) {
            said.custom_region |= value == b"true";
        } else if is(name, "region") {
            said.custom_region |= is(value, "custom");
        } else if is(name, "callkit") {
            said.custom_region |= value == b"false";
        } else if is(name, "alert") {
            said.alert = true;
        } else if is(name, "validateonly") {
            said.rehearsal |= value == b"true";
        }
    }

    fn opened(&mut self, name: &[u8]) {
        self.said.alert |= is_one_of(name, &["alert", "notification"]);
    }
}

impl Api {
    fn of(parts: &Parts) -> Self {
        let path = parts.uri.path();
        if path.starts_with("/3/device/") {
            Self::Apns
        } else if path.starts_with("/v1/projects/") && path.ends_with("/messages:send") {
            Self::Fcm
        } else if parts.headers.get("ttl").is_some_and(is_number) {
            Self::WebPush
        } else {
            Self::PushRest
        }
    }
}

/// RFC 8030 §5.2 asks for it in every push.
fn is_number(value: &http::HeaderValue) -> bool {
    let digits = value.as_bytes();
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Apple's second service is for apps that are being developed.
fn apns_at(host: &Host) -> Service {
    let Host::Name(name) = host else {
        return Service::Guide(SubscriberService::Apns);
    };
    let is_for_tests = |label: &str| ["sandbox", "development"].contains(&label);
    if name.split('.').any(is_for_tests) {
        Service::Guide(SubscriberService::ApnsDev)
    } else {
        Service::Guide(SubscriberService::Apns)
    }
}

fn apns_channel(fields: &HeaderMap) -> Option<Kind> {
    let field = |name: &'static str| fields.get(HeaderName::from_static(name));
    match field("apns-push-type") {
        // Of its types, some are for neither calls nor messages.
        Some(kind) => Some(match kind.as_bytes() {
            b"voip" => Kind::Voip,
            b"alert" | b"background" => Kind::Message,
            _ => Kind::Other,
        }),
        // Senders of before iOS 13 say it with the topic alone.
        None => field("apns-topic")
            .filter(|topic| topic.as_bytes().ends_with(b".voip"))
            .map(|_| Kind::Voip),
    }
}

/// The id that follows a request through the services that handle it.
pub(super) fn tracking_id(fields: &HeaderMap) -> Option<TrackingId> {
    ["trackingid", "x-tracking-id", "apns-id"]
        .into_iter()
        .filter_map(|name| fields.get(name))
        .find_map(|value| id(value.as_bytes()))
}

/// What may stand in a log line as an id: a short word, and no device token.
fn id(word: &[u8]) -> Option<TrackingId> {
    let is_short_word = (1..=ID_MAX).contains(&word.len())
        && word
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte));
    let mut runs = word.split(|byte| !byte.is_ascii_hexdigit());
    let is_token = runs.any(|run| run.len() >= TOKEN_DIGITS);
    if !is_short_word || is_token {
        return None;
    }
    std::str::from_utf8(word).ok().map(TrackingId::new)
}

#[cfg(test)]
mod tests;
