//! Probes in the background, and what `/readyz?deep` makes of them and of real exchanges.

use serde_json::Value;
use tokio::time::timeout;

use crate::doctor::{GOOD, Manners, Paper, server};
use crate::house::{House, PATIENCE, Plan};
use crate::upstream::{self, LOCALHOST};

fn house(port: u16, authority: &str) -> Plan {
    House::new()
        .destination(&format!("name = \"lab\"\nhosts = [\"push.test\"]\nports = [{port}]\nnetworks = [\"127.0.0.0/8\"]\nca = \"lab.pem\""))
        .file("lab.pem", authority)
        .name("push.test", [LOCALHOST])
}

async fn deep(house: &House) -> (u16, Value) {
    let (status, text) = house.admin("/readyz?deep").await;
    let answer = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (status, answer)
}

async fn series_is_there(house: &House, series: &str) -> f64 {
    let wait = async {
        loop {
            let value = house.metric(series).await;
            if value > 0.0 {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("no {series}"))
}

const INTERVAL: &str = "tidegate_probe_interval_seconds";
const SUCCESS: &str = "tidegate_probe_success_timestamp_seconds{destination=\"lab\"}";
const EXPIRY: &str = "tidegate_upstream_certificate_expiry_timestamp_seconds{destination=\"lab\"}";

#[tokio::test]
async fn a_probe_shows_in_the_metrics_and_makes_us_ready() {
    let at = (LOCALHOST, 0).into();
    let (address, authority) = server(at, GOOD, Manners::default()).await;
    let house = house(address.port(), &authority)
        .set("probe", "interval = \"1h\"")
        .open()
        .await;
    let now = series_is_there(&house, SUCCESS).await;
    let days = (house.metric(EXPIRY).await - now) / 86_400.0;
    assert!((364.0..366.0).contains(&days), "{days}");
    let (status, answer) = deep(&house).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["push_destinations"][0]["by"], "probe", "{answer}");
    house.close().await;
}

#[tokio::test]
async fn a_probe_that_meets_a_bad_certificate_is_told_and_counts_for_nothing() {
    let at = (LOCALHOST, 0).into();
    let expired = Paper { days: -3, ..GOOD };
    let (address, authority) = server(at, expired, Manners::default()).await;
    let house = house(address.port(), &authority)
        .set("probe", "interval = \"1h\"")
        .open()
        .await;
    house
        .journal_says("a probe does not get through: the certificate ended 3 days ago")
        .await;
    assert!(house.metric(EXPIRY).await > 0.0);
    // There from the start, for whoever watches how old it is: never.
    let (_, metrics) = house.admin("/metrics").await;
    assert!(metrics.contains(&format!("{SUCCESS} 0\n")), "{metrics}");
    let (status, answer) = deep(&house).await;
    assert_eq!(status, 503, "{answer}");
    let lab = &answer["push_destinations"][0];
    assert_eq!(lab["destination"], "lab", "{answer}");
    assert!(lab["reached_s_ago"].is_null(), "{answer}");
    house.close().await;
}

#[tokio::test]
async fn what_ends_first_of_a_chain_is_what_the_metric_and_the_alarm_speak_of() {
    let at = (LOCALHOST, 0).into();
    let between = Some(4);
    let paper = Paper { between, ..GOOD };
    let (address, authority) = server(at, paper, Manners::default()).await;
    let house = house(address.port(), &authority)
        .set("probe", "interval = \"1h\"")
        .open()
        .await;
    let said = house
        .journal_says("alarm raised alarm=\"TidegateCertificateExpiring\"")
        .await;
    let words = "the intermediate certificate \\\"Lab Between\\\" ends in 3 days";
    assert!(said.contains(words), "{said}");
    let now = series_is_there(&house, SUCCESS).await;
    let days = (series_is_there(&house, EXPIRY).await - now) / 86_400.0;
    assert!((3.0..5.0).contains(&days), "{days}");
    house.close().await;
}

#[tokio::test]
async fn where_a_parent_is_dead_it_is_the_parent_that_is_spoken_of() {
    let parent = upstream::refusing().await;
    let house = House::new()
        .destination(&format!(
            "name = \"beyond\"\nhosts = [\"beyond.test\"]\nvia = [\"http://{parent}\"]"
        ))
        .set("probe", "interval = \"1s\"")
        .open()
        .await;
    for (alarm, words) in [
        (
            "TidegateProbeFailing",
            "beyond.test:443: the parent proxy refused the connection",
        ),
        (
            "TidegateAllAddressesDead",
            "no way through its parent proxies (via): 127.0.0.1:",
        ),
    ] {
        let said = house
            .journal_says(&format!("alarm raised alarm=\"{alarm}\""))
            .await;
        assert!(said.contains(words), "{said}");
    }
    house.close().await;
}

#[tokio::test]
async fn without_probes_a_real_exchange_makes_us_ready_and_nothing_else_is_dialled() {
    let port = upstream::echo().await.port();
    let house = house(port, &crate::house::certificate(&["push.test"]).0)
        .open()
        .await;
    let (status, answer) = deep(&house).await;
    assert_eq!(status, 503, "{answer}");
    // A tunnel that lives, and one that has ended.
    let mut tunnel = house.client().await;
    tunnel.tunnel(format!("push.test:{port}")).await;
    tunnel.send("ping").await;
    tunnel.read(4).await;
    let (status, answer) = deep(&house).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["push_destinations"][0]["by"], "exchange", "{answer}");
    drop(tunnel);
    house.line().await;
    assert_eq!(deep(&house).await.0, 200);
    // The tunnel's, and no other.
    let connects = "tidegate_connects_total{destination=\"lab\",result=\"ok\"}";
    assert_eq!(house.metric(connects).await, 1.0);
    house.close().await;
}

#[tokio::test]
async fn where_nothing_is_pushed_to_nothing_has_to_be_reached() {
    let house = House::new().open().await;
    let (status, answer) = deep(&house).await;
    assert_eq!(status, 200, "{answer}");
    house.close().await;
}

#[tokio::test]
async fn a_reload_switches_probes_on_and_off() {
    let at = (LOCALHOST, 0).into();
    let (address, authority) = server(at, GOOD, Manners::default()).await;
    let house = house(address.port(), &authority)
        .set("probe", "interval = \"off\"")
        .controlled()
        .open()
        .await;
    // Nobody probes: nobody is late.
    let (_, metrics) = house.admin("/metrics").await;
    assert!(!metrics.contains(SUCCESS), "{metrics}");
    house.edit("interval = \"off\"", "interval = \"1h\"");
    let answer = house.control("reload\n").await;
    assert!(
        answer["applied"].to_string().contains("probe.interval"),
        "{answer}"
    );
    series_is_there(&house, SUCCESS).await;
    assert_eq!(house.metric(INTERVAL).await, 3_600.0);
    house.close().await;
}

#[tokio::test]
async fn what_probes_never_get_through_to_is_an_alarm_and_a_finding() {
    let at = (LOCALHOST, 0).into();
    let (address, authority) = server(at, GOOD, Manners::default()).await;
    let house = house(address.port(), &authority)
        .set("dns", "min_ttl = \"1s\"\nmax_ttl = \"1s\"")
        .set("probe", "interval = \"1s\"")
        .name("push.test", [])
        .open()
        .await;
    let words = "alarm raised alarm=\"TidegateProbeFailing\"";
    let said = house.journal_says(words).await;
    assert!(said.contains("subject=\"lab\""), "{said}");
    let (_, page) = house.admin("/").await;
    for words in [
        "Something is wrong",
        "Alarm TidegateProbeFailing (lab)",
        "Run `tidegate doctor`",
        "push.test:",
    ] {
        assert!(page.contains(words), "no {words} in {page}");
    }
    assert!(!page.contains("not asked for yet"), "{page}");
    let (_, shown) = house.admin("/destinations").await;
    assert!(shown.contains(r#""unresolved":"the name "#), "{shown}");
    house.names.set("push.test", [LOCALHOST]);
    let words = "alarm cleared alarm=\"TidegateProbeFailing\"";
    house.journal_says(words).await;
    house.close().await;
}

/// Waits until `/metrics` is so.
async fn metrics_become(house: &House, wanted: impl Fn(&str) -> bool) -> String {
    let wait = async {
        loop {
            let (_, text) = house.admin("/metrics").await;
            if wanted(&text) {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    match timeout(PATIENCE, wait).await {
        Ok(text) => text,
        Err(_) => panic!("{}", house.admin("/metrics").await.1),
    }
}

#[tokio::test]
async fn a_host_that_never_was_reached_shows_and_a_destination_that_is_gone_does_not() {
    let at = (LOCALHOST, 0).into();
    let (address, authority) = server(at, GOOD, Manners::default()).await;
    let house = house(address.port(), &authority)
        .destination("name = \"hole\"\nhosts = [\"hole.test\"]\nnetworks = [\"127.0.0.0/8\"]")
        .set("probe", "interval = \"1h\"")
        .controlled()
        .open()
        .await;
    let never = format!("{}\n", SUCCESS.replace("lab", "hole") + " 0");
    metrics_become(&house, |text| text.contains(&never)).await;
    series_is_there(&house, SUCCESS).await;
    assert!(house.metric(EXPIRY).await > 0.0);
    house.journal_says("a probe does not get through: ").await;
    let (_, text) = house.admin("/metrics").await;
    assert!(text.contains(&never), "{text}");

    // `lab` is gone, with what was known of it.
    house.edit("name = \"lab\"", "name = \"renamed\"");
    house.control("reload\n").await;
    let renamed = SUCCESS.replace("lab", "renamed");
    let text = metrics_become(&house, |text| text.contains(&renamed)).await;
    assert!(!text.contains(SUCCESS) && !text.contains(EXPIRY), "{text}");
    assert!(text.contains(&never), "{text}");
    series_is_there(&house, &renamed).await;

    house.edit("interval = \"1h\"", "interval = \"off\"");
    house.control("reload\n").await;
    metrics_become(&house, |text| {
        let family = |series: &str| text.contains(series.split_once("lab").unwrap().0);
        !family(SUCCESS) && !family(EXPIRY)
    })
    .await;
    house.close().await;
}
