//! What a viewer of a chat is told: durable events and previews under one cursor.
//!
//! A client that applies events in order and replaces previews by messages always equals the
//! database. The order after subscribing: messages, queue, status, error, action_required, retry,
//! preview, then live.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shared::ids::{ChatId, MessageId, ModelId, OpId, QueueId, WorkspaceId};
use utoipa::ToSchema;

use super::content::{Effort, Part, Plan, Role, Usage};
use super::family::{AgentType, Budget, Outcome};
use crate::time::Timestamp;

/// How far a viewer has come: `snapshot_version.history_version.attempt.seq.tag`.
///
/// The first covers everything durable; the next three name a place in the preview of the running
/// episode (history version, attempt) and are zero outside one. The tag is derived from the chat's
/// id, so that a cursor of another chat is recognised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The chat's `snapshot_version` up to which durable events were seen.
    pub snapshot: i64,
    /// The episode's history version.
    pub history: i64,
    /// The episode's attempt.
    pub attempt: i64,
    /// Last preview event seen in the episode.
    pub seq: u64,
    /// See [`Cursor::tag_of`].
    pub tag: u32,
}

impl Cursor {
    /// What marks the cursors of one chat: FNV-1a over its id's text.
    #[must_use]
    pub fn tag_of(chat: ChatId) -> u32 {
        let text = chat.to_string();
        text.bytes()
            .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    /// The beginning of `chat`: nothing was seen.
    #[must_use]
    pub fn start(chat: ChatId) -> Self {
        Self { tag: Self::tag_of(chat), ..Self::default() }
    }
}

/// The text is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: pass back the `cursor` of an event, unchanged")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot, history, attempt, seq, tag } = self;
        write!(f, "{snapshot}.{history}.{attempt}.{seq}.{tag}")
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() > 80 || text.bytes().any(|b| !b.is_ascii_digit() && b != b'.') {
            return Err(InvalidCursor);
        }
        let mut fields =
            text.split('.').map(|field| field.parse::<i64>().map_err(|_| InvalidCursor));
        let mut next = || fields.next().unwrap_or(Err(InvalidCursor));
        let (snapshot, history, attempt, seq) = (next()?, next()?, next()?, next()?);
        let tag = u32::try_from(next()?).map_err(|_| InvalidCursor)?;
        if fields.next().is_some() {
            return Err(InvalidCursor);
        }
        Ok(Self { snapshot, history, attempt, seq: seq.unsigned_abs(), tag })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One event with the cursor to resume after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Envelope {
    /// Pass it back to resume after this event.
    #[schema(value_type = String, example = "12.9.1.48.2166136261")]
    pub cursor: Cursor,
    /// What happened.
    #[serde(flatten)]
    pub event: ChatEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ChatEvent {
    /// A whole durable message; a newer revision replaces the older.
    Message {
        /// The message.
        message: MessageView,
    },
    /// A message that is no longer part of the history.
    MessageRemoved {
        /// Which.
        #[schema(value_type = String)]
        id: MessageId,
    },
    /// A piece of the running episode.
    Part {
        /// The preview's piece.
        #[serde(flatten)]
        part: PreviewPart,
    },
    /// Drop every preview part; a new episode begins, or none runs.
    PreviewReset,
    /// The chat's status. Ends the retry phase and the fallback, if there are any; a `fallback` and a
    /// `retry` follow while they go on.
    Status {
        /// The status.
        status: ChatStatus,
    },
    /// The whole queue.
    Queue {
        /// In order.
        items: Vec<QueuedView>,
    },
    /// The model call failed and will be tried again.
    Retry {
        /// How many attempts failed, from 1.
        attempt: i64,
        /// Pause before the next, from the moment of the event.
        delay_ms: u64,
        /// When the next attempt begins.
        retry_at: Timestamp,
        /// Why.
        error: ChatErrorView,
    },
    /// Another model answers for the rest of the turn than the one that was asked.
    Fallback {
        /// The one that was asked.
        selected_model: String,
        /// The one that answers.
        answered_by: String,
        /// Why, as a stable code.
        reason: String,
    },
    /// Answers of the last step's calls that are stored, while other calls of it wait for people,
    /// clients or agents and nothing runs. They become a message when all are there.
    Results {
        /// All of them, in the order of the calls; empty: there are none any more.
        items: Vec<Part>,
    },
    /// The chat waits for a person or a client.
    ActionRequired {
        /// What is asked; empty: nothing any more.
        actions: Vec<ActionView>,
    },
    /// Title, label, model or mode.
    Chat {
        /// The chat's head.
        chat: ChatHead,
    },
    /// Tokens of the step that was just committed.
    Usage {
        /// The counts.
        usage: Usage,
    },
    /// The chat's last error; none: it is cleared.
    Error {
        /// The error.
        error: Option<ChatErrorView>,
    },
    /// The cursor cannot be resumed: drop everything; a fresh snapshot follows.
    Resync {
        /// `cursor_invalid` or `resync_required`.
        reason: String,
    },
    /// The snapshot after (re)subscribing is complete; everything from here on is live.
    Ready,
    /// Keep-alive.
    Ping,
}

/// What a chat waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// A call that a person allows or denies: `POST …/approvals/{id}`.
    Approval,
    /// Questions that a person answers: `POST …/answers/{id}`.
    Question,
    /// A plan that a person approves: `POST …/approvals/{id}`.
    Plan,
    /// A call that the client runs: `POST …/tool-results`.
    ClientTool,
}

/// One thing that a chat waits for. It is decided once, from any device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActionView {
    /// Its id: the operation's.
    #[schema(value_type = String)]
    pub id: OpId,
    /// What is asked.
    pub kind: ActionKind,
    /// The call in the model's message.
    pub tool_call_id: String,
    /// The tool's name.
    pub tool: String,
    /// Its arguments: exactly what will run.
    #[schema(value_type = Object)]
    pub args: serde_json::Value,
    /// Over tool and arguments. A decision that carries it is bound to what was shown.
    pub args_hash: String,
    /// What a rule would be about, such as the command; none: no rule can stand for this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What people should look at twice, such as `network` or `bidi_control`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// When it is given up; none: it waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
}

/// Where a chat stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChatStatus {
    /// At rest.
    Waiting,
    /// A turn is in progress.
    Running,
    /// A stop was asked for; the partial answer is being saved.
    Interrupting,
    /// Waits for a person or a client.
    RequiresAction,
    /// Stopped by an error.
    Error,
}

impl ChatStatus {
    /// The text in SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Interrupting => "interrupting",
            Self::RequiresAction => "requires_action",
            Self::Error => "error",
        }
    }
}

/// A message as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MessageView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: MessageId,
    /// Its chat.
    #[schema(value_type = String)]
    pub chat_id: ChatId,
    /// Place in the history, ascending, with gaps.
    pub seq: i64,
    /// The chat's `snapshot_version` of its last change.
    pub revision: i64,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Vec<Part>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The model that answered, for the model's messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens of the step, for the model's messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Which of the texts of an edited message this is; none: it was never edited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchView>,
    /// What the turn did that this message began, in 2 to 5 words of a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Which of the texts of an edited message this is. Each begins a branch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BranchView {
    /// From 1, in the order of the edits.
    pub at: i64,
    /// How many there are.
    pub of: i64,
}

/// A message that waits in the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueuedView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: QueueId,
    /// What will be said.
    pub content: Vec<Part>,
    /// The model it was sent for; none: the chat's.
    #[schema(value_type = Option<String>)]
    pub model_id: Option<ModelId>,
    /// How hard that model should think; none: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A piece of the running episode's preview. Apply it if `seq` is over the last one applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreviewPart {
    /// The episode.
    pub history_version: i64,
    /// The episode.
    pub attempt: i64,
    /// Ascending in the episode; a merged delta carries the last seq it covers. Its first value is
    /// arbitrary and stays under 2^53, so that JavaScript holds it exactly.
    pub seq: u64,
    /// Which part of the preview, from 0.
    pub index: u32,
    /// `text`, `reasoning`, `tool_call`, `tool_result` or `compaction`.
    pub kind: PreviewKind,
    /// For `tool_call` and `tool_result`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The tool's name, on the first piece of a `tool_call` or `tool_result`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Text to append: of the answer, of the arguments' JSON, of the tool's live output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<String>,
    /// The whole part, which replaces what was appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Part>,
}

/// What a preview part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreviewKind {
    /// The answer's text.
    Text,
    /// Thinking.
    Reasoning,
    /// A tool call whose arguments arrive.
    ToolCall,
    /// A tool that runs (deltas: its live output) or has answered (value).
    ToolResult,
    /// The history is being summarised (deltas: the summary).
    Compaction,
}

/// The head of a chat, as lists and the `chat` event show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatHead {
    /// Its id.
    #[schema(value_type = String)]
    pub id: ChatId,
    /// Its title; empty until the first message.
    pub title: String,
    /// 2 to 5 words on what the newest turn did that has a label.
    pub label: Option<String>,
    /// `ask`, `plan`, `edit` or `auto`.
    pub mode: String,
    /// The model; none: the default one.
    #[schema(value_type = Option<String>)]
    pub model_id: Option<ModelId>,
    /// Who is asked where the model cannot answer; none: whom the model's settings name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub fallback_model_id: Option<ModelId>,
    /// How hard the model thinks; none: as its settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// The plan that the user approved, with its ticks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
    /// The workspace; none: no tools.
    #[schema(value_type = Option<String>)]
    pub workspace_id: Option<WorkspaceId>,
    /// Where it stands.
    pub status: ChatStatus,
    /// Whether it is archived.
    pub archived: bool,
    /// Its place in the queue, from 1, while it waits because as many chats run as may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// Raised once by every change.
    pub snapshot_version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Its place among agents, and what it used.
    #[serde(flatten)]
    pub family: FamilyHead,
}

/// The place of a chat among agents, and what it used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FamilyHead {
    /// The chat that began it; none: a person or a program did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub parent_id: Option<ChatId>,
    /// What it is for, if it is an agent of another chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<AgentType>,
    /// What became of its last work, if it is an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whether it waits for agents alone: `requires_action`, and no person is needed.
    #[serde(default)]
    pub waits_for_agents: bool,
    /// Tokens of all its model calls.
    #[serde(default)]
    pub tokens: i64,
    /// Their cost in millionths, as far as it is known.
    #[serde(default)]
    pub cost_micros: i64,
    /// How much it and the agents below it may use until somebody lets it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// Why a chat stopped or a model call failed, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChatErrorView {
    /// Stable code.
    pub code: String,
    /// What happened and what to do, at most 500 characters.
    pub message: String,
    /// Whether asking again may help.
    pub retryable: bool,
    /// The provider's kind, where a provider is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// The provider's request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
