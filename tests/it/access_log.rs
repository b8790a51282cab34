//! The access log: one line for everything, to a pipe or a file, through rotation and a full disk.

use serde_json::Value;

use crate::house::{Folder, House};
use crate::upstream;

/// The contract's fields, in its order; more may stand between them.
const FIELDS: &[&str] = &[
    "event",
    "ts",
    "id",
    "listener",
    "client",
    "user",
    "scheme",
    "algorithm",
    "method",
    "target",
    "destination",
    "sni",
    "resolved",
    "attempts",
    "peer",
    "dns_ms",
    "dns_stale_ms",
    "connect_ms",
    "setup_ms",
    "total_ms",
    "bytes_up",
    "bytes_down",
    "exchanges",
    "idle_max_ms",
    "limit_wait_ms",
    "tracking_id",
    "status",
    "reason",
    "closed_by",
];

#[tokio::test]
async fn a_line_has_every_field_in_order() {
    let house = House::new()
        .set("log", "access = \"access.log\"")
        .open()
        .await;
    let target = upstream::echo().await;
    house.client().await.tunnel(target).await;
    let line = house.line_of_file("access.log", 0).await;
    let mut rest = line.as_str();
    for field in FIELDS {
        let key = format!("\"{field}\":");
        let at = rest
            .find(&key)
            .unwrap_or_else(|| panic!("{field} is not where it belongs in {line}"));
        rest = &rest[at + key.len()..];
    }
    serde_json::from_str::<Value>(&line).unwrap();
    house.close().await;
}

#[tokio::test]
async fn a_rotated_file_is_reopened_on_sigusr1() {
    let house = House::new()
        .set("log", "access = \"access.log\"")
        .open()
        .await;
    house.client().await.connect("first.bad").await;
    assert!(
        house
            .line_of_file("access.log", 0)
            .await
            .contains("bad_target")
    );
    let path = house.folder.path().join("access.log");
    std::fs::rename(&path, path.with_extension("old")).unwrap();
    house.signal("USR1");
    house.journal_says("opened anew").await;
    house.client().await.connect("second.bad").await;
    assert!(
        house
            .line_of_file("access.log", 0)
            .await
            .contains("bad_target")
    );
    house.close().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_anew_is_not_called_opened() {
    let folder = Folder::new();
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let house = House::new()
        .set(
            "log",
            &format!("access = \"{}/access.log\"", logs.display()),
        )
        .open()
        .await;
    std::fs::remove_dir_all(&logs).unwrap();
    house.signal("USR1");
    house.journal_says("can't be opened anew").await;
    // The control thread said it before the log's own thread could know.
    let said = house.everything_said();
    assert!(
        !said.contains("INFO access log") && !said.contains("file opened anew"),
        "{said}"
    );
}

#[tokio::test]
async fn a_full_disk_costs_lines_not_tunnels() {
    let target = upstream::echo().await;
    let house = House::new()
        .set("log", "access = \"/dev/full\"")
        .open()
        .await;
    for _ in 0..3 {
        let mut client = house.client().await;
        client.tunnel(target).await;
        client.send("works").await;
        assert_eq!(client.read(5).await, b"works");
    }
    house
        .metric_becomes("tidegate_access_log_dropped_total", 3.0)
        .await;
    house.journal_says("log lines are being dropped").await;
    house.close().await;
}

#[tokio::test]
async fn a_log_that_is_off_writes_nothing_and_counts_all_the_same() {
    let house = House::new().set("log", "access = \"off\"").open().await;
    house.client().await.connect("bad").await;
    house.metric_becomes("tidegate_exchanges_total{listener=\"plain\",destination=\"none\",kind=\"tunnel\",reason=\"bad_target\"}", 1.0).await;
    assert_eq!(house.lines_left(), Vec::<String>::new());
    house.close().await;
}

#[tokio::test]
async fn a_tunnel_is_seen_while_it_lives() {
    let target = upstream::echo().await;
    let house = House::new()
        .set("log", "tunnel_lines = [\"open\", \"close\"]")
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(target).await;
    let open = house.line().await;
    assert_eq!(
        (&open["event"], &open["status"]),
        (&"open".into(), &200.into())
    );
    assert_eq!(open["target"], target.to_string());
    assert!(open["reason"].is_null() && open["fault"].is_null() && open["closed_by"].is_null());
    assert_eq!(open["attempts"][0]["peer"], target.to_string());
    let ends = "tidegate_exchanges_total{listener=\"plain\",destination=\"lab\",kind=\"tunnel\",reason=\"finished\"}";
    assert_eq!(house.metric(ends).await, 0.0, "an open line is no end");
    client.send("bytes").await;
    client.read(5).await;
    drop(client);
    let close = house.line().await;
    assert_eq!(
        (&close["event"], &close["reason"]),
        (&"close".into(), &"finished".into())
    );
    assert_eq!((&close["id"], &close["bytes_up"]), (&open["id"], &5.into()));
    house.metric_becomes(ends, 1.0).await;
    house.close().await;
}

#[tokio::test]
async fn tunnels_without_lines_are_counted_and_refusals_logged_all_the_same() {
    let target = upstream::echo().await;
    let house = House::new().set("log", "tunnel_lines = []").open().await;
    house.client().await.tunnel(target).await;
    house.metric_becomes("tidegate_exchanges_total{listener=\"plain\",destination=\"lab\",kind=\"tunnel\",reason=\"finished\"}", 1.0).await;
    house.client().await.connect("bad").await;
    assert_eq!(house.line().await["reason"], "bad_target");
    let refusing = upstream::refusing().await;
    house.client().await.connect(refusing).await;
    assert_eq!(house.line().await["reason"], "connect_refused");
    house.close().await;
}
