//! What the link shows of itself, for `agentd status` and the log.

use std::sync::{Arc, Mutex, PoisonError};

use quinn::Connection;
use serde::{Deserialize, Serialize};
use shared::ids::WorkspaceId;
use shared::protocol::notice::DaemonNotice;
use tokio::sync::{mpsc, watch};

use super::fault::Fault;

/// Where the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// On the way.
    Connecting,
    /// The control plane has answered the hello.
    Connected,
    /// Until the next try.
    Waiting,
    /// The daemon ends.
    Stopped,
}

/// The link as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Where it stands.
    pub state: LinkState,
    /// Unix milliseconds at which the state began.
    pub since_ms: i64,
    /// Host and UDP port of the control plane.
    pub server: String,
    /// The workspace this daemon serves.
    pub workspace_id: WorkspaceId,
    /// Its name.
    pub workspace_name: String,
    /// Unix milliseconds at which the certificate ends.
    pub certificate_ends_ms: i64,
    /// Smoothed round trip, while connected.
    pub rtt_ms: Option<u64>,
    /// Milliseconds by which the control plane's clock is ahead of ours, once it has told.
    pub clock_skew_ms: Option<i64>,
    /// Why there is no link, or why the last one ended.
    pub fault: Option<FaultView>,
    /// Tries since the last stable link.
    pub failures: u32,
    /// Unix milliseconds of the next try, while waiting.
    pub next_try_ms: Option<i64>,
}

/// A [`Fault`] for showing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultView {
    /// See [`Fault::name`].
    pub name: String,
    /// Cause and what to do.
    pub text: String,
}

impl From<&Fault> for FaultView {
    fn from(fault: &Fault) -> Self {
        Self { name: fault.name().to_owned(), text: fault.to_string() }
    }
}

/// Asks the link how it is, and tells it what the control plane should hear. Cheap to clone.
#[derive(Clone)]
pub struct LinkHandle {
    pub(super) status: watch::Receiver<LinkStatus>,
    pub(super) connection: Arc<Mutex<Option<Connection>>>,
    pub(super) notices: mpsc::Sender<DaemonNotice>,
}

impl LinkHandle {
    /// How it is now.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let mut status = self.status.borrow().clone();
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let rtt = connection.as_ref().map(|connection| connection.rtt().as_millis());
        status.rtt_ms = rtt.map(|rtt| u64::try_from(rtt).unwrap_or(u64::MAX));
        status
    }

    /// How it changes; without the round trip.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// Tells the control plane, if it is there. A hint: lost when it is not, or when it is slow.
    pub fn notify(&self, notice: DaemonNotice) {
        let _ = self.notices.try_send(notice);
    }
}
