//! Whom names are asked of: the hosts file first, then the configured name servers, or those of `/etc/resolv.conf`.
//!
//! Both files are followed while we run. A resolv.conf that cannot be used leaves the last good one in force.

use std::future::ready;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::answerer::{Answerer, Ask, Settled};
use super::hosts::Hosts;
use super::resolve::{Family, ResolveError};
use super::servers::Servers;
use super::tls::NativeRoots;
use super::watched::Watched;
use crate::config;
use crate::telemetry::Chain;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The hosts file is followed: what stands there holds until it changes.
const HOSTS_TTL: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct System {
    dns: config::Dns,
    native_roots: NativeRoots,
    hosts: Hosts,
    /// Where the configuration names no servers.
    resolv_conf: Option<Watched>,
    servers: Option<Rc<Servers>>,
}

impl Answerer {
    /// Answers until nobody can ask any more, as the configuration and the system say.
    pub(crate) async fn run(self, dns: config::Dns, native_roots: NativeRoots) {
        let whom = System::new(dns, native_roots, HOSTS.into(), RESOLV_CONF.into());
        self.answer(whom).await;
    }
}

impl System {
    pub(super) fn new(
        dns: config::Dns,
        native_roots: NativeRoots,
        hosts: PathBuf,
        resolv_conf: PathBuf,
    ) -> Self {
        let resolv_conf = dns.servers.is_empty().then(|| Watched::new(resolv_conf));
        let mut system = Self {
            dns,
            native_roots,
            hosts: Hosts::new(hosts),
            resolv_conf,
            servers: None,
        };
        if system.resolv_conf.is_none() {
            match Servers::configured(&system.dns, &system.native_roots) {
                Ok(servers) => system.servers = Some(Rc::new(servers)),
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "the name servers of dns.servers cannot be used");
                }
            }
        }
        system.look_around();
        system
    }

    fn follow_resolv_conf(&mut self) {
        let Some(file) = &mut self.resolv_conf else {
            return;
        };
        if !file.has_changed() {
            return;
        }
        match Servers::of_resolv_conf(file, &self.dns) {
            Ok(servers) => {
                if self.servers.is_some() {
                    tracing::info!(%servers, "resolv.conf has changed: its name servers are asked from now on");
                }
                self.servers = Some(Rc::new(servers));
            }
            Err(error) if self.servers.is_some() => {
                tracing::warn!(%error, "resolv.conf cannot be used: its former name servers stay");
            }
            Err(error) => {
                tracing::warn!(%error, "resolv.conf cannot be used: no name server can be asked");
            }
        }
    }
}

impl Ask for System {
    fn ask(&mut self, name: &Arc<str>, family: Family) -> Pin<Box<dyn Future<Output = Settled>>> {
        if let Some(answer) = self.hosts.find(name, family) {
            return Box::pin(ready((answer, Some(HOSTS_TTL))));
        }
        if self.servers.is_none() {
            self.follow_resolv_conf();
        }
        let Some(servers) = self.servers.clone() else {
            return Box::pin(ready((Err(ResolveError::Unreachable), None)));
        };
        let name = Arc::clone(name);
        Box::pin(async move { servers.ask(&name, family).await })
    }

    fn look_around(&mut self) -> Vec<Arc<str>> {
        self.follow_resolv_conf();
        self.hosts.look()
    }
}

#[cfg(test)]
mod tests;
