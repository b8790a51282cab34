use super::*;

const CALLS: Component = Component::CallManager;
const CHAT: Component = Component::XcpConfigManager;
const CPNS: Component = Component::PushNotificationService;
const XCP: Component = Component::XcpPush;

/// What moves, in short: `+counter`, `!alarm`, `-alarm` for one that clears.
fn shown(moves: &[Move]) -> String {
    let one = |moved: &Move| match moved {
        Move::Count(name) => format!("+{name}"),
        Move::Raise(alarm) => format!("!{alarm:?}"),
        Move::Clear(alarm) => format!("-{alarm:?}"),
    };
    moves.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn push(component: Component, service: Service, kind: Kind, end: End) -> String {
    let subject = Subject::Push { service, kind };
    shown(&moves(component, subject, end, None))
}

#[test]
fn what_a_calls_push_moves() {
    let check = |end, wanted: &str| {
        let found = push(
            CALLS,
            Service::Guide(SubscriberService::Apns),
            Kind::Voip,
            end,
        );
        assert_eq!(found, wanted, "{end:?}");
    };
    const ANSWERED: &str = "+NumberOfPushReqSent +NumberOfPushResReceived";
    const ERROR: &str =
        "+NumberOfPushReqSent +NumberOfPushResReceived +NumberOfPushErrorResReceived";
    let good = "-ServiceUnavailable -AccessTokenUnavailable";
    let reached = "-ServiceUnavailable";
    check(End::Answered(200), &format!("{ANSWERED} {good}"));
    // Other than 200 OK, if no failure.
    check(End::Answered(202), &format!("{ERROR} {good}"));
    check(End::Answered(400), &format!("{ERROR} {reached}"));
    for status in [401, 403] {
        let refused = format!("{ERROR} !AccessTokenUnavailable {reached}");
        check(End::Answered(status), &refused);
    }
    let gone = format!("{ERROR} !InvalidDeviceTokenResponse {reached}");
    check(End::Answered(410), &gone);
    for status in [404, 429, 500, 503] {
        check(End::Answered(status), &format!("{ERROR} {reached}"));
    }
    check(End::Unanswered, "+NumberOfPushReqSent");
    // Impatience is no fault of the service.
    check(End::Deserted, "+NumberOfPushReqSent");
    check(
        End::NoTls,
        "+NumberOfPushErrorResReceived !ServiceUnavailable",
    );
    check(End::Unreached, "!ServiceUnavailable");
    check(End::Left, "");
}

#[test]
fn what_a_call_in_the_custom_region_moves() {
    let check = |kind, wanted: &str| {
        let found = push(
            CALLS,
            Service::Guide(SubscriberService::ApnsTest),
            kind,
            End::Unanswered,
        );
        assert_eq!(found, format!("+NumberOfPushReqSent{wanted}"), "{kind:?}");
        assert_eq!(
            push(
                CALLS,
                Service::Guide(SubscriberService::ApnsTest),
                kind,
                End::Left
            ),
            ""
        );
    };
    check(Kind::Voip, "");
    check(Kind::Message, "");
    check(Kind::Other, "");
    check(Kind::CustomRegion, " +CustomRegionNumofMsgPushReqSent");
    check(
        Kind::MissedCall,
        " +CustomRegionNumofMissedCallMsgPushReqSent",
    );
    check(
        Kind::SharedCancel,
        " +CustomRegionNumofSharedCancelMsgPushReqSent",
    );
}

#[test]
fn what_a_chats_push_moves() {
    let check = |end, wanted: &str| {
        let found = push(
            CHAT,
            Service::Guide(SubscriberService::ApnsBeta),
            Kind::Message,
            end,
        );
        assert_eq!(found, wanted, "{end:?}");
    };
    let sent = "+NumberOfPushSuccess -PushFailed -FailedInvalidAccessToken";
    check(End::Answered(200), sent);
    check(End::Answered(201), sent);
    let failed = "+NumberOfPushFailure !PushFailed";
    for status in [302, 400, 404, 413, 429, 500, 503] {
        check(End::Answered(status), failed);
    }
    for status in [401, 403] {
        let refused = "+NumberOfPushFailure !FailedInvalidAccessToken";
        check(End::Answered(status), refused);
    }
    let gone = "+NumberOfPushFailure +TargetInvalid !FailedInvalidDeviceToken";
    check(End::Answered(410), gone);
    for end in [End::Unanswered, End::Unreached, End::NoTls] {
        check(end, failed);
    }
    check(End::Deserted, "");
    check(End::Left, "");
    let subject = Subject::Push {
        service: Service::Guide(SubscriberService::Apns),
        kind: Kind::Message,
    };
    let expired = Some(ErrorWord::TargetExpired);
    let found = moves(CHAT, subject, End::Answered(410), expired);
    let expired = "+NumberOfPushFailure +TargetExpired !FailedInvalidDeviceToken";
    assert_eq!(shown(&found), expired);
}

#[test]
fn errors_are_counted_by_service() {
    let check = |service, wanted: &str| {
        for status in [400, 401, 410, 429, 500] {
            let found = push(XCP, service, Kind::Message, End::Answered(status));
            assert_eq!(found, wanted, "{service:?} {status}");
        }
        for end in [End::Answered(200), End::Unanswered, End::NoTls, End::Left] {
            assert_eq!(push(XCP, service, Kind::Message, end), "", "{end:?}");
        }
    };
    check(Service::Guide(SubscriberService::Apns), "+PushErrorsApns");
    check(
        Service::Guide(SubscriberService::ApnsBeta),
        "+PushErrorsApnsBeta",
    );
    check(
        Service::Guide(SubscriberService::ApnsDev),
        "+PushErrorsApnsDev",
    );
    check(
        Service::Guide(SubscriberService::ApnsLoad),
        "+PushErrorsApnsLoad",
    );
    check(
        Service::Guide(SubscriberService::ApnsTest),
        "+PushErrorsApnsTest",
    );
    check(Service::Guide(SubscriberService::Fcm), "+PushErrorsFcm");
    check(
        Service::Guide(SubscriberService::FcmDev),
        "+PushErrorFcmDev",
    );
    check(Service::WebPush, "");
    check(Service::Other, "");
}

#[test]
fn counters_of_apples_services_do_not_move_for_others() {
    for service in Service::all() {
        let counts = |component| {
            let found = push(component, service, Kind::Voip, End::Answered(500));
            found.contains('+')
        };
        let own = !matches!(service.token(), "FCM" | "FCM:dev" | "webpush");
        assert_eq!(counts(CALLS), own, "{service:?}");
        assert_eq!(counts(CHAT), own, "{service:?}");
    }
    // What is wrong is wrong all the same.
    let found = push(
        CALLS,
        Service::Guide(SubscriberService::Fcm),
        Kind::Voip,
        End::Answered(410),
    );
    assert_eq!(found, "!InvalidDeviceTokenResponse -ServiceUnavailable");
}

#[test]
fn the_push_service_of_a_node_has_an_alarm_and_no_counters() {
    let check = |end, wanted: &str| {
        assert_eq!(
            push(
                CPNS,
                Service::Guide(SubscriberService::Apns),
                Kind::Voip,
                end
            ),
            wanted,
            "{end:?}"
        );
    };
    check(End::Answered(200), "-AccessTokenInvalid");
    check(End::Answered(401), "!AccessTokenInvalid");
    check(End::Answered(403), "!AccessTokenInvalid");
    check(End::Answered(410), "");
    check(End::Unreached, "");
    for component in [
        Component::MobilityManager,
        Component::Jabber,
        Component::Tidegate,
    ] {
        for end in [End::Answered(200), End::Answered(410), End::Unanswered] {
            assert_eq!(
                push(
                    component,
                    Service::Guide(SubscriberService::Apns),
                    Kind::Voip,
                    end
                ),
                ""
            );
        }
    }
}

#[test]
fn what_asking_for_a_token_moves() {
    let check = |component, alarm: &str| {
        let found = |end| shown(&moves(component, Subject::Token, end, None));
        let (raised, cleared) = match alarm {
            "" => (String::new(), String::new()),
            alarm => (format!("!{alarm}"), format!("-{alarm}")),
        };
        for end in [
            End::Answered(400),
            End::Answered(401),
            End::Answered(503),
            End::Unanswered,
            End::Unreached,
            End::NoTls,
        ] {
            assert_eq!(found(end), raised, "{component:?} {end:?}");
        }
        assert_eq!(found(End::Answered(200)), cleared, "{component:?}");
        assert_eq!(found(End::Left), "", "{component:?}");
        assert_eq!(found(End::Deserted), "", "{component:?}");
    };
    check(CALLS, "AccessTokenUnavailable");
    check(CPNS, "AccessTokenInvalid");
    check(CHAT, "AccessTokenFetchFailed");
    check(XCP, "");
    check(Component::Jabber, "");
}

#[test]
fn whoever_waited_a_servers_patience_was_not_impatient() {
    let check = |millis, stage, wanted| {
        let found = End::deserted(Duration::from_millis(millis), stage);
        assert_eq!(found, wanted, "{millis} ms");
    };
    check(0, End::Unanswered, End::Deserted);
    check(100, End::Unanswered, End::Deserted);
    check(3_999, End::NoTls, End::Deserted);
    check(4_000, End::Unanswered, End::Unanswered);
    check(5_000, End::Unanswered, End::Unanswered);
    check(5_000, End::NoTls, End::NoTls);
    check(5_000, End::Unreached, End::Unreached);
}

#[test]
fn what_was_never_sent_had_no_answer_to_get() {
    let check = |reason, stage, wanted| {
        assert_eq!(End::unsent(reason, stage), wanted, "{reason:?}");
    };
    use Reason::{BadReply, ClientGone, ConnectRefused, UpstreamTimeout, UpstreamTlsFailed};
    check(UpstreamTimeout, End::NoTls, End::NoTls);
    check(BadReply, End::NoTls, End::NoTls);
    check(UpstreamTlsFailed, End::NoTls, End::NoTls);
    check(UpstreamTimeout, End::Unreached, End::Unreached);
    check(ConnectRefused, End::NoTls, End::Unreached);
    check(ClientGone, End::NoTls, End::Left);
}

#[test]
fn half_a_success_is_none() {
    let check = |status, broken, wanted| {
        assert_eq!(End::answered(status, broken), wanted, "{status} {broken:?}");
    };
    use Reason::{ClientReset, Draining, UpstreamReset, UpstreamTimeout};
    check(200, None, End::Answered(200));
    check(200, Some(UpstreamReset), End::Unanswered);
    check(202, Some(UpstreamTimeout), End::Unanswered);
    check(200, Some(ClientReset), End::Answered(200));
    check(200, Some(Draining), End::Answered(200));
    check(410, Some(UpstreamReset), End::Answered(410));
}

#[test]
fn endings_without_an_answer() {
    for reason in Reason::ALL {
        let end = End::without_answer(reason);
        let wanted = match reason {
            Reason::UpstreamTlsFailed => End::NoTls,
            Reason::UpstreamReset | Reason::UpstreamTimeout | Reason::BadReply => End::Unanswered,
            reason if reason.fault() == Fault::Upstream => End::Unreached,
            _ => End::Left,
        };
        assert_eq!(end, wanted, "{reason:?}");
        assert_eq!(end.label(), "none");
    }
}
