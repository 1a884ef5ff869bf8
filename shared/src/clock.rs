//! Time as a parameter. Services hold an `Arc<dyn Clock>`; nothing else reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time for rows and for showing, monotonic time for deadlines.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch. May jump; never used for a deadline or a lease.
    fn now_ms(&self) -> i64;

    /// Monotonic time.
    fn now(&self) -> Instant;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    fn now(&self) -> Instant {
        Instant::now()
    }
}
