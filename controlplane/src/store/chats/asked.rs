//! What the methods of [`ChatStore`](super::ChatStore) are given, and what they answer.

use shared::ids::{ChatId, ModelId, ReplicaId, UserId, WorkspaceId};

use super::entries::{MessageRow, OperationRow, QueuedRow};
use super::rows::{Acquired, ChatRow, TitleSource, WorkerFence};
use crate::chat::content::ClientTool;
use crate::chat::family::Budget;
use crate::chat::machine::{Busy, UserMessage};
use crate::store::ClaimedKey;

/// A chat to be made.
#[derive(Clone, Debug)]
pub struct NewChat {
    /// Whose it is.
    pub owner_id: UserId,
    /// The workspace; none: no tools.
    pub workspace_id: Option<WorkspaceId>,
    /// The chat that starts it.
    pub parent_id: Option<ChatId>,
    /// `ask`, `plan`, `edit` or `auto`.
    pub mode: String,
    /// Its title.
    pub title: String,
    /// Who chose the title.
    pub title_source: TitleSource,
    /// The first message; its model becomes the chat's.
    pub message: UserMessage,
    /// Tools that the client runs itself.
    pub client_tools: Vec<ClientTool>,
    /// How much it may use until somebody lets it go on.
    pub budget: Option<Budget>,
    /// A replica that takes the chat in the same transaction, so that its model call waits for no
    /// further commit; none: the next worker that looks takes it.
    pub claim: Option<ReplicaId>,
    /// The request's idempotency key: what is made is noted for it in the same transaction.
    pub key: Option<ClaimedKey>,
}

/// A chat that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// The chat, running.
    pub chat: ChatRow,
    /// Its first message.
    pub message: MessageRow,
    /// The claim, if one was asked for.
    pub acquired: Option<Acquired>,
}

/// A message that was edited.
#[derive(Clone, Debug)]
pub struct Edited {
    /// The chat after it, running.
    pub chat: ChatRow,
    /// The new text.
    pub message: MessageRow,
    /// The claim, if one was asked for and nobody drove the chat.
    pub acquired: Option<Acquired>,
    /// Agents of the branch that was left: they are being stopped.
    pub stopped: Vec<ChatRow>,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct SendMessage {
    /// What is said.
    pub message: UserMessage,
    /// What to do while a turn is in progress.
    pub busy: Busy,
    /// As in [`NewChat::claim`]; only if the message begins a turn.
    pub claim: Option<ReplicaId>,
    /// As in [`NewChat::key`].
    pub key: Option<ClaimedKey>,
}

/// What became of a message.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The chat after it.
    pub chat: ChatRow,
    /// Where the message is.
    pub delivery: Delivery,
    /// The claim, if one was asked for and the message began a turn.
    pub acquired: Option<Acquired>,
}

/// Where a sent message is.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each request, gone with its answer")]
pub enum Delivery {
    /// In the history; a turn has begun.
    Message(MessageRow),
    /// In the queue.
    Queued(QueuedRow),
}

impl Delivery {
    /// The id of the message, or of its place in the queue.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Message(row) => row.id.to_string(),
            Self::Queued(row) => row.id.to_string(),
        }
    }
}

/// What to change of a chat; none: leave it.
#[derive(Clone, Debug, Default)]
pub struct ChatPatch {
    /// The title and who chose it. Ignored if the present title has a better source.
    pub title: Option<(String, TitleSource)>,
    /// 2 to 5 words on the last turn.
    pub label: Option<String>,
    /// The model for what follows.
    pub model_id: Option<ModelId>,
    /// Who is asked where the model cannot answer; some of none: whom the model's settings name.
    pub fallback_model_id: Option<Option<ModelId>>,
    /// The mode.
    pub mode: Option<String>,
    /// The workspace; only for a chat that has none.
    pub workspace_id: Option<WorkspaceId>,
}

/// A step that was committed.
#[derive(Clone, Debug)]
pub struct Step {
    /// The chat after it.
    pub chat: ChatRow,
    /// The fence of the next write.
    pub fence: WorkerFence,
    /// What the model said.
    pub message: MessageRow,
    /// One for each call, in order, with whom it waits for; empty: the model wants no tool.
    pub operations: Vec<OperationRow>,
}

/// An answer of a tool that was stored.
#[derive(Clone, Debug)]
pub struct ToolStored {
    /// The chat after it.
    pub chat: ChatRow,
    /// The fence of the next write: the same while other calls of the batch are open.
    pub fence: WorkerFence,
    /// The message with all answers, if this was the last one.
    pub sealed: Option<MessageRow>,
    /// Steering messages that were delivered behind it.
    pub steered: Vec<MessageRow>,
    /// Whether a model call is next and its attempt is recorded already.
    pub attempt_begun: bool,
}

/// The end of a turn or of an interruption.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The chat after it.
    pub chat: ChatRow,
    /// Messages that were written: a partial answer, error results, the promoted message.
    pub messages: Vec<MessageRow>,
    /// The fence for the next turn, whose first attempt is recorded already: a queued message was
    /// promoted. None: the chat rests, and this worker no longer owns it.
    pub next: Option<WorkerFence>,
    /// The chat whose agent this one is, after it was told: it may have work again.
    pub parent: Option<ChatRow>,
}

/// Everything a viewer needs, of one moment.
#[derive(Clone, Debug)]
pub struct ChatSnapshot {
    /// The chat.
    pub chat: ChatRow,
    /// Messages with a revision over the one asked for, by `seq`; removed ones included.
    pub messages: Vec<MessageRow>,
    /// The queue, in order.
    pub queue: Vec<QueuedRow>,
    /// The open batch, in order of the calls, answers included.
    pub operations: Vec<OperationRow>,
}

/// Which messages of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOf {
    /// The newest.
    Newest,
    /// Those with a smaller `seq`, nearest first in selection.
    Before(i64),
    /// Those with a larger `seq`.
    After(i64),
}

/// One page of messages.
#[derive(Clone, Debug)]
pub struct MessagePage {
    /// By `seq`, ascending.
    pub items: Vec<MessageRow>,
    /// Whether there are more in the asked direction.
    pub more: bool,
}

/// Which chats of an owner.
#[derive(Clone, Debug, Default)]
pub struct ChatFilter {
    /// None: both.
    pub archived: Option<bool>,
    /// None: all.
    pub workspace_id: Option<WorkspaceId>,
}

/// The place after which a list of chats goes on: the last row of the page before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatListCursor {
    /// Of that row.
    pub updated_at_ms: i64,
    /// Of that row.
    pub id: ChatId,
}

/// A preview of the running episode, kept so that a crash does not lose what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Of the episode.
    pub history_version: i64,
    /// Of the episode.
    pub attempt: i64,
    /// The last preview event it covers.
    pub seq: i64,
    /// As the hub writes it.
    pub parts: serde_json::Value,
}
