//! The status page, as a browser shows it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_load::cloud::{Behavior, Cloud, CloudPlan, Running};
use tidegate_load::onprem::{ProxyClient, PushLabel, Server, ServerPlan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::browser::Browser;
use crate::house::{House, PATIENCE};
use crate::upstream;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 6, last])
}

fn url(house: &House) -> String {
    format!("http://{}/", house.admin_address())
}

fn row(peer: SocketAddr, state: &str) -> String {
    format!("document.querySelector('[data-peer=\"{peer}\"]').dataset.state === '{state}'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_dies_and_lives_again_shows_without_a_reload() {
    let good = upstream::echo_on(ip(1)).await;
    let bad = SocketAddr::new(ip(2), good.port());
    let house = House::new()
        .set("connect", "quarantine = \"1s\"\nquarantine_max = \"1s\"")
        .name("push.test", [ip(1), ip(2)])
        .open()
        .await;
    let browser = Browser::open().await;
    browser.visit(&url(&house)).await;
    // The empty state: nothing has happened, and that is well.
    browser
        .becomes("document.getElementById('headline').textContent === 'All is well'")
        .await;
    let state = browser
        .text("document.getElementById('state').innerText")
        .await;
    assert!(
        state.contains("Nobody has asked for anything yet."),
        "{state}"
    );
    let destinations = browser
        .text("document.getElementById('destinations').innerText")
        .await;
    assert!(destinations.contains("not asked for yet"), "{destinations}");
    // A reload would take this away.
    browser.value("window.mark = 'same page'").await;
    browser
        .becomes("document.getElementById('live').dataset.state === 'live'")
        .await;

    let target = format!("push.test:{}", good.port());
    let mut client = house.client().await;
    client.tunnel(&target).await;
    browser.becomes(&row(good, "healthy")).await;
    browser.becomes(&row(bad, "quarantined")).await;
    browser
        .becomes("document.querySelector('#tunnels .big').firstChild.nodeValue === '1'")
        .await;
    browser
        .becomes("document.getElementById('headline').textContent === 'It works, and wants a look'")
        .await;

    let _revived = upstream::echo_at(bad).await;
    let healthy = row(bad, "healthy");
    // While a destination is in use, its resting addresses are looked at.
    tokio::select! {
        () = browser.becomes(&healthy) => {}
        () = keep_asking(&house, &target) => {}
    }
    assert_eq!(browser.text("window.mark").await, "same page");

    // It asks for nothing but itself and its events, and breaks no rule of its own.
    let asked = browser
        .text("performance.getEntriesByType('resource').map((one) => one.name).filter((name) => !name.startsWith('data:') && new URL(name).pathname !== '/events').join()")
        .await;
    assert_eq!(asked, "");
    assert_eq!(browser.complaints().await, [""; 0]);
    drop(browser);
    house.close_with_tunnels().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_says_what_to_do_with_and_without_scripts() {
    let dead = upstream::refusing().await;
    let house = House::new().name("push.test", [dead.ip()]).open().await;
    let browser = Browser::open().await;
    browser.visit(&url(&house)).await;
    browser
        .becomes("document.getElementById('alarms').innerText.includes('No alarm is active')")
        .await;
    let target = format!("push.test:{}", dead.port());
    assert_eq!(house.client().await.connect(&target).await.status, 502);
    let wanted = "document.querySelector('#alarms > [data-alarm=\"TidegateAllAddressesDead\"]')";
    browser
        .becomes(&format!("{wanted}.innerText.includes('What to do:')"))
        .await;
    browser
        .becomes("document.title.startsWith('Something is wrong')")
        .await;
    browser.scripts_off().await;
    browser.visit(&url(&house)).await;
    let page = browser.text("document.documentElement.outerHTML").await;
    drop(browser);
    for words in [
        "data-alarm=\"TidegateAllAddressesDead\"",
        "What to do:",
        "http-equiv=\"refresh\"",
        &format!("data-peer=\"{dead}\""),
        "connect_refused",
        // Not live, and it does not say so.
        "As of the moment it was loaded.",
    ] {
        assert!(page.contains(words), "no {words} in {page}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_fits_a_phone_and_has_a_dark_face() {
    let good = upstream::echo().await;
    let house = House::new().also(&limit()).open().await;
    house.client().await.tunnel(good).await;
    let browser = Browser::open().await;
    browser.visit(&url(&house)).await;
    for width in [320, 375, 768, 1280] {
        browser.width(width, 800).await;
        let wide = browser.value("document.documentElement.scrollWidth").await;
        assert_eq!(wide, width, "{width} wide");
        let table = "[...document.querySelectorAll('.scroll')].every((one) => one.scrollWidth <= one.clientWidth)";
        assert_eq!(
            browser.value(table).await,
            true,
            "a table is wider than {width}"
        );
    }
    let ground = "getComputedStyle(document.body).backgroundColor";
    let ink = "getComputedStyle(document.body).color";
    browser.prefers("light").await;
    let light = (browser.text(ground).await, browser.text(ink).await);
    browser.prefers("dark").await;
    let dark = (browser.text(ground).await, browser.text(ink).await);
    assert!(light.0 != dark.0 && light.1 != dark.1, "{light:?} {dark:?}");
    // For those who hear it or use keys: landmarks, a name for each table and plot, heads for each column.
    for (count, of) in [
        (1, "main"),
        (1, "h1"),
        (0, "table:not(:has(th[scope=col]))"),
        (0, "section:not([aria-labelledby])"),
        (0, "svg:not([aria-label])"),
        (0, "[style]"),
    ] {
        let found = format!("document.querySelectorAll('{of}').length");
        assert_eq!(browser.value(&found).await, count, "{of}");
    }
    drop(browser);
    house.close_with_tunnels().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_seen_to_its_end() {
    let good = upstream::echo().await;
    let house = House::new()
        .set("drain", "tunnel_grace = \"15s\"")
        .open()
        .await;
    let mut client = house.client().await;
    client.tunnel(good).await;
    let browser = Browser::open().await;
    browser.visit(&url(&house)).await;
    browser
        .becomes("document.getElementById('live').dataset.state === 'live'")
        .await;
    house.signal("TERM");
    browser
        .becomes("document.getElementById('state').dataset.phase === 'draining'")
        .await;
    // It goes on: the time is another.
    browser
        .value("window.then = document.querySelector('#state time').dateTime")
        .await;
    browser
        .becomes("document.querySelector('#state time').dateTime !== window.then")
        .await;
    let live = browser.text("document.getElementById('live').innerText");
    assert_eq!(live.await, "Live.");
    let mut house = house;
    assert_eq!(house.ended().await.code(), Some(0));
    browser
        .becomes("document.getElementById('live').dataset.state === 'ended'")
        .await;
    let headline = browser.text("document.getElementById('headline').innerText");
    assert_eq!(headline.await, "The proxy has ended");
    assert!(browser.text("document.title").await.starts_with("Ended"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_from_a_drain_does_not_take_it_for_ended() {
    let good = upstream::echo().await;
    let mut house = House::new().open().await;
    let mut client = house.client().await;
    client.tunnel(good).await;
    let browser = Browser::open().await;
    browser.visit(&url(&house)).await;
    browser
        .becomes("document.getElementById('live').dataset.state === 'live'")
        .await;
    house.signal("TERM");
    browser
        .becomes("document.getElementById('state').dataset.phase === 'draining'")
        .await;
    // To the browser it is the same: nobody answers, and half an hour is left to the tunnel.
    house.signal("KILL");
    house.ended().await;
    browser
        .becomes("document.getElementById('live').dataset.state === 'lost'")
        .await;
    let headline = browser.text("document.getElementById('headline').innerText");
    assert_eq!(headline.await, "Draining: it takes no new work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_place_among_the_watchers_renews_itself() {
    let house = House::new().open().await;
    let browser = Browser::open().await;
    let mut watchers = Vec::new();
    for _ in 0..8 {
        let mut watcher = ask_events(&house).await;
        heard(&mut watcher, "text/event-stream").await;
        watchers.push(watcher);
    }
    browser.visit(&url(&house)).await;
    // Where this takes so long that one of the others has to make room, it is live.
    let state = "document.getElementById('live').dataset.state";
    browser
        .becomes(&format!("{state} === 'renewed' || {state} === 'live'"))
        .await;
    drop(browser);
    house.close().await;
}

#[tokio::test]
async fn watchers_are_few_get_states_and_go_on_through_a_drain() {
    let house = House::new().open().await;
    let mut watchers = Vec::new();
    for _ in 0..8 {
        let mut watcher = ask_events(&house).await;
        heard(&mut watcher, "text/event-stream").await;
        watchers.push(watcher);
    }
    let mut late = ask_events(&house).await;
    heard(&mut late, " 503 ").await;
    // Scrapers find a place beside them.
    assert_eq!(house.admin("/livez").await.0, 200);
    heard(&mut watchers[7], "event: state").await;
    drop(watchers.remove(0));
    let freed = async {
        loop {
            let mut next = ask_events(&house).await;
            if heard_one_of(&mut next, &[" 503 ", "text/event-stream"]).await == 1 {
                return;
            }
        }
    };
    timeout(PATIENCE, freed)
        .await
        .expect("a place is free again");
    let good = upstream::echo().await;
    let mut client = house.client().await;
    client.tunnel(good).await;
    house.signal("TERM");
    for watcher in &mut watchers {
        for _ in 0..2 {
            heard(watcher, "Draining: it takes no new work").await;
        }
    }
    drop(client);
    let mut house = house;
    assert_eq!(house.ended().await.code(), Some(0));
}

fn limit() -> String {
    "[[limit]]\nname = \"per-cluster\"\nper = \"client\"\nrate = \"200/s\"\nburst = 400\ntunnels = 2000\n\n\
     [[limit]]\nname = \"together\"\nper = \"all\"\nrate = \"500/s\"\nbytes = \"10MiB/s\"\n"
        .to_owned()
}

async fn ask_events(house: &House) -> TcpStream {
    let mut tcp = TcpStream::connect(house.admin_address()).await.unwrap();
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    tcp.write_all(request).await.unwrap();
    tcp
}

async fn heard(stream: &mut TcpStream, words: &str) {
    heard_one_of(stream, &[words]).await;
}

/// Reads until one of these words came: which.
async fn heard_one_of(stream: &mut TcpStream, words: &[&str]) -> usize {
    let mut said = String::new();
    let read = async {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(which) = words.iter().position(|words| said.contains(words)) {
                return which;
            }
            let count = stream.read(&mut chunk).await.unwrap();
            assert_ne!(count, 0, "ended without {words:?}: {said}");
            said.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    };
    timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| panic!("never heard {words:?}"))
}

/// `UPDATE=1 cargo test --test it page::a_busy_proxy` takes the README's picture.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_proxy_shows_all_kinds_of_traffic() {
    let plan = CloudPlan::new().addresses(4).plain_port(0);
    let cloud = Cloud::start(plan.answer_after(Duration::from_millis(3)))
        .await
        .unwrap();
    let dead = upstream::refusing().await;
    let house = busy(&cloud, dead).await;
    let servers = servers(&house, &cloud).await;
    let browser = Browser::open().await;
    browser.width(1180, 1080).await;
    browser.visit(&url(&house)).await;
    // Samples are taken every few seconds; the curves need some of them.
    let points = if updating() { 30 } else { 3 };
    let drawn = format!(
        "(document.querySelector('#tunnels .line').getAttribute('d').match(/L/g) || []).length >= {points}"
    );
    let drawn = async { while browser.value(&drawn).await != true {} };
    let patience = if updating() { 20 } else { 3 } * PATIENCE;
    let drawn = async { timeout(patience, drawn).await.expect("the curves grow") };
    tokio::select! {
        () = drawn => {}
        () = push_on(&servers) => {}
    }
    cloud.set(1, Behavior::Hang).await.unwrap();
    let failing = format!("apns.test:{}", dead.port());
    assert_eq!(house.client().await.connect(&failing).await.status, 502);
    let told = "document.querySelector('#alarms > [data-alarm]')";
    // The dead one; for the picture also one of the cloud's, as soon as somebody dials it.
    let least = if updating() { 2 } else { 1 };
    let sick = format!("document.querySelectorAll('[data-state=quarantined]').length >= {least}");
    let seen = async {
        browser.becomes(told).await;
        browser.becomes(&sick).await;
        // All kinds of traffic show.
        for tile in ["pushes", "confirmation", "setup"] {
            let drawn = format!("document.querySelector('#{tile} .line').getAttribute('d')");
            browser.becomes(&drawn).await;
        }
    };
    tokio::select! {
        () = seen => {}
        () = push_on(&servers) => {}
    }
    let wide = browser.value("document.documentElement.scrollWidth").await;
    assert_eq!(wide, 1180);
    if updating() {
        let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/status-page.png");
        browser.picture(&picture).await;
        let size = std::fs::metadata(&picture).unwrap().len();
        assert!(size < 300_000, "{size} bytes");
        // To be looked at by whoever changed the style.
        for (name, width, height, scheme) in [
            ("light", 1180, 2200, "light"),
            ("dark", 1180, 2200, "dark"),
            ("phone", 375, 2600, "dark"),
        ] {
            browser.width(width, height).await;
            browser.prefers(scheme).await;
            let path = std::env::temp_dir().join(format!("status-page-{name}.png"));
            browser.picture(&path).await;
        }
    }
    drop(browser);
    for server in servers {
        server.close().await;
    }
    house.close_with_tunnels().await;
}

/// With the cloud's names, and a destination that is dead.
async fn busy(cloud: &Running, dead: SocketAddr) -> House {
    let ports = [cloud.port(), cloud.plain_port().unwrap()];
    let destination = |name: &str, hosts: &str, role: &str, ports: &[u16]| {
        format!(
            "[[destination]]\nname = \"{name}\"\nhosts = [{hosts}]\nports = {ports:?}\nrole = \"{role}\"\nnetworks = [\"127.0.0.0/8\"]\n"
        )
    };
    let plan = House::new()
        .set("connect", "quarantine = \"10m\"")
        .destination("name = \"lab\"\nhosts = [\"lab.test\"]\nports = [443]\nrole = \"other\"")
        .also(&destination("cisco", "\"push.test\"", "push", &ports))
        .also(&destination(
            "accounts",
            "\"token.test\", \"onboard.test\"",
            "token",
            &ports,
        ))
        .also(&destination(
            "apns",
            "\"apns.test\"",
            "push",
            &[dead.port()],
        ))
        .also(&limit())
        .name("apns.test", [dead.ip()]);
    let plan = ["push.test", "token.test", "onboard.test"]
        .into_iter()
        .fold(plan, |plan, name| plan.name(name, cloud.ips()));
    plan.open().await
}

/// Three of them, of which one sends every second push in absolute form.
async fn servers(house: &House, cloud: &Running) -> Vec<Arc<Server>> {
    let mut servers = Vec::new();
    for (name, percent) in [("cucm1", 0), ("cucm2", 0), ("imp1", 50)] {
        let mut plan = ServerPlan::new(name, cloud.port(), cloud.ca_pem());
        plan.tunnels = 12;
        plan.absolute.percent = percent;
        let origin = format!("http://push.test:{}", cloud.plain_port().unwrap());
        plan.absolute.origins.push(origin);
        let proxy = ProxyClient::plain(house.address("plain"));
        servers.push(Arc::new(Server::start(plan, proxy).await.unwrap()));
    }
    servers
}

/// Pushes of every kind, now some at a time, now more.
async fn push_on(servers: &[Arc<Server>]) {
    for turn in 0_usize.. {
        let wave = 1 + turn / 400 % 11;
        let pushes = servers.iter().cycle().take(wave * servers.len());
        let mut under_way = JoinSet::new();
        for (number, server) in pushes.enumerate() {
            let server = Arc::clone(server);
            let label = PushLabel::MIX[(turn + number) % PushLabel::MIX.len()];
            under_way.spawn(async move {
                let id = format!("{turn}-{number}");
                server.push_as(label, "phone", &id, "a call").await;
            });
        }
        while under_way.join_next().await.is_some() {}
    }
}

/// A CONNECT after the other.
async fn keep_asking(house: &House, target: &str) {
    loop {
        house.client().await.tunnel(target).await;
    }
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}
