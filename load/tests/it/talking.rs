//! How a client talks to its proxy.

use std::net::SocketAddr;
use std::sync::Mutex;

use md5::{Digest as _, Md5};
use tidegate_load::onprem::{ConnectError, Taste};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::tiny_proxy::{Act, Heard, TinyProxy, challenge};

const MD5: &str = r#"Digest realm="push", nonce="n1", algorithm=MD5, qop="auth""#;
const SHA256: &str = r#"Digest realm="push", nonce="n1", algorithm=SHA-256, qop="auth""#;
const BASIC: &str = r#"Basic realm="push""#;

/// Says hello first, then sends back what it hears.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_all(b"hello ").await.unwrap();
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

/// A proxy that wants ann's Digest in MD5, and checks it.
fn wants_digest(addr: SocketAddr) -> impl Fn(&Heard) -> Act + Send + Sync {
    move |heard| match &heard.authorization {
        Some(answer) if is_right(answer, &heard.target) => Act::Relay(addr),
        _ => Act::Say(challenge(&[MD5, SHA256])),
    }
}

/// RFC 7616, worked out by hand.
fn is_right(answer: &str, target: &str) -> bool {
    let hex = |text: String| -> String {
        Md5::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let parameter = |name: &str| {
        let from = answer.find(&format!("{name}=")).unwrap() + name.len() + 1;
        answer[from..]
            .split(',')
            .next()
            .unwrap()
            .trim_matches('"')
            .to_owned()
    };
    let ha1 = hex("ann:push:secret".into());
    let ha2 = hex(format!("CONNECT:{target}"));
    let (nonce, nc, cnonce) = (parameter(" nonce"), parameter("nc"), parameter("cnonce"));
    parameter("response") == hex(format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"))
}

#[tokio::test]
async fn bytes_pass_both_ways_and_those_behind_the_answer_come_first() {
    let addr = echo().await;
    for proxy in [
        TinyProxy::start(move |_| Act::Relay(addr)).await,
        TinyProxy::start_tls(move |_| Act::Relay(addr)).await,
    ] {
        let mut tunnel = proxy.client().connect("push.test:443").await.unwrap();
        tunnel.write_all(b"push").await.unwrap();
        let mut heard = [0; 10];
        tunnel.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello push");
    }
}

#[tokio::test]
async fn a_challenge_is_answered_on_the_same_connection_and_remembered() {
    let proxy = TinyProxy::start(wants_digest(echo().await)).await;
    let client = proxy.client().login("ann", "secret");
    client.connect("push.test:443").await.unwrap();
    client.connect("token.test:443").await.unwrap();

    let heard = proxy.heard();
    let connections: Vec<_> = heard.iter().map(|heard| heard.connection).collect();
    assert_eq!(connections, [0, 0, 1], "{heard:?}");
    assert!(heard[0].authorization.is_none());
    let second = heard[2].authorization.as_ref().unwrap();
    assert!(second.contains("nc=00000002"), "{second}");
    let counted = client.counts().now();
    assert_eq!(
        (
            counted.established,
            counted.challenged,
            counted.authenticated
        ),
        (2, 1, 2)
    );
}

#[tokio::test]
async fn a_challenge_that_closes_the_connection_is_answered_on_a_new_one() {
    let addr = echo().await;
    let proxy = TinyProxy::start(move |heard| match heard.authorization {
        Some(_) => Act::Relay(addr),
        None => Act::SayAndClose(
            challenge(&[MD5]).replace("Content-Length", "Connection: close\r\nContent-Length"),
        ),
    })
    .await;
    let client = proxy.client().login("ann", "secret");
    client.connect("push.test:443").await.unwrap();
    let connections: Vec<_> = proxy.heard().iter().map(|heard| heard.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[tokio::test]
async fn a_wrong_password_ends_after_one_try() {
    let proxy = TinyProxy::start(wants_digest(echo().await)).await;
    let client = proxy.client().login("ann", "guess");
    let error = client.connect("push.test:443").await.unwrap_err();
    let refused = error.refused().unwrap();
    assert_eq!(refused.status, 407);
    assert_eq!(&refused.body[..], b"who?\n");
    assert_eq!(proxy.heard().len(), 2);
}

#[tokio::test]
async fn a_remembered_nonce_that_is_no_longer_good_is_replaced() {
    let addr = echo().await;
    let nonce = std::sync::Arc::new(Mutex::new("n1"));
    let at_proxy = nonce.clone();
    let proxy = TinyProxy::start(move |heard| {
        let nonce = *at_proxy.lock().unwrap();
        match &heard.authorization {
            Some(answer) if answer.contains(nonce) => Act::Relay(addr),
            // Not marked as stale: some proxies forget to.
            _ => Act::Say(challenge(&[&MD5.replace("n1", nonce)])),
        }
    })
    .await;
    let client = proxy.client().login("ann", "secret");
    client.connect("push.test:443").await.unwrap();
    *nonce.lock().unwrap() = "n2";
    client.connect("push.test:443").await.unwrap();
    assert_eq!(client.counts().now().challenged, 2);
}

#[tokio::test]
async fn tastes_decide_what_is_sent() {
    let addr = echo().await;
    for (taste, expected, rounds) in [
        (Taste::First, "algorithm=MD5", 2),
        (Taste::Sha256, "algorithm=SHA-256", 2),
        (Taste::Basic, "Basic YW5uOnNlY3JldA==", 2),
        (Taste::BasicAtOnce, "Basic YW5uOnNlY3JldA==", 1),
    ] {
        let proxy = TinyProxy::start(move |heard| match heard.authorization {
            Some(_) => Act::Relay(addr),
            None => Act::Say(challenge(&[MD5, SHA256, BASIC])),
        })
        .await;
        let client = proxy.client().login("ann", "secret").taste(taste);
        client.connect("push.test:443").await.unwrap();
        let heard = proxy.heard();
        assert_eq!(heard.len(), rounds, "{taste:?}");
        let sent = heard.last().unwrap().authorization.clone().unwrap();
        assert!(sent.contains(expected), "{taste:?}: {sent}");
    }
}

#[tokio::test]
async fn a_refusal_is_handed_back_whole() {
    let proxy = TinyProxy::start(|_| {
        Act::Say("HTTP/1.1 403 Forbidden\r\nProxy-Status: x\r\nContent-Length: 14\r\n\r\ntarget_denied\n".into())
    })
    .await;
    let client = proxy.client();
    let error = client.connect("other.test:443").await.unwrap_err();
    let refused = error.refused().unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(refused.headers["proxy-status"], "x");
    assert_eq!(&refused.body[..], b"target_denied\n");
    assert_eq!(client.counts().now().refused, 1);
}

#[tokio::test]
async fn what_is_no_http_is_no_tunnel() {
    let proxy = TinyProxy::start(|_| Act::Say("SSH-2.0-dropbear\r\n".into())).await;
    let error = proxy.client().connect("push.test:443").await.unwrap_err();
    assert!(matches!(error, ConnectError::BadReply(_)), "{error:?}");
}

#[tokio::test]
async fn the_second_address_is_tried_after_two_seconds() {
    let addr = echo().await;
    let silent = TinyProxy::start(|_| Act::Silence).await;
    let good = TinyProxy::start(move |_| Act::Relay(addr)).await;
    let client = silent.client().or_at(good.addr);
    let start = std::time::Instant::now();
    client.connect("push.test:443").await.unwrap();
    let took = start.elapsed().as_millis();
    assert!((1900..4000).contains(&took), "{took} ms");
    assert_eq!(client.counts().now().unanswered, 1);
}
