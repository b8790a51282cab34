//! What an administrator could change, so that a refused request passes.

use super::account::Telling;
use crate::dial::outlook::Outlook;
use crate::dial::resolve::ResolveError;
use crate::exchange::{DestinationName, Reason, Target};
use crate::gate::Refusal;
use crate::policy::{Cleared, Policy};

impl Telling<'_> {
    pub(super) fn to_do_about(
        &self,
        refusal: &Refusal,
        policy: &Policy,
        target: &Target,
    ) -> String {
        let sender = refusal.login.sender.as_ref();
        let file = match &self.config.source.path {
            Some(path) => path.display().to_string(),
            None => "a configuration file of your own (--config)".to_owned(),
        };
        let place = |name: &DestinationName| {
            let mut all = self.config.destinations.iter();
            all.position(|one| one.name == *name).unwrap_or_default()
        };
        match (refusal.error.reason(), refusal.error.destination()) {
            (Reason::PortDenied, Some(name)) => format!(
                "ask for another port, or add {} to {}",
                target.port,
                self.at(
                    format!("the ports of destination {name}"),
                    "destination",
                    place(name),
                    "ports"
                )
            ),
            (Reason::ClientDenied, Some(name)) => {
                let mut clients = self.config.clients.iter();
                let client = clients
                    .position(|one| Some(&one.name) == sender)
                    .unwrap_or_default();
                let which = sender.map_or_else(String::new, ToString::to_string);
                let words = format!("the destinations of [[client]] {which}");
                format!(
                    "add \"{name}\" to {}",
                    self.at(words, "client", client, "destinations")
                )
            }
            (Reason::ClientDenied, None) => {
                let mut listeners = self.config.listeners.iter();
                let place = listeners
                    .position(|one| one.name == self.listener.name)
                    .unwrap_or_default();
                let words = format!("allow_from of listener {}", self.listener.name);
                format!(
                    "add \"{}\" to {}",
                    self.from,
                    self.at(words, "listener", place, "allow_from")
                )
            }
            (Reason::TargetDenied, _) if policy.weigh(&[], target).next().is_none() => format!(
                "look at the name; if it is right, add it to the hosts of a [[destination]] in {file}"
            ),
            _ => format!("see {file}"),
        }
    }

    pub(super) fn to_do_about_names(
        &self,
        reason: Reason,
        outlook: &Outlook,
        cleared: &Cleared,
    ) -> String {
        let destination = &cleared.destination().name;
        match reason {
            Reason::AddressDenied => {
                let addr = outlook.left_out.first().map(|(addr, _)| addr.ip());
                let addr = addr.map_or_else(String::new, |addr| addr.to_string());
                format!(
                    "if this address is meant, add \"{addr}\" to the networks of destination {destination}; if not, ask who answers for the name"
                )
            }
            Reason::SelfTarget => "the target is this proxy itself: ask for the service".to_owned(),
            Reason::NameNotFound => {
                "look at the name, and at what the name servers above say of it".to_owned()
            }
            Reason::DnsTimeout | Reason::DnsFailed => match outlook.trouble {
                Some(ResolveError::Untrusted) => {
                    "name the authority that signed the name server's certificate in dns.ca, and the name that stands in it behind the # of dns.servers".to_owned()
                }
                Some(ResolveError::Nowhere) => {
                    "a DNS filter answers 0.0.0.0 or ::: have it let this name pass, or name other servers in dns.servers".to_owned()
                }
                Some(ResolveError::Failed) => {
                    "ask those who run the name servers, or name others in dns.servers".to_owned()
                }
                Some(
                    ResolveError::NotFound
                    | ResolveError::NoAddress
                    | ResolveError::TimedOut
                    | ResolveError::Unreachable,
                )
                | None => format!(
                    "look at dns.servers, and at the firewall: it must let {} pass",
                    self.config.dns.ways()
                ),
            },
            Reason::Internal => format!(
                "correct source of destination {destination}, or bring one of its addresses up on this machine"
            ),
            _ => {
                "look at connect.families, and at source of the destination: they leave no address"
                    .to_owned()
            }
        }
    }
}
