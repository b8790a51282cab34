//! Which of the known addresses to try next.
//!
//! Pure: no clock, no sockets, and no address is added or lost.

use std::collections::VecDeque;

/// The families in turns, IPv6 first (RFC 8305 §4): one dead family costs one attempt, not all of them.
///
/// `last` is the address tried before, if any: after an IPv6 address the turn is IPv4's. Inside a family the order stays.
pub(crate) fn interleave<A>(
    addrs: impl IntoIterator<Item = A>,
    last: Option<&A>,
    is_v6: impl Fn(&A) -> bool,
) -> VecDeque<A> {
    let mut v6_next = !last.is_some_and(&is_v6);
    let (mut v6, mut v4): (VecDeque<A>, VecDeque<A>) = addrs.into_iter().partition(&is_v6);
    let mut ordered = VecDeque::with_capacity(v6.len() + v4.len());
    while !v6.is_empty() && !v4.is_empty() {
        let turn = if v6_next { &mut v6 } else { &mut v4 };
        ordered.extend(turn.pop_front());
        v6_next = !v6_next;
    }
    ordered.append(&mut v6);
    ordered.append(&mut v4);
    ordered
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// Addresses as words; `last` may be empty.
    fn check(addrs: &str, last: &str, ordered: &str) {
        let addr = |text: &str| -> IpAddr { text.parse().unwrap() };
        let last = (!last.is_empty()).then(|| addr(last));
        let answer: Vec<_> = interleave(
            addrs.split_whitespace().map(addr),
            last.as_ref(),
            IpAddr::is_ipv6,
        )
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(answer.join(" "), ordered);
    }

    #[test]
    fn families_take_turns() {
        check("", "", "");
        check("1.0.0.1 1.0.0.2", "", "1.0.0.1 1.0.0.2");
        check("::1 ::2", "", "::1 ::2");
        check("1.0.0.1 1.0.0.2 ::1 ::2", "", "::1 1.0.0.1 ::2 1.0.0.2");
        check(
            "::1 1.0.0.1 1.0.0.2 1.0.0.3",
            "",
            "::1 1.0.0.1 1.0.0.2 1.0.0.3",
        );
        check("1.0.0.1 ::1 ::2 ::3", "", "::1 1.0.0.1 ::2 ::3");
    }

    #[test]
    fn late_addresses_take_the_turn_of_their_family() {
        check("1.0.0.2 1.0.0.3 ::1", "1.0.0.1", "::1 1.0.0.2 1.0.0.3");
        check("::2 ::3 1.0.0.1", "::1", "1.0.0.1 ::2 ::3");
        check("::2", "::1", "::2");
    }

    proptest! {
        #[test]
        fn every_address_is_tried_once_and_in_its_familys_order(addrs in prop::collection::vec((any::<bool>(), any::<u8>()), 0..30)) {
            let ordered = interleave(addrs.clone(), None, |addr| addr.0);
            for family in [true, false] {
                let of = |addrs: &mut dyn Iterator<Item = &(bool, u8)>| -> Vec<u8> {
                    addrs.filter(|addr| addr.0 == family).map(|addr| addr.1).collect()
                };
                prop_assert_eq!(of(&mut ordered.iter()), of(&mut addrs.iter()));
            }
        }
    }
}
