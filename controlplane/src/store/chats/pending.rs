#![expect(
    clippy::todo,
    clippy::unused_async,
    unused_variables,
    missing_docs,
    reason = "signatures first"
)]
use super::*;
use crate::chat::event::ChatErrorView;
use crate::chat::machine::*;
use crate::store::error::StoreError;
use shared::ids::*;

impl ChatStore {
    // --- the user's side
    pub async fn create(&self, new: &NewChat) -> Result<Created, StoreError> {
        todo!()
    }
    pub async fn send(&self, id: ChatId, send: &SendMessage) -> Result<Sent, StoreError> {
        todo!()
    }
    pub async fn delete_queued(&self, id: ChatId, item: QueueId) -> Result<ChatRow, StoreError> {
        todo!()
    }
    pub async fn promote_queued(
        &self,
        id: ChatId,
        item: QueueId,
        claim: Option<ReplicaId>,
    ) -> Result<(ChatRow, Option<Acquired>), StoreError> {
        todo!()
    }
    pub async fn edit_queued(
        &self,
        id: ChatId,
        item: QueueId,
        message: &UserMessage,
    ) -> Result<QueuedRow, StoreError> {
        todo!()
    }
    pub async fn interrupt(&self, id: ChatId) -> Result<ChatRow, StoreError> {
        todo!()
    }
    pub async fn set_archived(&self, id: ChatId, archived: bool) -> Result<ChatRow, StoreError> {
        todo!()
    }
    pub async fn patch(&self, id: ChatId, patch: &ChatPatch) -> Result<ChatRow, StoreError> {
        todo!()
    }
    pub async fn reconcile(
        &self,
        id: ChatId,
        error: &ChatErrorView,
    ) -> Result<ChatRow, StoreError> {
        todo!()
    }

    // --- the worker's side
    /// Takes up to `limit` runnable chats that nobody owns or whose worker's lease ended.
    pub async fn acquire(
        &self,
        replica: ReplicaId,
        limit: u32,
    ) -> Result<Vec<Acquired>, StoreError> {
        todo!()
    }
    pub async fn abandon(&self, id: ChatId, fence: &WorkerFence) -> Result<(), StoreError> {
        todo!()
    }
    /// One statement. Answers the fence of the attempt.
    pub async fn record_attempt(
        &self,
        id: ChatId,
        fence: &WorkerFence,
    ) -> Result<WorkerFence, StoreError> {
        todo!()
    }
    /// One statement. The fence stays.
    pub async fn record_retry(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        retry: &RetryState,
    ) -> Result<ChatRow, StoreError> {
        todo!()
    }
    pub async fn commit_step(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        message: &AssistantMessage,
        intents: &[Intent],
    ) -> Result<Step, StoreError> {
        todo!()
    }
    pub async fn store_tool_result(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        answer: &ToolAnswer,
    ) -> Result<ToolStored, StoreError> {
        todo!()
    }
    pub async fn finish_turn(
        &self,
        id: ChatId,
        fence: &WorkerFence,
    ) -> Result<Finished, StoreError> {
        todo!()
    }
    pub async fn finish_interruption(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        partial: Option<&AssistantMessage>,
    ) -> Result<Finished, StoreError> {
        todo!()
    }
    pub async fn finish_error(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        error: &ChatErrorView,
    ) -> Result<Finished, StoreError> {
        todo!()
    }
    pub async fn save_checkpoint(
        &self,
        id: ChatId,
        fence: &WorkerFence,
        seq: i64,
        parts: &serde_json::Value,
    ) -> Result<(), StoreError> {
        todo!()
    }
    pub async fn load_checkpoint(&self, id: ChatId) -> Result<Option<Checkpoint>, StoreError> {
        todo!()
    }
    /// Notes that the daemon was told that the answers are stored.
    pub async fn acknowledged(&self, op_ids: &[OpId]) -> Result<(), StoreError> {
        todo!()
    }
    /// Answers that are stored and not acknowledged, oldest first.
    pub async fn unacknowledged(
        &self,
        workspace: WorkspaceId,
        limit: u32,
    ) -> Result<Vec<OpId>, StoreError> {
        todo!()
    }

    // --- reads
    pub async fn head(&self, id: ChatId) -> Result<Option<ChatRow>, StoreError> {
        todo!()
    }
    pub async fn snapshot(
        &self,
        id: ChatId,
        since_revision: i64,
    ) -> Result<Option<ChatSnapshot>, StoreError> {
        todo!()
    }
    pub async fn messages_page(
        &self,
        id: ChatId,
        of: PageOf,
        limit: u32,
    ) -> Result<MessagePage, StoreError> {
        todo!()
    }
    /// Every message of the history, by `seq`, for prompts.
    pub async fn history(&self, id: ChatId) -> Result<Vec<MessageRow>, StoreError> {
        todo!()
    }
    /// The open batch, in order of the calls.
    pub async fn open_operations(&self, id: ChatId) -> Result<Vec<OperationRow>, StoreError> {
        todo!()
    }
    /// Newest change first.
    pub async fn list(
        &self,
        owner: UserId,
        filter: &ChatFilter,
        after: Option<ChatListCursor>,
        limit: u32,
    ) -> Result<Vec<ChatRow>, StoreError> {
        todo!()
    }
}
