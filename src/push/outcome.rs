//! What became of a push, or of asking for a token → which of the guide's counters and alarms move, by the part of the
//! cluster that sent it. The README has this file as a table.

use std::time::Duration;

use super::Subject;
use super::answer::{self, ErrorWord, Verdict};
use super::words::{Kind, Service};
use crate::exchange::{Component, Fault, Reason, SubscriberService};

/// Call servers wait 5 s for the answer to a push. Whoever waited for so long was not impatient.
const A_SERVERS_PATIENCE: Duration = Duration::from_secs(4);

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The service answered with this status.
    Answered(u16),
    /// It was sent, and no answer came, or none that was whole.
    Unanswered,
    /// No connection to the service could be made.
    Unreached,
    /// There was a connection, and no TLS on it.
    NoTls,
    /// It was sent, and an impatient sender left before an answer came: the service may have been about to give one.
    Deserted,
    /// The sender left before it was sent, or we ended it: nothing is known of the service.
    Left,
}

/// One thing that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// The counter with this name in the guide.
    Count(&'static str),
    Raise(Alarm),
    /// What it stood for works again.
    Clear(Alarm),
}

/// The alarms of the guide that a visible push can raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    ServiceUnavailable,
    InvalidDeviceTokenResponse,
    AccessTokenUnavailable,
    AccessTokenInvalid,
    PushFailed,
    FailedInvalidDeviceToken,
    FailedInvalidAccessToken,
    AccessTokenFetchFailed,
}

impl End {
    /// Of an exchange to which no answer of the service has begun.
    pub(crate) fn without_answer(reason: Reason) -> Self {
        match reason {
            Reason::NameNotFound
            | Reason::DnsTimeout
            | Reason::DnsFailed
            | Reason::ConnectRefused
            | Reason::ConnectTimeout
            | Reason::Unreachable => Self::Unreached,
            Reason::UpstreamTlsFailed => Self::NoTls,
            reason if reason.fault() == Fault::Upstream => Self::Unanswered,
            _ => Self::Left,
        }
    }

    /// Of an exchange that never got beyond `stage`, the end of those that stand still there.
    pub(crate) fn unsent(reason: Reason, stage: Self) -> Self {
        match Self::without_answer(reason) {
            // Nothing was handed on that could be answered.
            Self::Unanswered => stage,
            end => end,
        }
    }

    /// Its sender left after it had waited for so long at `stage`.
    pub(crate) fn deserted(waited: Duration, stage: Self) -> Self {
        if waited >= A_SERVERS_PATIENCE {
            stage
        } else {
            Self::Deserted
        }
    }

    /// Of an exchange with this status whose answer has come as far as it will; `broken` says why it is not whole.
    pub(crate) fn answered(status: u16, broken: Option<Reason>) -> Self {
        let is_the_services = broken.is_some_and(|reason| reason.fault() == Fault::Upstream);
        if is_the_services && (200..300).contains(&status) {
            // Its sender takes half a success for none.
            Self::Unanswered
        } else {
            Self::Answered(status)
        }
    }

    /// The label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Answered(status) => answer::label(status),
            Self::Unanswered | Self::Deserted | Self::Unreached | Self::NoTls | Self::Left => {
                "none"
            }
        }
    }

    /// What to do where no answer says it.
    pub(crate) fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Answered(_) | Self::Deserted | Self::Left => None,
            Self::Unanswered => Some(
                "No answer came: see whether the service is sick (its status page), and run `tidegate doctor` for what is on the way.",
            ),
            Self::Unreached => Some(
                "No connection came about: /destinations shows how each address fails; see to the name servers, the route, and TCP to the host's port through the firewall. `tidegate doctor` tests each.",
            ),
            Self::NoTls => Some(
                "TLS with the service failed: something on the way decrypts or blocks it, or its port does no TLS. `tidegate doctor` says whose certificate is shown.",
            ),
        }
    }

    /// In the words of an operator.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Answered(status) => format!("answered {status}"),
            Self::Unanswered => "had no answer".into(),
            Self::Deserted => "was given up before an answer came".into(),
            Self::Unreached => "could not be sent: no connection".into(),
            Self::NoTls => "could not be sent: no TLS with the service".into(),
            Self::Left => "was given up".into(),
        }
    }
}

/// Everything that moves, in the order of the guide.
pub(super) fn moves(
    component: Component,
    subject: Subject,
    end: End,
    word: Option<ErrorWord>,
) -> Vec<Move> {
    match subject {
        Subject::Push { service, kind } => {
            let verdict = match end {
                End::Answered(status) => Some(Verdict::of(service, status, word)),
                End::Unanswered | End::Deserted | End::Unreached | End::NoTls | End::Left => None,
            };
            let mut moves = Vec::new();
            counts(component, (service, kind), end, verdict, &mut moves);
            alarms(component, end, verdict, &mut moves);
            moves
        }
        Subject::Token => token(component, end),
    }
}

fn counts(
    component: Component,
    (service, kind): (Service, Kind),
    end: End,
    verdict: Option<Verdict>,
    moves: &mut Vec<Move>,
) {
    let mut count = |name| moves.push(Move::Count(name));
    let failed = verdict.is_some_and(|verdict| verdict != Verdict::Accepted);
    match component {
        Component::CallManager if service.counts_as_apns() => {
            if matches!(end, End::Answered(_) | End::Unanswered | End::Deserted) {
                count("NumberOfPushReqSent");
                match kind {
                    Kind::CustomRegion => count("CustomRegionNumofMsgPushReqSent"),
                    Kind::MissedCall => count("CustomRegionNumofMissedCallMsgPushReqSent"),
                    Kind::SharedCancel => count("CustomRegionNumofSharedCancelMsgPushReqSent"),
                    Kind::Voip | Kind::Message | Kind::Other => {}
                }
            }
            if let End::Answered(status) = end {
                count("NumberOfPushResReceived");
                // The guide says: other than 200 OK.
                if status != 200 {
                    count("NumberOfPushErrorResReceived");
                }
            } else if end == End::NoTls {
                count("NumberOfPushErrorResReceived");
            }
        }
        Component::XcpConfigManager if service.counts_as_apns() => match (verdict, end) {
            (Some(Verdict::Accepted), _) => count("NumberOfPushSuccess"),
            (None, End::Deserted | End::Left) => {}
            (verdict, _) => {
                count("NumberOfPushFailure");
                match verdict {
                    Some(Verdict::TargetInvalid) => count("TargetInvalid"),
                    Some(Verdict::TargetExpired) => count("TargetExpired"),
                    _ => {}
                }
            }
        },
        Component::XcpPush if failed => {
            if let Some(name) = errors_of(service) {
                count(name);
            }
        }
        Component::CallManager
        | Component::XcpConfigManager
        | Component::XcpPush
        | Component::MobilityManager
        | Component::PushNotificationService
        | Component::Jabber
        | Component::Tidegate => {}
    }
}

/// Errors by service, as the guide spells them.
fn errors_of(service: Service) -> Option<&'static str> {
    Some(match service.in_the_guide()? {
        SubscriberService::Apns => "PushErrorsApns",
        SubscriberService::ApnsBeta => "PushErrorsApnsBeta",
        SubscriberService::ApnsDev => "PushErrorsApnsDev",
        SubscriberService::ApnsLoad => "PushErrorsApnsLoad",
        SubscriberService::ApnsTest => "PushErrorsApnsTest",
        SubscriberService::Fcm => "PushErrorsFcm",
        SubscriberService::FcmDev => "PushErrorFcmDev",
    })
}

fn alarms(component: Component, end: End, verdict: Option<Verdict>, moves: &mut Vec<Move>) {
    let mut raise = |alarm| moves.push(Move::Raise(alarm));
    let target = matches!(
        verdict,
        Some(Verdict::TargetInvalid | Verdict::TargetExpired)
    );
    let refused = verdict == Some(Verdict::AccessRefused);
    match component {
        Component::CallManager => {
            if target {
                raise(Alarm::InvalidDeviceTokenResponse);
            }
            if refused {
                raise(Alarm::AccessTokenUnavailable);
            }
            if matches!(end, End::Unreached | End::NoTls) {
                raise(Alarm::ServiceUnavailable);
            }
        }
        Component::PushNotificationService if refused => raise(Alarm::AccessTokenInvalid),
        Component::XcpConfigManager => match (verdict, end) {
            (Some(Verdict::Accepted), _) | (None, End::Deserted | End::Left) => {}
            _ if target => raise(Alarm::FailedInvalidDeviceToken),
            _ if refused => raise(Alarm::FailedInvalidAccessToken),
            _ => raise(Alarm::PushFailed),
        },
        Component::PushNotificationService
        | Component::XcpPush
        | Component::MobilityManager
        | Component::Jabber
        | Component::Tidegate => {}
    }
    // A push to another device tells nothing of a token that was refused with 410: that clears by itself.
    let works: &[Alarm] = match (component, verdict) {
        (Component::CallManager, Some(Verdict::Accepted)) => {
            &[Alarm::ServiceUnavailable, Alarm::AccessTokenUnavailable]
        }
        (Component::CallManager, Some(_)) => &[Alarm::ServiceUnavailable],
        (Component::PushNotificationService, Some(Verdict::Accepted)) => {
            &[Alarm::AccessTokenInvalid]
        }
        (Component::XcpConfigManager, Some(Verdict::Accepted)) => {
            &[Alarm::PushFailed, Alarm::FailedInvalidAccessToken]
        }
        _ => &[],
    };
    moves.extend(works.iter().map(|alarm| Move::Clear(*alarm)));
}

fn token(component: Component, end: End) -> Vec<Move> {
    let alarm = match component {
        Component::CallManager => Alarm::AccessTokenUnavailable,
        Component::PushNotificationService => Alarm::AccessTokenInvalid,
        Component::XcpConfigManager => Alarm::AccessTokenFetchFailed,
        Component::XcpPush
        | Component::MobilityManager
        | Component::Jabber
        | Component::Tidegate => return Vec::new(),
    };
    match end {
        End::Answered(200..=299) => vec![Move::Clear(alarm)],
        End::Answered(_) | End::Unanswered | End::Unreached | End::NoTls => {
            vec![Move::Raise(alarm)]
        }
        End::Deserted | End::Left => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
