//! A push from its head and from what its body says: which service brings it, what it is for, which id follows it.
//!
//! Push REST publishes no schema, and senders differ: names are looked for wherever they stand in the JSON, whatever
//! case they have, and what says nothing of itself is of kind `other`. What stands further out is the message's own and
//! counts before what stands further in, which may be an app's. The README lists the names.

use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::scan::Listener;
use super::words::{Kind, Service, is, is_one_of};
use crate::exchange::{Host, SubscriberService, TrackingId};

/// As long as a UUID. No device token is as short: 32 bytes make 43 characters, however they are written.
const ID_MAX: usize = 36;

/// What may stand around a UUID.
const AROUND_MAX: usize = 24;

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
    /// Of the head.
    tracking_id: Option<TrackingId>,
}

/// What the body says.
#[derive(Debug, Default)]
struct Said {
    service: Outermost<Service>,
    kind: Outermost<Kind>,
    custom_region: Outermost<bool>,
    tracking_id: Outermost<TrackingId>,
    /// Something to be shown.
    alert: bool,
    /// Nothing is to be sent.
    rehearsal: bool,
    /// How deep what the app is sent stands, while it passes.
    data: Option<u32>,
}

/// What was said furthest out, and there first.
#[derive(Debug)]
struct Outermost<T>(Option<(u32, T)>);

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
        self.said.service.get().copied().unwrap_or(self.at)
    }

    pub(super) fn kind(&self) -> Kind {
        let said = &self.said;
        let own = said.kind.get().copied();
        let particular = own.filter(|kind| kind.is_particular());
        let kind = particular
            .or(self.channel)
            .or(own)
            .unwrap_or(match self.api {
                Api::Apns | Api::Fcm if said.alert => Kind::Message,
                Api::Apns | Api::Fcm | Api::WebPush | Api::PushRest => Kind::Other,
            });
        match kind {
            Kind::Voip | Kind::Message if said.custom_region.get() == Some(&true) => {
                Kind::CustomRegion
            }
            kind => kind,
        }
    }

    /// Whether it asks that nothing be sent.
    pub(super) fn is_rehearsal(&self) -> bool {
        self.api == Api::Fcm && self.said.rehearsal
    }

    pub(super) fn take_tracking_id(&mut self) -> Option<TrackingId> {
        let said = self.said.tracking_id.0.take();
        self.tracking_id.take().or_else(|| said.map(|(_, id)| id))
    }
}

impl Listener for Message {
    fn value(&mut self, name: &[u8], value: &[u8], depth: u32) {
        let said = &mut self.said;
        if is_one_of(name, &SERVICE_NAMES) {
            said.service.say(depth, Service::of(value));
        } else if is_one_of(name, &KIND_NAMES) {
            said.kind.say(depth, Kind::of(value));
        } else if is(name, "trackingid") {
            said.tracking_id.say(depth, id(value));
        } else if is_one_of(name, &["customregion", "iscustomregion"]) {
            said.is_custom_region(depth, value == b"true");
        } else if is(name, "region") {
            said.is_custom_region(depth, is(value, "custom"));
        } else if is(name, "callkit") {
            said.is_custom_region(depth, value == b"false");
        } else if is(name, "alert") {
            said.alert |= !said.is_data(depth);
        } else if is(name, "validateonly") {
            // One further in is a word between the app and its server.
            said.rehearsal |= depth == 1 && value == b"true";
        }
    }

    fn opened(&mut self, name: &[u8], depth: u32) {
        let said = &mut self.said;
        let is_data = said.is_data(depth);
        if !is_data && is_one_of(name, &["alert", "notification"]) {
            said.alert = true;
        } else if !is_data && is(name, "data") {
            said.data = Some(depth);
        }
    }
}

impl Said {
    /// Whichever of its three names says so.
    fn is_custom_region(&mut self, depth: u32, so: bool) {
        let so = so || self.custom_region.0 == Some((depth, true));
        match &mut self.custom_region.0 {
            Some((there, said)) if *there == depth => *said = so,
            _ => self.custom_region.say(depth, Some(so)),
        }
    }

    /// Whether what stands so deep is the app's.
    fn is_data(&mut self, depth: u32) -> bool {
        self.data = self.data.filter(|data| *data < depth);
        self.data.is_some()
    }
}

impl<T> Default for Outermost<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Outermost<T> {
    /// `None` says nothing.
    fn say(&mut self, depth: u32, word: Option<T>) {
        let is_further_out = self.0.as_ref().is_none_or(|(there, _)| depth < *there);
        if let Some(word) = word
            && is_further_out
        {
            self.0 = Some((depth, word));
        }
    }

    fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, word)| word)
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

/// What may stand in a log line as an id: a UUID with a little around it, or a short word with a digit in it. So a device
/// token is none, and a person's name is hardly one.
fn id(word: &[u8]) -> Option<TrackingId> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let is_short = word.len() <= ID_MAX && word.iter().any(u8::is_ascii_digit);
    let is_id = word.iter().all(is_word) && (is_short || has_uuid(word));
    if !is_id {
        return None;
    }
    std::str::from_utf8(word).ok().map(TrackingId::new)
}

/// Five groups of hexadecimal digits, with hyphens between them, and not much else.
fn has_uuid(word: &[u8]) -> bool {
    let is_uuid = |part: &[u8]| {
        part.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    word.len() <= ID_MAX + AROUND_MAX && word.windows(ID_MAX).any(is_uuid)
}

#[cfg(test)]
mod tests;
