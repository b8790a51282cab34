//! The guide's counters and alarms, as call servers keep them of what they do themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_load::cloud::{Cloud, CloudPlan, Running};
use tidegate_load::control::Control;
use tidegate_load::guide::Component;
use tidegate_load::onprem::{Books, PushLabel, Server, ServerPlan, control};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tiny_proxy::{Act, TinyProxy};

/// Servers of a component in front of a cloud, all through tunnels; and the endpoint that shows their books.
struct World {
    cloud: Running,
    proxy: TinyProxy,
    /// Tunnels to push and token service lead nowhere.
    is_cut_off: Arc<AtomicBool>,
    server: Server,
    control: Control,
}

impl World {
    async fn open(component: Component) -> Self {
        let cloud = Cloud::start(CloudPlan::new()).await.unwrap();
        let addr = cloud.addr(0);
        let is_cut_off = Arc::new(AtomicBool::new(false));
        let cut_off = is_cut_off.clone();
        let proxy = TinyProxy::start(move |_| {
            if cut_off.load(Ordering::Relaxed) {
                Act::Say("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".into())
            } else {
                Act::Relay(addr)
            }
        })
        .await;
        let books = Arc::new(Books::default());
        let plan = ServerPlan {
            confirmation_wait: Duration::from_millis(500),
            component,
            books: books.clone(),
            ..ServerPlan::new("cucm1", cloud.port(), cloud.ca_pem())
        };
        let server = Server::start(plan, proxy.client()).await.unwrap();
        let counts = Arc::default();
        let control = control(books, counts, ([127, 0, 0, 1], 0).into());
        Self {
            cloud,
            proxy,
            is_cut_off,
            server,
            control: control.await.unwrap(),
        }
    }

    async fn push(&self, label: PushLabel, target: &str) -> &'static str {
        let outcome = self.server.push_as(label, target, "id-1", "a call").await;
        outcome.word()
    }

    /// Tunnels that stand end, and no other can be had.
    async fn cut_off(&self) {
        self.is_cut_off.store(true, Ordering::Relaxed);
        self.proxy.cut();
        self.cloud.drop_connections(0).await.unwrap();
    }

    fn mend(&self) {
        self.is_cut_off.store(false, Ordering::Relaxed);
    }

    async fn counter(&self, component: Component, name: &str) -> Value {
        let page = page(self.control.addr(), "/counters").await;
        let values = page[component.name()][name].as_array().unwrap();
        assert_eq!(values.len(), 1, "{name}");
        assert_eq!(
            values[0]["origin"] == "simulated",
            values[0]["value"].is_u64(),
            "{name}"
        );
        values[0]["value"].clone()
    }

    async fn counters(&self, component: Component, expected: &[(&str, u64)]) {
        for (name, value) in expected {
            assert_eq!(self.counter(component, name).await, json!(value), "{name}");
        }
    }

    /// The alarms that were ever raised: how each stands, and how often it was met.
    async fn alarms(&self) -> Vec<(String, String, u64)> {
        let page = page(self.control.addr(), "/alarms").await;
        let rows = page["alarms"].as_array().unwrap();
        assert_eq!(rows.len(), 13);
        let raised = rows.iter().filter(|row| row["state"] != "never raised");
        let told = |row: &Value| {
            assert_eq!(row["origin"], "simulated", "{row:#}");
            assert_eq!(row["subjects"][0]["subject"], "cucm1", "{row:#}");
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let met = row["occurrences"].as_u64().unwrap();
            (text("alarm"), text("state"), met)
        };
        let mut all: Vec<_> = raised.map(told).collect();
        all.sort();
        all
    }

    async fn alarms_are(&self, expected: &[(&str, &str, u64)]) {
        let own = |(alarm, state, met): &(&str, &str, u64)| {
            ((*alarm).to_owned(), (*state).to_owned(), *met)
        };
        let expected: Vec<_> = expected.iter().map(own).collect();
        assert_eq!(self.alarms().await, expected);
    }
}

async fn page(addr: SocketAddr, path: &str) -> Value {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    serde_json::from_str(body).unwrap()
}

const CALLS: Component = Component::CallManager;
const CHATS: Component = Component::XcpConfigManager;

#[tokio::test]
async fn pushes_in_a_tunnel_count_where_they_come_from() {
    let world = World::open(CALLS).await;
    for label in PushLabel::MIX {
        assert_eq!(world.push(label, "phone").await, "confirmed");
    }
    world.cloud.forget_target("gone");
    assert_eq!(world.push(PushLabel::default(), "gone").await, "rejected");
    let expected = [
        // Two of the eight are Google's.
        ("NumberOfPushReqSent", 7),
        ("NumberOfPushResReceived", 7),
        ("NumberOfPushErrorResReceived", 1),
        ("CustomRegionNumofMsgPushReqSent", 1),
        ("CustomRegionNumofMissedCallMsgPushReqSent", 1),
        ("CustomRegionNumofSharedCancelMsgPushReqSent", 1),
    ];
    world.counters(CALLS, &expected).await;
    let gone = "PushNotificationInvalidDeviceTokenResponse";
    world.alarms_are(&[(gone, "active", 1)]).await;
    // Nobody plays the other, and this one turns no push on.
    for (component, name) in [
        (CHATS, "NumberOfPushSuccess"),
        (Component::XcpPush, "PushEnabledSessionsApns"),
    ] {
        assert_eq!(world.counter(component, name).await, Value::Null, "{name}");
    }
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_an_alarm_until_it_answers() {
    let world = World::open(CALLS).await;
    world.cut_off().await;
    assert_eq!(world.push(PushLabel::default(), "phone").await, "unsent");
    let down = "PushNotificationServiceUnavailable";
    world.alarms_are(&[(down, "active", 1)]).await;
    let alarms = page(world.control.addr(), "/alarms").await;
    let port = world.cloud.port();
    let expected = format!(
        "push id-1 (APNS, voip) through a tunnel could not be sent, without a connection: no tunnel to push.test:{port}: the proxy answered 502"
    );
    assert_eq!(alarms["alarms"][0]["evidence"]["text"], expected);
    world
        .counters(
            CALLS,
            &[
                ("NumberOfPushReqSent", 0),
                ("NumberOfPushErrorResReceived", 0),
            ],
        )
        .await;
    world.mend();
    assert_eq!(world.push(PushLabel::default(), "phone").await, "confirmed");
    world.alarms_are(&[(down, "cleared", 1)]).await;
    world.counters(CALLS, &[("NumberOfPushReqSent", 1)]).await;
}

#[tokio::test]
async fn a_tls_handshake_that_dies_counts_as_an_error_response() {
    let world = World::open(CALLS).await;
    world.cloud.set(0, "reset".parse().unwrap()).await.unwrap();
    world.proxy.cut();
    assert_eq!(world.push(PushLabel::default(), "phone").await, "unsent");
    let expected = [
        ("NumberOfPushReqSent", 0),
        ("NumberOfPushErrorResReceived", 1),
    ];
    world.counters(CALLS, &expected).await;
    let down = "PushNotificationServiceUnavailable";
    world.alarms_are(&[(down, "active", 1)]).await;
}

#[tokio::test]
async fn a_token_that_is_refused_and_renewed_was_an_alarm() {
    for (component, alarm) in [
        (CALLS, "PushNotificationServiceAccessTokenUnavailable"),
        (Component::PushNotificationService, "AccessTokenInvalid"),
        (CHATS, "PushNotificationFailedInvalidAccessToken"),
    ] {
        let world = World::open(component).await;
        world.cloud.expire_tokens();
        assert_eq!(world.push(PushLabel::default(), "phone").await, "confirmed");
        world.alarms_are(&[(alarm, "cleared", 1)]).await;
    }
}

#[tokio::test]
async fn a_token_service_that_cannot_be_reached_is_an_alarm_until_it_can() {
    let token = "PushNotificationServiceAccessTokenUnavailable";
    let (fetch, null) = ("AccessTokenFetchFailed", "XCPConfigMgrAccessTokenIsNull");
    let (failed, refused) = (
        "PushNotificationFailed",
        "PushNotificationFailedInvalidAccessToken",
    );
    for (component, down, mended) in [
        // Refused once, and then not to be had.
        (
            CALLS,
            &[(token, "active", 2)][..],
            &[(token, "cleared", 2)][..],
        ),
        (
            CHATS,
            &[
                (fetch, "active", 1),
                (failed, "active", 1),
                (refused, "active", 1),
                (null, "active", 1),
            ],
            &[
                (fetch, "cleared", 1),
                (failed, "cleared", 1),
                (refused, "cleared", 2),
                (null, "cleared", 1),
            ],
        ),
    ] {
        let world = World::open(component).await;
        assert_eq!(world.push(PushLabel::default(), "phone").await, "confirmed");
        world.cloud.expire_tokens();
        // The tunnel for pushes stands; one to the token service can't be had.
        world.is_cut_off.store(true, Ordering::Relaxed);
        assert_eq!(world.push(PushLabel::default(), "phone").await, "unsent");
        world.alarms_are(down).await;
        world.mend();
        assert_eq!(world.push(PushLabel::default(), "phone").await, "confirmed");
        let mended: Vec<_> = mended
            .iter()
            .map(|(alarm, state, met)| {
                // The push that follows is refused once more before a token is fetched.
                let again = u64::from(*alarm == token);
                (*alarm, *state, met + again)
            })
            .collect();
        world.alarms_are(&mended).await;
    }
}

#[tokio::test]
async fn a_push_without_a_confirmation_was_sent_and_failed() {
    let world = World::open(CALLS).await;
    world.cloud.swallow_next_push();
    assert_eq!(
        world.push(PushLabel::default(), "phone").await,
        "unconfirmed"
    );
    let expected = [("NumberOfPushReqSent", 1), ("NumberOfPushResReceived", 0)];
    world.counters(CALLS, &expected).await;
    world.alarms_are(&[]).await;

    let world = World::open(CHATS).await;
    world.cloud.swallow_next_push();
    assert_eq!(
        world.push(PushLabel::default(), "phone").await,
        "unconfirmed"
    );
    world
        .counters(
            CHATS,
            &[("NumberOfPushSuccess", 0), ("NumberOfPushFailure", 1)],
        )
        .await;
    world
        .alarms_are(&[("PushNotificationFailed", "active", 1)])
        .await;
    assert_eq!(world.push(PushLabel::default(), "phone").await, "confirmed");
    world
        .alarms_are(&[("PushNotificationFailed", "cleared", 1)])
        .await;
}

#[tokio::test]
async fn the_endpoint_shows_what_was_counted_of_the_proxy_and_changes_nothing() {
    let world = World::open(CALLS).await;
    let root = page(world.control.addr(), "/").await;
    assert!(root["proxy"]["established"].is_u64(), "{root:#}");
    let mut stream = TcpStream::connect(world.control.addr()).await.unwrap();
    let request =
        b"PUT /counters HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 404 "), "{heard}");
}
