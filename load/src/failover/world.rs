//! A cloud, a name server or two, and proxies that know nothing yet: what the cases of one lane are played on.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::case::{ADDRESSES, Dns, SLOW_DNS, Trouble};
use super::exchange::{Exchange, Sender};
use super::{FailoverError, setup};
use crate::child::{Child, Folder, free_port};
use crate::cloud::{self, Behavior, Cloud, CloudPlan};
use crate::drive::drive;
use crate::names::{self, Failure, Kind, Names};
use crate::onprem::Tunnel;

/// Another try with other ports, should somebody have taken one between finding and binding.
const START_TRIES: usize = 3;
/// What DNS says may be kept so long where DNS dies.
const SHORT_TTL: Duration = Duration::from_secs(1);
/// And so much later it is over for certain.
const OVER: Duration = Duration::from_millis(500);
/// What starting the proxies has set off is over by then.
const SETTLE: Duration = Duration::from_millis(300);
/// Nobody has these, and nobody says so, in the namespace that is made for it.
pub(super) const NOWHERE: [u8; 3] = [10, 99, 0];

/// The last byte of the first proxy's addresses.
const ENTRANCES: u8 = 21;
const ADMINS: u8 = 121;

pub(super) struct World {
    program: PathBuf,
    block: u8,
    cloud: cloud::Running,
    names: names::Running,
    /// Listed first where the first of two is sick.
    sick: names::Running,
    /// Always well, and knows of one address, which never dies.
    well: names::Running,
    /// Their exchanges are the normal ones, at the same time as those that meet trouble.
    normal: Vec<Proxy>,
    folder: Folder,
}

/// What came of one trouble: one proxy after the other.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) trouble: Trouble,
    pub(super) first: Vec<Exchange>,
    pub(super) following: Vec<Exchange>,
    /// Those of proxies that know of no trouble, meanwhile.
    pub(super) normal: Vec<Exchange>,
}

struct Proxy {
    child: Child,
    sender: Arc<Sender>,
}

impl World {
    /// On addresses 127.0.`block`.1 and up.
    pub(super) async fn start(
        program: &Path,
        block: u8,
        samples: u8,
    ) -> Result<Self, FailoverError> {
        let ips = (1..=ADDRESSES).map(|n| IpAddr::from([127, 0, block, n]));
        let cloud = Cloud::start(CloudPlan::new().listen_on(ips)).await;
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let names = || async {
            let names = Names::start_at(at, SHORT_TTL).await;
            names.map_err(setup("a name server"))
        };
        let mut world = Self {
            program: program.to_owned(),
            block,
            cloud: cloud.map_err(setup("a cloud"))?,
            names: names().await?,
            sick: names().await?,
            well: names().await?,
            normal: Vec::new(),
            folder: Folder::new().map_err(setup("a folder"))?,
        };
        let living = world.cloud.ips().into_iter().last();
        world.well.set(&world.cloud.hosts().push, living);
        for number in 0..samples {
            let proxy = world.proxy(&[world.well.addr()], samples + number).await?;
            world.normal.push(proxy);
        }
        Ok(world)
    }

    /// So many proxies meet it, each new, all at the same time.
    pub(super) async fn play(
        &self,
        trouble: Trouble,
        samples: u8,
    ) -> Result<Played, FailoverError> {
        self.prepare(trouble).await?;
        let servers = match trouble {
            Trouble::Dns(Dns::FirstServer) => vec![self.sick.addr(), self.names.addr()],
            _ => vec![self.names.addr()],
        };
        let mut proxies = Vec::new();
        for number in 0..samples {
            proxies.push(self.proxy(&servers, number).await?);
        }
        sleep(SETTLE).await;
        if let Trouble::Dns(Dns::Outage { failure, .. }) = trouble {
            for proxy in &proxies {
                let known = proxy.sender.connect(Instant::now()).await.0;
                known.map_err(FailoverError::Unsound)?;
            }
            self.names.fail_all(Some(failure));
            sleep(SHORT_TTL + OVER).await;
        }
        let (mut meeting, mut going) = (JoinSet::new(), JoinSet::new());
        for proxy in &proxies {
            meeting.spawn(exchanges(proxy.sender.clone(), trouble));
        }
        for proxy in &self.normal {
            going.spawn(exchanges(proxy.sender.clone(), trouble));
        }
        let mut played = Played {
            trouble,
            first: Vec::new(),
            following: Vec::new(),
            normal: Vec::new(),
        };
        for (first, following) in meeting.join_all().await {
            played.first.push(first);
            played.following.extend(following);
        }
        for (_, following) in going.join_all().await {
            played.normal.extend(following);
        }
        for mut proxy in proxies {
            proxy.child.still_runs("while it was tried")?;
            proxy.child.kill().await?;
        }
        Ok(played)
    }

    /// The cloud and the names as this trouble has them before any proxy runs; of addresses, the dead are named first.
    async fn prepare(&self, trouble: Trouble) -> Result<(), FailoverError> {
        let name = &self.cloud.hosts().push;
        let mut ips = self.cloud.ips();
        let (dead, behavior) = match trouble {
            Trouble::Addresses { death, dead } => (usize::from(dead), death.behavior()),
            Trouble::None | Trouble::Dns(_) => (0, Some(Behavior::Ok)),
        };
        for index in 0..ips.len() {
            let own = match behavior {
                Some(behavior) if index < dead => behavior,
                _ => Behavior::Ok,
            };
            let set = self.cloud.set(index, own).await;
            set.map_err(setup("changing an address"))?;
        }
        if behavior.is_none() {
            for (ip, last) in ips.iter_mut().take(dead).zip(101..) {
                let [a, b, c] = NOWHERE;
                *ip = IpAddr::from([a, b, c, last]);
            }
        }
        self.names.fail_all(None);
        self.names.delay_all(Duration::ZERO);
        self.names.set(name, ips.iter().copied());
        self.sick.set(name, ips);
        match trouble {
            Trouble::Dns(Dns::SilentAaaa) => {
                self.names.fail_only(name, Kind::Aaaa, Failure::Silent);
            }
            Trouble::Dns(Dns::Slow) => self.names.delay_all(SLOW_DNS),
            Trouble::Dns(Dns::Truncated) => self.names.fail_all(Some(Failure::Truncated)),
            Trouble::Dns(Dns::FirstServer) => self.sick.fail_all(Some(Failure::Silent)),
            Trouble::None | Trouble::Addresses { .. } | Trouble::Dns(Dns::Outage { .. }) => {}
        }
        Ok(())
    }

    async fn proxy(&self, servers: &[SocketAddr], number: u8) -> Result<Proxy, FailoverError> {
        let mut tries = START_TRIES;
        loop {
            match self.try_proxy(servers, number).await {
                Err(FailoverError::Child(error)) if tries > 1 && error.is_port_taken() => {
                    tries -= 1;
                }
                result => return result,
            }
        }
    }

    async fn try_proxy(&self, servers: &[SocketAddr], number: u8) -> Result<Proxy, FailoverError> {
        // Addresses of its own: a proxy that somebody else has started can't be taken for it.
        let [entrance, admin] = [ENTRANCES, ADMINS].map(|first| {
            let ip = IpAddr::from([127, 0, self.block, first + number]);
            free_port(&[ip]).map(|port| SocketAddr::new(ip, port))
        });
        let entrance = entrance.map_err(setup("finding a port"))?;
        let admin = admin.map_err(setup("finding a port"))?;
        let file = self.folder.path(&format!("tidegate{number}.toml"));
        let config = self.configuration(servers, entrance, admin);
        fs::write(&file, config).map_err(setup("writing the configuration"))?;
        let arguments = ["run".as_ref(), "--config".as_ref(), file.as_os_str()];
        let mut child = Child::start(name(number), &self.program, arguments, &self.folder)?;
        child
            .ready(async || TcpStream::connect(entrance).await.is_ok())
            .await?;
        let sender = Sender::new(entrance, &self.cloud).map_err(setup("a sender"))?;
        let sender = Arc::new(sender);
        Ok(Proxy { child, sender })
    }

    fn configuration(
        &self,
        servers: &[SocketAddr],
        entrance: SocketAddr,
        admin: SocketAddr,
    ) -> String {
        let servers: Vec<_> = servers.iter().map(|at| format!("\"{at}\"")).collect();
        let [a, b, c] = NOWHERE;
        format!(
            r#"[[listener]]
name = "plain"
address = "{entrance}"

[admin]
address = "{admin}"

[[destination]]
name = "cloud"
hosts = ["{host}"]
ports = [{port}]
role = "push"
networks = ["127.0.0.0/8", "{a}.{b}.{c}.0/24"]

[dns]
servers = [{servers}]
min_ttl = "1s"

[log]
access = "off"

[probe]
interval = "off"

[runtime]
workers = 1
"#,
            servers = servers.join(", "),
            host = self.cloud.hosts().push,
            port = self.cloud.port(),
        )
    }
}

/// The first exchange, and when its CONNECT is answered, the following ones, each when it is due.
async fn exchanges(sender: Arc<Sender>, trouble: Trouble) -> (Exchange, Vec<Exchange>) {
    let (connect, tunnel) = sender.connect(Instant::now()).await;
    let push = pushed(&sender, tunnel);
    let start = Instant::now();
    let following = drive(trouble.following(), std::future::pending(), |_, due| {
        let sender = sender.clone();
        async move {
            let (connect, tunnel) = sender.connect(due).await;
            Exchange {
                after: due - start,
                connect,
                push: pushed(&sender, tunnel).await,
            }
        }
    });
    let (push, following) = tokio::join!(push, following);
    let first = Exchange {
        after: Duration::ZERO,
        connect,
        push,
    };
    (first, following)
}

async fn pushed(sender: &Sender, tunnel: Option<Tunnel>) -> Option<Result<(), String>> {
    match tunnel {
        Some(tunnel) => Some(sender.push(tunnel).await),
        None => None,
    }
}

/// What messages call it.
fn name(number: u8) -> &'static str {
    const NAMES: [&str; 2 * super::SAMPLES_MAX as usize] = [
        "proxy1", "proxy2", "proxy3", "proxy4", "proxy5", "proxy6", "proxy7", "proxy8", "proxy9",
        "proxy10",
    ];
    NAMES[usize::from(number) % NAMES.len()]
}
