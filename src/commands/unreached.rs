//! Why a proxy is not reached at all, by its name or its address, and what an administrator can do about it. Pure.

use crate::dial::connect::ConnectError;
use crate::dial::resolve::ResolveError;

/// Why there is no connection to the proxy, and what helps.
pub(super) fn no_connection(error: ConnectError) -> (&'static str, &'static str) {
    match error {
        ConnectError::Refused => (
            "nobody listens there",
            "is the proxy running, on this port? a listener on 127.0.0.1 is for its own machine alone",
        ),
        ConnectError::TimedOut => (
            "no answer to a TCP connect",
            "a firewall drops it, or the machine is down: open the proxy's port between the servers and it",
        ),
        ConnectError::Reset => (
            "reset",
            "a firewall on the way, or an allow_from of the proxy, refuses this address",
        ),
        ConnectError::OutOfResources => (
            "this machine is out of sockets or ports",
            "raise its limit of open files",
        ),
        ConnectError::Unreachable
        | ConnectError::Ourselves
        | ConnectError::Parent(_)
        | ConnectError::NoSource
        | ConnectError::Other => (
            "no route to it",
            "look at the routes of this machine, and at the address",
        ),
    }
}

/// Why the proxy's name leads nowhere, and what helps; `name_servers`: what has to pass to them.
pub(super) fn no_name(error: ResolveError, name_servers: &str) -> String {
    match error {
        ResolveError::NotFound => String::from(
            "add the proxy's name to the DNS that the servers use, and look at its spelling",
        ),
        ResolveError::NoAddress => String::from(
            "the name is there and has no A or AAAA record: add the proxy's addresses to it",
        ),
        ResolveError::TimedOut | ResolveError::Unreachable => format!(
            "let {name_servers} pass; other name servers of this machine can be named in dns.servers (--config)"
        ),
        ResolveError::Untrusted => String::from(
            "name the authority that signed it in dns.ca, and the name that stands in it behind the # of dns.servers",
        ),
        ResolveError::Failed => String::from(
            "ask those who run the name servers: they are there, and have no answer for this name",
        ),
        ResolveError::Nowhere => String::from(
            "0.0.0.0 or :: is what a DNS filter answers: have it let the proxy's name pass, or correct the record",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_nowhere_has_the_remedy_of_its_cause() {
        let check = |error, words: &str| {
            let remedy = no_name(error, "TCP 853 (DNS over TLS) to 192.0.2.1");
            assert!(remedy.contains(words), "{error:?}: {remedy}");
        };
        check(ResolveError::NotFound, "spelling");
        check(ResolveError::NoAddress, "no A or AAAA");
        check(
            ResolveError::TimedOut,
            "let TCP 853 (DNS over TLS) to 192.0.2.1 pass",
        );
        check(ResolveError::Unreachable, "let TCP 853");
        check(ResolveError::Untrusted, "dns.ca");
        check(ResolveError::Failed, "ask those who run");
        check(ResolveError::Nowhere, "DNS filter");
    }
}
