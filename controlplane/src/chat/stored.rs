//! The store's chats as the streams read them.

use async_trait::async_trait;
use shared::ids::{ChatId, UserId};

use super::actions;
use super::event::{ChatHead, ChatStatus};
use super::reader::{ChatReader, ChatState, FallbackView, MessageChange, ReadError, RetryView};
use crate::store::chats::{ChatSnapshot, ChatStore, MessageRow, OperationRow, QueuedRow};
use crate::time::Timestamp;

#[async_trait]
impl ChatReader for ChatStore {
    async fn changes(&self, chat: ChatId, revision: i64) -> Result<Option<ChatState>, ReadError> {
        match self.snapshot(chat, revision).await {
            Ok(snapshot) => Ok(snapshot.map(state)),
            Err(error) => Err(ReadError(Box::new(error))),
        }
    }

    async fn newest(&self, chat: ChatId, limit: u32) -> Result<Option<ChatState>, ReadError> {
        match self.snapshot_of_newest(chat, limit).await {
            Ok(snapshot) => Ok(snapshot.map(state)),
            Err(error) => Err(ReadError(Box::new(error))),
        }
    }

    async fn head(&self, chat: ChatId, owner: UserId) -> Result<Option<ChatHead>, ReadError> {
        match self.head_in_queue(chat).await {
            Ok(row) => Ok(row.filter(|row| row.owner_id == owner).map(|row| row.head())),
            Err(error) => Err(ReadError(Box::new(error))),
        }
    }
}

fn state(snapshot: ChatSnapshot) -> ChatState {
    let ChatSnapshot { chat, mut messages, queue, operations } = snapshot;
    messages.sort_by_key(|row| (row.revision, row.seq));
    let waits = chat.status == ChatStatus::RequiresAction;
    let results = operations.iter().filter(|_| waits).filter_map(OperationRow::answer).collect();
    ChatState {
        head: chat.head(),
        history_version: chat.history_version,
        attempt: chat.attempt,
        queue: queue.iter().map(QueuedRow::view).collect(),
        actions: actions::views(&operations),
        results,
        error: chat.last_error,
        retry: chat.retry.map(|retry| RetryView {
            attempt: retry.attempt,
            delay_ms: retry.delay_ms,
            retry_at: Timestamp(retry.retry_at_ms),
            error: retry.error,
        }),
        fallback: chat.fallback.map(|fallback| FallbackView {
            selected_model: fallback.selected_model,
            answered_by: fallback.answered_by,
            reason: fallback.error.code,
        }),
        changes: messages.iter().map(change).collect(),
    }
}

fn change(row: &MessageRow) -> MessageChange {
    if row.removed {
        MessageChange::Removed { id: row.id, revision: row.revision }
    } else {
        MessageChange::Present(row.view())
    }
}
