//! What the stations before the dial say to a request: listener, sender, login, policy, limits.

use std::time::SystemTime;

use tokio::time::Instant;

use super::account::{Refused, Request, Telling, list};
use crate::config::units::show_duration;
use crate::config::userfile::HashKind;
use crate::config::{self, HostPattern};
use crate::exchange::{ClientName, Host, Reason, Target};
use crate::gate::{self, Admission, Asked, Asking, Gate, Limits, Refusal, Rules};
use crate::policy::Policy;

impl Telling<'_> {
    pub(super) fn say_listener(&mut self, rules: &Rules, gate: &Gate, request: &Request) {
        let config = self.config;
        let tell = |(place, one): (usize, &config::Listener)| {
            let kind = if one.tls.is_some() { "TLS" } else { "plain" };
            let name = format!("{} {} {kind}", one.name, one.address);
            let name = self.at(name, "listener", place, "name");
            if !gate::is_served(one, self.from) {
                let allow_from = self.at("allow_from", "listener", place, "allow_from");
                return format!("{name}: {} is not in its {allow_from}", self.from);
            }
            let asked = Asked {
                listener: one,
                ..self.asked(request, None)
            };
            let offers = match gate.admit(rules, &asked, SystemTime::now()) {
                Err(refusal) if !refusal.challenges.is_empty() => offers(&refusal.challenges),
                Ok(_) | Err(_) => "asks for no login".to_owned(),
            };
            let chosen = if one.name == self.listener.name {
                ""
            } else {
                " (not this one)"
            };
            format!("{name}: serves {}, {offers}{chosen}", self.from)
        };
        let mut says: Vec<String> = config.listeners.iter().enumerate().map(tell).collect();
        if self.question.from.is_none() {
            says.push(format!(
                "{} is assumed: --from names the client's own address",
                self.from
            ));
        }
        self.say("listener", says);
    }

    pub(super) fn say_who(&mut self, sender: Option<&ClientName>) {
        let found = sender.and_then(|name| {
            let mut clients = self.config.clients.iter().enumerate();
            clients.find(|(_, one)| one.name == *name)
        });
        let says = match found {
            None if self.config.clients.is_empty() => {
                "no [[client]] is configured: everybody may use every destination".to_owned()
            }
            None => {
                "no [[client]] has this user or address: it may use every destination".to_owned()
            }
            Some((place, client)) => {
                let by_user = self
                    .question
                    .user
                    .as_ref()
                    .is_some_and(|user| client.users.contains(user));
                let name = self.at(
                    format!("[[client]] {}", client.name),
                    "client",
                    place,
                    "name",
                );
                let by = if by_user { "its user" } else { "its network" };
                let may = match &client.destinations[..] {
                    [] => "every destination".to_owned(),
                    some => self.at(list(some), "client", place, "destinations"),
                };
                format!("{name}, by {by}; it may use {may}")
            }
        };
        self.account.client = sender.map(ToString::to_string);
        self.say("who", [says]);
    }

    /// Whether the login itself would fail.
    pub(super) fn say_credentials(
        &mut self,
        sender: Option<&ClientName>,
        rules: &Rules,
        gate: &Gate,
        request: &Request,
    ) -> Option<Refused> {
        let exempt = |one: &config::Client| {
            let inside = |network: &config::Network| network.contains(&self.from);
            one.exempt && Some(&one.name) == sender && one.networks.iter().any(inside)
        };
        let authentication = &self.config.authentication;
        if self.config.clients.iter().any(exempt) {
            let says = "this network needs none (authentication = \"none\"); what is sent is not looked at";
            self.say("credentials", [says.to_owned()]);
            return None;
        }
        let challenged = gate.admit(rules, &self.asked(request, None), SystemTime::now());
        let challenges = challenged
            .err()
            .map(|refusal| refusal.challenges)
            .unwrap_or_default();
        let file = authentication.users_file.display();
        let Some(user) = &self.question.user else {
            if !authentication.required {
                let says = "not asked for (authentication.required = false)".to_owned();
                self.say("credentials", [says]);
                return None;
            }
            let says = "required, and none were named: what follows is what a user of no [[client]] would see";
            self.say("credentials", [says.to_owned()]);
            let to_do = format!(
                "the client must log in ({}); --user NAME explains the way of a user",
                offers(&challenges)
            );
            let mut refused = Refused::new(
                Reason::NoCredentials,
                "credentials are required".into(),
                to_do,
            );
            refused.challenges = challenges;
            return Some(refused);
        };
        let kinds: Vec<&str> = authentication
            .users
            .iter()
            .filter(|line| line.user == *user)
            .map(|line| match line.kind {
                HashKind::Md5 => "MD5",
                HashKind::Sha256 => "SHA-256",
            })
            .collect();
        if kinds.is_empty() {
            let realm = &authentication.realm;
            let says = format!("{file} has no line of user {user} in realm \"{realm}\"");
            self.say("credentials", [says]);
            let to_do = format!("add the user: tidegate passwd {file} {user}");
            let mut refused = Refused::new(
                Reason::BadCredentials,
                "wrong user or password".into(),
                to_do,
            );
            refused.challenges = challenges;
            return Some(refused);
        }
        let first = if authentication.required {
            "; the first request is answered 407, as every client expects"
        } else {
            " (not asked for, checked when they come)"
        };
        let kinds = list(kinds);
        self.say(
            "credentials",
            [format!("{file} has {kinds} of user {user}{first}")],
        );
        None
    }

    pub(super) fn say_policy(
        &mut self,
        policy: &Policy,
        target: &Target,
        sender: Option<&ClientName>,
        admitted: &Result<Admission, Refusal>,
    ) {
        let client = self
            .config
            .clients
            .iter()
            .find(|one| Some(&one.name) == sender);
        let allowed = client.map_or(&[][..], |client| &client.destinations);
        let chosen = admitted.as_ref().ok().map(|one| one.cleared.destination());
        let mut says = Vec::new();
        let mut decided = false;
        for weighed in policy.weigh(allowed, target) {
            let place = weighed.destination;
            let destination = &self.config.destinations[place];
            let pattern = &destination.hosts[weighed.rule].pattern;
            let at = match (self.found.host(place, pattern), &destination.preset) {
                (Some(line), _) => format!(" ({line})"),
                (None, Some(preset)) => format!(" (preset {preset})"),
                (None, None) => String::new(),
            };
            let mut words = format!("destination {}: host {pattern}{at}", destination.name);
            if !weighed.has_port {
                let ports = self.at(list(&destination.ports), "destination", place, "ports");
                words += &format!(", but port {} is not among {ports}", target.port);
            } else if !weighed.may_use {
                words += ", but this client may not use it";
            } else if decided {
                words += ", not needed: the rule above is closer";
            } else {
                words += &format!(" and port {}: this rule decides", target.port);
                decided = true;
            }
            says.push(words);
        }
        if says.is_empty() {
            says.push(format!("no destination has the host {}", target.host));
            says.extend(self.near_misses(&target.host));
        }
        if let Some(destination) = chosen {
            self.account.destination = Some(destination.name.to_string());
            let reported = admitted
                .as_ref()
                .ok()
                .and_then(|one| one.cleared.would_refuse(None));
            if let Some(denial) = reported {
                let by = if destination.name.as_str() == config::UNLISTED {
                    "policy.unlisted is \"report\"".to_owned()
                } else {
                    format!("destination {} is report_only", destination.name)
                };
                says.push(format!(
                    "passes only because {by}: it would be refused as {} ({denial})",
                    denial.reason().token()
                ));
            }
        }
        self.say("policy", says);
    }

    /// Rules that nearly have the host.
    fn near_misses(&self, host: &Host) -> Vec<String> {
        let Host::Name(name) = host else {
            return Vec::new();
        };
        let mut near = Vec::new();
        let mut names = Vec::new();
        for destination in &self.config.destinations {
            for rule in &destination.hosts {
                match &rule.pattern {
                    HostPattern::Suffix(suffix) if suffix[1..] == **name => near.push(format!(
                        "destination {} has {}: names below {name}, not {name} itself",
                        destination.name, rule.pattern
                    )),
                    HostPattern::Name(known) => names.push((&**known, &destination.name)),
                    HostPattern::Suffix(_) | HostPattern::Addr(_) => {}
                }
            }
        }
        let nearest = config::nearest(name, names.iter().map(|(known, _)| *known));
        if let Some(nearest) = nearest.filter(|_| near.is_empty())
            && let Some((_, destination)) = names.iter().find(|(known, _)| *known == nearest)
        {
            near.push(format!(
                "destination {destination} has {nearest}: was that meant?"
            ));
        }
        near
    }

    pub(super) fn say_limits(&mut self, limits: &Limits, admission: &Admission, request: &Request) {
        let asking = Asking {
            sender: admission.login.sender.as_ref(),
            user: admission.login.user.as_ref(),
            address: self.from,
            destination: &admission.cleared.destination().name,
            priority: admission.priority,
            tunnel: request.forward.is_none(),
            until: Instant::now(),
        };
        let tell = |(name, key): (&str, String)| {
            let mut configured = self.config.limits.iter().enumerate();
            let (place, limit) = configured.find(|(_, one)| one.name == name)?;
            let mut terms = Vec::new();
            let per_second = |rate: config::Rate| format!("{}/s", rate.per_second);
            terms.extend(limit.rate.map(per_second));
            terms.extend(limit.burst.map(|burst| format!("burst {burst}")));
            terms.extend(limit.tunnels.map(|tunnels| format!("{tunnels} tunnels")));
            terms.extend(
                limit
                    .bytes
                    .map(|bytes| format!("{} bytes/s", bytes.per_second)),
            );
            let wait = show_duration(limit.max_wait);
            let only = if limit.report_only {
                "; report_only"
            } else {
                ""
            };
            let name = self.at(name, "limit", place, "name");
            Some(format!(
                "{name}: {}, counted for {key}; waits up to {wait}{only}",
                terms.join(", ")
            ))
        };
        let says: Vec<String> = limits.along(&asking).filter_map(tell).collect();
        if says.is_empty() {
            self.say("limits", ["none".to_owned()]);
        } else {
            self.say("limits", says);
        }
    }
}

/// `Digest MD5, Digest SHA-256, Basic`, without nonces.
fn offers(challenges: &[String]) -> String {
    let offer = |challenge: &String| {
        let scheme = challenge.split(' ').next().unwrap_or_default();
        let mut parameters = challenge.split(", ");
        match parameters.find_map(|one| one.strip_prefix("algorithm=")) {
            Some(algorithm) => format!("{scheme} {algorithm}"),
            None => scheme.to_owned(),
        }
    };
    format!("offers {}", list(challenges.iter().map(offer)))
}
