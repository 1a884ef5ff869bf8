//! What can happen to a chat, with the data that comes with it.

use serde::{Deserialize, Serialize};
use shared::ids::{MessageId, ModelId, OpId, ProcessId, QueueId, WorkspaceId};

use super::super::content::{Effort, Plan, StoredPart, Usage};
use super::super::event::ChatErrorView;
use super::gate::{Class, Gate};

/// What a person, or a program that speaks for one, says.
#[derive(Clone, Debug)]
pub struct UserMessage {
    /// At least one part.
    pub content: Vec<StoredPart>,
    /// The model to answer this and what follows; none: the chat's.
    pub model_id: Option<ModelId>,
    /// How hard it should think about this and what follows; none: as before.
    pub effort: Option<Effort>,
}

/// What a model said in one step.
#[derive(Clone, Debug, Default)]
pub struct AssistantMessage {
    /// In order; may be empty where the model said nothing.
    pub content: Vec<StoredPart>,
    /// The provider kind that the `raw` blocks belong to.
    pub raw_kind: Option<String>,
    /// The provider's name of the model.
    pub model: Option<String>,
    /// Tokens of the step.
    pub usage: Option<Usage>,
    /// Milliseconds that the worker worked since its last commit of a step.
    pub worked_ms: u64,
}

/// One tool call that is going to be run: committed before it is dispatched.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The key of the daemon's journal.
    pub op_id: OpId,
    /// The call in the model's message.
    pub tool_call_id: String,
    /// The tool's name.
    pub tool: String,
    /// As the model gave them.
    pub args: serde_json::Value,
    /// Over tool and arguments; a repeated operation must have the same.
    pub args_hash: String,
    /// Where it runs; none: in the control plane.
    pub workspace_id: Option<WorkspaceId>,
    /// The process it will start, chosen before it is dispatched.
    pub process_id: Option<ProcessId>,
    /// What it would do, which decides whom it waits for.
    pub class: Class,
    /// Whom it waits for before it may run. The store sets it, under the lock of the chat's row.
    pub gate: Gate,
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct ToolAnswer {
    /// Of the intent.
    pub op_id: OpId,
    /// JSON for people and programs.
    pub result: serde_json::Value,
    /// Whether the tool says that it went wrong.
    pub is_error: bool,
    /// From dispatch to answer.
    pub duration_ms: u64,
    /// The chat's plan after it, if it ticked a step.
    pub plan: Option<Plan>,
}

/// A model call that failed and will be tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryState {
    /// How many attempts failed, from 1.
    pub attempt: i64,
    /// The pause before the next one.
    pub delay_ms: u64,
    /// When the next one begins, in unix milliseconds.
    pub retry_at_ms: i64,
    /// Why.
    pub error: ChatErrorView,
}

/// Another model answers for the rest of the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackState {
    /// Who is asked from now on.
    pub model_id: ModelId,
    /// The provider's name of the model that was asked first.
    pub selected_model: String,
    /// The provider's name of the one that is asked from now on.
    pub answered_by: String,
    /// Why.
    pub error: ChatErrorView,
}

/// What to do with a message that is sent while a turn is in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Busy {
    /// Deliver it when the turn is over.
    #[default]
    Queue,
    /// Deliver it after the running tool batch, or when the turn is over.
    Steer,
    /// Stop the turn and deliver it.
    Interrupt,
}

/// A queued message as the store found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Whether it is to be delivered after a tool batch.
    pub steer: bool,
}

/// An operation as the store found it, if it belongs to the open batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// There is no such call in the open batch.
    Unknown,
    /// It waits for its answer.
    Open,
    /// It has its answer.
    Answered,
}

/// A call that waits for a person or a client, as the store found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// There is no such call in the chat, or it waits for something else.
    Unknown,
    /// It waits.
    Waiting,
    /// It was decided, answered or given up already.
    Resolved,
}

/// The message that a user wants to edit, or whose branch is to be shown, as the store found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// There is no such message in the chat, or not in the branch that is shown.
    Missing,
    /// It is not a user's.
    NotUser,
    /// It is a user's.
    User,
}

/// What happens to a chat.
#[derive(Clone, Debug)]
pub enum Event {
    /// A user begins a chat.
    Create(UserMessage),
    /// A user begins a chat with a copy of another one's history.
    Copy,
    /// A user says something.
    Send {
        /// What.
        message: UserMessage,
        /// What to do while a turn is in progress.
        busy: Busy,
    },
    /// A user takes a queued message back.
    DeleteQueued {
        /// Which.
        id: QueueId,
        /// As the store found it.
        found: Option<Queued>,
    },
    /// A user wants a queued message answered now.
    Promote {
        /// Which.
        id: QueueId,
        /// As the store found it.
        found: Option<Queued>,
    },
    /// A user rewrites a queued message.
    EditQueued {
        /// Which.
        id: QueueId,
        /// As the store found it.
        found: Option<Queued>,
        /// Its new text.
        message: UserMessage,
    },
    /// A user moves a queued message to another place.
    MoveQueued {
        /// Which.
        id: QueueId,
        /// As the store found it.
        found: Option<Queued>,
        /// Its place from 0, among those that steer or those that do not.
        to: u32,
    },
    /// A user edits a message: the branch with the old text stays, a new one begins.
    EditMessage {
        /// Which.
        id: MessageId,
        /// As the store found it.
        found: Target,
        /// Its new text.
        message: UserMessage,
    },
    /// A user goes back to another branch.
    SwitchBranch {
        /// The edited message whose branch it is.
        id: MessageId,
        /// As the store found it.
        found: Target,
    },
    /// A user lets a turn go on that was stopped: by its step cap, or by another error.
    Continue,
    /// A user allows a call to run.
    Approve {
        /// Which.
        op_id: OpId,
        /// As the store found it.
        found: Awaited,
    },
    /// A person or a client answers a call, or a user denies one.
    Answer {
        /// What.
        answer: ToolAnswer,
        /// As the store found it.
        found: Awaited,
    },
    /// Nobody answered a call in time.
    Expire {
        /// What the model is told.
        answer: ToolAnswer,
        /// As the store found it.
        found: Awaited,
    },
    /// A call waits for agents from here on.
    Wait {
        /// Which.
        op_id: OpId,
        /// The operation as the store found it.
        found: Asked,
    },
    /// An agent that the chat began tells what became of it, and no call waits for that.
    Report(UserMessage),
    /// A user stops the turn.
    Interrupt,
    /// A user archives the chat, or takes it back from there.
    SetArchived(bool),
    /// A worker takes the chat, from nobody or from a worker whose lease ended.
    Acquire,
    /// A worker gives the chat back.
    Abandon,
    /// A worker is about to call the model.
    Attempt,
    /// A model call failed and will be tried again.
    Retry(RetryState),
    /// A model call failed for good, and another model is about to be called.
    FallBack(FallbackState),
    /// A model call is complete.
    CommitStep {
        /// What the model said.
        message: AssistantMessage,
        /// One for each tool call in it, in order.
        intents: Vec<Intent>,
    },
    /// A tool answered.
    StoreResult {
        /// What.
        answer: ToolAnswer,
        /// The operation as the store found it.
        found: Asked,
    },
    /// The model is done and wants no tool.
    FinishTurn,
    /// The worker stopped what ran.
    FinishInterruption {
        /// What the model had said until then; none: nothing.
        partial: Option<AssistantMessage>,
    },
    /// The turn cannot go on.
    FinishError(ChatErrorView),
    /// An operator repairs a chat whose columns contradict each other.
    Reconcile(ChatErrorView),
}

impl Event {
    /// For refusals, logs and the transition table.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Copy => "copy",
            Self::MoveQueued { .. } => "move_queued",
            Self::EditMessage { .. } => "edit_message",
            Self::SwitchBranch { .. } => "switch_branch",
            Self::Continue => "continue",
            Self::Approve { .. } => "approve",
            Self::Answer { .. } => "answer",
            Self::Expire { .. } => "expire",
            Self::Wait { .. } => "wait",
            Self::Report(_) => "report",
            Self::Send { busy: Busy::Queue, .. } => "send_queue",
            Self::Send { busy: Busy::Steer, .. } => "send_steer",
            Self::Send { busy: Busy::Interrupt, .. } => "send_interrupt",
            Self::DeleteQueued { .. } => "delete_queued",
            Self::Promote { .. } => "promote",
            Self::EditQueued { .. } => "edit_queued",
            Self::Interrupt => "interrupt",
            Self::SetArchived(true) => "archive",
            Self::SetArchived(false) => "unarchive",
            Self::Acquire => "acquire",
            Self::Abandon => "abandon",
            Self::Attempt => "record_attempt",
            Self::Retry(_) => "record_retry",
            Self::FallBack(_) => "fall_back",
            Self::CommitStep { .. } => "commit_step",
            Self::StoreResult { .. } => "store_tool_result",
            Self::FinishTurn => "finish_turn",
            Self::FinishInterruption { .. } => "finish_interruption",
            Self::FinishError(_) => "finish_error",
            Self::Reconcile(_) => "reconcile",
        }
    }
}
