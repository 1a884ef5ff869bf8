//! What a tool is given, and the two ways in which it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use shared::ids::{ChatId, OpId, ProcessId};
use shared::protocol::call::Fence;
use tokio_util::sync::CancellationToken;

/// Everything a tool's body needs. `W` is the link to the chat's workspace.
#[derive(Clone)]
pub struct ToolContext<W> {
    /// The chat's workspace; none: the chat has no workspace, so no tool of a workspace runs.
    pub workspace: Option<W>,
    /// The intent that the driver committed before it asks.
    pub operation: OperationKey,
    /// The chat that asks.
    pub chat_id: ChatId,
    /// The chat's mode: `ask`, `plan`, `edit` or `auto`.
    pub mode: String,
    /// Where output goes while a tool runs.
    pub live: LiveOutput,
    /// Ends the wait; what was started goes on and is stopped by whoever cancels.
    pub cancel: CancellationToken,
}

/// Names one intended operation. Stored with the intent, so that a repeat is the same operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationKey {
    /// Key of the daemon's journal.
    pub op_id: OpId,
    /// Scope, epoch and argument hash.
    pub fence: Fence,
    /// The process this operation may start.
    pub process_id: ProcessId,
    /// Nothing may be changed: the daemon is told so with the call, and holds it by itself.
    pub read_only: bool,
}

/// Where a running tool's output goes, as text. Never waits; the receiver merges or drops.
///
/// Remembers how much was shown, so that a tool that runs again after a lost link goes on there:
/// keep it for the whole episode.
#[derive(Clone)]
pub struct LiveOutput(Arc<Live>);

struct Live {
    sink: Box<dyn Fn(&str) + Send + Sync>,
    next_offset: AtomicU64,
}

impl LiveOutput {
    /// Calls `sink` with each piece; `sink` must return at once.
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Live { sink: Box::new(sink), next_offset: AtomicU64::new(0) }))
    }

    /// Shows nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    /// Shows `text`, which is whole characters.
    pub fn push(&self, text: &str) {
        if !text.is_empty() {
            (self.0.sink)(text);
        }
    }

    /// Offset of the first byte of the process's output that was not shown.
    pub(super) fn next_offset(&self) -> u64 {
        self.0.next_offset.load(Ordering::Relaxed)
    }

    /// Everything before `offset` was shown.
    pub(super) fn shown_to(&self, offset: u64) {
        self.0.next_offset.store(offset, Ordering::Relaxed);
    }
}

/// An answer for the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolOutcome {
    /// JSON, at most 1 MiB. An error is `{"error": {"code", "message", …}}`.
    pub result: Value,
    /// Whether the tool says that it went wrong. A command that exits with 1 has not.
    pub is_error: bool,
    /// Processes that this call started and that may still run.
    pub process_ids: Vec<ProcessId>,
}

impl ToolOutcome {
    /// A good answer.
    #[must_use]
    pub fn ok(result: Value) -> Self {
        Self { result, is_error: false, process_ids: Vec::new() }
    }

    /// A bad answer: a stable code, and a text that tells the model what to do next.
    #[must_use]
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self {
            result: serde_json::json!({ "error": { "code": code, "message": message } }),
            is_error: true,
            process_ids: Vec::new(),
        }
    }

    /// The stable code of a bad answer, such as `file_not_found` or `outcome_unknown`.
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        if !self.is_error {
            return None;
        }
        self.result.pointer("/error/code").and_then(Value::as_str)
    }
}

/// Why there is no answer. Never folded into one another, and never shown to the model as a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// The link was lost after the request was sent: the daemon may or may not have done it. Wait
    /// for the workspace and run the tool again with the same operation id.
    #[error("the link to the workspace was lost: {reason}")]
    Unknown {
        /// For the log.
        reason: String,
    },
    /// Nothing was done: no link, or the daemon takes no work now. Run the tool again, with the
    /// same operation id, when the workspace is there.
    #[error("the workspace cannot be asked: {reason}")]
    Unavailable {
        /// For people.
        reason: String,
    },
    /// Another replica owns the chat by now: stop working on it.
    #[error("another replica has taken over the chat")]
    Fenced,
    /// The context's token was cancelled, or the operation was cancelled before it began.
    #[error("the tool was cancelled")]
    Cancelled,
}
