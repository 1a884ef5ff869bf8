//! How large a test of a promise is, and how its figures are printed.
//!
//! Such a test is named `pNN_what_is_promised` and prints one line, `P22: …`. It is small in
//! `cargo xtask test` and whole in `cargo xtask promises`, which collects the lines.

use std::fmt;
use std::time::Duration;

/// Asks for the whole size when it is `full`.
pub const TRIALS_VARIABLE: &str = "HOLDFAST_TRIALS";

/// `small` in a usual run of the tests, `full` where `HOLDFAST_TRIALS=full` asks for it.
#[must_use]
pub fn trials(small: usize, full: usize) -> usize {
    size(std::env::var(TRIALS_VARIABLE).ok().as_deref(), small, full)
}

fn size(asked: Option<&str>, small: usize, full: usize) -> usize {
    match asked {
        None | Some("" | "small") => small,
        Some("full") => full,
        // A typing error must not pass for the whole size.
        Some(other) => panic!("{TRIALS_VARIABLE} is {other:?}; it may be `small` or `full`"),
    }
}

/// Times of many trials. Shown as `n 50, p50 1.2 ms, p99 8.0 ms, max 9.1 ms`.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    sorted: Vec<Duration>,
}

impl FromIterator<Duration> for Distribution {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut sorted: Vec<Duration> = times.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl Distribution {
    /// The time that `percent` of the trials did not exceed (nearest rank). Zero without trials.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// The longest time.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.percentile(100)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (p50, p99, max) = (self.percentile(50), self.percentile(99), self.max());
        let count = self.sorted.len();
        write!(f, "n {count}, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms(p50), ms(p99), ms(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_small_unless_the_whole_is_asked_for() {
        assert_eq!(size(None, 3, 500), 3);
        assert_eq!(size(Some("small"), 3, 500), 3);
        assert_eq!(size(Some("full"), 3, 500), 500);
        assert!(std::panic::catch_unwind(|| size(Some("fulll"), 3, 500)).is_err());
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Distribution = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(times.percentile(50), Duration::from_millis(50));
        assert_eq!(times.percentile(99), Duration::from_millis(99));
        assert_eq!(times.to_string(), "n 100, p50 50.0 ms, p99 99.0 ms, max 100.0 ms");
        let one: Distribution = [Duration::from_millis(7)].into_iter().collect();
        assert_eq!((one.percentile(1), one.max()), (one.percentile(99), Duration::from_millis(7)));
        assert_eq!(Distribution::default().max(), Duration::ZERO);
    }
}
