//! What a keeper has read and what of it was written down and told: floods in large pieces, anything
//! slower at once. Pure but for the clock that is handed in.

use std::time::{Duration, Instant};

/// How often a flood is written down and told; everything else is at once.
pub(super) const FLOOD_TOLD: Duration = Duration::from_millis(10);
/// A terminal that has written so much at a stretch floods.
const FLOOD_BYTES: u64 = 64 * 1024;
/// So much in each [`FLOOD_TOLD`] is no flood, however long it goes on.
const EASY_BYTES: u64 = 16 * 1024;
/// Last bytes of the output that are told with it: a prompt, an echo, a line.
const FRESH_MAX_BYTES: usize = 1024;

/// How much comes from a terminal: a bucket that leaks. A terminal gives a few KiB at a time whatever
/// is behind them, so the size of a read says nothing.
#[derive(Default)]
pub(super) struct Flow {
    level: u64,
    at: Option<Instant>,
}

impl Flow {
    /// `bytes` more have come. Whether it is a flood.
    pub(super) fn add(&mut self, bytes: usize, now: Instant) -> bool {
        let since =
            self.at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        let leaked = micros.saturating_mul(EASY_BYTES) / 10_000;
        let level = self.level.saturating_sub(leaked).saturating_add(bytes as u64);
        // So that the end of a flood is noticed soon.
        self.level = level.min(2 * FLOOD_BYTES);
        level > FLOOD_BYTES
    }
}

/// The output that was written down and not told yet, as long as it is little.
#[derive(Default)]
pub(super) struct Fresh {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Fresh {
    /// `bytes` were written down.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.is_cut || self.bytes.len() + bytes.len() > FRESH_MAX_BYTES {
            return self.skip();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// More was written down than is told with a status.
    pub(super) fn skip(&mut self) {
        self.is_cut = true;
        self.bytes.clear();
    }

    /// All that was written down since the last time; nothing where that is too much.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.is_cut = false;
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        shared::clock::Clock::now(&shared::clock::SystemClock)
    }

    #[test]
    fn what_a_person_makes_is_no_flood_and_what_never_stops_is() {
        let (mut flow, start) = (Flow::default(), now());
        assert!(!flow.add(48 * 1024, start), "one screen is drawn");
        let mut at = start + Duration::from_secs(1);
        for _ in 0..10_000 {
            assert!(!flow.add(4096, at), "1.3 MiB a second");
            at += Duration::from_millis(3);
        }
        at += Duration::from_secs(1);
        let floods = (0..1_000).filter(|n| flow.add(4096, at + Duration::from_micros(50 * n)));
        assert_eq!(floods.count(), 1_000 - 16, "80 MiB a second, after the first 64 KiB");
        at += Duration::from_millis(50) + 6 * FLOOD_TOLD;
        assert!(!flow.add(1, at), "it has stopped");
    }

    #[test]
    fn fresh_is_all_since_the_last_time_or_nothing() {
        let mut fresh = Fresh::default();
        assert_eq!(fresh.take(), b"");
        fresh.add(b"ab");
        fresh.add(b"c");
        assert_eq!(fresh.take(), b"abc");
        fresh.add(&[b'x'; FRESH_MAX_BYTES]);
        fresh.add(b"y");
        assert_eq!(fresh.take(), b"", "more than is told");
        fresh.add(b"d");
        fresh.skip();
        fresh.add(b"e");
        assert_eq!(fresh.take(), b"", "a part of it is not all");
        fresh.add(b"f");
        assert_eq!(fresh.take(), b"f");
    }
}
