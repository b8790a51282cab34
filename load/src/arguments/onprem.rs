//! The command line of the call servers.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use clap::{Args, ValueEnum};
use tidegate_load::guide::Component;
use tidegate_load::onprem::{AbsoluteForm, Books, Counts, ProxyClient, ServerPlan, Taste, tls};

use super::seconds;

const ONPREM_CONTROL: &str = r#"With --control 127.0.0.1:9003, from any shell, for as long as they push:
  curl 127.0.0.1:9003/            what they have counted of the proxy
  curl 127.0.0.1:9003/counters    the deployment guide's counters
  curl 127.0.0.1:9003/alarms      the deployment guide's alarms
These have the shape of the proxy's pages of the same names, and the origin "simulated". They stand in --json, too."#;

#[derive(Debug, Args)]
#[command(after_long_help = ONPREM_CONTROL)]
pub(crate) struct Onprem {
    /// The proxy: http://IP:PORT or https://IP:PORT
    #[arg(long, value_name = "URL")]
    proxy: String,
    /// The certificates an https proxy is checked against, PEM
    #[arg(long, value_name = "FILE")]
    proxy_ca: Option<PathBuf>,
    /// The name in an https proxy's certificate, if it is not its address
    #[arg(long, value_name = "NAME")]
    proxy_name: Option<String>,
    /// The name to log in with
    #[arg(long, requires = "password_file", value_name = "NAME")]
    user: Option<String>,
    /// A file whose first line is the password
    #[arg(long, requires = "user", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Which challenge is answered
    #[arg(long, value_enum, default_value_t = Scheme::Any)]
    scheme: Scheme,
    /// Push REST: https://HOST:PORT
    #[arg(long, default_value = "https://push.test", value_name = "URL")]
    push_url: String,
    /// Tokens: https://HOST:PORT
    #[arg(long, default_value = "https://token.test", value_name = "URL")]
    token_url: String,
    /// Onboarding: https://HOST:PORT
    #[arg(long, default_value = "https://onboard.test", value_name = "URL")]
    onboard_url: String,
    /// How many pushes in a hundred go in absolute form, not through a tunnel
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    absolute_share: u8,
    /// Where those go, by turns: http://HOST:PORT or https://HOST:PORT; without it, to the push URL
    #[arg(long, value_parser = origin, value_name = "URL")]
    absolute_url: Vec<String>,
    /// The certificates the cloud is checked against, PEM
    #[arg(long, default_value = "cloud-ca.pem", value_name = "FILE")]
    ca: PathBuf,
    /// Push over HTTP/2, several pushes at once in one tunnel of each server
    #[arg(long)]
    http2: bool,
    /// How many call servers
    #[arg(long, default_value = "8")]
    pub(crate) servers: NonZeroU16,
    /// Whose counters they move and whose alarms they raise: "Cisco CallManager", "Cisco Push Notification Service",
    /// "Cisco XCP Config Manager" or "Cisco XCP Push"; given several times, servers take turns
    #[arg(long = "component", default_value = "Cisco CallManager", value_parser = sender, value_name = "NAME")]
    components: Vec<Component>,
    /// Where the servers' counters and alarms are shown while they push, on loopback
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) control: Option<SocketAddr>,
    /// Pushes a second, of all servers together
    #[arg(long, default_value_t = 50.0)]
    pub(crate) rate: f64,
    /// How long, in seconds
    #[arg(long, default_value = "10", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) duration: Duration,
    /// JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scheme {
    /// The first Digest that is offered, else Basic
    Any,
    /// Digest with MD5
    Md5,
    /// Digest with SHA-256
    Sha256,
    /// Basic, when asked
    Basic,
    /// Basic, unasked
    BasicAtOnce,
}

impl Onprem {
    /// The call server with this number, and its client of the proxy.
    pub(crate) fn server(
        &self,
        number: u16,
        counts: Arc<Counts>,
        books: Arc<Books>,
    ) -> io::Result<(ServerPlan, ProxyClient)> {
        let roots_pem = read(&self.ca)?;
        let plan = ServerPlan {
            push: authority(&self.push_url)?,
            token: authority(&self.token_url)?,
            onboard: authority(&self.onboard_url)?,
            absolute: self.absolute_form(),
            http2: self.http2,
            component: self.components[usize::from(number - 1) % self.components.len()],
            books,
            ..ServerPlan::new(&format!("cucm{number}"), 443, &roots_pem)
        };
        let mut client = self.client()?.counted_in(counts).taste(match self.scheme {
            Scheme::Any => Taste::First,
            Scheme::Md5 => Taste::Md5,
            Scheme::Sha256 => Taste::Sha256,
            Scheme::Basic => Taste::Basic,
            Scheme::BasicAtOnce => Taste::BasicAtOnce,
        });
        if let (Some(user), Some(file)) = (&self.user, &self.password_file) {
            let text = read(file)?;
            client = client.login(user, text.lines().next().unwrap_or_default());
        }
        Ok((plan, client))
    }

    fn absolute_form(&self) -> AbsoluteForm {
        let to_push = || vec![self.push_url.trim_end_matches('/').to_owned()];
        AbsoluteForm {
            percent: self.absolute_share,
            origins: match self.absolute_url.as_slice() {
                [] => to_push(),
                urls => urls.to_vec(),
            },
        }
    }

    fn client(&self) -> io::Result<ProxyClient> {
        let address = |text: &str| {
            let parsed = text.trim_end_matches('/').parse::<SocketAddr>();
            parsed.map_err(|_| invalid(format!("{text:?} is not IP:PORT")))
        };
        if let Some(rest) = self.proxy.strip_prefix("http://") {
            return Ok(ProxyClient::plain(address(rest)?));
        }
        let Some(rest) = self.proxy.strip_prefix("https://") else {
            return Err(invalid(format!(
                "{:?} is neither http:// nor https://",
                self.proxy
            )));
        };
        let Some(ca) = &self.proxy_ca else {
            return Err(invalid("an https proxy needs --proxy-ca".into()));
        };
        let address = address(rest)?;
        let name = self
            .proxy_name
            .clone()
            .unwrap_or_else(|| address.ip().to_string());
        let connector = tls::trusting(&read(ca)?)?;
        Ok(ProxyClient::tls(
            address,
            tls::server_name(&name)?,
            connector,
        ))
    }
}

/// `host:port` of an https URL; 443 where it names none.
fn authority(url: &str) -> io::Result<String> {
    let rest = url
        .strip_prefix("https://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|rest| !rest.is_empty() && !rest.contains('/'))
        .ok_or_else(|| invalid(format!("{url:?} is not https://HOST:PORT")))?;
    let has_port = rest
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port {
        rest.to_owned()
    } else {
        format!("{rest}:443")
    })
}

fn read(file: &PathBuf) -> io::Result<String> {
    fs::read_to_string(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

/// `http://host:port` or `https://host:port`, without a path.
fn origin(text: &str) -> Result<String, String> {
    let origin = text.trim_end_matches('/');
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    let is_authority = |rest: &str| rest.parse::<http::uri::Authority>().is_ok();
    if rest.is_some_and(is_authority) {
        Ok(origin.to_owned())
    } else {
        Err(format!(
            "{text:?} is neither http://HOST:PORT nor https://HOST:PORT"
        ))
    }
}

/// A component that sends pushes.
fn sender(name: &str) -> Result<Component, String> {
    match name.parse()? {
        other @ (Component::MobilityManager | Component::Jabber) => {
            Err(format!("{other} sends no pushes"))
        }
        sender => Ok(sender),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Command, CommandLine};
    use super::*;

    #[test]
    fn origins_are_urls_without_a_path() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(origin(text).ok().as_deref(), expected, "{text}");
        };
        check("http://push.test:80/", Some("http://push.test:80"));
        check("https://[::1]:8443", Some("https://[::1]:8443"));
        check("http://push.test/v1", None);
        check("http://", None);
        check("ftp://push.test", None);
    }

    #[test]
    fn servers_play_the_components_that_send_by_turns() {
        assert!(sender("Cisco XCP Push").is_ok());
        for wrong in ["Cisco Jabber", "CallManager", ""] {
            assert!(sender(wrong).is_err(), "{wrong}");
        }
        let folder = std::env::temp_dir().join(format!("components-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let ca = folder.join("ca.pem");
        fs::write(&ca, "").unwrap();
        let line = "tidegate-load onprem --proxy http://127.0.0.1:1 --component";
        let line = line.split(' ').map(str::to_owned);
        let rest = ["Cisco CallManager", "--component", "Cisco XCP Push", "--ca"];
        let rest = rest.map(str::to_owned).into_iter();
        let line = line.chain(rest).chain([ca.display().to_string()]);
        let Command::Onprem(onprem) = CommandLine::parse_from(line).command else {
            unreachable!("it is that command")
        };
        let component = |number| {
            let server = onprem.server(number, Arc::default(), Arc::default());
            server.unwrap().0.component
        };
        let (first, second) = (Component::CallManager, Component::XcpPush);
        assert_eq!([1, 2, 3].map(component), [first, second, first]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn urls_become_authorities() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(authority(text).ok().as_deref(), expected, "{text}");
        };
        check("https://push.test:8443", Some("push.test:8443"));
        check("https://push.test/", Some("push.test:443"));
        check("http://push.test", None);
        check("https://push.test/v1", None);
    }
}
