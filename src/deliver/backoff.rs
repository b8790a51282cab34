//! How long to wait before the next try. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// The first try is at once, the second after a moment, each further one after twice the time, up to a bound.
#[derive(Debug, Default)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).clamp(FIRST, LONGEST);
        pause
    }

    /// The same, somewhat shorter by chance: many of us should not come back to a receiver in one moment. `chance` is
    /// any number.
    pub(super) fn jittered(&mut self, chance: u8) -> Duration {
        let pause = self.pause();
        pause - pause / 2 * u32::from(chance) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_shortens_a_pause_by_half_at_most() {
        let mut backoff = Backoff(LONGEST);
        assert_eq!(backoff.jittered(0), LONGEST);
        assert_eq!(backoff.jittered(255), LONGEST / 2);
        assert!((LONGEST / 2..LONGEST).contains(&backoff.jittered(77)));
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..12).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(
            pauses,
            [
                0, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000
            ]
        );
    }
}
