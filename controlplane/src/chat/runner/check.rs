//! The check after edits, as a step of the engine's own.

use super::{Flow, Leave, Runner};
use crate::chat::edit_check::{self, EditCheck};
use crate::chat::machine::{AssistantMessage, Class, Intent};
use crate::store::chats::OperationRow;

impl Runner {
    /// The check that is to be run before the model is asked again; none: nothing was edited since
    /// the last one, or nobody wants one.
    pub(super) async fn check_due(&self) -> Result<Option<EditCheck>, Leave> {
        let Some(workspace) = self.chat.workspace_id else { return Ok(None) };
        if !edit_check::is_due(&self.history) {
            return Ok(None);
        }
        let (id, store) = (self.id, self.shared.store.clone());
        self.read(|| store.edit_check(id, workspace)).await
    }

    /// Commits the step and its intent, in one transaction; it is run like any other.
    pub(super) async fn begin_check(&mut self, check: &EditCheck) -> Flow {
        let content = check.step(self.chat.last_seq + 1);
        // A person has set the command: nobody is asked again.
        let free = |intent: Intent| Intent { class: Class::Free, ..intent };
        let intents: Vec<Intent> = self.intents(&content).into_iter().map(free).collect();
        let worked_ms = self.worked_ms();
        let message = AssistantMessage { content, worked_ms, ..AssistantMessage::default() };
        shared::fault::pass("w0 check").await;
        let (id, store, fence) = (self.id, self.shared.store.clone(), self.fence);
        let Some(step) = self.write(|| store.commit_step(id, &fence, &message, &intents)).await?
        else {
            return Ok(());
        };
        shared::fault::pass("w1 check committed").await;
        (self.chat, self.fence) = (step.chat, step.fence);
        self.history.push(step.message);
        self.operations = Some(step.operations);
        (self.attempt_begun, self.preview) = (false, None);
        self.tell();
        Ok(())
    }

    /// Whether this call is the check's: what of it still runs at its end is stopped.
    pub(super) fn is_of_check(&self, row: &OperationRow) -> bool {
        let asked = self.history.iter().rev().find(|message| message.id == row.message_id);
        asked.is_some_and(edit_check::is_check)
    }
}
