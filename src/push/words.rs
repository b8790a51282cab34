//! The closed lists of what a push can be, and the spellings that stand for each.

use crate::exchange::SubscriberService;

/// The service that brings a push to its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// One that the guide knows.
    Guide(SubscriberService),
    /// A browser's, RFC 8030.
    WebPush,
    /// It does not say.
    Other,
}

impl Service {
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let guide = SubscriberService::ALL.into_iter().map(Self::Guide);
        guide.chain([Self::WebPush, Self::Other])
    }

    /// The label in metrics; the guide's own spelling where it has one.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Guide(service) => service.name(),
            Self::WebPush => "webpush",
            Self::Other => "other",
        }
    }

    /// `None` for one that the guide does not know, and for a message that names none.
    pub(crate) fn in_the_guide(self) -> Option<SubscriberService> {
        match self {
            Self::Guide(service) => Some(service),
            Self::WebPush | Self::Other => None,
        }
    }

    /// Whether it counts where the guide says "any APNS service". One that does not say is taken for one of them: call
    /// servers have no such counters for the others.
    pub(super) fn counts_as_apns(self) -> bool {
        match self {
            Self::Guide(service) => service.is_apns(),
            Self::WebPush => false,
            Self::Other => true,
        }
    }

    /// A message that says "other" says nothing.
    pub(super) fn of(word: &[u8]) -> Option<Self> {
        let guide = SubscriberService::ALL.into_iter().map(Self::Guide);
        let mut named = guide.chain([Self::WebPush]);
        named.find(|service| word.eq_ignore_ascii_case(service.token().as_bytes()))
    }
}

/// What a push is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A call, on the channel that wakes the client at once.
    Voip,
    Message,
    /// A call as a message: the device is where CallKit is off.
    CustomRegion,
    /// A call that was not answered, to such a device.
    MissedCall,
    /// A call that another device of a shared line took, to such a device.
    SharedCancel,
    Other,
}

impl Kind {
    /// The label in metrics.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Voip => "voip",
            Self::Message => "message",
            Self::CustomRegion => "custom_region",
            Self::MissedCall => "missed_call",
            Self::SharedCancel => "shared_cancel",
            Self::Other => "other",
        }
    }

    /// Whether it says more than the channel does that carries it.
    pub(super) fn is_particular(self) -> bool {
        match self {
            Self::CustomRegion | Self::MissedCall | Self::SharedCancel => true,
            Self::Voip | Self::Message | Self::Other => false,
        }
    }

    pub(super) fn of(word: &[u8]) -> Option<Self> {
        let spelt = |words: &[&str]| words.iter().any(|one| is(word, one));
        KINDS
            .iter()
            .find(|(_, words)| spelt(words))
            .map(|(kind, _)| *kind)
    }
}

/// Words for each kind, in small letters and without what stands between their parts.
const KINDS: [(Kind, &[&str]); 5] = [
    (Kind::Voip, &["voip", "call", "incomingcall"]),
    (
        Kind::Message,
        &["message", "msg", "im", "chat", "alert", "background"],
    ),
    (
        Kind::CustomRegion,
        &["customregion", "customregioncall", "customregionmessage"],
    ),
    (Kind::MissedCall, &["missedcall", "missed"]),
    (
        Kind::SharedCancel,
        &[
            "sharedcancel",
            "sharedlinecancel",
            "cancelcall",
            "callcancel",
            "cancel",
        ],
    ),
];

/// Whether a name or a word is this one: case, hyphens, underscores and blanks do not count.
pub(super) fn is(written: &[u8], word: &str) -> bool {
    let letters = written.iter().filter(|byte| byte.is_ascii_alphanumeric());
    letters.map(u8::to_ascii_lowercase).eq(word.bytes())
}

pub(super) fn is_one_of(written: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| is(written, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_many_spellings() {
        let check = |word: &str, kind: Option<Kind>| {
            assert_eq!(Kind::of(word.as_bytes()), kind, "{word}");
        };
        check("voip", Some(Kind::Voip));
        check("VoIP", Some(Kind::Voip));
        check("incoming-call", Some(Kind::Voip));
        check("message", Some(Kind::Message));
        check("missed_call", Some(Kind::MissedCall));
        check("missedCall", Some(Kind::MissedCall));
        check("shared-line cancel", Some(Kind::SharedCancel));
        check("CustomRegion", Some(Kind::CustomRegion));
        for unknown in ["", "other", "voi", "voipp", "calls", "---"] {
            check(unknown, None);
        }
        for (kind, words) in KINDS {
            assert!(words.contains(&&*kind.token().replace('_', "")), "{kind:?}");
        }
    }

    #[test]
    fn services_are_named_as_the_guide_names_them() {
        let check = |word: &str, service: Option<Service>| {
            assert_eq!(Service::of(word.as_bytes()), service, "{word}");
        };
        check("APNS", Some(Service::Guide(SubscriberService::Apns)));
        check(
            "apns:Beta",
            Some(Service::Guide(SubscriberService::ApnsBeta)),
        );
        check("FCM:dev", Some(Service::Guide(SubscriberService::FcmDev)));
        check("FCM", Some(Service::Guide(SubscriberService::Fcm)));
        for unknown in ["", "other", "APNS:", "APNS:gold", "GCM", "APNS beta"] {
            check(unknown, None);
        }
    }
}
