//! What is probed of a destination: each of its names and addresses, at one port. Pure.

use std::sync::Arc;

use crate::config::{self, Destination, HostPattern, PortRange, Role};
use crate::exchange::{DestinationName, Host, Target};

/// The port that is probed where a destination's first ports have it.
const HTTPS: u16 = 443;

/// One host of a destination.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    /// Its place among all.
    pub(crate) number: usize,
    pub(crate) destination: Arc<Destination>,
    pub(crate) target: Target,
    pub(crate) role: Role,
    /// A preset's own: its authority is one that everybody trusts.
    pub(crate) is_public: bool,
}

/// A rule that names no host: only clients know which they will ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unprobed {
    pub(crate) destination: DestinationName,
    pub(crate) pattern: String,
    pub(crate) role: Role,
}

/// All that can be probed, in the order of the configuration, and what cannot.
pub(crate) fn aims(destinations: &[Destination]) -> (Vec<Aim>, Vec<Unprobed>) {
    let (mut aims, mut unprobed) = (Vec::new(), Vec::new());
    for destination in destinations {
        let port = port(&destination.ports);
        let shared = Arc::new(destination.clone());
        for rule in &destination.hosts {
            let host = match &rule.pattern {
                HostPattern::Name(name) => Host::Name(Arc::clone(name)),
                HostPattern::Addr(ip) => Host::Addr(ip.to_canonical()),
                HostPattern::Suffix(_) => {
                    unprobed.push(Unprobed {
                        destination: destination.name.clone(),
                        pattern: rule.pattern.to_string(),
                        role: rule.role,
                    });
                    continue;
                }
            };
            let is_public = destination.preset.is_some() && config::is_of_a_preset(&host);
            aims.push(Aim {
                number: aims.len(),
                destination: Arc::clone(&shared),
                target: Target { host, port },
                role: rule.role,
                is_public,
            });
        }
    }
    (aims, unprobed)
}

/// Of what is named first: 443 where that is in it, else its first.
fn port(ranges: &[PortRange]) -> u16 {
    match ranges.first() {
        Some(range) if !range.contains(HTTPS) => range.first,
        _ => HTTPS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_host_is_aimed_at_and_wildcards_are_named() {
        let text = "[[destination]]\nname = \"lab\"\nhosts = [\"push.test\", \"*.cloud.test\", \"::1\"]\nports = [\"8000-8099\", 9000]\n\
                    [[destination]]\nname = \"near\"\nhosts = [\"near.test\"]\nports = [8443, \"1-65535\"]\n\
                    [[destination]]\npreset = \"cisco\"\n";
        let config = config::parse(text, Path::new("t.toml")).unwrap();
        let (aims, unprobed) = aims(&config.destinations);
        let all: Vec<String> = aims
            .iter()
            .map(|aim| {
                format!(
                    "{} {} {}",
                    aim.destination.name,
                    aim.target,
                    aim.role.word()
                )
            })
            .collect();
        assert_eq!(
            all,
            [
                "lab push.test:8000 push",
                "lab [::1]:8000 push",
                "near near.test:8443 push",
                "cisco push.webexconnect.com:443 push",
                "cisco idbroker.webex.com:443 token",
                "cisco fos-a.wbx2.com:443 onboarding",
            ]
        );
        assert_eq!(unprobed.len(), 1);
        assert_eq!(unprobed[0].pattern, "*.cloud.test");
    }

    #[test]
    fn a_preset_s_hosts_are_public_whatever_stands_beside_them() {
        let text = "[[destination]]\npreset = \"apns\"\nhosts = [\"api.push.apple.com\", \"apns.test\"]\nports = [443]\n\
                    [[destination]]\nname = \"lab\"\nhosts = [\"push.webexconnect.com\"]\n";
        let config = config::parse(text, Path::new("t.toml")).unwrap();
        let (aims, _) = aims(&config.destinations);
        let public: Vec<bool> = aims.iter().map(|aim| aim.is_public).collect();
        // A host of one's own beside a preset, and a preset's host that somebody serves in a lab, are the operator's.
        assert_eq!(public, [true, false, false]);
    }
}
