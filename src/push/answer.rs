//! What an answer says is wrong with a push: its status, and the error words of the services.

use super::scan::Listener;
use super::words::{Service, is_one_of};

/// What an error body names, where it names something that its status does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorWord {
    /// The device token never was one of this service or sender.
    TargetInvalid,
    /// It was, and is not any more.
    TargetExpired,
    /// Something has expired: of a 410, the target.
    Expired,
    /// Of the sender's access token.
    AccessRefused,
    TooMany,
}

/// What came of a push, or of the request for a token, that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    TargetInvalid,
    TargetExpired,
    AccessRefused,
    TooMany,
    Failed,
}

/// Listens to an error body.
#[derive(Debug, Default)]
pub(super) struct Fault {
    pub(super) word: Option<ErrorWord>,
}

const NAMES: [&str; 5] = ["reason", "error", "errorcode", "status", "code"];

/// Apple's words, Google's, and plain ones; in small letters and without what stands between their parts.
const WORDS: [(ErrorWord, &[&str]); 4] = [
    (
        ErrorWord::TargetInvalid,
        &[
            "baddevicetoken",
            "devicetokennotfortopic",
            "missingdevicetoken",
            "senderidmismatch",
            "invalidtarget",
            "targetinvalid",
            "invaliddevicetoken",
        ],
    ),
    (
        ErrorWord::TargetExpired,
        &[
            "unregistered",
            "expiredtoken",
            "targetexpired",
            "expiredtarget",
            "devicetokenexpired",
        ],
    ),
    (
        ErrorWord::AccessRefused,
        &[
            "expiredprovidertoken",
            "invalidprovidertoken",
            "missingprovidertoken",
            "unauthenticated",
            "thirdpartyautherror",
            "invalidaccesstoken",
            "accesstokenexpired",
        ],
    ),
    (
        ErrorWord::TooMany,
        &[
            "quotaexceeded",
            "resourceexhausted",
            "toomanyrequests",
            "toomanyprovidertokenupdates",
        ],
    ),
];

impl Listener for Fault {
    fn value(&mut self, name: &[u8], value: &[u8], _: u32) {
        if !is_one_of(name, &NAMES) {
            return;
        }
        let known = WORDS.iter().find(|(_, words)| is_one_of(value, words));
        if let Some((word, _)) = known {
            // What stands further in says it more closely.
            self.word = Some(*word);
        } else if self.word.is_none() && says_expired(value) {
            self.word = Some(ErrorWord::Expired);
        }
    }

    fn opened(&mut self, _: &[u8], _: u32) {}
}

fn says_expired(value: &[u8]) -> bool {
    let mut parts = value.windows(b"expired".len());
    parts.any(|part| part.eq_ignore_ascii_case(b"expired"))
}

impl Verdict {
    /// Whether the status says it all, and no word of a body would change it.
    pub(super) fn is_plain(service: Service, status: u16) -> bool {
        let of = |word| Self::of(service, status, word);
        let words = WORDS.iter().map(|(word, _)| Some(*word));
        words.into_iter().all(|word| of(word) == of(None))
    }

    /// The word of a body counts where the status leaves it open.
    pub(super) fn of(service: Service, status: u16, word: Option<ErrorWord>) -> Self {
        let by_word = |otherwise| match word {
            Some(ErrorWord::TargetInvalid) => Self::TargetInvalid,
            Some(ErrorWord::TargetExpired) => Self::TargetExpired,
            Some(ErrorWord::AccessRefused) => Self::AccessRefused,
            Some(ErrorWord::TooMany) => Self::TooMany,
            Some(ErrorWord::Expired) | None => otherwise,
        };
        match status {
            200..=299 => Self::Accepted,
            401 => Self::AccessRefused,
            403 => by_word(Self::AccessRefused),
            // A subscription that has ended, RFC 8030 §7.3.
            404 | 410 if service == Service::WebPush => Self::TargetExpired,
            410 if matches!(word, Some(ErrorWord::TargetExpired | ErrorWord::Expired)) => {
                Self::TargetExpired
            }
            410 => Self::TargetInvalid,
            429 => Self::TooMany,
            400..=499 => by_word(Self::Failed),
            _ => Self::Failed,
        }
    }
}

/// A status as a metric's label: those that push services are known for, and for the others their class.
pub(super) fn label(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        202 => "202",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        410 => "410",
        413 => "413",
        429 => "429",
        _ => match status / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scan;
    use super::*;
    use crate::exchange::SubscriberService;

    #[test]
    fn statuses_and_error_bodies() {
        let check = |service, status, body: &str, wanted: Verdict| {
            let mut fault = Fault::default();
            Scan::default().read(body.as_bytes(), &mut fault);
            let found = Verdict::of(service, status, fault.word);
            assert_eq!(found, wanted, "{status} {body}");
        };
        use Verdict::{Accepted, AccessRefused, Failed, TargetExpired, TargetInvalid, TooMany};
        let rest = Service::Other;
        check(rest, 200, r#"{"status":"confirmed"}"#, Accepted);
        check(rest, 202, "", Accepted);
        check(rest, 302, "", Failed);
        check(rest, 400, "", Failed);
        check(rest, 401, "", AccessRefused);
        check(rest, 401, r#"{"error":"invalid target"}"#, AccessRefused);
        check(rest, 403, "not JSON", AccessRefused);
        check(rest, 404, "", Failed);
        check(rest, 410, "", TargetInvalid);
        check(rest, 410, r#"{"error":"unknown target"}"#, TargetInvalid);
        check(rest, 410, r#"{"error":"target expired"}"#, TargetExpired);
        check(rest, 410, r#"{"error":"expired"}"#, TargetExpired);
        check(
            rest,
            410,
            r#"{"error":"The device token has Expired"}"#,
            TargetExpired,
        );
        check(
            rest,
            410,
            r#"{"reason":"Unregistered","details":[{"code":"expired"}]}"#,
            TargetExpired,
        );
        check(rest, 410, r#"{"message":"expired"}"#, TargetInvalid);
        check(
            rest,
            410,
            r#"{"error":"BadDeviceToken","status":"expired"}"#,
            TargetInvalid,
        );
        // What has expired is said of a target with a 410 alone.
        check(rest, 400, r#"{"error":"the grant expired"}"#, Failed);
        check(rest, 403, r#"{"error":"the grant expired"}"#, AccessRefused);
        check(rest, 429, "", TooMany);
        check(rest, 500, r#"{"error":"target expired"}"#, Failed);
        check(rest, 503, "", Failed);
        let apns = Service::Guide(SubscriberService::Apns);
        check(apns, 400, r#"{"reason":"BadDeviceToken"}"#, TargetInvalid);
        check(
            apns,
            400,
            r#"{"reason":"DeviceTokenNotForTopic"}"#,
            TargetInvalid,
        );
        check(apns, 400, r#"{"reason":"BadTopic"}"#, Failed);
        check(
            apns,
            403,
            r#"{"reason":"ExpiredProviderToken"}"#,
            AccessRefused,
        );
        check(
            apns,
            410,
            r#"{"reason":"Unregistered","timestamp":1}"#,
            TargetExpired,
        );
        check(apns, 410, r#"{"reason":"ExpiredToken"}"#, TargetExpired);
        check(apns, 413, r#"{"reason":"PayloadTooLarge"}"#, Failed);
        check(apns, 429, r#"{"reason":"TooManyRequests"}"#, TooMany);
        let fcm = |code: u16, status: &str, word: &str, wanted| {
            let body = format!(
                r#"{{"error":{{"code":{code},"message":"some \"words\"","status":"{status}","details":[{{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"{word}"}}]}}}}"#
            );
            check(Service::Guide(SubscriberService::Fcm), code, &body, wanted);
        };
        fcm(404, "NOT_FOUND", "UNREGISTERED", TargetExpired);
        fcm(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", Failed);
        fcm(
            403,
            "PERMISSION_DENIED",
            "SENDER_ID_MISMATCH",
            TargetInvalid,
        );
        fcm(
            401,
            "UNAUTHENTICATED",
            "THIRD_PARTY_AUTH_ERROR",
            AccessRefused,
        );
        fcm(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", TooMany);
        fcm(503, "UNAVAILABLE", "UNAVAILABLE", Failed);
        check(Service::WebPush, 201, "", Accepted);
        check(Service::WebPush, 404, "", TargetExpired);
        check(Service::WebPush, 410, "", TargetExpired);
        check(Service::WebPush, 413, "", Failed);
    }

    #[test]
    fn some_statuses_leave_it_to_the_body() {
        for status in [400, 403, 404, 410, 413] {
            assert!(
                !Verdict::is_plain(Service::Guide(SubscriberService::Apns), status),
                "{status}"
            );
        }
        for status in [200, 201, 302, 401, 429, 500, 503] {
            assert!(
                Verdict::is_plain(Service::Guide(SubscriberService::Fcm), status),
                "{status}"
            );
        }
        assert!(Verdict::is_plain(Service::WebPush, 410));
    }

    #[test]
    fn labels_are_a_closed_list() {
        let labels: std::collections::BTreeSet<_> = (0..=999).map(label).collect();
        assert!(labels.len() <= 15, "{labels:?}");
        for status in [200, 400, 401, 403, 410, 429] {
            assert_eq!(label(status), status.to_string());
        }
        assert_eq!((label(204), label(500), label(503)), ("2xx", "5xx", "5xx"));
    }
}
