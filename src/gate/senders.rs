//! Which `[[client]]` a sender is: by the user it logged in as, else by the most specific network it comes from.
//!
//! Pure; made once per configuration.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::{Client, Network, Priority};
use crate::exchange::{ClientName, Component, DestinationName, UserName};

/// What a group of senders may do.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) name: ClientName,
    /// Empty: all.
    pub(crate) destinations: Vec<DestinationName>,
    pub(crate) priority: Priority,
    /// Whose counters and alarms its pushes move.
    pub(crate) component: Option<Component>,
    /// Its networks need no credentials.
    pub(crate) exempt: bool,
}

/// Every `[[client]]`, and the two ways to find one.
#[derive(Debug)]
pub(crate) struct Senders {
    senders: Vec<Sender>,
    by_user: HashMap<UserName, usize>,
    /// The longest prefix first.
    by_network: Vec<(Network, usize)>,
}

impl Senders {
    pub(crate) fn new(clients: &[Client]) -> Self {
        let mut by_user = HashMap::new();
        let mut by_network = Vec::new();
        for (place, client) in clients.iter().enumerate() {
            for user in &client.users {
                // The first one to name a user has it.
                by_user.entry(user.clone()).or_insert(place);
            }
            by_network.extend(client.networks.iter().map(|network| (*network, place)));
        }
        by_network.sort_by_key(|(network, _)| Reverse(network.prefix_len()));
        let senders = clients.iter().map(|client| Sender {
            name: client.name.clone(),
            destinations: client.destinations.clone(),
            priority: client.priority,
            component: client.component,
            exempt: client.exempt,
        });
        Self {
            senders: senders.collect(),
            by_user,
            by_network,
        }
    }

    pub(crate) fn of_user(&self, user: &UserName) -> Option<&Sender> {
        self.by_user.get(user).map(|place| &self.senders[*place])
    }

    pub(crate) fn of_address(&self, address: IpAddr) -> Option<&Sender> {
        let found = self
            .by_network
            .iter()
            .find(|(network, _)| network.contains(&address));
        found.map(|(_, place)| &self.senders[*place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, users: &[&str], networks: &[&str]) -> Client {
        Client {
            name: ClientName::new(name),
            users: users.iter().map(|user| UserName::new(user)).collect(),
            networks: networks
                .iter()
                .map(|network| network.parse().expect("a network"))
                .collect(),
            destinations: Vec::new(),
            component: None,
            priority: Priority::Calls,
            exempt: false,
        }
    }

    fn name(sender: Option<&Sender>) -> &str {
        sender.map_or("-", |sender| sender.name.as_str())
    }

    #[test]
    fn the_most_specific_network_wins_wherever_it_stands() {
        let senders = Senders::new(&[
            client("all", &[], &["0.0.0.0/0", "2001:db8::/32"]),
            client("one", &[], &["10.1.2.3/32"]),
            client("ten", &[], &["10.0.0.0/8", "2001:db8:1::/48"]),
            client("late", &[], &["10.0.0.0/8"]),
        ]);
        for (address, want) in [
            ("10.1.2.3", "one"),
            ("10.1.2.4", "ten"),
            ("192.0.2.1", "all"),
            ("2001:db8:1::1", "ten"),
            ("2001:db8:2::1", "all"),
            ("::1", "-"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(name(senders.of_address(address)), want, "{address}");
        }
    }

    #[test]
    fn a_user_belongs_to_the_first_that_names_it() {
        let senders = Senders::new(&[
            client("a", &["ann", "bob"], &[]),
            client("b", &["bob", "eve"], &[]),
        ]);
        for (user, want) in [("ann", "a"), ("bob", "a"), ("eve", "b"), ("joe", "-")] {
            assert_eq!(name(senders.of_user(&UserName::new(user))), want, "{user}");
        }
    }
}
