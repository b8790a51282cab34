//! The relay moves bytes, and nothing else happens to them.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use tidegate_load::relay::{Relay, RelayPlan};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn relay(to: &[SocketAddr], workers: u8) -> Relay {
    Relay::start(&RelayPlan {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        to: to.to_vec(),
        workers: NonZeroU8::new(workers).unwrap(),
    })
    .unwrap()
}

/// A client and the origin's end of its connection.
async fn pair(relay: &Relay, origin: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(relay.addrs()[0]).await.unwrap();
    let (upstream, _) = timeout(SOON, origin.accept()).await.unwrap().unwrap();
    (client, upstream)
}

#[tokio::test]
async fn a_closed_half_leaves_the_other_open() {
    let (origin, addr) = listener().await;
    let relay = relay(&[addr], 1);
    let (mut client, mut upstream) = pair(&relay, &origin).await;
    client.write_all(b"a question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    let reading = upstream.read_to_end(&mut heard);
    timeout(SOON, reading).await.unwrap().unwrap();
    assert_eq!(heard, b"a question");

    upstream.write_all(b"the answer").await.unwrap();
    drop(upstream);
    let mut heard = Vec::new();
    let reading = client.read_to_end(&mut heard);
    timeout(SOON, reading).await.unwrap().unwrap();
    assert_eq!(heard, b"the answer");
}

#[tokio::test]
async fn a_slow_reader_gets_every_byte() {
    let (origin, addr) = listener().await;
    let relay = relay(&[addr], 1);
    let (mut client, mut upstream) = pair(&relay, &origin).await;
    let sent: Vec<u8> = (0..24_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let sender = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client
    });
    // Read in one go and late: what the sockets can't hold has to wait in the relay, in the right order.
    let mut heard = vec![0; 1000];
    upstream.read_exact(&mut heard).await.unwrap();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    heard.resize(expected.len(), 0);
    timeout(SOON, upstream.read_exact(&mut heard[1000..]))
        .await
        .unwrap()
        .unwrap();
    assert!(heard == expected, "bytes were lost, added or changed");
    sender.await.unwrap();
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let (origin, addr) = listener().await;
    let relay = relay(&[addr], 1);
    let (mut client, upstream) = pair(&relay, &origin).await;
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    let error = timeout(SOON, client.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn where_nobody_listens_the_client_is_reset() {
    let (origin, addr) = listener().await;
    drop(origin);
    let relay = relay(&[addr], 1);
    // The reset may come before the connection was looked at.
    let error = match TcpStream::connect(relay.addrs()[0]).await {
        Ok(mut client) => timeout(SOON, client.read_u8()).await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn many_at_once_take_turns_among_the_places() {
    let (first, second) = (listener().await, listener().await);
    let relay = relay(&[first.1, second.1], 2);
    for (listener, name) in [(first.0, b'1'), (second.0, b'2')] {
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut heard = [0; 1024];
                    stream.read_exact(&mut heard).await.unwrap();
                    heard.fill(name);
                    stream.write_all(&heard).await.unwrap();
                });
            }
        });
    }
    let addr = relay.addrs()[0];
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        clients.spawn(async move {
            let mut client = TcpStream::connect(addr).await.unwrap();
            client.write_all(&[b'?'; 1024]).await.unwrap();
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, vec![heard[0]; 1024]);
            heard[0]
        });
    }
    let names = timeout(SOON, clients.join_all()).await.unwrap();
    let of = |name| names.iter().filter(|found| **found == name).count();
    // Each worker takes turns of its own, so that an odd number at both differs by two.
    assert_eq!(of(b'1') + of(b'2'), 100);
    assert!(
        of(b'1').abs_diff(of(b'2')) <= 2,
        "{} and {}",
        of(b'1'),
        of(b'2')
    );
}

#[tokio::test]
async fn a_relay_that_is_dropped_lets_go_of_everything() {
    let (origin, addr) = listener().await;
    let relay = relay(&[addr], 2);
    let (mut client, _upstream) = pair(&relay, &origin).await;
    let addr = relay.addrs()[0];
    tokio::task::spawn_blocking(move || drop(relay))
        .await
        .unwrap();
    let read = timeout(SOON, client.read(&mut [0; 16])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    assert!(TcpStream::connect(addr).await.is_err());
}
