//! Programs and libraries that people really use, each as a process of its own, through the proxy to a real origin.
//!
//! The programs are in `tests/clients`; what must be installed for them is listed in `tests/clients/packages`.

mod curl;
mod java;
mod languages;
mod origin;
mod programs;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use self::origin::{Asked, Origin, Pattern};
use crate::client;
use crate::house::{Folder, House, Plan};

/// Virtual machines and compilers start slowly on a busy machine; nothing waits so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A proxy that knows `ann`, an origin behind it, and whom to trust.
#[derive(Debug)]
struct World {
    house: House,
    origin: Origin,
    files: Folder,
    /// Both certificate authorities, PEM.
    trust: PathBuf,
    /// Exchanges whose lines were taken.
    exchanges_seen: Cell<u64>,
}

/// What a program left behind.
#[derive(Debug)]
struct Said {
    out: Vec<u8>,
    errors: String,
    code: Option<i32>,
}

impl World {
    async fn open() -> Self {
        Self::around(House::new()).await
    }

    async fn around(plan: Plan) -> Self {
        let files = Folder::new();
        let origin = Origin::start(files.path()).await;
        let house = plan
            .user("ann", "secret")
            .tls()
            .name("origin.test", ["127.0.0.1".parse().unwrap()])
            // The JDK repeats a wrong password by itself, many times over, and here everybody has one address.
            .set("authentication", "failure_burst = 10000")
            .set("authentication", Terms::DEFAULT.order)
            .controlled()
            .open()
            .await;
        let both = format!("{}{}", house.ca(), origin.ca);
        let trust = house.folder.file("trust.pem", &both);
        Self {
            house,
            origin,
            files,
            trust,
            exchanges_seen: Cell::new(0),
        }
    }

    /// Where a program finds the proxy: by its `plain` or its `tls` listener.
    fn proxy(&self, listener: &str) -> String {
        let scheme = if listener == "tls" { "https" } else { "http" };
        format!("{scheme}://{}", self.house.address(listener))
    }

    /// An address of the origin.
    fn url(&self, scheme: &str, path: &str) -> String {
        let port = match scheme {
            "https" | "wss" => self.origin.https.port(),
            _ => self.origin.http.port(),
        };
        format!("{scheme}://origin.test:{port}{path}")
    }

    /// A program of the list.
    fn program(&self, path: &str) -> Command {
        self.command(installed(path))
    }

    /// A program with nothing of the user's own around it, and told whom to trust in every way that one knows.
    fn command(&self, path: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.house.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .env("SSL_CERT_FILE", &self.trust)
            .env("REQUESTS_CA_BUNDLE", &self.trust)
            .env("NODE_EXTRA_CA_CERTS", &self.trust)
            .current_dir(self.house.folder.path())
            .kill_on_drop(true);
        command
    }

    /// Fetches a little and a lot, and sends a lot; then fails with a wrong password.
    async fn whole_story(&self, scheme: &str, client: &dyn Fn() -> Command, story: &Story<'_>) {
        let proxy = self.proxy(story.listener);
        let (get, post) = (self.url(scheme, "/hello"), self.url(scheme, "/upload"));
        let much = self.url(scheme, "/bytes/300000");
        let mut command = client();
        command
            .args([&proxy, "ann", "secret"])
            .arg(format!("GET {get}"))
            .arg(format!("GET {much}"))
            .arg(format!("POST {post} 300000"));
        let said = run(command, None).await;
        let sent = origin::sha256(&[b'x'; 300_000]);
        let expected = [
            "200 hello from /hello".to_owned(),
            format!("200 {}", Pattern::sha256(300_000)),
            format!("200 300000 {sent}"),
        ];
        assert_eq!(said.lines(), expected, "{}", said.errors);
        self.ends(story.ends).await;
        self.origin_saw(&["GET /hello", "GET /bytes/300000", "POST /upload"]);

        let mut command = client();
        command
            .args([&proxy, "ann", "wrong"])
            .arg(format!("GET {get}"));
        let said = run(command, None).await;
        // How each of them says 407.
        let words = [
            "407",
            "Proxy Authentication Required",
            "Proxy response !== 200",
        ];
        let lines = said.lines();
        assert!(
            lines.len() == 1 && words.iter().any(|word| lines[0].contains(word)),
            "{lines:?} {}",
            said.errors
        );
        self.ends(story.ends_wrong).await;
        self.origin_saw(&[]);
    }

    /// Other algorithms, or other lines in the users file.
    async fn reload(&self, from: &Terms, to: &Terms) {
        let mut lines = String::new();
        for (offered, hashed) in [
            ("MD5", client::md5("ann:tidegate:secret")),
            ("SHA-256", client::sha256("ann:tidegate:secret")),
        ] {
            if to.offered.contains(&offered) {
                lines.push_str(&format!("ann:tidegate:{hashed}\n"));
            }
        }
        self.house.folder.file("users.htdigest", &lines);
        self.house.edit(from.order, to.order);
        assert_eq!(self.house.control("reload\n").await["answer"], "reloaded");
    }

    /// Fetches a little, forwarded and through a tunnel.
    async fn short_story(&self, client: &dyn Fn() -> Command, story: &Story<'_>) {
        let mut command = client();
        command.args([&self.proxy(story.listener), "ann", "secret"]);
        for scheme in ["http", "https"] {
            command.arg(format!("GET {}", self.url(scheme, "/hello")));
        }
        let said = run(command, None).await;
        assert_eq!(
            said.lines(),
            ["200 hello from /hello"; 2],
            "{}",
            said.errors
        );
        self.ends(story.ends).await;
        self.origin_saw(&["GET /hello"; 2]);
    }

    /// Takes all access lines once every connection is closed: these kinds must be among them, and no other.
    async fn ends(&self, expected: &[impl AsRef<str>]) {
        self.house.metric_becomes("tidegate_connections", 0.0).await;
        let mut ends = BTreeSet::new();
        let expected: BTreeSet<_> = expected.iter().map(|end| end.as_ref().to_owned()).collect();
        let patience = Instant::now() + crate::house::PATIENCE;
        // A connection may be gone a moment before its last line is counted.
        while !ends.is_superset(&expected) && Instant::now() < patience {
            let counted = self.exchanges_counted().await;
            for _ in self.exchanges_seen.replace(counted)..counted {
                ends.insert(end(&self.house.line().await));
            }
        }
        // A set: how many tunnels or rounds a library takes is its own choice.
        assert_eq!(ends, expected);
    }

    async fn exchanges_counted(&self) -> u64 {
        self.exchanges_with("").await
    }

    /// How many there were with this label.
    async fn exchanges_with(&self, label: &str) -> u64 {
        let (_, metrics) = self.house.admin("/metrics").await;
        let series = metrics
            .lines()
            .filter(|line| line.starts_with("tidegate_exchanges_total{") && line.contains(label));
        let values = series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// What the origin was asked since the last time; nothing between client and proxy may be among it.
    fn asked(&self) -> Vec<Asked> {
        let asked = self.origin.asked();
        for asked in &asked {
            for name in asked.fields.keys() {
                assert!(!name.as_str().starts_with("proxy-"), "{asked:?}");
            }
        }
        asked
    }

    /// Each request was made once.
    fn origin_saw(&self, expected: &[&str]) {
        let mut asked = self.asked();
        for asked in &mut asked {
            let end = asked.line.rfind(' ').expect("a version");
            asked.line.truncate(end);
        }
        let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
        assert_eq!(lines, expected);
    }

    async fn close(self) {
        self.house.close().await;
    }
}

/// An access line in a few words.
fn end(line: &Value) -> String {
    let field = |name: &str| match &line[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let credentials = match (&line["scheme"], &line["algorithm"]) {
        (Value::Null, _) => "-".to_owned(),
        (_, Value::Null) => field("scheme"),
        _ => format!("{} {}", field("scheme"), field("algorithm")),
    };
    let (method, status) = (field("method"), field("status"));
    let tunnel = line["kind"] == "tunnel";
    // Many programs leave a tunnel with the origin's last TLS words unread, and their system then resets it.
    let reason = if tunnel && status == "200" {
        field("reason").replace("client_reset", "finished")
    } else {
        field("reason")
    };
    // What an Upgrade has opened has a line of its own.
    let opened = if tunnel && method != "CONNECT" {
        "tunnel of "
    } else {
        ""
    };
    format!("{opened}{method} {status} {credentials} {reason}")
}

/// How a client comes to the proxy, and the access lines that it leaves with the right and with a wrong password.
#[derive(Debug)]
struct Story<'a> {
    listener: &'a str,
    ends: &'a [&'a str],
    ends_wrong: &'a [&'a str],
}

/// What may be picked: the configured order, and of it what the users file has lines for.
#[derive(Debug)]
struct Terms {
    order: &'static str,
    offered: &'static [&'static str],
}

impl Terms {
    const DEFAULT: Self = Self {
        order: r#"digest_algorithms = ["MD5", "SHA-256"]"#,
        offered: &["MD5", "SHA-256"],
    };
    const REVERSED: Self = Self {
        order: r#"digest_algorithms = ["SHA-256", "MD5"]"#,
        offered: &["SHA-256", "MD5"],
    };
    /// As the htdigest program writes it.
    const ONLY_MD5: Self = Self {
        offered: &["MD5"],
        ..Self::REVERSED
    };
    const ONLY_SHA_256: Self = Self {
        offered: &["SHA-256"],
        ..Self::DEFAULT
    };
    /// All but the one that a world begins with, in an order in which each can follow the one before.
    const OTHERS: [Self; 3] = [Self::REVERSED, Self::ONLY_MD5, Self::ONLY_SHA_256];

    /// Some clients take the first challenge, others the last.
    fn taken(&self, pick: Pick) -> &'static str {
        let taken = match pick {
            Pick::First => self.offered.first(),
            Pick::Last => self.offered.last(),
        };
        taken.expect("something is offered")
    }
}

#[derive(Debug, Clone, Copy)]
enum Pick {
    First,
    Last,
}

impl Said {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.out);
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }
}

/// Runs a program to its end; `stdin` is what it reads.
async fn run(mut command: Command, stdin: Option<Pattern>) -> Said {
    let shown = format!("{:?}", command.as_std());
    command
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    if let Some(pattern) = stdin {
        let mut pipe = child.stdin.take().expect("piped");
        tokio::spawn(async move {
            for part in pattern {
                if pipe.write_all(&part).await.is_err() {
                    break;
                }
            }
        });
    }
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .unwrap_or_else(|_| panic!("hangs: {shown}"))
        .expect("a child that can be waited for");
    Said {
        out: output.stdout,
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
    }
}

/// A program or a library of the list, which must be there: a client that is not tried is not a client that works.
fn installed(path: &str) -> &str {
    let list = include_str!("../../clients/packages").lines();
    let packages: BTreeMap<_, _> = list.filter_map(|line| line.split_once(' ')).collect();
    let package = packages
        .get(path)
        .unwrap_or_else(|| panic!("{path} is not in tests/clients/packages"));
    assert!(
        std::path::Path::new(path).exists(),
        "{path} is missing: `bash tests/run` installs it (Debian package {package})"
    );
    path
}

/// A file of `tests/clients`.
fn client_file(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}
