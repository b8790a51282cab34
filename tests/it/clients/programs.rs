//! git and apt, as they come.

use std::path::Path;

use tokio::process::Command;

use super::origin::Pattern;
use super::{Pick, Terms, World, run};
use crate::house::House;

/// Runs a program that must succeed.
async fn succeeds(command: Command) -> Vec<String> {
    let shown = format!("{:?}", command.as_std());
    let said = run(command, None).await;
    let out = String::from_utf8_lossy(&said.out);
    assert_eq!(said.code, Some(0), "{shown}: {out} {}", said.errors);
    said.lines()
}

fn git(world: &World, arguments: &[&str]) -> Command {
    let mut git = world.program("/usr/bin/git");
    git.env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSL_CAINFO", &world.trust)
        .arg("-c")
        .arg(format!("http.proxySSLCAInfo={}", world.trust.display()))
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@origin.test"])
        .args(["-c", "init.defaultBranch=main"])
        .args(arguments);
    git
}

/// A repository with one file, as an HTTP server without git would show it.
async fn repository(world: &World) {
    let work = world.files.path().join("work");
    let work = work.to_str().unwrap();
    let bare = world.files.path().join("house.git");
    let bare = bare.to_str().unwrap();
    succeeds(git(world, &["init", "-q", work])).await;
    std::fs::write(Path::new(work).join("door"), "open\n").unwrap();
    succeeds(git(world, &["-C", work, "add", "door"])).await;
    succeeds(git(world, &["-C", work, "commit", "-q", "-m", "a door"])).await;
    succeeds(git(world, &["clone", "-q", "--bare", work, bare])).await;
    succeeds(git(world, &["-C", bare, "update-server-info"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn git_clones() {
    let world = World::open().await;
    repository(&world).await;
    for (scheme, listener, method, ends) in [
        (
            "https",
            "plain",
            "digest",
            &[
                "CONNECT 200 digest MD5 finished",
                "CONNECT 407 - no_credentials",
            ][..],
        ),
        ("https", "tls", "basic", &["CONNECT 200 basic finished"]),
        (
            "http",
            "plain",
            "digest",
            &["GET 200 digest MD5 finished", "GET 407 - no_credentials"],
        ),
        ("http", "tls", "basic", &["GET 200 basic finished"]),
    ] {
        println!("{scheme} {listener} {method}");
        let proxy = world.proxy(listener).replace("://", "://ann:secret@");
        let clone = world.house.folder.path().join(format!("{scheme}-{method}"));
        succeeds(git(
            &world,
            &[
                "-c",
                &format!("http.proxy={proxy}"),
                "-c",
                &format!("http.proxyAuthMethod={method}"),
                "clone",
                "-q",
                &world.url(scheme, "/files/house.git"),
                clone.to_str().unwrap(),
            ],
        ))
        .await;
        let door = std::fs::read_to_string(clone.join("door")).unwrap();
        assert_eq!(door, "open\n");
        world.ends(ends).await;
        assert!(!world.asked().is_empty());
    }
    let mut before = Terms::DEFAULT;
    for terms in Terms::OTHERS {
        world.reload(&before, &terms).await;
        let taken = terms.taken(Pick::First);
        for (scheme, listener, method) in [("https", "plain", "CONNECT"), ("http", "tls", "GET")] {
            println!("{scheme} {listener} {terms:?}");
            let proxy = world.proxy(listener).replace("://", "://ann:secret@");
            let proxy = format!("http.proxy={proxy}");
            let house = world.url(scheme, "/files/house.git");
            let refs = succeeds(git(
                &world,
                &[
                    "-c",
                    &proxy,
                    "-c",
                    "http.proxyAuthMethod=digest",
                    "ls-remote",
                    &house,
                ],
            ))
            .await;
            assert!(
                refs.iter().any(|line| line.ends_with("refs/heads/main")),
                "{refs:?}"
            );
            let ends = [
                format!("{method} 200 digest {taken} finished"),
                format!("{method} 407 - no_credentials"),
            ];
            world.ends(&ends).await;
            assert!(!world.asked().is_empty());
        }
        before = terms;
    }
    world.close().await;
}

/// apt with a world of its own: nothing of this machine's configuration, lists or status.
fn apt(world: &World, scheme: &str, proxy: &str, arguments: &[&str]) -> Command {
    let folder = world.house.folder.path();
    let root = folder.join(format!("apt-{scheme}"));
    for place in ["state/lists/partial", "cache/archives/partial", "etc"] {
        std::fs::create_dir_all(root.join(place)).unwrap();
    }
    std::fs::write(root.join("status"), "").unwrap();
    let source = format!("deb [trusted=yes] {} ./\n", world.url(scheme, "/files/apt"));
    std::fs::write(root.join("etc/sources.list"), source).unwrap();
    let root = root.display();
    // Read before everything else, so that the machine's own hooks are never seen.
    let configuration = format!(
        "Dir::Etc::Main \"/dev/null\";\nDir::Etc::Parts \"/dev/null\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::SourceList \"{root}/etc/sources.list\";\nDir::State \"{root}/state\";\n\
         Dir::State::Status \"{root}/status\";\nDir::Cache \"{root}/cache\";\nAPT::Sandbox::User \"\";\n\
         Acquire::Languages \"none\";\nAcquire::Retries \"0\";\n\
         APT::Update::Error-Mode \"any\";\nAcquire::https::CaInfo \"{trust}\";\n\
         Acquire::http::Proxy \"{proxy}\";\nAcquire::https::Proxy \"{proxy}\";\n",
        trust = world.trust.display(),
    );
    let file = folder.join(format!("apt-{scheme}.conf"));
    std::fs::write(&file, configuration).unwrap();
    let mut apt = world.program("/usr/bin/apt-get");
    apt.env("APT_CONFIG", file).arg("-q").args(arguments);
    apt
}

/// A flat repository with one package of 300 kB; apt checks what it downloads by its hash alone.
fn packages(world: &World) {
    let folder = world.files.path().join("apt");
    std::fs::create_dir(&folder).unwrap();
    let package: Vec<u8> = Pattern::new(300_000).flatten().collect();
    std::fs::write(folder.join("door_1_all.deb"), package).unwrap();
    let index = format!(
        "Package: door\nVersion: 1\nArchitecture: all\nMaintainer: Ann <ann@origin.test>\nDescription: a door\n\
         Filename: ./door_1_all.deb\nSize: 300000\nSHA256: {}\n\n",
        Pattern::sha256(300_000)
    );
    std::fs::write(folder.join("Packages"), index).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apt_updates_and_downloads() {
    // apt knows Basic only, and its TLS inside TLS waits for bytes that it has read already.
    let plan = House::new().set("authentication", "basic_requires_tls = false");
    let world = World::around(plan).await;
    packages(&world);
    for (scheme, listener, ends) in [
        ("https", "plain", &["CONNECT 200 basic finished"][..]),
        (
            "http",
            "tls",
            &["GET 200 basic finished", "GET 404 basic finished"],
        ),
    ] {
        println!("{scheme} {listener}");
        let proxy = world.proxy(listener).replace("://", "://ann:secret@");
        succeeds(apt(&world, scheme, &proxy, &["update"])).await;
        succeeds(apt(&world, scheme, &proxy, &["download", "door"])).await;
        let package = world.house.folder.path().join("door_1_all.deb");
        let package = std::fs::read(package).expect("downloaded");
        let wanted: Vec<u8> = Pattern::new(300_000).flatten().collect();
        assert!(package == wanted);
        world.ends(ends).await;
        // apt tells an https origin the proxy's password too, inside the tunnel, where no proxy can take it out.
        let asked = if scheme == "https" {
            world.origin.asked()
        } else {
            world.asked()
        };
        assert!(!asked.is_empty());
    }
    world.close().await;
}
