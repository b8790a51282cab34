//! Which of the known addresses to try next.
//!
//! Pure: no clock, no sockets, and no address is added or lost.

use std::collections::VecDeque;
use std::time::Duration;

use super::health::{Standing, Standings};

/// Addresses that wait, the next one first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order<A> {
    pub(crate) addrs: VecDeque<A>,
    /// None of them is any better: they start side by side, so that the one that lives again is found at once.
    pub(crate) together: bool,
}

impl<A> From<VecDeque<A>> for Order<A> {
    /// One after the other.
    fn from(addrs: VecDeque<A>) -> Self {
        Self {
            addrs,
            together: false,
        }
    }
}

/// Times to connect that differ by no more than this are equal.
const EQUAL: Duration = Duration::from_millis(1);

/// The quickest first, equals in turns; then those that nobody knows, then the quarantined. Families take turns inside
/// each class.
pub(crate) fn by_health<A>(
    addrs: VecDeque<A>,
    standings: &Standings,
    last: Option<&A>,
    is_v6: impl Fn(&A) -> bool,
) -> Order<A> {
    let best = standings.each.iter().filter_map(|one| match one {
        Standing::Healthy(connect) => Some(*connect),
        _ => None,
    });
    let limit = best.min().map(|best| best + EQUAL.max(best / 4));
    let (mut equal, mut slower, mut unknown, mut bad) = (vec![], vec![], vec![], vec![]);
    for (addr, standing) in addrs.into_iter().zip(&standings.each) {
        match standing {
            Standing::Healthy(connect) if limit.is_some_and(|limit| *connect <= limit) => {
                equal.push(addr);
            }
            Standing::Healthy(connect) => slower.push((*connect, addr)),
            Standing::Unknown => unknown.push(addr),
            Standing::Quarantined => bad.push(addr),
        }
    }
    let together = equal.is_empty() && slower.is_empty() && unknown.is_empty();
    slower.sort_by_key(|(connect, _)| *connect);
    let mut ordered = VecDeque::with_capacity(standings.each.len());
    // Whose turn it is goes first, whatever its family; the rest alternate from there.
    if last.is_none() && !equal.is_empty() {
        let places = equal.len();
        equal.rotate_left(standings.turn % places);
        ordered.push_back(equal.remove(0));
    }
    let slower = slower.into_iter().map(|(_, addr)| addr).collect();
    for class in [equal, slower, unknown, bad] {
        let mut class = interleave(class, ordered.back().or(last), &is_v6);
        ordered.append(&mut class);
    }
    Order {
        addrs: ordered,
        together,
    }
}

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

    /// Addresses with a time to connect, `?` (unknown) or `x` (quarantined): who goes first in a turn.
    fn check_health(addrs: &str, turn: usize, last: &str, ordered: &str, together: bool) {
        let (mut ips, mut each): (VecDeque<IpAddr>, Vec<_>) = (VecDeque::new(), Vec::new());
        for addr in addrs.split_whitespace() {
            let (ip, health) = addr.split_once('=').unwrap();
            ips.push_back(ip.parse().unwrap());
            each.push(match health {
                "?" => Standing::Unknown,
                "x" => Standing::Quarantined,
                ms => Standing::Healthy(Duration::from_millis(ms.parse().unwrap())),
            });
        }
        let standings = Standings {
            each,
            turn,
            due: false,
        };
        let last = (!last.is_empty()).then(|| last.parse().unwrap());
        let order = by_health(ips, &standings, last.as_ref(), IpAddr::is_ipv6);
        let answer: Vec<_> = order.addrs.iter().map(ToString::to_string).collect();
        assert_eq!(
            (answer.join(" "), order.together),
            (ordered.to_owned(), together)
        );
    }

    #[test]
    fn the_quick_go_first_then_the_unknown_then_the_bad() {
        let all = "1.0.0.1=x 1.0.0.2=? 1.0.0.3=100 1.0.0.4=40 1.0.0.5=10";
        let ordered = "1.0.0.5 1.0.0.4 1.0.0.3 1.0.0.2 1.0.0.1";
        check_health(all, 0, "", ordered, false);
        check_health(all, 7, "1.0.0.9", ordered, false);
    }

    #[test]
    fn equals_take_turns() {
        let all = "1.0.0.1=100 1.0.0.2=124 1.0.0.3=126 1.0.0.4=110";
        check_health(all, 0, "", "1.0.0.1 1.0.0.2 1.0.0.4 1.0.0.3", false);
        check_health(all, 1, "", "1.0.0.2 1.0.0.4 1.0.0.1 1.0.0.3", false);
        check_health(all, 2, "", "1.0.0.4 1.0.0.1 1.0.0.2 1.0.0.3", false);
        check_health(all, 3, "", "1.0.0.1 1.0.0.2 1.0.0.4 1.0.0.3", false);
        // A millisecond is nothing.
        check_health("1.0.0.1=1 1.0.0.2=2", 1, "", "1.0.0.2 1.0.0.1", false);
    }

    #[test]
    fn families_take_turns_inside_each_class() {
        check_health(
            "1.0.0.1=? 1.0.0.2=? ::1=? ::2=x",
            0,
            "",
            "::1 1.0.0.1 1.0.0.2 ::2",
            false,
        );
        check_health(
            "1.0.0.1=5 1.0.0.2=5 ::1=5",
            0,
            "",
            "1.0.0.1 ::1 1.0.0.2",
            false,
        );
    }

    #[test]
    fn where_all_are_bad_they_go_together() {
        check_health("1.0.0.1=x 1.0.0.2=x", 0, "", "1.0.0.1 1.0.0.2", true);
        check_health(
            "1.0.0.1=x 1.0.0.2=x 1.0.0.3=?",
            0,
            "",
            "1.0.0.3 1.0.0.1 1.0.0.2",
            false,
        );
    }

    proptest! {
        #[test]
        fn no_health_takes_an_address_away(
            addrs in prop::collection::vec((any::<bool>(), 0..4_u64), 0..30),
            turn in any::<usize>(),
            last in any::<Option<bool>>(),
        ) {
            let each = addrs.iter().map(|addr| match addr.1 {
                0 => Standing::Unknown,
                1 => Standing::Quarantined,
                ms => Standing::Healthy(Duration::from_millis(ms * 10)),
            });
            let standings = Standings { each: each.collect(), turn, due: false };
            let last = last.map(|v6| (v6, 0));
            let order = by_health(addrs.clone().into(), &standings, last.as_ref(), |addr| addr.0);
            let mut ordered = Vec::from(order.addrs);
            let mut all = addrs;
            ordered.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(ordered, all);
        }

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
