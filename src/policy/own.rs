//! The addresses that we listen on ourselves: dialling one of them would be a loop.
//!
//! No system call here: where only the kernel can tell whether an address is local, the answer is `IfLocal`.

use std::net::{IpAddr, SocketAddr};

use super::rules;

/// What we have bound: every listener and the admin endpoint, with the ports they really got.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnAddresses {
    pub(crate) bound: Vec<SocketAddr>,
}

/// Whether an address is one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    No,
    Yes,
    /// It is if it belongs to this machine: we listen on its port on all addresses.
    IfLocal,
}

impl OwnAddresses {
    pub(super) fn look_up(&self, addr: SocketAddr) -> Own {
        let ip = rules::embedded(addr.ip());
        let mut own = Own::No;
        for bound in self
            .bound
            .iter()
            .filter(|bound| bound.port() == addr.port())
        {
            let listens_on = bound.ip().to_canonical();
            if listens_on == ip
                || (listens_on.is_unspecified() && is_this_host(ip))
                || (ip.is_unspecified() && is_this_host(listens_on))
            {
                return Own::Yes;
            }
            if listens_on.is_unspecified() {
                own = Own::IfLocal;
            }
        }
        own
    }
}

/// Loopback or the wildcard: who listens on the wildcard listens on loopback, and who dials the wildcard reaches loopback.
fn is_this_host(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bound: &str, dialled: &str, own: Own) {
        let addresses = OwnAddresses {
            bound: vec![bound.parse().unwrap()],
        };
        assert_eq!(
            addresses.look_up(dialled.parse().unwrap()),
            own,
            "{bound} {dialled}"
        );
    }

    #[test]
    fn a_listener_is_own_at_its_address_and_port() {
        check("127.0.0.1:3128", "127.0.0.1:3128", Own::Yes);
        check("127.0.0.1:3128", "127.0.0.1:3129", Own::No);
        check("127.0.0.1:3128", "127.0.0.2:3128", Own::No);
        check("127.0.0.1:3128", "[::1]:3128", Own::No);
        check("[::1]:3128", "[::1]:3128", Own::Yes);
        check("10.0.0.5:3128", "10.0.0.5:3128", Own::Yes);
        check("10.0.0.5:3128", "10.0.0.6:3128", Own::No);
    }

    #[test]
    fn another_spelling_of_our_address_is_ours_too() {
        check("127.0.0.1:3128", "[::ffff:127.0.0.1]:3128", Own::Yes);
        check("[::ffff:127.0.0.1]:3128", "127.0.0.1:3128", Own::Yes);
        check("192.0.2.1:3128", "[64:ff9b::192.0.2.1]:3128", Own::Yes);
    }

    #[test]
    fn the_wildcard_reaches_loopback_from_both_sides() {
        check("127.0.0.1:3128", "0.0.0.0:3128", Own::Yes);
        check("[::1]:3128", "[::]:3128", Own::Yes);
        check("127.0.0.1:3128", "[::ffff:0.0.0.0]:3128", Own::Yes);
        check("10.0.0.5:3128", "0.0.0.0:3128", Own::No);
        for bound in ["0.0.0.0:3128", "[::]:3128"] {
            check(bound, "127.0.0.1:3128", Own::Yes);
            check(bound, "127.9.9.9:3128", Own::Yes);
            check(bound, "[::1]:3128", Own::Yes);
            check(bound, "0.0.0.0:3128", Own::Yes);
            check(bound, "[::]:3128", Own::Yes);
        }
    }

    #[test]
    fn behind_the_wildcard_the_kernel_knows_what_is_local() {
        for bound in ["0.0.0.0:3128", "[::]:3128"] {
            check(bound, "10.0.0.5:3128", Own::IfLocal);
            check(bound, "[2001:db8::1]:3128", Own::IfLocal);
            check(bound, "10.0.0.5:443", Own::No);
        }
    }

    #[test]
    fn a_sure_answer_beats_a_doubtful_one_in_any_order() {
        for bound in [["0.0.0.0:1", "10.0.0.5:1"], ["10.0.0.5:1", "0.0.0.0:1"]] {
            let addresses = OwnAddresses {
                bound: bound.map(|addr| addr.parse().unwrap()).to_vec(),
            };
            assert_eq!(addresses.look_up("10.0.0.5:1".parse().unwrap()), Own::Yes);
        }
    }
}
