//! Hints on their way to the other replicas: collected, each once, until they are sent.
//!
//! ```text
//! commit ─► Hints ─┬─► here, at once
//!                  └─► Outbox (a set) ─► one task ─► NOTIFY, after the commit and outside of it
//! ```
//!
//! Adding never waits. While a batch is on its way the next one collects, so a busy replica sends
//! large texts and not many. More than `WAITING_MAX` hints are said as "anything may have changed".

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::hint::Hint;

/// Hints that may wait; sending fails only while the database does not answer.
const WAITING_MAX: usize = 4_096;

/// See the module's text.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<BTreeSet<Hint>>,
    wake: watch::Sender<()>,
    /// Nobody else is there to be told.
    alone: AtomicBool,
    finished: AtomicBool,
}

impl Outbox {
    pub(super) fn add(&self, hint: Hint) {
        if self.alone.load(Ordering::Relaxed) {
            return;
        }
        {
            let mut waiting = self.lock();
            if waiting.len() >= WAITING_MAX {
                *waiting = [Hint::Everything].into();
            } else {
                waiting.insert(hint);
            }
        }
        self.wake.send_replace(());
    }

    /// Says whether other replicas live: without any, nothing is collected. One that has just begun
    /// may miss what is said before this is known, which costs it a poll interval.
    pub fn set_alone(&self, alone: bool) {
        self.alone.store(alone, Ordering::Relaxed);
    }

    /// Ends [`take`](Self::take) after what waits.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        self.wake.send_replace(());
    }

    /// Waits for hints and takes them; none after the outbox was finished. Cancel safe.
    pub async fn take(&self) -> Option<BTreeSet<Hint>> {
        let mut wakes = self.wake.subscribe();
        loop {
            wakes.borrow_and_update();
            let finished = self.finished.load(Ordering::SeqCst);
            let taken = std::mem::take(&mut *self.lock());
            if !taken.is_empty() {
                return Some(taken);
            }
            if finished {
                return None;
            }
            // The sender is our own, so it cannot be gone.
            let _ = wakes.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Hint>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::ids::IdSource;
    use shared::testing::CountingIds;

    #[tokio::test]
    async fn a_hint_is_taken_once_and_the_end_comes_after_the_last() {
        let ids: &dyn IdSource = &CountingIds::default();
        let outbox = Outbox::default();
        let chat = ids.id();
        outbox.add(Hint::Chat(chat));
        outbox.add(Hint::Chat(chat));
        outbox.finish();
        assert_eq!(outbox.take().await, Some([Hint::Chat(chat)].into()));
        assert_eq!(outbox.take().await, None);
    }

    #[tokio::test]
    async fn too_many_hints_are_one_that_says_so() {
        let ids: &dyn IdSource = &CountingIds::default();
        let outbox = Outbox::default();
        for _ in 0..=WAITING_MAX {
            outbox.add(Hint::Chat(ids.id()));
        }
        assert_eq!(outbox.take().await, Some([Hint::Everything].into()));
    }

    #[tokio::test]
    async fn who_is_alone_collects_nothing() {
        let outbox = Outbox::default();
        outbox.set_alone(true);
        outbox.add(Hint::Runnable);
        outbox.set_alone(false);
        outbox.add(Hint::Everything);
        assert_eq!(outbox.take().await, Some([Hint::Everything].into()));
    }
}
