//! Bytes of output that all processes of the workspace keep together.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The budget. Over it, finished processes lose their output, oldest first; where that is not
/// enough, a running one keeps less of its own.
pub struct Budget {
    limit: AtomicU64,
    used: AtomicU64,
    over: Notify,
}

impl Budget {
    /// A budget of `limit` bytes, unused.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit: AtomicU64::new(limit), used: AtomicU64::new(0), over: Notify::new() }
    }

    /// Bytes over the limit.
    #[must_use]
    pub fn excess(&self) -> u64 {
        self.used.load(Ordering::Relaxed).saturating_sub(self.limit())
    }

    /// Changes the limit: a keeper learns in this way that the workspace keeps too much.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Resolves when the limit was passed since the last call. One waiter.
    pub async fn passed(&self) {
        self.over.notified().await;
    }

    pub(super) fn add(&self, bytes: u64) {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.limit() {
            self.over.notify_one();
        }
    }

    pub(super) fn remove(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
