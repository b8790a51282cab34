//! Whether the configuration would let in people whom nobody knows.
//!
//! Looks at addresses and networks only; complaints stand where the operator would change something.

use super::Network;
use super::agree::Sections;
use super::complaint::Wrong;
use super::file::Written;
use super::listener::Draft;
use super::sheet::Sheet;

/// A proxy that anybody on the network may use will be found and used.
pub(super) fn open_proxy(sheet: &Sheet, all: &Sections) {
    let required = all.authentication.value.required;
    let exposed: Vec<&Written<Draft>> = all
        .listeners
        .iter()
        .filter(|one| {
            let listener = &one.value.listener;
            let allow = &listener.allow_from;
            // Behind a load balancer loopback is no fence: its clients come from beyond.
            let reachable =
                !listener.address.ip().is_loopback() || !listener.proxy_protocol_from.is_empty();
            reachable && !one.value.has_client_ca && (allow.is_empty() || covers_everybody(allow))
        })
        .collect();
    for one in &exposed {
        if required || !one.value.has_address {
            continue;
        }
        let key = if one.marks.has("allow_from") {
            "allow_from"
        } else {
            "address"
        };
        sheet.complain(
            &one.marks.spot(key),
            Wrong::new(
                format!("would be an open proxy: {} is reached from beyond this machine, and anybody may use it", one.value.listener.address),
                r#"allow_from = ["10.0.0.0/8"] says who may connect; [authentication] required = true asks for a password; 127.0.0.1 keeps it local"#,
            ),
        );
    }
    for client in &all.clients {
        if required
            && client.value.exempt
            && covers_everybody(&client.value.networks)
            && !exposed.is_empty()
        {
            sheet.complain(
                &client.marks.spot("networks"),
                Wrong::new(
                    "would make an open proxy: these networks are everybody, and authentication = \"none\" asks nobody",
                    "name the senders' own networks, or give every listener beyond loopback an allow_from",
                ),
            );
        }
    }
}

/// Whoever may send the header may say to be anybody.
pub(super) fn proxy_protocol(sheet: &Sheet, all: &Sections) {
    for one in &all.listeners {
        let listener = &one.value.listener;
        if !listener.address.ip().is_loopback() && covers_everybody(&listener.proxy_protocol_from) {
            sheet.complain(
                &one.marks.spot("proxy_protocol_from"),
                Wrong::new(
                    "would let everybody say from which address they come, and so past every rule about addresses",
                    "name the addresses of your load balancers alone",
                ),
            );
        }
    }
}

/// Whether all of IPv4 or all of IPv6 is in it, in one piece or in several.
fn covers_everybody(networks: &[Network]) -> bool {
    Network::aggregate(&networks.to_vec())
        .iter()
        .any(|network| network.prefix_len() == 0)
}
