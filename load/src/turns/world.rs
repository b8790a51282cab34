//! A cloud for each case, a name server, and one proxy to which each case is a destination of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::case::{AT_ONCE, Case, SERVERS};
use super::{TurnsError, setup};
use crate::child::{Child, Folder, free_addresses};
use crate::cloud::{self, Cloud, CloudPlan};
use crate::names::{self, Names};
use crate::onprem::{ProxyClient, Server, ServerPlan};

/// Another try with other ports, should somebody have taken one between finding and binding.
const START_TRIES: usize = 3;
const TTL: Duration = Duration::from_secs(600);

pub(super) struct World {
    clouds: Vec<(Case, cloud::Running)>,
    proxy: Child,
    entrance: SocketAddr,
    admin: SocketAddr,
    _names: names::Running,
    _folder: Folder,
}

impl World {
    pub(super) async fn start(program: &Path, cases: Vec<Case>) -> Result<Self, TurnsError> {
        let mut clouds = Vec::new();
        for case in cases {
            let plan = CloudPlan::new().answer_after(case.delay);
            let cloud = Cloud::start(plan).await.map_err(setup("a cloud"))?;
            clouds.push((case, cloud));
        }
        let names = Names::start_at(([127, 0, 0, 1], 0).into(), TTL).await;
        let names = names.map_err(setup("a name server"))?;
        for (_, cloud) in &clouds {
            let hosts = cloud.hosts();
            for name in [&hosts.push, &hosts.token, &hosts.onboard] {
                names.set(name, cloud.ips());
            }
        }
        let folder = Folder::new().map_err(setup("a folder"))?;
        let mut tries = START_TRIES;
        let (proxy, entrance, admin) = loop {
            match proxy(program, &folder, &clouds, names.addr()).await {
                Err(TurnsError::Child(error)) if tries > 1 && error.is_port_taken() => tries -= 1,
                result => break result?,
            }
        };
        Ok(Self {
            clouds,
            proxy,
            entrance,
            admin,
            _names: names,
            _folder: folder,
        })
    }

    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(super) fn cases(&self) -> impl Iterator<Item = &(Case, cloud::Running)> {
        self.clouds.iter()
    }

    /// The servers of a case, with accounts and tokens.
    pub(super) async fn servers(
        &self,
        (case, cloud): &(Case, cloud::Running),
    ) -> Result<(Case, Vec<Arc<Server>>), TurnsError> {
        let mut servers = Vec::new();
        for number in 1..=SERVERS {
            let plan = ServerPlan {
                http2: case.http2,
                tunnels: if case.at_once { AT_ONCE } else { 1 },
                confirmation_wait: case.delay * 2 + Duration::from_secs(5),
                ..ServerPlan::new(&format!("cucm{number}"), cloud.port(), cloud.ca_pem())
            };
            let started = Server::start(plan, ProxyClient::plain(self.entrance)).await;
            let started =
                started.map_err(|error| TurnsError::Server(crate::display::chain(&error)));
            servers.push(Arc::new(started?));
        }
        Ok((*case, servers))
    }

    pub(super) async fn end(&mut self) -> Result<(), TurnsError> {
        self.proxy.still_runs("while it was watched")?;
        Ok(self.proxy.kill().await?)
    }
}

async fn proxy(
    program: &Path,
    folder: &Folder,
    clouds: &[(Case, cloud::Running)],
    dns: SocketAddr,
) -> Result<(Child, SocketAddr, SocketAddr), TurnsError> {
    let [entrance, admin] = free_addresses().map_err(setup("finding a port"))?;
    let file = folder.path("tidegate.toml");
    let config = configuration(clouds, entrance, admin, dns);
    fs::write(&file, config).map_err(setup("writing the configuration"))?;
    let arguments = ["run".as_ref(), "--config".as_ref(), file.as_os_str()];
    let mut child = Child::start("proxy", program, arguments, folder)?;
    child
        .ready(async || TcpStream::connect(entrance).await.is_ok())
        .await?;
    Ok((child, entrance, admin))
}

/// The cases differ in their ports. Accounts and tokens are nobody's figures.
fn configuration(
    clouds: &[(Case, cloud::Running)],
    entrance: SocketAddr,
    admin: SocketAddr,
    dns: SocketAddr,
) -> String {
    let mut text = format!(
        "[[listener]]\nname = \"plain\"\naddress = \"{entrance}\"\n\n[admin]\naddress = \"{admin}\"\n\n[dns]\nservers = [\"{dns}\"]\n\n[log]\naccess = \"off\"\n\n[probe]\ninterval = \"off\"\n"
    );
    let mut destination = |name: &str, hosts: &str, ports: &str| {
        // Writing to a string never fails.
        let _ = write!(
            text,
            "\n[[destination]]\nname = \"{name}\"\nhosts = [{hosts}]\nports = [{ports}]\nrole = \"push\"\nnetworks = [\"127.0.0.0/8\"]\n"
        );
    };
    let mut ports = Vec::new();
    for (case, cloud) in clouds {
        let port = cloud.port().to_string();
        destination(&case.name(), &format!("\"{}\"", cloud.hosts().push), &port);
        ports.push(port);
    }
    if let Some((_, cloud)) = clouds.first() {
        let hosts = cloud.hosts();
        let hosts = format!("\"{}\", \"{}\"", hosts.token, hosts.onboard);
        destination("accounts", &hosts, &ports.join(", "));
    }
    text
}
