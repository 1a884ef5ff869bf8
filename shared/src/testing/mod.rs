//! Aids for tests: a clock that is moved by hand, ids that repeat, a link with faults.

pub mod bad_input;
pub mod link;
mod trials;

pub use trials::{Distribution, TRIALS_VARIABLE, trials};

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ulid::Ulid;

use crate::clock::Clock;
use crate::ids::IdSource;

/// A clock that stands still until it is moved.
pub struct ManualClock {
    start: Instant,
    start_ms: i64,
    elapsed_ms: AtomicI64,
}

impl ManualClock {
    /// Stands at `start_ms` (unix milliseconds).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "an Instant can be made in no other way")]
    pub fn at(start_ms: i64) -> Self {
        Self { start: Instant::now(), start_ms, elapsed_ms: AtomicI64::new(0) }
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).expect("tests advance by sane amounts");
        self.elapsed_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.start_ms + self.elapsed_ms.load(Ordering::SeqCst)
    }

    fn now(&self) -> Instant {
        let elapsed = self.elapsed_ms.load(Ordering::SeqCst);
        self.start + Duration::from_millis(elapsed.unsigned_abs())
    }
}

/// Ids 1, 2, 3, … at one fixed time.
#[derive(Default)]
pub struct CountingIds {
    last: Mutex<u128>,
}

impl IdSource for CountingIds {
    fn ulid(&self) -> Ulid {
        let mut last = self.last.lock().expect("tests do not poison it");
        *last += 1;
        Ulid::from_parts(1_790_000_000_000, *last)
    }
}
