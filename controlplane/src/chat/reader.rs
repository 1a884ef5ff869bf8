//! What the streams read from the database, as views.
//!
//! A trait, so that the properties of the streams are tested against a database that is a plain
//! value; the store's answer is turned into views in `chat::stored`.

use async_trait::async_trait;
use shared::ids::{ChatId, MessageId, UserId};

use super::content::Part;
use super::event::{ActionView, ChatErrorView, ChatHead, MessageView, QueuedView};
use crate::time::Timestamp;

/// One chat as it is, with the messages that changed after some revision. One read transaction.
#[derive(Clone, Debug)]
pub struct ChatState {
    /// Title, status, version.
    pub head: ChatHead,
    /// Raised by every change of the messages; names the running episode.
    pub history_version: i64,
    /// Attempts at the next step; names the running episode.
    pub attempt: i64,
    /// The queue, in order.
    pub queue: Vec<QueuedView>,
    /// What it waits for from a person or a client.
    pub actions: Vec<ActionView>,
    /// Answers of the open batch that are stored, while nobody drives the chat; a runner shows them
    /// in its preview.
    pub results: Vec<Part>,
    /// Why the chat stopped, while its status says so.
    pub error: Option<ChatErrorView>,
    /// The pause before the next attempt, while there is one.
    pub retry: Option<RetryView>,
    /// Who answers for the rest of the turn, and why.
    pub fallback: Option<FallbackView>,
    /// Messages whose revision is over the asked one, in ascending order of revision.
    pub changes: Vec<MessageChange>,
}

/// A pause before the next attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryView {
    /// How many attempts failed.
    pub attempt: i64,
    /// The pause's length.
    pub delay_ms: u64,
    /// Its end.
    pub retry_at: Timestamp,
    /// Why the last attempt failed.
    pub error: ChatErrorView,
}

/// Another model answers than the one that was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct FallbackView {
    /// The one that was asked.
    pub selected_model: String,
    /// The one that answers.
    pub answered_by: String,
    /// Why, as a stable code.
    pub reason: String,
}

/// A message that changed.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every change is a message")]
pub enum MessageChange {
    /// It is part of the history.
    Present(MessageView),
    /// It no longer is.
    Removed {
        /// Which.
        id: MessageId,
        /// The `snapshot_version` of its removal.
        revision: i64,
    },
}

impl MessageChange {
    /// The `snapshot_version` of the change.
    #[must_use]
    pub fn revision(&self) -> i64 {
        match self {
            Self::Present(message) => message.revision,
            Self::Removed { revision, .. } => *revision,
        }
    }
}

/// Rows could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the chat could not be read")]
pub struct ReadError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Reads chats for the streams.
#[async_trait]
pub trait ChatReader: Send + Sync + 'static {
    /// The chat with what changed after `revision`; none: there is no such chat.
    async fn changes(&self, chat: ChatId, revision: i64) -> Result<Option<ChatState>, ReadError>;

    /// The chat with its newest `limit` messages; none: there is no such chat.
    async fn newest(&self, chat: ChatId, limit: u32) -> Result<Option<ChatState>, ReadError>;

    /// The chat's head; none: there is no such chat, or it is not `owner`'s.
    async fn head(&self, chat: ChatId, owner: UserId) -> Result<Option<ChatHead>, ReadError>;
}
