//! Starting, and not starting: exit codes and words that say what to do.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::house::{Folder, House};

fn tidegate(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat())
        .into_owned()
}

#[tokio::test]
async fn a_second_copy_on_the_same_port_is_told_so() {
    let house = House::new().open().await;
    let folder = Folder::new();
    folder.file("second.toml", &format!("[[listener]]\nname = \"plain\"\naddress = \"{}\"\n[admin]\naddress = \"127.0.0.1:0\"\n", house.address("plain")));
    let second = tidegate(&["--config", "second.toml"], folder.path());
    assert_eq!(second.status.code(), Some(1), "{}", said(&second));
    let said = said(&second);
    assert!(
        said.contains(&house.address("plain").to_string())
            && said.contains("second tidegate")
            && said.contains("plain"),
        "{said}"
    );
    house.close().await;
}

#[test]
fn a_bad_configuration_is_78_with_every_complaint() {
    let folder = Folder::new();
    folder.file(
        "bad.toml",
        "[tunnel]\nidle_timeout = \"5m\"\nkeepalife = 3\n\n[log]\nlevel = \"loud\"\n",
    );
    for arguments in [&["run", "--config", "bad.toml"][..], &["check", "bad.toml"]] {
        let output = tidegate(arguments, folder.path());
        assert_eq!(output.status.code(), Some(78), "{}", said(&output));
        let said = said(&output);
        for words in [
            "bad.toml:2: ",
            "30",
            "bad.toml:3: ",
            "keepalife",
            "keepalive",
            "bad.toml:6: ",
            "loud",
        ] {
            assert!(said.contains(words), "{words:?} is missing in:\n{said}");
        }
    }
}

#[test]
fn an_open_proxy_and_an_unreadable_key_are_refused() {
    let folder = Folder::new();
    folder.file(
        "open.toml",
        "[[listener]]\nname = \"all\"\naddress = \"0.0.0.0:3128\"\n[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:3129\"\n[listener.tls]\ncertificate = \"no.pem\"\nprivate_key = \"no.key\"\n",
    );
    let output = tidegate(&["check", "open.toml"], folder.path());
    assert_eq!(output.status.code(), Some(78));
    let said = said(&output);
    assert!(
        said.contains("allow_from")
            && said.contains("open.toml:8: ")
            && said.contains("open.toml:9: "),
        "{said}"
    );
}

#[test]
fn the_sample_configuration_is_good() {
    let output = tidegate(
        &[
            "check",
            concat!(env!("CARGO_MANIFEST_DIR"), "/config/tidegate.toml"),
        ],
        Path::new("/"),
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [&["run", "--confg", "x"][..], &["check"], &["dance"]] {
        assert_eq!(
            tidegate(arguments, Path::new("/")).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    assert_eq!(
        tidegate(&["--version"], Path::new("/")).status.code(),
        Some(0)
    );
}

#[tokio::test]
async fn a_password_set_with_passwd_opens_the_door() {
    let folder = Folder::new();
    let set = |arguments: &str, password: &str| {
        use std::io::Write;
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(format!("{password}\n").as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    };
    set("passwd users.htdigest ann", "first");
    set("passwd users.htdigest ann --add", "second");
    let text = || std::fs::read_to_string(folder.path().join("users.htdigest")).unwrap();
    assert_eq!(text().lines().count(), 4, "{}", text());
    for password in ["first", "second"] {
        for hash in [
            crate::client::md5(&format!("ann:tidegate:{password}")),
            crate::client::sha256(&format!("ann:tidegate:{password}")),
        ] {
            assert!(text().contains(&hash), "{}", text());
        }
    }
    let retire = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["passwd", "users.htdigest", "ann", "--retire"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(retire.status.code(), Some(0), "{}", said(&retire));
    assert!(
        text().contains(&crate::client::md5("ann:tidegate:second"))
            && !text().contains(&crate::client::md5("ann:tidegate:first")),
        "{}",
        text()
    );
}

#[test]
fn a_log_that_may_not_be_written_is_a_complaint_and_nothing_is_made() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let folder = Folder::new();
    let file = folder.file(
        "log.toml",
        "[log]\naccess = \"logs/access.log\"\n[admin]\ncontrol_socket = \"logs/control.sock\"\n",
    );
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let mode = |mode| std::fs::set_permissions(&logs, std::fs::Permissions::from_mode(mode));
    // Root may write anywhere: the program runs as nobody, where nobody can reach it.
    let program = folder.path().join("tidegate");
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    let check = || {
        let mut command = Command::new(&program);
        command.arg("check").arg(&file).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        command.output().expect("runs")
    };
    mode(0o555).unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(
        said(&output).contains("log.access: \"logs/access.log\" may not be written"),
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("log.toml:4: admin.control_socket: the folder of"),
        "{}",
        said(&output)
    );
    mode(0o777).unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!logs.join("access.log").exists(), "it was made");
}

/// What stands in the way of the control socket is complained of, and only a folder that is not there yet is not.
#[test]
fn a_control_socket_that_cannot_be_made_is_a_complaint() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    folder.file("file", "mine");
    let socket = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    for (socket, code, words) in [
        ("file", 78, "is there already, and is no socket"),
        ("folder", 78, "is there already, and is no socket"),
        ("file/control.sock", 78, "which is no folder"),
        ("dead.sock", 0, "ok"),
        ("new.sock", 0, "ok"),
        (
            "none/control.sock",
            0,
            "note: the folder of admin.control_socket does not exist",
        ),
    ] {
        folder.file("t.toml", &format!("[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\ncontrol_socket = \"{socket}\"\n"));
        let output = tidegate(&["check", "t.toml"], folder.path());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{socket}: {}",
            said(&output)
        );
        assert!(said(&output).contains(words), "{socket}: {}", said(&output));
        if code == 78 {
            let output = tidegate(&["run", "--config", "t.toml"], folder.path());
            assert_eq!(
                output.status.code(),
                Some(78),
                "{socket}: {}",
                said(&output)
            );
        }
    }
    assert_eq!(
        std::fs::read_to_string(folder.path().join("file")).unwrap(),
        "mine"
    );
}

#[test]
fn a_log_that_cannot_be_opened_is_noticed_before_anything_is_served() {
    let folder = Folder::new();
    let pipe = folder.path().join("access.pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // A named pipe without a reader cannot be opened.
    let check = |file: &str| tidegate(&["check", file], folder.path());
    folder.file("pipe.toml", "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"access.pipe\"\n");
    let output = tidegate(&["--config", "pipe.toml"], folder.path());
    // Trying again does not help.
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("access.pipe"), "{told}");
    assert!(!told.contains("listening"), "{told}");
    let output = check("pipe.toml");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("note: log.access is a named pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("a.sock")).unwrap();
    folder.file("socket.toml", "[log]\naccess = \"a.sock\"\n");
    let output = check("socket.toml");
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(said(&output).contains("\"a.sock\" is a socket"));
}

#[test]
fn the_list_for_the_firewall_needs_no_file_and_no_network() {
    let folder = Folder::new();
    let list = tidegate(&["export-acl"], folder.path());
    assert_eq!(list.status.code(), Some(0), "{}", said(&list));
    assert_eq!(said(&list), include_str!("snapshots/export_acl.txt"));
    folder.file("bad.toml", "[tunnel]\nkeepalife = 3\n");
    for (arguments, code) in [
        (&["export-acl", "--format", "csv"][..], 0),
        (&["export-acl", "--format", "json"], 0),
        (&["export-acl", "--format", "xml"], 2),
        (&["export-acl", "--config", "bad.toml"], 78),
    ] {
        let output = tidegate(arguments, folder.path());
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert_eq!(output.stdout.is_empty(), code != 0, "{}", said(&output));
    }
}

/// The first block of that kind in the guide for Cisco.
fn guide_for_cisco(fence: &str) -> &'static str {
    let guide = include_str!("../../docs/cisco.md");
    let (_, rest) = guide.split_once(fence).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_configuration_in_the_guide_for_cisco_is_good() {
    let folder = Folder::new();
    folder.file("tidegate.toml", guide_for_cisco("```toml"));
    let line = format!("cucm1:tidegate:{}\n", "0".repeat(32));
    folder.file("users.htdigest", &line);
    let output = tidegate(&["check", "tidegate.toml"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// What root alone can read is good to root's check, and no service starts with it.
#[test]
fn the_guide_for_cisco_gives_the_service_what_it_must_read_and_checks_as_the_service() {
    let readme = include_str!("../../README.md");
    let lines: Vec<&str> =
        guide_for_cisco("As root, where the service runs as the user `tidegate`:\n\n```sh\n")
            .lines()
            .collect();
    let place = |start: &str| {
        let place = lines.iter().position(|line| line.starts_with(start));
        place.unwrap_or_else(|| panic!("no {start} in {lines:?}"))
    };
    let order = [
        "tidegate passwd ",
        "chgrp tidegate ",
        "chmod 0640 ",
        "runuser -u tidegate -- tidegate check ",
        "systemctl enable --now tidegate",
    ]
    .map(place);
    assert!(order.is_sorted(), "{lines:?}");
    for place in order {
        assert!(readme.contains(lines[place]), "{}", lines[place]);
    }
}
