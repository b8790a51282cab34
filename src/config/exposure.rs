//! Whether the configuration would let in people whom nobody knows.
//!
//! Looks at addresses and networks only; complaints stand where the operator would change something.

use super::agree::Sections;
use super::complaint::Wrong;
use super::file::Written;
use super::listener::Draft;
use super::sheet::Sheet;
use super::{Config, Listener, Network};

/// A proxy that anybody on the network may use will be found and used.
pub(super) fn open_proxy(sheet: &Sheet, all: &Sections) {
    let required = all.authentication.value.required;
    let exposed: Vec<&Written<Draft>> = all
        .listeners
        .iter()
        .filter(|one| is_exposed(&one.value.listener, one.value.has_client_ca))
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

/// What a reload would put in force, half old and half new, that neither file says: a sentence, if it lets anybody in.
pub(crate) fn of_mixture(config: &Config) -> Option<String> {
    let mut exposed = config.listeners.iter().filter(|listener| {
        let client_ca = listener.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
        is_exposed(listener, client_ca.is_some())
    });
    let listener = exposed.next()?;
    let open = !config.authentication.required
        || config
            .clients
            .iter()
            .any(|client| client.exempt && covers_everybody(&client.networks));
    open.then(|| {
        format!(
            "until a restart listener \"{}\" stays on {} as it is, and with the rest of the new file it would be an open proxy: keep [authentication] required = true (or its allow_from) until then, or restart",
            listener.name, listener.address
        )
    })
}

/// Whether people beyond this machine may connect, whoever they are.
fn is_exposed(listener: &Listener, has_client_ca: bool) -> bool {
    let allow = &listener.allow_from;
    // Behind a load balancer loopback is no fence: its clients come from beyond.
    let reachable =
        !listener.address.ip().is_loopback() || !listener.proxy_protocol_from.is_empty();
    reachable && !has_client_ca && (allow.is_empty() || covers_everybody(allow))
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
