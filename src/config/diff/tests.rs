use super::*;
use crate::config::parse;
use crate::config::tests::{Folder, certificate};

/// Both files, each in the folder of both, and what the plan says.
fn plan(folder: &Folder, old: &str, new: &str) -> (Vec<String>, Vec<String>) {
    let read =
        |text: &str| parse(text, &folder.path("t.toml")).unwrap_or_else(|all| panic!("{all}"));
    told(&diff(&read(old), &read(new)))
}

fn told(plan: &Plan) -> (Vec<String>, Vec<String>) {
    let strings = |changes: &[Change]| changes.iter().map(ToString::to_string).collect();
    (strings(&plan.apply), strings(&plan.needs_restart))
}

#[track_caller]
fn check(old: &str, new: &str, apply: &[&str], restart: &[&str]) {
    let (at_once, later) = plan(&Folder::new(), old, new);
    assert_eq!(at_once, apply, "at once");
    assert_eq!(later, restart, "needs a restart");
}

const PLAIN: &str = "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:3128\"\n";

#[test]
fn keys_of_sections() {
    check("", "", &[], &[]);
    check("", "[log]\nlevel = \"info\"\n", &[], &[]);
    check(
        "",
        "[log]\nlevel = \"warn\"\nqueue_lines = 9\n",
        &["log.level: \"info\" → \"warn\""],
        &["log.queue_lines: 8192 → 9"],
    );
    check(
        "",
        "[drain]\ntunnel_grace = \"1m\"\n[tunnel]\nkeepalive = { idle = \"90s\" }\n[connect]\nbudget = \"2s\"\n",
        &["drain.tunnel_grace: \"30m\" → \"1m\""],
        &[
            "connect.budget: \"1500ms\" → \"2s\"",
            "tunnel.keepalive.idle: \"1m\" → \"90s\"",
        ],
    );
    check(
        "",
        "[authentication]\nrealm = \"push\"\nnonce_lifetime = \"1h\"\n",
        &[
            "authentication.nonce_lifetime: \"4h\" → \"1h\"",
            "authentication.realm: \"tidegate\" → \"push\"",
        ],
        &[],
    );
    check(
        "",
        "[admin]\ncontrol_socket = \"/c.sock\"\n",
        &[],
        &["admin.control_socket: not set → \"/c.sock\""],
    );
}

#[test]
fn destinations_and_clients_apply_at_once() {
    let lab = "[[destination]]\nname = \"lab\"\nhosts = [\"a.test\"]\n";
    let fcm = "[[destination]]\npreset = \"fcm\"\n";
    check(
        &format!("{lab}{fcm}"),
        &lab.replace("a.test", "b.test"),
        &[
            "destination \"lab\".hosts: [\"a.test\"] → [\"b.test\"]",
            "destination \"fcm\": removed",
        ],
        &[],
    );
    check(
        lab,
        &format!("{lab}{fcm}"),
        &["destination \"fcm\": added"],
        &[],
    );
    check(
        &format!("{lab}{fcm}"),
        &format!("{fcm}{lab}"),
        &["destination: in another order"],
        &[],
    );
    check(
        "",
        "[[client]]\nname = \"a\"\nnetworks = [\"10.0.0.0/8\"]\n",
        &["client \"a\": added"],
        &[],
    );
}

#[test]
fn a_listener_applies_what_does_not_move_its_socket() {
    let allowed = format!("{PLAIN}allow_from = [\"10.0.0.0/8\"]\n");
    check(
        PLAIN,
        &allowed,
        &["listener \"plain\".allow_from: [] → [\"10.0.0.0/8\"]"],
        &[],
    );
    // The address is what it was, so nothing of it applies by halves.
    check(
        PLAIN,
        &allowed.replace("3128", "3129"),
        &[],
        &[
            "listener \"plain\".address: \"127.0.0.1:3128\" → \"127.0.0.1:3129\"",
            "listener \"plain\".allow_from: [] → [\"10.0.0.0/8\"]",
        ],
    );
    let other = PLAIN.replace("plain", "other").replace("3128", "3129");
    check(
        PLAIN,
        &format!("{PLAIN}{other}"),
        &[],
        &["listener \"other\": added"],
    );
    check(
        &format!("{PLAIN}{other}"),
        PLAIN,
        &[],
        &["listener \"other\": removed"],
    );
}

#[test]
fn what_stands_in_files_counts() {
    let folder = Folder::new();
    let furnish = |users: &str, key: &str| {
        let (chain, private) = certificate();
        folder.write("proxy.pem", chain);
        folder.write("proxy.key", private);
        folder.write("users", users);
        folder.write("nonce.key", format!("1 {}\n", key.repeat(64)));
    };
    let text = "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:3129\"\n[listener.tls]\n\
        certificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"\n\
        [authentication]\nrequired = true\nusers = \"users\"\nnonce_key_file = \"nonce.key\"\n";
    let read = || parse(text, &folder.path("t.toml")).unwrap_or_else(|all| panic!("{all}"));
    let line = |user: &str, digit: &str| format!("{user}:tidegate:{}\n", digit.repeat(32));
    furnish(
        &(line("ann", "1") + &line("bob", "1") + &line("eve", "1")),
        "a",
    );
    let old = read();
    assert_eq!(told(&diff(&old, &read())).0, Vec::<String>::new());
    furnish(
        &(line("ann", "2") + &line("eve", "1") + &line("joe", "1") + &line("jim", "1")),
        "b",
    );
    let new = read();
    let (at_once, later) = told(&diff(&old, &new));
    assert_eq!(
        at_once,
        [
            "listener \"tls\".tls.certificate: content changed",
            "authentication.users: 2 added, 1 removed, 1 with another password",
            "authentication.nonce_key_file: content changed",
        ]
    );
    assert_eq!(later, Vec::<String>::new());
    // Neither a name, nor a hash, nor a key.
    let all = at_once.join(" ");
    assert!(
        !all.contains("ann") && !all.contains("1111") && !all.contains("aaaa"),
        "{all}"
    );
}

#[test]
fn what_waits_for_a_restart_is_named_again_at_the_next_reload() {
    let folder = Folder::new();
    let read =
        |text: &str| parse(text, &folder.path("t.toml")).unwrap_or_else(|all| panic!("{all}"));
    let (first, second) = (
        read(""),
        read("[runtime]\nworkers = 2\n[log]\nlevel = \"warn\"\n"),
    );
    let now = in_force(&first, &second);
    assert_eq!((now.runtime.workers, now.log.level), (0, second.log.level));
    assert_eq!(now.source.hash, second.source.hash);
    assert_eq!(now.source.shown["runtime"]["workers"], 0);
    let (at_once, later) = told(&diff(&now, &second));
    assert_eq!(
        (at_once.len(), later),
        (0, vec!["runtime.workers: 0 → 2".to_owned()])
    );
    // Taken back, it is no difference any more.
    assert_eq!(told(&diff(&now, &first)).1, Vec::<String>::new());
}

#[test]
fn long_values_are_cut() {
    let hosts: Vec<String> = (0..100).map(|n| format!("\"h{n}.test\"")).collect();
    let lab = |hosts: &str| format!("[[destination]]\nname = \"lab\"\nhosts = [{hosts}]\n");
    let (at_once, _) = plan(
        &Folder::new(),
        &lab("\"é.test\"").replace("é", "e"),
        &lab(&hosts.join(", ")),
    );
    assert!(
        at_once[0].len() < 300 && at_once[0].ends_with('…'),
        "{}",
        at_once[0]
    );
}

#[test]
fn where_alarms_go_applies_at_once() {
    let folder = Folder::new();
    folder.write_private("token", "sesame\n");
    let hook = |url: &str| {
        format!(
            "[alarms]\nwebhook = \"{url}\"\nwebhook_secret_file = \"token\"\ntimeout = \"2s\"\n"
        )
    };
    let (at_once, later) = plan(&folder, "", &hook("https://h/a"));
    assert_eq!(later, [""; 0]);
    assert_eq!(at_once.len(), 3, "{at_once:?}");
    let old = parse(&hook("https://h/a"), &folder.path("t.toml")).unwrap();
    folder.write_private("token", "mellon\n");
    let new = parse(&hook("https://h/b"), &folder.path("t.toml")).unwrap();
    // What is not shown has changed all the same.
    let expected = [
        "alarms.webhook: content changed",
        "alarms.webhook_secret_file: content changed",
    ];
    assert_eq!(told(&diff(&old, &new)).0, expected);
}
