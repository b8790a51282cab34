//! What an operator sees.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use tokio::time::timeout;

use crate::house::{House, PATIENCE};
use crate::promtool::promtool;
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

/// Its words and those of promtool.
fn promtool_checks(metrics: &str) -> (bool, String) {
    let mut tool = Command::new(promtool())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = tool.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).unwrap();
    drop(input);
    let output = tool.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).into_owned();
    (output.status.success(), words)
}

#[tokio::test]
async fn every_metric_of_a_busy_proxy_has_help_and_type_and_promtool_agrees() {
    let (target, dead) = (upstream::echo().await, upstream::refusing().await);
    let house = House::new()
        .destination(&format!(
            "name = \"dead\"\nhosts = [\"127.0.0.1\"]\nports = [{}]\nnetworks = [\"127.0.0.0/8\"]",
            dead.port()
        ))
        .destination(&format!(
            "name = \"cloud\"\nhosts = [\"push.test\"]\nports = [{}]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\"]",
            target.port()
        ))
        .name("push.test", [target.ip()])
        .also("[[limit]]\nname = \"each\"\nper = \"client\"\nrate = \"50/s\"")
        .set("probe", "interval = \"1h\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(format!("push.test:{}", target.port())).await;
    client.send("ping").await;
    client.read(4).await;
    assert_eq!(house.client().await.connect(dead).await.status, 502);
    let subject = "subject=\"dead/127.0.0.1\"} 1";
    let busy = async {
        loop {
            let (_, metrics) = house.admin("/metrics").await;
            if metrics.contains(subject) && metrics.contains("tidegate_peer_up{") {
                break metrics;
            }
        }
    };
    let metrics = timeout(PATIENCE, busy).await.expect("all of it shows");

    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        if let ("#", Some(kind), Some(name)) = (words.next().unwrap(), words.next(), words.next()) {
            assert!(words.next().is_some(), "{line}");
            told.entry(name).or_default().push(kind);
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let mut of_histogram = ["_bucket", "_sum", "_count"].iter();
        let of_histogram = of_histogram.find_map(|end| name.strip_suffix(end));
        let is_told = |name: &str| told.contains_key(name);
        assert!(is_told(name) || of_histogram.is_some_and(is_told), "{line}");
    }
    assert!(told.len() > 40, "{told:?}");
    for (name, kinds) in told {
        assert_eq!(kinds, ["HELP", "TYPE"], "{name}");
    }
    let (agrees, words) = promtool_checks(&metrics);
    assert!(agrees, "{words}");
    house.close_with_tunnels().await;
}
