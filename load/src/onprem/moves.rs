//! What became of a push, or of asking for a token → which of the guide's counters and alarms a server moves, as the
//! component that it plays. Pure.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

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

/// Fields of an error body that say what is wrong, in small letters and without what stands between their parts.
const ERROR_FIELDS: [&str; 5] = ["reason", "error", "errorcode", "status", "code"];

impl End {
    pub(super) fn of(reply: &Answered) -> Self {
        if !reply.is_by_proxy() {
            return Self::Answered {
                status: reply.status,
                expired: says_expired(&reply.body),
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
            Self::Unreached => "could not be sent, without a connection".into(),
            Self::NoTls => "could not be sent, without TLS".into(),
            Self::NoToken => "could not be sent, without an access token".into(),
        }
    }
}

/// Whether one of the body's error fields has the word, wherever it stands.
fn says_expired(body: &Value) -> bool {
    match body {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let name = name.to_ascii_lowercase().replace(['-', '_'], "");
            let says = |text: &str| text.to_ascii_lowercase().contains("expired");
            let is_error = ERROR_FIELDS.contains(&&*name);
            is_error && value.as_str().is_some_and(says) || says_expired(value)
        }),
        Value::Array(values) => values.iter().any(says_expired),
        _ => false,
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
mod tests;
