//! CONNECT from the first byte to the last.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::Client;
use crate::house::House;
use crate::upstream;

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_leaves_one_line_and_one_count() {
    let target = upstream::echo().await;
    let house = House::new()
        .name("push.test", [upstream::LOCALHOST])
        .open()
        .await;

    let mut client = house.client().await;
    client
        .send(format!(
            "CONNECT push.test:{0} HTTP/1.1\r\nHost: push.test:{0}\r\n\r\n",
            target.port()
        ))
        .await;
    assert_eq!(
        client.read(39).await,
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        "byte by byte"
    );
    client.send("hello").await;
    assert_eq!(client.read(5).await, b"hello");
    client.finish().await;
    assert_eq!(client.read_to_end().await.unwrap(), b"");

    let line = house.line().await;
    assert_eq!(line["reason"], "finished");
    assert_eq!(line["status"], 200);
    assert_eq!(line["target"], format!("push.test:{}", target.port()));
    assert_eq!(line["destination"], "lab");
    assert_eq!(line["peer"], target.to_string());
    assert_eq!(
        (&line["bytes_up"], &line["bytes_down"]),
        (&5.into(), &5.into())
    );
    assert_eq!(line["closed_by"], "client");
    let series = "tidegate_exchanges_total{listener=\"plain\",destination=\"lab\",kind=\"tunnel\",reason=\"finished\"}";
    house.metric_becomes(series, 1.0).await;
    house.close().await;
}

#[tokio::test]
async fn bytes_behind_the_head_reach_the_target_first() {
    let (listener, target) = upstream::listener().await;
    let house = House::new().open().await;
    let mut client = house.client().await;
    client
        .send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly "
        ))
        .await;
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(client.reply().await.status, 200);
    client.send("late").await;
    assert_eq!(upstream::read(&mut server, 10).await, b"early late");
}

#[tokio::test]
async fn the_server_may_speak_first() {
    let (listener, target) = upstream::listener().await;
    let house = House::new().open().await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"220 ready\r\n").await.unwrap();
    assert_eq!(client.read(11).await, b"220 ready\r\n");
}

#[tokio::test]
async fn half_close_passes_in_both_directions() {
    let (listener, target) = upstream::listener().await;
    let house = House::new().open().await;

    let mut client = house.client().await;
    client.tunnel(target).await;
    let (mut server, _) = listener.accept().await.unwrap();
    client.send("question").await;
    client.finish().await;
    let mut question = String::new();
    server.read_to_string(&mut question).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(
        (
            question.as_str(),
            client.read_to_end().await.unwrap().as_slice()
        ),
        ("question", &b"answer"[..])
    );
    assert_eq!(house.line().await["closed_by"], "client");

    let mut client = house.client().await;
    client.tunnel(target).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.read_to_end().await.unwrap(), b"");
    client.send("still here").await;
    client.finish().await;
    let mut rest = String::new();
    server.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "still here");
    assert_eq!(house.line().await["closed_by"], "upstream");
    house.close().await;
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let (listener, target) = upstream::listener().await;
    let house = House::new().open().await;

    let mut client = house.client().await;
    client.tunnel(target).await;
    let (server, _) = listener.accept().await.unwrap();
    server.set_zero_linger().unwrap();
    drop(server);
    let error = client.read_to_end().await.expect_err("not a clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(house.line().await["reason"], "upstream_reset");

    let tcp = tokio::net::TcpStream::connect(house.address("plain"))
        .await
        .unwrap();
    tcp.set_zero_linger().unwrap();
    let mut client = Client::from_tcp(tcp);
    client.tunnel(target).await;
    let (mut server, _) = listener.accept().await.unwrap();
    drop(client);
    let error = server.read(&mut [0; 8]).await.expect_err("not a clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(house.line().await["reason"], "client_reset");
    house.close().await;
}
