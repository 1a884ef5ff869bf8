//! What either side says unasked, on the hello stream, after the hello. Hints: losing one costs
//! at most a poll interval.

use serde::{Deserialize, Serialize};

use crate::ids::{OpId, ProcessId, PtyId};

/// From the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum DaemonNotice {
    /// A process ended; ask `process/get` for how.
    ProcessExited {
        /// Which.
        process_id: ProcessId,
    },
    /// The program of a PTY ended; ask `pty/get` for how.
    PtyExited {
        /// Which.
        pty_id: PtyId,
    },
    /// The daemon is ending in order; calls in flight will be cut.
    Stopping,
    /// From a newer daemon.
    #[serde(other)]
    Unknown,
}

/// From the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum ControlNotice {
    /// The outcomes of these operations are committed; the journal may forget them.
    Acknowledged {
        /// At most 1,000.
        op_ids: Vec<OpId>,
    },
    /// The control plane is ending; reconnect with jitter.
    Stopping,
    /// The servers of the deployment are others now; as in the welcome.
    Servers {
        /// `host:port` of each, at most 64.
        servers: Vec<String>,
    },
    /// From a newer control plane.
    #[serde(other)]
    Unknown,
}
