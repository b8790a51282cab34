//! What a name has answered lately, for names that answer with a part of their addresses each time.
//!
//! An address counts as listed until so many answers have lacked it, and for so long. Pure: `now` is an argument.
//! Bounded.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Missing for so long, an address is gone.
pub(super) const GONE: Duration = Duration::from_secs(60 * 60);
/// And in so many answers, one after the other: an idle name is seldom asked for.
pub(super) const GONE_ANSWERS: u32 = 20;
const ADDRESSES_MAX: usize = 128;

/// The answers of one family of a name so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    /// When the first one came.
    since: Option<Instant>,
    answers: u32,
    listed: Vec<Listed>,
}

#[derive(Debug, Clone, Copy)]
struct Listed {
    ip: IpAddr,
    last: Instant,
    /// Answers since then.
    missed: u32,
}

impl Turns {
    pub(super) fn note(&mut self, ips: &[IpAddr], now: Instant) {
        self.since.get_or_insert(now);
        self.answers = self.answers.saturating_add(1);
        for one in &mut self.listed {
            one.missed = one.missed.saturating_add(1);
        }
        self.listed.retain(|one| {
            one.missed < GONE_ANSWERS || now.saturating_duration_since(one.last) < GONE
        });
        for ip in ips.iter().take(ADDRESSES_MAX) {
            let listed = Listed {
                ip: *ip,
                last: now,
                missed: 0,
            };
            match self.listed.iter_mut().find(|one| one.ip == *ip) {
                Some(known) => *known = listed,
                None => {
                    if self.listed.len() == ADDRESSES_MAX {
                        let oldest = self.listed.iter().enumerate();
                        if let Some((oldest, _)) = oldest.min_by_key(|(_, one)| one.last) {
                            self.listed.swap_remove(oldest);
                        }
                    }
                    self.listed.push(listed);
                }
            }
        }
    }

    /// `None`: too little was seen of the name to say what it lists no more.
    pub(super) fn lately(&self, now: Instant) -> Option<Vec<IpAddr>> {
        let since = self.since?;
        let is_known = self.answers > GONE_ANSWERS && now.saturating_duration_since(since) >= GONE;
        is_known.then(|| self.listed.iter().map(|one| one.ip).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Whether an address is listed, after each answer; the answers are `pause` apart.
    fn listed(
        answers: impl IntoIterator<Item = u8>,
        pause: Duration,
        wanted: u8,
    ) -> Vec<Option<bool>> {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        let look = |last: u8| {
            turns.note(&[ip(last)], now);
            let lately = turns.lately(now);
            now += pause;
            lately.map(|lately| lately.contains(&ip(wanted)))
        };
        answers.into_iter().map(look).collect()
    }

    #[test]
    fn a_name_that_answers_in_turns_lists_all_of_its_addresses() {
        for pause in [MINUTE / 2, 10 * MINUTE, 300 * MINUTE] {
            let found = listed((0..200).map(|n| n % 4), pause, 0);
            assert!(!found.contains(&Some(false)), "{pause:?}");
            assert_eq!(found.last(), Some(&Some(true)), "{pause:?}");
        }
    }

    #[test]
    fn an_address_that_is_gone_is_listed_no_more() {
        let moved = |after: usize| std::iter::repeat_n(1, after).chain(std::iter::repeat(2));
        let gone_after = |pause, after: usize| {
            let found = listed(moved(after).take(after + 200), pause, 1);
            let gone = found.iter().position(|one| *one == Some(false));
            gone.unwrap() - after
        };
        // 20 answers lacked it, or it was gone for an hour, whichever takes longer.
        assert_eq!(gone_after(10 * MINUTE, 40), 19);
        assert_eq!(gone_after(MINUTE, 100), 59);
    }

    #[test]
    fn of_a_name_that_is_new_nothing_is_said() {
        let found = listed([1, 1].into_iter().chain([2; 100]), MINUTE, 1);
        assert_eq!(found.iter().take_while(|one| one.is_none()).count(), 60);
        let found = listed([1].into_iter().chain([2; 100]), 60 * MINUTE, 1);
        assert_eq!(found.iter().take_while(|one| one.is_none()).count(), 20);
    }

    #[test]
    fn many_addresses_fill_no_memory() {
        let (mut turns, now) = (Turns::default(), Instant::now());
        for n in 0..5_000_u32 {
            let later = now + Duration::from_millis(n.into());
            turns.note(&[IpAddr::V4(n.into())], later);
            assert!(turns.listed.len() <= ADDRESSES_MAX);
        }
    }
}
