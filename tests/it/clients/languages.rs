//! Python, Node and Go, which know Basic only, and so come by TLS.

use tokio::process::Command;

use super::{Story, Terms, World, client_file, installed, run};

fn python(world: &World, library: &str) -> Command {
    installed(&format!("/usr/lib/python3/dist-packages/{library}"));
    let mut python = world.program("/usr/bin/python3");
    // No __pycache__ beside the sources.
    python
        .arg("-B")
        .arg(client_file(&format!("{library}_client.py")));
    python
}

fn node(world: &World, library: &str) -> Command {
    installed(&format!("/usr/share/nodejs/{library}"));
    let mut node = world.program("/usr/bin/node");
    node.env("NODE_PATH", "/usr/share/nodejs")
        .arg(client_file(&format!(
            "{}_client.cjs",
            library.replace('-', "_")
        )));
    node
}

const TUNNEL: Story<'_> = Story {
    listener: "tls",
    ends: &["CONNECT 200 basic finished"],
    ends_wrong: &["CONNECT 407 basic bad_credentials"],
};

const FORWARD: Story<'_> = Story {
    listener: "tls",
    ends: &["GET 200 basic finished", "POST 200 basic finished"],
    ends_wrong: &["GET 407 basic bad_credentials"],
};

/// A password is checked against the lines that there are, of whichever kind.
async fn with_lines_of_one_kind(world: &World, forwards: bool, clients: &[&dyn Fn() -> Command]) {
    let mut ends = TUNNEL.ends.to_vec();
    if forwards {
        ends.push("GET 200 basic finished");
    }
    let story = Story {
        ends: &ends,
        ..TUNNEL
    };
    let mut before = Terms::DEFAULT;
    for terms in [Terms::ONLY_MD5, Terms::ONLY_SHA_256] {
        world.reload(&before, &terms).await;
        for client in clients {
            world.short_story(client, &story).await;
        }
        before = terms;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_clients_get_through() {
    let world = World::open().await;
    for library in ["requests", "httpx", "aiohttp"] {
        println!("{library}");
        let client = || python(&world, library);
        world.whole_story("https", &client, &TUNNEL).await;
        world.whole_story("http", &client, &FORWARD).await;
    }
    let clients = ["requests", "httpx", "aiohttp"].map(|library| || python(&world, library));
    let [requests, httpx, aiohttp] = &clients;
    with_lines_of_one_kind(&world, true, &[requests, httpx, aiohttp]).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_clients_get_through_and_tunnel_plain_http_too() {
    let world = World::open().await;
    for library in ["undici", "https-proxy-agent"] {
        for scheme in ["https", "http"] {
            println!("{library} {scheme}");
            let client = || node(&world, library);
            world.whole_story(scheme, &client, &TUNNEL).await;
        }
    }
    let clients = ["undici", "https-proxy-agent"].map(|library| || node(&world, library));
    let [undici, agent] = &clients;
    with_lines_of_one_kind(&world, false, &[undici, agent]).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_gets_through() {
    let world = World::open().await;
    let program = world.house.folder.path().join("client");
    let mut build = world.program("/usr/bin/go");
    build
        // Newer compilers build their standard library themselves; once is enough.
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"))
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .env("CGO_ENABLED", "0")
        .args(["build", "-o"])
        .arg(&program)
        .arg(client_file("client.go"));
    let built = run(build, None).await;
    assert_eq!(built.code, Some(0), "{}", built.errors);
    let client = || world.command(&program);
    world.whole_story("https", &client, &TUNNEL).await;
    world.whole_story("http", &client, &FORWARD).await;
    with_lines_of_one_kind(&world, true, &[&client]).await;
    world.close().await;
}

const UPGRADE: &[&str] = &["GET 101 basic finished", "tunnel of GET 101 basic finished"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_sockets_live_in_tunnels_and_forwarded() {
    let world = World::open().await;
    for (library, scheme, ends) in [
        ("aiohttp", "wss", TUNNEL.ends),
        // It asks the proxy for ws://… itself.
        ("aiohttp", "ws", UPGRADE),
        ("https-proxy-agent", "wss", TUNNEL.ends),
        ("https-proxy-agent", "ws", TUNNEL.ends),
    ] {
        println!("{library} {scheme}");
        let mut client = if library == "aiohttp" {
            python(&world, library)
        } else {
            node(&world, library)
        };
        client
            .args([&world.proxy("tls"), "ann", "secret"])
            .arg(format!("WS {} ring ring", world.url(scheme, "/ws")));
        let said = run(client, None).await;
        assert_eq!(said.lines(), ["101 ring ring"], "{}", said.errors);
        world.ends(ends).await;
        world.origin_saw(&["GET /ws"]);
    }
    world.close().await;
}
