//! What is measured, standing: a proxy or a relay as a child of ours, and the ways through it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::exchange::Road;
use super::{BenchError, Common, setup};
use crate::child::login::{random_hex, user_lines};
use crate::child::{Child, ChildError, Folder, free_addresses, free_port, proxy_program, usage};
use crate::cloud::ca::ThrowAwayCa;
use crate::names::{self, Names};
use crate::onprem::{ProxyClient, tls};

/// Several on each side, so that closed connections, whose ports rest for a minute, do not use the ports up.
const ENTRANCES: [u8; 4] = [1, 2, 3, 4];
const ORIGINS: std::ops::RangeInclusive<u8> = 21..=36;
/// Another try with other ports, should somebody have taken one between finding and binding.
const START_TRIES: usize = 3;
const REALM: &str = "tidegate bench";
const USER: &str = "cucm1";
/// How long the last connections may take to be closed.
const QUIET_WITHIN: Duration = Duration::from_secs(5);
/// A number of descriptors that stands still for so long has settled, wherever it stands.
const STANDS_STILL: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// The yardstick: no CONNECT, the connection alone.
    Relay,
    /// A plain listener; no login, no log, targets by address.
    Proxy,
    /// As `Proxy`, with digest (the nonce kept) and nothing else: what is between the two is what digest costs.
    ProxyDigest,
    /// As one would run it: digest (the nonce kept), access log in a file, targets by name.
    ProxyFull,
    /// As `Proxy`, targets by name, one address each.
    ProxyOneAddress,
    /// As that, several addresses each.
    ProxyAddresses,
    /// As `Proxy`, on a TLS listener.
    ProxyTls,
}

impl Subject {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Proxy => "proxy",
            Self::ProxyDigest => "proxy, digest",
            Self::ProxyFull => "proxy, digest, log, names",
            Self::ProxyOneAddress => "proxy, names of 1 address",
            Self::ProxyAddresses => "proxy, names of several",
            Self::ProxyTls => "proxy, TLS",
        }
    }
}

/// The origin process, and the names and addresses it has.
pub(super) struct Origin {
    _child: Child,
    names: names::Running,
    addrs: Vec<SocketAddr>,
    _folder: Folder,
}

impl Origin {
    /// Beside the names that have one address there are such that have so many.
    pub(super) async fn start(common: &Common, addresses: u8) -> Result<Self, BenchError> {
        let ips: Vec<IpAddr> = ORIGINS.map(|n| IpAddr::from([127, 0, 0, n])).collect();
        let names = Names::start().await.map_err(setup("a name server"))?;
        for (index, ip) in ips.iter().enumerate() {
            names.set(&name(index), [*ip]);
            let from_here = ips.iter().cycle().skip(index).copied();
            names.set(&name_of_several(index), from_here.take(addresses.into()));
        }
        let folder = Folder::new().map_err(setup("a folder"))?;
        let mut tries = START_TRIES;
        loop {
            let port = free_port(&ips).map_err(setup("finding a port"))?;
            let addrs: Vec<_> = ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            let arguments = ["bench".to_owned(), "origin".to_owned()].into_iter();
            let arguments = arguments.chain(flags("--listen", &addrs));
            let mut child = Child::start("origin", &load_program(common)?, arguments, &folder)?;
            let road = Road::Straight(addrs[addrs.len() - 1]);
            match child.ready(async || road.travel("").await.is_ok()).await {
                Ok(()) => {
                    return Ok(Self {
                        _child: child,
                        names,
                        addrs,
                        _folder: folder,
                    });
                }
                Err(error) if tries > 1 && error.is_port_taken() => tries -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The n-th target, as this subject is asked for it.
    pub(super) fn target(&self, subject: Subject, n: usize) -> String {
        let index = n % self.addrs.len();
        match subject {
            Subject::ProxyFull | Subject::ProxyOneAddress => {
                format!("{}:{}", name(index), self.addrs[index].port())
            }
            Subject::ProxyAddresses => {
                format!("{}:{}", name_of_several(index), self.addrs[index].port())
            }
            Subject::Relay | Subject::Proxy | Subject::ProxyDigest | Subject::ProxyTls => {
                self.addrs[index].to_string()
            }
        }
    }
}

/// A subject that runs.
pub(super) struct Standing {
    pub(super) subject: Subject,
    pub(super) roads: Vec<Road>,
    child: Child,
    /// Open while nobody is connected.
    descriptors: usize,
    _folder: Folder,
}

impl Standing {
    pub(super) async fn start(
        subject: Subject,
        origin: &Origin,
        common: &Common,
    ) -> Result<Self, BenchError> {
        let mut tries = START_TRIES;
        loop {
            match Self::try_start(subject, origin, common).await {
                Err(BenchError::Child(error)) if tries > 1 && error.is_port_taken() => tries -= 1,
                result => return result,
            }
        }
    }

    async fn try_start(
        subject: Subject,
        origin: &Origin,
        common: &Common,
    ) -> Result<Self, BenchError> {
        let folder = Folder::new().map_err(setup("a folder"))?;
        let ips = ENTRANCES.map(|n| IpAddr::from([127, 0, 0, n]));
        let port = free_port(&ips).map_err(setup("finding a port"))?;
        let entrances = ips.map(|ip| SocketAddr::new(ip, port));
        let (mut child, roads) = match subject {
            Subject::Relay => {
                let arguments = ["relay".to_owned(), format!("--workers={}", common.workers)];
                let arguments = arguments
                    .into_iter()
                    .chain(flags("--listen", &entrances))
                    .chain(flags("--to", &origin.addrs));
                let child = Child::start("relay", &load_program(common)?, arguments, &folder)?;
                (child, entrances.map(Road::Straight).into())
            }
            Subject::Proxy
            | Subject::ProxyDigest
            | Subject::ProxyFull
            | Subject::ProxyOneAddress
            | Subject::ProxyAddresses
            | Subject::ProxyTls => {
                let program = proxy_program(common.proxy.as_ref())?;
                let roads = write_files(subject, &entrances, origin, common.workers, &folder)
                    .map_err(setup("writing the proxy's files"))?;
                let config = folder.path("tidegate.toml");
                let arguments = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
                (Child::start("proxy", &program, arguments, &folder)?, roads)
            }
        };
        let target = origin.target(subject, 0);
        child
            .ready(async || {
                for road in &roads {
                    if road.travel(&target).await.is_err() {
                        return false;
                    }
                }
                true
            })
            .await?;
        let mut standing = Self {
            subject,
            roads,
            child,
            descriptors: 0,
            _folder: folder,
        };
        standing.quiet().await?;
        standing.descriptors = standing.open_descriptors()?;
        Ok(standing)
    }

    /// CPU time used until now.
    pub(super) fn cpu(&self) -> Result<usage::Cpu, BenchError> {
        usage::Cpu::of(self.child.pid()).map_err(setup("reading CPU time by pid"))
    }

    /// Memory in RAM now, in bytes.
    pub(super) fn memory(&self) -> Result<u64, BenchError> {
        usage::resident(self.child.pid()).map_err(setup("reading memory by pid"))
    }

    /// Waits until the connections of the past are closed on its side too; costs it nothing.
    pub(super) async fn quiet(&mut self) -> Result<(), BenchError> {
        let deadline = Instant::now() + QUIET_WITHIN;
        let (mut seen, mut since) = (self.open_descriptors()?, Instant::now());
        loop {
            self.child.still_runs("while it was measured")?;
            let now = self.open_descriptors()?;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            if now <= self.descriptors
                || since.elapsed() > STANDS_STILL
                || Instant::now() > deadline
            {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    /// Ends it, by its pid.
    pub(super) async fn end(mut self) -> Result<(), ChildError> {
        self.child.kill().await
    }

    fn open_descriptors(&self) -> Result<usize, BenchError> {
        usage::descriptors(self.child.pid()).map_err(setup("counting descriptors by pid"))
    }
}

/// Configuration, users and certificate of a proxy; what comes back are the ways through it.
fn write_files(
    subject: Subject,
    entrances: &[SocketAddr],
    origin: &Origin,
    workers: u8,
    folder: &Folder,
) -> io::Result<Vec<Road>> {
    let [admin] = free_addresses()?;
    let mut config = format!(
        "[admin]\naddress = \"{admin}\"\n\n[runtime]\nworkers = {workers}\n\n[probe]\ninterval = \"off\"\n\n[dns]\nservers = [\"{}\"]\n",
        origin.names.addr()
    );
    let in_quotes = |items: Vec<String>| format!("[{}]", items.join(", "));
    let hosts = (0..origin.addrs.len())
        .flat_map(|n| {
            let ip = origin.addrs[n].ip().to_string();
            [name(n), name_of_several(n), ip]
        })
        .map(|host| format!("\"{host}\""));
    let _ = write!(
        config,
        "\n[[destination]]\nname = \"bench\"\nhosts = {}\nports = [{}]\nnetworks = [\"127.0.0.0/8\"]\n",
        in_quotes(hosts.collect()),
        origin.addrs[0].port()
    );
    for (number, address) in entrances.iter().enumerate() {
        let _ = write!(
            config,
            "\n[[listener]]\nname = \"bench{number}\"\naddress = \"{address}\"\n"
        );
        if subject == Subject::ProxyTls {
            config.push_str(
                "[listener.tls]\ncertificate = \"proxy.pem\"\nprivate_key = \"proxy.key\"\n",
            );
        }
    }
    let mut roads: Vec<_> = entrances.iter().map(|at| ProxyClient::plain(*at)).collect();
    match subject {
        Subject::ProxyDigest | Subject::ProxyFull => {
            let password = random_hex();
            fs::write(
                folder.path("users.htdigest"),
                user_lines(USER, REALM, &password),
            )?;
            let _ = write!(
                config,
                "\n[authentication]\nrequired = true\nrealm = \"{REALM}\"\nusers = \"users.htdigest\"\n"
            );
            let access = match subject {
                Subject::ProxyFull => "access.log",
                _ => "off",
            };
            let _ = write!(config, "\n[log]\naccess = \"{access}\"\n");
            roads = roads
                .into_iter()
                .map(|road| road.login(USER, &password))
                .collect();
        }
        Subject::ProxyTls => {
            config.push_str("\n[log]\naccess = \"off\"\n");
            let ca = ThrowAwayCa::new("tidegate-load bench CA").map_err(io::Error::other)?;
            let names: Vec<_> = entrances.iter().map(|at| at.ip().to_string()).collect();
            let identity = ca.issue(&names).map_err(io::Error::other)?;
            fs::write(folder.path("proxy.pem"), &identity.chain_pem)?;
            fs::write(folder.path("proxy.key"), &identity.key_pem)?;
            let trust = tls::trusting(&ca.pem())?;
            roads = entrances
                .iter()
                .map(|at| {
                    let name = tls::server_name(&at.ip().to_string())?;
                    Ok(ProxyClient::tls(*at, name, trust.clone()))
                })
                .collect::<io::Result<_>>()?;
        }
        Subject::Relay | Subject::Proxy | Subject::ProxyOneAddress | Subject::ProxyAddresses => {
            config.push_str("\n[log]\naccess = \"off\"\n")
        }
    }
    fs::write(folder.path("tidegate.toml"), config)?;
    Ok(roads.into_iter().map(Road::Asking).collect())
}

fn name(index: usize) -> String {
    format!("n{index}.bench.test")
}

fn name_of_several(index: usize) -> String {
    format!("m{index}.bench.test")
}

fn flags<'a>(flag: &'a str, addrs: &'a [SocketAddr]) -> impl Iterator<Item = String> + 'a {
    addrs.iter().map(move |addr| format!("{flag}={addr}"))
}

fn load_program(common: &Common) -> Result<PathBuf, BenchError> {
    match &common.load {
        Some(program) => Ok(program.clone()),
        None => std::env::current_exe().map_err(setup("finding this program")),
    }
}
