//! What a dial would do for a request that passed: names, addresses in their order, and the rules of the way.

use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::task::LocalSet;

use super::account::{AccountError, Telling, list};
use crate::config::Sni;
use crate::config::units::show_duration;
use crate::dial::Dialer;
use crate::dial::LeftOut;
use crate::dial::health::HealthBook;
use crate::dial::outlook::Outlook;
use crate::dial::resolve::{ResolveError, Resolver};
use crate::dial::tls::NativeRoots;
use crate::exchange::Host;
use crate::policy::{Cleared, Denial};
use crate::telemetry::{Derivation, GuideCounters, Meters};

impl Telling<'_> {
    pub(super) fn look_ahead(
        &self,
        cleared: &Cleared,
        meters: Arc<Meters>,
    ) -> Result<Outlook, AccountError> {
        let config = self.config;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(AccountError::Runtime)?;
        let (resolver, answerer) = Resolver::new(&config.dns, Arc::clone(&meters));
        let roots = NativeRoots::load();
        let counters = GuideCounters::new(std::time::Instant::now());
        let dialer = Dialer::new(
            config.connect.clone(),
            config.tunnel.keepalive,
            resolver,
            meters,
            Arc::new(HealthBook::new(&config.connect)),
            roots.clone(),
            // What is found here raises no alarm: it is told at once.
            Arc::new(Derivation::new(Arc::default(), Arc::new(counters))),
        );
        let looking = async {
            tokio::task::spawn_local(answerer.run(config.dns.clone(), roots));
            dialer.outlook(cleared).await
        };
        Ok(LocalSet::new().block_on(&runtime, looking))
    }

    pub(super) fn say_way(&mut self, cleared: &Cleared, outlook: &Outlook, forward: Option<bool>) {
        let destination = cleared.destination();
        let budget = destination
            .connect_budget
            .unwrap_or(self.config.connect.budget);
        self.account.addresses = outlook.tries.iter().map(|one| one.addr).collect();
        self.say("names", [self.names(cleared, outlook)]);
        let via = destination
            .via
            .iter()
            .map(|parent| format!("through the parent {parent}"));
        let via: Vec<String> = via.collect();
        self.say("via", via);
        let mut says: Vec<String> = Vec::new();
        for (place, one) in outlook.tries.iter().enumerate() {
            let mut words = format!("{}. {}", place + 1, one.addr);
            if let Some(parent) = one.parent.and_then(|parent| destination.via.get(parent)) {
                words += &format!(" of {parent}");
            }
            if !one.sources.is_empty() {
                words += &format!(" from {}", list(&one.sources));
            }
            if one.parent.is_none() {
                if cleared.is_unpublished(one.addr.ip()) {
                    words += ", outside of the ranges that its service publishes";
                }
                if let Some(denial @ Denial::Address { .. }) = cleared.would_refuse(Some(one.addr))
                {
                    words += &format!(", only since the destination is report_only: {denial}");
                }
            }
            says.push(words);
        }
        says.extend(outlook.left_out.iter().map(|(addr, why)| {
            let why = match why {
                LeftOut::OtherFamily => {
                    "connect.families or source leaves its family out".to_owned()
                }
                LeftOut::TooMany => "the name has too many".to_owned(),
                LeftOut::Denied(denial) => denial.to_string(),
            };
            format!("not {addr}: {why}")
        }));
        if outlook.tries.len() > 1 {
            says.push(format!(
                "the next is tried beside it after {}; a running proxy puts the quick ones first and the dead last (http://{}/destinations)",
                show_duration(self.config.connect.attempt_delay),
                self.config.admin.address
            ));
        }
        let missing = crate::dial::missing_sources(std::slice::from_ref(destination));
        says.extend(missing.map(|(_, source)| {
            format!("this machine does not have the source address {source} now")
        }));
        self.say("addresses", says);
        self.say("tls", [tls(cleared, forward)]);
        let own = if destination.connect_budget.is_some() {
            "connect_budget"
        } else {
            "[connect] budget"
        };
        self.say(
            "budget",
            [format!(
                "{} for waiting, names and every address ({own})",
                show_duration(budget)
            )],
        );
    }

    fn names(&self, cleared: &Cleared, outlook: &Outlook) -> String {
        let destination = cleared.destination();
        if destination.via.is_empty() {
            match &cleared.target().host {
                Host::Addr(_) => return "the target is an address: nobody is asked".to_owned(),
                Host::Name(_) if !destination.addresses.is_empty() => {
                    return format!(
                        "addresses of destination {} instead of DNS",
                        destination.name
                    );
                }
                Host::Name(_) => {}
            }
        }
        let servers = match &self.config.dns.servers[..] {
            [] => "the system's name servers".to_owned(),
            servers => list(servers),
        };
        let took = outlook
            .dns
            .map(|took| format!(", {} ms", took.as_millis()))
            .unwrap_or_default();
        // Addresses of one family are all that most names have.
        let is_plain =
            |error: &ResolveError| *error == ResolveError::NoAddress && !outlook.tries.is_empty();
        let trouble = outlook
            .trouble
            .filter(|error| !is_plain(error))
            .map(|error| format!("; {error}"))
            .unwrap_or_default();
        let who = if destination.via.is_empty() {
            ""
        } else {
            "for the parents' names; the target's is theirs to find: "
        };
        format!("{who}asked {servers}{took}{trouble}")
    }
}

/// What is asked of TLS: in a tunnel by the SNI rule, towards an origin by us.
fn tls(cleared: &Cleared, forward: Option<bool>) -> String {
    let destination = cleared.destination();
    let name = match &cleared.target().host {
        Host::Name(name) => name.to_string(),
        Host::Addr(_) => format!("a host of destination {}", destination.name),
    };
    let ca = destination
        .ca
        .as_ref()
        .map(|ca| format!(" and {}", ca.path.display()));
    match (forward, destination.sni) {
        (Some(true), _) => format!(
            "the proxy's own: the origin must show a certificate for {}, of an authority that the system{} trusts",
            cleared.target().host,
            ca.unwrap_or_default()
        ),
        (Some(false), Sni::Require) => "sni = \"require\": nothing but TLS goes there".to_owned(),
        (Some(false), Sni::Off | Sni::Match) => "none: http is sent in the clear".to_owned(),
        (None, Sni::Off) => "sni = \"off\": how the tunnel opens is not looked at".to_owned(),
        (None, Sni::Match) => format!(
            "sni = \"match\": a TLS hello in the tunnel must ask for {name}; anything else passes"
        ),
        (None, Sni::Require) => {
            format!("sni = \"require\": the tunnel must open with a TLS hello for {name}")
        }
    }
}
