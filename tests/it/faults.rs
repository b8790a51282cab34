//! Each fault that an administrator may meet: the reason's word in the log, the alarm on the board, and the line of the
//! doctor that says what to do. The README has the same table.

use serde_json::Value;
use tidegate_load::cloud::{Cloud, CloudPlan, PUSH_PATH, TOKEN_PATH};
use tokio::time::timeout;

use crate::auth::connect_as;
use crate::doctor::{GOOD, Manners, Paper, server};
use crate::house::{House, PATIENCE, Plan};
use crate::upstream::{LOCALHOST, refusing};

/// What has to be seen of it.
struct Signs<'a> {
    reason: &'a str,
    alarm: &'a str,
    /// Words of one line of the doctor, and of its remedy.
    doctor: &'a [&'a str],
}

async fn check(house: House, signs: Signs<'_>) {
    let Signs {
        reason,
        alarm,
        doctor,
    } = signs;
    house.line_with_reason(reason).await;
    let raised = async {
        loop {
            let (_, page) = house.admin("/alarms").await;
            let page: Value = serde_json::from_str(&page).unwrap();
            let mut all = page["alarms"].as_array().unwrap().iter();
            if all.any(|one| one["alarm"] == alarm && one["state"] == "active") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let raised = timeout(PATIENCE, raised).await;
    assert!(raised.is_ok(), "{alarm} is not raised");
    // The doctor asks the proxy that runs: it has to know where.
    let admin = format!("[admin]\naddress = \"{}\"", house.admin_address());
    house.edit("[admin]\naddress = \"127.0.0.1:0\"", &admin);
    let (code, out, err) = house.command(&["doctor"]).await;
    let fails = i32::from(out.contains("FAIL"));
    assert_eq!(code, fails, "{out}{err}");
    let line = out.lines().find(|line| {
        !line.starts_with("ok")
            && line.contains(" -> ")
            && doctor.iter().all(|word| line.contains(word))
    });
    assert!(line.is_some(), "{doctor:?} is missing in\n{out}");
    let told = format!("alarm {alarm} of ");
    let line = out.lines().find(|line| line.contains(&told));
    let line = line.unwrap_or_else(|| panic!("{told:?} is missing in\n{out}"));
    // What to do about it is said once, where this run has looked itself.
    if alarm.starts_with("TidegateUpstream") || alarm.starts_with("TidegateCertificate") {
        assert!(line.contains(" -> see its line above (push."), "{out}");
    }
    house.close().await;
}

fn lab(hosts: &str, port: u16, more: &str) -> Plan {
    House::new().destination(&format!(
        "name = \"lab\"\nhosts = [\"{hosts}\"]\nports = [{port}]\nnetworks = [\"127.0.0.0/8\"]\n{more}"
    ))
}

async fn ask_over_tls(house: &House, authority: impl std::fmt::Display) {
    let mut client = house.client().await;
    client
        .send(format!(
            "GET https://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.reply().await.reason(), "upstream_tls_failed");
}

#[tokio::test]
async fn an_expired_certificate() {
    let expired = Paper { days: -3, ..GOOD };
    let at = (LOCALHOST, 0).into();
    let (address, authority) = server(at, expired, Manners::default()).await;
    let house = lab("push.test", address.port(), "ca = \"lab.pem\"")
        .file("lab.pem", &authority)
        .name("push.test", [LOCALHOST])
        .set("probe", "interval = \"1h\"")
        .open()
        .await;
    ask_over_tls(&house, format!("push.test:{}", address.port())).await;
    let signs = Signs {
        reason: "upstream_tls_failed",
        alarm: "TidegateCertificateExpiring",
        doctor: &["ended 3 days ago", "has to renew it"],
    };
    check(house, signs).await;
}

#[tokio::test]
async fn a_gateway_that_decrypts() {
    let gateway = Paper {
        issuer: "Corp Gateway CA",
        name: "push.webexconnect.com",
        ..GOOD
    };
    let at = (LOCALHOST, 0).into();
    let (address, _) = server(at, gateway, Manners::default()).await;
    let port = address.port();
    let house = House::new()
        .destination(&format!("preset = \"cisco\"\nhosts = [\"push.webexconnect.com\"]\naddresses = [\"127.0.0.1\"]\nports = [{port}]"))
        .set("probe", "interval = \"1h\"")
        .open()
        .await;
    ask_over_tls(&house, format!("push.webexconnect.com:{port}")).await;
    let signs = Signs {
        reason: "upstream_tls_failed",
        alarm: "TidegateUpstreamCertificateInvalid",
        doctor: &[
            "something on the way decrypts TLS",
            "Corp Gateway CA",
            "list of hosts that are not decrypted",
        ],
    };
    check(house, signs).await;
}

#[tokio::test]
async fn a_dead_name() {
    let house = lab("push.test", 443, "").open().await;
    house.client().await.connect("push.test:443").await;
    let signs = Signs {
        reason: "name_not_found",
        alarm: "PushNotificationServiceUnavailable",
        doctor: &["push.test does not exist", "name servers know public names"],
    };
    check(house, signs).await;
}

#[tokio::test]
async fn a_dead_address() {
    let port = refusing().await.port();
    let house = lab("push.test", port, "")
        .name("push.test", [LOCALHOST])
        .open()
        .await;
    house
        .client()
        .await
        .connect(format!("push.test:{port}"))
        .await;
    let signs = Signs {
        reason: "connect_refused",
        alarm: "PushNotificationServiceUnavailable",
        doctor: &["127.0.0.1", "the connection is refused", "allow TCP"],
    };
    check(house, signs).await;
}

#[tokio::test]
async fn a_token_endpoint_that_is_down() {
    let port = refusing().await.port();
    let house = lab("token.test", port, "role = \"token\"")
        .name("token.test", [LOCALHOST])
        .open()
        .await;
    house
        .client()
        .await
        .connect(format!("token.test:{port}"))
        .await;
    let signs = Signs {
        reason: "connect_refused",
        alarm: "PushNotificationServiceAccessTokenUnavailable",
        doctor: &[
            "token.test",
            "(token)",
            "the connection is refused",
            "allow TCP",
        ],
    };
    check(house, signs).await;
}

#[tokio::test]
async fn a_wrong_password() {
    let (address, authority) = server((LOCALHOST, 0).into(), GOOD, Manners::default()).await;
    let house = lab("push.test", address.port(), "ca = \"lab.pem\"")
        .file("lab.pem", &authority)
        .name("push.test", [LOCALHOST])
        .user("ann", "right")
        .open()
        .await;
    for _ in 0..3 {
        let mut client = house.client().await;
        let challenge = client
            .connect("push.test:443")
            .await
            .fields("proxy-authenticate")[0]
            .to_owned();
        let reply = connect_as(&mut client, "push.test:443", &challenge, "ann", "wrong").await;
        assert_eq!(reply.reason(), "bad_credentials");
    }
    let signs = Signs {
        reason: "bad_credentials",
        alarm: "TidegateClientNeverAuthenticates",
        doctor: &["refused with 407", "Compare the user name and password"],
    };
    check(house, signs).await;
}

/// What the service answers, where it can be seen, is no reason of ours: the exchange is finished, and its status tells.
#[tokio::test]
async fn answers_of_the_service() {
    let push = r#"{"pushes":[{"pushTarget":"t","subscriberService":"APNS","kind":"message"}]}"#;
    let token = r#"{"refreshToken":"old"}"#;
    for (component, host, path, body, status, alarm, words) in [
        (
            "Cisco XCP Config Manager",
            "token.test",
            TOKEN_PATH,
            token,
            400,
            "AccessTokenFetchFailed",
            &[
                "400",
                "refresh token has expired",
                "onboard the cluster again",
            ][..],
        ),
        (
            "Cisco CallManager",
            "push.test",
            PUSH_PATH,
            push,
            410,
            "PushNotificationInvalidDeviceTokenResponse",
            &["410", "signs out of the client and signs in again"],
        ),
        (
            "Cisco XCP Config Manager",
            "push.test",
            PUSH_PATH,
            push,
            429,
            "PushNotificationFailed",
            &["429", "Retry-After"],
        ),
    ] {
        let cloud = Cloud::start(CloudPlan::new().plain_port(0)).await.unwrap();
        let (port, plain) = (cloud.port(), cloud.plain_port().unwrap());
        let role = if host == "token.test" {
            "token"
        } else {
            "push"
        };
        let house = House::new()
            .destination(&format!("name = \"lab\"\nhosts = [\"{host}\"]\nports = [{port}, {plain}]\nnetworks = [\"127.0.0.0/8\"]\nca = \"lab.pem\"\nrole = \"{role}\""))
            .file("lab.pem", cloud.ca_pem())
            .also(&format!("[[client]]\nname = \"sender\"\nnetworks = [\"127.0.0.0/8\"]\ncomponent = \"{component}\""))
            .name(host, cloud.ips())
            .open()
            .await;
        let answer = http::StatusCode::from_u16(status).unwrap();
        cloud.answer_everything(Some((answer, serde_json::json!({}))));
        let mut client = house.client().await;
        client
            .send(format!("POST http://{host}:{plain}{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
            .await;
        assert_eq!(client.reply().await.status, status);
        let signs = Signs {
            reason: "finished",
            alarm,
            doctor: words,
        };
        check(house, signs).await;
    }
}
