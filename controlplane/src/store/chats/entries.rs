//! The rows that hang on a chat: messages, queued messages, operations.

use std::str::FromStr;

use serde_json::Value;
use shared::ids::{ChatId, MessageId, ModelId, OpId, ProcessId, QueueId, WorkspaceId};

use crate::chat::content::{Effort, Part, Role, StoredPart, Usage};
use crate::chat::event::{BranchView, MessageView, QueuedView};
use crate::chat::machine::Gate;
use crate::store::error::StoreError;
use crate::store::row::{Columns, Reader};
use crate::text_enum::text_enum;
use crate::time::Timestamp;

/// One message of a history.
#[derive(Clone, Debug)]
pub struct MessageRow {
    /// Its id.
    pub id: MessageId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Ascending in the chat, with gaps.
    pub seq: i64,
    /// The chat's `snapshot_version` of its last change.
    pub revision: i64,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Vec<StoredPart>,
    /// The provider kind that `raw` blocks belong to.
    pub raw_kind: Option<String>,
    /// The provider's name of the model.
    pub model: Option<String>,
    /// Tokens of the step.
    pub usage: Option<Usage>,
    /// Whether it does not belong to the branch that is shown.
    pub removed: bool,
    /// The message before it; none: it is the first.
    pub parent_id: Option<MessageId>,
    /// The first of the texts of a message that was edited; none: it never was.
    pub fork_id: Option<MessageId>,
    /// Its place among them, from 1.
    pub variant: i64,
    /// How many there are.
    pub variants: i64,
    /// What the turn did that this message began, in a few words.
    pub label: Option<String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

impl MessageRow {
    /// As clients see it.
    #[must_use]
    pub fn view(&self) -> MessageView {
        MessageView {
            id: self.id,
            chat_id: self.chat_id,
            seq: self.seq,
            revision: self.revision,
            role: self.role,
            content: self.content.iter().map(|stored| stored.part.clone()).collect(),
            created_at: Timestamp(self.created_at_ms),
            model: self.model.clone(),
            usage: self.usage.clone(),
            branch: (self.variants > 1)
                .then_some(BranchView { at: self.variant, of: self.variants }),
            label: self.label.clone(),
        }
    }

    pub(super) fn read<R: Columns>(row: &R) -> Result<Self, StoreError> {
        let row = Reader::of(row, "messages", "id");
        Ok(Self {
            id: row.parsed("id")?,
            chat_id: row.parsed("chat_id")?,
            seq: row.int("seq")?,
            revision: row.int("revision")?,
            role: row.parsed("role")?,
            content: row.json("content")?,
            raw_kind: row.text_or_null("raw_kind")?,
            model: row.text_or_null("model")?,
            usage: row.json_or_null("usage")?,
            removed: row.bool("removed")?,
            parent_id: row.parsed_or_null("parent_id")?,
            fork_id: row.parsed_or_null("fork_id")?,
            variant: row.int("variant")?,
            variants: row.int("variants")?,
            label: row.text_or_null("label")?,
            created_at_ms: row.int("created_at_ms")?,
        })
    }
}

/// One message that waits.
#[derive(Clone, Debug)]
pub struct QueuedRow {
    /// Its id.
    pub id: QueueId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Ascending within those that steer and within those that do not; may be negative.
    pub position: i64,
    /// Whether it is delivered after a tool batch; these stand first.
    pub steer: bool,
    /// What will be said.
    pub content: Vec<StoredPart>,
    /// The model it was sent for; none: the chat's.
    pub model_id: Option<ModelId>,
    /// How hard that model should think; none: as before.
    pub effort: Option<Effort>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

impl QueuedRow {
    /// As clients see it.
    #[must_use]
    pub fn view(&self) -> QueuedView {
        QueuedView {
            id: self.id,
            content: self.content.iter().map(|stored| stored.part.clone()).collect(),
            model_id: self.model_id,
            effort: self.effort,
            created_at: Timestamp(self.created_at_ms),
        }
    }

    pub(super) fn read<R: Columns>(row: &R) -> Result<Self, StoreError> {
        let row = Reader::of(row, "queued_messages", "id");
        Ok(Self {
            id: row.parsed("id")?,
            chat_id: row.parsed("chat_id")?,
            position: row.int("position")?,
            steer: row.bool("steer")?,
            content: row.json("content")?,
            model_id: row.parsed_or_null("model_id")?,
            effort: row.parsed_or_null("effort")?,
            created_at_ms: row.int("created_at_ms")?,
        })
    }
}

text_enum! {
    /// How far an operation is, as the control plane knows.
    OperationPhase {
        /// It may have been dispatched; its answer is not stored.
        Intended = "intended",
        /// Its answer is stored.
        Done = "done",
    }
}

/// One tool call that was committed before it was dispatched.
#[derive(Clone, Debug)]
pub struct OperationRow {
    /// The key of the daemon's journal.
    pub op_id: OpId,
    /// Its chat.
    pub chat_id: ChatId,
    /// The model's message that asked for it.
    pub message_id: MessageId,
    /// The call in that message.
    pub tool_call_id: String,
    /// Its place among the calls of the message, from 0.
    pub ordinal: i64,
    /// The tool's name.
    pub tool: String,
    /// As the model gave them.
    pub args: Value,
    /// Over tool and arguments.
    pub args_hash: String,
    /// Where it runs; none: in the control plane.
    pub workspace_id: Option<WorkspaceId>,
    /// The process it starts.
    pub process_id: Option<ProcessId>,
    /// The chat's epoch when it was intended.
    pub epoch: i64,
    /// How far it is.
    pub phase: OperationPhase,
    /// Whom it waits for before it may run, or waited for until it was answered.
    pub gate: Gate,
    /// When the wait is given up; none: never.
    pub deadline_at_ms: Option<i64>,
    /// It was let through as one that changes nothing, and stays so in whatever mode it is run.
    pub read_only: bool,
    /// The answer; none while intended.
    pub result: Option<Value>,
    /// Whether the tool says that it went wrong.
    pub is_error: bool,
    /// From dispatch to answer.
    pub duration_ms: i64,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Unix milliseconds; none while intended.
    pub finished_at_ms: Option<i64>,
    /// Whether the answer is part of the history.
    pub sealed: bool,
    /// Whether the daemon was told that the answer is stored.
    pub acknowledged: bool,
}

impl OperationRow {
    /// Whether it may run and has no answer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase == OperationPhase::Intended && self.gate == Gate::Open
    }

    /// Whether it waits for a person or a client.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.phase == OperationPhase::Intended && self.gate != Gate::Open
    }

    /// The answer as a part; none: it has none.
    #[must_use]
    pub fn answer(&self) -> Option<Part> {
        let result = self.result.clone().filter(|_| self.phase == OperationPhase::Done)?;
        Some(Part::ToolResult {
            tool_call_id: self.tool_call_id.clone(),
            name: self.tool.clone(),
            result,
            is_error: self.is_error,
            duration_ms: self.duration_ms.unsigned_abs(),
        })
    }

    pub(super) fn read<R: Columns>(row: &R) -> Result<Self, StoreError> {
        let row = Reader::of(row, "operations", "op_id");
        Ok(Self {
            op_id: row.parsed("op_id")?,
            chat_id: row.parsed("chat_id")?,
            message_id: row.parsed("message_id")?,
            tool_call_id: row.text("tool_call_id")?,
            ordinal: row.int("ordinal")?,
            tool: row.text("tool")?,
            args: row.json("args")?,
            args_hash: row.text("args_hash")?,
            workspace_id: row.parsed_or_null("workspace_id")?,
            process_id: row.parsed_or_null("process_id")?,
            epoch: row.int("epoch")?,
            phase: row.parsed("state")?,
            gate: row.parsed("gate")?,
            deadline_at_ms: row.int_or_null("deadline_at_ms")?,
            read_only: row.bool("read_only")?,
            result: row.json_or_null("result")?,
            is_error: row.bool("is_error")?,
            duration_ms: row.int("duration_ms")?,
            started_at_ms: row.int("started_at_ms")?,
            finished_at_ms: row.int_or_null("finished_at_ms")?,
            sealed: row.bool("sealed")?,
            acknowledged: row.bool("acknowledged")?,
        })
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            "tool" => Ok(Self::Tool),
            _ => Err(()),
        }
    }
}
