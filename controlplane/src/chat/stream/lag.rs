//! Notices viewers that do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::changed;
use crate::chat::hub::Joined;

/// What a viewer may be behind.
const LAG_MAX_BYTES: u64 = 1024 * 1024;
/// How long it may be that far behind without reading anything.
pub(super) const LAG_GRACE: Duration = Duration::from_secs(2);

/// Watches one subscription while its transport is busy with sending.
pub struct Lag {
    channel: Joined,
    news: watch::Receiver<()>,
    read_bytes: Arc<AtomicU64>,
}

impl Lag {
    pub(super) fn new(channel: Joined, read_bytes: Arc<AtomicU64>) -> Self {
        let news = channel.news();
        Self { channel, news, read_bytes }
    }

    /// Returns when more than 1 MiB was said since the subscription was last pulled, and it was not
    /// pulled for two seconds more: close the connection with `slow_consumer`. Cancel safe.
    pub async fn exceeded(&mut self) {
        loop {
            let read = self.read_bytes.load(Ordering::Relaxed);
            if self.channel.published_bytes().saturating_sub(read) > LAG_MAX_BYTES {
                tokio::time::sleep(LAG_GRACE).await;
                if self.read_bytes.load(Ordering::Relaxed) == read {
                    return;
                }
            } else {
                changed(&mut self.news).await;
            }
        }
    }
}
