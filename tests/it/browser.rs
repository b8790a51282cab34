//! A real browser: headless Chromium, driven over WebDriver (ChromeDriver's HTTP and JSON).

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::house::{Folder, PATIENCE};

const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// It starts slowly on a busy machine.
const START: Duration = Duration::from_secs(120);

/// One window. It is closed, and all of its processes end, when this goes.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: Folder,
}

impl Browser {
    pub(crate) async fn open() -> Self {
        spawn_blocking(Self::start).await.unwrap()
    }

    fn start() -> Self {
        let profile = Folder::new();
        let mut driver = Command::new(installed(DRIVER))
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver starts");
        let address = port(&mut driver);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": CHROMIUM, "args": arguments(&profile) },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": PATIENCE.as_millis() as u64 },
        }}});
        let answer = ask(address, "POST", "/session", &wanted, START).expect("a session");
        let session = answer["sessionId"].as_str();
        let session = session.unwrap_or_else(|| panic!("no session: {answer}"));
        Self {
            session: session.to_owned(),
            driver,
            address,
            _profile: profile,
        }
    }

    async fn command(&self, method: &'static str, path: &str, body: Value) -> Value {
        let (address, path) = (self.address, format!("/session/{}{path}", self.session));
        spawn_blocking(move || ask(address, method, &path, &body, START))
            .await
            .unwrap()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn visit(&self, url: &str) {
        self.command("POST", "/url", json!({ "url": url })).await;
    }

    /// The value of an expression.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let script = json!({ "script": format!("return ({expression});"), "args": [] });
        self.command("POST", "/execute/sync", script).await
    }

    pub(crate) async fn text(&self, expression: &str) -> String {
        let value = self.value(expression).await;
        value.as_str().unwrap_or_else(|| panic!("{value}")).into()
    }

    /// Waits until an expression is true: it is looked at again with every change of the page.
    pub(crate) async fn becomes(&self, expression: &str) {
        let script = format!(
            "const done = arguments[0];\n\
             const met = () => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }};\n\
             if (met()) {{ done(true); return; }}\n\
             const observer = new MutationObserver(() => {{\n\
               if (met()) {{ observer.disconnect(); done(true); }}\n\
             }});\n\
             observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});"
        );
        let (address, path) = (
            self.address,
            format!("/session/{}/execute/async", self.session),
        );
        let body = json!({ "script": script, "args": [] });
        let met = spawn_blocking(move || ask(address, "POST", &path, &body, START)).await;
        if let Err(error) = met.unwrap() {
            let page = self.text("document.body.innerText").await;
            panic!("never true: {expression}\n{error}\n{page}");
        }
    }

    /// A command of Chromium's own protocol.
    pub(crate) async fn tell(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.command("POST", "/goog/cdp/execute", body).await;
    }

    /// From the next page on, none runs a script; what is asked here still is.
    pub(crate) async fn scripts_off(&self) {
        let off = json!({ "value": true });
        self.tell("Emulation.setScriptExecutionDisabled", off).await;
    }

    pub(crate) async fn prefers(&self, scheme: &str) {
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.tell("Emulation.setEmulatedMedia", scheme).await;
    }

    pub(crate) async fn width(&self, pixels: u32, height: u32) {
        let size =
            json!({ "width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tell("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// What the browser complains of in its console, broken rules of the page's security policy among it.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self
            .command("POST", "/se/log", json!({ "type": "browser" }))
            .await;
        let lines = log.as_array().expect("a list").iter();
        lines.map(|line| line["message"].to_string()).collect()
    }

    /// As wide and high as the window, as PNG.
    pub(crate) async fn picture(&self, path: &Path) {
        let picture = self.command("GET", "/screenshot", Value::Null).await;
        let picture = picture.as_str().expect("base64");
        std::fs::write(path, STANDARD.decode(picture).expect("base64")).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser, which would outlive it otherwise.
        let session = format!("/session/{}", self.session);
        let _ = ask(self.address, "DELETE", &session, &Value::Null, PATIENCE);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Nothing of its own on the network, and nothing kept.
fn arguments(profile: &Folder) -> Vec<String> {
    let mut all: Vec<_> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        "--window-size=1280,900",
    ]
    .map(str::to_owned)
    .into();
    all.push(format!("--user-data-dir={}", profile.path().display()));
    all
}

/// From the line in which the driver says so.
fn port(driver: &mut Child) -> SocketAddr {
    use std::io::BufRead as _;
    let lines = std::io::BufReader::new(driver.stdout.take().expect("piped"));
    let words = "started successfully on port ";
    for line in lines.lines().map_while(Result::ok) {
        if let Some((_, port)) = line.split_once(words) {
            let port = port.trim_end_matches('.').parse().expect("a port");
            return SocketAddr::from(([127, 0, 0, 1], port));
        }
    }
    panic!("the driver does not start");
}

fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
    patience: Duration,
) -> Result<Value, String> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let talk = || -> std::io::Result<String> {
        let mut tcp = std::net::TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(patience))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        tcp.write_all(head.as_bytes())?;
        tcp.write_all(body.as_bytes())?;
        let mut reply = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(text) = whole(&reply) {
                return Ok(text);
            }
            match tcp.read(&mut chunk)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => reply.extend_from_slice(&chunk[..count]),
            }
        }
    };
    let text = talk().map_err(|error| format!("{method} {path}: {error}"))?;
    let mut answer: Value =
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let value = answer["value"].take();
    match value["error"].as_str() {
        Some(error) => Err(format!("{method} {path}: {error}: {}", value["message"])),
        None => Ok(value),
    }
}

/// The body, once it is there to its end.
fn whole(reply: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(reply);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() >= length).then(|| body.to_owned())
}

/// A page that no browser has looked at is not known to work.
fn installed(path: &str) -> &str {
    assert!(
        Path::new(path).exists(),
        "{path} is missing: `bash tests/run` installs it (tests/clients/packages)"
    );
    path
}
