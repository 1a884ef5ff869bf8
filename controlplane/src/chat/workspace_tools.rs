//! The tools of production: the catalogue over the fleet's links.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared::ids::{IdSource, OpId, WorkspaceId};
use shared::protocol::call::Fence;
use shared::protocol::operation::{CancelOperation, OperationState};
use shared::protocol::process::StopProcess;

use super::actions;
use super::machine::Class;
use super::ports::{Told, ToolRun, ToolRunner};
use crate::fleet::{CallError, Fleet, Operation, WorkspaceLink};
use crate::llm::ToolSpec;
use crate::store::StoreError;
use crate::store::chats::ChatStore;
use crate::tools::{Catalogue, OperationKey, ToolContext, ToolError, ToolKind, ToolOutcome};

/// Longest wait for a daemon that is asked to stop something.
const STOP_ANSWER: Duration = Duration::from_secs(4);
/// Operations in one notice; the protocol's bound.
const ACKNOWLEDGED_AT_ONCE: u32 = 1_000;
/// Time between the polite signal and the kill.
const STOP_GRACE_MS: u64 = 1_000;

/// Runs the catalogue's tools in the workspaces of the fleet.
pub struct WorkspaceTools {
    catalogue: Arc<Catalogue>,
    fleet: Fleet,
    ids: Arc<dyn IdSource>,
}

impl WorkspaceTools {
    /// Over `fleet`.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, fleet: Fleet, ids: Arc<dyn IdSource>) -> Self {
        Self { catalogue, fleet, ids }
    }

    /// An operation of the chat that its model did not ask for.
    fn own_operation(&self, key: &OperationKey, what: &str) -> Operation {
        let hash = blake3::hash(format!("{what} {}", key.op_id).as_bytes()).to_hex().to_string();
        Operation::new(self.ids.id(), Fence { hash, ..key.fence.clone() }).within(STOP_ANSWER)
    }

    async fn acknowledge_stored(
        &self,
        store: &ChatStore,
        workspace: WorkspaceId,
    ) -> Result<(), StoreError> {
        loop {
            let operations = store.unacknowledged(workspace, ACKNOWLEDGED_AT_ONCE).await?;
            if operations.is_empty() {
                return Ok(());
            }
            self.acknowledge(workspace, operations.clone());
            store.acknowledged(&operations).await?;
        }
    }

    /// Stops the process that the operation started, if it started one.
    async fn stop_process(&self, link: &WorkspaceLink, key: &OperationKey) -> Told {
        let stop = StopProcess { process_id: key.process_id, grace_ms: STOP_GRACE_MS };
        match link.operate(&self.own_operation(key, "stop"), &stop).await {
            // A refusal is an answer too: there is no such process, or it has ended.
            Ok(_) | Err(CallError::Refused(_)) => Told::Heard,
            Err(error) => {
                tracing::info!(op.id = %key.op_id, error = &error as &dyn std::error::Error,
                    "a process was not told to stop");
                Told::Unheard
            }
        }
    }
}

#[async_trait]
impl ToolRunner for WorkspaceTools {
    fn class(&self, tool: &str, args: &serde_json::Value) -> Option<Class> {
        let kind = self.catalogue.kind(tool)?;
        // What does not fit its schema is answered with an error; nobody is asked about it.
        let fits = self.catalogue.problem(tool, args).is_none();
        Some(if fits { actions::class(kind, tool, args) } else { Class::Free })
    }

    fn specs(&self, has_workspace: bool, mode: &str) -> Vec<ToolSpec> {
        self.catalogue.specs(has_workspace, mode)
    }

    fn kind(&self, tool: &str) -> Option<ToolKind> {
        self.catalogue.kind(tool)
    }

    fn deadline(&self, tool: &str) -> Option<Duration> {
        self.catalogue.deadline(tool)
    }

    async fn run(&self, run: ToolRun) -> Result<ToolOutcome, ToolError> {
        let context = ToolContext {
            workspace: run.workspace_id.map(|id| self.fleet.workspace(id)),
            operation: run.operation,
            chat_id: run.chat_id,
            mode: run.mode,
            live: run.live,
            cancel: run.cancel,
        };
        self.catalogue.run(context, &run.tool, &run.args).await
    }

    fn rtt(&self, workspace: WorkspaceId) -> Option<Duration> {
        self.fleet.presence(workspace).rtt
    }

    fn is_near(&self, workspace: WorkspaceId) -> bool {
        !self.fleet.is_elsewhere(workspace)
    }

    async fn reachable(&self, workspace: WorkspaceId) {
        self.fleet.workspace(workspace).connected().await;
    }

    async fn stop(&self, workspace: WorkspaceId, operation: &OperationKey) -> Told {
        let link = self.fleet.workspace(workspace);
        let cancel = CancelOperation { op_id: operation.op_id };
        match link.operate(&self.own_operation(operation, "cancel"), &cancel).await {
            Ok(OperationState::Cancelled | OperationState::Absent) => Told::Heard,
            // It began, so what it started has to be stopped.
            Ok(_) | Err(CallError::Refused(_) | CallError::Failed(_)) => {
                self.stop_process(&link, operation).await
            }
            Err(CallError::NotConnected { .. } | CallError::Unknown { .. }) => Told::Unheard,
        }
    }

    fn acknowledge(&self, workspace: WorkspaceId, operations: Vec<OpId>) {
        self.fleet.workspace(workspace).acknowledge(operations);
    }

    async fn acknowledge_forgotten(&self, store: &ChatStore) {
        let mut changes = self.fleet.changes();
        let mut seen = 0;
        loop {
            let now = *changes.borrow_and_update();
            for workspace in self.fleet.changed_since(seen) {
                // Of a daemon elsewhere it is the other replica's to do.
                if self.fleet.is_here(workspace)
                    && let Err(error) = self.acknowledge_stored(store, workspace).await
                {
                    tracing::warn!(workspace.id = %workspace,
                        error = &error as &dyn std::error::Error,
                        "stored answers stay unacknowledged until the next link");
                }
            }
            seen = now;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}
