//! What an operator sees.

use crate::house::House;
use crate::upstream;

#[tokio::test]
async fn the_pages_tell_what_is_going_on() {
    let target = upstream::echo().await;
    let house = House::new().user("ann", "secret").also("[[client]]\nname = \"open\"\nnetworks = [\"127.0.0.0/8\"]\nauthentication = \"none\"\n").open().await;
    assert_eq!(house.admin("/livez").await.0, 200);
    assert_eq!(house.admin("/readyz").await.0, 200);
    assert_eq!(house.admin("/nothing").await.0, 404);

    let mut client = house.client().await;
    client.tunnel(target).await;
    client.send("hello").await;
    client.read(5).await;
    house
        .metric_becomes("tidegate_tunnels{generation=\"current\"}", 1.0)
        .await;
    let (_, tunnels) = house.admin("/tunnels").await;
    let tunnels: serde_json::Value = serde_json::from_str(&tunnels).unwrap();
    let tunnel = &tunnels.as_array().expect("a list")[0];
    assert_eq!(
        (&tunnel["peer"], &tunnel["bytes_up"], &tunnel["bytes_down"]),
        (&target.to_string().into(), &5.into(), &5.into())
    );

    let (_, config) = house.admin("/config").await;
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["hash"].as_str().unwrap().len(), 64);
    assert_eq!(config["last_complaint"], serde_json::Value::Null);
    assert!(
        !config
            .to_string()
            .contains(&crate::client::md5("ann:tidegate:secret"))
    );

    drop(client);
    house
        .metric_becomes("tidegate_tunnels{generation=\"current\"}", 0.0)
        .await;
    house.metric_becomes("tidegate_connections", 0.0).await;
    house
        .metric_becomes("tidegate_tunnel_bytes_total{direction=\"up\"}", 5.0)
        .await;
    house.close().await;
}

#[tokio::test]
async fn bytes_count_while_a_tunnel_lives() {
    let target = upstream::echo().await;
    let house = House::new()
        .set("tunnel", "idle_timeout = \"10s\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    client.send("0123456789").await;
    client.read(10).await;
    house
        .metric_becomes("tidegate_tunnel_bytes_total{direction=\"down\"}", 10.0)
        .await;
    house
        .metric_becomes("tidegate_tunnels{generation=\"current\"}", 1.0)
        .await;
    house.close_with_tunnels().await;
}

#[tokio::test]
async fn a_certificate_shows_when_it_expires() {
    let house = House::new().tls().open().await;
    let at = house
        .metric("tidegate_certificate_expiry_timestamp_seconds{listener=\"tls\"}")
        .await;
    assert!(at > 1_700_000_000.0, "{at}");
    house.close().await;
}
