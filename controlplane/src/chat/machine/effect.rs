//! What the store has to write for an event, and why an event may be refused.

use shared::ids::{MessageId, OpId, QueueId};

use super::super::event::{ChatErrorView, ChatStatus};
use super::event::{AssistantMessage, FallbackState, Intent, RetryState, ToolAnswer, UserMessage};
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
    /// The user edited an earlier message.
    Edited,
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
            Self::Edited => "edited",
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
            Self::Edited => "The user edited an earlier message before this call had an answer.",
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
    /// Begin with the history of another chat.
    CopyHistory,
    /// Leave the branch from this message on, and begin another with the new text; a new turn
    /// begins.
    Fork {
        /// The message that is replaced.
        id: MessageId,
        /// By what.
        message: UserMessage,
    },
    /// Leave the branch that is shown, and show the newest one with this message.
    ShowBranch(MessageId),
    /// Append to the history; one more step.
    InsertAssistant(AssistantMessage),
    /// Append what the model had said, and error results for the calls in it.
    InsertPartial(AssistantMessage),
    /// Keep what is going to be run.
    Intend(Vec<Intent>),
    /// Let a call run that waited for a person.
    OpenGate(OpId),
    /// Let a call wait for agents.
    CloseGate(OpId),
    /// Keep one answer of a person or a client, or that there is none; the history does not change.
    RecordAnswer(ToolAnswer),
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
    /// Move within the queue, among those of its kind.
    MoveInQueue {
        /// Which.
        id: QueueId,
        /// To which place, from 0.
        to: u32,
    },
    /// Count the steps from here.
    GrantSteps,
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
    /// Keep who answers for the rest of the turn.
    NoteFallback(FallbackState),
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
            Self::CopyHistory => "copy history",
            Self::Fork { .. } => "fork",
            Self::ShowBranch(_) => "show branch",
            Self::OpenGate(_) => "open gate",
            Self::CloseGate(_) => "close gate",
            Self::RecordAnswer(_) => "record answer",
            Self::MoveInQueue { .. } => "move in queue",
            Self::GrantSteps => "grant steps",
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
            Self::NoteFallback(_) => "note fallback",
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
    /// No such message in the branch that is shown.
    #[error("there is no such message in this branch of the chat")]
    MessageNotFound,
    /// A message names a file that is not the chat's, or is gone.
    #[error("there is no such attachment in this chat; it may have been removed")]
    AttachmentNotFound,
    /// The chat has as many files as it may.
    #[error("the chat has {max} attachments already")]
    TooManyAttachments {
        /// The limit.
        max: u32,
    },
    /// A message names the file.
    #[error("a message names this attachment: it goes with the chat")]
    AttachmentSent,
    /// Only what a user said can be edited.
    #[error("only a user's message can be edited")]
    NotUserMessage,
    /// Nothing waits under this id.
    #[error("nothing waits for an answer under this id")]
    ActionNotFound,
    /// It was decided, answered or given up already.
    #[error("this was decided or answered already, or its time is over")]
    ActionResolved,
    /// The arguments are not those that were shown.
    #[error("what waits is not what was shown: look at it again")]
    ActionMismatch,
    /// A result for a call that does not wait for the client.
    #[error("no outstanding call of a client's tool has this id")]
    ClientResultUnexpected,
    /// Two results for one call.
    #[error("the call has two results")]
    ClientResultDuplicate,
    /// An outstanding call without a result.
    #[error("an outstanding call has no result: all of them are due together")]
    ClientResultMissing,
    /// Only a whole family is archived.
    #[error("the chat belongs to another one: archive that one")]
    NotRoot,
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
            Self::MessageNotFound => "message_not_found",
            Self::NotUserMessage => "message_not_editable",
            Self::AttachmentNotFound => "attachment_not_found",
            Self::TooManyAttachments { .. } => "too_many_attachments",
            Self::AttachmentSent => "in_use",
            Self::ActionNotFound => "action_not_found",
            Self::ActionResolved => "action_resolved",
            Self::ActionMismatch => "action_mismatch",
            Self::ClientResultUnexpected => "client_result_unexpected",
            Self::ClientResultDuplicate => "client_result_duplicate",
            Self::ClientResultMissing => "client_result_missing",
            Self::NotRoot => "chat_not_root",
            Self::CallsUnanswered { .. } => "tool_calls_unanswered",
            Self::IntentsMismatch => "tool_calls_mismatch",
            Self::ResultUnexpected => "tool_result_unexpected",
            Self::ResultDuplicate => "tool_result_duplicate",
        }
    }
}
