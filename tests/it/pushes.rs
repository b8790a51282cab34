//! Pushes that the proxy can see: what it counts of them, which alarms they raise, and that they pass untouched.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tidegate_load::cloud::{Behavior, Cloud, CloudPlan, PUSH_PATH, Running, TOKEN_PATH};
use tidegate_load::guide::{Component, Way};
use tidegate_load::names::Kind;
use tidegate_load::onprem::{AbsoluteForm, Books, ProxyClient, PushLabel, Server, ServerPlan};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Client, Reply};
use crate::house::{House, PATIENCE, Plan};
use crate::origin::{OK_CLOSE, Origin};
use crate::upstream::{LOCALHOST, hanging, listener, refusing};

/// Who sends, and from which address.
const SENDERS: [(&str, u8, &str); 5] = [
    ("calls", 1, "Cisco CallManager"),
    ("node", 2, "Cisco Push Notification Service"),
    ("chats", 3, "Cisco XCP Config Manager"),
    ("xcp", 4, "Cisco XCP Push"),
    ("nobody", 5, ""),
];

/// The device's name for the service, which nobody may see.
const DEVICE: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// A house for all senders and a cloud behind it.
struct World {
    house: House,
    cloud: Running,
}

fn senders() -> String {
    let mut text = String::new();
    for (name, place, component) in SENDERS {
        let _ = writeln!(
            text,
            "[[client]]\nname = \"{name}\"\nnetworks = [\"127.0.1.{place}/32\"]"
        );
        if !component.is_empty() {
            let _ = writeln!(text, "component = \"{component}\"");
        }
    }
    text
}

fn destination(name: &str, hosts: &str, role: &str) -> String {
    format!(
        "name = \"{name}\"\nhosts = [{hosts}]\nports = [\"1-65535\"]\nrole = \"{role}\"\nnetworks = [\"127.0.0.0/8\"]"
    )
}

fn plan() -> Plan {
    House::new()
        .also(&senders())
        .destination(&destination("lab", "\"*.test\"", "push"))
        .destination(&destination("tokens", "\"token.test\"", "token"))
        .destination(&destination("others", "\"other.test\"", "other"))
}

impl World {
    async fn open() -> Self {
        Self::open_with(|plan| plan).await
    }

    async fn open_with(more: impl FnOnce(Plan) -> Plan) -> Self {
        let cloud = Cloud::start(CloudPlan::new().plain_port(0)).await.unwrap();
        let mut plan = more(plan());
        for name in [
            "push.test",
            "token.test",
            "other.test",
            "onboard.test",
            "api.sandbox.push.test",
        ] {
            plan = plan.name(name, cloud.ips());
        }
        Self {
            house: plan.open().await,
            cloud,
        }
    }

    fn answers(&self, status: u16, body: &Value) {
        let status = StatusCode::from_u16(status).unwrap();
        self.cloud.answer_everything(Some((status, body.clone())));
    }

    /// `http://host:port/path` at the cloud.
    fn at(&self, host_and_path: &str) -> String {
        let (host, path) = host_and_path.split_once('/').unwrap();
        format!("http://{host}:{}/{path}", self.cloud.plain_port().unwrap())
    }

    /// A POST, its answer, and that its line was written: by then everything has moved.
    async fn post(&self, sender: &str, url: &str, fields: &str, body: &str) -> (Reply, Value) {
        self.ask(sender, "POST", url, fields, body.as_bytes()).await
    }

    async fn ask(
        &self,
        sender: &str,
        method: &str,
        url: &str,
        fields: &str,
        body: &[u8],
    ) -> (Reply, Value) {
        let mut client = client_of(&self.house, sender).await;
        let head = format!(
            "{method} {url} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {}\r\n\r\n",
            body.len()
        );
        client.send([head.as_bytes(), body].concat()).await;
        let reply = client.reply().await;
        (reply, self.house.line().await)
    }

    /// Every counter that has an origin, by component, name and origin.
    async fn counters(&self) -> BTreeMap<String, u64> {
        let (status, text) = self.house.admin("/counters").await;
        assert_eq!(status, 200);
        let page: Value = serde_json::from_str(&text).unwrap();
        let mut all = BTreeMap::new();
        for (component, counters) in page.as_object().unwrap() {
            for (name, values) in counters.as_object().unwrap() {
                for one in values.as_array().unwrap() {
                    let origin = one["origin"].as_str().unwrap();
                    if let Some(value) = one["value"].as_u64() {
                        all.insert(format!("{component}/{name}/{origin}"), value);
                    }
                }
            }
        }
        all
    }

    /// How often each alarm was seen with each sender, and how it stands; of those that are observed, not derived.
    async fn alarms(&self) -> BTreeMap<String, (u64, String)> {
        let (status, text) = self.house.admin("/alarms").await;
        assert_eq!(status, 200);
        let page: Value = serde_json::from_str(&text).unwrap();
        let mut all = BTreeMap::new();
        for alarm in page["alarms"].as_array().unwrap() {
            let name = alarm["alarm"].as_str().unwrap();
            let subjects = alarm["subjects"].as_array().unwrap().iter();
            for one in subjects.filter(|one| one["origin"] == "observed") {
                let key = format!("{name}/{}", one["subject"].as_str().unwrap());
                let seen = one["occurrences"].as_u64().unwrap();
                all.insert(key, (seen, one["state"].as_str().unwrap().to_owned()));
            }
        }
        all
    }

    async fn state(&self, alarm: &str, sender: &str) -> String {
        let all = self.alarms().await;
        let found = all.get(&format!("{alarm}/{sender}"));
        found.map_or_else(|| "never raised".to_owned(), |(_, state)| state.clone())
    }

    async fn pushes(&self, service: &str, kind: &str, status: &str) -> f64 {
        let series = format!(
            "tidegate_pushes_total{{service=\"{service}\",kind=\"{kind}\",status=\"{status}\"}}"
        );
        self.house.metric(&series).await
    }
}

/// A connection from the sender's own address.
async fn client_of(house: &House, sender: &str) -> Client {
    Client::from_tcp(tcp_of(house, sender).await)
}

async fn tcp_of(house: &House, sender: &str) -> TcpStream {
    let place = SENDERS.iter().find(|(name, ..)| *name == sender).unwrap().1;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 1, place], 0).into()).unwrap();
    socket.connect(house.address("plain")).await.unwrap()
}

fn push(service: &str, kind: &str) -> String {
    json!({
        "target": DEVICE,
        "trackingId": "track-1",
        "service": service,
        "kind": kind,
        "payload": "A256GCM.c2VjcmV0.d29yZHM",
    })
    .to_string()
}

/// The family of a counter, and its service where the family is of several.
fn families() -> BTreeMap<String, (String, Option<String>)> {
    let text = include_str!("../../config/guide/counters.toml");
    let table: toml::Table = text.parse().unwrap();
    let rows = table["counter"].as_array().unwrap();
    let field = |row: &toml::Value, name: &str| row[name].as_str().unwrap().to_owned();
    let row = |row: &toml::Value| {
        let service = field(row, "subscriber_service");
        let service = (service != "any APNS service").then_some(service);
        let key = format!("{}/{}", field(row, "component"), field(row, "name"));
        (key, (field(row, "prometheus"), service))
    };
    rows.iter().map(row).collect()
}

/// The counters and alarms that the guide's data say are observed.
fn observable() -> Vec<String> {
    let text = include_str!("../../config/guide/counters.toml");
    let table: toml::Table = text.parse().unwrap();
    let rows = table["counter"].as_array().unwrap().iter();
    let observed = rows.filter(|row| {
        let origins = row["origins"].as_array().unwrap();
        origins.iter().any(|one| one.as_str() == Some("observed"))
    });
    let name = |row: &toml::Value| row["name"].as_str().unwrap().to_owned();
    let alarms = [
        "PushNotificationServiceUnavailable",
        "PushNotificationInvalidDeviceTokenResponse",
        "PushNotificationServiceAccessTokenUnavailable",
        "AccessTokenInvalid",
        "PushNotificationFailed",
        "PushNotificationFailedInvalidDeviceToken",
        "PushNotificationFailedInvalidAccessToken",
        "AccessTokenFetchFailed",
    ];
    let alarms = alarms.iter().map(|&name| format!("!{name}"));
    observed.map(name).chain(alarms).collect()
}

// ---- every counter and every alarm that can be moved by what is seen -------------------------------------------------

const SENT: &str = "NumberOfPushReqSent";
const ANSWERED: &str = "NumberOfPushReqSent NumberOfPushResReceived";
const ERROR: &str = "NumberOfPushReqSent NumberOfPushResReceived NumberOfPushErrorResReceived";
const FAILED: &str = "NumberOfPushFailure !PushNotificationFailed";

/// What is sent: a push of this service and kind, or what asks for a token.
#[derive(Debug, Clone, Copy)]
enum Sends {
    Push(&'static str, &'static str),
    Token,
}
use Sends::{Push, Token};

/// What the service does about it.
#[derive(Debug, Clone, Copy)]
enum Meets {
    Answer(u16),
    Says(u16, &'static str),
    /// Connects, and never answers.
    Closes,
    /// Nobody listens.
    Refuses,
    /// Connects, and does no TLS.
    NoTls,
}
use Meets::{Answer, Closes, NoTls, Refuses, Says};

/// The sender, what it sends, what it meets, and all that moves; alarms have a `!` before them.
const TABLE: &[(&str, Sends, Meets, &str)] = &[
    (
        "xcp",
        Push("APNS", "message"),
        Answer(410),
        "PushErrorsApns",
    ),
    (
        "xcp",
        Push("APNS:beta", "message"),
        Answer(500),
        "PushErrorsApnsBeta",
    ),
    (
        "xcp",
        Push("APNS:dev", "message"),
        Answer(401),
        "PushErrorsApnsDev",
    ),
    (
        "xcp",
        Push("APNS:load", "message"),
        Answer(429),
        "PushErrorsApnsLoad",
    ),
    (
        "xcp",
        Push("APNS:test", "message"),
        Answer(400),
        "PushErrorsApnsTest",
    ),
    ("xcp", Push("FCM", "message"), Answer(403), "PushErrorsFcm"),
    (
        "xcp",
        Push("FCM:dev", "message"),
        Answer(503),
        "PushErrorFcmDev",
    ),
    ("xcp", Push("APNS", "message"), Answer(200), ""),
    ("xcp", Token, Answer(400), ""),
    ("calls", Push("APNS", "voip"), Answer(200), ANSWERED),
    ("calls", Push("APNS", "message"), Answer(202), ERROR),
    ("calls", Push("APNS", "voip"), Answer(400), ERROR),
    (
        "calls",
        Push("APNS", "voip"),
        Answer(401),
        "NumberOfPushReqSent NumberOfPushResReceived NumberOfPushErrorResReceived !PushNotificationServiceAccessTokenUnavailable",
    ),
    (
        "calls",
        Push("APNS", "voip"),
        Answer(403),
        "NumberOfPushReqSent NumberOfPushResReceived NumberOfPushErrorResReceived !PushNotificationServiceAccessTokenUnavailable",
    ),
    (
        "calls",
        Push("APNS", "voip"),
        Answer(410),
        "NumberOfPushReqSent NumberOfPushResReceived NumberOfPushErrorResReceived !PushNotificationInvalidDeviceTokenResponse",
    ),
    ("calls", Push("APNS:beta", "voip"), Answer(429), ERROR),
    ("calls", Push("APNS:test", "voip"), Answer(500), ERROR),
    ("calls", Push("APNS", "voip"), Closes, SENT),
    (
        "calls",
        Push("APNS", "voip"),
        Refuses,
        "!PushNotificationServiceUnavailable",
    ),
    (
        "calls",
        Push("APNS", "voip"),
        NoTls,
        "NumberOfPushErrorResReceived !PushNotificationServiceUnavailable",
    ),
    (
        "calls",
        Push("APNS", "customRegion"),
        Answer(200),
        "NumberOfPushReqSent NumberOfPushResReceived CustomRegionNumofMsgPushReqSent",
    ),
    (
        "calls",
        Push("APNS", "missedCall"),
        Answer(200),
        "NumberOfPushReqSent NumberOfPushResReceived CustomRegionNumofMissedCallMsgPushReqSent",
    ),
    (
        "calls",
        Push("APNS", "sharedCancel"),
        Answer(200),
        "NumberOfPushReqSent NumberOfPushResReceived CustomRegionNumofSharedCancelMsgPushReqSent",
    ),
    // The guide counts calls to Apple's devices only.
    ("calls", Push("FCM", "voip"), Answer(200), ""),
    ("calls", Push("FCM", "voip"), Answer(500), ""),
    (
        "calls",
        Push("FCM", "voip"),
        Answer(410),
        "!PushNotificationInvalidDeviceTokenResponse",
    ),
    (
        "calls",
        Token,
        Answer(400),
        "!PushNotificationServiceAccessTokenUnavailable",
    ),
    (
        "calls",
        Token,
        Refuses,
        "!PushNotificationServiceAccessTokenUnavailable",
    ),
    ("calls", Token, Answer(200), ""),
    (
        "node",
        Push("APNS", "voip"),
        Answer(401),
        "!AccessTokenInvalid",
    ),
    ("node", Push("APNS", "voip"), Answer(410), ""),
    ("node", Token, Answer(400), "!AccessTokenInvalid"),
    ("node", Token, Answer(200), ""),
    (
        "chats",
        Push("APNS", "message"),
        Answer(200),
        "NumberOfPushSuccess",
    ),
    ("chats", Push("APNS", "message"), Answer(400), FAILED),
    (
        "chats",
        Push("APNS", "message"),
        Answer(401),
        "NumberOfPushFailure !PushNotificationFailedInvalidAccessToken",
    ),
    (
        "chats",
        Push("APNS", "message"),
        Answer(403),
        "NumberOfPushFailure !PushNotificationFailedInvalidAccessToken",
    ),
    (
        "chats",
        Push("APNS", "message"),
        Answer(410),
        "NumberOfPushFailure TargetInvalid !PushNotificationFailedInvalidDeviceToken",
    ),
    (
        "chats",
        Push("APNS", "message"),
        Says(410, "target expired"),
        "NumberOfPushFailure TargetExpired !PushNotificationFailedInvalidDeviceToken",
    ),
    ("chats", Push("APNS", "message"), Answer(429), FAILED),
    ("chats", Push("APNS", "message"), Answer(500), FAILED),
    ("chats", Push("APNS", "message"), Closes, FAILED),
    ("chats", Push("APNS", "message"), Refuses, FAILED),
    ("chats", Push("APNS", "message"), NoTls, FAILED),
    (
        "chats",
        Push("FCM", "message"),
        Answer(500),
        "!PushNotificationFailed",
    ),
    ("chats", Token, Answer(400), "!AccessTokenFetchFailed"),
    ("chats", Token, Answer(503), "!AccessTokenFetchFailed"),
    ("chats", Token, Closes, "!AccessTokenFetchFailed"),
    // Nobody knows whose they are.
    ("nobody", Push("APNS", "voip"), Answer(410), ""),
    ("nobody", Token, Answer(400), ""),
];

#[test]
fn the_guide_for_cisco_names_the_alarms_of_an_expired_refresh_token_that_its_configuration_raises()
{
    let guide = include_str!("../../docs/cisco.md");
    let between = |from: &str, to: &str| {
        let (_, rest) = guide.split_once(from).unwrap();
        rest.split_once(to).unwrap().0
    };
    let configuration = between("```toml\n", "```");
    let section = between("## When the refresh token has expired\n", "\n## ");
    let configured = SENDERS.iter().filter(|(_, _, component)| {
        configuration.contains(&format!("component = \"{component}\""))
    });
    let mut said = 0;
    for (sender, _, component) in configured {
        let case = TABLE
            .iter()
            .find(|case| case.0 == *sender && matches!((&case.1, &case.2), (Token, Answer(400))));
        let alarm = case.unwrap().3.trim_start_matches('!');
        let words = format!("`{alarm}` for `");
        let (_, rest) = section.split_once(&words).expect(&words);
        let line = rest.lines().next().unwrap();
        assert!(line.contains(&format!("({component})")), "{line}");
        said += 1;
    }
    assert_eq!(said, 2);
}

impl World {
    async fn play(&self, sender: &str, sends: Sends, meets: Meets) {
        let (host, path, body) = match sends {
            Push(service, kind) => ("push.test", PUSH_PATH, push(service, kind)),
            Token => (
                "token.test",
                TOKEN_PATH,
                json!({"refreshToken": "r"}).to_string(),
            ),
        };
        let at = |scheme: &str, port: u16| format!("{scheme}://{host}:{port}{path}");
        let plain = self.cloud.plain_port().unwrap();
        let (url, wanted) = match meets {
            Answer(status) => {
                self.answers(status, &json!({}));
                (at("http", plain), status)
            }
            Says(status, error) => {
                self.answers(status, &json!({ "error": error }));
                (at("http", plain), status)
            }
            Refuses => (at("http", refusing().await.port()), 502),
            NoTls => (at("https", plain), 502),
            Closes => {
                let (listener, address) = listener().await;
                tokio::spawn(async move {
                    let (mut tcp, _) = listener.accept().await.unwrap();
                    let mut some = [0; 1_000];
                    // It has the request, and says nothing.
                    let _ = tcp.read(&mut some).await;
                });
                (at("http", address.port()), 502)
            }
        };
        let (reply, _) = self.post(sender, &url, "", &body).await;
        assert_eq!(
            reply.status, wanted,
            "{sender} {sends:?} {meets:?}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn every_counter_and_alarm_moves_by_its_event_and_by_nothing_else() {
    // The cloud's addresses and ours, so that some of its names lead to nobody.
    let world = World::open_with(|plan| plan).await;
    world
        .house
        .names
        .set("push.test", [LOCALHOST, world.cloud.ips()[0]]);
    world
        .house
        .names
        .set("token.test", [LOCALHOST, world.cloud.ips()[0]]);
    let families = families();
    let mut moved_by_now: Vec<String> = Vec::new();
    let (mut counters, mut alarms) = (world.counters().await, world.alarms().await);
    for (sender, sends, meets, wanted) in TABLE {
        let about = format!("{sender} {sends:?} {meets:?}");
        let component = SENDERS.iter().find(|(name, ..)| name == sender).unwrap().2;
        let (_, before) = world.house.admin("/metrics").await;
        world.play(sender, *sends, *meets).await;
        let (now_counters, now_alarms) = (world.counters().await, world.alarms().await);
        let (_, after) = world.house.admin("/metrics").await;

        let mut found: Vec<String> = Vec::new();
        for (key, value) in &now_counters {
            let was = counters[key];
            if *value != was {
                let mut parts = key.split('/');
                let (of, name, origin) = (
                    parts.next().unwrap(),
                    parts.next().unwrap(),
                    parts.next().unwrap(),
                );
                assert_eq!(
                    (of, origin, value - was),
                    (component, "observed", 1),
                    "{about} {key}"
                );
                // The same on the other view.
                let (family, service) = &families[&format!("{component}/{name}")];
                let label = service.as_ref().map_or_else(String::new, |service| {
                    format!("subscriber_service=\"{service}\",")
                });
                let series = format!("{family}{{{label}origin=\"observed\"}} ");
                let value_in = |text: &str| -> u64 {
                    let line = text.lines().find_map(|line| line.strip_prefix(&*series));
                    line.unwrap_or_else(|| panic!("no {series}"))
                        .parse()
                        .unwrap()
                };
                assert_eq!(value_in(&after), value_in(&before) + 1, "{about} {series}");
                found.push(name.to_owned());
            }
        }
        for (key, (seen, state)) in &now_alarms {
            let was = alarms.get(key).map_or(0, |(seen, _)| *seen);
            if *seen != was {
                let (name, subject) = key.split_once('/').unwrap();
                assert_eq!(
                    (subject, seen - was, &**state),
                    (*sender, 1, "active"),
                    "{about} {key}"
                );
                let active =
                    format!("tidegate_alarm_active{{alarm=\"{name}\",component=\"{component}\"");
                let shown = after.lines().find(|line| line.starts_with(&active));
                assert!(
                    shown.is_some_and(|line| line.ends_with(" 1")),
                    "{about} {shown:?}"
                );
                found.push(format!("!{name}"));
            }
        }
        let mut wanted: Vec<String> = wanted.split(' ').map(str::to_owned).collect();
        wanted.retain(|name| !name.is_empty());
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "{about}");
        moved_by_now.extend(found);
        (counters, alarms) = (now_counters, now_alarms);
    }
    for name in observable() {
        assert!(moved_by_now.contains(&name), "{name} was moved by nothing");
    }
    world.house.close().await;
}

#[tokio::test]
async fn pushes_in_tunnels_move_none_of_them() {
    let world = World::open_with(|plan| {
        plan.also("[[client]]\nname = \"tunnels\"\nnetworks = [\"127.0.0.1/32\"]\ncomponent = \"Cisco CallManager\"\n")
    })
    .await;
    let before = world.counters().await;
    let proxy = ProxyClient::plain(world.house.address("plain"));
    let plan = ServerPlan::new("cucm1", world.cloud.port(), world.cloud.ca_pem());
    let server = Server::start(plan, proxy).await.unwrap();
    world.cloud.forget_target("gone");
    for (place, label) in PushLabel::MIX.into_iter().enumerate() {
        let id = format!("id-{place}");
        let outcome = server.push_as(label, "phone", &id, "a call").await;
        assert_eq!(outcome.word(), "confirmed");
        let outcome = server.push_as(label, "gone", &id, "a call").await;
        assert_eq!(outcome.word(), "rejected");
    }
    for status in [400, 403, 429, 500] {
        world.answers(status, &json!({}));
        let outcome = server.push("phone", "id", "a call").await;
        assert_eq!(outcome.word(), "rejected", "{status}");
    }
    server.close().await;
    for _ in 0..3 {
        assert_eq!(
            world.house.line_with("kind", "tunnel").await["tracking_id"],
            Value::Null
        );
    }
    assert_eq!(world.counters().await, before);
    assert_eq!(world.alarms().await, BTreeMap::new());
    let (_, metrics) = world.house.admin("/metrics").await;
    let mut seen = metrics
        .lines()
        .filter(|line| line.starts_with("tidegate_pushes_total{"));
    assert!(seen.all(|line| line.ends_with(" 0")), "{metrics}");
    world.house.close().await;
}

/// What a simulated server has counted of the pushes that went this way, by component and name.
fn own(server: &Server, books: &Books, way: Way) -> BTreeMap<String, u64> {
    let totals = books.counters().totals(way).into_iter();
    let totals = totals.map(|one| {
        (
            format!("{}/{}/observed", one.component, one.name),
            one.value,
        )
    });
    let all: BTreeMap<_, _> = totals.collect();
    assert!(!all.is_empty(), "{} keeps none", server.name());
    all
}

#[tokio::test]
async fn a_servers_own_counters_are_those_that_are_seen_and_in_tunnels_nobody_elses() {
    for component in [
        Component::CallManager,
        Component::XcpConfigManager,
        Component::XcpPush,
    ] {
        let client = format!(
            "[[client]]\nname = \"both\"\nnetworks = [\"127.0.0.1/32\"]\ncomponent = \"{component}\"\n"
        );
        let world = World::open_with(|plan| plan.also(&client)).await;
        let proxy = ProxyClient::plain(world.house.address("plain"));
        let books = Arc::new(Books::default());
        let plan = ServerPlan {
            component,
            books: books.clone(),
            absolute: AbsoluteForm {
                percent: 50,
                origins: vec![format!(
                    "http://push.test:{}",
                    world.cloud.plain_port().unwrap()
                )],
            },
            ..ServerPlan::new("cucm1", world.cloud.port(), world.cloud.ca_pem())
        };
        let server = Server::start(plan, proxy).await.unwrap();
        world.cloud.forget_target("gone");
        // Each goes once through a tunnel and once in absolute form.
        for label in PushLabel::MIX {
            for target in ["phone", "phone", "gone", "gone"] {
                server.push_as(label, target, "id", "a call").await;
            }
        }
        for error in ["unknown target", "target expired"] {
            world.answers(410, &json!({ "error": error }));
            for _ in 0..2 {
                server.push("phone", "id", "a call").await;
            }
        }
        for status in [202, 400, 403, 404, 429, 500] {
            world.answers(status, &json!({}));
            for _ in 0..2 {
                server.push("phone", "id", "a call").await;
            }
        }
        world.cloud.answer_everything(None);
        for _ in 0..2 {
            world.cloud.expire_tokens();
            server.push("phone", "id", "a call").await;
        }
        server.close().await;
        for _ in 0..server.proxy().counts().now().forwarded {
            world.house.line_with("kind", "forward").await;
        }

        let seen = async || {
            let mut seen = world.counters().await;
            let own_part = format!("{component}/");
            seen.retain(|name, _| name.starts_with(&own_part) && name.ends_with("/observed"));
            seen
        };
        let absolute = own(&server, &books, Way::Absolute);
        assert_eq!(seen().await, absolute);
        assert_eq!(own(&server, &books, Way::Tunnel), absolute);
        assert!(absolute.values().all(|value| *value > 0) || component == Component::XcpPush);

        // What the proxy answers in the cloud's stead is no answer of the cloud's, on either side.
        world.cloud.set(0, Behavior::Refuse).await.unwrap();
        for _ in 0..2 {
            server.push("phone", "id", "a call").await;
        }
        world.house.line_with("kind", "forward").await;
        assert_eq!(seen().await, own(&server, &books, Way::Absolute));
        world.house.close().await;
    }
}

// ---- what is seen of a push ------------------------------------------------------------------------------------------

#[tokio::test]
async fn pushes_are_counted_by_service_kind_and_the_status_of_their_answer() {
    let world = World::open().await;
    for (status, label) in [
        (200, "200"),
        (400, "400"),
        (401, "401"),
        (403, "403"),
        (410, "410"),
        (429, "429"),
        (500, "5xx"),
    ] {
        world.answers(status, &json!({}));
        let before = world.pushes("APNS", "voip", label).await;
        let url = world.at(&format!("push.test{PUSH_PATH}"));
        let (reply, line) = world.post("calls", &url, "", &push("APNS", "voip")).await;
        assert_eq!(reply.status, status);
        assert_eq!(
            world.pushes("APNS", "voip", label).await,
            before + 1.0,
            "{status}"
        );
        assert_eq!(
            (&line["tracking_id"], &line["status"]),
            (&json!("track-1"), &json!(status))
        );
    }
    world.house.close().await;
}

#[tokio::test]
async fn apns_fcm_and_browsers_are_understood_the_same_way() {
    let world = World::open().await;
    let check = async |at: &str, fields: &str, body: &str, answer: (u16, Value), wanted: &str| {
        world.answers(answer.0, &answer.1);
        let mut words = wanted.split(' ');
        let (service, kind, status) = (
            words.next().unwrap(),
            words.next().unwrap(),
            words.next().unwrap(),
        );
        let before = world.pushes(service, kind, status).await;
        world.post("chats", &world.at(at), fields, body).await;
        assert_eq!(
            world.pushes(service, kind, status).await,
            before + 1.0,
            "{at} {wanted}"
        );
    };
    let moved = async |counter: &str| {
        let key = format!("Cisco XCP Config Manager/{counter}/observed");
        world.counters().await[&key]
    };
    let device = format!("push.test/3/device/{DEVICE}");
    let aps = r#"{"aps":{"alert":"a call"}}"#;
    let voip = "apns-push-type: voip\r\napns-topic: com.example.phone.voip\r\n";
    check(&device, voip, aps, (200, json!({})), "APNS voip 200").await;
    assert_eq!(moved("NumberOfPushSuccess").await, 1);
    let gone = (410, json!({"reason": "Unregistered", "timestamp": 1}));
    check(
        &device,
        "apns-push-type: alert\r\n",
        aps,
        gone,
        "APNS message 410",
    )
    .await;
    assert_eq!(
        (moved("TargetExpired").await, moved("TargetInvalid").await),
        (1, 0)
    );
    let bad = (400, json!({"reason": "BadDeviceToken"}));
    check(&device, "", aps, bad, "APNS message 400").await;
    assert_eq!(
        (moved("TargetExpired").await, moved("TargetInvalid").await),
        (1, 1)
    );
    let sandbox = format!("api.sandbox.push.test/3/device/{DEVICE}");
    check(
        &sandbox,
        "apns-push-type: background\r\n",
        "{}",
        (200, json!({})),
        "APNS:dev message 200",
    )
    .await;
    let token = (403, json!({"reason": "ExpiredProviderToken"}));
    let refused = "PushNotificationFailedInvalidAccessToken";
    assert_eq!(world.state(refused, "chats").await, "never raised");
    check(&device, voip, "{}", token, "APNS voip 403").await;
    assert_eq!(world.state(refused, "chats").await, "active");

    let send = "push.test/v1/projects/phones/messages:send";
    let notification =
        format!(r#"{{"message":{{"token":"{DEVICE}","notification":{{"title":"x"}}}}}}"#);
    let unregistered = json!({"error": {"code": 404, "message": "not found", "status": "NOT_FOUND",
        "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"}]}});
    let invalid = "PushNotificationFailedInvalidDeviceToken";
    let before = world.alarms().await[&format!("{invalid}/chats")].0;
    check(
        send,
        "",
        &notification,
        (404, unregistered),
        "FCM message 404",
    )
    .await;
    assert_eq!(
        world.alarms().await[&format!("{invalid}/chats")].0,
        before + 1
    );
    // Nothing is sent, and nothing is counted.
    world.answers(200, &json!({}));
    let rehearsal = r#"{"validate_only":true,"message":{"notification":{}}}"#;
    world.post("chats", &world.at(send), "", rehearsal).await;
    assert_eq!(world.pushes("FCM", "message", "200").await, 0.0);

    let browser = "TTL: 60\r\nUrgency: high\r\nContent-Encoding: aes128gcm\r\n";
    check(
        "push.test/wpush/v2/gAAAA",
        browser,
        "secret",
        (201, json!({})),
        "webpush message 201",
    )
    .await;
    check(
        "push.test/wpush/v2/gAAAA",
        browser,
        "secret",
        (410, json!({})),
        "webpush message 410",
    )
    .await;
    world.house.close().await;
}

#[tokio::test]
async fn what_is_no_push_is_not_counted() {
    let world = World::open().await;
    world.answers(410, &json!({}));
    let push_url = world.at(&format!("push.test{PUSH_PATH}"));
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let body = push("APNS", "voip");
        world
            .ask("calls", method, &push_url, "", body.as_bytes())
            .await;
    }
    let other_url = world.at(&format!("other.test{PUSH_PATH}"));
    world
        .post("calls", &other_url, "", &push("APNS", "voip"))
        .await;
    let token_url = world.at("token.test/logout");
    world
        .post("calls", &token_url, "", &push("APNS", "voip"))
        .await;
    let (_, metrics) = world.house.admin("/metrics").await;
    let mut seen = metrics
        .lines()
        .filter(|line| line.starts_with("tidegate_pushes_total{"));
    assert!(seen.all(|line| line.ends_with(" 0")), "{metrics}");
    assert!(world.counters().await.values().all(|value| *value == 0));
    assert_eq!(world.alarms().await, BTreeMap::new());
    world.house.close().await;
}

#[tokio::test]
async fn bodies_are_looked_at_no_further_than_allowed() {
    for (max, wanted) in [("64KiB", ("APNS", "voip")), ("0", ("other", "other"))] {
        let world =
            World::open_with(|plan| plan.set("forward", &format!("inspect_max = \"{max}\""))).await;
        world.answers(200, &json!({}));
        let url = world.at(&format!("push.test{PUSH_PATH}"));
        world.post("calls", &url, "", &push("APNS", "voip")).await;
        assert_eq!(world.pushes(wanted.0, wanted.1, "200").await, 1.0, "{max}");
        world.house.close().await;
    }
}

#[tokio::test]
async fn an_alarm_clears_when_the_same_thing_works_again() {
    let world = World::open().await;
    let push_url = world.at(&format!("push.test{PUSH_PATH}"));
    let token_url = world.at(&format!("token.test{TOKEN_PATH}"));
    let meets = async |sender: &str, url: &str, status: u16| {
        world.answers(status, &json!({}));
        world.post(sender, url, "", &push("APNS", "voip")).await;
    };
    for (sender, url, status, alarm) in [
        (
            "calls",
            &push_url,
            401,
            "PushNotificationServiceAccessTokenUnavailable",
        ),
        (
            "chats",
            &push_url,
            401,
            "PushNotificationFailedInvalidAccessToken",
        ),
        ("chats", &push_url, 429, "PushNotificationFailed"),
        ("chats", &token_url, 400, "AccessTokenFetchFailed"),
        ("node", &token_url, 400, "AccessTokenInvalid"),
    ] {
        meets(sender, url, status).await;
        assert_eq!(world.state(alarm, sender).await, "active", "{alarm}");
        // That others succeed says nothing.
        let other = if sender == "node" { "xcp" } else { "nobody" };
        meets(other, url, 200).await;
        assert_eq!(world.state(alarm, sender).await, "active", "{alarm}");
        meets(sender, url, 200).await;
        assert_eq!(world.state(alarm, sender).await, "cleared", "{alarm}");
    }
    // Another device's push tells nothing of the device that is gone.
    meets("calls", &push_url, 410).await;
    meets("calls", &push_url, 200).await;
    let gone = "PushNotificationInvalidDeviceTokenResponse";
    assert_eq!(world.state(gone, "calls").await, "active");
    world.house.close().await;
}

#[tokio::test]
async fn what_a_push_holds_is_in_no_log_and_on_no_page() {
    let world = World::open().await;
    world.answers(410, &json!({"error": "no such target", "target": DEVICE}));
    let secrets = [
        "c2VjcmV0",
        "refresh-token",
        "bearer-token",
        "wpush-endpoint",
        DEVICE,
    ];
    let bearer = "Authorization: Bearer bearer-token\r\n";
    let (_, line) = world
        .post(
            "chats",
            &world.at("push.test/push"),
            bearer,
            &push("APNS", "voip"),
        )
        .await;
    let mut said = line.to_string();
    for (at, fields, body) in [
        (
            format!("push.test/3/device/{DEVICE}"),
            bearer.to_owned(),
            "{}".to_owned(),
        ),
        (
            "push.test/wpush-endpoint".to_owned(),
            format!("TTL: 1\r\nTrackingID: {DEVICE}\r\n"),
            String::new(),
        ),
        (
            "push.test/push".to_owned(),
            String::new(),
            format!(r#"{{"trackingId":"{DEVICE}"}}"#),
        ),
        (
            format!("token.test{TOKEN_PATH}"),
            String::new(),
            r#"{"refreshToken":"refresh-token"}"#.to_owned(),
        ),
    ] {
        let (_, line) = world.post("chats", &world.at(&at), &fields, &body).await;
        said += &line.to_string();
    }
    for page in ["/alarms", "/counters", "/metrics"] {
        said += &world.house.admin(page).await.1;
    }
    said += &world.house.everything_said();
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} in\n{said}");
    }
    assert!(
        said.contains("a push (APNS, voip) to lab answered 410"),
        "{said}"
    );
    world.house.close().await;
}

// ---- and it passes untouched -----------------------------------------------------------------------------------------

/// A house whose pushes lead to an origin that does what the test says.
async fn with_origin() -> (House, Origin) {
    let origin = Origin::start().await;
    let house = plan().name("push.test", [LOCALHOST]).open().await;
    (house, origin)
}

async fn counted(house: &House, words: &str) {
    let mut words = words.split(' ');
    let (service, kind, status) = (
        words.next().unwrap(),
        words.next().unwrap(),
        words.next().unwrap(),
    );
    let series = format!(
        "tidegate_pushes_total{{service=\"{service}\",kind=\"{kind}\",status=\"{status}\"}}"
    );
    house.metric_becomes(&series, 1.0).await;
}

#[tokio::test]
async fn each_piece_of_a_body_is_passed_on_before_the_next_has_come() {
    let (house, origin) = with_origin().await;
    let mut client = client_of(&house, "calls").await;
    let fields = "Transfer-Encoding: chunked\r\n";
    client.send(origin.request("POST", "/push", fields)).await;
    let (mut call, _) = origin.reached(&mut client).await;
    // A name is cut in two, and so is a value.
    for piece in [
        r#"{"serv"#,
        r#"ice":"AP"#,
        r#"NS","kind":"vo"#,
        r#"ip","x":1}"#,
    ] {
        let chunk = format!("{:X}\r\n{piece}\r\n", piece.len());
        client.send(&chunk).await;
        assert_eq!(call.read(chunk.len()).await, chunk.as_bytes());
    }
    client.send("0\r\n\r\n").await;
    call.send(OK_CLOSE).await;
    assert_eq!(client.reply().await.status, 200);
    counted(&house, "APNS voip 200").await;
    house.close().await;
}

#[tokio::test]
async fn bodies_that_cannot_be_understood_pass_as_they_are() {
    let huge = format!(r#"{{"kind":"voip","payload":"{}"}}"#, "x".repeat(300_000));
    let deep = format!(r#"{{"kind":"voip","x":{}"#, "[".repeat(200_000));
    let late = format!(r#"{{"payload":"{}","kind":"voip"}}"#, "x".repeat(100_000));
    let (house, origin) = with_origin().await;
    for (fields, body, words) in [
        (
            "",
            b"\x00\xff\xfe not JSON \"kind\":\"voip\"".to_vec(),
            "other other 200",
        ),
        ("", br#"{"kind":"message"#.to_vec(), "other other 200"),
        (
            "",
            br#"{"kind":"missedCall",]]]"#.to_vec(),
            "other missed_call 200",
        ),
        (
            "Content-Encoding: gzip\r\n",
            br#"{"kind":"message"}"#.to_vec(),
            "other other 200",
        ),
        ("", huge.into_bytes(), "other voip 200"),
        ("", deep.into_bytes(), "other voip 200"),
        ("", late.into_bytes(), "other other 200"),
        ("", Vec::new(), "other other 200"),
    ] {
        let mut parts = words.split(' ');
        let (service, kind) = (parts.next().unwrap(), parts.next().unwrap());
        let series = format!(
            "tidegate_pushes_total{{service=\"{service}\",kind=\"{kind}\",status=\"200\"}}"
        );
        let before = house.metric(&series).await;
        let mut client = client_of(&house, "calls").await;
        let fields = format!("{fields}Content-Length: {}\r\n", body.len());
        client.send(origin.request("POST", "/push", &fields)).await;
        let (mut call, _) = origin.reached(&mut client).await;
        let (_, came) = tokio::join!(client.send(&body), call.read(body.len()));
        assert!(came == body, "{words}: the body was changed");
        call.send(OK_CLOSE).await;
        assert_eq!(client.reply().await.status, 200);
        house.metric_becomes(&series, before + 1.0).await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_push_whose_sender_gives_up_waiting_was_sent_and_is_no_failure_of_the_service() {
    let (house, origin) = with_origin().await;
    for (place, sender) in ["chats", "calls"].into_iter().enumerate() {
        let mut client = Client::from_tcp({
            let tcp = tcp_of(&house, sender).await;
            tcp.set_zero_linger().unwrap();
            tcp
        });
        let body = push("APNS", "message");
        let fields = format!("Content-Length: {}\r\n", body.len());
        client
            .send(origin.request("POST", "/push", &fields) + &body)
            .await;
        let mut call = origin.call().await;
        assert_eq!(call.message().await.body, body.as_bytes());
        drop(client);
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["tracking_id"]),
            (&json!("client_reset"), &json!("track-1"))
        );
        let series = "tidegate_pushes_total{service=\"APNS\",kind=\"message\",status=\"none\"}";
        house.metric_becomes(series, place as f64 + 1.0).await;
        drop(call);
    }
    let value = async |series: &str| house.metric(series).await;
    let sent = "callmanager_push_requests_sent_total{origin=\"observed\"}";
    let failed = "xcp_config_manager_push_failure_total{origin=\"observed\"}";
    assert_eq!((value(sent).await, value(failed).await), (1.0, 0.0));
    let (_, alarms) = house.admin("/alarms").await;
    assert!(!alarms.contains("\"active\""), "{alarms}");
    house.close().await;
}

#[tokio::test]
async fn what_an_answer_moves_has_moved_before_its_body_ends() {
    let (house, origin) = with_origin().await;
    let value = "xcp_config_manager_push_failure_total{origin=\"observed\"}";
    let expired = "xcp_config_manager_target_expired_total{origin=\"observed\"}";
    // One that breaks off is no success.
    let series = "tidegate_pushes_total{service=\"APNS\",kind=\"message\",status=\"none\"}";
    let mut client = client_of(&house, "chats").await;
    let body = push("APNS", "message");
    let fields = format!("Content-Length: {}\r\n", body.len());
    client
        .send(origin.request("POST", "/push", &fields) + &body)
        .await;
    let mut call = origin.call().await;
    call.message().await;
    call.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        .await;
    drop(call);
    assert_eq!(house.line().await["reason"], "upstream_reset");
    assert_eq!(house.metric(series).await, 1.0);
    let before = house.metric(value).await;
    assert_eq!(before, 1.0);
    for (place, (head, said)) in [
        ("503 Service Unavailable", ""),
        // Which of two it is stands in the body: for a moment it is waited for.
        ("410 Gone", ""),
        ("410 Gone", r#"{"reason":"Unregistered"}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = client_of(&house, "chats").await;
        let body = push("APNS", "message");
        let fields = format!("Content-Length: {}\r\n", body.len());
        client
            .send(origin.request("POST", "/push", &fields) + &body)
            .await;
        let mut call = origin.call().await;
        call.message().await;
        let reply = format!("HTTP/1.1 {head}\r\nContent-Length: 1000\r\n\r\n{said}");
        call.send(&reply).await;
        house
            .metric_becomes(value, before + place as f64 + 1.0)
            .await;
        assert_eq!(house.metric(expired).await, f64::from(!said.is_empty()));
        drop(call);
        // The end of the body moves nothing again.
        assert_eq!(house.line().await["reason"], "upstream_reset");
        assert_eq!(house.metric(value).await, before + place as f64 + 1.0);
    }
    house.close().await;
}

#[tokio::test]
async fn a_push_whose_sender_does_not_wait_for_the_connection_was_sent_all_the_same() {
    let dead = hanging("127.0.0.1:0".parse().unwrap());
    // It accepts, and says nothing to a TLS hello.
    let silent = Origin::start().await;
    let mut plan = plan().set("connect", "budget = \"20s\"");
    for place in 0..7 {
        plan = plan.name(&format!("{place}.test"), [LOCALHOST]);
    }
    let house = plan.open().await;
    let whole = push("APNS", "message");
    let places = std::cell::Cell::new(0);
    let leave = async |sender: &str, (scheme, port): (&str, u16), field: &str, body: &str| {
        let name = format!("{}.test", places.replace(places.get() + 1));
        let tcp = tcp_of(&house, sender).await;
        tcp.set_zero_linger().unwrap();
        let mut client = Client::from_tcp(tcp);
        let head = format!("POST {scheme}://{name}:{port}/push HTTP/1.1\r\nHost: x\r\n{field}\r\n");
        client.send(head + body).await;
        // Once its name is asked for, it waits for a connection that never comes.
        while house.names.queries(&name, Kind::A) == 0 {
            tokio::task::yield_now().await;
        }
        // Or for an end of the handshake.
        let _shaking = match scheme {
            "https" => Some(silent.caller().await),
            _ => None,
        };
        drop(client);
        let line = house.line().await;
        assert_eq!(
            (&line["reason"], &line["kind"]),
            (&json!("client_gone"), &json!("forward"))
        );
        line["tracking_id"].clone()
    };
    let (deaf, mute) = (
        ("http", dead.address.port()),
        ("https", silent.address.port()),
    );
    let length = |length: usize| format!("Content-Length: {length}\r\n");
    let sent = "callmanager_push_requests_sent_total{origin=\"observed\"}";
    let failed = "xcp_config_manager_push_failure_total{origin=\"observed\"}";
    for (times, origin) in [(1.0, deaf), (2.0, mute)] {
        assert_eq!(
            leave("calls", origin, &length(whole.len()), &whole).await,
            "track-1"
        );
        house.metric_becomes(sent, times).await;
        assert_eq!(
            leave("chats", origin, &length(whole.len()), &whole).await,
            "track-1"
        );
        // Of half a push nobody knows whether it was meant.
        leave("calls", origin, &length(whole.len() + 1), &whole).await;
    }
    let chunked = format!("{:x}\r\n{whole}\r\n0\r\n\r\n", whole.len());
    leave("calls", deaf, "Transfer-Encoding: chunked\r\n", &chunked).await;
    assert_eq!(house.metric(sent).await, 2.0);
    assert_eq!(house.metric(failed).await, 0.0, "nobody's failure");
    let series = "tidegate_pushes_total{service=\"APNS\",kind=\"message\",status=\"none\"}";
    assert_eq!(
        house.metric(series).await,
        6.0,
        "nothing of chunks was looked at"
    );
    house.close().await;
}

#[tokio::test]
async fn a_handshake_that_is_never_answered_is_no_tls() {
    let silent = Origin::start().await;
    let house = plan()
        .set("forward", "handshake_timeout = \"1s\"")
        .name("push.test", [LOCALHOST])
        .open()
        .await;
    let body = push("APNS", "message");
    let mut client = client_of(&house, "calls").await;
    let head = format!(
        "POST https://push.test:{}/push HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        silent.address.port(),
        body.len()
    );
    client.send(head + &body).await;
    let _shaking = silent.caller().await;
    assert_eq!(client.reply().await.status, 504);
    let line = house.line().await;
    assert_eq!(line["reason"], "upstream_timeout");
    let value = async |series: &str| house.metric(series).await;
    let sent = "callmanager_push_requests_sent_total{origin=\"observed\"}";
    let error = "callmanager_push_error_responses_total{origin=\"observed\"}";
    assert_eq!((value(sent).await, value(error).await), (0.0, 1.0));
    let (_, alarms) = house.admin("/alarms").await;
    assert!(alarms.contains("no TLS with the service"), "{alarms}");
    house.close().await;
}

#[tokio::test]
async fn half_a_push_is_none() {
    let (house, origin) = with_origin().await;
    let mut client = client_of(&house, "chats").await;
    client
        .send(origin.request("POST", "/push", "Content-Length: 1000\r\n"))
        .await;
    client.send(r#"{"service":"APNS","kind":"message","#).await;
    let (call, _) = origin.reached(&mut client).await;
    drop(client);
    let line = tokio::time::timeout(PATIENCE, house.line()).await.unwrap();
    assert_eq!(line["reason"], "client_gone");
    drop(call);
    let (_, counters) = house.admin("/counters").await;
    assert!(!counters.contains("\"value\":1"), "{counters}");
    let (_, alarms) = house.admin("/alarms").await;
    assert!(!alarms.contains("\"active\""), "{alarms}");
    counted(&house, "APNS message none").await;
    house.close().await;
}
