//! Why an address cannot be connected to, in words, with what to do. Pure.

use crate::dial::DialError;
use crate::dial::connect::ConnectError;

pub(super) fn of_silent_parent() -> (String, String) {
    (
        String::from("the parent proxy accepts the connection and does not answer the CONNECT"),
        String::from(
            "look at the parent's log and load: it hangs, or its own way to the target does; and see that http or https stands rightly in via",
        ),
    )
}

/// Why a dial that goes through parents came to nothing: it is they who were dialled.
pub(super) fn of_parents(error: &DialError) -> String {
    let connect = match error {
        DialError::Resolve(error) => return format!("the parent proxy's name: {error}"),
        DialError::Connect(connect) | DialError::ToParent(connect) => connect,
        DialError::OtherFamily | DialError::NoOther | DialError::Denied(_) => {
            return error.to_string();
        }
    };
    let what = match connect {
        ConnectError::Refused => "the parent proxy refused the connection",
        ConnectError::TimedOut => "the parent proxy did not answer in time",
        ConnectError::Reset => "the parent proxy reset the connection",
        ConnectError::Unreachable | ConnectError::Other => {
            "the parent proxy cannot be reached from here"
        }
        ConnectError::Ourselves
        | ConnectError::Parent(_)
        | ConnectError::NoSource
        | ConnectError::OutOfResources => return error.to_string(),
    };
    what.to_owned()
}

pub(super) fn of_connect(error: ConnectError, port: u16) -> (String, String) {
    let (what, remedy) = match error {
        ConnectError::Refused => (
            "the connection is refused",
            format!(
                "nothing listens there, or a firewall rejects it: allow TCP {port} from this machine (tidegate export-acl lists all)"
            ),
        ),
        ConnectError::TimedOut => (
            "there is no answer to the connection",
            format!(
                "the address is dead, or a firewall drops it: allow TCP {port} from this machine (tidegate export-acl lists all)"
            ),
        ),
        ConnectError::Reset => (
            "the connection is reset",
            String::from("a firewall does so, or the service is sick"),
        ),
        ConnectError::Unreachable => (
            "there is no route to it",
            String::from(
                "check routes and the firewall; connect.families leaves a family out that this machine does not have",
            ),
        ),
        ConnectError::Ourselves => (
            "it is this proxy itself",
            String::from("correct DNS, /etc/hosts or addresses"),
        ),
        ConnectError::Parent(error) => (
            "through the parent proxy there is no way",
            error.details().to_owned(),
        ),
        ConnectError::NoSource => (
            "none of the source addresses is on this machine",
            String::from("correct source, or bring one of them up"),
        ),
        ConnectError::OutOfResources => (
            "this machine is out of descriptors or ports",
            String::from("raise LimitNOFILE, or name several addresses in source"),
        ),
        ConnectError::Other => (
            "it cannot be connected to",
            String::from("try it by hand: curl -v"),
        ),
    };
    (what.to_owned(), remedy)
}
