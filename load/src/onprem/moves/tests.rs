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
        CallManager, Jabber, MobilityManager, PushNotificationService, XcpConfigManager, XcpPush,
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
    for (body, count) in [
        (json!({ "error": "target expired" }), "TargetExpired"),
        (json!({ "error": "expired" }), "TargetExpired"),
        (json!({ "Reason": "Target EXPIRED" }), "TargetExpired"),
        (
            json!({ "error": { "error-code": "expired" } }),
            "TargetExpired",
        ),
        (json!({ "message": "expired" }), "TargetInvalid"),
        (json!("expired"), "TargetInvalid"),
    ] {
        let end = End::of(&answered(410, body, None));
        check(
            XcpConfigManager,
            voip,
            end,
            &[failure, Count(count), target],
        );
    }

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
