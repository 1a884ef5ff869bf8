//! This replica's lease: the row that says until when its chats are its own.

use std::time::Duration;

use shared::ids::ReplicaId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::{ReplicaAddresses, ReplicaStore, StoreError};

/// The lease in the database, unless the configuration says otherwise.
pub const LEASE: Duration = Duration::from_secs(10);
/// Shortest and longest lease that may be asked for.
pub const LEASE_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Tenths of a lease after which it is renewed.
const RENEWAL_TENTHS: u32 = 3;
/// Tenths of a lease without a renewal after which the replica stops itself, before others begin.
const SELF_STOP_TENTHS: u32 = 8;
/// Pause before the next try to register.
const REGISTER_PAUSE: Duration = Duration::from_secs(1);

/// A lease that runs.
pub(super) struct Lease {
    replica: ReplicaId,
    length: Duration,
    /// When the request that last succeeded was *sent*: the database may have counted from there.
    proven_at: Instant,
}

impl Lease {
    /// Registers `replica`, as often as it takes; none: the program stops.
    pub(super) async fn begin(
        replicas: &ReplicaStore,
        replica: ReplicaId,
        length: Duration,
        addresses: &ReplicaAddresses,
        soft: &CancellationToken,
    ) -> Option<Self> {
        loop {
            let proven_at = Instant::now();
            let version = env!("CARGO_PKG_VERSION");
            match replicas.register_at(replica, millis(length), addresses, version).await {
                Ok(()) => return Some(Self { replica, length, proven_at }),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the lease cannot be registered; it is tried again"
                ),
            }
            tokio::select! {
                biased;
                () = soft.cancelled() => return None,
                () = tokio::time::sleep(REGISTER_PAUSE) => {}
            }
        }
    }

    /// Renews until it cannot, then cancels `lost`, at the latest at the self-stop.
    pub(super) async fn keep(mut self, replicas: ReplicaStore, lost: CancellationToken) {
        // Also if this task is ended or panics: without a keeper there is no lease.
        let _lost = lost.drop_guard();
        loop {
            let stop_at = self.proven_at + self.length * SELF_STOP_TENTHS / 10;
            tokio::time::sleep_until(
                (Instant::now() + self.length * RENEWAL_TENTHS / 10).min(stop_at),
            )
            .await;
            if Instant::now() >= stop_at {
                return;
            }
            if shared::fault::rarely("lease: renewal forgotten") {
                continue;
            }
            let sent_at = Instant::now();
            let renewal = replicas.renew(self.replica, millis(self.length));
            match tokio::time::timeout_at(stop_at, renewal).await {
                Ok(Ok(())) => self.proven_at = sent_at,
                Ok(Err(StoreError::Fenced)) | Err(_) => return,
                Ok(Err(error)) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the lease could not be renewed; it is tried again"
                ),
            }
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
