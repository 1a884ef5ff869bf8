//! What the control plane knows of one workspace's daemon, as a value.

use std::sync::Arc;
use std::time::Duration;

use shared::protocol::hello::Hello;

/// Whether a workspace can be reached, and since when. A snapshot; later ones have a higher
/// generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Rises with every change of this workspace.
    pub generation: u64,
    /// A link is up *and* something went to the daemon and back within the last 20 s.
    pub connected: bool,
    /// Unix milliseconds at which `connected` became what it is; none: never connected since this
    /// replica started.
    pub since_ms: Option<i64>,
    /// Round trip to the daemon, smoothed by the transport; none: not connected.
    pub rtt: Option<Duration>,
    /// Unix milliseconds of the last proven round trip.
    pub last_seen_ms: Option<i64>,
    /// What the daemon said of itself last; stays after the link is lost.
    pub hello: Option<Arc<Hello>>,
    /// Milliseconds by which the daemon's wall clock is ahead of ours (negative: behind).
    pub clock_skew_ms: i64,
}

/// A daemon's clock may differ this much before people are told.
const SKEW_NOTED_MS: i64 = 60_000;

impl Presence {
    /// The clock skew, when it is large enough to matter.
    #[must_use]
    pub const fn noted_skew_ms(&self) -> Option<i64> {
        if self.clock_skew_ms.unsigned_abs() > SKEW_NOTED_MS.unsigned_abs() {
            Some(self.clock_skew_ms)
        } else {
            None
        }
    }
}
