//! `read_result`: opens a stored output of a tool again, after it became a stub or part of a summary.
//!
//! It runs in the control plane, over the history that is stored anyway, so it needs no workspace
//! and nothing is fetched twice. All other tools are passed on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::ids::{ChatId, OpId, WorkspaceId};

use super::content::Part;
use super::context::stub::READ_RESULT;
use super::machine::Class;
use super::ports::{Told, ToolRun, ToolRunner};
use crate::llm::ToolSpec;
use crate::store::StoreError;
use crate::store::chats::ChatStore;
use crate::tools::{OperationKey, ToolError, ToolKind, ToolOutcome};

/// Most bytes of one page.
const PAGE_BYTES: usize = 32 * 1024;
/// Pause before a database that is away is asked again.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// Adds `read_result` to other tools.
pub struct StoredResults {
    inner: Arc<dyn ToolRunner>,
    store: ChatStore,
    spec: ToolSpec,
}

#[derive(Deserialize)]
struct Arguments {
    tool_call_id: String,
    #[serde(default)]
    offset: usize,
}

impl StoredResults {
    /// Beside `inner`, over the histories of `store`.
    #[must_use]
    pub fn new(inner: Arc<dyn ToolRunner>, store: ChatStore) -> Self {
        let schema = json!({
            "type": "object",
            "properties": {
                "tool_call_id": { "type": "string", "description": "As the stub or the summary names it." },
                "offset": {
                    "type": "integer", "minimum": 0,
                    "description": "Byte to start at: next_offset of an earlier answer."
                }
            },
            "required": ["tool_call_id"],
            "additionalProperties": false
        });
        let spec = ToolSpec {
            name: READ_RESULT.to_owned(),
            description:
                "Read again what an earlier tool call of this chat answered, where its output \
                was left out of the conversation to make room."
                    .to_owned(),
            schema: Arc::new(schema),
        };
        Self { inner, store, spec }
    }

    async fn read(&self, chat: ChatId, args: &Value) -> Result<ToolOutcome, ToolError> {
        let args: Arguments = match serde_json::from_value(args.clone()) {
            Ok(args) => args,
            Err(error) => {
                let message = format!("The arguments of `{READ_RESULT}` do not fit: {error}.");
                return Ok(ToolOutcome::error("invalid_arguments", message));
            }
        };
        let history = loop {
            match self.store.history(chat).await {
                Ok(history) => break history,
                Err(StoreError::Unavailable(_) | StoreError::Contended(_)) => {
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(chat.id = %chat, error = &error as &dyn std::error::Error,
                        "a stored result cannot be read");
                    return Ok(ToolOutcome::error("internal", "The history cannot be read."));
                }
            }
        };
        let found = history.iter().rev().flat_map(|row| &row.content).find_map(|stored| {
            match &stored.part {
                Part::ToolResult { tool_call_id, name, result, is_error, .. }
                    if *tool_call_id == args.tool_call_id =>
                {
                    Some((name, result, *is_error))
                }
                _ => None,
            }
        });
        let Some((tool, result, is_error)) = found else {
            let message =
                "This chat has no result of such a call. Stubs and summaries name theirs.";
            return Ok(ToolOutcome::error("result_not_found", message));
        };
        Ok(ToolOutcome::ok(page(tool, result, is_error, args.offset)))
    }
}

/// One page of a result's text.
fn page(tool: &str, result: &Value, is_error: bool, offset: usize) -> Value {
    let text = match result {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let start = text.floor_char_boundary(offset);
    let end = text.floor_char_boundary(start.saturating_add(PAGE_BYTES));
    let mut page = json!({
        "tool": tool,
        "result": text[start..end],
        "total_bytes": text.len(),
    });
    if is_error {
        page["was_error"] = Value::Bool(true);
    }
    if end < text.len() {
        page["next_offset"] = json!(end);
    }
    page
}

#[async_trait]
impl ToolRunner for StoredResults {
    fn specs(&self, has_workspace: bool, mode: &str) -> Vec<ToolSpec> {
        let mut specs = self.inner.specs(has_workspace, mode);
        // Without tools there are no results. At the end, so that the others keep their places.
        if !specs.is_empty() {
            specs.push(self.spec.clone());
        }
        specs
    }

    fn kind(&self, tool: &str) -> Option<ToolKind> {
        if tool == READ_RESULT { Some(ToolKind::Read) } else { self.inner.kind(tool) }
    }

    fn class(&self, tool: &str, args: &Value) -> Option<Class> {
        if tool == READ_RESULT { Some(Class::Free) } else { self.inner.class(tool, args) }
    }

    fn deadline(&self, tool: &str) -> Option<Duration> {
        self.inner.deadline(tool)
    }

    async fn run(&self, run: ToolRun) -> Result<ToolOutcome, ToolError> {
        if run.tool != READ_RESULT {
            return self.inner.run(run).await;
        }
        tokio::select! {
            biased;
            () = run.cancel.cancelled() => Err(ToolError::Cancelled),
            read = self.read(run.chat_id, &run.args) => read,
        }
    }

    fn rtt(&self, workspace: WorkspaceId) -> Option<Duration> {
        self.inner.rtt(workspace)
    }

    async fn reachable(&self, workspace: WorkspaceId) {
        self.inner.reachable(workspace).await;
    }

    async fn stop(&self, workspace: WorkspaceId, operation: &OperationKey) -> Told {
        self.inner.stop(workspace, operation).await
    }

    fn acknowledge(&self, workspace: WorkspaceId, operations: Vec<OpId>) {
        self.inner.acknowledge(workspace, operations);
    }

    async fn acknowledge_forgotten(&self, store: &ChatStore) {
        self.inner.acknowledge_forgotten(store).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_a_result_are_the_whole_of_it() {
        let text = "é".repeat(40_000);
        let (mut offset, mut read) = (0, String::new());
        loop {
            let page = page("execute", &json!(text), false, offset);
            read.push_str(page["result"].as_str().unwrap());
            match page["next_offset"].as_u64() {
                Some(next) => offset = usize::try_from(next).unwrap(),
                None => break,
            }
        }
        assert_eq!(read, text);
        assert_eq!(page("execute", &json!({"a": 1}), true, 99)["result"], "");
    }
}
