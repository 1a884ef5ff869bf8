//! Pure back-off: exponential with a cap, and full jitter from a generator that is handed in.
//!
//! Full jitter (a uniform pause between zero and the bound) spreads a fleet that lost its server
//! at one instant; see the reconnect storm of `docs/design`.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Doubling pauses between `min` and `max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Starts at `min`, doubles up to `max`.
    #[must_use]
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, attempt: 0 }
    }

    /// The bound of pause number `attempt` (0 is the first): `min · 2^attempt`, at most `max`.
    #[must_use]
    pub fn bound(&self, attempt: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempt).unwrap_or(u32::MAX);
        self.min.saturating_mul(factor).min(self.max)
    }

    /// The next pause: uniform between zero and the bound.
    pub fn next_pause(&mut self, rng: &mut impl Rng) -> Duration {
        let bound = self.bound(self.attempt);
        self.attempt = self.attempt.saturating_add(1);
        bound.mul_f64(rng.random::<f64>())
    }

    /// Pauses taken since the last success.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Forgets the failures.
    pub const fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn the_bounds_double_and_stop_at_the_maximum() {
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        let bounds: Vec<u128> = (0..9).map(|n| backoff.bound(n).as_millis()).collect();
        assert_eq!(bounds, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(backoff.bound(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn every_pause_is_under_its_bound_and_a_reset_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30));
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        for attempt in 0..40 {
            assert!(backoff.next_pause(&mut rng) <= backoff.bound(attempt));
        }
        backoff.reset();
        assert!(backoff.next_pause(&mut rng) <= Duration::from_millis(250));
    }
}
