//! Operations whose outcome is committed, on their way to the daemon in batches.
//!
//! A hint like any other: the list survives a lost link and is bounded; what falls out of it is
//! acknowledged again when the chat's engine next looks at its operations.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use shared::ids::OpId;
use tokio::sync::Notify;

/// Most operations in one notice; the protocol's bound.
const BATCH_MAX: usize = 1_000;
/// Most operations kept for a daemon that is away: 160 KB.
const WAITING_MAX: usize = 10_000;

/// What one daemon has yet to be told.
#[derive(Default)]
pub(super) struct Acknowledgements {
    waiting: Mutex<VecDeque<OpId>>,
    more: Notify,
}

impl Acknowledgements {
    /// Adds operations. The oldest give way when there are too many.
    pub(super) fn add(&self, ops: Vec<OpId>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(ops);
        let surplus = waiting.len().saturating_sub(WAITING_MAX);
        waiting.drain(..surplus);
        drop(waiting);
        self.more.notify_one();
    }

    /// Waits for operations and takes the oldest batch. Cancel-safe.
    pub(super) async fn take(&self) -> Vec<OpId> {
        loop {
            // Made before the look, so that what is added in between wakes it.
            let more = self.more.notified();
            let batch = self.take_now();
            if !batch.is_empty() {
                return batch;
            }
            more.await;
        }
    }

    fn take_now(&self) -> Vec<OpId> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = waiting.len().min(BATCH_MAX);
        waiting.drain(..batch).collect()
    }
}
