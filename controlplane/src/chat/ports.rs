//! What a runner needs from outside: a model to ask and tools to run. Traits, because tests drive
//! the runner with scripted ones.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared::ids::{ChatId, ModelId, OpId, WorkspaceId};
use tokio_util::sync::CancellationToken;

use super::event::ChatErrorView;
use super::machine::Class;
use crate::llm::{Provider, ToolSpec};
use crate::store::chats::ChatStore;
use crate::tools::{LiveOutput, OperationKey, ToolError, ToolKind, ToolOutcome};

/// The model that answers a step, with its settings.
#[derive(Clone)]
pub struct ModelChoice {
    /// Whom to ask.
    pub provider: Arc<dyn Provider>,
    /// The provider's name of the model.
    pub model: String,
    /// Most output tokens of one step.
    pub max_output_tokens: u64,
    /// The window in tokens; none: unknown.
    pub context_limit: Option<u64>,
    /// Provider options from the model's settings.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Per million tokens, by kind of token; none: unknown.
    pub price: Option<serde_json::Value>,
}

/// Finds the model for a step.
#[async_trait]
pub trait Models: Send + Sync + 'static {
    /// The model with this id, or the default one.
    ///
    /// # Errors
    /// Why there is none, for the chat: it stops with this error.
    async fn choose(&self, model: Option<ModelId>) -> Result<ModelChoice, ChatErrorView>;

    /// The model that is asked where this one cannot answer, by the settings of this one; none: nobody.
    async fn fallback(&self, _model: Option<ModelId>) -> Option<ModelId> {
        None
    }

    /// The model that writes titles and labels of chats with this model; none: nobody does. An error
    /// is a model that was chosen for it and cannot be used.
    async fn namer(&self, _model: Option<ModelId>) -> Option<Result<ModelChoice, ChatErrorView>> {
        None
    }

    /// The model that people or the provider know by `name`.
    ///
    /// # Errors
    /// The names that there are.
    async fn find(&self, _name: &str) -> Result<ModelId, Vec<String>> {
        Err(Vec::new())
    }
}

/// One tool call that is to be run. Its intent is committed.
#[derive(Clone)]
pub struct ToolRun {
    /// The chat that asks.
    pub chat_id: ChatId,
    /// The chat's workspace.
    pub workspace_id: Option<WorkspaceId>,
    /// The chat's mode.
    pub mode: String,
    /// Names and fences it.
    pub operation: OperationKey,
    /// The tool's name, as the model wrote it.
    pub tool: String,
    /// As the model wrote them.
    pub args: serde_json::Value,
    /// Where its output is shown while it runs.
    pub live: LiveOutput,
    /// What of it still runs when it answers is stopped.
    pub ends: bool,
    /// Ends the wait.
    pub cancel: CancellationToken,
}

/// Runs tools.
#[async_trait]
pub trait ToolRunner: Send + Sync + 'static {
    /// What a model is offered, in a fixed order.
    fn specs(&self, has_workspace: bool, mode: &str) -> Vec<ToolSpec>;

    /// Whether the tool may change something; none: there is no such tool.
    fn kind(&self, tool: &str) -> Option<ToolKind>;

    /// What a call would do; none: there is no such tool. A call that will be answered with an
    /// error anyway is [`Class::Free`].
    fn class(&self, tool: &str, args: &serde_json::Value) -> Option<Class>;

    /// Longest run of a tool whose workspace answers; none: as long as it takes.
    fn deadline(&self, _tool: &str) -> Option<Duration> {
        None
    }

    /// Runs one call. May be dropped at any await and run again with the same key.
    async fn run(&self, run: ToolRun) -> Result<ToolOutcome, ToolError>;

    /// The way to the workspace and back, where it is known.
    fn rtt(&self, _: WorkspaceId) -> Option<Duration> {
        None
    }

    /// Whether the workspace is as near to this replica as to any other: its calls take no way over
    /// another one. Not so, the chat is better driven there.
    fn is_near(&self, _: WorkspaceId) -> bool {
        true
    }

    /// Waits until the workspace can be asked (again). Cancel safe.
    async fn reachable(&self, workspace: WorkspaceId);

    /// Makes sure that the operation does not begin any more, and stops the process it started.
    /// Returns soon; whether the daemon was told.
    async fn stop(&self, workspace: WorkspaceId, operation: &OperationKey) -> Told;

    /// Tells the daemon that the answers of these operations are stored. Never waits; a hint.
    fn acknowledge(&self, workspace: WorkspaceId, operations: Vec<OpId>);

    /// Tells each daemon that connects what it was not told before: the answers of operations that
    /// were stored by a replica that died. Runs until it is dropped.
    async fn acknowledge_forgotten(&self, store: &ChatStore);
}

/// Whether a daemon heard what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It did.
    Heard,
    /// It is not connected, or did not answer in time.
    Unheard,
}
