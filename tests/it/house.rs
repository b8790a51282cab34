//! A small world around one real proxy process: its configuration, its names, its log lines, its counters.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tidegate_load::names::{self, Names};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::client::Client;

/// Long enough for a busy machine; nothing waits so long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What the house is to be like.
#[derive(Debug)]
pub(crate) struct Plan {
    sections: BTreeMap<&'static str, String>,
    listeners: Vec<String>,
    destinations: Vec<String>,
    extra: String,
    users: Vec<(String, String)>,
    names: Vec<(String, Vec<IpAddr>)>,
    tls: bool,
    first_dns: Option<String>,
    files: Vec<(&'static str, String)>,
    limit_descriptors: Option<u32>,
    namespace: Option<String>,
    environment: Vec<(&'static str, PathBuf)>,
}

/// A running house.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) names: names::Running,
    pub(crate) folder: Folder,
    child: Child,
    access: Lines,
    journal: Lines,
    listeners: BTreeMap<String, SocketAddr>,
    admin: SocketAddr,
    ca: Option<String>,
}

impl House {
    /// One plain listener on loopback, a destination `lab` that may reach loopback on any port, nobody asked for
    /// credentials.
    pub(crate) fn new() -> Plan {
        Plan {
            sections: BTreeMap::new(),
            listeners: vec!["name = \"plain\"\naddress = \"127.0.0.1:0\"".into()],
            destinations: Vec::new(),
            extra: String::new(),
            users: Vec::new(),
            names: Vec::new(),
            tls: false,
            first_dns: None,
            files: Vec::new(),
            limit_descriptors: None,
            namespace: None,
            environment: Vec::new(),
        }
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        *self
            .listeners
            .get(listener)
            .unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.listeners))
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The certificate authority of the TLS listener, PEM.
    pub(crate) fn ca(&self) -> &str {
        self.ca.as_deref().expect("a house with a TLS listener")
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_of("plain").await
    }

    pub(crate) async fn client_of(&self, listener: &str) -> Client {
        Client::plain(self.address(listener)).await
    }

    pub(crate) async fn tls_client(&self) -> Client {
        Client::tls(self.address("tls"), self.ca()).await
    }

    /// The next access line that was not taken yet.
    pub(crate) async fn line(&self) -> Value {
        let line = self.access.take(|_| true).await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next access line with this reason; others stay.
    pub(crate) async fn line_with_reason(&self, reason: &str) -> Value {
        self.line_with("reason", reason).await
    }

    /// The next access line where a field is this word; others stay.
    pub(crate) async fn line_with(&self, field: &str, word: &str) -> Value {
        let words = format!("\"{field}\":\"{word}\"");
        let line = self.access.take(|line| line.contains(&words)).await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Waits until the journal says this.
    pub(crate) async fn journal_says(&self, words: &str) -> String {
        self.journal.find(|line| line.contains(words)).await
    }

    /// Access lines that nobody has taken.
    pub(crate) fn lines_left(&self) -> Vec<String> {
        self.access.all()
    }

    /// Both logs, as they are now.
    pub(crate) fn everything_said(&self) -> String {
        [self.access.all(), self.journal.all()].concat().join("\n")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("runs")
    }

    /// Resident memory of the proxy, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        kilobytes.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// CPU time that the process has used, in ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("runs");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        // Behind the name: utime and stime are the 12th and 13th.
        fields[11..13]
            .iter()
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum()
    }

    pub(crate) fn signal(&self, name: &str) {
        let done = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status()
            .expect("kill runs");
        assert!(done.success());
    }

    /// One page of the admin endpoint: status and body.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let ask = async {
            let mut tcp = TcpStream::connect(self.admin)
                .await
                .expect("the admin endpoint listens");
            tcp.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut reply = String::new();
            tcp.read_to_string(&mut reply).await.unwrap();
            reply
        };
        let reply = timeout(PATIENCE, ask)
            .await
            .expect("the admin endpoint answers");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a whole reply");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .expect("a status");
        (status, body.to_owned())
    }

    /// A sample of `/metrics` by its exact series, or 0 where it does not stand there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.admin("/metrics").await;
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        line.and_then(|line| line.rsplit(' ').next())
            .map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until a series has a value.
    pub(crate) async fn metric_becomes(&self, series: &str, wanted: f64) {
        let poll = async {
            while (self.metric(series).await - wanted).abs() > f64::EPSILON {
                tokio::task::yield_now().await;
            }
        };
        if timeout(PATIENCE, poll).await.is_err() {
            panic!("{series} is {}, not {wanted}", self.metric(series).await);
        }
    }

    /// Line `place` of a file in the house's folder, once it is there.
    pub(crate) async fn line_of_file(&self, name: &str, place: usize) -> String {
        let path = self.folder.path().join(name);
        let line = async {
            loop {
                let text = fs::read_to_string(&path).unwrap_or_default();
                if let Some(line) = text.lines().nth(place).filter(|_| text.ends_with('\n')) {
                    return line.to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, line).await.expect("the line is written")
    }

    /// Waits until nobody accepts at a listener any more.
    pub(crate) async fn listener_is_closed(&self, listener: &str) {
        let closed = async { while TcpStream::connect(self.address(listener)).await.is_ok() {} };
        timeout(PATIENCE, closed)
            .await
            .expect("the listener closes");
    }

    /// Ends a house whose tunnels are still open: the second signal cuts them.
    pub(crate) async fn close_with_tunnels(self) {
        self.signal("TERM");
        self.journal_says("draining").await;
        self.close().await;
    }

    /// Ends the proxy as an administrator would, and expects a clean end: exit code 0, nothing broken in the journal.
    pub(crate) async fn close(mut self) {
        self.signal("TERM");
        let status = self.ended().await;
        assert_eq!(
            status.code(),
            Some(0),
            "journal:\n{}",
            self.journal.all().join("\n")
        );
        for line in self.journal.all() {
            assert!(
                !line.contains("panicked") && !line.contains(" ERROR "),
                "{line}"
            );
        }
        for line in self.access.all() {
            assert!(
                !line.contains("\"reason\":\"dropped\"")
                    && !line.contains("\"reason\":\"internal\""),
                "{line}"
            );
        }
    }

    /// Other words in the configuration file; nobody is told.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = self.folder.path().join("tidegate.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// One line to the control socket, and all that comes back.
    pub(crate) async fn control(&self, request: &str) -> Value {
        let ask = async {
            let path = self.folder.path().join("control.sock");
            let mut socket = tokio::net::UnixStream::connect(path)
                .await
                .expect("a control socket");
            // It may have been refused before its end.
            let _ = socket.write_all(request.as_bytes()).await;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = timeout(PATIENCE, ask).await.expect("an answer");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// `tidegate COMMAND --config FILE …`: exit code, standard output, standard error.
    pub(crate) async fn command(&self, words: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg(words[0])
            .arg("--config")
            .arg(self.folder.path().join("tidegate.toml"))
            .args(&words[1..])
            .output();
        let output = timeout(PATIENCE, output).await.expect("it ends").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().expect("an exit code"),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("the proxy ends")
            .expect("can be waited for")
    }
}

impl Plan {
    /// Other words in a section's lines.
    pub(crate) fn replace(mut self, section: &'static str, from: &str, to: &str) -> Self {
        let lines = self
            .sections
            .get_mut(section)
            .expect("a section that was set");
        assert!(lines.contains(from), "{lines}");
        *lines = lines.replace(from, to);
        self
    }

    /// A file beside the configuration.
    pub(crate) fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.into()));
        self
    }

    /// Lines of a section, e.g. `.set("tunnel", "idle_timeout = \"1s\"")`.
    pub(crate) fn set(mut self, section: &'static str, line: &str) -> Self {
        let _ = writeln!(self.sections.entry(section).or_default(), "{line}");
        self
    }

    /// A further listener, by its lines.
    pub(crate) fn listener(mut self, lines: &str) -> Self {
        self.listeners.push(lines.into());
        self
    }

    /// Another first listener.
    pub(crate) fn plain_listener(mut self, lines: &str) -> Self {
        self.listeners[0] = lines.into();
        self
    }

    /// A TLS listener called `tls`, with a certificate for 127.0.0.1, ::1 and localhost.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Destinations of its own instead of `lab`, by their lines.
    pub(crate) fn destination(mut self, lines: &str) -> Self {
        self.destinations.push(lines.into());
        self
    }

    /// Anything else, whole tables.
    pub(crate) fn also(mut self, text: &str) -> Self {
        let _ = writeln!(self.extra, "{text}");
        self
    }

    /// A user; from then on everybody is asked for credentials.
    pub(crate) fn user(mut self, user: &str, password: &str) -> Self {
        if self.users.is_empty() {
            self = self.set("authentication", "required = true");
        }
        self.users.push((user.into(), password.into()));
        self
    }

    /// A name that the DNS server knows.
    pub(crate) fn name(mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.names
            .push((name.into(), addresses.into_iter().collect()));
        self
    }

    /// Another DNS server, asked before the house's own.
    pub(crate) fn also_asking(mut self, server: impl ToString) -> Self {
        self.first_dns = Some(server.to_string());
        self
    }

    /// So many file descriptors at most for the proxy.
    pub(crate) fn descriptors(mut self, count: u32) -> Self {
        self.limit_descriptors = Some(count);
        self
    }

    /// A variable of the proxy's environment.
    pub(crate) fn env(mut self, name: &'static str, value: &Path) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// With a control socket, `control.sock` in the house's folder.
    pub(crate) fn controlled(self) -> Self {
        self.set("admin", "address = \"127.0.0.1:0\"")
            .set("admin", "control_socket = \"control.sock\"")
    }

    /// The proxy runs in this network namespace; its admin endpoint and DNS cannot be reached from the test.
    pub(crate) fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    fn write(&self, folder: &Folder, names: SocketAddr, ca: &mut Option<String>) -> PathBuf {
        let mut text = String::new();
        for listener in &self.listeners {
            let _ = writeln!(text, "[[listener]]\n{listener}\n");
        }
        if self.tls {
            let (authority, certificate, key) = certificate(&["localhost", "127.0.0.1", "::1"]);
            folder.file("proxy.pem", &certificate);
            folder.file("proxy.key", &key);
            *ca = Some(authority);
            text.push_str("[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"\n\n");
        }
        if self.destinations.is_empty() {
            text.push_str("[[destination]]\nname = \"lab\"\nhosts = [\"*.test\", \"127.0.0.1\", \"127.0.0.2\", \"127.0.0.3\", \"::1\"]\nports = [\"1-65535\"]\nrole = \"other\"\nnetworks = [\"127.0.0.0/8\", \"::1/128\"]\n\n");
        }
        for destination in &self.destinations {
            let _ = writeln!(text, "[[destination]]\n{destination}\n");
        }
        text.push_str(&self.extra);
        let mut sections = self.sections.clone();
        sections
            .entry("admin")
            .or_insert_with(|| "address = \"127.0.0.1:0\"\n".into());
        // Who counts what comes wants to know of each connection why.
        sections
            .entry("probe")
            .or_insert_with(|| "interval = \"off\"\n".into());
        let servers: Vec<String> = self
            .first_dns
            .iter()
            .cloned()
            .chain([names.to_string()])
            .map(|server| format!("\"{server}\""))
            .collect();
        let servers = servers.join(", ");
        sections
            .entry("dns")
            .or_default()
            .push_str(&format!("servers = [{servers}]\n"));
        for (name, text) in &self.files {
            let path = folder.file(name, text);
            // Passwords are among them.
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(path, private).unwrap();
        }
        if !self.users.is_empty() {
            let mut file = String::new();
            for (user, password) in &self.users {
                file.push_str(&crate::client::user_lines(user, "tidegate", password));
            }
            folder.file("users.htdigest", &file);
        }
        for (section, lines) in sections {
            let _ = writeln!(text, "[{section}]\n{lines}");
        }
        folder.file("tidegate.toml", &text)
    }

    pub(crate) async fn open(self) -> House {
        let names = Names::start().await.expect("a DNS server on loopback");
        for (name, addresses) in &self.names {
            names.set(name, addresses.iter().copied());
        }
        let folder = Folder::new();
        let mut ca = None;
        let config = self.write(&folder, names.addr(), &mut ca);
        let program = env!("CARGO_BIN_EXE_tidegate");
        let mut command = match (self.limit_descriptors, &self.namespace) {
            (Some(count), _) => {
                let mut shell = Command::new("sh");
                shell
                    .arg("-c")
                    .arg(format!("ulimit -n {count}; exec \"$0\" \"$@\""))
                    .arg(program);
                shell
            }
            (None, Some(namespace)) => {
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", namespace, program]);
                inside
            }
            (None, None) => Command::new(program),
        };
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the proxy starts");
        let access = Lines::of(child.stdout.take().expect("piped"));
        let journal = Lines::of(child.stderr.take().expect("piped"));
        let mut house = House {
            names,
            folder,
            child,
            access,
            journal,
            listeners: BTreeMap::new(),
            admin: ([127, 0, 0, 1], 0).into(),
            ca,
        };
        house.learn_addresses().await;
        house
    }
}

impl House {
    async fn learn_addresses(&mut self) {
        let ready = self.journal.find(|line| line.contains(" ready"));
        tokio::select! {
            _ = ready => {}
            status = self.child.wait() => panic!("the proxy ended with {status:?}:\n{}", self.journal.all().join("\n")),
        }
        for line in self.journal.all() {
            let field = |name: &str| {
                line.split(' ')
                    .find_map(|word| word.strip_prefix(name))
                    .map(|value| value.trim_matches('"').to_owned())
            };
            let Some(address) = field("address=").and_then(|address| address.parse().ok()) else {
                continue;
            };
            match field("listener=") {
                Some(listener) => drop(self.listeners.insert(listener, address)),
                None => self.admin = address,
            }
        }
    }
}

/// A certificate authority, a certificate of it for these names, and its key; PEM.
pub(crate) fn certificate(names: &[&str]) -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, "House CA");
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().copied().map(String::from).collect();
    let mut certificate = rcgen::CertificateParams::new(names).unwrap();
    // Newer Pythons ask for it.
    certificate.use_authority_key_identifier_extension = true;
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    (authority_pem, certificate.pem(), key.serialize_pem())
}

/// A certificate that signs itself and calls itself an authority, as openssl makes them without being asked; and its
/// key; PEM.
pub(crate) fn self_signed(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    certificate.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = certificate.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The lines that a process has written so far.
#[derive(Debug, Clone)]
pub(crate) struct Lines(Arc<(Mutex<Vec<String>>, Notify)>);

impl Lines {
    fn of(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Self(Arc::new((Mutex::new(Vec::new()), Notify::new())));
        let written = lines.clone();
        tokio::spawn(async move {
            let mut reader = BufReader::new(stream).lines();
            while let Ok(Some(line)) = reader.next_line().await {
                written.0.0.lock().unwrap().push(line);
                written.0.1.notify_waiters();
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    async fn find(&self, is_it: impl Fn(&str) -> bool) -> String {
        self.wait(|lines| lines.iter().find(|line| is_it(line)).cloned())
            .await
    }

    async fn take(&self, is_it: impl Fn(&str) -> bool) -> String {
        self.wait(|lines| {
            lines
                .iter()
                .position(|line| is_it(line))
                .map(|place| lines.remove(place))
        })
        .await
    }

    async fn wait<T>(&self, look: impl Fn(&mut Vec<String>) -> Option<T>) -> T {
        let found = async {
            loop {
                let news = self.0.1.notified();
                if let Some(found) = look(&mut self.0.0.lock().unwrap()) {
                    return found;
                }
                news.await;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("no such line among:\n{}", self.all().join("\n")),
        }
    }
}

/// A folder of this test's own, removed at its end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tidegate-it-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder for this test");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file in the test's folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
