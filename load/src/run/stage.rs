//! What a run is played on: a cloud that answers, names, and a proxy with or without limits; each a process of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tokio::net::TcpStream;

use super::errand::Errand;
use super::{CALLS, LOGINS, RunError, RunPlan, setup};
use crate::child::cores::Cores;
use crate::child::login::{random_hex, user_lines};
use crate::child::{Child, ChildError, Folder, free_addresses, free_port, proxy_program, usage};
use crate::names::{self, Names};
use crate::scenario::{Rates, Scenario};

/// Several on each side, so that closed connections, whose ports rest for a minute, do not use the ports up.
const ENTRANCES: [u8; 4] = [1, 2, 3, 4];
const ORIGINS: std::ops::RangeInclusive<u8> = 21..=36;
const REALM: &str = "tidegate storm";
/// Another try with other ports, should somebody have taken one between finding and binding.
const START_TRIES: usize = 3;

/// What stays while proxies come and go.
pub(super) struct World {
    program: PathBuf,
    proxy_program: PathBuf,
    names: names::Running,
    origins: Vec<SocketAddr>,
    password: String,
    /// The proxy's own core, and those of the drivers.
    pub(super) cores: (Cores, Cores),
    _origin: Child,
    pub(super) folder: Folder,
}

/// A proxy that runs.
pub(super) struct Proxy {
    child: Child,
    entrances: Vec<SocketAddr>,
    /// What it reads.
    pub(super) config: String,
}

impl World {
    pub(super) async fn start(plan: &RunPlan) -> Result<Self, RunError> {
        let program = match &plan.load {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(setup("finding this program"))?,
        };
        let proxy_program = proxy_program(plan.proxy.as_ref())?;
        let ips: Vec<IpAddr> = ORIGINS.map(|n| IpAddr::from([127, 0, 0, n])).collect();
        let names = Names::start().await.map_err(setup("a name server"))?;
        for (index, ip) in ips.iter().enumerate() {
            names.set(&name(index), [*ip]);
        }
        let folder = Folder::new().map_err(setup("a folder"))?;
        let cores = Cores::divide().map_err(setup("dividing the cores"))?;
        let mut tries = START_TRIES;
        loop {
            let port = free_port(&ips).map_err(setup("finding a port"))?;
            let origins: Vec<_> = ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            let arguments = ["bench".to_owned(), "origin".to_owned()].into_iter();
            let arguments = arguments.chain(origins.iter().map(|at| format!("--listen={at}")));
            let mut child = cores
                .1
                .during(|| Child::start("origin", &program, arguments, &folder))
                .map_err(setup("choosing cores"))??;
            let last = origins[origins.len() - 1];
            match child.ready(async || answers(last).await).await {
                Ok(()) => {
                    let password = random_hex();
                    let users = [LOGINS, CALLS].map(|user| user_lines(user, REALM, &password));
                    fs::write(folder.path("users.htdigest"), users.concat())
                        .map_err(setup("writing the users file"))?;
                    return Ok(Self {
                        program,
                        proxy_program,
                        names,
                        origins,
                        password,
                        cores,
                        _origin: child,
                        folder,
                    });
                }
                Err(error) if tries > 1 && error.is_port_taken() => tries -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A proxy on a core of its own; with these limits, or with none.
    pub(super) async fn proxy(
        &self,
        scenario: &Scenario,
        limits: Option<&Rates>,
    ) -> Result<Proxy, RunError> {
        let mut tries = START_TRIES;
        loop {
            match self.try_proxy(scenario, limits).await {
                Err(RunError::Child(error)) if tries > 1 && error.is_port_taken() => tries -= 1,
                result => return result,
            }
        }
    }

    async fn try_proxy(
        &self,
        scenario: &Scenario,
        limits: Option<&Rates>,
    ) -> Result<Proxy, RunError> {
        let ips = ENTRANCES.map(|n| IpAddr::from([127, 0, 0, n]));
        let port = free_port(&ips).map_err(setup("finding a port"))?;
        let entrances = ips.map(|ip| SocketAddr::new(ip, port));
        let [admin] = free_addresses().map_err(setup("finding a port"))?;
        let config = self.configuration(&entrances, admin, scenario, limits);
        let file = self.folder.path("tidegate.toml");
        fs::write(&file, &config).map_err(setup("writing the configuration"))?;
        let arguments = ["run".as_ref(), "--config".as_ref(), file.as_os_str()];
        let start = || Child::start("proxy", &self.proxy_program, arguments, &self.folder);
        let started = self.cores.0.during(start);
        let mut child = started.map_err(setup("choosing cores"))??;
        child
            .ready(async || {
                for entrance in entrances {
                    if !answers(entrance).await {
                        return false;
                    }
                }
                true
            })
            .await?;
        Ok(Proxy {
            child,
            entrances: entrances.into(),
            config,
        })
    }

    /// A driver that does this errand; its name is that of its cluster.
    pub(super) fn driver(&self, errand: &Errand) -> Result<Child, RunError> {
        let name = match errand.user.as_str() {
            LOGINS => LOGINS,
            _ => CALLS,
        };
        let file = self.folder.path(&format!("{name}.errand"));
        errand.write(&file).map_err(setup("writing an errand"))?;
        let arguments = ["errand".as_ref(), file.as_os_str()];
        let start = || Child::start(name, &self.program, arguments, &self.folder);
        let started = self.cores.1.during(start);
        Ok(started.map_err(setup("choosing cores"))??)
    }

    pub(super) fn targets(&self) -> Vec<String> {
        let named = self.origins.iter().enumerate();
        named
            .map(|(index, at)| format!("{}:{}", name(index), at.port()))
            .collect()
    }

    pub(super) fn password(&self) -> String {
        self.password.clone()
    }

    fn configuration(
        &self,
        entrances: &[SocketAddr],
        admin: SocketAddr,
        scenario: &Scenario,
        limits: Option<&Rates>,
    ) -> String {
        let mut text = String::new();
        for (number, address) in entrances.iter().enumerate() {
            let _ = write!(
                text,
                "[[listener]]\nname = \"entrance{number}\"\naddress = \"{address}\"\n\n"
            );
        }
        let hosts: Vec<_> = (0..self.origins.len())
            .map(|index| format!("\"{}\"", name(index)))
            .collect();
        let _ = write!(
            text,
            r#"[admin]
address = "{admin}"

[authentication]
required = true
realm = "{REALM}"
users = "users.htdigest"

[[destination]]
name = "cloud"
hosts = [{hosts}]
ports = [{port}]
networks = ["127.0.0.0/8"]

[dns]
servers = ["{dns}"]

[log]
access = "/dev/null"

[probe]
interval = "off"

[runtime]
workers = {workers}
{clients}"#,
            hosts = hosts.join(", "),
            port = self.origins[0].port(),
            dns = self.names.addr(),
            workers = scenario.workers,
            clients = clients(scenario, limits),
        );
        text
    }
}

/// Who is who, and what each may do. Nothing else differs between a run with limits and one without.
fn clients(scenario: &Scenario, limits: Option<&Rates>) -> String {
    let mut text = String::new();
    for (name, priority) in [(LOGINS, "messages"), (CALLS, "calls")] {
        let _ = write!(
            text,
            "\n[[client]]\nname = \"{name}\"\nusers = [\"{name}\"]\n"
        );
        if limits.is_some() {
            let _ = writeln!(text, "priority = \"{priority}\"");
        }
    }
    if let Some(rates) = limits {
        let _ = write!(
            text,
            r#"
[[limit]]
name = "per-cluster"
per = "client"
rate = "{}/s"
burst = {}
max_wait = "{}ms"
"#,
            rates.limit,
            rates.burst,
            scenario.limit.max_wait.as_millis(),
        );
    }
    text
}

impl Proxy {
    pub(super) fn entrances(&self) -> Vec<SocketAddr> {
        self.entrances.clone()
    }

    /// CPU time used until now.
    pub(super) fn cpu(&self) -> Result<usage::Cpu, RunError> {
        usage::Cpu::of(self.child.pid()).map_err(setup("reading CPU time by pid"))
    }

    /// Ends it, by its pid; one that had ended by itself is a failure.
    pub(super) async fn end(mut self) -> Result<(), ChildError> {
        self.child.still_runs("while it was measured")?;
        self.child.kill().await
    }
}

async fn answers(at: SocketAddr) -> bool {
    TcpStream::connect(at).await.is_ok()
}

fn name(index: usize) -> String {
    format!("n{index}.storm.test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_and_priorities_tell_the_two_configurations_apart() {
        let scenario = Scenario::storm();
        let without = clients(&scenario, None);
        assert!(
            !without.contains("limit") && !without.contains("priority"),
            "{without}"
        );
        let with = clients(&scenario, Some(&scenario.rates(8000.0)));
        let more = "\n[[limit]]\nname = \"per-cluster\"\nper = \"client\"\nrate = \"1000/s\"\nburst = 50\nmax_wait = \"500ms\"\n";
        assert!(with.ends_with(more), "{with}");
        let rest: Vec<_> = with[..with.len() - more.len()]
            .lines()
            .filter(|line| !line.starts_with("priority"))
            .collect();
        assert_eq!(rest, without.lines().collect::<Vec<_>>());
    }
}
