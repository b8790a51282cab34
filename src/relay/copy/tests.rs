use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::exchange::{ClientAddr, ExchangeId, ListenerName};
use crate::relay::{Tunnels, live};

fn exchange() -> Exchange {
    Exchange::new(
        ExchangeId::new(1, 2, 3),
        std::time::SystemTime::now(),
        std::time::Instant::now(),
        ListenerName::new("plain"),
        ClientAddr(([127, 0, 0, 1], 40_000).into()),
    )
}

/// A relay between two pipes that hold 1 KiB: the client's end, the upstream's end, and the running copy.
async fn relay<F>(
    early: &'static [u8],
    story: impl FnOnce(DuplexStream, DuplexStream, JoinHandle<(CopyEnd, u64, u64)>) -> F,
) where
    F: Future<Output = ()>,
{
    let (client, mut client_side) = duplex(1024);
    let (upstream, mut upstream_side) = duplex(1024);
    let local = tokio::task::LocalSet::new();
    let copy = local.spawn_local(async move {
        let live = Tunnels::default().list_while(live::tests::tunnel());
        let opening = Opening {
            early: early.into(),
            inspection: None,
            exchange: &RefCell::new(Box::new(exchange())),
            brake: None,
        };
        let end = both_ways(
            &mut client_side,
            &mut upstream_side,
            opening,
            &Scratch::new(),
            &live,
            |_, _, _| None,
        )
        .await;
        (end, live.traffic.up(), live.traffic.down())
    });
    let story = story(client, upstream, copy);
    tokio::time::timeout(Duration::from_secs(5), local.run_until(story))
        .await
        .expect("the relay stands still");
}

async fn text(stream: &mut DuplexStream, len: usize) -> String {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn early_bytes_go_first() {
    relay(b"hello ", |mut client, mut upstream, _copy| async move {
        client.write_all(b"world").await.unwrap();
        assert_eq!(text(&mut upstream, 11).await, "hello world");
    })
    .await;
}

#[tokio::test]
async fn the_server_may_speak_first() {
    relay(b"", |mut client, mut upstream, _copy| async move {
        upstream.write_all(b"220 ready").await.unwrap();
        assert_eq!(text(&mut client, 9).await, "220 ready");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closed_its_sending_side_still_reads() {
    relay(b"", |mut client, mut upstream, copy| async move {
        client.write_all(b"ask").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        upstream.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "ask");
        upstream.write_all(b"answer").await.unwrap();
        drop(upstream);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        let (end, up, down) = copy.await.unwrap();
        assert!(
            matches!(
                end,
                CopyEnd::Finished {
                    first: Side::Client
                }
            ),
            "{end:?}"
        );
        assert_eq!((up, down), (3, 6));
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_closed_its_sending_side_still_reads() {
    relay(b"", |mut client, mut upstream, copy| async move {
        upstream.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut late = String::new();
        upstream.read_to_string(&mut late).await.unwrap();
        assert_eq!(late, "late");
        let (end, up, down) = copy.await.unwrap();
        assert!(
            matches!(
                end,
                CopyEnd::Finished {
                    first: Side::Upstream
                }
            ),
            "{end:?}"
        );
        assert_eq!((up, down), (4, 0));
    })
    .await;
}

#[tokio::test]
async fn more_than_the_receiver_takes_arrives_whole_and_in_order() {
    relay(b"", |mut client, mut upstream, copy| async move {
        let sent: Vec<u8> = (0..300_000u32).map(|place| (place % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::task::spawn_local(async move {
            client.write_all(&sent).await.unwrap();
            client.shutdown().await.unwrap();
            client
        });
        let mut got = Vec::new();
        upstream.read_to_end(&mut got).await.unwrap();
        assert!(
            got == expected,
            "{} bytes of {} arrived",
            got.len(),
            expected.len()
        );
        drop((writer.await.unwrap(), upstream));
        assert_eq!(copy.await.unwrap().1, 300_000);
    })
    .await;
}

#[test]
fn an_idle_tunnel_pays_pointers_for_an_inspection_and_no_buffer() {
    let (mut client, mut upstream) = (duplex(1).0, duplex(1).0);
    let scratch = Scratch::new();
    let live = Tunnels::default().list_while(live::tests::tunnel());
    let opening = Opening {
        early: Box::default(),
        inspection: None,
        exchange: &RefCell::new(Box::new(exchange())),
        brake: None,
    };
    let copy = both_ways(
        &mut client,
        &mut upstream,
        opening,
        &scratch,
        &live,
        |_, _, _| None,
    );
    // Two directions of 24 bytes, 36 for its exchanges, and what was handed in.
    assert!(size_of_val(&copy) <= 160, "{}", size_of_val(&copy));
}

#[tokio::test]
async fn a_client_that_has_closed_and_is_sent_more_has_ended() {
    relay(b"", |client, mut upstream, copy| async move {
        drop(client);
        let mut rest = Vec::new();
        upstream.read_to_end(&mut rest).await.unwrap();
        upstream.write_all(b"late").await.unwrap();
        let (end, _, _) = copy.await.unwrap();
        let first = Side::Client;
        assert!(
            matches!(end, CopyEnd::Finished { first: ended } if ended == first),
            "{end:?}"
        );
    })
    .await;
}
