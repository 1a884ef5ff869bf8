//! Commits of a runner: tried again while the database is away, and a look at the row when it has
//! moved on.

use std::future::Future;
use std::time::Duration;

use shared::backoff::Backoff;

use super::{Flow, Leave, Runner};
use crate::store::StoreError;

/// Longest pause between two tries of a write that the database did not take.
const WRITE_RETRY_MAX: Duration = Duration::from_secs(5);

impl Runner {
    /// Commits. None: the chat has moved on; it was looked at again, decide anew.
    ///
    /// A database that does not answer is asked again, with the same fence: if the first try was
    /// kept after all, the second is fenced off and the look shows what was written.
    pub(super) async fn write<T, F>(
        &mut self,
        mut write: impl FnMut() -> F,
    ) -> Result<Option<T>, Leave>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pauses = Backoff::new(Duration::from_millis(100), WRITE_RETRY_MAX);
        loop {
            match write().await {
                Ok(written) => return Ok(Some(written)),
                Err(StoreError::Fenced | StoreError::Refused(_)) => {
                    self.look_again().await?;
                    return Ok(None);
                }
                Err(
                    error @ (StoreError::Unavailable(_)
                    | StoreError::Contended(_)
                    | StoreError::DiskFull(_)),
                ) => {
                    tracing::warn!(chat.id = %self.id, error = &error as &dyn std::error::Error,
                        "a commit did not go through; it is tried again");
                    self.pause(&mut pauses).await?;
                }
                Err(error) => return Err(Leave::Broken(error)),
            }
        }
    }

    async fn pause(&self, pauses: &mut Backoff) -> Flow {
        let pause = pauses.next_pause(&mut *self.rng());
        tokio::select! {
            biased;
            () = self.watch.lost.cancelled() => Err(Leave::Lost),
            () = tokio::time::sleep(pause) => Ok(()),
        }
    }

    /// Reads the row again. Everything that was assumed of it is dropped.
    pub(super) async fn look_again(&mut self) -> Flow {
        let (id, store) = (self.id, self.shared.store.clone());
        let row = self.read(|| store.head(id)).await?;
        let Some(row) = row.filter(|row| row.runner_id == Some(self.fence.runner_id)) else {
            return Err(Leave::Lost);
        };
        let Some(fence) = row.fence() else { return Err(Leave::Lost) };
        // Also without a new history: an answer may be stored whose commit was not heard of, and a
        // call that counts as open would be asked for ever.
        self.operations = None;
        if fence.history_version != self.fence.history_version {
            self.load_history().await?;
            self.attempt_begun = false;
            self.preview = None;
            self.stop_told = false;
        }
        self.fence = fence;
        self.chat = row;
        Ok(())
    }

    pub(super) async fn load_history(&mut self) -> Flow {
        let (id, store) = (self.id, self.shared.store.clone());
        self.history = self.read(|| store.history(id)).await?;
        Ok(())
    }

    /// Reads. A database that does not answer is asked again for as long as the chat is ours: only
    /// rows that cannot be used stop a chat.
    pub(super) async fn read<T, F>(&self, mut read: impl FnMut() -> F) -> Result<T, Leave>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pauses = Backoff::new(Duration::from_millis(100), WRITE_RETRY_MAX);
        loop {
            match read().await {
                Ok(found) => return Ok(found),
                Err(StoreError::Unavailable(_) | StoreError::Contended(_)) => {
                    self.pause(&mut pauses).await?;
                }
                Err(error) => return Err(Leave::Broken(error)),
            }
        }
    }
}
