//! How fast a follower is sent output. Pure.
//!
//! A flood would fill the link for minutes to show what nobody can read. What a follower is late for
//! stays in the log, or is told as dropped.

use std::time::{Duration, Instant};

/// Allows a number of bytes a second, and one second's worth at once.
pub(super) struct Pace {
    bytes_per_second: u64,
    /// The instant up to which everything that was sent is paid for.
    paid_until: Option<Instant>,
}

/// What may be sent at once, as time.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    pub(super) const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_until: None }
    }

    /// When the next bytes may be sent; in the past: now.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        self.paid_until.map_or(now, |paid| paid.checked_sub(BURST).unwrap_or(now))
    }

    /// `bytes` are sent at `now`.
    pub(super) fn sent(&mut self, bytes: usize, now: Instant) {
        let paid = self.paid_until.map_or(now, |paid| paid.max(now));
        #[expect(clippy::cast_precision_loss, reason = "a few hundred KiB against a rate")]
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.paid_until = Some(paid + cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_sent_at_the_rate_after_one_seconds_worth() {
        let start = tokio::time::Instant::now().into_std();
        let (mut pace, mut now, mut sent) = (Pace::new(1_000), start, 0);
        while now < start + Duration::from_secs(10) {
            pace.sent(250, now);
            sent += 250;
            now = now.max(pace.next_at(now));
        }
        assert_eq!(sent, 11_000, "ten seconds and the burst");
    }

    #[test]
    fn who_was_silent_has_one_seconds_worth_and_not_more() {
        let start = tokio::time::Instant::now().into_std();
        let mut pace = Pace::new(1_000);
        pace.sent(100, start);
        let later = start + Duration::from_secs(3_600);
        for _ in 0..4 {
            assert!(pace.next_at(later) <= later);
            pace.sent(250, later);
        }
        pace.sent(250, later);
        assert_eq!(pace.next_at(later), later + Duration::from_millis(250));
    }
}
