//! Time and ids of a world: virtual, and the same in each run of a seed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use shared::clock::Clock;
use shared::ids::IdSource;
use ulid::Ulid;

/// Where wall time begins.
const START_MS: i64 = 1_790_000_000_000;

/// The paused time of the runtime, and a wall clock that may be set.
pub struct WorldClock {
    start: tokio::time::Instant,
    /// How far the wall clock was set off.
    off_ms: AtomicI64,
}

impl WorldClock {
    /// Begins now. Only inside the world's runtime.
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now(), off_ms: AtomicI64::new(0) }
    }

    /// Somebody sets the wall clock.
    pub fn step(&self, by_ms: i64) {
        self.off_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Milliseconds since the beginning.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for WorldClock {
    fn now_ms(&self) -> i64 {
        START_MS + self.elapsed_ms().cast_signed() + self.off_ms.load(Ordering::SeqCst)
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Ids in the order in which they were asked for.
#[derive(Default)]
pub struct WorldIds {
    last: AtomicU64,
    /// Keeps two askers apart, as the real source does.
    order: Mutex<()>,
}

impl IdSource for WorldIds {
    fn ulid(&self) -> Ulid {
        let _order = self.order.lock().expect("nothing in here panics");
        let nth = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        Ulid::from_parts(START_MS.unsigned_abs() + nth, u128::from(nth))
    }
}
