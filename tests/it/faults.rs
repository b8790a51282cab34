//! Each fault that an administrator may meet: the reason's word in the log, the alarm on the board, and the line of the
//! doctor that says what to do. The README has the same table.

use serde_json::Value;
use tokio::time::timeout;

use crate::doctor::{GOOD, Manners, Paper, server};
use crate::house::{House, PATIENCE, Plan};
use crate::upstream::LOCALHOST;

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
    assert_eq!(code, 1, "{out}{err}");
    let line = out.lines().find(|line| {
        line.starts_with("FAIL")
            && line.contains(" -> ")
            && doctor.iter().all(|word| line.contains(word))
    });
    assert!(line.is_some(), "{doctor:?} is missing in\n{out}");
    let told = format!("alarm {alarm} of ");
    assert!(out.contains(&told), "{told:?} is missing in\n{out}");
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
        days: 365,
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
