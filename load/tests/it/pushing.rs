//! How a call server pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidegate_load::cloud::{Behavior, Cloud, CloudPlan, Running};
use tidegate_load::onprem::{Outcome, Server, ServerPlan};

use crate::tiny_proxy::{Act, TinyProxy};

async fn cloud(plan: CloudPlan) -> Running {
    Cloud::start(plan).await.unwrap()
}

async fn relay_to(cloud: &Running) -> TinyProxy {
    let addr = cloud.addr(0);
    TinyProxy::start(move |_| Act::Relay(addr)).await
}

async fn server(cloud: &Running, proxy: &TinyProxy) -> Server {
    let mut plan = ServerPlan::new("cucm1", cloud.port(), cloud.ca_pem());
    plan.confirmation_wait = Duration::from_millis(500);
    Server::start(plan, proxy.client()).await.unwrap()
}

fn word(outcome: &Outcome) -> &'static str {
    outcome.word()
}

#[tokio::test]
async fn a_server_onboards_fetches_a_token_and_pushes_over_one_kept_tunnel() {
    let cloud = cloud(CloudPlan::new()).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    for n in 0..3 {
        let outcome = server.push("phone", &format!("id-{n}"), "a call").await;
        assert_eq!(word(&outcome), "confirmed", "{outcome:?}");
    }
    let targets: Vec<_> = proxy
        .heard()
        .into_iter()
        .map(|heard| heard.target)
        .collect();
    let port = cloud.port();
    let expected = ["onboard.test", "token.test", "push.test"].map(|name| format!("{name}:{port}"));
    assert_eq!(targets, expected);
    assert_eq!((cloud.confirmed(), cloud.confirmed_of("id-1")), (3, 1));

    server.close().await;
    assert_eq!(server.proxy().counts().now().open, 0);
}

#[tokio::test]
async fn over_http2_pushes_share_one_tunnel() {
    let cloud = cloud(CloudPlan::new().answer_after(Duration::from_millis(20))).await;
    let proxy = relay_to(&cloud).await;
    let mut plan = ServerPlan::new("cucm1", cloud.port(), cloud.ca_pem());
    plan.http2 = true;
    let server = Arc::new(Server::start(plan, proxy.client()).await.unwrap());
    let pushes = (0..4).map(|n| {
        let server = server.clone();
        tokio::spawn(async move { server.push("phone", &format!("id-{n}"), "a call").await })
    });
    for push in pushes.collect::<Vec<_>>() {
        let outcome = push.await.unwrap();
        assert_eq!(word(&outcome), "confirmed", "{outcome:?}");
    }
    assert_eq!(proxy.heard().len(), 3, "account, token, pushes");
    assert_eq!((cloud.confirmed(), cloud.confirmed_of("id-1")), (4, 1));
    // Its own clock saw the cloud think.
    assert_eq!(server.answers().count(), 4);
    assert!(server.answers().quantile(0.0) >= Duration::from_millis(20));

    // What is shared is opened anew like any other.
    proxy.cut();
    let outcome = server.push("phone", "id-4", "a call").await;
    assert!(
        ["confirmed", "cut"].contains(&word(&outcome)),
        "{outcome:?}"
    );
    server.close().await;
    assert_eq!(server.proxy().counts().now().open, 0);
}

#[tokio::test]
async fn a_closed_idle_tunnel_is_reopened_before_the_next_push() {
    let cloud = cloud(CloudPlan::new()).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    server.push("phone", "id-1", "a call").await;
    proxy.cut();
    cloud.drop_connections(0).await.unwrap();
    let outcome = server.push("phone", "id-2", "a call").await;
    assert_eq!(word(&outcome), "confirmed", "{outcome:?}");
    assert_eq!((server.reopened(), cloud.confirmed()), (1, 2));
}

#[tokio::test]
async fn a_push_that_is_cut_is_not_sent_again() {
    let cloud = cloud(CloudPlan::new().answer_after(Duration::from_millis(50))).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    server.push("phone", "id-1", "a call").await;
    cloud.set(0, Behavior::Silent).await.unwrap();
    let (outcome, ()) = tokio::join!(server.push("phone", "id-2", "a call"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.cut();
    });
    assert_eq!(word(&outcome), "cut");
    assert_eq!(cloud.confirmed_of("id-2"), 0);
    assert_eq!(proxy.heard().len(), 3, "no fourth tunnel for it");
}

#[tokio::test]
async fn a_push_without_confirmation_says_so_and_the_next_one_has_a_new_tunnel() {
    let cloud = cloud(CloudPlan::new()).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    cloud.swallow_next_push();
    assert_eq!(
        word(&server.push("phone", "id-1", "a call").await),
        "unconfirmed"
    );
    assert_eq!(
        word(&server.push("phone", "id-2", "a call").await),
        "confirmed"
    );
    assert_eq!(
        (cloud.confirmed_of("id-1"), cloud.confirmed_of("id-2")),
        (0, 1)
    );
    assert_eq!(proxy.heard().len(), 4);
}

#[tokio::test]
async fn without_confirmation_the_proxys_second_address_is_tried() {
    let cloud = cloud(CloudPlan::new()).await;
    let (first, second) = (relay_to(&cloud).await, relay_to(&cloud).await);
    let mut plan = ServerPlan::new("cucm1", cloud.port(), cloud.ca_pem());
    plan.confirmation_wait = Duration::from_millis(500);
    let client = first.client().or_at(second.addr);
    let server = Server::start(plan, client).await.unwrap();
    cloud.swallow_next_push();
    assert_eq!(
        word(&server.push("phone", "id-1", "a call").await),
        "confirmed"
    );
    assert_eq!(second.heard().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_renewed() {
    let cloud = cloud(CloudPlan::new()).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    cloud.expire_tokens();
    let outcome = server.push("phone", "id-1", "a call").await;
    assert_eq!(word(&outcome), "confirmed", "{outcome:?}");
    assert_eq!(cloud.confirmed(), 1);
}

#[tokio::test]
async fn a_token_about_to_end_is_renewed_before_the_push() {
    let cloud = cloud(CloudPlan::new().token_lifetime(Duration::from_millis(100))).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    assert_eq!(
        word(&server.push("phone", "id-1", "a call").await),
        "confirmed"
    );
    let tokens = proxy
        .heard()
        .iter()
        .filter(|h| h.target.starts_with("token.test"))
        .count();
    assert_eq!(tokens, 2);
}

#[tokio::test]
async fn a_rotated_target_is_a_rejection_not_a_loss_of_the_tunnel() {
    let cloud = cloud(CloudPlan::new()).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    cloud.forget_target("old-phone");
    let outcome = server.push("old-phone", "id-1", "a call").await;
    assert!(
        matches!(outcome, Outcome::Rejected(status) if status == 410),
        "{outcome:?}"
    );
    assert_eq!(
        word(&server.push("phone", "id-2", "a call").await),
        "confirmed"
    );
    assert_eq!(proxy.heard().len(), 3);
}

#[tokio::test]
async fn a_slow_address_confirms_late() {
    let cloud = cloud(CloudPlan::new()).await;
    let proxy = relay_to(&cloud).await;
    let server = server(&cloud, &proxy).await;
    cloud
        .set(0, Behavior::Slow(Duration::from_millis(200)))
        .await
        .unwrap();
    let start = std::time::Instant::now();
    assert_eq!(
        word(&server.push("phone", "id-1", "a call").await),
        "confirmed"
    );
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_connection_that_breaks_before_it_stands_is_tried_once_more() {
    let cloud = cloud(CloudPlan::new()).await;
    let addr = cloud.addr(0);
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead_addr = dead.local_addr().unwrap();
    tokio::spawn(async move { while dead.accept().await.is_ok() {} });
    let tunnels = AtomicUsize::new(0);
    let proxy = TinyProxy::start(move |_| {
        let first = tunnels.fetch_add(1, Ordering::Relaxed) == 0;
        Act::Relay(if first { dead_addr } else { addr })
    })
    .await;
    let server = server(&cloud, &proxy).await;
    assert_eq!(
        word(&server.push("phone", "id-1", "a call").await),
        "confirmed"
    );
    assert_eq!(proxy.heard().len(), 4);
}
