//! Keeps what a model has said in the database, beside the token path.

use std::convert::Infallible;
use std::time::Duration;

use shared::ids::ChatId;

use super::{Runner, interrupt};
use crate::chat::hub::EpisodeWriter;
use crate::store::chats::{ChatStore, WorkerFence};

/// Pause between two checkpoints of one episode.
const INTERVAL: Duration = Duration::from_secs(1);

/// The checkpoints of one episode.
pub(super) struct Checkpoints {
    store: ChatStore,
    chat: ChatId,
    fence: WorkerFence,
}

impl Checkpoints {
    /// Of the episode that `runner` is in.
    pub(super) fn of(runner: &Runner) -> Self {
        Self { store: runner.shared.store.clone(), chat: runner.id, fence: runner.fence }
    }

    /// Saves at most once a second while something new is said. Never ends.
    pub(super) async fn keep(&self, writer: &EpisodeWriter) -> Infallible {
        let mut saved_bytes = 0;
        let mut seq = 0;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let said = writer.model_bytes();
            if said == saved_bytes || shared::fault::rarely("checkpoint: skipped") {
                continue;
            }
            saved_bytes = said;
            seq += 1;
            let parts = interrupt::checkpoint(&writer.partial());
            if let Err(error) =
                self.store.save_checkpoint(self.chat, &self.fence, seq, &parts).await
            {
                // The answer itself goes on; only an interrupt after a crash would miss this.
                tracing::debug!(chat.id = %self.chat,
                    error = &error as &dyn std::error::Error, "a checkpoint was not kept");
            }
        }
    }
}
