use http::Request;

use super::super::scan::Scan;
use super::*;

/// A push to this host and path, with these field lines and this body: service, kind, tracking id.
fn told(at: &str, fields: &[(&str, &str)], body: &str) -> (String, Option<String>) {
    let (host, path) = at.split_once('/').unwrap();
    let mut request = Request::post(format!("/{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let mut message = Message::of(&parts, &Host::Name(host.into()));
    Scan::default().read(body.as_bytes(), &mut message);
    let words = format!("{} {}", message.service().token(), message.kind().token());
    let words = if message.is_rehearsal() {
        format!("{words} rehearsal")
    } else {
        words
    };
    let id = message.take_tracking_id();
    (words, id.map(|id| id.as_str().to_owned()))
}

fn check(at: &str, fields: &[(&str, &str)], body: &str, wanted: &str) {
    assert_eq!(told(at, fields, body).0, wanted, "{at} {fields:?} {body}");
}

#[test]
fn push_rest() {
    let check = |body: &str, wanted: &str| check("push.test/push/v1/messages", &[], body, wanted);
    check(
        r#"{"target":"t","trackingId":"x","payload":"A256GCM.a.b","service":"APNS","kind":"voip"}"#,
        "APNS voip",
    );
    check(
        r#"{"service":"apns:beta","type":"message"}"#,
        "APNS:beta message",
    );
    check(
        r#"{"push":{"Push_Service":"FCM","pushType":"call"}}"#,
        "FCM voip",
    );
    check(
        r#"{"subscriberService":"FCM:dev","messageType":"im"}"#,
        "FCM:dev message",
    );
    check(
        r#"{"service":"APNS","kind":"missedCall"}"#,
        "APNS missed_call",
    );
    check(
        r#"{"service":"APNS","kind":"shared-line-cancel"}"#,
        "APNS shared_cancel",
    );
    check(
        r#"{"service":"APNS","kind":"custom_region"}"#,
        "APNS custom_region",
    );
    // A call where CallKit is off, said in three ways.
    check(
        r#"{"kind":"call","customRegion":true}"#,
        "other custom_region",
    );
    check(
        r#"{"region":"custom","kind":"message"}"#,
        "other custom_region",
    );
    check(r#"{"callKit":false,"kind":"voip"}"#, "other custom_region");
    check(
        r#"{"callKit":false,"kind":"missedCall"}"#,
        "other missed_call",
    );
    check(
        r#"{"customRegion":false,"callKit":true,"kind":"call"}"#,
        "other voip",
    );
    // What says nothing of itself.
    check("", "other other");
    check(r#"{"target":"t","payload":"A256GCM.a.b"}"#, "other other");
    check(r#"{"service":"SMS","kind":"smoke"}"#, "other other");
    check(r#"{"kind":1,"service":null}"#, "other other");
    check("kind=voip", "other other");
    check("\u{1f}\u{8b}\u{8}", "other other");
    // The first that is understood counts.
    check(
        r#"{"type":"v1","kind":"voip","data":{"kind":"message"}}"#,
        "other voip",
    );
    check(r#"{"kind":"voip","service":"APNS","tail"#, "APNS voip");
    // What an app is sent is not what the message says.
    check(
        r#"{"payload":{"text":"hi","kind":"cancel"},"service":"APNS","type":"message"}"#,
        "APNS message",
    );
    check(
        r#"{"payload":{"service":"FCM","list":[{"kind":"cancel"}],"region":"custom"},"kind":"voip","region":"EMEA","service":"APNS"}"#,
        "APNS voip",
    );
    check(
        r#"{"a":{"b":{"kind":"cancel"},"kind":"missed"}}"#,
        "other missed_call",
    );
    check("\u{feff}{\"kind\":\"voip\"}", "other voip");
    check(
        r#"{"\u006bind":"\u0076oip","service":"APNS\u003adev"}"#,
        "APNS:dev voip",
    );
}

#[test]
fn apns() {
    let device = "api.push.apple.com/3/device/00fc13adff785122";
    let check_head = |fields: &[(&str, &str)], wanted: &str| check(device, fields, "", wanted);
    check_head(&[("apns-push-type", "voip")], "APNS voip");
    check_head(&[("apns-push-type", "alert")], "APNS message");
    check_head(
        &[("apns-push-type", "background"), ("apns-priority", "5")],
        "APNS message",
    );
    check_head(&[("apns-push-type", "mdm")], "APNS other");
    check_head(&[("apns-topic", "com.example.phone.voip")], "APNS voip");
    check_head(&[("apns-topic", "com.example.phone")], "APNS other");
    let alert = r#"{"aps":{"alert":{"title":"a call"}}}"#;
    check(
        device,
        &[("apns-topic", "com.example.phone")],
        alert,
        "APNS message",
    );
    check(device, &[], r#"{"aps":{"alert":"a call"}}"#, "APNS message");
    let missed = r#"{"aps":{"alert":"a call"},"kind":"missed call"}"#;
    check(
        device,
        &[("apns-push-type", "alert")],
        missed,
        "APNS missed_call",
    );
    let voip = r#"{"aps":{},"kind":"message"}"#;
    check(device, &[("apns-push-type", "voip")], voip, "APNS voip");
    for host in [
        "api.sandbox.push.apple.com",
        "api.development.push.apple.com",
    ] {
        let device = format!("{host}/3/device/00fc");
        check(&device, &[("apns-push-type", "voip")], "", "APNS:dev voip");
    }
}

#[test]
fn fcm() {
    let send = "fcm.googleapis.com/v1/projects/phones/messages:send";
    let check = |body: &str, wanted: &str| check(send, &[], body, wanted);
    check(
        r#"{"message":{"token":"t","notification":{"title":"a"}}}"#,
        "FCM message",
    );
    check(
        r#"{"message":{"token":"t","android":{"priority":"high"},"data":{"kind":"call"}}}"#,
        "FCM voip",
    );
    check(r#"{"message":{"token":"t","data":{"x":"y"}}}"#, "FCM other");
    check(
        r#"{"validate_only":true,"message":{"notification":{}}}"#,
        "FCM message rehearsal",
    );
    check(r#"{"validate_only":false}"#, "FCM other");
    check(
        r#"{"message":{},"validateOnly":true}"#,
        "FCM other rehearsal",
    );
    // Apps have words of their own.
    check(
        r#"{"message":{"token":"abc","data":{"validateOnly":"true"}}}"#,
        "FCM other",
    );
    check(r#"{"message":{"validate_only":true}}"#, "FCM other");
    check(r#"{"message":{"data":{"alert":"x"}}}"#, "FCM other");
    check(
        r#"{"message":{"data":{"x":{"notification":{}}},"android":{"notification":{}}}}"#,
        "FCM message",
    );
}

#[test]
fn web_push() {
    let body = "\u{0}\u{1}{\"kind\":\"voip\"}";
    check(
        "updates.push.services.mozilla.com/wpush/v2/gAAAA",
        &[
            ("ttl", "60"),
            ("urgency", "high"),
            ("content-encoding", "aes128gcm"),
        ],
        body,
        "webpush message",
    );
    check(
        "fcm.googleapis.com/fcm/send/abc:def",
        &[("ttl", "0")],
        "",
        "webpush message",
    );
    check("push.test/x", &[("ttl", "soon")], "", "other other");
}

#[test]
fn tracking_ids() {
    let check = |fields: &[(&str, &str)], body: &str, wanted: Option<&str>| {
        let found = told("push.test/push", fields, body).1;
        assert_eq!(found.as_deref(), wanted, "{fields:?} {body}");
    };
    check(&[], r#"{"trackingId":"track-1"}"#, Some("track-1"));
    check(&[], r#"{"push":{"tracking_id":"a-b_c2"}}"#, Some("a-b_c2"));
    check(
        &[],
        r#"{"payload":{"trackingId":"app-1"},"trackingId":"own-1"}"#,
        Some("own-1"),
    );
    check(
        &[("TrackingID", "head1")],
        r#"{"trackingId":"body1"}"#,
        Some("head1"),
    );
    check(&[("X-Tracking-Id", "7")], "", Some("7"));
    let uuid = "123e4567-e89b-12d3-a456-4266554400a0";
    check(&[("apns-id", uuid)], "", Some(uuid));
    let around = format!("ROUTER_{uuid}_0");
    check(&[("trackingid", &around)], "", Some(&around));
    check(&[], "{}", None);
    check(&[], r#"{"trackingId":""}"#, None);
    check(&[], r#"{"trackingId":"two words 2"}"#, None);
    check(&[], r#"{"trackingId":"a1\u001b[2J"}"#, None);
    check(&[("trackingid", "a1/b?c")], "", None);
    // Nobody's name, and no address of theirs.
    for word in ["alice", "alice.smith", "alice-smith", "a1@push.test"] {
        check(&[("trackingid", word)], "", None);
    }
    let of_length = |length: usize| "x1".repeat(length).split_off(length);
    let body = |id: &str| format!(r#"{{"trackingId":"{id}"}}"#);
    check(&[], &body(&of_length(ID_MAX)), Some(&of_length(ID_MAX)));
    check(&[], &body(&of_length(ID_MAX + 1)), None);
    let long = format!("{}{uuid}", of_length(AROUND_MAX));
    check(&[], &body(&long), Some(&long));
    check(&[], &body(&format!("x{long}")), None);
    // A device token is none, however it is written and whatever stands around it.
    let digits = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
    let pairs = digits.as_bytes().chunks(2);
    let pairs: Vec<_> = pairs.map(|pair| str::from_utf8(pair).unwrap()).collect();
    let like_uuids = format!("{uuid}-{uuid}");
    for token in [
        digits,
        &pairs.join("-"),
        &like_uuids,
        // 32 bytes in base64.
        "APwTrf94USK0rSiAmjQgmCNBJBQhNICXh45XfJkd6PA",
        "c7XqDfE0RkGs1h2j3k4l5m:APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx",
        "APA91bHun4MxP5egoKMwt2KZFBaFUH-1RYqx5",
    ] {
        check(&[("trackingid", token)], "", None);
        check(&[("trackingid", &format!("x:{token}-1"))], "", None);
        check(&[], &body(token), None);
    }
}
