//! Idle tunnels over a bad link: in network namespaces of our own, lost keepalives and 30 s without link end none.
//!
//! Where no namespace can be made (it takes root and iproute2), the test says that it was skipped.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::time::sleep;

use crate::client::Client;
use crate::house::{House, Plan};
use crate::upstream;

/// Two namespaces, joined by a veth pair: the proxy in `near`, its client and its target in `far`.
struct Link {
    near: String,
    far: String,
}

fn ip(arguments: &str) -> bool {
    let arguments = arguments.split(' ');
    Command::new("ip")
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

impl Link {
    fn new() -> Option<Self> {
        let id = std::process::id();
        let link = Self {
            near: format!("tgn{id}"),
            far: format!("tgf{id}"),
        };
        let Self { near, far } = &link;
        let made = ip(&format!("netns add {near}"))
            && ip(&format!("netns add {far}"))
            && ip(&format!(
                "link add tg0 netns {near} type veth peer name tg1 netns {far}"
            ))
            && ip(&format!("-n {near} address add 192.0.2.1/24 dev tg0"))
            && ip(&format!("-n {far} address add 192.0.2.2/24 dev tg1"))
            && ip(&format!("-n {near} link set lo up"))
            && ip(&format!("-n {near} link set tg0 up"))
            && ip(&format!("-n {far} link set tg1 up"));
        made.then_some(link)
    }

    /// The far end of the cable.
    fn set(&self, state: &str) {
        assert!(
            ip(&format!("-n {} link set tg1 {state}", self.far)),
            "link {state}"
        );
    }

    /// Runs something in the far namespace: a socket belongs to the one it was made in.
    fn far<T: Send>(&self, make: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.far)).expect("exists");
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                use std::os::fd::AsFd;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may");
                make()
            });
            made.join().expect("made")
        })
    }

    fn house(&self, keepalive: &str) -> Plan {
        House::new()
            .in_namespace(&self.near)
            .plain_listener(
                "name = \"plain\"\naddress = \"192.0.2.1:0\"\nallow_from = [\"192.0.2.0/24\"]",
            )
            .destination("name = \"far\"\nhosts = [\"192.0.2.2\"]\nports = [\"1-65535\"]")
            .set("tunnel", keepalive)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.near));
        ip(&format!("netns del {}", self.far));
    }
}

#[tokio::test]
async fn lost_keepalives_and_30_s_without_link_end_no_idle_tunnel() {
    let Some(link) = Link::new() else {
        println!("SKIPPED: no network namespaces can be made here");
        return;
    };
    let listener = link.far(|| TcpListener::bind("192.0.2.2:0").unwrap());
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let target = listener.local_addr().unwrap();

    // Within the 30 s two probes in a row are lost on each leg, as many as with the defaults (60 s, 15 s, 4).
    let house = link
        .house("keepalive = { idle = \"10s\", interval = \"15s\", probes = 4 }")
        .open()
        .await;
    // To know that probes are lost at all: a house that gives up after the first.
    let hasty = link
        .house("keepalive = { idle = \"10s\", interval = \"15s\", probes = 1 }")
        .open()
        .await;

    let mut tunnels = Vec::new();
    for house in [&house, &hasty] {
        let address = house.address("plain");
        let client = link.far(|| TcpStream::connect(address).unwrap());
        client.set_nonblocking(true).unwrap();
        let mut client = Client::from_tcp(tokio::net::TcpStream::from_std(client).unwrap());
        client.tunnel(target).await;
        let (server, _) = listener.accept().await.unwrap();
        tunnels.push((client, server));
    }
    link.set("down");
    // The kernel's keepalive timers know no other clock than this.
    sleep(Duration::from_secs(30)).await;
    link.set("up");
    let line = hasty.line().await;
    assert!(
        ["client_gone", "upstream_timeout"].contains(&line["reason"].as_str().unwrap()),
        "{line}"
    );
    // The next probes of the patient house are due, and answered.
    sleep(Duration::from_secs(12)).await;
    let (mut client, mut server) = tunnels.swap_remove(0);
    client.send("still here").await;
    assert_eq!(upstream::read(&mut server, 10).await, b"still here");
    use tokio::io::AsyncWriteExt;
    server.write_all(b"so am I").await.unwrap();
    assert_eq!(client.read(7).await, b"so am I");
    assert_eq!(house.lines_left(), Vec::<String>::new());
    house.close_with_tunnels().await;
    hasty.close().await;
}
