//! How a call server pushes in absolute form.

use std::time::Duration;

use tidegate_load::cloud::{Cloud, CloudPlan, Running};
use tidegate_load::onprem::{AbsoluteForm, Outcome, ProxyClient, Server, ServerPlan};

use crate::tiny_proxy::{Act, Heard, TinyProxy, challenge};

const MD5: &str = r#"Digest realm="push", nonce="n1", algorithm=MD5, qop="auth""#;

async fn cloud() -> Running {
    Cloud::start(CloudPlan::new().plain_port(0)).await.unwrap()
}

/// What becomes of a request that is let in.
fn carry(cloud: &Running) -> impl Fn(&Heard) -> Act + Send + Sync + Clone + use<> {
    let (in_tls, pem) = (cloud.addr(0), cloud.ca_pem().to_owned());
    let mut in_clear = in_tls;
    in_clear.set_port(cloud.plain_port().unwrap());
    move |heard| match heard.method.as_str() {
        "CONNECT" => Act::Relay(in_tls),
        _ if heard.target.starts_with("https:") => Act::Forward(in_tls, Some(pem.clone())),
        _ => Act::Forward(in_clear, None),
    }
}

async fn server(cloud: &Running, client: ProxyClient, percent: u8) -> Server {
    let mut plan = ServerPlan::new("cucm1", cloud.port(), cloud.ca_pem());
    plan.confirmation_wait = Duration::from_millis(500);
    plan.absolute = AbsoluteForm {
        percent,
        origins: vec![
            format!("http://push.test:{}", cloud.plain_port().unwrap()),
            format!("https://push.test:{}", cloud.port()),
        ],
    };
    Server::start(plan, client).await.unwrap()
}

async fn push(server: &Server, id: &str) -> Outcome {
    server.push("phone", id, "a call").await
}

fn posts(proxy: &TinyProxy) -> Vec<Heard> {
    let heard = proxy.heard().into_iter();
    heard.filter(|heard| heard.method == "POST").collect()
}

#[tokio::test]
async fn a_share_of_the_pushes_goes_in_absolute_form_over_one_kept_connection() {
    let cloud = cloud().await;
    let proxy = TinyProxy::start(carry(&cloud)).await;
    let server = server(&cloud, proxy.client(), 50).await;
    for n in 0..8 {
        let outcome = push(&server, &format!("id-{n}")).await;
        assert_eq!(outcome.word(), "confirmed", "{outcome:?}");
    }
    assert_eq!(cloud.confirmed(), 8);
    let posts = posts(&proxy);
    let (clear, tls) = (cloud.plain_port().unwrap(), cloud.port());
    let expected = [
        format!("http://push.test:{clear}/push/v1/messages"),
        format!("https://push.test:{tls}/push/v1/messages"),
    ];
    let targets: Vec<_> = posts.iter().map(|heard| &heard.target).collect();
    assert_eq!(
        targets,
        expected.iter().chain(&expected).collect::<Vec<_>>()
    );
    assert!(
        posts
            .iter()
            .all(|heard| heard.connection == posts[0].connection),
        "{posts:?}"
    );
    let counted = server.proxy().counts().now();
    assert_eq!((counted.established, counted.forwarded), (3, 4));

    server.close().await;
    assert_eq!(server.proxy().counts().now().open, 0);
}

#[tokio::test]
async fn a_challenge_is_answered_on_the_same_connection_for_this_method_and_url() {
    let cloud = cloud().await;
    let let_in = carry(&cloud);
    let proxy = TinyProxy::start(move |heard| match &heard.authorization {
        // The first POST is challenged anew, as when the nonce is too old; not marked as such.
        Some(answer) if heard.method == "CONNECT" || answer.contains("n2") => let_in(heard),
        Some(_) => Act::Say(challenge(&[&MD5.replace("n1", "n2")])),
        None => Act::Say(challenge(&[MD5])),
    })
    .await;
    let server = server(&cloud, proxy.client().login("ann", "secret"), 100).await;
    for id in ["id-1", "id-2"] {
        assert_eq!(push(&server, id).await.word(), "confirmed");
    }
    let posts = posts(&proxy);
    let connections: Vec<_> = posts.iter().map(|heard| heard.connection).collect();
    assert_eq!(connections, [connections[0]; 3], "{posts:?}");
    for heard in &posts {
        let answer = heard.authorization.as_ref().unwrap();
        assert!(
            answer.contains(&format!("uri=\"{}\"", heard.target)),
            "{answer}"
        );
    }
    let counted = server.proxy().counts().now();
    let of_posts = (counted.forwarded, counted.challenged, counted.authenticated);
    // One challenge for the first CONNECT, one for the first POST; two CONNECTs and two POSTs were let in.
    assert_eq!(of_posts, (2, 2, 4));
}

#[tokio::test]
async fn a_proxy_that_answers_for_the_cloud_is_not_the_cloud_and_the_push_is_not_repeated() {
    let cloud = cloud().await;
    let let_in = carry(&cloud);
    let proxy = TinyProxy::start(move |heard| match heard.method.as_str() {
        "CONNECT" => let_in(heard),
        _ => Act::Say("HTTP/1.1 502 Bad Gateway\r\nProxy-Status: tidegate; error=connection_terminated\r\nContent-Length: 0\r\n\r\n".into()),
    })
    .await;
    let server = server(&cloud, proxy.client(), 100).await;
    let outcome = push(&server, "id-1").await;
    assert!(
        matches!(outcome, Outcome::Undelivered(status) if status == 502),
        "{outcome:?}"
    );
    assert_eq!(posts(&proxy).len(), 1);
    let counted = server.proxy().counts().now();
    assert_eq!((counted.forwarded, counted.refused), (0, 1));
}

#[tokio::test]
async fn a_push_that_the_proxy_leaves_unanswered_is_counted_so() {
    let cloud = cloud().await;
    let let_in = carry(&cloud);
    let proxy = TinyProxy::start(move |heard| match heard.method.as_str() {
        "CONNECT" => let_in(heard),
        _ => Act::Silence,
    })
    .await;
    let server = server(&cloud, proxy.client(), 100).await;
    assert_eq!(push(&server, "id-1").await.word(), "unconfirmed");
    assert_eq!(server.proxy().counts().now().unanswered, 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_opened_anew() {
    let cloud = cloud().await;
    let let_in = carry(&cloud);
    let proxy =
        TinyProxy::start(
            move |heard| match (heard.method.as_str(), &heard.authorization) {
                ("POST", None) => Act::SayAndClose(challenge(&[MD5])),
                _ => let_in(heard),
            },
        )
        .await;
    let server = server(&cloud, proxy.client().login("ann", "secret"), 100).await;
    assert_eq!(push(&server, "id-1").await.word(), "confirmed");
    let posts = posts(&proxy);
    assert_eq!(posts.len(), 2);
    assert_ne!(posts[0].connection, posts[1].connection);
}
