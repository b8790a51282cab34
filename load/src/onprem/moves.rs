//! What became of a push, or of asking for a token → which of the guide's counters and alarms a server moves, as the
//! component that it plays. Pure.

use std::time::Duration;

use http::StatusCode;

use super::connection::Answered;
use super::{PushLabel, ServerError};
use crate::guide::{Component, Rule};

const MINUTE: Duration = Duration::from_secs(60);

/// Proxy errors (RFC 9209 §2.3) that say that there was no connection to the service.
const NO_CONNECTION: [&str; 7] = [
    "dns_error",
    "dns_timeout",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_timeout",
];
/// That it broke, or brought nothing that could be read.
const NO_ANSWER: [&str; 4] = [
    "connection_terminated",
    "connection_read_timeout",
    "connection_write_timeout",
    "http_protocol_error",
];

/// How one sending ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The service answered.
    Answered {
        status: StatusCode,
        /// It says that what it refuses has expired.
        expired: bool,
    },
    /// It was sent, and no answer of the service came.
    Unanswered,
    /// The proxy would not send it.
    Refused(StatusCode),
    /// No connection to the service.
    Unreached,
    /// A connection, and no TLS on it.
    NoTls,
    /// No access token to send it with.
    NoToken,
}

/// One thing that moves, by the guide's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Count(&'static str),
    Raise(&'static str),
    Clear(&'static str),
}

use Move::{Clear, Count, Raise};

impl End {
    pub(super) fn of(reply: &Answered) -> Self {
        if !reply.is_by_proxy() {
            return Self::Answered {
                status: reply.status,
                expired: reply.body["error"]
                    .as_str()
                    .is_some_and(|error| error.contains("expired")),
            };
        }
        let said = reply.headers.get("proxy-status");
        let said = said.and_then(|value| value.to_str().ok()).unwrap_or("");
        let error = said
            .split(';')
            .find_map(|part| part.trim().strip_prefix("error="));
        match error.unwrap_or("") {
            error if NO_CONNECTION.contains(&error) => Self::Unreached,
            error if NO_ANSWER.contains(&error) => Self::Unanswered,
            error if error.starts_with("tls_") => Self::NoTls,
            _ => Self::Refused(reply.status),
        }
    }

    /// There was nothing to send it on.
    pub(super) fn unopened(error: &ServerError) -> Self {
        match error {
            ServerError::Tls { .. } => Self::NoTls,
            ServerError::Connect { .. }
            | ServerError::Proxy(_)
            | ServerError::Broke { .. }
            | ServerError::Silence { .. }
            | ServerError::Answer { .. } => Self::Unreached,
        }
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::Answered { status, .. } => format!("was answered {}", status.as_u16()),
            Self::Unanswered => "had no answer".into(),
            Self::Refused(status) => format!("was refused by the proxy with {}", status.as_u16()),
            Self::Unreached => "could not be sent: no connection".into(),
            Self::NoTls => "could not be sent: no TLS with the service".into(),
            Self::NoToken => "could not be sent: no access token".into(),
        }
    }
}

/// The counters that whoever plays this component moves. The others are not simulated: nobody turns push on here, no
/// session sleeps, and no call is extended.
pub(super) fn counters(component: Component) -> &'static [&'static str] {
    match component {
        Component::CallManager => &[
            "NumberOfPushReqSent",
            "NumberOfPushResReceived",
            "NumberOfPushErrorResReceived",
            "CustomRegionNumofMsgPushReqSent",
            "CustomRegionNumofMissedCallMsgPushReqSent",
            "CustomRegionNumofSharedCancelMsgPushReqSent",
        ],
        Component::XcpConfigManager => &[
            "NumberOfPushSuccess",
            "NumberOfPushFailure",
            "TargetInvalid",
            "TargetExpired",
        ],
        Component::XcpPush => &[
            "PushErrorsApns",
            "PushErrorsApnsBeta",
            "PushErrorsApnsDev",
            "PushErrorsApnsLoad",
            "PushErrorsApnsTest",
            "PushErrorsFcm",
            "PushErrorFcmDev",
        ],
        Component::MobilityManager | Component::PushNotificationService | Component::Jabber => &[],
    }
}

/// When an alarm is raised and cleared; `None`: never here.
pub(super) fn rule(alarm: &str) -> Option<Rule> {
    let rule = |raised_when, cleared_when, quiet| {
        Some(Rule {
            raised_when,
            cleared_when,
            quiet,
        })
    };
    let (moments, hour) = (10 * MINUTE, 60 * MINUTE);
    match alarm {
        "PushNotificationServiceUnavailable" => rule(
            "a push had no connection, no TLS on it, or was refused by the proxy",
            "a push is answered, or an hour without another",
            hour,
        ),
        "PushNotificationInvalidDeviceTokenResponse" => rule(
            "a push was answered with 410",
            "10 minutes without another",
            moments,
        ),
        "PushNotificationServiceAccessTokenUnavailable" => rule(
            "no access token could be fetched, or a push was refused for it",
            "one is fetched, a push succeeds, or an hour without another",
            hour,
        ),
        "AccessTokenInvalid" => rule(
            "no access token could be fetched, or a push was refused for it",
            "one is fetched, a push succeeds, or an hour without another",
            hour,
        ),
        "PushNotificationFailed" => rule(
            "a push failed, for something other than its device token or its access token",
            "a push succeeds, or 10 minutes without another",
            moments,
        ),
        "PushNotificationFailedInvalidDeviceToken" => rule(
            "a push was answered with 410",
            "10 minutes without another",
            moments,
        ),
        "PushNotificationFailedInvalidAccessToken" => rule(
            "a push was answered with 401 or 403",
            "a push succeeds, or 10 minutes without another",
            moments,
        ),
        "AccessTokenFetchFailed" | "XCPConfigMgrAccessTokenIsNull" => rule(
            "no access token could be fetched when one was needed",
            "one is fetched, or an hour without another",
            hour,
        ),
        _ => None,
    }
}

/// All that one sending moves.
pub(super) fn of_push(component: Component, label: PushLabel, end: End) -> Vec<Move> {
    let status = match end {
        End::Answered { status, .. } => Some(status),
        _ => None,
    };
    let is_good = status.is_some_and(|status| status.is_success());
    let is_gone = status == Some(StatusCode::GONE);
    let is_refused = matches!(
        status,
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    );
    match component {
        Component::CallManager => call_manager(label, end, (is_good, is_gone, is_refused)),
        Component::PushNotificationService if is_refused => vec![Raise("AccessTokenInvalid")],
        Component::PushNotificationService if is_good => vec![Clear("AccessTokenInvalid")],
        Component::XcpConfigManager if is_good => vec![
            Count("NumberOfPushSuccess"),
            Clear("PushNotificationFailed"),
            Clear("PushNotificationFailedInvalidAccessToken"),
        ],
        Component::XcpConfigManager => {
            let mut moves = vec![Count("NumberOfPushFailure")];
            moves.push(match end {
                End::Answered { expired: true, .. } if is_gone => Count("TargetExpired"),
                _ if is_gone => Count("TargetInvalid"),
                _ if is_refused => Raise("PushNotificationFailedInvalidAccessToken"),
                _ => Raise("PushNotificationFailed"),
            });
            if is_gone {
                moves.push(Raise("PushNotificationFailedInvalidDeviceToken"));
            }
            moves
        }
        Component::XcpPush if status.is_some() && !is_good => {
            errors_of(label.service).map(Count).into_iter().collect()
        }
        Component::PushNotificationService
        | Component::XcpPush
        | Component::MobilityManager
        | Component::Jabber => Vec::new(),
    }
}

fn call_manager(
    label: PushLabel,
    end: End,
    (is_good, is_gone, is_refused): (bool, bool, bool),
) -> Vec<Move> {
    let mut moves = Vec::new();
    if matches!(end, End::Answered { .. } | End::Unanswered) {
        moves.push(Count("NumberOfPushReqSent"));
        match label.kind {
            "customRegion" => moves.push(Count("CustomRegionNumofMsgPushReqSent")),
            "missedCall" => moves.push(Count("CustomRegionNumofMissedCallMsgPushReqSent")),
            "sharedCancel" => moves.push(Count("CustomRegionNumofSharedCancelMsgPushReqSent")),
            _ => {}
        }
    }
    match end {
        End::Answered { status, .. } => {
            moves.push(Count("NumberOfPushResReceived"));
            // The guide says: other than 200 OK.
            if status != StatusCode::OK {
                moves.push(Count("NumberOfPushErrorResReceived"));
            }
            moves.push(Clear("PushNotificationServiceUnavailable"));
        }
        End::NoTls => {
            // The guide counts it so.
            moves.push(Count("NumberOfPushErrorResReceived"));
            moves.push(Raise("PushNotificationServiceUnavailable"));
        }
        End::Unreached | End::Refused(_) => moves.push(Raise("PushNotificationServiceUnavailable")),
        // What has no token was told when the token was not had.
        End::Unanswered | End::NoToken => {}
    }
    if is_gone {
        moves.push(Raise("PushNotificationInvalidDeviceTokenResponse"));
    }
    if is_refused {
        moves.push(Raise("PushNotificationServiceAccessTokenUnavailable"));
    }
    if is_good {
        moves.push(Clear("PushNotificationServiceAccessTokenUnavailable"));
    }
    moves
}

/// As the guide spells them.
fn errors_of(service: &str) -> Option<&'static str> {
    Some(match service {
        "APNS" => "PushErrorsApns",
        "APNS:beta" => "PushErrorsApnsBeta",
        "APNS:dev" => "PushErrorsApnsDev",
        "APNS:load" => "PushErrorsApnsLoad",
        "APNS:test" => "PushErrorsApnsTest",
        "FCM" => "PushErrorsFcm",
        "FCM:dev" => "PushErrorFcmDev",
        _ => return None,
    })
}

/// The alarms of a token that was needed: raised where it could not be fetched, cleared where it could.
pub(super) fn of_token(component: Component, is_fetched: bool) -> Vec<Move> {
    let alarms: &[&'static str] = match component {
        Component::CallManager => &["PushNotificationServiceAccessTokenUnavailable"],
        Component::PushNotificationService => &["AccessTokenInvalid"],
        Component::XcpConfigManager => &["AccessTokenFetchFailed", "XCPConfigMgrAccessTokenIsNull"],
        Component::XcpPush | Component::MobilityManager | Component::Jabber => &[],
    };
    let alarms = alarms.iter();
    alarms
        .map(|alarm| {
            if is_fetched {
                Clear(alarm)
            } else {
                Raise(alarm)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use serde_json::{Value, json};

    fn answered(status: u16, body: Value, proxy_status: Option<&'static str>) -> Answered {
        let mut headers = HeaderMap::new();
        if let Some(value) = proxy_status {
            headers.insert("proxy-status", HeaderValue::from_static(value));
        }
        Answered {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body,
            took: Duration::ZERO,
        }
    }

    fn end(status: u16) -> End {
        End::of(&answered(status, Value::Null, None))
    }

    #[test]
    fn an_answer_of_the_proxy_is_none_of_the_service() {
        let check = |status, said: Option<&'static str>, expected| {
            let end = End::of(&answered(status, Value::Null, said));
            assert_eq!(end, expected, "{status} {said:?}");
        };
        let of_service = |status| End::Answered {
            status: StatusCode::from_u16(status).unwrap(),
            expired: false,
        };
        check(503, None, of_service(503));
        check(200, Some("tidegate"), of_service(200));
        check(
            502,
            Some("tidegate; error=connection_terminated; details=\"x\""),
            End::Unanswered,
        );
        check(
            504,
            Some("tidegate; error=connection_read_timeout"),
            End::Unanswered,
        );
        check(502, Some("tidegate; error=dns_error"), End::Unreached);
        check(
            504,
            Some("tidegate; error=connection_timeout"),
            End::Unreached,
        );
        check(502, Some("tidegate; error=tls_protocol_error"), End::NoTls);
        for (status, said) in [
            (407, "tidegate; error=http_request_denied"),
            (503, "tidegate"),
        ] {
            check(
                status,
                Some(said),
                End::Refused(StatusCode::from_u16(status).unwrap()),
            );
        }
    }

    #[test]
    fn what_a_push_moves() {
        use Component::{
            CallManager, Jabber, MobilityManager, PushNotificationService, XcpConfigManager,
            XcpPush,
        };
        let voip = PushLabel::default();
        let check = |component, label, end: End, expected: &[Move]| {
            assert_eq!(
                of_push(component, label, end),
                expected,
                "{component} {end:?}"
            );
        };
        let (sent, received) = (
            Count("NumberOfPushReqSent"),
            Count("NumberOfPushResReceived"),
        );
        let error = Count("NumberOfPushErrorResReceived");
        let down = "PushNotificationServiceUnavailable";
        let token = "PushNotificationServiceAccessTokenUnavailable";
        check(
            CallManager,
            voip,
            end(200),
            &[sent, received, Clear(down), Clear(token)],
        );
        check(
            CallManager,
            voip,
            end(202),
            &[sent, received, error, Clear(down), Clear(token)],
        );
        check(
            CallManager,
            voip,
            end(500),
            &[sent, received, error, Clear(down)],
        );
        let gone = Raise("PushNotificationInvalidDeviceTokenResponse");
        check(
            CallManager,
            voip,
            end(410),
            &[sent, received, error, Clear(down), gone],
        );
        for status in [401, 403] {
            let expected = [sent, received, error, Clear(down), Raise(token)];
            check(CallManager, voip, end(status), &expected);
        }
        check(CallManager, voip, End::Unanswered, &[sent]);
        check(CallManager, voip, End::NoTls, &[error, Raise(down)]);
        check(CallManager, voip, End::Unreached, &[Raise(down)]);
        check(
            CallManager,
            voip,
            End::Refused(StatusCode::FORBIDDEN),
            &[Raise(down)],
        );
        check(CallManager, voip, End::NoToken, &[]);
        for (kind, name) in [
            ("customRegion", "CustomRegionNumofMsgPushReqSent"),
            ("missedCall", "CustomRegionNumofMissedCallMsgPushReqSent"),
            (
                "sharedCancel",
                "CustomRegionNumofSharedCancelMsgPushReqSent",
            ),
        ] {
            let label = PushLabel { kind, ..voip };
            check(CallManager, label, End::Unanswered, &[sent, Count(name)]);
        }

        let failed = "PushNotificationFailed";
        let refused = "PushNotificationFailedInvalidAccessToken";
        let success = [Count("NumberOfPushSuccess"), Clear(failed), Clear(refused)];
        check(XcpConfigManager, voip, end(200), &success);
        let failure = Count("NumberOfPushFailure");
        for end in [
            end(500),
            End::Unanswered,
            End::Unreached,
            End::NoTls,
            End::NoToken,
        ] {
            check(XcpConfigManager, voip, end, &[failure, Raise(failed)]);
        }
        check(XcpConfigManager, voip, end(401), &[failure, Raise(refused)]);
        let target = Raise("PushNotificationFailedInvalidDeviceToken");
        check(
            XcpConfigManager,
            voip,
            end(410),
            &[failure, Count("TargetInvalid"), target],
        );
        let expired = End::of(&answered(410, json!({ "error": "target expired" }), None));
        check(
            XcpConfigManager,
            voip,
            expired,
            &[failure, Count("TargetExpired"), target],
        );

        check(XcpPush, voip, end(500), &[Count("PushErrorsApns")]);
        let fcm = PushLabel {
            service: "FCM",
            ..voip
        };
        check(XcpPush, fcm, end(410), &[Count("PushErrorsFcm")]);
        check(XcpPush, voip, end(200), &[]);
        check(XcpPush, voip, End::Unanswered, &[]);
        check(
            PushNotificationService,
            voip,
            end(401),
            &[Raise("AccessTokenInvalid")],
        );
        check(
            PushNotificationService,
            voip,
            end(200),
            &[Clear("AccessTokenInvalid")],
        );
        check(MobilityManager, voip, end(500), &[]);
        check(Jabber, voip, end(500), &[]);
    }

    #[test]
    fn nothing_moves_that_is_not_said_to_move() {
        let ends = [200, 401, 410, 500].map(end);
        let ends = ends
            .into_iter()
            .chain([End::Unanswered, End::NoTls, End::NoToken]);
        for (end, component) in ends.flat_map(|end| Component::ALL.map(|one| (end, one))) {
            let mut moves = of_token(component, false);
            for service in [
                "APNS",
                "APNS:beta",
                "APNS:dev",
                "APNS:load",
                "APNS:test",
                "FCM",
                "FCM:dev",
            ] {
                let kind = "missedCall";
                moves.extend(of_push(component, PushLabel { service, kind }, end));
            }
            for moved in moves {
                let is_said = match moved {
                    Count(name) => counters(component).contains(&name),
                    Raise(alarm) | Clear(alarm) => rule(alarm).is_some(),
                };
                assert!(is_said, "{component}: {moved:?}");
            }
        }
    }
}
