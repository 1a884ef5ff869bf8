//! What makes a runner stop in the middle: a person, a newer owner, the end of the program.

use std::time::Duration;

use shared::ids::{ChatId, RunnerId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chat::event::ChatStatus;
use crate::chat::hints::Asked;
use crate::store::chats::{ChatRow, ChatStore};

/// Backstop for a lost hint.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Why to stop in the middle.
#[derive(Debug)]
pub(super) enum Stop {
    /// A person wants it; the row as it is now.
    Interrupted(Box<ChatRow>),
    /// People decided something of the calls that wait; the row as it is now.
    Decided(Box<ChatRow>),
    /// The history is another one: a person edited a message.
    Moved,
    /// The program ends.
    ShuttingDown,
    /// Somebody else owns the chat, or may own it soon.
    Lost,
}

/// What the runner knows of its chat, beside which anything else is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) history_version: i64,
    pub(super) awaited: i64,
}

/// Watches one chat for its runner.
pub(super) struct Watch {
    store: ChatStore,
    chat: ChatId,
    runner: RunnerId,
    asked: Asked,
    /// A wake-up came and the row was not looked at since.
    look_due: bool,
    looked_at: Instant,
    /// The program is asked to stop.
    soft: CancellationToken,
    /// The lease is about to end.
    pub(super) lost: CancellationToken,
}

impl Watch {
    /// Of the chat that `runner` has acquired. Looks once by itself: a stop may have come between
    /// the acquisition and this.
    pub(super) fn new(
        store: ChatStore,
        (chat, runner): (ChatId, RunnerId),
        asked: Asked,
        soft: CancellationToken,
        lost: CancellationToken,
    ) -> Self {
        let looked_at = Instant::now();
        Self { store, chat, runner, asked, look_due: true, looked_at, soft, lost }
    }

    /// Returns when there is a reason to stop; after a soft stop, what runs has `grace` to end by
    /// itself. Cancel safe.
    pub(super) async fn stopped(&mut self, grace: Duration, seen: Seen) -> Stop {
        let (soft, lost) = (self.soft.clone(), self.lost.clone());
        let shutting_down = async move {
            soft.cancelled().await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            biased;
            () = lost.cancelled() => Stop::Lost,
            stop = self.asked_to_stop(seen) => stop,
            () = shutting_down => Stop::ShuttingDown,
        }
    }

    /// Cancel safe: a wake-up is done with only when the row was looked at.
    async fn asked_to_stop(&mut self, seen: Seen) -> Stop {
        loop {
            if !self.look_due && !shared::fault::rarely("watch: looks for nothing") {
                tokio::select! {
                    biased;
                    () = self.asked.wait() => {}
                    () = tokio::time::sleep_until(self.looked_at + POLL_INTERVAL) => {}
                }
                self.look_due = true;
            }
            let looked = self.store.head(self.chat).await;
            self.looked_at = Instant::now();
            self.look_due = false;
            match looked {
                Ok(Some(row)) if row.runner_id != Some(self.runner) => return Stop::Lost,
                Ok(Some(row)) if row.status == ChatStatus::Interrupting => {
                    return Stop::Interrupted(Box::new(row));
                }
                Ok(Some(row)) if row.history_version != seen.history_version => {
                    return Stop::Moved;
                }
                Ok(Some(row)) if row.awaited != seen.awaited => {
                    return Stop::Decided(Box::new(row));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Stop::Lost,
                // The next look may succeed; every write is fenced anyway.
                Err(error) => tracing::warn!(
                    chat.id = %self.chat, error = &error as &dyn std::error::Error,
                    "a runner could not look at its chat"
                ),
            }
        }
    }
}
