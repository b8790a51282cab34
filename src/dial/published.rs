//! Addresses outside of the ranges that a service publishes: each is told once in a while, and all are counted.
//!
//! Nothing is refused because of it: services move, and their pages follow late. Bounded; `now` is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::DestinationName;

/// An address that is still answered is told again after this: journals are rotated, and read by the day.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Addresses that are remembered; a name server that makes them up fills the journal no further.
const REMEMBERED_MAX: usize = 256;

/// What was told, and when.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<(DestinationName, IpAddr), Instant>);

impl Told {
    /// Whether this address is news.
    pub(super) fn is_news(
        &mut self,
        destination: &DestinationName,
        ip: IpAddr,
        now: Instant,
    ) -> bool {
        let key = (destination.clone(), ip);
        if self.0.contains_key(&key) || self.0.len() == REMEMBERED_MAX {
            self.0
                .retain(|_, told| now.saturating_duration_since(*told) < AGAIN);
        }
        if self.0.contains_key(&key) || self.0.len() == REMEMBERED_MAX {
            return false;
        }
        self.0.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn ip(number: usize) -> IpAddr {
        Ipv4Addr::from(u32::try_from(number).unwrap()).into()
    }

    #[test]
    fn an_address_is_told_once_a_day_for_each_destination() {
        let (mut told, now) = (Told::default(), Instant::now());
        let (apns, other) = (DestinationName::new("apns"), DestinationName::new("other"));
        assert!(told.is_news(&apns, ip(1), now));
        assert!(!told.is_news(&apns, ip(1), now + AGAIN / 2));
        assert!(told.is_news(&apns, ip(2), now));
        assert!(told.is_news(&other, ip(1), now));
        assert!(told.is_news(&apns, ip(1), now + AGAIN));
    }

    #[test]
    fn made_up_addresses_fill_neither_memory_nor_journal() {
        let (mut told, now) = (Told::default(), Instant::now());
        let apns = DestinationName::new("apns");
        let news = (0..10_000)
            .filter(|n| told.is_news(&apns, ip(*n), now))
            .count();
        assert_eq!((news, told.0.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
        assert!(told.is_news(&apns, ip(0), now + AGAIN));
    }
}
