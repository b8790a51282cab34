use http_body_util::BodyExt as _;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::dial::health::Outcome;
use crate::dial::resolve::{Family, ResolveError};
use crate::exchange::{
    ClientAddr, ClientName, DestinationName, ExchangeId, Host, PeerAddr, Target, UserName,
};
use crate::lifecycle::Drain;
use crate::relay::LiveTunnel;
use crate::relay::confirmations::Tally;
use crate::relay::live::{Orders, Traffic};
use crate::telemetry::Moment;
use crate::telemetry::alarms::{Alarm, Evidence};
use crate::telemetry::guide::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

#[tokio::test]
async fn pages() {
    let house = House::open().await;
    house
        .check("GET", "/livez", 200, "text/plain", "ok\n")
        .await;
    house
        .check("GET", "/readyz", 200, "text/plain", "ready\n")
        .await;
    house.check("GET", "/", 200, "text/html", "/tunnels").await;
    house
        .check(
            "GET",
            "/would-refuse",
            200,
            "application/json",
            "{\"dropped\":0,\"would_refuse\":[]}\n",
        )
        .await;
    house
        .check(
            "GET",
            "/metrics",
            200,
            "text/plain; version=0.0.4",
            "\ntidegate_connections 0\n",
        )
        .await;
    let json = "application/json";
    let never =
        r#""component":"Cisco Jabber","severity":"ALERT","state":"never raised","since":null"#;
    house.check("GET", "/alarms", 200, json, never).await;
    let null = r#""PushEnabledSessionsApns":[{"value":null,"origin":"not observable"}]"#;
    house.check("GET", "/counters", 200, json, null).await;
    let no_page = "there are: / /metrics";
    for path in ["/readyz?deeper", "//", "/livez/"] {
        house.check("GET", path, 404, "text/plain", no_page).await;
    }
    for (method, path) in [
        ("POST", "/livez"),
        ("DELETE", "/tunnels"),
        ("CONNECT", "a.test:1"),
    ] {
        let reply = house
            .check(method, path, 405, "text/plain", "read-only")
            .await;
        assert!(reply.contains("\r\nallow: GET, HEAD\r\n"), "{reply}");
    }
}

#[tokio::test]
async fn another_ones_name_for_us_shows_nothing() {
    let house = House::open().await;
    let ask = async |path: &str, host: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let reply = house.ask(&request).await;
        reply[9..12].to_owned()
    };
    for host in ["evil.test:9128", "localhost.evil.test", "a b", ""] {
        for path in ["/", "/events", "/tunnels", "/config"] {
            let status = ask(path, host).await;
            assert!(["421", "400"].contains(&&*status), "{path} {host} {status}");
        }
        let status = ask("/metrics", "proxy-1.test").await;
        assert_eq!(status, "200", "a scraper may use a name");
    }
    for host in [
        "127.0.0.1:9128",
        "[::1]:9128",
        "localhost:9128",
        "LOCALHOST",
        "localhost.:9128",
    ] {
        assert_eq!(ask("/", host).await, "200", "{host}");
    }
    for host in [
        "localhost\r\nHost: evil.test",
        "localhost\r\nHost: localhost",
    ] {
        assert_eq!(ask("/", host).await, "400", "{host}");
    }
}

#[tokio::test]
async fn a_drain_makes_us_unready_and_still_alive() {
    let house = House::open().await;
    house.drain.begin(None);
    house
        .check("GET", "/readyz", 503, "text/plain", "draining\n")
        .await;
    house
        .check("GET", "/livez", 200, "text/plain", "ok\n")
        .await;
    let House { drain, .. } = house;
    time::timeout(Duration::from_secs(10), drain.finished())
        .await
        .expect("nobody waits for those who look on");
}

#[tokio::test]
async fn a_head_request_gets_a_head() {
    let house = House::open().await;
    let reply = house
        .ask("HEAD /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(reply.contains("\r\ncontent-length: 3\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\n"), "{reply}");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let house = House::open().await;
    let two = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n\
               GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let reply = house.ask(two).await;
    assert_eq!(reply.matches("HTTP/1.1 200").count(), 2, "{reply}");
}

#[tokio::test]
async fn the_configuration_is_shown_with_what_was_complained_of() {
    let house = House::open().await;
    let text = house.json("/config").await;
    assert_eq!(
        text,
        concat!(
            r#"{"path":"/etc/tidegate.toml","hash":"abc","loaded_at":"1970-01-01T00:00:00.000Z","#,
            r#""last_complaint":null,"needs_restart":[],"listeners":{"plain":"127.0.0.1:3128"},"#,
            r#""config":{"admin":{}}}"#,
            "\n"
        )
    );
    house.loaded.send_modify(|loaded| {
        loaded.last_complaint = Some("tidegate.toml:3: tunnel.idle_timeout: too short".into());
    });
    let text = house.json("/config").await;
    assert!(text.contains("idle_timeout: too short"), "{text}");
}

#[tokio::test]
async fn tunnels_of_all_cores_are_listed_oldest_first() {
    let house = House::open().await;
    assert_eq!(house.json("/tunnels").await, "[]\n");
    let opened = Instant::now();
    let _listed: Vec<_> = (0..300_u32)
        .map(|number| {
            let opened = opened + Duration::from_millis(u64::from(number));
            let core = &house.tunnels[number as usize % 2];
            core.list_while(Arc::new(tunnel(number, opened)))
        })
        .collect();
    let text = house.json("/tunnels").await;
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let ids: Vec<_> = list.iter().map(|row| row["bytes_up"].as_u64()).collect();
    assert_eq!(ids, (0..300).map(Some).collect::<Vec<_>>());
}

#[test]
fn a_tunnel_is_one_line() {
    let opened = Instant::now();
    let cores = [Tunnels::default()];
    let _listed = cores[0].list_while(Arc::new(tunnel(7, opened)));
    let mut list =
        tunnels::TunnelList::gather(&cores, resolver(), opened + Duration::from_millis(90_500));
    let text = list.next_piece().unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        concat!(
            "[\n",
            r#"{"id":"000000000000000000000007","listener":"plain","client":"127.0.0.1:40000","#,
            r#""client_name":"cluster-1","user":"ann","target":"push.test:443","#,
            r#""destination":"cisco","peer":"127.0.0.2:443","off_dns":null,"rtt_ms":null,"#,
            r#""opened_at":"1970-01-01T00:00:00.000Z","age_s":90.5,"idle_s":30.5,"#,
            r#""bytes_up":7,"bytes_down":9,"exchanges":null}"#,
            "\n]\n"
        )
    );
    assert_eq!(list.next_piece(), None);
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let house = House::open().await;
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES * 2));
    let reply = house.ask(&long).await;
    assert!(!reply.contains(" 200 "), "{reply}");
    let long = format!(
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(HEAD_BYTES * 2)
    );
    let reply = house.ask(&long).await;
    assert!(!reply.contains(" 200 "), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_let_go() {
    let house = House::open().await;
    let mut idle = house.connect().await;
    let begun = Instant::now();
    let read = time::timeout(Duration::from_secs(60), idle.read(&mut [0])).await;
    // However the silence is ended, it is.
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
    assert!(begun.elapsed() <= LIFE + LAST_ANSWER + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_busy_client_is_let_go_too() {
    let house = House::open().await;
    let mut busy = house.connect().await;
    let begun = Instant::now();
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    while busy.write_all(request).await.is_ok() {
        let mut answer = [0; 4_096];
        match busy.read(&mut answer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => time::sleep(Duration::from_secs(3)).await,
        }
        assert!(begun.elapsed() <= LIFE + LAST_ANSWER + Duration::from_secs(3));
    }
}

#[tokio::test]
async fn who_sends_no_request_gives_up_its_place() {
    let house = House::open().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut one = house.connect().await;
        one.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ")
            .await
            .unwrap();
        silent.push(one);
    }
    let reply = house
        .ask("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(reply.contains("200 OK"), "{reply}");
    // Whoever came last still has its place, and the moment that it needs.
    let mut last = silent.pop().expect("there are some");
    last.write_all(b"1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut reply = String::new();
    last.read_to_string(&mut reply).await.unwrap();
    assert!(reply.contains("200 OK"), "{reply}");
    let first = silent.first_mut().expect("there are some");
    assert!(!matches!(first.read(&mut [0]).await, Ok(1..)), "answered");
}

#[tokio::test]
async fn who_is_being_answered_is_not_taken_for_one_who_asks_nothing() {
    let house = House::open().await;
    let opened = Instant::now();
    // More than the system takes for one who does not read.
    let listed = (0..20_000).map(|number| {
        let core = &house.tunnels[0];
        core.list_while(Arc::new(tunnel(number, opened)))
    });
    let _listed: Vec<_> = listed.collect();
    let mut reader = house.connect().await;
    reader
        .write_all(b"GET /tunnels HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    reader.readable().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(house.connect().await);
    }
    let reply = house
        .ask("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(reply.contains("200 OK"), "{reply}");
    let mut list = String::new();
    reader.read_to_string(&mut list).await.unwrap();
    assert!(list.ends_with("]\n"), "{} bytes", list.len());
}

#[tokio::test]
async fn who_was_answered_gives_up_its_place_too() {
    let house = House::open().await;
    let mut holders = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut holder = house.connect().await;
        one_answer(&mut holder).await;
        holders.push(holder);
    }
    let reply = house
        .ask("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(reply.contains("200 OK"), "{reply}");
}

async fn one_answer(holder: &mut TcpStream) {
    let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    holder.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        assert_ne!(holder.read_buf(&mut answer).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn names_from_outside_are_only_shown() {
    for (hostile, harm, shown) in [
        ("<img src=x onerror=alert(1)>", "<img", "&lt;img src"),
        (
            "\"><script>alert(1)</script>",
            "<script>alert",
            "&quot;&gt;&lt;script&gt;",
        ),
        (
            "\" autofocus onfocus=\"alert(1)",
            "\" autofocus",
            "&quot; autofocus",
        ),
        (
            "' autofocus onfocus='alert(1)",
            "' autofocus",
            "&#39; autofocus",
        ),
        ("</pre></dl><h1>x</h1>", "<h1>x", "&lt;h1&gt;x"),
    ] {
        let house = House::open().await;
        house.loaded.send_modify(|loaded| {
            loaded.path = Some(hostile.into());
            loaded.last_complaint = Some(hostile.into());
            loaded.listeners[0].0 = ListenerName::new(hostile);
            loaded.shown = serde_json::json!({
                "destination": [{ "name": hostile }],
                "limit": [{ "name": hostile, "per": hostile, "rate": hostile, "bytes": hostile }],
            });
        });
        let page = house.ask("GET / HTTP/1.0\r\n\r\n").await;
        assert!(!page.contains(harm), "{page}");
        // As path, complaint, listener, destination, and in four words of a limit.
        assert!(page.matches(shown).count() >= 8, "{page}");
        let policy = "\r\ncontent-security-policy: default-src 'none'; script-src 'sha256-";
        assert!(page.contains(policy), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_watches_and_does_not_read_is_let_go() {
    let drain = Drain::new();
    let pulse = Pulse::new(Arc::new(window(&drain)));
    let now = Instant::now();
    let (mut stream, mut let_go) = pulse.watch(now).expect("a place");
    let (lazy, lazy_let_go) = pulse.watch(now).expect("a place");
    let mut states = 0;
    let reads = async {
        let mut lazy_let_go = pin!(lazy_let_go);
        loop {
            tokio::select! {
                biased;
                _ = &mut lazy_let_go => return,
                frame = stream.frame() => {
                    assert!(frame.is_some(), "one who reads was let go");
                    states += 1;
                }
            }
        }
    };
    tokio::select! {
        () = reads => {}
        () = pulse.run() => {}
        () = time::sleep(Duration::from_secs(60)) => panic!("it may stay for a minute"),
    }
    assert!(states >= 4, "{states}");
    assert!(
        let_go
            .try_recv()
            .is_err_and(|end| end == TryRecvError::Empty)
    );
    drop(lazy);
}

#[tokio::test(start_paused = true)]
async fn the_curves_go_on_while_nobody_watches() {
    let drain = Drain::new();
    let pulse = Pulse::new(Arc::new(window(&drain)));
    let _ = time::timeout(Duration::from_secs(60), pulse.run()).await;
    let page = pulse.page().await.expect("a page");
    let page = String::from_utf8(page.into()).unwrap();
    assert!(page.contains("class=\"line l0\" d=\"M"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn watchers_are_few_and_the_first_makes_room() {
    let drain = Drain::new();
    let pulse = Pulse::new(Arc::new(window(&drain)));
    let now = Instant::now();
    let mut watching: Vec<_> = (0..events::WATCHERS_MAX)
        .map(|_| pulse.watch(now).expect("a place"))
        .collect();
    assert!(pulse.watch(now).is_none(), "they came only just now");
    drop(watching.pop());
    watching.push(pulse.watch(now).expect("the place that was left"));
    // None of these reads anything, and the system would take it for them for minutes.
    let later = now + Duration::from_secs(15);
    watching.push(pulse.watch(later).expect("the first one's place"));
    let let_go = watching.iter_mut().map(|(_, let_go)| let_go.try_recv());
    let let_go: Vec<_> = let_go
        .map(|end| end.is_err_and(|end| end == TryRecvError::Closed))
        .collect();
    assert_eq!(let_go.iter().position(|gone| *gone), Some(0));
    assert_eq!(let_go.iter().filter(|gone| **gone).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_told_at_once_and_states_go_on() {
    let drain = Drain::new();
    let pulse = Pulse::new(Arc::new(window(&drain)));
    let (mut stream, _let_go) = pulse.watch(Instant::now()).expect("a place");
    let read = async {
        let mut draining = 0;
        while draining < 3 {
            let frame = stream.frame().await.expect("it goes on");
            let text = frame.unwrap().into_data().unwrap();
            let text = String::from_utf8(text.into()).unwrap();
            if text.contains("Draining: it takes no new work") {
                assert!(text.contains(r#"data-phase=\"draining\""#), "{text}");
                draining += 1;
            }
            drain.begin(None);
        }
    };
    tokio::select! {
        () = read => {}
        () = pulse.run() => unreachable!("it runs on"),
    }
    assert!(pulse.watch(Instant::now()).is_some());
}

/// The page of a window in which something was made to happen.
async fn page_of(happens: impl FnOnce(&Window)) -> String {
    page_in(&Drain::new(), happens).await
}

async fn draining_page_of(happens: impl FnOnce(&Window)) -> String {
    let drain = Drain::new();
    drain.begin(None);
    page_in(&drain, happens).await
}

async fn page_in(drain: &Drain, happens: impl FnOnce(&Window)) -> String {
    let window = window(drain);
    happens(&window);
    let page = Pulse::new(Arc::new(window)).page().await.expect("a page");
    let page = String::from_utf8(page.into()).unwrap();
    let from = page.find("<main").expect("a main part");
    let to = page.find("</main>").expect("its end");
    page[from..to].to_owned()
}

fn peer(last: u8) -> SocketAddr {
    ([10, 0, 0, last], 443).into()
}

/// Of a destination: what its name has, and how trying these ended.
fn known(window: &Window, name: &str, listed: &[u8], tried: &[(u8, Outcome)]) {
    let (name, now) = (DestinationName::new(name), Instant::now());
    let ips = listed.iter().map(|last| peer(*last).ip()).collect();
    window
        .health
        .listed(&name, &"push.test".into(), Family::V4, &ips, now);
    for (last, outcome) in tried {
        window
            .health
            .note(&name, peer(*last), *outcome, Duration::from_millis(3), now);
    }
}

#[tokio::test]
async fn addresses_that_dns_has_dropped_carry_nothing() {
    use Outcome::{Connected, Failed};
    let cisco = || [DestinationName::new("cisco")];
    // The name has moved, and what it has now is dead.
    let page = page_of(|window| {
        window.health.configure(&cisco());
        known(window, "cisco", &[1, 2], &[(1, Connected), (2, Connected)]);
        known(window, "cisco", &[9], &[(9, Failed)]);
    })
    .await;
    assert!(
        page.contains("No address of destination cisco is known to work"),
        "{page}"
    );
    assert!(!page.contains("the others carry its pushes"), "{page}");
    let gone = "data-peer=\"10.0.0.1:443\" data-state=\"not in DNS any more\"";
    assert!(page.contains(gone), "{page}");
    // And the other way: what is gone was the sick one.
    let page = page_of(|window| {
        window.health.configure(&cisco());
        known(window, "cisco", &[1, 2], &[(1, Connected), (2, Failed)]);
        known(window, "cisco", &[1], &[]);
    })
    .await;
    assert!(page.contains("All is well"), "{page}");
    let page = page_of(|window| {
        window.health.configure(&cisco());
        known(window, "cisco", &[1, 2], &[(1, Connected), (2, Failed)]);
    })
    .await;
    assert!(
        page.contains("1 of 2 addresses of destination cisco can&#39;t be used now"),
        "{page}"
    );
}

#[tokio::test]
async fn a_cloud_that_accepts_and_never_answers_is_an_error() {
    use Outcome::Connected;
    let cisco = DestinationName::new("cisco");
    let silent = |window: &Window| {
        let now = Instant::now();
        window.health.configure(std::slice::from_ref(&cisco));
        known(window, "cisco", &[1, 2], &[(1, Connected), (2, Connected)]);
        window.health.suspect(&cisco, peer(1), now);
        window.health.suspect(&cisco, peer(2), now);
        window.health.none_answers(&cisco, now);
    };
    let page = page_of(silent).await;
    let words = "No address of destination cisco answers, though they accept connections";
    assert!(page.contains(words), "{page}");
    assert!(page.contains("Something is wrong"), "{page}");
    assert!(!page.contains("the others carry its pushes"), "{page}");
    let draining = draining_page_of(silent).await;
    let words = "Draining: it takes no new work, and something is wrong";
    assert!(draining.contains(words), "{draining}");
    assert!(page.contains("accepts, and does not answer"), "{page}");
    let words = "No address of destination cisco answers, though they accept connections";
    // One that answers in a tunnel speaks for it.
    let page = page_of(|window| {
        silent(window);
        let core = &window.tunnels[0];
        core.tally(&cisco).note(1, None);
        core.tell_exchanges(&window.meters, Instant::now());
    })
    .await;
    assert!(!page.contains(words), "{page}");
    let words = "can&#39;t be used now; none of the others is known to answer";
    assert!(page.contains(words), "it may have been before: {page}");
}

#[tokio::test]
async fn the_gauge_of_addresses_forgets_what_is_gone_and_unused() {
    let drain = Drain::new();
    let window = window(&drain);
    window.health.configure(&[DestinationName::new("cisco")]);
    known(
        &window,
        "cisco",
        &[1, 2],
        &[(1, Outcome::Failed), (2, Outcome::Failed)],
    );
    known(&window, "cisco", &[3], &[(3, Outcome::Failed)]);
    let mut used = tunnel(1, Instant::now());
    used.peer = PeerAddr(peer(2));
    let _listed = window.tunnels[0].list_while(Arc::new(used));
    let mut health = window.health.view(Instant::now());
    destinations::without_gone(&mut health, &window.tunnels);
    let text = destinations::peers_up(&health);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        lines,
        [
            r#"tidegate_peer_up{destination="cisco",peer="10.0.0.2:443"} 0"#,
            r#"tidegate_peer_up{destination="cisco",peer="10.0.0.3:443"} 0"#
        ]
    );
}

#[tokio::test]
async fn a_name_that_gives_no_address_is_a_finding_and_was_asked_for() {
    let page = page_of(|window| {
        let names = ["a", "b"].map(DestinationName::new);
        window.health.configure(&names);
        for name in &names {
            window.health.unresolved(name, ResolveError::TimedOut);
        }
    })
    .await;
    assert!(page.contains("Something is wrong"), "{page}");
    let words = "No way to destinations a, b: no DNS server answered in time.";
    assert!(page.contains(words), "{page}");
    assert!(!page.contains("not asked for yet"), "{page}");
    // Behind a wildcard, anybody can ask for a name that never was.
    let page = page_of(|window| {
        window.health.configure(&[DestinationName::new("a")]);
        known(window, "a", &[1], &[(1, Outcome::Connected)]);
        let name = DestinationName::new("a");
        window.health.unresolved(&name, ResolveError::NotFound);
    })
    .await;
    assert!(page.contains("All is well"), "{page}");
    assert!(
        page.contains("asked last: the name does not exist"),
        "{page}"
    );
}

#[tokio::test]
async fn many_alarms_and_destinations_fold_and_all_are_counted() {
    let page = page_of(|window| {
        let names: Vec<_> = (0..100)
            .map(|number| DestinationName::new(&format!("d{number:02}")))
            .collect();
        window.health.configure(&names);
        for (number, name) in names.iter().enumerate() {
            known(window, name.as_str(), &[1], &[(1, Outcome::Connected)]);
            let evidence = || Evidence {
                exchange: None,
                text: format!("seen at {number}"),
                remedy: None,
            };
            let alarms = [
                Alarm::AllAddressesDead,
                Alarm::ProbeFailing,
                Alarm::ClientNeverAuthenticates,
                Alarm::AddressesChanged,
                Alarm::TunnelsOffDns,
            ];
            for alarm in alarms {
                let (origin, now) = (Origin::Derived, Moment::now());
                window
                    .alarms
                    .raise(alarm, name.as_str(), origin, evidence(), now);
            }
        }
        let dead = DestinationName::new("d99");
        known(window, dead.as_str(), &[1], &[(1, Outcome::Failed)]);
        window.health.none_connects(&dead, Instant::now());
    })
    .await;
    // 64 subjects of each, and the others together.
    assert!(
        page.contains("Alarms<small>at least 325 active</small>"),
        "{page}"
    );
    assert_eq!(page.matches("What to do:").count(), 5, "{page}");
    for alarm in ["TidegateAllAddressesDead", "TidegateAddressesChanged"] {
        assert_eq!(
            page.matches(&format!("<article class=\"alarm\" data-alarm=\"{alarm}\">"))
                .count(),
            1
        );
        // As a finding, and as the alarm's place.
        assert!(
            page.contains(&format!(
                "Alarm {alarm} (d63, d62, d61 and at least 62 more)"
            )),
            "{page}"
        );
    }
    assert_eq!(page.matches("seen at 7<").count(), 5, "each subject once");
    assert!(page.contains("at least 62 more</summary>"), "{page}");
    // The sick one is among those that are not folded.
    let (shown, folded) = page
        .split_once("90 more, 0 of them with a trouble</summary>")
        .unwrap_or_else(|| panic!("{page}"));
    assert!(shown.contains("no address answers"), "{shown}");
    assert_eq!(shown.matches("class=\"destination\"").count(), 10);
    assert_eq!(folded.matches("class=\"destination\"").count(), 90);
    // What does not unfold is short.
    let mut unfolded = String::new();
    for part in page.split("<details") {
        unfolded.push_str(part.split_once("</details>").map_or(part, |(_, rest)| rest));
    }
    assert!(unfolded.len() < 24_000, "{} bytes", unfolded.len());
}

#[tokio::test]
async fn times_that_are_known_better_than_by_buckets_are_shown_so() {
    let page = page_of(|window| {
        let core = &window.tunnels[0];
        let tally = core.tally(&DestinationName::new("cisco"));
        for micros in [1_230, 1_232, 1_234] {
            tally.note(1, Some(micros));
        }
        core.tell_exchanges(&window.meters, Instant::now());
    })
    .await;
    let tile = page.split("id=\"confirmation\"").nth(1).expect("its tile");
    assert!(
        tile.contains("<p class=\"big\">1.23 ms<small>99 %: 1.23 ms, in the last minute"),
        "{tile}"
    );
    assert!(tile.contains("half within about "), "{tile}");
}

/// A window over a house that stands still.
struct House {
    address: SocketAddr,
    drain: Drain,
    loaded: watch::Sender<Loaded>,
    tunnels: Vec<Tunnels>,
    /// Ends with the house.
    _serving: JoinSet<()>,
}

impl House {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = ListenerName::new("plain");
        let drain = Drain::new();
        let loaded = watch::Sender::new(Loaded {
            path: Some("/etc/tidegate.toml".into()),
            hash: "abc".into(),
            loaded_at: SystemTime::UNIX_EPOCH,
            shown: serde_json::json!({ "admin": {} }),
            last_complaint: None,
            needs_restart: Vec::new(),
            listeners: vec![(plain.clone(), "127.0.0.1:3128".parse().unwrap())],
        });
        let tunnels = vec![Tunnels::default(), Tunnels::default()];
        let window = Window {
            meters: Arc::new(Meters::new(&[plain], &[])),
            tunnels: tunnels.clone(),
            resolver: resolver(),
            phase: drain.view(),
            reports: Arc::default(),
            health: Arc::new(HealthBook::new(&crate::config::load(None).unwrap().connect)),
            alarms: Arc::default(),
            counters: Arc::new(GuideCounters::new(std::time::Instant::now())),
            reached: Arc::default(),
            habits: Vec::new(),
            loaded: loaded.subscribe(),
            started: Instant::now(),
        };
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, window));
        Self {
            address,
            drain,
            loaded,
            tunnels,
            _serving: serving,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a test is a client")]
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends, and reads to the end.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        // The reply may come before the request was sent to its end.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap()
    }

    async fn check(&self, method: &str, path: &str, status: u16, kind: &str, body: &str) -> String {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let reply = self.ask(&request).await;
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path} {reply}"
        );
        assert!(
            reply.contains(&format!("\r\ncontent-type: {kind}")),
            "{path} {reply}"
        );
        assert!(
            reply.contains("\r\ncache-control: no-store\r\n"),
            "{path} {reply}"
        );
        assert!(
            reply.contains("\r\nx-content-type-options: nosniff\r\n"),
            "{path} {reply}"
        );
        let (_, text) = reply.split_once("\r\n\r\n").unwrap();
        assert!(text.contains(body), "{path} {reply}");
        reply
    }

    /// The text of a JSON page, asked for without chunks.
    async fn json(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        let reply = self.ask(&request).await;
        let (head, text) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/json"), "{head}");
        text.to_owned()
    }
}

/// One of its own, with nothing in it.
fn window(drain: &Drain) -> Window {
    let loaded = Loaded {
        path: None,
        hash: "abc".into(),
        loaded_at: SystemTime::UNIX_EPOCH,
        shown: serde_json::Value::Null,
        last_complaint: None,
        needs_restart: Vec::new(),
        listeners: Vec::new(),
    };
    Window {
        meters: Arc::new(Meters::new(&[], &[])),
        tunnels: vec![Tunnels::default()],
        resolver: resolver(),
        phase: drain.view(),
        reports: Arc::default(),
        health: Arc::new(HealthBook::new(&crate::config::load(None).unwrap().connect)),
        alarms: Arc::default(),
        counters: Arc::new(GuideCounters::new(std::time::Instant::now())),
        reached: Arc::default(),
        habits: Vec::new(),
        loaded: watch::Sender::new(loaded).subscribe(),
        started: Instant::now(),
    }
}

/// One that holds no answers.
fn resolver() -> Resolver {
    let config = crate::config::load(None).unwrap();
    Resolver::new(&config.dns, Arc::new(Meters::new(&[], &[]))).0
}

fn tunnel(number: u32, opened: Instant) -> LiveTunnel {
    let traffic = Traffic::default();
    traffic.note_up(number as usize, Duration::ZERO);
    traffic.note_down(9, Duration::from_secs(60));
    LiveTunnel {
        id: ExchangeId::new(0, 0, u64::from(number)),
        opened_at: SystemTime::UNIX_EPOCH,
        opened,
        listener: ListenerName::new("plain"),
        client: ClientAddr(([127, 0, 0, 1], 40_000).into()),
        sender: Some(ClientName::new("cluster-1")),
        user: Some(UserName::new("ann")),
        target: Target {
            host: Host::Name("push.test".into()),
            port: 443,
        },
        peer: PeerAddr(([127, 0, 0, 2], 443).into()),
        traffic,
        orders: Orders::default(),
        tally: Arc::new(Tally::new(DestinationName::new("cisco"))),
    }
}
