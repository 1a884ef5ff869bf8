//! What the store has to write for an event, and why an event may be refused.

use shared::ids::QueueId;

use super::super::event::{ChatErrorView, ChatStatus};
use super::event::{AssistantMessage, Intent, RetryState, ToolAnswer, UserMessage};
use super::state::ExecutionState;

/// Messages that may wait in one chat's queue.
pub const QUEUE_MAX: u32 = 20;

/// Why calls without an answer get an error for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The user stopped the turn.
    Interrupted,
    /// The turn ended with an error.
    Failed,
    /// The user spoke first.
    NewMessage,
    /// An operator repaired the chat.
    Reconciled,
}

impl Unanswered {
    /// Stable code in the tool result.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Failed => "turn_failed",
            Self::NewMessage => "superseded",
            Self::Reconciled => "reconciled",
        }
    }

    /// What the model is told.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Interrupted => {
                "The user stopped the turn before this call had an answer; what it started may \
                 have had effects."
            }
            Self::Failed => "The turn ended with an error before this call had an answer.",
            Self::NewMessage => "The user sent a new message before this call had an answer.",
            Self::Reconciled => "The chat was repaired; this call never had an answer.",
        }
    }
}

/// One thing to write, in the order given, in the transaction that holds the chat's row.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Nothing is written: take everything back.
    Refuse(Refusal),
    /// Give every open call an error result and seal the batch.
    AnswerOpenCalls(Unanswered),
    /// Append to the history; a new turn begins.
    InsertUser(UserMessage),
    /// Append to the history; one more step.
    InsertAssistant(AssistantMessage),
    /// Append what the model had said, and error results for the calls in it.
    InsertPartial(AssistantMessage),
    /// Keep what is going to be run.
    Intend(Vec<Intent>),
    /// Keep one answer; the history does not change.
    RecordResult(ToolAnswer),
    /// Append all answers of the open batch as one message, in the order of the calls.
    SealBatch,
    /// Append to the queue: behind the other steering messages, or at the end.
    Enqueue {
        /// What.
        message: UserMessage,
        /// Whether to deliver it after a tool batch.
        steer: bool,
    },
    /// Remove from the queue.
    Dequeue {
        /// Which.
        id: QueueId,
        /// Whether it steers.
        steer: bool,
    },
    /// Move to the head of the queue; from then on it steers.
    MoveToHead {
        /// Which.
        id: QueueId,
        /// Whether it steered before.
        steer: bool,
    },
    /// Replace a queued message.
    Rewrite(QueueId, UserMessage),
    /// The head of the queue becomes part of the history; a new turn begins.
    PromoteHead,
    /// Every steering message becomes part of the history; the turn goes on.
    PromoteSteered,
    /// Count an attempt of the model call that follows.
    BeginAttempt,
    /// Keep why and how long the worker waits.
    NoteRetry(RetryState),
    /// Forget it.
    ClearRetry,
    /// Keep why the chat stopped.
    NoteError(ChatErrorView),
    /// Forget it.
    ClearError,
    /// A new worker, a new runner, the next epoch.
    Own,
    /// Nobody.
    Disown,
    /// The new status.
    SetStatus(ChatStatus),
    /// Whether it is archived.
    SetArchived(bool),
}

impl Effect {
    /// For the transition table.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refuse(refusal) => refusal.code(),
            Self::AnswerOpenCalls(_) => "answer open calls",
            Self::InsertUser(_) => "insert user message",
            Self::InsertAssistant(_) => "insert step",
            Self::InsertPartial(_) => "insert partial step",
            Self::Intend(_) => "intend",
            Self::RecordResult(_) => "record result",
            Self::SealBatch => "seal batch",
            Self::Enqueue { .. } => "enqueue",
            Self::Dequeue { .. } => "dequeue",
            Self::MoveToHead { .. } => "move to head",
            Self::Rewrite(..) => "rewrite",
            Self::PromoteHead => "promote head",
            Self::PromoteSteered => "promote steered",
            Self::BeginAttempt => "begin attempt",
            Self::NoteRetry(_) => "note retry",
            Self::ClearRetry => "clear retry",
            Self::NoteError(_) => "note error",
            Self::ClearError => "clear error",
            Self::Own => "own",
            Self::Disown => "disown",
            Self::SetStatus(_) => "set status",
            Self::SetArchived(_) => "set archived",
        }
    }
}

/// Why the chat does not do it. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The event does not fit the state.
    #[error("{event} does not fit a chat in state {state}")]
    NotAllowed {
        /// The event's name.
        event: &'static str,
        /// The state's name.
        state: ExecutionState,
    },
    /// The chat is archived.
    #[error("the chat is archived: unarchive it first")]
    Archived,
    /// It is archived already.
    #[error("the chat is archived already")]
    AlreadyArchived,
    /// It is not archived.
    #[error("the chat is not archived")]
    NotArchived,
    /// The columns of the chat contradict each other.
    #[error("the chat's stored state contradicts itself: reconcile it")]
    Invalid,
    /// The queue is full.
    #[error("{max} messages wait already: delete one or wait")]
    QueueFull {
        /// The limit.
        max: u32,
    },
    /// No such queued message; it may just have been delivered.
    #[error("there is no such queued message; it may have been delivered")]
    QueuedNotFound,
    /// Tool calls have no answer yet.
    #[error("{open} tool calls have no answer yet")]
    CallsUnanswered {
        /// How many.
        open: u32,
    },
    /// The intents are not one for each tool call of the message, in order.
    #[error("the intents do not match the tool calls of the message")]
    IntentsMismatch,
    /// No such call is open.
    #[error("no open tool call has this operation")]
    ResultUnexpected,
    /// The call has its answer already.
    #[error("the tool call has its answer already")]
    ResultDuplicate,
}

impl Refusal {
    /// Stable code for clients.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } => "chat_state_conflict",
            Self::Archived => "chat_archived",
            Self::AlreadyArchived => "chat_already_archived",
            Self::NotArchived => "chat_not_archived",
            Self::Invalid => "chat_state_invalid",
            Self::QueueFull { .. } => "queue_full",
            Self::QueuedNotFound => "queued_message_not_found",
            Self::CallsUnanswered { .. } => "tool_calls_unanswered",
            Self::IntentsMismatch => "tool_calls_mismatch",
            Self::ResultUnexpected => "tool_result_unexpected",
            Self::ResultDuplicate => "tool_result_duplicate",
        }
    }
}
